"""Pictures turned, warped and lined, against geometry written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli import StimulusSet
from stimuli.image_diets import (
    TRANSFORMS,
    black_lines,
    change_diet,
    retina_places,
    retina_warp,
    rotate_90,
)
from tests.oracles.shaded_world import retina_pixel

NAMES = sorted(TRANSFORMS)


def picture(*shape, dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).integers(1, 256, shape)
    return values.astype(np.uint8) if dtype == np.uint8 else (values / 255).astype(dtype)


def test_what_was_above_comes_to_the_left():
    image = np.zeros((5, 7), np.uint8)
    image[0, 3] = 1
    assert rotate_90(image).shape == (7, 5)
    assert rotate_90(image)[3, 0] == 1
    assert rotate_90(image, -1)[3, 4] == 1
    assert rotate_90(image, 2)[4, 3] == 1


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(4, 9), turns=st.integers(-5, 5), more=st.integers(-5, 5))
def test_turns_add_up_and_four_are_none(rows, columns, turns, more):
    images = picture(2, rows, columns, 3)
    np.testing.assert_array_equal(rotate_90(rotate_90(images, turns), more), rotate_90(images, turns + more))
    np.testing.assert_array_equal(rotate_90(images, 4 * turns), images)


@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize("e2", [0.1, 0.5, 4.0])
def test_a_warped_picture_is_what_single_points_say(side, e2):
    image = picture(side, side, dtype=np.float32)
    warped = retina_warp(image, e2)
    for row, column in [(0, 0), (0, side // 2), (side // 2, side // 2), (3, 11), (side - 1, 2), (8, 8)]:
        assert warped[row, column] == pytest.approx(retina_pixel(image, row, column, e2, 3), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(e2=st.floats(0.02, 50), side=st.integers(4, 60))
def test_the_warp_keeps_centre_margin_and_directions_and_enlarges_the_centre(e2, side):
    places = retina_places(side, e2, 3)
    n, half = side * 3, side / 2
    seen = ((np.arange(n) + 0.5) / 3 - half) / half
    looked = (places + 0.5 - half) / half
    np.testing.assert_allclose(looked, -looked[:, ::-1, ::-1], atol=1e-9)
    down, right = np.meshgrid(seen, seen, indexing="ij")
    np.testing.assert_allclose(looked[0] * right, looked[1] * down, atol=1e-9)
    radius, distance = np.hypot(down, right), np.hypot(*looked)
    order = np.argsort(radius, axis=None)
    assert (np.diff(distance.ravel()[order]) >= -1e-9).all()
    inside = radius <= 1
    assert (distance[inside] <= radius[inside] + 1e-9).all()
    assert (distance[~inside] >= radius[~inside] - 1e-9).all()


def test_magnification_halves_at_e2():
    e2, side = 0.25, 1001
    ray = retina_places(side, e2)[1][side // 2] + 0.5 - side / 2
    eccentricity = ray[side // 2 :] / (side / 2)
    magnification = 1 / np.gradient(eccentricity)
    at = np.searchsorted(eccentricity, [e2, 2 * e2, 3 * e2])
    np.testing.assert_allclose(magnification[at] / magnification[0], [1 / 2, 1 / 3, 1 / 4], rtol=0.01)
    assert eccentricity[-1] == pytest.approx(1, abs=5e-3)


def test_a_wide_picture_is_padded_with_black_to_a_square():
    warped = retina_warp(np.full((40, 80, 3), 200, np.uint8))
    assert warped.shape == (80, 80, 3)
    assert (warped[40] == 200).all()
    assert (warped[0] == 0).all()
    assert (warped[-1] == 0).all()
    # padding evenly, the picture stays in the middle
    np.testing.assert_array_equal(warped, warped[::-1])


def test_lines_lie_where_they_were_published_to():
    lined = black_lines(np.full((200, 160), 9, np.uint8))
    dark = {*range(45, 50), *range(95, 100), *range(145, 150), *range(195, 200)}
    for row in range(200):
        for column in range(160):
            assert (lined[row, column] == 0) == (row in dark or column in dark), (row, column)


def test_lines_take_any_width_period_and_beginning():
    lined = black_lines(np.ones((1, 10, 10, 3), np.float32), width_px=1, period_px=4, first_px=2)
    on = np.isin(np.arange(10), [2, 6])
    np.testing.assert_array_equal(lined[0, :, :, 1] == 0, on[:, None] | on[None, :])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_stack_is_changed_as_its_pictures_are_and_stays_as_it_was(name, dtype):
    images = picture(3, 60, 52, 3, dtype=dtype)
    before = images.copy()
    changed = TRANSFORMS[name](images)
    assert changed.dtype == images.dtype
    np.testing.assert_array_equal(images, before)
    for one, whole in zip(images, changed, strict=True):
        np.testing.assert_array_equal(TRANSFORMS[name](one), whole)
        for channel in range(3):
            np.testing.assert_array_equal(TRANSFORMS[name](one[:, :, channel].copy()), whole[:, :, channel])


@pytest.mark.parametrize("name", NAMES)
def test_a_stimulus_set_keeps_ids_and_attributes(name):
    stimuli = StimulusSet(
        ["a/1", "b/2"], images=[picture(60, 52, 3), picture(30, 64)], attributes={"label": ["a", "b"]}
    )
    changed = change_diet(stimuli, name)
    assert changed.stimulus_ids.tolist() == ["a/1", "b/2"]
    assert changed.attributes.equals(stimuli.attributes)
    assert name in changed.name
    for row in range(2):
        np.testing.assert_array_equal(changed.image(row), TRANSFORMS[name](stimuli.image(row)))


def test_a_function_of_ones_own_and_settings_are_passed_on():
    stimuli = StimulusSet(["a"], images=picture(1, 20, 20))
    np.testing.assert_array_equal(
        change_diet(stimuli, "rotate_90", turns=3).image(0), np.rot90(stimuli.image(0), 3)
    )
    np.testing.assert_array_equal(change_diet(stimuli, np.flipud).image(0), stimuli.image(0)[::-1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: change_diet(StimulusSet(["a"], images=picture(1, 9, 9)), "rotate_09"),
            KeyError,
            "rotate_90",
        ),
        (lambda: change_diet(StimulusSet(["a"], texts=["x"]), "rotate_90"), ValueError, "no images"),
        (lambda: rotate_90([[1, 2]]), TypeError, "images must be an array"),
        (lambda: rotate_90(np.zeros((2, 2), bool)), TypeError, "bool"),
        (lambda: rotate_90(np.zeros(4)), ValueError, "shape"),
        (lambda: rotate_90(np.zeros((0, 5, 5))), ValueError, "shape"),
        (lambda: rotate_90(np.zeros((5, 5)), 0.5), TypeError, "turns"),
        (lambda: retina_warp(np.zeros((5, 5)), 0), ValueError, "half_magnification is 0"),
        (lambda: retina_warp(np.zeros((5, 5)), np.inf), ValueError, "finite"),
        (lambda: retina_warp(np.zeros((5, 5)), "wide"), TypeError, "half_magnification"),
        (lambda: black_lines(np.zeros((5, 5)), width_px=50), ValueError, "less than period_px"),
        (lambda: black_lines(np.zeros((5, 5)), first_px=-1), ValueError, "first_px is -1"),
    ],
)
def test_what_cannot_be_changed_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
