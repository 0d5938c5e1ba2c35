"""Maps of scores where the voxels lie: slices, glass brain and cortical surfaces."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyses.geometry import Geometry, SurfaceGeometry, VolumeGeometry
from analyses.report import style
from analyses.report.map_colours import MAPPED, MapColours, map_colours
from analyses.report.reading import headline_layer, kept, layer_names, require, significant
from analyses.report.slice_figures import draw_slices
from analyses.report.style import styled

#: Vertices of fsaverage5 in one hemisphere, and of the finer surfaces that begin with the same vertices.
FSAVERAGE5_VERTICES = 10_242
_NESTED_IN = (FSAVERAGE5_VERTICES, 40_962, 163_842)


def can_be_drawn(geometry: SurfaceGeometry) -> bool:
    """Tell whether a surface is fsaverage5, or a finer one that begins with its vertices."""
    sizes = (geometry.n_vertices_left, geometry.n_vertices_right)
    return geometry.space.startswith("fsaverage") and all(size in _NESTED_IN for size in sizes)


@styled
def brain_map(
    results: xr.Dataset,
    geometry: Geometry,
    variable: str = "r",
    layer: str | None = None,
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

    Returns
    -------
    matplotlib.figure.Figure
        Volumes in MNI space as nilearn's glass brain, whose outline fits no other space, with the voxels of
        q <= 0.05 alone where there was a null; other volumes as slices, with left on the left where the affine tells;
        surfaces as inflated hemispheres.

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
            f"geometry has {len(geometry)} voxels, but results have {results.sizes['neuroid']}; take the "
            "geometry of the same run"
        )
    layer = layer or headline_layer(results)
    if layer not in layer_names(results):
        raise KeyError(f"layer {layer!r} is not in results; they hold {', '.join(layer_names(results))}.")
    values = results[variable]
    if "layer" in values.dims:
        values = values.transpose("layer", "neuroid")[layer_names(results).index(layer)]
    drawn = np.where(kept(results), np.asarray(values.values, dtype=float), np.nan)
    colours = map_colours(variable, drawn)
    passed = np.zeros(len(geometry), dtype=bool)
    q = significant(results, layer)
    if q is not None:
        passed[kept(results)] = q
    if isinstance(geometry, SurfaceGeometry):
        if not can_be_drawn(geometry):
            raise ValueError(
                f"geometry is {geometry.space!r} with {geometry.n_vertices_left} and "
                f"{geometry.n_vertices_right} vertices; fsaverage surfaces of "
                f"{', '.join(map(str, _NESTED_IN))} vertices can be drawn. Open the GIFTI files in the "
                "run's folder maps/ in a surface viewer instead."
            )
        return _surface(drawn, geometry, colours)
    if geometry.is_mni:
        # A projection keeps the extremes along each line, and those of many voxels without signal look like signal.
        scored = q is not None and "layer" in results[variable].dims
        return _glass_brain(np.where(passed, drawn, np.nan) if scored else drawn, geometry, colours)
    return draw_slices(drawn, passed, geometry, colours)


def _glass_brain(values: np.ndarray, geometry: VolumeGeometry, colours: MapColours) -> Figure:
    from nilearn.plotting import plot_glass_brain

    figure = Figure(figsize=(style.WIDTH_IN, 2.2))
    norm = colours.mappable.norm
    # Within the colours before the projection: a ratio far below zero must not hide a good one behind it.
    visible = np.clip(np.nan_to_num(values), norm.vmin, norm.vmax)
    plot_glass_brain(
        geometry.to_image(visible, fill=0.0),
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


def _face_value(corners: np.ndarray) -> float:
    """Return the mean of a triangle's known corners: one vertex without a value makes no hole, two do."""
    known = corners[np.isfinite(corners)]
    return float(known.mean()) if known.size > 1 else float("nan")


def _surface(values: np.ndarray, geometry: SurfaceGeometry, colours: MapColours) -> Figure:
    from nilearn.datasets import load_fsaverage, load_fsaverage_data
    from nilearn.plotting import plot_surf

    hemispheres = dict(zip(("left", "right"), geometry.to_hemispheres(values), strict=True))
    mesh = load_fsaverage("fsaverage5")["inflated"]
    sulci = load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts
    views = ("lateral", "medial", "ventral")
    figure = Figure(figsize=(style.WIDTH_IN, 4.0))
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
                avg_method=_face_value,
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
