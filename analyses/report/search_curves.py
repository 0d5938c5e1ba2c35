"""How soon targets are found, beside people, and scanpaths as a share of the human ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.report import style
from analyses.report.style import styled

if TYPE_CHECKING:
    import pandas as pd

    from analyses.experiments.compare_search import SearchComparison

MAX_RUNS = 12
PEOPLE = "people"
#: Black is people's. As many runs more have the same colours again, dashed or with open dots.
_COLOURS = style.CATEGORICAL[:6]


def _looks(comparison: SearchComparison, named: pd.Series) -> dict[str, tuple[str, bool]]:
    """Return colours of the runs that a table names, and whether runs before have them: the same in all figures."""
    runs = [run.name for run in comparison.runs][:MAX_RUNS]
    return {
        run: (_COLOURS[number % len(_COLOURS)], number >= len(_COLOURS))
        for number, run in enumerate(runs)
        if run in set(named)
    }


@styled
def found_curves(comparison: SearchComparison) -> Figure:
    """Draw the share of targets found by each fixation, a panel a set of displays.

    Parameters
    ----------
    comparison : SearchComparison

    Returns
    -------
    matplotlib.figure.Figure
        The first 12 runs with their bands over displays; people in black, their band over people and displays.
    """
    table = comparison.curves
    sets = list(dict.fromkeys(table["displays"]))
    figure = style.new_figure(0.5 + 3.0 * len(sets), 5.4)
    axes = figure.subplots(len(sets), 1, squeeze=False)[:, 0]
    looks = {PEOPLE: (style.BLACK, False)} | _looks(comparison, table["observer"])
    for ax, name in zip(axes, sets, strict=True):
        of_set = table[table["displays"] == name]
        for observer, (colour, again) in looks.items():
            curve = of_set[of_set["observer"] == observer]
            if curve.empty:
                continue
            wide = observer == PEOPLE
            ax.fill_between(
                curve["fixation"],
                curve["lower"],
                curve["upper"],
                color=colour,
                alpha=0.2 if wide else 0.1,
                linewidth=0,
            )
            ax.plot(
                curve["fixation"],
                curve["found"],
                color=colour,
                linewidth=2.2 if wide else 1.5,
                linestyle="--" if again else "-",
                label=style.shorten(observer, 28),
            )
        ax.set(ylim=(0, 1.02), xlim=(1, max(2, of_set["fixation"].max())), ylabel="share of targets found")
        ax.set_title(style.shorten(name, 40))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes[-1].set_xlabel("fixation")
    return figure


@styled
def shares_of_ceiling(comparison: SearchComparison) -> Figure:
    """Draw how alike scanpaths of runs and people are, as a share of how alike people's are to each other.

    Parameters
    ----------
    comparison : SearchComparison

    Returns
    -------
    matplotlib.figure.Figure
        The first 12 runs: a panel a set of displays, a row a measure, with intervals; the line at 1 is the human
        ceiling.
    """
    table = comparison.scores
    sets = list(dict.fromkeys(table["displays"]))
    metrics = list(dict.fromkeys(table["metric"]))
    looks = _looks(comparison, table["run"])
    figure = style.new_figure(0.7 + len(sets) * (0.4 + len(metrics) * (0.2 + 0.09 * len(looks))))
    axes = figure.subplots(len(sets), 1, squeeze=False, sharex=True)[:, 0]
    places = np.arange(len(metrics))[::-1].astype(float)
    for ax, name in zip(axes, sets, strict=True):
        ax.axvline(1.0, color=style.BLACK, linewidth=1.0, linestyle="--", zorder=0)
        here = [run for run in looks if ((table["displays"] == name) & (table["run"] == run)).any()]
        for number, run in enumerate(here):
            colour, again = looks[run]
            rows = (
                table[(table["displays"] == name) & (table["run"] == run)]
                .set_index("metric")
                .reindex(metrics)
            )
            offset = 0.62 * (0.5 - (number + 0.5) / len(here)) if len(here) > 1 else 0.0
            ax.hlines(places + offset, rows["share_lower"], rows["share_upper"], color=colour, linewidth=1.6)
            ax.scatter(
                rows["share"],
                places + offset,
                facecolor="white" if again else colour,
                edgecolor=colour,
                s=20,
                zorder=3,
            )
        ax.set_yticks(places, metrics)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(metrics) - 0.4)
        ax.set_title(style.shorten(name, 40))
    axes[-1].set_xlabel("share of the human ceiling (dashed: as alike as people are to each other)")
    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker="o",
            markersize=4.5,
            markerfacecolor="white" if again else colour,
            linewidth=1.6,
            label=style.shorten(run, 28),
        )
        for run, (colour, again) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure
