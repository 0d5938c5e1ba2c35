"""Pictures of attention over the words of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analyses.report import style
from analyses.report.attention_reading import MAX_TEXTS, query_labels, spread_evenly
from analyses.report.reading import require
from analyses.report.style import styled


@styled
def attention_words(
    attention: xr.Dataset, queries: Sequence[int] | None = None, stimuli: Sequence[int] | None = None
) -> Figure:
    """Draw texts with their words shaded by attention: a block a text, a line a query.

    Parameters
    ----------
    attention : xarray.Dataset
        Needs ``attention`` and the coordinate ``word``.
    queries, stimuli : sequence of int, optional
        Up to 6 each, evenly spread, when None.

    Returns
    -------
    matplotlib.figure.Figure
        White is none, dark blue the strongest attention among the words of a line.

    Raises
    ------
    ValueError
        If variables are missing.
    """
    require(attention, "attention", "word")
    maps = attention["attention"].transpose("query", "stimulus", "head", "token").values.mean(axis=2)
    rows = list(queries) if queries is not None else spread_evenly(len(maps), MAX_TEXTS)
    texts = list(stimuli) if stimuli is not None else spread_evenly(maps.shape[1], MAX_TEXTS)
    words = attention["word"].transpose("stimulus", "token").values.astype(str)
    names = [style.shorten(query_labels(attention)[row], 16) for row in rows]
    ids = attention["stimulus_id"].values.astype(str)
    lines: list[tuple[str, Any]] = []
    for text in texts:
        lines.append(("title", style.shorten(ids[text], 60)))
        for name, row in zip(names, rows, strict=True):
            wrapped = _wrap(words[text], maps[row, text] / max(float(maps[row, text].max()), 1e-12))
            lines += [("words", (name if number == 0 else "", part)) for number, part in enumerate(wrapped)]
    return _draw_lines(lines)


_LINE_CHARACTERS, _NAME_CHARACTERS, _LINE_IN, _CHARACTER_IN = 88, 17, 0.19, 0.0585


def _wrap(words: np.ndarray, shades: np.ndarray) -> list[list[tuple[str, float]]]:
    lines: list[list[tuple[str, float]]] = [[]]
    used = 0
    for word, shade in zip(words, shades, strict=True):
        if not word:
            continue
        word = word[:30]
        if used + len(word) + 1 > _LINE_CHARACTERS and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append((word, float(shade)))
        used += len(word) + 1
    return lines


def _draw_lines(lines: list[tuple[str, Any]]) -> Figure:
    """Write lines of shaded words in a type of fixed width, so that places follow from counting characters."""
    height_in = _LINE_IN * (len(lines) + 1.6)
    figure = style.new_figure(height_in)
    figure.set_layout_engine("none")
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_xlim(0, style.WIDTH_IN / _CHARACTER_IN)
    ax.set_ylim(len(lines) + 1.4, -0.2)
    ax.set_axis_off()
    shade, norm = mpl.colormaps["Blues"], Normalize(0, 1)
    written: dict[str, Any] = {"family": "DejaVu Sans Mono", "fontsize": 7.0, "va": "center"}
    for place, (kind, content) in enumerate(lines):
        if kind == "title":
            ax.text(0.5, place + 0.6, content, fontsize=8.0, fontweight="bold", va="center")
            continue
        name, words = content
        ax.text(0.5, place + 0.5, name, fontsize=7.5, va="center", color=style.MUTED)
        left = float(_NAME_CHARACTERS)
        for word, weight in words:
            colour = shade(0.9 * norm(weight))
            width = len(word) + 0.6
            ax.add_patch(Rectangle((left, place + 0.06), width, 0.88, facecolor=colour, linewidth=0))
            text = word.replace("$", r"\$")
            ax.text(
                left + width / 2,
                place + 0.5,
                text,
                ha="center",
                color=style.text_colour_on(colour),
                **written,
            )
            left += width + 0.4
    _shade_legend(ax, len(lines) + 0.6, shade)
    return figure


def _shade_legend(ax: Axes, place: float, shade: Any) -> None:
    left, width = float(_NAME_CHARACTERS), 20.0
    steps = np.linspace(0, 0.9, 64)[None]
    ax.imshow(
        steps, cmap=shade, vmin=0, vmax=1, extent=(left, left + width, place + 0.7, place), aspect="auto"
    )
    ax.text(left - 0.7, place + 0.35, "none", ha="right", va="center", fontsize=7)
    ax.text(left + width + 0.7, place + 0.35, "strongest in the text", ha="left", va="center", fontsize=7)
