"""EccNet as a searcher: against the paper's steps one by one, and on displays whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cogmodels.search import SearchPolicy
from cogmodels.search.eccentricity_pooling import replace_pooling
from cogmodels.search.eccnet import EccNet
from cogmodels.search.ivsn import IVSN
from cogmodels.search.priority_maps import Sharpening
from encoders.taps import tap_layers
from stimuli.search_displays import SearchDisplays, make_paradigm
from stimuli.search_displays.paradigms import PARADIGMS
from tests.cogmodels.eccnet_cases import array_display, small_backbone, small_network
from tests.cogmodels.search_cases import scene_display
from tests.oracles import eccnet as oracle

IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# ReLU before each of the last pools but one, and the pool.
PAIRS = (("7", "8"), ("10", "11"), ("13", "14"))


def normalised(image):
    return torch.tensor((image / 255 - IMAGENET_MEAN) / IMAGENET_STD).permute(2, 0, 1)[None]


def published_map(
    module, display, gaze, pairs, sharpening=((3, 1), (5, 3)), relative=lambda *features: features
):
    """Return the attention over the whole window, before it is brought to pixels; and the side of the window."""
    module = replace_pooling(module).double()
    side = 2 * (display.width_px + 64)
    window = np.empty((side, side, 3))
    window[:] = display.background
    top, left = side // 2 - int(gaze[1]), side // 2 - int(gaze[0])
    window[top : top + display.height_px, left : left + display.width_px] = display.read_image()
    maps = []
    with tap_layers(module, [name for pair in pairs for name in pair]) as taps:
        seen = {name: value[0].numpy() for name, value in taps(normalised(window)).items()}
        told = {
            name: value[0].numpy() for name, value in taps(normalised(display.read_target_image())).items()
        }
    for search, target in pairs:
        features, kernel = seen[search], told[target]
        while features.shape[1] > -(-side // 16):
            features = oracle.average_pool_same(features, 2, 2)
        while kernel.shape[1] > -(-display.read_target_image().shape[0] // 32):
            kernel = oracle.average_pool_same(kernel, 2, 2)
        maps.append(oracle.modulate(*relative(features, kernel)))
    return oracle.sharpen(oracle.combine(maps), *sharpening), side


@pytest.mark.parametrize("gaze", [(60.0, 60.0), (3.2, 117.9), (101.5, 48.5)])
def test_attention_as_published(gaze):
    """128 + 120 pixels: the side of the window is no multiple of 16 for 120, and one for 128."""
    for side_px in (120, 128):
        display = array_display(side_px)
        model = EccNet(small_backbone(), layers=PAIRS)
        got = model.priority(model.begin(display), gaze)
        attention, side = published_map(small_network(), display, gaze, PAIRS)
        whole = oracle.over_pixels(attention - attention.min(), side, 0, 16)
        top, left = side // 2 - int(gaze[1]), side // 2 - int(gaze[0])
        expected = whole[top : top + side_px, left : left + side_px]
        np.testing.assert_allclose(got, expected, atol=2e-5 * np.ptp(expected))
        stretched = EccNet(small_backbone(), layers=PAIRS, placement="stretched")
        got = stretched.priority(stretched.begin(display), gaze)
        whole = oracle.over_pixels(attention - attention.min(), side, 0, side / len(attention))
        expected = whole[top : top + side_px, left : left + side_px]
        # many points a pixel are not all: at the edges of cells that are no whole number of pixels long
        np.testing.assert_allclose(got, expected, atol=0.02 * np.ptp(expected))


def test_arguments_change_what_they_name():
    display = array_display()
    gaze = (60.0, 60.0)

    def attention(**settings):
        model = EccNet(small_backbone(), **settings)
        return model.priority(model.begin(display), gaze)

    default = attention()
    assert default.shape == (120, 120)
    assert default.min() >= 0
    np.testing.assert_array_equal(default, attention(layers=PAIRS[:0] or None))
    for settings in (
        {"eccentricity": False},
        {"layers": "last"},
        {"weighting": "equal"},
        {"sharpening": None},
        {"sharpening": "intersection"},
        {"sharpening": Sharpening((3, 0.0), (7, 2.0))},
        {"fovea_radius_deg": 0.5},
        {"px_per_degree": 10.0},
    ):
        assert np.abs(attention(**settings) - default).max() > 1e-3, settings


def test_published_sharpening_goes_by_paradigm():
    display = replace(array_display(), paradigm="t_and_l")
    published, named = (EccNet(small_backbone(), sharpening=name) for name in ("published", "t_and_l"))
    maps = [model.priority(model.begin(display), (60.0, 60.0)) for model in (published, named)]
    np.testing.assert_array_equal(*maps)
    with pytest.raises(KeyError, match=r"'bars'.*grid0"):
        published.begin(array_display())
    scene = scene_display(target_image=np.zeros((16, 16, 3), np.uint8))
    assert published.begin(scene).sharpening == Sharpening((3, 0.0), (5, 1.0))


def test_pairs_are_one_of_three_by_default():
    model = EccNet(small_backbone())
    assert model.layers == (("7", "7"), ("10", "10"), ("13", "13"))
    assert EccNet(small_backbone(), layers="last").layers == (("13", "13"),)
    # a layer pooled in the fovea is that layer pooled
    display = array_display()
    given = EccNet(small_backbone(), layers=PAIRS)
    maps = [each.priority(each.begin(display), (60.0, 60.0)) for each in (model, given)]
    np.testing.assert_allclose(*maps, atol=1e-6)


@pytest.mark.parametrize("eccentricity", [True, False])
def test_an_erased_item_is_gone(eccentricity):
    """Painted over in part, or seen afresh: the same, and different from what was there."""
    model = EccNet(small_backbone(), eccentricity=eccentricity)
    display = array_display()
    state = model.begin(display)
    first = model.priority(state, (60.0, 60.0))
    picture = display.read_image()
    x, y, width, height = display.cells_px[2].round().astype(int)
    picture[y : y + height, x : x + width] = display.background
    erased = replace(display, image=picture)
    after = model.erase(state, erased, 2)
    afresh = model.begin(erased)
    for gaze in ((60.0, 60.0), (20.0, 99.0)):
        seen = model.priority(after, gaze)
        np.testing.assert_allclose(seen, model.priority(afresh, gaze), atol=1e-6 * np.ptp(seen))
    assert np.abs(model.priority(after, (60.0, 60.0)) - first).max() > 0.01
    np.testing.assert_array_equal(model.priority(state, (60.0, 60.0)), first)
    same = model.erase(after, erased, 2)
    np.testing.assert_allclose(model.priority(same, (20.0, 99.0)), seen, atol=1e-6 * np.ptp(seen))


@pytest.mark.parametrize("target", range(5))
def test_a_target_unlike_all_others_is_found_at_once(target):
    """One item of noise of its own colour among flat grey ones, told by its own picture."""
    model = EccNet("efficientnet_lite0")
    display = array_display(339, target, n_items=5)
    image = display.read_image()
    for item, (x, y, width, height) in enumerate(display.boxes_px.round().astype(int)):
        if item != target:
            image[y : y + height, x : x + width] = 40
    scanpaths = model.search(SearchDisplays([replace(display, image=image)]))
    assert scanpaths.trials.found_at.tolist() == [1]


def test_search_is_the_same_each_time_and_as_run_whole():
    displays = make_paradigm("lighting_direction", 1, set_sizes=[6])
    model = EccNet("efficientnet_lite0", name="lite")
    first = model.search(displays)
    assert first.table.observer.unique().tolist() == ["lite"]
    assert first.table.equals(EccNet("efficientnet_lite0", name="lite").search(displays).table)
    assert first.trials.found.all()
    whole = EccNet("efficientnet_lite0", name="lite")
    network = whole._network(displays[0])
    network.in_parts = False
    assert whole.search(displays).table.equals(first.table)


def test_the_gaze_may_be_taken_in_steps():
    display = array_display()
    model = EccNet(small_backbone(), gaze_step_px=4)
    state = model.begin(display)
    middle = model.priority(state, (60.5, 60.5))
    np.testing.assert_array_equal(model.priority(state, (61.9, 59.0)), middle)
    assert not np.array_equal(model.priority(state, (63.0, 60.5)), middle)
    exact = EccNet(small_backbone())
    np.testing.assert_array_equal(
        exact.priority(exact.begin(display), (64.0, 60.0)), model.priority(state, (63.0, 60.0))
    )
    assert len(state.display.maps) == 1, "early layers ran once"


def test_ivsn_is_the_last_layer_without_eccentricity():
    display = array_display()
    model, same = IVSN(small_backbone()), EccNet(small_backbone(), eccentricity=False, layers="last")
    assert model.name == "ivsn"
    maps = [each.priority(each.begin(display), (60.0, 60.0)) for each in (model, same)]
    np.testing.assert_array_equal(*maps)
    assert len(IVSN(small_backbone(), layers=PAIRS).layers) == 3


def test_recognition_tells_target_from_others():
    policy = SearchPolicy(recognition="similarity", recognition_threshold=0.999)
    model = EccNet("efficientnet_lite0", policy=policy)
    display = array_display(300, 1, n_items=4)
    image, boxes = display.read_image(), display.boxes_px.round().astype(int)
    x, y, width, height = boxes[2]
    image[y : y + height, x : x + width] = np.indices((height, width)).sum(0)[..., None] // 8 % 2 * 255
    display = replace(display, image=image)
    state = model.begin(display)
    centres = display.items[["x_px", "y_px"]].to_numpy()
    scores = [model.recognition_score(state, tuple(centre)) for centre in centres]
    assert np.argmax(scores) == 1
    assert scores[1] > 0.95
    assert all(0 <= score <= 1 for score in scores)
    assert scores[2] < scores[1] - 0.1
    corner = model.recognition_score(state, (0.0, 0.0))
    assert 0 <= corner < 0.9, "what lies off the display is background"


def test_scenes_without_a_background():
    scene = scene_display(side_px=(90, 60), target_image=np.full((16, 16, 3), 90, np.uint8))
    model = EccNet(small_backbone())
    scanpaths = model.search(SearchDisplays([scene]))
    assert scanpaths.table.x_px.between(0, 90).all()
    assert model.priority(model.begin(scene), (5.0, 5.0)).shape == (60, 90)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"px_per_degree": 22.0}, r"22 px per degree, the model 30: give EccNet\(px_per_degree=22\)"),
        ({"target_image": np.zeros((4, 9, 3), np.uint8)}, "4 x 9 pixels .* too few"),
    ],
)
def test_displays_that_do_not_fit_are_refused(changes, message):
    model = EccNet(small_backbone())
    with pytest.raises(ValueError, match=message):
        model.search(SearchDisplays([array_display(**changes)]))


def test_displays_without_a_target_image_are_refused_before_the_search():
    with pytest.raises(ValueError, match="has no target_image"):
        EccNet(small_backbone()).search(SearchDisplays([array_display(target_image=None)]))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"weighting": "mean"}, ValueError, "weighting is 'mean'"),
        ({"placement": "centre"}, ValueError, "placement is 'centre'"),
        ({"gaze_step_px": 0}, ValueError, "gaze_step_px is 0"),
        ({"sharpening": "curves"}, KeyError, "sharpening"),
        ({"sharpening": 3}, TypeError, "sharpening"),
        ({"layers": "first"}, ValueError, "give pairs of names"),
        ({"layers": []}, ValueError, "give pairs of names"),
        ({"layers": ["7", "8"]}, ValueError, "give pairs of names"),
        ({"layers": [("7", "seven")]}, KeyError, "layer"),
        ({"weights": "random"}, ValueError, "this one has its own"),
        ({"px_per_degree": 0.0}, ValueError, "px_per_degree"),
        ({"slopes": (0, -1, 0)}, ValueError, "slope"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        EccNet(small_backbone(), **settings)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="load_backbone"):
        EccNet(small_network())

    class Raw:
        def __call__(self, stimuli, indices):
            return {"x": torch.zeros(len(indices), 3, 8, 8)}

        def describe(self):
            return {}

    with pytest.raises(ValueError, match="small-pools has no normalisation"):
        EccNet(replace(small_backbone(), preprocess=Raw()))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "torchvision/squeezenet1_0"])
def test_trained_networks_find_what_they_are_told(backbone, real_data: Path):
    """Over four paradigms at their largest sets, in two thirds of chance's fixations, (n + 1) / 2, or fewer."""
    weights = real_data / "weights/squeezenet1_0_imagenet.safetensors" if "squeeze" in backbone else "cache"
    model = EccNet(backbone, weights=weights)
    shares = []
    for paradigm in ("curvature", "lighting_direction", "t_and_l", "orientation_heterogeneous"):
        size = max(PARADIGMS[paradigm].set_sizes)
        trials = model.search(make_paradigm(paradigm, 4, set_sizes=[size])).trials
        assert trials.found.all()
        shares.append(trials.found_at.mean() / ((size + 1) / 2))
    assert np.mean(shares) < 2 / 3
