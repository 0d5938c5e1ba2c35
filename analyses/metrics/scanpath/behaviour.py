"""Five statistics of searching behaviour a trial, and how far a model is from people in them (Delta)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analyses.metrics.scanpath.ragged import FloatArray
from cogmodels.search.behaviour import STATISTICS, sequence_statistics, statistics_delta
from stimuli.files import count_of, unknown_name_message

if TYPE_CHECKING:
    from cogmodels.search import Scanpaths
    from stimuli.search_displays import SearchDisplays


def search_ratio(sequences: Sequence[ArrayLike]) -> FloatArray:
    """Return the share of fixations that go to an object for the first time.

    Parameters
    ----------
    sequences : sequence of (n_fixations,) int
        The object of each fixation, counted from 0; at least one.

    Returns
    -------
    (n_sequences,) array
        1 where nothing is looked at twice.

    Raises
    ------
    ValueError
        For empty sequences or objects below 0.

    References
    ----------
    Fang, Yu, Zhang, van der Lans & Shi 2024, ECCV.
    """
    return sequence_statistics(sequences, np.full(len(sequences), -1))[:, STATISTICS.index("first_visits")]


def behaviour_statistics(scanpaths: "Scanpaths", displays: "SearchDisplays") -> pd.DataFrame:
    """Return what each trial looked like in five numbers.

    Parameters
    ----------
    scanpaths : Scanpaths
        With objects assigned; fixation 0 is not counted. Fixations on no object (-1) are left out, so that the two
        around them follow each other; ``assign_objects(displays, nearest=True)`` leaves none.
    displays : SearchDisplays
        Which item was the target.

    Returns
    -------
    DataFrame
        One row a trial: ``observer, display, trial``; ``correct`` (the last fixation is on the target; NaN where it was
        absent), ``length`` (fixations), and the shares of fixations that are ``first_visits``, ``refixations`` (on the
        object of the fixation before) and ``revisits`` (on one seen earlier, coming from another), which add up to 1;
        ``n_off_object``, how many fixations were left out. The five are NaN where none is left.

    Raises
    ------
    KeyError
        A display is not among `displays`.
    ValueError
        No fixation has an object, or one that its display does not have.

    References
    ----------
    Fang, Yu, Zhang, van der Lans & Shi 2024, ECCV.
    """
    sequences = scanpaths.objects()
    if not any((objects >= 0).any() for objects in sequences):
        raise ValueError(
            "scanpaths name no objects: call scanpaths.assign_objects(displays, nearest=True) first"
        )
    table = scanpaths.trials[["observer", "display", "trial"]].copy()
    by_name = {display.display_id: display for display in displays}
    for name in table["display"].unique():
        if name not in by_name:
            raise KeyError(unknown_name_message("display", name, by_name))
    for name, objects in zip(table["display"], sequences, strict=True):
        n_items = len(by_name[name].items)
        if objects.size and objects.max() >= n_items:
            raise ValueError(
                f"scanpaths name object {objects.max()} on display {name!r}, which has {count_of(n_items, 'item')}"
            )
    targets = np.array(
        [-1 if by_name[name].target_item is None else by_name[name].target_item for name in table["display"]]
    )
    on_objects = [objects[objects >= 0] for objects in sequences]
    some = np.array([len(objects) > 0 for objects in on_objects])
    values = np.full((len(table), len(STATISTICS)), np.nan)
    values[some] = sequence_statistics([objects for objects in on_objects if len(objects)], targets[some])
    values[targets < 0, STATISTICS.index("correct")] = np.nan
    table[list(STATISTICS)] = values
    table["n_off_object"] = [len(a) - len(b) for a, b in zip(sequences, on_objects, strict=True)]
    return table


def behaviour_delta(model: pd.DataFrame, people: pd.DataFrame) -> float:
    """Return Delta, the mean relative distance of a model's five statistics from people's.

    Parameters
    ----------
    model, people : DataFrame
        As `behaviour_statistics` returns them, of the same displays. Each statistic is averaged over all trials (and
        rollouts) in which it is known.

    Returns
    -------
    float
        Mean of ``|model - people| / people`` over the statistics; 0 is best. A statistic that people never show (mean
        0) is left out.

    Raises
    ------
    ValueError
        If the tables are of other displays, lack a column, or a statistic is unknown in every trial.

    References
    ----------
    Fang, Yu, Zhang, van der Lans & Shi 2024, ECCV.
    """
    for name, table in (("model", model), ("people", people)):
        missing = [column for column in ("display", *STATISTICS) if column not in table]
        if missing:
            raise ValueError(f"{name} lacks the columns {missing}; give what behaviour_statistics returns")
    seen, other = set(model["display"]), set(people["display"])
    if seen != other:
        raise ValueError(
            f"model and people searched other displays ({count_of(len(seen - other), 'display')} of the model alone,"
            f" {len(other - seen)} of people alone): select the displays of both"
        )
    return statistics_delta(*(table[list(STATISTICS)].mean().to_numpy() for table in (model, people)))
