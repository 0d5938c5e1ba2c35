"""Pictures of scores: against the ceiling and against the null.

Each function takes the `results.nc` of a run as an xarray.Dataset and returns a matplotlib Figure that
belongs to no window, so that a report, a notebook and a paper draw the same picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator

from analyses.report import style
from analyses.report.reading import (
    ALPHA,
    at_layer,
    evaluation_unit,
    headline_layer,
    kept,
    layer_names,
    low_ceiling,
    mean_finite,
    neuroids,
    null_means,
    p_of_mean,
    require,
    significant,
    whole_interval,
)
from analyses.report.style import note, styled

#: More layers than this are left to the table (the last ones, with `selected`, are drawn).
MAX_LAYER_ROWS = 40
#: Other layers drawn beside the headline layer.
MAX_OTHERS = 4


@styled
def score_vs_ceiling(results: xr.Dataset) -> Figure:
    """Draw the score of each voxel against its noise ceiling.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``r_evaluated (layer, neuroid)`` and ``noise_ceiling_r (neuroid)``.

    Returns
    -------
    matplotlib.figure.Figure
        The headline layer, and up to four others beside it. Voxels with q <= 0.05 are in colour.

    Raises
    ------
    ValueError
        If variables are missing, or no voxel has a known ceiling.
    """
    require(results, "r_evaluated", "noise_ceiling_r")
    ceiling = np.asarray(results["noise_ceiling_r"].values, dtype=float)[kept(results)]
    if not np.isfinite(ceiling).any():
        raise ValueError(
            "noise_ceiling_r is unknown (NaN) for every voxel: there is no ceiling to draw against."
        )
    first = headline_layer(results)
    others = [name for name in layer_names(results) if name != first]
    others = others if len(others) <= MAX_OTHERS else []
    scores = {name: at_layer(results, "r_evaluated", name) for name in (first, *others)}
    known = np.concatenate([s[np.isfinite(s) & np.isfinite(ceiling)] for s in scores.values()])
    low, high = (
        min(-0.1, float(known.min(initial=0.0)) - 0.03),
        max(1.0, float(known.max(initial=0.0)) + 0.03),
    )
    figure = style.new_figure(4.0)
    small = len(others) > 1
    grid = figure.add_gridspec(2 if small else 1, (2 + -(-len(others) // 2)) if small else 1 + len(others))
    panels = [figure.add_subplot(grid[:, :2] if small else grid[0])]
    panels += [figure.add_subplot(grid[i % 2, 2 + i // 2] if small else grid[1]) for i in range(len(others))]
    for ax, (name, score) in zip(panels, scores.items(), strict=True):
        is_small = small and ax is not panels[0]
        _ceiling_panel(ax, results, name, score, ceiling, small=is_small)
        ax.set_xlim(min(0.0, float(np.nanmin(ceiling))) - 0.02, max(1.0, float(np.nanmax(ceiling)) + 0.02))
        ax.set_ylim(low, high)
        ax.set_title(style.two_lines(name, 19 if is_small else 40), fontsize=7.5 if is_small else None)
    unit = evaluation_unit(results)
    panels[0].set_xlabel("noise ceiling (r)")
    panels[0].set_ylabel(f"held-out r{f' ({unit})' if unit else ''}")
    figure.legend(
        handles=_ceiling_legend(results, first), loc="outside lower center", ncols=4, handlelength=1.5
    )
    return figure


def _ceiling_panel(
    ax: Axes, results: xr.Dataset, layer: str, score: np.ndarray, ceiling: np.ndarray, small: bool
) -> None:
    shown = np.isfinite(score) & np.isfinite(ceiling)
    passed = significant(results, layer)
    # Points fade as they crowd, so that density stays visible from 50 to 50,000 voxels.
    alpha = float(np.clip(25.0 / np.sqrt(max(shown.sum(), 1)), 0.12, 0.75))
    look: dict[str, Any] = {"s": 4.0 if small else 9.0, "linewidths": 0.0, "alpha": alpha, "rasterized": True}
    ax.plot([-1, 2], [-1, 2], color=style.INK, linewidth=0.9, zorder=1)
    style.zero_line(ax)
    ax.axvspan(-1.0, low_ceiling(results), color=style.SHADE, alpha=0.7, linewidth=0, zorder=0)
    text = [f"n = {shown.sum():,} {neuroids(results)[1]}"]
    if passed is None:
        ax.scatter(ceiling[shown], score[shown], color=style.SCORE, **look)
    else:
        ax.scatter(ceiling[shown & ~passed], score[shown & ~passed], color=style.NOT_SIGNIFICANT, **look)
        ax.scatter(ceiling[shown & passed], score[shown & passed], color=style.SCORE, **look)
        if shown.any():
            text.append(f"{passed[shown].mean():.0%} with q ≤ {ALPHA}")
    if "r_normalized" in results:
        normalized = mean_finite(at_layer(results, "r_normalized", layer))
        if np.isfinite(normalized):
            text.append(f"{'' if small else 'mean '}r / ceiling {style.number(normalized)}")
    note(ax, "\n".join(text[1:] if small else text), small)
    ax.xaxis.set_major_locator(MultipleLocator(0.5 if small else 0.2))
    ax.yaxis.set_major_locator(MultipleLocator(0.5 if small else 0.2))
    ax.set_box_aspect(1)


def _ceiling_legend(results: xr.Dataset, layer: str) -> list[Artist]:
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4}
    if significant(results, layer) is None:
        handles: list[Artist] = [Line2D([], [], color=style.SCORE, label=neuroids(results)[0], **dot)]
    else:
        handles = [
            Line2D([], [], color=style.SCORE, label=f"q ≤ {ALPHA} (FDR)", **dot),
            Line2D([], [], color=style.NOT_SIGNIFICANT, label="not significant", **dot),
        ]
    handles.append(Line2D([], [], color=style.INK, linewidth=0.9, label="r = ceiling"))
    if np.isfinite(low_ceiling(results)):
        handles.append(Patch(color=style.SHADE, label="ceiling too low for a ratio"))
    return handles


@styled
def score_distribution(results: xr.Dataset) -> Figure:
    """Draw held-out r over voxels, and its mean against the permuted null, for each layer.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``r (layer, neuroid)``; ``null_r_95`` and ``null_mean_r`` are drawn where they are.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the distribution over voxels; right, the mean over voxels with its null.

    Raises
    ------
    ValueError
        If ``r`` is missing.
    """
    require(results, "r")
    names = layer_names(results)[-MAX_LAYER_ROWS:]
    one, many = neuroids(results)
    ticks, space = style.layer_ticks(names)
    figure = style.new_figure(1.3 + 0.42 * len(names))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.35, 1.0])
    rows = np.arange(len(names))[::-1]
    for row, name in zip(rows, names, strict=True):
        r = at_layer(results, "r", name)
        _half_violin(left, r[np.isfinite(r)], row, style.SCORE)
        if "null_r_95" in results:
            limit = mean_finite(at_layer(results, "null_r_95", name))
            left.plot(
                [limit, limit],
                [row - 0.28, row + 0.45],
                color=style.INK,
                linewidth=1.1,
                linestyle=(0, (2, 1.2)),
            )
        _mean_against_null(right, results, name, row)
    for ax in (left, right):
        style.zero_line(ax, "x")
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(names) - 0.35)
    left.set_yticks(rows, ticks)
    if space:
        left.set_ylabel(space)
    left.set_xlabel(f"held-out r of each {one}")
    right.set_xlabel(f"mean held-out r over {many}")
    left.set_title(f"{kept(results).sum():,} {many}")
    draws = null_means(results, names[0]).size
    right.set_title(f"mean against {draws:,} permutations" if draws else "mean (no null was computed)")
    figure.legend(handles=_distribution_legend(results, draws > 0), loc="outside lower center", ncols=2)
    return figure


def _distribution_legend(results: xr.Dataset, has_null: bool) -> list[Line2D]:
    one, many = neuroids(results)
    spread = f"{many} (bar: middle half, dot: median)"
    handles = [Line2D([], [], color=style.SCORE, linewidth=5, alpha=0.45, label=spread)]
    if "null_r_95" in results:
        label = f"95th percentile of each {one}'s null (mean)"
        handles.append(Line2D([], [], color=style.INK, linestyle=(0, (2, 1.2)), label=label))
    interval = (
        ", with 95% interval" if np.isfinite(whole_interval(results, headline_layer(results))[0]) else ""
    )
    handles.append(
        Line2D([], [], marker="o", color=style.SCORE, markersize=5, label=f"observed mean{interval}")
    )
    if has_null:
        handles.append(
            Line2D([], [], color=style.NULL, linewidth=5, alpha=0.6, label="mean under permutation")
        )
    return handles


def _half_violin(ax: Axes, values: np.ndarray, row: float, colour: str, height: float = 0.42) -> None:
    if not values.size:
        return
    counts, edges = np.histogram(values, bins=min(60, max(8, int(np.sqrt(values.size) * 1.5))))
    # A histogram smoothed by a short kernel: the shape of the data, without tails that it does not have.
    smooth = np.convolve(np.pad(counts.astype(float), 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    centres = (edges[1:] + edges[:-1]) / 2
    ax.fill_between(centres, row, row + height * smooth / smooth.max(), color=colour, alpha=0.4, linewidth=0)
    quarter, middle, three_quarters = np.percentile(values, [25, 50, 75])
    ax.plot([quarter, three_quarters], [row - 0.1] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
    ax.plot(
        middle, row - 0.1, "o", color=colour, markersize=4.5, markeredgecolor="white", markeredgewidth=0.6
    )


def _mean_against_null(ax: Axes, results: xr.Dataset, layer: str, row: float) -> None:
    draws = null_means(results, layer)
    observed = mean_finite(at_layer(results, "r", layer))
    if draws.size:
        _half_violin_null(ax, draws, row)
    lower, upper = whole_interval(results, layer)
    if np.isfinite(lower):
        ax.plot([lower, upper], [row, row], color=style.SCORE, linewidth=1.6)
    ax.plot(observed, row, "o", color=style.SCORE, markersize=5)
    text = f"{style.number(observed, 3)}\n{style.p_text(p_of_mean(results, layer))}".rstrip()
    ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), ha="left", va="center", fontsize=7.5)


def _half_violin_null(ax: Axes, draws: np.ndarray, row: float) -> None:
    counts, edges = np.histogram(draws, bins=max(5, int(np.sqrt(draws.size))))
    ax.bar(
        edges[:-1],
        0.42 * counts / counts.max(),
        np.diff(edges),
        bottom=row,
        align="edge",
        color=style.NULL,
        alpha=0.6,
    )
