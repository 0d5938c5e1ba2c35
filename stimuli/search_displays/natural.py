"""Photographs of scenes in which one thing is sought."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stimuli.files import count_of
from stimuli.images import read_image
from stimuli.media import listed
from stimuli.search_displays.display import Image, SearchDisplay
from stimuli.search_displays.displays import SearchDisplays


def scene_displays(
    images: Sequence[Any] | None,
    target_boxes_px: Any,
    *,
    display_ids: Sequence[str] | None = None,
    target_images: Sequence[Any] | None = None,
    coordinates_size_px: tuple[int, int] | None = None,
    size_px: tuple[int, int] | None = None,
    px_per_degree: float | None = None,
    start_px: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    paradigm: str = "scenes",
    condition: str = "",
) -> SearchDisplays:
    """Make displays of photographs and the boxes of their targets.

    Parameters
    ----------
    images
        One a display: uint8 (row, column, 3) or paths. None where the photographs are not at hand, as for scanpaths
        published without them; then give `size_px`.
    target_boxes_px
        (n_displays, 4): x and y of the upper left corner, width, height. A row of NaN where the target is absent.
    display_ids
        By default the names of the files without suffix, or ``scene-000``, ``scene-001``, ...
    target_images
        What the searcher is told, one a display; None among them where nothing is known. By default the target is cut
        from its scene.
    coordinates_size_px
        Width and height of the display that all other arguments in pixels speak of, where it is not that of the images:
        a screen of 1024 x 768 for images kept at 512 x 384. Everything is scaled to the images.
    size_px
        Width and height of the displays where there are no images.
    px_per_degree, start_px
        Pixels in a degree, and where the gaze starts: one (x, y), or one a display; the centre by default.
    paradigm, condition
        What the experiment is called.

    Returns
    -------
    SearchDisplays
        The only item of a display is its target, of kind ``target``; none where it is absent.

    Raises
    ------
    ValueError
        Numbers of images, boxes, ids or target images differ; sizes have another shape (width over height); boxes reach
        beyond their display, as they do when given in other units or as (y, x), or are fractions. All bad displays
        are counted and the first three explained.
    """
    boxes = _check_boxes(target_boxes_px)
    if images is None and size_px is None:
        raise ValueError("give images, or the size_px of the displays where there are none")
    if images is not None and size_px is not None:
        raise ValueError(
            "give size_px only without images, which have sizes; coordinates_size_px scales boxes"
        )
    pictures = [None] * len(boxes) if images is None else list(images)
    ids = _default_ids(pictures) if display_ids is None else list(display_ids)
    targets = [None] * len(boxes) if target_images is None else list(target_images)
    for name, values in (("images", pictures), ("display_ids", ids), ("target_images", targets)):
        if len(values) != len(boxes):
            raise ValueError(
                f"{name} has {len(values)} entries for {count_of(len(boxes), 'row')} of target_boxes_px"
            )
    starts = _starts(start_px, len(boxes))
    displays, problems = [], []
    for display_id, picture, box, target, start in zip(ids, pictures, boxes, targets, starts, strict=True):
        try:
            displays.append(
                _make_scene(
                    *(display_id, picture, box, target, target_images is None, start),
                    *(size_px, coordinates_size_px, px_per_degree, paradigm, condition),
                )
            )
        except ValueError as error:
            problems.append(str(error))
    if problems:
        more = f"\n  and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"{len(problems)} of {len(boxes)} displays are wrong:\n  " + "\n  ".join(problems[:3]) + more
        )
    return SearchDisplays(displays, name=paradigm)


def size_ratio(from_size_px: Sequence[float], to_size_px: Sequence[float]) -> float:
    """Return by what coordinates on one display are multiplied to lie on another of the same shape.

    Parameters
    ----------
    from_size_px, to_size_px
        Width and height.

    Raises
    ------
    ValueError
        The two differ in width over height by more than a pixel of the larger one.
    """
    old, new = np.asarray(from_size_px, dtype=float), np.asarray(to_size_px, dtype=float)
    if old.shape != (2,) or new.shape != (2,) or not (np.minimum(old, new) > 0).all():
        raise ValueError(
            f"sizes must be (width, height) in pixels, got {from_size_px!r:.40} and {to_size_px!r:.40}"
        )
    ratio = float(new[0] / old[0])
    if abs(old[1] * ratio - new[1]) > max(1.0, ratio):
        raise ValueError(
            f"{old[0]:g} x {old[1]:g} and {new[0]:g} x {new[1]:g} px (width x height) differ in shape; "
            "is the image cut or padded, or are width and height swapped?"
        )
    return ratio


def _check_boxes(target_boxes_px: Any) -> np.ndarray:
    boxes = np.asarray(target_boxes_px, dtype=float)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"target_boxes_px must have shape (n_displays, 4): x, y, width, height; got {np.shape(target_boxes_px)}"
        )
    missing = np.isnan(boxes)
    if bad := np.flatnonzero(missing.any(axis=1) != missing.all(axis=1)).tolist():
        raise ValueError(
            f"target_boxes_px is NaN in part in rows {listed(bad)}; all four are NaN where there is no target"
        )
    given = boxes[~missing.any(axis=1)]
    if len(given) and (given[:, :2] + given[:, 2:]).max() <= 1 and (given[:, 2:] % 1).any():
        raise ValueError(
            "all of target_boxes_px lie within one pixel of the corner; are they fractions of the display? "
            "Multiply x and width by its width, y and height by its height"
        )
    return boxes


def _default_ids(images: list[Any]) -> list[str]:
    if images and all(isinstance(image, str | os.PathLike) for image in images):
        return [Path(image).stem for image in images]
    return [f"scene-{number:03d}" for number in range(len(images))]


def _starts(start_px: Any, n_displays: int) -> list[Any]:
    if start_px is None:
        return [None] * n_displays
    starts = np.asarray(start_px, dtype=float)
    if starts.shape not in ((2,), (n_displays, 2)):
        raise ValueError(
            f"start_px must be (x, y) or one a display ({n_displays}, 2), got shape {starts.shape}"
        )
    return np.broadcast_to(starts, (n_displays, 2)).tolist()


def _make_scene(
    display_id: str,
    picture: Any,
    box: np.ndarray,
    target_image: Any,
    cut_target: bool,
    start: Any,
    size_px: tuple[int, int] | None,
    coordinates_size_px: tuple[int, int] | None,
    px_per_degree: float | None,
    paradigm: str,
    condition: str,
) -> SearchDisplay:
    pixels = _pixels(picture, display_id)
    display_size = size_px if pixels is None else (pixels.shape[1], pixels.shape[0])
    assert display_size is not None  # scene_displays asks for images or size_px
    try:
        ratio = 1.0 if coordinates_size_px is None else size_ratio(coordinates_size_px, display_size)
    except ValueError as error:
        raise ValueError(f"display {display_id!r}: {error}") from error
    present = not np.isnan(box[0])
    x, y, width, height = box * ratio
    table = pd.DataFrame(
        {
            "x_px": x + width / 2,
            "y_px": y + height / 2,
            "width_px": width,
            "height_px": height,
            "kind": "target",
        },
        index=range(int(present)),
    )
    display = SearchDisplay(
        display_id=display_id,
        width_px=display_size[0],
        height_px=display_size[1],
        items=table,
        target_item=0 if present else None,
        image=picture,
        target_image=target_image,
        px_per_degree=None if px_per_degree is None else px_per_degree * ratio,
        start_px=None if start is None else (start[0] * ratio, start[1] * ratio),
        paradigm=paradigm,
        condition=condition,
    )
    if cut_target and present and pixels is not None:
        object.__setattr__(display, "target_image", _cut(pixels, display.target_box_px))
    return display


def _pixels(picture: Image | Any, display_id: str) -> np.ndarray | None:
    if picture is None or isinstance(picture, np.ndarray):
        return picture
    return read_image(picture, name=f"image of display {display_id!r} ({picture})")


def _cut(pixels: np.ndarray, box_px: np.ndarray) -> np.ndarray:
    """Cut whole pixels: those that a box touches by more than a rounding error."""
    left, top = np.maximum(np.floor(box_px[:2] + 1e-6), 0).astype(int)
    right, bottom = np.ceil(box_px[:2] + box_px[2:] - 1e-6).astype(int)
    crop = pixels[top:bottom, left:right].copy()
    crop.flags.writeable = False
    return crop
