"""Tables of reaction times in search: what makes one valid, and lines fitted to it and to draws of displays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

_NEEDED = ["paradigm", "condition", "set_size", "rt_ms"]
# Reaction times are known to microseconds at best: a smaller slope is one of rounding, and must not count as a sign.
_ZERO_SLOPE = 1e-9


@dataclass(frozen=True, eq=False)
class ConditionLine:
    """A line of reaction time over set size, and the lines of draws of displays.

    Attributes
    ----------
    paradigm, condition : str
    slope_ms_per_item, intercept_ms : float
    slopes, intercepts : ndarray (n_draws,)
        NaN where a set size has a single display, of which no draws can be taken.
    n_displays : int
    """

    paradigm: str
    condition: str
    slope_ms_per_item: float
    intercept_ms: float
    slopes: np.ndarray
    intercepts: np.ndarray
    n_displays: int


def check_times(rt: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a table of reaction times with plain dtypes.

    Parameters
    ----------
    rt : DataFrame
        Columns paradigm, condition, set_size, rt_ms; display and observer where they are known.

    Returns
    -------
    DataFrame
        The same rows; `display` is the number of the row where it was not given.

    Raises
    ------
    TypeError
        If `rt` is no DataFrame.
    ValueError
        If a column is missing, nothing is in it, a name is missing, a time or set size is not finite, a set size is not
        positive, or a condition has a single set size.
    """
    if not isinstance(rt, pd.DataFrame):
        raise TypeError(f"rt must be a pandas.DataFrame of reaction times; got {type(rt).__name__}")
    missing = [name for name in _NEEDED if name not in rt]
    if missing:
        raise ValueError(
            f"rt lacks the columns {missing}; it has {list(rt.columns)}. A table of reaction times has one row a trial "
            f"and the columns {_NEEDED}; cogmodels.search.reaction_time.reaction_times makes one of scanpaths"
        )
    if rt.empty:
        raise ValueError("rt is empty: slopes need reaction times at two set sizes or more")
    table = pd.DataFrame(index=pd.RangeIndex(len(rt)))
    for name in ("paradigm", "condition", *(name for name in ("observer", "display") if name in rt)):
        if rt[name].isna().any():
            raise ValueError(f"rt has {int(rt[name].isna().sum())} rows without {name}")
        table[name] = rt[name].astype(str).to_numpy()
    if "display" not in table:
        table["display"] = table.index.astype(str)
    for name in ("set_size", "rt_ms"):
        table[name] = pd.to_numeric(rt[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        bad = ~np.isfinite(table[name].to_numpy())
        if bad.any():
            raise ValueError(
                f"rt has {int(bad.sum())} rows whose {name} is NaN or no number, first row {int(bad.argmax())}. "
                "Leave trials without a reaction time out, or say what they count (reaction_times counts the largest "
                "set size for a search that found nothing)"
            )
    if (table["set_size"] <= 0).any():
        raise ValueError(f"rt has set sizes down to {table['set_size'].min():g}; they count items, from 1")
    levels = table.groupby(["paradigm", "condition"])["set_size"].nunique()
    if (levels < 2).any():
        raise ValueError(f"{levels.idxmin()} has a single set size: a slope needs two or more")
    return table


def average_displays(table: pd.DataFrame) -> pd.DataFrame:
    """Average the trials on each display, which are not independent of each other.

    Parameters
    ----------
    table : DataFrame
        What `check_times` gave.

    Returns
    -------
    DataFrame
        One row a display: paradigm, condition, set_size, display, rt_ms.
    """
    keys = ["paradigm", "condition", "set_size", "display"]
    # Less the first time, constant times stay constant to the last bit.
    first = table.groupby(["paradigm"])["rt_ms"].transform("first")
    means = (
        table.assign(rt_ms=table["rt_ms"] - first, first=first)
        .groupby(keys, as_index=False)[["rt_ms", "first"]]
        .mean()
    )
    return means.assign(rt_ms=means["rt_ms"] + means["first"]).drop(columns="first")


def fit_lines(rt: pd.DataFrame, n_draws: int, seed: int) -> Iterator[ConditionLine]:
    """Fit the line of each condition, on the trials as they are and on draws of displays within each set size.

    Parameters
    ----------
    rt : DataFrame
        As in `check_times`.
    n_draws, seed : int
        How many draws, and their seed.

    Yields
    ------
    ConditionLine
        By paradigm and condition in alphabetical order.
    """
    table = check_times(rt)
    for number, ((paradigm, condition), trials) in enumerate(table.groupby(["paradigm", "condition"])):
        # All times less the first: what is constant gives sums of exact zeros.
        offset = float(trials["rt_ms"].iloc[0])
        units = trials.assign(rt_ms=trials["rt_ms"] - offset).groupby(["set_size", "display"])["rt_ms"]
        sums, sizes = units.sum(), units.size()
        rng = np.random.default_rng((seed, number))
        set_sizes = np.unique(trials["set_size"])
        n_trials, totals = np.empty((2, n_draws + 1, len(set_sizes)))
        resampled = True
        for level, set_size in enumerate(set_sizes):
            y, n = sums[set_size].to_numpy(), sizes[set_size].to_numpy(float)
            counts = np.vstack(
                [np.ones((1, len(y))), rng.multinomial(len(y), np.full(len(y), 1 / len(y)), n_draws)]
            )
            n_trials[:, level], totals[:, level] = counts @ n, counts @ y
            resampled &= len(y) > 1
        slopes, intercepts = _line(set_sizes, n_trials, totals)
        intercepts += offset
        unknown = np.full(n_draws, np.nan)
        yield ConditionLine(
            str(paradigm),
            str(condition),
            float(slopes[0]),
            float(intercepts[0]),
            slopes[1:] if resampled else unknown,
            intercepts[1:] if resampled else unknown,
            len(sums),
        )


def _line(set_sizes: np.ndarray, n_trials: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit lines from the number (n_lines, n_set_sizes) and the sum of trials at each set size."""
    n = n_trials.sum(axis=1)
    centre = n_trials @ set_sizes / n
    deviations = set_sizes - centre[:, None]
    slopes = (deviations * totals).sum(axis=1) / (deviations**2 * n_trials).sum(axis=1)
    slopes[np.abs(slopes) < _ZERO_SLOPE] = 0.0
    return slopes, totals.sum(axis=1) / n - slopes * centre
