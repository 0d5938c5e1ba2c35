"""Slices of a volume in its own space."""

from __future__ import annotations

import matplotlib as mpl
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analyses.geometry import VolumeGeometry
from analyses.report import style
from analyses.report.map_colours import MapColours, add_colour_bar

MAX_SLICES = 12


def draw_slices(
    values: np.ndarray, passed: np.ndarray, geometry: VolumeGeometry, colours: MapColours
) -> Figure:
    """Draw values slice by slice, in the volume's own space.

    Parameters
    ----------
    values : ndarray of shape (n_voxels,)
        NaN where a voxel has no value.
    passed : bool ndarray of shape (n_voxels,)
        Voxels to surround by a line.
    geometry : VolumeGeometry
        Where the voxels lie.
    colours : MapColours
        From values to colours.
    """
    place = nib.as_closest_canonical(geometry.to_image(np.arange(len(geometry)), fill=-1.0))
    # float32 counts voxels without error up to 2**24, more than a brain has.
    index = np.asarray(place.dataobj).astype(int)
    affine = place.affine
    in_mm = not np.allclose(affine[:3, :3], np.eye(3))
    sizes_mm = nib.affines.voxel_sizes(affine)
    through = int(np.argmin(index.shape)) if min(index.shape) == 1 else 2
    across, up = (axis for axis in range(3) if axis != through)
    grid = np.moveaxis(index, (across, up, through), (1, 0, 2))  # (row, column, slice)
    filled = np.flatnonzero((grid >= 0).any(axis=(0, 1)))
    shown = filled[
        np.unique(np.linspace(0, filled.size - 1, min(MAX_SLICES, filled.size)).round().astype(int))
    ]
    inside = (grid[..., shown] >= 0).any(axis=2)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    crop = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2))
    n_columns = min(4, shown.size)
    n_rows = -(-shown.size // n_columns)
    panel = grid[crop][..., 0]
    aspect = panel.shape[0] * sizes_mm[up] / (panel.shape[1] * sizes_mm[across])
    width_in = (style.WIDTH_IN - 1.0) / n_columns
    figure = style.new_figure(min(9.0, 0.4 + n_rows * (min(width_in * aspect, 5.0) + 0.3)))
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    size = (sizes_mm[across], sizes_mm[up]) if in_mm else (1.0, 1.0)
    for ax, k in zip(axes.flat, shown, strict=False):
        _one_slice(ax, grid[crop][..., k], values, passed, size, colours)
        if shown.size > 1:
            height = (affine @ [*(0.0 if axis != through else float(k) for axis in range(3)), 1.0])[through]
            ax.set_title(
                f"{'xyz'[through]} = {height:.0f} mm" if in_mm else f"slice {k}", fontweight="normal"
            )
    for ax in list(axes.flat)[shown.size :]:
        ax.set_axis_off()
    if in_mm:
        _letters(axes[0, 0], "LPI"[across], "RAS"[across], "LPI"[up], "RAS"[up])
    _scale_bar(axes[-1, 0] if n_rows * n_columns == shown.size else axes[0, 0], "mm" if in_mm else "voxels")
    add_colour_bar(figure, axes, colours)
    return figure


def _one_slice(
    ax: Axes,
    index: np.ndarray,
    values: np.ndarray,
    passed: np.ndarray,
    size: tuple[float, float],
    colours: MapColours,
) -> None:
    inside = index >= 0
    picture = np.full((*index.shape, 4), 0.0)
    picture[inside] = mpl.colors.to_rgba(style.MISSING)
    there = inside & np.isfinite(np.where(inside, values[index], np.nan))
    picture[there] = colours.mappable.to_rgba(values[index[there]])
    extent = (0.0, index.shape[1] * size[0], 0.0, index.shape[0] * size[1])
    ax.imshow(picture, origin="lower", extent=extent, interpolation="nearest", aspect="equal")
    ax.add_collection(LineCollection(_borders(inside, size), colors=style.MUTED, linewidths=0.6))
    if passed.any():
        ax.add_collection(
            LineCollection(_borders(inside & passed[index], size), colors=style.INK, linewidths=1.1)
        )
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _borders(mask: np.ndarray, size: tuple[float, float]) -> list[np.ndarray]:
    """Return the edges between a mask and its outside as segments of two points, (x, y) each."""
    padded = np.pad(mask, 1)
    row, column = np.nonzero(padded[1:, :] != padded[:-1, :])
    level = [[(c - 1, r), (c, r)] for r, c in zip(row, column, strict=True)]
    row, column = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = [[(c, r - 1), (c, r)] for r, c in zip(row, column, strict=True)]
    return [np.multiply(segment, size) for segment in level + upright]


def _letters(ax: Axes, left: str, right: str, bottom: str, top: str) -> None:
    for x, y, letter in ((-0.02, 0.5, left), (1.02, 0.5, right), (0.5, -0.04, bottom), (0.5, 1.04, top)):
        ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontweight="bold",
            color=style.MUTED,
        )


def _scale_bar(ax: Axes, unit: str) -> None:
    """Draw a bar of a round length, about a fifth of the panel, below its left corner."""
    width = ax.get_xlim()[1] - ax.get_xlim()[0]
    steps = np.array([1, 2, 5, 10, 20, 50, 100])
    length = float(steps[np.argmin(np.abs(steps - width / 5))])
    transform = ax.get_xaxis_transform()
    ax.plot(
        [0, length],
        [-0.05, -0.05],
        transform=transform,
        color=style.INK,
        linewidth=2,
        clip_on=False,
        solid_capstyle="butt",
    )
    ax.text(
        length * 1.08, -0.05, f"{length:.0f} {unit}", transform=transform, va="center", ha="left", fontsize=8
    )
