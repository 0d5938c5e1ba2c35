"""Fixations and the displays they were made on: units, and what lies off screen."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from cogmodels.search.scanpath_table import TRIAL_COLUMNS
from stimuli.files import count_of, unknown_name_message

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

OffScreen = Literal["error", "keep", "drop"]

# Places that all lie in this share of the display, from its upper left corner, are hardly in pixels.
_CORNER_SHARE = 0.1
_ENOUGH_TO_JUDGE = 10


def place_on_displays(
    table: pd.DataFrame, displays: "Sequence[SearchDisplay]", off_screen: OffScreen
) -> pd.DataFrame:
    """Return a valid table of fixations after comparing it with its displays; see `Scanpaths.check_on`."""
    if off_screen not in ("error", "keep", "drop"):
        raise ValueError(f"off_screen is {off_screen!r}; allowed: 'error', 'keep', 'drop'")
    by_name = displays_by_name(table["display"].unique(), displays)
    sizes = {name: (display.width_px, display.height_px) for name, display in by_name.items()}
    size = np.array([sizes[name] for name in table["display"]], dtype=np.float64)
    places = table[["x_px", "y_px"]].to_numpy()
    _refuse_other_units(places, size)
    outside = ((places < 0) | (places >= size)).any(axis=1)
    if not outside.any() or off_screen == "keep":
        return table
    if off_screen == "error":
        raise ValueError(_off_screen_message(table, places, size, outside))
    if outside.all():
        raise ValueError(f"all {len(places)} fixations lie off screen: check units and resolution")
    kept = table[~outside].copy()
    within = kept.groupby(TRIAL_COLUMNS, sort=False)
    has_start = within["fixation"].transform("first") == 0
    kept["fixation"] = within.cumcount() + np.where(has_start, 0, 1)
    return kept


def displays_by_name(names: Iterable[str], displays: "Sequence[SearchDisplay]") -> dict[str, "SearchDisplay"]:
    """Return the displays by id, or raise KeyError where one of the names is not among them."""
    by_name = {display.display_id: display for display in displays}
    for name in names:
        if name not in by_name:
            raise KeyError(
                unknown_name_message(
                    "display", name, by_name, "give the displays that the scanpaths were made on"
                )
            )
    return by_name


def _refuse_other_units(places: np.ndarray, size: np.ndarray) -> None:
    in_corner = ((places >= 0) & (places <= _CORNER_SHARE * size)).all(axis=1)
    if len(places) >= _ENOUGH_TO_JUDGE and in_corner.all():
        raise ValueError(
            f"all {len(places)} fixations lie within {_CORNER_SHARE:.0%} of width and height from the upper left "
            f"corner (largest x {places[:, 0].max():g}, y {places[:, 1].max():g}): these are hardly pixels. "
            "Multiply degrees by px_per_degree, or shares by width and height"
        )


def _off_screen_message(
    table: pd.DataFrame, places: np.ndarray, size: np.ndarray, outside: np.ndarray
) -> str:
    row = int(np.flatnonzero(outside)[0])
    where = table.iloc[row]
    swapped = ((places[:, ::-1] >= 0) & (places[:, ::-1] < size)).all()
    hint = "; all would be on screen with x and y exchanged" if swapped else ""
    return (
        f"{count_of(int(outside.sum()), 'fixation')} of {len(places)} lie off screen{hint}: the first is fixation "
        f"{where['fixation']} of observer {where['observer']!r} on display {where['display']!r}, at "
        f"({where['x_px']:g}, {where['y_px']:g}) of {size[row, 0]:g} x {size[row, 1]:g} px. Check units and "
        "resolution, or pass off_screen='keep' or 'drop'"
    )
