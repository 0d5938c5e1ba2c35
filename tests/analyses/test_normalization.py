"""Scores against their ceiling."""

import numpy as np
import pytest

from analyses.metrics.normalization import (
    capped_explained_variance,
    normalize_r,
    share_of_explainable_variance,
)
from analyses.noise_ceiling import explainable_variance, noise_ceiling_r


def test_values_by_hand():
    r, ceiling = np.array([[0.3, -0.2, 0.5, 0.6]]), np.array([0.6, 0.8, 0.05, np.nan])
    np.testing.assert_allclose(normalize_r(r, ceiling), [[0.5, -0.25, np.nan, np.nan]])
    np.testing.assert_allclose(normalize_r(r, ceiling, floor=0.01)[0, 2], 10)
    np.testing.assert_allclose(
        share_of_explainable_variance([0.2, -0.1, 0.2], [0.4, 0.2, 0.0]), [0.5, -0.5, np.nan]
    )
    np.testing.assert_allclose(
        capped_explained_variance([0.5, -0.5, 0.9, 0.5, 0.5], [0.5, 0.5, 0.5, 0.0, np.nan]),
        [0.5, 0, 1, np.nan, np.nan],
    )


def test_a_perfect_model_gets_one_and_half_a_model_its_share():
    rng = np.random.default_rng(0)
    known, hidden = rng.standard_normal((2, 5000, 30))
    signal = (known + hidden) / np.sqrt(2)
    repeats = signal + rng.standard_normal((4, 5000, 30))
    mean = repeats.mean(axis=0)
    share = explainable_variance(repeats, n_averaged=4)

    def r(prediction):
        return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(mean.T, prediction.T, strict=True)])

    assert normalize_r(r(signal), noise_ceiling_r(share)).mean() == pytest.approx(1, abs=0.01)
    assert share_of_explainable_variance(r(signal) ** 2, share).mean() == pytest.approx(1, abs=0.02)
    assert share_of_explainable_variance(r(known) ** 2, share).mean() == pytest.approx(0.5, rel=0.05)
    assert normalize_r(r(known), noise_ceiling_r(share)).mean() == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_errors():
    with pytest.raises(ValueError, match="floor is 0; it must be positive"):
        normalize_r([0.1], [0.2], floor=0)
    with pytest.raises(ValueError, match=r"r has shape \(3,\) and ceiling_r \(2,\)"):
        normalize_r([0.1, 0.2, 0.3], [0.2, 0.3])
