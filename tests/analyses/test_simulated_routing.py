"""What is planted by the simulation of routing is there: objects, where voxels look, weights and ceilings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets.simulated_routing import (
    TOKEN_PX,
    RoutingKind,
    TokenScenes,
    plant_routing,
    simulate_routing,
    token_scenes,
)
from analyses.datasets.simulated_scenes import CATEGORIES, RADIUS_PX, scenes_with_objects
from tests.oracles.simulated_routing import gaussian_share, read_tokens, share_of_tokens


@pytest.fixture(scope="module")
def scenes() -> TokenScenes:
    return token_scenes(600, seed=3)


def _columnwise_r(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def test_objects_lie_apart_inside_the_picture_and_anywhere_in_it() -> None:
    drawn = scenes_with_objects(300, seed=1)
    assert drawn.images.shape == (300, 64, 64, 3)
    assert drawn.masks.sum(axis=1).max() == 1, "objects overlap"
    rows, columns = np.mgrid[:64, :64] + 0.5
    for category in range(3):
        mask = drawn.masks[:, category]
        area = mask.sum(axis=(1, 2))
        # Every object is whole: its centre of mass is its centre, and its area that of the others.
        found = np.stack([(mask * axis).sum(axis=(1, 2)) / area for axis in (rows, columns)], axis=1)
        assert np.abs(found - drawn.centres_px[:, category]).max() < 0.5
        assert np.ptp(area) < 0.25 * area.mean()
        # Places are spread over the whole range that is open to them: sd of a uniform is range / sqrt(12).
        spread = drawn.centres_px[:, category].std(axis=0)
        assert np.allclose(spread, (64 - 2 * RADIUS_PX) / np.sqrt(12), rtol=0.2)


def test_hue_tells_the_category_and_pattern_does_not() -> None:
    drawn = scenes_with_objects(200, seed=2)
    inside = np.array(
        [
            [image[mask].mean(axis=0) for mask in masks]
            for image, masks in zip(drawn.images.astype(float), drawn.masks, strict=True)
        ]
    )
    assert (inside.argmax(axis=-1) == np.arange(3)).all()
    brightness = inside.mean(axis=-1)
    difference = np.abs(brightness.mean(axis=0)[:, None] - brightness.mean(axis=0))
    assert difference.max() < 0.3 * brightness.std(axis=0).mean()


def test_pictures_depend_on_seed_and_place_alone() -> None:
    few, more = scenes_with_objects(2, seed=4), scenes_with_objects(3, seed=4)
    assert np.array_equal(few.images, more.images[:2])
    assert np.array_equal(few.masks, more.masks[:2])
    assert not np.array_equal(few.images, scenes_with_objects(2, seed=5).images)


def test_tokens_see_their_own_place(scenes: TokenScenes) -> None:
    assert scenes.tokens.shape == (600, 64, 32)
    assert scenes.grid == (8, 8)
    # The brightness of a token's square is known from its channels, that of a far one is not.
    own = np.asarray(scenes.scenes.images, float).mean(axis=-1).reshape(600, 8, 8, 8, 8).mean(axis=(2, 4))
    for token, far in ((0, 63), (27, 7), (36, 0)):
        design = np.column_stack([scenes.tokens[:, token], np.ones(600)])
        weights = np.linalg.lstsq(design[:400], own.reshape(600, -1)[:400, [token, far]], rcond=None)[0]
        r = _columnwise_r(design[400:] @ weights, own.reshape(600, -1)[400:, [token, far]])
        assert r[0] > 0.9
        assert r[1] < 0.5


@pytest.mark.parametrize("kind", ["content", "fixed", "global"])
def test_ideal_observer_reaches_the_ceiling(scenes: TokenScenes, kind: RoutingKind) -> None:
    data = plant_routing(scenes, kind, n_voxels=60, noise_ceiling_r=0.75, seed=8)
    centres = None
    if kind == "fixed":
        # The rule of a fixed field is its centre: the mean place under it, exact but for the picture's edge.
        places = (np.stack(np.mgrid[:8, :8], axis=-1).reshape(64, 2) + 0.5) / 8
        centres = [_centre_of(field, places) for field in data.routing[0]]
    predicted = np.empty_like(data.signal)
    for i in range(600):
        for roi, voxels in enumerate(data.rois):
            if kind == "content":
                share = share_of_tokens(scenes.scenes.masks[i, roi], TOKEN_PX)
            elif centres is not None:
                share = gaussian_share(centres[roi], 0.12, 8)
            else:
                share = np.full(64, 1 / 64)
            predicted[i, voxels] = read_tokens(
                share, scenes.tokens[i], data.weights[:, voxels], data.intercept[voxels]
            )
    assert np.abs(predicted - data.signal).max() < 1e-6
    r = _columnwise_r(predicted, data.responses.astype(float))
    # 60 voxels x 600 pictures: the mean r of an ideal observer has a standard error of 0.0023.
    assert r.mean() == pytest.approx(0.75, abs=0.01)
    assert np.allclose(data.signal.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(data.signal.std(axis=0), 1)


def _centre_of(field: np.ndarray, places: np.ndarray) -> tuple[float, float]:
    """Centre of a Gaussian from the slope of its logarithm, which an edge cannot bias."""
    design = np.column_stack([np.ones(64), places, (places**2).sum(axis=1)])
    _, *slope, curvature = np.linalg.lstsq(design, np.log(field), rcond=None)[0]
    row, column = (-s / (2 * curvature) for s in slope)
    return row, column


@settings(max_examples=10, deadline=None)
@given(
    kind=st.sampled_from(["content", "fixed", "global"]),
    n_voxels=st.integers(3, 20),
    ceiling=st.floats(0.1, 1.0),
    seed=st.integers(0, 99),
)
def test_routing_is_a_distribution_and_every_voxel_has_one_roi(
    scenes: TokenScenes, kind: RoutingKind, n_voxels: int, ceiling: float, seed: int
) -> None:
    data = plant_routing(scenes, kind, n_voxels=n_voxels, noise_ceiling_r=ceiling, seed=seed)
    assert data.routing.shape == (600, 3, 64)
    assert (data.routing >= 0).all()
    assert np.allclose(data.routing.sum(axis=-1), 1)
    assert (data.rois.sum(axis=0) == 1).all()
    assert data.rois.sum(axis=1).min() >= 1
    noise = (data.responses - data.signal).std()
    assert noise == pytest.approx(np.sqrt(1 / ceiling**2 - 1), rel=0.1, abs=1e-6)


def test_same_seed_same_bits_and_kinds_share_pictures() -> None:
    one, two = simulate_routing(20, "content", seed=1), simulate_routing(20, "content", seed=1)
    other, fixed = simulate_routing(20, "content", seed=2), simulate_routing(20, "fixed", seed=1)
    assert np.array_equal(one.responses, two.responses)
    assert np.array_equal(one.source.tokens, two.source.tokens)
    assert not np.allclose(one.responses, other.responses)
    assert one.source.stimuli.content_hash == fixed.source.stimuli.content_hash
    assert one.source.stimuli.content_hash != other.source.stimuli.content_hash
    assert one.roi_names == CATEGORIES


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "contents"}, "kind is 'contents'"),
        ({"n_voxels": 2}, "n_voxels is 2"),
        ({"noise_ceiling_r": 0}, "noise_ceiling_r is 0"),
        ({"noise_ceiling_r": float("nan")}, "noise_ceiling_r is nan"),
        ({"field_sd": 0}, "field_sd is 0"),
        ({"n_images": 0}, "n_images is 0"),
        ({"n_images": 1}, "1 picture"),
    ],
)
def test_bad_arguments_are_named(changes: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        simulate_routing(**({"n_images": 20} | changes))


@pytest.mark.parametrize(("side_px", "match"), [(60, "multiple of 8"), (40, "48 pixels")])
def test_pictures_need_room_and_whole_tokens(side_px: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        token_scenes(2, side_px=side_px)
