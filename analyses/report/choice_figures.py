"""Pictures of what the fit chose: penalties and layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from analyses.report import style
from analyses.report.reading import (
    SELECTED,
    fitted_layers,
    kept,
    layer_names,
    mean_finite,
    neuroids,
    require,
    roi_names,
    significant,
)
from analyses.report.style import styled

#: More layers than this are drawn as a heat map.
MAX_PANELS = 6
#: A larger share at the ends of the grid is flagged.
MANY_AT_EDGE = 0.1


@dataclass(frozen=True)
class PenaltyShares:
    """How often each penalty was chosen at one layer.

    Attributes
    ----------
    layer : str
        Label of the layer.
    alphas : ndarray of shape (n_alphas,)
        Penalties in ascending order; the middle over folds where the grid follows the training fold.
    shares : ndarray of shape (n_alphas,)
        Share of (fold, voxel) pairs.
    at_weak, at_strong : float
        Share at either end of the grid, NaN where the grid is not known or has fewer than three penalties.
    at_strong_if_significant : float
        The same at the strong end among voxels with q <= 0.05 at this layer; NaN without such voxels.
    """

    layer: str
    alphas: np.ndarray
    shares: np.ndarray
    at_weak: float
    at_strong: float
    at_strong_if_significant: float

    @property
    def is_narrow_above(self) -> bool:
        """Whether a grid that goes higher may fit better: the strong end is where voxels without signal belong."""
        strong = self.at_strong_if_significant
        return (self.at_strong if np.isnan(strong) else strong) > MANY_AT_EDGE

    @property
    def is_narrow(self) -> bool:
        """Whether a wider grid may fit better."""
        return self.at_weak > MANY_AT_EDGE or self.is_narrow_above


def penalty_shares(results: xr.Dataset) -> list[PenaltyShares]:
    """Count how often each penalty was chosen.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``alpha (layer, fold, neuroid)``; ``alpha_grid (layer, fold, penalty)`` says what was on offer.

    Returns
    -------
    list of PenaltyShares
        One entry a layer, ``selected`` left out, since its penalties are those of the layers it chose.

    Raises
    ------
    ValueError
        If ``alpha`` is missing or holds no penalty.
    """
    require(results, "alpha")
    chosen = results["alpha"].transpose("layer", "fold", "neuroid").values[:, :, kept(results)]
    grids = (
        results["alpha_grid"].transpose("layer", "fold", "penalty").values
        if "alpha_grid" in results
        else None
    )
    shares = []
    for row, layer in enumerate(layer_names(results)):
        there = np.isfinite(chosen[row]) & (chosen[row] > 0)
        if layer == SELECTED or not there.any():
            continue
        log_chosen = np.log10(np.where(there, chosen[row], 1.0).astype(float))
        if grids is None or not (np.isfinite(grids[row]) & (grids[row] > 0)).all():
            # Without the grid, half decades: they show the shape, and not where each fold's grid ended.
            steps = np.round(log_chosen[there] * 2).astype(int)
            log_grid, place = np.arange(steps.min(), steps.max() + 1) / 2, steps - steps.min()
            known = False
        else:
            log_grids = np.sort(np.log10(grids[row].astype(float)), axis=1)
            place = np.abs(log_chosen[:, :, None] - log_grids[:, None, :]).argmin(axis=2)[there]
            log_grid, known = np.median(log_grids, axis=0), log_grids.shape[1] > 2
        share = np.bincount(place, minlength=log_grid.size) / place.size
        ends = [float("nan")] * 3
        if known:
            passed = significant(results, layer)
            among = place[np.broadcast_to(False if passed is None else passed, there.shape)[there]]
            ends = [share[0], share[-1], mean_finite(among == log_grid.size - 1)]
        shares.append(PenaltyShares(layer, 10.0**log_grid, share, *ends))
    if not shares:
        raise ValueError("alpha holds no positive penalty: there is nothing to draw.")
    return shares


@styled
def penalties(results: xr.Dataset) -> Figure:
    """Draw how often each ridge penalty was chosen, with the ends of the grid flagged.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``alpha (layer, fold, neuroid)``.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a layer; a heat map for more than six layers.

    Raises
    ------
    ValueError
        If ``alpha`` is missing or holds no penalty.
    """
    shares = penalty_shares(results)
    label = f"share of {neuroids(results)[1]} and folds"
    if len(shares) > MAX_PANELS:
        return _penalty_heat_map(shares, label)
    columns = len(shares) if len(shares) <= 4 else 3
    rows = -(-len(shares) // columns)
    figure = style.new_figure(0.7 + 1.75 * rows)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax, share in zip(axes.flat, shares, strict=False):
        _penalty_bars(ax, share, width=84 // columns)
    style.close_grid(axes, len(shares))
    figure.supxlabel("chosen ridge penalty", fontsize=8.5)
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.supylabel(label, fontsize=8.5)
    return figure


def _penalty_bars(ax: Axes, share: PenaltyShares, width: int) -> None:
    places = np.arange(share.alphas.size)
    known = np.isfinite(share.at_weak)
    edge = np.isin(places, [0, places[-1]]) & known
    ax.bar(places, share.shares, width=0.8, color=np.where(edge, style.ALERT, style.SCORE))
    step = -(-share.alphas.size // 4)
    ax.set_xticks(places[::step], [_power_of_ten(value) for value in share.alphas[::step]])
    ax.set_xlim(-0.7, max(places[-1], 4) + 0.7)
    if known:
        text = f"weakest {share.at_weak:.0%}, strongest {share.at_strong:.0%}"
        colour = style.ALERT if share.is_narrow else style.MUTED
        ax.text(0.99, 0.97, text, transform=ax.transAxes, ha="right", va="top", fontsize=7.0, color=colour)
    ax.margins(y=0.2)
    ax.set_title(style.two_lines(share.layer, width), fontsize=8.0)


def _penalty_heat_map(shares: list[PenaltyShares], label: str) -> Figure:
    """Draw shares by half decade, so that layers with grids of their own stand above one another."""
    figure = style.new_figure(1.1 + 0.2 * len(shares))
    ax = figure.subplots()
    steps = [np.round(np.log10(share.alphas) * 2).astype(int) for share in shares]
    low, high = min(step.min() for step in steps), max(step.max() for step in steps)
    table = np.full((len(shares), high - low + 1), np.nan)
    for row, (step, share) in enumerate(zip(steps, shares, strict=True)):
        table[row, step - low] = 0.0
        np.add.at(table[row], step - low, share.shares)
    image = ax.imshow(table, aspect="auto", cmap=style.SEQUENTIAL, vmin=0.0, interpolation="nearest")
    for row, (step, share) in enumerate(zip(steps, shares, strict=True)):
        if share.is_narrow:
            for end in {step.min(), step.max()}:
                ax.add_patch(
                    Rectangle(
                        (end - low - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=style.ALERT, linewidth=1.5
                    )
                )
    ticks, space = style.layer_ticks([share.layer for share in shares])
    ax.set_yticks(range(len(shares)), ticks)
    ax.set_ylabel(space or "layer")
    every = -(-(high - low + 1) // 12)
    every += every % 2  # whole decades
    first = low % 2
    places = range(first, high - low + 1, max(every, 2))
    ax.set_xticks(places, [_power_of_ten(10.0 ** ((place + low) / 2)) for place in places])
    ax.set_xlabel("chosen ridge penalty")
    ax.tick_params(axis="y", length=0)
    figure.colorbar(image, ax=ax, label=label, format=PercentFormatter(1.0, decimals=0), aspect=25)
    return figure


def _power_of_ten(value: float) -> str:
    exponent = np.log10(value)
    if abs(exponent - round(exponent)) < 1e-3:
        return rf"$10^{{{round(exponent)}}}$"
    return f"{value:.2g}"


def selected_shares(results: xr.Dataset) -> tuple[list[str], list[str], np.ndarray]:
    """Count how often each layer was chosen, in each region.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``selected_layer (fold, neuroid)``: an index into ``layer``, negative where none was chosen.

    Returns
    -------
    regions : list of str
        The regions, or ``all`` where none are named.
    layers : list of str
        Layers that could be chosen.
    shares : ndarray of shape (n_regions, n_layers)
        Share of (fold, voxel) pairs; NaN for a region without any.

    Raises
    ------
    ValueError
        If ``selected_layer`` is missing or an index has no layer.
    """
    require(results, "selected_layer")
    names = fitted_layers(results)
    chosen = np.asarray(results["selected_layer"].transpose("fold", "neuroid").values, dtype=float)
    chosen = np.where(np.isfinite(chosen), chosen, -1).astype(int)
    if chosen.max(initial=-1) >= len(names):
        raise ValueError(
            f"selected_layer holds the index {chosen.max()}, but there are {len(names)} layers to choose from"
        )
    regions, masks = ["all"], kept(results)[None]
    if "roi_mask" in results:
        regions = roi_names(results)
        masks = results["roi_mask"].transpose("roi", "neuroid").values.astype(bool) & kept(results)
    shares = np.full((len(regions), len(names)), np.nan)
    for row, mask in enumerate(masks):
        picks = chosen[:, mask]
        picks = picks[picks >= 0]
        if picks.size:
            shares[row] = np.bincount(picks, minlength=len(names)) / picks.size
    return regions, names, shares


@styled
def selected_layers(results: xr.Dataset) -> Figure:
    """Draw the share of voxels that each layer was chosen for, in each region.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``selected_layer (fold, neuroid)``.

    Returns
    -------
    matplotlib.figure.Figure
        One bar a region.

    Raises
    ------
    ValueError
        If ``selected_layer`` is missing or an index has no layer.
    """
    regions, names, shares = selected_shares(results)
    ticks, space = style.layer_ticks(names, 34)
    columns = 2 if max(map(len, ticks)) > 24 else 3
    figure = style.new_figure(1.0 + 0.28 * len(regions) + 0.18 * -(-len(names) // columns))
    ax = figure.subplots()
    places = np.arange(len(regions))[::-1]
    left = np.zeros(len(regions))
    for tick, colour, share in zip(ticks, style.layer_colours(len(names)), shares.T, strict=True):
        share = np.nan_to_num(share)
        ax.barh(
            places, share, left=left, height=0.72, color=colour, label=tick, edgecolor="white", linewidth=0.5
        )
        for place, start, width in zip(places, left, share, strict=True):
            if width >= 0.07:
                ax.text(
                    start + width / 2,
                    place,
                    f"{width:.0%}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=style.text_colour_on(colour),
                )
        left += share
    ax.set_yticks(places, [style.shorten(region, 26) for region in regions])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel(f"share of {neuroids(results)[1]} and folds that the layer was chosen for")
    ax.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=columns, title=space or None, handlelength=1.0)
    return figure
