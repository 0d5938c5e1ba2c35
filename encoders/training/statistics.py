"""Mean and spread of training rows, for several choices of training rows in one pass."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.tokens import TokenSource
from encoders.training.batches import Positions

_BLOCK_BYTES = 64 << 20


class Moments:
    """Count, mean and sum of squared deviations per column, merged over blocks in float64 (Chan et al. 1979)."""

    def __init__(self, n_columns: int) -> None:
        self.n = 0
        self.mean: NDArray[np.float64] = np.zeros(n_columns)
        self.squares: NDArray[np.float64] = np.zeros(n_columns)

    def add(self, block: Tensor) -> None:
        """Add the rows of a block (n, n_columns)."""
        if not len(block):
            return
        values = block.double()
        mean = values.mean(0)
        squares = (values - mean).square_().sum(0)
        self._merge(len(block), mean.cpu().numpy(), squares.cpu().numpy())

    def merge(self, other: "Moments") -> None:
        """Add all rows that another has seen."""
        if other.n:
            self._merge(other.n, other.mean, other.squares)

    def _merge(self, n: int, mean: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        total = self.n + n
        change = mean - self.mean
        self.mean = self.mean + change * (n / total)
        self.squares = self.squares + squares + change**2 * (self.n * n / total)
        self.n = total

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation per column; rounding noise of a constant column counts as 0."""
        std = np.sqrt(self.squares / max(self.n, 1))
        return np.where(std <= 1e-10 * np.abs(self.mean), 0.0, std)


def token_moments(source: TokenSource, train_rows: Sequence[Positions]) -> list[Moments]:
    """Return moments of channels over the tokens of each choice of training rows; padding is left out.

    Everything is read once, chunk after chunk, whatever the number of choices, and checked.

    Raises
    ------
    ValueError
        For tokens that no encoder can use, as `TokenSource.read_batch`.
    """
    patterns, code = _patterns(len(source), train_rows)
    moments = [Moments(source.shape[2]) for _ in patterns]
    for positions, tokens, mask in source.checked_blocks():
        for number in np.unique(code[positions]):
            chosen = torch.from_numpy(np.flatnonzero(code[positions] == number)).to(tokens.device)
            part = tokens if len(chosen) == len(tokens) else tokens[chosen]
            moments[number].add(part.flatten(0, 1) if mask is None else part[mask[chosen]])
    return _of_choices(patterns, moments, source.shape[2])


def target_moments(Y: NDArray, train_rows: Sequence[Positions]) -> list[Moments]:
    """Return moments of voxels over each choice of training rows, without a copy of Y."""
    patterns, code = _patterns(len(Y), train_rows)
    moments = [Moments(Y.shape[1]) for _ in patterns]
    n_together = max(1, _BLOCK_BYTES // (8 * Y.shape[1]))
    for start in range(0, len(Y), n_together):
        codes = code[start : start + n_together]
        for number in np.unique(codes):
            moments[number].add(torch.from_numpy(Y[start : start + n_together][codes == number]))
    return _of_choices(patterns, moments, Y.shape[1])


def _patterns(n_rows: int, train_rows: Sequence[Positions]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return which choices each kind of row belongs to, (n_kinds, n_choices), and the kind of each row."""
    belongs = np.zeros((n_rows, len(train_rows)), dtype=bool)
    for number, rows in enumerate(train_rows):
        belongs[rows, number] = True
    patterns, code = np.unique(belongs, axis=0, return_inverse=True)
    return patterns, code.reshape(-1)


def _of_choices(patterns: NDArray[np.bool_], moments: Sequence[Moments], n_columns: int) -> list[Moments]:
    merged = [Moments(n_columns) for _ in range(patterns.shape[1])]
    for pattern, part in zip(patterns, moments, strict=True):
        for number in np.flatnonzero(pattern):
            merged[number].merge(part)
    return merged
