"""Pictures of attention over images, and of its mean.

Each function takes the `attention.nc` of a run as an xarray.Dataset. Attention is drawn as a multiple of what a token
would have if attention were spread evenly: 1 is no preference.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from analyses.report import style
from analyses.report.attention_reading import (
    MAX_HEADS,
    MAX_IMAGES,
    MAX_MEAN_MAPS,
    MAX_ROWS,
    query_labels,
    query_of_heads,
    relative,
    spread_evenly,
    token_grid,
)
from analyses.report.reading import require
from analyses.report.style import styled

#: Half a figure's colour scale of mean maps: from an eighth to eight times even.
_OCTAVES = 3.0
#: Sequential, dark where there is none: laid over a grey picture, it reads without red-green vision.
OVERLAY = "inferno"
#: A scale reaches to this at least, so that next to even attention does not look strong.
_LEAST_SCALE = 4.0
_BARS_DEG = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])


@styled
def attention_maps(
    attention: xr.Dataset,
    queries: Sequence[int] | None = None,
    stimuli: Sequence[int] | None = None,
    head: int | None = None,
) -> Figure:
    """Draw attention over images: a row a query, a column an image.

    Parameters
    ----------
    attention : xarray.Dataset
        Needs ``attention`` and the coordinates ``row`` and ``column``; ``image`` is drawn where it is.
    queries, stimuli : sequence of int, optional
        Numbers of the rows and columns; up to 12 and 8, evenly spread, when None.
    head : int, optional
        One head; the mean over heads when None.

    Returns
    -------
    matplotlib.figure.Figure
        Each row has a colour scale of its own, up to the strongest attention in it.

    Raises
    ------
    ValueError
        If variables are missing.
    """
    maps = np.asarray(attention["attention"].transpose("query", "stimulus", "head", "token").values)
    maps = maps.mean(axis=2) if head is None else maps[:, :, head]
    rows = list(queries) if queries is not None else spread_evenly(len(maps), MAX_ROWS)
    names, bits = query_labels(attention), attention["entropy_bits"].values
    labels = [
        f"{style.shorten(names[row], 18)}" + (f"\n{bits[row]:.1f} bits" if head is None else "")
        for row in rows
    ]
    return _overlays(attention, maps[rows], labels, stimuli)


@styled
def attention_heads(
    attention: xr.Dataset, query: int | None = None, stimuli: Sequence[int] | None = None
) -> Figure:
    """Draw the attention of each head of one query over images.

    Parameters
    ----------
    attention : xarray.Dataset
        As in `attention_maps`.
    query : int, optional
        Its number; that of `query_of_heads` when None.
    stimuli : sequence of int, optional
        Numbers of the columns.

    Returns
    -------
    matplotlib.figure.Figure
        A row a head, up to 16.

    Raises
    ------
    ValueError
        If variables are missing.
    """
    chosen = query_of_heads(attention) if query is None else query
    maps = attention["attention"].transpose("query", "head", "stimulus", "token").values[chosen]
    heads = spread_evenly(len(maps), MAX_HEADS)
    figure = _overlays(attention, maps[heads], [f"head {head + 1}" for head in heads], stimuli)
    figure.suptitle(style.shorten(query_labels(attention)[chosen], 60), fontsize=9.5, fontweight="bold")
    return figure


def _overlays(
    attention: xr.Dataset, maps: np.ndarray, labels: list[str], stimuli: Sequence[int] | None
) -> Figure:
    """Draw maps (n_rows, n_stimuli, n_tokens) over their images."""
    grid = token_grid(attention).grid
    columns = list(stimuli) if stimuli is not None else spread_evenly(maps.shape[1], MAX_IMAGES)
    pictures = (
        attention["image"].transpose("stimulus", "y", "x", "rgb").values if "image" in attention else None
    )
    aspect = grid[0] / grid[1] if pictures is None else pictures.shape[1] / pictures.shape[2]
    side_in = min(1.3, (style.WIDTH_IN - 1.55) / len(columns) - 0.05)
    n_rows = len(maps) + (pictures is not None)
    figure = style.new_figure(0.5 + n_rows * (side_in * aspect + 0.09))
    figure.set_layout_engine("compressed")  # panels of fixed aspect
    axes = figure.subplots(
        n_rows, len(columns) + 1, squeeze=False, width_ratios=[*[1.0] * len(columns), 0.09]
    )
    ids = attention["stimulus_id"].values.astype(str)
    for place, column in enumerate(columns):
        axes[0, place].set_title(
            style.shorten(ids[column], max(5, int(side_in * 13))),
            fontsize=6.5,
            fontweight="normal",
            loc="center",
        )
        if pictures is not None:
            axes[0, place].imshow(pictures[column])
            _bare(axes[0, place])
    if pictures is not None:
        axes[0, -1].set_axis_off()
        axes[0, 0].set_ylabel("image", rotation=0, ha="right", va="center", fontsize=8)
        _degree_bar(axes[0, 0], attention, pictures.shape[2])
    for row, (label, of_query) in enumerate(zip(labels, maps, strict=True), start=pictures is not None):
        values = relative(of_query[columns])
        most = max(float(values.max()), _LEAST_SCALE)
        norm = Normalize(0, most)
        for place, (column, weights) in enumerate(zip(columns, values, strict=True)):
            picture = None if pictures is None else pictures[column]
            _overlay(axes[row, place], weights.reshape(grid), norm, picture, aspect)
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        bar = figure.colorbar(ScalarMappable(norm, OVERLAY), cax=axes[row, -1])
        bar.set_ticks([0, most], labels=["0", f"{most:.3g}×"])
        bar.ax.tick_params(labelsize=7, length=2)
        low, high = bar.ax.get_yticklabels()
        low.set_verticalalignment("bottom")  # within the panel, so that rows can stand close
        high.set_verticalalignment("top")
        bar.outline.set_visible(False)
    return figure


def _overlay(
    ax: Axes, weights: np.ndarray, norm: Normalize, picture: np.ndarray | None, aspect: float
) -> None:
    extent = (0.0, 1.0, aspect, 0.0)
    if picture is not None:
        grey = picture @ np.array([0.2126, 0.7152, 0.0722])
        ax.imshow(grey, cmap="gray", vmin=-60, vmax=315, extent=extent, interpolation="bilinear")
    shown = mpl.colormaps[OVERLAY](norm(weights))
    if picture is not None:
        # What is hardly attended stays visible as a grey picture; what is attended glows.
        shown[..., 3] = 0.25 + 0.55 * np.sqrt(np.clip(norm(weights), 0, 1))
    ax.imshow(shown, extent=extent, interpolation="nearest")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _degree_bar(ax: Axes, attention: xr.Dataset, width_px: float) -> None:
    """Draw a bar of about a quarter of the picture's width, where its size is known."""
    size_deg = float(attention.attrs.get("image_size_deg", np.nan))
    if not np.isfinite(size_deg):
        return
    length_deg = float(_BARS_DEG[np.argmin(np.abs(_BARS_DEG - size_deg / 4))])
    bottom = ax.get_ylim()[0]
    start, end = 0.06 * width_px, 0.06 * width_px + length_deg / size_deg * width_px
    for colour, width in (("white", 3.5), ("black", 1.5)):
        ax.plot([start, end], [bottom * 0.93] * 2, color=colour, linewidth=width, solid_capstyle="butt")
    ax.text(
        start,
        bottom * 0.88,
        f"{length_deg:g}°",
        color="black",
        fontsize=6,
        va="bottom",
        ha="left",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
    )


@styled
def mean_attention_maps(attention: xr.Dataset, queries: Sequence[int] | None = None) -> Figure:
    """Draw the mean map of each query over all images.

    Parameters
    ----------
    attention : xarray.Dataset
        Needs ``mean_attention``, ``entropy_bits``, ``row`` and ``column``.
    queries : sequence of int, optional
        Up to 24, evenly spread, when None.

    Returns
    -------
    matplotlib.figure.Figure
        One scale for all: white is even attention, red more, blue less, in octaves.

    Raises
    ------
    ValueError
        If variables are missing.
    """
    require(attention, "mean_attention", "entropy_bits")
    tokens = token_grid(attention)
    maps = relative(attention["mean_attention"].transpose("query", "token").values)
    shown = list(queries) if queries is not None else spread_evenly(len(maps), MAX_MEAN_MAPS)
    n_columns = min(6, len(shown)) if len(shown) > 4 else len(shown)
    n_rows = -(-len(shown) // n_columns)
    side_in = min(1.7, (style.WIDTH_IN - 1.1) / n_columns - 0.2)
    aspect = tokens.grid[0] / tokens.grid[1]
    figure = style.new_figure(max(1.7, 0.1 + n_rows * (side_in * aspect + 0.48)))
    figure.set_layout_engine("compressed")  # panels of fixed aspect
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    norm = TwoSlopeNorm(0, -_OCTAVES, _OCTAVES)
    names, bits = query_labels(attention), attention["entropy_bits"].values
    unknown = np.full(len(maps), np.nan)
    share = attention["content_share"].values if "content_share" in attention else unknown
    for ax, query in zip(axes.flat, shown, strict=False):
        octaves = np.log2(np.clip(maps[query], 2.0**-_OCTAVES, 2.0**_OCTAVES)).reshape(tokens.grid)
        ax.imshow(octaves, cmap=style.DIVERGING, norm=norm, interpolation="nearest")
        centre = ((tokens.grid[1] - 1) / 2, (tokens.grid[0] - 1) / 2)
        ax.plot(*centre, "+", color=style.INK, markersize=6, markeredgewidth=0.8)
        content = f", content {share[query]:.0%}" if np.isfinite(share[query]) else ""
        text = f"{bits[query]:.1f} bits{content}"
        ax.set_title(style.shorten(names[query], int(16 * side_in)), fontsize=8, pad=13)
        ax.text(0, 1.03, text, transform=ax.transAxes, fontsize=min(7.0, 5.4 * side_in + 1), va="bottom")
        _bare(ax)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(norm, style.DIVERGING), ax=axes, shrink=min(1.0, 1.6 / n_rows + 0.2), aspect=18
    )
    bar.set_ticks([-3, -2, -1, 0, 1, 2, 3], labels=["≤ 1/8", "1/4", "1/2", "1", "2", "4", "≥ 8"])
    bar.set_label("attention / even attention")
    bar.outline.set_visible(False)
    return figure
