"""From features to an attention map, each step against the paper's written down place after place."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cogmodels.search.layer_graph import LayerGraph
from cogmodels.search.modulation import DEFAULT_PAIRS, add_pools, choose_pairs, modulate, similarity
from cogmodels.search.priority_maps import (
    PUBLISHED_SHARPENING,
    Sharpening,
    cell_shares,
    check_sharpening,
    combine_maps,
    gaussian_window,
    sharpen,
    spread_over_pixels,
)
from cogmodels.search.window_network import run_whole
from encoders.backbones import load_backbone
from tests.cogmodels.eccnet_cases import small_network
from tests.oracles import eccnet as oracle
from tests.oracles.eccnet import average_pool_same


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (6, 6), (2, 5)])
def test_modulation_is_a_convolution_with_the_target(size):
    rng = np.random.default_rng(0)
    features, kernel = rng.normal(size=(7, 9, 11)), rng.normal(size=(7, *size))
    got = modulate(torch.tensor(features)[None], torch.tensor(kernel)[None])
    np.testing.assert_allclose(got, oracle.modulate(features, kernel), atol=1e-12)


def test_modulation_is_highest_where_the_target_is():
    """A target of features of equal length, hidden among others at a known place."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(64, 12, 12))
    features /= np.linalg.norm(features, axis=0)
    kernel = features[:, 4:7, 8:11]
    agreement = modulate(torch.tensor(features)[None], torch.tensor(kernel.copy())[None]).numpy()
    assert np.unravel_index(agreement.argmax(), agreement.shape) == (5, 9)
    assert agreement.max() == pytest.approx(9)


def test_combination_weighs_by_the_highest_value():
    maps = np.random.default_rng(0).gamma(2, size=(3, 6, 5)) * [[[1]], [[20]], [[300]]]
    np.testing.assert_allclose(combine_maps(maps), oracle.combine(maps), atol=1e-12)
    equal = np.mean([(m - m.min()) / (m.max() - m.min()) for m in maps], axis=0)
    np.testing.assert_allclose(combine_maps(maps, "equal"), equal, atol=1e-12)
    np.testing.assert_allclose(combine_maps(maps, "equal"), combine_maps(7 * maps + 3, "equal"), atol=1e-12)


def test_maps_without_anything_in_them():
    flat = np.zeros((2, 3, 3))
    assert (combine_maps(flat) == 0).all()
    below = np.random.default_rng(0).normal(size=(3, 3)) - 10
    assert np.isfinite(combine_maps(np.stack([below, flat[0]]))).all()
    rising = np.arange(9.0).reshape(3, 3)
    (
        np.testing.assert_allclose(combine_maps(np.stack([below, rising])), rising / 8),
        "below 0 it has no weight",
    )
    with pytest.raises(ValueError, match="weighting must be one of max, equal"):
        combine_maps(flat, "mean")


@pytest.mark.parametrize("name", PUBLISHED_SHARPENING)
def test_sharpening_as_published(name):
    settings_of = PUBLISHED_SHARPENING[name]
    m = np.random.default_rng(0).random((14, 11))
    expected = oracle.sharpen(m, settings_of.narrow, settings_of.wide)
    np.testing.assert_allclose(sharpen(m, settings_of), expected, atol=1e-12)


def test_published_numbers():
    """Windows and standard deviations of the families of displays: specifications of the authors' runs."""
    windows = {
        name: (*each.narrow, *each.wide, each.n_repeats) for name, each in PUBLISHED_SHARPENING.items()
    }
    assert windows == {
        "curvature": (3, 1, 5, 3, 3),
        "orientation_homogeneous": (3, 1, 5, 3, 3),
        "orientation_heterogeneous": (3, 1, 5, 3, 3),
        "intersection": (5, 3, 7, 5, 3),
        "t_and_l": (5, 3, 7, 5, 3),
        "lighting_direction": (3, 0, 5, 1, 3),
        "scenes": (3, 0, 5, 1, 3),
    }
    default = Sharpening()
    assert (default.narrow, default.wide) == ((3, 1.0), (5, 3.0))
    assert gaussian_window(3, 0).tolist() == [0.25, 0.5, 0.25]


def test_sharpening_keeps_the_mean_and_lifts_peaks():
    peak = np.zeros((31, 31))
    peak[15, 15] = 1
    sharper = sharpen(peak, Sharpening())
    assert sharper[15, 15] > 1.2
    assert sharper.sum() == pytest.approx(1)
    flat = np.full((5, 5), 0.3)
    np.testing.assert_allclose(sharpen(flat, Sharpening()), flat)
    assert (sharpen(peak, Sharpening(n_repeats=0)) == peak).all()


def test_sharpening_that_is_not_allowed_is_refused():
    for wrong in ({"narrow": (4, 1.0)}, {"wide": (5, -1.0)}, {"narrow": (0, 1.0)}, {"n_repeats": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Sharpening(**wrong)
    with pytest.raises(KeyError, match=r"curvatur.*curvature"):
        check_sharpening("curvatur")
    with pytest.raises(TypeError, match="a name or None"):
        check_sharpening((3, 1))
    assert check_sharpening("published") == "published"
    assert check_sharpening(None) is None


@given(
    n_px=st.integers(1, 60),
    first_px=st.floats(-40, 40),
    cell_px=st.sampled_from([1.0, 4.0, 15.75, 16.0]),
    n_cells=st.integers(1, 6),
)
@settings(max_examples=80, deadline=None)
def test_shares_of_pixels_sum_to_one(n_px, first_px, cell_px, n_cells):
    shares = cell_shares(n_px, first_px, cell_px, n_cells)
    assert shares.shape == (n_px, n_cells)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)


@pytest.mark.parametrize(("first_px", "cell_px"), [(0.0, 4.0), (-5.25, 3.25), (3.5, 6.0)])
def test_cells_are_spread_over_pixels_by_area(first_px, cell_px):
    m = np.random.default_rng(0).random((5, 5))
    got = spread_over_pixels(m, (20, 20), (first_px, first_px), cell_px)
    np.testing.assert_allclose(got, oracle.over_pixels(m, 20, first_px, cell_px), atol=1e-9)
    higher = spread_over_pixels(m, (20, 13), (first_px, first_px), cell_px)
    np.testing.assert_allclose(higher, got[:, :13])


def test_pairs_of_known_networks():
    """VGG16: conv3_3, conv4_3 and conv5_3 after their nonlinearity, and the pools behind them."""
    module = load_backbone("torchvision/vgg16", weights="random").module
    kinds = [
        [type(module.get_submodule(path)) for path in pair] for pair in DEFAULT_PAIRS["torchvision/vgg16"]
    ]
    assert kinds == [[nn.ReLU, nn.MaxPool2d]] * 3
    graph = LayerGraph(module)
    for name, strides in (
        ("torchvision/vgg16", ((4, 8), (8, 16), (16, 32))),
        ("torchvision/vgg16.IMAGENET1K_V1", ((4, 8), (8, 16), (16, 32))),
    ):
        pairs = choose_pairs(name, graph)
        assert tuple(tuple(graph.strides[graph.node_of(path)] for path in pair) for pair in pairs) == strides


@pytest.mark.parametrize(
    ("spec", "n_channels"),
    [("efficientnet_lite0", (144, 240, 672)), ("torchvision/squeezenet1_0", (256, 512, 512))],
)
def test_pairs_of_other_networks_lie_at_the_same_depths(spec, n_channels):
    weights = "cache" if spec == "efficientnet_lite0" else "random"
    graph = LayerGraph(load_backbone(spec, weights=weights).module)
    pairs = choose_pairs(spec, graph)
    nodes = [graph.node_of(search) for search, _ in pairs]
    assert [graph.strides[node] for node in nodes] == [4, 8, 16]
    maps = run_whole(graph, nodes, torch.rand(1, 3, 64, 64))
    assert tuple(each.shape[1] for each in maps) == n_channels
    assert all(float(each.min()) == 0 for each in maps), "rectified"
    assert pairs == choose_pairs(spec, graph)


def test_a_rule_chooses_for_other_networks():
    graph = LayerGraph(load_backbone("torchvision/resnet18", weights="random").module)
    pairs = choose_pairs("torchvision/resnet18", graph)
    assert pairs == tuple((path, path) for path in ("layer1.1", "layer2.1", "layer3.1"))
    assert [path for path, _ in choose_pairs("mine", LayerGraph(small_network()))] == ["7", "10", "13"]
    with pytest.raises(ValueError, match=r"no layer at a stride.*layers="):
        choose_pairs("flat", LayerGraph(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())))


@pytest.mark.parametrize("kind", ["average", "max"])
def test_layers_are_brought_to_one_stride(kind):
    graph = LayerGraph(small_network())
    ends = add_pools(graph, ["4", "10", "13"], 16, kind)
    assert {graph.strides[end] for end in ends} == {16}
    picture = torch.rand(1, 3, 72, 72)
    second, pooled, same = run_whole(graph, [graph.node_of("4"), ends[0], ends[2]], picture)
    maps = second[0].double().numpy()
    for _ in range(3):
        if kind == "average":
            maps = average_pool_same(maps, 2, 2)
        else:
            padded = np.pad(maps, ((0, 0), *[(0, maps.shape[1] % 2)] * 2), constant_values=-np.inf)
            halves = padded.shape[1] // 2
            maps = padded.reshape(len(maps), halves, 2, halves, 2).max((2, 4))
    np.testing.assert_allclose(pooled[0], maps, atol=1e-6)
    assert torch.equal(same, run_whole(graph, [graph.node_of("13")], picture)[0])
    with pytest.raises(ValueError, match="stride of 16 px, which cannot be brought to 8 px"):
        add_pools(graph, ["13"], 8, kind)
    with pytest.raises(KeyError, match="layer"):
        add_pools(graph, ["nowhere"], 8, kind)


def test_similarity_is_that_of_mean_features():
    maps = torch.rand(1, 6, 3, 4)
    assert similarity(maps, 2 * maps.flip(2)) == pytest.approx(1)
    assert similarity(maps, torch.zeros(1, 6, 2, 2)) == 0
    assert similarity(torch.eye(6)[0].view(1, 6, 1, 1), torch.eye(6)[1].view(1, 6, 1, 1)) == 0
