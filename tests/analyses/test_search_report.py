"""The page of a run of search: its figures show the numbers, it loads nothing, and names cannot break it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analyses.experiments.compare_search import SearchComparison, compare_search, summarize_searches
from analyses.experiments.search import SearchRun
from analyses.experiments.search_set_sizes import overall_table
from analyses.report.page import as_png
from analyses.report.search_curves import found_curves, shares_of_ceiling
from analyses.report.search_displays import choose_displays, scanpaths_on_displays
from analyses.report.search_maps import density, fixation_densities
from analyses.report.search_page import render_search, search_pictures, write_search_comparison
from analyses.report.search_slopes import asymmetry_by_paradigm, rt_over_set_size, slopes_beside_people
from cogmodels.search import Scanpaths
from stimuli.search_displays import make_paradigm
from tests.analyses.search_runs import scenes, small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    return small_run(tmp_path_factory.mktemp("report") / "run", model="nearest")


@pytest.fixture(scope="module")
def in_paradigm(run: SearchRun) -> SearchComparison:
    found = summarize_searches([run], None, scores=False)
    rows = [
        (run.name, "lighting_direction", "left_right", "top_down", 0.25, 0.1, 0.4, 0.7),
        (run.name, "mean", "", "", 0.25, 0.1, 0.4, 0.7),
    ]
    columns = ["run", "paradigm", "steeper", "shallower", "index", "lower", "upper", "human_index"]
    index, slopes = pd.DataFrame(rows, columns=columns), found.slopes.assign(human_slope=5.0)
    return replace(found, index=index, slopes=slopes, overall=overall_table(index, slopes))


@pytest.fixture(scope="module")
def on_scenes(tmp_path_factory: pytest.TempPathFactory) -> SearchComparison:
    root = tmp_path_factory.mktemp("scenes")
    scenes().save(root / "displays")
    small_run(root / "run", model="center", paradigm=str(root / "displays"), n_displays=None)
    rng = np.random.default_rng(0)
    names = scenes().display_ids * 2
    paths = [rng.uniform(5, 45, (4, 2)) for _ in names]
    people = Scanpaths.from_lists(paths, ["ann"] * 4 + ["bob"] * 4, names, found=[True] * 8)
    people.save(root / "people.csv")
    return compare_search([root / "run"], root / "people.csv", n_bootstrap=20)


def lines_of(figure: Figure) -> list[tuple[list[float], list[float]]]:
    return [
        (np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist())
        for ax in figure.axes
        for line in ax.lines
    ]


def test_reaction_times_are_drawn_as_they_are(in_paradigm: SearchComparison, run: SearchRun) -> None:
    drawn = lines_of(rt_over_set_size(in_paradigm, run.name))
    for _, cell in run.trials.groupby("condition"):
        means = cell.groupby("set_size")["rt_ms"].mean()
        assert any(x == list(means.index) and np.allclose(y, means) for x, y in drawn)


def test_slopes_and_index_are_drawn_as_they_are(in_paradigm: SearchComparison) -> None:
    figure = slopes_beside_people(in_paradigm)
    drawn = np.concatenate([dots.get_offsets()[:, 0] for dots in figure.axes[0].collections[1:]])
    assert set(np.round(in_paradigm.slopes["slope_ms_per_item"], 9)) <= set(np.round(drawn, 9))
    figure = asymmetry_by_paradigm(in_paradigm)
    offsets = [np.asarray(dots.get_offsets()) for dots in figure.axes[0].collections]
    assert any(np.allclose(places[:, 0], [0.25, 0.25]) for places in offsets if len(places) == 2)
    assert any(np.allclose(places[:, 0], [0.7, 0.7]) for places in offsets if len(places) == 2)


def test_curves_are_drawn_as_they_are(on_scenes: SearchComparison) -> None:
    drawn = lines_of(found_curves(on_scenes))
    for _, curve in on_scenes.curves.groupby("observer"):
        assert any(np.allclose(y, curve["found"]) for _, y in drawn if len(y) == len(curve))
    assert as_png(shares_of_ceiling(on_scenes))[:4] == b"\x89PNG"


def test_scanpaths_are_drawn_on_their_displays(run: SearchRun) -> None:
    displays = choose_displays(make_paradigm("lighting_direction", 2), [set(run.scanpaths.displays)], 2)
    assert set(displays.table["condition"]) == {"top_down", "left_right"}
    assert set(displays.table["set_size"]) == {12}
    drawn = lines_of(scanpaths_on_displays(displays, {"me": run.scanpaths}))
    path = run.scanpaths.select(displays=displays[0].display_id).arrays(start=True)[0]
    assert any(np.allclose(np.transpose([x, y]), path) for x, y in drawn if len(x) == len(path))


def test_only_a_known_start_has_a_square() -> None:
    displays, places = scenes(1), [(4.0, 4.0), (20.0, 9.0), (30.0, 12.0)]
    for start, numbers in ((True, ["1", "2"]), (False, ["1", "2", "3"])):
        paths = Scanpaths.from_lists([places], "ann", "scene0", start=start)
        ax = scanpaths_on_displays(displays, {"ann": paths}).axes[0]
        assert [text.get_text() for text in ax.texts] == numbers
        assert len(ax.collections) == 1 + start
        assert len(ax.collections[-1].get_offsets()) == len(numbers)


def test_no_two_runs_look_alike_and_none_like_people(on_scenes: SearchComparison) -> None:
    names = ["people", *(f"run {number}" for number in range(12))]
    one = on_scenes.curves[on_scenes.curves["observer"] != "people"]
    curves = pd.concat([one.assign(observer=name) for name in names])
    runs = tuple(replace(on_scenes.runs[0], name=name) for name in names[1:])
    lines = found_curves(replace(on_scenes, runs=runs, curves=curves)).axes[0].lines
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == len(names)


def test_people_are_drawn_first_and_who_is_left_out_is_said(on_scenes: SearchComparison) -> None:
    runs = tuple(replace(on_scenes.runs[0], name=f"run {number}") for number in range(7))
    pictures = {each.name: each for each in search_pictures(replace(on_scenes, runs=runs), scenes())}
    assert pictures["displays"].figure is not None
    assert pictures["displays"].figure.axes[0].get_ylabel() == "people"
    assert "the first 6 of 8 observers" in pictures["displays"].caption


def test_density_is_1_on_average_and_high_where_the_gaze_was() -> None:
    displays = scenes()
    corner = Scanpaths.from_lists([[(4.0, 4.0)] * 30], "ann", "scene0")
    found = density(corner, displays.table)
    assert found.mean() == pytest.approx(1.0)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert (column / found.shape[1], row / found.shape[0]) == pytest.approx((4 / 80, 4 / 50), abs=0.02)
    assert as_png(fixation_densities({"ann": corner}, displays.table))[:4] == b"\x89PNG"


def test_page_holds_everything_and_loads_nothing(run: SearchRun) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    images = re.findall(r'<img src="(.{30}).*?" alt="(.*?)"', page)
    assert len(images) == len(list((run.folder / "figures").glob("*.png"))) >= 3
    assert all(source.startswith("data:image/png;base64,") and len(alt) > 30 for source, alt in images)
    words = re.sub(r'"data:image[^"]*"', "", page)
    assert not re.search(r"https?://|\bnan\b|<script|<link", words)
    assert f"{run.trials['found'].mean():.1%}" in page


def test_names_are_escaped(in_paradigm: SearchComparison) -> None:
    wicked = "<script>alert(1)</script>"
    named = replace(in_paradigm.runs[0], name=wicked)
    found = replace(in_paradigm, runs=(named,))
    page = render_search(found, [], {}, {"label": wicked})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_page_says_what_it_cannot_draw(in_paradigm: SearchComparison) -> None:
    pictures = {
        picture.name: picture for picture in search_pictures(in_paradigm, None) if picture.figure is None
    }
    assert list(pictures) == ["displays"]
    assert "no longer at hand" in render_search(in_paradigm, list(pictures.values()), {}, {})


def test_comparison_is_written_whole_or_not_at_all(on_scenes: SearchComparison, tmp_path: Path) -> None:
    page = write_search_comparison(on_scenes, tmp_path / "out")
    assert {"comparison.json", "curves.csv", "areas.csv", "scores.csv", "provenance.json", "figures"} <= {
        path.name for path in page.parent.iterdir()
    }
    read = pd.read_csv(page.parent / "curves.csv")
    np.testing.assert_allclose(read["found"], on_scenes.curves["found"])
    with pytest.raises(FileExistsError, match="new or empty"):
        write_search_comparison(on_scenes, tmp_path / "out")
