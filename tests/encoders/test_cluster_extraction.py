"""Chunks of stimuli computed by workers: the bits of one process, whoever dies on the way."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.cluster import Cluster
from encoders.extraction import extract_features
from encoders.feature_store import CorruptFeaturesError, FeatureStore
from stimuli import StimulusSet
from tests.encoders.cluster_pieces import arrivals, killing, same_bits
from tests.encoders.extraction_worker import (
    BATCH_SIZE,
    CHUNK_SIZE,
    LAYERS,
    N_STIMULI,
    SlowRows,
    count_stimuli,
    make_backbone,
)
from tests.encoders.small_networks import Net, own, seeded

REDUCTIONS = {"norm": "projection:16", "conv2": "none"}
N_CHUNKS = -(-N_STIMULI // CHUNK_SIZE)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("local") / "store"
    return folder, extract(folder)


def extract(
    folder: Path, cluster: Cluster | None = None, layers: Sequence[str] = LAYERS, seconds: float = 0.0
) -> dict[str, np.ndarray]:
    backbone, stimuli = make_backbone(seconds)
    features = extract_features(
        backbone,
        stimuli,
        layers,
        reduction={layer: REDUCTIONS[layer] for layer in layers},
        batch_size=BATCH_SIZE,
        chunk_size=CHUNK_SIZE,
        store=folder,
        progress=False,
        cluster=cluster,
    )
    return {layer: np.asarray(features[layer]) for layer in layers}


def assert_equal(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    for layer in got:
        assert same_bits(got[layer], expected[layer])


def marks(folder: Path) -> dict[Path, int]:
    """When each finished chunk was marked."""
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.glob("*/finished/*.json")}


def files_of(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


def test_two_workers_write_the_files_that_one_process_writes(
    cluster: Cluster, local: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    counts = count_stimuli()
    assert_equal(extract(tmp_path, cluster), local[1])
    assert counts == []  # nothing went through the network here
    assert files_of(tmp_path) == files_of(local[0])
    before = marks(tmp_path)
    assert len(before) == 2 * N_CHUNKS
    assert_equal(extract(tmp_path, cluster), local[1])
    assert marks(tmp_path) == before


def test_only_what_is_missing_is_computed_here_or_there(
    cluster: Cluster, local: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    extract(tmp_path, layers=LAYERS[:1])
    before = marks(tmp_path)
    assert_equal(extract(tmp_path, cluster), local[1])
    lost = [path for path in marks(tmp_path) if path.name in ("000001.json", "000003.json")]
    assert len(lost) == 4
    for path in lost:
        (tmp_path / path).unlink()
    kept = marks(tmp_path)
    assert_equal(extract(tmp_path, cluster), local[1])
    assert kept.items() <= marks(tmp_path).items()
    assert {path for path in before if path not in lost} <= kept.keys()
    for path in lost:
        (tmp_path / path).unlink()
    counts = count_stimuli()
    assert_equal(extract(tmp_path), local[1])
    assert sum(counts) == CHUNK_SIZE + N_STIMULI % CHUNK_SIZE


class CountedRows(SlowRows):
    """Says how often it arrived in a process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        from tests.encoders import cluster_pieces

        cluster_pieces.N_ARRIVALS += 1
        self.__dict__.update(state)


def test_the_network_arrives_once_a_worker(cluster: Cluster, tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    counted = replace(backbone, preprocess=CountedRows(backbone.preprocess.table, 0.02))  # type: ignore[attr-defined]
    before = sum(cluster.client.run(arrivals).values())
    extract_features(
        counted, stimuli, ["norm"], batch_size=1, store=tmp_path, progress=False, cluster=cluster
    )
    assert len(marks(tmp_path)) == N_STIMULI
    assert sum(cluster.client.run(arrivals).values()) == before + 2


def test_files_channels_last_and_bfloat16_have_the_same_bits(cluster: Cluster, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (13, 20, 20, 3), dtype=np.uint8)
    stimuli = StimulusSet([f"i{number}" for number in range(13)], images=images)
    backbone = own(seeded(Net()), ImagePreprocess(resize=(15, 15)))
    for dtype in ("float32", "bfloat16"):
        kept = [
            extract_features(
                backbone,
                stimuli,
                ["features.0", "features.3"],
                reduction="flatten",
                dtype=dtype,  # type: ignore[arg-type]
                batch_size=4,
                channels_last=True,
                store=tmp_path / f"{dtype}{where is None}",
                progress=False,
                cluster=where,
            )
            for where in (None, cluster)
        ]
        for layer in kept[0]:
            assert same_bits(np.asarray(kept[0][layer]), np.asarray(kept[1][layer]))


def test_a_cluster_needs_a_store(cluster: Cluster) -> None:
    backbone, stimuli = make_backbone()
    with pytest.raises(ValueError, match="cluster needs store=FOLDER"):
        extract_features(backbone, stimuli, LAYERS, cluster=cluster)


def test_a_device_that_workers_lack_is_said_by_the_worker(cluster: Cluster, tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    with pytest.raises(ValueError, match=r"device 'cuda:7' is not to be had"):
        extract_features(backbone, stimuli, LAYERS, device="cuda:7", store=tmp_path, cluster=cluster)
    with pytest.raises(ValueError, match=r"device 'cudda' cannot be used"):
        extract_features(backbone, stimuli, LAYERS, device="cudda", store=tmp_path, cluster=cluster)


class OtherElsewhere(SlowRows):
    """Preprocessing that is not the same in every process."""

    def describe(self) -> dict[str, Any]:
        return {"process": os.getpid()}


def test_a_network_that_changed_on_the_way_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    other = replace(backbone, preprocess=OtherElsewhere(backbone.preprocess.table, 0))  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"'slow' has fingerprint [0-9a-f]{12} on the worker"):
        extract_features(other, stimuli, LAYERS, store=tmp_path, cluster=cluster)


def test_pickling_leaves_the_fingerprint() -> None:
    class Mine(Net):
        """Made where pickling leaves its notes in the class."""

    backbone = own(seeded(Mine()))
    before = backbone.fingerprint
    backbone.module.__reduce_ex__(4)
    assert backbone.fingerprint == before
    other = own(seeded(Net()))
    assert pickle.loads(pickle.dumps(other)).fingerprint == other.fingerprint


class LargerTowardsTheEnd(SlowRows):
    """Images of which the last ones are larger."""

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        batch = super().__call__(stimuli, indices)["x"]
        return {"x": batch if max(indices) >= CHUNK_SIZE else batch[..., :7]}


def test_outputs_of_another_size_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    backbone, stimuli = make_backbone()
    uneven = replace(backbone, preprocess=LargerTowardsTheEnd(backbone.preprocess.table, 0))  # type: ignore[attr-defined]
    with pytest.raises(
        ValueError, match=r"conv2 .* from number \d+ on and .* the first ones; give stimuli of one size"
    ):
        extract_features(
            uneven,
            stimuli,
            ["conv2"],
            reduction="none",
            batch_size=BATCH_SIZE,
            chunk_size=CHUNK_SIZE,
            store=tmp_path,
            progress=False,
            cluster=cluster,
        )


def test_damage_found_by_a_worker_keeps_its_words(tmp_path: Path) -> None:
    error = CorruptFeaturesError(tmp_path / "0.0", "is missing", tmp_path)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path) == (str(error), error.path)


def test_a_worker_killed_amid_chunks_costs_its_chunk(
    cluster: Cluster, local: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    begun = lambda: len(marks(tmp_path)) >= 2  # noqa: E731
    with killing(cluster, n_kills=1, seed=1, rest_s=(0.0, 0.05), ready=begun) as killed:
        assert_equal(extract(tmp_path, cluster, seconds=0.1), local[1])
        assert len(killed) == 1
    assert files_of(tmp_path) == files_of(local[0])
    assert FeatureStore(tmp_path).repair() == ()


@pytest.mark.slow
def test_ten_kills_change_no_bit(
    cluster: Cluster, local: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    n_killed = 0
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        with killing(
            cluster, n_kills=10 - n_killed, seed=attempt, rest_s=(0.2, 4.0), ready=lambda: True
        ) as killed:
            assert_equal(extract(folder, cluster, seconds=0.3), local[1])
        n_killed += len(killed)
        assert files_of(folder) == files_of(local[0])
        if n_killed == 10:
            return
    pytest.fail(f"only {n_killed} workers could be killed in time")
