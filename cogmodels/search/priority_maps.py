"""From maps of agreement at several depths to one priority for each place of a display."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from scipy import ndimage

from stimuli.files import unknown_name_message

Weighting = Literal["max", "equal"]


@dataclass(frozen=True)
class Sharpening:
    """Differences of Gaussians, added to a map again and again.

    Parameters
    ----------
    narrow, wide : (int, float)
        Window, an odd number of places, and standard deviation of each Gaussian. With standard deviation 0 the window
        is that of binomial coefficients: 1, 2, 1 for a window of 3.
    n_repeats : int

    Raises
    ------
    ValueError
        A window is not odd, or a number is negative or not finite.
    """

    narrow: tuple[int, float] = (3, 1.0)
    wide: tuple[int, float] = (5, 3.0)
    n_repeats: int = 3

    def __post_init__(self) -> None:
        for name in ("narrow", "wide"):
            size, sd = getattr(self, name)
            if int(size) != size or size < 1 or size % 2 == 0 or not np.isfinite(sd) or sd < 0:
                raise ValueError(
                    f"{name} must be (an odd window, a standard deviation from 0), got {(size, sd)}"
                )
        if int(self.n_repeats) != self.n_repeats or self.n_repeats < 0:
            raise ValueError(f"n_repeats must be a whole number from 0, got {self.n_repeats!r}")


# Gupta et al. (2021) chose these for each family of displays: they are not a property of the searcher.
PUBLISHED_SHARPENING: Mapping[str, Sharpening] = MappingProxyType(
    {
        "curvature": Sharpening((3, 1.0), (5, 3.0)),
        "lighting_direction": Sharpening((3, 0.0), (5, 1.0)),
        "intersection": Sharpening((5, 3.0), (7, 5.0)),
        "t_and_l": Sharpening((5, 3.0), (7, 5.0)),
        "orientation_homogeneous": Sharpening((3, 1.0), (5, 3.0)),
        "orientation_heterogeneous": Sharpening((3, 1.0), (5, 3.0)),
        "scenes": Sharpening((3, 0.0), (5, 1.0)),
    }
)


def check_sharpening(sharpening: Any) -> Sharpening | str | None:
    """Return a sharpening, a name of `PUBLISHED_SHARPENING` or "published", or None; refuse all else.

    Raises
    ------
    KeyError
        The name is unknown.
    TypeError
        It is of another kind.
    """
    known = [*PUBLISHED_SHARPENING, "published"]
    if isinstance(sharpening, str) and sharpening not in known:
        raise KeyError(unknown_name_message("sharpening", sharpening, known))
    if sharpening is not None and not isinstance(sharpening, Sharpening | str):
        raise TypeError(f"sharpening must be a Sharpening, a name or None, got {sharpening!r}")
    return sharpening


def combine_maps(maps: np.ndarray, weighting: Weighting = "max") -> np.ndarray:
    """Return the weighted mean of maps that are each brought to [0, 1].

    Parameters
    ----------
    maps : ndarray (n_maps, n_rows, n_columns)
    weighting : {"max", "equal"}
        "max": by the highest value of each map before it is brought to [0, 1] (Gupta et al. 2021; in natural scenes
        they took "equal"). A map without a value above 0 has no weight; where none has one, all count alike.

    Returns
    -------
    ndarray of float64 (n_rows, n_columns)
        A map of one value throughout is brought to 0.

    Raises
    ------
    ValueError
        `weighting` is unknown.
    """
    if weighting not in get_args(Weighting):
        raise ValueError(f"weighting must be one of {', '.join(get_args(Weighting))}; got {weighting!r}")
    maps = np.asarray(maps, dtype=np.float64)
    lowest, highest = (extreme(maps, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
    spread = highest - lowest
    unit = np.divide(maps - lowest, spread, out=np.zeros_like(maps), where=spread > 0)
    weights = np.maximum(highest.ravel(), 0) if weighting == "max" else np.ones(len(maps))
    if not weights.any():
        weights = np.ones(len(maps))
    return np.tensordot(weights / weights.sum(), unit, axes=1)


def sharpen(priority: np.ndarray, sharpening: Sharpening) -> np.ndarray:
    """Return a map (n_rows, n_columns) after its differences of Gaussians were added; edges are mirrored."""
    kernels = [gaussian_window(*each) for each in (sharpening.narrow, sharpening.wide)]
    for _ in range(sharpening.n_repeats):
        narrow, wide = (
            ndimage.correlate1d(
                ndimage.correlate1d(priority, kernel, 0, mode="mirror"), kernel, 1, mode="mirror"
            )
            for kernel in kernels
        )
        priority = priority + (narrow - wide)
    return priority


def gaussian_window(size: int, sd: float) -> np.ndarray:
    """Return the weights (size,) of a Gaussian at whole places, their sum 1; binomial ones for standard deviation 0."""
    if sd == 0:
        weights = np.array([1.0])
        for _ in range(size - 1):
            weights = np.convolve(weights, [0.5, 0.5])
        return weights
    weights = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sd**2))
    return weights / weights.sum()


def cell_shares(n_px: int, first_px: float, cell_px: float, n_cells: int) -> np.ndarray:
    """Return which share of each pixel lies in each of a row of cells.

    Parameters
    ----------
    n_px : int
        Pixel k covers k to k + 1.
    first_px : float
        Where the first cell begins.
    cell_px : float
        Length of a cell.
    n_cells : int

    Returns
    -------
    ndarray (n_px, n_cells)
        Rows sum to 1: the first and the last cell take what lies before and behind.
    """
    edges = first_px + cell_px * np.arange(n_cells + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    pixels = np.arange(n_px)[:, None]
    return np.clip(np.minimum(pixels + 1, edges[1:]) - np.maximum(pixels, edges[:-1]), 0, 1)


def cells_within(n_px: int, first_px: float, cell_px: float, n_cells: int) -> slice:
    """Return which of a row of cells have their middle within pixels 0 to `n_px`; the nearest one where none has.

    The arguments are those of `cell_shares`.
    """
    middles = first_px + cell_px * (np.arange(n_cells) + 0.5)
    within = np.flatnonzero((middles >= 0) & (middles < n_px))
    if not within.size:
        within = np.array([np.argmin(np.abs(middles - n_px / 2))])
    return slice(int(within[0]), int(within[-1]) + 1)


def spread_over_pixels(
    priority: np.ndarray, shape_px: tuple[int, int], first_px: tuple[float, float], cell_px: float
) -> np.ndarray:
    """Return a map at the resolution of pixels: each takes the values of the cells it lies in, by area.

    Parameters
    ----------
    priority : ndarray (n_rows, n_columns)
    shape_px : (n_rows, n_columns)
        Of the result.
    first_px : (row, column)
        Where the first cell begins, in pixels of the result.
    cell_px : float
        Side of a cell.

    Returns
    -------
    ndarray of float64 `shape_px`
    """
    rows, columns = (
        cell_shares(length, first, cell_px, n_cells)
        for length, first, n_cells in zip(shape_px, first_px, priority.shape, strict=True)
    )
    return rows @ priority @ columns.T
