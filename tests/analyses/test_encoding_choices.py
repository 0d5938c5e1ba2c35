"""What a run chooses, what it chose from, and settings that leave nothing to choose from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analyses.brain_maps import read_brain_map
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from analyses.experiments.fitting import used_reductions
from analyses.experiments.run_folder import read_netcdf
from analyses.geometry import VolumeGeometry
from analyses.report import best_and_worst_voxels, summarize
from analyses.report.choice_figures import penalty_shares
from analyses.report.reading import headline_layer
from encoders import load_backbone
from stimuli.files import read_json
from tests.analyses.small_data import time_series, trials

PIXELS = FeatureSpace(backbone="pixels")
ONE_HOT = FeatureSpace(backbone="onehot")
HALF = FeatureSpace(backbone="onehot:half", label="half")


def config(*spaces: FeatureSpace, **choices: object) -> EncodingConfig:
    few = {"null": "none", "n_bootstrap": 20, "alphas": (1.0, 10.0, 100.0)}
    return EncodingConfig.model_validate({"dataset": "small", "spaces": spaces, **few, **choices})


@pytest.mark.parametrize(
    ("spaces", "choices", "message"),
    [
        # 5 outer folds of 60 stimuli, each shown twice, train on 48.
        ((PIXELS,), {"inner_folds": 49}, r"fitted to 48 groups only \(repeated.*take inner_folds=48"),
        ((PIXELS,), {"inner_folds": 49, "alphas": None}, "inner_folds is 49"),
        ((PIXELS, ONE_HOT), {"inner_folds": 49, "alphas": (1.0,)}, "inner_folds is 49"),
        ((PIXELS,), {"inner_folds": 97, "group_by": "none"}, "fitted to 96 samples only"),
        ((PIXELS,), {"alphas": (1.0, -1.0)}, "alphas must be positive"),
        ((PIXELS,), {"device": "cud"}, "device 'cud'"),
        ((FeatureSpace(backbone="pixels", reduction="gird:4"),), {}, "did you mean 'grid'"),
        ((FeatureSpace(backbone="pixels", reduction="cls"),), {}, "needs tokens"),
    ],
)
def test_what_could_only_fail_later_fails_before_the_folder_is_claimed(
    tmp_path: Path, spaces: tuple[FeatureSpace, ...], choices: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_encoding(config(*spaces, **choices), tmp_path / "run", dataset=trials(), progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("n_runs", "choices", "message"),
    [
        (3, {}, r"outer fold 0 is fitted to 2 groups only \(runs\).*take inner_folds=2"),
        (2, {"inner_folds": 2}, r"fitted to 1 group only \(runs\).*give a single penalty"),
        (6, {"block_lag_volumes": 500}, "lag 500"),
    ],
)
def test_too_few_runs_or_volumes_leave_no_folder(
    tmp_path: Path, n_runs: int, choices: dict, message: str
) -> None:
    series = time_series(n_runs=n_runs)
    with pytest.raises(ValueError, match=message):
        run_encoding(config(ONE_HOT, **choices), tmp_path / "run", dataset=series, progress=False)
    assert not (tmp_path / "run").exists()


def test_where_nothing_is_chosen_no_inner_folds_are_needed(tmp_path: Path) -> None:
    fixed = config(ONE_HOT, alphas=(10.0,), inner_folds=5)
    results = run_encoding(fixed, tmp_path / "run", dataset=time_series(n_runs=2), progress=False)
    assert results.sizes["fold"] == 2
    assert (results["alpha"] == 10).all()


def test_the_penalties_on_offer_stand_beside_those_chosen(tmp_path: Path) -> None:
    out = tmp_path / "run"
    results = run_encoding(config(PIXELS, HALF, alphas=None), out, dataset=trials(), progress=False)
    grid, chosen = results["alpha_grid"].values, results["alpha"].values
    assert results["alpha_grid"].dims == ("layer", "fold", "penalty")
    assert results["layer"].values.tolist() == ["pixels:pixels", "half", "selected"]
    assert np.isnan(grid[2]).all()  # its penalties come from the grids of the others
    np.testing.assert_allclose(grid[:2, :, -1] / grid[:2, :, 0], 1e8)
    for row in range(2):
        for fold in range(results.sizes["fold"]):
            off_grid = np.abs(np.log(chosen[row, fold][:, None] / grid[row, fold])).min(axis=1)
            assert off_grid.max() < 1e-5
    # The grid follows the features: no two folds have the same one.
    assert len(np.unique(grid[0, :, 0])) == results.sizes["fold"]
    shares = penalty_shares(results)
    assert [share.layer for share in shares] == ["pixels:pixels", "half"]
    assert all(np.isfinite([share.at_weak, share.at_strong]).all() for share in shares)
    assert "17 values from 0.0001 to 10000 times" in (out / "report.html").read_text(encoding="utf-8")


def test_defaults_that_were_taken_are_written_down(tmp_path: Path) -> None:
    names = ("efficientnet_lite0", "minilm", "pixels")
    spaces = (
        *(FeatureSpace(backbone=name) for name in names),
        ONE_HOT,
        FeatureSpace(backbone="gabor", reduction="mean"),
    )
    backbones = {name: load_backbone(name) for name in (*names, "gabor")}
    assert used_reductions(config(*spaces), backbones) == {
        "efficientnet_lite0": "projection:4096",
        "minilm": "mean",
        "pixels": "flatten",
        "gabor": "mean",
    }
    out = tmp_path / "run"
    results = run_encoding(config(PIXELS, HALF), out, dataset=trials(), progress=False)
    assert json.loads(results.attrs["reductions"]) == {"pixels": "flatten"}
    assert read_json(out / "provenance.json")["config"]["reductions"] == {"pixels": "flatten"}


def test_repeats_that_are_divided_are_warned_of(tmp_path: Path) -> None:
    divided = config(ONE_HOT, group_by="none", shuffle=True)
    results = run_encoding(divided, tmp_path / "run", dataset=trials(), progress=False)
    assert "stand in both training and test" in summarize(results)
    kept = run_encoding(config(PIXELS), tmp_path / "kept", dataset=trials(), progress=False)
    assert "Warning" not in summarize(kept)


def test_without_a_choice_maps_and_examples_are_of_the_best_layer(tmp_path: Path) -> None:
    data = trials()
    places = np.column_stack([np.arange(12), np.zeros(12, int), np.zeros(12, int)])
    data.geometry = VolumeGeometry(places, (12, 1, 1), np.diag([3.0, 3.0, 3.0, 1.0]))
    out = tmp_path / "run"
    # The best of the three is neither the first nor the last.
    results = run_encoding(
        config(HALF, PIXELS, ONE_HOT, choose_layer=False), out, dataset=data, progress=False
    )
    assert results["layer"].values.tolist() == ["half", "pixels:pixels", "onehot"]
    assert headline_layer(results) == "pixels:pixels"
    r = results["r"].sel(layer="pixels:pixels").values
    np.testing.assert_array_equal(read_brain_map(out / "maps" / "r.nii.gz", data.geometry), r)
    examples = read_netcdf(out / "predictions.nc")
    assert examples.attrs["ranked_by"] == "pixels:pixels"
    best = examples["rank"].values == "best"
    expected = results["neuroid_id"].values[np.argsort(-r)[:3]]
    assert examples["neuroid_id"].values[best].tolist() == expected.tolist()
    np.testing.assert_array_equal(examples["r"].values[best], np.sort(r)[::-1][:3])
    figure = best_and_worst_voxels(examples)
    assert f"r = {r.max():.2f}" in figure.axes[0].get_title("left")
    assert "pixels:pixels" in figure.get_supxlabel()
