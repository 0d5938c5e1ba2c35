"""Whole runs of trained and banded encoders: what they choose, keep, refuse, and go on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analyses.datasets.dataset import Dataset, make_responses
from analyses.experiments.attention_summary import ATTENTION
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from analyses.experiments.held_out import read_held_out
from analyses.experiments.prediction import predict_run
from analyses.experiments.run_folder import read_netcdf
from encoders.cluster import open_cluster
from stimuli import StimulusSet
from tests.analyses.small_data import small_info, time_series, trials

PIXELS = FeatureSpace(backbone="pixels")
GABOR = FeatureSpace(backbone="gabor:16", label="Gabor")
QUICK = {"n_epochs": 25, "lr": 0.02, "batch_size": 16, "validation_fraction": 0.2}


def config(encoder: str, *spaces: FeatureSpace, **choices: object) -> EncodingConfig:
    few = {"null": "none", "n_bootstrap": 20, "n_folds": 3, "encoder": encoder}
    if encoder in ("spatial", "attention", "probe"):
        few["training"] = QUICK
    return EncodingConfig.model_validate(
        {"dataset": "small", "spaces": spaces or (PIXELS,), **few, **choices}
    )


def looking(n_stimuli: int = 150, seed: int = 0) -> Dataset:
    """Images of 6 x 6 pixels; the first voxels see the upper left pixel, the next the lower right, others nothing."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (n_stimuli, 6, 6), dtype=np.uint8)
    seen = images[:, [0, 5], [0, 5]] / 64.0
    values = np.repeat(seen, 3, axis=1)
    values = np.concatenate([values, np.zeros((n_stimuli, 2))], axis=1)
    values = values + 0.3 * generator.standard_normal(values.shape)
    ids = np.array([f"image{number:03}" for number in range(n_stimuli)])
    rois = {
        "upper left": np.arange(8) < 3,
        "lower right": (np.arange(8) >= 3) & (np.arange(8) < 6),
        "all": np.ones(8, bool),
    }
    responses = make_responses(values.astype(np.float32), ids)
    return Dataset(
        small_info("looking"), "1", StimulusSet(ids, images=images), responses, "averages", rois=rois
    )


def test_a_spatial_map_finds_where_each_region_looks(tmp_path: Path) -> None:
    data = looking()
    results = run_encoding(config("spatial", queries="roi"), tmp_path / "run", dataset=data, progress=False)
    r = results["r"].values[0]
    assert r[:6].min() > 0.8
    assert np.abs(r[6:]).max() < 0.35
    attention = read_netcdf(tmp_path / "run" / ATTENTION)
    assert attention["query"].values.tolist() == ["upper left", "lower right", "rest"]
    maps = attention["mean_attention"].values.reshape(3, 6, 6)
    assert np.unravel_index(maps[0].argmax(), (6, 6)) == (0, 0)
    assert np.unravel_index(maps[1].argmax(), (6, 6)) == (5, 5)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "factorised readout" in page
    assert "upper left, lower right, rest" in page


@pytest.mark.parametrize(
    ("encoder", "choices"),
    [
        ("attention", {"queries": "roi", "encoder_options": {"d_model": 8, "dropout": 0.0}}),
        ("probe", {"encoder_options": {"n_queries": 3}}),
    ],
)
def test_trained_runs_leave_the_same_files_and_predict_new_stimuli(
    tmp_path: Path, encoder: str, choices: dict
) -> None:
    data = looking(60)
    out, settings = tmp_path / "run", config(encoder, **choices)
    results = run_encoding(settings, out, dataset=data, progress=False)
    assert results.attrs["encoder"] == encoder
    assert "lr 0.02" in results.attrs["training"]
    assert read_held_out(out)["predicted"].shape == (1, 60, 8)
    # What is saved was fitted to all stimuli: it predicts each as it does alone.
    whole = predict_run(out, data.stimuli, progress=False).values
    some = predict_run(out, data.stimuli[[7, 3]], progress=False).values
    np.testing.assert_allclose(some, whole[[7, 3]], rtol=1e-4, atol=1e-5)
    assert whole.std(axis=0).min() > 0
    assert (out / ATTENTION).is_file()
    # A finished run of the same settings is read, not computed again.
    again = run_encoding(settings, out, dataset=data, resume=True, progress=False)
    xr.testing.assert_identical(again, results)


def test_layers_are_averaged_by_their_inner_scores(tmp_path: Path) -> None:
    out = tmp_path / "run"
    results = run_encoding(
        config("ridge", PIXELS, GABOR, ensemble=True), out, dataset=trials(noise_sd=0.2), progress=False
    )
    assert results["layer"].values.tolist()[-2:] == ["ensemble", "selected"]
    r = results["r"].values[:, :6].mean(axis=1)
    assert r[-2] > min(r[:-2])
    assert np.isnan(results["alpha"].sel(layer="ensemble")).all()
    page = (out / "report.html").read_text()
    assert "softmax of 40 times their inner scores" in page
    assert "and ensemble" not in page


def test_all_layers_are_bands_of_one_model(tmp_path: Path) -> None:
    out = tmp_path / "run"
    data = trials(noise_sd=0.2)
    noise = FeatureSpace(backbone="onehot:half", label="half")
    results = run_encoding(
        config("banded", PIXELS, noise, encoder_options={"n_draws": 6}), out, dataset=data, progress=False
    )
    assert results["layer"].values.tolist() == ["all bands"]
    assert results["r"].values[0, :6].min() > 0.3
    assert results["band"].values.tolist() == ["pixels:pixels", "half"]
    # The images alone drive the voxels: their band has the R2 of the model, the other none.
    np.testing.assert_allclose(results["band_r2"].sum("band"), results["r2"].values[0], atol=1e-4)
    planted = results.sel(roi="planted")
    assert float(planted["roi_band_r2_lower"].sel(band="pixels:pixels")) > 0.2
    assert abs(float(planted["roi_band_r2"].sel(band="half"))) < 0.05
    assert "What each band explains" in (out / "report.html").read_text()
    with pytest.raises(ValueError, match="one-hot codes"):
        predict_run(out, data.stimuli[:4], progress=False)


def test_banded_ridge_takes_delays_of_every_band_and_predicts_each(tmp_path: Path) -> None:
    data = time_series()
    words = FeatureSpace(backbone="onehot:category", label="category")
    same = FeatureSpace(backbone="onehot", label="stimulus")
    results = run_encoding(
        config("banded", words, same, n_folds=None, encoder_options={"n_draws": 3}),
        tmp_path / "run",
        dataset=data,
        progress=False,
    )
    assert np.nanmean(results["r"].values[0, :5]) > 0.2


@pytest.mark.parametrize("encoder", ["ridge", "probe"])
def test_blocks_are_rows_of_their_own(tmp_path: Path, encoder: str) -> None:
    data = time_series(noise_sd=0.5)
    words = FeatureSpace(backbone="onehot:category", label="category")
    options = {"encoder_options": {"n_queries": 1}} if encoder == "probe" else {}
    results = run_encoding(
        config(
            encoder,
            words,
            n_folds=None,
            time_series_samples="blocks",
            null="auto",
            n_permutations=9,
            **options,
        ),
        tmp_path / "run",
        dataset=data,
        progress=False,
    )
    assert results.attrs["kind"] == "blocks"
    assert results.attrs["n_samples"] == 24
    assert results.attrs["grouping"] == "runs"
    assert results.attrs["null_units"] == "blocks within runs"
    assert results.attrs["evaluation_unit"] == "block"
    r = results["r"].values[0]
    assert r[:5].mean() > 0.6
    # Permuted blocks keep nothing: categories are told apart no more.
    assert results["null_mean_r"].values.max() < r[:5].mean() / 2
    assert "averages over blocks" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("encoder", "choices", "message"),
    [
        ("attention", {"encoder_options": {"n_head": 4}}, "did you mean 'n_heads'"),
        ("attention", {"training": {"learning_rate": 1.0}}, "unknown training setting"),
        ("attention", {"training": {"lr": -1.0}}, "lr is -1"),
        ("attention", {"queries": "parcel"}, "no coordinate 'parcel'"),
        ("probe", {"queries": "roi"}, "belong to no voxel"),
        ("spatial", {"spaces": ({"backbone": "pixels", "reduction": "mean"},)}, "leaves no tokens"),
        ("ridge", {"ensemble": True}, "nothing to average"),
        ("attention", {"time_series_samples": "blocks"}, "is no time series"),
    ],
)
def test_choices_that_cannot_be_met_are_refused_before_the_folder_is_claimed(
    tmp_path: Path, encoder: str, choices: dict, message: str
) -> None:
    with pytest.raises((ValueError, KeyError), match=message):
        run_encoding(config(encoder, **choices), tmp_path / "run", dataset=trials(), progress=False)
    assert not (tmp_path / "run").exists()


def test_volumes_are_no_rows_of_a_trained_encoder(tmp_path: Path) -> None:
    words = FeatureSpace(backbone="onehot")
    with pytest.raises(ValueError, match="--samples blocks"):
        run_encoding(config("probe", words), tmp_path / "run", dataset=time_series(), progress=False)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"encoder": "ridge", "training": {"lr": 1.0}}, "training is for trained encoders"),
        ({"encoder": "ridge", "queries": "roi"}, "queries is for trained encoders"),
        ({"encoder": "spatial", "encoder_preset": "published"}, "encoder_preset is for encoder 'attention'"),
        ({"encoder": "attention", "alphas": (1.0,)}, "has no ridge penalty"),
        ({"encoder": "attention", "training": {"seed": 3}}, "seed is set for the whole run"),
        ({"encoder": "banded", "ensemble": True}, "takes all layers at once"),
    ],
)
def test_settings_that_contradict_the_encoder_are_refused(choices: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncodingConfig.model_validate({"dataset": "small", "spaces": (PIXELS,), **choices})


def test_the_published_preset_is_taken_and_changed(tmp_path: Path) -> None:
    results = run_encoding(
        config(
            "attention",
            encoder_preset="published",
            encoder_options={"d_model": 16, "n_heads": 2, "d_feedforward": 8},
            training={"n_epochs": 2},
        ),
        tmp_path / "run",
        dataset=looking(60),
        progress=False,
    )
    assert "clip_norm 0.1" in results.attrs["training"]
    assert "n_epochs 2" in results.attrs["training"]


@pytest.mark.slow
def test_a_run_on_two_workers_has_the_bits_of_a_run_here(tmp_path: Path) -> None:
    data = trials(n_stimuli=40)
    choices = config("ridge", PIXELS, GABOR, null="auto", n_permutations=4)
    here = run_encoding(choices, tmp_path / "here", dataset=data, progress=False)
    with open_cluster("local", n_workers=2) as cluster:
        there = run_encoding(choices, tmp_path / "there", dataset=data, progress=False, cluster=cluster)
    xr.testing.assert_identical(there, here)
