"""What a search display accepts: each check returns the value in its one form."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stimuli.files import count_of
from stimuli.media import listed

ITEM_COLUMNS = ("x_px", "y_px", "width_px", "height_px", "kind")
_PLACES = ITEM_COLUMNS[:4]
_TOLERANCE_PX = 1.0  # people draw boxes to the pixel, and include the last one or not
_FORMS = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}


def check_text(argument: str, value: Any, empty: bool = True) -> str:
    """Return a str that a file can hold."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, got {type(value).__name__} {value!r:.40}")
    if (not empty and not value.strip()) or "\0" in value:
        raise ValueError(f"{argument} must not be empty or hold NUL characters, got {value!r:.40}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument} must be text that UTF-8 can hold: {error.reason}") from error
    return value


def check_size(width_px: Any, height_px: Any, label: str) -> tuple[int, int]:
    """Return the size of the display as two positive ints."""
    for name, value in (("width_px", width_px), ("height_px", height_px)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{label}: {name} must be a whole number of pixels from 1, got {value!r:.40}")
    return int(width_px), int(height_px)


def check_items(
    items: Any, target_item: Any, size_px: tuple[int, int], label: str
) -> tuple[pd.DataFrame, int | None]:
    """Return the items with one dtype a column and the target as an int; all must lie on the display."""
    if not isinstance(items, pd.DataFrame):
        raise TypeError(f"{label}: items must be a DataFrame, got {type(items).__name__}")
    if missing := [name for name in ITEM_COLUMNS if name not in items]:
        raise ValueError(
            f"{label}: items lack the columns {listed(missing)}; needed are {listed(ITEM_COLUMNS)}"
        )
    if not all(isinstance(name, str) for name in items.columns) or not items.columns.is_unique:
        raise ValueError(
            f"{label}: columns of items need different names of type str, got {list(items.columns)}"
        )
    columns = {name: _item_column(items[name], name, label) for name in items.columns}
    table = pd.DataFrame(columns, index=pd.RangeIndex(len(items)))
    _check_on_display(table, size_px, label)
    if target_item is None:
        return table, None
    if isinstance(target_item, bool) or not isinstance(target_item, int | np.integer):
        raise TypeError(f"{label}: target_item must be a row of items or None, got {target_item!r:.40}")
    if not 0 <= target_item < len(table):
        raise ValueError(
            f"{label}: target_item {target_item} is none of its {count_of(len(table), 'item')} (numbered from 0)"
        )
    return table, int(target_item)


def _item_column(values: pd.Series, name: str, label: str) -> np.ndarray:
    array = values.to_numpy()
    if name in _PLACES:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{label}: items[{name!r}] must be numbers: {error}") from error
        if bad := np.flatnonzero(~np.isfinite(array)).tolist():
            raise ValueError(f"{label}: items[{name!r}] must be finite, it is not in rows {listed(bad)}")
        if name in ("width_px", "height_px") and (bad := np.flatnonzero(array <= 0).tolist()):
            raise ValueError(f"{label}: items[{name!r}] must be positive, it is not in rows {listed(bad)}")
        return array
    if name in ("row", "column") and array.dtype.kind not in "iu" and len(array):
        raise TypeError(f"{label}: items[{name!r}] must be integers, got {array.dtype}")
    if array.dtype.kind in _FORMS and name != "kind":
        return array.astype(_FORMS[array.dtype.kind])
    if wrong := [value for value in array if not isinstance(value, str)]:
        allowed = "words" if name == "kind" else "numbers, bools or words"
        raise TypeError(
            f"{label}: items[{name!r}] must be {allowed}, got {type(wrong[0]).__name__} {wrong[0]!r:.40}"
        )
    for value in array:
        check_text(f"items[{name!r}] of {label}", value)
    return array.astype(object)


def _check_on_display(items: pd.DataFrame, size_px: tuple[int, int], label: str) -> None:
    width, height = size_px
    left, top = (
        items[f"{axis}_px"] - items[f"{side}_px"] / 2 for axis, side in (("x", "width"), ("y", "height"))
    )
    right, bottom = left + items["width_px"], top + items["height_px"]
    off = (left < -_TOLERANCE_PX) | (top < -_TOLERANCE_PX)
    off |= (right > width + _TOLERANCE_PX) | (bottom > height + _TOLERANCE_PX)
    if not off.any():
        if (
            len(items)
            and max(right.max(), bottom.max()) <= 1
            and (items[["width_px", "height_px"]] % 1).any(axis=None)
        ):
            raise ValueError(
                f"{label}: all items lie within one pixel of the corner; are these fractions of the display? "
                f"Multiply x and width by {width}, y and height by {height}"
            )
        return
    first = int(np.flatnonzero(off)[0])
    box = f"x {left[first]:g} to {right[first]:g}, y {top[first]:g} to {bottom[first]:g}"
    swapped = len(items) and (right.max() <= height + _TOLERANCE_PX and bottom.max() <= width + _TOLERANCE_PX)
    hint = (
        "they would fit with x and y swapped" if swapped else "are the coordinates those of a larger display?"
    )
    raise ValueError(
        f"{label} is {width} x {height} px, and {count_of(int(off.sum()), 'item')} of {len(items)} "
        f"reach beyond it: item {first} covers {box}; {hint}"
    )


def check_grid(
    grid_shape: Any, grid_area_px: Any, items: pd.DataFrame, size_px: tuple[int, int], label: str
) -> tuple[tuple[int, int] | None, tuple[float, float, float, float] | None]:
    """Return the grid and the box that it divides, after checking that each item lies in its cell."""
    if grid_shape is None:
        if grid_area_px is not None:
            raise ValueError(f"{label} has grid_area_px, but no grid_shape; give both")
        return None, None
    shape = np.asarray(grid_shape)
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 1).any():
        raise ValueError(f"{label}: grid_shape must be (n_rows, n_columns), got {grid_shape!r:.40}")
    if missing := [name for name in ("row", "column") if name not in items]:
        raise ValueError(f"{label} has grid_shape, but its items lack {listed(missing)}")
    places = items[["row", "column"]].to_numpy(np.int64)
    if len(places) and ((places < 0) | (places >= shape)).any():
        raise ValueError(f"{label}: row and column of items must lie in its grid of {shape[0]} x {shape[1]}")
    area = np.asarray((0, 0, *size_px) if grid_area_px is None else grid_area_px, dtype=float)
    on_display = area.shape == (4,) and (area[2:] > 0).all() and (area[:2] >= 0).all()
    if not on_display or (area[:2] + area[2:] > np.array(size_px)).any():
        raise ValueError(
            f"{label}: grid_area_px must be (x, y, width, height) on its {size_px[0]} x {size_px[1]} px, "
            f"got {grid_area_px!r:.60}"
        )
    cells = (items[["y_px", "x_px"]].to_numpy() - area[1::-1]) / area[:1:-1] * shape
    if bad := np.flatnonzero(((cells < places) | (cells > places + 1)).any(axis=1)).tolist():
        raise ValueError(
            f"{label}: the centres of items {listed(bad)} lie outside their cells of the "
            f"{shape[0]} x {shape[1]} grid; give grid_area_px, or leave grid_shape out"
        )
    return (int(shape[0]), int(shape[1])), tuple(area.tolist())


def check_image(
    argument: str, image: Any, label: str, size_px: tuple[int, int] | None = None
) -> Path | np.ndarray | None:
    """Return an absolute path or a read-only array uint8 (row, column, 3); None stays None."""
    if image is None:
        return None
    if isinstance(image, str | os.PathLike):
        path = Path(os.path.abspath(image))
        if not path.is_file():
            raise FileNotFoundError(f"{label}: {argument} {path} does not exist")
        return path
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{label}: {argument} must be a path or a numpy array, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"{label}: {argument} must be uint8 of shape (row, column, 3), got {image.dtype} {image.shape}"
        )
    if size_px is not None and image.shape[1::-1] != size_px:
        raise ValueError(
            f"{label} is {size_px[0]} x {size_px[1]} px (width x height), its image {image.shape[1]} x {image.shape[0]}"
        )
    frozen = image.copy() if image.flags.writeable else image
    frozen.flags.writeable = False
    return frozen


def check_start(start_px: Any, size_px: tuple[int, int], label: str) -> tuple[float, float]:
    """Return where the gaze starts; the centre where nothing is said."""
    start = np.asarray(np.array(size_px) / 2 if start_px is None else start_px, dtype=float)
    if start.shape != (2,) or not ((start >= 0) & (start <= size_px)).all():
        raise ValueError(
            f"{label}: start_px must be (x, y) on its {size_px[0]} x {size_px[1]} px, got {start_px!r:.40}"
        )
    return float(start[0]), float(start[1])


def check_background(background: Any, label: str) -> tuple[int, int, int] | None:
    """Return an RGB colour of three ints; None stays None."""
    if background is None:
        return None
    colour = np.asarray(background)
    if colour.shape != (3,) or colour.dtype.kind not in "iu" or ((colour < 0) | (colour > 255)).any():
        raise ValueError(f"{label}: background must be three integers in 0-255, got {background!r:.40}")
    return int(colour[0]), int(colour[1]), int(colour[2])


def check_features(
    features: Any, target_features: Any, n_items: int, label: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return read-only recognition vectors of items and target, of one length; None stays None."""
    vectors = _frozen_floats("features", features, label)
    target = _frozen_floats("target_features", target_features, label)
    if vectors is not None and (vectors.ndim != 2 or len(vectors) != n_items):
        raise ValueError(f"{label}: features must have shape ({n_items}, n_features), got {vectors.shape}")
    if target is not None and target.ndim != 1:
        raise ValueError(f"{label}: target_features must have shape (n_features,), got {target.shape}")
    if vectors is not None and target is not None and vectors.shape[1] != len(target):
        raise ValueError(
            f"{label}: target_features has {len(target)} values, features of the items {vectors.shape[1]}"
        )
    return vectors, target


def _frozen_floats(argument: str, values: Any, label: str) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{label}: {argument} must be numbers, got {array.dtype}")
    array = np.array(array, dtype=array.dtype if array.dtype == np.float32 else np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{label}: {argument} must not hold NaN or infinite values")
    array.flags.writeable = False
    return array
