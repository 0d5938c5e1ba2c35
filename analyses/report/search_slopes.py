"""Reaction times over set size, slopes and asymmetry index, beside people's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.report import style
from analyses.report.style import styled

if TYPE_CHECKING:
    from analyses.experiments.compare_search import SearchComparison

#: More runs than this are left to the tables.
MAX_RUNS = 6
_COLUMNS = 3


def words(name: str) -> str:
    """Write the name of a paradigm or condition without underscores."""
    return "T and L" if name == "t_and_l" else name.replace("_", " ")


@styled
def rt_over_set_size(comparison: SearchComparison, run: str) -> Figure:
    """Draw the reaction times of one run over set size, a panel a paradigm, with people's.

    Parameters
    ----------
    comparison : SearchComparison
    run : str
        Name of a run over set sizes.

    Returns
    -------
    matplotlib.figure.Figure
        Filled: the run. Open, dashed: people.
    """
    cells = comparison.cells[comparison.cells["run"] == run]
    paradigms = list(dict.fromkeys(cells["paradigm"]))
    columns = min(_COLUMNS, len(paradigms))
    n_rows = -(-len(paradigms) // columns)
    figure = style.new_figure(0.5 + 2.1 * n_rows, style.WIDTH_IN if columns > 1 else 4.6)
    axes = figure.subplots(n_rows, columns, squeeze=False)
    for ax, paradigm in zip(axes.flat, paradigms, strict=False):
        of_run = cells[cells["paradigm"] == paradigm]
        conditions = list(dict.fromkeys(of_run["condition"]))
        for condition, colour in zip(conditions, style.layer_colours(len(conditions)), strict=True):
            own = of_run[of_run["condition"] == condition].sort_values("set_size")
            ax.plot(
                own["set_size"],
                own["rt_ms"],
                "o-",
                color=colour,
                markersize=4,
                linewidth=1.5,
                label=words(condition),
            )
            people = comparison.people_cells
            if len(people):
                theirs = people[(people["paradigm"] == paradigm) & (people["condition"] == condition)]
                theirs = theirs.sort_values("set_size")
                ax.plot(
                    theirs["set_size"],
                    theirs["rt_ms"],
                    "o--",
                    color=colour,
                    markersize=4,
                    markerfacecolor="white",
                    linewidth=1.0,
                )
        title = words(paradigm)
        ax.set_title(title[:1].upper() + title[1:])
        ax.set_ylim(bottom=0)
        ax.set_xticks(sorted(of_run["set_size"].unique()))
        ax.legend(fontsize=7.0, handlelength=1.4)
    style.close_grid(axes, len(paradigms))
    figure.supxlabel("set size", fontsize=8.5)
    figure.supylabel("reaction time (ms)", fontsize=8.5)
    if len(comparison.people_cells):
        handles = [
            Line2D([], [], color=style.INK, marker="o", markersize=4, label=style.shorten(run, 30)),
            Line2D(
                [],
                [],
                color=style.INK,
                marker="o",
                markersize=4,
                markerfacecolor="white",
                linestyle="--",
                label="people",
            ),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


@styled
def slopes_beside_people(comparison: SearchComparison) -> Figure:
    """Draw the slope of each condition, a row a condition, with its interval over displays.

    Parameters
    ----------
    comparison : SearchComparison

    Returns
    -------
    matplotlib.figure.Figure
        The first 6 runs; diamonds: people.
    """
    table = comparison.slopes
    rows = list(dict.fromkeys(zip(table["paradigm"], table["condition"], strict=True)))
    labels = [f"{words(paradigm)}: {words(condition)}" for paradigm, condition in rows]
    by_row = table.set_index(["paradigm", "condition"])
    first = table.drop_duplicates(["paradigm", "condition"]).set_index(["paradigm", "condition"])
    human = first["human_slope"].reindex(rows).to_numpy(float)
    values = {
        run: by_row[by_row["run"] == run]
        .reindex(rows)[["slope_ms_per_item", "slope_lower", "slope_upper"]]
        .to_numpy(float)
        for run in dict.fromkeys(table["run"])
    }
    return _dots(labels, values, human, "slope (ms an item)")


@styled
def asymmetry_by_paradigm(comparison: SearchComparison) -> Figure:
    """Draw the asymmetry index of each paradigm and its mean, with intervals over displays.

    Parameters
    ----------
    comparison : SearchComparison

    Returns
    -------
    matplotlib.figure.Figure
        The first 6 runs; diamonds: people. To the right of zero a run has people's direction.
    """
    table = comparison.index
    rows = [name for name in dict.fromkeys(table["paradigm"]) if name != "mean"] + ["mean"]
    people = {name: _first(table, name) for name in rows}
    values = {
        str(run): of_run.set_index("paradigm").reindex(rows)[["index", "lower", "upper"]].to_numpy(float)
        for run, of_run in table.groupby("run", sort=False)
    }
    human = np.array([people[name] for name in rows])
    return _dots([words(name) for name in rows], values, human, "asymmetry index")


def _first(table: pd.DataFrame, paradigm: str) -> float:
    return float(table.loc[table["paradigm"] == paradigm, "human_index"].iloc[0])


def _dots(labels: list[str], values: dict[str, np.ndarray], human: np.ndarray, axis: str) -> Figure:
    """Draw (estimate, lower, upper) of each run in rows, and people's values as diamonds."""
    runs = list(values)[:MAX_RUNS]
    spread = 0.62 if len(runs) > 1 else 0.0
    figure = style.new_figure(0.9 + len(labels) * (0.22 + 0.09 * len(runs)))
    ax = figure.subplots()
    places = np.arange(len(labels))[::-1].astype(float)
    style.zero_line(ax, "x")
    for number, (run, colour) in enumerate(zip(runs, style.layer_colours(len(runs)), strict=True)):
        offset = spread * (0.5 - (number + 0.5) / len(runs))
        estimate, lower, upper = values[run].T
        ax.hlines(places + offset, lower, upper, color=colour, linewidth=1.6)
        ax.scatter(estimate, places + offset, color=colour, s=20, zorder=3, label=style.shorten(run, 28))
    if np.isfinite(human).any():
        ax.scatter(
            human,
            places,
            marker="D",
            s=26,
            facecolor="white",
            edgecolor=style.BLACK,
            linewidth=1.0,
            zorder=4,
            label="people",
        )
    for place in places[:-1]:
        ax.axhline(place - 0.5, color=style.SHADE, linewidth=0.6, zorder=0)
    ax.set_yticks(places, [style.shorten(label, 44) for label in labels])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.set_xlabel(axis)
    figure.legend(loc="outside upper center", ncols=4)
    return figure
