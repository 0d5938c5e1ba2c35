"""A network computed in parts equals the network run over the whole window."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search.early_layers import boxes_of
from cogmodels.search.eccentricity_pooling import replace_pooling
from cogmodels.search.layer_graph import LayerGraph
from cogmodels.search.modulation import without_gradients
from cogmodels.search.regions import Region
from cogmodels.search.window_network import WindowNetwork
from encoders.backbones import load_backbone
from tests.cogmodels.eccnet_cases import small_network

BACKGROUND = torch.tensor([0.4, -0.3, 1.1])
SIDE_PX = 100


def network_of(
    module,
    eccentricity=True,
    side=2 * (SIDE_PX + 64),
    background=BACKGROUND,
    strides=None,
    px_per_degree=8,
):
    layers = LayerGraph(module).last_layers()
    # by default few pixels a degree, so that pools grow within small windows
    changed = replace_pooling(module, px_per_degree=px_per_degree) if eccentricity else module
    graph = LayerGraph(without_gradients(changed, "cpu"))
    strides = strides or [stride for stride in layers if 1 < stride <= 16][-3:]
    return WindowNetwork(graph, [graph.node_of(layers[stride]) for stride in strides], side, background)


def picture_of(boxes, shape=(SIDE_PX, SIDE_PX), background=BACKGROUND, seed=0):
    picture = background.view(1, 3, 1, 1).expand(1, 3, *shape).clone()
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    for top, left, height, width in boxes:
        part = (..., slice(top, top + height), slice(left, left + width))
        picture[part] = noise[part]
    return picture


def assert_same(network, display, top, left, in_parts=True):
    expected = network.whole(network.window(display.picture, top, left))
    if in_parts:
        network.whole = None  # it must not be asked
    try:
        got = network.look(display, top, left)
    finally:
        network.__dict__.pop("whole", None)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))


@pytest.fixture(scope="module", params=["pools", "residual", "branching"])
def network(request):
    return network_of(small_network(request.param))


def positions(side=SIDE_PX):
    """Corners of the display while the gaze is on its pixels."""
    return st.integers(0, side - 1).map(lambda gaze: SIDE_PX + 64 - gaze)


@given(
    top=positions(),
    left=positions(),
    boxes=st.lists(
        st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 40), st.integers(1, 40)), max_size=4
    ),
    seed=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_any_picture_seen_from_anywhere(network, top, left, boxes, seed):
    display = network.display(picture_of(boxes, seed=seed))
    assert_same(network, display, top, left)


def test_one_display_seen_from_many_places_and_erased(network):
    picture = picture_of([(5, 8, 20, 20), (60, 8, 20, 20), (64, 70, 20, 20), (40, 42, 12, 30)])
    display = network.display(picture)
    for top, left in ((110, 121), (114, 125), (111, 120), (110, 121), (67, 70)):
        assert_same(network, display, top, left)
    before = {way: dict(maps) for way, maps in display.maps.items()}
    for box in (Region(0, 33, 0, 33), Region(33, 66, 33, 80)):
        picture = picture.clone()
        picture[(..., *box.slices())] = BACKGROUND.view(1, 3, 1, 1)
        erased = display.changed_to(network.display(picture), box)
        for top, left in ((110, 121), (67, 70), (80, 99), (67, 70)):
            assert_same(network, erased, top, left)
        assert_same(network, display, 67, 70)
        display = erased
    assert {way: dict(maps) for way, maps in display.maps.items()} != before


@pytest.mark.parametrize("shape", [(60, 100), (100, 40)])
def test_displays_that_are_not_square(network, shape):
    display = network.display(picture_of([(0, 0, 60, 100)], shape))
    assert_same(network, display, 164 - 1, 164 - 30)


def test_networks_with_their_own_pools():
    network = network_of(small_network("pools"), eccentricity=False)
    assert_same(network, network.display(picture_of([(30, 30, 30, 40)])), 101, 90)


def test_a_window_of_any_side():
    for side in (327, 328, 330, 333):
        network = network_of(small_network("pools"), side=side)
        assert_same(network, network.display(picture_of([(30, 30, 30, 40)])), 101, 90)


def test_where_the_edge_of_the_window_is_near_the_whole_is_run():
    network = network_of(small_network("pools"), side=130)
    display = network.display(picture_of([(0, 0, 100, 100)]))
    assert_same(network, display, 2, 2, in_parts=False)
    assert_same(network, display, -30, 60, in_parts=False)


def test_layers_of_unknown_kinds_are_run_whole():
    network = network_of(small_network("gated"))
    assert not network.in_parts
    assert_same(network, network.display(picture_of([(30, 30, 30, 40)])), 101, 90, in_parts=False)


@pytest.mark.parametrize("spec", ["efficientnet_lite0", "torchvision/squeezenet1_0", "torchvision/resnet18"])
def test_networks_as_they_are(spec):
    weights = "cache" if spec == "efficientnet_lite0" else "random"
    network = network_of(load_backbone(spec, weights=weights).module)
    assert network.in_parts
    display = network.display(picture_of([(5, 5, 20, 20), (60, 50, 35, 35)]))
    for top, left in ((110, 121), (67, 70)):
        assert_same(network, display, top, left)


@pytest.mark.slow
def test_vgg16_at_the_published_size():
    """11.3 degrees at 30 pixels: a window of 806 pixels."""
    layers = LayerGraph(module := load_backbone("torchvision/vgg16", weights="random").module).last_layers()
    graph = LayerGraph(without_gradients(replace_pooling(module), "cpu"))
    network = WindowNetwork(graph, [graph.node_of(layers[stride]) for stride in (4, 8, 16)], 806, BACKGROUND)
    boxes = [(10 + 56 * i, 8 + 56 * j, 40, 40) for i, j in ((0, 1), (2, 2), (4, 5), (5, 0))]
    display = network.display(picture_of(boxes, (339, 339)))
    for gaze in ((169, 169), (30, 81), (310, 20)):
        assert_same(network, display, 403 - gaze[0], 403 - gaze[1])


@pytest.mark.parametrize("kind", ["pools", "residual", "branching"])
def test_places_lie_where_they_look(kind):
    """A network that averages, in its fovea: on average over lines, those places change that are said to lie there."""
    module = small_network(kind)
    with torch.no_grad():
        for name, values in module.named_parameters():
            values.fill_(1 / values[0].numel() if name.endswith("weight") else 0.0)
    network = network_of(module, strides=(16,), px_per_degree=30)
    first, length = network.cells(network._wanted[0])
    errors = []
    for row in range(140, 188):
        window = torch.zeros(1, 3, network.side, network.side)
        window[:, :, row, :] = 1.0
        change = network.whole(window)[0][..., 8:13].sum((0, 1, 3)).numpy()  # columns in the fovea
        middle = change @ (np.arange(len(change)) + 0.5) / change.sum()
        errors.append(first + middle * length - (row + 0.5))
    assert np.mean(errors) == pytest.approx(0, abs=0.01)


@given(
    st.lists(
        st.tuples(st.integers(0, 199), st.integers(0, 149), st.integers(1, 40), st.integers(1, 40)),
        max_size=6,
    )
)
@settings(max_examples=50, deadline=None)
def test_boxes_hold_all_that_differs(boxes):
    differs = np.zeros((200, 150), bool)
    for top, left, height, width in boxes:
        differs[top : top + height, left : left + width] = True
    found = boxes_of(differs)
    covered = np.zeros_like(differs)
    for box in found:
        assert Region(0, 200, 0, 150).intersection(box) == box
        covered[box.slices()] = True
    assert not (differs & ~covered).any()
    assert bool(found) == differs.any()


def test_far_boxes_stay_apart_and_neighbours_are_joined():
    differs = np.zeros((400, 400), bool)
    differs[:20, :20] = differs[380:, 380:] = True
    assert len(boxes_of(differs)) == 2
    differs[:20, 40:60] = True
    assert len(boxes_of(differs)) == 2
    assert len(boxes_of(np.random.default_rng(0).random((400, 400)) < 0.01)) >= 1
