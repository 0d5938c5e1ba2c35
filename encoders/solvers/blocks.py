"""Samples in blocks, each centred by its own mean.

Every fold is a set of training blocks and one test block. Sums over a training fold are put together from its own
blocks (Chan, Golub & LeVeque 1983, pairwise moments), never by subtracting the test block from the whole: nothing
cancels in float32, and not even a rounding error of a fitted fold depends on its test rows.
"""

from collections.abc import Sequence

import numpy as np
import torch

from encoders.solvers.checks import IndexPairs


def fold_blocks(n_samples: int, folds: IndexPairs) -> list[tuple[list[np.ndarray], list[int]]]:
    """Arrange folds as blocks of rows.

    Folds whose test sets cut the samples into pieces, each trained on all the other pieces, share one set of blocks
    (so that sums over a block are computed once). Any other fold has two blocks of its own: train and test.

    Returns
    -------
    list of (rows of each block, numbers of the blocks that are test sets)
    """
    tests = [test for _, test in folds]
    covered = np.sort(np.concatenate(tests))
    partition = np.array_equal(covered, np.arange(n_samples)) and all(
        train.size + test.size == n_samples for train, test in folds
    )
    if partition and len(folds) > 1:
        return [(tests, list(range(len(tests))))]
    return [([train, test], [1]) for train, test in folds]


def center(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the columns less their means, and the means in float64.

    The mean is taken twice, so that a large offset (raw BOLD around 10,000) leaves no remainder in float32.
    """
    first = values.mean(0)
    centred = values - first
    second = centred.mean(0)
    centred -= second
    return centred, first.double() + second.double()


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
    within : list of Tensor (n_rows, n_columns)
        The rows of each block less the mean of the block: slices of one matrix, `rows`.
    means : Tensor (n_blocks, n_columns), float64
    sizes : Tensor (n_blocks,), float64
    """

    def __init__(
        self, values: torch.Tensor, row_sets: Sequence[np.ndarray], device: torch.device, dtype: torch.dtype
    ) -> None:
        edges = np.cumsum([0, *(len(rows) for rows in row_sets)])
        self.rows = torch.empty((int(edges[-1]), values.shape[1]), dtype=dtype, device=device)
        self.within, means = [], []
        for rows, start, stop in zip(row_sets, edges[:-1], edges[1:], strict=True):
            centred, mean = center(_take(values, rows).to(device=device, dtype=dtype))
            self.rows[start:stop] = centred
            self.within.append(self.rows[start:stop])
            means.append(mean)
        self.means = torch.stack(means)
        self.edges = [int(edge) for edge in edges]
        self.sizes = torch.tensor(np.diff(edges), dtype=torch.float64, device=device)

    def offsets(self, left_out: int | None, fit_intercept: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean of the blocks not left out, and every block's mean less it.

        Without an intercept nothing is taken off: the reference is zero.
        """
        if not fit_intercept:
            return torch.zeros_like(self.means[0]), self.means
        weights = self.train_sizes(left_out)
        mean = (weights / weights.sum()) @ self.means
        return mean, self.means - mean

    def train_sizes(self, left_out: int | None) -> torch.Tensor:
        """Return the sizes of the blocks, zero for the one left out."""
        sizes = self.sizes.clone()
        if left_out is not None:
            sizes[left_out] = 0
        return sizes


def _take(values: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    if rows[-1] - rows[0] + 1 == rows.size:  # sorted and contiguous: a view will do
        return values[int(rows[0]) : int(rows[-1]) + 1]
    return values[torch.from_numpy(rows).to(values.device)]


def sums_without_each(parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for each part, the sum of all the others, and the sum of all, without subtracting.

    Parameters
    ----------
    parts : Tensor (n_blocks, ...)

    Returns
    -------
    others : Tensor (n_blocks, ...)
    total : Tensor (...)
    """
    others = torch.empty_like(parts)
    total = torch.zeros_like(parts[0])
    for k in range(len(parts)):
        others[k] = total
        total += parts[k]
    after = torch.zeros_like(total)
    for k in reversed(range(len(parts))):
        others[k] += after
        after += parts[k]
    return others, total
