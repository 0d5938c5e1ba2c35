"""Which figures a report has, what each needs, and the words around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from analyses.geometry import Geometry, SurfaceGeometry
from analyses.report.brain_figures import brain_map, can_be_drawn
from analyses.report.choice_figures import penalties, selected_layers
from analyses.report.figures import score_distribution, score_vs_ceiling
from analyses.report.map_colours import MAPPED
from analyses.report.reading import (
    SELECTED,
    ceiling_source,
    evaluation_unit,
    headline_layer,
    layer_table,
    neuroids,
    roi_names,
)
from analyses.report.response_figures import RUNS_SHOWN, best_and_worst_voxels
from analyses.report.roi_figures import MAX_ROI_PANELS, layer_by_roi
from analyses.report.style import number


@dataclass(frozen=True)
class RunData:
    """What the figures of one run are drawn from.

    Attributes
    ----------
    results : xarray.Dataset
        `results.nc`.
    predictions : xarray.Dataset or None
        `predictions.nc`.
    geometry : VolumeGeometry, SurfaceGeometry or None
        Where the voxels lie.
    attention : xarray.Dataset or None
        `attention.nc`, of models that route by attention.
    """

    results: xr.Dataset
    predictions: xr.Dataset | None
    geometry: Geometry | None
    attention: xr.Dataset | None = None


@dataclass(frozen=True)
class Entry:
    """One figure of a report.

    Attributes
    ----------
    name : str
        File name without ending.
    title : str
        Heading; ``{many}`` in it stands for what the columns of the responses are.
    missing : callable
        From the run to why the figure cannot be drawn, or ``""``.
    draw : callable
        From the run to the figure.
    caption, alt : callable
        From the run to what the figure shows and how to read it; to what it shows for who cannot see it.
    folded : bool
        Whether the page shows it only on demand.
    """

    name: str
    title: str
    missing: Callable[[RunData], str]
    draw: Callable[[RunData], Figure]
    caption: Callable[[RunData], str]
    alt: Callable[[RunData], str]
    folded: bool = False


def _known(results: xr.Dataset, name: str) -> bool:
    return name in results and bool(np.isfinite(results[name].values).any())


def _named(results: xr.Dataset) -> str:
    layer = headline_layer(results)
    return "the layer chosen inside the training folds" if layer == SELECTED else layer


def _distribution_caption(run: RunData) -> str:
    one, many = neuroids(run.results)
    text = (
        f"Left: held-out r of every {one}, a row a layer; the bar spans the middle half of the {many} and "
        "the dot is the median. "
    )
    if "null_r_95" in run.results:
        text += f"The dashed line is the 95th percentile of each {one}'s own null, averaged over {many}. "
    text += f"Right: the mean over {many}"
    if "null_mean_r" in run.results:
        return (
            f"{text} (dot) against the same mean under each permutation (grey). A dot to the right of all "
            "grey beats the null, wherever the null lies; p is one-sided."
        )
    return f"{text}. No null was computed, so nothing here says whether the score is above chance."


def _distribution_alt(run: RunData) -> str:
    rows = [
        f"{layer}: mean r {number(row['mean_r'], 3)}"
        + (f", p {row['p']:.2g}" if np.isfinite(row["p"]) else "")
        for layer, row in layer_table(run.results).iterrows()
    ]
    _, many = neuroids(run.results)
    return f"Distribution of held-out r over {many} with the permuted null. {'; '.join(rows[-8:])}."


def _ceiling_missing(run: RunData) -> str:
    if _known(run.results, "noise_ceiling_r") and _known(run.results, "r_evaluated"):
        return ""
    source = ceiling_source(run.results)
    return (
        f"The noise ceiling is unknown{f' ({source})' if source else ''}, so there is nothing to draw "
        "scores against."
    )


def _ceiling_caption(run: RunData) -> str:
    unit = evaluation_unit(run.results)
    one, many = neuroids(run.results)
    colour = (
        f" Blue {many} have q ≤ 0.05 (false discovery rate within the layer), grey ones do not."
        if ("q_value" in run.results)
        else ""
    )
    return (
        f"Each dot is one {one}: its held-out r{f' on {unit}' if unit else ''} against the highest correlation "
        "that a perfect model would reach there in expectation. On the line the model predicts all that "
        "repeats; points above it are noise of score and ceiling, and points below zero at low ceilings "
        f"are the bias of cross-validation in {many} without signal.{colour} Largest panel: "
        f"{_named(run.results)}."
    )


def _ceiling_alt(run: RunData) -> str:
    row: dict[str, float] = layer_table(run.results).T.to_dict()[headline_layer(run.results)]
    return (
        f"Scatter plot of held-out r against noise ceiling for {_named(run.results)}. Mean r "
        f"{number(row['mean_evaluated'])}, mean r divided by ceiling {number(row['mean_normalized'])}."
    )


def _map_missing(variable: str) -> Callable[[RunData], str]:
    def missing(run: RunData) -> str:
        if run.geometry is None:
            return (
                f"The data set does not say where its {neuroids(run.results)[1]} lie, so no map can be drawn."
            )
        if not _known(run.results, variable):
            return f"No {neuroids(run.results)[0]} has a value to map."
        if isinstance(run.geometry, SurfaceGeometry) and not can_be_drawn(run.geometry):
            n_vertices = f"{run.geometry.n_vertices_left:,} and {run.geometry.n_vertices_right:,} vertices"
            return (
                f"The values lie on {run.geometry.space!r} hemispheres of {n_vertices}. Only fsaverage "
                "surfaces of 10,242, 40,962 or 163,842 vertices are drawn here; the GIFTI files in the "
                "run's folder maps/ open in any surface viewer."
            )
        return ""

    return missing


_MAP_READING = {
    "r": "Held-out r of each {one}: white is zero, red is predicted, blue is below zero, "
    "as the bias of cross-validation leaves {many} without signal.",
    "r_normalized": "Held-out r of each {one} divided by its noise ceiling: 1 is as good as a perfect model.",
}


def _map_caption(variable: str) -> Callable[[RunData], str]:
    def caption(run: RunData) -> str:
        one, many = neuroids(run.results)
        reading = _MAP_READING[variable].format(one=one, many=many)
        text = f"{reading} Model: {_named(run.results)}. {_view(run, many)}"
        return f"{text} The same values as images are in the run's folder maps/."

    return caption


def _view(run: RunData, many: str) -> str:
    """Say what a map shows of the brain, and which values it leaves out."""
    tested = "q_value" in run.results
    if isinstance(run.geometry, SurfaceGeometry):
        text = (
            "Inflated fsaverage5 hemispheres, sulci dark; of a finer fsaverage surface the vertices that fsaverage5 "
            "shares with it."
        )
        return (
            f"{text} All {many} are drawn, whether q ≤ 0.05 or not; maps/ tells which are."
            if tested
            else text
        )
    if run.geometry is not None and run.geometry.is_mni:
        shown = f"{many} with q ≤ 0.05 only" if tested else f"all {many}, as none were tested"
        return (
            "Glass brain: the head from the left, from behind, from the right and from above, in MNI space; each point "
            f"shows the value farthest from zero along the line of sight, of {shown}."
        )
    text = f"Left is left where letters say so. Grey {many} have no value"
    return f"{text}; the dark line surrounds {many} with q ≤ 0.05." if tested else f"{text}."


def _map_alt(variable: str) -> Callable[[RunData], str]:
    def alt(run: RunData) -> str:
        values = run.results[variable].sel(layer=headline_layer(run.results)).values
        low, high = np.nanpercentile(values, [5, 95]) if np.isfinite(values).any() else (np.nan, np.nan)
        where = "slices"
        if isinstance(run.geometry, SurfaceGeometry):
            where = "the cortical surface"
        elif run.geometry is not None and run.geometry.is_mni:
            where = "a glass brain"
        return (
            f"Brain map of {MAPPED[variable]} on {where}; 90% of {neuroids(run.results)[1]} lie between "
            f"{number(low)} and {number(high)}."
        )

    return alt


def _map_entry(name: str, title: str, variable: str) -> Entry:
    def draw(run: RunData) -> Figure:
        assert run.geometry is not None
        return brain_map(run.results, run.geometry, variable)

    return Entry(name, title, _map_missing(variable), draw, _map_caption(variable), _map_alt(variable))


def _roi_caption(run: RunData) -> str:
    _, many = neuroids(run.results)
    if len(roi_names(run.results)) > MAX_ROI_PANELS:
        return f"Mean held-out r over the {many} of each region (rows) for each layer (columns)."
    text = f"Dots: mean held-out r over the {many} of a region, a row a layer"
    if "roi_r_lower" in run.results:
        text += ", with the 95% bootstrap interval over stimuli or blocks"
    unit = evaluation_unit(run.results)
    if _known(run.results, "roi_r_ceiling"):
        text += ". Dashed: mean noise ceiling"
        if unit and unit != "single samples":
            text += (
                f", which belongs to {unit}; compare it with the open diamonds, which are the mean r on "
                f"{unit}"
            )
    return f"{text}."


def _roi_alt(run: RunData) -> str:
    scores = run.results["roi_r"].sel(layer=headline_layer(run.results)).values
    rows = [f"{roi} {number(score)}" for roi, score in zip(roi_names(run.results), scores, strict=True)]
    return f"Mean held-out r by layer and region. {_named(run.results)}: {', '.join(rows[:12])}."


def _voxels_missing(run: RunData) -> str:
    if run.predictions is None:
        return "The run holds no predictions.nc."
    both = np.isfinite(run.predictions["measured"]) & np.isfinite(run.predictions["predicted"])
    return (
        ""
        if bool(both.any())
        else f"No {neuroids(run.results)[0]} has both a measured and a predicted response."
    )


def _draw_voxels(run: RunData) -> Figure:
    assert run.predictions is not None
    return best_and_worst_voxels(run.predictions)


def _voxels_caption(run: RunData) -> str:
    assert run.predictions is not None
    _, many = neuroids(run.results)
    ranked = (
        f"Worst {many} are those with the lowest r among the more reliable half, since {many} that do "
        "not repeat say nothing about the model. "
        if "rank" in run.predictions.coords and _known(run.results, "noise_ceiling_r")
        else ""
    )
    if "tr_s" in run.predictions.attrs and "run" in run.predictions.coords:
        return (
            f"Measured (grey) and held-out predicted (blue) time courses in the first {RUNS_SHOWN} runs; "
            f"shaded stretches are stimuli. Best {many} on top. {ranked}The r in a title is over all runs."
        )
    return (
        f"Measured against held-out predicted responses, a dot a row of the data. {ranked}The line has "
        "slope 1: ridge shrinks predictions, so a steeper cloud is expected."
    )


def _penalties_caption(run: RunData) -> str:
    _, many = neuroids(run.results)
    return (
        f"How often each ridge penalty was chosen, over {many} and outer folds. Bars in orange-red are the ends of "
        f"the grid. The strong end predicts a flat response, which is right for {many} without signal; choices at the "
        f"weak end, or of {many} with q ≤ 0.05 at the strong one, mean that a wider grid could fit better."
    )


#: Every figure of a report, in the order of the page.
ENTRIES = (
    Entry(
        "score_distribution",
        "Score against the null",
        lambda run: "" if _known(run.results, "r") else f"No {neuroids(run.results)[0]} has a score.",
        lambda run: score_distribution(run.results),
        _distribution_caption,
        _distribution_alt,
    ),
    Entry(
        "score_vs_ceiling",
        "Score against the noise ceiling",
        _ceiling_missing,
        lambda run: score_vs_ceiling(run.results),
        _ceiling_caption,
        _ceiling_alt,
    ),
    _map_entry("map_r", "Where the model predicts", "r"),
    _map_entry("map_r_normalized", "Where it comes close to the ceiling", "r_normalized"),
    Entry(
        "layer_by_roi",
        "Layers by region",
        lambda run: "" if _known(run.results, "roi_r") else "The run has no scores by region.",
        lambda run: layer_by_roi(run.results),
        _roi_caption,
        _roi_alt,
    ),
    Entry(
        "best_and_worst_voxels",
        "Best and worst {many}",
        _voxels_missing,
        _draw_voxels,
        _voxels_caption,
        lambda run: (
            f"Measured and predicted responses of the best and the worst predicted {neuroids(run.results)[1]}."
        ),
    ),
    Entry(
        "selected_layers",
        "Layers that were chosen",
        lambda run: (
            "" if _known(run.results, "selected_layer") else "No layer was chosen inside the training folds."
        ),
        lambda run: selected_layers(run.results),
        lambda run: (
            f"Share of {neuroids(run.results)[1]} and outer folds for which each layer had the best inner score, by "
            "region."
        ),
        lambda run: "Stacked bars: how often each layer was chosen, by region.",
    ),
    Entry(
        "penalties",
        "Penalties that were chosen",
        lambda run: "" if _known(run.results, "alpha") else "The run records no penalties.",
        lambda run: penalties(run.results),
        _penalties_caption,
        lambda run: "Histograms of the chosen ridge penalties, a panel a layer.",
    ),
)
