"""Positions whose likeness falls with distance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search.oat.positional_table import PositionalCode, gaussian_table, sinusoid
from tests.oracles import oat as oracle


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(("n_places", "n_features"), [(11, 86), (14, 86), (14, 85), (32, 85), (14, 11)])
def test_likeness_is_a_gaussian_of_distance_to_a_thousandth_up_to_three_places(n_places, n_features):
    table = gaussian_table(n_places, n_features, sigma=2.0)
    for i in range(n_places):
        for j in range(max(0, i - 3), min(n_places, i + 4)):
            assert abs(cosine(table[i], table[j]) - np.exp(-((i - j) ** 2) / 8)) < 1e-3
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), np.sqrt(n_features))


@settings(deadline=None)
@given(st.integers(1, 16), st.integers(0, 20), st.floats(0.3, 4), st.integers(0, 5))
def test_with_as_many_features_as_places_it_is_exact_at_all_distances(n_places, more, sigma, seed):
    table = gaussian_table(n_places, n_places + more, sigma, seed)
    likeness = [[cosine(a, b) for b in table] for a in table]
    apart = np.subtract.outer(np.arange(n_places), np.arange(n_places))
    np.testing.assert_allclose(likeness, np.exp(-(apart**2) / (2 * sigma**2)), atol=1e-7)


def test_too_few_features_are_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=r"8 features cannot tell 32 places.*raise d_model, or lower max_grid"
    ):
        gaussian_table(32, 8)
    with pytest.raises(ValueError, match="sigma"):
        gaussian_table(5, 5, sigma=0)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=4), st.integers(1, 40))
@settings(deadline=None)
def test_sinusoid_equals_its_entries_one_by_one(positions, n_features):
    code = sinusoid(torch.tensor(positions, dtype=torch.float64), n_features)
    np.testing.assert_allclose(code, [oracle.sinusoid(p, n_features) for p in positions], atol=1e-9)


@pytest.mark.parametrize("positions", ["distance", "sinusoid", "index", "none"])
def test_no_place_is_a_null_vector_with_the_mark(positions):
    code = PositionalCode(positions, 64, 14)
    places = torch.tensor([[-1, -1, -1], [1, 3, 14], [1, 4, 15], [1, 3, 14]])
    nowhere, here, beside, marked = code(places, torch.tensor([0, 0, 0, 1]))
    n_side = 2 * (64 // 3)
    assert not nowhere[:n_side].any()
    torch.testing.assert_close(nowhere[n_side:], here[n_side:])
    assert not torch.equal(here[n_side:], marked[n_side:])
    torch.testing.assert_close(here[:n_side], marked[:n_side])
    assert torch.equal(here, beside) == (positions == "none")


def test_index_takes_neighbours_across_rows_for_strangers_and_distance_does_not():
    above, below = torch.tensor([[0, 5, 5], [1, 5, 16]])
    other = torch.tensor([0, 10, 10])
    marks = torch.zeros(3)
    for positions, nearer in (("distance", True), ("index", False)):
        vectors = PositionalCode(positions, 126, 14)(torch.stack([above, below, other]), marks)[:, :84]
        across, along = (cosine(vectors[0].numpy(), vectors[k].numpy()) for k in (1, 2))
        assert (across > along) == nearer


def test_unknown_positions_and_too_few_features_are_refused():
    with pytest.raises(ValueError, match="did you mean 'distance'"):
        PositionalCode("distanc")
    with pytest.raises(ValueError, match="5 features"):
        PositionalCode("distance", 5)
