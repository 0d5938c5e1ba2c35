"""Windows that grow with the distance from the gaze, and averages over them."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_TILE = 16


@dataclass(frozen=True)
class PoolWindows:
    """The windows of all places of a square map.

    Parameters
    ----------
    sizes : ndarray of int (side_out, side_out)
        Side of each window, in pixels of the map that is pooled.
    side : int
        Side of the map that is pooled.
    stride : int
    """

    sizes: np.ndarray
    side: int
    stride: int

    def first(self, index: int | np.ndarray, size: int | np.ndarray) -> np.ndarray:
        """Return the first row (or column) of the window at a row (or column) of places; it may lie off the map.

        The padding is that of "same": one window a stride, half of what is missing before the map, an odd pixel behind
        it.
        """
        return (
            index * self.stride - np.maximum((len(self.sizes) - 1) * self.stride + size - self.side, 0) // 2
        )


def ring_windows(
    side: int,
    *,
    px_per_degree: float,
    slope: float,
    fovea_radius_deg: float = 4.0,
    ring_width_deg: float = 1.0,
    min_window_px: int = 2,
    stride: int = 2,
) -> PoolWindows:
    """Return the windows of a square map whose centre is looked at (Gupta et al. 2021).

    Within the fovea all windows are `min_window_px` wide. From there on, rings of `ring_width_deg` have windows that
    are wider by `slope` times the distance between the outer edge of the ring and the fovea; the last ring takes all
    that is left. Radii are whole pixels of the result, windows whole pixels of the map, rounded half to even.

    Parameters
    ----------
    side : int
        Side of the map in pixels.
    px_per_degree : float
        Of that map; rounded to whole pixels, at least one.
    slope : float
        Degrees of window for each degree beyond the fovea.
    fovea_radius_deg, ring_width_deg : float
    min_window_px, stride : int
        Where the stride is 1, windows grow by two pixels at a time, so that they stay centred on their place.

    Returns
    -------
    PoolWindows
    """
    degree_px = max(round(px_per_degree), 1)
    side_out = -(-side // stride)
    offsets = np.arange(side_out) - side_out // 2
    squared_distance = offsets[:, None] ** 2 + offsets[None, :] ** 2
    radius = round(fovea_radius_deg * degree_px / stride)
    ring_px = max(round(ring_width_deg * degree_px / stride), 1)
    sizes = np.full((side_out, side_out), min_window_px)
    while radius <= side_out / 2:
        outside = squared_distance >= radius**2
        radius += ring_px
        growth = slope * (radius * stride - fovea_radius_deg * degree_px)
        sizes[outside] = min_window_px + (round(growth) if stride > 1 else 2 * round(growth / 2))
        if radius >= side_out / 2:
            break
    return PoolWindows(sizes, side, stride)


def pool_places(
    values: Tensor, windows: PoolWindows, rows: slice, columns: slice, origin: tuple[int, int] = (0, 0)
) -> Tensor:
    """Return averages over the windows of some places; pixels off the map are left out of them.

    Parameters
    ----------
    values : Tensor (n, n_channels, n_rows, n_columns)
        The part of the map that these windows cover, or more.
    windows : PoolWindows
    rows, columns : slice
        The places, with start and stop.
    origin : (row, column)
        Where the upper left pixel of `values` lies on the map.

    Returns
    -------
    Tensor (n, n_channels, rows, columns)
    """
    sizes = windows.sizes[rows, columns]
    ordered = values.is_contiguous(memory_format=torch.channels_last)
    pooled = torch.empty(
        (*values.shape[:2], *sizes.shape),
        dtype=values.dtype,
        device=values.device,
        memory_format=torch.channels_last if ordered else torch.contiguous_format,
    )
    tile = _TILE if np.ptp(sizes) else max(sizes.shape)
    for row in range(0, sizes.shape[0], tile):
        for column in range(0, sizes.shape[1], tile):
            part = sizes[row : row + tile, column : column + tile]
            target = pooled[:, :, row : row + tile, column : column + tile]
            for size in np.unique(part):
                # Windows of one size lie on a regular grid: an ordinary pool over the box that holds them.
                places = np.nonzero(part == size)
                box = [slice(int(at.min()), int(at.max()) + 1) for at in places]
                lines = [
                    np.arange(start + offset + of.start, start + offset + of.stop)
                    for start, offset, of in zip((rows.start, columns.start), (row, column), box, strict=True)
                ]
                averages = _pool_grid(values, windows, int(size), lines, origin)
                if (part[tuple(box)] == size).all():
                    target[:, :, box[0], box[1]] = averages
                else:
                    inside = torch.from_numpy(part[tuple(box)] == size).to(values.device)
                    current = target[:, :, box[0], box[1]]
                    target[:, :, box[0], box[1]] = torch.where(inside, averages, current)
    return pooled


def _pool_grid(
    values: Tensor, windows: PoolWindows, size: int, lines: list[np.ndarray], origin: tuple[int, int]
) -> Tensor:
    """Average over windows of one size at some rows and columns of places."""
    crops, paddings, counts = [], [], []
    for line, start in zip(lines, origin, strict=True):
        first = windows.first(line, size)
        begin, end = int(first[0]), int(first[-1]) + size
        kept = slice(max(begin, 0), min(end, windows.side))
        crops.append(slice(kept.start - start, kept.stop - start))
        paddings.append((kept.start - begin, end - kept.stop))
        counts.append(np.minimum(first + size, windows.side) - np.maximum(first, 0))
    part = values[:, :, crops[0], crops[1]]
    if any(any(padding) for padding in paddings):
        part = F.pad(part, (*paddings[1], *paddings[0]))
    n_pixels = torch.from_numpy(np.outer(*counts)).to(values)
    return F.avg_pool2d(part, size, windows.stride, divisor_override=1) / n_pixels
