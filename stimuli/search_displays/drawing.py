"""Outlines in degrees become antialiased pixels."""

from collections.abc import Sequence

import numpy as np


def coverage(outlines: Sequence[np.ndarray], width_px: int, height_px: int) -> np.ndarray:
    """Return the share of each pixel that lies inside closed outlines.

    Agg, matplotlib's rasterizer, computes the covered area of each pixel, with corners rounded to 1/256 px: shares
    are right to 1/200.

    Parameters
    ----------
    outlines
        Polygons (n_corners, 2) of x and y in pixels, y down, which do not overlap.
    width_px, height_px
        Size of the picture.

    Returns
    -------
    numpy.ndarray
        float64 (height_px, width_px) in [0, 1].
    """
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    renderer = RendererAgg(width_px, height_px, dpi=72)
    pen = renderer.new_gc()
    pen.set_linewidth(0)
    pen.set_antialiased(True)
    pen.set_snap(False)  # matplotlib would move upright edges to whole pixels
    closed = [Path(np.vstack([outline, outline[:1]]), closed=True) for outline in outlines]
    # The renderer counts y from the bottom.
    upright = Affine2D().scale(1, -1).translate(0, height_px)
    renderer.draw_path(pen, Path.make_compound_path(*closed), upright, (0.0, 0.0, 0.0))
    return np.asarray(renderer.buffer_rgba())[:, :, 3] / 255.0


def band_profile(levels: Sequence[float], length_px: float, n_px: int) -> np.ndarray:
    """Return equal bands of brightness, side by side, as the mean brightness of each pixel along them.

    Parameters
    ----------
    levels
        Brightness of each band, in order.
    length_px
        Length of all bands together. They stand in the middle; beyond them the first and last level go on.
    n_px
        Number of pixels.

    Returns
    -------
    numpy.ndarray
        float64 (n_px,).
    """
    edges = n_px / 2 + length_px * (np.arange(len(levels) + 1) / len(levels) - 0.5)
    edges[0], edges[-1] = min(edges[0], 0.0), max(edges[-1], float(n_px))
    integral = np.concatenate([[0.0], np.cumsum(np.diff(edges) * np.asarray(levels, dtype=float))])
    return np.diff(np.interp(np.arange(n_px + 1), edges, integral))


def blend(background: Sequence[int], brightness: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Lay grey paint over a plain background: uint8 (row, column, 3), rounded once.

    Parameters
    ----------
    background
        RGB colour in 0-255.
    brightness
        Grey level of the paint in 0-255, of each pixel (row, column).
    covered
        Share of each pixel under the paint (row, column).
    """
    share = covered[:, :, None]
    return np.rint((1 - share) * np.asarray(background) + share * brightness[:, :, None]).astype(np.uint8)
