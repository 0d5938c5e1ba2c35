"""Attention with a planted look, over grids of tokens."""

from __future__ import annotations

import numpy as np


def random_attention(
    n_samples: int = 6, n_queries: int = 3, n_heads: int = 2, n_tokens: int = 12, seed: int = 0
):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(n_tokens, 0.5), size=(n_samples, n_queries, n_heads))


def gaussian_maps(centres: np.ndarray, grid: tuple[int, int], sd: float) -> np.ndarray:
    """Round maps (..., n_rows * n_columns) around centres (..., 2) given as (row, column) in tokens from the corner."""
    rows, columns = np.mgrid[: grid[0], : grid[1]] + 0.5
    places = np.stack([rows.ravel(), columns.ravel()], axis=-1)
    distance = ((places - np.asarray(centres)[..., None, :]) ** 2).sum(axis=-1)
    weights = np.exp(-distance / (2 * sd**2))
    return weights / weights.sum(axis=-1, keepdims=True)
