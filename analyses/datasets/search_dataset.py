"""What a data set of visual search is: displays, where people looked, how long they took, what models did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analyses.datasets.dataset import DataFile, DatasetInfo
from stimuli.files import count_of
from stimuli.search_displays import SearchDisplays

if TYPE_CHECKING:  # the package of search models brings torch along
    from cogmodels.search.scanpaths import Scanpaths

REACTION_TIME_COLUMNS = ("paradigm", "condition", "set_size", "rt_ms")
_CHECKSUMS = Path(__file__).parent / "search_checksums"


@dataclass(eq=False)
class SearchDataset:
    """Displays of a search experiment and what people, and published models, did with them.

    Parameters
    ----------
    info : DatasetInfo
        Origin, licence and units.
    displays : SearchDisplays
        Each display once; without pictures where none are published.
    scanpaths : Scanpaths or None
        People's fixations on these displays, all observers together.
    reaction_times : DataFrame or None
        People's mean reaction times, one row a cell: paradigm, condition, set_size, rt_ms.
    references : dict of str to Any
        What else was published with the data, such as the output of models; the loader of each data set
        says what its keys hold.

    Raises
    ------
    KeyError
        If a display was seen that is not among `displays`.
    ValueError
        If `reaction_times` lacks a column.
    """

    info: DatasetInfo
    displays: SearchDisplays
    scanpaths: Scanpaths | None = None
    reaction_times: pd.DataFrame | None = None
    references: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        if self.scanpaths is not None:
            self.scanpaths.check_on(self.displays, off_screen="keep")
        if self.reaction_times is not None:
            missing = [name for name in REACTION_TIME_COLUMNS if name not in self.reaction_times]
            if missing:
                raise ValueError(
                    f"reaction_times of {self.info.name} lack the columns {missing}; they have "
                    f"{list(self.reaction_times.columns)}, needed are {list(REACTION_TIME_COLUMNS)}."
                )

    def __repr__(self) -> str:
        parts = [count_of(len(self.displays), "display")]
        if self.scanpaths is not None:
            parts.append(repr(self.scanpaths))
        if self.reaction_times is not None:
            parts.append(f"{count_of(len(self.reaction_times), 'reaction time')}")
        if self.references:
            parts.append(f"references {', '.join(self.references)}")
        return f"SearchDataset({self.info.name!r}; {'; '.join(parts)})"


def listed_files(name: str, url: Callable[[str], str]) -> tuple[DataFile, ...]:
    """List the files of a data set from its table of checksums.

    Parameters
    ----------
    name : str
        Name of the data set.
    url : callable
        Gives the address that a path is downloaded from, ``""`` where its bytes have none.

    Returns
    -------
    tuple of DataFile
        Those with an address first: a fetch gets all there is before it speaks of what is missing.
    """
    lines = (_CHECKSUMS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines]
    files = [DataFile(path, url(path), sha256) for sha256, path in pairs]
    return tuple(sorted(files, key=lambda file: not file.url))
