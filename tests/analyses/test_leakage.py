"""Adversaries against a whole run: what is known of the rows that are tested must change nothing that is fitted.

A network of the user's hands out whatever features these tests plant, stimulus by stimulus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from analyses.datasets.dataset import Dataset, make_responses
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.design import make_design
from analyses.experiments.encoding import run_encoding
from analyses.experiments.run_folder import read_netcdf
from encoders import Backbone
from stimuli import StimulusSet
from tests.analyses.small_data import small_info, time_series, trials

ONE_HOT = FeatureSpace(backbone="onehot")
STORED = FeatureSpace(backbone="stored", layers=("honest", "leaky"), reduction="flatten")
HONEST, LEAKY, SELECTED = 0, 1, 2  # rows of the results
N_STIMULI, N_TESTED, N_VOXELS, N_SIGNAL = 100, 40, 60, 20


class HandsOut(nn.Module):
    """Its layers are what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.honest, self.leaky = nn.Identity(), nn.Identity()

    def forward(self, honest: Tensor, leaky: Tensor) -> tuple[Tensor, Tensor]:
        return self.honest(honest), self.leaky(leaky)


class StoredFeatures:
    """Rows of tables, by the order of the stimuli."""

    modality = "text"

    def __init__(self, tables: Mapping[str, np.ndarray]) -> None:
        self.tables = {name: torch.from_numpy(table.astype(np.float32)) for name, table in tables.items()}

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        rows = [int(stimuli.texts[int(i)]) for i in indices]  # type: ignore[index]
        return {name: table[rows] for name, table in self.tables.items()}

    def describe(self) -> dict[str, Any]:
        content = b"".join(table.numpy().tobytes() for table in self.tables.values())
        return {"tables": hashlib.sha256(content).hexdigest()}


def config(*spaces: FeatureSpace, **choices: object) -> EncodingConfig:
    return EncodingConfig.model_validate(
        {"dataset": "leaks", "spaces": spaces, "null": "none", "n_bootstrap": 10, **choices}
    )


def run_stored(
    data: Dataset, honest: np.ndarray, leaky: np.ndarray, out: Path, **choices: object
) -> xr.Dataset:
    preprocess = StoredFeatures({"honest": honest, "leaky": leaky})
    backbone = Backbone("stored", HandsOut(), preprocess, "text", ("honest", "leaky"), "made by the tests")
    return run_encoding(
        config(STORED, **choices), out, dataset=data, backbones={"stored": backbone}, progress=False
    )


@pytest.fixture(scope="module")
def honest() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N_STIMULI, 5))


@pytest.fixture(scope="module")
def averages(honest: np.ndarray) -> Dataset:
    """Some voxels respond to the honest features, the rest to nothing; the last stimuli are the published test set."""
    generator = np.random.default_rng(1)
    weights = generator.standard_normal((5, N_VOXELS))
    weights /= np.linalg.norm(weights, axis=0)
    weights[:, N_SIGNAL:] = 0
    values = honest @ weights + generator.standard_normal((N_STIMULI, N_VOXELS))
    ids = np.array([f"s{number:03}" for number in range(N_STIMULI)])
    stimuli = StimulusSet(ids, texts=[str(number) for number in range(N_STIMULI)])
    return Dataset(
        small_info("averages"),
        "1",
        stimuli,
        make_responses(values.astype(np.float32), ids),
        "averages",
        test_stimulus_ids=ids[-N_TESTED:],
    )


def leak(data: Dataset, rows: np.ndarray, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Noise for all stimuli, and the same with the responses themselves in some rows."""
    noise = np.random.default_rng(seed).standard_normal((N_STIMULI, N_VOXELS))
    leaky = noise.copy()
    leaky[rows] = data.responses.values[rows]
    return noise, leaky


def assert_fitted_alike(one: xr.Dataset, other: xr.Dataset, fold: int) -> None:
    for name in ("alpha", "selected_layer"):
        np.testing.assert_array_equal(one[name].isel(fold=fold), other[name].isel(fold=fold), err_msg=name)


def assert_no_better_than_chance(r: np.ndarray) -> None:
    """Weights fitted to noise have either sign, and so has r: its mean over voxels is 0 within four standard errors."""
    assert abs(r.mean()) < 4 * r.std() / np.sqrt(r.size)


def test_responses_planted_in_the_published_test_rows_do_not_help(
    averages: Dataset, honest: np.ndarray, tmp_path: Path
) -> None:
    tested = np.arange(N_STIMULI) >= N_STIMULI - N_TESTED
    noise, leaky = leak(averages, tested)
    results = run_stored(averages, honest, leaky, tmp_path / "leaky", split="published")
    assert_fitted_alike(
        results, run_stored(averages, honest, noise, tmp_path / "noise", split="published"), 0
    )
    r = results["r"].values
    assert_no_better_than_chance(r[LEAKY])
    # Nor does the layer that is chosen: signal keeps its honest layer, and noise stays noise.
    assert (results["selected_layer"].values[:, :N_SIGNAL] == HONEST).all()
    np.testing.assert_allclose(r[SELECTED, :N_SIGNAL], r[HONEST, :N_SIGNAL])
    assert_no_better_than_chance(r[SELECTED, N_SIGNAL:])


@pytest.mark.parametrize("scale_features", [False, True])
def test_responses_planted_in_one_fold_change_nothing_that_predicts_it(
    averages: Dataset, honest: np.ndarray, tmp_path: Path, scale_features: bool
) -> None:
    choices = {"n_folds": 4, "scale_features": scale_features}
    _, tested = make_design(averages, config(ONE_HOT, **choices)).folds[1]
    noise, leaky = leak(averages, tested)
    clean = run_stored(averages, honest, noise, tmp_path / "noise", **choices)
    leaked = run_stored(averages, honest, leaky, tmp_path / "leaky", **choices)
    assert_fitted_alike(clean, leaked, 1)
    # The other folds train on these rows, and do change: the comparison sees what there is to see.
    assert (clean["alpha"].isel(fold=0) != leaked["alpha"].isel(fold=0)).any()
    assert (leaked["selected_layer"].values[:, :N_SIGNAL] == HONEST).mean() > 0.95


def test_repeats_of_a_stimulus_do_not_leak_into_its_test(tmp_path: Path) -> None:
    """A code of the stimulus itself knows nothing of other stimuli; divided repeats would give it each voxel's mean."""
    data = trials(n_stimuli=40, noise_sd=0.2)
    kept_whole = run_encoding(config(ONE_HOT), tmp_path / "whole", dataset=data, progress=False)
    divided = run_encoding(
        config(ONE_HOT, group_by="none", shuffle=True), tmp_path / "divided", dataset=data, progress=False
    )
    planted = slice(0, 6)
    assert divided["r"].values[0, planted].min() > 0.5  # the trap is real
    # An unseen stimulus gets the mean of the training rows, which is low where the tested rows are high: r is below 0.
    assert kept_whole["r"].values[0].max() < 0


def test_a_held_out_run_changes_nothing_that_is_fitted_to_the_others(tmp_path: Path) -> None:
    """Detrending and z-scores are each run's own, and so is everything that is learnt from the other runs."""
    held_out, choices = 2, {"delays_volumes": (1, 2, 3)}
    spaces = (ONE_HOT, FeatureSpace(backbone="onehot:category", label="category"))
    # Three voxels: all of them stand in predictions.nc.
    before, after = time_series(n_voxels=3), time_series(n_voxels=3)
    rows = np.flatnonzero(before.runs == held_out)
    disturbance = np.random.default_rng(4).standard_normal((len(rows), 3)) + np.arange(len(rows))[:, None]
    after.responses.values[rows] = 1000 + 50 * disturbance
    results, held = [], []
    for name, data in (("before", before), ("after", after)):
        results.append(
            run_encoding(config(*spaces, **choices), tmp_path / name, dataset=data, progress=False)
        )
        held.append(read_netcdf(tmp_path / name / "predictions.nc").sortby("neuroid_id"))
    assert_fitted_alike(*results, held_out)
    one, other = held
    np.testing.assert_array_equal(one["predicted"].values[:, rows], other["predicted"].values[:, rows])
    others = np.setdiff1d(np.arange(before.responses.shape[0]), rows)
    np.testing.assert_array_equal(one["measured"].values[others], other["measured"].values[others])
    assert (one["predicted"].values[:, others] != other["predicted"].values[:, others]).any()
