"""Graph-based visual saliency against walkers on the graph, and what must hold of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search.saliency import MAP_SIZE, activate, concentrate, graph_saliency, map_shape
from tests.oracles.search import equilibrium, gaussian_distances

shapes = st.tuples(st.integers(2, 6), st.integers(2, 6))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), shape=shapes)
def test_both_chains_settle_where_walkers_do(seed, shape):
    feature = np.random.default_rng(seed).normal(size=shape)
    near = gaussian_distances(*shape, sigma=0.15 * max(shape))
    unlike = np.abs(feature.reshape(-1, 1) - feature.reshape(1, -1)) * near
    active = equilibrium(unlike)
    np.testing.assert_allclose(activate(feature).ravel(), active, atol=1e-5)
    np.testing.assert_allclose(
        concentrate(active.reshape(shape)).ravel(), equilibrium(active * near), atol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), shape=shapes, scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_activation_depends_on_differences_alone(seed, shape, scale, shift):
    feature = np.random.default_rng(seed).normal(size=shape)
    np.testing.assert_allclose(activate(scale * feature + shift), activate(feature), atol=1e-6)
    np.testing.assert_allclose(activate(feature[::-1, ::-1]), activate(feature)[::-1, ::-1], atol=1e-12)
    assert activate(feature).sum() == pytest.approx(1)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_nothing_stands_out_from_a_plain_picture(level):
    saliency = graph_saliency(np.full((70, 100, 3), level, dtype=np.uint8))
    assert saliency.shape == map_shape(70, 100) == (22, MAP_SIZE)
    assert (saliency == 0).all()


def bars(odd_upright, colour=(255, 255, 255), odd_colour=(255, 255, 255)):
    """Return 25 bars on black, of which the one in row 3, column 1 may differ."""
    image = np.zeros((250, 250, 3), dtype=np.uint8)
    for row in range(5):
        for column in range(5):
            odd = (row, column) == (3, 1)
            high, wide = (14, 4) if odd and odd_upright else (4, 14)
            y, x = 50 * row + 25, 50 * column + 25
            image[y - high : y + high, x - wide : x + wide] = odd_colour if odd else colour
    return image


@pytest.mark.parametrize(
    "image",
    [bars(True), bars(False, odd_colour=(255, 0, 0)), bars(False, (200, 60, 60), (60, 200, 60))],
    ids=["orientation", "red among white", "green among red"],
)
def test_the_odd_bar_stands_out(image):
    """Beside the bar at the mirrored place, which has as many neighbours: the map favours the middle anyway."""
    saliency = graph_saliency(image)
    scale = MAP_SIZE / 250
    rows = slice(round(155 * scale), round(195 * scale))
    odd, mirrored = (
        saliency[rows, round((x - 20) * scale) : round((x + 20) * scale)].max() for x in (75, 175)
    )
    assert odd > 1.08 * mirrored


def test_mirrored_pictures_have_mirrored_maps():
    image = bars(True)
    saliency = graph_saliency(image)
    np.testing.assert_allclose(graph_saliency(image[:, ::-1])[:, ::-1], saliency, atol=2e-4)
    assert saliency.sum() == pytest.approx(1)


def test_small_and_narrow_pictures_have_maps_too():
    rng = np.random.default_rng(0)
    for shape in ((3, 3), (8, 200), (200, 8), (1, 1)):
        saliency = graph_saliency(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        assert saliency.shape == map_shape(*shape)
        assert np.isfinite(saliency).all()
