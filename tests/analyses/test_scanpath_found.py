"""Cumulative found-by-fixation curves: against counting, against resampled copies, and coverage of the band."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.metrics.scanpath import area_under_found, found_by_fixation, found_curve
from analyses.metrics.scanpath.resampling import draw_counts
from tests.oracles import scanpath as oracle


@given(at=st.lists(st.sampled_from([0, 1, 2, 3, 5, 9, np.nan]), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_curve_equals_counting(at):
    curve = found_by_fixation(at, 6)
    np.testing.assert_allclose(curve, [oracle.found_share(at, n) for n in range(1, 7)])
    assert (np.diff(curve) >= 0).all()
    np.testing.assert_allclose(area_under_found(curve), np.mean(curve))
    np.testing.assert_array_equal(found_by_fixation(at[::-1], 6), curve)


def test_area_is_one_at_once_and_zero_never():
    assert area_under_found(found_by_fixation([1, 1, 0], 9)) == 1
    assert area_under_found(found_by_fixation([10, np.nan], 9)) == 0
    # Found by fixation 3 of 4: the second half of the curve.
    assert area_under_found(found_by_fixation([3], 4)) == 0.5


def unbalanced_trials(seed=0, n_trials=40):
    rng = np.random.default_rng(seed)
    at = np.where(rng.random(n_trials) < 0.2, np.nan, rng.integers(1, 9, n_trials))
    return at, rng.choice(["ann", "bob", "cay", "dan"], n_trials), rng.choice(["x", "y", "z"], n_trials)


@pytest.mark.parametrize("resample", ["both", "observers", "displays"])
def test_band_equals_curves_of_resampled_copies(resample):
    at, observers, displays = unbalanced_trials()
    curve = found_curve(at, observers, displays, 5, resample=resample, n_bootstrap=50, seed=3)
    people, scenes = draw_counts(4, 3, 50, resample, 3)
    curves = []
    for person, scene in zip(people, scenes, strict=True):
        copies = [
            int(person["abcd".index(o[0])] * scene["xyz".index(d)])
            for o, d in zip(observers, displays, strict=True)
        ]
        curves.append(found_by_fixation(np.repeat(at, copies), 5))
    lower, upper = np.quantile(curves, (0.025, 0.975), axis=0)
    np.testing.assert_allclose(curve.lower, lower)
    np.testing.assert_allclose(curve.upper, upper)
    np.testing.assert_allclose(
        [curve.area_lower, curve.area_upper], np.quantile(np.mean(curves, axis=1), (0.025, 0.975))
    )
    np.testing.assert_allclose(curve.found, found_by_fixation(at, 5))
    assert (curve.n_trials, curve.n_observers, curve.n_displays) == (40, 4, 3)
    assert curve.to_frame().index.tolist() == [1, 2, 3, 4, 5]
    if resample == "observers":
        np.testing.assert_array_equal(scenes, 1)


def test_draws_keep_their_number():
    people, scenes = draw_counts(7, 5, 200, "both", 0)
    np.testing.assert_array_equal(people.sum(axis=1), 7)
    np.testing.assert_array_equal(scenes.sum(axis=1), 5)
    np.testing.assert_allclose(people.var(), 1 - 1 / 7, atol=0.08)


def test_band_covers_the_truth_for_other_people_and_displays():
    # People differ and displays differ: a band over trials alone would be far too narrow.
    rng, covered = np.random.default_rng(0), []
    for seed in range(60):
        skill, ease = rng.normal(0, 0.8, (15, 1)), rng.normal(0, 0.8, (1, 15))
        chance = 1 / (1 + np.exp(-(skill + ease)))
        at = np.where(rng.random((15, 15)) < chance, 1, np.nan).ravel()
        observers, displays = np.divmod(np.arange(225), 15)
        curve = found_curve(at, observers, displays, 1, n_bootstrap=200, seed=seed)
        covered.append(curve.lower[0] <= 0.5 <= curve.upper[0])
    assert np.mean(covered) > 0.85


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], [], 3), "found_at has shape"),
        (([1, -1], ["a", "b"], ["x", "x"], 3), "found_at has -1"),
        (([1, 1.5], ["a", "b"], ["x", "x"], 3), "whole numbers"),
        (([1, 2], ["a", "b"], ["x", "x"], 0), "n_max is 0"),
        (([1, 2], ["a"], ["x", "x"], 3), "observers has shape"),
        (([1, 2], ["a", "b"], ["x", "x"], 3), "1 of the displays.*resample='observers'"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        found_curve(*arguments)


def test_bad_settings_are_named():
    at, observers, displays = unbalanced_trials()
    for changes, message in (
        ({"resample": "trials"}, "resample"),
        ({"n_bootstrap": 1}, "n_bootstrap is 1"),
        ({"confidence": 95}, "confidence is 95"),
    ):
        with pytest.raises(ValueError, match=message):
            found_curve(at, observers, displays, 3, **changes)
