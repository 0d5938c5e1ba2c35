"""Behavioural statistics a trial and Delta: by hand, against loops, and on displays."""

import numpy as np
import pandas as pd
import pytest

from analyses.metrics.scanpath import behaviour_delta, behaviour_statistics, search_ratio
from cogmodels.search import Scanpaths
from cogmodels.search.behaviour import STATISTICS
from stimuli.search_displays import SearchDisplays
from tests.cogmodels.search_cases import grid_display
from tests.oracles import search_behaviour as oracle

DISPLAYS = SearchDisplays(
    [grid_display(0), grid_display(1, target_item=3), grid_display(2, target_item=None)]
)


def scanpaths(objects, displays, observers="ann"):
    places = [np.zeros((len(path), 2)) for path in objects]
    return Scanpaths.from_lists(places, observers, displays, objects=objects)


def test_statistics_by_hand():
    # A fixation on nothing, -1, is left out; then 2 2 is a refixation.
    paths = scanpaths([[1, 2, -1, 2, 1, 0], [4, 3, 1], [0], [-1, -1]], ["grid0", "grid1", "grid2", "grid0"])
    table = behaviour_statistics(paths, DISPLAYS)
    np.testing.assert_allclose(
        table[list(STATISTICS)].to_numpy(dtype=float),
        [
            [1, 5, 3 / 5, 1 / 5, 1 / 5],
            [0, 3, 1, 0, 0],
            [np.nan, 1, 1, 0, 0],  # the target is absent
            [np.nan] * 5,
        ],
    )
    assert table["n_off_object"].tolist() == [1, 0, 0, 2]
    assert table["trial"].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(search_ratio([[1, 2, 2, 1, 0], [4, 3, 1]]), [3 / 5, 1])


def test_statistics_equal_loops_and_leave_the_start_out():
    rng = np.random.default_rng(0)
    objects = [rng.integers(0, 5, rng.integers(2, 12)) for _ in range(30)]
    displays = rng.choice(["grid0", "grid1"], 30)
    places = [np.zeros((len(path), 2)) for path in objects]
    paths = Scanpaths.from_lists(places, "ann", displays.tolist(), objects=objects, start=True)
    table = behaviour_statistics(paths, DISPLAYS)
    target = {"grid0": 0, "grid1": 3}
    expected = [
        oracle.sequence_statistics(path[1:].tolist(), target[display])
        for path, display in zip(objects, displays, strict=True)
    ]
    np.testing.assert_allclose(table[list(STATISTICS)], expected)
    np.testing.assert_allclose(table[["first_visits", "refixations", "revisits"]].sum(axis=1), 1)
    model = table.assign(length=table["length"] + 1)
    means = [np.mean(column) for column in zip(*expected, strict=True)]
    shifted = [m + (name == "length") for m, name in zip(means, STATISTICS, strict=True)]
    np.testing.assert_allclose(behaviour_delta(model, table), oracle.delta(shifted, means))
    assert behaviour_delta(table, table) == 0


def test_delta_falls_with_likeness():
    rng = np.random.default_rng(1)

    def searcher(stop, n):
        paths = [rng.integers(0, 5, 1 + rng.geometric(stop)) for _ in range(n)]
        return behaviour_statistics(scanpaths(paths, ["grid0"] * n), DISPLAYS)

    people = searcher(0.2, 2000)
    alike, other = (behaviour_delta(searcher(stop, 2000), people) for stop in (0.2, 0.5))
    assert alike < 0.1 < other


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="assign_objects"):
        behaviour_statistics(scanpaths([[-1, -1]], "grid0"), DISPLAYS)
    with pytest.raises(KeyError, match="unknown display 'grid7'"):
        behaviour_statistics(scanpaths([[0]], "grid7"), DISPLAYS)
    with pytest.raises(ValueError, match=r"name object 5 on display 'grid0', which has 5 items"):
        behaviour_statistics(scanpaths([[0, 5]], "grid0"), DISPLAYS)
    one, two = (behaviour_statistics(scanpaths([[0]], name), DISPLAYS) for name in ("grid0", "grid1"))
    with pytest.raises(ValueError, match="searched other displays"):
        behaviour_delta(one, two)
    with pytest.raises(ValueError, match="people lacks the columns"):
        behaviour_delta(one, pd.DataFrame({"display": ["grid0"]}))
