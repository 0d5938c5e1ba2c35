"""The picture of scores by layer and region of interest."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.report import style
from analyses.report.reading import (
    SELECTED,
    at_layer,
    evaluation_unit,
    kept,
    layer_names,
    mean_finite,
    neuroids,
    require,
    roi_names,
)
from analyses.report.style import styled

#: More regions than this are drawn as a heat map.
MAX_ROI_PANELS = 12


@styled
def layer_by_roi(results: xr.Dataset) -> Figure:
    """Draw the mean r by layer in each region, with intervals and the ceiling.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``roi_r (layer, roi)``; intervals, ceiling and ``r_evaluated`` are drawn where they are.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a region; a heat map for more than 12 regions.

    Raises
    ------
    ValueError
        If ``roi_r`` is missing.
    """
    require(results, "roi_r")
    names, regions = layer_names(results), roi_names(results)
    ticks, space = style.layer_ticks(names)
    scores = np.asarray(results["roi_r"].transpose("layer", "roi").values, dtype=float)
    if len(regions) > MAX_ROI_PANELS:
        return _roi_heat_map(scores, ticks, regions, space, f"mean held-out r over {neuroids(results)[1]}")
    columns = min(4, len(regions))
    rows = -(-len(regions) // columns)
    figure = style.new_figure(0.75 + rows * (0.6 + 0.2 * len(names)))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    places = np.arange(len(names))[::-1]
    colours = [style.VERMILLION if name == SELECTED else style.SCORE for name in names]
    sizes = _roi_sizes(results)
    evaluated = _roi_evaluated(results)
    for i, (ax, region) in enumerate(zip(axes.flat, regions, strict=False)):
        style.zero_line(ax, "x")
        if "roi_r_ceiling" in results:
            ceiling = float(results["roi_r_ceiling"].values[i])
            if np.isfinite(ceiling):
                ax.axvline(ceiling, color=style.INK, linewidth=1.0, linestyle=(0, (4, 2)))
        if "roi_r_lower" in results:
            lower = results["roi_r_lower"].transpose("layer", "roi").values[:, i]
            upper = results["roi_r_upper"].transpose("layer", "roi").values[:, i]
            ax.hlines(places, lower, upper, color=colours, linewidth=1.6)
        ax.scatter(scores[:, i], places, color=colours, s=20, zorder=3)
        if evaluated is not None:
            ax.scatter(
                evaluated[:, i],
                places,
                s=20,
                zorder=3,
                facecolors="white",
                edgecolors=colours,
                marker="D",
                linewidths=0.9,
            )
        size = "" if sizes is None else f"(n = {sizes[i]:,})"
        if columns > 2 and len(region) > 10:  # beside others a long name has no room for the number behind it
            ax.set_title(f"{style.shorten(region, 16)}\n{size}".rstrip(), fontsize=8.0)
        else:
            ax.set_title(f"{style.shorten(region, 22)}  {size}".rstrip())
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(names) - 0.4)
    style.close_grid(axes, len(regions))
    for ax in axes[:, 0]:
        ax.set_yticks(places, ticks)
    figure.supxlabel(f"mean held-out r over {neuroids(results)[1]}", fontsize=8.5)
    if space:
        figure.supylabel(space, fontsize=8.5)
    handles = [
        Line2D(
            [], [], marker="o", color=style.SCORE, linewidth=1.6, markersize=4.5, label="mean r, 95% interval"
        )
    ]
    if evaluated is not None:
        unit = evaluation_unit(results) or "the unit of the ceiling"
        handles.append(
            Line2D(
                [],
                [],
                marker="D",
                color=style.SCORE,
                markerfacecolor="white",
                linestyle="none",
                markersize=4.5,
                label=f"mean r on {unit}",
            )
        )
    if "roi_r_ceiling" in results and np.isfinite(results["roi_r_ceiling"].values).any():
        label = f"mean noise ceiling{f' on {evaluation_unit(results)}' if evaluated is not None else ''}"
        handles.append(Line2D([], [], color=style.INK, linestyle=(0, (4, 2)), label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _roi_sizes(results: xr.Dataset) -> np.ndarray | None:
    if "roi_mask" not in results:
        return None
    return np.asarray(
        results["roi_mask"].transpose("roi", "neuroid").values.astype(bool)[:, kept(results)].sum(axis=1)
    )


def _roi_evaluated(results: xr.Dataset) -> np.ndarray | None:
    """Return mean `r_evaluated` by layer and region, or None where it is the same as `r`."""
    if "r_evaluated" not in results or "roi_mask" not in results:
        return None
    masks = results["roi_mask"].transpose("roi", "neuroid").values.astype(bool)[:, kept(results)]
    names = layer_names(results)
    scores = np.array([at_layer(results, "r_evaluated", name) for name in names])
    if not np.isfinite(scores).any() or np.allclose(
        scores, [at_layer(results, "r", name) for name in names], equal_nan=True
    ):
        return None
    return np.array([[mean_finite(score[mask]) for mask in masks] for score in scores])


def _roi_heat_map(scores: np.ndarray, ticks: list[str], regions: list[str], space: str, label: str) -> Figure:
    figure = style.new_figure(1.3 + 0.17 * len(regions))
    ax = figure.subplots()
    # The colours run from zero, so that weak regions look weak however strong the best one is.
    image = ax.imshow(
        scores.T,
        aspect="auto",
        cmap=style.SEQUENTIAL,
        vmin=min(0.0, float(np.nanmin(scores))),
        interpolation="nearest",
    )
    ax.set_xticks(range(len(ticks)), ticks, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(regions)), [style.shorten(region, 26) for region in regions])
    ax.tick_params(length=0)
    if len(ticks) <= 10:
        for (row, column), value in np.ndenumerate(scores.T):
            colour = style.text_colour_on(image.cmap(image.norm(value)))
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    ax.set_xlabel(space or "layer")
    ax.set_ylabel("region")
    figure.colorbar(image, ax=ax, label=label, shrink=0.6, aspect=25)
    return figure
