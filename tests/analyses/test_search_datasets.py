"""Search data sets: names and types, who refuses them, and files that are damaged, made by the tests themselves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets import (
    Dataset,
    SearchDataset,
    dataset_info,
    list_datasets,
    load_dataset,
    load_response_dataset,
    register_dataset,
    registry,
)
from analyses.datasets.amazon_covers import derive_grid, make_cover_displays, read_collages
from analyses.datasets.dataset import DatasetInfo
from analyses.datasets.registry import ResponseName, SearchName
from analyses.datasets.scanpath_json import read_scene_paths, read_scenes
from analyses.datasets.search_tables import (
    check_reach,
    read_human_times,
    read_one_hot,
    read_padded_paths,
    split_set_sizes,
)
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from cogmodels.search import Scanpaths
from stimuli.search_displays import SearchDisplays, scene_displays

SEARCH = ["amazon-covers", "coco-search18", "interiors", "search-asymmetry"]


def _info(**changes: Any) -> DatasetInfo:
    values = dict.fromkeys(("title", "home", "licence", "citation", "units"), "")
    values |= {"name": "test", "files": (), "subjects": ("all",), "shapes": {}, "holds": "search"}
    return DatasetInfo(**(values | changes))


def _displays() -> SearchDisplays:
    return scene_displays(None, [(10, 20, 30, 40)], display_ids=["a"], size_px=(200, 100))


def test_names_that_are_written_out_have_their_types() -> None:
    """What type checkers are told about names agrees with what is registered."""
    infos = list_datasets()
    assert sorted(get_args(SearchName)) == [info.name for info in infos if info.holds == "search"] == SEARCH
    assert sorted(get_args(ResponseName)) == [info.name for info in infos if info.holds == "responses"]


@pytest.mark.parametrize("name", SEARCH)
def test_files_have_addresses_at_one_commit(name: str) -> None:
    info = dataset_info(name)
    commits = {file.url.split("/")[5] for file in info.files if file.url}
    assert len(commits) == 1
    (commit,) = commits
    assert len(commit) == 40
    assert commit in info.home
    assert len({file.path for file in info.files}) == len(info.files)
    unaddressed = [file.path for file in info.files if not file.url]
    if name == "interiors":
        assert len(unaddressed) == 268
        assert all(path.startswith("interiors_images/") for path in unaddressed)
    else:
        assert unaddressed == (["human_rt.csv"] if name == "search-asymmetry" else [])
    # What can be fetched is fetched before the rest is asked for.
    assert [bool(file.url) for file in info.files] == sorted(
        (bool(file.url) for file in info.files), reverse=True
    )


def test_fits_refuse_searches_before_reading_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COGMODELS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = EncodingConfig(dataset="interiors", spaces=(FeatureSpace(backbone="pixels"),))
    with pytest.raises(
        ValueError, match=r"interiors holds displays and scanpaths .* data sets with responses are"
    ):
        run_encoding(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert isinstance(load_response_dataset("simulated", n_stimuli=10), Dataset)
    with pytest.raises(KeyError, match="did you mean 'interiors'"):
        load_response_dataset("interior")


def test_a_loader_must_give_what_its_info_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @register_dataset(_info(name="wrongly-registered", holds="responses"))
    def load(subject: str) -> SearchDataset:
        return SearchDataset(_info(), _displays())

    with pytest.raises(ValueError, match=r'gave a SearchDataset .* register it with holds="search"'):
        load_response_dataset("wrongly-registered")
    with pytest.raises(ValueError, match="holds is 'eyes'; allowed are responses, search"):
        _info(holds="eyes")


def test_observers_are_not_subjects() -> None:
    with pytest.raises(
        ValueError, match=r"subject is '01'; interiors has all\. Observers are loaded together"
    ):
        load_dataset("interiors", "01")


def test_missing_files_say_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGMODELS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in SEARCH:
        with pytest.raises(FileNotFoundError, match=f"{name} needs the file .* download=False was given"):
            load_dataset(name, download=False)


def test_parts_of_a_search_dataset_belong_together() -> None:
    paths = Scanpaths.from_lists([[(10, 20), (30, 40)]], "ann", "a")
    data = SearchDataset(_info(), _displays(), paths, references={"models": 1, "trials": 2})
    assert repr(data) == f"SearchDataset('test'; 1 display; {paths!r}; references models, trials)"
    with pytest.raises(KeyError, match="unknown display 'b'"):
        SearchDataset(_info(), _displays(), Scanpaths.from_lists([[(10, 20)]], "ann", "b"))
    with pytest.raises(ValueError, match=r"lack the columns \['paradigm'\]"):
        SearchDataset(
            _info(), _displays(), None, pd.DataFrame({"condition": ["c"], "set_size": [1], "rt_ms": [500.0]})
        )


# Scanpaths in JSON


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


# Tables of the asymmetry study


def test_one_hot_rows_become_numbers_of_fixations(tmp_path: Path) -> None:
    hits = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.save(tmp_path / "hits.npy", hits)
    np.savetxt(tmp_path / "hits.csv", hits, delimiter=",", fmt="%d")
    for name in ("hits.npy", "hits.csv"):
        assert read_one_hot(tmp_path / name).tolist() == pytest.approx([1, np.nan, 0, 2], nan_ok=True)
    set_size, number = split_set_sizes(6, (3, 9), tmp_path / "hits.csv")
    assert (set_size.tolist(), number.tolist()) == ([3, 3, 3, 9, 9, 9], [0, 1, 2, 0, 1, 2])
    with pytest.raises(ValueError, match="7 rows, which are no equal blocks"):
        split_set_sizes(7, (3, 9), tmp_path / "hits.csv")


def _save(values: Any) -> Callable[[Path], Any]:
    return lambda path: np.save(path, values)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_save(np.array([[0, 2, 0]])), "rows of 0 and 1"),
        (_save(np.array([[0, np.nan]])), "rows of 0 and 1"),
        (_save(np.array([0, 1])), "rows of 0 and 1"),
        (_save(np.zeros((0, 3))), "rows of 0 and 1"),
        (_save(np.array([[0, 1], [1, 1]])), "1 rows with more than one 1, first row 1"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v"), "truncated or not a numpy file"),
        (
            lambda path: np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True),
            "unpickling can run code",
        ),
    ],
)
def test_bad_one_hot_files_are_refused(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path / "hits.npy")
    with pytest.raises(ValueError, match=message):
        read_one_hot(tmp_path / "hits.npy")


def test_bad_csv_files_are_refused(tmp_path: Path) -> None:
    for content, message in (("0,1\n0", "truncated or no table"), ("a,b\n", "no table of numbers")):
        (tmp_path / "hits.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_one_hot(tmp_path / "hits.csv")
    with pytest.raises(FileNotFoundError):
        read_one_hot(tmp_path / "none.csv")


def _padded(folder: Path, **changes: Any) -> tuple[Path, Path, Path]:
    """Write three paths as (row, column), one of which ends at the very corner (0, 0)."""
    parts: dict[str, Any] = {
        "fix": np.array(
            [[(5, 7), (2, 9), *[(0, 0)] * 2], [(5, 7), (1, 1), *[(0, 0)] * 2], [(5, 7), *[(0, 0)] * 3]]
        ),
        "cp": np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]),
        "ifix": np.array([[2], [3], [1]]),
    }
    for name, values in (parts | changes).items():
        np.save(folder / f"{name}.npy", values)
    return folder / "fix.npy", folder / "cp.npy", folder / "ifix.npy"


def test_padding_ends_where_lengths_say(tmp_path: Path) -> None:
    paths, found = read_padded_paths(*_padded(tmp_path), 3)
    assert [path.tolist() for path in paths] == [[[7, 5], [9, 2]], [[7, 5], [1, 1], [0, 0]], [[7, 5]]]
    assert found.tolist() == [True, True, False]
    centres = np.array([[10.0, 2.0], [1.0, 1.0], [500.0, 500.0]])
    check_reach(paths, found, centres, 2.0, tmp_path)  # the third did not find its target
    with pytest.raises(
        ValueError, match="2 of 2 searches that found their target end more than 2 px from it"
    ):
        check_reach(paths, found, np.roll(centres[:, ::-1] + 5, 1, axis=0), 2.0, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fix": np.zeros((3, 4))}, r"needed are \(3, longest, 2\)"),
        ({"fix": np.zeros((2, 4, 2))}, r"needed are \(3, longest, 2\)"),
        ({"fix": np.full((3, 4, 2), np.nan)}, "NaN or infinite places"),
        ({"fix": np.ones((3, 4, 2))}, "goes on after the lengths"),
        ({"ifix": np.array([[2], [3]])}, "needed are 3 integers"),
        ({"ifix": np.array([[2.0], [3.0], [1.0]])}, "needed are 3 integers"),
        ({"ifix": np.array([[2], [3], [0]])}, "lengths from 0 to 3"),
        ({"ifix": np.array([[2], [3], [9]])}, "lengths from 2 to 9"),
        ({"cp": np.array([[0, 1, 0, 0], [0, 0, 1, 0]])}, "has 2 rows; needed are 3"),
        ({"cp": np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])}, "elsewhere than at the end"),
    ],
)
def test_padded_paths_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_padded_paths(*_padded(tmp_path, **changes), 3)


HUMAN_CSV = "experiment,condition,set_size,rt_ms\nletter,T_in_Ls,3,541\nletter,T_in_Ls,6,583.5\n"


def test_human_times_get_the_names_of_paradigms(tmp_path: Path) -> None:
    (tmp_path / "rt.csv").write_text(HUMAN_CSV)
    times = read_human_times(tmp_path / "rt.csv", {"letter": "t_and_l"})
    assert times.to_dict("list") == {
        "paradigm": ["t_and_l", "t_and_l"],
        "condition": ["T_in_Ls", "T_in_Ls"],
        "set_size": [3, 6],
        "rt_ms": [541.0, 583.5],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a readable csv file"),
        (HUMAN_CSV.replace("rt_ms", "time"), r"lacks the columns \['rt_ms'\]"),
        (HUMAN_CSV[:-6], "all positive and none missing"),
        (HUMAN_CSV.replace("541", "nan"), "all positive and none missing"),
        (HUMAN_CSV.replace("541", "-541"), "all positive and none missing"),
        (HUMAN_CSV.replace("541", "slow"), "all positive and none missing"),
        (HUMAN_CSV.replace(",6,", ",6.5,"), "whole numbers"),
        (HUMAN_CSV.splitlines()[0] + "\n", "none missing"),
        (HUMAN_CSV.replace(",6,", ",3,"), "has a cell twice"),
    ],
)
def test_bad_human_times_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rt.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_human_times(tmp_path / "rt.csv", {})


# Book covers


def _collage(**changes: Any) -> dict[str, Any]:
    collage = {
        "fixations": {"1": [[10, 20], [30, 40]], "2": [[50, 60]]},
        "ground_truth": [{"xmin": 20, "xmax": 180, "ymin": 30, "ymax": 270}],
        "size": {"width": 2560, "height": 1600},
        "target": "target_3.jpg",
    }
    return collage | changes


def test_collages_are_read_in_numerical_order(tmp_path: Path) -> None:
    table = read_collages(_write(tmp_path / "covers.json", {"10.jpg": _collage(), "2.jpg": _collage()}))
    assert table.index.tolist() == ["2", "10"]
    row = table.loc["10"]
    assert row[["x_px", "y_px", "target_width_px", "target_height_px"]].tolist() == [20, 30, 160, 240]
    assert (row["width_px"], row["height_px"], row["target"]) == (2560, 1600, "target_3")
    assert row["fixations"]["1"].tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no such mapping"),
        ({"1.jpg": "a"}, "lacks a part"),
        ({"1.jpg": _collage(size={"width": 5})}, "lacks a part or has it in another form"),
        ({"1.jpg": _collage(ground_truth=[])}, "has 0 targets; needed is one"),
        ({"1.jpg": _collage(ground_truth=[{}])}, "lacks a part"),
        ({"1.jpg": _collage(size={"width": float("nan"), "height": 5})}, "a finite number"),
        ({"1.jpg": _collage(fixations={"1": [[1, 2], [3]]})}, "pairs of finite numbers"),
        ({"1.jpg": _collage(fixations={"1": [[1, 2, 3]]})}, r"lists of \[x, y\]"),
        ({"1.jpg": _collage(fixations={"1": []})}, "pairs of finite numbers"),
        ({"1.jpg": _collage(fixations={"1": [[1, float("nan")]]})}, "pairs of finite numbers"),
        ({"1.jpg": _collage(fixations={})}, "at least one an observer"),
    ],
)
def test_bad_collages_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_collages(_write(tmp_path / "covers.json", content))


@settings(max_examples=40, deadline=None)
@given(
    n_rows=st.integers(2, 6),
    n_columns=st.integers(2, 14),
    pitch=st.tuples(st.floats(100, 200), st.floats(150, 300)),
    seed=st.integers(0, 1000),
)
def test_grids_are_recovered_from_boxes(
    n_rows: int, n_columns: int, pitch: tuple[float, float], seed: int
) -> None:
    """Boxes drawn on a known grid, each off by up to a tenth of the distance of lines; every line is among them."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(np.arange(n_rows), np.arange(n_columns), indexing="ij"), axis=-1).reshape(
        -1, 2
    )
    cells = rng.permutation(np.vstack([cells, cells[rng.integers(len(cells), size=20)]]))
    centres = 90 + cells[:, ::-1] * pitch
    shifted = centres + rng.uniform(-0.1, 0.1, centres.shape) * pitch
    size = np.array([0.8, 0.9]) * pitch
    found, places, found_size = derive_grid(
        np.hstack([shifted - size / 2, np.tile(size, (len(cells), 1))]), n_rows, n_columns
    )
    assert np.array_equal(found, cells)
    expected = 90 + np.stack(np.divmod(np.arange(n_rows * n_columns), n_columns)[::-1], axis=1) * pitch
    assert np.abs(places - expected).max() <= 0.1 * max(pitch)
    assert np.allclose(found_size, size)


def test_targets_off_a_grid_are_refused() -> None:
    boxes = np.array([(x * 180.0, y * 260.0, 160.0, 240.0) for x in range(3) for y in range(2)])
    with pytest.raises(ValueError, match="the boxes lie on 3 columns; the grid has 14"):
        derive_grid(boxes, 2, 14)
    with pytest.raises(ValueError, match="the boxes lie on 2 rows; the grid has 6"):
        derive_grid(boxes, 6, 3)


def test_covers_of_a_collage_keep_the_box_of_its_target(tmp_path: Path) -> None:
    """One box of three in a cell is off by 7 px: it is kept as annotated, and the grid goes by the others."""
    cells = [(i, i % 6) for i in range(14)] + [(4, 4), (4, 4)]
    boxes = [
        {"xmin": 20 + 180 * i, "xmax": 178 + 180 * i, "ymin": 25 + 262 * j, "ymax": 262 + 262 * j}
        for i, j in cells
    ]
    boxes[4] = {name: value + 7 for name, value in boxes[4].items()}
    content = {f"{i + 1}.jpg": _collage(ground_truth=[box]) for i, box in enumerate(boxes)}
    displays = make_cover_displays(read_collages(_write(tmp_path / "covers.json", content)))
    assert displays[4].target_item == 4 * 14 + 4
    assert displays[4].target_box_px.tolist() == [747, 1080, 158, 237]
    assert displays[5].boxes_px[4 * 14 + 4].tolist() == [740, 1073, 158, 237]
    with pytest.raises(ValueError, match="found_within_px is -1"):
        load_dataset("amazon-covers", found_within_px=-1, download=False)
