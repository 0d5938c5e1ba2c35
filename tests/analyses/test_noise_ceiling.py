"""Noise ceilings against loops, known truth and published figures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.noise_ceiling import (
    explainable_variance,
    leave_one_subject_out,
    ncsnr,
    noise_ceiling_from_ncsnr,
    noise_ceiling_r,
    split_half,
)
from tests.oracles import noise_ceiling as oracle


def simulate_repeats(n_repeats, n_stimuli, share, n_voxels=40, seed=0):
    """Repeats with `share` of signal in the variance of one; offsets and scales differ by voxel."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n_stimuli, n_voxels)) * np.sqrt(share)
    noise = rng.standard_normal((n_repeats, n_stimuli, n_voxels)) * np.sqrt(1 - share)
    return (signal + noise) * rng.uniform(0.5, 20, n_voxels) + rng.normal(0, 100, n_voxels), signal


def drop_repeats(repeats, least=2, seed=1):
    """Leave between `least` and all repeats of each stimulus and voxel."""
    rng = np.random.default_rng(seed)
    kept = rng.integers(least, len(repeats) + 1, size=repeats.shape[1:])
    order = rng.random(repeats.shape).argsort(axis=0)
    return np.where(order < kept, repeats, np.nan)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("n_averaged", [1, 3, 10])
def test_explainable_variance_recovers_truth_within_5_percent(share, n_averaged):
    truth = share / (share + (1 - share) / n_averaged)
    complete, _ = simulate_repeats(6, 2000, share)
    for repeats in (complete, drop_repeats(complete), complete[:2]):
        assert explainable_variance(repeats, n_averaged=n_averaged).mean() == pytest.approx(truth, rel=0.05)


def test_without_signal_the_corrected_share_is_zero_and_the_naive_one_is_not():
    repeats, _ = simulate_repeats(4, 500, 0.0, n_voxels=200)
    assert abs(explainable_variance(repeats).mean()) < 0.005
    assert explainable_variance(repeats, bias_corrected=False).mean() == pytest.approx(1 / 4, rel=0.05)


def test_explainable_variance_equals_loop_with_missing_repeats():
    repeats, _ = simulate_repeats(5, 30, 0.3, n_voxels=7)
    repeats = drop_repeats(repeats, least=0)
    expected = [oracle.explainable_variance(repeats[:, :, v], 2.5) for v in range(7)]
    np.testing.assert_allclose(explainable_variance(repeats, n_averaged=2.5), expected, rtol=1e-10)


def test_explainable_variance_equals_the_ratio_form_for_complete_z_scored_repeats():
    repeats, _ = simulate_repeats(4, 1000, 0.3, n_voxels=5)
    z = (repeats - repeats.mean(axis=1, keepdims=True)) / repeats.std(axis=1, ddof=1, keepdims=True)
    expected = [oracle.explainable_variance_of_equal_repeats(z[:, :, v]) for v in range(5)]
    # The ratio form takes repeats as fixed, the other as drawn: they part at order 1 / n_stimuli.
    np.testing.assert_allclose(explainable_variance(z), expected, atol=1 / 1000)


def test_ceiling_is_the_correlation_that_the_true_signal_reaches():
    repeats, signal = simulate_repeats(5, 4000, 0.25)
    repeats = drop_repeats(repeats)
    mean = np.nanmean(repeats, axis=0)
    reached = [np.corrcoef(mean[:, v], signal[:, v])[0, 1] for v in range(signal.shape[1])]
    counts = np.isfinite(repeats).sum(axis=0)
    ceiling = [
        noise_ceiling_r(explainable_variance(repeats[:, :, [v]], n_averaged=counts[:, v]))[0]
        for v in range(signal.shape[1])
    ]
    assert np.mean(ceiling) == pytest.approx(np.mean(reached), rel=0.01)
    from_ratio = noise_ceiling_r(noise_ceiling_from_ncsnr(ncsnr(repeats), 5)).mean()
    assert from_ratio == pytest.approx(np.sqrt(0.25 / (0.25 + 0.75 / 5)), rel=0.05)


@given(
    seed=st.integers(0, 1000),
    n_repeats=st.integers(2, 5),
    n_stimuli=st.integers(3, 20),
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
@settings(max_examples=40, deadline=None)
def test_invariances(seed, n_repeats, n_stimuli, scale, offset):
    rng = np.random.default_rng(seed)
    repeats = rng.standard_normal((n_repeats, n_stimuli, 3)) + rng.standard_normal((n_stimuli, 3))
    share = explainable_variance(repeats)
    assert (share <= 1).all()
    np.testing.assert_allclose(explainable_variance(repeats * scale + offset), share, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(explainable_variance(rng.permutation(repeats, axis=0)), share, atol=1e-9)
    padded = np.concatenate([repeats, np.full((2, n_stimuli, 3), np.nan)])
    np.testing.assert_allclose(explainable_variance(padded), share, atol=1e-12)
    np.testing.assert_allclose(
        noise_ceiling_from_ncsnr(ncsnr(repeats), n_repeats),
        np.clip(explainable_variance(repeats, n_averaged=n_repeats), 0, 1),
        atol=1e-12,
    )


def test_ncsnr_recovers_truth_and_is_that_of_allen():
    repeats, _ = simulate_repeats(3, 3000, 0.2)
    assert ncsnr(repeats).mean() == pytest.approx(np.sqrt(0.2 / 0.8), rel=0.05)
    expected = [oracle.ncsnr_of_allen(repeats[:, :, v]) for v in range(5)]
    np.testing.assert_allclose(ncsnr(repeats)[:5], expected, rtol=2e-3)


def test_ceiling_from_ncsnr_by_hand():
    counts = np.repeat([3, 2, 1], [50, 30, 20])  # A, B, C of Allen et al.
    inverse = (50 / 3 + 30 / 2 + 20 / 1) / 100
    np.testing.assert_allclose(
        noise_ceiling_from_ncsnr([0.0, 0.5, 2.0, np.inf, np.nan], counts),
        [0, 0.25 / (0.25 + inverse), 4 / (4 + inverse), 1, np.nan],
    )
    with pytest.raises(ValueError, match="ncsnr holds -1"):
        noise_ceiling_from_ncsnr([-1.0])


def test_split_half_recovers_reliability():
    for n_repeats in (2, 5, 6):
        repeats, _ = simulate_repeats(n_repeats, 3000, 0.3)
        truth = 0.3 / (0.3 + 0.7 / n_repeats)
        result = split_half(repeats, n_splits=5)
        assert result.spearman_brown.mean() == pytest.approx(truth, rel=0.05)
        assert result.r.mean() < result.spearman_brown.mean()


def test_split_half_draws_from_the_seed_and_ignores_missing_repeats():
    repeats, _ = simulate_repeats(5, 60, 0.4, n_voxels=3)
    first, again, other = (split_half(repeats, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.r, again.r)
    assert (first.r != other.r).all()
    single = np.where(np.arange(5)[:, None, None] == 0, repeats, np.nan)
    with_singles = np.concatenate([repeats, single[:, :20] * 1000], axis=1)
    # Stimuli with one repeat have no halves; the others give the same correlation up to the draw.
    np.testing.assert_allclose(split_half(with_singles, 200).r, split_half(repeats, 200).r, atol=0.03)


def test_two_repeats_have_one_way_to_be_halved():
    repeats, _ = simulate_repeats(2, 40, 0.4, n_voxels=4)
    exact = [np.corrcoef(repeats[0, :, v], repeats[1, :, v])[0, 1] for v in range(4)]
    drawn = split_half(repeats, 50).r
    np.testing.assert_allclose(drawn, exact, atol=0.05)  # which half comes first differs by stimulus


def test_leave_one_subject_out_equals_loop_and_bounds_the_truth():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((500, 6))
    responses = signal + rng.standard_normal((8, 500, 6))
    responses = responses * rng.uniform(1, 9, (8, 1, 6)) + rng.normal(0, 50, (8, 1, 6))
    ceiling = leave_one_subject_out(responses)
    for v in range(6):
        lower, upper = oracle.leave_one_out(responses[:, :, v])
        assert (ceiling.lower[v], ceiling.upper[v]) == pytest.approx((lower, upper))
        reached = np.mean([np.corrcoef(signal[:, v], subject)[0, 1] for subject in responses[:, :, v]])
        assert ceiling.lower[v] < reached < ceiling.upper[v]
    assert ceiling.lower_by_subject.shape == (8, 6)
    # A stimulus that one subject lacks is left out for that voxel alone.
    holed = responses.copy()
    holed[2, :100, 0] = np.nan
    partial = leave_one_subject_out(holed)
    assert partial.lower[0] == pytest.approx(oracle.leave_one_out(responses[:, 100:, 0])[0])
    np.testing.assert_allclose(partial.lower[1:], ceiling.lower[1:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_and_unrepeated_voxels_are_nan_and_leave_others_alone(dtype):
    repeats, _ = simulate_repeats(4, 50, 0.5, n_voxels=4)
    alone = explainable_variance(repeats[:, :, 3:].astype(dtype))
    repeats[:, :, 0] = 0.1  # its mean over repeats is not exactly 0.1 in binary
    repeats[1:, :, 1] = np.nan
    repeats[:, :, 2] = np.nan
    repeats = repeats.astype(dtype)
    for values in (explainable_variance(repeats), ncsnr(repeats), *split_half(repeats)):
        assert np.isnan(values[:3]).all()
        assert np.isfinite(values[3])
    np.testing.assert_allclose(explainable_variance(repeats)[3:], alone)
    subjects = leave_one_subject_out(repeats)
    assert np.isnan(subjects.lower[:3]).all()
    assert np.isfinite(subjects.lower[3])


def test_noise_free_voxels_have_a_ceiling_of_one():
    repeats = np.repeat(np.random.default_rng(0).standard_normal((1, 20, 2)), 3, axis=0)
    np.testing.assert_allclose(explainable_variance(repeats), 1, atol=1e-12)
    assert (ncsnr(repeats) > 1e12).all()  # infinite but for rounding
    np.testing.assert_allclose(noise_ceiling_from_ncsnr(ncsnr(repeats)), 1)


def test_noise_ceiling_r_clips():
    np.testing.assert_allclose(noise_ceiling_r([-0.2, 0.25, np.nan, 1.0]), [0, 0.5, np.nan, 1])


def test_errors_say_what_is_needed():
    good = np.random.default_rng(0).standard_normal((3, 10, 2))
    with pytest.raises(ValueError, match=r"shape \(10, 2\).*n_repeats, n_stimuli, n_voxels"):
        explainable_variance(good[0])
    with pytest.raises(ValueError, match="holds 1 repeat; reliability needs at least 2"):
        split_half(good[:1])
    with pytest.raises(ValueError, match="fewer than 2 repeats of every stimulus"):
        ncsnr(np.where(np.arange(3)[:, None, None] == 0, good, np.nan))
    with pytest.raises(ValueError, match="infinite values; mark missing responses with NaN"):
        explainable_variance(np.where(good > 1, np.inf, good))
    with pytest.raises(ValueError, match="holds 1 stimulus"):
        explainable_variance(good[:, :1])
    with pytest.raises(ValueError, match="holds 1 subject"):
        leave_one_subject_out(good[:1])
    with pytest.raises(ValueError, match="n_averaged is 0"):
        explainable_variance(good, n_averaged=0)
    with pytest.raises(ValueError, match="uncorrected share is defined for n_averaged=1"):
        explainable_variance(good, bias_corrected=False, n_averaged=3)
    with pytest.raises(ValueError, match="n_splits is 0"):
        split_half(good, n_splits=0)
    with pytest.raises(ValueError, match="dtype <U"):
        explainable_variance(good.astype(str))


def test_v4_reliability_is_as_measured(real_data):
    """Session 210325: half-split r .604, Spearman-Brown .743 (20 draws; the data's README)."""
    raw = np.load(real_data / "v4_natural" / "responses_raw" / "responses_210325.npy")
    repeats = raw.transpose(2, 1, 0)
    reliability = split_half(repeats, n_splits=20)
    assert reliability.r.mean() == pytest.approx(0.604, abs=0.005)
    assert reliability.spearman_brown.mean() == pytest.approx(0.743, abs=0.005)
    counts = np.isfinite(repeats[:, :, 0]).sum(axis=0)
    share = explainable_variance(repeats, n_averaged=counts)
    # Both estimate the share of signal in the mean of all repeats.
    assert share.mean() == pytest.approx(0.743, abs=0.01)
    np.testing.assert_allclose(share, reliability.spearman_brown, atol=0.05)
