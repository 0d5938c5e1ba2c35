"""Ridge solvers against direct float64 solves, scikit-learn, symmetries and planted weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from encoders.solvers import forms
from encoders.solvers.forms import TALL
from encoders.solvers.ridge import choose_form, solve_ridge, solve_ridge_cv
from tests.oracles.ridge import held_out_correlation, held_out_r2, ridge

ALPHAS = np.logspace(-2, 4, 7)
SHAPES = {"tall": (70, 9), "wide": (40, 90), "square": (40, 40), "very tall": (200, 6)}


def simulate(n, p, v=7, seed=0, noise=4.0, offset=5.0):
    """Features and responses with offsets and unequal variances."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.linspace(0.5, 2, p) + offset * rng.standard_normal(p)
    Y = (
        X @ rng.standard_normal((p, v))
        + noise * np.arange(1, v + 1) * rng.standard_normal((n, v))
        + 6 * offset
    )
    return X, Y


def k_fold(n, k=4, shuffle=False):
    return list(KFold(k, shuffle=shuffle, random_state=0 if shuffle else None).split(np.zeros(n)))


FOLDS = {
    "contiguous": lambda n: k_fold(n),
    "shuffled": lambda n: k_fold(n, shuffle=True),
    "overlapping tests": lambda n: list(ShuffleSplit(3, random_state=0).split(np.zeros(n))),
    "gaps": lambda n: [(train[2:-2], test) for train, test in k_fold(n, 3)],
    "one": lambda n: [(np.arange(n // 2), np.arange(n // 2, n))],
}


@pytest.mark.parametrize("score", ["r2", "correlation"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("fold_kind", FOLDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_penalties_and_weights_are_those_of_direct_solves(
    shape, fold_kind, solver, fit_intercept, score
):
    n, p = SHAPES[shape]
    X, Y = simulate(n, p, offset=5.0 if fit_intercept else 0.2)
    folds = FOLDS[fold_kind](n)
    oracle = {"r2": held_out_r2, "correlation": held_out_correlation}[score]
    expected = oracle(X, Y, ALPHAS, folds, fit_intercept)
    for dtype, score_error, weight_error in ((np.float64, 1e-9, 1e-8), (np.float32, 1e-3, 1e-2)):
        fit = solve_ridge_cv(
            X.astype(dtype),
            Y.astype(dtype),
            ALPHAS,
            folds,
            fit_intercept=fit_intercept,
            solver=solver,
            score=score,
            target_chunk=3,
        )
        assert fit.solver == solver
        assert fit.coef_.dtype == dtype
        np.testing.assert_allclose(fit.cv_scores_, expected, atol=score_error)
        chosen = np.take_along_axis(expected, (ALPHAS[:, None] == fit.alphas_).argmax(0)[None], 0)[0]
        np.testing.assert_allclose(chosen, expected.max(0), atol=score_error / 100)
        for voxel, alpha in enumerate(fit.alphas_):
            coef, intercept = ridge(X, Y[:, [voxel]], alpha, fit_intercept)
            np.testing.assert_allclose(fit.coef_[:, voxel], coef[:, 0], atol=weight_error)
            np.testing.assert_allclose(
                fit.predict(X)[:, voxel], X @ coef[:, 0] + intercept, atol=5 * weight_error
            )


def test_the_shapes_cover_triangle_and_rectangle():
    tall = {name for name, (n, p) in SHAPES.items() if n // 4 > TALL * min(p, n - n // 4 - 1)}
    assert tall
    assert tall != set(SHAPES)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_leave_one_out_has_r2_and_no_correlation(solver):
    X, Y = simulate(25, 6)
    fit = solve_ridge_cv(X, Y, ALPHAS, 25, solver=solver)
    np.testing.assert_allclose(fit.cv_scores_, held_out_r2(X, Y, ALPHAS, k_fold(25, 25)), atol=1e-9)
    blind = solve_ridge_cv(X, Y, ALPHAS, 25, solver=solver, score="correlation")
    assert (blind.cv_scores_ == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_a_given_penalty_agrees_with_scikit_learn(shape, solver):
    X, Y = simulate(*SHAPES[shape])
    alpha = np.linspace(0.5, 50, Y.shape[1])
    fit = solve_ridge(X, Y, alpha, solver=solver, target_chunk=2)
    peer = Ridge(alpha=alpha).fit(X, Y)
    np.testing.assert_allclose(fit.coef_.T, peer.coef_, atol=1e-8)
    np.testing.assert_allclose(fit.intercept_, peer.intercept_, atol=1e-7)
    np.testing.assert_array_equal(fit.alphas_, alpha)
    assert fit.cv_scores_ is None


def test_planted_weights_and_the_right_penalty_are_recovered():
    # With weights of variance t and noise of variance s, the penalty of least expected error is s / t.
    rng = np.random.default_rng(0)
    n, p, v, s = 400, 100, 300, 25.0
    X = rng.standard_normal((n, p))
    W = rng.standard_normal((p, v))
    Y = X @ W + np.sqrt(s) * rng.standard_normal((n, v))
    fit = solve_ridge_cv(X, Y, s * 4.0 ** np.arange(-5, 6), 5)
    assert np.median(fit.alphas_) == s
    expected = np.trace(np.linalg.inv(X.T @ X / s + np.eye(p))) / p  # posterior variance of a weight
    assert np.mean((fit.coef_ - W) ** 2) == pytest.approx(expected, rel=0.05)


def test_groups_stay_whole():
    X, Y = simulate(60, 8)
    groups = np.repeat(np.arange(12), 5)[np.random.default_rng(1).permutation(60)]
    folds = list(GroupKFold(4).split(X, groups=groups))
    fit = solve_ridge_cv(X, Y, ALPHAS, 4, groups=groups)
    np.testing.assert_allclose(fit.cv_scores_, held_out_r2(X, Y, ALPHAS, folds), atol=1e-9)


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_no_bit_of_a_fitted_fold_depends_on_its_test_rows(shape, solver):
    n, p = SHAPES[shape]
    X, Y = simulate(n, p)
    spoiled_X, spoiled_Y = X.copy(), Y.copy()
    test = np.arange(n)[-(n // 5) :]
    spoiled_X[test], spoiled_Y[test] = 1e6, -1e6
    place = torch.device("cpu")
    rows = [np.arange(n)[k * (n // 5) : (k + 1) * (n // 5)] for k in range(4)] + [test]

    def fitted(X, Y):
        x, y = (forms.Blocks(torch.from_numpy(a), rows, place, torch.float32) for a in (X, Y))
        form = (forms.PrimalForm if solver == "primal" else forms.DualForm)(x, True)
        systems, _ = form.diagonalize([4], False, torch.float32)
        return systems[4].spectrum, form.rotate(y, form.prepare(y), 4, systems[4]).z

    (spectrum, z), (spoiled_spectrum, spoiled_z) = fitted(X, Y), fitted(spoiled_X, spoiled_Y)
    assert torch.equal(spectrum.eigenvalues, spoiled_spectrum.eigenvalues)
    assert torch.equal(spectrum.basis, spoiled_spectrum.basis)
    assert torch.equal(z, spoiled_z)


def test_a_feature_that_equals_the_test_responses_does_not_help():
    rng = np.random.default_rng(0)
    n, v = 100, 20
    X, Y = rng.standard_normal((n, 30)), rng.standard_normal((n, v))
    X[80:, :v] = Y[80:]  # the answers, in the test rows only
    fit = solve_ridge_cv(X, Y, ALPHAS, [(np.arange(80), np.arange(80, 100))])
    clean = X.copy()
    clean[80:, :v] = rng.standard_normal((20, v))
    honest = solve_ridge_cv(clean, Y, ALPHAS, [(np.arange(80), np.arange(80, 100))])
    assert fit.cv_scores_.max(0).mean() < honest.cv_scores_.max(0).mean() + 0.05


class TestSymmetries:
    shapes = st.tuples(st.integers(12, 40), st.integers(1, 40))

    @given(shape=shapes, seed=st.integers(0, 10**6), fit_intercept=st.booleans())
    @settings(max_examples=20, deadline=None)
    def test_primal_equals_dual(self, shape, seed, fit_intercept):
        X, Y = simulate(*shape, v=3, seed=seed)
        primal, dual = (
            solve_ridge_cv(X, Y, ALPHAS, 3, solver=s, fit_intercept=fit_intercept) for s in ("primal", "dual")
        )
        np.testing.assert_allclose(primal.cv_scores_, dual.cv_scores_, rtol=1e-6, atol=1e-6)
        same = primal.alphas_ == dual.alphas_
        np.testing.assert_allclose(primal.predict(X)[:, same], dual.predict(X)[:, same], rtol=1e-5, atol=1e-5)

    @given(shape=shapes, seed=st.integers(0, 10**6))
    @settings(max_examples=20, deadline=None)
    def test_a_rotation_of_the_features_rotates_the_weights(self, shape, seed):
        X, Y = simulate(*shape, v=3, seed=seed)
        rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((shape[1],) * 2))[0]
        plain, rotated = solve_ridge_cv(X, Y, ALPHAS, 3), solve_ridge_cv(X @ rotation, Y, ALPHAS, 3)
        np.testing.assert_allclose(plain.cv_scores_, rotated.cv_scores_, rtol=1e-6, atol=1e-6)
        same = plain.alphas_ == rotated.alphas_
        np.testing.assert_allclose(plain.coef_[:, same], (rotation @ rotated.coef_)[:, same], atol=1e-5)

    @given(shape=shapes, seed=st.integers(0, 10**6), offset=st.floats(-1e3, 1e3))
    @settings(max_examples=20, deadline=None)
    def test_constants_move_the_intercept_only(self, shape, seed, offset):
        X, Y = simulate(*shape, v=3, seed=seed)
        plain, moved = solve_ridge_cv(X, Y, ALPHAS, 3), solve_ridge_cv(X + offset, Y - 2 * offset, ALPHAS, 3)
        np.testing.assert_allclose(plain.cv_scores_, moved.cv_scores_, rtol=1e-6, atol=1e-6)
        same = plain.alphas_ == moved.alphas_
        np.testing.assert_allclose(plain.coef_[:, same], moved.coef_[:, same], atol=1e-5)
        expected = plain.intercept_ - 2 * offset - offset * plain.coef_.sum(0)
        np.testing.assert_allclose(moved.intercept_[same], expected[same], rtol=1e-5, atol=1e-4)

    @given(shape=shapes, seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
    @settings(max_examples=20, deadline=None)
    def test_scaled_features_take_the_penalty_times_the_square(self, shape, seed, scale):
        X, Y = simulate(*shape, v=3, seed=seed)
        plain, scaled = solve_ridge_cv(X, Y, ALPHAS, 3), solve_ridge_cv(X * scale, Y, ALPHAS * scale**2, 3)
        np.testing.assert_allclose(plain.cv_scores_, scaled.cv_scores_, rtol=1e-6, atol=1e-6)
        same = np.isclose(plain.alphas_ * scale**2, scaled.alphas_)
        np.testing.assert_allclose(plain.coef_[:, same], scale * scaled.coef_[:, same], atol=1e-5)

    @given(shape=shapes, seed=st.integers(0, 10**6), chunk=st.integers(1, 9))
    @settings(max_examples=20, deadline=None)
    def test_voxels_do_not_know_each_other(self, shape, seed, chunk):
        X, Y = simulate(*shape, v=8, seed=seed)
        order = np.random.default_rng(seed).permutation(8)
        plain, chunked = (
            solve_ridge_cv(X, Y, ALPHAS, 3),
            solve_ridge_cv(X, Y[:, order], ALPHAS, 3, target_chunk=chunk),
        )
        np.testing.assert_allclose(plain.cv_scores_[:, order], chunked.cv_scores_, rtol=1e-9, atol=1e-9)
        same = plain.alphas_[order] == chunked.alphas_
        np.testing.assert_allclose(plain.coef_[:, order][:, same], chunked.coef_[:, same], atol=1e-8)

    @given(shape=shapes, seed=st.integers(0, 10**6))
    @settings(max_examples=20, deadline=None)
    def test_the_order_of_samples_does_not_matter(self, shape, seed):
        X, Y = simulate(*shape, v=3, seed=seed)
        n = shape[0]
        order = np.random.default_rng(seed).permutation(n)
        where = np.argsort(order)
        folds = k_fold(n, 3)
        plain = solve_ridge_cv(X, Y, ALPHAS, folds)
        mixed = solve_ridge_cv(
            X[order], Y[order], ALPHAS, [(where[train], where[test]) for train, test in folds]
        )
        np.testing.assert_allclose(plain.cv_scores_, mixed.cv_scores_, rtol=1e-6, atol=1e-6)


class TestInterpolation:
    @pytest.mark.parametrize("shape", [(300, 60), (100, 300), (500, 40)])
    @pytest.mark.parametrize("score", ["r2", "correlation"])
    def test_scores_are_those_of_the_full_grid(self, shape, score):
        n, p = shape
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5
        noise = rng.standard_normal((n, 60)) * np.linspace(0.1, 20, 60)
        Y = X @ rng.standard_normal((p, 60)) + noise
        alphas = np.logspace(-3, 5, 33)
        full, few = (solve_ridge_cv(X, Y, alphas, 5, search=s, score=score) for s in ("full", "interpolate"))
        np.testing.assert_allclose(few.cv_scores_, full.cv_scores_, atol=5e-3)
        chosen = (alphas[:, None] == few.alphas_).argmax(0)
        given_up = full.cv_scores_.max(0) - np.take_along_axis(full.cv_scores_, chosen[None], 0)[0]
        assert given_up.max() < 2e-4

    def test_it_predicts_at_fewer_penalties(self, monkeypatch):
        from encoders.solvers import search

        counts = []
        skeleton = search.skeleton

        def count(*args):
            nodes, mixing = skeleton(*args)
            counts.append(len(nodes))
            return nodes, mixing

        monkeypatch.setattr(search, "skeleton", count)
        X, Y = simulate(200, 30)
        solve_ridge_cv(X, Y, np.logspace(-3, 6, 40), 5, search="interpolate")
        assert len(counts) == 5
        assert max(counts) <= 12


class TestFloat32:
    @pytest.mark.parametrize("shape", [(120, 100), (100, 300)])
    def test_steep_spectra_and_small_penalties_are_decomposed_in_float64(self, shape):
        n, p = shape
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, p)) * 1.0 / np.arange(1, p + 1)
        Y = X @ rng.standard_normal((p, 10)) + 0.01 * rng.standard_normal((n, 10))
        alphas = np.logspace(-5, 2, 8)
        exact = solve_ridge_cv(X.astype("f4").astype(float), Y.astype("f4").astype(float), alphas)
        fit = solve_ridge_cv(X.astype("f4"), Y.astype("f4"), alphas)
        chosen = (alphas[:, None] == fit.alphas_).argmax(0)
        given_up = exact.cv_scores_.max(0) - np.take_along_axis(exact.cv_scores_, chosen[None], 0)[0]
        assert given_up.max() < 1e-5
        exact = solve_ridge(X.astype("f4").astype(float), Y.astype("f4").astype(float), fit.alphas_)
        np.testing.assert_allclose(fit.predict(X), exact.predict(X), atol=1e-4 * np.ptp(Y))

    def test_large_offsets_cancel(self):
        X, Y = simulate(80, 10)
        plain = solve_ridge_cv(X.astype("f4"), Y.astype("f4"), ALPHAS)
        raw = solve_ridge_cv((X + 1000).astype("f4"), (Y + 10000).astype("f4"), ALPHAS)
        np.testing.assert_allclose(raw.cv_scores_, plain.cv_scores_, atol=2e-3)


class TestOddInput:
    def test_constant_features_get_no_weight(self):
        X, Y = simulate(50, 6)
        X[:, 2] = 7
        for solver in ("primal", "dual"):
            fit = solve_ridge_cv(X, Y, ALPHAS, 5, solver=solver)
            np.testing.assert_allclose(fit.coef_[2], 0, atol=1e-12)
            others = solve_ridge_cv(np.delete(X, 2, 1), Y, ALPHAS, 5)
            np.testing.assert_allclose(fit.cv_scores_, others.cv_scores_, atol=1e-9)

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    @pytest.mark.parametrize("folds", [5, [(np.arange(30), np.arange(30, 50))]])
    def test_a_constant_voxel_gets_zero_weights_and_the_largest_penalty(self, dtype, folds):
        X, Y = (a.astype(dtype) for a in simulate(50, 6))
        Y[:, 1] = 0.1
        fit = solve_ridge_cv(X, Y, ALPHAS[[3, 6, 0]], folds)
        assert (fit.coef_[:, 1] == 0).all()
        assert fit.intercept_[1] == pytest.approx(0.1)
        assert fit.alphas_[1] == ALPHAS.max()
        assert np.isnan(fit.cv_scores_[:, 1]).all()
        assert np.isfinite(np.delete(fit.cv_scores_, 1, 1)).all()

    def test_penalties_may_come_in_any_order_and_twice(self):
        X, Y = simulate(50, 6)
        order = [3, 0, 6, 3, 1, 2, 5, 4]
        plain, mixed = solve_ridge_cv(X, Y, ALPHAS), solve_ridge_cv(X, Y, ALPHAS[order])
        np.testing.assert_allclose(mixed.cv_scores_, plain.cv_scores_[order], atol=1e-12)
        np.testing.assert_array_equal(plain.alphas_, mixed.alphas_)
        solve_ridge_cv(X, Y, ALPHAS[order], search="interpolate")

    def test_of_equal_scores_the_largest_penalty_wins(self):
        X, Y = simulate(50, 6)
        X[:] = 1.0  # nothing to learn: all penalties score the same
        np.testing.assert_array_equal(solve_ridge_cv(X, Y, ALPHAS).alphas_, ALPHAS.max())

    def test_tensors_come_back_as_tensors(self):
        X, Y = (torch.from_numpy(a) for a in simulate(50, 6))
        fit = solve_ridge_cv(X, Y, ALPHAS)
        assert all(
            isinstance(a, torch.Tensor) for a in (fit.coef_, fit.intercept_, fit.alphas_, fit.cv_scores_)
        )
        plain = solve_ridge_cv(X.numpy(), Y.numpy(), ALPHAS)
        np.testing.assert_array_equal(fit.predict(X).numpy(), plain.predict(X.numpy()))

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float16", ">f4", "longdouble"])
    def test_other_number_types_are_converted(self, dtype):
        X, Y = simulate(50, 6)
        X, Y = (np.round(10 * np.abs(X)) + 1).astype(dtype), Y.astype("f4")
        fit = solve_ridge_cv(X, Y, ALPHAS)
        plain = solve_ridge_cv(X.astype(fit.coef_.dtype), Y.astype(fit.coef_.dtype), ALPHAS)
        np.testing.assert_array_equal(fit.coef_, plain.coef_)

    def test_read_only_and_reversed_arrays_are_read(self):
        X, Y = simulate(50, 6)
        X.flags.writeable = False
        plain = solve_ridge_cv(X.copy(), Y[::-1].copy(), ALPHAS)
        np.testing.assert_array_equal(solve_ridge_cv(X, Y[::-1], ALPHAS).coef_, plain.coef_)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("which", ["X", "Y"])
    def test_numbers_that_are_none_are_counted_and_found(self, which, value):
        X, Y = simulate(50, 6)
        ({"X": X, "Y": Y})[which][[3, 3, 8], [1, 2, 1]] = value
        with pytest.raises(
            ValueError, match=rf"{which} has 3 NaN or infinite entries in 2 of .*\(3, 1\), \(3, 2\)"
        ):
            solve_ridge_cv(X, Y, ALPHAS)

    def test_large_finite_numbers_are_let_through(self):
        X, Y = (a.astype("f4") for a in simulate(50, 6))
        Y[:, 0] = 3e38
        assert np.isfinite(solve_ridge_cv(X, Y[:, 1:], ALPHAS).coef_).all()
        solve_ridge(X, np.c_[Y[:, 1:], np.full(50, 1e37, "f4")], 1.0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"alphas": [1.0, 0.0]}, "alphas must be positive and finite; 1 of 2"),
            ({"alphas": [np.nan]}, "alphas must be positive"),
            ({"alphas": []}, "alphas has shape"),
            ({"folds": 1}, "folds is 1|n_folds is 1"),
            ({"folds": 51}, "51"),
            ({"folds": 6, "groups": np.repeat(range(5), 10)}, "(?s)6.* 5 groups"),
            ({"groups": np.zeros(4)}, "groups has shape"),
            ({"folds": []}, "empty"),
            ({"folds": [(range(30), range(29, 50))]}, r"folds\[0\].*29"),
            ({"folds": [(range(30), range(30, 51))]}, r"folds\[0\]"),
            ({"folds": [(range(30), [])]}, r"folds\[0\]"),
            ({"folds": [(range(30), [40, 40])]}, r"folds\[0\]"),
            ({"folds": [3, 4]}, r"folds\[0\] is not a \(train, test\) pair"),
            ({"folds": "five"}, "folds is 'five'"),
            ({"folds": [(range(25), range(25, 50))], "groups": np.arange(50) // 10}, r"folds\[0\].*group"),
            ({"solver": "svd"}, "unknown solver 'svd'"),
            ({"search": "fulll"}, "did you mean 'full'"),
            ({"score": "mse"}, "unknown score 'mse'"),
            ({"device": "nowhere"}, "device 'nowhere'"),
            ({"dtype": "int32"}, "dtype is int32"),
            ({"target_chunk": 0}, "target_chunk is 0"),
        ],
    )
    def test_bad_arguments_are_named(self, change, message):
        X, Y = simulate(50, 6)
        with pytest.raises(ValueError, match=message):
            solve_ridge_cv(X, Y, **({"alphas": ALPHAS, "folds": 5} | change))

    def test_shapes_that_disagree_are_named(self):
        X, Y = simulate(50, 6)
        with pytest.raises(ValueError, match="X has 49 rows and Y has 50"):
            solve_ridge_cv(X[1:], Y, ALPHAS)
        with pytest.raises(ValueError, match="alpha has 2 values; give one, or one for each of 7"):
            solve_ridge(X, Y, [1.0, 2.0])
        with pytest.raises(ValueError, match=r"Y has shape \(50,\)"):
            solve_ridge(X, Y[:, 0], 1.0)


def test_the_smaller_matrix_is_taken():
    assert choose_form(100, 100) == "primal"
    assert choose_form(100, 101) == "dual"
    assert choose_form(100, 10, "dual") == "dual"
