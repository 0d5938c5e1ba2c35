import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from encoders.routing.queries import check_query_names, choose_queries, count_queries, query_masks
from encoders.routing.readout import RoutedReadout, VoxelReadout, row_products
from tests.oracles.attention import routed_readout


def random_masks(rng, n_queries, n_voxels, n_extra):
    masks = np.zeros((n_queries, n_voxels), bool)
    masks[rng.integers(0, n_queries, n_voxels), np.arange(n_voxels)] = True
    masks[rng.integers(0, n_queries, n_extra), rng.integers(0, n_voxels, n_extra)] = True
    return masks


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_queries=st.integers(1, 6),
    n_voxels=st.integers(1, 12),
    n_extra=st.integers(0, 20),
    overlap=st.sampled_from(["sum", "mean"]),
)
def test_predictions_and_gradients_are_those_of_the_dense_masked_readout(
    seed, n_queries, n_voxels, n_extra, overlap
):
    rng = np.random.default_rng(seed)
    masks = random_masks(rng, n_queries, n_voxels, n_extra)
    readout = RoutedReadout(masks, 5, overlap, torch.Generator().manual_seed(seed)).double()
    answers = torch.from_numpy(rng.standard_normal((3, n_queries, 5))).requires_grad_()
    predicted = readout(answers)
    W, b = (part.detach()[readout.rows].requires_grad_() for part in (readout.weight, readout.bias))
    expected = routed_readout(
        answers.detach().numpy(), W.detach().numpy(), b.detach().numpy(), masks, overlap
    )
    np.testing.assert_allclose(predicted.detach(), expected, atol=1e-12)
    # gradients: of the dense masked sum, by autograd
    dense_answers = answers.detach().clone().requires_grad_()
    dense = ((dense_answers @ W.T + b) * torch.from_numpy(masks)).sum(1)
    if overlap == "mean":
        dense = dense / torch.from_numpy(masks.sum(0))
    direction = torch.from_numpy(rng.standard_normal(expected.shape))
    (predicted * direction).sum().backward()
    (dense * direction).sum().backward()
    torch.testing.assert_close(answers.grad, dense_answers.grad)
    torch.testing.assert_close(readout.weight.grad[readout.rows], W.grad)
    torch.testing.assert_close(readout.bias.grad[readout.rows], b.grad)


def count_flops(masks, d_model=16, batch=4):
    readout = RoutedReadout(masks, d_model, "sum", torch.Generator().manual_seed(0))
    answers = torch.randn(batch, len(masks), d_model, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        readout(answers).sum().backward()
    return counter.get_total_flops(), readout


def test_operations_grow_with_pairs_and_not_with_queries_times_voxels():
    rng = np.random.default_rng(0)
    for n_queries in (1, 10, 100):
        masks = random_masks(rng, n_queries, 1000, 500 if n_queries > 1 else 0)
        flops, readout = count_flops(masks)
        assert readout.n_pairs == masks.sum()
        # forward, gradient of answers, gradient of weights: 2 b d a pair each
        assert flops == 3 * 2 * 4 * 16 * masks.sum()


def test_kept_memory_grows_with_voxels_and_not_with_queries_times_voxels():
    masks = random_masks(np.random.default_rng(0), 200, 1000, 0)
    readout = RoutedReadout(masks, 16, "sum", torch.Generator().manual_seed(0))
    answers = torch.randn(4, 200, 16, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        readout(answers)
    assert max(kept) <= max(readout.weight.numel(), answers.numel())
    assert sum(kept) < 200 * 1000


def test_voxel_rows_are_products_row_by_row():
    readout = VoxelReadout(7, 5, torch.Generator().manual_seed(0))
    answers = torch.randn(3, 7, 5)
    expected = np.stack(
        [
            [a @ w for a, w in zip(image, readout.weight.detach().numpy(), strict=True)]
            for image in answers.numpy()
        ]
    )
    np.testing.assert_allclose(row_products(answers, readout.weight).detach(), expected, atol=1e-6)


def test_queries_in_words_and_masks():
    assert query_masks("voxel", 5) is None
    assert query_masks("all", 5).tolist() == [[True] * 5]
    assert count_queries("voxel", 5) == 5
    assert count_queries([[1, 0, 1], [0, 1, 1]], 3) == 2
    for bad, message in [
        ("rois", "allowed are 'all', 'voxel'"),
        (np.ones((2, 4), bool), r"shape \(2, 4\); masks .* \(n_queries, 5\)"),
        (np.full((1, 5), 2), "entries other than True and False"),
        ([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], "1 mask.* without a voxel, the first in row 1"),
        ([[1, 1, 0, 1, 0]], "2 of 5 voxels are in no mask of queries, the first is voxel 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            query_masks(bad, 5)


def test_names_of_queries():
    check_query_names(None, 3)
    check_query_names(["a", "b"], 2)
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="one different name a query"):
            check_query_names(names, 2)
    assert choose_queries(None, 3, None).tolist() == [0, 1, 2]
    assert choose_queries(1, 3, None).tolist() == [1]
    assert choose_queries(["FFA", "V1"], 3, ["V1", "V2", "FFA"]).tolist() == [2, 0]
    assert choose_queries("V2", 3, ["V1", "V2", "FFA"]).tolist() == [1]
    assert choose_queries([True, False, True], 3, None).tolist() == [0, 2]
    with pytest.raises(KeyError, match="did you mean 'FFA-1'"):
        choose_queries("FFA", 2, ["V1", "FFA-1"])
    with pytest.raises(KeyError, match="no query_names"):
        choose_queries("FFA", 2, None)
    with pytest.raises(ValueError, match="from 0 to 1"):
        choose_queries([0, 2], 2, None)
    with pytest.raises(ValueError, match="mask of shape"):
        choose_queries([True], 2, None)
