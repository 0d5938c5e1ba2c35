"""Where people look, whatever the order: fixation maps, their similarity (SIM), and NSS."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from analyses.metrics.scanpath.ragged import FloatArray, IntArray, Ragged, pack_places
from stimuli.files import unknown_name_message

OffScreen = Literal["error", "drop"]


def fixation_map(
    paths: Sequence[ArrayLike],
    size_px: tuple[int, int],
    sigma_px: float | None = None,
    *,
    off_screen: OffScreen = "error",
) -> FloatArray:
    """Return the density of fixations over the pixels of a display, pooled over scanpaths.

    Parameters
    ----------
    paths : sequence of (n_fixations, 2) array
        Scanpaths on one display, x and y in pixels; pixel (row r, column c) covers x in [c, c + 1), y in [r, r + 1).
    size_px : (int, int)
        Width and height of the display.
    sigma_px : float, optional
        Standard deviation of the Gaussian that the map is smoothed with: 1 degree of visual angle is usual. What falls
        off the display is lost before the map is scaled. By default the map is not smoothed.
    off_screen : {"error", "drop"}
        Fixations off the display are refused, or left out.

    Returns
    -------
    (n_rows, n_columns) array
        Sums to 1; NaN throughout where no fixation is left.

    Raises
    ------
    ValueError
        If `size_px` or `sigma_px` is not positive, places are not finite, or fixations lie off the display under
        ``off_screen="error"``.
    """
    from scipy.ndimage import gaussian_filter

    width, height = _check_map_size(size_px)
    if sigma_px is not None and not (np.isfinite(sigma_px) and sigma_px > 0):
        raise ValueError(f"sigma_px is {sigma_px}; it must be positive (1 degree is usual), or None")
    packed = pack_places(paths, "paths")
    rows, columns, _ = _pixels(packed, (width, height), "paths", off_screen)
    density = (
        np.bincount(rows * width + columns, minlength=width * height)
        .reshape(height, width)
        .astype(np.float64)
    )
    if sigma_px is not None:
        density = gaussian_filter(density, sigma_px, mode="constant")
    total = density.sum()
    return density / total if total else np.full(density.shape, np.nan)


def fixation_map_similarity(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Return the histogram intersection (SIM) of maps, each scaled to sum to 1.

    Parameters
    ----------
    a, b : (..., n_rows, n_columns) array
        Fixation densities or priority maps, not negative; leading axes broadcast.

    Returns
    -------
    (...) array
        From 0 (nowhere both) to 1 (equal). NaN where a map is zero throughout or has NaN.

    Raises
    ------
    ValueError
        If the maps differ in size or are negative somewhere.

    References
    ----------
    Bylinskii, Judd, Oliva, Torralba & Durand 2019, IEEE PAMI 41: 740-757.
    """
    first, second = (np.asarray(maps, dtype=np.float64) for maps in (a, b))
    if first.ndim < 2 or first.shape[-2:] != second.shape[-2:]:
        raise ValueError(
            f"a has shape {first.shape} and b {second.shape}; maps of one size (..., rows, columns) are needed"
        )
    scaled = []
    for name, maps in (("a", first), ("b", second)):
        if (maps < 0).any():
            raise ValueError(
                f"{name} has negative values; a map of how much is looked at each pixel is needed"
            )
        total = maps.sum(axis=(-2, -1), keepdims=True)
        scaled.append(np.divide(maps, total, out=np.full(maps.shape, np.nan), where=total > 0))
    return np.minimum(*scaled).sum(axis=(-2, -1))


def teacher_forced_similarity(probabilities: Sequence[ArrayLike], chosen: Sequence[ArrayLike]) -> FloatArray:
    """Return the mean probability that a model gave to what was fixated next, given all fixations before.

    This is the histogram intersection of the model's distribution over objects with the choice as a one-hot, averaged
    over the steps of a scanpath.

    Parameters
    ----------
    probabilities : sequence of (n_steps, n_objects) array
        The model's distribution at each step, with the person's own fixations before it; rows sum to 1. The number of
        objects may differ between scanpaths.
    chosen : sequence of (n_steps,) int
        The object that the person fixated at each step.

    Returns
    -------
    (n_scanpaths,) array
        From 0 to 1; NaN where a scanpath has no steps.

    Raises
    ------
    ValueError
        If shapes do not match, rows are no distributions, or an object is out of range.

    References
    ----------
    Fang, Yu, Zhang, van der Lans & Shi 2024, ECCV.
    """
    if len(probabilities) != len(chosen):
        raise ValueError(
            f"probabilities has {len(probabilities)} scanpaths and chosen {len(chosen)}; as many are needed"
        )
    means = np.full(len(chosen), np.nan)
    for number, (distribution, objects) in enumerate(zip(probabilities, chosen, strict=True)):
        p, taken = np.asarray(distribution, dtype=np.float64), np.asarray(objects)
        if p.ndim != 2 or taken.shape != p.shape[:1] or (taken.size and taken.dtype.kind not in "iu"):
            raise ValueError(
                f"probabilities[{number}] has shape {p.shape} and chosen[{number}] {taken.shape} of {taken.dtype};"
                " (n_steps, n_objects) and (n_steps,) object numbers are needed"
            )
        if not taken.size:
            continue
        if not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1, atol=1e-4):
            raise ValueError(f"probabilities[{number}] has rows that are no distribution; they must sum to 1")
        if taken.min() < 0 or taken.max() >= p.shape[1]:
            raise ValueError(
                f"chosen[{number}] names objects from {taken.min()} to {taken.max()}; 0 to {p.shape[1] - 1} are allowed"
            )
        means[number] = p[np.arange(len(taken)), taken].mean()
    return means


def nss(maps: ArrayLike, paths: Sequence[ArrayLike], *, off_screen: OffScreen = "error") -> FloatArray:
    """Return the normalised scanpath saliency: the mean z-score of a map at the places fixated.

    Parameters
    ----------
    maps : (n_rows, n_columns) or (n_paths, n_rows, n_columns) array
        One priority map for all scanpaths, or one each. Each is scaled to mean 0 and standard deviation 1 over its
        pixels (divided by their number).
    paths : sequence of (n_fixations, 2) array
        Scanpaths, x and y in pixels of the map.
    off_screen : {"error", "drop"}
        Fixations off the map are refused, or left out.

    Returns
    -------
    (n_paths,) array
        0 is chance. NaN where a map is constant or no fixation is left.

    Raises
    ------
    ValueError
        If the maps do not match the scanpaths or are not finite, or fixations lie off the map under
        ``off_screen="error"``.

    References
    ----------
    Peters, Iyer, Itti & Koch 2005, Vision Research 45: 2397-2416.
    """
    packed = pack_places(paths, "paths")
    n_paths = len(packed.lengths)
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim not in (2, 3) or (values.ndim == 3 and len(values) != n_paths) or not values.size:
        raise ValueError(
            f"maps has shape {values.shape}; (rows, columns) or ({n_paths}, rows, columns) is needed"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"maps has {int((~np.isfinite(values)).sum())} NaN or infinite values; fill or leave them out"
        )
    height, width = values.shape[-2:]
    rows, columns, kept = _pixels(packed, (width, height), "paths", off_screen)
    owner = np.repeat(np.arange(n_paths), packed.lengths)[kept]
    which = owner if values.ndim == 3 else np.zeros_like(owner)
    values = values.reshape(-1, height, width)
    constant = np.ptp(values, axis=(1, 2)) == 0
    mean, spread = values.mean(axis=(1, 2)), np.where(constant, np.nan, values.std(axis=(1, 2)))
    z = (values[which, rows, columns] - mean[which]) / spread[which]
    counts = np.bincount(owner, minlength=n_paths)
    sums = np.bincount(owner, weights=z, minlength=n_paths)
    return np.divide(sums, counts, out=np.full(n_paths, np.nan), where=counts > 0)


def _check_map_size(size_px: tuple[int, int]) -> tuple[int, int]:
    size = np.asarray(size_px)
    if size.shape != (2,) or size.dtype.kind not in "iu" or (size < 1).any():
        raise ValueError(
            f"size_px is {size_px!r:.80}; it must be (width, height) in whole pixels, at least 1 each"
        )
    return int(size[0]), int(size[1])


def _pixels(
    packed: Ragged, size: tuple[int, int], name: str, off_screen: OffScreen
) -> tuple[IntArray, IntArray, IntArray]:
    """Return row, column and number of each fixation that lies on the display."""
    if off_screen not in ("error", "drop"):
        raise ValueError(unknown_name_message("off_screen", off_screen, ("error", "drop")))
    inside = ((packed.values >= 0) & (packed.values < np.array(size)[:, None])).all(axis=0)
    if off_screen == "error" and not inside.all():
        raise ValueError(
            f"{name} has {int((~inside).sum())} fixations off the {size[0]} x {size[1]} px display, the first in"
            f' scanpath {packed.owner(int((~inside).argmax()))}; leave them out (off_screen="drop")'
        )
    kept = np.flatnonzero(inside)
    column, row = np.floor(packed.values[:, kept]).astype(np.intp)
    return row, column, kept
