"""Pools whose windows grow with eccentricity, against section 3.1 of Gupta et al. (2021) written down literally."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cogmodels.search.eccentricity_pooling import EccentricityPool2d, replace_pooling
from encoders.backbones import load_backbone
from tests.cogmodels.eccnet_cases import small_network
from tests.oracles.eccnet import average_pool_same, eccentricity_pool

# Pixels a degree at the input of each pool of VGG16 for 30 px at the picture, rounded, and slopes.
PUBLISHED = {1: (30, 0), 2: (15, 0), 3: (8, 0.07), 4: (4, 0.16), 5: (2, 0.32)}


def maps_of(side, n_channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n_channels, side, side))


@pytest.mark.parametrize(
    ("depth", "side"),
    [(1, 130), (1, 63), (2, 130), (3, 101), (3, 202), (4, 51), (4, 100), (5, 25), (5, 51), (5, 8)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equal_to_masked_averages(depth, side, layout):
    maps = maps_of(side)
    deg2px, slope = PUBLISHED[depth]
    pool = EccentricityPool2d(30 / 2 ** (depth - 1), slope)
    got = pool(torch.tensor(maps[None], dtype=torch.float32).contiguous(memory_format=layout))
    np.testing.assert_allclose(got[0], eccentricity_pool(maps, deg2px, slope), atol=1e-5)


def test_windows_at_thirty_pixels_a_degree():
    """Windows by hand from the formula 2 + round(slope (2 e - 4 deg2px)), where e is the outer radius of a ring."""
    third = EccentricityPool2d(30 / 4, 0.07).windows(202).sizes  # 8 px a degree: fovea 16 places, rings of 4
    assert third.shape == (101, 101)
    row = third[50, 50:]
    assert (row[:16] == 2).all()
    # e = 20, 24, 28, ..., 52: growth 0.56, 1.12, 1.68, 2.24, 2.8, 3.36, 3.92, 4.48, 5.04
    assert row[16::4].tolist() == [3, 3, 4, 4, 5, 5, 6, 6, 7]
    assert third[0, 0] == 7, "the last ring takes the corners"
    fourth = EccentricityPool2d(30 / 8, 0.16).windows(101).sizes  # 4 px: fovea 8, rings of 2
    assert fourth[25, 25 + 7] == 2
    # e = 10, ..., 26: growth 0.64, 1.28, 1.92, 2.56, 3.2, 3.84, 4.48, 5.12, 5.76
    assert fourth[25, 25 + 8 :: 2].tolist() == [3, 3, 4, 5, 5, 6, 6, 7, 8]
    fifth = EccentricityPool2d(30 / 16, 0.32).windows(51).sizes  # 2 px: fovea 4, rings of 1
    # e = 5, ..., 13: growth 0.64, 1.28, 1.92, 2.56, 3.2, 3.84, 4.48, 5.12, 5.76
    assert fifth[13, 13 + 4 :].tolist() == [3, 3, 4, 5, 5, 6, 6, 7, 8]
    assert set(np.unique(EccentricityPool2d(30, 0).windows(806).sizes)) == {2}


def test_a_constant_stays_what_it_is_up_to_the_edges():
    pool = EccentricityPool2d(30 / 8, 0.16)
    torch.testing.assert_close(pool(torch.full((1, 2, 77, 77), 3.5)), torch.full((1, 2, 39, 39), 3.5))


def test_without_slope_it_is_an_ordinary_pool():
    maps = torch.tensor(maps_of(51), dtype=torch.float32)[None]
    expected = F.avg_pool2d(maps, 2, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(EccentricityPool2d(4, 0.0)(maps), expected)


@given(rows=st.integers(-6, 6), columns=st.integers(-6, 6))
@settings(max_examples=20, deadline=None)
def test_in_the_fovea_a_moved_picture_gives_moved_averages(rows, columns):
    pool = EccentricityPool2d(30 / 4, 0.07)  # windows of 2 within 16 places of place 50
    maps = np.zeros((1, 202, 202), np.float32)
    maps[0, 96:108, 96:108] = maps_of(12, 1)[0]
    moved = np.roll(maps, (2 * rows, 2 * columns), axis=(1, 2))
    before, after = (pool(torch.tensor(each)[None])[0, 0].numpy() for each in (maps, moved))
    np.testing.assert_allclose(
        after[40:62, 40:62], np.roll(before, (rows, columns), (0, 1))[40:62, 40:62], atol=1e-6
    )


def test_beyond_the_fovea_detail_is_lost_and_the_mean_is_kept():
    pool = EccentricityPool2d(30 / 8, 0.16)
    checks = torch.tensor(np.indices((100, 100)).sum(0) // 2 % 2, dtype=torch.float32)[None, None]
    pooled = pool(checks)[0, 0]
    assert pooled[20:30, 20:30].std() > 3 * pooled[:6, :6].std()
    assert pooled[:6, :6].mean() == pytest.approx(0.5, abs=0.05)


def test_maps_that_are_not_square_are_padded_to_squares():
    maps = torch.tensor(maps_of(40), dtype=torch.float32)[:, :27]
    padded = np.zeros((3, 40, 40))
    padded[:, 6:33] = maps
    got = EccentricityPool2d(2, 0.32)(maps)  # without a batch
    np.testing.assert_allclose(got, eccentricity_pool(padded, 2, 0.32), atol=1e-5)
    across = EccentricityPool2d(2, 0.32)(maps.transpose(1, 2))
    np.testing.assert_allclose(across, eccentricity_pool(padded.transpose(0, 2, 1), 2, 0.32), atol=1e-5)


def test_steps_of_one_keep_windows_centred():
    pool = EccentricityPool2d(30 / 8, 0.16, min_window_px=1, stride=1)
    sizes = pool.windows(50).sizes
    assert set(np.unique(sizes % 2)) == {1}
    maps = maps_of(50)
    got = pool(torch.tensor(maps)[None])[0]
    expected = sum((sizes == size) * average_pool_same(maps, size, 1) for size in np.unique(sizes))
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert (got[:, 20:30, 20:30] == torch.tensor(maps[:, 20:30, 20:30])).all(), "the fovea stays as it is"


def test_gradients_flow():
    maps = torch.tensor(maps_of(24, 1)[None], requires_grad=True)
    assert torch.autograd.gradcheck(EccentricityPool2d(2, 0.32), (maps,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("px_per_degree", 0), ("slope", -0.1), ("fovea_radius_deg", np.nan)),
        *(("ring_width_deg", 0), ("stride", 0), ("min_window_px", 1.5)),
    ],
)
def test_values_that_are_not_allowed_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        EccentricityPool2d(**{"px_per_degree": 30, "slope": 0.1, name: value})


def pools_of(module):
    return {
        name: (pool.px_per_degree, round(pool.slope, 6), pool.stride, pool.min_window_px)
        for name, pool in module.named_modules()
        if isinstance(pool, EccentricityPool2d)
    }


def test_vgg16_as_published():
    module = load_backbone("torchvision/vgg16", weights="random").module
    replaced = replace_pooling(module)
    assert pools_of(replaced) == {
        "features.4": (30, 0, 2, 2),
        "features.9": (15, 0, 2, 2),
        "features.16": (7.5, 0.07, 2, 2),
        "features.23": (3.75, 0.16, 2, 2),
        "features.30": (1.875, 0.32, 2, 2),
    }
    assert isinstance(module.features[4], nn.MaxPool2d), "the network itself stays as it is"
    for (name, theirs), (same, ours) in zip(
        module.state_dict().items(), replaced.state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(theirs, ours)


def test_squeezenet_begins_with_a_strided_convolution():
    replaced = replace_pooling(load_backbone("torchvision/squeezenet1_0", weights="random").module)
    assert pools_of(replaced) == {
        "features.2": (15, 0, 2, 2),
        "features.6": (7.5, 0.07, 2, 2),
        "features.11": (3.75, 0.16, 2, 2),
    }


def test_strided_convolutions_get_pools_behind_their_nonlinearity():
    backbone = load_backbone("efficientnet_lite0")
    replaced = replace_pooling(backbone.module)
    assert pools_of(replaced) == {
        "blocks.2.0.bn2.eccentricity_pool": (3.75, 0.07, 1, 1),
        "blocks.3.0.bn2.eccentricity_pool": (1.875, 0.16, 1, 1),
        "blocks.5.0.bn2.eccentricity_pool": (0.9375, 0.32, 1, 1),
    }
    foveal = torch.rand(1, 3, 224, 224)  # 3.7 degrees to each side
    with torch.no_grad():
        torch.testing.assert_close(replaced(foveal), backbone.module(foveal), rtol=0, atol=0)
        wide = torch.rand(1, 3, 480, 480)
        assert (replaced(wide) - backbone.module(wide)).abs().max() > 0.01


def test_branches_that_halve_side_by_side_are_pooled_once_behind_their_sum():
    module = small_network("residual")
    halving = next(name for name, layer in module.named_children() if type(layer).__name__ == "Halving")
    replaced = replace_pooling(module)
    names = list(pools_of(replaced))
    assert names[:3] == ["2", "5", f"{halving}.eccentricity_pool"]
    assert len(names) == 5
    picture = torch.rand(1, 3, 64, 64)
    block = replaced.get_submodule(halving)
    values = torch.rand(1, 8, 200, 200)
    with torch.no_grad():
        assert replaced(picture).shape == (1, 4)
        assert torch.equal(block(values), block.eccentricity_pool(block.layer(values)))


def test_networks_that_cannot_be_changed_are_refused():
    shared = nn.MaxPool2d(2)
    twice = nn.Sequential(nn.Conv2d(3, 4, 3), shared, nn.Conv2d(4, 4, 3), shared)
    with pytest.raises(ValueError, match="called several times: give each depth"):
        replace_pooling(twice)
    with pytest.raises(ValueError, match="nothing to replace"):
        replace_pooling(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ValueError, match="stride 3"):
        replace_pooling(nn.Sequential(nn.MaxPool2d(3)))
    with pytest.raises(ValueError, match="equal strides"):
        replace_pooling(nn.Sequential(nn.MaxPool2d((2, 1))))

    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match="cannot be read as a graph"):
        replace_pooling(Asks())


def test_training_goes_on_as_before():
    module = small_network().train()
    replaced = replace_pooling(copy.deepcopy(module))
    assert all(layer.training for layer in replaced.modules())
