"""Runs, delays and blocks against loops, scipy and what must never change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import detrend

from encoders.time_series import (
    average_blocks,
    block_labels,
    delay_features,
    detrend_runs,
    features_at_volumes,
    scale_runs,
)
from tests.oracles.time_series import (
    block_means_by_loop,
    blocks_by_loop,
    delay_by_loop,
    detrend_by_polyfit,
)

RUNS = np.repeat([3, 1, 7], [9, 12, 6])


@st.composite
def designs(draw):
    """Draw runs of unequal length and a stimulus (or rest) at each volume."""
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    runs = np.repeat(np.arange(len(lengths)) * 5 - 2, lengths)
    index = draw(st.lists(st.integers(-1, 2), min_size=len(runs), max_size=len(runs)))
    return np.array(index), runs


def series(n_voxels=4, seed=0):
    rng = np.random.default_rng(seed)
    return 500 + 20 * rng.standard_normal((len(RUNS), n_voxels)) + 3 * np.arange(len(RUNS))[:, None]


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_detrending_equals_a_polynomial_fit_per_run(order):
    np.testing.assert_allclose(
        detrend_runs(series(), RUNS, order), detrend_by_polyfit(series(), RUNS, order), atol=1e-9
    )


def test_linear_detrending_equals_scipy_in_each_run():
    ours = detrend_runs(series(), RUNS)
    for run in np.unique(RUNS):
        np.testing.assert_allclose(ours[run == RUNS], detrend(series()[run == RUNS], axis=0), atol=1e-10)


def test_a_planted_trend_is_removed_and_the_signal_stays():
    time = np.arange(200)
    signal = np.sin(2 * np.pi * time / 10)[:, None]
    trend = 1000 + 0.7 * time[:, None]
    np.testing.assert_allclose(detrend_runs(signal + trend, np.zeros(200)), signal, atol=0.05)


def test_one_run_does_not_change_another():
    other = series()
    other[RUNS == 7] = 1e4 * np.random.default_rng(1).standard_normal((6, 4))
    for transform in (detrend_runs, scale_runs):
        np.testing.assert_array_equal(transform(other, RUNS)[RUNS != 7], transform(series(), RUNS)[RUNS != 7])


def test_scaling_gives_each_run_mean_0_and_population_standard_deviation_1():
    scaled = scale_runs(series(), RUNS)
    for run in np.unique(RUNS):
        np.testing.assert_allclose(scaled[run == RUNS].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose((scaled[run == RUNS] ** 2).mean(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_voxel_constant_in_a_run_is_zero_there_and_counted_even_after_detrending(dtype):
    Y = series().astype(dtype)
    Y[RUNS == 1, 2] = 812.3
    Y[RUNS == 7, 3] = 0.1 * np.arange(6)
    with pytest.warns(UserWarning, match="2 of 4 voxels are constant in at least one run"):
        scaled = scale_runs(detrend_runs(Y, RUNS), RUNS)
    assert scaled.dtype == dtype
    assert not scaled[RUNS == 1, 2].any()
    assert not scaled[RUNS == 7, 3].any()
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled[RUNS == 3].std(axis=0), 1, rtol=1e-5)


def test_a_small_fluctuation_on_a_large_baseline_is_not_taken_for_a_constant():
    rng = np.random.default_rng(0)
    Y = (10_000 + rng.integers(0, 2, size=(len(RUNS), 3))).astype(np.float32)
    np.testing.assert_allclose(scale_runs(Y, RUNS)[RUNS == 1].std(axis=0), 1, rtol=1e-4)


def test_integers_as_scanners_write_them_become_floats():
    Y = series().astype(np.int16)
    np.testing.assert_allclose(detrend_runs(Y, RUNS), detrend_by_polyfit(Y, RUNS, 1), atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(designs(), st.sets(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 100))
def test_delays_equal_the_loop_and_never_cross_a_run(design, delays, seed):
    _, runs = design
    X = np.random.default_rng(seed).standard_normal((len(runs), 3))
    steps = list(delays)
    np.testing.assert_array_equal(delay_features(X, steps, runs), delay_by_loop(X, steps, runs))


@settings(max_examples=50, deadline=None)
@given(designs(), st.integers(0, 3), st.integers(0, 100))
def test_blocks_and_their_means_equal_the_loops(design, lag, seed):
    index, runs = design
    blocks = block_labels(index, runs)
    assert blocks.tolist() == blocks_by_loop(index.tolist(), runs.tolist())
    Y = np.random.default_rng(seed).standard_normal((len(runs), 2))
    ends = {run: np.flatnonzero(runs == run)[-1] for run in runs.tolist()}
    starts = [np.flatnonzero(blocks == block)[0] for block in range(blocks.max() + 1)]
    if not starts:
        assert average_blocks(Y, blocks).shape == (0, 2)
    elif all(start + lag <= ends[runs[start]] for start in starts):
        np.testing.assert_allclose(
            average_blocks(Y, blocks, lag, runs), block_means_by_loop(Y, blocks, lag, runs), atol=1e-12
        )
    else:
        with pytest.raises(ValueError, match="no volume to average"):
            average_blocks(Y, blocks, lag, runs)


def test_features_at_volumes_looks_up_rows_and_gives_zeros_at_rest():
    features = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    shown = features_at_volumes(features, [-1, 1, 1, 0, -1])
    assert shown.dtype == np.float32
    assert shown.tolist() == [[0, 0], [3, 4], [3, 4], [1, 2], [0, 0]]


def test_an_impulse_response_is_recovered_from_delayed_features():
    rng = np.random.default_rng(0)
    runs = np.repeat([0, 1, 2], 100)
    shown = features_at_volumes(np.eye(2), rng.integers(-1, 2, 300))
    response = np.array([0.1, 0.9, 0.5, -0.2])
    Y = sum(weight * delay_by_loop(shown, [delay], runs) for delay, weight in enumerate(response))
    weights = np.linalg.lstsq(delay_features(shown, range(4), runs), Y, rcond=None)[0]
    np.testing.assert_allclose(weights[0::2, 0], response, atol=1e-10)
    np.testing.assert_allclose(weights[1::2, 1], response, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detrend_runs(series(), RUNS[:-1]), "runs has shape"),
        (lambda: detrend_runs(series(), np.r_[RUNS[:-1], 1]), "run 1 comes back at volume 26"),
        (lambda: detrend_runs(series(), RUNS, order=-1), "order is -1"),
        (lambda: detrend_runs(series(), np.arange(len(RUNS))), "too few for a polynomial of order 1"),
        (lambda: detrend_runs(series()[:, 0], RUNS), r"Y has shape \(27,\)"),
        (lambda: scale_runs(np.where(np.arange(4) == 2, np.nan, series()), RUNS), "in 1 of 4 voxels"),
        (lambda: delay_features(series(), [1, -1], RUNS), "a response does not come before"),
        (lambda: delay_features(series(), [1, 1], RUNS), "each once"),
        (lambda: delay_features(series(), [], RUNS), "delays is"),
        (lambda: delay_features(series(), [1.5], RUNS), "whole volumes"),
        (lambda: features_at_volumes(np.eye(3), [0, 3]), "only 3 rows"),
        (lambda: features_at_volumes(np.eye(3), [0, -2]), "holds -2"),
        (lambda: features_at_volumes(np.eye(3), [0.0, 1.0]), "whole numbers"),
        (lambda: average_blocks(series(), np.zeros(27, int), lag=1), "pass runs"),
        (lambda: average_blocks(series(), np.zeros(27, int), lag=-1, runs=RUNS), "lag is -1"),
        (lambda: average_blocks(series(), np.full(27, 1)), r"blocks \[0\] have no volume"),
        (lambda: average_blocks(series(), np.zeros(26, int)), "blocks has 26 volumes"),
    ],
)
def test_bad_input_is_refused_with_a_message_that_says_what_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()
