"""Permutations of blocks, nulls and p-values: structure, loops, and false positives at their nominal rate."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.statistics.nulls import held_out_test, permute_predictions_null, score_columns
from analyses.statistics.permutation import (
    count_block_permutations,
    max_statistic_p_values,
    permutation_p_values,
    permute_blocks_within_runs,
    summarize_null,
)
from analyses.statistics.refit import refit_null, ridge_refit_null
from tests.oracles import statistics as oracle

ON, REST = 6, 4


def make_blocks(n_runs, n_blocks, on=ON, rest=REST, lead=3):
    """Block number (-1 at rest) and run of each row: rest before the first block and after each."""
    run = np.r_[np.full(lead, -1), np.tile(np.r_[np.zeros(on, int), np.full(rest, -1)], n_blocks)]
    labels, number = [], 0
    for _ in range(n_runs):
        one = run.copy()
        one[run >= 0] = number + np.repeat(np.arange(n_blocks), on)
        number += n_blocks
        labels.append(one)
    return np.concatenate(labels), np.repeat(np.arange(n_runs), len(run))


def autocorrelated_noise(runs, n_voxels, rng, rho=0.6):
    """AR(1) noise that starts anew in each run, with a constant taken off each run."""
    noise = rng.standard_normal((len(runs), n_voxels))
    for t in range(1, len(runs)):
        if runs[t] == runs[t - 1]:
            noise[t] += rho * noise[t - 1]
    for run in np.unique(runs):
        noise[runs == run] -= noise[runs == run].mean(axis=0)
    return noise


def one_hot_design(labels, runs, n_stimuli, rng, lag=2):
    """Features of shuffled stimuli, delayed so that they reach into the rest after each block."""
    x = np.zeros((len(labels), n_stimuli))
    for run in np.unique(runs):
        blocks = np.unique(labels[(runs == run) & (labels >= 0)])
        for block, stimulus in zip(blocks, rng.permutation(len(blocks)) % n_stimuli, strict=True):
            x[np.flatnonzero(labels == block) + lag, stimulus] = 1
    return x


@given(
    n_runs=st.integers(1, 4),
    n_blocks=st.integers(2, 6),
    on=st.integers(1, 5),
    rest=st.integers(0, 3),
    lead=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:only .* orders of blocks")
def test_blocks_move_whole_within_their_run_and_lead_in_stays(n_runs, n_blocks, on, rest, lead, seed):
    labels, runs = make_blocks(n_runs, n_blocks, on, rest, lead)
    for rows in permute_blocks_within_runs(labels, runs, 5, seed):
        np.testing.assert_array_equal(np.sort(rows), np.arange(len(labels)))  # equal lengths: each row once
        np.testing.assert_array_equal(runs[rows], runs)
        np.testing.assert_array_equal(labels[rows] >= 0, labels >= 0)  # onsets and rest stay
        for run in range(n_runs):
            start = np.flatnonzero(runs == run)[0]
            np.testing.assert_array_equal(rows[start : start + lead], np.arange(start, start + lead))
        starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]] & (labels >= 0))
        for first in starts:
            moved = rows[first : first + on + rest]
            np.testing.assert_array_equal(np.diff(moved), 1)


def test_a_shorter_block_holds_its_last_row_and_a_longer_one_is_cut():
    labels = np.array([-1, 0, 0, -1, 1, 1, -1, -1])
    with pytest.warns(UserWarning, match="only 1 orders of blocks within runs exist besides the true one"):
        rows = permute_blocks_within_runs(labels, np.zeros(8), 10)
    np.testing.assert_array_equal(rows, [[0, 4, 5, 6, 1, 2, 3, 3]])


def test_few_orders_are_all_used_once():
    labels, runs = make_blocks(2, 3)
    assert count_block_permutations(labels, runs) == 36
    with pytest.warns(UserWarning, match=r"only 35 orders.*no p-value can be below 0\.0278"):
        rows = permute_blocks_within_runs(labels, runs, 1000)
    assert len({tuple(row) for row in rows}) == 35
    assert (rows != np.arange(len(labels))).any(axis=1).all()


def test_orders_are_drawn_evenly_and_from_the_seed():
    labels, runs = make_blocks(1, 4, on=1, rest=0, lead=0)
    assert count_block_permutations(labels, runs) == 24
    rows = np.concatenate([permute_blocks_within_runs(labels, runs, 20, seed) for seed in range(300)])
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 250) ** 2 / 250).sum() < 49.7  # chi-square with 23 degrees of freedom, p = .001
    np.testing.assert_array_equal(
        permute_blocks_within_runs(labels, runs, 20, 7), permute_blocks_within_runs(labels, runs, 20, 7)
    )


def test_errors_name_the_run_and_the_way_out():
    labels, runs = make_blocks(2, 3)
    single = np.where((runs == 1) & (labels > 3), -1, labels)
    with pytest.raises(ValueError, match=r"run number 1.*a single block: nothing to exchange"):
        permute_blocks_within_runs(single, runs)
    all_rest = np.where(runs == 1, -1, labels)
    assert (permute_blocks_within_runs(all_rest, runs, 3)[:, runs == 1] == np.flatnonzero(runs == 1)).all()
    with pytest.raises(ValueError, match="marks no block"):
        permute_blocks_within_runs(np.full(5, -1), np.zeros(5))
    with pytest.raises(ValueError, match="names block 0 in 2 places"):
        permute_blocks_within_runs(np.array([0, 1, 0, 2]), np.zeros(4))
    with pytest.raises(ValueError, match="runs come back after other runs"):
        permute_blocks_within_runs(np.arange(4), np.array([0, 1, 0, 1]))
    with pytest.raises(ValueError, match="2 to 5 rows long"):
        permute_blocks_within_runs(np.array([0, 0, 1, 1, 1, 1, 1]), np.zeros(7))
    with pytest.raises(ValueError, match="dtype float64; number the blocks"):
        permute_blocks_within_runs(np.array([0.0, 1.0]), np.zeros(2))
    with pytest.raises(ValueError, match="n_permutations is 0"):
        permute_blocks_within_runs(labels, runs, 0)
    with pytest.raises(ValueError, match="null has shape"):
        permutation_p_values(np.zeros(3), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="cover 2 voxels and observed has 3"):
        summarize_null(np.zeros(3), [np.zeros((5, 2))])
    with pytest.raises(ValueError, match="Y holds 1 values that are NaN"):
        permute_predictions_null(np.array([[1.0], [np.nan]]), np.ones((2, 1)), np.array([[1, 0]]))
    with pytest.raises(ValueError, match="permutations holds row numbers outside 0 to 1"):
        permute_predictions_null(np.ones((2, 1)), np.ones((2, 1)), np.array([[1, 2]]))
    with pytest.raises(ValueError, match="statistic is 'rho'; allowed: 'r', 'r2'"):
        score_columns(np.ones((2, 1)), np.ones((2, 1)), "rho")


def test_p_values_equal_loops_and_chunks_do_not_matter():
    rng = np.random.default_rng(0)
    observed, null = rng.normal(1, 1, 23), rng.standard_normal((40, 23))
    null[3] = observed  # the true order drawn again is a tie
    expected, expected_max = oracle.p_values(observed, null), oracle.p_values_max(observed, null)
    np.testing.assert_allclose(permutation_p_values(observed, null), expected)
    np.testing.assert_allclose(max_statistic_p_values(observed, null), expected_max)
    test = summarize_null(observed, np.split(null, [1, 10, 15], axis=1))
    np.testing.assert_allclose(test.p_values, expected)
    np.testing.assert_allclose(test.p_values_max, expected_max)
    np.testing.assert_allclose(test.null_95, np.quantile(null, 0.95, axis=0))
    np.testing.assert_allclose(test.null_mean, null.mean(axis=1))
    np.testing.assert_allclose(test.null_max, null.max(axis=1))


def test_nan_never_helps():
    null = np.array([[0.1, np.nan], [0.2, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(permutation_p_values([0.15, np.nan], null), [3 / 4, np.nan])
    np.testing.assert_allclose(max_statistic_p_values([0.15, np.nan], null), [3 / 4, np.nan])


@pytest.mark.parametrize("unequal", [False, True])
def test_null_equals_loop(unequal):
    rng = np.random.default_rng(1)
    labels, runs = make_blocks(3, 4)
    if unequal:
        keep = np.arange(len(labels)) % 41 != 12  # one row less in some blocks
        labels, runs = labels[keep], runs[keep]
    Y, P = rng.standard_normal((2, len(labels), 5)) + 100
    permutations = permute_blocks_within_runs(labels, runs, 12)
    assert unequal == (np.sort(permutations) != np.arange(len(labels))).any()
    np.testing.assert_allclose(
        permute_predictions_null(Y, P, permutations), oracle.permuted_r(Y, P, permutations), atol=1e-10
    )
    r2 = [
        1 - ((Y - P[rows]) ** 2).sum(axis=0) / ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)
        for rows in permutations
    ]
    np.testing.assert_allclose(permute_predictions_null(Y, P, permutations, "r2"), r2, rtol=1e-8)
    np.testing.assert_allclose(
        score_columns(Y, P), oracle.permuted_r(Y, P, [np.arange(len(Y))])[0], atol=1e-10
    )


def test_held_out_test_chunks_voxels_and_keeps_constant_ones_nan():
    rng = np.random.default_rng(2)
    labels, runs = make_blocks(2, 5)
    Y, P = rng.standard_normal((2, len(labels), 1500))  # more than one chunk
    P[:, 7], Y[:, 1400] = 3.3, 0.1
    permutations = permute_blocks_within_runs(labels, runs, 30)
    test = held_out_test(Y, P, permutations)
    null = permute_predictions_null(Y, P, permutations)
    assert np.isnan(test.p_values[[7, 1400]]).all()
    assert np.isfinite(np.delete(test.p_values, [7, 1400])).all()
    np.testing.assert_array_equal(test.p_values, permutation_p_values(test.observed, null))
    np.testing.assert_array_equal(test.p_values_max, max_statistic_p_values(test.observed, null))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_features", [4, 300])
@pytest.mark.parametrize("unequal", [False, True])
def test_ridge_refit_equals_fitting_again(fit_intercept, n_features, unequal):
    rng = np.random.default_rng(3)
    labels, runs = make_blocks(3, 4)
    if unequal:
        keep = np.arange(len(labels)) % 41 != 12
        labels, runs = labels[keep], runs[keep]
    X = rng.standard_normal((len(labels), n_features)) + 1
    Y = rng.standard_normal((len(labels), 3)) + np.array([0, 5, -2])
    folds = [(np.flatnonzero(runs != run), np.flatnonzero(runs == run)) for run in range(3)]
    folds[0] = (folds[0][0][5:], folds[0][1])  # a training set with a gap
    alphas = 10 ** rng.uniform(0, 3, (3, 3))
    permutations = permute_blocks_within_runs(labels, runs, 4)

    def fit_predict(rows):
        return oracle.ridge_predictions(X[rows], Y, folds, alphas, fit_intercept)

    expected = np.stack([score_columns(Y, fit_predict(rows)) for rows in permutations])
    null = ridge_refit_null(X, Y, folds, alphas, permutations, fit_intercept=fit_intercept)
    np.testing.assert_allclose(null, expected, atol=1e-8)
    np.testing.assert_allclose(refit_null(Y, fit_predict, permutations), expected, atol=1e-12)
    r2 = ridge_refit_null(X, Y, folds, alphas, permutations, "r2", fit_intercept)
    np.testing.assert_allclose(r2[1], score_columns(Y, fit_predict(permutations[1]), "r2"), atol=1e-8)


def test_ridge_refit_refuses_folds_and_penalties_that_do_not_fit():
    X, Y = np.random.default_rng(0).standard_normal((2, 8, 2))
    halves = [(np.arange(4), np.arange(4, 8)), (np.arange(4, 8), np.arange(4))]
    rows = np.arange(8)[None]
    with pytest.raises(ValueError, match="folds do not test each row exactly once"):
        ridge_refit_null(X, Y, halves[:1], np.ones((1, 2)), rows)
    with pytest.raises(ValueError, match=r"alphas has shape \(2,\)"):
        ridge_refit_null(X, Y, halves, np.ones(2), rows)
    with pytest.raises(ValueError, match="X has 7 rows and Y 8"):
        ridge_refit_null(X[:7], Y, halves, np.ones((2, 2)), rows)


def test_a_response_common_to_all_stimuli_is_no_evidence_and_a_specific_one_is():
    rng = np.random.default_rng(4)
    labels, runs = make_blocks(6, 6)
    permutations = permute_blocks_within_runs(labels, runs, 199)
    X = one_hot_design(labels, runs, 6, rng)
    noise = autocorrelated_noise(runs, 40, rng)
    on = X.sum(axis=1, keepdims=True)
    common = held_out_test(5 * on + noise, X @ rng.uniform(0.9, 1.1, (6, 40)), permutations)
    assert common.observed.min() > 0.7
    assert (common.p_values < 0.05).mean() < 0.2
    weights = rng.standard_normal((6, 40))
    specific = held_out_test(5 * on + X @ weights + noise, X @ weights, permutations)
    assert (specific.p_values < 0.05).mean() > 0.8


def test_false_positive_rates_are_nominal_for_a_fixed_training_set():
    """200 data sets with autocorrelated noise and a response common to all stimuli, 20 voxels each."""
    rng = np.random.default_rng(5)
    labels, runs = make_blocks(4, 6)
    uncorrected, family = [], []
    for seed in range(200):
        X = one_hot_design(labels, runs, 6, rng)
        train = one_hot_design(labels, runs, 6, rng)
        on = X.sum(axis=1, keepdims=True)
        Y = on + autocorrelated_noise(runs, 20, rng)
        weights = np.linalg.lstsq(train, on + autocorrelated_noise(runs, 20, rng), rcond=None)[0]
        test = held_out_test(Y, X @ weights, permute_blocks_within_runs(labels, runs, 99, seed))
        uncorrected.append((test.p_values <= 0.05).mean())
        family.append((test.p_values_max <= 0.05).any())
    # 99 % binomial intervals around .05 for 200 x 20 and for 200 tests.
    assert 0.041 <= np.mean(uncorrected) <= 0.059
    assert 0.01 <= np.mean(family) <= 0.09


@pytest.mark.slow
def test_false_positive_rate_is_nominal_for_a_refit_under_cross_validation_and_not_for_permuted_predictions():
    """200 data sets, leave one run out: the folds' scores vary together, which only the refit knows.

    Penalties are given here, not chosen from the data.
    """
    rng = np.random.default_rng(6)
    labels, runs = make_blocks(6, 6)
    folds = [(np.flatnonzero(runs != run), np.flatnonzero(runs == run)) for run in range(6)]
    refitted, family, permuted = [], [], []
    for seed in range(200):
        X = one_hot_design(labels, runs, 6, rng)
        Y = X.sum(axis=1, keepdims=True) + autocorrelated_noise(runs, 20, rng)
        alphas = 10 ** rng.uniform(-1, 3, (1, 20)).repeat(6, axis=0)
        P = oracle.ridge_predictions(X, Y, folds, alphas)
        permutations = permute_blocks_within_runs(labels, runs, 99, seed)
        observed = score_columns(Y, P)
        test = summarize_null(observed, [ridge_refit_null(X, Y, folds, alphas, permutations)])
        refitted.append((test.p_values <= 0.05).mean())
        family.append((test.p_values_max <= 0.05).any())
        permuted.append((held_out_test(Y, P, permutations).p_values <= 0.05).mean())
    assert 0.041 <= np.mean(refitted) <= 0.059
    assert 0.01 <= np.mean(family) <= 0.09
    assert np.mean(permuted) > 0.07


def test_trials_permute_row_by_row():
    rows = permute_blocks_within_runs(np.arange(40), np.repeat([0, 1], 20), 50)
    assert all(set(row[:20]) == set(range(20)) for row in rows)
    distinct = {tuple(a) for a in rows}
    assert len(distinct) == 50
    assert all((a != b).any() for a, b in itertools.pairwise(rows))
