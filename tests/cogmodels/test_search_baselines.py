"""Searchers that know less: each does what its name says, and no better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cogmodels.search import SearchPolicy
from cogmodels.search.baselines import CenterBias, Chance, NearestFirst, PixelTemplate, Saliency
from cogmodels.search.pixel_match import template_map
from stimuli.search_displays import make_paradigm
from tests.cogmodels.search_cases import grid_display, grids, scene_display
from tests.oracles.search import correlate_windows

seeds = st.integers(0, 10**6)
ONE = SearchPolicy(max_fixations=1)


def first_objects(paths):
    return np.array([objects[0] for objects in paths.objects()])


def test_chance_looks_at_every_item_alike_and_lands_on_it():
    display = grid_display(1, target_item=None)
    paths = Chance(ONE).search([display], n_rollouts=2000)
    first = first_objects(paths)
    assert stats.chisquare(np.bincount(first, minlength=5)).pvalue > 0.001
    places = np.array([path[0] for path in paths.arrays()])
    np.testing.assert_array_equal(places, display.items[["x_px", "y_px"]].to_numpy()[first])


def test_chance_looks_everywhere_in_scenes():
    places = np.array(
        [path[0] for path in Chance(ONE).search([scene_display(present=False)], n_rollouts=1000).arrays()]
    )
    counts, *_ = np.histogram2d(*places.T, bins=[4, 4], range=[[0, 60], [0, 40]])
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


def test_center_bias_draws_scenes_from_the_published_gaussian():
    """Clarke & Tatler 2014: variance .22 along x where half the width is 1, .45 of that along y."""
    policy = SearchPolicy(choice="softmax", max_fixations=1)
    display = scene_display(
        present=False, side_px=(80, 200)
    )  # so high that nothing is cut off above and below
    places = np.array(
        [path[0] for path in CenterBias(policy=policy).search([display], n_rollouts=1000).arrays()]
    )
    x, y = (places / 40 - (1, 2.5)).T
    cut = stats.truncnorm(-1 / np.sqrt(0.22), 1 / np.sqrt(0.22), scale=np.sqrt(0.22))
    assert stats.kstest(x + np.random.default_rng(0).uniform(-0.5, 0.5, 1000) / 40, cut.cdf).pvalue > 0.001
    free = stats.norm(scale=np.sqrt(0.22 * 0.45))
    assert stats.kstest(y + np.random.default_rng(1).uniform(-0.5, 0.5, 1000) / 40, free.cdf).pvalue > 0.001


def test_center_bias_draws_items_in_proportion_to_the_gaussian():
    display = grid_display(1, target_item=None)
    policy = SearchPolicy(choice="softmax", max_fixations=1)
    first = first_objects(CenterBias(sd_x=0.5, sd_y=0.3, policy=policy).search([display], n_rollouts=2000))
    x, y = (display.items[["x_px", "y_px"]].to_numpy() / 30 - 1).T
    odds = stats.norm.pdf(x, scale=0.5) * stats.norm.pdf(y, scale=0.3)
    assert stats.chisquare(np.bincount(first, minlength=5), 2000 * odds / odds.sum()).pvalue > 0.001
    with pytest.raises(ValueError, match="sd_y is 0"):
        CenterBias(sd_y=0)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_nearest_first_never_passes_a_nearer_item_by(seed):
    display = grid_display(seed, n_items=7, target_item=None)
    (path,) = NearestFirst().search([display]).arrays(start=True)
    (objects,) = NearestFirst().search([display]).objects()
    centres = display.items[["x_px", "y_px"]].to_numpy()
    left = set(range(7))
    for gaze, item in zip(path, objects, strict=False):
        distances = {one: np.hypot(*(centres[one] - gaze)) for one in left}
        assert distances[item] == min(distances.values())
        left.remove(item)
    assert not left


def test_nearest_first_leaves_the_square_around_the_gaze_in_scenes():
    policy = SearchPolicy(inhibition_size_px=9, max_fixations=5)
    (path,) = NearestFirst(policy).search([scene_display(present=False)]).arrays(start=True)
    steps = np.abs(np.diff(path[1:], axis=0)).max(axis=1)
    assert (steps[:1] == 5).all()  # the nearest pixel whose centre is outside a square of 9
    assert (steps >= 5).all()


@settings(max_examples=10, deadline=None)
@given(
    seed=seeds,
    shape=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    grey=st.booleans(),
)
def test_template_maps_are_correlations_of_windows(seed, shape, grey):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    template = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    image[:5, :5] = 40  # no contrast
    if grey:
        image[..., 1:], template[..., 1:] = image[..., :1], template[..., :1]
    np.testing.assert_allclose(template_map(image, template), correlate_windows(image, template), atol=6e-7)


def test_templates_that_fit_nowhere_are_refused():
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    with pytest.raises(
        ValueError, match=r"target image of \(11, 3\) pixels .* larger than the display of \(10, 12\)"
    ):
        template_map(image, np.tile(image[:1, :3], (11, 1, 1)))
    with pytest.raises(ValueError, match="no contrast"):
        template_map(image, np.full((3, 3, 3), 9, dtype=np.uint8))
    display = grid_display(0, target_image=np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="display 'grid0': the target image has no contrast"):
        PixelTemplate().search([display])


@pytest.mark.parametrize("paradigm", ["orientation_heterogeneous", "lighting_direction"])
def test_the_pixels_of_the_target_are_found_at_once(paradigm):
    displays = make_paradigm(paradigm, 2, px_per_degree=15)
    trials = PixelTemplate().search(displays).trials
    assert (trials["found_at"] == 1).all()


def test_pixel_templates_recognise_by_similarity():
    displays = make_paradigm("orientation_homogeneous", 3, set_sizes=8, px_per_degree=15)
    policy = SearchPolicy(recognition="similarity", recognition_threshold=0.99)
    assert PixelTemplate(policy).search(displays).trials["found"].all()
    absent = make_paradigm("orientation_homogeneous", 3, set_sizes=8, target_present=False, px_per_degree=15)
    paths = PixelTemplate(policy).search(absent)
    assert not paths.trials["found"].any()
    assert (paths.trials["n_fixations"] == 8).all()  # no false alarm: every item was looked at


def test_saliency_looks_at_the_odd_one_first():
    image = np.full((90, 90, 3), 200, dtype=np.uint8)
    display = grid_display(4, n_items=9, side_px=(90, 90), target_item=6, image=image)
    image = image.copy()
    for item, (x, y) in enumerate(display.items[["x_px", "y_px"]].to_numpy().astype(int)):
        image[y - 5 : y + 5, x - 5 : x + 5] = (200, 40, 40) if item == 6 else (40, 110, 40)
    display = grid_display(4, n_items=9, side_px=(90, 90), target_item=6, image=image)
    assert Saliency().search([display]).trials["found_at"].tolist() == [1]


@pytest.mark.parametrize("model", [Chance(), CenterBias(), NearestFirst(), Saliency(), PixelTemplate()])
def test_baselines_search_grids_and_scenes_with_and_without_targets(model):
    template = np.random.default_rng(5).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    displays = [
        *grids(2, target_image=template),
        grid_display(8, target_item=None, target_image=template),
        scene_display(2, target_image=template),
        scene_display(3, present=False, target_image=template),
    ]
    paths = model.search(displays, n_rollouts=2, seed=3)
    assert paths.check_on(displays) is paths
    trials = paths.trials
    absent = trials["display"].isin(["grid8", "scene3"])
    assert trials.loc[trials["display"].isin(["grid0", "grid1"]), "found"].all()  # every cell was looked at
    assert not trials.loc[absent, "found"].any()
    assert (trials.loc[trials["display"] == "scene3", "n_fixations"] <= 16).all()
    assert paths.observers == [f"{model.name}#0", f"{model.name}#1"]


def test_what_a_baseline_needs_is_asked():
    for model, display in (
        (Saliency(), grid_display(image=None)),
        (PixelTemplate(), grid_display(target_image=None)),
    ):
        with pytest.raises(ValueError, match=r"has no (image|target_image)"):
            model.search([display])
    assert len(Chance().search([grid_display(image=None)])) == 1
