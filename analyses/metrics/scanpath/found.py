"""How many searches have found their target after so many fixations."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analyses.metrics.scanpath.ragged import FloatArray
from analyses.metrics.scanpath.resampling import Resample, draw_counts, index_trials, percentile_interval

_CHUNK_ELEMENTS = 4 << 20


@dataclass(frozen=True)
class FoundCurve:
    """A cumulative curve with its band, and the area under it with its interval.

    Attributes
    ----------
    found, lower, upper : (n_max,) array
        Share of trials that had found the target by fixation 1, 2, ..., and the ends of its interval, fixation by
        fixation.
    area, area_lower, area_upper : float
        `area_under_found` of the curve and its interval.
    confidence : float
        Nominal coverage of the intervals.
    resample : {"both", "observers", "displays"}
        What was drawn anew.
    n_trials, n_observers, n_displays : int
        What the curve rests on.
    """

    found: FloatArray
    lower: FloatArray
    upper: FloatArray
    area: float
    area_lower: float
    area_upper: float
    confidence: float
    resample: Resample
    n_trials: int
    n_observers: int
    n_displays: int

    def to_frame(self) -> pd.DataFrame:
        """Tabulate the curve, one row a fixation."""
        fixation = pd.RangeIndex(1, len(self.found) + 1, name="fixation")
        return pd.DataFrame({"found": self.found, "lower": self.lower, "upper": self.upper}, index=fixation)


def found_by_fixation(found_at: ArrayLike, n_max: int) -> FloatArray:
    """Return the share of trials that had found the target by each fixation.

    Parameters
    ----------
    found_at : (n_trials,) array-like
        Number of the fixation that landed on the target, counted from 1 (0: the gaze stood on it when the display
        came); NaN where it was never found.
    n_max : int
        Number of fixations of the curve.

    Returns
    -------
    (n_max,) array
        After fixation 1, 2, ..., n_max.

    Raises
    ------
    ValueError
        If there is no trial, or fixations are negative or no whole numbers.
    """
    return _steps(found_at, n_max).mean(axis=0)


def area_under_found(found: ArrayLike) -> FloatArray:
    """Return the area under a cumulative curve as a share of the largest possible: the mean over fixations.

    Parameters
    ----------
    found : (..., n_max) array
        Shares found by fixation 1, 2, ...

    Returns
    -------
    (...) array
        1 where the first fixation always finds the target, 0 where none ever does. It depends on n_max, which has to
        be equal where curves are compared.
    """
    return np.asarray(found, dtype=np.float64).mean(axis=-1)


def found_curve(
    found_at: ArrayLike,
    observers: ArrayLike,
    displays: ArrayLike,
    n_max: int,
    *,
    resample: Resample = "both",
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> FoundCurve:
    """Return the cumulative curve with a bootstrap band that draws whole observers and whole displays.

    Parameters
    ----------
    found_at : (n_trials,) array-like
        As in `found_by_fixation`.
    observers, displays : (n_trials,) array-like
        Who searched which display.
    n_max : int
        Number of fixations of the curve.
    resample : {"both", "observers", "displays"}
        What is drawn: observers for other people, displays for other displays, both for both. Trials of one person are
        not independent, nor are those on one display.
    n_bootstrap, confidence, seed
        Number of draws, nominal coverage of each interval, seed of the draws.

    Returns
    -------
    FoundCurve

    Raises
    ------
    ValueError
        As in `found_by_fixation`; if arrays do not match, or there are fewer than 2 of what is drawn.
    """
    steps = _steps(found_at, n_max)
    trials = index_trials(observers, displays, len(steps))
    n_observers, n_displays = len(trials.observer_names), len(trials.display_names)
    people, scenes = draw_counts(n_observers, n_displays, n_bootstrap, resample, seed)
    samples = np.empty((n_bootstrap, steps.shape[1]))
    size = max(1, _CHUNK_ELEMENTS // len(steps))
    for part in (slice(start, start + size) for start in range(0, n_bootstrap, size)):
        weights = people[part][:, trials.observer] * scenes[part][:, trials.display]
        total = weights.sum(axis=1, keepdims=True)
        # A draw may hold no trial at all where few people saw few displays.
        samples[part] = np.divide(
            weights @ steps, total, out=np.full((len(weights), n_max), np.nan), where=total > 0
        )
    lower, upper = percentile_interval(samples, confidence)
    area_lower, area_upper = percentile_interval(area_under_found(samples), confidence)
    found = steps.mean(axis=0)
    return FoundCurve(
        found,
        lower,
        upper,
        float(area_under_found(found)),
        float(area_lower),
        float(area_upper),
        confidence,
        resample,
        len(steps),
        n_observers,
        n_displays,
    )


def _steps(found_at: ArrayLike, n_max: int) -> FloatArray:
    """Return whether each trial had found the target by each fixation, (n_trials, n_max) of 0 and 1."""
    if int(n_max) != n_max or n_max < 1:
        raise ValueError(f"n_max is {n_max}; the curve needs a whole number of fixations, at least 1")
    at = np.asarray(found_at, dtype=np.float64)
    if at.ndim != 1 or not at.size:
        raise ValueError(
            f"found_at has shape {at.shape}; one number a trial is needed, and at least one trial"
        )
    known = at[~np.isnan(at)]
    if (known < 0).any() or (known != np.floor(known)).any():
        raise ValueError(
            f"found_at has {known.min()} to {known.max()}; fixations are whole numbers from 0, NaN where the target was"
            " never found"
        )
    # NaN compares as not found.
    return (at[:, None] <= np.arange(1, int(n_max) + 1)).astype(np.float64)
