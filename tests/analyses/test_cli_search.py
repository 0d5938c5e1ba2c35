"""`cogmodels search`: whole commands, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analyses.cli import main

QUICK = ("--paradigm", "lighting_direction", "--displays", "2", "--bootstraps", "20")


def ends_well(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("cli-search")
    for model in ("chance", "nearest"):
        ends_well("search", "run", "--model", model, *QUICK, "--out", str(root / model))
    return [str(root / "chance"), str(root / "nearest")]


def test_run_says_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = (
        "--model",
        "center",
        "--option",
        "sd_x=0.3",
        "--policy",
        "max_fixations=2",
        "--label",
        "middle",
    )
    ends_well("search", "run", *arguments, *QUICK, "--out", str(out))
    said = capsys.readouterr().out
    assert "middle: 12 trials" in said
    assert f"Report: {out / 'report.html'}" in said
    config = json.loads((out / "config.json").read_text())
    assert (config["model_options"], config["policy"]) == ({"sd_x": 0.3}, {"max_fixations": 2})


def test_compare_prints_and_writes(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends_well("search", "compare", *runs, "--bootstraps", "20", "--out", str(tmp_path / "both"))
    said = capsys.readouterr().out
    assert "chance" in said
    assert "Slopes" in said
    assert (tmp_path / "both" / "report.html").is_file()
    record = json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert set(record["runs"]) == {"chance", "nearest_first"}


def test_people_of_the_paradigms_are_set_beside(
    runs: list[str], real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends_well("search", "compare", *runs, "--people", "search-asymmetry", "--bootstraps", "20")
    said = capsys.readouterr().out
    # People's index of lighting direction, from the published reaction times.
    assert "0.701" in said
    assert "of 1" in said


def test_train_raises_a_network_that_eccnet_can_look_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / "network"
    quick = ("--images", "200", "--size", "32", "--training", "n_epochs=2")
    ends_well("search", "train", "--light", "below", *quick, "--out", str(network))
    assert "validation pictures named rightly" in capsys.readouterr().out
    small = (
        "--paradigm",
        "lighting_direction",
        "--conditions",
        "top_down",
        "--set-sizes",
        "1,6",
        "--displays",
        "1",
    )
    model = ("--model", "eccnet", "--backbone", str(network), "--policy", "max_fixations=2")
    ends_well("search", "run", *model, *small, "--bootstraps", "20", "--out", str(tmp_path / "run"))


def test_train_on_a_folder_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(20):
            picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "images" / label / f"{number}.png")
    quick = ("--size", "32", "--training", "n_epochs=2", "--change", "rotate_90")
    ends_well(
        "search", "train", "--data", str(tmp_path / "images"), *quick, "--out", str(tmp_path / "network")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--model", "eccnt", "--paradigm", "all"), "eccnet"),
        (("run", "--model", "chance", "--paradigm", "curvatur"), "curvature"),
        (("run", "--model", "chance", "--paradigm", "curvature", "--set-sizes", "8,x"), "--set-sizes"),
        (("run", "--model", "chance", "--paradigm", "curvature", "--policy", "max_fixations"), "NAME=VALUE"),
        (("run", "--model", "chance", "--paradigm", "curvature", "--displays", "0"), "n_displays"),
        (("train", "--light", "abvoe"), "above"),
        (("train", "--training", "epochs=2"), "n_epochs"),
        (("train", "--data", "no/such/folder"), "does not exist"),
        (("train", "--change", "fisheye"), "retina_warp"),
    ],
)
def test_bad_input_ends_with_one_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(capsys, "search", *arguments, "--out", str(tmp_path / "out"))
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_cannot_be_compared(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no run" in fails(capsys, "search", "compare", str(tmp_path))
    assert "given twice" in fails(capsys, "search", "compare", runs[0], runs[0])
    assert "search-asymmetry" in fails(capsys, "search", "compare", runs[0], "--people", "search-asymetry")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert "new or empty" in fails(capsys, "search", "compare", *runs, "--out", str(tmp_path / "taken"))
