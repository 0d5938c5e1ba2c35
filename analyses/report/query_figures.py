"""Pictures of queries: how alike they are, and how far from the centre they attend."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.interpretation.eccentricity import default_edges_deg
from analyses.interpretation.queries import query_order
from analyses.report import style
from analyses.report.attention_reading import (
    MAX_LINES,
    eccentricity_unit,
    query_labels,
    spread_evenly,
    token_grid,
)
from analyses.report.reading import require
from analyses.report.style import styled


@styled
def query_similarity_matrix(attention: xr.Dataset) -> Figure:
    """Draw how alike queries are, similar ones side by side.

    Parameters
    ----------
    attention : xarray.Dataset
        Needs ``query_similarity``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the variable is missing.
    """
    require(attention, "query_similarity")
    similarity = np.asarray(attention["query_similarity"].values, dtype=float)
    order = query_order(similarity)
    names = [style.shorten(query_labels(attention)[i], 22) for i in order]
    # Few enough to have their numbers written out need room for them.
    side_in = float(np.clip((0.32 if len(names) <= 12 else 0.17) * len(names), 2.2, 5.2))
    figure = style.new_figure(side_in + 0.9)
    figure.set_layout_engine("compressed")
    ax = figure.subplots()
    image = ax.imshow(
        similarity[np.ix_(order, order)], cmap=style.DIVERGING, vmin=-1, vmax=1, interpolation="nearest"
    )
    size = float(np.clip(72 * side_in / len(names) * 0.72, 3.5, 8))
    if len(names) <= 90:
        ax.set_xticks(
            range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=size
        )
        ax.set_yticks(range(len(names)), names, fontsize=size)
    else:
        ax.set_xticks([])
        ax.set_yticks([])
    ax.tick_params(length=0)
    if len(names) <= 12:
        for (row, column), value in np.ndenumerate(similarity[np.ix_(order, order)]):
            colour = style.text_colour_on(image.cmap(image.norm(value)))
            ax.text(
                column,
                row,
                style.number(value),
                ha="center",
                va="center",
                fontsize=min(6.5, size),
                color=colour,
            )
    of = str(attention.attrs.get("query_similarity_of", "queries"))
    figure.colorbar(image, ax=ax, label=f"cosine of {of}", shrink=0.7, aspect=20)
    return figure


@styled
def attention_eccentricity(attention: xr.Dataset) -> Figure:
    """Draw mean attention against the distance from the centre of the image.

    Parameters
    ----------
    attention : xarray.Dataset
        Needs ``mean_attention``, ``row`` and ``column``; the attribute ``image_size_deg`` gives degrees.

    Returns
    -------
    matplotlib.figure.Figure
        Left, attention in rings as a multiple of even attention; right, the mean attended eccentricity by query.

    Raises
    ------
    ValueError
        If variables are missing.
    """
    require(attention, "mean_attention")
    tokens, unit = token_grid(attention), eccentricity_unit(attention)
    maps = np.asarray(attention["mean_attention"].transpose("query", "token").values, dtype=float)
    edges = default_edges_deg(tokens)
    shares = tokens.ring_shares(edges)
    ratio = maps @ shares.T / shares.mean(axis=1)
    attended = maps @ tokens.eccentricity_deg
    shown = spread_evenly(len(maps), MAX_LINES)
    order = np.array(shown)[np.argsort(attended[shown])]
    figure = style.new_figure(max(3.0, 0.9 + 0.165 * len(order)))
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    low, high = float(attended.min()), float(attended.max())
    norm = Normalize(low, high if high > low else low + 1)
    palette = mpl.colormaps[style.SEQUENTIAL]
    colours = {query: palette(0.92 * norm(attended[query])) for query in order}
    middle = (edges[1:] + edges[:-1]) / 2
    for query in order:
        left.plot(
            middle, ratio[query], color=colours[query], linewidth=1.4, marker="o", markersize=2.5, alpha=0.9
        )
    left.axhline(1, color=style.INK, linewidth=0.9, linestyle=(0, (4, 2)))
    left.set_ylim(0, None)
    left.set_xlim(0, None)
    left.set_xlabel(f"distance from the centre ({unit})")
    left.set_ylabel("attention / even attention")
    names = query_labels(attention)
    places = np.arange(len(order))
    right.axvline(tokens.uniform_eccentricity_deg, color=style.INK, linewidth=0.9, linestyle=(0, (4, 2)))
    right.scatter(attended[order], places, color=[colours[query] for query in order], s=22, zorder=3)
    right.set_yticks(places, [style.shorten(names[query], 20) for query in order], fontsize=7.5)
    right.tick_params(axis="y", length=0)
    right.set_ylim(-0.7, len(order) - 0.3)
    right.set_xlabel(f"mean attended\neccentricity ({unit})")
    line = Line2D(
        [], [], color=style.INK, linewidth=0.9, linestyle=(0, (4, 2)), label="attention spread evenly"
    )
    figure.legend(handles=[line], loc="outside upper center")
    return figure
