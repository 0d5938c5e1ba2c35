"""Scores per voxel against NumPy, scikit-learn and figures published with real data."""

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score as sklearn_r2
from sklearn.model_selection import KFold

from encoders.scores import CHUNK, correlation_score, r2_score, within_group_correlation
from encoders.solvers.ridge import solve_ridge


def simulate(n=30, v=9, seed=0):
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((n, v)) * 10.0 ** np.linspace(-3, 3, v) + 100
    return Y, Y + rng.standard_normal((n, v)) * 10.0 ** np.linspace(-3, 3, v)


def test_correlation_is_numpy_s():
    Y, P = simulate()
    expected = [np.corrcoef(y, p)[0, 1] for y, p in zip(Y.T, P.T, strict=True)]
    np.testing.assert_allclose(correlation_score(Y, P), expected, atol=1e-12)


def test_r2_is_scikit_learn_s():
    Y, P = simulate()
    np.testing.assert_allclose(r2_score(Y, P), sklearn_r2(Y, P, multioutput="raw_values"), atol=1e-9)


def test_chunks_leave_no_seam():
    Y, P = simulate(v=CHUNK + 3)
    for score in (correlation_score, r2_score):
        np.testing.assert_allclose(score(Y, P)[-4:], score(Y[:, -4:], P[:, -4:]), rtol=1e-12)


def test_float32_is_summed_in_float64():
    Y, P = (a.astype("f4") + np.float32(1e4) for a in simulate(n=3000, v=3))
    expected = correlation_score(Y.astype(float), P.astype(float))
    np.testing.assert_array_equal(correlation_score(Y, P), expected)


@given(
    seed=st.integers(0, 1000),
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
def test_correlation_knows_neither_unit_nor_offset(seed, scale, offset):
    Y, P = simulate(seed=seed)
    np.testing.assert_allclose(correlation_score(Y, scale * P + offset), correlation_score(Y, P), atol=1e-6)


def test_perfect_and_mean_predictions():
    Y, _ = simulate()
    np.testing.assert_allclose(r2_score(Y, Y), 1)
    np.testing.assert_allclose(r2_score(Y, np.broadcast_to(Y.mean(0), Y.shape)), 0, atol=1e-9)
    np.testing.assert_allclose(correlation_score(Y, -Y), -1)


def test_constant_and_missing_columns_are_nan():
    Y, P = simulate()
    Y[:, 0], P[:, 1], Y[3, 2] = 0.1, 0.1, np.nan
    assert np.isnan(correlation_score(Y, P)).tolist() == [True] * 3 + [False] * 6
    assert np.isnan(r2_score(Y, P)).tolist() == [True, False, True] + [False] * 6


def test_a_category_effect_counts_nothing_within_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(["six", "nine"], 500)
    category = np.where(groups == "six", 5.0, -5.0)[:, None]
    Y, P = category + rng.standard_normal((1000, 50)), category + rng.standard_normal((1000, 50))
    assert correlation_score(Y, P).min() > 0.9
    assert abs(within_group_correlation(Y, P, groups).mean()) < 0.01


def test_within_groups_is_the_mean_over_groups():
    Y, P = simulate()
    groups = np.arange(30) % 3
    expected = np.mean([correlation_score(Y[groups == g], P[groups == g]) for g in range(3)], axis=0)
    np.testing.assert_allclose(within_group_correlation(Y, P, groups), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("Y", "P", "message"),
    [
        (np.ones((4, 2)), np.ones((4, 3)), r"\(4, 2\) and P has shape \(4, 3\)"),
        (np.ones((1, 2)), np.ones((1, 2)), "1 sample"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2)), "n_samples, n_voxels"),
    ],
)
def test_bad_shapes_are_named(Y, P, message):
    for score in (correlation_score, r2_score):
        with pytest.raises(ValueError, match=message):
            score(Y, P)


def test_bad_groups_are_named():
    Y, P = simulate()
    with pytest.raises(ValueError, match="groups has shape"):
        within_group_correlation(Y, P, [1, 2])
    with pytest.raises(ValueError, match="group 7 has 1 sample"):
        within_group_correlation(Y, P, np.r_[7, np.zeros(29, int)])


def test_digits69_from_pixels_gives_the_measured_figures(real_data):
    # Protocol and figures: README of the data folder, row digits69 (van Gerven, de Lange & Heskes 2010): pixels / 255,
    # penalty 300, training and test trials stacked, shuffled 10-fold, r over the pooled held-out predictions.
    file = scipy.io.loadmat(real_data / "digits69" / "digit69_28x28.mat")
    X = np.concatenate([file["stimTrn"], file["stimTest"]]).astype(float) / 255
    Y = np.concatenate([file["fmriTrn"], file["fmriTest"]]).astype(float)
    digit = np.concatenate([file["labelTrn"], file["labelTest"]])[:, 0]
    folds = list(KFold(10, shuffle=True, random_state=0).split(X))

    def held_out(X):
        predictions = np.empty_like(Y)
        for train, test in folds:
            predictions[test] = solve_ridge(X[train], Y[train], 300.0).predict(X[test])
        return predictions

    predictions = held_out(X)
    r = correlation_score(Y, predictions)
    assert [r.mean(), np.percentile(r, 95), r.max()] == pytest.approx([0.139, 0.633, 0.845], abs=0.0006)
    r = within_group_correlation(Y, predictions, digit)
    assert [r.mean(), np.percentile(r, 95)] == pytest.approx([0.057, 0.510], abs=0.0006)
    # The README does not name the seed of its shuffled stimuli (95th percentile 0.124): any shuffle is near it.
    shuffled = np.random.default_rng(0).permutation(100)
    assert np.percentile(correlation_score(Y, held_out(X[shuffled])), 95) < 0.25
