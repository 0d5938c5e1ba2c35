"""MultiMatch against multimatch-gaze, against loops, and where its values follow from the scanpaths."""

from contextlib import suppress

import multimatch_gaze
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets import load_dataset
from analyses.metrics.scanpath import MULTIMATCH, Grouping, multimatch, ragged
from tests.oracles import scanpath as oracle

SIZE = (1024, 768)


def random_paths(lengths, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, size, (n, 2)) for n in lengths], [rng.uniform(50, 500, n) for n in lengths]


def structured(path, durations):
    fields = np.zeros(len(path), dtype=[("start_x", float), ("start_y", float), ("duration", float)])
    fields["start_x"], fields["start_y"] = path.T
    fields["duration"] = durations
    return fields


def peer(a, b, durations_a, durations_b, **settings):
    """Compare pairs with multimatch-gaze; -1 where it stops: at a small saccade that has no other to merge with."""
    values = np.full((len(a), 5), -1.0)
    for row, (p, q, s, t) in enumerate(zip(a, b, durations_a, durations_b, strict=True)):
        with suppress(IndexError):
            values[row] = multimatch_gaze.docomparison(structured(p, s), structured(q, t), SIZE, **settings)
    return values


@pytest.fixture(scope="module")
def thousand():
    lengths = np.random.default_rng(0).integers(2, 31, (2, 1000))
    (a, s), (b, t) = random_paths(lengths[0], 1), random_paths(lengths[1], 2)
    return a, b, s, t


def test_equals_multimatch_gaze_on_a_thousand_pairs(thousand):
    a, b, s, t = thousand
    values = multimatch(a, b, SIZE, s, t)
    short = np.array([min(len(p), len(q)) < 3 for p, q in zip(a, b, strict=True)])
    assert 0 < short.sum() < 200
    np.testing.assert_array_equal(np.isnan(values).all(axis=1), short)
    np.testing.assert_allclose(values, peer(*thousand), rtol=0, atol=1e-12)


@pytest.mark.parametrize("thresholds", [(45, 150, 300), (90, 400, 1000), (0, 200, 200), (30, 0, 400)])
def test_grouping_equals_multimatch_gaze(thousand, thresholds):
    a, b, s, t = (part[:250] for part in thousand)
    direction, amplitude, duration = thresholds
    values = multimatch(a, b, SIZE, s, t, grouping=Grouping(direction, amplitude, duration))
    expected = peer(a, b, s, t, grouping=True, TDir=direction, TAmp=amplitude, TDur=duration)
    stopped = (expected == -1).all(axis=1)
    assert stopped.sum() <= 25
    assert np.isfinite(values[stopped]).all()
    np.testing.assert_allclose(values[~stopped], expected[~stopped], rtol=0, atol=1e-12)
    known = ~np.isnan(values[:, 0])
    assert (values != multimatch(a, b, SIZE, s, t))[known].any(axis=1).mean() > 0.3


def test_grouping_of_straight_steps_and_of_a_lone_saccade():
    steps = np.column_stack([np.arange(5) * 10.0, np.zeros(5)])
    whole = np.array([[0, 0], [40, 0], [40.0, 30]])
    short, mixed = np.full(5, 10.0), np.array([10.0, 500, 500])
    bent = np.r_[steps, [[40, 30]]]
    values = multimatch(
        [bent], [whole], SIZE, [np.r_[short[:4], 500, 500]], [mixed], grouping=Grouping(20, 0, 100)
    )
    np.testing.assert_allclose(values[0, :4], 1)
    # Merged down to one saccade of 40 px, and compared with one of 50 px in another direction.
    other = np.array([[0, 0], [15, 20], [30.0, 40]])
    alone = multimatch([steps], [other], SIZE, [short], [short[:3]], grouping=Grouping(20, 100, 100))
    np.testing.assert_allclose(alone[0, 2], 1 - 10 / np.hypot(*SIZE))
    np.testing.assert_allclose(alone[0, 1], 1 - np.arctan2(4, 3) / np.pi)


@given(seed=st.integers(0, 10_000), n=st.integers(3, 12), m=st.integers(3, 12))
@settings(max_examples=40, deadline=None)
def test_equals_loops(seed, n, m):
    (a, b), (s, t) = random_paths((n, m), seed)
    values = multimatch([a], [b], SIZE, [s], [t])
    np.testing.assert_allclose(values[0], oracle.multimatch(a, b, SIZE, s, t), atol=1e-12)


@given(seed=st.integers(0, 10_000), n_pairs=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_batches_symmetry_bounds_and_order(seed, n_pairs):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 15, (2, n_pairs))
    (a, s), (b, t) = random_paths(lengths[0], seed), random_paths(lengths[1], seed + 1)
    values = multimatch(a, b, SIZE, s, t)
    one_by_one = [multimatch([p], [q], SIZE, [u], [v])[0] for p, q, u, v in zip(a, b, s, t, strict=True)]
    np.testing.assert_array_equal(values, one_by_one)
    np.testing.assert_allclose(multimatch(b, a, SIZE, t, s), values, atol=1e-12)
    order = rng.permutation(n_pairs)
    paths, durations = ([[part[i] for i in order] for part in two] for two in ((a, b), (s, t)))
    shuffled = multimatch(*paths, SIZE, *durations)
    np.testing.assert_array_equal(shuffled, values[order])
    known = ~np.isnan(values)
    np.testing.assert_array_equal(known.all(axis=1), lengths.min(axis=0) >= 3)
    assert ((values[known] >= 0) & (values[known] <= 1)).all()


@given(seed=st.integers(0, 10_000), shift=st.floats(-300, 300))
@settings(max_examples=25, deadline=None)
def test_identity_and_what_a_shift_changes(seed, shift):
    (a,), (s,) = random_paths([9], seed)
    np.testing.assert_array_equal(multimatch([a], [a], SIZE, [s], [s]), 1)
    shifted = multimatch([a], [a + np.array([shift, 0])], SIZE, [s], [2 * s])[0]
    np.testing.assert_allclose(shifted, [1, 1, 1, 1 - abs(shift) / np.hypot(*SIZE), 0.5], atol=1e-9)


def test_batches_of_very_different_lengths(monkeypatch):
    lengths = np.array([3, 60, 3, 4, 7, 3, 45, 9, 8, 5] * 6)
    (a, s), (b, t) = random_paths(lengths, 3), random_paths(lengths[::-1], 4)
    whole = multimatch(a, b, SIZE, s, t)
    monkeypatch.setattr(ragged, "_BATCH_CELLS", 50)
    np.testing.assert_array_equal(multimatch(a, b, SIZE, s, t), whole)
    batches = list(ragged.length_batches(lengths, lengths[::-1].copy()))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(len(lengths)))


def test_resting_gaze_unknown_durations_and_sizes_per_pair():
    still = np.array([[5.0, 5], [5, 5], [5, 5], [9, 9]])
    moving = np.array([[0.0, 0], [-4, 0], [-9, 0], [-12, 0]])
    ones = np.ones(4)
    values = multimatch([still], [moving], SIZE, [ones], [ones])
    np.testing.assert_allclose(values, peer([still], [moving], [ones], [ones]), atol=1e-12)
    assert np.isnan(multimatch([moving], [moving], SIZE)[0]).tolist() == [False] * 4 + [True]
    unknown = multimatch([moving] * 2, [moving] * 2, SIZE, [ones, ones * np.nan], [ones] * 2)
    np.testing.assert_array_equal(np.isnan(unknown[:, 4]), [False, True])
    # The duration of the last fixation is compared with nothing.
    last = np.array([1, 1, 1, np.nan])
    assert multimatch([moving], [moving], SIZE, [last], [ones])[0, MULTIMATCH.index("duration")] == 1
    shifted = moving + np.array([30, 40])
    sizes = [(300, 400), (30, 40)]
    np.testing.assert_allclose(multimatch([moving] * 2, [shifted] * 2, sizes)[:, 3], [0.9, 0])


def test_equals_multimatch_gaze_on_people(real_data):
    """Ruarte et al.: eye positions in tenths of pixels, where equal saccades could tie."""
    paths = load_dataset("interiors").scanpaths
    places, durations = paths.arrays(start=True), paths.durations(start=True)
    chosen = np.random.default_rng(0).integers(0, len(places), (2, 400))
    a, b = ([places[i] for i in row] for row in chosen)
    s, t = ([durations[i] for i in row] for row in chosen)
    np.testing.assert_allclose(multimatch(a, b, SIZE, s, t), peer(a, b, s, t), rtol=0, atol=1e-12)


def test_few_or_no_scanpaths():
    assert multimatch([], [], SIZE).shape == (0, 5)
    assert np.isnan(multimatch([np.empty((0, 2)), []], [np.ones((2, 2)), np.ones((9, 2))], SIZE)).all()
    assert np.isnan(multimatch([[[1, 2]]], [np.ones((9, 2))], SIZE)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.ones((4, 3))], [np.ones((4, 2))], SIZE), r"a\[0\] has shape \(4, 3\)"),
        (([np.ones((4, 2))], [np.ones(4)], SIZE), r"b\[0\] has shape \(4,\)"),
        ((np.ones(4), [np.ones((4, 2))], SIZE), "give a list of arrays"),
        ((3, [np.ones((4, 2))], SIZE), "no list of arrays"),
        (([np.array([["x", "y"]] * 3)], [np.ones((3, 2))], SIZE), r"a\[0\] has shape"),
        (([np.ones((4, 2))] * 2, [np.ones((4, 2))], SIZE), "a has 2 scanpaths and b 1"),
        (
            ([np.ones((4, 2)), np.full((3, 2), np.nan)], [np.ones((4, 2))] * 2, SIZE),
            "3 fixations whose place is NaN.*scanpath 1",
        ),
        (([np.ones((4, 2))], [np.ones((4, 2))], (0, 5)), "size_px"),
        (([np.ones((4, 2))], [np.ones((4, 2))], 5), "size_px"),
        (([np.ones((4, 2))], [np.ones((4, 2))], SIZE, [np.ones(3)], [np.ones(4)]), r"durations_a\[0\] has 3"),
        (([np.ones((4, 2))], [np.ones((4, 2))], SIZE, [np.ones(4)], []), "durations_b has 0"),
        (([np.ones((4, 2))], [np.ones((4, 2))], SIZE, [-np.ones(4)], [np.ones(4)]), "negative or infinite"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        multimatch(*arguments)


def test_grouping_needs_durations_and_thresholds():
    with pytest.raises(ValueError, match="give durations_a and durations_b"):
        multimatch([np.ones((4, 2))], [np.ones((4, 2))], SIZE, grouping=Grouping(10, 10, 10))
    with pytest.raises(ValueError, match="amplitude_px is -1"):
        Grouping(10, -1, 10)
