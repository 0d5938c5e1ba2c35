"""Displays with scanpaths drawn on them: a column a display, a row an observer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from analyses.report import style
from analyses.report.style import styled
from cogmodels.search import Scanpaths
from stimuli.search_displays import SearchDisplay, SearchDisplays

MAX_DISPLAYS = 4
MAX_OBSERVERS = 6
#: So many fixations are numbered; more would cover each other.
_NUMBERED = 12
_HALO = [withStroke(linewidth=2.0, foreground="white")]


def choose_displays(
    displays: SearchDisplays, seen: Sequence[set[str]], n: int = MAX_DISPLAYS
) -> SearchDisplays:
    """Choose displays to show: of different conditions where there are any, of the largest set size, seen by all.

    Parameters
    ----------
    displays : SearchDisplays
    seen : sequence of set of str
        Ids of the displays that each observer saw.
    n : int
        How many at most.

    Returns
    -------
    SearchDisplays
        In the order they have; possibly empty.
    """
    table = displays.table
    table = table[table["display"].isin(set.intersection(*seen))]
    if table["set_size"].notna().any():
        table = table.sort_values("set_size", ascending=False, kind="stable")
    firsts = table.groupby(["paradigm", "condition"], sort=False).head(1)
    kinds = firsts.drop_duplicates("paradigm") if firsts["paradigm"].nunique() >= n else firsts
    chosen = kinds["display"].tolist()[:n]
    chosen += [name for name in table["display"] if name not in chosen][: n - len(chosen)]
    order = {name: place for place, name in enumerate(displays.display_ids)}
    return displays.select(sorted(chosen, key=order.__getitem__))


@styled
def scanpaths_on_displays(displays: SearchDisplays, observers: Mapping[str, Scanpaths]) -> Figure:
    """Draw where each observer looked on each display.

    Parameters
    ----------
    displays : SearchDisplays
        Drawn are the first 4.
    observers : mapping of str to Scanpaths
        Drawn are the first 6, and of each the first trial on a display.

    Returns
    -------
    matplotlib.figure.Figure
        Fixations are numbered from 1; the small square is where the gaze stood at first, where that is known; the frame
        is the target.
    """
    shown = displays[:MAX_DISPLAYS]
    rows = dict(list(observers.items())[:MAX_OBSERVERS])
    shape = max(display.height_px / display.width_px for display in shown)
    width = min(style.WIDTH_IN, 0.4 + 2.4 * max(len(shown), 2))
    figure = style.new_figure(0.25 + len(rows) * (0.06 + shape * (width - 0.3) / len(shown)), width)
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    for row, (name, scanpaths) in enumerate(rows.items()):
        for ax, display in zip(axes[row], shown, strict=True):
            _show_display(ax, display)
            _draw_path(ax, *_first_path(scanpaths, display.display_id))
        axes[row, 0].set_ylabel(style.shorten(name, 24), fontsize=8.0)
    for ax, display in zip(axes[0], shown, strict=True):
        condition = display.condition.replace("_", " ")
        label = condition or display.display_id
        if display.set_size is not None and condition:
            label += f" · {display.set_size}"
        ax.set_title(style.shorten(label, 84 // max(len(shown), 2)), fontsize=7.5)
    return figure


def _show_display(ax: Axes, display: SearchDisplay) -> None:
    extent = (0, display.width_px, display.height_px, 0)
    if display.image is not None:
        ax.imshow(display.read_image(), extent=extent, interpolation="antialiased")
    else:
        for x, y, width, height in display.boxes_px:
            ax.add_patch(
                Rectangle((x, y), width, height, facecolor=style.SHADE, edgecolor=style.LINE, linewidth=0.4)
            )
    if display.target_item is not None:
        x, y, width, height = display.boxes_px[display.target_item]
        ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="white", linewidth=2.6))
        ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=style.VERMILLION, linewidth=1.4))
    ax.set(xlim=(0, display.width_px), ylim=(display.height_px, 0), aspect="equal", xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(visible=True, color=style.LINE)


def _draw_path(ax: Axes, places: np.ndarray, begins: int) -> None:
    """Draw places (n, 2), the first of which has the number `begins`: 0 is the start of the gaze, not a fixation."""
    if not len(places):
        return
    x, y = places.T
    ax.plot(x, y, color="white", linewidth=2.4, alpha=0.8, zorder=3)
    ax.plot(x, y, color=style.BLUE, linewidth=1.2, zorder=4)
    fixated = places[1 - begins :]
    if begins == 0:
        ax.scatter(
            x[:1], y[:1], marker="s", s=14, color=style.ORANGE, edgecolor="white", linewidth=0.6, zorder=5
        )
    ax.scatter(
        fixated[:, 0], fixated[:, 1], s=16, color=style.BLUE, edgecolor="white", linewidth=0.6, zorder=5
    )
    for number, (at_x, at_y) in enumerate(fixated[:_NUMBERED], 1):
        ax.annotate(
            str(number),
            (at_x, at_y),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=6.5,
            color=style.BLUE,
            path_effects=_HALO,
            zorder=6,
            annotation_clip=True,
        )


def _first_path(scanpaths: Scanpaths, display: str) -> tuple[np.ndarray, int]:
    """Return the places of the first trial on a display, and the number of the first of them; empty without a trial."""
    table = scanpaths.table[scanpaths.table["display"] == display]
    if table.empty:
        return np.empty((0, 2)), 0
    first = (table["observer"] == table["observer"].iloc[0]) & (table["trial"] == table["trial"].iloc[0])
    return table.loc[first, ["x_px", "y_px"]].to_numpy(), int(table.loc[first, "fixation"].iloc[0])
