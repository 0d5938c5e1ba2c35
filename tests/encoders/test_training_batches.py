"""Every row once an epoch, in an order that only the seed and the storage decide, in bounded memory."""

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.tokens import as_token_source
from encoders.training.batches import ahead, batch_sizes, iter_batches, shuffled_blocks

CPU = torch.device("cpu")


def numbered(n, chunk_rows=None):
    """Tokens that say which row they are."""
    array = np.arange(n, dtype=np.float32)[:, None, None] + np.zeros((1, 2, 3), np.float32)
    return as_token_source(array if chunk_rows is None else zarr.array(array, chunks=(chunk_rows, 2, 3)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_row_comes_once_with_its_own_tokens_and_chunks_stay_together(data):
    n = data.draw(st.integers(1, 60))
    chunk_rows = data.draw(st.one_of(st.none(), st.integers(1, 9)))
    source = numbered(n, chunk_rows)[np.random.default_rng(n).permutation(n)]
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True)))
    buffer_bytes = data.draw(st.integers(1, 40)) * source.row_bytes
    blocks = shuffled_blocks(source, rows, np.random.default_rng(0), buffer_bytes)
    order = np.concatenate(blocks)
    assert sorted(order) == sorted(rows)
    if chunk_rows is not None:
        of_block = [set(source.chunk_of(block).tolist()) for block in blocks]
        assert sum(map(len, of_block)) == len(set().union(*of_block))
        for block, chunks in zip(blocks, of_block, strict=True):
            assert len(chunks) == 1 or len(chunks) * chunk_rows * source.row_bytes <= buffer_bytes
            assert len(block) <= max(chunk_rows, buffer_bytes // source.row_bytes)
    plan = batch_sizes(len(rows), data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4)))
    sizes = [size for step in plan for size in step]
    found = list(iter_batches(source, blocks, sizes, CPU))
    np.testing.assert_array_equal(np.concatenate([positions for positions, _, _ in found]), order)
    for (positions, tokens, mask), size in zip(found, sizes, strict=True):
        assert len(positions) == size
        assert mask is None
        np.testing.assert_array_equal(tokens.numpy(), source.read(positions))


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 7))
def test_steps_and_batches_are_as_even_as_they_can_be(n_rows, batch_size, accumulation_steps):
    plan = batch_sizes(n_rows, batch_size, accumulation_steps)
    steps = [sum(sizes) for sizes in plan]
    assert sum(steps) == n_rows
    assert len(plan) == int(np.ceil(n_rows / (batch_size * accumulation_steps)))
    assert max(steps) - min(steps) <= 1
    for sizes in plan:
        assert 0 < min(sizes) <= max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) <= accumulation_steps


@pytest.mark.parametrize("chunk_rows", [None, 7])
def test_the_order_is_a_function_of_the_seed(chunk_rows):
    source, rows = numbered(50, chunk_rows), np.arange(5, 45)

    def order(*seed):
        return np.concatenate(shuffled_blocks(source, rows, np.random.default_rng(seed), 600)).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2) != order(1, 1)
    assert sorted(order(0, 1)) == rows.tolist()


def test_in_memory_every_place_is_equally_likely_for_every_row():
    source, rows = numbered(6), np.arange(6)
    places = np.zeros((6, 6))
    for seed in range(3000):
        places[shuffled_blocks(source, rows, np.random.default_rng(seed))[0], np.arange(6)] += 1
    assert np.abs(places - 500).max() < 5 * np.sqrt(500 * 5 / 6)


def test_on_disk_rows_of_different_chunks_meet_and_chunks_come_at_any_time():
    source, rows = numbered(64, 4), np.arange(64)
    first_place, n_mixed = np.zeros(16), 0
    for seed in range(400):
        blocks = shuffled_blocks(source, rows, np.random.default_rng(seed), 16 * source.row_bytes)
        assert [len(block) for block in blocks] == [16] * 4
        n_mixed += len(np.unique(blocks[0][:4] // 4)) > 1
        for chunk in np.unique(blocks[0] // 4):
            first_place[chunk] += 1
    assert n_mixed > 390  # by chance all four are of one chunk once in 455
    assert np.abs(first_place / 400 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 400)


def test_reading_ahead_is_one_item_ahead_and_raises_where_it_is_used():
    made = []

    def items():
        for number in range(4):
            made.append(number)
            if number == 3:
                raise ValueError("chunk 3 is damaged")
            yield number

    stream = ahead(items())
    assert next(stream) == 0
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="chunk 3 is damaged"):
        next(stream)
    assert made == [0, 1, 2, 3]
    stream = ahead(iter(range(10)))
    next(stream)
    stream.close()
    assert list(ahead([])) == []


def test_damaged_features_stop_the_epoch(tmp_path):
    array = np.zeros((12, 2, 3), np.float32)
    array[9, 1, 1] = np.nan
    source = as_token_source(zarr.array(array, chunks=(4, 2, 3), store=str(tmp_path / "tokens")))
    blocks = source.blocks(n_bytes=1)
    with pytest.raises(ValueError, match=r"NaN in some channels and not in others in 1 row \(9\)"):
        list(iter_batches(source, blocks, [5, 5, 2], CPU))
