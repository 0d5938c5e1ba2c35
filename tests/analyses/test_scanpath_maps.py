"""Fixation maps, their similarity and NSS against loops, and where their values are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.metrics.scanpath import (
    fixation_map,
    fixation_map_similarity,
    nss,
    teacher_forced_similarity,
)
from tests.oracles import scanpath as oracle

PROPERTY = settings(max_examples=30, deadline=None)


@given(seed=st.integers(0, 10_000))
@PROPERTY
def test_nss_equals_loops_and_ignores_scale(seed):
    rng = np.random.default_rng(seed)
    maps = rng.random((6, 20, 30))
    paths = [rng.uniform(0, (30, 20), (n, 2)) for n in rng.integers(0, 6, 6)]
    values = nss(maps, paths)
    for value, one, path in zip(values, maps, paths, strict=True):
        np.testing.assert_allclose(value, oracle.nss(one, path) if len(path) else np.nan)
    np.testing.assert_allclose(nss(maps * 7 - 3, paths), values)
    np.testing.assert_allclose(nss(maps[0], paths[:1])[0], values[0])
    np.testing.assert_allclose(nss(maps[::-1], paths[::-1]), values[::-1])


def test_nss_knows_rows_from_columns_and_chance():
    values = np.zeros((4, 10))
    values[3, 7] = 1
    at, beside = nss(values, [[(7.9, 3.1)], [(3.1, 2.9)]])
    np.testing.assert_allclose([at, beside], [np.sqrt(39), -1 / np.sqrt(39)])
    everywhere = np.stack(np.meshgrid(np.arange(10), np.arange(4)), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(nss(np.random.default_rng(0).random((4, 10)), [everywhere]), 0, atol=1e-12)
    assert np.isnan(nss(np.full((4, 10), 0.1), [[(1, 1)]])).all()


@given(seed=st.integers(0, 10_000), sigma=st.sampled_from([None, 0.7, 3.0]))
@PROPERTY
def test_fixation_maps_and_their_similarity(seed, sigma):
    rng = np.random.default_rng(seed)
    paths = [rng.uniform(0, (24, 16), (n, 2)) for n in (3, 0, 5)]
    density = fixation_map(paths, (24, 16), sigma)
    other = fixation_map([rng.uniform(0, (24, 16), (9, 2))], (24, 16), sigma)
    assert density.shape == (16, 24)
    np.testing.assert_allclose(density.sum(), 1)
    if sigma is None:
        counts = np.zeros((16, 24))
        for x, y in np.concatenate(paths):
            counts[int(y), int(x)] += 1 / 8
        np.testing.assert_allclose(density, counts)
    value = fixation_map_similarity(density, other)
    expected = sum(min(p, q) for p, q in zip(density.ravel(), other.ravel(), strict=True))
    np.testing.assert_allclose(value, expected)
    np.testing.assert_allclose(fixation_map_similarity(other, 5 * density), value)
    np.testing.assert_allclose(fixation_map_similarity(density, density), 1)
    assert 0 <= value <= 1
    batch = fixation_map_similarity(np.stack([density, other]), other)
    np.testing.assert_allclose(batch, [value, 1])


def test_maps_that_do_not_meet_or_are_empty():
    left, right = fixation_map([[(1, 1)]], (40, 10)), fixation_map([[(39, 9)]], (40, 10))
    assert fixation_map_similarity(left, right) == 0
    assert np.isnan(fixation_map([], (4, 3))).all()
    assert np.isnan(fixation_map([[(9, 9)]], (4, 3), off_screen="drop")).all()
    assert np.isnan(fixation_map_similarity(left, 0 * left))


def test_a_wide_gaussian_is_the_gaussian():
    density = fixation_map([[(50.5, 40.5)]], (101, 81), 5.0)
    rows, columns = np.mgrid[:81, :101]
    expected = np.exp(-((rows - 40) ** 2 + (columns - 50) ** 2) / 50)
    # scipy cuts the kernel at 4 standard deviations.
    np.testing.assert_allclose(density, expected / expected.sum(), atol=2e-6)


def test_teacher_forced_similarity_is_intersection_with_one_hot():
    rng = np.random.default_rng(0)
    probabilities = [rng.dirichlet(np.ones(n), size=steps) for n, steps in ((5, 4), (9, 2), (3, 0))]
    chosen = [rng.integers(0, p.shape[1], len(p)) for p in probabilities]
    expected = [
        np.mean([np.minimum(row, np.eye(len(row))[taken]).sum() for row, taken in zip(p, c, strict=True)])
        if len(p)
        else np.nan
        for p, c in zip(probabilities, chosen, strict=True)
    ]
    np.testing.assert_allclose(teacher_forced_similarity(probabilities, chosen), expected)
    assert teacher_forced_similarity([np.eye(3)], [[0, 1, 2]]) == 1


def test_off_screen_fixations_are_refused_or_dropped():
    values, paths = np.arange(12.0).reshape(3, 4), [[(1, 1)], [(4, 1), (0, 0)], [(-0.1, 0)]]
    with pytest.raises(ValueError, match="2 fixations off the 4 x 3 px display, the first in scanpath 1"):
        nss(values, paths)
    dropped = nss(values, paths, off_screen="drop")
    np.testing.assert_allclose(dropped, [oracle.nss(values, [(1, 1)]), oracle.nss(values, [(0, 0)]), np.nan])
    np.testing.assert_allclose(fixation_map(paths, (4, 3), off_screen="drop")[[1, 0], [1, 0]], 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixation_map([[(1, 1)]], (4.5, 3)), "size_px is"),
        (lambda: fixation_map([[(1, 1)]], (4, 3), 0), "sigma_px is 0"),
        (lambda: fixation_map([[(1, 1)]], (4, 3), off_screen="clip"), "off_screen"),
        (lambda: fixation_map_similarity(np.ones((2, 3)), np.ones((3, 2))), r"\(2, 3\) and b \(3, 2\)"),
        (lambda: fixation_map_similarity(np.ones((2, 3)), -np.ones((2, 3))), "b has negative"),
        (lambda: nss(np.ones((2, 3, 4)), [[(1, 1)]]), r"\(1, rows, columns\)"),
        (lambda: nss(np.full((3, 4), np.nan), [[(1, 1)]]), "maps has 12 NaN"),
        (lambda: teacher_forced_similarity([np.eye(3)], []), "1 scanpaths and chosen 0"),
        (lambda: teacher_forced_similarity([np.eye(3)], [[0, 1]]), r"probabilities\[0\] has shape \(3, 3\)"),
        (lambda: teacher_forced_similarity([2 * np.eye(3)], [[0, 1, 2]]), "no distribution"),
        (lambda: teacher_forced_similarity([np.eye(3)], [[0, 1, 3]]), "objects from 0 to 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
