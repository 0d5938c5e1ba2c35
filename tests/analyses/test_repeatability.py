"""Repeats that agree are told from repeats that do not."""

import numpy as np
import pytest
from scipy import stats

from analyses.statistics.multiple_comparisons import fdr
from analyses.statistics.repeatability import repeatability_p_values


def test_equals_one_way_analysis_of_variance_with_missing_repeats() -> None:
    generator = np.random.default_rng(0)
    repeats = 1e4 + generator.standard_normal((4, 12, 3)) + 0.7 * generator.standard_normal((12, 3))
    repeats[2:, :5] = np.nan
    for voxel in range(3):
        groups = [column[np.isfinite(column)] for column in repeats[:, :, voxel].T]
        expected = stats.f_oneway(*groups).pvalue
        np.testing.assert_allclose(repeatability_p_values(repeats)[voxel], expected, rtol=1e-6)


def test_noise_is_called_repeatable_as_often_as_the_level_says() -> None:
    p = repeatability_p_values(np.random.default_rng(1).standard_normal((2, 48, 4000)))
    # Binomial: 0.05 +- 4 standard errors over 4,000 voxels.
    assert abs((p <= 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 4000)
    assert (fdr(p) <= 0.05).sum() <= 5


def test_signal_is_found_and_constant_voxels_are_unknown() -> None:
    generator = np.random.default_rng(2)
    repeats = generator.standard_normal((6, 30, 2)) + 2 * generator.standard_normal((30, 2))
    repeats[:, :, 1] = 3.0
    p = repeatability_p_values(repeats)
    assert p[0] < 1e-6
    assert np.isnan(p[1])


def test_unrepeated_stimuli_are_unknown() -> None:
    assert np.isnan(repeatability_p_values(np.random.default_rng(3).standard_normal((1, 9, 2)))).all()


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="n_repeats"):
        repeatability_p_values(np.zeros((3, 4)))
