"""Samples in blocks, each centred by its own mean.

Every fold is a set of training blocks and one test block. Sums over a training fold are put together from its
own blocks (the pairwise moments of Chan, Golub & LeVeque 1983), never by subtracting the test block from the
whole: nothing cancels in float32, and not even a rounding error of a fitted fold depends on its test rows (these
have a say only in whether folds are diagonalised in float32 or float64, see `forms.fold_precision`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64, Integer, Shaped
from torch import Tensor

from encoders.solvers.checks import IndexPairs


@dataclass(frozen=True)
class Layout:
    """Blocks of rows, and which of them are test sets.

    Attributes
    ----------
    row_sets : list of index arrays
        Sorted rows of each block.
    tests : list of int
        Blocks that are the test set of a fold; its training set is all the other blocks.
    n_samples : int
        Rows of the whole data.
    """

    row_sets: list[Integer[np.ndarray, "_"]]
    tests: list[int]
    n_samples: int

    @property
    def complete(self) -> bool:
        """Whether the blocks hold every sample, so that they also serve the refit."""
        return sum(rows.size for rows in self.row_sets) == self.n_samples


def arrange_folds(n_samples: int, folds: IndexPairs) -> list[Layout]:
    """Arrange folds as blocks of rows.

    Folds whose test sets cut the samples into pieces, each trained on all the other pieces, share one layout,
    so that sums over a block are taken once. Any other fold has a layout of its own: train and test.
    """
    tests = [test for _, test in folds]
    shared = np.array_equal(np.sort(np.concatenate(tests)), np.arange(n_samples)) and all(
        train.size + test.size == n_samples for train, test in folds
    )
    if shared and len(folds) > 1:
        return [Layout(tests, list(range(len(tests))), n_samples)]
    return [Layout([train, test], [1], n_samples) for train, test in folds]


class Blocks:
    """Rows of a matrix in blocks, each centred by its own mean.

    Parameters
    ----------
    values : Tensor (n_samples, n_columns)
    row_sets : sequence of index arrays, one a block
    device, dtype
        Where, and in which precision, the blocks are kept.

    Attributes
    ----------
    rows : Tensor (n_rows, n_columns)
        All blocks one after the other, each less its mean.
    within : list of Tensor (n_rows of the block, n_columns)
        The blocks as slices of `rows`.
    edges : list of int (n_blocks + 1)
        Where the blocks begin and end in `rows`.
    sizes : Tensor (n_blocks,), float64
    means : Tensor (n_blocks, n_columns), float64
    """

    def __init__(
        self,
        values: Shaped[Tensor, "n_samples n_columns"],
        row_sets: Sequence[Integer[np.ndarray, "_"]],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.edges = np.cumsum([0, *(rows.size for rows in row_sets)]).tolist()
        self.rows = torch.empty((self.edges[-1], values.shape[1]), dtype=dtype, device=device)
        self.within = [self.rows[a:b] for a, b in pairwise(self.edges)]
        self.sizes = torch.tensor([rows.size for rows in row_sets], dtype=torch.float64, device=device)
        self.means = torch.empty((len(row_sets), values.shape[1]), dtype=torch.float64, device=device)
        for k, (rows, block) in enumerate(zip(row_sets, self.within, strict=True)):
            block.copy_(take_rows(values, rows))
            # Twice, so that a large offset (raw BOLD around 10,000) leaves no remainder in float32.
            first = block.mean(0)
            block -= first
            second = block.mean(0)
            block -= second
            self.means[k] = first.double() + second.double()

    def train_sizes(self, left_out: int | None) -> Float64[Tensor, "n_blocks"]:
        """Return the sizes of the blocks (n_blocks,), zero for the one left out."""
        sizes = self.sizes.clone()
        if left_out is not None:
            sizes[left_out] = 0
        return sizes

    def offsets(
        self, left_out: int | None, fit_intercept: bool
    ) -> tuple[Float64[Tensor, "n_columns"], Float64[Tensor, "n_blocks n_columns"]]:
        """Return the mean of the rows not left out, and every block's mean less it.

        Without an intercept nothing is taken off: the reference is zero.
        """
        if not fit_intercept:
            return torch.zeros_like(self.means[0]), self.means
        weights = self.train_sizes(left_out)
        # Differences from one of the training blocks, so that equal offsets cancel before they are weighted.
        anchor = self.means[-1 if left_out is None or left_out != len(weights) - 1 else 0]
        mean = anchor + (weights / weights.sum()) @ (self.means - anchor)
        return mean, self.means - mean


def take_rows(
    values: Shaped[Tensor, "n_samples n_columns"], rows: Integer[np.ndarray, "n_rows"]
) -> Shaped[Tensor, "n_rows n_columns"]:
    """Return sorted rows, as a view where they are contiguous."""
    if rows[-1] - rows[0] + 1 == rows.size:
        return values[int(rows[0]) : int(rows[-1]) + 1]
    return values[torch.from_numpy(rows).to(values.device)]


def sums_without_each(parts: list[Float[Tensor, "*shape"]], slab: int = 2**15) -> Float[Tensor, "*shape"]:
    """Replace each part by the sum of all the others, in place, and return the sum of all.

    A product with a matrix of zeros and ones: nothing is subtracted, and what is left out is multiplied by zero.

    Parameters
    ----------
    parts : list of Tensor, of equal shape and contiguous
    slab : int
        Entries worked on at once: what the call needs besides its result.
    """
    n_parts = len(parts)
    masks = torch.ones((n_parts + 1, n_parts), dtype=parts[0].dtype, device=parts[0].device)
    masks[:n_parts].fill_diagonal_(0)
    total = torch.empty_like(parts[0])
    flat = [part.view(-1) for part in parts]
    for start in range(0, total.numel(), slab):
        stop = start + slab
        sums = masks @ torch.stack([part[start:stop] for part in flat])
        for part, values in zip([*flat, total.view(-1)], sums, strict=True):
            part[start:stop] = values
    return total
