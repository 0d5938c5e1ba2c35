"""Runs of visual search: files, numbers, resuming after a kill, comparison, and what is refused."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets import SearchDataset, dataset_info
from analyses.experiments.compare_search import compare_search
from analyses.experiments.search import read_search_run, run_search
from analyses.experiments.search_config import SearchConfig
from analyses.experiments.search_scenes import found_draws
from cogmodels.search import Scanpaths
from cogmodels.search.oat.oat import OAT
from cogmodels.search.reaction_time import INTERCEPT_MS, MS_PER_FIXATION
from encoders.training.settings import Training
from stimuli.search_displays import make_paradigm
from tests.analyses.search_runs import scenes, small_config, small_run
from tests.cogmodels.oat_cases import random_trials, tiny_oat, vector_shelves
from tests.oracles.search_curves import found_share


@pytest.fixture(scope="module")
def chance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "chance"
    small_run(out)
    return out


@pytest.fixture(scope="module")
def pixel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "pixel"
    small_run(out, model="pixel")
    return out


@pytest.fixture(scope="module")
def on_scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("scenes")
    scenes().save(root / "displays")
    for model in ("pixel", "center"):
        small_run(root / model, model=model, paradigm=str(root / "displays"), n_displays=None)
    return {name: root / name for name in ("pixel", "center", "displays")}


def people_on_scenes() -> Scanpaths:
    """Return two people; ann looks at the targets' places as they are, bob first at a corner."""
    paths, observers, displays = [], [], []
    for display in scenes():
        target = tuple(display.items[["x_px", "y_px"]].to_numpy()[0])
        for name, path in (
            ("ann", [target, (40, 25), target]),
            ("bob", [(5, 5), (40, 25), (60, 30), target]),
        ):
            paths.append(path)
            observers.append(name)
            displays.append(display.display_id)
    return Scanpaths.from_lists(paths, observers, displays, found=[True] * len(paths))


def people_in_paradigm() -> SearchDataset:
    """Return people for whom top_down is flat and left_right costs 10 ms an item."""
    rows = [
        ("lighting_direction", condition, size, 400 + slope * size)
        for condition, slope in (("top_down", 1.0), ("left_right", 10.0))
        for size in (1, 6, 12)
    ]
    table = pd.DataFrame(rows, columns=["paradigm", "condition", "set_size", "rt_ms"])
    return SearchDataset(dataset_info("search-asymmetry"), scenes(), reaction_times=table)


def test_a_run_writes_what_it_is_and_what_came_out(chance: Path) -> None:
    run = read_search_run(chance)
    assert {path.name for path in chance.iterdir()} == {
        "config.json",
        "displays.csv",
        "figures",
        "provenance.json",
        "report.html",
        "results.json",
        "scanpaths.csv",
        "trials.csv",
    }
    displays = make_paradigm("lighting_direction", 2)
    assert run.displays_sha256 == displays.content_hash
    assert run.trials["display"].tolist() == displays.display_ids
    assert run.kind == "set_sizes"
    assert run.config == small_config()
    np.testing.assert_allclose(
        run.trials["rt_ms"], MS_PER_FIXATION * run.trials["n_fixations"] + INTERCEPT_MS
    )
    record = json.loads((chance / "provenance.json").read_text())
    assert record["seeds"] == {"seed": 0}


def test_slopes_are_those_of_a_plain_fit_to_the_trials(chance: Path) -> None:
    trials = pd.read_csv(chance / "trials.csv")
    found = json.loads((chance / "results.json").read_text())["slopes"]
    assert {row["condition"] for row in found} == {"top_down", "left_right"}
    for row in found:
        own = trials[trials["condition"] == row["condition"]]
        assert row["slope_ms_per_item"] == pytest.approx(np.polyfit(own["set_size"], own["rt_ms"], 1)[0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 6), st.integers(0, 8), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    )
)
def test_curves_equal_the_plain_product_limit(trials: list[tuple[int | None, int, int]]) -> None:
    found_at = [math.nan if at is None else float(at) for at, _, _ in trials]
    last = [float(max(until, at or 0)) for at, until, _ in trials]
    weights = [float(weight) for _, _, weight in trials]
    ours = found_draws(np.array(found_at), np.array(last), np.array([weights]), 6)[0]
    if sum(weights) == 0:
        assert np.isnan(ours).all()
        return
    np.testing.assert_allclose(ours, found_share(found_at, last, weights, 6), atol=1e-12)
    known = ours[np.isfinite(ours)]
    assert (np.diff(known) >= -1e-12).all()
    assert ((known >= -1e-12) & (known <= 1 + 1e-12)).all()


def test_curves_without_broken_off_searches_are_plain_shares() -> None:
    found_at = np.array([1, 1, 3, np.nan])
    curve = found_draws(found_at, np.full(4, np.inf), np.ones((1, 4)), 4)[0]
    np.testing.assert_allclose(curve, [0.5, 0.5, 0.75, 0.75])


def test_a_killed_run_goes_on_and_ends_in_the_same_bits(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.analyses.search_runs import small_run\n"
        "small_run(Path(sys.argv[1]), model='saliency', n_displays=3, chunk_displays=2)"
    )
    out = tmp_path / "killed"
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(out)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
    )
    parts = out / "checkpoints"
    until = time.time() + 120
    while len(list(parts.glob("displays*.npz"))) < 2:
        assert started.poll() is None
        assert time.time() < until
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    config = small_config(model="saliency", n_displays=3, chunk_displays=2)
    if not (out / "results.json").exists():
        with pytest.raises(FileNotFoundError, match="unfinished"):
            read_search_run(out)
    with pytest.raises(FileExistsError, match="resume"):
        run_search(config, out, progress=False)
    run_search(config, out, resume=True, progress=False)
    run_search(config, tmp_path / "whole", progress=False)
    for name in ("scanpaths.csv", "trials.csv", "displays.csv", "results.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not parts.exists()


def test_chunks_change_nothing_in_where_a_baseline_looks(chance: Path, tmp_path: Path) -> None:
    small_run(tmp_path / "run", chunk_displays=5)
    assert (tmp_path / "run" / "scanpaths.csv").read_bytes() == (chance / "scanpaths.csv").read_bytes()


def test_rollouts_are_observers_of_their_own(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", n_rollouts=2, label="dice")
    assert set(run.trials["observer"]) == {"dice#0", "dice#1"}
    assert run.name == "dice"


def test_eccnet_on_a_network_by_name(tmp_path: Path) -> None:
    run = small_run(
        tmp_path / "run",
        model="eccnet",
        backbone="torchvision/squeezenet1_0",
        weights="random",
        conditions=("top_down",),
        set_sizes=(1, 6),
        n_displays=1,
        policy={"max_fixations": 3},
    )
    assert run.trials["n_fixations"].max() <= 6
    assert run.scanpaths.table["fixation"].max() <= 3
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["backbones"][0]["fingerprint"] == record["made_of"]["model"]["backbone_sha256"]


def test_comparison_counts_directions_and_pairs_displays(chance: Path, pixel: Path) -> None:
    found = compare_search([chance, pixel], people_in_paradigm(), n_bootstrap=50)
    index = found.index.set_index(["run", "paradigm"])
    # The target's very pixels are found at once, whatever the set size.
    assert index.loc[("pixel_template", "lighting_direction"), "index"] == 0
    assert index.loc[("chance", "lighting_direction"), "human_index"] == pytest.approx((10 - 1) / (10 + 1))
    assert index.loc[("chance", "lighting_direction"), "steeper"] == "left_right"
    overall = found.overall.set_index("run")
    assert overall.loc["pixel_template", "n_right"] == 0
    assert overall.loc["pixel_template", "slope_error_ms_per_item"] == pytest.approx((10 + 1) / 2)
    row = found.differences.set_index("group").loc["mean"]
    assert row["difference"] == pytest.approx(index.loc[("chance", "mean"), "index"])


def test_a_run_beside_itself_differs_by_nothing(chance: Path, tmp_path: Path) -> None:
    small_run(tmp_path / "again")
    found = compare_search([chance, tmp_path / "again"], people_in_paradigm(), n_bootstrap=50)
    assert [run.name for run in found.runs] == ["chance", "again"]
    assert (found.differences[["difference", "lower", "upper"]] == 0).all(axis=None)


def test_scenes_beside_people(on_scenes: dict[str, Path], tmp_path: Path) -> None:
    people_on_scenes().save(tmp_path / "people.csv")
    found = compare_search([on_scenes["pixel"], on_scenes["center"]], tmp_path / "people.csv", n_bootstrap=50)
    curve = found.curves.set_index(["observer", "fixation"])["found"]
    assert curve["pixel_template"].tolist() == [1.0] * 4
    assert curve["people"].tolist() == [0, 0, 0.5, 1.0]
    areas = found.areas.set_index("run")
    assert areas.loc["pixel_template", "share"] == pytest.approx(1 / 0.375)
    assert "scanmatch" in set(found.scores["metric"])
    assert found.scores["share"].notna().any()
    again = compare_search([on_scenes["pixel"], on_scenes["center"]], tmp_path / "people.csv", n_bootstrap=50)
    pd.testing.assert_frame_equal(found.scores, again.scores)


def test_people_who_hold_nothing_on_the_displays_are_refused(on_scenes: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="neither reaction times nor scanpaths"):
        compare_search([on_scenes["pixel"]], replace(people_in_paradigm(), displays=scenes()[:1]))
    with pytest.raises(KeyError, match="interiors"):
        compare_search([on_scenes["pixel"]], "interior")


def test_runs_on_other_displays_of_the_same_names_are_refused(chance: Path, tmp_path: Path) -> None:
    small_run(tmp_path / "other", seed=1, label="other")
    with pytest.raises(ValueError, match="different displays"):
        compare_search([chance, tmp_path / "other"])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"model": "eccnett"}, "did you mean|eccnet"),
        ({"backbone": "torchvision/vgg16"}, "backbone is for eccnet and ivsn"),
        ({"model": "oat"}, "model_folder is missing"),
        ({"model_folder": "x"}, "model_folder is for oat"),
        ({"model_options": {"seed": 1}}, "field of its own"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(**choices)


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"paradigm": "curvatur"}, KeyError, "curvature"),
        ({"conditions": ("top_dawn",)}, KeyError, "top_down"),
        ({"paradigm": "all", "set_sizes": (1, 2)}, ValueError, "set_sizes is for one asymmetry paradigm"),
        ({"policy": {"max_fixation": 3}}, ValueError, "max_fixations"),
        ({"policy": {"inhibition": "some"}}, ValueError, "inhibition"),
        ({"model": "center", "model_options": {"sd_z": 1}}, ValueError, "sd_x"),
        ({"model": "oat", "model_folder": "no/such/folder"}, FileNotFoundError, "no/such/folder"),
    ],
)
def test_nothing_is_written_for_what_cannot_be_run(
    choices: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        small_run(tmp_path / "run", **choices)
    assert not (tmp_path / "run").exists()


def test_displays_without_pictures_are_refused_by_models_that_look(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image.*choose a model that goes without"):
        small_run(tmp_path / "run", model="pixel", paradigm="amazon-covers")
    assert not (tmp_path / "run").exists()


def test_other_runs_and_damaged_ones_are_refused(chance: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="another run, which differs in seed"):
        run_search(small_config(seed=3), chance, resume=True, progress=False)
    small_run(tmp_path / "run")
    trials = tmp_path / "run" / "trials.csv"
    trials.write_text("\n".join(trials.read_text().splitlines()[:-2]))
    with pytest.raises(ValueError, match=r"trials\.csv does not belong"):
        read_search_run(tmp_path / "run")


def test_config_reads_back(chance: Path) -> None:
    assert SearchConfig.model_validate_json((chance / "config.json").read_bytes()) == small_config()


def test_a_trained_oat_searches_from_its_folder(tmp_path: Path) -> None:
    shelves = vector_shelves(4)
    tiny_oat(training=Training(n_epochs=1)).fit(random_trials(shelves), shelves).save(tmp_path / "oat")
    shelves.save(tmp_path / "shelves")
    run = small_run(
        tmp_path / "run",
        model="oat",
        model_folder=str(tmp_path / "oat"),
        paradigm=str(tmp_path / "shelves"),
        n_displays=None,
        n_rollouts=3,
        label="reader",
    )
    direct = OAT.load(tmp_path / "oat").search(shelves, n_rollouts=3)
    own = run.scanpaths.select(observers="reader#1").table["object"].tolist()
    assert own == direct.select(observers=direct.observers[1]).table["object"].tolist()
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert len(record["made_of"]["model"]["files_sha256"]) >= 2
