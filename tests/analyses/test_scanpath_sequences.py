"""ScanMatch, the sequence score, the edit distance and DTW against loops, and their invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.metrics.scanpath import (
    dtw,
    edit_distance,
    fixation_clusters,
    scanmatch,
    sequence_score,
    substitution_scores,
)
from tests.oracles import scanpath as oracle

SIZE, GRID = (640, 480), (8, 6)
PROPERTY = settings(max_examples=30, deadline=None)


def random_paths(n_paths, longest, seed, shortest=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, n_paths)
    return [rng.uniform((-40, -40), (680, 520), (n, 2)) for n in lengths], [
        rng.uniform(5, 400, n) for n in lengths
    ]


def random_objects(n_paths, longest, seed, n_objects=4):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_objects, n) for n in rng.integers(0, longest + 1, n_paths)]


@given(
    seed=st.integers(0, 10_000), gap=st.sampled_from([0.0, -0.5, -2.0]), bin_ms=st.sampled_from([None, 100.0])
)
@PROPERTY
def test_scanmatch_equals_loops(seed, gap, bin_ms):
    (a, s), (b, t) = random_paths(12, 10, seed), random_paths(12, 10, seed + 1)
    values = scanmatch(a, b, SIZE, s, t, bin_ms=bin_ms, grid=GRID, threshold_cells=2.5, gap=gap)
    expected = [
        oracle.scanmatch(
            oracle.letters(p, SIZE, GRID, u, bin_ms), oracle.letters(q, SIZE, GRID, v, bin_ms), 2.5, gap
        )
        for p, q, u, v in zip(a, b, s, t, strict=True)
    ]
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(
        scanmatch(b, a, SIZE, t, s, bin_ms=bin_ms, grid=GRID, threshold_cells=2.5, gap=gap),
        values,
        atol=1e-12,
    )
    if gap == 0:
        known = ~np.isnan(values)
        assert ((values[known] >= 0) & (values[known] <= 1)).all()


def test_scanmatch_by_hand():
    # Cells (0, 0), (1, 0) against (0, 0), (0, 1): threshold 3.5 gives 3.5 for the first letters and
    # 3.5 - sqrt(2) for the second.
    a, b = [np.array([[1.0, 1], [11, 1]])], [np.array([[1.0, 1], [1, 11]])]
    value = scanmatch(a, b, (120, 80))
    np.testing.assert_allclose(value, (7 - np.sqrt(2)) / 7)
    # With 50 ms bins (a fixation of 24 ms has no letter, one of 25 ms has one) three times (0, 0), then (1, 0) against
    # (0, 0), (0, 1): the last is better paired with a (0, 0) at distance 1.
    value = scanmatch(a, b, (120, 80), [[149, 50]], [[25, 70]], bin_ms=50)
    np.testing.assert_allclose(value, (3.5 + 2.5) / (3.5 * 4))
    assert np.isnan(scanmatch(a, b, (120, 80), [[24, 24]], [[25, 70]], bin_ms=50)).all()


def test_substitution_scores_fall_with_distance():
    scores = substitution_scores((4, 3), 3.5)
    assert scores.shape == (12, 12)
    np.testing.assert_allclose(np.diag(scores), 3.5)
    np.testing.assert_allclose(scores, scores.T)
    np.testing.assert_allclose(scores[0, 11], 3.5 - np.hypot(3, 2))
    np.testing.assert_allclose(scores[4, 8], 2.5)


def test_scanmatch_off_screen():
    inside, outside = np.array([[1.0, 1], [639, 479]]), np.array([[-50.0, -1], [700, 480]])
    np.testing.assert_array_equal(scanmatch([inside], [outside], SIZE), 1)
    with pytest.raises(ValueError, match="b has 2 fixations off the display, the first in scanpath 1"):
        scanmatch([inside] * 2, [inside, outside], SIZE, off_screen="error")


@given(seed=st.integers(0, 10_000))
@PROPERTY
def test_objects_equal_loops(seed):
    a, b = random_objects(15, 7, seed), random_objects(15, 7, seed + 1)
    scores, distances = sequence_score(a, b), edit_distance(a, b)
    pairs = [(p.tolist(), q.tolist()) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(scores, [oracle.sequence_score(p, q) for p, q in pairs])
    np.testing.assert_array_equal(distances, [oracle.edit_distance(p, q) for p, q in pairs])
    np.testing.assert_array_equal(sequence_score(b, a), scores)
    np.testing.assert_array_equal(edit_distance(b, a), distances)
    np.testing.assert_array_equal([sequence_score([p], [q])[0] for p, q in zip(a, b, strict=True)], scores)
    longer = [max(len(p), len(q)) for p, q in pairs]
    assert (distances <= longer).all()
    assert (distances >= [abs(len(p) - len(q)) for p, q in pairs]).all()


@given(seed=st.integers(0, 10_000))
@PROPERTY
def test_edit_distance_is_a_metric_and_ignores_names(seed):
    a, b, c = (random_objects(10, 9, seed + i) for i in range(3))
    assert (edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)).all()
    names = np.random.default_rng(seed).permutation(1000)
    np.testing.assert_array_equal(
        edit_distance([names[p] for p in a], [names[p] for p in b]), edit_distance(a, b)
    )


@given(seed=st.integers(0, 10_000))
@PROPERTY
def test_dtw_equals_loops(seed):
    a, b = random_paths(12, 9, seed)[0], random_paths(12, 9, seed + 1)[0]
    values = dtw(a, b)
    np.testing.assert_allclose(values, [oracle.dtw(p, q) for p, q in zip(a, b, strict=True)])
    np.testing.assert_allclose(dtw(b, a), values)
    np.testing.assert_allclose([dtw([p], [q])[0] for p, q in zip(a, b, strict=True)], values)
    # A fixation that is stayed on costs nothing more.
    known = [p for p in a if len(p)]
    np.testing.assert_allclose(dtw(known, [np.repeat(p, 3, axis=0) for p in known]), 0, atol=1e-9)


@given(seed=st.integers(0, 10_000))
@PROPERTY
def test_equal_scanpaths_score_best(seed):
    paths, durations = random_paths(8, 12, seed, shortest=1)
    objects = [p for p in random_objects(8, 12, seed) if len(p)]
    np.testing.assert_allclose(scanmatch(paths, paths, SIZE, gap=-1), 1)
    longest = [np.maximum(lasted, 60) for lasted in durations]
    np.testing.assert_allclose(scanmatch(paths, paths, SIZE, longest, longest, bin_ms=50), 1)
    np.testing.assert_array_equal(sequence_score(objects, objects), 1)
    np.testing.assert_array_equal(edit_distance(objects, objects), 0)
    np.testing.assert_array_equal(dtw(paths, paths), 0)


def test_empty_sequences():
    none, some = np.empty(0, dtype=int), np.array([1, 2])
    np.testing.assert_array_equal(edit_distance([none, none], [none, some]), [0, 2])
    np.testing.assert_array_equal(sequence_score([none, [], some], [none, some, some]), [np.nan, 0, 1])
    assert np.isnan(dtw([np.empty((0, 2))], [np.ones((2, 2))])).all()
    assert np.isnan(scanmatch([np.empty((0, 2))], [np.ones((2, 2))], SIZE)).all()
    assert len(dtw([], [])) == len(sequence_score([], [])) == len(scanmatch([], [], SIZE)) == 0


def test_clusters_recover_places_that_were_looked_at():
    rng = np.random.default_rng(0)
    centres = np.array([[100, 100], [400, 120], [250, 350]])
    order = rng.integers(0, 3, (6, 8))
    people = [centres[row] + rng.normal(0, 8, (8, 2)) for row in order]
    labels = fixation_clusters(people[:2], people, bandwidth_px=60)
    assert len(np.unique(np.concatenate(labels))) == 3
    found = sequence_score([labels[0]], [labels[1]])
    np.testing.assert_array_equal(found, sequence_score([order[0]], [order[1]]))
    model = fixation_clusters([centres[[2, 0]] + 20.0, np.empty((0, 2))], people, 60)
    assert [len(part) for part in model] == [2, 0]
    known = dict(zip(order[0].tolist(), labels[0].tolist(), strict=True))
    assert model[0].tolist() == [known[2], known[0]]
    with pytest.raises(ValueError, match="reference has no fixation"):
        fixation_clusters(people, [], 60)
    with pytest.raises(ValueError, match="bandwidth_px is 0"):
        fixation_clusters(people, people, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequence_score([[0, 1]], [[0, -1]]), r"b\[0\] has fixations on no object \(-1\)"),
        (lambda: edit_distance([[0.5, 1]], [[0, 1]]), r"a\[0\] has shape \(2,\) and type float64"),
        (lambda: edit_distance([[[0], [1]]], [[0, 1]]), r"a\[0\] has shape \(2, 1\)"),
        (lambda: sequence_score([[0]], []), "a has 1 scanpaths and b 0"),
        (lambda: scanmatch([], [], SIZE, gap=1), "gap is 1"),
        (lambda: scanmatch([], [], SIZE, bin_ms=0), "bin_ms is 0"),
        (lambda: scanmatch([], [], SIZE, grid=(0, 3)), "grid is"),
        (lambda: scanmatch([], [], SIZE, threshold_cells=0), "threshold_cells is 0"),
        (lambda: scanmatch([], [], SIZE, off_screen="drop"), "off_screen"),
        (lambda: scanmatch([[[1, 1]]], [[[1, 1]]], SIZE, bin_ms=50), "bin_ms needs durations_a"),
        (
            lambda: scanmatch([[[1, 1]]], [[[1, 1]]], SIZE, [[np.nan]], [[1]], bin_ms=50),
            r"durations_a\[0\] has unknown durations",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
