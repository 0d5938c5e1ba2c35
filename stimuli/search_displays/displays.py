"""The ordered set of displays that models and people search."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import pandas as pd

from stimuli.files import count_of, hash_array, unknown_name_message
from stimuli.media import hash_sequence, listed
from stimuli.search_displays.display import SearchDisplay
from stimuli.stimulus_set import StimulusSet
from stimuli.typed_table import table_text

Rows = int | slice | Sequence[int] | Sequence[bool] | np.ndarray


class SearchDisplays(Sequence[SearchDisplay]):
    """An ordered set of displays with unique ids. Once made, it does not change.

    Parameters
    ----------
    displays
        The displays, in order.
    name
        What the set is called in reports.

    Raises
    ------
    TypeError, ValueError
        Something is no `SearchDisplay`, or ids repeat.
    """

    def __init__(self, displays: Iterable[SearchDisplay], name: str = "") -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {type(name).__name__}")
        self._displays = tuple(displays)
        if wrong := [value for value in self._displays if not isinstance(value, SearchDisplay)]:
            raise TypeError(f"displays must be SearchDisplay, got {type(wrong[0]).__name__} {wrong[0]!r:.60}")
        if repeated := [name for name, count in Counter(self.display_ids).items() if count > 1]:
            raise ValueError(
                f"display ids must be unique, these repeat: {listed(repeated)}; "
                "rename with dataclasses.replace(display, display_id=...)"
            )
        self._name = name

    def __len__(self) -> int:
        return len(self._displays)

    def __iter__(self) -> Iterator[SearchDisplay]:
        return iter(self._displays)

    def __repr__(self) -> str:
        paradigms = list(dict.fromkeys(display.paradigm for display in self if display.paradigm))
        parts = [repr(self._name)] * bool(self._name) + [count_of(len(self), "display")]
        return f"SearchDisplays({'; '.join(parts + [listed(paradigms)] * bool(paradigms))})"

    @property
    def name(self) -> str:
        """What the set is called."""
        return self._name

    @property
    def display_ids(self) -> list[str]:
        """The ids in order."""
        return [display.display_id for display in self._displays]

    @overload
    def __getitem__(self, rows: int) -> SearchDisplay: ...

    @overload
    def __getitem__(self, rows: slice | Sequence[int] | Sequence[bool] | np.ndarray) -> "SearchDisplays": ...

    def __getitem__(self, rows: Rows) -> "SearchDisplay | SearchDisplays":
        """Return one display (an integer), or the set of these rows (a slice, indices, a boolean mask)."""
        if isinstance(rows, slice):
            return SearchDisplays(self._displays[rows], self._name)
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"display {rows} is out of range for {count_of(len(self), 'display')}")
            return self._displays[int(rows)]
        wanted = np.asarray(rows)
        if wanted.size == 0 and wanted.dtype != bool:
            wanted = wanted.astype(int)
        if wanted.ndim != 1 or wanted.dtype.kind not in "biu":
            hint = "; choose by id with select()" if wanted.dtype.kind in "UO" else ""
            raise TypeError(
                f"rows must be an integer, a slice, 1-D indices or a boolean mask, got {rows!r:.60}{hint}"
            )
        if wanted.dtype == bool:
            if len(wanted) != len(self):
                raise IndexError(
                    f"a mask of {len(wanted)} values does not fit {count_of(len(self), 'display')}"
                )
            wanted = np.flatnonzero(wanted)
        if outside := [int(row) for row in wanted if not -len(self) <= row < len(self)]:
            raise IndexError(f"rows {listed(outside)} are out of range for {count_of(len(self), 'display')}")
        return SearchDisplays([self._displays[row] for row in wanted], self._name)

    def select(self, ids: Iterable[str]) -> "SearchDisplays":
        """Return the set of these ids, in this order.

        Raises
        ------
        KeyError
            An id is not in the set; near matches are listed.
        """
        if isinstance(ids, str):
            raise TypeError(f"ids must be a list of str, got one str {ids!r}; write [{ids!r}]")
        by_id = {display.display_id: display for display in self}
        wanted = [str(display_id) for display_id in ids]
        if unknown := [display_id for display_id in wanted if display_id not in by_id]:
            hint = f"{len(unknown)} ids are not in the set" if len(unknown) > 1 else ""
            raise KeyError(unknown_name_message("display id", unknown[0], by_id, hint))
        return SearchDisplays([by_id[display_id] for display_id in wanted], self._name)

    @property
    def table(self) -> pd.DataFrame:
        """One row a display, in order: what it is, and where its target stands (NaN where it is absent).

        Columns are ``display, paradigm, condition, set_size, n_items, target_present, target_item, target_x_px,
        target_y_px, width_px, height_px, px_per_degree``.
        """
        rows = []
        for display in self:
            target = None if display.target_item is None else display.items.iloc[display.target_item]
            rows.append(
                {
                    "display": display.display_id,
                    "paradigm": display.paradigm,
                    "condition": display.condition,
                    "set_size": display.set_size,
                    "n_items": len(display.items),
                    "target_present": display.target_present,
                    "target_item": display.target_item,
                    "target_x_px": np.nan if target is None else target["x_px"],
                    "target_y_px": np.nan if target is None else target["y_px"],
                    "width_px": display.width_px,
                    "height_px": display.height_px,
                    "px_per_degree": np.nan if display.px_per_degree is None else display.px_per_degree,
                }
            )
        return pd.DataFrame(rows, columns=list(_TABLE_DTYPES)).astype(_TABLE_DTYPES)

    @cached_property
    def content_hash(self) -> str:
        """sha256 of all that the displays say, pixels included, in order.

        Images count by their pixels, so that an array and a PNG of it are the same; the name does not enter.
        """
        return hash_sequence([_hash_display(display) for display in self])

    def to_stimulus_set(self) -> StimulusSet:
        """Return the displays as images of a stimulus set, with `table` as attributes.

        Raises
        ------
        ValueError
            A display has no image.
        """
        if missing := [display.display_id for display in self if display.image is None]:
            raise ValueError(f"{count_of(len(missing), 'display')} without an image: {listed(missing)}")
        images: list[Any] = [display.image for display in self]
        if len({isinstance(image, np.ndarray) for image in images}) > 1:
            images = [display.read_image() for display in self]
        return StimulusSet(
            self.display_ids, images, attributes=self.table.drop(columns="display"), name=self._name
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the displays into a new folder; see `stimuli.search_displays.export.save_displays`."""
        from stimuli.search_displays.export import save_displays

        save_displays(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "SearchDisplays":
        """Read what `save` wrote; see `stimuli.search_displays.export.load_displays`."""
        from stimuli.search_displays.export import load_displays

        return load_displays(folder)


_TABLE_DTYPES: dict[str, Any] = {
    **dict.fromkeys(("display", "paradigm", "condition"), object),
    "set_size": "Int64",
    "n_items": "int64",
    "target_present": bool,
    "target_item": "Int64",
    **dict.fromkeys(("target_x_px", "target_y_px"), "float64"),
    **dict.fromkeys(("width_px", "height_px"), "int64"),
    "px_per_degree": "float64",
}


def _hash_display(display: SearchDisplay) -> str:
    plain = (
        *(display.display_id, display.paradigm, display.condition, display.set_size, display.target_item),
        *(display.width_px, display.height_px, display.px_per_degree, display.start_px),
        *(display.grid_shape, display.grid_area_px, display.background),
    )
    arrays = (
        None if display.image is None else display.read_image(),
        None if display.target_image is None else display.read_target_image(),
        display.features,
        display.target_features,
    )
    hashes = ["" if array is None else hash_array(array) for array in arrays]
    return hash_sequence([repr(plain), table_text(display.items), *hashes])
