"""The numbers of a run as one labelled table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analyses.datasets import Dataset
from analyses.experiments.config import EncodingConfig
from analyses.experiments.design import Design, count_reasons, count_shared_stimuli
from analyses.experiments.evaluation import CEILING_FLOOR, EvaluationUnits, resampling_units
from analyses.experiments.fitting import SELECTED
from analyses.experiments.null import Null
from analyses.metrics.normalization import normalize_r, share_of_explainable_variance
from analyses.statistics.bootstrap import bootstrap_correlation
from analyses.statistics.multiple_comparisons import fdr
from analyses.statistics.partition_intervals import partition_by_product
from analyses.statistics.partition_words import explain_negative_shares
from encoders.cross_validation import LayerCrossValidation
from encoders.scores import correlation_score, r2_score, within_group_correlation

N_EXAMPLES = 3


def assemble_results(
    dataset: Dataset,
    design: Design,
    config: EncodingConfig,
    fitted: LayerCrossValidation,
    predictions: Mapping[str, np.ndarray],
    units: EvaluationUnits,
    null: Null | None,
    bands: Sequence[str] = (),
) -> xr.Dataset:
    """Score held-out predictions; the variables are listed in docs/architecture.md.

    `bands` names the layers that one banded encoder took together.
    """
    assert dataset.responses is not None  # make_design refuses data without
    tested = design.tested
    measured = design.Y[tested]
    held_out = [values[tested] for values in predictions.values()]
    r = np.stack([correlation_score(measured, values) for values in held_out])
    unit_measured = units.average(design.Y)
    unit_predicted = [units.average(values) for values in predictions.values()]
    evaluated = np.stack([correlation_score(unit_measured, values) for values in unit_predicted])
    evaluated_r2 = np.stack([r2_score(unit_measured, values) for values in unit_predicted])
    ceiling = units.ceiling_to_divide_by
    per_voxel = {
        "r": r,
        "r2": np.stack([r2_score(measured, values) for values in held_out]),
        "r_evaluated": evaluated,
        "r_normalized": normalize_r(evaluated, ceiling, floor=CEILING_FLOOR),
        "explained_share": share_of_explainable_variance(evaluated_r2, ceiling**2, floor=CEILING_FLOOR**2),
    }
    if config.within is not None:
        values = dataset.stimuli.attributes[config.within].astype(str).to_numpy()
        groups = values[design.stimulus_index[tested]]
        per_voxel["r_within"] = np.stack(
            [within_group_correlation(measured, predicted, groups) for predicted in held_out]
        )
    if null is not None:
        p, p_max = null.p_values(r)
        per_voxel |= {
            "p_value": p,
            "p_value_max": p_max,
            "q_value": np.stack([fdr(row) for row in p]),
            "null_r_95": np.percentile(null.r, 95, axis=0),
        }

    def spread(values: np.ndarray, dtype: str = "float32") -> np.ndarray:
        """Put kept voxels in their places among all of them."""
        whole = np.full((*values.shape[:-1], len(design.excluded)), np.nan, dtype=dtype)
        whole[..., design.kept] = values
        return whole

    variables: dict[str, tuple] = {
        name: (("layer", "neuroid"), spread(values)) for name, values in per_voxel.items()
    }
    variables["noise_ceiling_r"] = (("neuroid",), spread(units.noise_ceiling_r))
    if units.ceiling_q is not None:
        variables["ceiling_q"] = (("neuroid",), spread(units.ceiling_q))
    variables["explainable_variance"] = (("neuroid",), spread(units.explainable_variance))
    variables["excluded"] = (("neuroid",), design.excluded)
    variables |= _choices(fitted, spread, list(predictions))
    if null is not None:
        variables["null_mean_r"] = (("layer", "permutation"), np.nanmean(null.r, axis=2).T)
    variables |= _by_roi(dataset, design, config, predictions, variables)
    attributes = _attributes(dataset, design, config, fitted, units, null)
    coordinates: dict[str, Any] = {}
    if fitted.band_predictions is not None:
        shares, notes = _by_band(dataset, design, config, fitted, bands, spread)
        variables |= shares
        coordinates["band"] = list(bands)
        if notes:
            attributes["band_notes"] = "\n".join(notes)
    coordinates |= {
        "layer": list(predictions),
        "roi": list(dataset.rois),
        "neuroid_id": ("neuroid", dataset.responses["neuroid_id"].values.astype(str)),
    }
    return xr.Dataset(variables, coordinates, attributes)


def _by_band(
    dataset: Dataset,
    design: Design,
    config: EncodingConfig,
    fitted: LayerCrossValidation,
    bands: Sequence[str],
    spread: Callable[..., np.ndarray],
) -> tuple[dict[str, tuple], list[str]]:
    """Divide held-out R2 over the bands by the product measure; also say what negative shares mean."""
    assert fitted.band_predictions is not None
    assert fitted.predictions is not None
    tested = design.tested
    of_bands = fitted.band_predictions[:, tested].astype(np.float64)
    partition = partition_by_product(
        design.Y[tested],
        dict(zip(bands, of_bands, strict=True)),
        resampling_units(design)[tested],
        {name: np.asarray(mask, dtype=bool)[design.kept] for name, mask in dataset.rois.items()},
        intercept=fitted.predictions[0, tested] - of_bands.sum(axis=0),
        n_bootstrap=config.n_bootstrap,
        seed=config.seed,
    )
    keys = [[(roi, band) for roi in dataset.rois] for band in bands]
    by_roi = {
        name: (
            ("band", "roi"),
            np.array([partition.table[column].loc[of_band].to_numpy(dtype=float) for of_band in keys]),
        )
        for name, column in (
            ("roi_band_r2", "estimate"),
            ("roi_band_r2_lower", "lower"),
            ("roi_band_r2_upper", "upper"),
        )
    }
    shares = {"band_r2": (("band", "neuroid"), spread(partition.shares))}
    return shares | by_roi, explain_negative_shares(partition)


def _choices(
    fitted: LayerCrossValidation, spread: Callable[..., np.ndarray], labels: list[str]
) -> dict[str, tuple]:
    """What was chosen inside the training folds, and the penalties that there were to choose from."""
    alphas, grid = fitted.alphas, fitted.alpha_grid
    variables: dict[str, tuple] = {}
    for label in labels[len(fitted.layers) :]:
        of_label = np.full_like(alphas[:1], np.nan)
        if label == SELECTED:
            of_label = np.take_along_axis(fitted.alphas, fitted.selected_layer[None], axis=0)
            variables["selected_layer"] = (("fold", "neuroid"), spread(fitted.selected_layer))
        alphas = np.concatenate([alphas, of_label])
        if grid is not None:
            # Each voxel's grid is that of the layers used for it: there is none that holds for all of them.
            grid = np.concatenate([grid, np.full_like(grid[:1], np.nan)])
    variables["alpha"] = (("layer", "fold", "neuroid"), spread(alphas, "float64"))
    if grid is not None:
        variables["alpha_grid"] = (("layer", "fold", "penalty"), grid)
    return variables


def example_predictions(
    dataset: Dataset, design: Design, predictions: Mapping[str, np.ndarray], results: xr.Dataset
) -> xr.Dataset:
    """Keep measured and predicted responses of the best and the worst voxels, by the report's headline layer.

    The worst are the lowest r among voxels whose ceiling is at least the median (where ceilings are known), since a
    voxel that does not repeat says nothing about the model.
    """
    from analyses.report.reading import headline_layer  # draws, and so costs a second to import

    assert dataset.responses is not None
    headline = headline_layer(results)
    r = results["r"].sel(layer=headline).values
    ceiling = results["noise_ceiling_r"].values
    order = np.argsort(np.where(np.isfinite(r), r, -np.inf), kind="stable")
    order = order[np.isfinite(r[order])]
    reliable = order
    if np.isfinite(ceiling).any():
        reliable = order[ceiling[order] >= np.nanmedian(ceiling)]
    best = order[::-1][:N_EXAMPLES]
    worst = [voxel for voxel in reliable if voxel not in best][:N_EXAMPLES]
    chosen = np.concatenate([best, np.asarray(worst, dtype=np.int64)])
    column = np.cumsum(design.kept) - 1
    tested = design.tested
    responses = dataset.responses.isel(presentation=tested)
    coordinates: dict[str, Any] = {
        name: ("presentation", responses[name].values)
        for name in ("stimulus_id", "run")
        if name in responses.coords
    }
    coordinates |= {
        "layer": list(predictions),
        "neuroid_id": ("neuroid", results["neuroid_id"].values[chosen]),
        "r": ("neuroid", r[chosen]),
        "noise_ceiling_r": ("neuroid", ceiling[chosen]),
        "rank": ("neuroid", ["best"] * len(best) + ["worst"] * len(worst)),
    }
    return xr.Dataset(
        {
            "measured": (("presentation", "neuroid"), design.Y[tested][:, column[chosen]]),
            "predicted": (
                ("layer", "presentation", "neuroid"),
                np.stack([values[tested][:, column[chosen]] for values in predictions.values()]),
            ),
        },
        coordinates,
        {"ranked_by": headline}
        | {name: results.attrs[name] for name in ("kind", "units", "neuroids")}
        | {name: results.attrs[name] for name in ("tr_s",) if name in results.attrs},
    )


def _by_roi(
    dataset: Dataset,
    design: Design,
    config: EncodingConfig,
    predictions: Mapping[str, np.ndarray],
    variables: Mapping[str, tuple],
) -> dict[str, tuple]:
    masks = np.stack([np.asarray(mask, dtype=bool) for mask in dataset.rois.values()])
    kept = {name: np.asarray(mask, dtype=bool)[design.kept] for name, mask in dataset.rois.items()}
    tested = design.tested
    unit_labels = resampling_units(design)[tested]
    rows = []
    for values in predictions.values():
        interval = bootstrap_correlation(
            design.Y[tested],
            values[tested],
            unit_labels,
            n_bootstrap=config.n_bootstrap,
            seed=config.seed,
            rois=kept,
        )
        rows.append(interval)
    ceiling = variables["noise_ceiling_r"][1]
    mean_ceiling = [_mean(ceiling[mask]) for mask in masks]
    return {
        "roi_mask": (("roi", "neuroid"), masks),
        "roi_r": (("layer", "roi"), np.stack([row.estimate for row in rows])),
        "roi_r_lower": (("layer", "roi"), np.stack([row.lower for row in rows])),
        "roi_r_upper": (("layer", "roi"), np.stack([row.upper for row in rows])),
        "roi_r_ceiling": (("roi",), np.array(mean_ceiling)),
    }


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")


def _attributes(
    dataset: Dataset,
    design: Design,
    config: EncodingConfig,
    fitted: LayerCrossValidation,
    units: EvaluationUnits,
    null: Null | None,
) -> dict[str, str | int | float]:
    attributes: dict[str, str | int | float] = {
        "dataset": dataset.info.name,
        "title": dataset.info.title,
        "subject": dataset.subject,
        "kind": "blocks" if design.samples == "blocks" else dataset.kind,
        "neuroids": dataset.info.neuroid_kind,
        "units": dataset.info.units if design.samples == "trials" else "z-score within run",
        "licence": dataset.info.licence,
        "citation": dataset.info.citation,
        "n_samples": len(design.Y),
        "n_tested": len(design.tested),
        "n_folds": len(design.folds),
        "grouping": design.grouping,
        "excluded": count_reasons(design.excluded),
        "evaluation_unit": units.name,
        "ceiling_source": units.ceiling_source,
        "ceiling_rule": units.ceiling_rule,
        "shared_stimuli": count_shared_stimuli(design),
        "encoder": config.encoder,
        "split": config.split,
        "n_bootstrap": config.n_bootstrap,
    }
    if dataset.info.tr_s and design.samples != "blocks":
        attributes["tr_s"] = dataset.info.tr_s
    if dataset.geometry is not None and dataset.geometry.space:
        attributes["space"] = dataset.geometry.space
    if null is not None:
        attributes |= {
            "null": null.kind,
            "null_units": null.units,
            "n_permutations": len(null.r),
        }
    if config.within is not None:
        attributes["within"] = config.within
    return attributes
