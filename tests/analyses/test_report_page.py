"""The page of a run: complete, self-contained, escaped, and honest about what is missing."""

from __future__ import annotations

import base64
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from analyses.experiments.run_folder import PREDICTIONS, RESULTS
from analyses.geometry import SurfaceGeometry
from analyses.report import write_report
from analyses.report.page import flatten
from analyses.report.words import VERDICTS
from tests.analyses.geometries import half_slice
from tests.analyses.page import Page
from tests.analyses.run_folder import (
    ATTRS,
    PROVENANCE,
    simulate_results,
    simulate_time_series,
    simulate_trials,
    write_run_folder,
)

SECTIONS = ("summary", "layers", "figures", "regions", "excluded", "caveats", "methods", "run")
ALL_FIGURES = {
    "best_and_worst_voxels",
    "layer_by_roi",
    "map_r",
    "map_r_normalized",
    "penalties",
    "score_distribution",
    "score_vs_ceiling",
    "selected_layers",
}
HOSTILE = '<script>alert("x")</script>'


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = simulate_results()
    folder = tmp_path_factory.mktemp("run")
    write_run_folder(folder, results, simulate_time_series(results), half_slice())
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def whole_page(whole_run: Path) -> Page:
    return Page((whole_run / "report.html").read_text(encoding="utf-8"))


def test_every_figure_is_a_file_and_on_the_page(whole_run: Path, whole_page: Page) -> None:
    assert {path.stem for path in (whole_run / "figures").iterdir()} == ALL_FIGURES
    inline = []
    for image in whole_page.all("img"):
        head, _, data = str(image["src"]).partition(",")
        assert head == "data:image/png;base64"
        inline.append(base64.b64decode(data, validate=True))
    assert len(inline) == len(ALL_FIGURES)
    for path in (whole_run / "figures").iterdir():
        assert path.read_bytes() in inline
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert 1000 < pixels.shape[1] < 1600
        assert (pixels < 250).any(axis=2).mean() > 0.02


def test_the_page_loads_nothing_and_runs_nothing(whole_page: Page) -> None:
    tags = {tag for tag, _ in whole_page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attrs in whole_page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "data", "poster"):
                assert str(value).startswith(("data:image/png;base64,", "#")), (tag, name)
    policy = [meta for meta in whole_page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy[0]["content"]).startswith("default-src 'none'")
    assert "@import" not in whole_page.text
    assert "url(" not in whole_page.text


def test_the_page_can_be_read_aloud_and_navigated(whole_page: Page) -> None:
    assert whole_page.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in whole_page.all("meta"))
    for image in whole_page.all("img"):
        assert len(str(image["alt"])) > 30
    levels = whole_page.headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs in whole_page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    targets = {str(link["href"])[1:] for link in whole_page.all("a")}
    assert targets <= set(ids)
    labelled = {label for _, attrs in whole_page.tags if (label := attrs.get("aria-labelledby"))}
    assert labelled <= set(ids)
    assert all(cell.get("scope") in ("row", "col") for cell in whole_page.all("th"))


def test_the_page_tells_what_was_run(whole_page: Page) -> None:
    for fact in (
        PROVENANCE["command_line"],
        PROVENANCE["backbones"][0]["fingerprint"],
        PROVENANCE["dataset"]["sha256"]["responses"],
        PROVENANCE["versions"]["torch"],
        PROVENANCE["started"],
        ATTRS["licence"],
        ATTRS["citation"],
        "n_permutations",
    ):
        assert str(fact) in whole_page.text


def test_the_settings_are_those_that_were_used_without_paths_of_a_machine(tmp_path: Path) -> None:
    results = simulate_results(n_voxels=40)
    results.attrs["reductions"] = json.dumps({"MiniLM": "mean"})
    results["r_within"] = results["r"] / 2
    results.attrs["within"] = "category"
    folder = write_run_folder(tmp_path / "run", results)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dataset"] = "/home/someone/study/data"
    config["spaces"][1]["weights"] = "/home/someone/weights/minilm.safetensors"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    page = page_of(folder)
    assert "/home/" not in page.text
    for shown in (
        "minilm.safetensors",
        "encoder.layer.0, encoder.layer.2, encoder.layer.5",
        "Mean r within category",
    ):
        assert shown in page.text
    assert "spaces › 2 › reduction mean" in page.text
    table = (folder / "report.html").read_text(encoding="utf-8").partition("</table>")[0]
    head, *rows = table.split("<tr")[1:]
    assert {row.count("<td>") for row in rows} == {head.count('scope="col"') - 1} == {8}


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    results = simulate_results(n_voxels=40, n_rois=1, choose=False)
    pages = [
        write_report(write_run_folder(tmp_path / name, results, simulate_trials(results))).read_bytes()
        for name in "ab"
    ]
    assert pages[0] == pages[1]


def test_names_from_users_files_stay_text(tmp_path: Path) -> None:
    results = simulate_results(n_voxels=40, layers=(f"{HOSTILE}:a", "b&b:<i>"), n_rois=2)
    results = results.assign_coords(roi=[HOSTILE, '"><img src=x onerror=alert(1)>'])
    results["excluded"].values[:] = ""
    results["excluded"] = results["excluded"].astype("U64")
    results["excluded"].values[0] = HOSTILE
    results.attrs.update(
        dict.fromkeys(("title", "subject", "citation", "licence", "ceiling_source"), HOSTILE)
    )
    provenance = {"command_line": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}}
    predictions = simulate_time_series(results)
    predictions["stimulus_id"].values[predictions["stimulus_id"].values == "face"] = "<b>$x"
    folder = write_run_folder(tmp_path / "run", results, predictions, provenance=provenance)
    text = write_report(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "i", "b"}
    assert "onerror" not in {name for _, attrs in page.tags for name in attrs}
    assert len(page.all("img")) == text.count("<img ")
    assert page.text.count(HOSTILE) >= 8


def without(results: xr.Dataset, *names: str) -> xr.Dataset:
    return results.drop_vars([name for name in names if name in results.variables])


@pytest.mark.parametrize(
    ("dropped", "said", "gone"),
    [
        (
            ("noise_ceiling_r", "r_normalized", "roi_r_ceiling"),
            "The noise ceiling is unknown",
            {"score_vs_ceiling", "map_r_normalized"},
        ),
        (
            ("p_value", "q_value", "p_value_max", "null_mean_r", "null_r_95"),
            "not known whether this score is above chance",
            set(),
        ),
        (
            ("roi_mask", "roi_r", "roi_r_lower", "roi_r_upper", "roi_r_ceiling"),
            "The run has no scores by region.",
            {"layer_by_roi"},
        ),
        (("selected_layer",), "No layer was chosen inside the training folds.", {"selected_layers"}),
        (("alpha",), "The run records no penalties.", {"penalties"}),
    ],
)
def test_what_a_run_lacks_is_said(
    tmp_path: Path, dropped: tuple[str, ...], said: str, gone: set[str]
) -> None:
    results = without(simulate_results(n_voxels=60, layers=("a", "b"), n_rois=2, n_folds=2), *dropped)
    folder = write_run_folder(tmp_path, results, geometry=half_slice(60))
    page = page_of(folder)
    assert said in page.text
    assert {path.stem for path in (folder / "figures").iterdir()} == ALL_FIGURES - gone - {
        "best_and_worst_voxels"
    }
    assert all(section in {attrs.get("id") for _, attrs in page.tags} for section in SECTIONS)
    assert "nan" not in page.text.lower().split()


def test_the_barest_run_still_has_a_page(tmp_path: Path) -> None:
    results = simulate_results(n_voxels=60, choose=False, n_excluded=0)[["r"]]
    results.attrs.clear()
    folder = write_run_folder(tmp_path, results)
    (folder / "provenance.json").unlink()
    page = page_of(folder)
    assert VERDICTS["unknown"] in page.text
    assert "does not say where its voxels lie" in page.text
    assert "holds no provenance.json" in page.text
    assert "None: every voxel was fitted." in page.text
    assert {path.stem for path in (folder / "figures").iterdir()} == {"score_distribution"}


@pytest.mark.parametrize(("many", "one"), [("neurons", "neuron"), ("vertices", "vertex")])
def test_the_page_speaks_of_what_was_measured(tmp_path: Path, many: str, one: str) -> None:
    results = simulate_results(n_voxels=60, layers=("a", "b"), n_folds=2, n_excluded=1)
    results.attrs["neuroids"] = many
    results["alpha"].values[:] = results["alpha_grid"].values[
        0, 0, -1
    ]  # so that the ends of the grid are spoken of
    predictions = simulate_trials(results).assign_attrs(neuroids=many)
    page = page_of(write_run_folder(tmp_path, results, predictions))
    words = " ".join([page.text, *(str(image["alt"]) for image in page.all("img"))])
    assert "voxel" not in words.lower()
    for phrase in (
        f"over 59 {many}",
        f"{one.capitalize()}-wise encoding models",
        f"1 {one} was left out",
        f"Best and worst {many}",
        f"a penalty per {one}",
        f"right for {many} without signal",
    ):
        assert phrase in page.text, phrase


def test_a_run_that_does_not_beat_its_null_says_so(tmp_path: Path) -> None:
    results = simulate_results(n_voxels=60, strength=0.0, choose=False)
    results["r"].values[:] = np.where(np.isfinite(results["r"]), -0.01, np.nan)
    page = page_of(write_run_folder(tmp_path, results, simulate_trials(results)))
    assert VERDICTS["not above"] in page.text
    assert VERDICTS["above"] not in page.text
    assert "gives no evidence" in page.text


@pytest.mark.parametrize(
    ("space", "said"), [("native", "lie on 'native' hemispheres"), ("fsaverage", "of 200 and 200 vertices")]
)
def test_surfaces_that_cannot_be_drawn_are_explained(tmp_path: Path, space: str, said: str) -> None:
    geometry = SurfaceGeometry(200, 200, np.arange(30), np.arange(30), space=space)
    results = simulate_results(n_voxels=60, layers=("a",), choose=False, n_rois=1, n_folds=2)
    page = page_of(write_run_folder(tmp_path, results, geometry=geometry))
    assert said in page.text
    assert "maps/" in page.text


def test_figures_of_an_earlier_state_do_not_linger(tmp_path: Path) -> None:
    results = simulate_results(n_voxels=60, layers=("a",), choose=False, n_rois=1, n_folds=2)
    folder = write_run_folder(tmp_path, results, geometry=half_slice(60))
    write_report(folder)
    (folder / "geometry.npz").unlink()
    write_report(folder)
    assert not (folder / "figures" / "map_r.png").exists()


def test_folders_that_hold_no_finished_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"results\.nc"):
        write_report(tmp_path)
    folder = write_run_folder(tmp_path / "run", simulate_results(n_voxels=20, n_excluded=2))
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        write_report(folder)


@pytest.mark.parametrize("name", [RESULTS, PREDICTIONS, "config.json", "provenance.json", "geometry.npz"])
def test_corrupt_files_are_named(tmp_path: Path, name: str) -> None:
    results = simulate_results(n_voxels=20, n_excluded=2)
    folder = write_run_folder(tmp_path, results, simulate_trials(results), half_slice(20))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("record", "rows"),
    [
        ({"a": {"b": 1, "c": [1.5, None, True]}}, [("a › b", "1"), ("a › c", "1.5, –, yes")]),
        ({"a": [{"b": "x"}, {"b": "y"}]}, [("a › 1 › b", "x"), ("a › 2 › b", "y")]),
        ({"a": []}, [("a", "–")]),
        ([{"a": 1}, {"a": 2}], [("1 › a", "1"), ("2 › a", "2")]),
    ],
)
def test_nested_records_become_rows(record: Any, rows: list[tuple[str, str]]) -> None:
    assert flatten(json.loads(json.dumps(record))) == rows


def test_pictures_hold_no_date_or_version(whole_run: Path) -> None:
    for path in (whole_run / "figures").iterdir():
        assert "Software" not in Image.open(io.BytesIO(path.read_bytes())).info
