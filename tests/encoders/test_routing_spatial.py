import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import encoders.routing.spatial as spatial
from encoders.routing.spatial import SpatialNetwork, pool_tokens, read_voxels
from tests.oracles.attention import spatial_network

MASKS = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)


def make(masks, n_tokens, n_channels, overlap="sum", seed=0):
    network = SpatialNetwork(
        n_tokens, n_channels, masks, 5, overlap, torch.Generator().manual_seed(seed)
    ).double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        network.logits += torch.from_numpy(rng.standard_normal(network.logits.shape))
    tokens = rng.standard_normal((3, n_tokens, n_channels))
    mask = rng.random((3, n_tokens)) < 0.6
    mask[:, 0] = True
    return network, tokens * mask[..., None], mask


def oracle(network, tokens, mask, masks, overlap="sum"):
    rows = slice(None) if masks is None else network.readout.rows.numpy()
    W, b = network.readout.weight.detach().numpy()[rows], network.readout.bias.detach().numpy()[rows]
    return spatial_network(tokens, mask, network.logits.detach().numpy(), W, b, masks, overlap)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("masks", [None, MASKS], ids=["voxels", "masks"])
@pytest.mark.parametrize("overlap", ["sum", "mean"])
@pytest.mark.parametrize(("n_tokens", "n_channels"), [(6, 4), (4, 6), (1, 3)])
def test_predictions_and_slopes_are_those_written_down(n_tokens, n_channels, overlap, masks, padded):
    network, tokens, mask = make(masks, n_tokens, n_channels, overlap)
    mask = mask if padded else None
    seen = None if mask is None else torch.from_numpy(mask)
    predicted = network(torch.from_numpy(tokens), seen)
    np.testing.assert_allclose(predicted.detach(), oracle(network, tokens, mask, masks, overlap), atol=1e-12)
    np.testing.assert_allclose(network.maps().detach().sum(1), 1)
    rng = np.random.default_rng(1)
    direction = rng.standard_normal((3, 5))
    (predicted * torch.from_numpy(direction)).sum().backward()
    for value in network.parameters():
        step = torch.from_numpy(rng.standard_normal(tuple(value.shape)))
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                value += sign * 1e-5 * step
            sides.append((oracle(network, tokens, mask, masks, overlap) * direction).sum())
            with torch.no_grad():
                value -= sign * 1e-5 * step
        slope = (sides[0] - sides[1]) / 2e-5
        assert float((value.grad * step).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000), n=st.integers(1, 5), n_tokens=st.integers(1, 6), n_channels=st.integers(1, 6)
)
def test_voxel_maps_pool_alike_in_both_orders(seed, n, n_tokens, n_channels):
    g = torch.Generator().manual_seed(seed)
    tokens, logits, weight = (
        torch.randn(shape, generator=g, dtype=torch.float64)
        for shape in ((2, n_tokens, n_channels), (n, n_tokens), (n, n_channels))
    )
    mask = torch.rand((2, n_tokens), generator=g) < 0.7
    mask[:, 0] = True
    tokens = tokens * mask[..., None]
    pooled = pool_tokens(tokens, logits, mask)
    expected = (pooled * weight).sum(-1) + 3
    found = read_voxels(tokens.transpose(0, 1).contiguous(), logits, weight, torch.full((n,), 3.0), mask)
    torch.testing.assert_close(found, expected)


def test_what_is_no_token_has_no_say():
    network, tokens, mask = make(MASKS, 6, 4)
    changed = tokens.copy()
    changed[~mask] = 1e6
    seen = torch.from_numpy(mask)
    assert torch.equal(*(network(torch.from_numpy(x), seen) for x in (tokens, changed)))


def test_chunks_of_voxels_change_nothing_but_memory(monkeypatch):
    gradients, n_kept = [], []
    for numbers in (1 << 28, 2 * 3 * 6 * 2):  # all voxels at once, two at a time
        monkeypatch.setattr(spatial, "_CHUNK_NUMBERS", numbers)
        network, tokens, mask = make(None, 6, 4)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x
        ):
            predicted = network(torch.from_numpy(tokens), torch.from_numpy(mask))
        n_kept.append(sum(kept))
        predicted.square().sum().backward()
        gradients.append([predicted.detach(), *(value.grad for value in network.parameters())])
    torch.testing.assert_close(*gradients)
    assert n_kept[1] < n_kept[0] / 3


def test_published_numbers_of_parameters():
    generator = torch.Generator().manual_seed(0)
    voxels = SpatialNetwork(961, 768, None, 39_548, "sum", generator)
    assert sum(p.numel() for p in voxels.parameters()) == 68_418_040
    masks = np.zeros((50, 39_548), bool)
    masks[np.arange(39_548) % 50, np.arange(39_548)] = True
    rois = SpatialNetwork(961, 768, masks, 39_548, "sum", generator)
    assert sum(p.numel() for p in rois.parameters()) == 50 * 961 + 39_548 * 769  # 30.46 M
