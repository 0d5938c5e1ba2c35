"""RidgeEncoder in scikit-learn's manner, on arrays of every kind."""

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold
from sklearn.utils.estimator_checks import check_estimator

from encoders.estimators.ridge import RELATIVE_ALPHAS, RidgeEncoder
from tests.oracles.ridge import held_out_r2, ridge

ALPHAS = np.logspace(-1, 3, 5)


def simulate(n=60, p=8, v=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(0.1, 10, p) + 3
    return X, X @ rng.standard_normal((p, v)) + 5 * rng.standard_normal((n, v))


@pytest.mark.parametrize("estimator", [RidgeEncoder(cv=2), RidgeEncoder(alphas=1.0, scale_features=True)])
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_scikit_learn_passes(estimator):
    check_estimator(estimator)


def test_groups_and_inner_folds_reach_the_solver():
    X, Y = simulate()
    groups = np.arange(60) % 7
    encoder = RidgeEncoder(alphas=ALPHAS, cv=3).fit(X, Y, groups=groups)
    folds = list(GroupKFold(3).split(X, groups=groups))
    expected = held_out_r2(X, Y, ALPHAS, folds)
    np.testing.assert_allclose(encoder.cv_scores_, expected, atol=1e-9)
    np.testing.assert_array_equal(encoder.alphas_, ALPHAS[expected.argmax(0)])


def test_one_penalty_needs_no_folds():
    X, Y = simulate()
    encoder = RidgeEncoder(alphas=4.0, cv=1000).fit(X, Y)
    coef, intercept = ridge(X, Y, 4.0)
    np.testing.assert_allclose(encoder.coef_, coef, atol=1e-9)
    np.testing.assert_allclose(encoder.intercept_, intercept, atol=1e-9)
    assert encoder.cv_scores_ is None


def test_scaling_is_that_of_the_samples_given_to_fit():
    X, Y = simulate()
    X[:, 3] = 2.0
    encoder = RidgeEncoder(alphas=4.0, scale_features=True).fit(X, Y)
    scale = np.where(X.std(0) > 0, X.std(0), 1)
    coef, intercept = ridge(X / scale, Y, 4.0)
    new = simulate(seed=1)[0]
    np.testing.assert_allclose(encoder.predict(new), new / scale @ coef + intercept, atol=1e-8)
    np.testing.assert_allclose(encoder.coef_[3], 0, atol=1e-12)


@pytest.mark.parametrize(("n", "p"), [(60, 8), (20, 50)])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_default_penalties_follow_the_unit_of_the_features(n, p, unit):
    X, Y = simulate(n, p)
    grid = RidgeEncoder().fit(unit * X, Y).alpha_grid_
    eigenvalues = np.linalg.eigvalsh(np.cov(unit * X.T, bias=True) * n)
    np.testing.assert_allclose(grid, RELATIVE_ALPHAS * eigenvalues.sum() / min(n, p))
    np.testing.assert_allclose(
        RidgeEncoder().fit(unit * X, Y).predict(unit * X),
        RidgeEncoder().fit(X, Y).predict(X),
        rtol=1e-5,
        atol=1e-6,
    )


def test_default_penalties_reach_past_what_noisy_voxels_ask_for():
    # One per cent of the variance explained: the best penalty is inside the grid.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 600))
    Y = X @ rng.standard_normal((600, 200)) / np.sqrt(600) + np.sqrt(99) * rng.standard_normal((300, 200))
    encoder = RidgeEncoder().fit(X, Y)
    assert (
        RELATIVE_ALPHAS.min() < np.median(encoder.alphas_) / encoder.alpha_grid_[0] * RELATIVE_ALPHAS[0] < 1e4
    )


def test_score_is_the_mean_r2_and_correlation_is_per_voxel():
    X, Y = simulate()
    Y[:, 2] = 1.0
    encoder = RidgeEncoder(alphas=ALPHAS).fit(X, Y)
    predicted = encoder.predict(X)
    r2 = 1 - ((Y - predicted) ** 2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0).clip(1e-300)
    assert encoder.score(X, Y) == pytest.approx(np.delete(r2, 2).mean())
    r = encoder.correlation(X, Y)
    assert np.isnan(r[2])
    expected = [
        np.corrcoef(y, p)[0, 1]
        for y, p in zip(Y[:, [0, 1, 3, 4]].T, predicted[:, [0, 1, 3, 4]].T, strict=True)
    ]
    np.testing.assert_allclose(np.delete(r, 2), expected)


def test_a_vector_of_responses_gives_vectors():
    X, Y = simulate()
    one, all_voxels = RidgeEncoder(alphas=ALPHAS).fit(X, Y[:, 0]), RidgeEncoder(alphas=ALPHAS).fit(X, Y)
    assert one.coef_.shape == (8,)
    assert one.alphas_.shape == one.intercept_.shape == ()
    assert one.predict(X).shape == (60,)
    np.testing.assert_allclose(one.predict(X), all_voxels.predict(X)[:, 0], atol=1e-9)
    assert isinstance(one.score(X, Y[:, 0]), float)


def test_arrays_of_every_kind_give_the_same():
    X, Y = simulate()
    plain = RidgeEncoder(alphas=ALPHAS).fit(X, Y)
    labelled = xr.DataArray(Y, dims=("presentation", "neuroid"))
    for x, y in (
        (xr.DataArray(X, dims=("presentation", "feature")), labelled),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (X.tolist(), Y.tolist()),
        (np.asfortranarray(X), Y),
    ):
        encoder = RidgeEncoder(alphas=ALPHAS).fit(x, y)
        assert isinstance(encoder.coef_, np.ndarray)
        np.testing.assert_allclose(encoder.predict(x), plain.predict(X), atol=1e-9)
    torch_vector = RidgeEncoder(alphas=ALPHAS).fit(torch.from_numpy(X), torch.from_numpy(Y[:, 0]))
    assert torch_vector.coef_.shape == (8,)


def test_fit_does_no_work_before_and_keeps_parameters():
    encoder = RidgeEncoder(alphas=ALPHAS, cv=3, device="cpu")
    with pytest.raises(NotFittedError):
        encoder.predict(np.ones((2, 2)))
    X, Y = simulate()
    copy = clone(encoder.fit(X, Y))
    assert repr(copy.get_params()) == repr(encoder.get_params())
    assert not hasattr(copy, "coef_")


def test_bad_input_to_predict_is_named():
    X, Y = simulate()
    encoder = RidgeEncoder(alphas=ALPHAS).fit(X, Y)
    with pytest.raises(ValueError, match="X has 7 features, but RidgeEncoder is expecting 8"):
        encoder.predict(X[:, 1:])
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="X has 1 NaN"):
        encoder.predict(X)
