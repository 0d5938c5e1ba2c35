"""Scanpaths in JSON: what is read, and files that are damaged, made by the tests themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets.scanpath_json import read_scene_paths, read_scenes


def _scene(**changes: Any) -> dict[str, Any]:
    scene = {"image": "room.jpg", "target": "room_target.jpg", "target_object": "cup"}
    scene |= {"target_matched_row": 40, "target_matched_column": 100, "target_height": 20, "target_width": 30}
    scene |= {
        "initial_fixation_row": 50,
        "initial_fixation_column": 10,
        "image_height": 100,
        "image_width": 200,
    }
    return scene | changes


def _trial(**changes: Any) -> dict[str, Any]:
    trial = {
        "target_found": True,
        "target_bbox": [40, 100, 60, 130],
        "X": [12.5, 60.0, 95.0],
        "Y": [50.0, 20.0, 45.0],
    }
    trial |= {
        "T": [200, 210, 220, 230, 30],
        "receptive_height": 10,
        "receptive_width": 16,
        "max_fixations": 5,
    }
    return trial | {"screen_height": 100, "screen_width": 200} | changes


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_trials_become_scanpaths(tmp_path: Path) -> None:
    scenes = read_scenes(_write(tmp_path / "scenes.json", [_scene(), _scene(image="hall.jpg")]))
    assert scenes.loc["room", ["x_px", "y_px", "width_px", "height_px"]].tolist() == [100, 40, 30, 20]
    missed = _trial(target_found=False, X=[12.0, 60.0], Y=[50.0, 20.0], T=[200, 210])
    people = {
        "01": _write(tmp_path / "01.json", {"room.jpg": _trial(), "hall.jpg": missed}),
        "02": _write(tmp_path / "02.json", {"room.jpg": missed}),
    }
    found = read_scene_paths(people, scenes, scale=0.5)
    paths = found.scanpaths
    assert (
        paths.trials["found_at"].tolist()[0] == 2
    )  # the first of three places is the start, and is not counted
    assert paths.trials["found"].tolist() == [True, False, False]
    assert paths.arrays(start=True)[0].tolist() == [[6.25, 25.0], [30.0, 10.0], [47.5, 22.5]]
    assert paths.durations(start=True)[0].tolist() == [200, 210, 220]  # what came after the end is left out
    first = found.trials.iloc[0]
    assert (first["observer"], first["display"], first["fixations_allowed"]) == ("01", "room", 4)
    assert (first["start_dx_px"], first["start_dy_px"]) == (1.25, 0.0)


@settings(max_examples=60, deadline=None)
@given(x=st.integers(60, 170), y=st.integers(10, 90), found=st.booleans())
def test_found_has_to_agree_with_the_last_place(
    tmp_path_factory: pytest.TempPathFactory, x: int, y: int, found: bool
) -> None:
    """The target spans x 100 to 130 and y 40 to 60; half a receptive field is 8 wide and 5 high."""
    near = 92 <= x <= 138 and 35 <= y <= 65
    folder = tmp_path_factory.mktemp("trial")
    scenes = read_scenes(_write(folder / "scenes.json", [_scene()]))
    trial = _trial(target_found=found, X=[12.0, x], Y=[50.0, y])
    file = _write(folder / "01.json", {"room.jpg": trial})
    if near == found:
        assert read_scene_paths({"01": file}, scenes).scanpaths.trials["found"].tolist() == [found]
    else:
        with pytest.raises(ValueError, match="Are rows and columns exchanged"):
            read_scene_paths({"01": file}, scenes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": [1.0, 2.0]}, "X has 2 and Y 3 values"),
        ({"X": [], "Y": [], "T": []}, "X has 0 and Y 0 values"),
        ({"X": [1.0, float("nan"), 95.0]}, "X holds NaN"),
        ({"Y": [1.0, float("inf"), 45.0]}, "Y holds NaN or infinite"),
        ({"X": [1.0, "far", 95.0]}, "X holds something that is no number"),
        ({"X": [[1.0], [2.0], [95.0]]}, "X has to be a list of numbers"),
        ({"T": [200]}, "T has 1 durations for 3 fixations"),
        ({"T": [200, float("nan"), 3]}, "T holds NaN"),
        ({"target_found": "yes"}, "target_found is 'yes'"),
        (
            {"target_bbox": [100, 40, 130, 60]},
            r"target_bbox is \[100\.0, 40\.0.* by the scene it is \[40\.0, 100\.0",
        ),
        ({"max_fixations": None}, "max_fixations"),
    ],
)
def test_bad_trials_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    scenes = read_scenes(_write(tmp_path / "scenes.json", [_scene()]))
    file = _write(tmp_path / "01.json", {"room.jpg": _trial(**change)})
    with pytest.raises(ValueError, match=message) as caught:
        read_scene_paths({"01": file}, scenes)
    assert "01.json: trial on room.jpg" in str(caught.value)


def test_bad_files_of_scanpaths_are_named(tmp_path: Path) -> None:
    scenes = read_scenes(_write(tmp_path / "scenes.json", [_scene()]))
    whole = json.dumps({"room.jpg": _trial()})
    truncated = tmp_path / "cut.json"
    truncated.write_text(whole[:-40])
    cases: list[tuple[Path, str]] = [
        (truncated, "cut.json is truncated or not JSON"),
        (_write(tmp_path / "list.json", [1]), "has to hold trials by image; it holds a list"),
        (_write(tmp_path / "empty.json", {}), "it holds an empty dict"),
        (_write(tmp_path / "other.json", {"cellar.jpg": _trial()}), "there is no scene of that name"),
        (_write(tmp_path / "word.json", {"room.jpg": "seen"}), "is a str, not a mapping"),
    ]
    lacking = _trial()
    del lacking["T"]
    cases.append((_write(tmp_path / "lacking.json", {"room.jpg": lacking}), "lacks T"))
    for file, message in cases:
        with pytest.raises(ValueError, match=message):
            read_scene_paths({"01": file}, scenes)
    with pytest.raises(FileNotFoundError, match=r"nobody\.json does not exist"):
        read_scene_paths({"01": tmp_path / "nobody.json"}, scenes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has to hold a list of scenes; it holds an empty dict"),
        ([], "has to hold a list of scenes"),
        ([_scene(), _scene()], "names the image room twice"),
        ([_scene(target_width="wide")], "scene 0: target_width holds something that is no number"),
        ([_scene(target_matched_row=float("nan"))], "target_matched_row holds NaN"),
        ([_scene(image="")], "image is ''"),
        ([{"image": "room.jpg"}], "scene 0 lacks target"),
        (["room.jpg"], "scene 0 is a str, not a mapping"),
    ],
)
def test_bad_scenes_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_scenes(_write(tmp_path / "scenes.json", content))
