"""Scanpaths: what the table accepts, and that what is read from it is what was put in."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search import Scanpaths
from tests.cogmodels.search_cases import grid_display, grids, scene_display


def table(**changes):
    columns = {
        "observer": ["a", "a", "a", "b"],
        "display": ["d", "d", "d", "d"],
        "fixation": [0, 1, 2, 1],
        "x_px": [1.0, 2.0, 3.0, 4.0],
        "y_px": [1.0, 2.0, 3.0, 4.0],
        "found": [False, False, True, False],
    }
    return pd.DataFrame({**columns, **changes})


def test_from_table_fills_what_is_not_known_and_keeps_the_rest():
    paths = Scanpaths.from_table(table())
    assert list(paths.table.columns) == [
        *("observer", "display", "trial", "fixation", "x_px", "y_px", "duration_ms", "object", "found")
    ]
    assert paths.table["trial"].tolist() == [0, 0, 0, 0]
    assert paths.table["object"].tolist() == [-1] * 4
    assert paths.table["duration_ms"].isna().all()
    assert (len(paths), paths.observers, paths.displays) == (2, ["a", "b"], ["d"])
    assert repr(paths) == "Scanpaths(2 trials of 2 observers on 1 display, 4 fixations)"


def test_trials_count_fixations_after_the_start():
    trials = Scanpaths(table()).trials
    assert trials["n_fixations"].tolist() == [2, 1]
    assert trials["found"].tolist() == [True, False]
    assert trials["found_at"].tolist()[0] == 2
    assert np.isnan(trials["found_at"][1])


def test_the_table_is_a_copy():
    given_table = table()
    paths = Scanpaths(given_table)
    given_table.loc[0, "x_px"] = 99
    assert paths.table["x_px"][0] == 1


def test_rows_in_any_order_are_put_in_order_by_trial():
    shuffled = table().sample(frac=1, random_state=3)
    paths = Scanpaths(shuffled)
    assert paths.observers == list(dict.fromkeys(shuffled["observer"]))
    for observer in "ab":
        one = paths.select(observer).table
        assert one["fixation"].is_monotonic_increasing
        pd.testing.assert_frame_equal(one, Scanpaths(table()).select(observer).table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixation": [0, 1, 1, 1]}, "has fixation 1 twice"),
        ({"fixation": [0, 1, 3, 1]}, "jumps to fixation 3"),
        ({"fixation": [0, 1, 2, 2]}, "begins with fixation 2"),
        ({"fixation": [0, 1, 1.5, 1]}, "row 2 holds 1.5"),
        ({"fixation": [-1, 0, 1, 1]}, "whole numbers from 0"),
        ({"x_px": [1, np.nan, 3, 4]}, "'x_px' holds 1 place that are NaN or infinite, first in row 1"),
        ({"y_px": [1, np.inf, 3, 4]}, "'y_px'"),
        ({"x_px": ["1", "two", "3", "4"]}, "'x_px' must hold numbers"),
        ({"found": [True, False, False, False]}, "goes on after fixation 0, which found the target"),
        ({"found": ["yes", "no", "no", "no"]}, "'found' must hold True and False"),
        ({"found": [0, 0, 2, 0]}, "'found' must hold True and False"),
        ({"duration_ms": [100, -1, 100, 100]}, "row 1 holds -1"),
        ({"object": [0, -2, 0, 0]}, "whole numbers from -1"),
        ({"observer": ["a", None, "a", "b"]}, "row 1 holds None"),
        ({"observer": ["a", "", "a", "b"]}, "name the observer"),
        ({"display": [1.5, 1.5, 1.5, 1.5]}, "name the display"),
        ({"display": ["d\n", "d", "d", "d"]}, "in one line; row 0"),
        ({"saccade": 0}, r"columns that fixations do not have: \['saccade'\]"),
    ],
)
def test_bad_tables_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Scanpaths(table(**changes))


def test_empty_missing_and_other_than_tables_are_refused():
    with pytest.raises(ValueError, match="table is empty"):
        Scanpaths(table()[:0])
    with pytest.raises(ValueError, match=r"lacks the columns \['x_px'\]"):
        Scanpaths(table().drop(columns="x_px"))
    with pytest.raises(TypeError, match="got list"):
        Scanpaths([])


def test_from_lists_numbers_trials_and_marks_the_last_fixation():
    paths = Scanpaths.from_lists(
        [[(1, 2), (3, 4)], [(5, 6)], [(7, 8)]],
        ["a", "a", "b"],
        "d",
        durations_ms=[[10, 20], [30], [40]],
        objects=[[0, 1], [2], [-1]],
        found=[True, False, True],
    )
    assert paths.table["trial"].tolist() == [0, 0, 1, 0]
    assert paths.table["fixation"].tolist() == [1, 2, 1, 1]
    assert paths.table["found"].tolist() == [False, True, False, True]
    assert [one.tolist() for one in paths.durations()] == [[10, 20], [30], [40]]
    assert [one.tolist() for one in paths.objects()] == [[0, 1], [2], [-1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": []}, "paths is empty"),
        ({"paths": [[(1, 2)], np.empty((0, 2))]}, r"paths\[1\] has shape \(0, 2\)"),
        ({"paths": [[1, 2, 3], [(1, 2)]]}, r"paths\[0\] has shape \(3,\)"),
        ({"observers": ["a"]}, "observers has 1 names for 2 trials"),
        ({"displays": ["a"] * 3}, "displays has 3 names for 2 trials"),
        ({"found": [True]}, r"found has shape \(1,\) for 2 trials"),
        ({"objects": [[1], [2]]}, "objects holds arrays of 1, 1 ... values, paths of 2, 1"),
        ({"durations_ms": [[1, 2]]}, "durations_ms holds"),
    ],
)
def test_lists_that_do_not_fit_are_refused(arguments, message):
    usual = {"paths": [[(1, 2), (3, 4)], [(5, 6)]], "observers": "a", "displays": "d"}
    with pytest.raises(ValueError, match=message):
        Scanpaths.from_lists(**{**usual, **arguments})


places = st.floats(-50, 2000, allow_nan=False)
many_paths = st.lists(
    st.lists(st.tuples(places, places), min_size=2, max_size=6).map(np.array), min_size=1, max_size=8
)
names = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(paths=many_paths, observer=names, display=names, start=st.booleans(), data=st.data())
def test_what_goes_in_comes_out_also_by_way_of_a_file(
    tmp_path_factory, paths, observer, display, start, data
):
    displays = [display, display + "'"] * 4
    found = data.draw(st.lists(st.booleans(), min_size=len(paths), max_size=len(paths)))
    put_in = Scanpaths.from_lists(paths, observer, displays[: len(paths)], start=start, found=found)
    file = tmp_path_factory.mktemp("scanpaths") / "paths.csv"
    put_in.save(file)
    read = Scanpaths.load(file)
    pd.testing.assert_frame_equal(read.table, put_in.table, check_exact=True)
    # Trials of one display stay in the order of the list; the table groups nothing else together.
    for one, came_out in zip(paths, read.arrays(start=True), strict=True):
        np.testing.assert_array_equal(came_out, one)
    assert read.trials["found"].tolist() == found
    assert read.trials["n_fixations"].tolist() == [len(path) - start for path in paths]


@settings(max_examples=30, deadline=None)
@given(paths=many_paths, start=st.booleans(), keep_start=st.booleans())
def test_padded_holds_the_arrays_and_nan(paths, start, keep_start):
    scanpaths = Scanpaths.from_lists(paths, "a", "d", start=start)
    padded, lengths = scanpaths.padded(keep_start)
    arrays = scanpaths.arrays(keep_start)
    assert padded.shape == (len(paths), max(lengths), 2)
    assert [len(one) for one in arrays] == lengths.tolist()
    for row, one, path in zip(padded, arrays, paths, strict=True):
        np.testing.assert_array_equal(one, path[1:] if start and not keep_start else path)
        np.testing.assert_array_equal(row[: len(one)], one)
        assert np.isnan(row[len(one) :]).all()


def test_a_trial_of_the_start_alone_is_empty_without_it():
    paths = Scanpaths.from_lists([[(1, 2)], [(1, 2), (3, 4)]], "a", ["d", "e"], start=True)
    assert [one.shape for one in paths.arrays()] == [(0, 2), (1, 2)]
    assert paths.trials["n_fixations"].tolist() == [0, 1]


def test_select_and_concat_are_inverse():
    paths = Scanpaths.from_lists([[(1, 2)], [(3, 4)], [(5, 6)]], ["a", "b", "a"], ["d", "d", "e"])
    parts = [paths.select(observers="a"), paths.select(observers=["b"], displays=["d", "e"])]
    joined = Scanpaths.concat(parts)
    assert len(joined) == 3
    pd.testing.assert_frame_equal(joined.select("a").table, parts[0].table)
    with pytest.raises(ValueError, match="has fixation 1 twice"):
        Scanpaths.concat([paths, parts[0]])
    with pytest.raises(ValueError, match="several is empty"):
        Scanpaths.concat([])
    with pytest.raises(KeyError, match="unknown observer 'c'"):
        paths.select("c")
    with pytest.raises(KeyError, match="unknown display 'D'; did you mean 'd'"):
        paths.select(displays="D")
    with pytest.raises(ValueError, match="no trial of these observers on these displays"):
        paths.select("b", "e")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a table of scanpaths"),
        ("observer,display\na,d\n", r"columns \['trial', 'fixation'"),
        (
            "observer,display,trial,fixation,x_px,y_px,duration_ms,object,found\na,d,0,1,1,1,,0,maybe\n",
            "True and",
        ),
        ("observer,display,trial,fixation,x_px,y_px,duration_ms,object,found\na,d,0,1,1,,,0,True\n", "y_px"),
        (
            "observer,display,trial,fixation,x_px,y_px,duration_ms,object,found\na,d,0,1\n",
            "table of scanpaths",
        ),
        ("observer,display,trial\na,d,0,1,2,3,4\n", "table of scanpaths"),
    ],
)
def test_files_that_are_no_scanpaths_are_named(tmp_path, text, message):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Scanpaths.load(file)
    assert "bad.csv" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv does not exist"):
        Scanpaths.load(tmp_path / "nothing.csv")


def on_grid(places, start=False):
    return Scanpaths.from_lists([places], "a", "grid0", start=start, found=[True])


def test_check_on_names_the_first_fixation_off_screen():
    displays = grids(1)
    inside = on_grid([(0, 0), (59.9, 59.9)])
    assert inside.check_on(displays) is inside
    outside = on_grid([(5, 5), (60, 5), (5, -1)])
    with pytest.raises(ValueError, match=r"2 fixations of 3 lie off screen: .* fixation 2 of observer 'a'"):
        outside.check_on(displays)
    assert outside.check_on(displays, off_screen="keep") is outside
    with pytest.raises(ValueError, match="allowed: 'error', 'keep', 'drop'"):
        outside.check_on(displays, off_screen="clip")
    with pytest.raises(KeyError, match="unknown display 'grid0'"):
        outside.check_on([grid_display(7)])


def test_off_screen_fixations_are_dropped_and_the_rest_numbered_anew():
    displays = grids(1)
    dropped = on_grid([(5, 5), (60, 5), (9, 9)], start=True).check_on(displays, off_screen="drop")
    assert dropped.table["fixation"].tolist() == [0, 1]
    assert dropped.trials["found"].tolist() == [True]
    without_start = on_grid([(-5, 5), (6, 5), (9, 9)], start=True).check_on(displays, off_screen="drop")
    assert without_start.table["fixation"].tolist() == [1, 2]
    end_lost = on_grid([(5, 5), (9, 9), (99, 9)]).check_on(displays, off_screen="drop")
    assert end_lost.trials[["n_fixations", "found"]].to_numpy().tolist() == [[2, False]]
    with pytest.raises(ValueError, match="all 1 fixations lie off screen"):
        on_grid([(99, 9)]).check_on(displays, off_screen="drop")


def test_wrong_units_are_recognised():
    displays = [scene_display(side_px=(600, 400))]
    rng = np.random.default_rng(0)
    shares = Scanpaths.from_lists([rng.uniform(0, 1, (20, 2))], "a", "scene0")
    with pytest.raises(ValueError, match="these are hardly pixels"):
        shares.check_on(displays)
    swapped = Scanpaths.from_lists([rng.uniform((0, 0), (400, 600), (20, 2))], "a", "scene0")
    with pytest.raises(ValueError, match="with x and y exchanged"):
        swapped.check_on(displays)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), nearest=st.booleans())
def test_objects_are_the_items_whose_boxes_hold_the_fixation(seed, nearest):
    display = grid_display(seed % 7)
    rng = np.random.default_rng(seed)
    path = rng.uniform(0, 60, (10, 2))
    paths = Scanpaths.from_lists([path], "a", display.display_id)
    (objects,) = paths.assign_objects([display], nearest=nearest).objects()
    for (x, y), item in zip(path, objects, strict=True):
        inside = [
            left <= x < left + width and top <= y < top + height
            for left, top, width, height in display.boxes_px
        ]
        distances = np.hypot(display.items["x_px"] - x, display.items["y_px"] - y)
        expected = inside.index(True) if any(inside) else (distances.argmin() if nearest else -1)
        assert item == expected


def test_found_curve_of_people_on_object_arrays(real_data):
    """Gupta et al. 2021, object arrays, 15 people: found by fixation 1, 3, 6 in .268, .694, .932 of trials."""
    ends = np.load(real_data / "search_asymmetry" / "human_scanpaths" / "ObjArr" / "cp" / "CP_human_all.npy")
    found = ends.any(axis=1)
    # Where people looked stands in another file, whose rows are in another order: only numbers count here. Column 0 is
    # the start.
    lengths = np.where(found, ends.argmax(axis=1), ends.shape[1] - 1) + 1
    walks = [np.full((length, 2), 512.0) for length in lengths]
    trials = Scanpaths.from_lists(walks, "people", "array", start=True, found=found).trials
    share = [float((trials["found_at"] <= n).mean()) for n in (1, 3, 6)]
    assert share == pytest.approx([0.268, 0.694, 0.932], abs=6e-4)
