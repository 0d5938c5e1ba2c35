"""Reaction times: published constants, and constants that never saw the paradigm they are used on."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search import Scanpaths
from cogmodels.search.baselines import Chance
from cogmodels.search.reaction_time import fit_rt, fixations_to_rt_ms, reaction_times
from stimuli.search_displays import SearchDisplays, make_paradigm
from tests.cogmodels.search_cases import grid_display, scene_display


def test_published_constants():
    """Gupta et al. 2021: RT = 252.359 n + 376.271 ms."""
    np.testing.assert_allclose(fixations_to_rt_ms([0, 1, 2.5]), [376.271, 628.63, 1007.1685], atol=1e-9)


@pytest.mark.parametrize(
    ("set_sizes", "n_fixations", "slope_ms"),
    [
        ((8, 16, 32), (1.17, 1.37, 1.60), 4.4),  # line in curves
        ((3, 6, 9), (1.53, 1.86, 2.31), 32.7),  # non-cross
        ((3, 6, 9), (1.75, 2.72, 4.11), 99.3),  # L in Ts
    ],
)
def test_published_fixations_give_the_published_slopes(set_sizes, n_fixations, slope_ms):
    """Mean fixations of eccNET and their slopes, from the authors' stored output (two and one decimals)."""
    slope = np.polyfit(set_sizes, fixations_to_rt_ms(n_fixations), 1)[0]
    assert slope == pytest.approx(slope_ms, abs=0.6)


def test_numbers_that_are_none_are_refused():
    for bad in ([1, np.nan], [-1], [np.inf]):
        with pytest.raises(ValueError, match="needs a number too"):
            fixations_to_rt_ms(bad)


def test_a_trial_without_a_find_counts_the_largest_set_size_of_its_paradigm():
    displays = SearchDisplays(
        [
            grid_display(0, n_items=3, condition="easy"),
            grid_display(1, n_items=7, condition="hard"),
            grid_display(2, n_items=9, paradigm="letters"),
        ]
    )
    paths = Scanpaths.from_lists(
        [[(30, 30), (5, 5)], [(30, 30), (5, 5), (9, 9), (7, 7)], [(30, 30), (1, 1)]],
        "eye",
        ["grid0", "grid1", "grid2"],
        start=True,
        found=[False, True, False],
    )
    table = reaction_times(paths, displays, ms_per_fixation=100, intercept_ms=10)
    assert table["n_fixations"].tolist() == [7, 3, 9]
    assert table["rt_ms"].tolist() == [710, 310, 910]
    assert table["condition"].tolist() == ["easy", "hard", ""]
    assert table["set_size"].tolist() == [3, 7, 9]
    # The largest set size is that of the experiment, though only one display of it was searched.
    assert reaction_times(paths.select(displays="grid0"), displays)["n_fixations"].tolist() == [7]


def test_displays_without_set_size_or_target_have_no_reaction_times():
    for display, lacking in ((scene_display(), "set size"), (grid_display(target_item=None), "target")):
        path = Scanpaths.from_lists([[(5, 5)]], "eye", display.display_id)
        with pytest.raises(ValueError, match=f"has no {lacking}"):
            reaction_times(path, [display])
    with pytest.raises(KeyError, match="unknown display"):
        reaction_times(path, [scene_display(9)])


def test_chance_takes_half_the_items_and_a_half():
    """Without replacement the target comes at (n + 1) / 2 on average: 126 ms an item by the published constants."""
    displays = make_paradigm("orientation_homogeneous", 30, conditions="20_in_0", seed=1)
    table = reaction_times(Chance().search(displays, n_rollouts=20), displays)
    means = table.groupby("set_size")["n_fixations"].agg(["mean", "sem"])
    expected = (means.index.to_numpy() + 1) / 2
    assert (np.abs(means["mean"] - expected) <= 4 * means["sem"] + 1e-12).all()
    slope = np.polyfit(table["set_size"], table["rt_ms"], 1)[0]
    assert slope == pytest.approx(252.359 / 2, rel=0.08)


def cells(rng, n_paradigms=4):
    """Return a table of mean fixations by paradigm, condition and set size."""
    rows = [
        (f"p{p}", condition, size, rng.uniform(1, 6))
        for p in range(n_paradigms)
        for condition in ("easy", "hard")
        for size in (1, 6, 12)
    ]
    return pd.DataFrame(rows, columns=["paradigm", "condition", "set_size", "n_fixations"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), slope=st.floats(10, 400), intercept=st.floats(100, 600))
def test_known_constants_are_found_again(seed, slope, intercept):
    model = cells(np.random.default_rng(seed))
    people = model.assign(rt_ms=slope * model["n_fixations"] + intercept)
    fit = fit_rt(model, people.drop(columns="n_fixations"))
    np.testing.assert_allclose(fit.constants["ms_per_fixation"], slope, rtol=1e-8)
    np.testing.assert_allclose(fit.constants["intercept_ms"], intercept, rtol=1e-8)
    np.testing.assert_allclose(fit.predicted["predicted_rt_ms"], fit.predicted["rt_ms"], rtol=1e-8)
    assert fit.constants["n_cells"].tolist() == [18] * 4


def test_constants_know_nothing_of_the_paradigm_they_are_used_on():
    rng = np.random.default_rng(0)
    model = cells(rng)
    people = model.assign(rt_ms=200 * model["n_fixations"] + 400 + rng.normal(0, 30, len(model)))
    other = people["paradigm"] == "p2"
    changed = people.assign(rt_ms=np.where(other, 5000 - people["rt_ms"], people["rt_ms"]))
    before, after = fit_rt(model, people), fit_rt(model, changed)
    assert before.constants.loc["p2"].equals(after.constants.loc["p2"])
    assert not before.constants.loc["p1"].equals(after.constants.loc["p1"])
    assert "never on itself" in before.description
    assert "on the other 3" in before.description


def test_trials_are_averaged_before_the_fit_and_experiment_names_paradigms_too():
    rng = np.random.default_rng(1)
    model = cells(rng)
    people = model.assign(rt_ms=200 * model["n_fixations"] + 400 + rng.normal(0, 30, len(model)))
    # One cell with many trials weighs no more than another.
    many = pd.concat([model, *[model[:1]] * 50], ignore_index=True)
    fit = fit_rt(many, people.rename(columns={"paradigm": "experiment"}))
    pd.testing.assert_frame_equal(fit.constants, fit_rt(model, people).constants)


def test_fits_that_cannot_be_made_are_refused():
    rng = np.random.default_rng(2)
    model = cells(rng)
    people = model.assign(rt_ms=500.0)
    with pytest.raises(ValueError, match="share 1 paradigms"):
        fit_rt(model[model["paradigm"] == "p0"], people)
    with pytest.raises(ValueError, match="share 0 paradigms"):
        fit_rt(model.assign(condition="none"), people)
    with pytest.raises(ValueError, match="model lacks the columns"):
        fit_rt(model.drop(columns="n_fixations"), people)
    with pytest.raises(ValueError, match="people has values of rt_ms that are NaN"):
        fit_rt(model, people.assign(rt_ms=np.nan))
    with pytest.raises(ValueError, match="every cell has 2 fixations"):
        fit_rt(model.assign(n_fixations=2.0), people)
