"""Paired comparison of two models of the same responses."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analyses.statistics.bootstrap import UnitSums, bootstrap_interval, check_rois, mean_by_roi
from analyses.statistics.multiple_comparisons import fdr

FloatArray = NDArray[np.float64]

_CHUNK_BYTES = 64 << 20
# Two sets of signs that give the same difference differ by rounding; they must count as ties.
_TIE = 1e-9


@dataclass(frozen=True)
class ModelComparison:
    """Model a less model b.

    Attributes
    ----------
    voxels : DataFrame
        One row a voxel: ``r_a``, ``r_b``, ``difference``, ``p_value`` (two-sided), ``q_value`` (false
        discovery rate over voxels), ``p_value_max`` (family-wise over voxels).
    rois : DataFrame
        One row a ROI: ``n_voxels``, means over voxels of ``r_a``, ``r_b`` and ``difference``, bootstrap
        interval ``lower`` to ``upper`` of the difference, ``p_value`` (two-sided), ``q_value`` (over ROIs).
    n_units, n_permutations : int
        Units that were exchanged, and how many ways of exchanging them were tried.
    confidence : float
        Nominal coverage of the interval.
    """

    voxels: pd.DataFrame
    rois: pd.DataFrame
    n_units: int
    n_permutations: int
    confidence: float


def compare_models(
    Y: ArrayLike,
    P_a: ArrayLike,
    P_b: ArrayLike,
    units: ArrayLike,
    rois: Mapping[str, ArrayLike] | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
) -> ModelComparison:
    """Compare the correlations of two models with the same held-out responses.

    Parameters
    ----------
    Y : (n_samples, n_voxels) array
        Held-out responses.
    P_a, P_b : (n_samples, n_voxels) array
        Predictions of the two models for them. Taken as given: what another training set would change is not
        in the p-values and intervals.
    units : (n_samples,) array
        Label of the independent unit of each row (stimulus, block or run). With fewer than about 20 the test
        rejects slightly too often, with fewer than 6 never at 0.05.
    rois : mapping of str to (n_voxels,) bool array, optional
        Voxels of each ROI; they may overlap. All voxels as ``"all"`` if not given.
    n_bootstrap : int
        Draws of units with replacement for the interval of each ROI.
    n_permutations : int
        Random exchanges of the two models' predictions within units. Where 2 to the number of units is no
        larger, all are tried.
    seed : int
        Seed of both.
    confidence : float
        Nominal coverage of the interval.

    Returns
    -------
    ModelComparison
        NaN for a voxel that is constant in the responses or in either prediction.

    Raises
    ------
    ValueError
        Shapes do not match, values are not finite, or there are fewer than 2 units.

    Notes
    -----
    With responses ``y`` and predictions ``a``, ``b`` z-scored over samples and ``r`` the mean of the two
    correlations, their difference is a sum over units of ``sum((y a - r a^2 / 2) - (y b - r b^2 / 2)) /
    n_samples``. These are the units' influences on the two correlations (Devlin, Gnanadesikan & Kettenring
    1975, Biometrika 62, 531-545; without the second parts the test would be too strict, the more so the
    better the models). Exchanging the models in a unit flips the sign of its term; if neither model is
    better, the terms scatter symmetrically around zero.
    """
    sums_a, sums_b = UnitSums(Y, P_a, units), UnitSums(Y, P_b, units)
    masks = check_rois(rois, sums_a.n_voxels)
    rng = np.random.default_rng(seed)
    r_a, r_b = (sums.correlations(np.ones((1, sums.n_units)))[0] for sums in (sums_a, sums_b))
    reference_r = (r_a + r_b) / 2
    terms = sums_a.correlation_terms(reference_r) - sums_b.correlation_terms(reference_r)
    signs = draw_signs(len(terms), n_permutations, rng)
    p_values, p_values_max = sign_flip_p_values(terms, signs)
    voxels = pd.DataFrame(
        {
            "r_a": r_a,
            "r_b": r_b,
            "difference": r_a - r_b,
            "p_value": p_values,
            "q_value": fdr(p_values),
            "p_value_max": p_values_max,
        }
    )

    def difference(counts: FloatArray) -> FloatArray:
        return mean_by_roi(
            lambda drawn, columns: sums_a.correlations(drawn, columns) - sums_b.correlations(drawn, columns),
            counts,
            masks,
        )

    interval = bootstrap_interval(
        difference,
        sums_a.n_units,
        names=tuple(masks),
        n_bootstrap=n_bootstrap,
        confidence=confidence,
        seed=seed,
    )
    known = np.isfinite(terms).all(axis=0)
    roi_terms = np.stack([_mean_over(terms, mask & known) for mask in masks.values()], axis=1)
    roi_p_values, _ = sign_flip_p_values(roi_terms, signs)
    table = pd.DataFrame(
        {
            "n_voxels": [int((mask & known).sum()) for mask in masks.values()],
            "r_a": [_mean_over(r_a[None], mask & known)[0] for mask in masks.values()],
            "r_b": [_mean_over(r_b[None], mask & known)[0] for mask in masks.values()],
            "difference": interval.estimate,
            "lower": interval.lower,
            "upper": interval.upper,
            "p_value": roi_p_values,
            "q_value": fdr(roi_p_values),
        },
        index=pd.Index(interval.names, name="roi"),
    )
    return ModelComparison(voxels, table, sums_a.n_units, len(signs), confidence)


def _mean_over(values: FloatArray, mask: NDArray[np.bool_]) -> FloatArray:
    return values[:, mask].mean(axis=1) if mask.any() else np.full(len(values), np.nan)


def draw_signs(n_units: int, n_permutations: int, rng: np.random.Generator) -> FloatArray:
    """Draw (n_draws, n_units) signs; the first row, the true pairing, is all +1, and few units give all there are."""
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; at least 1 is needed")
    if n_units < 63 and 2**n_units <= n_permutations + 1:
        bits = np.arange(2**n_units)[:, None] >> np.arange(n_units) & 1
    else:
        bits = rng.integers(0, 2, size=(n_permutations + 1, n_units))
        bits[0] = 0
    return 1.0 - 2.0 * bits


def sign_flip_p_values(terms: FloatArray, signs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two-sided p-values of the sum of `terms` (n_units, n_values), alone and against the largest value."""
    observed = np.abs(terms.sum(axis=0))
    known = ~np.isnan(observed)
    count, largest = np.zeros(observed.shape), np.full(len(signs), -np.inf)
    size = max(1, _CHUNK_BYTES // (8 * len(signs)))
    for start in range(0, len(observed), size):
        columns = slice(start, start + size)
        flipped = np.abs(signs @ terms[:, columns])
        count[columns] = (flipped >= observed[columns] - _TIE).sum(axis=0)
        largest = np.fmax(largest, np.fmax.reduce(flipped, axis=1))
    ordered = np.sort(largest)
    count_max = len(ordered) - np.searchsorted(ordered, observed - _TIE, side="left")
    p_values, p_values_max = (np.where(known, c / len(signs), np.nan) for c in (count, count_max))
    return p_values, p_values_max
