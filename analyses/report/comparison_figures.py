"""Pictures of runs side by side: differences by region, voxel against voxel, scores beside the ceiling."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.experiments.compare_runs import RunComparison
from analyses.report import style
from analyses.report.reading import ALPHA, mean_finite, neuroids
from analyses.report.roi_figures import layer_by_roi
from analyses.report.style import styled

#: More pairs than this are left to the table.
MAX_PAIRS = 12
#: More regions than this are left to the table.
MAX_REGIONS = 40
#: From so many voxels on, hexagons count them.
MANY_VOXELS = 3000
_COLUMNS = 3


@styled
def difference_forest(comparison: RunComparison) -> Figure:
    """Draw the difference of each pair of runs in each region, with its interval.

    Parameters
    ----------
    comparison : RunComparison

    Returns
    -------
    matplotlib.figure.Figure
        A panel a pair, a row a region; regions with q <= 0.05 in colour. The first 12 pairs and 40 regions.
    """
    pairs = comparison.pairs[:MAX_PAIRS]
    regions = [str(roi) for roi in comparison.scores["roi"].values][:MAX_REGIONS]
    columns = min(_COLUMNS, len(pairs))
    n_rows = -(-len(pairs) // columns)
    figure = style.new_figure(1.1 + n_rows * (0.55 + 0.21 * len(regions)))
    axes = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
    places = np.arange(len(regions))[::-1]
    for ax, (a, b) in zip(axes.flat, pairs, strict=False):
        rows = comparison.table.query("run_a == @a and run_b == @b").set_index("roi").loc[regions]
        colours = np.where(rows["q_value"] <= ALPHA, style.SCORE, style.NOT_SIGNIFICANT)
        style.zero_line(ax, "x")
        ax.hlines(places, rows["lower"], rows["upper"], color=colours, linewidth=1.8)
        ax.scatter(rows["difference"], places, color=colours, s=22, zorder=3)
        ax.set_title(_pair_title(a, b, len(pairs)), fontsize=8.5 if columns < _COLUMNS else 7.5)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(regions) - 0.4)
    style.close_grid(axes, len(pairs))
    for ax in axes[:, 0]:
        ax.set_yticks(places, [style.shorten(region, 24) for region in regions])
    many = neuroids(comparison.scores)[1]
    figure.supxlabel(f"difference of mean held-out r over {many} (first less second run)", fontsize=8.5)
    dot: dict[str, Any] = {"marker": "o", "linewidth": 1.8, "markersize": 4.5}
    percent = f"{comparison.settings['confidence']:.0%}"
    handles = [
        Line2D([], [], color=style.SCORE, label=f"q ≤ {ALPHA} (FDR over regions and pairs)", **dot),
        Line2D([], [], color=style.NOT_SIGNIFICANT, label="not significant", **dot),
        Line2D([], [], color=style.MUTED, linewidth=1.8, label=f"{percent} interval"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


@styled
def score_scatter(comparison: RunComparison) -> Figure:
    """Draw the score of each voxel in one run against its score in the other.

    Parameters
    ----------
    comparison : RunComparison

    Returns
    -------
    matplotlib.figure.Figure
        A panel a pair (the first 12); the colour tells how many voxels lie there.
    """
    pairs = comparison.pairs[:MAX_PAIRS]
    r = dict(zip(comparison.runs, comparison.scores["r"].values, strict=True))
    columns = min(_COLUMNS, len(pairs))
    n_rows = -(-len(pairs) // columns)
    width = style.WIDTH_IN if columns > 1 else 4.6
    figure = style.new_figure(n_rows * (0.55 + (width - 0.9) / columns - 0.45), width)
    axes = figure.subplots(n_rows, columns, squeeze=False, sharex=True, sharey=True)
    every = np.concatenate([scores[np.isfinite(scores)] for scores in r.values()])
    low, high = float(every.min(initial=0.0)) - 0.03, float(every.max(initial=0.1)) + 0.03
    drawn: list[Collection] = []
    for ax, (a, b) in zip(axes.flat, pairs, strict=False):
        drawn += _density(ax, r[b], r[a], (low, high))
        ax.plot([low, high], [low, high], color=style.INK, linewidth=0.9, zorder=3)
        style.zero_line(ax)
        style.zero_line(ax, "x")
        ax.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
        ax.set_xlabel(f"r of {style.shorten(b, 16)}", fontsize=7.5)
        ax.set_ylabel(f"r of {style.shorten(a, 16)}", fontsize=7.5)
        ax.tick_params(labelbottom=True, labelleft=True)
        both = np.isfinite(r[a]) & np.isfinite(r[b])
        above = float((r[a] > r[b])[both].mean()) if both.any() else np.nan
        ax.set_title(f"{above:.0%} of {both.sum():,} above the line", fontsize=7.5, fontweight="normal")
    style.close_grid(axes, len(pairs))
    if drawn:
        highest = max(float(np.max(np.asarray(one.get_array()))) for one in drawn)
        for one in drawn:  # one scale for all panels
            one.set_clim(1, max(highest, 2))
        figure.colorbar(
            drawn[0], ax=axes, label=f"{neuroids(comparison.scores)[1]} nearby", shrink=0.8, aspect=25
        )
    return figure


def scores_by_run(comparison: RunComparison) -> Figure:
    """Draw the score of every run in each region, beside the noise ceiling.

    Parameters
    ----------
    comparison : RunComparison

    Returns
    -------
    matplotlib.figure.Figure
        As `layer_by_roi`, a row a run.
    """
    return layer_by_roi(comparison.scores.drop_vars("layer").rename(run="layer"))


def difference_words(comparison: RunComparison) -> str:
    """Tell what the forest shows for who cannot see it."""
    rows = [
        f"{a} less {b}: {style.number(mean_finite(of_pair['difference'].to_numpy()), 3)} on average over regions,"
        f" q ≤ {ALPHA} in {int((of_pair['q_value'] <= ALPHA).sum())} of {len(of_pair)}"
        for (a, b), of_pair in comparison.table.groupby(["run_a", "run_b"], sort=False)
    ]
    return f"Differences of mean r by region with intervals. {'; '.join(rows[:MAX_PAIRS])}."


def _pair_title(a: str, b: str, n_pairs: int) -> str:
    width = 40 if n_pairs == 1 else 24
    return f"{style.shorten(a, width)}\nless {style.shorten(b, width - 4)}"


def _density(ax: Axes, x: np.ndarray, y: np.ndarray, limits: tuple[float, float]) -> list[Collection]:
    """Draw voxels by how many lie nearby: dots while they can be told apart, hexagons beyond."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if not x.size:
        return []
    low, high = limits
    # The brightest end of the scale fades on white.
    colours = ListedColormap(mpl.colormaps[style.SEQUENTIAL](np.linspace(0, 0.92, 256)))
    if x.size > MANY_VOXELS:
        extent = (low, high, low, high)
        return [ax.hexbin(x, y, gridsize=45, extent=extent, mincnt=1, bins="log", cmap=colours)]
    n_bins = 30
    counts, _, _ = np.histogram2d(x, y, bins=n_bins, range=[limits, limits])
    padded = np.pad(counts, 1)
    # Counts over three by three cells, so that a dot's colour does not hang on where a cell ends.
    near = np.sum([padded[i : i + n_bins, j : j + n_bins] for i in range(3) for j in range(3)], axis=0)
    cells = tuple(np.clip(((v - low) / (high - low) * n_bins).astype(int), 0, n_bins - 1) for v in (x, y))
    order = np.argsort(near[cells])
    look: dict[str, Any] = {"s": 9, "linewidths": 0, "cmap": colours, "rasterized": True, "zorder": 2}
    return [ax.scatter(x[order], y[order], c=near[cells][order], **look)]
