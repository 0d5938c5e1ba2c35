"""What the gaze can choose among: the items of an array, or the pixels of a scene."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

Box = tuple[slice, slice]


class Candidates(Protocol):
    """Places to choose among, each with the number of the fixation that last covered it (-inf: none did)."""

    visited_at: np.ndarray

    def values(self, priority: np.ndarray) -> np.ndarray:
        """Return the priority of each candidate, (n_candidates,)."""

    def place(self, index: int, priority: np.ndarray) -> tuple[float, float]:
        """Return where the gaze lands, x, y in pixels, when a candidate is chosen."""

    def item(self, index: int, gaze_px: tuple[float, float]) -> int:
        """Return the item that is looked at, -1 for none."""

    def visit(self, index: int, fixation: int) -> None:
        """Note that this fixation covered a candidate and all that is inhibited with it."""


class ItemCandidates:
    """The items of a display; a visit covers the item's cell.

    The gaze lands on the place of the cell where the map is highest (of equal places, on the one nearest to the item),
    or on the item itself where the model has one value an item.
    """

    def __init__(self, display: "SearchDisplay") -> None:
        self._display = display
        self.boxes: list[Box] = [
            box_pixels(cell, display.width_px, display.height_px) for cell in display.cells_px
        ]
        self._centres = display.items[["x_px", "y_px"]].to_numpy(dtype=np.float64)
        self.visited_at = np.full(len(self.boxes), -np.inf)

    def values(self, priority: np.ndarray) -> np.ndarray:
        if priority.ndim == 1:
            return priority
        return np.array([priority[box].max() for box in self.boxes])

    def place(self, index: int, priority: np.ndarray) -> tuple[float, float]:
        x, y = self._centres[index]
        if priority.ndim == 1:
            return float(x), float(y)
        rows, columns = self.boxes[index]
        region = priority[rows, columns]
        best_rows, best_columns = np.nonzero(region == region.max())
        centres_x, centres_y = columns.start + best_columns + 0.5, rows.start + best_rows + 0.5
        nearest = np.argmin(np.hypot(centres_x - x, centres_y - y))
        return float(centres_x[nearest]), float(centres_y[nearest])

    def item(self, index: int, gaze_px: tuple[float, float]) -> int:
        return index

    def visit(self, index: int, fixation: int) -> None:
        self.visited_at[index] = fixation


class PixelCandidates:
    """All pixels of a display; a visit covers the square of a given side around it."""

    def __init__(self, display: "SearchDisplay", inhibition_size_px: float) -> None:
        self._display = display
        self._size_px = inhibition_size_px
        self.visited_at = np.full(display.height_px * display.width_px, -np.inf)

    def values(self, priority: np.ndarray) -> np.ndarray:
        if priority.ndim == 1:
            raise ValueError(
                f"the model gave one value an item on display {self._display.display_id!r}, where every pixel is a "
                "candidate: give a map (n_rows, n_columns), or choose candidates='items'"
            )
        return priority.ravel()

    def place(self, index: int, priority: np.ndarray) -> tuple[float, float]:
        row, column = divmod(index, self._display.width_px)
        return column + 0.5, row + 0.5

    def item(self, index: int, gaze_px: tuple[float, float]) -> int:
        return self._display.item_at(*gaze_px)

    def visit(self, index: int, fixation: int) -> None:
        x, y = self.place(index, self.visited_at)
        half = self._size_px / 2
        display = self._display
        box = box_pixels((x - half, y - half, 2 * half, 2 * half), display.width_px, display.height_px)
        self.visited_at.reshape(display.height_px, display.width_px)[box] = fixation


def box_pixels(box: np.ndarray | tuple[float, ...], width_px: int, height_px: int) -> Box:
    """Return the pixels, as slices of rows and columns, whose centres lie in a box (x, y, width, height).

    The box is cut at the edges of the display; at least one pixel is left, the nearest.
    """
    x, y, width, height = (float(value) for value in box)
    return _span(y, height, height_px), _span(x, width, width_px)


def _span(start: float, length: float, limit: int) -> slice:
    first = min(max(int(np.ceil(start - 0.5)), 0), limit - 1)
    stop = min(int(np.ceil(start + length - 0.5)), limit)
    return slice(first, max(stop, first + 1))


def resize_map(priority: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Return a map at the resolution of the display: bilinear, antialiased where it shrinks."""
    if priority.shape == (height_px, width_px):
        return priority
    grid = torch.from_numpy(np.ascontiguousarray(priority, dtype=np.float64))[None, None]
    resized = torch.nn.functional.interpolate(
        grid, size=(height_px, width_px), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0, 0].numpy()
