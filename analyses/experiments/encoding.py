"""A whole encoding run: data, features, fits, null, intervals, maps, provenance, report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyses.brain_maps import write_brain_map
from analyses.datasets import Dataset, load_dataset
from analyses.experiments.config import EncodingConfig
from analyses.experiments.design import Design, check_inner_folds, compact_features, make_design
from analyses.experiments.evaluation import evaluation_units
from analyses.experiments.finished import read_finished
from analyses.experiments.fitting import (
    SpaceFeatures,
    extract_into_store,
    extract_spaces,
    fit_layers,
    make_encoder,
    open_backbones,
    predictions_by_label,
    used_reductions,
)
from analyses.experiments.held_out import held_out_predictions, write_held_out
from analyses.experiments.null import Null, compute_null, null_kind
from analyses.experiments.progress import FitProgress
from analyses.experiments.results import assemble_results, example_predictions
from analyses.experiments.run_folder import (
    FEATURES,
    PREDICTIONS,
    RESULTS,
    claim_run_folder,
    release_run_folder,
    write_netcdf,
)
from analyses.provenance import collect_provenance, write_provenance
from encoders import Backbone, save_encoder
from encoders.checkpoints import FolderCheckpoint
from encoders.cross_validation import LayerCrossValidation
from stimuli.files import hash_array


def run_encoding(
    config: EncodingConfig,
    out: str | Path,
    *,
    resume: bool = False,
    backbones: Mapping[str, Backbone] | None = None,
    dataset: Dataset | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Fit encoding models and write a run's folder.

    Penalties and layers are chosen inside each outer training fold; scores are held-out, and come with the ceiling
    of the unit they are computed on, a null and a bootstrap interval.

    Parameters
    ----------
    config : EncodingConfig
        Every choice that changes the numbers.
    out : str or Path
        Folder of the run: new or empty, or the same run's with `resume`.
    resume : bool
        Go on with an unfinished run. Finished features, folds and permutations are read; the result has the same bits
        as an uninterrupted run.
    backbones : mapping of str to Backbone, optional
        Networks of your own, by the name that a feature space gives as `backbone`.
    dataset : Dataset, optional
        Data already in memory, in place of `load_dataset(config.dataset, ...)`.
    progress : bool
        Show progress bars.

    Returns
    -------
    xarray.Dataset
        What `results.nc` holds; see docs/architecture.md.

    Raises
    ------
    ValueError, KeyError, FileNotFoundError
        For bad data, names or settings, before anything is fitted.
    FileExistsError
        When `out` holds something else.
    """
    out = Path(out)
    started, cpu_started = time.time(), time.process_time()
    if dataset is None:
        dataset = load_dataset(config.dataset, config.subject, **config.dataset_options)
    design = make_design(dataset, config)
    null_kind(config)
    _check_choices(config, dataset)
    encoder = make_encoder(config)
    opened = open_backbones(config, dataset.stimuli, backbones)
    # One stimulus goes first: what a layer cannot give shows before the folder is claimed.
    first = extract_spaces(config, opened, dataset.stimuli[:1], store=None, progress=False)
    if config.alphas is None or len(config.alphas) > 1 or len(first.labels) > 1:
        check_inner_folds(design, config.inner_folds)
    units = evaluation_units(dataset, design, block_lag_volumes=config.block_lag_volumes)
    dataset.stimuli.verify()
    claim_run_folder(out, config, resume=resume)
    results = read_finished(out, dataset, design, opened.values())
    if results is not None:
        return _finish(out, results)

    try:
        features = extract_into_store(config, opened, dataset.stimuli, out / FEATURES, progress=progress)
        _check_features(features.matrices)
    except ValueError:
        release_run_folder(out)  # nothing can be fitted with these settings: others may have the folder
        raise
    checkpoint = FolderCheckpoint(
        out / "checkpoints", {"config": config.identity, "responses": hash_array(design.Y)}
    )
    fitted_features = _features_to_fit(features, config)
    with FitProgress() if progress else nullcontext() as bar:
        fitted = fit_layers(
            design,
            fitted_features,
            encoder,
            progress=None if bar is None else bar.fits,
            checkpoint=checkpoint,
        )
        choose = config.choose_layer and len(fitted.layers) > 1
        predictions = predictions_by_label(fitted, with_selected=choose)
        null = _null(design, fitted_features, encoder, config, predictions, checkpoint, bar)
    results = assemble_results(dataset, design, config, fitted, predictions, units, null)
    reductions = used_reductions(config, opened)
    results.attrs["reductions"] = json.dumps(reductions)  # netCDF keeps no mappings
    _write_encoder(out, features, design, encoder, fitted, config)
    write_held_out(held_out_predictions(dataset, design, predictions, results), out)
    examples = example_predictions(dataset, design, predictions, results)
    write_netcdf(examples, out / PREDICTIONS)
    _write_maps(out, dataset, results)
    write_provenance(
        out,
        collect_provenance(
            config.model_dump(mode="json") | {"reductions": reductions},
            dataset=dataset,
            stimuli=dataset.stimuli,
            backbones=tuple(opened.values()),
            seeds={"seed": config.seed},
            device=config.device,
            wall_s=time.time() - started,
            cpu_s=time.process_time() - cpu_started,
        ),
    )
    write_netcdf(results, out / RESULTS)  # the last of the numbers: a folder that has it is finished
    return _finish(out, results)


def _finish(out: Path, results: xr.Dataset) -> xr.Dataset:
    from analyses.report import write_report  # draws, and so costs a second to import

    write_report(out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return results


def _check_choices(config: EncodingConfig, dataset: Dataset) -> None:
    """Refuse choices that these data have no place for."""
    usual = EncodingConfig.model_fields["delays_volumes"].default
    if dataset.kind != "time_series" and config.delays_volumes != usual:
        raise ValueError(
            f"delays_volumes is {config.delays_volumes}, but each row of {config.dataset} is the response to one"
            f" stimulus and not a volume (kind {dataset.kind!r}), so that nothing is delayed; leave --delays out"
        )
    columns = list(dataset.stimuli.attributes.columns)
    if config.within is not None and config.within not in columns:
        raise KeyError(
            f"within: stimuli have no attribute {config.within!r}; they have {', '.join(map(str, columns)) or 'none'}"
        )


def _check_features(matrices: Mapping[str, np.ndarray]) -> None:
    for label, matrix in matrices.items():
        bad = ~np.isfinite(matrix).all(axis=1)
        if bad.any():
            raise ValueError(
                f"features of {label} are NaN or infinite for {bad.sum()} stimuli (rows {np.flatnonzero(bad)[:5]});"
                " look at these stimuli, or take float32"
            )
        if (np.ptp(matrix, axis=0) == 0).all():
            raise ValueError(
                f"features of {label} are the same for all stimuli, so nothing can be fitted; choose another layer"
            )


def _features_to_fit(features: SpaceFeatures, config: EncodingConfig) -> dict[str, np.ndarray]:
    # Standardising columns is no rotation, so the features stay as they are then.
    if config.scale_features:
        return features.matrices
    return {label: compact_features(matrix) for label, matrix in features.matrices.items()}


def _null(
    design: Design,
    features: Mapping[str, np.ndarray],
    encoder: Any,
    config: EncodingConfig,
    predictions: Mapping[str, np.ndarray],
    checkpoint: FolderCheckpoint,
    bar: FitProgress | None,
) -> Null | None:
    if config.null == "none":
        return None
    return compute_null(
        design,
        features,
        encoder,
        config,
        predictions,
        checkpoint,
        progress=None if bar is None else bar.permutations,
    )


def _write_encoder(
    out: Path,
    features: SpaceFeatures,
    design: Design,
    encoder: Any,
    fitted: LayerCrossValidation,
    config: EncodingConfig,
) -> None:
    """Refit the layer with the best inner score on all samples, for `cogmodels predict`."""
    from sklearn.base import clone

    best = int(np.argmax(np.nanmean(np.nan_to_num(fitted.inner_scores, neginf=np.nan), axis=(1, 2))))
    label = fitted.layers[best]
    space, layer = features.sources[label]
    backbone = features.backbones.get(space.name)
    whole = clone(encoder).fit(design.matrix(features.matrices[label]), design.Y, groups=design.groups)
    shutil.rmtree(out / "encoder", ignore_errors=True)  # what is left of a damaged one
    save_encoder(
        whole,
        out / "encoder",
        metadata={
            "label": label,
            "space": space.model_dump(mode="json"),
            "layer": layer,
            "fingerprint": None if backbone is None else backbone.fingerprint,
            "delays_volumes": None if design.delays_volumes is None else list(design.delays_volumes),
        },
    )


def _write_maps(out: Path, dataset: Dataset, results: xr.Dataset) -> None:
    if dataset.geometry is None:
        return
    from analyses.report.reading import headline_layer

    dataset.geometry.save(out / "geometry.npz")
    row = results.sel(layer=headline_layer(results))
    for name in ("r", "r_normalized", "q_value"):
        if name in row:
            write_brain_map(row[name].values, dataset.geometry, out / "maps", name)
    write_brain_map(results["noise_ceiling_r"].values, dataset.geometry, out / "maps", "noise_ceiling_r")
