"""Bootstrap intervals, paired comparison of models, and false discovery rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from analyses.statistics.bootstrap import UnitSums, bootstrap_correlation, bootstrap_interval
from analyses.statistics.comparison import compare_models
from analyses.statistics.multiple_comparisons import fdr
from tests.oracles import statistics as oracle

LARGEST_99 = 2.58


def clustered(rng, n_units=60, size=5, n_voxels=4, slope=1.0):
    """Responses and predictions alike within a unit; population r is ``slope / sqrt(slope^2 + 1)``."""
    units = np.repeat(np.arange(n_units), size)

    def draw():
        shape = (n_units * size, n_voxels)
        return rng.standard_normal((n_units, n_voxels))[units] + rng.standard_normal(shape)

    P = draw()
    return slope * P + draw(), P, units


def test_correlations_of_draws_equal_copied_samples():
    rng = np.random.default_rng(0)
    Y, P, units = clustered(rng, n_units=7, n_voxels=3)
    keep = rng.random(len(units)) < 0.7  # units of different size, in mixed order
    order = rng.permutation(keep.sum())
    Y, P, units = (1e4 + 7 * Y[keep][order]), P[keep][order] - 50, units[keep][order]
    draws = rng.integers(0, 7, size=(20, 7))
    counts = np.stack([np.bincount(draw, minlength=7) for draw in draws]).astype(float)
    sums = UnitSums(Y, P, units)
    expected = oracle.resampled_r(Y, P, units, draws)
    np.testing.assert_allclose(sums.correlations(counts).mean(axis=1), expected, atol=1e-9)
    r = sums.correlations(np.ones((1, 7)))[0]
    np.testing.assert_allclose(sums.correlation_terms(np.full(3, 0.4)).sum(axis=0), r - 0.2)


def test_rois_may_overlap_and_constant_voxels_are_left_out():
    rng = np.random.default_rng(1)
    Y, P, units = clustered(rng, n_voxels=5)
    P[:, 4] = 2.5
    rois = {
        "a": np.array([1, 1, 0, 0, 0], bool),
        "b": np.array([0, 1, 1, 1, 1], bool),
        "none": np.array([0, 0, 0, 0, 1], bool),
        "empty": np.zeros(5, bool),
    }
    interval = bootstrap_correlation(Y, P, units, 200, rois=rois)
    r = [np.corrcoef(Y[:, v], P[:, v])[0, 1] for v in range(4)]
    np.testing.assert_allclose(interval.estimate, [np.mean(r[:2]), np.mean(r[1:]), np.nan, np.nan])
    assert interval.names == ("a", "b", "none", "empty")
    table = interval.to_frame()
    assert (table.lower < table.estimate)[:2].all()
    assert (table.estimate < table.upper)[:2].all()
    assert table.loc[["none", "empty"]].isna().to_numpy().all()
    assert interval.samples.shape == (200, 4)


def test_seed_makes_the_interval():
    Y, P, units = clustered(np.random.default_rng(2))
    first, again, other = (bootstrap_correlation(Y, P, units, 100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert (first.samples != other.samples).any()


def test_many_voxels_and_draws_pass_in_tiles():
    Y, P, units = clustered(np.random.default_rng(3), n_units=8, size=3, n_voxels=5000)
    interval = bootstrap_correlation(Y, P, units, 3000)
    sums = UnitSums(Y, P, units)
    counts = np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), size=3000)
    np.testing.assert_allclose(interval.samples[-5:, 0], np.nanmean(sums.correlations(counts[-5:]), axis=1))


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_interval_covers_the_population_and_drawing_rows_does_not(method):
    """Coverage of 300 intervals of 95 %: nominal by units, too low by dependent rows."""
    rng = np.random.default_rng(4)
    truth = 1 / np.sqrt(2)
    covered, covered_by_rows = [], []
    for seed in range(300):
        Y, P, units = clustered(rng, n_voxels=2)
        interval = bootstrap_correlation(Y, P, units, 300, seed, method=method)
        covered.append(interval.lower[0] <= truth <= interval.upper[0])
        if method == "percentile":
            by_rows = bootstrap_correlation(Y, P, np.arange(len(Y)), 300, seed)
            covered_by_rows.append(by_rows.lower[0] <= truth <= by_rows.upper[0])
    # Binomial, 99 %, around the nominal rate; 60 units cost the percentile interval about a point.
    assert np.mean(covered) > 0.94 - LARGEST_99 * np.sqrt(0.95 * 0.05 / 300)
    assert np.mean(covered) < 0.95 + LARGEST_99 * np.sqrt(0.95 * 0.05 / 300)
    if method == "percentile":
        assert np.mean(covered_by_rows) < 0.9


def test_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(5).standard_normal(400)
    for method in ("percentile", "BCa"):
        interval = bootstrap_interval(
            lambda counts: (counts @ values / counts.sum(axis=1))[:, None],
            400,
            n_bootstrap=4000,
            method=method,
        )
        half = 1.96 * values.std() / np.sqrt(400)
        assert interval.estimate[0] == pytest.approx(values.mean())
        assert interval.upper[0] - interval.lower[0] == pytest.approx(2 * half, rel=0.06)


def test_bootstrap_errors():
    Y, P, units = clustered(np.random.default_rng(0))
    with pytest.raises(ValueError, match="there is 1 unit to draw from"):
        bootstrap_correlation(Y, P, np.zeros(len(Y)))
    with pytest.raises(ValueError, match=r"units \(3,\)"):
        bootstrap_correlation(Y, P, np.zeros(3))
    with pytest.raises(ValueError, match=r"rois\['V1'\] has dtype int64"):
        bootstrap_correlation(Y, P, units, rois={"V1": np.ones(4, int)})
    with pytest.raises(ValueError, match="rois is empty"):
        bootstrap_correlation(Y, P, units, rois={})
    with pytest.raises(ValueError, match="method is 'bca'; allowed: 'percentile', 'BCa'"):
        bootstrap_correlation(Y, P, units, method="bca")
    with pytest.raises(ValueError, match="confidence 95"):
        bootstrap_correlation(Y, P, units, confidence=95)


def test_comparison_finds_the_better_model_and_gives_the_difference():
    rng = np.random.default_rng(6)
    signal, units = rng.standard_normal((400, 30)), np.repeat(np.arange(80), 5)
    Y = signal + rng.standard_normal((400, 30))
    P_a, P_b = signal + 0.3 * rng.standard_normal((2, 400, 30))
    P_a[:, :10] = rng.standard_normal((400, 10))  # a is the worse model in the first ten voxels
    rois = {"worse": np.arange(30) < 10, "same": np.arange(30) >= 10}
    result = compare_models(Y, 10 * P_a - 3, P_b, units, rois, n_bootstrap=500, n_permutations=500)
    r_a = [np.corrcoef(Y[:, v], P_a[:, v])[0, 1] for v in range(30)]
    r_b = [np.corrcoef(Y[:, v], P_b[:, v])[0, 1] for v in range(30)]
    np.testing.assert_allclose(result.voxels["difference"], np.subtract(r_a, r_b), atol=1e-10)
    assert (result.voxels["q_value"][:10] < 0.05).all()
    assert (result.voxels["p_value_max"][:10] < 0.05).all()
    assert (result.voxels["p_value"] <= result.voxels["p_value_max"]).all()
    worse, same = result.rois.loc["worse"], result.rois.loc["same"]
    assert worse["difference"] == pytest.approx(np.mean(np.subtract(r_a, r_b)[:10]))
    assert worse["upper"] < 0
    assert worse["p_value"] == pytest.approx(1 / 501)
    assert same["lower"] < 0 < same["upper"]
    assert same["p_value"] > 0.05
    swapped = compare_models(Y, P_b, 10 * P_a - 3, units, rois, n_bootstrap=500, n_permutations=500)
    np.testing.assert_allclose(swapped.voxels["difference"], -result.voxels["difference"], atol=1e-12)
    np.testing.assert_allclose(swapped.voxels["p_value"], result.voxels["p_value"])


def test_comparison_of_a_model_with_itself_and_of_constant_voxels():
    Y, P, units = clustered(np.random.default_rng(7))
    other = P.copy()
    other[:, 0] = 1.0
    result = compare_models(Y, P, other, units, n_bootstrap=50, n_permutations=50)
    assert np.isnan(result.voxels["p_value"][0])
    np.testing.assert_array_equal(result.voxels["p_value"][1:], 1)
    np.testing.assert_array_equal(result.voxels["difference"][1:], 0)
    assert result.rois.loc["all", "n_voxels"] == 3


def test_few_units_are_exchanged_in_all_ways():
    rng = np.random.default_rng(8)
    Y, P, units = clustered(rng, n_units=6, n_voxels=1)
    other = rng.standard_normal(P.shape)
    result = compare_models(Y, P, other, units, n_bootstrap=50, n_permutations=1000)
    assert result.n_permutations == 64
    z = [(a - a.mean(axis=0)) / a.std(axis=0) for a in (Y, P, other)]
    r = (z[0] * (z[1] + z[2])).mean() / 2
    influence = (z[0] * z[1] - r / 2 * z[1] ** 2) - (z[0] * z[2] - r / 2 * z[2] ** 2)
    terms = np.array([influence[units == u].sum() for u in range(6)])
    signs = np.array(np.meshgrid(*[[1, -1]] * 6)).reshape(6, -1)
    expected = np.mean(np.abs(terms @ signs) >= abs(terms.sum()) - 1e-9)
    assert result.voxels["p_value"][0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="1 unit"):
        compare_models(Y, P, other, np.zeros(len(Y)))


def test_comparison_of_equal_models_has_nominal_false_positives():
    """200 data sets, two models equally far from the truth, responses dependent within units."""
    rng = np.random.default_rng(9)
    units = np.repeat(np.arange(40), 6)
    by_voxel, by_family, by_roi, covered = [], [], [], []
    for seed in range(200):
        stimulus = rng.standard_normal((4, 40, 20))[:, units]
        Y = stimulus[0] + stimulus[1] + rng.standard_normal((240, 20))
        P_a, P_b = stimulus[0] + stimulus[2], stimulus[0] + stimulus[3]
        result = compare_models(Y, P_a, P_b, units, n_bootstrap=200, n_permutations=199, seed=seed)
        by_voxel.append((result.voxels["p_value"] <= 0.05).mean())
        by_family.append((result.voxels["p_value_max"] <= 0.05).any())
        by_roi.append(result.rois["p_value"].iloc[0] <= 0.05)
        covered.append(result.rois["lower"].iloc[0] <= 0 <= result.rois["upper"].iloc[0])
    assert 0.041 <= np.mean(by_voxel) <= 0.059
    assert 0.01 <= np.mean(by_family) <= 0.09
    assert 0.01 <= np.mean(by_roi) <= 0.09
    assert 0.90 <= np.mean(covered) <= 0.99


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_fdr_equals_definition(p_values):
    p = np.array(p_values)
    np.testing.assert_allclose(fdr(p), oracle.benjamini_hochberg(p), atol=1e-12)
    harmonic = sum(1 / rank for rank in range(1, len(p) + 1))
    np.testing.assert_allclose(fdr(p, "by"), oracle.benjamini_hochberg(p, harmonic), atol=1e-12)


def test_fdr_leaves_nan_out_and_keeps_the_shape():
    p = np.array([[0.01, np.nan, 0.04], [0.03, np.nan, 0.5]])
    expected = oracle.benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(
        fdr(p), [[expected[0], np.nan, expected[1]], [expected[2], np.nan, expected[3]]]
    )
    assert np.isnan(fdr([np.nan, np.nan])).all()
    with pytest.raises(ValueError, match=r"range from 0\.1 to 1\.5"):
        fdr([0.1, 1.5])
    with pytest.raises(ValueError, match="method is 'bonferroni'; allowed: 'bh', 'by'"):
        fdr([0.1], "bonferroni")


def test_fdr_keeps_its_promise():
    """Share of false among all discoveries over 300 sets of 200 tests, half of them null."""
    rng = np.random.default_rng(10)
    false_share = []
    for _ in range(300):
        z = rng.standard_normal(200) + np.repeat([0, 3], 100)
        from_normal = norm.sf(z)
        found = fdr(from_normal) <= 0.1
        false_share.append(found[:100].sum() / max(found.sum(), 1))
    assert 0.04 < np.mean(false_share) < 0.06  # the rate times the share of true nulls
