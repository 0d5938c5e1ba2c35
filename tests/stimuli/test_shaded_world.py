"""Bumps and dents look as Lambert's law says, under the light that the world has."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli import StimulusSet
from stimuli.shaded_world import LIGHTS, SHAPES, ShadedWorld, object_heights, shade_heights
from tests.oracles.shaded_world import dome_brightness

DEGREES = st.floats(-360, 720)
SLANTS = st.floats(0, 90)


def heights_of(shape, *, radius=20.0, height=8.0, turn=0.0, size=64, x=32.0, y=32.0):
    return object_heights([shape], [x], [y], [radius], [height], [turn], size)


def pixels(stimuli):
    return np.stack([stimuli.image(row)[:, :, 0] for row in range(len(stimuli))])


def centred_world(**changes):
    """Domes alone, large and without texture, under a light that never moves."""
    settings = {"shapes": ("dome",), "light_spread_deg": 0, "texture_contrast": 0, "diameter_px": (40, 48)}
    return ShadedWorld(**settings | changes)


def halves(image, x_px, y_px, radius_px):
    """Return the mean brightness of the upper, lower, left and right part of an object."""
    y, x = np.mgrid[: len(image), : len(image)] + 0.5
    on = np.hypot(x - x_px, y - y_px) < 0.8 * radius_px
    parts = (y < y_px - 2, y > y_px + 2, x < x_px - 2, x > x_px + 2)
    return [image[on & part].mean() for part in parts]


@pytest.mark.parametrize(("light", "slant"), [(90, 40), (270, 40), (200, 60), (17, 10)])
@pytest.mark.parametrize("height", [6.0, -6.0, 25.0])
def test_a_dome_is_shaded_as_the_formula_of_the_paraboloid_says(light, slant, height):
    x, y, radius = 30.3, 33.8, 22.0
    heights = heights_of("dome", radius=radius, height=height, x=x, y=y)
    shaded = shade_heights(heights, light, slant)[0]
    for row, column in [(33, 30), (22, 30), (44, 35), (30, 15), (40, 44)]:
        wanted = dome_brightness(column + 0.5 - x, y - row - 0.5, radius, height, light, slant)
        assert shaded[row, column] == pytest.approx(wanted, abs=2e-5), (row, column)


def test_the_plane_is_as_bright_as_its_slant_to_the_light():
    flat = shade_heights(np.zeros((3, 4, 5)), [0, 90, 123], [0, 60, 90])
    np.testing.assert_allclose(flat[:, 0, 0], [1, 0.5, 0], atol=1e-6)
    assert shade_heights(np.zeros((1, 2, 2)), 90, 60, ambient=0.3)[0, 0, 0] == pytest.approx(0.65)


@settings(max_examples=30, deadline=None)
@given(light=DEGREES, slant=SLANTS, ambient=st.floats(0, 1), shape=st.sampled_from(sorted(SHAPES)))
def test_a_dent_under_the_opposite_light_is_the_picture_of_a_bump(light, slant, ambient, shape):
    bump = heights_of(shape, turn=37.0)
    one = shade_heights(bump, light, slant, ambient)
    other = shade_heights(-bump, light + 180, slant, ambient)
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert one.min() >= 0
    assert one.max() <= 1 + 1e-6


@settings(max_examples=20, deadline=None)
@given(light=DEGREES, slant=SLANTS, shape=st.sampled_from(sorted(SHAPES)), turn=DEGREES)
def test_turning_object_and_light_turns_the_picture(light, slant, shape, turn):
    one = shade_heights(heights_of(shape, turn=turn), light, slant)[0]
    other = shade_heights(heights_of(shape, turn=turn + 90), light + 90, slant)[0]
    np.testing.assert_allclose(np.rot90(one), other, atol=2e-3)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_an_object_lies_within_its_diameter_and_reaches_its_height(shape):
    heights = heights_of(shape, radius=20, height=5.0, turn=25)[0]
    y, x = np.mgrid[:64, :64] + 0.5
    distance = np.hypot(x - 32, y - 32)
    assert (heights[distance > 20] == 0).all()
    assert heights.max() == pytest.approx(5.0, rel=0.08)
    assert heights.min() == 0


@pytest.mark.parametrize(
    ("light", "bright", "dark"), [("above", 0, 1), ("below", 1, 0), ("left", 2, 3), ("right", 3, 2)]
)
def test_bumps_are_bright_where_the_light_comes_from_and_dents_on_the_other_side(light, bright, dark):
    stimuli = centred_world(light=light, bump_fraction=0.5).draw(40, seed=3)
    table = stimuli.attributes
    assert (table["light_deg"] == LIGHTS[light]).all()
    for row, image in enumerate(pixels(stimuli).astype(float)):
        at = table.iloc[row]
        parts = halves(image, at["x_px"], at["y_px"], at["diameter_px"] / 2)
        difference = parts[bright] - parts[dark]
        assert (difference > 0) == (at["relief"] == "bump"), (row, at["relief"], difference)


def test_worlds_with_other_light_hold_the_same_objects():
    worlds = [
        ShadedWorld(light=light).draw(50, seed=7).attributes for light in ("above", "below", "any", 17.0)
    ]
    for other in worlds[1:]:
        same = [name for name in other if name != "light_deg"]
        assert worlds[0][same].equals(other[same])
    turned = (worlds[1]["light_deg"] - worlds[0]["light_deg"]) % 360
    np.testing.assert_allclose(turned, 180)


def test_light_spreads_as_it_was_told_to():
    table = ShadedWorld(light=10.0, light_spread_deg=20).draw(1500, seed=1).attributes
    offset = (table["light_deg"] - 10 + 180) % 360 - 180
    assert offset.mean() == pytest.approx(0, abs=4 * 20 / np.sqrt(1500))
    assert offset.std() == pytest.approx(20, rel=4 / np.sqrt(3000))
    anywhere = np.radians(ShadedWorld(light="any").draw(1500, seed=1).attributes["light_deg"])
    assert np.hypot(np.cos(anywhere).mean(), np.sin(anywhere).mean()) < 4 / np.sqrt(1500)


def test_shares_and_ranges_are_those_of_the_world():
    world = ShadedWorld(bump_fraction=0.7, diameter_px=(20, 30), depth=(0.1, 0.3), shapes=("cone", "ring"))
    stimuli = world.draw(1500, seed=2)
    table = stimuli.attributes
    assert (table["relief"] == "bump").mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 1500))
    assert (table["shape"] == "cone").mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 1500))
    assert set(table["label"]) == {"bump cone", "bump ring", "dent cone", "dent ring"}
    assert table["diameter_px"].between(20, 30).all()
    assert table["depth"].between(0.1, 0.3).all()
    assert (table["label"] == table["relief"] + " " + table["shape"]).all()
    for axis in ("x_px", "y_px"):
        assert (table[axis] >= table["diameter_px"] / 2).all()
        assert (table[axis] <= 64 - table["diameter_px"] / 2).all()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    world = ShadedWorld()
    one, again, other = world.draw(300, seed=5), world.draw(300, seed=5), world.draw(300, seed=6)
    assert isinstance(one, StimulusSet)
    assert one.content_hash == again.content_hash
    assert one.media_hash != other.media_hash
    assert one.stored_image(0).shape == (64, 64)


def test_half_of_them_dents_worlds_lit_from_above_and_below_look_alike_and_differ_in_names():
    """Why the world has more bumps than dents: only then does what is seen depend on where the light is."""
    above, below = (
        centred_world(light=light, bump_fraction=fraction).draw(400, seed=4)
        for light, fraction in (("above", 1.0), ("below", 0.0))
    )
    difference = pixels(above).astype(int) - pixels(below)
    assert np.abs(difference).max() <= 1  # rounding
    assert set(above.attributes["label"]) == {"bump dome"}
    assert set(below.attributes["label"]) == {"dent dome"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"light": "abov"}, KeyError, "above"),
        ({"light": np.nan}, ValueError, "light"),
        ({"light_spread_deg": -1}, ValueError, "light_spread_deg is -1"),
        ({"shapes": ("dome", "cube")}, KeyError, "cube"),
        ({"shapes": "dome"}, ValueError, "shapes"),
        ({"shapes": ()}, ValueError, "shapes"),
        ({"bump_fraction": 1.2}, ValueError, "at most 1"),
        ({"size_px": 4}, ValueError, "at least 8"),
        ({"size_px": 64.5}, TypeError, "whole number"),
        ({"diameter_px": (20, 80)}, ValueError, "diameter_px is 80"),
        ({"diameter_px": (30, 20)}, ValueError, "least must come first"),
        ({"depth": 0.3}, TypeError, "pair"),
        ({"albedo": (0.1, "x")}, TypeError, "albedo"),
        ({"texture_contrast": True}, TypeError, "texture_contrast"),
    ],
)
def test_worlds_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        ShadedWorld(**changes)


def test_a_world_of_no_pictures_is_refused():
    with pytest.raises(ValueError, match="n_images is 0"):
        ShadedWorld().draw(0)


def test_the_description_makes_the_same_world():
    world = replace(ShadedWorld(), light=33.0, shapes=("ring",))
    described = world.describe()
    rebuilt = ShadedWorld(**{key: tuple(v) if isinstance(v, list) else v for key, v in described.items()})
    assert rebuilt == world
