"""Arrays of tokens as they lie in memory or on disk: rows out of them, each chunk read once."""

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from stimuli.files import hash_array


def group_by_chunk(
    ordered: NDArray[np.intp], chunks: NDArray[np.intp], n_chunks: int
) -> list[NDArray[np.intp]]:
    """Cut rows that stand chunk after chunk wherever `n_chunks` chunks are full."""
    starts = np.flatnonzero(np.diff(chunks, prepend=-1))
    return np.split(ordered, starts[n_chunks::n_chunks]) if len(ordered) else []


class StoredTokens:
    """The array behind any number of views of its rows.

    Parameters
    ----------
    X : array (numpy, torch or zarr)
        As `encoders.tokens.as_token_source` takes it.

    Attributes
    ----------
    shape : (n_samples, n_tokens, n_channels)
    grid : (n_rows, n_columns) or None
        Of a map.
    chunk_rows : int or None
        Rows of a chunk on disk; None in memory.
    device : torch.device
        Where the array lies; the CPU for what lies on disk.
    known_finite : (n_samples,) bool array
        Rows that were looked through and have neither NaN nor infinite values.
    """

    def __init__(self, X: Any, skip_tokens: int = 0) -> None:
        self.array: Any = X if isinstance(X, zarr.Array | Tensor) else np.asarray(X)
        if isinstance(self.array, Tensor):
            self.array = self.array.detach()
        shape = tuple(self.array.shape)
        if len(shape) not in (2, 3, 4) or 0 in shape:
            raise ValueError(
                f"X has shape {shape}; (n_samples, n_channels), (n_samples, n_tokens, n_channels) or (n_samples, "
                f"n_channels, n_rows, n_columns) is needed, none of them 0"
            )
        is_tensor = isinstance(self.array, Tensor)
        real = not self.array.is_complex() if is_tensor else self.array.dtype.kind in "fiub"
        if not real:
            raise TypeError(f"X holds {self.array.dtype}; tokens must be real numbers")
        self.grid: tuple[int, int] | None = (shape[2], shape[3]) if len(shape) == 4 else None
        n_tokens = 1 if len(shape) == 2 else shape[1] if len(shape) == 3 else shape[2] * shape[3]
        if skip_tokens and (len(shape) != 3 or not 0 < skip_tokens < n_tokens):
            raise ValueError(
                f"skip_tokens is {skip_tokens}, but X has shape {shape}; of (n_samples, n_tokens, n_channels) at "
                f"least one token must be left"
            )
        self.skip_tokens = skip_tokens
        self.shape = (shape[0], n_tokens - skip_tokens, shape[1] if len(shape) != 3 else shape[2])
        self.chunk_rows = int(self.array.chunks[0]) if isinstance(self.array, zarr.Array) else None
        self.device = self.array.device if is_tensor else torch.device("cpu")
        self.known_finite = np.zeros(shape[0], dtype=bool)

    def take(self, rows: NDArray[np.intp], device: torch.device) -> tuple[Tensor, bool]:
        """Return rows as float32 (n, n_tokens, n_channels) on a device, and whether they are a copy.

        Each chunk on disk is read once.
        """
        neighbours = len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all())
        if self.chunk_rows is None:
            values, is_copy = self._take_resident(rows, bool(neighbours)), not neighbours
        else:
            values, is_copy = self._take_chunks(rows), True
        placed = values.to(device, torch.float32)
        is_copy |= placed is not values
        if placed.ndim == 4:
            return placed.flatten(2).swapaxes(1, 2).contiguous(), is_copy or placed.shape[2:] != (1, 1)
        if self.skip_tokens:
            return placed[:, self.skip_tokens :].contiguous(), True
        return (placed[:, None] if placed.ndim == 2 else placed), is_copy

    def _take_resident(self, rows: NDArray[np.intp], neighbours: bool) -> Tensor:
        if isinstance(self.array, Tensor):
            if neighbours:
                return self.array[int(rows[0]) : int(rows[-1]) + 1]
            return self.array.index_select(0, torch.from_numpy(rows).to(self.device))
        values = self.array[rows[0] : rows[-1] + 1] if neighbours else self.array[rows]
        return torch.from_numpy(_readable(values))

    def _take_chunks(self, rows: NDArray[np.intp]) -> Tensor:
        out = np.empty((len(rows), *self.array.shape[1:]), dtype=np.float32)
        order = np.argsort(rows, kind="stable")
        assert self.chunk_rows is not None
        for positions in group_by_chunk(order, rows[order] // self.chunk_rows, 1):
            wanted = rows[positions]
            first = int(wanted[0])
            out[positions] = self.array[first : int(wanted[-1]) + 1][wanted - first]
        return torch.from_numpy(out)

    @cached_property
    def digest(self) -> str:
        """sha256 of what is stored; the chunks of a feature store carry theirs already."""
        if isinstance(self.array, Tensor):
            values = self.array.cpu().contiguous()
            return (
                hash_array(values.reshape(-1).view(torch.uint8).numpy())
                + f"{values.dtype}{tuple(values.shape)}"
            )
        if self.chunk_rows is None:
            return hash_array(self.array)
        digest = hashlib.sha256(f"{self.array.dtype.str}{self.array.shape}".encode())
        known = getattr(self.array.store, "chunk_digests", None)
        if known is not None:
            digest.update("\n".join(f"{key} {value}" for key, value in sorted(known.items())).encode())
        else:
            for first in range(0, self.shape[0], self.chunk_rows):
                digest.update(hash_array(self.array[first : first + self.chunk_rows]).encode())
        return digest.hexdigest()


def _readable(values: NDArray) -> NDArray:
    # torch reads no foreign byte order and no negative strides, and warns of arrays that cannot be written to.
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        return values.astype(np.float32)
    if not values.flags.writeable or not values.dtype.isnative or any(step < 0 for step in values.strides):
        return values.astype(values.dtype.newbyteorder("="))
    return values
