"""Tables of the search asymmetry study: one-hot fixations that found the target, zero-padded paths, human times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analyses.datasets.array_files import check_file, read_npy

_HUMAN_COLUMNS = ["experiment", "condition", "set_size", "rt_ms"]


def read_one_hot(path: Path) -> np.ndarray:
    """Read at which fixation each trial found its target.

    Parameters
    ----------
    path : Path
        An npy or csv file, one row a trial and one column a fixation: 1 at the fixation that found the
        target. Column 0 is the gaze at the start.

    Returns
    -------
    ndarray (n_trials,)
        Number of the fixation, 0 for the start; NaN where no column is 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, holds something else than 0 and 1, or a row has more than one 1.
    """
    hits = read_npy(path) if path.suffix == ".npy" else _read_csv_numbers(path)
    if hits.ndim != 2 or 0 in hits.shape or not np.isin(hits, (0, 1)).all():
        raise ValueError(f"{path} holds {hits.dtype} {hits.shape}; needed are rows of 0 and 1, one a trial.")
    several = np.flatnonzero(hits.sum(axis=1) > 1)
    if several.size:
        raise ValueError(f"{path} has {several.size} rows with more than one 1, first row {several[0]}.")
    return np.where(hits.any(axis=1), hits.argmax(axis=1), np.nan)


def split_set_sizes(n_rows: int, set_sizes: Sequence[int], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give each row its set size and its number within that set size; set sizes lie in equal blocks.

    Parameters
    ----------
    n_rows : int
        Rows of the file.
    set_sizes : sequence of int
        In the order of the blocks.
    path : Path
        The file, for the message.

    Returns
    -------
    set_size, number : ndarray of int (n_rows,)

    Raises
    ------
    ValueError
        If the rows cannot be divided so.
    """
    if n_rows % len(set_sizes):
        raise ValueError(
            f"{path} has {n_rows} rows, which are no equal blocks of the set sizes {list(set_sizes)}."
        )
    n_each = n_rows // len(set_sizes)
    return np.repeat(set_sizes, n_each), np.tile(np.arange(n_each), len(set_sizes))


def read_padded_paths(
    fixations: Path, one_hot: Path, lengths: Path, n_trials: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read scanpaths that are padded with zeros.

    A place may be (0, 0) itself, so that only the published lengths tell where a path ends.

    Parameters
    ----------
    fixations : Path
        npy file (n_trials, longest, 2) of (row, column), the start first.
    one_hot : Path
        npy file for `read_one_hot`.
    lengths : Path
        npy file (n_trials, 1): number of places of each path, the start included.
    n_trials : int
        How many there have to be.

    Returns
    -------
    paths : list of ndarray (n, 2)
        x and y in pixels.
    found : ndarray of bool (n_trials,)
        Whether the last place found the target.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is truncated, holds NaN, or has another shape; lengths exceed the paths; padding is not zero; or a
        target was found before the end of a path.
    """
    places, counts = read_npy(fixations), read_npy(lengths)
    if places.ndim != 3 or places.shape[::2] != (n_trials, 2) or places.dtype.kind not in "iuf":
        raise ValueError(
            f"{fixations} holds {places.dtype} {places.shape}; needed are ({n_trials}, longest, 2)."
        )
    if not np.isfinite(places).all():
        raise ValueError(f"{fixations} holds NaN or infinite places.")
    if counts.size != n_trials or counts.dtype.kind not in "iu":
        raise ValueError(f"{lengths} holds {counts.dtype} {counts.shape}; needed are {n_trials} integers.")
    counts = counts.ravel()
    if counts.min() < 1 or counts.max() > places.shape[1]:
        raise ValueError(
            f"{lengths} has lengths from {counts.min()} to {counts.max()}; paths in {fixations} have 1 to "
            f"{places.shape[1]} places."
        )
    padding = np.arange(places.shape[1]) >= counts[:, None]
    if places[padding].any():
        raise ValueError(
            f"{fixations} goes on after the lengths in {lengths}: the files do not belong together."
        )
    found_at = read_one_hot(one_hot)
    if found_at.shape != (n_trials,):
        raise ValueError(f"{one_hot} has {len(found_at)} rows; needed are {n_trials}.")
    found = np.isfinite(found_at)
    if (found_at[found] != counts[found] - 1).any():
        raise ValueError(
            f"by {one_hot} targets were found elsewhere than at the end of the paths in {fixations}."
        )
    xy = places[:, :, ::-1].astype(float)
    return [path[:count] for path, count in zip(xy, counts, strict=True)], found


def check_reach(
    paths: Sequence[np.ndarray], found: np.ndarray, centres_px: np.ndarray, reach_px: float, path: Path
) -> None:
    """Ask that paths that found their target end near it.

    Parameters
    ----------
    paths : sequence of ndarray (n, 2)
        x and y in pixels.
    found : ndarray of bool (n_trials,)
        Whether each ended on its target.
    centres_px : ndarray (n_trials, 2)
        x and y of the centre of each target.
    reach_px : float
        How far from it a path may end.
    path : Path
        The file, for the message.

    Raises
    ------
    ValueError
        If one ends farther away: rows and columns, or the order of trials, are not what they should be.
    """
    ends = np.array([places[-1] for places in paths])[found]
    distances = np.hypot(*(ends - centres_px[found]).T)
    if (distances > reach_px).any():
        raise ValueError(
            f"{path}: {(distances > reach_px).sum()} of {len(distances)} searches that found their target end more "
            f"than {reach_px:g} px from it. Are rows and columns exchanged, or trials in another order?"
        )


def read_human_times(path: Path, names: Mapping[str, str]) -> pd.DataFrame:
    """Read people's mean reaction times.

    Parameters
    ----------
    path : Path
        csv file with the columns experiment, condition, set_size, rt_ms.
    names : mapping of str to str
        New names of experiments and conditions; others stay.

    Returns
    -------
    DataFrame
        One row a cell: paradigm, condition, set_size (int), rt_ms (float).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, a number is none or not positive, or a cell comes twice.
    """
    check_file(path)
    try:
        table = pd.read_csv(path)
    except ValueError as error:  # pandas' own errors of parsing and decoding are such
        raise ValueError(f"{path} is not a readable csv file ({error}).") from error
    missing = [name for name in _HUMAN_COLUMNS if name not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; it has {list(table.columns)}.")
    numbers = table[["set_size", "rt_ms"]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if len(table) == 0 or not np.isfinite(numbers).all() or (numbers <= 0).any() or (numbers[:, 0] % 1).any():
        raise ValueError(
            f"{path}: set_size has to hold whole numbers and rt_ms milliseconds, all positive and none missing."
        )
    words = table[["experiment", "condition"]].astype(str).replace(dict(names))
    times = pd.DataFrame(
        {
            "paradigm": words["experiment"],
            "condition": words["condition"],
            "set_size": numbers[:, 0].astype(np.int64),
            "rt_ms": numbers[:, 1],
        }
    )
    twice = times.duplicated(["paradigm", "condition", "set_size"])
    if twice.any():
        raise ValueError(f"{path} has a cell twice: {times[twice].iloc[0].to_dict()}.")
    return times


def _read_csv_numbers(path: Path) -> np.ndarray:
    check_file(path)
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is truncated or no table of numbers ({error}).") from error
