"""What a network is raised on, changed: pictures turned, warped as by a retina, or crossed by black lines.

After the training diets of Gupta, Zhang, Wu, Wolfe & Kreiman (2021), NeurIPS 34. Every transform takes and gives an
array of pictures, (n, row, column[, 3]) or one (row, column[, 3]), uint8 or floats; `change_diet` applies one to a
stimulus set.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from stimuli.files import unknown_name_message
from stimuli.stimulus_set import StimulusSet

_SUBPIXELS = 3
"""Points a side that make a pixel of a warped picture: its margin shows many input pixels in each of its own."""


def rotate_90(images: NDArray[Any], turns: int = 1) -> NDArray[Any]:
    """Turn pictures by right angles, counter-clockwise: light from above becomes light from the left.

    Parameters
    ----------
    images : (n, row, column), (n, row, column, 3), (row, column) or (row, column, 3)
    turns : int
        Right angles; negative ones turn clockwise.

    Returns
    -------
    array
        The same values in other places; rows and columns exchanged for odd `turns`.

    Raises
    ------
    TypeError, ValueError
        If `images` are no pictures, or `turns` is no whole number.
    """
    row_axis, _ = _check_images(images)
    _check_whole("turns", turns, None)
    return np.ascontiguousarray(np.rot90(images, turns, axes=(row_axis, row_axis + 1)))


def retina_warp(images: NDArray[Any], half_magnification: float = 0.3) -> NDArray[Any]:
    """Warp pictures as by a retina that gazes at their centre: the centre is enlarged, the margin compressed.

    Magnification along a ray falls with the distance E from the centre as that of cortex does, as 1 / (1 + E / E2).
    The centre, the directions, and the margins in the middle of each side stay where they are.

    Parameters
    ----------
    images : (n, row, column), (n, row, column, 3), (row, column) or (row, column, 3)
        Padded with zeros to a square first.
    half_magnification : float
        E2: distance from the centre, in half sides of the square, at which magnification is half of that at the centre.

    Returns
    -------
    array (..., side, side[, 3])
        Of the same dtype; black where a place lies outside of the square.

    Raises
    ------
    TypeError, ValueError
        If `images` are no pictures, or E2 is no positive number.
    """
    row_axis, has_color = _check_images(images)
    if isinstance(half_magnification, bool) or not isinstance(half_magnification, Real):
        raise TypeError(f"half_magnification is {half_magnification!r}; it must be a number")
    if not 0 < half_magnification < np.inf:
        raise ValueError(f"half_magnification is {half_magnification}; it must be finite and more than 0")
    rows, columns = images.shape[row_axis : row_axis + 2]
    side = max(rows, columns)
    # As planes (k, row, column): coordinates are the same for every picture and channel.
    planes = np.moveaxis(images, -1, row_axis) if has_color else images
    leading = planes.shape[:-2]
    pad = [(missing // 2, missing - missing // 2) for missing in (side - rows, side - columns)]
    padded = np.pad(planes.reshape(-1, rows, columns), [(0, 0), *pad])
    places = retina_places(side, half_magnification, _SUBPIXELS)
    outside = ((places < -0.5) | (places > side - 0.5)).any(axis=0)
    warped = np.empty(padded.shape, np.float32)
    for plane, out in zip(padded, warped, strict=True):
        fine = map_coordinates(plane.astype(np.float32), places, order=1, mode="nearest")
        fine[outside] = 0
        out[:] = fine.reshape(side, _SUBPIXELS, side, _SUBPIXELS).mean(axis=(1, 3))
    if images.dtype.kind in "iu":
        warped = np.rint(warped)
    shaped = warped.astype(images.dtype).reshape(*leading, side, side)
    return np.ascontiguousarray(np.moveaxis(shaped, row_axis, -1)) if has_color else shaped


def retina_places(side_px: int, half_magnification: float, per_pixel: int = 1) -> NDArray[np.float64]:
    """Return where in a square picture a warped one looks.

    Parameters
    ----------
    side_px : int
    half_magnification : float
        E2, in half sides.
    per_pixel : int
        Points a side in each pixel of the warped picture.

    Returns
    -------
    (2, side_px * per_pixel, side_px * per_pixel) array
        Row and column in the input of each point, pixel centres at whole numbers.
    """
    half = side_px / 2
    offsets = (np.arange(side_px * per_pixel) + 0.5) / per_pixel - half
    down, right = np.meshgrid(offsets / half, offsets / half, indexing="ij")
    seen = np.hypot(down, right)
    # Integrating 1 / (1 + E / E2) gives seen = log(1 + E / E2) / log(1 + 1 / E2), with E = 1 where seen = 1.
    eccentricity = half_magnification * np.expm1(seen * np.log1p(1 / half_magnification))
    stretch = np.divide(eccentricity, seen, out=np.ones_like(seen), where=seen > 0)
    return np.stack([down * stretch, right * stretch]) * half + half - 0.5


def black_lines(
    images: NDArray[Any], width_px: int = 5, period_px: int = 50, first_px: int = 45
) -> NDArray[Any]:
    """Lay a grid of black lines over pictures, along rows and columns.

    Parameters
    ----------
    images : (n, row, column), (n, row, column, 3), (row, column) or (row, column, 3)
    width_px, period_px, first_px : int
        Lines of `width_px` begin at pixel `first_px` and at every `period_px` from there. The defaults are those
        published for pictures of about 224 px; scale them with the picture.

    Returns
    -------
    array
        A copy with zeros on the lines.

    Raises
    ------
    TypeError, ValueError
        If `images` are no pictures, or a number is out of range.
    """
    row_axis, _ = _check_images(images)
    for name, value, low in (
        ("width_px", width_px, 1),
        ("period_px", period_px, 1),
        ("first_px", first_px, 0),
    ):
        _check_whole(name, value, low)
    if width_px >= period_px:
        raise ValueError(f"width_px is {width_px}; it must be less than period_px, {period_px}")
    lined = images.copy()
    for axis in (row_axis, row_axis + 1):
        place = np.arange(images.shape[axis]) - first_px
        on_line = (place >= 0) & (place % period_px < width_px)
        np.moveaxis(lined, axis, 0)[on_line] = 0
    return lined


TRANSFORMS: dict[str, Callable[..., NDArray[Any]]] = {
    "rotate_90": rotate_90,
    "retina_warp": retina_warp,
    "black_lines": black_lines,
}
"""What `change_diet` knows by name."""


def change_diet(
    stimuli: StimulusSet, transform: str | Callable[..., NDArray[Any]], **settings: Any
) -> StimulusSet:
    """Return a stimulus set with every picture changed; ids, texts and attributes stay.

    Parameters
    ----------
    stimuli : StimulusSet
        With images; files are read, so that the result is in memory.
    transform : str or callable
        ``"rotate_90"``, ``"retina_warp"``, ``"black_lines"``, or a function from an array (row, column, 3) to another.
    **settings
        Passed on to the transform.

    Raises
    ------
    KeyError
        The name is unknown; near matches are listed.
    ValueError
        The set has no images, an image cannot be decoded, or a setting is out of range.
    """
    if isinstance(transform, str) and transform not in TRANSFORMS:
        raise KeyError(unknown_name_message("transform", transform, TRANSFORMS, "or give a function"))
    if not stimuli.has_images:
        raise ValueError(f"{stimuli!r} has no images to change; give StimulusSet(images=...)")
    change = TRANSFORMS[transform] if isinstance(transform, str) else transform
    what = transform if isinstance(transform, str) else getattr(transform, "__name__", "changed")
    images = [change(stimuli.image(row), **settings) for row in range(len(stimuli))]
    return StimulusSet(
        stimuli.stimulus_ids,
        images=images,
        texts=stimuli.texts,
        attributes=stimuli.attributes,
        name=f"{stimuli.name}, {what}" if stimuli.name else what,
    )


def _check_images(images: NDArray[Any]) -> tuple[int, bool]:
    """Return the axis of rows and whether there are colours, or refuse what is no array of pictures."""
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "iuf":
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(
            f"images must be an array of uint8 or floats, got {kind}; change_diet takes a StimulusSet"
        )
    has_color = images.ndim > 2 and images.shape[-1] == 3
    n_axes = images.ndim - has_color
    if n_axes not in (2, 3) or 0 in images.shape:
        raise ValueError(
            f"images has shape {images.shape}; (row, column), (row, column, 3), or as many as n of them in one array "
            "is needed"
        )
    return n_axes - 2, has_color


def _check_whole(name: str, value: Any, low: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}; it must be a whole number")
    if low is not None and value < low:
        raise ValueError(f"{name} is {value}; it must be at least {low}")
