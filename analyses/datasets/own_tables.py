"""Tables of a user's own folder: trials, events, voxels, regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.datasets.array_files import check_file, read_npy, read_npz
from stimuli.files import count_of, near_matches

TABLE_ENDINGS = (".csv", ".tsv")
# How BIDS and spreadsheets write that there is nothing.
_EMPTY = {"", "n/a", "N/A"}


def find_table(folder: Path, stem: str) -> Path:
    """Find the table of that name.

    Parameters
    ----------
    folder : Path
        Where to look.
    stem : str
        Name without ending.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If there is neither a ``.csv`` nor a ``.tsv``.
    ValueError
        If there are both.
    """
    found = [folder / f"{stem}{ending}" for ending in TABLE_ENDINGS if (folder / f"{stem}{ending}").is_file()]
    if not found:
        raise FileNotFoundError(f"There is no {stem}.csv (or .tsv) in {folder}; it is needed there.")
    if len(found) > 1:
        raise ValueError(f"{folder} holds both {found[0].name} and {found[1].name}; keep one of them.")
    return found[0]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of text cells, comma- or (``.tsv``) tab-separated.

    Parameters
    ----------
    path : Path
        UTF-8 text with a header.

    Returns
    -------
    DataFrame
        Every cell a str; ``""`` where nothing or ``n/a`` stood.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as a table.
    """
    check_file(path)
    try:
        table = pd.read_csv(
            path,
            sep="\t" if path.suffix == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
        )
    except (ValueError, UnicodeError) as error:  # pandas' own errors are kinds of ValueError
        raise ValueError(f"{path} is not a readable table ({error}).") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(lambda column: column.str.strip()).replace(list(_EMPTY), "")


def number_column(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    """Read one column as numbers.

    Parameters
    ----------
    table : DataFrame
        As `read_table` gives it.
    name : str
        Column.
    path : Path
        The file, for the message.

    Returns
    -------
    ndarray of float64, shape (n_rows,)

    Raises
    ------
    ValueError
        If there is no such column, or a cell is no finite number.
    """
    require_columns(table, (name,), path)
    numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise ValueError(
            f"{path}, column {name}: {count_of(bad.size, 'cell')} without a number, the first in row {bad[0] + 1}: "
            f"{table[name].iloc[bad[0]]!r}."
        )
    return numbers


def require_columns(table: pd.DataFrame, names: tuple[str, ...], path: Path) -> None:
    """Refuse a table that lacks a column.

    Raises
    ------
    ValueError
        The message names the missing and the present columns.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        )


def read_trials(path: Path, n_presentations: int) -> dict[str, Any]:
    """Read what was shown at each row of the responses.

    Parameters
    ----------
    path : Path
        Table with ``stimulus_id`` and, optionally, ``run``, ``repetition`` (whole numbers) and others.
    n_presentations : int
        Rows of the responses.

    Returns
    -------
    dict
        Arguments of `make_responses`: ``stimulus_ids``, perhaps ``runs``, ``repetitions``, and any further
        column as numbers, where it holds numbers throughout, or text.

    Raises
    ------
    ValueError
        If rows or columns are missing, or cells are not what they have to be.
    """
    table = read_table(path)
    require_columns(table, ("stimulus_id",), path)
    if len(table) != n_presentations:
        raise ValueError(
            f"{path} has {count_of(len(table), 'row')}, but the responses have {n_presentations}; they have to agree "
            "row by row."
        )
    arguments: dict[str, Any] = {"stimulus_ids": table["stimulus_id"].to_numpy(dtype=np.str_)}
    for column, argument in (("run", "runs"), ("repetition", "repetitions")):
        if column in table:
            numbers = number_column(table, column, path)
            if (numbers % 1).any():
                raise ValueError(f"{path}, column {column}: whole numbers are needed.")
            arguments[argument] = numbers.astype(np.int64)
    for column in table.columns.difference(["stimulus_id", "run", "repetition"], sort=False):
        as_numbers = pd.to_numeric(table[column], errors="coerce").to_numpy()
        is_text = bool(np.isnan(as_numbers).any())
        arguments[column] = table[column].to_numpy(dtype=np.str_) if is_text else as_numbers
    return arguments


def check_repetitions(trials: dict[str, Any], where: str) -> None:
    """Refuse trials that name the same repetition of a stimulus twice.

    Parameters
    ----------
    trials : dict
        As `read_trials` gives it; nothing is checked without ``repetitions``.
    where : str
        Where they come from, for the message.

    Raises
    ------
    ValueError
        The message names the first pair.
    """
    if "repetitions" not in trials:
        return
    pairs = pd.DataFrame({name: trials[name] for name in ("stimulus_ids", "repetitions")})
    again = pairs[pairs.duplicated()]
    if len(again):
        name, repetition = again.iloc[0]
        raise ValueError(
            f"{where} name {count_of(len(again), 'repetition')} of a stimulus twice, the first in row"
            f" {again.index[0] + 1}: repetition {repetition} of {name!r}. Remove rows that stand twice; else count the"
            " repetitions of a stimulus over all runs from 0, or leave the column out."
        )


def read_events(path: Path) -> pd.DataFrame:
    """Read the events of one run in the manner of BIDS.

    Parameters
    ----------
    path : Path
        Table with ``onset`` and ``duration`` in seconds and ``stimulus_id``, or else ``trial_type``.

    Returns
    -------
    DataFrame
        Columns ``onset``, ``duration`` (float) and ``stimulus_id`` (str), in order of onset; rows without a
        stimulus are left out: they are baseline.

    Raises
    ------
    ValueError
        If a column is missing, a cell is no number, or nothing is left.
    """
    table = read_table(path)
    column = "stimulus_id" if "stimulus_id" in table else "trial_type"
    if column not in table:
        require_columns(table, ("stimulus_id",), path)
    shown = table[table[column] != ""].reset_index(drop=True)
    if shown.empty:
        raise ValueError(f"{path} names no stimulus in its column {column}.")
    events = pd.DataFrame(
        {
            "onset": number_column(shown, "onset", path),
            "duration": number_column(shown, "duration", path),
            "stimulus_id": shown[column],
        }
    )
    return events.sort_values("onset", kind="stable", ignore_index=True)


def read_matrix(path: Path, what: str) -> tuple[NDArray, list[str] | None]:
    """Read a table of numbers or an array.

    Parameters
    ----------
    path : Path
        ``.npy``, ``.npz`` (one array, or one named as `what`), ``.csv`` or ``.tsv``.
    what : str
        What it is, for messages and for the array of an npz.

    Returns
    -------
    ndarray of shape (n_rows, n_columns) and names of columns (None for arrays)

    Raises
    ------
    ValueError
        If it is damaged, does not have two dimensions, or holds something else than numbers.
    """
    names = None
    if path.suffix == ".npy":
        values = read_npy(path)
    elif path.suffix == ".npz":
        arrays = read_npz(path)
        if what not in arrays and len(arrays) != 1:
            raise ValueError(
                f"{path} holds {', '.join(arrays) or 'nothing'}; name one of the arrays {what!r}."
            )
        values = arrays[what] if what in arrays else next(iter(arrays.values()))
    else:
        table = read_table(path)
        names = list(table.columns)
        # An empty cell is a missing measurement; anything else that is no number is a mistake.
        numbers = table.replace("", "nan").apply(pd.to_numeric, errors="coerce")
        wrong = numbers.isna() & ~table.isin(["", "nan", "NaN"])
        if wrong.to_numpy().any():
            row, column = np.argwhere(wrong.to_numpy())[0]
            raise ValueError(
                f"{path} holds {table.iat[row, column]!r} in row {row + 1}, column {names[column]!r}; only "
                "numbers are expected (trials belong into trials.csv)."
            )
        values = numbers.to_numpy(dtype=np.float64)
    if values.ndim != 2 or values.dtype.kind not in "iuf" or 0 in values.shape:
        raise ValueError(
            f"{path} holds {values.dtype} of shape {values.shape}; {what} are numbers (rows, columns)."
        )
    return values, names


def check_known_ids(ids: NDArray[np.str_], known: NDArray[np.str_], trials: str, stimuli: str) -> None:
    """Refuse trials that show what the stimuli lack.

    Parameters
    ----------
    ids : ndarray of str
        What the trials name; ``""`` is rest.
    known : ndarray of str
        What the stimulus set has.
    trials, stimuli : str
        Where they come from, for the message.

    Raises
    ------
    ValueError
        The message lists the ids, with the nearest known one for the first.
    """
    unknown = sorted(set(map(str, ids)) - set(map(str, known)) - {""})
    if unknown:
        near = near_matches(unknown[0], list(map(str, known)), n=1)
        hint = f" The nearest to {unknown[0]!r} is {near[0]!r}." if near else ""
        listed = ", ".join(map(repr, unknown[:10])) + (" ..." if len(unknown) > 10 else "")
        raise ValueError(
            f"{trials} name {count_of(len(unknown), 'stimulus id')} that {stimuli} lacks: {listed}.{hint} Ids of "
            "images are file names without ending."
        )
