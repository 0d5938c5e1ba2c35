"""Maps of scores where the voxels lie: slices, glass brain and cortical surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import nibabel as nib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analyses.geometry import Geometry, SurfaceGeometry, VolumeGeometry
from analyses.report import style
from analyses.report.reading import headline_layer, kept, layer_names, require, significant
from analyses.report.style import styled

MAX_SLICES = 12
#: Variables that can be mapped, with the words at the colour bar.
MAPPED = {
    "r": "held-out r",
    "r2": "held-out R²",
    "r_within": "held-out r within category",
    "r_evaluated": "held-out r on the unit of the ceiling",
    "r_normalized": "r / noise ceiling",
    "noise_ceiling_r": "noise ceiling (r)",
}
#: Vertices of fsaverage5 in one hemisphere, and of the finer fsaverage surfaces that begin with the same vertices.
FSAVERAGE5_VERTICES = 10_242
_NESTED_IN = (FSAVERAGE5_VERTICES, 40_962, 163_842)


@styled
def brain_map(
    results: xr.Dataset,
    geometry: Geometry,
    variable: str = "r",
    layer: str | None = None,
    space: str | None = None,
) -> Figure:
    """Draw one value a voxel where the voxels lie.

    Parameters
    ----------
    results : xarray.Dataset
        Needs `variable`; voxels in the order of `geometry`.
    geometry : VolumeGeometry or SurfaceGeometry
        Where the voxels lie.
    variable : str
        ``r``, ``r2``, ``r_within``, ``r_evaluated``, ``r_normalized`` or ``noise_ceiling_r``.
    layer : str, optional
        The headline layer when None.
    space : str, optional
        Name of the volume's space. One that starts with ``MNI`` is drawn as nilearn's glass brain, whose outline
        fits no other; any other volume is drawn as slices of its own.

    Returns
    -------
    matplotlib.figure.Figure
        Slices with left on the left (where the affine tells), glass brain, or inflated hemispheres.

    Raises
    ------
    ValueError
        If variables are missing, `geometry` has another number of voxels, or the surface cannot be drawn.
    KeyError
        If `layer` is not in `results`.
    """
    require(results, variable)
    if variable not in MAPPED:
        raise ValueError(f"variable is {variable!r}; a map shows one of {', '.join(MAPPED)}.")
    if len(geometry) != results.sizes["neuroid"]:
        raise ValueError(
            f"geometry has {len(geometry)} voxels, but results have {results.sizes['neuroid']}: they differ in mask."
        )
    layer = layer or headline_layer(results)
    if layer not in layer_names(results):
        raise KeyError(f"layer {layer!r} is not in results; they hold {', '.join(layer_names(results))}.")
    values = results[variable]
    if "layer" in values.dims:
        values = values.transpose("layer", "neuroid")[layer_names(results).index(layer)]
    drawn = np.where(kept(results), np.asarray(values.values, dtype=float), np.nan)
    colours = _colours(variable, drawn)
    passed = np.zeros(len(geometry), dtype=bool)
    q = significant(results, layer)
    if q is not None:
        passed[kept(results)] = q
    if isinstance(geometry, SurfaceGeometry):
        return _surface(drawn, geometry, colours)
    if space is not None and space.upper().startswith("MNI"):
        return _glass_brain(drawn, geometry, colours)
    return _slices(drawn, passed, geometry, colours)


@dataclass(frozen=True)
class _Colours:
    mappable: ScalarMappable
    label: str
    extend: str


def _colours(variable: str, values: np.ndarray) -> _Colours:
    """Choose colours: around zero for scores that can be negative, 0 to 1 for shares of a ceiling."""
    finite = values[np.isfinite(values)]
    if variable in ("r_normalized", "noise_ceiling_r"):
        norm, name = Normalize(0.0, 1.0), style.SEQUENTIAL
    else:
        # The 99th percentile: one lucky voxel must not bleach the map.
        limit = max(0.05, float(np.percentile(np.abs(finite), 99)) if finite.size else 1.0)
        norm, name = Normalize(-limit, limit), style.DIVERGING
    below, above = (
        (finite.size > 0) and finite.min() < norm.vmin,
        (finite.size > 0) and finite.max() > norm.vmax,
    )
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        (below, above)
    ]
    return _Colours(ScalarMappable(norm, mpl.colormaps[name]), MAPPED[variable], extend)


def _colour_bar(figure: Figure, axes: object, colours: _Colours) -> None:
    bar = figure.colorbar(colours.mappable, ax=axes, shrink=0.7, aspect=22, pad=0.02, extend=colours.extend)
    bar.set_label(colours.label)
    bar.outline.set_linewidth(0.5)  # type: ignore[operator]


def _slices(values: np.ndarray, passed: np.ndarray, geometry: VolumeGeometry, colours: _Colours) -> Figure:
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
    _colour_bar(figure, axes, colours)
    return figure


def _one_slice(
    ax: Axes,
    index: np.ndarray,
    values: np.ndarray,
    passed: np.ndarray,
    size: tuple[float, float],
    colours: _Colours,
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


def _borders(mask: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Return the edges between a mask and its outside as segments, (n_edges, 2 points, x and y)."""
    padded = np.pad(mask, 1)
    row, column = np.nonzero(padded[1:, :] != padded[:-1, :])
    level = [[(c - 1, r), (c, r)] for r, c in zip(row, column, strict=True)]
    row, column = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = [[(c, r - 1), (c, r)] for r, c in zip(row, column, strict=True)]
    return np.asarray(level + upright, dtype=float).reshape(-1, 2, 2) * np.asarray(size)


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


def _glass_brain(values: np.ndarray, geometry: VolumeGeometry, colours: _Colours) -> Figure:
    from nilearn.plotting import plot_glass_brain

    figure = Figure(figsize=(style.WIDTH_IN, 2.6))
    norm = colours.mappable.norm
    plot_glass_brain(
        geometry.to_image(np.nan_to_num(values), fill=0.0),
        figure=figure,
        axes=(0.0, 0.0, 0.88, 1.0),
        display_mode="lyrz",
        cmap=colours.mappable.cmap,
        vmin=norm.vmin,
        vmax=norm.vmax,
        plot_abs=False,
        threshold=1e-9,  # voxels outside the mask stay clear
        colorbar=False,
    )
    bar = figure.colorbar(
        colours.mappable, cax=figure.add_axes((0.9, 0.2, 0.015, 0.6)), extend=colours.extend
    )
    bar.set_label(colours.label)
    return figure


def _surface(values: np.ndarray, geometry: SurfaceGeometry, colours: _Colours) -> Figure:
    from nilearn.datasets import load_fsaverage, load_fsaverage_data
    from nilearn.plotting import plot_surf

    hemispheres = dict(zip(("left", "right"), geometry.to_hemispheres(values), strict=True))
    for side, on_surface in hemispheres.items():
        if on_surface.size not in _NESTED_IN or not geometry.space.startswith("fsaverage"):
            raise ValueError(
                f"geometry is {geometry.space!r} with {on_surface.size} vertices on the {side}; a surface that can be drawn "
                f"is an fsaverage one with {', '.join(map(str, _NESTED_IN))} vertices. The maps are still in the run's maps/."
            )
    mesh = load_fsaverage("fsaverage5")["inflated"]
    sulci = load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts
    views = ("lateral", "medial", "ventral")
    figure = Figure(figsize=(style.WIDTH_IN, 3.9))
    norm = colours.mappable.norm
    for row, (side, on_surface) in enumerate(hemispheres.items()):
        for column, view in enumerate(views):
            place = (0.02 + 0.285 * column, 0.5 - 0.5 * row, 0.29, 0.5)
            ax = figure.add_axes(place, projection="3d")
            plot_surf(
                mesh.parts[side],
                on_surface[:FSAVERAGE5_VERTICES],
                hemi=side,
                view=view,
                bg_map=sulci[side],
                bg_on_data=False,
                cmap=colours.mappable.cmap,
                vmin=norm.vmin,
                vmax=norm.vmax,
                colorbar=False,
                axes=ax,
                figure=figure,
            )
            figure.text(
                place[0] + 0.145,
                place[1] + 0.46,
                f"{side}, {view}",
                ha="center",
                fontsize=8,
                color=style.MUTED,
            )
    bar = figure.colorbar(
        colours.mappable, cax=figure.add_axes((0.91, 0.25, 0.015, 0.5)), extend=colours.extend
    )
    bar.set_label(colours.label)
    return figure
