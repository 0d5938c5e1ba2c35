"""Search displays: items at places, one of them perhaps the target, and what the searcher is told."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from stimuli.images import read_image
from stimuli.search_displays.checks import (
    check_background,
    check_features,
    check_grid,
    check_image,
    check_items,
    check_size,
    check_start,
    check_text,
)

Image = Path | np.ndarray


@dataclass(frozen=True, eq=False)
class SearchDisplay:
    """One display of a search experiment. Once made, it does not change.

    x runs right and y down from the upper left corner; pixel (row r, column c) covers x in [c, c + 1) and y in
    [r, r + 1). Boxes are (x, y of the upper left corner, width, height).

    Parameters
    ----------
    display_id
        What the display is called; unique in its experiment.
    width_px, height_px
        Size of the display.
    items
        What can be looked at: a table with the columns ``x_px, y_px`` (centre), ``width_px, height_px``, ``kind``
        (a word), with ``row, column`` (from 0, at the upper left) where there is a grid, and any others of numbers,
        bools or words. In a scene, the target alone, or nothing.
    target_item
        Row of `items` that is the target; None where it is absent.
    image
        The display: uint8 of shape (height_px, width_px, 3), or the path of an image file of that size. None where
        no image exists.
    target_image
        What the searcher is told, as uint8 (row, column, 3) or a path.
    px_per_degree
        Pixels in a degree of visual angle; None where unknown.
    start_px
        Where the gaze stands when the display comes, (x, y); the centre by default.
    paradigm, condition, set_size
        The experiment, its condition and the number of items (None in scenes).
    grid_shape, grid_area_px
        Rows and columns of the grid whose cells hold the items, and the box it divides: the whole display by default.
    background
        RGB colour in 0-255 behind the items; None where there is no single one.
    features, target_features
        Recognition vectors (n_items, n_features) and (n_features,), where there is more to go by than the image.

    Raises
    ------
    TypeError, ValueError
        An argument is of another kind, holds other values, or does not fit the others: an item off the display, a
        target that is none of the items, an image of another size. The message names the display.
    FileNotFoundError
        A path leads to no file.
    """

    display_id: str
    width_px: int
    height_px: int
    items: pd.DataFrame
    target_item: int | None
    image: Image | None = None
    target_image: Image | None = None
    px_per_degree: float | None = None
    start_px: tuple[float, float] | None = None
    paradigm: str = ""
    condition: str = ""
    set_size: int | None = None
    grid_shape: tuple[int, int] | None = None
    background: tuple[int, int, int] | None = None
    features: np.ndarray | None = None
    target_features: np.ndarray | None = None
    grid_area_px: tuple[float, float, float, float] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_text("display_id", self.display_id, empty=False)
        label = f"display {self.display_id!r}"
        for name in ("paradigm", "condition"):
            check_text(f"{name} of {label}", getattr(self, name))
        size_px = check_size(self.width_px, self.height_px, label)
        items, target_item = check_items(self.items, self.target_item, size_px, label)
        grid_shape, grid_area_px = check_grid(self.grid_shape, self.grid_area_px, items, size_px, label)
        features, target_features = check_features(self.features, self.target_features, len(items), label)
        if self.set_size is not None and self.set_size != len(items):
            raise ValueError(f"{label} has set_size {self.set_size!r}, but {len(items)} items")
        if self.px_per_degree is not None and not 0 < self.px_per_degree < np.inf:
            raise ValueError(f"{label}: px_per_degree must be positive or None, got {self.px_per_degree!r}")
        checked = {
            "width_px": size_px[0],
            "height_px": size_px[1],
            "items": items,
            "target_item": target_item,
            "image": check_image("image", self.image, label, size_px),
            "target_image": check_image("target_image", self.target_image, label),
            "px_per_degree": None if self.px_per_degree is None else float(self.px_per_degree),
            "start_px": check_start(self.start_px, size_px, label),
            "set_size": None if self.set_size is None else int(self.set_size),
            "grid_shape": grid_shape,
            "grid_area_px": grid_area_px,
            "background": check_background(self.background, label),
            "features": features,
            "target_features": target_features,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        target = "absent" if self.target_item is None else f"item {self.target_item}"
        experiment = " ".join(filter(None, (self.paradigm, self.condition)))
        parts = [f"{self.width_px} x {self.height_px} px", f"{len(self.items)} items", f"target {target}"]
        return f"SearchDisplay({self.display_id!r}; {'; '.join([experiment] * bool(experiment) + parts)})"

    @property
    def target_present(self) -> bool:
        """Whether one of the items is the target."""
        return self.target_item is not None

    @cached_property
    def boxes_px(self) -> np.ndarray:
        """Boxes of the items: float64 (n_items, 4), x and y of the upper left corner, width, height; read-only."""
        table = self.items[["x_px", "y_px", "width_px", "height_px"]].to_numpy()
        centres, sizes = table[:, :2], table[:, 2:]
        return _frozen(np.hstack([centres - sizes / 2, sizes]))

    @cached_property
    def cells_px(self) -> np.ndarray:
        """Cells of the grid that hold the items, as boxes (n_items, 4); without a grid, the boxes of the items."""
        if self.grid_shape is None or self.grid_area_px is None:
            return self.boxes_px
        left, top, width, height = self.grid_area_px
        size = np.array([width / self.grid_shape[1], height / self.grid_shape[0]])
        corners = np.array([left, top]) + self.items[["column", "row"]].to_numpy(float) * size
        return _frozen(np.hstack([corners, np.broadcast_to(size, corners.shape)]))

    @property
    def target_box_px(self) -> np.ndarray:
        """Box of the target, (4,).

        Raises
        ------
        ValueError
            The target is absent.
        """
        if self.target_item is None:
            raise ValueError(f"display {self.display_id!r} has no target; ask target_present first")
        return self.boxes_px[self.target_item]

    def item_at(self, x_px: float, y_px: float, nearest: bool = False) -> int:
        """Return the item whose box covers a place, or -1.

        Where boxes overlap, the item with the nearest centre is meant. A box holds its left and upper edge, as pixels
        do, and not its right and lower one.

        Parameters
        ----------
        nearest
            Whether a place between the boxes belongs to the item with the nearest centre.
        """
        boxes = self.boxes_px
        place = np.array([x_px, y_px], dtype=float)
        inside = ((boxes[:, :2] <= place) & (place < boxes[:, :2] + boxes[:, 2:])).all(axis=1)
        distances = np.linalg.norm(boxes[:, :2] + boxes[:, 2:] / 2 - place, axis=1)
        if inside.any():
            return int(np.where(inside, distances, np.inf).argmin())
        return int(distances.argmin()) if nearest and len(boxes) and np.isfinite(place).all() else -1

    def read_image(self) -> np.ndarray:
        """Return the display as uint8 (height_px, width_px, 3).

        Raises
        ------
        ValueError
            There is no image, or its file cannot be decoded or has another size than the display.
        """
        pixels = self._read("image")
        if pixels.shape[:2] != (self.height_px, self.width_px):
            raise ValueError(
                f"the image of display {self.display_id!r} is {pixels.shape[1]} x {pixels.shape[0]} px, the display "
                f"{self.width_px} x {self.height_px} px; resize it, or scale the display (stimuli.scene_displays does)"
            )
        return pixels

    def read_target_image(self) -> np.ndarray:
        """Return what the searcher is told as uint8 (row, column, 3).

        Raises
        ------
        ValueError
            There is no target image, or its file cannot be decoded.
        """
        return self._read("target_image")

    def _read(self, name: str) -> np.ndarray:
        stored: Image | None = getattr(self, name)
        if stored is None:
            hint = "give it when making the display" + (
                "; from a scene it can be cut: display.read_image() at target_box_px"
                if name == "target_image"
                else ""
            )
            raise ValueError(f"display {self.display_id!r} has no {name}; {hint}")
        if isinstance(stored, Path):
            return read_image(stored, name=f"{name} of display {self.display_id!r} ({stored})")
        return stored.copy()


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
