"""Pictures made by code in which objects move: one object of each category a picture, among clutter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CATEGORIES = ("disc", "ring", "cross")
RADIUS_PX = 9.0
N_DISTRACTORS = 4

# Unit vectors of equal luminance (red, green, blue): a category's objects carry its hue, clutter carries none.
_HUES = np.array([[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]]) / np.sqrt(6)
_SATURATION = 0.35


@dataclass(frozen=True)
class Scenes:
    """Pictures with an object of each category somewhere in them.

    Attributes
    ----------
    images : ndarray of uint8, shape (n_images, side_px, side_px, 3)
    masks : ndarray of bool, shape (n_images, n_categories, side_px, side_px)
        Pixels of the object of each category, in the order of `CATEGORIES`. Objects never overlap.
    centres_px : ndarray of shape (n_images, n_categories, 2)
        (row, column) of each object's centre.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    centres_px: NDArray[np.float64]


def scenes_with_objects(n_images: int, side_px: int = 64, seed: int = 0) -> Scenes:
    """Draw pictures of clouds, grey patterned blobs and three coloured objects at random places.

    Every object and every blob is filled with a grating of random orientation, wavelength, phase, contrast and
    brightness: that is its identity, and it tells nothing of the category. Shape and hue are the category.

    Parameters
    ----------
    n_images : int
        Number of pictures.
    side_px : int
        Side in pixels; at least 48, so that three objects find room.
    seed : int
        Picture i depends on the seed and on i alone.

    Returns
    -------
    Scenes

    Raises
    ------
    ValueError
        If there is no picture to draw, or a picture has no room for its objects.
    """
    if n_images < 1:
        raise ValueError(f"n_images is {n_images}; at least 1 is needed.")
    if side_px < 48:
        raise ValueError(f"side_px is {side_px}; three objects need at least 48 pixels.")
    drawn = [_scene(side_px, np.random.default_rng([seed, i])) for i in range(n_images)]
    images, masks, centres = (np.stack(parts) for parts in zip(*drawn, strict=True))
    return Scenes(images, masks, centres)


def _scene(
    side_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]:
    picture = _clouds(side_px, rng)
    rows, columns = np.mgrid[:side_px, :side_px] + 0.5
    for row, column in rng.uniform(0, side_px, size=(N_DISTRACTORS, 2)):
        shape = _shape(CATEGORIES[rng.integers(len(CATEGORIES))], rows - row, columns - column)
        picture[shape] = _grating(rows, columns, rng)[shape, None]
    centres = _places_apart(len(CATEGORIES), side_px, rng)
    masks = np.empty((len(CATEGORIES), side_px, side_px), dtype=bool)
    for mask, category, (row, column), hue in zip(masks, CATEGORIES, centres, _HUES, strict=True):
        mask[:] = _shape(category, rows - row, columns - column)
        picture[mask] = _grating(rows, columns, rng)[mask, None] + _SATURATION * hue
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8), masks, centres


def _clouds(side_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw 1/f noise (side_px, side_px, 3): mostly brightness, a little of it colour."""
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.fftfreq(side_px)[None, :])
    frequency[0, 0] = np.inf  # the mean is set below
    spectrum = np.fft.fft2(rng.standard_normal((4, side_px, side_px))) / frequency
    noise = np.fft.ifft2(spectrum).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return 0.5 + np.moveaxis(0.15 * noise[:1] + 0.05 * noise[1:], 0, -1)


def _shape(category: str, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.bool_]:
    distance = np.hypot(rows, columns)
    if category == "disc":
        return distance <= 0.85 * RADIUS_PX
    if category == "ring":
        return (distance <= RADIUS_PX) & (distance >= 0.4 * RADIUS_PX)
    arm = np.minimum(np.abs(rows), np.abs(columns)) <= 0.4 * RADIUS_PX
    return arm & (np.maximum(np.abs(rows), np.abs(columns)) <= 0.95 * RADIUS_PX)


def _grating(
    rows: NDArray[np.float64], columns: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    wavelength_px, contrast = rng.uniform(4, 10), rng.uniform(0, 0.3)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    return rng.uniform(0.3, 0.7) + contrast * np.cos(2 * np.pi * along / wavelength_px + phase)


def _places_apart(n: int, side_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw centres whose objects lie in the picture and do not touch."""
    while True:
        places = rng.uniform(RADIUS_PX, side_px - RADIUS_PX, size=(n, 2))
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
        # Corners of two crosses reach 1.03 radii from the centre.
        if distances[np.triu_indices(n, 1)].min() > 2.1 * RADIUS_PX:
            return places
