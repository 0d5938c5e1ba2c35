"""What a network predicts for validation rows, and how well, without keeping all predictions."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.tokens import TokenSource
from encoders.training.batches import Positions, iter_batches
from encoders.training.settings import Training


def precision_context(training: Training) -> AbstractContextManager:
    """Return the autocast context of the precision; in float32 it does nothing."""
    kind = torch.device(training.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=training.precision == "bfloat16")


def stored_batches(
    source: TokenSource, training: Training, rows: Positions | None = None
) -> Iterator[tuple[Positions, Tensor, Tensor | None]]:
    """Yield batches in the order in which they are stored, twice the training size: nothing is kept for gradients."""
    blocks = source.blocks(rows)
    n_rows, size = sum(map(len, blocks)), 2 * training.batch_size
    sizes = [min(size, n_rows - start) for start in range(0, n_rows, size)]
    return iter_batches(source, blocks, sizes, torch.device(training.device))


class CorrelationSums:
    """Pearson's r per voxel from sums over batches, in float64: memory does not grow with samples.

    Sums are of deviations from the first row, so that a mean far from 0 costs no digits.
    """

    def __init__(self) -> None:
        self._n = 0
        self._sums: list[Tensor] = []
        self._first: tuple[Tensor, Tensor]

    def add(self, Y: Tensor, P: Tensor) -> None:
        """Add measured and predicted responses of a batch, (b, n_voxels) each."""
        y, p = Y.double(), P.double()
        if not self._n:
            self._first = (y[0].clone(), p[0].clone())
            self._sums = [torch.zeros_like(y[0]) for _ in range(5)]
        y, p = y - self._first[0], p - self._first[1]
        for total, part in zip(self._sums, (y, p, y * y, p * p, y * p), strict=True):
            total += part.sum(0)
        self._n += len(y)

    def correlation(self) -> tuple[NDArray, float]:
        """Return r (n_voxels,), NaN where either side is constant, and its mean over voxels.

        In the mean a constant prediction of a voxel that varies counts as 0; a constant voxel does not count.
        """
        y, p, yy, pp, yp = (total / self._n for total in self._sums)
        var_y, var_p = yy - y * y, pp - p * p
        # what remains of a variance after rounding is none
        varies = var_y > 1e-14 * yy
        known = varies & (var_p > 1e-14 * pp)
        r = ((yp - y * p) / torch.where(known, var_y * var_p, 1.0).sqrt()).clamp(-1, 1)
        mean = float(r[known].sum() / varies.sum()) if bool(varies.any()) else float("nan")
        return torch.where(known, r, torch.nan).cpu().numpy(), mean


class AccuracyCounts:
    """Share of correct answers, in all and of each class."""

    def __init__(self) -> None:
        self._right: Tensor | None = None
        self._total: Tensor

    def add(self, Y: Tensor, P: Tensor) -> None:
        """Add true classes (b,) and the scores given to each class (b, n_classes)."""
        if self._right is None:
            self._right = torch.zeros(P.shape[1], dtype=torch.float64, device=P.device)
            self._total = torch.zeros_like(self._right)
        self._right += torch.bincount(Y[P.argmax(1) == Y], minlength=P.shape[1])
        self._total += torch.bincount(Y, minlength=P.shape[1])

    def accuracy(self) -> tuple[NDArray, float]:
        """Return the share (n_classes,) of each class that is right, NaN for absent ones, and that of all rows."""
        assert self._right is not None
        each = torch.where(self._total > 0, self._right / self._total.clamp(min=1), torch.nan)
        return each.cpu().numpy(), float(self._right.sum() / self._total.sum())
