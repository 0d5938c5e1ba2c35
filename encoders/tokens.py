"""Tokens in memory or on disk, read by rows: what trained encoders take in place of a matrix.

A `TokenSource` is a view: choosing rows of it (a fold, the repeats of a stimulus) copies nothing, and features on
disk are read a few chunks at a time.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.token_storage import StoredTokens, group_by_chunk
from stimuli.files import count_of, hash_array

_BLOCK_BYTES = 64 << 20
"""What is read at once where order does not matter."""


class TokenSource:
    """Tokens of samples, (n_samples, n_tokens, n_channels), of which rows are read when asked for.

    Made by `as_token_source`. A token that is NaN in every channel is padding (or lesioned).

    Attributes
    ----------
    shape : (n_samples, n_tokens, n_channels)
    grid : (n_rows, n_columns) or None
        How the tokens lie in the image, row by row.
    chunk_rows : int or None
        Samples that lie together on disk; None in memory.
    """

    def __init__(
        self,
        stored: StoredTokens,
        rows: NDArray[np.intp] | None = None,
        grid: tuple[int, int] | None = None,
        scaling: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> None:
        self._stored = stored
        self._rows = np.arange(stored.shape[0]) if rows is None else rows
        self._scaling = scaling
        self.grid = stored.grid if grid is None else grid
        self.shape: tuple[int, int, int] = (len(self._rows), *stored.shape[1:])
        self.chunk_rows = stored.chunk_rows

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        where = "in memory" if self.chunk_rows is None else f"on disk, {self.chunk_rows} rows a chunk"
        return f"TokenSource(shape={self.shape}, grid={self.grid}, {where})"

    def __getitem__(self, rows: Any) -> "TokenSource":
        """Return a lazy view of rows: a slice, row numbers (repeats allowed) or a boolean mask.

        Raises
        ------
        IndexError
            For rows that are not there, a mask of another length, or a single number.
        """
        return TokenSource(self._stored, self._rows[self._positions(rows)], self.grid, self._scaling)

    def scaled(self, mean: ArrayLike, scale: ArrayLike) -> "TokenSource":
        """Return a view whose tokens read as (token - mean) / scale, with one mean and scale a channel."""
        pair = tuple(np.asarray(part, dtype=np.float32) for part in (mean, scale))
        for name, part in zip(("mean", "scale"), pair, strict=True):
            if part.shape != (self.shape[2],):
                raise ValueError(
                    f"{name} has shape {part.shape}; ({self.shape[2]},) is needed, one a channel"
                )
        if self._scaling is not None:
            raise ValueError("these tokens are scaled already: scale the source they were made from")
        return TokenSource(self._stored, self._rows, self.grid, (pair[0], pair[1]))

    def read(self, rows: Any = None) -> NDArray[np.float32]:
        """Return tokens (n, n_tokens, n_channels), float32 and contiguous; padding is NaN.

        Each chunk on disk is read once a call. In memory, neighbouring rows may come as a view: do not write to it.
        """
        return np.ascontiguousarray(self.read_tensor(rows, "cpu").numpy())

    def read_tensor(self, rows: Any = None, device: str | torch.device = "cpu") -> Tensor:
        """Return what `read` does as a tensor on a device; what is there already does not leave it."""
        picked = self._rows if rows is None else self._rows[self._positions(rows)]
        tokens, is_copy = self._stored.take(picked, torch.device(device))
        return tokens if self._scaling is None else scale_channels(tokens, *self._scaling, in_place=is_copy)

    def read_batch(
        self, rows: Any = None, device: str | torch.device = "cpu"
    ) -> tuple[Tensor, Tensor | None]:
        """Return tokens with zeros in place of padding, and the mask (n, n_tokens), True at tokens, None without
        padding.

        Raises
        ------
        ValueError
            For tokens that are NaN in part, infinite values, or rows without any token; it names the rows.
        """
        positions = np.arange(len(self)) if rows is None else self._positions(rows)
        return self.split_padding(self.read_tensor(positions, device), positions)

    def split_padding(self, tokens: Tensor, positions: NDArray[np.intp]) -> tuple[Tensor, Tensor | None]:
        """Return tokens of these rows and their mask, as `read_batch` does."""
        if self._stored.known_finite[self._rows[positions]].all() or torch.isfinite(tokens.sum()):
            return tokens, None
        nan = torch.isnan(tokens)
        mask = ~nan.all(dim=2)
        partly = (nan.any(dim=2) & mask).any(dim=1)
        _refuse(partly, self._rows[positions], "tokens that are NaN in some channels and not in others")
        _refuse(
            torch.isinf(tokens).any(dim=2).any(dim=1), self._rows[positions], "infinite values (as float32)"
        )
        _refuse(~mask.any(dim=1), self._rows[positions], "no token: all are NaN")
        if bool(mask.all()):
            return tokens, None
        return tokens.masked_fill(~mask[:, :, None], 0.0), mask

    def check(self) -> None:
        """Read everything once and refuse what no encoder can use.

        Raises
        ------
        ValueError
            As `read_batch`.
        """
        for _ in self.checked_blocks():
            pass

    def checked_blocks(self) -> Iterator[tuple[NDArray[np.intp], Tensor, Tensor | None]]:
        """Yield all rows once, where they lie: their numbers, tokens and mask as `read_batch` gives them."""
        for positions in self.blocks():
            tokens, mask = self.read_batch(positions, self.device)
            rows = self._rows[positions]
            # later batches of these rows need not be looked through again
            self._stored.known_finite[rows if mask is None else rows[mask.all(dim=1).cpu().numpy()]] = True
            yield positions, tokens, mask

    def chunk_of(self, positions: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the number of the chunk on disk that holds each of these rows."""
        if self.chunk_rows is None:
            raise ValueError("these tokens are in memory: there are no chunks")
        return self._rows[positions] // self.chunk_rows

    def blocks(
        self, positions: NDArray[np.intp] | None = None, n_bytes: int = _BLOCK_BYTES
    ) -> list[NDArray[np.intp]]:
        """Divide rows into pieces of about `n_bytes`, in the order in which they are stored.

        On disk no chunk is divided between two pieces.
        """
        chosen = np.arange(len(self)) if positions is None else positions
        n_together = max(1, n_bytes // self.row_bytes)
        if self.chunk_rows is None:
            return [chosen[start : start + n_together] for start in range(0, len(chosen), n_together)]
        ordered = chosen[np.argsort(self._rows[chosen], kind="stable")]
        return group_by_chunk(ordered, self.chunk_of(ordered), max(1, n_together // self.chunk_rows))

    @property
    def row_bytes(self) -> int:
        """Bytes of the tokens of one sample in float32."""
        return 4 * self.shape[1] * self.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the tokens lie; the CPU for what lies on disk."""
        return self._stored.device

    @property
    def content_hash(self) -> str:
        """sha256 that differs wherever what is read differs; what is stored is hashed once.

        Equal tokens in other storage (a copy in memory, another choice of rows) may have another hash.
        """
        parts = [self._stored.digest, str(self._stored.skip_tokens), str(self.grid), hash_array(self._rows)]
        parts += [hash_array(part) for part in self._scaling or ()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _positions(self, rows: Any) -> NDArray[np.intp]:
        if isinstance(rows, slice):
            return np.arange(len(self))[rows]
        picked = np.asarray(rows)
        if picked.ndim != 1 or (picked.size and picked.dtype.kind not in "iub"):
            raise IndexError(
                f"rows is {rows!r:.60}; a slice, a vector of row numbers or a boolean mask chooses rows"
            )
        if picked.dtype == bool:
            if len(picked) != len(self):
                raise IndexError(f"rows is a mask of length {len(picked)}, but there are {len(self)} rows")
            return np.flatnonzero(picked)
        picked = picked.astype(np.intp)
        if picked.size and (picked.min() < -len(self) or picked.max() >= len(self)):
            raise IndexError(
                f"rows names {picked.min()} to {picked.max()}; rows run from 0 to {len(self) - 1}"
            )
        return np.where(picked < 0, picked + len(self), picked)


def as_token_source(X: Any, grid: tuple[int, int] | None = None, *, skip_tokens: int = 0) -> TokenSource:
    """Return features as tokens that can be read by rows.

    Parameters
    ----------
    X : TokenSource or array (numpy, torch or zarr)
        ``(n_samples, n_channels)``: one token; ``(n_samples, n_tokens, n_channels)``; or ``(n_samples, n_channels,
        n_rows, n_columns)``: a map, whose places become tokens row by row. A token that is NaN in every channel is
        padding. Nothing is copied, so do not change an array that is in use as a source.
    grid : (n_rows, n_columns), optional
        How tokens lie in the image, where X does not say it.
    skip_tokens : int
        Tokens in front of each sample's that are left out: the class and register tokens of a vision transformer,
        which lie nowhere in the image.

    Returns
    -------
    TokenSource

    Raises
    ------
    TypeError
        If X does not hold real numbers.
    ValueError
        For another number of dimensions, an empty one, or a grid that does not fit the tokens.
    """
    if isinstance(X, TokenSource):
        if skip_tokens:
            raise ValueError(
                "skip_tokens is for arrays: leave tokens out of the array that the source was made from"
            )
        source = X
    else:
        source = TokenSource(StoredTokens(X, skip_tokens))
    if grid is None or source.grid == tuple(grid):
        return source
    n_tokens = source.shape[1]
    n_rows, n_columns = (int(size) for size in grid)
    if n_rows * n_columns != n_tokens or (source.grid is not None):
        known = "" if source.grid is None else f" that lie in {source.grid[0]} x {source.grid[1]} places"
        raise ValueError(
            f"grid is {tuple(grid)}, but there are {count_of(n_tokens, 'token')}{known} a sample"
        )
    return TokenSource(source._stored, source._rows, (n_rows, n_columns), source._scaling)


def scale_channels(
    tokens: Tensor, mean: NDArray[np.float32], scale: NDArray[np.float32], in_place: bool = False
) -> Tensor:
    """Return (tokens - mean) / scale with one mean and scale a channel, in one pass over memory."""
    shift, factor = (
        torch.from_numpy(np.asarray(part, dtype=np.float32)).to(tokens.device)
        for part in (-np.asarray(mean, dtype=np.float64) / scale, 1 / np.asarray(scale, dtype=np.float64))
    )
    return torch.addcmul(shift, tokens, factor, out=tokens if in_place else None)


def _refuse(bad: Tensor, rows: NDArray[np.intp], what: str) -> None:
    if bool(bad.any()):
        numbers: Sequence[int] = np.unique(rows[bad.cpu().numpy()]).tolist()
        listed = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
        raise ValueError(
            f"X has {what} in {count_of(len(numbers), 'row')} ({listed}): mend or leave out these rows; padding is a "
            f"token that is NaN in every channel"
        )
