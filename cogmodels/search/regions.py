"""Rectangles of feature maps: where a change reaches, what a place sees, and layers on a rectangle alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogmodels.search.eccentricity_pooling import EccentricityPool2d
from cogmodels.search.pool_windows import PoolWindows, pool_places


class Region(NamedTuple):
    """Rows top to bottom - 1 and columns left to right - 1 of a map; it may reach beyond the map."""

    top: int
    bottom: int
    left: int
    right: int

    def hull(self, other: "Region | None") -> "Region":
        """Return the smallest region that holds both."""
        if other is None:
            return self
        return Region(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def intersection(self, other: "Region") -> "Region":
        """Return the part that lies in another region; of negative shape where none does."""
        return Region(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def within(self, side: int) -> "Region":
        """Return the part on a map of this side."""
        return self.intersection(Region(0, side, 0, side))

    def shifted(self, rows: int, columns: int) -> "Region":
        """Return the region so many rows down and columns to the right."""
        return Region(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def slices(self, origin: "Region | None" = None) -> tuple[slice, slice]:
        """Return rows and columns, counted from the corner of another region."""
        row, column = (0, 0) if origin is None else (origin.top, origin.left)
        return slice(self.top - row, self.bottom - row), slice(self.left - column, self.right - column)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class Span:
    """Which places of its input each place of a layer's output sees.

    Place i sees the inputs from ``i * stride - before`` on, `kernel` of them. In a pool whose windows differ it sees
    its window, and `kernel` and `before` are those of the fovea.
    """

    kernel: int
    stride: int
    before: int
    side_out: int
    windows: PoolWindows | None = None

    def reached(self, changed: Region) -> Region:
        """Return the places that see anything of a region of the input."""
        if self.windows is None:
            top, left = (
                -((self.kernel - 1 - self.before - at) // self.stride) for at in (changed.top, changed.left)
            )
            bottom, right = (
                (at - 1 + self.before) // self.stride + 1 for at in (changed.bottom, changed.right)
            )
            return Region(top, bottom, left, right)
        sizes = self.windows.sizes
        index = np.arange(len(sizes))
        first_row, first_column = self.windows.first(index[:, None], sizes), self.windows.first(index, sizes)
        seen = (first_row < changed.bottom) & (first_row + sizes > changed.top)
        seen &= (first_column < changed.right) & (first_column + sizes > changed.left)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        if not rows.size:
            return Region(0, 0, 0, 0)
        return Region(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)

    def seen(self, places: Region) -> Region:
        """Return the region of the input that some places see; it may reach beyond the map."""
        if self.windows is None:
            top, left = (at * self.stride - self.before for at in (places.top, places.left))
            bottom, right = (
                (at - 1) * self.stride - self.before + self.kernel for at in (places.bottom, places.right)
            )
            return Region(top, bottom, left, right)
        sizes = self.windows.sizes[places.slices()]
        first_row = self.windows.first(np.arange(places.top, places.bottom)[:, None], sizes)
        first_column = self.windows.first(np.arange(places.left, places.right), sizes)
        return Region(
            int(np.min(first_row)),
            int(np.max(first_row + sizes)),
            int(np.min(first_column)),
            int(np.max(first_column + sizes)),
        )


def span_of(module: nn.Module, side: int) -> Span | None:
    """Return what a layer's places see of a map of this side, or None if it is none of the layers known here."""
    if isinstance(module, EccentricityPool2d):
        windows = module.windows(side)
        size = int(windows.sizes.flat[0])
        if np.ptp(windows.sizes):
            smallest = module.min_window_px
            before = -int(windows.first(0, smallest))
            return Span(smallest, module.stride, before, len(windows.sizes), windows)
        return Span(size, module.stride, -int(windows.first(0, size)), len(windows.sizes))
    pairs = [getattr(module, name, (1, 1)) for name in ("kernel_size", "stride", "dilation")]
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return None
    squares = [pair if isinstance(pair, tuple) else (pair, pair) for pair in pairs]
    if any(rows != columns for rows, columns in squares):
        return None
    size, stride, dilation = (rows for rows, _ in squares)
    kernel = dilation * (size - 1) + 1
    if isinstance(module, nn.Conv2d):
        return _convolution_span(module, side, kernel, stride)
    padding = module.padding if isinstance(module.padding, int) else -1
    if padding < 0 or (isinstance(module, nn.AvgPool2d) and (padding or module.ceil_mode)):
        return None
    side_out = (side + 2 * padding - kernel) // stride + 1
    # With ceil_mode a last window is added that begins on the map and ends behind it.
    if module.ceil_mode and (side + 2 * padding - kernel) % stride and side_out * stride < side + padding:
        side_out += 1
    return Span(kernel, stride, padding, side_out)


def _convolution_span(module: nn.Conv2d, side: int, kernel: int, stride: int) -> Span | None:
    if module.padding_mode != "zeros":
        return None
    if _pads_like_tensorflow(module):
        side_out = -(-side // stride)
        return Span(kernel, stride, max((side_out - 1) * stride + kernel - side, 0) // 2, side_out)
    if type(module) is not nn.Conv2d:
        return None
    if module.padding == "same":
        return Span(kernel, 1, (kernel - 1) // 2, side)
    before = 0 if module.padding == "valid" else module.padding[0]
    if not isinstance(before, int) or (module.padding != "valid" and len(set(module.padding)) > 1):
        return None
    return Span(kernel, stride, before, (side + 2 * before - kernel) // stride + 1)


def _pads_like_tensorflow(module: nn.Conv2d) -> bool:
    """Return whether a convolution is timm's, whose padding depends on the size of the map."""
    return type(module).__name__ == "Conv2dSame" and type(module).__module__.startswith("timm.")


def apply_layer(
    module: nn.Module, span: Span, side: int, places: Region, read: Callable[[Region], Tensor]
) -> Tensor:
    """Return the output of a layer at some places.

    Parameters
    ----------
    module : nn.Module
        A layer for which there is a span.
    span : Span
    side : int
        Of its input map.
    places : Region
    read : callable
        Gives the input within a region of the map.

    Returns
    -------
    Tensor (n, n_channels, *places.shape)
    """
    wanted = span.seen(places)
    on_map = wanted.within(side)
    values = read(on_map)
    if span.windows is not None:
        return pool_places(values, span.windows, *places.slices(), origin=(on_map.top, on_map.left))
    padding = (
        on_map.left - wanted.left,
        wanted.right - on_map.right,
        on_map.top - wanted.top,
        wanted.bottom - on_map.bottom,
    )
    if isinstance(module, EccentricityPool2d):
        if not any(padding):
            return F.avg_pool2d(values, span.kernel, span.stride)
        counted = F.avg_pool2d(F.pad(torch.ones_like(values[:1, :1]), padding), span.kernel, span.stride)
        return F.avg_pool2d(F.pad(values, padding), span.kernel, span.stride) / counted
    if any(padding):
        values = F.pad(values, padding, value=-torch.inf if isinstance(module, nn.MaxPool2d) else 0.0)
    if isinstance(module, nn.MaxPool2d):
        return F.max_pool2d(values, module.kernel_size, span.stride, dilation=module.dilation)
    if isinstance(module, nn.AvgPool2d):
        return F.avg_pool2d(values, module.kernel_size, span.stride, divisor_override=module.divisor_override)
    assert isinstance(module, nn.Conv2d)
    return F.conv2d(values, module.weight, module.bias, span.stride, 0, module.dilation, module.groups)
