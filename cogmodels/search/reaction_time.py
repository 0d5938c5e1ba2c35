"""Reaction times from numbers of fixations: by published constants, or by constants fitted on other paradigms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cogmodels.search.scanpaths import Scanpaths

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

# Gupta et al. 2021: fitted to people who searched arrays of objects, none of the six asymmetry paradigms among them.
MS_PER_FIXATION = 252.359
INTERCEPT_MS = 376.271

_CELL = ["paradigm", "condition", "set_size"]


def fixations_to_rt_ms(
    n_fixations: ArrayLike, ms_per_fixation: float = MS_PER_FIXATION, intercept_ms: float = INTERCEPT_MS
) -> np.ndarray:
    """Return reaction times for numbers of fixations: ``ms_per_fixation * n_fixations + intercept_ms``.

    Parameters
    ----------
    n_fixations : array-like
        Fixations until the target was found, the start not counted. Decide beforehand what trials without an end count:
        `reaction_times` takes the largest set size of the paradigm.
    ms_per_fixation, intercept_ms : float
        By default the published ones (Gupta et al. 2021, "Visual search asymmetry"), which were fitted on another task
        and are not to be tuned.

    Returns
    -------
    ndarray
        Milliseconds, of the shape of `n_fixations`.

    Raises
    ------
    ValueError
        A number is NaN or negative.
    """
    numbers = np.asarray(n_fixations, dtype=np.float64)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        raise ValueError(
            "n_fixations holds NaN, infinite or negative numbers: a search that did not find its target needs a "
            "number too (reaction_times counts the largest set size)"
        )
    return ms_per_fixation * numbers + intercept_ms


def reaction_times(
    scanpaths: Scanpaths,
    displays: "Sequence[SearchDisplay]",
    ms_per_fixation: float = MS_PER_FIXATION,
    intercept_ms: float = INTERCEPT_MS,
) -> pd.DataFrame:
    """Return the reaction time of every trial.

    A trial that did not find its target counts as many fixations as the largest set size among the `displays` of its
    paradigm (Gupta et al. 2021), however many there were.

    Parameters
    ----------
    scanpaths : Scanpaths
    displays : SearchDisplays
        All displays of the experiment: the largest set size is looked up among them. Target-present displays only.
    ms_per_fixation, intercept_ms : float
        As in `fixations_to_rt_ms`.

    Returns
    -------
    DataFrame
        One row a trial: observer, display, trial, paradigm, condition, set_size, found, n_fixations (those that count),
        rt_ms.

    Raises
    ------
    KeyError
        A display was seen that is not among `displays`.
    ValueError
        A display that was seen has no set size or no target.
    """
    scanpaths.check_on(displays, off_screen="keep")
    seen = {display.display_id: display for display in displays}
    trials = scanpaths.trials
    for name in scanpaths.displays:
        lacking = "set size" if seen[name].set_size is None else "target"
        if seen[name].set_size is None or seen[name].target_item is None:
            raise ValueError(
                f"display {name!r} has no {lacking}: reaction times by set size need displays of items with one target"
            )
    largest: dict[str, int] = {}
    for display in displays:
        largest[display.paradigm] = max(largest.get(display.paradigm, 0), display.set_size or 0)
    table = trials[["observer", "display", "trial"]].copy()
    table["paradigm"] = [seen[name].paradigm for name in trials["display"]]
    table["condition"] = [seen[name].condition for name in trials["display"]]
    table["set_size"] = np.array([seen[name].set_size for name in trials["display"]], dtype=np.int64)
    table["found"] = trials["found"]
    not_found = table["paradigm"].map(largest)
    table["n_fixations"] = trials["found_at"].where(trials["found"], not_found).astype(np.float64)
    table["rt_ms"] = fixations_to_rt_ms(table["n_fixations"], ms_per_fixation, intercept_ms)
    return table


@dataclass(frozen=True, eq=False)
class RTFit:
    """Constants from fixations to milliseconds, each fitted without the paradigm it is used on.

    Attributes
    ----------
    constants : DataFrame
        Index paradigm (the one left out); columns ms_per_fixation, intercept_ms, n_cells (cells of the other paradigms
        that were fitted).
    predicted : DataFrame
        One row a cell: paradigm, condition, set_size, n_fixations, rt_ms (people), predicted_rt_ms (by the constants of
        the other paradigms).
    """

    constants: pd.DataFrame
    predicted: pd.DataFrame

    @property
    def description(self) -> str:
        """How the numbers came about, for reports."""
        return (
            "RT from fixations by least squares on cells (paradigm x condition x set size) of people's mean RT; each "
            f"paradigm by constants fitted on the other {len(self.constants) - 1}, never on itself"
        )


def fit_rt(model: pd.DataFrame, people: pd.DataFrame) -> RTFit:
    """Fit RT = a * fixations + b to people, leaving each paradigm out in turn.

    Parameters
    ----------
    model : DataFrame
        Columns paradigm, condition, set_size, n_fixations; one row a trial (as `reaction_times` gives) or a cell.
        Trials of a cell are averaged first, so that each cell weighs the same.
    people : DataFrame
        Columns paradigm (or experiment), condition, set_size, rt_ms; several rows of a cell are averaged.

    Returns
    -------
    RTFit

    Raises
    ------
    ValueError
        A column is missing, a value is not finite, the tables share fewer than two paradigms, or the cells of the other
        paradigms all have the same number of fixations.
    """
    if "paradigm" not in people and "experiment" in people:
        people = people.rename(columns={"experiment": "paradigm"})
    cells = pd.merge(
        _cell_means(model, "n_fixations", "model"), _cell_means(people, "rt_ms", "people"), on=_CELL
    )
    paradigms = sorted(cells["paradigm"].unique())
    if len(paradigms) < 2:
        raise ValueError(
            f"model and people share {len(paradigms)} paradigms (cells alike in {_CELL}); fit_rt leaves one out and "
            "needs two at least. With a single one use the published constants"
        )
    rows, predicted = [], np.empty(len(cells))
    for left_out in paradigms:
        test = (cells["paradigm"] == left_out).to_numpy()
        n_fixations, rt_ms = (cells.loc[~test, column].to_numpy() for column in ("n_fixations", "rt_ms"))
        if np.ptp(n_fixations) == 0:
            raise ValueError(
                f"without paradigm {left_out!r} every cell has {n_fixations[0]:g} fixations: no slope can be fitted"
            )
        slope, intercept = np.polyfit(n_fixations, rt_ms, 1)
        rows.append((slope, intercept, int((~test).sum())))
        predicted[test] = slope * cells.loc[test, "n_fixations"].to_numpy() + intercept
    constants = pd.DataFrame(
        rows,
        columns=["ms_per_fixation", "intercept_ms", "n_cells"],
        index=pd.Index(paradigms, name="paradigm"),
    )
    return RTFit(constants, cells.assign(predicted_rt_ms=predicted))


def _cell_means(table: pd.DataFrame, value: str, argument: str) -> pd.DataFrame:
    missing = [name for name in [*_CELL, value] if name not in table]
    if missing:
        raise ValueError(
            f"{argument} lacks the columns {missing}; it has {list(table.columns)}, needed are {[*_CELL, value]}"
        )
    if not np.isfinite(np.asarray(table[value], dtype=np.float64)).all():
        raise ValueError(f"{argument} has values of {value} that are NaN or infinite: leave those rows out")
    return table.groupby(_CELL, sort=True)[value].mean().reset_index()
