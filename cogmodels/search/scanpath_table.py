"""The columns of a table of fixations, and what makes such a table valid."""

from typing import Any

import numpy as np
import pandas as pd

from stimuli.files import count_of

COLUMNS = (
    "observer",
    "display",
    "trial",
    "fixation",
    "x_px",
    "y_px",
    "duration_ms",
    "object",
    "found",
)
TRIAL_COLUMNS = ["observer", "display", "trial"]
# What a column holds where a table does not bring it. The others must come.
_DEFAULTS: dict[str, Any] = {"trial": 0, "duration_ms": np.nan, "object": -1, "found": False}


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a valid copy of a table of fixations: known columns, plain dtypes, whole trials in order.

    Trials keep the order in which they first appear; the fixations of a trial are sorted by number.

    Raises
    ------
    TypeError
        `table` is no DataFrame.
    ValueError
        A column is missing, unknown or of the wrong kind, or a trial is not whole.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a pandas.DataFrame of fixations; got {type(table).__name__}")
    missing = [name for name in COLUMNS if name not in table and name not in _DEFAULTS]
    if missing:
        raise ValueError(
            f"table lacks the columns {missing}; it has {list(table.columns)}. A table of fixations has one row "
            f"a fixation and the columns {list(COLUMNS)}, of which {list(_DEFAULTS)} may be left out"
        )
    if not table.columns.is_unique:
        raise ValueError(f"table has columns of the same name: {list(table.columns)}; name each once")
    extra = [name for name in table.columns if name not in COLUMNS]
    if extra:
        raise ValueError(
            f"table has columns that fixations do not have: {extra}; allowed are {list(COLUMNS)}. Keep what else "
            "is known of trials in a table of its own"
        )
    if table.empty:
        raise ValueError("table is empty: scanpaths need at least one fixation")
    columns = {
        name: table[name] if name in table else np.full(len(table), _DEFAULTS[name]) for name in COLUMNS
    }
    checked = pd.DataFrame(
        {
            "observer": _names(columns["observer"], "observer"),
            "display": _names(columns["display"], "display"),
            "trial": _whole_numbers(columns["trial"], "trial", lowest=0),
            "fixation": _whole_numbers(columns["fixation"], "fixation", lowest=0),
            "x_px": _places(columns["x_px"], "x_px"),
            "y_px": _places(columns["y_px"], "y_px"),
            "duration_ms": _durations(columns["duration_ms"]),
            "object": _whole_numbers(columns["object"], "object", lowest=-1),
            "found": _truths(columns["found"]),
        }
    )
    return _in_order(checked)


def trial_starts(table: pd.DataFrame) -> np.ndarray:
    """Return the first row of each trial of a valid table, (n_trials,) of int."""
    is_first = np.ones(len(table), dtype=bool)
    changed = np.zeros(len(table) - 1, dtype=bool)
    for name in TRIAL_COLUMNS:
        values = table[name].to_numpy()
        changed |= values[1:] != values[:-1]
    is_first[1:] = changed
    return np.flatnonzero(is_first)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with each trial in one piece, after asking that fixations are numbered without gaps."""
    codes = table.groupby(TRIAL_COLUMNS, sort=False).ngroup().to_numpy()
    order = np.lexsort((table["fixation"].to_numpy(), codes))
    ordered = table.iloc[order].reset_index(drop=True)
    codes, fixations = codes[order], ordered["fixation"].to_numpy()
    same_trial = codes[1:] == codes[:-1]
    steps = np.diff(fixations)
    for bad, problem in (
        (same_trial & (steps == 0), "has fixation {} twice"),
        (same_trial & (steps > 1), "jumps to fixation {}"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0]) + 1
            raise ValueError(
                f"{_trial_name(ordered, row)} {problem.format(fixations[row])}: number the fixations of a trial "
                "1, 2, 3, ... without gaps, from 0 where the place of the gaze at the start is known"
            )
    is_first = np.append(True, ~same_trial)
    late = np.flatnonzero(is_first & (fixations > 1))
    if late.size:
        raise ValueError(
            f"{_trial_name(ordered, late[0])} begins with fixation {fixations[late[0]]}: a trial begins with "
            "fixation 0 (where the gaze stood when the display came) or 1 (the first after it)"
        )
    after_found = np.flatnonzero(same_trial & ordered["found"].to_numpy()[:-1])
    if after_found.size:
        row = after_found[0]
        raise ValueError(
            f"{_trial_name(ordered, row)} goes on after fixation {fixations[row]}, which found the target: found "
            "marks the fixation that ended the search, so it can only be the last"
        )
    return ordered


def _trial_name(table: pd.DataFrame, row: int) -> str:
    observer, display, trial = table[TRIAL_COLUMNS].iloc[row]
    return f"trial {trial} of observer {observer!r} on display {display!r}"


def _names(values: Any, column: str) -> np.ndarray:
    names = np.array(list(values), dtype=object)
    for row, name in enumerate(names):
        is_name = isinstance(name, str | int | np.integer) and not isinstance(name, bool)
        if not is_name or str(name) == "" or any(sign in str(name) for sign in "\r\n\0"):
            raise ValueError(
                f"column {column!r} must name the {column} of every fixation, in one line; row {row} holds {name!r}"
            )
    return names.astype(str).astype(object)


def _numbers(values: Any, column: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"column {column!r} must hold numbers; it has dtype {np.asarray(values).dtype}"
        ) from None


def _whole_numbers(values: Any, column: str, lowest: int) -> np.ndarray:
    numbers = _numbers(values, column)
    # Above 2^53 floats skip integers.
    bad = ~np.isfinite(numbers) | (numbers != np.round(numbers)) | (numbers < lowest) | (numbers > 2**53)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"column {column!r} must hold whole numbers from {lowest}; row {row} holds {numbers[row]}"
        )
    return numbers.astype(np.int64)


def _places(values: Any, column: str) -> np.ndarray:
    numbers = _numbers(values, column)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise ValueError(
            f"column {column!r} holds {count_of(int(bad.sum()), 'place')} that are NaN or infinite, first in row "
            f"{int(np.flatnonzero(bad)[0])}: leave fixations out that were not measured (blinks, lost tracking) and "
            "number the others anew"
        )
    return numbers


def _durations(values: Any) -> np.ndarray:
    numbers = _numbers(values, "duration_ms")
    bad = np.isinf(numbers) | (numbers < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"column 'duration_ms' must hold milliseconds, NaN where unknown; row {row} holds {numbers[row]}"
        )
    return numbers


def _truths(values: Any) -> np.ndarray:
    found = np.asarray(values)
    if found.dtype == bool:
        return found
    try:
        numbers = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.full(found.shape, np.nan)
    if not np.isin(numbers, (0, 1)).all():
        raise ValueError(f"column 'found' must hold True and False; it has dtype {found.dtype}")
    return numbers.astype(bool)
