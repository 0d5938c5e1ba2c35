"""A whole run: what it finds, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from analyses.datasets import Dataset
from analyses.experiments.config import EncodingConfig, FeatureSpace, preset
from analyses.experiments.design import compact_features, count_shared_stimuli, make_design
from analyses.experiments.encoding import run_encoding
from analyses.experiments.null import draw_permutations
from analyses.experiments.prediction import predict_run
from analyses.experiments.run_folder import claim_run_folder, read_netcdf
from encoders import ImagePreprocess, load_backbone, load_encoder
from tests.analyses.small_data import time_series, trials

PIXELS = FeatureSpace(backbone="pixels")
ONE_HOT = FeatureSpace(backbone="onehot")


def config(*spaces: FeatureSpace, **choices: object) -> EncodingConfig:
    few = {"n_permutations": 19, "n_bootstrap": 50, "alphas": (0.1, 1.0, 10.0, 100.0)}
    return EncodingConfig.model_validate({"dataset": "small", "spaces": spaces, **few, **choices})


@pytest.fixture(scope="module")
def trials_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    out = tmp_path_factory.mktemp("runs") / "trials"
    spaces = (PIXELS, FeatureSpace(backbone="onehot:half", label="half"))
    return out, run_encoding(config(*spaces, within="half"), out, dataset=trials(), progress=False)


def test_planted_voxels_are_predicted_and_noise_is_not(trials_run: tuple[Path, xr.Dataset]) -> None:
    _, results = trials_run
    r = results["r"].sel(layer="pixels:pixels").values
    assert r[:6].min() > 0.3
    assert np.abs(r[6:]).max() < 0.35
    p = results["p_value"].sel(layer="pixels:pixels").values
    assert (p[:6] == 1 / 20).all()  # the smallest that 19 permutations allow
    # The planted layer wins inside the training folds, and what is selected scores like it.
    assert (results["selected_layer"].values[:, :6] == 0).all()
    np.testing.assert_allclose(results["r"].sel(layer="selected").values[:6], r[:6])


def test_ceiling_belongs_to_stimulus_averages(trials_run: tuple[Path, xr.Dataset]) -> None:
    _, results = trials_run
    assert results.attrs["evaluation_unit"] == "stimulus average"
    dataset = trials()
    # Two repeats with noise variance 0.25: the share of signal in the variance of their mean, from the planted parts.
    values = dataset.responses.values.reshape(2, 60, 12)
    signal_variance = values.mean(0).var(0, ddof=1) - 0.25 / 2
    expected = signal_variance / (signal_variance + 0.25 / 2)
    found = results["explainable_variance"].values
    np.testing.assert_allclose(found[:6], expected[:6], atol=0.15)
    assert (
        results["r_evaluated"].sel(layer="pixels:pixels").values[:6].mean()
        > results["r"].sel(layer="pixels:pixels").values[:6].mean()
    )


def test_run_folder_holds_what_is_promised(trials_run: tuple[Path, xr.Dataset]) -> None:
    out, results = trials_run
    for name in (
        "config.json",
        "results.nc",
        "predictions.nc",
        "provenance.json",
        "report.html",
        "encoder",
        "features",
    ):
        assert (out / name).exists(), name
    assert list((out / "figures").glob("*.png"))
    assert not (out / "checkpoints").exists()
    assert "/tmp" not in (out / "provenance.json").read_text()
    xr.testing.assert_identical(read_netcdf(out / "results.nc")["r"], results["r"])
    provenance = json.loads((out / "provenance.json").read_text())
    assert load_backbone("pixels").fingerprint in json.dumps(provenance)
    roi = results["roi_r"].sel(layer="pixels:pixels")
    assert float(roi.sel(roi="planted")) > 0.3 > float(roi.sel(roi="noise"))
    lower, upper = (
        results[f"roi_r_{side}"].sel(layer="pixels:pixels", roi="planted") for side in ("lower", "upper")
    )
    assert float(lower) < float(roi.sel(roi="planted")) < float(upper)


def test_time_series_finds_delayed_preference(tmp_path: Path) -> None:
    series = time_series()
    results = run_encoding(
        config(ONE_HOT, delays_volumes=(1, 2, 3)), tmp_path / "run", dataset=series, progress=False
    )
    r = results["r"].sel(layer="onehot").values
    assert r[:5].min() > 0.2
    assert np.abs(r[5:]).max() < 0.15
    assert results.attrs["evaluation_unit"] == "block"
    assert results["r_evaluated"].values[0, :5].mean() > r[:5].mean()
    assert results.attrs["n_folds"] == 6
    # A delay that the response does not have explains nothing new.
    late = run_encoding(
        config(ONE_HOT, delays_volumes=(9,), null="none"), tmp_path / "late", dataset=series, progress=False
    )
    assert late["r"].values[0, :5].mean() < r[:5].mean() / 2


def test_compacting_features_changes_no_prediction() -> None:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((5, 40)).astype(np.float64)
    compact = compact_features(features)
    assert compact.shape == (5, 5)
    np.testing.assert_allclose(compact @ compact.T, features @ features.T, atol=1e-10)


def test_predictions_for_new_stimuli_are_the_encoders(trials_run: tuple[Path, xr.Dataset]) -> None:
    out, _ = trials_run
    new = trials(seed=5).stimuli
    predicted = predict_run(out, new, progress=False)
    pixels = (
        np.stack([new.image(i) for i in range(len(new))]).transpose(0, 3, 1, 2).reshape(len(new), -1) / 255
    )
    encoder = load_encoder(out / "encoder")
    np.testing.assert_allclose(predicted.values, pixels @ encoder.coef_ + encoder.intercept_, atol=1e-4)
    assert predicted.dims == ("stimulus", "neuroid")


class TwiceThrough(nn.Module):
    """A network whose one activation is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 2, 3)
        self.activation = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.second(self.activation(self.first(x))))


def test_own_network_with_an_activation_called_twice(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TwiceThrough()
    own = {"mine": load_backbone(network, preprocess=ImagePreprocess(), name="mine")}
    space = FeatureSpace(backbone="mine", layers=("activation",), reduction="flatten")
    results = run_encoding(
        config(space, null="none"), tmp_path / "run", dataset=trials(), backbones=own, progress=False
    )
    assert list(results["layer"].values) == ["mine:activation#0", "mine:activation#1", "selected"]
    predicted = predict_run(tmp_path / "run", trials().stimuli, backbones=own, progress=False)
    # Fitted to these very images, the encoder follows their mean responses.
    measured = trials().responses.values.reshape(2, 60, 12).mean(axis=0)
    assert np.corrcoef(predicted.values[:, 0], measured[:, 0])[0, 1] > 0.5
    nn.init.zeros_(network.first.weight)
    with pytest.raises(ValueError, match="fingerprint"):
        predict_run(tmp_path / "run", trials().stimuli, backbones=own, progress=False)


def test_finished_run_is_not_overwritten_and_other_runs_are_refused(
    trials_run: tuple[Path, xr.Dataset],
) -> None:
    out, _ = trials_run
    before = (out / "results.nc").read_bytes()
    same = config(PIXELS, FeatureSpace(backbone="onehot:half", label="half"), within="half")
    with pytest.raises(FileExistsError, match=r"finished run.*--resume"):
        run_encoding(same, out, dataset=trials(), progress=False)
    with pytest.raises(FileExistsError, match=r"another run.*seed"):
        run_encoding(same.model_copy(update={"seed": 3}), out, dataset=trials(), progress=False)
    run_encoding(same, out, dataset=trials(), resume=True, progress=False)
    assert (out / "results.nc").read_bytes() == before


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        claim_run_folder(tmp_path, config(PIXELS), resume=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def with_values(dataset: Dataset, change: object) -> Dataset:
    values = dataset.responses.values.copy()
    change(values)  # type: ignore[operator]
    dataset.responses.values[...] = values
    return dataset


def test_bad_voxels_are_left_out_and_counted(tmp_path: Path) -> None:
    def spoil(values: np.ndarray) -> None:
        values[3, 1] = np.nan
        values[:, 2] = 7
        values[0, 4] = np.inf

    results = run_encoding(
        config(PIXELS, null="none"), tmp_path / "run", dataset=with_values(trials(), spoil), progress=False
    )
    assert results.attrs["excluded"] == "1 constant, 2 not finite"
    assert np.isnan(results["r"].values[0, [1, 2, 4]]).all()
    clean = run_encoding(config(PIXELS, null="none"), tmp_path / "clean", dataset=trials(), progress=False)
    np.testing.assert_allclose(results["r"].values[0, [0, 3, 5]], clean["r"].values[0, [0, 3, 5]], rtol=1e-5)


def test_all_voxels_bad_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of 12 voxels.*12 constant"):
        run_encoding(
            config(PIXELS),
            tmp_path / "run",
            dataset=with_values(trials(), lambda v: v.fill(1)),
            progress=False,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spaces", "choices", "error", "message"),
    [
        ((FeatureSpace(backbone="pixels", layers=("pixel",)),), {}, KeyError, "pixels"),
        ((FeatureSpace(backbone="onehot:colour"),), {}, KeyError, "half"),
        ((PIXELS,), {"within": "colour"}, KeyError, "half"),
        ((PIXELS,), {"split": "published"}, ValueError, "published"),
        ((PIXELS,), {"null": "held_out"}, ValueError, "refit"),
        ((PIXELS,), {"group_by": "run"}, ValueError, "runs"),
        ((PIXELS,), {"n_folds": 99}, ValueError, "fold"),
    ],
)
def test_bad_settings_are_refused(
    tmp_path: Path, spaces: tuple[FeatureSpace, ...], choices: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_encoding(config(*spaces, **choices), tmp_path / "run", dataset=trials(), progress=False)


def test_too_few_runs_for_the_folds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fold"):
        run_encoding(
            config(ONE_HOT, n_folds=7), tmp_path / "run", dataset=time_series(n_runs=3), progress=False
        )


def test_repeated_stimuli_stay_together() -> None:
    dataset = trials()
    design = make_design(dataset, config(PIXELS))
    for train, test in design.folds:
        assert not set(design.stimulus_index[train]) & set(design.stimulus_index[test])


def test_noise_gets_no_score_relative_to_a_ceiling(tmp_path: Path) -> None:
    noise = with_values(trials(n_stimuli=48, n_voxels=30), _replace_by_noise)
    results = run_encoding(config(PIXELS, null="none"), tmp_path / "run", dataset=noise, progress=False)
    # Ceilings of noise scatter above zero, which is why they are not divided by.
    assert np.nanmax(results["noise_ceiling_r"].values) > 0.1
    assert np.isfinite(results["r_normalized"].values).sum() <= 1
    assert np.isfinite(results["explained_share"].values).sum() <= 1


def _replace_by_noise(values: np.ndarray) -> None:
    values[...] = np.random.default_rng(7).standard_normal(values.shape)


def test_stimuli_on_both_sides_of_a_fold_are_counted() -> None:
    assert count_shared_stimuli(make_design(trials(), config(PIXELS))) == 0
    assert count_shared_stimuli(make_design(trials(), config(PIXELS, group_by="none"))) == 60
    assert count_shared_stimuli(make_design(time_series(), config(ONE_HOT))) == 4


def test_permutations_keep_blocks_runs_and_onsets() -> None:
    design = make_design(time_series(), config(ONE_HOT))
    drawn, _ = draw_permutations(design, 10, seed=0)
    index, runs = design.stimulus_index, design.runs
    assert runs is not None
    for rows in drawn:
        assert ((index[rows] >= 0) == (index >= 0)).all()
        for run in np.unique(runs):
            assert sorted(index[rows][runs == run]) == sorted(index[runs == run])
            assert (runs[rows][runs == run] == run).all()


def test_permutations_exchange_repeated_stimuli_as_wholes() -> None:
    design = make_design(trials(), config(PIXELS))
    drawn, units = draw_permutations(design, 5, seed=0)
    assert units == "whole stimuli"
    for rows in drawn:
        pairs = set(zip(design.stimulus_index, design.stimulus_index[rows], strict=True))
        assert len(pairs) == 60


def test_presets_are_known_by_name() -> None:
    assert preset("demo").dataset == "haxby-slice"
    with pytest.raises(KeyError, match="demo"):
        preset("dmo")
