"""The descent on log penalties: its systems, its gradient, and what it may and may not do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from encoders.solvers.banded import solve_banded_ridge_cv
from encoders.solvers.banded_gradient import CompactFeatures, Descent
from encoders.solvers.conjugate_gradients import gather_rows, precondition, solve_systems
from encoders.solvers.ridge import RidgeFit
from tests.oracles.banded import banded_ridge, inner_score

ALPHAS = np.geomspace(1, 1e4, 7)


def simulate(n=80, widths=(6, 10, 8), v=5, seed=0, noise=6.0):
    """Voxels that care for all bands, to unlike degrees."""
    rng = np.random.default_rng(seed)
    band_of = np.repeat(np.arange(len(widths)), widths)
    X = rng.standard_normal((n, sum(widths))) * np.array([1.0, 3.0, 0.5])[band_of] + 4
    sizes = rng.dirichlet([0.5] * len(widths), v).T
    Y = X @ (rng.standard_normal((sum(widths), v)) * sizes[band_of]) + noise * rng.standard_normal((n, v))
    return X, Y, band_of


def wide(**changes):
    # One band is narrower than the samples, two are wider.
    return simulate(**({"n": 40, "widths": (50, 15, 90)} | changes))


def exact(X, Y, band_of, alphas, folds):
    return np.array([inner_score(X, y, alphas[band_of, v], folds) for v, y in enumerate(Y.T)])


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(3, 40), st.integers(2, 60)),
    st.floats(0.1, 30),
    st.booleans(),
)
def test_systems_are_solved_at_penalties_far_from_the_preconditioner(seed, shape, spread, given_start):
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.standard_normal(shape) * np.geomspace(1, 30, shape[1]))
    weights = torch.from_numpy(np.exp(rng.uniform(-3, 3, shape[1])))
    penalties = torch.from_numpy(np.exp(rng.uniform(0, np.log1p(spread), (7, shape[1]))))
    right = torch.from_numpy(rng.standard_normal((7, len(X))) @ X.numpy())
    start = torch.from_numpy(rng.standard_normal((7, shape[1]))) if given_start else None
    rows = gather_rows(X, X[:1])
    w = solve_systems(rows, precondition(rows, weights), penalties, right, start, 1e-11).numpy()
    gram = (X.T @ X).numpy()
    for voxel in range(7):
        direct = np.linalg.solve(gram + np.diag(penalties[voxel].numpy()), right[voxel].numpy())
        np.testing.assert_allclose(w[voxel], direct, atol=1e-7 * np.abs(direct).max())


def test_a_good_preconditioner_needs_no_steps():
    rng = np.random.default_rng(0)
    for shape in ((40, 12), (12, 40)):
        X = torch.from_numpy(rng.standard_normal(shape))
        weights = torch.from_numpy(rng.uniform(0.1, 10, shape[1]))
        ready = precondition(gather_rows(X, X[:1]), weights)
        right = torch.from_numpy(rng.standard_normal((1, shape[1])))
        found = ready.apply(right, torch.tensor([[3.0]], dtype=torch.float64))[0]
        direct = torch.linalg.solve(X.T @ X + torch.diag(3 / weights), right[0])
        np.testing.assert_allclose(found, direct, atol=1e-11)


@pytest.mark.parametrize("data", [simulate, wide])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_score_and_gradient_are_those_of_the_literal_loops(data, fit_intercept, monkeypatch):
    monkeypatch.setattr("encoders.solvers.banded_gradient.GRADIENT_RESIDUAL", 1e-12)
    X, Y, band_of = data()
    folds = list(KFold(3).split(X))
    fit = RidgeFit(X, Y, fit_intercept, "cpu", None, None)
    features = CompactFeatures(fit, torch.from_numpy(band_of), 3)
    voxels = torch.arange(Y.shape[1])
    rows = [features.rows(*fold) for fold in folds]
    ready = [precondition(each, torch.ones(each.train.shape[1], dtype=torch.float64)) for each in rows]
    descent = Descent(
        rows, ready, [features.responses(voxels, *fold) for fold in folds], features.band_of, features.largest
    )
    at = np.random.default_rng(1).uniform(0, 7, (Y.shape[1], 3))
    score, descent.w = descent._score(torch.from_numpy(at), voxels, 1e-12)
    gradient = descent._gradient(torch.from_numpy(at), voxels).numpy()

    def literal(log_penalties):
        return np.array(
            [
                inner_score(X, y, np.exp(log_penalties[v])[band_of], folds, fit_intercept)
                for v, y in enumerate(Y.T)
            ]
        )

    np.testing.assert_allclose(score, literal(at), atol=1e-9)
    for band in range(3):
        step = np.zeros(3)
        step[band] = 1e-4
        difference = (literal(at + step) - literal(at - step)) / 2e-4
        np.testing.assert_allclose(gradient[:, band], difference, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([simulate, wide]), st.sampled_from(["float32", "float64"]))
def test_never_worse_than_the_random_search_and_true_to_its_penalties(seed, data, dtype):
    X, Y, band_of = data(seed=seed)
    folds = list(KFold(4).split(X))
    gammas = [[1, 1, 1], [1, 0.1, 0.0]]
    arguments = {"gammas": gammas, "penalty_search": "full", "dtype": dtype}
    random, gradient = (
        solve_banded_ridge_cv(X, Y, band_of, ALPHAS, folds, search=how, **arguments)
        for how in ("random", "gradient")
    )
    np.testing.assert_array_equal(gradient.cv_scores_[:-1], random.cv_scores_)
    reached, precision = gradient.cv_scores_[-1], 1e-3 if dtype == "float32" else 1e-4
    assert (reached >= random.cv_scores_.max(0)).all()
    np.testing.assert_allclose(exact(X, Y, band_of, gradient.alphas_, folds), reached, atol=precision)
    for v, y in enumerate(Y.T):
        coef, intercept = banded_ridge(X, y, gradient.alphas_[band_of, v])
        size = np.abs(coef).max()
        np.testing.assert_allclose(gradient.coef_[:, v], coef, atol=size * precision)
        np.testing.assert_allclose(gradient.intercept_[v], intercept, atol=20 * size * precision)
    better = reached > random.cv_scores_.max(0)
    np.testing.assert_allclose(
        gradient.overall_alphas_[better], 1 / (1 / gradient.alphas_[:, better]).sum(0), rtol=1e-5
    )
    np.testing.assert_array_equal(gradient.alphas_[:, ~better], random.alphas_[:, ~better])


@pytest.mark.parametrize("data", [simulate, wide])
def test_from_equal_weights_it_reaches_what_many_draws_find(data):
    # Bands matter to unlike degrees: many draws must come near the best weights by luck.
    X, Y, band_of = data(v=40, seed=3)
    folds = list(KFold(5).split(X))
    gradient = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, folds, n_draws=3, search="gradient")
    few = gradient.cv_scores_[:-1].max(0)
    many = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, folds, n_draws=60, seed=1).cv_scores_.max(0)
    reached = exact(X, Y, band_of, gradient.alphas_, folds)
    assert reached.mean() > few.mean() + 0.005
    assert reached.mean() > many.mean() - 0.002
    assert (reached >= few - 1e-3).all()


def test_at_the_end_no_small_change_of_a_penalty_is_much_better():
    X, Y, band_of = simulate(n=120, v=6, seed=4)
    folds = list(KFold(4).split(X))
    alphas = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, folds, n_draws=4, search="gradient").alphas_
    reached = exact(X, Y, band_of, alphas, folds)
    for band in range(3):
        for factor in (0.7, 1.4):
            moved = alphas.copy()
            moved[band] *= factor
            assert (exact(X, Y, band_of, moved, folds) < reached + 2e-3).all()


def test_constant_voxels_and_bands_and_voxels_without_signal():
    X, Y, band_of = simulate()
    Y[:, 1] = 3.0
    Y[:, 2] = np.random.default_rng(9).standard_normal(len(Y))
    X[:, band_of == 2] = 1.0
    solution = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, n_draws=3, search="gradient")
    assert np.isnan(solution.cv_scores_[:, 1]).all()
    np.testing.assert_array_equal(solution.coef_[:, 1], 0)
    assert solution.intercept_[1] == pytest.approx(3.0)
    others = np.delete(solution.cv_scores_, 1, 1)
    assert (others[-1] >= others[:-1].max(0)).all()
    np.testing.assert_allclose(solution.coef_[band_of == 2], 0, atol=1e-12)
    X[:] = 1.0
    flat = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, n_draws=3, search="gradient")
    np.testing.assert_allclose(flat.coef_, 0, atol=1e-12)
