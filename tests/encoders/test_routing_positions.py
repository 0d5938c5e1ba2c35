import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.routing.positions import Positions
from tests.oracles.attention import sine_codes


def make(kind, n_tokens, grid, width, seed=0):
    return Positions(kind, n_tokens, grid, width, torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(rows=st.integers(1, 7), columns=st.integers(1, 7), width=st.integers(1, 20), on_grid=st.booleans())
def test_sine_codes_are_those_written_down(rows, columns, width, on_grid):
    grid = (rows, columns) if on_grid else None
    codes = make("sine", rows * columns, grid, width).codes()
    np.testing.assert_allclose(codes, sine_codes(rows * columns, grid, width), atol=1e-6)


def test_sine_codes_at_known_places():
    # The last row and column stand at 2 pi, where sin is 0 and cos 1 at the shortest wavelength.
    codes = make("sine", 961, (31, 31), 768).codes()
    np.testing.assert_allclose(codes[-1, [0, 1, 384, 385]], [0, 1, 0, 1], atol=1e-5)
    # First row: 2 pi / 31; the second pair of channels is slower by 10000 ** (2 / 384).
    angle = 2 * np.pi / 31
    np.testing.assert_allclose(
        codes[0, :3], [np.sin(angle), np.cos(angle), np.sin(angle / 10_000 ** (2 / 384))], atol=1e-6
    )


@pytest.mark.parametrize("kind", ["sine", "learned"])
@pytest.mark.parametrize("grid", [None, (3, 5)])
def test_inner_products_by_rows_and_columns_equal_those_with_all_codes(kind, grid):
    positions = make(kind, 15, grid, 9)
    vectors = torch.randn(2, 4, 9)
    torch.testing.assert_close(positions.inner(vectors), vectors @ positions.codes().T)


def test_learned_codes_have_an_embedding_a_row_and_a_column():
    positions = make("learned", 15, (3, 5), 8)
    assert {name: tuple(value.shape) for name, value in positions.named_parameters()} == {
        "axis0": (3, 4),
        "axis1": (5, 4),
    }
    codes = positions.codes().detach().view(3, 5, 8)
    assert (codes[1, :, :4] == codes[1, :1, :4]).all()
    assert (codes[:, 2, 4:] == codes[:1, 2, 4:]).all()
    assert 0 <= float(codes.min()) < float(codes.max()) < 1
    again = make("learned", 15, (3, 5), 8).codes()
    assert torch.equal(again.detach().view(3, 5, 8), codes)
    assert make("learned", 15, None, 8).axis0.shape == (15, 8)


def test_no_positions_and_unknown_ones():
    positions = make("none", 15, None, 8)
    assert positions.codes() is None
    assert positions.inner(torch.ones(2, 8)) is None
    with pytest.raises(ValueError, match=r"positions 'sin'.*did you mean 'sine'"):
        make("sin", 15, None, 8)
