"""Fits by workers: the bits of one process, in parts of the voxels, whoever dies or is interrupted."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from encoders.checkpoints import FolderCheckpoint
from encoders.cluster import Cluster
from encoders.cross_validation import cross_validate, cross_validate_layers, make_folds
from encoders.estimators.banded import BandedRidgeEncoder
from encoders.estimators.probe import ProbeEncoder
from encoders.estimators.ridge import VOXELS_PER_SIDE, RidgeEncoder
from encoders.training.settings import Training
from tests.encoders.cluster_pieces import killing, same_bits


def simulate(n: int, p: int, v: int, dtype: str = "float32", seed: int = 0) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    Y = X @ rng.standard_normal((p, v)) * 0.3 + rng.standard_normal((n, v))
    Y[:, v // 2] = 1  # constant: NaN scores
    return X.astype(dtype), Y.astype(dtype)


def assert_same_bits(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, np.ndarray):
            assert same_bits(a, b), field.name
        else:
            assert a == b or (a is None and b is None), field.name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((90, 30, 611), {"solver": "primal", "target_chunk": 100}),
        ((90, 30, 611), {"solver": "dual", "target_chunk": 61}),
        (
            (61, 90, 405),
            {"search": "interpolate", "cv_score": "correlation", "scale_features": True, "target_chunk": 128},
        ),
        (
            (90, 20, 301),
            {
                "fit_intercept": False,
                "cv": [(np.arange(0, 30), np.arange(30, 45)), (np.arange(9, 40), np.arange(45, 59))],
                "target_chunk": 64,
            },
        ),
        ((200, 30, 20_001), {}),
    ],
)
def test_ridge_on_parts_of_the_voxels_has_the_bits_of_one_fit(
    cluster: Cluster, shape: tuple[int, int, int], options: dict[str, Any], dtype: str
) -> None:
    X, Y = simulate(*shape, dtype)
    encoder = RidgeEncoder(**{"cv": 3, "alphas": np.geomspace(1, 1e4, 5), **options})
    folds = make_folds(len(X), 3)
    assert len(encoder.divide_voxels(X, Y, folds[0][0])[1]) > 1
    here = cross_validate(encoder, X, Y, folds)
    there = cross_validate(encoder, X, Y, folds, cluster=cluster)
    assert_same_bits(there, here)


def test_layers_are_chosen_from_the_same_bits_with_groups(cluster: Cluster) -> None:
    X, Y = simulate(96, 30, 333)
    groups = np.repeat(np.arange(12), 8)
    features = {"first": X, "noise": simulate(96, 40, 2, seed=1)[0], "half": np.asfortranarray(X[:, :15])}
    folds = make_folds(96, 4, groups)
    for encoder in (
        RidgeEncoder(alphas=[1.0, 100.0], cv=3, target_chunk=50),
        RidgeEncoder(alphas=10.0, cv=3, target_chunk=50),  # nothing to choose: fits of its own for the score
        Ridge(alpha=10.0),
    ):
        in_groups = None if isinstance(encoder, Ridge) else groups
        here = cross_validate_layers(encoder, features, Y, folds, in_groups)
        there = cross_validate_layers(encoder, features, Y, folds, in_groups, cluster=cluster)
        assert_same_bits(there, here)
        assert len(np.unique(here.selected_layer)) > 1


def test_banded_and_trained_encoders_are_fitted_fold_by_fold(cluster: Cluster, tmp_path: Path) -> None:
    X, Y = simulate(60, 12, 40)
    folds = make_folds(60, 2)
    banded = BandedRidgeEncoder(bands=[8, 4], n_draws=3, cv=2)
    assert_same_bits(
        cross_validate(banded, X, Y, folds, cluster=cluster), cross_validate(banded, X, Y, folds)
    )
    tokens = X.reshape(60, 3, 4)
    probe = ProbeEncoder(n_queries=2, training=Training(n_epochs=3, batch_size=16))
    checkpoint = FolderCheckpoint(tmp_path, {})
    there = cross_validate(probe, tokens, Y, folds, cluster=cluster, checkpoint=checkpoint)
    assert_same_bits(there, cross_validate(probe, tokens, Y, folds))
    assert len(list(tmp_path.iterdir())) == 2  # a file a fold: epochs are forgotten


class Interrupted(FolderCheckpoint):
    """A checkpoint whose driver is killed after some pieces."""

    def __init__(self, folder: Path, n_pieces: int) -> None:
        super().__init__(folder, {})
        self.n_left = n_pieces
        self.n_saved = 0

    def save(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        if self.n_left == 0:
            raise KeyboardInterrupt
        super().save(key, arrays)
        self.n_left -= 1
        self.n_saved += 1


def test_a_driver_that_was_killed_goes_on_with_what_was_finished(cluster: Cluster, tmp_path: Path) -> None:
    X, Y = simulate(60, 20, 300)
    encoder = RidgeEncoder(alphas=[1.0, 100.0], cv=2, target_chunk=50)
    folds = make_folds(60, 3)
    n_parts = len(encoder.divide_voxels(X, Y, folds[0][0])[1])
    assert n_parts == 6
    here = cross_validate(encoder, X, Y, folds)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(encoder, X, Y, folds, cluster=cluster, checkpoint=Interrupted(tmp_path, 10))
    assert len(list(tmp_path.glob("*.npz"))) == 10 - n_parts  # six parts and their fold, then three parts
    again = Interrupted(tmp_path, 1000)
    assert_same_bits(cross_validate(encoder, X, Y, folds, cluster=cluster, checkpoint=again), here)
    assert again.n_saved == 3 + 6 + 1 + 1
    assert len(list(tmp_path.glob("*.npz"))) == len(folds)
    # Folds finished there are finished here.
    last = Interrupted(tmp_path, 0)
    assert_same_bits(cross_validate(encoder, X, Y, folds, checkpoint=last), here)
    assert_same_bits(cross_validate(encoder, X, Y, folds, checkpoint=last, cluster=cluster), here)


def test_what_a_fit_raises_reaches_the_caller(cluster: Cluster) -> None:
    X, Y = simulate(20, 5, 10)
    with pytest.raises(ValueError, match="alphas must be positive"):
        cross_validate(RidgeEncoder(alphas=[1.0, -1.0]), X, Y, make_folds(20, 2), cluster=cluster)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(6, 80),
    st.integers(1, 100),
    st.integers(1, 900),
    st.one_of(st.none(), st.integers(1, 90)),
    st.integers(2, 5),
)
def test_parts_are_whole_chunks_and_cover_every_voxel_once(
    n_samples: int, n_features: int, n_voxels: int, target_chunk: int | None, cv: int
) -> None:
    X, Y = np.zeros((n_samples, n_features), np.float32), np.zeros((n_samples, n_voxels), np.float32)
    encoder = RidgeEncoder(cv=cv, target_chunk=target_chunk)
    cut, parts = encoder.divide_voxels(X, Y, np.arange(n_samples))
    assert encoder.target_chunk == target_chunk  # never changed
    width = cut.target_chunk
    assert target_chunk in (None, width)
    assert parts[0].start == 0
    assert [part.stop for part in parts] == [*(part.start for part in parts[1:]), n_voxels]
    assert all(part.start % width == 0 and part.stop > part.start for part in parts)
    side = min(n_samples, n_features)
    assert all(part.stop - part.start >= min(n_voxels, VOXELS_PER_SIDE * side) // 2 for part in parts[:-1])


def test_a_single_penalty_is_not_divided() -> None:
    X, Y = simulate(30, 5, 1000)
    encoder = RidgeEncoder(alphas=3.0, target_chunk=10)
    assert encoder.divide_voxels(X, Y, np.arange(30)) == (encoder, [slice(0, 1000)])


def test_predictions_are_made_chunk_by_chunk() -> None:
    X, Y = simulate(40, 10, 103)
    whole = RidgeEncoder(cv=2, target_chunk=20).fit(X, Y)
    assert whole.voxel_chunk_ == 20
    part = RidgeEncoder(cv=2, target_chunk=20).fit(X, Y[:, 40:])
    assert same_bits(whole.predict(X)[:, 40:], part.predict(X))
    np.testing.assert_allclose(whole.predict(X), X @ whole.coef_ + whole.intercept_, rtol=1e-4, atol=1e-4)
    assert RidgeEncoder(cv=2).fit(X, Y[:, 0]).predict(X).shape == (40,)


@pytest.mark.slow
def test_ten_kills_change_no_bit(cluster: Cluster, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    X, Y = simulate(400, 150, 3001)
    encoder = RidgeEncoder(cv=5, target_chunk=100)
    folds = make_folds(len(X), 6)
    here = cross_validate(encoder, X, Y, folds)
    n_killed = 0
    for attempt in range(20):
        checkpoint = FolderCheckpoint(tmp_path / str(attempt), {})
        with killing(
            cluster, n_kills=10 - n_killed, seed=attempt, rest_s=(0.2, 4.0), ready=lambda: True
        ) as killed:
            assert_same_bits(
                cross_validate(encoder, X, Y, folds, cluster=cluster, checkpoint=checkpoint), here
            )
        n_killed += len(killed)
        if n_killed == 10:
            return
    pytest.fail(f"only {n_killed} workers could be killed in time")
