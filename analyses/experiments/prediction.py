"""Predict responses to new stimuli from a finished run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyses.experiments.config import EncodingConfig, FeatureSpace, read_config
from analyses.experiments.fitting import FeatureRows, extract_space, is_one_hot, open_backbone
from analyses.experiments.run_folder import CONFIG, RESULTS, read_netcdf
from encoders import Backbone, load_encoder
from encoders.persistence import read_metadata
from stimuli import StimulusSet


def predict_run(
    run: str | Path,
    stimuli: StimulusSet,
    *,
    backbones: Mapping[str, Backbone] | None = None,
    progress: bool = True,
) -> xr.DataArray:
    """Predict the responses of a run's voxels to new stimuli.

    The encoder is the run's saved one: the layer with the best inner score (a banded one takes all layers), fitted to
    all of the run's samples.

    Parameters
    ----------
    run : str or Path
        Folder of a finished run.
    stimuli : StimulusSet
        New stimuli of the run's modality.
    backbones : mapping of str to Backbone, optional
        Networks of your own, by the name that the run's feature space gives.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.DataArray
        ``(stimulus, neuroid)`` in the units the run was fitted in; for a time series ``(stimulus, delay, neuroid)``:
        the response to one volume of the stimulus, at each delay in volumes. Voxels that the run left out are NaN.

    Raises
    ------
    FileNotFoundError
        When the folder holds no finished run.
    ValueError
        When the run used one-hot codes (which say nothing about new stimuli), or the backbone's weights or
        preprocessing are no longer those of the run.
    """
    run = Path(run)
    results = read_netcdf(run / RESULTS)
    config = read_config(run / CONFIG)
    metadata = read_metadata(run / "encoder")
    parts = [_features(run, part, config, stimuli, backbones, progress) for part in metadata["parts"]]
    encoder = load_encoder(run / "encoder")
    delays = metadata["delays_volumes"]
    kept = results["excluded"].values.astype(str) == ""
    coordinates = {
        "stimulus_id": ("stimulus", np.asarray(stimuli.stimulus_ids)),
        "neuroid_id": ("neuroid", results["neuroid_id"].values),
    }
    if delays is None:
        values = np.full((len(stimuli), len(kept)), np.nan, dtype=np.float32)
        joined = parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part) for part in parts], axis=1)
        values[:, kept] = encoder.predict(joined)
        return xr.DataArray(values, dims=("stimulus", "neuroid"), coords=coordinates, name="predicted")
    values = np.full((len(stimuli), len(delays), len(kept)), np.nan, dtype=np.float32)
    for number in range(len(delays)):
        delayed = [_at_delay(np.asarray(part), number, len(delays)) for part in parts]
        values[:, number, kept] = encoder.predict(np.concatenate(delayed, axis=1))
    coordinates["delay_volumes"] = ("delay", np.asarray(delays))
    return xr.DataArray(values, dims=("stimulus", "delay", "neuroid"), coords=coordinates, name="predicted")


def _features(
    run: Path,
    part: Mapping[str, Any],
    config: EncodingConfig,
    stimuli: StimulusSet,
    backbones: Mapping[str, Backbone] | None,
    progress: bool,
) -> FeatureRows:
    """Compute what one layer of the run's encoder answers to new stimuli."""
    space = FeatureSpace.model_validate(part["space"])
    if is_one_hot(space):
        raise ValueError(
            f"{run}: its features hold one-hot codes ({part['label']}), which say nothing about new stimuli; fit a run"
            " with a backbone"
        )
    backbone = open_backbone(space, config, backbones)
    if backbone.fingerprint != part["fingerprint"]:
        raise ValueError(
            f"{run}: {space.backbone} has other weights or preprocessing now (fingerprint"
            f" {backbone.fingerprint[:12]}, the run's {part['fingerprint'][:12]}); give the run's weights file"
        )
    # A module that is called twice or returns several tensors is tapped by its name and gives LAYER#1, LAYER[0].
    module = re.split(r"[#\[]", part["layer"])[0]
    rows = extract_space(space, backbone, stimuli, config, store=None, layers=(module,), progress=progress)
    return rows[part["label"]]


def _at_delay(features: np.ndarray, number: int, n_delays: int) -> np.ndarray:
    """Put features (n_stimuli, n_features) where FIR features have those of one delay; zeros at the others."""
    n_features = features.shape[1]
    design = np.zeros((len(features), n_delays * n_features), dtype=features.dtype)
    design[:, number * n_features : (number + 1) * n_features] = features
    return design
