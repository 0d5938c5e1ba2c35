"""The picture of what each feature space explains in one banded model."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyses.report import style
from analyses.report.entries import Entry, RunData
from analyses.report.reading import neuroids, require, roi_names
from analyses.report.style import number, styled

#: More regions than this are left to `results.nc`.
MAX_REGIONS = 12


@styled
def bands_by_roi(results: xr.Dataset) -> Figure:
    """Draw the share of held-out R2 of each band, with intervals, a panel a region.

    Parameters
    ----------
    results : xarray.Dataset
        Needs ``roi_band_r2``, ``roi_band_r2_lower`` and ``roi_band_r2_upper (band, roi)``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the variables are missing.
    """
    require(results, "roi_band_r2", "roi_band_r2_lower", "roi_band_r2_upper")
    names = [str(name) for name in results["band"].values]
    regions = roi_names(results)[:MAX_REGIONS]
    shares, lower, upper = (
        np.asarray(results[name].transpose("band", "roi").values, dtype=float)
        for name in ("roi_band_r2", "roi_band_r2_lower", "roi_band_r2_upper")
    )
    columns = min(3, len(regions))
    rows = -(-len(regions) // columns)
    figure = style.new_figure(0.75 + rows * (0.6 + 0.22 * len(names)))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    places = np.arange(len(names))[::-1]
    for position, (ax, region) in enumerate(zip(axes.flat, regions, strict=False)):
        style.zero_line(ax, "x")
        ax.hlines(places, lower[:, position], upper[:, position], color=style.SCORE, linewidth=1.6)
        ax.scatter(shares[:, position], places, color=style.SCORE, s=20, zorder=3)
        ax.set_title(style.shorten(region, 22))
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(names) - 0.4)
    style.close_grid(axes, len(regions))
    ticks, space = style.layer_ticks(names)
    for ax in axes[:, 0]:
        ax.set_yticks(places, ticks)
    figure.supxlabel(f"share of held-out R², mean over {neuroids(results)[1]}", fontsize=8.5)
    if space:
        figure.supylabel(space, fontsize=8.5)
    return figure


def _caption(run: RunData) -> str:
    text = (
        "Product measure: what each band adds to the held-out R² of the joint model, mean over the "
        f"{neuroids(run.results)[1]} of a region with the 95% bootstrap interval. Shares sum to the R² of the model "
        "and may be negative."
    )
    notes = str(run.results.attrs.get("band_notes", ""))
    return f"{text} {' '.join(notes.splitlines())}".strip()


def _alt(run: RunData) -> str:
    shares = run.results["roi_band_r2"].isel(roi=0)
    rows = [
        f"{band} {number(float(share))}" for band, share in zip(shares["band"].values, shares, strict=True)
    ]
    return f"Share of held-out R² by band. {roi_names(run.results)[0]}: {', '.join(rows[:12])}."


#: Figures of runs of a banded encoder, in the order of the page.
BAND_ENTRIES = (
    Entry(
        "bands_by_roi",
        "What each band explains",
        lambda run: "" if "roi_band_r2" in run.results else "The model has no bands.",
        lambda run: bands_by_roi(run.results),
        _caption,
        _alt,
    ),
)
