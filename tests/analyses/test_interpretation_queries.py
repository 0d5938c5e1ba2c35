"""Similarity of queries, its order, its layout and its groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from analyses.interpretation import compare_query_groups, query_coordinates, query_order, query_similarity


def planted_groups(
    n_members: int = 3, per_group: int = 4, n_groups: int = 3, width: int = 16, seed: int = 0
) -> np.ndarray:
    """Queries around one direction a group; each member has axes of its own."""
    width = 16
    rng = np.random.default_rng(seed)
    directions = np.repeat(rng.standard_normal((n_groups, width)), per_group, axis=0)
    embeddings = directions + 0.4 * rng.standard_normal(directions.shape)
    turns = [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(n_members)]
    return np.stack([embeddings @ turn for turn in turns])


def test_similarity_is_the_mean_cosine_over_members_of_any_width() -> None:
    rng = np.random.default_rng(0)
    models = [rng.standard_normal((2, 5, 8)), rng.standard_normal((1, 5, 3))]
    similarity = query_similarity(models)
    for i, j in np.ndindex(5, 5):
        cosines = [1 - cdist(m[i : i + 1], m[j : j + 1], "cosine").item() for model in models for m in model]
        assert similarity[i, j] == pytest.approx(np.mean(cosines), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_turning_and_scaling_a_member_changes_nothing(n_members: int, n_queries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n_members, n_queries, 7))
    similarity = query_similarity(embeddings)
    turned = (
        embeddings
        @ np.linalg.qr(rng.standard_normal((7, 7)))[0]
        * rng.uniform(0.5, 3, (n_members, n_queries, 1))
    )
    np.testing.assert_allclose(query_similarity(turned), similarity, atol=1e-10)
    assert (np.abs(similarity) <= 1).all()
    np.testing.assert_array_equal(np.diag(similarity), 1)


def test_order_puts_planted_groups_together() -> None:
    shuffle = np.random.default_rng(3).permutation(12)
    similarity = query_similarity(planted_groups()[:, shuffle])
    groups = (np.arange(12) // 4)[shuffle][query_order(similarity)]
    assert (np.diff(groups) != 0).sum() == 2
    np.testing.assert_array_equal(np.sort(query_order(similarity)), np.arange(12))
    assert query_order(np.eye(2)).tolist() == [0, 1]


def test_coordinates_show_the_distances_between_directions() -> None:
    embeddings = np.random.default_rng(0).standard_normal((1, 6, 3))
    unit = embeddings[0] / np.linalg.norm(embeddings[0], axis=1, keepdims=True)
    coordinates = query_coordinates(query_similarity(embeddings), 3)
    np.testing.assert_allclose(cdist(coordinates, coordinates), cdist(unit, unit), atol=1e-10)
    spread = (coordinates**2).sum(axis=0)
    assert (np.diff(spread) <= 1e-12).all()


def test_planted_groups_are_told_from_none() -> None:
    similarity = query_similarity(planted_groups())
    found = compare_query_groups(similarity, np.repeat(["face", "place", "body"], 4), n_permutations=500)
    same = np.kron(np.eye(3), np.ones((4, 4))).astype(bool)
    off = ~np.eye(12, dtype=bool)
    assert found.within == pytest.approx(similarity[same & off].mean())
    assert found.between == pytest.approx(similarity[~same].mean())
    assert found.p_value < 0.01
    p_values = [
        compare_query_groups(
            query_similarity(np.random.default_rng(seed).standard_normal((1, 12, 16))),
            np.repeat([0, 1, 2], 4),
            n_permutations=99,
            seed=seed,
        ).p_value
        for seed in range(100)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.11
    assert 0.4 < np.mean(p_values) < 0.6


def test_what_has_no_direction_or_no_groups_is_refused() -> None:
    embeddings = planted_groups()
    embeddings[1, 4] = 0
    with pytest.raises(ValueError, match="query 4"):
        query_similarity(embeddings)
    with pytest.raises(ValueError, match="shapes"):
        query_similarity(embeddings[0])
    with pytest.raises(ValueError, match="symmetric"):
        query_order(np.arange(9.0).reshape(3, 3))
    with pytest.raises(ValueError, match="groups"):
        compare_query_groups(np.eye(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match="n_dimensions"):
        query_coordinates(np.eye(3), 4)
