"""Published searches against figures that were checked when the data were collected (see each test)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analyses.datasets import SearchDataset, fetch_dataset, load_dataset
from analyses.metrics.scanpath.found import found_by_fixation
from analyses.statistics.search_slopes import (
    asymmetry_index,
    asymmetry_interval,
    search_slopes,
    set_size_interaction,
)
from stimuli.images import read_image
from stimuli.search_displays import make_paradigm
from tests.oracles.search_slopes import asymmetry, distance_to_box, found_by, line

# Every test takes `real_data`, which skips where COGMODELS_DATA is absent.

# Gupta et al. 2021: index of each experiment, recomputed from the authors' stored output; their order of experiments.
PARADIGMS = [
    "curvature",
    "lighting_direction",
    "intersection",
    "t_and_l",
    "orientation_homogeneous",
    "orientation_heterogeneous",
]
INDICES = {
    "people": ([0.809, 0.701, 0.362, 0.404, 0.611, 0.500], 0.564),
    "eccNET": ([1.00, 1.00, 0.50, 0.79, -1.00, 0.79], 0.513),
    "IVSN": ([0.83, 0.99, -0.63, 0.29, -0.58, 1.00], 0.316),
}
HUMAN_SLOPES = {
    "curve_in_lines": 0.80,
    "line_in_curves": 7.59,
    "top_down": 4.21,
    "left_right": 23.88,
    "non_cross": 45.0,
    "cross": 96.0,
    "T_in_Ls": 14.0,
    "L_in_Ts": 33.0,
    "20_in_0": 2.38,
    "0_in_20": 9.86,
    "0_in_mixed": 23.73,
    "20_in_mixed": 71.12,
}
ECCNET_SLOPES = {
    "curve_in_lines": 0,
    "line_in_curves": 4.4,
    "top_down": 0,
    "left_right": 8.1,
    "non_cross": 32.7,
    "cross": 97.0,
    "T_in_Ls": 11.7,
    "L_in_Ts": 99.3,
    "20_in_0": 100.4,
    "0_in_20": 0,
    "0_in_mixed": 1.6,
    "20_in_mixed": 13.9,
}
ECCNET_FIXATIONS = {
    "line_in_curves": [1.17, 1.37, 1.60],
    "left_right": [1, 1.40, 1.37],
    "non_cross": [1.53, 1.86, 2.31],
    "cross": [2.00, 3.25, 4.31],
    "T_in_Ls": [1.03, 1.14, 1.31],
    "L_in_Ts": [1.75, 2.72, 4.11],
    "20_in_0": [1, 1.97, 3.63, 5.33],
    "0_in_mixed": [1, 1, 1.03, 1.07],
    "20_in_mixed": [1, 1.17, 1.40, 1.60],
}


@pytest.fixture(scope="module")
def asymmetry_data(real_data: Path) -> SearchDataset:
    return load_dataset("search-asymmetry", download=False)


@pytest.fixture(scope="module")
def interiors(real_data: Path) -> SearchDataset:
    return load_dataset("interiors", download=False)


@pytest.fixture(scope="module")
def coco(real_data: Path) -> SearchDataset:
    return load_dataset("coco-search18", download=False)


@pytest.fixture(scope="module")
def covers(real_data: Path) -> SearchDataset:
    return load_dataset("amazon-covers", download=False)


def times_of(data: SearchDataset, searcher: str) -> pd.DataFrame:
    if searcher == "people":
        assert data.reaction_times is not None
        return data.reaction_times
    trials = data.references["model_trials"]
    return trials[trials["observer"] == searcher]


@pytest.mark.parametrize("searcher", list(INDICES))
def test_asymmetry_index_is_the_published_one(asymmetry_data: SearchDataset, searcher: str) -> None:
    human = search_slopes(times_of(asymmetry_data, "people"))
    slopes = search_slopes(times_of(asymmetry_data, searcher))
    table = asymmetry_index(slopes, human)
    each, mean = INDICES[searcher]
    assert table.loc[PARADIGMS, "index"].tolist() == pytest.approx(
        each, abs=0.0051 if searcher != "people" else 0.0006
    )
    assert table.loc["mean", "index"] == pytest.approx(mean, abs=0.0005)
    assert table.loc["mean", "human_index"] == pytest.approx(0.564, abs=0.0005)
    # The same by plain loops.
    lines = {
        key: line(trials["set_size"], trials["rt_ms"])[0]
        for key, trials in times_of(asymmetry_data, searcher).groupby(["paradigm", "condition"])
    }
    for name in PARADIGMS:
        high, low = (lines[name, table.loc[name, side]] for side in ("steeper", "shallower"))
        high, low = (0.0 if abs(slope) < 1e-6 else slope for slope in (high, low))
        assert table.loc[name, "index"] == pytest.approx(asymmetry(high, low), abs=1e-6)


def test_slopes_are_the_published_ones(asymmetry_data: SearchDataset) -> None:
    """And r over the 12 slopes .400 (eccNET), .227 (IVSN); mean absolute error 24.4 and 31.5 ms an item."""
    human = search_slopes(times_of(asymmetry_data, "people")).set_index("condition")["slope_ms_per_item"]
    assert human.to_dict() == pytest.approx(HUMAN_SLOPES, abs=0.0051)
    eccnet, ivsn = (
        search_slopes(times_of(asymmetry_data, name)).set_index("condition")["slope_ms_per_item"]
        for name in ("eccNET", "IVSN")
    )
    assert eccnet.to_dict() == pytest.approx(ECCNET_SLOPES, abs=0.051)
    for slopes, r, error in ((eccnet, 0.400, 24.4), (ivsn, 0.227, 31.5)):
        assert np.corrcoef(slopes[human.index], human)[0, 1] == pytest.approx(r, abs=0.0006)
        assert (slopes[human.index] - human).abs().mean() == pytest.approx(error, abs=0.06)


def test_eccnet_needs_as_many_fixations_as_published(asymmetry_data: SearchDataset) -> None:
    means = times_of(asymmetry_data, "eccNET").groupby(["condition", "set_size"])["n_fixations"].mean()
    for condition in ("curve_in_lines", "top_down", "0_in_20"):
        assert (means[condition] == 1).all()
    for condition, expected in ECCNET_FIXATIONS.items():
        assert means[condition].tolist() == pytest.approx(expected, abs=0.0051), condition


def test_intervals_of_the_published_models(asymmetry_data: SearchDataset) -> None:
    """eccNET has people's direction in 5 of 6 paradigms, IVSN in 4; over displays eccNET's mean is far from 0."""
    human = search_slopes(times_of(asymmetry_data, "people"))
    eccnet = asymmetry_interval(times_of(asymmetry_data, "eccNET"), human)
    ivsn = asymmetry_interval(times_of(asymmetry_data, "IVSN"), human)
    assert (eccnet.loc[PARADIGMS, "index"] > 0).sum() == 5
    assert (ivsn.loc[PARADIGMS, "index"] > 0).sum() == 4
    assert eccnet.loc["mean", "lower"] > 0.3
    assert (eccnet["lower"] <= eccnet["index"]).all()
    assert (eccnet["index"] <= eccnet["upper"]).all()
    p_values = set_size_interaction(times_of(asymmetry_data, "eccNET"))["p_value"]
    assert (p_values < 0.001).all()


def test_paradigms_are_named_as_those_that_are_drawn(asymmetry_data: SearchDataset) -> None:
    people = times_of(asymmetry_data, "people")
    assert sorted(people["paradigm"].unique()) == sorted(PARADIGMS)
    cells = set(people[["paradigm", "condition", "set_size"]].itertuples(index=False, name=None))
    assert len(cells) == 40
    for name in PARADIGMS:
        drawn = make_paradigm(name, n_displays=1).table
        mine = set(drawn[["paradigm", "condition", "set_size"]].itertuples(index=False, name=None))
        assert mine == {cell for cell in cells if cell[0] == name}
    models = asymmetry_data.references["model_trials"]
    assert set(models[["paradigm", "condition", "set_size"]].itertuples(index=False, name=None)) == cells
    counts = models.groupby(["observer", "paradigm", "condition", "set_size"]).size().unstack("observer")
    assert set(counts.loc["intersection"].to_numpy().ravel()) == {36}
    assert set(counts.loc["curvature"].to_numpy().ravel()) == {30}
    assert models["found"].all()


def test_object_arrays_are_found_by_fixations_as_published(asymmetry_data: SearchDataset) -> None:
    """Found by fixation 1, 3, 6: people .268 .694 .932; eccNET .407 .703 1."""
    arrays = asymmetry_data.references["object_arrays"].groupby("observer")["found_at"]
    assert arrays.size().to_dict() == {"people": 4500, "eccNET": 300, "IVSN": 300}
    for observer, expected in {"people": (0.268, 0.694, 0.932), "eccNET": (0.407, 0.703, 1.0)}.items():
        found_at = arrays.get_group(observer)
        curve = found_by_fixation(found_at, 6)
        assert curve[[0, 2, 5]] == pytest.approx(expected, abs=0.0005)
        assert curve == pytest.approx(found_by(found_at, 6))


def test_waldo_scanpaths_end_on_their_targets(asymmetry_data: SearchDataset) -> None:
    data = asymmetry_data
    assert len(data.displays) == 67
    assert data.displays[0].px_per_degree == pytest.approx(31.2)
    people = data.scanpaths
    assert len(people) == 15 * 67
    assert people.trials["found"].sum() == 756
    for paths in (people, *data.references["waldo"].values()):
        trials, table = paths.trials, data.displays.table.set_index("display")
        ends = np.array([path[-1] for path in paths.arrays(start=True)])
        targets = table.loc[trials["display"], ["target_x_px", "target_y_px"]].to_numpy()
        distances = np.hypot(*(ends - targets).T)
        assert distances[trials["found"]].max() < 101
        # With x and y exchanged, or displays in another order, they would not.
        assert np.median(np.hypot(*(ends[:, ::-1] - targets).T)[trials["found"]]) > 200
        assert np.median(np.hypot(*(ends - np.roll(targets, 1, axis=0)).T)[trials["found"]]) > 200
    starts = people.table[people.table["fixation"] == 0][["x_px", "y_px"]].median()
    assert np.hypot(*(starts - (640, 512))) < 40
    # People were recorded off the screen too; that is kept.
    with pytest.raises(ValueError, match="lie off screen"):
        people.check_on(data.displays)
    assert len(people.check_on(data.displays, off_screen="drop").table) < len(people.table)


def test_scanmatch_scores_are_the_published_ones(asymmetry_data: SearchDataset) -> None:
    table = asymmetry_data.references["scanmatch"].set_index(["display_set", "observer"])["mean"]
    expected = {
        ("object_arrays", "people"): 0.441,
        ("object_arrays", "eccNET"): 0.412,
        ("object_arrays", "IVSN"): 0.404,
        ("waldo", "people"): 0.352,
        ("waldo", "eccNET"): 0.313,
        ("waldo", "IVSN"): 0.287,
    }
    assert table.to_dict() == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "n_people", "n_trials", "n_displays", "mean_recorded"),
    [("interiors", 57, 7313, 134, 5.22), ("coco-search18", 10, 5949, 612, 2.75)],
)
def test_scenes_are_searched_in_as_many_fixations(
    request: pytest.FixtureRequest,
    name: str,
    n_people: int,
    n_trials: int,
    n_displays: int,
    mean_recorded: float,
) -> None:
    """Mean number of recorded fixations, the first included, of trials that found their target."""
    data = request.getfixturevalue({"interiors": "interiors", "coco-search18": "coco"}[name])
    trials = data.scanpaths.trials
    assert (len(data.scanpaths.observers), len(trials), len(data.displays)) == (
        n_people,
        n_trials,
        n_displays,
    )
    assert (trials.loc[trials["found"], "n_fixations"] + 1).mean() == pytest.approx(mean_recorded, abs=0.005)
    data.scanpaths.check_on(data.displays)  # all on screen
    known = data.references["trials"]
    assert known[["observer", "display", "found"]].equals(trials[["observer", "display", "found"]])
    lengths = [len(path) for path in data.scanpaths.durations(start=True)]
    assert lengths == (trials["n_fixations"] + 1).tolist()
    durations = data.scanpaths.table["duration_ms"]
    assert durations.notna().all()
    assert 150 < durations.median() < 300


@pytest.mark.parametrize(("name", "reach_px"), [("interiors", 8.0), ("coco", 26.0)])
def test_targets_were_found_where_their_boxes_are(
    request: pytest.FixtureRequest, name: str, reach_px: float
) -> None:
    """The last fixation lies within half a receptive field of the box in just those trials that found it."""
    data = request.getfixturevalue(name)
    boxes = {display.display_id: display.target_box_px for display in data.displays}
    trials = data.scanpaths.trials
    for path, display, found in zip(
        data.scanpaths.arrays(start=True), trials["display"], trials["found"], strict=True
    ):
        x, y, width, height = boxes[display]
        wider = (x - reach_px, y - reach_px, width + 2 * reach_px, height + 2 * reach_px)
        assert (distance_to_box(path[-1], wider) == 0) == found
        assert all(distance_to_box(place, wider) > 0 for place in path[:-1])


def test_interiors_targets_are_cut_from_where_their_boxes_are(
    interiors: SearchDataset, real_data: Path
) -> None:
    """A target resembles its place in the photograph (r > .8 within a pixel), not that with x and y exchanged."""

    def likeness(scene: np.ndarray, target: np.ndarray, x: int, y: int) -> float:
        cut = scene[y : y + 36, x : x + 36]
        return np.corrcoef(cut.ravel(), target.ravel())[0, 1] if cut.shape == (36, 36) else -1.0

    right, exchanged = [], []
    for display in interiors.displays:
        scene, target = (
            picture[:, :, 0].astype(float) for picture in (display.read_image(), display.read_target_image())
        )
        assert scene.shape == (384, 512)
        assert target.shape == (36, 36)
        x, y, width, height = display.target_box_px
        assert (width, height) == (36, 36)
        shifts = [(int(x) + i, int(y) + j) for i in (0, 1) for j in (0, 1)]
        right.append(max(likeness(scene, target, *shift) for shift in shifts))
        exchanged.append(likeness(scene, target, int(y), int(x)))
    assert min(right) > 0.8
    assert np.median(exchanged) < 0.3
    # Halved as one would by hand: each pixel the mean of four.
    name = "grayscale_1_kitchen"
    whole = read_image(real_data / "interiors_images" / "templates" / f"{name}_template_1.jpg").astype(float)
    by_hand = whole.reshape(36, 2, 36, 2, 3).mean(axis=(1, 3))
    assert np.abs(by_hand - interiors.displays.select([name])[0].read_target_image()).max() <= 1


def test_interiors_without_pictures_are_the_same_displays(interiors: SearchDataset) -> None:
    bare = load_dataset("interiors", images=False, download=False)
    assert bare.displays.table.equals(interiors.displays.table)
    assert bare.displays[0].image is None
    assert bare.displays[0].start_px == interiors.displays[0].start_px
    first = pd.Series(interiors.displays[0].start_px)
    assert first.tolist() == [515 / 2, 113 / 2]  # initial_fixation_column, initial_fixation_row: halved
    assert interiors.displays[0].target_box_px.tolist() == [130 / 2, 155 / 2, 36, 36]


def test_interiors_trials_without_target_lie_elsewhere(interiors: SearchDataset) -> None:
    """The flaw that the description tells of: where the gaze stood at the start, by whether the target was found."""
    trials = interiors.references["trials"]
    offsets = trials.groupby("found")[["start_dx_px", "start_dy_px"]].median()
    assert offsets.loc[True].abs().max() < 6
    assert (offsets.loc[False] > 50).all()
    assert "in coordinates of the screen" in interiors.info.description
    allowed = trials.groupby("fixations_allowed")["found"].mean()
    assert allowed.index.tolist() == [2, 4, 8, 12]
    assert allowed.is_monotonic_increasing


def test_coco_targets_are_of_eighteen_categories(coco: SearchDataset) -> None:
    table = coco.displays.table
    assert table["condition"].nunique() == 18
    assert table["condition"].value_counts()["tv"] == 56
    bottle = coco.displays.select(["000000394517"])[0]
    assert bottle.target_box_px.tolist() == [1348, 559, 142, 395]
    assert bottle.start_px == (816, 509)
    assert bottle.condition == "bottle"


def test_covers_are_found_as_often_as_published(covers: SearchDataset) -> None:
    """Last fixation within 60 px of the edge of the target's box: 545 of 600; inside it: .827."""
    paths = covers.scanpaths
    assert (len(paths), len(paths.observers), len(paths.table)) == (600, 6, 8683)
    boxes = {display.display_id: display.target_box_px for display in covers.displays}
    distances = np.array(
        [
            distance_to_box(path[-1], boxes[display])
            for path, display in zip(paths.arrays(), paths.trials["display"], strict=True)
        ]
    )
    assert (distances <= 60).sum() == 545
    assert (distances == 0).mean() == pytest.approx(0.827, abs=0.0005)
    assert paths.trials["found"].tolist() == (distances <= 60).tolist()
    assert (
        load_dataset("amazon-covers", found_within_px=0, download=False).scanpaths.trials["found"].sum()
        == 496
    )
    assert paths.table["duration_ms"].isna().all()
    paths.check_on(covers.displays)


def test_covers_lie_on_one_grid(covers: SearchDataset) -> None:
    for display in covers.displays:
        assert display.grid_shape == (6, 14)
        assert display.set_size == 84
        kinds = display.items["kind"]
        assert kinds[display.target_item] == "target"
        assert (kinds == "target").sum() == 1
        number = display.items["row"] * 14 + display.items["column"]
        assert number.tolist() == list(range(84))
        # Covers lie apart: none reaches into the place of another by more than the grids differ.
        x = display.items["x_px"].to_numpy().reshape(6, 14)
        assert (np.diff(x, axis=1) > 150).all()
    table = covers.displays.table
    assert table["condition"].value_counts().to_dict() == {f"target_{i}": 20 for i in range(5)}
    assert 50 < table["target_item"].nunique() < 84


def test_objects_looked_at_are_covers(covers: SearchDataset) -> None:
    fixations, displays = covers.scanpaths.table, {display.display_id: display for display in covers.displays}
    assert fixations["object"].between(0, 83).all()
    for row in fixations.sample(200, random_state=0).itertuples():
        boxes = displays[row.display].boxes_px
        distances = [distance_to_box((row.x_px, row.y_px), box) for box in boxes]
        centres = np.hypot(*(boxes[:, :2] + boxes[:, 2:] / 2 - (row.x_px, row.y_px)).T)
        inside = np.flatnonzero(np.array(distances) == 0)
        assert row.object in inside if inside.size else row.object == centres.argmin()
    last = covers.scanpaths.table.groupby(["observer", "display"]).last().reset_index()
    on_target = [displays[row.display].target_item == row.object for row in last.itertuples()]
    # All 496 that end inside the target's box, and none that ends farther than 60 px from it.
    assert 496 <= sum(on_target) <= 545


@pytest.mark.parametrize("name", ["amazon-covers", "coco-search18", "interiors", "search-asymmetry"])
def test_files_are_those_of_the_homes(real_data: Path, name: str) -> None:
    assert all(path.is_relative_to(real_data) for path in fetch_dataset(name))


def test_damaged_files_are_named(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated copy of a real file is refused by its checksum before anything is read."""
    folder = tmp_path / "amazon_covers"
    folder.mkdir()
    content = (real_data / "amazon_covers" / "Amazon.json").read_bytes()
    (folder / "Amazon.json").write_bytes(content[: len(content) // 2])
    monkeypatch.setenv("COGMODELS_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"Amazon\.json is damaged or another version"):
        load_dataset("amazon-covers", download=False)


def test_grey_photographs_stay_grey(interiors: SearchDataset) -> None:
    picture = Image.fromarray(interiors.displays[3].read_image())
    assert len(set(picture.getpixel((100, 100)))) == 1
