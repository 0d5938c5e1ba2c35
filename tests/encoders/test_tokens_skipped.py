"""Tokens that lie nowhere in the image are left out."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from encoders.tokens import as_token_source


@pytest.mark.parametrize("on_disk", [False, True])
def test_leading_tokens_are_left_out_and_the_others_form_a_grid(tmp_path: Path, on_disk: bool) -> None:
    X = np.arange(6 * 5 * 3, dtype=np.float32).reshape(6, 5, 3)
    array = X
    if on_disk:
        array = zarr.open_array(str(tmp_path / "x"), mode="w", shape=X.shape, chunks=(2, 5, 3), dtype="<f4")
        array[:] = X
    source = as_token_source(array, grid=(2, 2), skip_tokens=1)
    assert source.shape == (6, 4, 3)
    np.testing.assert_array_equal(source[[4, 0]].read(), X[[4, 0], 1:])
    assert source.content_hash != as_token_source(array).content_hash


@pytest.mark.parametrize("skip_tokens", [5, 6, -1])
def test_at_least_one_token_is_left(skip_tokens: int) -> None:
    with pytest.raises(ValueError, match="at least one token must be left"):
        as_token_source(np.zeros((6, 5, 3)), skip_tokens=skip_tokens)


def test_a_map_has_no_leading_tokens() -> None:
    with pytest.raises(ValueError, match="skip_tokens is 1, but X has shape"):
        as_token_source(np.zeros((6, 5, 3, 3)), skip_tokens=1)
