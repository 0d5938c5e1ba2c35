"""Held-out predictions of every voxel, kept so that runs can be compared sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from analyses.datasets import Dataset
from analyses.experiments.design import Design
from analyses.experiments.evaluation import resampling_units
from analyses.experiments.run_folder import HELD_OUT, read_netcdf, write_netcdf
from stimuli.files import hash_array


def held_out_predictions(
    dataset: Dataset, design: Design, predictions: Mapping[str, np.ndarray], results: xr.Dataset
) -> xr.Dataset:
    """Put together what another run of the same data can be paired with.

    Parameters
    ----------
    dataset : Dataset
    design : Design
    predictions : mapping of str to (n_samples, n_kept)
        Held-out predictions by label.
    results : xarray.Dataset
        The run's results: attributes and names of neuroids.

    Returns
    -------
    xarray.Dataset
        ``measured (sample, neuroid)`` and ``predicted (layer, sample, neuroid)`` of the samples that were tested and
        the neuroids that were fitted. ``sample_unit`` labels the independent unit (stimulus or block) of each sample;
        the attribute ``responses_hash`` is that of the dataset's responses, before any voxel is left out.
    """
    from analyses.report.reading import headline_layer  # draws, and so costs a second to import

    assert dataset.responses is not None  # make_design refuses data without
    tested = design.tested
    fold = np.empty(len(design.Y), dtype=np.int64)
    for number, (_, test) in enumerate(design.folds):
        fold[test] = number
    return xr.Dataset(
        {
            "measured": (("sample", "neuroid"), design.Y[tested]),
            "predicted": (
                ("layer", "sample", "neuroid"),
                np.stack([values[tested] for values in predictions.values()]).astype(np.float32),
            ),
        },
        {
            "layer": list(predictions),
            "neuroid_id": ("neuroid", results["neuroid_id"].values[design.kept]),
            "sample_index": ("sample", tested),
            "sample_unit": ("sample", resampling_units(design)[tested]),
            "stimulus_index": ("sample", design.stimulus_index[tested]),
            "fold": ("sample", fold[tested]),
        },
        {name: value for name, value in results.attrs.items() if name != "reductions"}
        | {"ranked_by": headline_layer(results), "responses_hash": hash_array(dataset.responses.values)},
    )


def write_held_out(held_out: xr.Dataset, run: Path) -> None:
    """Write a run's `held_out.nc`, whole or not at all."""
    write_netcdf(held_out, run / HELD_OUT)


def read_held_out(run: Path) -> xr.Dataset:
    """Read a run's `held_out.nc` into memory.

    Raises
    ------
    FileNotFoundError
        When the run is unfinished, the folder is no run, or the run was made before held-out predictions were kept.
    ValueError
        When the file is corrupt or truncated.
    """
    return read_netcdf(run / HELD_OUT)
