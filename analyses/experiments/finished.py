"""Tell whether a run that ended is whole, and of the data at hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xarray as xr

from analyses.datasets import Dataset
from analyses.experiments.design import Design
from analyses.experiments.held_out import read_held_out
from analyses.experiments.run_folder import PREDICTIONS, RESULTS, read_netcdf
from analyses.provenance import PROVENANCE
from encoders import Backbone, load_encoder
from stimuli.files import hash_array, read_json


def read_finished(
    folder: Path, dataset: Dataset, design: Design, backbones: Iterable[Backbone]
) -> xr.Dataset | None:
    """Read the results of a finished run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    dataset : Dataset
    design : Design
    backbones : iterable of Backbone
        What the run would be fitted to now.

    Returns
    -------
    xarray.Dataset or None
        None when the run did not end, or when its encoder, held-out predictions, examples or provenance are missing or
        damaged: these are by-products of the fit, so that it has to be done again.

    Raises
    ------
    ValueError
        When `results.nc` is corrupt.
    FileExistsError
        When the run was fitted to other responses, trials, stimuli or weights than those at hand.
    """
    if not (folder / RESULTS).exists():
        return None
    results = read_netcdf(folder / RESULTS)
    try:
        record = read_json(folder / PROVENANCE)
        examples = read_netcdf(folder / PREDICTIONS)
        read_held_out(folder)
        load_encoder(folder / "encoder")
        fitted_to = (
            record["dataset"]["sha256"]["responses"],
            record["stimuli"]["content_hash"],
            [backbone["fingerprint"] for backbone in record["backbones"]],
            examples["stimulus_id"].values.astype(str).tolist(),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    assert dataset.responses is not None  # make_design refuses data without
    at_hand = (
        hash_array(dataset.responses.values),
        dataset.stimuli.content_hash,
        [backbone.fingerprint for backbone in backbones],
        np.asarray(dataset.responses["stimulus_id"].values)[design.tested].astype(str).tolist(),
    )
    names = ("responses", "stimuli", "weights or preprocessing", "order of trials")
    differing = [name for name, then, now in zip(names, fitted_to, at_hand, strict=True) if then != now]
    if differing:
        raise FileExistsError(
            f"out: {folder} holds a finished run of other data (now different: {', '.join(differing)}); name another"
            " folder"
        )
    return results
