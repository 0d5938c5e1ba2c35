"""From priorities to fixations: against a slow reference, and what must hold whatever the model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cogmodels.search import PriorityModel, Scanpaths, SearchPolicy
from cogmodels.search.candidates import box_pixels, resize_map
from stimuli.search_displays import SearchDisplays, make_paradigm
from tests.cogmodels.search_cases import (
    BACKGROUND,
    Brightness,
    Listed,
    grid_display,
    grids,
    scene_display,
)
from tests.oracles.search import search_items, search_pixels

seeds = st.integers(0, 10**6)


def walk(scanpaths):
    """Return places, items and end of the only trial."""
    assert len(scanpaths) == 1
    return (
        scanpaths.arrays(start=True)[0],
        scanpaths.objects(start=True)[0],
        bool(scanpaths.trials["found"][0]),
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    shape=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    side=st.tuples(st.integers(21, 45), st.integers(21, 45)),
    present=st.booleans(),
    box_px=st.sampled_from([1.0, 4.0, 10.0]),
)
def test_items_are_searched_as_the_slow_reference_does(seed, shape, side, present, box_px):
    n_items = 1 + seed % (shape[0] * shape[1])
    target = seed % n_items if present else None
    display = grid_display(seed, *shape, n_items, side, target)
    model = Brightness(SearchPolicy(recognition_box_px=box_px))
    places, objects, found = walk(model.search([display]))
    expected, expected_found = search_items(
        model.begin(display).tolist(),
        display.cells_px.tolist(),
        None if target is None else display.cells_px[target].tolist(),
        display.start_px,
        shape[0] * shape[1] + 1,
        box_px,
    )
    np.testing.assert_array_equal(places, expected)
    assert found == expected_found
    assert not found or objects[-1] == target


@settings(max_examples=15, deadline=None)
@given(seed=seeds, size_px=st.sampled_from([4.0, 7.5, 15.0, 90.0]), box_px=st.sampled_from([1.0, 10.0]))
def test_scenes_are_searched_as_the_slow_reference_does(seed, size_px, box_px):
    display = scene_display(seed, (31, 25))
    model = Brightness(SearchPolicy(inhibition_size_px=size_px, recognition_box_px=box_px, max_fixations=6))
    places, _, found = walk(model.search([display]))
    expected, expected_found = search_pixels(
        model.begin(display).tolist(), display.target_box_px.tolist(), display.start_px, 6, box_px, size_px
    )
    np.testing.assert_array_equal(places, expected)
    assert found == expected_found


policies = st.builds(
    SearchPolicy,
    choice=st.sampled_from(["winner", "softmax"]),
    candidates=st.sampled_from(["items", "pixels"]),
    temperature=st.sampled_from([0.1, 30.0]),
    recognition_box_px=st.sampled_from([0.0, 10.0]),
)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, policy=policies)
def test_under_infinite_inhibition_nothing_is_looked_at_twice(seed, policy):
    display = grid_display(seed, target_item=None)
    places, objects, found = walk(Brightness(policy).search([display], seed=seed))
    assert not found
    if policy.candidates == "items":
        # No target to end it: every item once, and no more fixations than cells.
        assert sorted(objects[1:]) == list(range(5))
    else:
        assert len(places) == 11
        far = np.abs(places[1:, None] - places[1:]).max(axis=-1) + 99 * np.eye(10)
        assert far.min() >= 200 / 1024 * 60 / 2 - 1


@settings(max_examples=15, deadline=None)
@given(seed=seeds, policy=policies, n_rollouts=st.integers(1, 3))
def test_equal_seeds_give_equal_bits_whatever_else_is_shown(seed, policy, n_rollouts):
    displays = grids(3)
    model = Brightness(policy)
    once = model.search(displays, n_rollouts=n_rollouts, seed=seed)
    assert once.table.equals(model.search(displays, n_rollouts=n_rollouts, seed=seed).table)
    alone = model.search(displays[[2]], n_rollouts=n_rollouts, seed=seed)
    assert once.select(displays="grid2").table.reset_index(drop=True).equals(alone.table)
    assert Scanpaths(once.table).table.equals(once.table)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, policy=policies, scene=st.booleans())
def test_found_means_that_the_last_fixation_and_no_other_is_on_the_target(seed, policy, scene):
    display = scene_display(seed) if scene else grid_display(seed)
    places, objects, found = walk(Brightness(policy).search([display], seed=seed))
    x, y, width, height = display.cells_px[0]
    half = policy.recognition_box_px / 2
    on_target = [
        (a + half >= x) & (a - half <= x + width) & (b + half >= y) & (b - half <= y + height)
        for a, b in places[1:]
    ]
    assert on_target[-1] == found
    assert not any(on_target[:-1])
    assert (objects[-1] == display.target_item) == found or not found
    assert len(places) - 1 <= policy.max_fixations_on(display)


def test_a_grid_gives_one_more_fixation_than_cells_and_a_scene_sixteen():
    policy = SearchPolicy()
    assert policy.max_fixations_on(grid_display()) == 10
    assert policy.max_fixations_on(scene_display()) == 16
    free = grid_display(grid_shape=None)
    assert policy.max_fixations_on(free) == 6
    assert SearchPolicy(max_fixations=3).max_fixations_on(free) == 3
    # Limits of the published experiments (Gupta et al. 2021): 17, 37, 10, 17.
    for paradigm, limit in (
        ("orientation_homogeneous", 17),
        ("curvature", 37),
        ("intersection", 10),
        ("lighting_direction", 17),
    ):
        assert policy.max_fixations_on(make_paradigm(paradigm, 1)[0]) == limit


class Watcher(Brightness):
    """Keeps what it was shown."""

    def begin(self, display):
        self.shown = [*getattr(self, "shown", []), display.read_image()]
        return super().begin(display)


def test_visited_cells_are_painted_over_and_nothing_else_is():
    display = grid_display(3, target_item=None)
    before = display.read_image()
    model = Watcher()
    _, objects, _ = walk(model.search([display]))
    assert len(model.shown) == 6  # as it came, and after each of five items
    expected = before.copy()
    for shown, item in zip(model.shown, [None, *objects[1:]], strict=True):
        if item is not None:
            left, top, width, height = display.cells_px[item]
            assert (width, height) == (20, 20)
            expected[int(top) : int(top) + 20, int(left) : int(left) + 20] = BACKGROUND
        np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(display.read_image(), before)


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        (SearchPolicy(inhibition="decaying", inhibition_half_life_fixations=1), {}),
        (SearchPolicy(inhibition="none"), {}),
        (SearchPolicy(candidates="pixels"), {}),
        (SearchPolicy(), {"background": None}),
    ],
)
def test_pictures_stay_where_inhibition_is_not_for_ever_or_the_background_unknown(policy, changes):
    model = Watcher(policy)
    model.search([grid_display(3, target_item=None, **changes)])
    assert len(model.shown) == 1


def test_without_inhibition_the_gaze_stays():
    _, objects, found = walk(
        Listed([1, 5, 2, 3, 4], SearchPolicy(inhibition="none")).search([grid_display(target_item=0)])
    )
    assert objects[1:].tolist() == [1] * 10
    assert not found


def test_decaying_inhibition_recovers_with_its_half_life():
    model = Listed([8, 1, 0], SearchPolicy(inhibition="decaying", inhibition_half_life_fixations=10))
    _, objects, _ = walk(model.search([grid_display(n_items=3, target_item=None)]))
    # One fixation after it was seen, the best is worth 8 (1 - 2 ** -.1) = .54: less than 1, more than 0.
    assert objects[1:4].tolist() == [0, 1, 0]
    values, visited, expected = np.array([8.0, 1.0, 0.0]), np.full(3, -np.inf), []
    for fixation in range(1, 11):
        worth = [
            value * (1 - 2 ** (-(fixation - 1 - seen) / 10))
            for value, seen in zip(values, visited, strict=True)
        ]
        worth = [one if fixation - 1 > seen else -1 for one, seen in zip(worth, visited, strict=True)]
        expected.append(int(np.argmax(worth)))
        visited[expected[-1]] = fixation
    assert objects[1:].tolist() == expected


def test_softmax_draws_in_proportion():
    values, temperature = np.array([0.0, 1.0, 2.0, -1.0, 0.5]), 0.7
    model = Listed(values, SearchPolicy(choice="softmax", temperature=temperature, max_fixations=1))
    paths = model.search([grid_display(target_item=None)], n_rollouts=2000)
    first = np.array([objects[0] for objects in paths.objects()])
    odds = np.exp(values / temperature)
    test = stats.chisquare(np.bincount(first, minlength=5), 2000 * odds / odds.sum())
    assert test.pvalue > 0.001


def test_ties_are_broken_evenly():
    paths = Listed(np.zeros(5), SearchPolicy(max_fixations=1)).search(
        [grid_display(target_item=None)], n_rollouts=2000
    )
    first = np.bincount([objects[0] for objects in paths.objects()], minlength=5)
    assert stats.chisquare(first).pvalue > 0.001


def test_recognition_by_similarity_may_err_both_ways():
    display = grid_display(2, target_item=1)
    brightest = Brightness().begin(display)
    cells = [brightest[box_pixels(cell, 60, 60)].max() for cell in display.cells_px]
    order = np.argsort(cells)[::-1]
    similar = {"recognition": "similarity", "recognition_box_px": 0}
    # Everything looks like the target: the first item ends the search, found only if it is the target.
    _, objects, found = walk(
        Brightness(SearchPolicy(**similar, recognition_threshold=-1.0)).search([display])
    )
    assert objects[1:].tolist() == [order[0]]
    assert found == (order[0] == 1)
    # Nothing does: every item is passed over, the target too.
    _, objects, found = walk(Brightness(SearchPolicy(**similar, recognition_threshold=1e9)).search([display]))
    assert objects[1:].tolist() == order.tolist()
    assert not found
    # A target that is brightest of all is found.
    target = replace(display, target_item=int(order[0]))
    policy = SearchPolicy(**similar, recognition_threshold=cells[order[0]])
    assert walk(Brightness(policy).search([target]))[2]
    # A display without a target can end in a false alarm, never in a find.
    _, objects, found = walk(Brightness(policy).search([replace(display, target_item=None)]))
    assert (objects[1:].tolist(), found) == ([order[0]], False)


def test_a_model_without_a_score_cannot_recognise_by_similarity():
    policy = SearchPolicy(recognition="similarity", recognition_threshold=0.5)
    with pytest.raises(
        TypeError, match=r"Listed has no score of recognition: use SearchPolicy\(recognition='perfect'"
    ):
        Listed(np.zeros(5), policy).search([grid_display()])


def test_a_target_that_is_looked_at_from_across_the_border_is_found_within_the_box():
    display = grid_display(n_items=9, target_item=0)
    x, y, width, _ = display.cells_px[0]
    for distance, box_px, expected in ((4.5, 10, True), (5.0, 10, False), (0.5, 0, False), (-0.5, 0, True)):
        gaze = (x + width + distance, y + 5) if x + width < 55 else (x - distance, y + 5)
        assert SearchPolicy(recognition_box_px=box_px).is_on_target(display, gaze) == expected


def test_observers_are_named_and_numbered():
    displays = grids(2)
    assert Brightness().search(displays).observers == ["brightness"]
    several = Brightness(name="eye").search(displays, n_rollouts=2)
    assert several.observers == ["eye#0", "eye#1"]
    assert several.displays == ["grid0", "grid1"]
    start = several.table[several.table["fixation"] == 0]
    assert (start[["x_px", "y_px"]] == 30).all(axis=None)
    assert several.check_on(displays) is several


@settings(max_examples=40, deadline=None)
@given(
    box=st.tuples(*[st.floats(-5, 30)] * 2, *[st.floats(0.01, 30)] * 2),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_box_pixels_are_those_whose_centres_it_holds(box, size):
    rows, columns = box_pixels(box, *size)
    for span, start, length, limit in ((columns, box[0], box[2], size[0]), (rows, box[1], box[3], size[1])):
        inside = [one for one in range(limit) if start <= one + 0.5 < start + length]
        if inside:
            assert list(range(limit))[span] == inside
        else:
            assert len(range(limit)[span]) == 1


def test_maps_of_another_resolution_are_brought_to_the_display():
    coarse = np.arange(12.0).reshape(3, 4)
    same = resize_map(coarse, 4, 3)
    assert same is coarse
    fine = resize_map(coarse, 40, 30)
    assert fine.shape == (30, 40)
    # Between the centres of places a bilinear map of a plane is the plane.
    at = np.arange(5, 35) + 0.5
    np.testing.assert_allclose(fine[15, 5:35], at / 10 - 0.5 + 4 * (15.5 / 10 - 0.5), atol=1e-12)
    np.testing.assert_allclose(resize_map(fine, 4, 3).mean(), coarse.mean())


class Broken(PriorityModel):
    """Gives what it was made with."""

    name, policy = "broken", SearchPolicy()

    def __init__(self, priority):
        self.given = priority

    def begin(self, display):
        return None

    def priority(self, state, gaze_px):
        return self.given


@pytest.mark.parametrize(
    ("priority", "message"),
    [
        (np.zeros(4), r"shape \(4,\) on display 'grid0'; it must be a map .* each of the 5 items"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.full((3, 3), np.nan), "NaN or infinite"),
        (np.array([0, 0, np.inf, 0, 0]), "NaN or infinite"),
    ],
)
def test_priorities_that_are_none_are_refused(priority, message):
    with pytest.raises(ValueError, match=message):
        Broken(priority).search([grid_display()])


def test_a_display_without_items_is_given_up_at_once():
    empty = grid_display(n_items=0, target_item=None)
    places, _, found = walk(Listed([]).search([empty]))
    assert (places.tolist(), found) == ([[30.0, 30.0]], False)


def test_values_of_items_have_no_use_where_pixels_are_chosen():
    with pytest.raises(ValueError, match="every pixel is a candidate: give a map"):
        Listed(np.zeros(1)).search([scene_display()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inhibition": "forever"}, "allowed: 'infinite', 'decaying', 'none'"),
        ({"recognition": "sometimes"}, "recognition is 'sometimes'"),
        ({"choice": "loser"}, "choice is 'loser'"),
        ({"candidates": "words"}, "candidates is 'words'"),
        ({"max_fixations": 0}, "max_fixations is 0"),
        ({"max_fixations": 2.5}, "whole number"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"inhibition_size_px": float("nan")}, "inhibition_size_px is nan"),
        ({"recognition_box_px": -1}, "0 or more pixels"),
        ({"inhibition": "decaying"}, "needs inhibition_half_life_fixations"),
        ({"inhibition_half_life_fixations": 2.0}, "no effect without inhibition='decaying'"),
        ({"recognition": "similarity"}, "needs recognition_threshold"),
        ({"recognition_threshold": 0.5}, "no effect without recognition='similarity'"),
    ],
)
def test_policies_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SearchPolicy(**arguments)


@pytest.mark.parametrize(
    ("displays", "arguments", "message"),
    [
        ([], {}, "displays is empty"),
        (None, {"n_rollouts": 0}, "n_rollouts is 0"),
        (None, {"n_rollouts": True}, "n_rollouts is True"),
        (None, {"seed": -1}, "seed is -1"),
        (None, {"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_searches_that_make_no_sense_are_refused(displays, arguments, message):
    with pytest.raises(ValueError, match=message):
        Brightness().search(grids(1) if displays is None else displays, **arguments)


def test_what_a_model_needs_is_asked_before_it_begins():
    model = Watcher()
    with pytest.raises(ValueError, match="display 'grid1' has no image, which Watcher looks at"):
        model.search(SearchDisplays([grid_display(0), grid_display(1, image=None)]))
    assert not hasattr(model, "shown")


def test_progress_is_shown_on_the_error_stream_alone(capsys):
    Brightness(name="the eye").search(grids(2), progress=True)
    shown = capsys.readouterr()
    assert "the eye searches" in shown.err
    assert shown.out == ""
