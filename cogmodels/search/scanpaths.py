"""Scanpaths of people and of models: one table, one row a fixation."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cogmodels.search.scanpath_screen import OffScreen, displays_by_name, place_on_displays
from cogmodels.search.scanpath_table import COLUMNS, TRIAL_COLUMNS, check_table, trial_starts
from stimuli.files import atomic_write, count_of, unknown_name_message

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay


@dataclass(frozen=True, eq=False)
class Scanpaths:
    """Where observers looked while they searched; people and models give the same table.

    Parameters
    ----------
    table : DataFrame
        One row a fixation. It is checked and copied; trials keep the order in which they first appear, and the
        fixations of a trial are sorted by number. Columns:

        - ``observer``, ``display`` : str
        - ``trial`` : int, numbers an observer's trials on one display from 0. Default 0.
        - ``fixation`` : int. Fixation 0 is where the gaze stood when the display came, and is not counted; 1, 2, ...
          are those after it. A trial begins with 0 or with 1.
        - ``x_px``, ``y_px`` : float, right and down from the upper left corner of the display
        - ``duration_ms`` : float, NaN where unknown. Default NaN.
        - ``object`` : int, the display's item that was looked at; -1 none or unknown. Default -1.
        - ``found`` : bool, whether this fixation ended the search on the target. Default False.

    Raises
    ------
    TypeError
        `table` is no DataFrame.
    ValueError
        The table is empty, lacks a column or has one too many; a place is not finite; fixations of a trial are
        doubled, skipped, or go on after the target was found.

    Examples
    --------
    >>> paths = Scanpaths.from_lists([[(10, 20), (30, 40)], [(5, 5)]], "ann", ["a", "b"], found=[True, False])
    >>> paths.trials[["display", "n_fixations", "found_at"]].to_numpy().tolist()
    [['a', 2, 2.0], ['b', 1, nan]]
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", check_table(self.table))

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "Scanpaths":
        """Return the scanpaths of a table with one row a fixation: the same as ``Scanpaths(table)``."""
        return cls(table)

    @classmethod
    def from_lists(
        cls,
        paths: Sequence[ArrayLike],
        observers: str | Sequence[str],
        displays: str | Sequence[str],
        *,
        start: bool = False,
        durations_ms: Sequence[ArrayLike] | None = None,
        objects: Sequence[ArrayLike] | None = None,
        found: ArrayLike | None = None,
    ) -> "Scanpaths":
        """Make scanpaths of one array a trial.

        Parameters
        ----------
        paths : sequence of array-like (n_fixations, 2)
            Places x, y in pixels, one array a trial.
        observers, displays : str or sequence of str (n_trials,)
            Whose trial it was, and what was seen; one name stands for all trials.
        start : bool
            Whether the first place of each path is fixation 0, which is not counted.
        durations_ms, objects : sequence of array-like (n_fixations,), optional
            As long as the paths.
        found : array-like of bool (n_trials,), optional
            Whether the last fixation of each trial ended the search on the target.

        Raises
        ------
        ValueError
            There is no trial, a path is empty or not (n, 2), or lengths differ; and as `Scanpaths`.
        """
        if len(paths) == 0:
            raise ValueError("paths is empty: give one array of places a trial")
        places = [np.asarray(path, dtype=np.float64) for path in paths]
        for number, path in enumerate(places):
            if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
                raise ValueError(
                    f"paths[{number}] has shape {path.shape}; a scanpath is (n_fixations, 2), at least one place x, y"
                )
        n_trials, lengths = len(places), np.array([len(path) for path in places])
        names = {"observer": _one_each(observers, n_trials, "observers")}
        names["display"] = _one_each(displays, n_trials, "displays")
        trials = pd.DataFrame(names)
        trials["trial"] = trials.groupby(["observer", "display"]).cumcount()
        columns: dict[str, Any] = {
            name: np.repeat(trials[name].to_numpy(), lengths) for name in TRIAL_COLUMNS
        }
        columns["fixation"] = np.concatenate([np.arange(length) for length in lengths]) + (0 if start else 1)
        columns["x_px"], columns["y_px"] = np.concatenate(places).T
        for column, values, argument in (
            ("duration_ms", durations_ms, "durations_ms"),
            ("object", objects, "objects"),
        ):
            if values is not None:
                columns[column] = _as_long_as(values, lengths, argument)
        if found is not None:
            ends = np.asarray(found, dtype=bool)
            if ends.shape != (n_trials,):
                raise ValueError(
                    f"found has shape {ends.shape} for {count_of(n_trials, 'trial')}; give one each"
                )
            columns["found"] = np.zeros(lengths.sum(), dtype=bool)
            columns["found"][np.cumsum(lengths) - 1] = ends
        return cls(pd.DataFrame(columns))

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._starts)

    def __repr__(self) -> str:
        return (
            f"Scanpaths({count_of(len(self), 'trial')} of {count_of(len(self.observers), 'observer')} on "
            f"{count_of(len(self.displays), 'display')}, {count_of(len(self.table), 'fixation')})"
        )

    @cached_property
    def _starts(self) -> np.ndarray:
        return trial_starts(self.table)

    @property
    def observers(self) -> list[str]:
        """Names of the observers, in order of appearance."""
        return list(self.table["observer"].unique())

    @property
    def displays(self) -> list[str]:
        """Names of the displays that were seen, in order of appearance."""
        return list(self.table["display"].unique())

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: observer, display, trial, n_fixations, found, found_at.

        ``n_fixations`` leaves fixation 0 out; ``found_at`` is the number of the fixation that landed on the target
        and ended the search, NaN where the search did not end so.
        """
        ends = np.append(self._starts[1:], len(self.table)) - 1
        table = self.table.iloc[self._starts][TRIAL_COLUMNS].reset_index(drop=True)
        last = self.table["fixation"].to_numpy()[ends]
        table["n_fixations"] = last
        table["found"] = self.table["found"].to_numpy()[ends]
        table["found_at"] = np.where(table["found"], last, np.nan)
        return table

    def select(
        self, observers: str | Iterable[str] | None = None, displays: str | Iterable[str] | None = None
    ) -> "Scanpaths":
        """Return the trials of some observers, on some displays, in the order they have here.

        Raises
        ------
        KeyError
            A name is unknown.
        ValueError
            No trial is left.
        """
        keep = np.ones(len(self.table), dtype=bool)
        for column, wanted, known in (
            ("observer", observers, self.observers),
            ("display", displays, self.displays),
        ):
            if wanted is None:
                continue
            names = [wanted] if isinstance(wanted, str) else list(wanted)
            for name in names:
                if name not in known:
                    raise KeyError(unknown_name_message(column, name, known))
            keep &= self.table[column].isin(names).to_numpy()
        if not keep.any():
            raise ValueError("no trial of these observers on these displays: none is left after select")
        return Scanpaths(self.table[keep])

    def arrays(self, start: bool = False) -> list[np.ndarray]:
        """Return places x, y in pixels, one array (n_fixations, 2) a trial, in the order of `trials`.

        Parameters
        ----------
        start : bool
            Whether to keep fixation 0. Without it a trial may be empty, (0, 2): the gaze never moved.
        """
        return self._split(self.table[["x_px", "y_px"]].to_numpy(), start)

    def durations(self, start: bool = False) -> list[np.ndarray]:
        """Return durations in milliseconds, one array (n_fixations,) a trial; NaN where unknown."""
        return self._split(self.table["duration_ms"].to_numpy(), start)

    def objects(self, start: bool = False) -> list[np.ndarray]:
        """Return the items looked at, one array (n_fixations,) of int a trial; -1 where none or unknown."""
        return self._split(self.table["object"].to_numpy(), start)

    def padded(self, start: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return all places as one array.

        Returns
        -------
        places : ndarray (n_trials, n_longest, 2)
            x, y in pixels; NaN after the end of a trial.
        lengths : ndarray of int (n_trials,)
        """
        arrays = self.arrays(start)
        lengths = np.array([len(path) for path in arrays])
        places = np.full((len(arrays), lengths.max(), 2), np.nan)
        places[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(arrays)
        return places, lengths

    def _split(self, values: np.ndarray, start: bool) -> list[np.ndarray]:
        pieces = np.split(values, self._starts[1:])
        if start:
            return pieces
        has_start = self.table["fixation"].to_numpy()[self._starts] == 0
        return [piece[int(skip) :] for piece, skip in zip(pieces, has_start, strict=True)]

    def check_on(self, displays: "Sequence[SearchDisplay]", off_screen: OffScreen = "error") -> "Scanpaths":
        """Return the scanpaths after comparing them with the displays they belong to.

        Parameters
        ----------
        displays : SearchDisplays, or any sequence of SearchDisplay
            Must hold every display that was seen.
        off_screen : {"error", "keep", "drop"}
            What to do about fixations outside ``[0, width_px) x [0, height_px)``. "drop" leaves them out and numbers
            those that remain anew (a start that is kept stays fixation 0); a trial whose finding fixation is
            left out counts as not found, and a trial without any fixation on the display is left out.

        Raises
        ------
        KeyError
            A display is not among `displays`.
        ValueError
            A fixation lies off screen (under "error"), every one does (under "drop"), or all lie so close to the
            upper left corner that they can hardly be in pixels.
        """
        table = place_on_displays(self.table, displays, off_screen)
        return self if table is self.table else Scanpaths(table)

    def assign_objects(self, displays: "Sequence[SearchDisplay]", nearest: bool = False) -> "Scanpaths":
        """Return the scanpaths with column ``object`` filled from the displays' items.

        Parameters
        ----------
        displays : SearchDisplays, or any sequence of SearchDisplay
            Must hold every display that was seen.
        nearest : bool
            Whether a fixation on no item counts for the nearest one; otherwise it gets -1.

        Raises
        ------
        KeyError
            A display is not among `displays`.
        """
        by_name = displays_by_name(self.displays, displays)
        rows = self.table[["display", "x_px", "y_px"]].itertuples(index=False)
        objects = [by_name[name].item_at(x, y, nearest=nearest) for name, x, y in rows]
        return Scanpaths(self.table.assign(object=objects))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, whole or not at all; `load` reads the same bits."""
        with atomic_write(path) as temporary:
            self.table.to_csv(temporary, index=False, lineterminator="\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Scanpaths":
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is not such a table; the message names the file.
        """
        try:
            # As text, or an observer named NA would be nobody and one named 01 would be 1.
            text = pd.read_csv(path, dtype=str, keep_default_na=False)
            unknown = [name for name in COLUMNS if name not in text]
            if unknown:
                raise ValueError(f"columns {unknown} are missing")
            if not text["found"].isin(["True", "False"]).all():
                raise ValueError("column 'found' must hold True and False")
            text["found"] = text["found"] == "True"
            text["duration_ms"] = text["duration_ms"].replace("", "nan")
            return cls(text)
        except FileNotFoundError:
            raise FileNotFoundError(f"{os.fspath(path)} does not exist") from None
        except ValueError as error:  # pandas' own errors of parsing and decoding are such
            raise ValueError(f"{os.fspath(path)} is not a table of scanpaths: {error}") from error

    @staticmethod
    def concat(several: Iterable["Scanpaths"]) -> "Scanpaths":
        """Return the trials of several tables as one; a trial that comes twice raises ValueError."""
        parts = list(several)
        if not parts:
            raise ValueError("several is empty: give at least one Scanpaths")
        return Scanpaths(pd.concat([part.table for part in parts], ignore_index=True))


def _one_each(names: str | Sequence[str], n_trials: int, argument: str) -> list[str]:
    if isinstance(names, str):
        return [names] * n_trials
    if len(names) != n_trials:
        raise ValueError(
            f"{argument} has {len(names)} names for {count_of(n_trials, 'trial')}; give one each"
        )
    return list(names)


def _as_long_as(values: Sequence[ArrayLike], lengths: np.ndarray, argument: str) -> np.ndarray:
    arrays = [np.atleast_1d(np.asarray(value)) for value in values]
    found = [len(array) for array in arrays]
    if found != lengths.tolist():
        raise ValueError(
            f"{argument} holds arrays of {str(found[:5])[1:-1]} ... values, paths of {str(lengths[:5].tolist())[1:-1]}"
            " ... fixations; give one value a fixation"
        )
    return np.concatenate(arrays)
