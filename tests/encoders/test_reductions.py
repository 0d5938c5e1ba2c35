import hashlib
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from encoders.reductions import (
    GridReduction,
    MeanReduction,
    ProjectionReduction,
    make_reduction,
    reduction_resolver,
    sparse_projection,
)
from tests.oracles.reductions import dense_projection, grid_means, mean_tokens


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])


@pytest.mark.parametrize("name", ["none", "flatten", "mean", "cls", "last", "tokens", "grid:2"])
def test_vectors_pass(name: str) -> None:
    vectors = draw(3, 7)
    torch.testing.assert_close(make_reduction(name)(vectors), vectors, rtol=0, atol=0)


def test_maps_are_averaged_flattened_or_made_tokens() -> None:
    maps = draw(2, 3, 4, 5)
    assert torch.equal(make_reduction("none")(maps), maps)
    assert torch.equal(make_reduction("flatten")(maps), maps.reshape(2, 60))
    np.testing.assert_allclose(make_reduction("mean")(maps), maps.double().mean((2, 3)), rtol=0, atol=1e-6)
    tokens = make_reduction("tokens")(maps)
    assert tokens.shape == (2, 20, 3)
    for row, column in ((0, 0), (0, 3), (3, 1)):
        assert torch.equal(tokens[:, row * 5 + column], maps[:, :, row, column])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_grid_averages_the_cells_of_the_oracle(rows: int, columns: int, size: int) -> None:
    maps = draw(2, 3, rows, columns, seed=rows + 10 * columns)
    reduced = GridReduction(size)(maps)
    for one, one_map in zip(reduced, maps, strict=True):
        np.testing.assert_allclose(one, grid_means(one_map.numpy(), size), rtol=0, atol=1e-6)


def test_padding_does_not_count() -> None:
    tokens = draw(3, 5, 4)
    mean = make_reduction("mean")(tokens, MASK)
    for one, one_tokens, mask in zip(mean, tokens, MASK, strict=True):
        np.testing.assert_allclose(one, mean_tokens(one_tokens.numpy(), mask.numpy()), rtol=0, atol=1e-6)
    cls, last = make_reduction("cls")(tokens, MASK), make_reduction("last")(tokens, MASK)
    assert torch.equal(cls, torch.stack([tokens[0, 0], tokens[1, 0], tokens[2, 2]]))
    assert torch.equal(last, torch.stack([tokens[0, 4], tokens[1, 1], tokens[2, 4]]))
    changed = torch.where(MASK.bool().unsqueeze(-1), tokens, draw(3, 5, 4, seed=1) * 1e6)
    for name in ("mean", "cls", "last", "flatten", "projection:6"):
        reduction = make_reduction(name)
        assert torch.equal(reduction(changed, MASK), reduction(tokens, MASK)), name
    # Without a mask every token counts.
    np.testing.assert_allclose(make_reduction("mean")(tokens), tokens.double().mean(1), rtol=0, atol=1e-6)


def test_half_precision_is_averaged_in_float32() -> None:
    maps = (draw(1, 1, 100, 100) + 8).to(torch.bfloat16)
    exact = maps.double().mean()
    assert abs(MeanReduction()(maps).item() - exact) < 1e-5
    assert abs(maps.mean().item() - exact) > 1e-3  # bfloat16 holds 8 bits


def test_projection_is_the_stated_matrix_for_every_batch_size() -> None:
    tokens = draw(37, 6, 50)
    reduction = ProjectionReduction(20, seed=3)
    projected = reduction(tokens)
    parts = sparse_projection(300, 20, seed=3)
    for row in (0, 17, 36):
        expected = dense_projection(tokens[row].ravel().numpy(), *parts)
        np.testing.assert_allclose(projected[row], expected, rtol=0, atol=1e-4)
    for batch in (1, 5, 37):
        pieces = torch.cat([reduction(tokens[start : start + batch]) for start in range(0, 37, batch)])
        torch.testing.assert_close(pieces, projected, rtol=0, atol=1e-5)
    assert not torch.allclose(ProjectionReduction(20, seed=4)(tokens), projected)


def test_maps_project_alike_in_either_memory_layout() -> None:
    maps = draw(4, 8, 6, 6)
    reduction = ProjectionReduction(16)
    relaid = maps.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(reduction(relaid), reduction(maps), rtol=0, atol=1e-5)


def test_matrix_is_equal_in_another_process_and_with_more_threads() -> None:
    code = (
        "import torch, hashlib; torch.set_num_threads(2); from encoders.reductions import sparse_projection\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in sparse_projection(5000, 64, 9))).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(part.tobytes() for part in sparse_projection(5000, 64, 9))).hexdigest()
    assert run.stdout.strip() == here


def test_entries_have_the_density_and_moments_of_li_2006() -> None:
    n_features, n_components = 10_000, 400
    indptr, indices, entries = sparse_projection(n_features, n_components)
    expected = n_features * n_components / 100  # density 1 / sqrt(10,000)
    # Counts are binomial: four standard deviations.
    assert abs(len(entries) - expected) < 4 * np.sqrt(expected)
    assert abs((entries > 0).sum() - expected / 2) < 4 * np.sqrt(expected / 2)
    np.testing.assert_allclose(np.abs(entries), np.sqrt(100 / n_components), rtol=1e-6)
    per_column, per_row = np.bincount(indices, minlength=n_features), np.diff(indptr)
    # Poisson-like: variance equals mean, columns and rows alike.
    assert abs(per_column.mean() - 4) < 0.05
    assert abs(per_column.var() / per_column.mean() - 0.99) < 0.08
    assert abs(per_row.var() / per_row.mean() - 1) < 0.3
    for start, stop in pairwise(indptr[:21]):
        assert (np.diff(indices[start:stop]) > 0).all()  # no entry twice


def test_squared_lengths_are_unbiased() -> None:
    vector = np.abs(draw(400, seed=5).numpy()) * np.linspace(0, 2, 400, dtype=np.float32)
    lengths = [
        float((ProjectionReduction(50, seed=seed)(torch.from_numpy(vector[None])) ** 2).sum())
        for seed in range(400)
    ]
    truth = float((vector.astype(np.float64) ** 2).sum())
    error = np.std(lengths) / np.sqrt(len(lengths))
    assert abs(np.mean(lengths) - truth) < 4 * error
    assert error < 0.02 * truth  # so the line above can fail


def test_distances_are_kept_as_johnson_and_lindenstrauss_promise() -> None:
    points = draw(60, 20_000, seed=2) * torch.linspace(0.1, 3, 20_000)
    projected = ProjectionReduction(1024)(points)
    pairs = np.triu_indices(60, 1)
    ratio = (pairwise_distances(projected) / pairwise_distances(points))[pairs]
    # A squared distance has relative standard deviation sqrt(2 / n_components), a distance half of that.
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(0.5 / 1024)
    assert abs(ratio.std() - np.sqrt(0.5 / 1024)) < 0.3 * np.sqrt(0.5 / 1024)


def test_few_features_are_kept_as_they_are() -> None:
    tokens = draw(3, 4, 5)
    assert torch.equal(ProjectionReduction(20)(tokens), tokens.flatten(1))
    assert ProjectionReduction(19)(tokens).shape == (3, 19)


def test_names_classes_and_instances_are_resolved() -> None:
    assert make_reduction("grid:7") == make_reduction(GridReduction(7)) == GridReduction(7)
    assert make_reduction(MeanReduction) == make_reduction("mean")
    assert make_reduction("projection:64").describe() == {"name": "projection", "n_components": 64, "seed": 0}
    assert make_reduction("flatten").describe() == {"name": "flatten"}
    assert ProjectionReduction(64, seed=1) != ProjectionReduction(64)
    assert set(reduction_resolver.options) == {
        *("none", "flatten", "mean", "cls", "last", "tokens", "grid", "projection")
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flaten", "unknown reduction 'flaten'; did you mean 'flatten'"),
        ("grid:", "must end in a whole number"),
        ("grid:x", "must end in a whole number"),
        ("grid:0", "size of reduction 'grid' must be a positive integer, got 0"),
        ("projection:-3", "must end in a whole number"),
        ("mean:3", "'mean' takes no number"),
    ],
)
def test_wrong_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_reduction(name)


def test_reductions_without_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="'cls' needs tokens, and this layer gives maps"):
        make_reduction("cls")(draw(1, 2, 3, 3))
    with pytest.raises(ValueError, match="'last' needs tokens"):
        make_reduction("last")(draw(1, 2, 3, 3))
    with pytest.raises(ValueError, match="'grid' needs maps"):
        make_reduction("grid:2")(draw(1, 2, 3))
    with pytest.raises(ValueError, match=r"got shape \(1, 2, 3, 3, 3\)"):
        make_reduction("flatten")(draw(1, 2, 3, 3, 3))
    with pytest.raises(ValueError, match="seed"):
        ProjectionReduction(4, seed=-1)
