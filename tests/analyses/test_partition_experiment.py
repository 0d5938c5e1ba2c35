"""Variance partitioning from features to shares, with banded ridge in outer folds."""

import numpy as np
import pytest

from analyses.experiments.variance_partition import partition_variance
from analyses.statistics.permutation import permute_blocks_within_runs
from encoders.cross_validation import make_folds
from encoders.estimators.banded import BandedRidgeEncoder
from encoders.estimators.ridge import RidgeEncoder
from encoders.scores import r2_score

ALPHAS = np.geomspace(1e-1, 1e4, 6)


def spaces_and_responses(n=400, n_voxels=6, seed=0):
    """Each space has 6 columns of its own and 4 in common; the first three voxels read all of them, the rest none.

    Per voxel the own columns of A explain 0.3 of the variance, those of B 0.15, the common ones 0.25.
    """
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n, 6))
    common = rng.standard_normal((n, 4))

    def read(x):
        weights = rng.standard_normal((x.shape[1], n_voxels))
        return x @ (weights / np.linalg.norm(weights, axis=0))

    Y = np.sqrt(0.3) * read(a) + np.sqrt(0.15) * read(b) + np.sqrt(0.25) * read(common)
    Y[:, n_voxels // 2 :] = 0
    noise = rng.standard_normal((n, n_voxels))
    Y += noise * np.where(np.arange(n_voxels) < n_voxels // 2, np.sqrt(0.3), 1)
    return {"A": np.hstack([a, common]), "B": np.hstack([b, common])}, Y + 20


def test_planted_shares_are_found_on_held_out_samples():
    features, Y = spaces_and_responses(1500)
    rois = {"driven": np.arange(6) < 3, "noise": np.arange(6) >= 3}
    found = partition_variance(
        features,
        Y,
        make_folds(1500, 5),
        encoder=BandedRidgeEncoder(alphas=ALPHAS, n_draws=6),
        rois=rois,
        n_bootstrap=200,
        n_permutations=200,
    )
    parts = found.commonality.table.loc["driven"]
    np.testing.assert_allclose(parts["estimate"], [0.3, 0.15, 0.25, 0.7], atol=0.03)
    assert (parts["q_value"] < 0.02).all()
    # The common columns stand in both bands: half of their share goes to each, however the penalties divide it.
    shares = found.product.table.loc["driven"]["estimate"]
    assert shares["total"] == pytest.approx(parts.loc["total", "estimate"])
    assert 0.3 - 0.03 <= shares["A"] <= 0.55 + 0.03
    assert shares[["A", "B"]].sum() == pytest.approx(shares["total"])
    assert np.abs(found.commonality.table.loc["noise"]["estimate"]).max() < 0.02
    np.testing.assert_allclose(found.commonality.r2, r2_score(Y, found.predictions[("A", "B")]), atol=1e-10)
    np.testing.assert_allclose(found.product.shares.sum(axis=0), found.commonality.r2, atol=1e-8)
    assert not any("suppression" in sentence for sentence in found.explain())


def test_refitted_null_rejects_noise_no_more_often_than_signal():
    features, Y = spaces_and_responses(120, seed=1)
    runs = np.repeat(np.arange(6), 20)
    orders = permute_blocks_within_runs(np.arange(120), runs, 19, seed=2)
    rois = {"driven": np.arange(6) < 3, "noise": np.arange(6) >= 3}
    done = []
    found = partition_variance(
        features,
        Y,
        make_folds(120, 2, groups=runs),
        runs,
        BandedRidgeEncoder(alphas=(10.0, 1000.0), n_draws=2, cv=3),
        rois=rois,
        permutations=orders,
        n_bootstrap=50,
        n_permutations=50,
        progress=lambda number, total, label: done.append((number, total)),
    )
    assert done[-1] == (20 * 2 * 3, 20 * 2 * 3)
    for table in (found.commonality.table, found.product.table):
        assert table.loc[("driven", "total"), "p_value_null"] == pytest.approx(1 / 20)
        assert table.loc[("noise", "total"), "p_value_null"] > 0.05
        assert abs(table.loc[("driven", "total"), "null_mean"]) < 0.1
    assert found.commonality.n_units == 6


def test_nothing_of_the_test_rows_reaches_the_fit():
    """Changing the responses of one fold's test rows changes no prediction for them."""
    features, Y = spaces_and_responses(90, seed=3)
    folds = make_folds(90, 3)
    encoder = BandedRidgeEncoder(alphas=(1.0, 100.0), n_draws=2, cv=3)
    rows = folds[1][1]
    other = Y.copy()
    other[rows] = np.random.default_rng(4).standard_normal(other[rows].shape)
    first, second = (
        partition_variance(features, y, folds, encoder=encoder, n_bootstrap=2, n_permutations=2)
        for y in (Y, other)
    )
    for subset in first.predictions:
        np.testing.assert_array_equal(first.predictions[subset][rows], second.predictions[subset][rows])
    np.testing.assert_array_equal(first.band_predictions["A"][rows], second.band_predictions["A"][rows])
    assert (first.predictions[("A",)] != second.predictions[("A",)]).any()


def test_only_tested_rows_count_and_the_order_of_spaces_does_not():
    features, Y = spaces_and_responses(100, seed=5)
    folds = [(np.arange(60), np.arange(60, 100))]
    encoder = BandedRidgeEncoder(alphas=(1.0, 100.0), n_draws=1, cv=3)  # equal weights of the bands
    found = partition_variance(features, Y, folds, encoder=encoder, n_bootstrap=2, n_permutations=2)
    np.testing.assert_array_equal(found.tested, np.arange(60, 100))
    assert found.predictions[("A",)].shape == (40, 6)
    assert found.commonality.n_units == 40
    turned = partition_variance(
        {"B": features["B"], "A": features["A"]}, Y, folds, encoder=encoder, n_bootstrap=2, n_permutations=2
    )
    for part in ("A", "B"):
        np.testing.assert_allclose(
            turned.commonality.table.loc[("all", part), "estimate"],
            found.commonality.table.loc[("all", part), "estimate"],
            atol=1e-6,
        )


def test_bad_input_is_refused_before_anything_is_fitted():
    features, Y = spaces_and_responses(40)
    folds = make_folds(40, 4)
    with pytest.raises(ValueError, match="1 feature space"):
        partition_variance({"A": features["A"]}, Y, folds)
    with pytest.raises(ValueError, match="5 feature spaces"):
        partition_variance(dict.fromkeys("ABCDE", Y), Y, folds)
    with pytest.raises(ValueError, match=r"features\['B'\] has shape \(39, 10\)"):
        partition_variance(features | {"B": features["B"][1:]}, Y, folds)
    with pytest.raises(ValueError, match=r"features\['A'\] is NaN or infinite in 1 of 40 rows"):
        partition_variance(
            features | {"A": np.where(np.arange(40)[:, None] == 3, np.nan, features["A"])}, Y, folds
        )
    with pytest.raises(ValueError, match="240 values that are NaN"):
        partition_variance(features, Y * np.nan, folds)
    with pytest.raises(ValueError, match="RidgeEncoder, without predict_bands"):
        partition_variance(features, Y, folds, encoder=RidgeEncoder())
    with pytest.raises(ValueError, match=r"units has shape \(3,\)"):
        partition_variance(features, Y, folds, units=np.zeros(3))
    with pytest.raises(ValueError, match="permutations has shape"):
        partition_variance(features, Y, folds, permutations=np.zeros((3, 4), int))
