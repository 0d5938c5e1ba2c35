"""Bootstrap intervals that draw whole units: stimuli, blocks or runs.

A statistic is a function of how often each unit was drawn. Correlations follow from sums over each unit, so
that a thousand draws are a few matrix products and no sample is ever copied.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analyses.statistics.nulls import check_finite

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Method = Literal["percentile", "BCa"]

_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class BootstrapInterval:
    """Estimates and their intervals.

    Attributes
    ----------
    names : tuple of str
        What is estimated, one a value (ROIs).
    estimate, lower, upper : (n_values,) array
        On the units as they are, and the ends of the interval; NaN where it cannot be computed.
    samples : (n_bootstrap, n_values) array
        The estimate on each draw.
    confidence : float
        Nominal coverage.
    method : {"percentile", "BCa"}
    n_units : int
        Number of units drawn from.
    """

    names: tuple[str, ...]
    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    samples: FloatArray
    confidence: float
    method: Method
    n_units: int

    def to_frame(self) -> pd.DataFrame:
        """Tabulate ``estimate``, ``lower`` and ``upper``, one row a name."""
        columns = {"estimate": self.estimate, "lower": self.lower, "upper": self.upper}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="roi"))


def bootstrap_interval(
    statistic: Callable[[FloatArray], FloatArray],
    n_units: int,
    *,
    names: tuple[str, ...] = ("value",),
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    method: Method = "percentile",
    seed: int = 0,
) -> BootstrapInterval:
    """Draw units with replacement and take an interval from the statistic on the draws.

    Parameters
    ----------
    statistic : callable
        Takes counts (n_draws, n_units), how often each unit was drawn, and returns (n_draws, n_values).
    n_units : int
        Number of independent units: stimuli, blocks or runs. Not samples that are autocorrelated.
    names : tuple of str
        One a value.
    n_bootstrap : int
        Number of draws.
    confidence : float
        Nominal coverage.
    method : {"percentile", "BCa"}
        Percentiles of the draws: they respect the bounds of the statistic and need no symmetry, but are a
        little too narrow with few units (below about 20). BCa also corrects bias and skew, at the cost of one
        evaluation a unit (scipy's `bootstrap`).
    seed : int
        Seed of the draws.

    Returns
    -------
    BootstrapInterval

    Raises
    ------
    ValueError
        Fewer than 2 units or draws, confidence outside (0, 1), or an unknown method.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 14.
    """
    if n_units < 2:
        raise ValueError(f"there is {n_units} unit to draw from; an interval needs at least 2, better 20")
    if n_bootstrap < 2 or not 0 < confidence < 1:
        raise ValueError(
            f"n_bootstrap is {n_bootstrap} and confidence {confidence}; at least 2 draws and a confidence"
            " between 0 and 1 are needed"
        )
    if method not in ("percentile", "BCa"):
        raise ValueError(f"method is {method!r}; allowed: 'percentile', 'BCa'")
    estimate = statistic(np.ones((1, n_units)))[0]
    rng = np.random.default_rng(seed)
    if method == "BCa":
        lower, upper, samples = _bca(statistic, n_units, len(estimate), n_bootstrap, confidence, rng)
    else:
        counts = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_bootstrap)
        samples = statistic(counts.astype(np.float64))
        lower, upper = _percentiles(samples, (0.5 - confidence / 2, 0.5 + confidence / 2))
    unknown = np.isnan(estimate)
    lower, upper = np.where(unknown, np.nan, lower), np.where(unknown, np.nan, upper)
    return BootstrapInterval(names, estimate, lower, upper, samples, confidence, method, n_units)


def bootstrap_correlation(
    Y: ArrayLike,
    P: ArrayLike,
    units: ArrayLike,
    n_bootstrap: int = 1000,
    seed: int = 0,
    rois: Mapping[str, ArrayLike] | None = None,
    *,
    confidence: float = 0.95,
    method: Method = "percentile",
) -> BootstrapInterval:
    """Interval of the mean correlation over the voxels of each ROI, for new stimuli (or blocks, or runs).

    Parameters
    ----------
    Y, P : (n_samples, n_voxels) array
        Held-out responses and their predictions. The predictions are taken as given: the interval does not
        contain what another training set would change.
    units : (n_samples,) array
        Label of the unit of each row; rows of a unit are drawn together.
    n_bootstrap, seed, confidence, method
        As in `bootstrap_interval`.
    rois : mapping of str to (n_voxels,) bool array, optional
        Voxels of each ROI; they may overlap. All voxels as ``"all"`` if not given.

    Returns
    -------
    BootstrapInterval
        One value a ROI, in the order of `rois`. Voxels that are constant are left out of the mean; a ROI
        without other voxels gives NaN.

    Raises
    ------
    ValueError
        As in `bootstrap_interval`; shapes do not match, or values are not finite.
    """
    sums = UnitSums(Y, P, units)
    masks = check_rois(rois, sums.n_voxels)
    return bootstrap_interval(
        lambda counts: mean_by_roi(sums.correlations, counts, masks),
        sums.n_units,
        names=tuple(masks),
        n_bootstrap=n_bootstrap,
        confidence=confidence,
        method=method,
        seed=seed,
    )


class UnitSums:
    """Sums over the samples of each unit from which correlations over any draw of units follow.

    Parameters
    ----------
    Y, P : (n_samples, n_voxels) array
        Responses and predictions.
    units : (n_samples,) array
        Label of the unit of each row.
    """

    def __init__(self, Y: ArrayLike, P: ArrayLike, units: ArrayLike) -> None:
        y, p = check_finite(Y, "Y"), check_finite(P, "P")
        labels = np.asarray(units)
        if y.shape != p.shape or labels.shape != (len(y),):
            raise ValueError(
                f"Y has shape {y.shape}, P {p.shape} and units {labels.shape}; Y and P are (n_samples,"
                " n_voxels), units (n_samples,)"
            )
        self._constant = (np.ptp(y, axis=0) == 0) | (np.ptp(p, axis=0) == 0)
        # Sums of squares about zero would lose their digits where the mean is large.
        y, p = y - y.mean(axis=0), p - p.mean(axis=0)
        self._sizes, self._sums = sum_by_unit(labels, y, p, y * y, p * p, y * p)
        self.n_units, self.n_voxels = len(self._sizes), y.shape[1]

    def correlations(self, counts: FloatArray, columns: slice = slice(None)) -> FloatArray:
        """Correlate over units drawn `counts` (n_draws, n_units) times; (n_draws, n_voxels), NaN if
        constant."""
        y, p, yy, pp, yp = (counts @ a[:, columns] for a in self._sums)
        n = (counts @ self._sizes)[:, None]
        y_spread, p_spread = yy - y**2 / n, pp - p**2 / n
        # Below rounding, a voxel that is constant on the units drawn.
        known = (y_spread > 1e-13 * yy) & (p_spread > 1e-13 * pp) & ~self._constant[columns]
        scale = np.sqrt(np.where(known, y_spread * p_spread, np.nan))
        return (yp - y * p / n) / scale

    def correlation_terms(self, reference_r: FloatArray) -> FloatArray:
        """Divide ``r - reference_r / 2`` into one term a unit, (n_units, n_voxels); NaN if constant.

        Each term also carries the unit's share in the variance of the predictions: its influence on the
        correlation, not only on the covariance.
        """
        yy, pp, yp = (self._sums[i] for i in (2, 3, 4))
        p_total = np.where(self._constant, np.nan, pp.sum(axis=0))
        return yp / np.sqrt(yy.sum(axis=0) * p_total) - reference_r / 2 * pp / p_total


def sum_by_unit(units: NDArray, *arrays: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """Return the number of samples of each unit, (n_units,), and the sums of each array, (n_units, n_voxels)."""
    _, rows = np.unique(units, return_inverse=True)
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(rows[order]) > 0])
    sizes = np.diff(np.r_[starts, len(rows)]).astype(np.float64)
    return sizes, [np.add.reduceat(array[order], starts, axis=0) for array in arrays]


def mean_by_roi(
    correlations: Callable[[FloatArray, slice], FloatArray],
    counts: FloatArray,
    masks: Mapping[str, BoolArray],
) -> FloatArray:
    """Average correlations over the voxels of each ROI, (n_draws, n_rois), in chunks of draws and voxels."""
    members = np.stack(list(masks.values()), axis=1).astype(np.float64)
    n_voxels = len(members)
    means = np.empty((len(counts), members.shape[1]))
    for draws, voxels in _tiles(len(counts), n_voxels):
        total, known = (np.zeros((len(counts[draws]), members.shape[1])) for _ in range(2))
        for columns in voxels:
            r = correlations(counts[draws], columns)
            present = np.isfinite(r)
            total += np.where(present, r, 0) @ members[columns]
            known += present @ members[columns]
        means[draws] = np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)
    return means


def check_rois(rois: Mapping[str, ArrayLike] | None, n_voxels: int) -> dict[str, BoolArray]:
    """Return the masks as boolean arrays, ``{"all": ...}`` where there are none, or say what is wrong."""
    if rois is None:
        return {"all": np.ones(n_voxels, dtype=bool)}
    masks = {name: np.asarray(mask) for name, mask in rois.items()}
    for name, mask in masks.items():
        if mask.dtype != bool or mask.shape != (n_voxels,):
            raise ValueError(
                f"rois[{name!r}] has dtype {mask.dtype} and shape {mask.shape}; a boolean array of shape"
                f" ({n_voxels},) is needed"
            )
    if not masks:
        raise ValueError("rois is empty; give at least one ROI, or None for all voxels")
    return masks


def _tiles(n_draws: int, n_voxels: int) -> Iterator[tuple[slice, list[slice]]]:
    width = min(n_voxels, 2048)
    height = max(1, _CHUNK_BYTES // (8 * 8 * width))
    voxels = [slice(start, start + width) for start in range(0, n_voxels, width)]
    for start in range(0, n_draws, height):
        yield slice(start, start + height), voxels


def _percentiles(samples: FloatArray, shares: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    known = ~np.isnan(samples).all(axis=0)
    ends = np.full((2, samples.shape[1]), np.nan)
    if known.any():
        ends[:, known] = np.nanquantile(samples[:, known], shares, axis=0)
    return ends[0], ends[1]


def _bca(
    statistic: Callable[[FloatArray], FloatArray],
    n_units: int,
    n_values: int,
    n_bootstrap: int,
    confidence: float,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    state = rng.bit_generator.state

    def of_drawn(drawn: NDArray[np.intp], axis: int, value: int) -> FloatArray:
        rows = np.moveaxis(np.atleast_2d(drawn), axis, -1).reshape(-1, drawn.shape[axis])
        counts = np.zeros((len(rows), n_units))
        np.add.at(counts, (np.arange(len(rows))[:, None], rows.astype(np.intp)), 1)
        return statistic(counts)[:, value].reshape(drawn.shape[:-1])

    ends, samples = [], []
    for value in range(n_values):
        rng.bit_generator.state = state  # the same draws for all values
        result = stats.bootstrap(
            (np.arange(n_units),),
            lambda drawn, axis, value=value: of_drawn(drawn, axis, value),
            n_resamples=n_bootstrap,
            confidence_level=confidence,
            method="BCa",
            vectorized=True,
            axis=-1,
            random_state=rng,
        )
        ends.append(result.confidence_interval)
        samples.append(result.bootstrap_distribution)
    lower, upper = np.asarray(ends, dtype=np.float64).T
    return lower, upper, np.stack(samples, axis=1)
