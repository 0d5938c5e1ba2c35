import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.backbones.backbone import Backbone
from encoders.extraction import extract_features
from encoders.feature_store import CorruptFeaturesError, FeatureStore
from encoders.features import Features
from stimuli import StimulusSet
from tests.encoders.extraction_worker import (
    CHUNK_SIZE,
    LAYERS,
    N_STIMULI,
    count_stimuli,
    extract,
    make_backbone,
)
from tests.encoders.tapped_networks import PaddedTexts, TokenNet, seeded


class Worker:
    """The process of extraction_worker."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.encoders.extraction_worker"]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder: Path, milliseconds: float = 0, kill_at: int = 0) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder} {milliseconds} {kill_at}\n")
        self.process.stdin.flush()
        return int(self._answer("started")[0])

    def wait(self) -> tuple[int, int]:
        """Return the exit status (negative: the signal) and the number of stimuli seen."""
        status, stimuli = self._answer("ended")
        return int(status), int(stimuli)

    def _answer(self, expected: str) -> list[str]:
        assert self.process.stdout is not None
        word, *rest = self.process.stdout.readline().split()
        assert word == expected
        return rest

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    process = Worker()
    yield process
    process.close()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    return extract(str(tmp_path_factory.mktemp("whole")), *make_backbone())


def finished_by_both_layers(folder: Path) -> set[str]:
    marks = [{path.name for path in each.glob("finished/*.json")} for each in folder.iterdir()]
    marks = [names for names in marks if names]
    return set.intersection(*marks) if len(marks) == len(LAYERS) else set()


def assert_equal_bits(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for layer in LAYERS:
        np.testing.assert_array_equal(got[layer].view(np.uint32), expected[layer].view(np.uint32))


def resume_and_compare(folder: Path, worker: Worker, expected: dict[str, np.ndarray]) -> None:
    """Finish what was begun: only chunks that lack in a layer are computed, and the bits are the same."""
    left = N_STIMULI - sum(
        min(CHUNK_SIZE, N_STIMULI - int(name.removesuffix(".json")) * CHUNK_SIZE)
        for name in finished_by_both_layers(folder)
    )
    worker.start(folder)
    assert worker.wait() == (0, left)
    backbone, stimuli = make_backbone()
    counts = count_stimuli()
    assert_equal_bits(extract(str(folder), backbone, stimuli), expected)
    assert counts == []


def test_kill_at_every_file_leaves_finished_chunks(
    tmp_path: Path, worker: Worker, uninterrupted: dict[str, np.ndarray]
) -> None:
    kept = []
    # Each of the two layers begins with an array description and a record; each chunk has data and a mark.
    for kill_at in (1, 2, 4, 6, 8, 9, 10, 13):
        folder = tmp_path / str(kill_at)
        worker.start(folder, kill_at=kill_at)
        assert worker.wait() == (-signal.SIGKILL, 0)
        kept.append(len(finished_by_both_layers(folder)))
        resume_and_compare(folder, worker, uninterrupted)
    assert kept == [0, 0, 0, 0, 0, 1, 1, 2]


def kill_at_random(
    folder: Path, worker: Worker, expected: dict[str, np.ndarray], kills: int, seed: int, milliseconds: float
) -> None:
    chance = random.Random(seed)
    done = 0
    while done < kills:
        pid = worker.start(folder, milliseconds)
        # A whole run rests for N_STIMULI * milliseconds; starting and writing add to that.
        time.sleep(chance.uniform(0, 1.5 * N_STIMULI * milliseconds / 1000))
        with suppress(ProcessLookupError):  # it may have ended
            os.kill(pid, signal.SIGKILL)
        status, _ = worker.wait()
        assert status in (0, -signal.SIGKILL)
        done += status == -signal.SIGKILL
        if status == 0:  # it was done before the kill: begin anew
            backbone, stimuli = make_backbone()
            assert_equal_bits(extract(str(folder), backbone, stimuli), expected)
            shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    resume_and_compare(folder, worker, expected)


def test_random_kills_change_no_bit(
    tmp_path: Path, worker: Worker, uninterrupted: dict[str, np.ndarray]
) -> None:
    kill_at_random(tmp_path / "s", worker, uninterrupted, kills=4, seed=0, milliseconds=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twenty_random_kills_change_no_bit(
    tmp_path: Path, worker: Worker, uninterrupted: dict[str, np.ndarray], seed: int
) -> None:
    kill_at_random(tmp_path / "s", worker, uninterrupted, kills=20, seed=seed, milliseconds=20)


def test_two_processes_share_the_work(
    tmp_path: Path, worker: Worker, uninterrupted: dict[str, np.ndarray]
) -> None:
    worker.start(tmp_path, milliseconds=20)
    while not any(tmp_path.glob("*/finished/000001.json")):
        time.sleep(0.01)
    backbone, stimuli = make_backbone()
    counts = count_stimuli()
    features = extract(str(tmp_path), backbone, stimuli)  # waits for the other
    assert worker.wait() == (0, N_STIMULI)
    assert counts == []
    assert_equal_bits(features, uninterrupted)


def test_interrupt_keeps_finished_chunks_and_other_sizes_change_nothing(
    tmp_path: Path, uninterrupted: dict[str, np.ndarray]
) -> None:
    backbone, stimuli = make_backbone()

    class Interrupted(type(backbone.preprocess)):  # type: ignore[misc]
        def __call__(self, stimuli: StimulusSet, indices: np.ndarray) -> dict[str, torch.Tensor]:
            if indices[0] >= 14:
                raise KeyboardInterrupt
            return super().__call__(stimuli, indices)

    broken = replace(backbone, preprocess=Interrupted(backbone.preprocess.table, 0))
    with pytest.raises(KeyboardInterrupt):
        extract(str(tmp_path), broken, stimuli)
    assert finished_by_both_layers(tmp_path) == {"000000.json", "000001.json"}
    counts = count_stimuli()
    features = extract_features(
        backbone,
        stimuli,
        LAYERS,
        reduction={"norm": "projection:16", "conv2": "none"},
        batch_size=7,
        chunk_size=5,
        store=tmp_path,
        progress=False,
    )
    assert_equal_bits({layer: features[layer][:] for layer in LAYERS}, uninterrupted)
    assert sum(counts) == N_STIMULI - 12
    assert max(counts) == 2  # the sizes that the store began with


def run(backbone: Backbone, stimuli: StimulusSet, folder: Path, **arguments: object) -> Features:
    options = {"layers": ["conv2"], "reduction": "mean", "batch_size": 10, "store": folder, "progress": False}
    return extract_features(backbone, stimuli, **{**options, **arguments})


def test_store_gives_what_memory_gives_and_needs_no_second_pass(tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    in_memory = run(backbone, stimuli, tmp_path, store=None, layers=["norm", "conv2"])
    counts = count_stimuli()
    run(backbone, stimuli, tmp_path)
    assert sum(counts) == N_STIMULI
    both = run(backbone, stimuli, tmp_path, layers=["norm", "conv2"])  # one layer is there, one is new
    assert sum(counts) == 2 * N_STIMULI
    again = run(backbone, stimuli, tmp_path, layers=["norm", "conv2"], batch_size=3)
    assert sum(counts) == 2 * N_STIMULI
    for features in (both, again):
        assert features.dims == in_memory.dims
        for layer in in_memory:
            np.testing.assert_array_equal(features[layer][:], in_memory[layer])
            np.testing.assert_array_equal(features[layer][5:9], in_memory[layer][5:9])
            np.testing.assert_array_equal(features.matrix(layer), in_memory.matrix(layer))
    with pytest.raises(zarr.errors.ReadOnlyError):
        again["norm"][0] = 0


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7))
@settings(deadline=None, max_examples=8)
def test_any_sizes_give_every_stimulus_once(n: int, batch_size: int, chunk_size: int) -> None:
    backbone, stimuli = make_backbone()
    expected = run(backbone, stimuli, Path(), store=None, reduction="none")["conv2"]
    counts = count_stimuli()
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"batch_size": batch_size, "chunk_size": chunk_size}
        features = run(backbone, stimuli[:n], Path(folder), reduction="none", **sizes)
        assert features["conv2"].chunks[0] == chunk_size
        np.testing.assert_allclose(features["conv2"][:], expected[:n], rtol=0, atol=1e-5)
    assert max(counts) <= min(batch_size, chunk_size)
    assert sum(counts) == n


def test_padded_tokens_come_back_with_their_mask(tmp_path: Path) -> None:
    backbone = Backbone("words", seeded(TokenNet), PaddedTexts(), "text", ("linear",), "")
    stimuli = StimulusSet(list("abcd"), texts=["a bb", "c", "d d d d d", "e ee"])
    memory = extract_features(backbone, stimuli, reduction="none", batch_size=2, progress=False)
    for _ in range(2):
        stored = extract_features(
            backbone, stimuli, reduction="none", batch_size=2, store=tmp_path, progress=False
        )
        np.testing.assert_array_equal(stored["linear"][:], memory["linear"])
        np.testing.assert_array_equal(stored.token_masks["linear"], memory.token_masks["linear"])


def test_features_of_another_cause_are_never_served(tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    counts = count_stimuli()
    run(backbone, stimuli, tmp_path)

    def assert_computed(of: StimulusSet = stimuli, **arguments: object) -> None:
        before = sum(counts)
        features = run(backbone, of, tmp_path, **arguments)
        assert sum(counts) == before + len(of)
        fresh = run(backbone, of, tmp_path, **arguments, store=None)
        for layer in fresh:
            np.testing.assert_array_equal(features[layer][:], fresh[layer])

    assert_computed(reduction="flatten")
    assert_computed(reduction="projection:8")
    assert_computed(dtype="bfloat16")
    assert_computed(layers=["conv"])
    assert_computed(layer_dims={"conv2": "stimulus channel column row"}, reduction="grid:2")
    assert_computed(stimuli[::-1])
    assert_computed(stimuli[:22])
    with torch.no_grad():
        backbone.module.conv.weight[0, 0, 0, 0] += 1e-6
    assert_computed()
    backbone.module.norm.running_mean[0] += 1e-3
    assert_computed()
    object.__setattr__(backbone.preprocess, "describe", lambda: {"kind": "another"})
    assert_computed()
    assert len(FeatureStore(tmp_path).list()) == 11
    # Another name is not another cause.
    before = sum(counts)
    run(replace(backbone, name="renamed"), stimuli, tmp_path)
    assert sum(counts) == before


def damaged(folder: Path, what: str) -> Path:
    """Damage one file of the only layer in a store, and return it."""
    (layer,) = (path.parent for path in folder.glob("*/record.json"))
    chunk = layer / "0.zarr" / "1.0"
    if what == "truncated chunk":
        chunk.write_bytes(chunk.read_bytes()[:-5])
    elif what == "empty chunk":
        chunk.write_bytes(b"")
    elif what == "flipped bit":
        data = bytearray(chunk.read_bytes())
        data[-3] ^= 1
        chunk.write_bytes(bytes(data))
    elif what == "missing chunk":
        chunk.unlink()
    elif what == "swapped chunk":
        shutil.copy(layer / "0.zarr" / "0.0", chunk)
    elif what == "truncated mark":
        chunk = layer / "finished" / "000001.json"
        chunk.write_text(chunk.read_text()[:20])
    elif what == "truncated record":
        chunk = layer / "record.json"
        chunk.write_text(chunk.read_text()[:100])
    elif what == "record without sizes":
        chunk = layer / "record.json"
        chunk.write_text(json.dumps({"identity": {}}))
    elif what == "truncated array description":
        chunk = layer / "0.zarr" / ".zarray"
        chunk.write_text(chunk.read_text()[:30])
    elif what == "missing array description":
        chunk = layer / "0.zarr" / ".zarray"
        chunk.unlink()
    elif what == "changed array description":
        chunk = layer / "0.zarr" / ".zarray"
        chunk.write_text(chunk.read_text().replace('"<f4"', '"<f8"'))
    return chunk


@pytest.mark.parametrize(
    ("what", "recomputed"),
    [
        ("truncated chunk", 10),
        ("empty chunk", 10),
        ("flipped bit", 10),
        ("missing chunk", 10),
        ("swapped chunk", 10),
        ("truncated mark", 10),
        ("truncated record", N_STIMULI),
        ("record without sizes", N_STIMULI),
        ("truncated array description", N_STIMULI),
        ("missing array description", N_STIMULI),
        ("changed array description", N_STIMULI),
    ],
)
def test_damage_is_named_and_only_it_is_computed_anew(tmp_path: Path, what: str, recomputed: int) -> None:
    backbone, stimuli = make_backbone()
    expected = run(backbone, stimuli, tmp_path)["conv2"][:]
    path = damaged(tmp_path, what)
    with pytest.raises(CorruptFeaturesError, match=r"repair\(\) and extract again") as caught:
        run(backbone, stimuli, tmp_path)["conv2"][:]
    assert str(path) in str(caught.value)
    store = FeatureStore(tmp_path)
    assert store.repair() == (path,)
    assert store.repair() == ()
    counts = count_stimuli()
    np.testing.assert_array_equal(run(backbone, stimuli, tmp_path)["conv2"][:], expected)
    assert sum(counts) == recomputed


def test_intact_parts_of_a_damaged_layer_can_be_read(tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    expected = run(backbone, stimuli, tmp_path, store=None)["conv2"]
    run(backbone, stimuli, tmp_path)
    damaged(tmp_path, "flipped bit")
    array = run(backbone, stimuli, tmp_path)["conv2"]
    np.testing.assert_array_equal(array[:10], expected[:10])
    with pytest.raises(CorruptFeaturesError, match="truncated or was changed"):
        array[9:11]


def test_inventory_size_and_deletion(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    assert list(store.list()) == []
    assert store.size_bytes() == 0
    backbone, stimuli = make_backbone()
    run(backbone, stimuli, tmp_path, store=store, layers=["conv2", "act"], reduction="projection:8")
    first, second = store.list()
    assert [first.layer, second.layer] == ["act", "conv2"]
    assert (first.backbone, first.dtype, first.shapes) == ("slow", "float32", {"act": (23, 8)})
    assert first.reduction == "projection:8:0"
    assert (first.n_finished, first.n_chunks) == (3, 3)
    assert 23 * 8 * 4 * 0.5 < first.size_bytes < store.size_bytes()
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert store.size_bytes() == on_disk
    store.delete(first.key)
    assert list(store.list()) == [second]
    with pytest.raises(KeyError, match="list\\(\\) shows the keys"):
        store.delete("../../elsewhere")


def test_large_rows_are_cut_across_features_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 4 * 10 * 3  # three features of ten stimuli
    monkeypatch.setattr("encoders.stored_layer._MAX_CHUNK_BYTES", limit)
    backbone, stimuli = make_backbone()
    expected = run(backbone, stimuli, tmp_path, store=None)["conv2"]
    array = run(backbone, stimuli, tmp_path)["conv2"]
    assert array.chunks == (10, 3)
    np.testing.assert_array_equal(array[:], expected)
    next(tmp_path.glob("*/0.zarr/2.1")).unlink()
    with pytest.raises(CorruptFeaturesError, match=r"2\.1 is missing"):
        run(backbone, stimuli, tmp_path)


def test_failed_first_batch_leaves_no_trace_that_binds(tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    backbone.module.conv2.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        run(backbone, stimuli, tmp_path, batch_size=20)
    assert list(FeatureStore(tmp_path).list()) == []


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        FeatureStore(tmp_path / "file")
