"""The picture of measured and predicted responses of single voxels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.report import style
from analyses.report.reading import layer_names, neuroids, require
from analyses.report.style import styled

#: Runs whose time course is drawn: the first ones, so that no score picks them.
RUNS_SHOWN = 2
#: More blocks in a run than this are shaded and not named.
MAX_NAMED_BLOCKS = 16


@styled
def best_and_worst_voxels(predictions: xr.Dataset, layer: str | None = None, n_each: int = 2) -> Figure:
    """Draw measured and held-out predicted responses of the best and the worst voxels.

    Parameters
    ----------
    predictions : xarray.Dataset
        The `predictions.nc` of a run: ``measured (presentation, neuroid)``, ``predicted (layer, presentation,
        neuroid)``, coordinates ``stimulus_id`` and ``run`` on presentation, ``rank`` ("best" or "worst") on
        neuroid. With an attribute ``tr_s`` presentations are volumes of a time series, drawn over time.
    layer : str, optional
        Layer to draw; when None that by which the run ranked the voxels (attribute ``ranked_by``), or the last.
    n_each : int
        Voxels from either end.

    Returns
    -------
    matplotlib.figure.Figure
        Time courses of the first two runs with stimulus blocks shaded, or scatter plots for trials.

    Raises
    ------
    ValueError
        If variables are missing, or no voxel has a correlation.
    KeyError
        If `layer` is not in `predictions`.
    """
    require(predictions, "measured", "predicted")
    names = layer_names(predictions)
    layer = str(predictions.attrs.get("ranked_by", names[-1])) if layer is None else layer
    if layer not in names:
        raise KeyError(f"layer {layer!r} is not in predictions; they hold {', '.join(names)}.")
    measured = predictions["measured"].transpose("presentation", "neuroid").values
    predicted = (
        predictions["predicted"].transpose("layer", "presentation", "neuroid").values[names.index(layer)]
    )
    r = np.array([_correlation(x, y) for x, y in zip(measured.T, predicted.T, strict=True)])
    if not np.isfinite(r).any():
        raise ValueError(
            f"no voxel in predictions has a finite correlation at {layer!r}: there is nothing to rank."
        )
    chosen, ends = _best_and_worst(predictions, r, n_each)
    voxels = _neuroid_names(predictions)[chosen]
    titles = [
        f"{end}: {neuroids(predictions)[0]} {style.shorten(voxel, 16)}, r = {style.number(r[column])}"
        for end, voxel, column in zip(ends, voxels, chosen, strict=True)
    ]
    if "tr_s" in predictions.attrs and "run" in predictions.coords:
        return _time_courses(predictions, measured[:, chosen], predicted[:, chosen], titles, layer)
    return _scatters(predictions, measured[:, chosen], predicted[:, chosen], titles, layer)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2 or np.ptp(x[there]) == 0 or np.ptp(y[there]) == 0:
        return float("nan")
    return float(np.corrcoef(x[there], y[there])[0, 1])


def _best_and_worst(predictions: xr.Dataset, r: np.ndarray, n_each: int) -> tuple[list[int], list[str]]:
    """Pick voxels from both ends, by the run's own `rank` where it is: it knows which voxels do not "
    "repeat."""
    order = [
        int(column) for column in np.argsort(-np.where(np.isfinite(r), r, -np.inf)) if np.isfinite(r[column])
    ]
    if "rank" in predictions.coords:
        rank = np.asarray(predictions["rank"].values).astype(str)
        best = [column for column in order if rank[column] == "best"][:n_each]
        worst = [column for column in order if rank[column] == "worst"][-n_each:]
    else:
        best = order[:n_each]
        worst = order[max(len(order) - n_each, len(best)) :]
    return [*best, *worst], ["best"] * len(best) + ["worst"] * len(worst)


def _neuroid_names(predictions: xr.Dataset) -> np.ndarray:
    for name in ("neuroid_id", "neuroid"):
        if name in predictions.coords:
            return np.asarray(predictions[name].values).astype(str)
    return np.arange(predictions.sizes["neuroid"]).astype(str)


def _response_label(predictions: xr.Dataset) -> str:
    units = str(predictions["measured"].attrs.get("units", "") or predictions.attrs.get("units", ""))
    return f"response ({style.shorten(units, 24)})" if units else "response"


def _time_courses(
    predictions: xr.Dataset, measured: np.ndarray, predicted: np.ndarray, titles: list[str], layer: str
) -> Figure:
    runs = np.asarray(predictions["run"].values)
    # Only runs with a held-out prediction, in the order in which they were measured.
    there = np.isfinite(predicted).any(axis=1)
    shown = list(dict.fromkeys(runs[there].tolist()))[:RUNS_SHOWN]
    rows = [np.flatnonzero(runs == run) for run in shown]
    tr_s = float(predictions.attrs["tr_s"])
    figure = style.new_figure(1.15 + 1.05 * len(titles))
    axes = figure.subplots(
        len(titles),
        len(shown),
        sharex="col",
        sharey="row",
        squeeze=False,
        width_ratios=[len(index) for index in rows],
    )
    for column, (run, index) in enumerate(zip(shown, rows, strict=True)):
        blocks = _blocks(predictions["stimulus_id"].values[index])
        for row, title in enumerate(titles):
            ax = axes[row, column]
            _shade_blocks(ax, blocks, tr_s, named=row == 0)
            time_s = np.arange(len(index)) * tr_s
            ax.plot(time_s, measured[index, row], color=style.NULL, linewidth=1.0)
            ax.plot(time_s, predicted[index, row], color=style.SCORE, linewidth=1.5)
            style.zero_line(ax)
            ax.set_xlim(0, len(index) * tr_s)
            if column == 0:
                ax.set_title(title, pad=_title_pad(blocks) if row == 0 else 4)
        axes[-1, column].set_xlabel(f"time in run {run} (s)")
    figure.supylabel(_response_label(predictions), fontsize=8.5)
    handles = [
        Line2D([], [], color=style.NULL, label="measured"),
        Line2D([], [], color=style.SCORE, label=f"predicted, held out ({style.shorten(layer, 40)})"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _blocks(stimulus_ids: np.ndarray) -> list[tuple[int, int, str]]:
    """Return (first volume, volume after the last, stimulus) of each stretch with one stimulus, without "
    "rest."""
    ids = np.asarray(stimulus_ids).astype(str)
    edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
    return [(start, stop, ids[start]) for start, stop in pairwise(edges) if stop > start and ids[start]]


def _names_fit(blocks: list[tuple[int, int, str]]) -> bool:
    return 0 < len(blocks) <= MAX_NAMED_BLOCKS


def _title_pad(blocks: list[tuple[int, int, str]]) -> float:
    """Return the points that slanted block names need below the title."""
    longest = max((len(style.shorten(name, 14)) for *_, name in blocks), default=0)
    return 10.0 + 2.9 * longest if _names_fit(blocks) else 4.0


def _shade_blocks(ax: Axes, blocks: list[tuple[int, int, str]], tr_s: float, named: bool) -> None:
    for start, stop, stimulus in blocks:
        ax.axvspan(start * tr_s, stop * tr_s, color=style.SHADE, alpha=0.75, linewidth=0, zorder=0)
        if named and _names_fit(blocks):
            ax.annotate(
                style.shorten(stimulus, 14),
                ((start + stop) / 2 * tr_s, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                rotation=40,
                ha="left",
                va="bottom",
                rotation_mode="anchor",
                fontsize=7.0,
                color=style.MUTED,
            )


def _scatters(
    predictions: xr.Dataset, measured: np.ndarray, predicted: np.ndarray, titles: list[str], layer: str
) -> Figure:
    figure = style.new_figure(2.6)
    axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for column, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        x, y = predicted[:, column], measured[:, column]
        there = np.isfinite(x) & np.isfinite(y)
        alpha = float(np.clip(12.0 / np.sqrt(max(there.sum(), 1)), 0.15, 0.7))
        ax.scatter(x[there], y[there], s=9, color=style.SCORE, alpha=alpha, linewidths=0, rasterized=True)
        ax.axline((0.0, 0.0), slope=1.0, color=style.INK, linewidth=0.8)
        head, _, score = title.rpartition(", ")
        ax.set_title(f"{head}\n{score}, n = {there.sum():,}", fontsize=8.0)
        ax.margins(0.08)
    axes[0].set_ylabel(f"measured {_response_label(predictions)}")
    figure.supxlabel(f"predicted, held out ({style.shorten(layer, 50)})", fontsize=8.5)
    return figure
