"""Interrupted at any point, resumed to the same bits; never served what another configuration computed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.checkpoints import FolderCheckpoint
from encoders.cross_validation import cross_validate, cross_validate_layers, make_folds
from encoders.estimators.ridge import RidgeEncoder

ALPHAS = [1.0, 10.0, 100.0]
LONG_GRID = np.linspace(1, 50, 1500)
FIELDS = (
    "predictions",
    "alphas",
    "alpha_grid",
    "inner_scores",
    "selected_layer",
    "selected_predictions",
    "fold_of_sample",
)


def subject(n=60, n_voxels=5, n_features=7, seed=0):
    rng = np.random.default_rng(seed)
    layers = {f"block.{k}/out": rng.standard_normal((n, n_features)).astype(np.float32) for k in range(3)}
    weights = rng.standard_normal((n_features, n_voxels))
    Y = sum(layers.values()) @ weights + rng.standard_normal((n, n_voxels))
    return layers, Y.astype(np.float32)


def fit(checkpoint=None, progress=None, **size):
    layers, Y = subject(**size)
    folds = make_folds(len(Y), 4)
    return cross_validate_layers(
        RidgeEncoder(alphas=ALPHAS), layers, Y, folds, checkpoint=checkpoint, progress=progress
    )


def assert_same_bits(one, other):
    for field in FIELDS:
        a, b = getattr(one, field), getattr(other, field)
        assert a.dtype == b.dtype, field
        assert a.tobytes() == b.tobytes(), field


class DiesAfter(FolderCheckpoint):
    """Interrupts the computation just after (or instead of) its n-th save."""

    def __init__(self, folder, identity, n_saves, keeps_last):
        super().__init__(folder, identity)
        self.n_saves, self.keeps_last = n_saves, keeps_last

    def save(self, key, arrays):
        self.n_saves -= 1
        if self.n_saves or self.keeps_last:
            super().save(key, arrays)
        if not self.n_saves:
            raise KeyboardInterrupt


class CountsSaves(FolderCheckpoint):
    """Knows how many pieces were saved, and so computed."""

    n_saves = 0

    def save(self, key, arrays):
        self.n_saves += 1
        super().save(key, arrays)


@pytest.mark.parametrize("keeps_last", [True, False])
def test_interrupted_at_every_point_the_result_is_the_same_to_the_bit(tmp_path, keeps_last):
    whole = fit()
    for n_saves in range(1, 13):
        folder = tmp_path / str(n_saves)
        with pytest.raises(KeyboardInterrupt):
            fit(DiesAfter(folder, {}, n_saves, keeps_last))
        assert len(list(folder.glob("*.npz"))) == n_saves - 1 + keeps_last
        assert_same_bits(fit(FolderCheckpoint(folder, {})), whole)


def test_finished_folds_are_not_fitted_again(tmp_path, monkeypatch):
    whole = fit(FolderCheckpoint(tmp_path, {}))

    def refuse(*_, **__):
        raise AssertionError("a finished fold was fitted again")

    monkeypatch.setattr(RidgeEncoder, "fit", refuse)
    assert_same_bits(fit(FolderCheckpoint(tmp_path, {})), whole)


@pytest.mark.parametrize("change", ["drop", "add"])
def test_a_fold_kept_with_other_arrays_is_computed_anew(tmp_path, change):
    whole = fit(FolderCheckpoint(tmp_path, {}))
    n_changed = 0
    for path in sorted(tmp_path.glob("*.npz"))[::2]:
        with np.load(path) as file:
            arrays = dict(file)
        if change == "drop":
            del arrays["alpha_grid"]
        else:
            arrays["more"] = np.zeros(2)
        np.savez(path, **arrays)
        n_changed += 1
    saved = CountsSaves(tmp_path, {})
    assert_same_bits(fit(saved), whole)
    assert saved.n_saves == n_changed == 6


def test_other_data_folds_parameters_or_groups_are_computed_anew(tmp_path):
    layers, Y = subject()
    X, folds = layers["block.0/out"], make_folds(60, 4)
    runs = np.repeat(np.arange(12), 5)
    calls = [
        (RidgeEncoder(alphas=ALPHAS), X, Y, folds, None),
        (RidgeEncoder(alphas=ALPHAS), X + 1e-3, Y, folds, None),
        (RidgeEncoder(alphas=ALPHAS), X, Y + 1e-3, folds, None),
        (RidgeEncoder(alphas=ALPHAS), X, Y, make_folds(60, 4, shuffle=True), None),
        (RidgeEncoder(alphas=np.array(ALPHAS) * 2), X, Y, folds, None),
        (RidgeEncoder(alphas=LONG_GRID), X, Y, folds, None),
        (RidgeEncoder(alphas=LONG_GRID + 1e-3 * (np.arange(1500) == 700)), X, Y, folds, None),
        (RidgeEncoder(alphas=ALPHAS), X, Y, make_folds(60, 4, groups=runs), runs),
    ]
    for position, (encoder, *rest) in enumerate(calls):
        cross_validate(encoder, *rest, checkpoint=FolderCheckpoint(tmp_path, {"same": "identity"}))
        assert len(list(tmp_path.glob("*.npz"))) == 4 * (position + 1)


def test_another_identity_is_neither_served_nor_overwritten(tmp_path):
    one, other = FolderCheckpoint(tmp_path, {"seed": 0}), FolderCheckpoint(tmp_path, {"seed": 1})
    one.save("piece", {"a": np.zeros(3)})
    assert other.load("piece") is None
    other.save("piece", {"a": np.ones(3)})
    assert one.load("piece")["a"].tolist() == [0, 0, 0]
    # Even under the name that the other would look for.
    other.path("piece").write_bytes(one.path("piece").read_bytes())
    assert other.load("piece") is None
    same = FolderCheckpoint(tmp_path, {"seed": 0})
    assert same.load("piece")["a"].tolist() == [0, 0, 0]
    assert same.load("another piece") is None


def test_a_file_truncated_anywhere_counts_as_absent(tmp_path):
    checkpoint = FolderCheckpoint(tmp_path, {})
    checkpoint.save("piece", {"a": np.arange(20.0)})
    path = checkpoint.path("piece")
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        assert checkpoint.load("piece") is None, size


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_never_served(tmp_path_factory, data):
    checkpoint = FolderCheckpoint(tmp_path_factory.mktemp("damage"), {})
    arrays = {"a": np.arange(20.0), "b": np.arange(6, dtype=np.float32).reshape(2, 3)}
    checkpoint.save("piece", arrays)
    content = bytearray(checkpoint.path("piece").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    checkpoint.path("piece").write_bytes(content)
    loaded = checkpoint.load("piece")
    if loaded is not None:
        for name, value in arrays.items():
            assert loaded[name].tobytes() == value.tobytes()
            assert loaded[name].shape == value.shape


def test_keys_cannot_leave_the_folder_and_similar_keys_do_not_meet(tmp_path):
    checkpoint = FolderCheckpoint(tmp_path / "inside", {})
    keys = ["../../escape", "/etc/passwd", "a/b", "a_b", "", "." * 300]
    for number, key in enumerate(keys):
        checkpoint.save(key, {"a": np.array(number)})
    for number, key in enumerate(keys):
        assert checkpoint.load(key)["a"] == number
        assert checkpoint.path(key).parent == tmp_path / "inside"
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_what_only_pickle_could_hold_is_refused(tmp_path):
    checkpoint = FolderCheckpoint(tmp_path, {})
    with pytest.raises(TypeError, match="'a'"):
        checkpoint.save("piece", {"a": np.array([{}, None])})
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="put hashes in place of arrays"):
        FolderCheckpoint(tmp_path, {"alphas": np.ones(3)})


CHILD = """
import sys
from encoders.checkpoints import FolderCheckpoint
from tests.encoders.test_checkpoints import fit
import torch
torch.set_num_threads(1)
print("ready", flush=True)
fit(FolderCheckpoint(sys.argv[1], {}), n=400, n_voxels=300, n_features=200)
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_at_random_points_twenty_times_the_result_is_the_same_to_the_bit(tmp_path):
    size = {"n": 400, "n_voxels": 300, "n_features": 200}
    rng = np.random.default_rng(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    n_killed = n_files = 0
    for attempt in range(20):
        folder = tmp_path / str(attempt // 5)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        n_killed += child.wait() == -signal.SIGKILL
        n_files += len(list(folder.glob("*.npz")))
    assert n_killed >= 10
    assert n_files
    whole = fit(**size)
    for folder in tmp_path.iterdir():
        assert_same_bits(fit(FolderCheckpoint(folder, {}), **size), whole)
