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

from analyses.datasets import Dataset, load_response_dataset
from analyses.experiments.config import TRAINED, EncodingConfig
from analyses.experiments.design import Design, check_inner_folds, compact_features, make_design
from analyses.experiments.encoding_models import describe_encoder, make_encoder
from analyses.experiments.evaluation import evaluation_units
from analyses.experiments.finished import read_finished
from analyses.experiments.fitting import (
    FeatureRows,
    SpaceFeatures,
    extract_into_store,
    extract_spaces,
    fit_layers,
    open_backbones,
    predictions_by_label,
    used_reductions,
)
from analyses.experiments.held_out import held_out_predictions, write_held_out
from analyses.experiments.null import Null, compute_null, null_kind
from analyses.experiments.outputs import write_attention, write_encoder, write_maps
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
from encoders import Backbone
from encoders.checkpoints import FolderCheckpoint
from encoders.cluster import Cluster
from encoders.solvers.checks import check_device
from encoders.tokens import TokenSource
from stimuli.files import hash_array


def run_encoding(
    config: EncodingConfig,
    out: str | Path,
    *,
    resume: bool = False,
    backbones: Mapping[str, Backbone] | None = None,
    dataset: Dataset | None = None,
    cluster: Cluster | None = None,
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
    cluster : Cluster, optional
        Workers (`encoders.cluster.open_cluster`) that extract features, fit and refit for the null. Bits are those of a
        run without. They must see the folder of the run.
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
        dataset = load_response_dataset(config.dataset, config.subject, **config.dataset_options)
    design = make_design(dataset, config)
    null_kind(config)
    _check_choices(config, dataset)
    if cluster is None:
        check_device(config.device)  # workers have devices of their own, and look for them there
    encoder = make_encoder(config, dataset, design)
    opened = open_backbones(config, dataset.stimuli, backbones)
    # One stimulus goes first: what a layer cannot give shows before the folder is claimed.
    first = extract_spaces(config, opened, dataset.stimuli[:1], store=None, progress=False)
    _check_layers(config, first.labels)
    chooses = config.alphas is None or len(config.alphas) > 1 or len(first.labels) > 1
    if chooses and config.encoder not in TRAINED:
        check_inner_folds(design, config.inner_folds)
    units = evaluation_units(dataset, design, block_lag_volumes=config.block_lag_volumes)
    dataset.stimuli.verify()
    claim_run_folder(out, config, resume=resume)
    results = read_finished(out, dataset, design, opened.values())
    if results is not None:
        return _finish(out, results)

    try:
        features = extract_into_store(
            config, opened, dataset.stimuli, out / FEATURES, progress=progress, cluster=cluster
        )
        _check_features(features.rows)
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
            cluster=cluster,
        )
        predictions = predictions_by_label(fitted, config)
        null = _null(design, fitted_features, encoder, config, predictions, checkpoint, bar, cluster)
    results = assemble_results(dataset, design, config, fitted, predictions, units, null, features.labels)
    reductions = used_reductions(config, opened)
    results.attrs["reductions"] = json.dumps(reductions)  # netCDF keeps no mappings
    results.attrs |= describe_encoder(encoder)
    whole, label = write_encoder(out, features, design, encoder, fitted)
    write_attention(out, features, dataset, whole, label)
    write_held_out(held_out_predictions(dataset, design, predictions, results), out)
    examples = example_predictions(dataset, design, predictions, results)
    write_netcdf(examples, out / PREDICTIONS)
    write_maps(out, dataset, results)
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
    if dataset.kind != "time_series" and config.time_series_samples != "volumes":
        raise ValueError(
            f"time_series_samples is {config.time_series_samples!r}, but {config.dataset} is no time series (kind"
            f" {dataset.kind!r}); leave it out"
        )
    if dataset.kind == "time_series" and config.encoder in TRAINED and config.time_series_samples != "blocks":
        raise ValueError(
            f"encoder {config.encoder!r} predicts one response a stimulus, and the rows of {config.dataset} are"
            " volumes; take averages over blocks (time_series_samples='blocks', --samples blocks)"
        )
    columns = list(dataset.stimuli.attributes.columns)
    if config.within is not None and config.within not in columns:
        raise KeyError(
            f"within: stimuli have no attribute {config.within!r}; they have {', '.join(map(str, columns)) or 'none'}"
        )


def _check_layers(config: EncodingConfig, labels: list[str]) -> None:
    """Refuse choices that these layers leave no room for."""
    if config.ensemble and len(labels) < 2:
        raise ValueError(
            f"ensemble: there is a single layer ({labels[0]}), so nothing to average; name several"
        )


def _check_features(rows: Mapping[str, FeatureRows]) -> None:
    for label, matrix in rows.items():
        if isinstance(matrix, TokenSource):
            continue  # read piece by piece, and checked then
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


def _features_to_fit(features: SpaceFeatures, config: EncodingConfig) -> dict[str, FeatureRows]:
    # Standardising columns is no rotation, so the features stay as they are then.
    if config.scale_features:
        return features.rows
    return {
        label: rows if isinstance(rows, TokenSource) else compact_features(rows)
        for label, rows in features.rows.items()
    }


def _null(
    design: Design,
    features: Mapping[str, FeatureRows],
    encoder: Any,
    config: EncodingConfig,
    predictions: Mapping[str, np.ndarray],
    checkpoint: FolderCheckpoint,
    bar: FitProgress | None,
    cluster: Cluster | None,
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
        cluster=cluster,
    )
