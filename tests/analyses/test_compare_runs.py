"""Runs of the same data side by side: numbers, what is refused, what is said, and the folder that is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analyses.cli import main
from analyses.experiments import EncodingConfig, FeatureSpace, run_encoding
from analyses.experiments.compare_runs import RunComparison, compare_runs
from analyses.experiments.held_out import read_held_out
from analyses.experiments.run_folder import HELD_OUT, RESULTS, read_netcdf, write_netcdf
from analyses.report.comparison_figures import difference_forest, score_scatter
from analyses.report.comparison_page import write_comparison
from analyses.statistics.comparison import compare_models
from tests.analyses.page import Page
from tests.analyses.small_data import time_series, trials
from tests.oracles.statistics import benjamini_hochberg

QUICK = {"n_bootstrap": 200, "n_permutations": 499}
PIXELS, HALF = FeatureSpace(backbone="pixels"), FeatureSpace(backbone="onehot:half", label="half")


def run(out: Path, *spaces: FeatureSpace, dataset=None, **settings) -> Path:
    config = EncodingConfig(
        dataset="planted",
        spaces=spaces,
        alphas=(1.0, 100.0),
        null="none",
        n_bootstrap=2,
        **{"inner_folds": 3} | settings,
    )
    run_encoding(config, out, dataset=trials() if dataset is None else dataset, progress=False)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pixels, which the planted voxels read; a useless one-hot code; both with a choice of layer and other folds."""
    root = tmp_path_factory.mktemp("runs")
    spoilt = trials()
    spoilt.responses.values[:, 2] = 7  # constant, so that this run leaves voxel 2 out
    return {
        "pixels": run(root / "pixels", PIXELS),
        "half": run(root / "half", HALF),
        "both": run(root / "both", PIXELS, HALF, n_folds=3),
        "spoilt": run(root / "spoilt", HALF, dataset=spoilt),
    }


@pytest.fixture(scope="module")
def comparison(runs: dict[str, Path]) -> RunComparison:
    return compare_runs([runs["pixels"], runs["half"], runs["both"]], **QUICK)


def copy(folder: Path, to: Path, change) -> Path:
    """Copy a run and change its held-out predictions."""
    shutil.copytree(folder, to)
    changed = change(read_held_out(folder))
    write_netcdf(changed, to / HELD_OUT)
    return to


def test_differences_are_those_of_the_predictions(comparison: RunComparison, runs: dict[str, Path]) -> None:
    assert comparison.pairs == (("pixels", "half"), ("pixels", "both"), ("half", "both"))
    assert comparison.layers == ("pixels:pixels", "half", "selected")
    a, b = (read_held_out(runs[name]) for name in ("pixels", "half"))
    y, p_a, p_b = a["measured"].values, a["predicted"].values[0], b["predicted"].values[0]
    r = [[np.corrcoef(y[:, v], p[:, v])[0, 1] for v in range(12)] for p in (p_a, p_b)]
    rows = comparison.table.query("run_a == 'pixels' and run_b == 'half'").set_index("roi")
    assert list(rows.index) == ["planted", "noise", "all"]
    np.testing.assert_allclose(
        rows["difference"],
        [np.mean(np.subtract(*r)[:6]), np.mean(np.subtract(*r)[6:]), np.mean(np.subtract(*r))],
        atol=1e-6,
    )
    direct = compare_models(
        y,
        p_a,
        p_b,
        a["sample_unit"].values,
        {"planted": np.arange(12) < 6},
        QUICK["n_bootstrap"],
        QUICK["n_permutations"],
    ).rois.loc["planted"]
    np.testing.assert_allclose(
        rows.loc["planted", ["lower", "upper", "p_value"]].astype(float),
        direct[["lower", "upper", "p_value"]],
        atol=1e-6,
    )
    # A unit is a stimulus, with both of its presentations.
    assert comparison.settings["n_units"] == 60
    assert comparison.settings["n_samples"] == 120
    np.testing.assert_allclose(
        comparison.table["q_value"], benjamini_hochberg(comparison.table["p_value"].to_numpy())
    )


def test_pixels_win_where_pixels_were_planted_and_nowhere_else(comparison: RunComparison) -> None:
    rows = comparison.table.query("run_a == 'pixels' and run_b == 'half'").set_index("roi")
    assert rows.loc["planted", "lower"] > 0.2
    assert rows.loc["planted", "q_value"] < 0.05
    assert rows.loc["noise", "q_value"] > 0.05
    scores = comparison.scores
    np.testing.assert_allclose(
        scores["roi_r"].sel(run="pixels", roi="all"), scores["r"].sel(run="pixels").mean()
    )
    assert scores["roi_r_lower"].sel(run="pixels", roi="planted") < scores["roi_r"].sel(
        run="pixels", roi="planted"
    )


def test_scores_are_those_of_the_runs_own_results(comparison: RunComparison, runs: dict[str, Path]) -> None:
    for name, layer in zip(comparison.runs, comparison.layers, strict=True):
        results = read_netcdf(runs[name] / RESULTS).sel(layer=layer)
        for variable in ("r", "r_evaluated"):
            np.testing.assert_allclose(
                comparison.scores[variable].sel(run=name), results[variable], atol=1e-6
            )
    np.testing.assert_allclose(comparison.scores["noise_ceiling_r"], results["noise_ceiling_r"], atol=1e-6)


def test_one_reference_and_a_layer_by_name(runs: dict[str, Path]) -> None:
    folders = [runs["half"], runs["pixels"], runs["both"]]
    by_path = compare_runs(folders, reference=runs["pixels"], **QUICK)
    by_name = compare_runs(folders, reference="pixels", **QUICK)
    assert by_path.pairs == by_name.pairs == (("half", "pixels"), ("both", "pixels"))
    pd.testing.assert_frame_equal(by_path.table, by_name.table)
    of_layer = compare_runs([runs["pixels"], runs["both"]], layer="pixels:pixels", **QUICK)
    assert of_layer.layers == ("pixels:pixels", "pixels:pixels")
    with pytest.raises(KeyError, match=r"unknown layer of the run half 'pixels:pixels'.*'half'"):
        compare_runs(folders, layer="pixels:pixels")
    with pytest.raises(KeyError, match="unknown reference 'pixel'; did you mean 'pixels'"):
        compare_runs(folders, reference="pixel")


def test_what_differs_and_is_no_reason_to_refuse_is_said(runs: dict[str, Path], tmp_path: Path) -> None:
    (note,) = compare_runs([runs["pixels"], runs["both"]], **QUICK).notes
    assert "outer folds of both (3 folds) are not those of pixels (5 folds)" in note
    assert not compare_runs([runs["pixels"], runs["half"]], **QUICK).notes

    def renumbered(data: xr.Dataset) -> xr.Dataset:
        return data.assign_coords(fold=("sample", 4 - data["fold"].values))

    same = copy(runs["half"], tmp_path / "renumbered", renumbered)
    assert not compare_runs([runs["pixels"], same], **QUICK).notes

    def picked(data: xr.Dataset) -> xr.Dataset:
        return data.assign_attrs(ranked_by="half")

    notes = compare_runs([runs["half"], copy(runs["both"], tmp_path / "picked", picked)], **QUICK).notes
    assert any("Picked from several layers by the very scores that are compared" in note for note in notes)
    few = compare_runs([runs["pixels"], runs["half"]], n_bootstrap=20, n_permutations=9).notes
    assert any("smallest p-value that 10 exchanges can give is 0.1" in note for note in few)


def test_neuroids_that_one_run_left_out_are_left_out_of_all(runs: dict[str, Path], tmp_path: Path) -> None:
    # The responses of the run that lost a voxel are others: make them pass for the same.
    pixels_hash = read_held_out(runs["pixels"]).attrs["responses_hash"]
    same = copy(runs["spoilt"], tmp_path / "lost", lambda data: data.assign_attrs(responses_hash=pixels_hash))
    found = compare_runs([runs["pixels"], same], **QUICK)
    assert found.notes == (
        "Left out, because other runs did not keep them: 1 of pixels; 11 voxels are compared.",
    )
    kept = np.delete(np.arange(12), 2)
    ids = read_held_out(runs["pixels"])["neuroid_id"].values[kept]
    assert list(found.scores["neuroid_id"].values) == list(ids)
    whole = read_netcdf(runs["pixels"] / RESULTS)["r"].values[0]
    np.testing.assert_allclose(found.scores["r"].sel(run="pixels"), whole[kept], atol=1e-6)
    assert list(found.table["n_voxels"]) == [5, 6, 11]


def test_neuroids_in_another_order_are_matched_by_name(runs: dict[str, Path], tmp_path: Path) -> None:
    turned = copy(runs["half"], tmp_path / "half", lambda data: data.isel(neuroid=slice(None, None, -1)))
    expected = compare_runs([runs["pixels"], runs["half"]], **QUICK)
    pd.testing.assert_frame_equal(compare_runs([runs["pixels"], turned], **QUICK).table, expected.table)


def test_runs_of_other_data_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    pixels = runs["pixels"]
    with pytest.raises(ValueError, match=r"pixels and spoilt were fitted to different data: responses hash"):
        compare_runs([pixels, runs["spoilt"]])
    series = run(
        tmp_path / "series", FeatureSpace(backbone="onehot"), dataset=time_series(), delays_volumes=(1, 2)
    )
    with pytest.raises(
        ValueError, match=r"dataset \(small-trials and small-series\), kind \(trials and time_series\)"
    ):
        compare_runs([pixels, series])

    def fewer(data: xr.Dataset) -> xr.Dataset:
        return data.isel(sample=slice(0, 80))

    def other_units(data: xr.Dataset) -> xr.Dataset:
        return data.assign_coords(sample_unit=("sample", np.arange(120)))

    def scaled(data: xr.Dataset) -> xr.Dataset:
        return data.assign(measured=data["measured"] * 2)

    def other_neuroids(data: xr.Dataset) -> xr.Dataset:
        return data.assign_coords(neuroid_id=("neuroid", [f"other{i}" for i in range(12)]))

    for change, message in (
        (fewer, r"differ in the samples they tested: 120 samples of 60 units.*80 samples"),
        (other_units, r"differ in the units of these samples: 120 samples of 60 units.*of 120 units"),
        (scaled, "prepared the same responses differently"),
        (other_neuroids, "kept no neuroid in common"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_runs([pixels, copy(runs["half"], tmp_path / change.__name__, change)])


def test_folders_that_are_no_runs_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is 1 run to compare"):
        compare_runs([runs["pixels"]])
    with pytest.raises(ValueError, match="a run is named twice"):
        compare_runs([runs["pixels"], runs["pixels"] / ".." / "pixels"])
    with pytest.raises(FileNotFoundError, match="it is no run's folder"):
        compare_runs([runs["pixels"], tmp_path])
    old = tmp_path / "old"
    shutil.copytree(runs["half"], old)
    (old / HELD_OUT).unlink()
    with pytest.raises(FileNotFoundError, match=r"old has no held_out\.nc.*run it again"):
        compare_runs([runs["pixels"], old])
    (old / HELD_OUT).write_bytes((runs["half"] / HELD_OUT).read_bytes()[:2000])
    with pytest.raises(ValueError, match="corrupt or truncated"):
        compare_runs([runs["pixels"], old])
    partly = copy(runs["half"], tmp_path / "partly", lambda data: data.drop_vars("sample_unit"))
    with pytest.raises(ValueError, match="lacks sample_unit"):
        compare_runs([runs["pixels"], partly])


def test_folder_holds_numbers_pictures_and_a_page(comparison: RunComparison, tmp_path: Path) -> None:
    page_path = write_comparison(comparison, tmp_path / "out")
    out = page_path.parent
    table = pd.read_csv(out / "comparison.csv")
    pd.testing.assert_frame_equal(table, comparison.table, check_exact=False)
    record = json.loads((out / "comparison.json").read_text())
    assert record["runs"] == {"pixels": "pixels:pixels", "half": "half", "both": "selected"}
    assert len(record["differences"]) == 9
    whole = read_netcdf(out / "comparison.nc")
    np.testing.assert_array_equal(whole["roi_difference"].values.ravel(), comparison.table["difference"])
    np.testing.assert_allclose(
        whole["difference"].values[0],
        (whole["r"].sel(run="pixels") - whole["r"].sel(run="half")).values,
        atol=1e-6,
    )
    assert str(tmp_path) not in (out / "provenance.json").read_text()
    page = Page(page_path.read_text(encoding="utf-8"))
    pictures = page.all("img")
    assert len(pictures) == len(list((out / "figures").glob("*.png"))) == 3
    for picture in pictures:
        assert str(picture["src"]).startswith("data:image/png;base64,")
        assert picture["alt"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert not page.all("script")
    assert not page.all("link")
    planted = comparison.table.set_index(["run_a", "run_b", "roi"]).loc[("pixels", "half", "planted")]
    assert f"{planted['difference']:.3f}" in page.text
    assert "pixels predicts better than half over all voxels" in page.text
    assert "outer folds of both" in page.text
    with pytest.raises(FileExistsError, match="holds files already"):
        write_comparison(comparison, out)


def test_figures_draw_the_numbers(comparison: RunComparison) -> None:
    forest = difference_forest(comparison)
    first = forest.axes[0]
    dots = np.asarray(first.collections[-1].get_offsets())
    expected = comparison.table.query("run_a == 'pixels' and run_b == 'half'")["difference"]
    np.testing.assert_allclose(dots[:, 0], expected)
    assert first.get_title(loc="left") == "pixels\nless half"
    assert [label.get_text() for label in first.get_yticklabels()] == ["planted", "noise", "all"]
    scatter = score_scatter(comparison)
    points = np.asarray(scatter.axes[0].collections[0].get_offsets())
    r = comparison.scores["r"]
    drawn = np.sort(points[:, 0])
    np.testing.assert_allclose(drawn, np.sort(r.sel(run="half").values), atol=1e-6)


def test_hostile_names_stay_text(runs: dict[str, Path], tmp_path: Path) -> None:
    bad = tmp_path / "<script>alert(1)"
    shutil.copytree(runs["half"], bad)
    comparison = compare_runs([runs["pixels"], bad], n_bootstrap=20, n_permutations=19)
    page = Page(write_comparison(comparison, tmp_path / "out").read_text(encoding="utf-8"))
    assert not page.all("script")
    assert "<script>alert(1)" in page.text


def test_command_prints_a_table_and_writes_the_folder(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--permutations", "99", "--bootstraps", "50"]
    folders = [str(runs["pixels"]), str(runs["half"])]
    with pytest.raises(SystemExit) as ended:
        main(["compare", *folders, *quick, "--reference", folders[1], "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    expected = compare_runs(folders, reference=folders[1], n_bootstrap=50, n_permutations=99).table.iloc[0]
    assert "pixels less half" in printed
    assert f"{expected['difference']:+.3f}" in printed
    assert f"{expected['lower']:+.3f} to {expected['upper']:+.3f}" in printed
    assert (tmp_path / "out" / "report.html").is_file()
    with pytest.raises(SystemExit) as ended:
        main(["compare", *folders, *quick, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "holds files already" in capsys.readouterr().err
