"""Arrays of objects: one thing sought among others, scattered over a grid or side by side on a shelf."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stimuli.images import GREY, read_image
from stimuli.search_displays.checks import check_background, check_features, check_image
from stimuli.search_displays.display import SearchDisplay
from stimuli.search_displays.displays import SearchDisplays
from stimuli.search_displays.layout import choose_cells, jitter_in_cells


def object_array(
    object_images: Sequence[Any] | None = None,
    *,
    features: Any = None,
    kinds: Sequence[str] | None = None,
    n_displays: int = 30,
    set_size: int = 6,
    grid_shape: tuple[int, int] = (4, 4),
    size_px: tuple[int, int] = (1280, 1024),
    object_px: tuple[int, int] = (156, 156),
    target_present: bool = True,
    background: tuple[int, int, int] = GREY,
    px_per_degree: float | None = None,
    paradigm: str = "object_array",
    condition: str = "",
    seed: int = 0,
) -> SearchDisplays:
    """Draw displays of a few objects out of many, in cells of a grid with a random place within the cell.

    Parameters
    ----------
    object_images
        The objects to draw from: uint8 (row, column, 3) or paths. None where there are only `features`.
    features
        Recognition vectors of the objects (n_objects, n_features).
    kinds
        What each object is; by default ``object_0``, ``object_1``, ...
    n_displays, set_size
        Number of displays, and of objects in each, all different.
    grid_shape, size_px, object_px
        Rows and columns of the grid; width and height of the display; width and height into which objects are scaled,
        keeping their shape.
    target_present
        Whether the target is among the objects. If not, another object stands in its place, and all else is the same.
    background
        RGB colour in 0-255.
    px_per_degree, paradigm, condition
        As in `SearchDisplay`.
    seed
        A display depends on the seed and its number alone.

    Returns
    -------
    SearchDisplays
        The target image is the object as it was given.

    Raises
    ------
    ValueError
        Neither images nor features are given, or their numbers differ; there are too few objects, or too few or too
        small cells.
    """
    pool = _Objects(object_images, features, kinds, "object_array")
    n_needed = set_size + (not target_present)
    if n_displays < 1:
        raise ValueError(f"n_displays must be a whole number from 1, got {n_displays!r}")
    if not 1 <= set_size <= grid_shape[0] * grid_shape[1]:
        raise ValueError(
            f"set_size must be 1 to {grid_shape[0] * grid_shape[1]}, the cells of the grid, got {set_size!r}"
        )
    if len(pool) < n_needed:
        raise ValueError(f"{n_needed} different objects are needed, {len(pool)} were given")
    displays = []
    for number in range(n_displays):
        rng = np.random.default_rng((seed, number))
        cells = choose_cells(rng, grid_shape, set_size)
        corners = jitter_in_cells(rng, cells, grid_shape, size_px, object_px)
        order = rng.permutation(len(pool))
        target_item = int(rng.integers(set_size))
        # The object after those shown takes the target's place where it is absent.
        chosen = order[:set_size].copy()
        target = int(chosen[target_item])
        if not target_present:
            chosen[target_item] = order[set_size]
        displays.append(
            SearchDisplay(
                display_id=f"{paradigm}-{condition or set_size}-{number:03d}"
                + ("" if target_present else "-absent"),
                target_item=target_item if target_present else None,
                paradigm=paradigm,
                condition=condition,
                **pool.arranged(chosen, cells, corners, object_px, size_px, background),
                **pool.told(target),
                grid_shape=grid_shape,
                px_per_degree=px_per_degree,
            )
        )
    return SearchDisplays(displays, name=paradigm)


def shelf(
    object_images: Sequence[Any] | None = None,
    grid_shape: tuple[int, int] = (2, 11),
    *,
    target_item: int | None,
    features: Any = None,
    kinds: Sequence[str] | None = None,
    target_image: Any = None,
    target_features: Any = None,
    size_px: tuple[int, int] = (1680, 1050),
    title_px: int = 0,
    margin_px: int = 2,
    background: tuple[int, int, int] = (255, 255, 255),
    px_per_degree: float | None = None,
    start_px: tuple[float, float] | None = None,
    display_id: str = "shelf",
    paradigm: str = "shelf",
    condition: str = "",
) -> SearchDisplay:
    """Put objects side by side into all cells of a grid, row by row.

    Parameters
    ----------
    object_images
        One a cell, row by row: uint8 (row, column, 3) or paths. Each is scaled into its cell, keeping its shape. None
        where there are only `features`; then items fill their cells.
    grid_shape
        Rows and columns: (2, 11), (3, 9), (6, 14), ...
    target_item
        Which of the objects is sought, row by row from 0; None where it is absent.
    features
        Recognition vectors (n_rows * n_columns, n_features).
    kinds
        What each object is; by default ``object_0``, ``object_1``, ...
    target_image, target_features
        What the searcher is told; by default the image and the features of the target object.
    size_px
        Width and height of the display.
    title_px, margin_px
        Height of an empty strip above the shelf, and distance of objects from the edges of their cells.
    background
        RGB colour in 0-255.
    px_per_degree, start_px, display_id, paradigm, condition
        As in `SearchDisplay`.

    Raises
    ------
    ValueError
        Neither images nor features are given, there is not one a cell, or cells are smaller than their margins.
    """
    objects = _Objects(object_images, features, kinds, f"display {display_id!r}")
    n_cells = grid_shape[0] * grid_shape[1]
    if len(objects) != n_cells:
        raise ValueError(
            f"display {display_id!r}: a shelf of {grid_shape[0]} x {grid_shape[1]} needs {n_cells} objects, "
            f"got {len(objects)}"
        )
    area = np.array([0, title_px, size_px[0], size_px[1] - title_px], dtype=float)
    cell_px = area[2:] / np.array(grid_shape)[::-1]
    object_px = np.floor(cell_px).astype(int) - 2 * margin_px - 1  # less one: cells begin between pixels
    if (object_px < 1).any() or title_px < 0 or margin_px < 0:
        raise ValueError(
            f"display {display_id!r}: cells of {cell_px[0]:.1f} x {cell_px[1]:.1f} px do not hold objects with "
            f"margins of {margin_px} px; give a larger size_px, or a smaller margin_px or title_px"
        )
    cells = np.column_stack(np.divmod(np.arange(n_cells), grid_shape[1]))
    corners = np.ceil(area[:2] + cells[:, ::-1] * cell_px + margin_px - 1e-6).astype(int)
    told: dict[str, Any] = {"target_image": None, "target_features": None}
    if (
        isinstance(target_item, int | np.integer) and 0 <= target_item < n_cells
    ):  # SearchDisplay refuses others
        told = objects.told(int(target_item))
    return SearchDisplay(
        display_id=display_id,
        target_item=target_item,
        paradigm=paradigm,
        condition=condition,
        **objects.arranged(
            np.arange(n_cells), cells, corners, tuple(object_px.tolist()), size_px, background
        ),
        target_image=told["target_image"] if target_image is None else target_image,
        target_features=told["target_features"] if target_features is None else target_features,
        grid_shape=grid_shape,
        grid_area_px=tuple(area.tolist()),
        px_per_degree=px_per_degree,
        start_px=start_px,
    )


class _Objects:
    """Objects as images, as vectors or as both, checked once."""

    def __init__(
        self, images: Sequence[Any] | None, features: Any, kinds: Sequence[str] | None, label: str
    ) -> None:
        if images is None and features is None:
            raise ValueError(f"{label}: give object_images, features or both")
        self.n = len(images) if images is not None else len(features)
        self.features = check_features(features, None, self.n, label)[0]
        self.kinds = [f"object_{number}" for number in range(self.n)] if kinds is None else list(kinds)
        if len(self.kinds) != self.n:
            raise ValueError(f"{label}: kinds has {len(self.kinds)} entries for {self.n} objects")
        self.images: list[np.ndarray] | None = None
        if images is not None:
            checked = [check_image(f"object_images[{row}]", image, label) for row, image in enumerate(images)]
            if missing := [row for row, image in enumerate(checked) if image is None]:
                raise ValueError(f"{label}: object_images[{missing[0]}] is None; give every object an image")
            self.images = [
                image if isinstance(image, np.ndarray) else read_image(image)
                for image in checked
                if image is not None
            ]

    def __len__(self) -> int:
        return self.n

    def told(self, target: int) -> dict[str, Any]:
        """Return what the searcher is told of an object, as arguments of a display."""
        return {
            "target_image": None if self.images is None else self.images[target],
            "target_features": None if self.features is None else self.features[target],
        }

    def arranged(
        self,
        chosen: np.ndarray,
        cells: np.ndarray,
        corners: np.ndarray,
        object_px: tuple[int, int],
        size_px: tuple[int, int],
        background: tuple[int, int, int],
    ) -> dict[str, Any]:
        """Put objects into boxes: return image, items, features and sizes as arguments of a display."""
        boxes = np.hstack([corners, np.broadcast_to(object_px, corners.shape)])
        image = None
        if self.images is not None:
            image = np.empty((size_px[1], size_px[0], 3), dtype=np.uint8)
            image[:] = check_background(background, "object displays")
            for row, number in enumerate(chosen):
                picture = _scaled_into(self.images[number], object_px)
                height, width = picture.shape[:2]
                left, top = corners[row] + (np.array(object_px) - (width, height)) // 2
                image[top : top + height, left : left + width] = picture
                boxes[row] = left, top, width, height
            image.flags.writeable = False
        items = pd.DataFrame(
            {
                "x_px": boxes[:, 0] + boxes[:, 2] / 2,
                "y_px": boxes[:, 1] + boxes[:, 3] / 2,
                "width_px": boxes[:, 2].astype(float),
                "height_px": boxes[:, 3].astype(float),
                "kind": [self.kinds[number] for number in chosen],
                "row": cells[:, 0],
                "column": cells[:, 1],
            }
        )
        return {
            "image": image,
            "items": items,
            "features": None if self.features is None else self.features[chosen],
            "width_px": size_px[0],
            "height_px": size_px[1],
            "set_size": len(chosen),
            "background": background,
        }


def _scaled_into(image: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Scale an image, keeping its shape, so that it just fits into a box (width, height)."""
    from PIL import Image

    height, width = image.shape[:2]
    ratio = min(size_px[0] / width, size_px[1] / height)
    new = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    if new == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(new, Image.Resampling.LANCZOS))
