"""Banded ridge against literal loops, against himalaya, and under changes that must not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold

from encoders.solvers.banded import solve_banded_ridge_cv
from encoders.solvers.banded_draws import draw_gammas
from encoders.solvers.ridge import solve_ridge_cv
from tests.oracles.banded import banded_ridge, search_draws

ALPHAS = np.geomspace(0.3, 3000, 6)
GAMMAS = np.array(
    [[0.3, 0.3, 0.4], [0.9, 0.05, 0.05], [0.01, 0.989, 0.001], [0.0, 0.2, 0.8], [1e-30, 1.0, 0.5]]
)


def simulate(n=48, widths=(5, 9, 4), v=4, seed=0):
    """Bands of unlike scale and mean; voxels that care for one band each, and one that cares for none."""
    rng = np.random.default_rng(seed)
    band_of = np.repeat(np.arange(len(widths)), widths)
    X = rng.standard_normal((n, sum(widths))) * np.array([1.0, 3.0, 0.5])[band_of] + 4
    coef = rng.standard_normal((sum(widths), v))
    for voxel in range(v):
        coef[band_of != voxel % (len(widths) + 1), voxel] = 0
    return X, X @ coef + 2 * rng.standard_normal((n, v)) - 3, band_of


def wide(**changes):
    return simulate(**({"n": 30, "widths": (20, 35, 8)} | changes))


def expected(X, Y, band_of, folds, fit_intercept=True, score="r2", gammas=GAMMAS):
    """What the literal loops choose: best score a draw, penalties, coefficients and intercepts."""
    scores = search_draws(X, Y, band_of, gammas, ALPHAS, folds, fit_intercept, score)
    best = scores.max(1)
    draw = best.argmax(0)
    voxels = np.arange(Y.shape[1])
    alpha = ALPHAS[scores[draw, :, voxels].argmax(1)]
    with np.errstate(divide="ignore"):
        penalties = (alpha[:, None] / gammas[draw]).T
    fits = [banded_ridge(X, y, penalties[band_of, v], fit_intercept) for v, y in enumerate(Y.T)]
    return best, penalties, np.stack([coef for coef, _ in fits], 1), np.array([c for _, c in fits])


@pytest.mark.parametrize("data", [simulate, wide])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("score", ["r2", "correlation"])
def test_all_that_is_learnt_equals_the_literal_loops(data, solver, fit_intercept, score):
    X, Y, band_of = data()
    best, penalties, coef, intercept = expected(X, Y, band_of, list(KFold(4).split(X)), fit_intercept, score)
    solution = solve_banded_ridge_cv(
        X,
        Y,
        band_of,
        ALPHAS,
        4,
        gammas=GAMMAS,
        penalty_search="full",
        solver=solver,
        fit_intercept=fit_intercept,
        score=score,
    )
    assert solution.solver == solver
    np.testing.assert_allclose(solution.cv_scores_, best, atol=1e-9)
    np.testing.assert_allclose(solution.alphas_, penalties, rtol=1e-12)
    np.testing.assert_allclose(solution.coef_, coef, atol=1e-9)
    np.testing.assert_allclose(solution.intercept_, intercept, atol=1e-8)


@pytest.mark.parametrize("data", [simulate, wide])
def test_groups_and_folds_that_leave_rows_out(data):
    X, Y, band_of = data()
    groups = np.arange(len(X)) % 7
    folds = list(GroupKFold(3).split(X, groups=groups))
    by_groups = solve_banded_ridge_cv(
        X, Y, band_of, ALPHAS, 3, groups=groups, gammas=GAMMAS, penalty_search="full"
    )
    np.testing.assert_allclose(by_groups.cv_scores_, expected(X, Y, band_of, folds)[0], atol=1e-9)
    pairs = [(np.arange(4, 20), np.arange(20, 26)), (np.arange(10, 26), np.arange(4))]
    best, penalties, coef, intercept = expected(X, Y, band_of, pairs)
    solution = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, pairs, gammas=GAMMAS, penalty_search="full")
    np.testing.assert_allclose(solution.cv_scores_, best, atol=1e-9)
    np.testing.assert_allclose(solution.alphas_, penalties, rtol=1e-12)
    np.testing.assert_allclose(solution.coef_, coef, atol=1e-9)
    np.testing.assert_allclose(solution.intercept_, intercept, atol=1e-8)


@pytest.fixture
def himalaya_backend():
    """Switch himalaya's global backend, and switch it back."""
    from himalaya.backend import get_backend, set_backend

    before = get_backend().name
    yield set_backend
    set_backend(before)


def inner_r2(losses, Y, n_folds):
    """Turn mean squared errors into the score used here."""
    null = np.mean([((Y[b] - Y[a].mean(0)) ** 2).mean(0) for a, b in KFold(n_folds).split(Y)], 0)
    return 1 + losses / null


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("data", [simulate, wide])
def test_group_ridge_of_himalaya_finds_the_same_in_float64(data, himalaya_backend):
    from himalaya.ridge import GroupRidgeCV

    himalaya_backend("numpy")
    X, Y, band_of = data(v=12)
    gammas = draw_gammas(8, 3, seed=3)
    settings_ = {"n_iter": gammas, "alphas": ALPHAS, "progress_bar": False, "warn": False}
    peer = GroupRidgeCV(groups=list(band_of), cv=5, fit_intercept=True, solver_params=settings_).fit(X, Y)
    ours = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, 5, gammas=gammas, penalty_search="full")
    np.testing.assert_allclose(ours.cv_scores_, inner_r2(peer.cv_scores_, Y, 5), atol=1e-9)
    np.testing.assert_allclose(np.log(ours.alphas_), -peer.deltas_, atol=1e-9)
    np.testing.assert_allclose(ours.coef_, peer.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("n", "widths", "peer_name"), [(300, (40, 60, 30), "group"), (150, (300, 200, 250), "kernel")]
)
def test_scores_in_float32_lie_within_his_by_5_in_1000(n, widths, peer_name, himalaya_backend):
    # The defaults here, interpolation included; held-out R2 on new rows as well as the inner score.
    from himalaya.kernel_ridge import MultipleKernelRidgeCV
    from himalaya.ridge import GroupRidgeCV

    backend = himalaya_backend("torch")
    X, Y, band_of = (a.astype(np.float32) for a in simulate(2 * n, widths, v=30, seed=1))
    band_of = band_of.astype(int)
    X -= 4  # a kernel of features far from zero has no digits left in float32
    X_test, Y_test, X, Y = X[n:], Y[n:], X[:n], Y[:n]
    alphas = np.geomspace(1, 1e6, 20).astype(np.float32)
    gammas = draw_gammas(6, 3).astype(np.float32)
    common = {"n_iter": gammas, "alphas": alphas, "progress_bar": False}
    ours = solve_banded_ridge_cv(X, Y, band_of, alphas, 5, gammas=gammas)
    if peer_name == "group":
        peer = GroupRidgeCV(groups=list(band_of), fit_intercept=True, solver_params=common)
        theirs = peer.fit(backend.asarray(X), backend.asarray(Y)).predict(backend.asarray(X_test)).numpy()
    else:
        peer = MultipleKernelRidgeCV(kernels="precomputed", fit_intercept=True, solver="random_search")
        peer.solver_params = common

        def kernels(A):
            return backend.asarray(np.stack([A[:, band_of == b] @ X[:, band_of == b].T for b in range(3)]))

        theirs = peer.fit(kernels(X), backend.asarray(Y)).predict(kernels(X_test)).numpy()
    scores = inner_r2(backend.to_numpy(peer.cv_scores_), Y, 5)
    assert np.abs(ours.cv_scores_ - scores).max() < 0.005
    variance = ((Y_test - Y_test.mean(0)) ** 2).sum(0)
    r2 = [
        1 - ((Y_test - predicted) ** 2).sum(0) / variance
        for predicted in (X_test @ ours.coef_ + ours.intercept_, theirs)
    ]
    assert np.abs(r2[0] - r2[1]).max() < 0.005
    assert r2[0].max() > 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", [simulate, wide])
@pytest.mark.parametrize("search", ["full", "interpolate"])
def test_one_band_is_ridge_to_the_bit(dtype, data, search):
    X, Y, band_of = data()
    plain = solve_ridge_cv(X, Y, ALPHAS, 4, search=search, dtype=dtype)
    one = solve_banded_ridge_cv(X, Y, 0 * band_of, ALPHAS, 4, penalty_search=search, dtype=dtype)
    np.testing.assert_array_equal(one.coef_, plain.coef_)
    np.testing.assert_array_equal(one.intercept_, plain.intercept_)
    np.testing.assert_array_equal(one.alphas_[0], plain.alphas_)
    np.testing.assert_array_equal(one.cv_scores_[0], plain.cv_scores_.max(0))


def test_interpolated_scores_are_those_of_every_penalty():
    X, Y, band_of = simulate(400, (30, 40, 30), v=20, seed=2)
    alphas = np.geomspace(1, 1e5, 40)
    full, few = (
        solve_banded_ridge_cv(X, Y, band_of, alphas, n_draws=5, penalty_search=how)
        for how in ("full", "interpolate")
    )
    assert 0 < np.abs(full.cv_scores_ - few.cv_scores_).max() < 1e-3


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10_000),
    st.permutations(range(3)),
    st.sampled_from(["primal", "dual"]),
    st.sampled_from([simulate, wide]),
)
def test_the_order_of_bands_and_of_columns_does_not_matter(seed, order, solver, data):
    X, Y, band_of = data(seed=seed)
    columns = np.random.default_rng(seed).permutation(X.shape[1])
    kept = {"folds": 3, "penalty_search": "full", "solver": solver}
    plain = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, gammas=GAMMAS[:3], **kept)
    moved = solve_banded_ridge_cv(
        X[:, columns], Y, np.argsort(order)[band_of[columns]], ALPHAS, gammas=GAMMAS[:3, order], **kept
    )
    np.testing.assert_allclose(moved.cv_scores_, plain.cv_scores_, atol=1e-9)
    np.testing.assert_allclose(moved.alphas_, plain.alphas_[order], rtol=1e-12)
    np.testing.assert_allclose(moved.coef_, plain.coef_[columns], atol=1e-8)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.99), st.sampled_from([simulate, wide]))
def test_a_band_that_stands_twice_is_the_band_with_both_weights(seed, share, data):
    X, Y, band_of = data(seed=seed)
    twice, bands = np.hstack([X, X[:, band_of == 1]]), np.append(band_of, np.full((band_of == 1).sum(), 3))
    split = np.hstack([GAMMAS, (1 - share) * GAMMAS[:, [1]]])
    split[:, 1] *= share
    once = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, 3, gammas=GAMMAS, penalty_search="full")
    both = solve_banded_ridge_cv(twice, Y, bands, ALPHAS, 3, gammas=split, penalty_search="full")
    np.testing.assert_allclose(both.cv_scores_, once.cv_scores_, atol=1e-8)
    np.testing.assert_allclose(
        twice @ both.coef_ + both.intercept_, X @ once.coef_ + once.intercept_, atol=1e-7
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([simulate, wide]), st.integers(1, 5))
def test_voxels_do_not_know_of_each_other(seed, data, target_chunk):
    X, Y, band_of = data(seed=seed)
    together = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, gammas=GAMMAS)
    apart = solve_banded_ridge_cv(X, Y[:, ::-1], band_of, ALPHAS, gammas=GAMMAS, target_chunk=target_chunk)
    np.testing.assert_allclose(apart.coef_[:, ::-1], together.coef_, atol=1e-9)
    np.testing.assert_allclose(apart.cv_scores_[:, ::-1], together.cv_scores_, atol=1e-9)


@pytest.mark.parametrize("data", [simulate, wide])
def test_constant_voxels_and_constant_bands(data):
    X, Y, band_of = data()
    Y[:, 2] = 7.0
    X[:, band_of == 1] = 4.0
    solution = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, gammas=GAMMAS)
    assert np.isnan(solution.cv_scores_[:, 2]).all()
    assert np.isfinite(np.delete(solution.cv_scores_, 2, 1)).all()
    np.testing.assert_array_equal(solution.coef_[:, 2], 0)
    assert solution.intercept_[2] == pytest.approx(7.0)
    assert solution.overall_alphas_[2] == ALPHAS.max()
    np.testing.assert_allclose(solution.coef_[band_of == 1], 0, atol=1e-12)
    only_constant = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, gammas=[[0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(only_constant.coef_, 0)


def test_a_weight_too_small_to_matter_gives_no_coefficients():
    for data in (simulate, wide):
        X, Y, band_of = data()
        solution = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, gammas=[[1e-30, 0.5, 0.5], [0.0, 0.5, 0.5]])
        np.testing.assert_array_equal(solution.cv_scores_[0], solution.cv_scores_[1])
        np.testing.assert_array_equal(solution.coef_[band_of == 0], 0)
        assert np.abs(solution.coef_[band_of == 1]).min() > 0


def test_tensors_give_tensors():
    X, Y, band_of = simulate()
    arrays = solve_banded_ridge_cv(X, Y, band_of, ALPHAS, n_draws=3)
    tensors = solve_banded_ridge_cv(torch.from_numpy(X), torch.from_numpy(Y), band_of, ALPHAS, n_draws=3)
    for name in ("alphas_", "overall_alphas_", "coef_", "intercept_", "cv_scores_", "gammas_", "draw_"):
        value = getattr(tensors, name)
        assert isinstance(value, torch.Tensor)
        np.testing.assert_array_equal(value.numpy(), getattr(arrays, name))


def test_draws_are_seeded_weights_of_every_concentration():
    gammas = draw_gammas(400, 3, (0.1, 1.0), seed=5)
    np.testing.assert_array_equal(gammas, draw_gammas(400, 3, (0.1, 1.0), seed=5))
    assert not np.array_equal(gammas[1:], draw_gammas(400, 3, (0.1, 1.0), seed=6)[1:])
    np.testing.assert_allclose(gammas.sum(1), 1)
    np.testing.assert_array_equal(gammas[0], [1 / 3] * 3)
    # Variance of a weight of a symmetric Dirichlet distribution: (1/k) (1 - 1/k) / (k c + 1).
    for first, concentration in ((0, 0.1), (1, 1.0)):
        found = gammas[2 + first :: 2].var(0).mean()
        assert found == pytest.approx(2 / 9 / (3 * concentration + 1), rel=0.15)
    np.testing.assert_array_equal(draw_gammas(4, 3, corners=True)[-3:], np.eye(3))
    np.testing.assert_array_equal(draw_gammas(4, 3, corners=True)[:4], draw_gammas(4, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": [0] * 17}, "bands has shape .17,.*18 features"),
        ({"bands": np.repeat([0, 2], 9)}, r"bands holds the numbers \[0, 2\].*none may be empty"),
        ({"bands": np.zeros(18)}, "holds float64; it must hold one whole number"),
        ({"gammas": np.ones((2, 4))}, r"gammas has shape \(2, 4\).*3 columns"),
        ({"gammas": [[1, 0, -1.0]]}, r"gammas must be finite, not negative.*row 0 is \[1.0, 0.0, -1.0\]"),
        ({"gammas": [[1, 1, 1.0], [0, 0, 0]]}, "positive for at least one band; row 1"),
        ({"gammas": [[np.nan, 1, 1]]}, "gammas must be finite"),
        ({"n_draws": 0}, "n_draws is 0"),
        ({"concentration": [1.0, 0.0]}, r"concentration is \[1.0, 0.0\]; give a positive number"),
        ({"search": "random_search"}, "search"),
        ({"penalty_search": "some"}, "penalty_search"),
        ({"search": "gradient", "score": "correlation"}, 'gradient search follows.*use score="r2"'),
        ({"alphas": [1.0, -1.0]}, "alphas must be positive"),
        ({"folds": 100}, "folds is 100"),
        ({"target_chunk": 0}, "target_chunk is 0"),
        ({"X": np.full((48, 18), np.nan)}, "X has 864 NaN"),
        ({"Y": np.ones((40, 2))}, "X has 48 rows and Y has 40"),
    ],
)
def test_bad_input_is_named_before_work_starts(changes, message):
    X, Y, band_of = simulate()
    arguments = {"X": X, "Y": Y, "bands": band_of, "alphas": ALPHAS} | changes
    with pytest.raises(ValueError, match=message):
        solve_banded_ridge_cv(**arguments)
