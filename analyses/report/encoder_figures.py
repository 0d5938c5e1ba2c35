"""Pictures that set encoding models side by side: over data sets, over sizes of the training set, under lesions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy import stats

from analyses.interpretation.lesion_effect import LesionEffect
from analyses.report import style
from analyses.report.style import styled

_DASHES: Any = (0, (4, 2))


def _require_columns(table: pd.DataFrame, *names: str) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ValueError(
            f"table lacks the columns {', '.join(missing)} (it has {', '.join(map(str, table.columns))}); one row a"
            " score is needed"
        )
    if not len(table):
        raise ValueError("table has no rows; there is nothing to draw")


def _has(table: pd.DataFrame, *names: str) -> bool:
    return all(name in table.columns and bool(table[name].notna().any()) for name in names)


def _in_order(values: pd.Series) -> list[str]:
    return [str(value) for value in dict.fromkeys(values)]


@styled
def encoder_comparison(table: pd.DataFrame, score_label: str = "mean held-out r") -> Figure:
    """Draw the scores of encoders: a panel a data set, a row an encoder.

    Parameters
    ----------
    table : pandas.DataFrame
        One row an encoder and data set: ``encoder``, ``dataset``, ``r``; where known ``lower`` and ``upper`` (interval
        of r), ``ceiling`` (noise ceiling of the data set on the same unit) and ``null`` (95th percentile of the null).
        Encoders and data sets are drawn in the order of their first rows.
    score_label : str
        What ``r`` is.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        A column is missing, there is no row, or an encoder stands twice in a data set.
    """
    _require_columns(table, "encoder", "dataset", "r")
    if table.duplicated(["encoder", "dataset"]).any():
        row = table[table.duplicated(["encoder", "dataset"])].iloc[0]
        raise ValueError(
            f"table has {row['encoder']!r} more than once for {row['dataset']!r}; average its scores first"
        )
    encoders, datasets = _in_order(table["encoder"]), _in_order(table["dataset"])
    n_columns = min(3, len(datasets))
    n_rows = -(-len(datasets) // n_columns)
    figure = style.new_figure(0.75 + n_rows * (0.55 + 0.21 * len(encoders)))
    axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    places = {name: len(encoders) - 1 - row for row, name in enumerate(encoders)}
    for ax, dataset in zip(axes.flat, datasets, strict=False):
        _comparison_panel(ax, table[table["dataset"].astype(str) == dataset], places)
        ax.set_title(style.shorten(dataset, 28 if n_columns > 2 else 40))
        ax.set_ylim(-0.6, len(encoders) - 0.4)
        ax.tick_params(axis="y", length=0)
    style.close_grid(axes, len(datasets))
    for ax in axes[:, 0]:
        ax.set_yticks(
            list(places.values()), [style.shorten(name, 28 if n_columns > 1 else 44) for name in places]
        )
    figure.supxlabel(score_label, fontsize=8.5)
    figure.legend(handles=_comparison_legend(table), loc="outside upper center", ncols=4)
    return figure


def _comparison_panel(ax: Axes, rows: pd.DataFrame, places: dict[str, int]) -> None:
    style.zero_line(ax, "x")
    at = np.array([places[str(name)] for name in rows["encoder"]])
    best = rows["r"].to_numpy(float) == rows["r"].max()
    colours = np.where(best, style.VERMILLION, style.SCORE)
    if _has(rows, "ceiling"):
        # A ceiling of the data is one line; one that differs between encoders (of their voxels) is a tick each.
        for place, ceiling in zip(at, rows["ceiling"].to_numpy(float), strict=True):
            ax.plot(
                [ceiling] * 2, [place - 0.5, place + 0.5], color=style.INK, linewidth=1.0, linestyle=_DASHES
            )
    if _has(rows, "null"):
        # Below zero too: cross-validation can bias what predicts nothing, and not all encoders alike.
        ax.vlines(rows["null"], at - 0.31, at + 0.31, color=style.MISSING, linewidth=3, zorder=1)
    if _has(rows, "lower", "upper"):
        ax.hlines(at, rows["lower"], rows["upper"], color=colours, linewidth=1.6)
    ax.scatter(rows["r"], at, color=colours, s=24, zorder=3)


def _comparison_legend(table: pd.DataFrame) -> list[Any]:
    interval = ", 95% interval" if _has(table, "lower", "upper") else ""
    dot: dict[str, Any] = {"marker": "o", "markersize": 4.5, "linewidth": 1.6 if interval else 0}
    handles = [
        Line2D([], [], color=style.SCORE, label=f"encoder{interval}", **dot),
        Line2D([], [], color=style.VERMILLION, label="highest of its panel", **dot),
    ]
    if _has(table, "null"):
        handles.append(Line2D([], [], color=style.MISSING, linewidth=3, label="95th percentile of its null"))
    if _has(table, "ceiling"):
        handles.append(
            Line2D([], [], color=style.INK, linewidth=1.0, linestyle=_DASHES, label="noise ceiling")
        )
    return handles


@styled
def data_size_curve(table: pd.DataFrame, score_label: str = "mean held-out r") -> Figure:
    """Draw scores against the number of training images.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a fit: ``encoder``, ``n_images``, ``seed``, ``r``; where known ``ceiling``; ``condition`` makes panels.
    score_label : str
        What ``r`` is.

    Returns
    -------
    matplotlib.figure.Figure
        Lines are means over seeds, bars their 95 % t interval (where there are two seeds or more), small dots the
        seeds.

    Raises
    ------
    ValueError
        A column is missing, there is no row, a number of images is not positive, or a seed stands twice.
    """
    _require_columns(table, "encoder", "n_images", "seed", "r")
    by = ["encoder", "n_images", "seed"] + (["condition"] if "condition" in table else [])
    if table.duplicated(by).any():
        raise ValueError(f"table has two rows of the same {', '.join(by)}; give each fit once")
    if (table["n_images"] <= 0).any():
        raise ValueError("table has n_images that are not positive; they are drawn on a logarithmic axis")
    conditions = _in_order(table["condition"]) if "condition" in table else [""]
    encoders, sizes = _in_order(table["encoder"]), np.unique(table["n_images"])
    colours = dict(zip(encoders, style.layer_colours(len(encoders)), strict=True))
    figure = style.new_figure(3.3, style.WIDTH_IN if len(conditions) > 1 else 5.2)
    axes = figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0]
    for ax, condition in zip(axes, conditions, strict=True):
        rows = table[table["condition"].astype(str) == condition] if condition else table
        style.zero_line(ax)
        for number, encoder in enumerate(encoders):
            _size_line(
                ax, rows[rows["encoder"].astype(str) == encoder], colours[encoder], number, len(encoders)
            )
        if _has(rows, "ceiling"):
            ceiling = rows.groupby("n_images")["ceiling"].mean()
            ax.plot(ceiling.index, ceiling, color=style.INK, linewidth=1.0, linestyle=_DASHES)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator(sizes[:: max(1, len(sizes) // 6)].tolist()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.set_title(style.shorten(condition, 60 // len(conditions)))
    axes[0].set_ylabel(score_label)
    figure.supxlabel("training images", fontsize=8.5)
    handles = [
        Line2D(
            [],
            [],
            color=colours[name],
            marker="o",
            markersize=4,
            linewidth=1.4,
            label=style.shorten(name, 28),
        )
        for name in encoders
    ]
    if _has(table, "ceiling"):
        handles.append(
            Line2D([], [], color=style.INK, linewidth=1.0, linestyle=_DASHES, label="noise ceiling")
        )
    figure.legend(
        handles=handles,
        loc="outside right upper" if len(conditions) < 3 else "outside upper center",
        ncols=1 if len(conditions) < 3 else 4,
    )
    return figure


def _size_line(ax: Axes, rows: pd.DataFrame, colour: Any, number: int, n_encoders: int) -> None:
    if not len(rows):
        return
    groups = rows.groupby("n_images")["r"]
    mean, n_seeds = groups.mean(), groups.count()
    spread = groups.std() / np.sqrt(n_seeds) * stats.t.ppf(0.975, np.maximum(n_seeds - 1, 1))
    # Side by side, so that intervals of encoders that tie can be told apart.
    shift = 2 ** (0.09 * (number - (n_encoders - 1) / 2))
    x = mean.index.to_numpy(float) * shift
    ax.errorbar(x, mean, yerr=spread.fillna(0), color=colour, linewidth=1.4, elinewidth=1.1, zorder=3)
    ax.plot(x, mean, "o", color=colour, markersize=4, zorder=4)
    ax.scatter(rows["n_images"] * shift, rows["r"], s=8, color=colour, alpha=0.5, linewidths=0, zorder=2)


@styled
def lesion_effects(effect: LesionEffect) -> Figure:
    """Draw what lesions of attended tokens do, against random ones.

    Parameters
    ----------
    effect : LesionEffect

    Returns
    -------
    matplotlib.figure.Figure
        Left, the dissociation matrix: by how much more r drops than under random lesions, a row a lesioned query, a
        column a group of voxels. Right, the same with intervals (for up to 40 pairs).
    """
    specific = effect.specific
    values = specific.to_numpy(float)
    n_queries, n_groups = values.shape
    with_intervals = values.size <= 40
    cell_in = float(np.clip(3.0 / n_groups, 0.22, 0.5))
    height = max(2.8, 1.2 + max(0.27 * n_queries, 0.15 * values.size if with_intervals else 0.0))
    width = style.WIDTH_IN if with_intervals else min(style.WIDTH_IN, 2.6 + cell_in * n_groups)
    figure = style.new_figure(height, width)
    panels = figure.subplots(1, 2 if with_intervals else 1, squeeze=False)[0]
    most = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-6)
    image = panels[0].imshow(values, cmap=style.DIVERGING, vmin=-most, vmax=most, aspect="auto")
    groups = [style.shorten(name, 16) for name in effect.group_names]
    panels[0].set_xticks(range(n_groups), groups, rotation=40, ha="right", rotation_mode="anchor")
    panels[0].set_yticks(range(n_queries), [style.shorten(n, 18) for n in effect.query_names])
    panels[0].tick_params(length=0)
    if values.size <= 60:
        for (row, column), value in np.ndenumerate(values):
            colour = style.text_colour_on(image.cmap(image.norm(value)))
            panels[0].text(
                column, row, style.number(value), ha="center", va="center", fontsize=6.5, color=colour
            )
    panels[0].set_xlabel("voxels of")
    panels[0].set_ylabel("without what is attended by")
    figure.colorbar(image, ax=panels[0], label="drop in r beyond random lesions", aspect=25, location="top")
    if with_intervals:
        _lesion_intervals(panels[1], effect)
    return figure


def _lesion_intervals(ax: Axes, effect: LesionEffect) -> None:
    table, n_groups = effect.table, len(effect.group_names)
    colours = style.layer_colours(n_groups)
    style.zero_line(ax, "x")
    step = 0.8 / n_groups
    for group, name in enumerate(effect.group_names):
        rows = table[table["group"] == name]
        places = len(effect.query_names) - 1 - np.arange(len(rows)) + 0.4 - step * (group + 0.5)
        ax.hlines(places, rows["lower"], rows["upper"], color=colours[group], linewidth=1.5)
        ax.scatter(
            rows["specific"], places, color=colours[group], s=16, zorder=3, label=style.shorten(name, 18)
        )
    ax.set_yticks(
        np.arange(len(effect.query_names))[::-1], [style.shorten(n, 18) for n in effect.query_names]
    )
    ax.set_ylim(-0.6, len(effect.query_names) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"drop in r beyond random lesions, {effect.confidence:.0%} interval")
    place: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    ax.legend(title="voxels of", ncols=min(4, n_groups), handletextpad=0.2, **place)
