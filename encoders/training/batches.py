"""The order of batches, and reading them ahead of use, from memory or in bounded memory from disk."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.token_storage import group_by_chunk
from encoders.tokens import TokenSource

BUFFER_BYTES = 256 << 20
"""Tokens from disk that are shuffled together, in float32; up to three such buffers are in memory at a time."""

Positions = NDArray[np.intp]
Batch = tuple[Positions, Tensor, Tensor | None]
"""Row numbers, tokens (b, n_tokens, n_channels) and their mask (b, n_tokens), True at tokens; None without padding."""

Item = TypeVar("Item")


def shuffled_blocks(
    source: TokenSource, rows: Positions, rng: np.random.Generator, buffer_bytes: int = BUFFER_BYTES
) -> list[Positions]:
    """Return the rows in the random order of an epoch, in blocks that are in memory together.

    In memory there is one block: every order is equally likely. On disk whole chunks are shuffled, as many as
    `buffer_bytes` hold (at least one) make a block, and rows are shuffled within the block: each chunk is read once
    an epoch. The order depends on the generator, the rows and how they are stored, and on nothing else.
    """
    if source.chunk_rows is None:
        return [rng.permutation(rows)]
    mixed = rng.permutation(rows)
    chunks = source.chunk_of(mixed)
    names = rng.permutation(np.unique(chunks))
    rank = np.empty(names.max() + 1, dtype=np.intp)
    rank[names] = np.arange(len(names))
    order = np.argsort(rank[chunks], kind="stable")  # stable: within a chunk the random order stays
    n_chunks = max(1, buffer_bytes // (source.row_bytes * source.chunk_rows))
    blocks = group_by_chunk(mixed[order], rank[chunks[order]], n_chunks)
    return [rng.permutation(block) for block in blocks]


def batch_sizes(n_rows: int, batch_size: int, accumulation_steps: int = 1) -> list[list[int]]:
    """Return the sizes of the batches of each optimiser step of an epoch.

    Steps differ by at most one row, and so do the batches of a step: no row weighs more because it came last.
    """
    n_steps = -(-n_rows // (batch_size * accumulation_steps))
    steps = [len(part) for part in np.array_split(np.arange(n_rows), n_steps)]
    cut = [[len(part) for part in np.array_split(np.arange(size), accumulation_steps)] for size in steps]
    return [[size for size in sizes if size] for sizes in cut]


def iter_batches(
    source: TokenSource, blocks: Sequence[Positions], sizes: Sequence[int], device: torch.device
) -> Iterator[Batch]:
    """Yield batches of the given sizes in the order of the blocks; the next is read while one is used."""
    order = np.concatenate(blocks)
    pieces = np.split(order, np.cumsum(sizes)[:-1])
    if source.chunk_rows is None:
        return ahead((piece, *source.read_batch(piece, device)) for piece in pieces)
    return ahead(_cut_blocks(source, blocks, pieces, device))


def _cut_blocks(
    source: TokenSource, blocks: Sequence[Positions], pieces: Sequence[Positions], device: torch.device
) -> Iterator[Batch]:
    buffers = ahead(source.read_tensor(block) for block in blocks)
    buffer = torch.empty(0)
    for piece in pieces:
        parts, n_missing = [], len(piece)
        while n_missing:
            if not len(buffer):
                buffer = next(buffers)
            parts.append(buffer[:n_missing])
            buffer = buffer[n_missing:]
            n_missing -= len(parts[-1])
        tokens = parts[0] if len(parts) == 1 else torch.cat(parts)
        yield piece, *source.split_padding(tokens.to(device), piece)


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items while a thread prepares the next one; what it raises is raised here."""
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        future = pool.submit(next, iterator, end)
        while (item := future.result()) is not end:
            future = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc]
