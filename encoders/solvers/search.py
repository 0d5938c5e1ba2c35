"""Held-out scores of every penalty, one fold and one chunk of voxels at a time."""

import torch
from torch import Tensor

from encoders.solvers.forms import FoldSystem, FoldTargets

# Rows of a triangular factor multiplied at once: small enough to skip most of its zeros.
TRIANGLE_ROWS = 128


def shrinkage(system: FoldSystem, alphas: Tensor) -> Tensor:
    """Return 1 / (eigenvalue + penalty), (n_alphas, rank), float64."""
    return 1 / (system.eigenvalues + alphas[:, None])


def prediction_squares(system: FoldSystem, z: Tensor, d: Tensor) -> Tensor:
    """Sum of squares of the centred held-out predictions, (n_voxels, n_alphas): the costly part.

    2 n_alphas n_test rank operations a voxel, or about n_alphas rank^2 with a triangular factor.
    """
    factor, d = system.factor, d.to(z.dtype)
    total = torch.zeros((z.shape[0], d.shape[0]), dtype=z.dtype, device=z.device)
    n_rows = factor.shape[0]
    step = TRIANGLE_ROWS if system.triangular else n_rows
    for start in range(0, n_rows, step):
        rows = factor[start : start + step]
        first = start if system.triangular else 0
        for a in range(d.shape[0]):
            predicted = z[:, first:] @ (rows[:, first:] * d[a, first:]).T
            total[:, a] += torch.linalg.vector_norm(predicted, dim=1).square()
    return total


def fold_moments(system: FoldSystem, targets: FoldTargets, alphas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of the held-out predictions of one fold.

    Returns
    -------
    squares : Tensor (n_voxels, n_alphas)
        Sum of squares of the predictions less their mean.
    cross : Tensor (n_voxels, n_alphas)
        Sum of products of targets and predictions, both less their means.
    shift : Tensor (n_voxels, n_alphas)
        Mean of the test targets less the mean of the predictions.
    """
    d = shrinkage(system, alphas)
    low = d.to(targets.z.dtype)
    squares = prediction_squares(system, targets.z, d)
    cross = (targets.cross * targets.z) @ low.T
    shift = targets.offset[:, None] - targets.z @ (system.offset * low).T
    return squares, cross, shift


def squared_errors(system: FoldSystem, targets: FoldTargets, alphas: Tensor) -> Tensor:
    """Mean squared held-out error of one fold, (n_voxels, n_alphas)."""
    squares, cross, shift = fold_moments(system, targets, alphas)
    return (targets.sum_squares[:, None] - 2 * cross + squares) / system.n_test + shift.square()


def correlations(system: FoldSystem, targets: FoldTargets, alphas: Tensor) -> Tensor:
    """Held-out Pearson correlation of one fold, (n_voxels, n_alphas); 0 where targets or predictions are constant."""
    squares, cross, _ = fold_moments(system, targets, alphas)
    norms = (squares * targets.sum_squares[:, None]).sqrt()
    return torch.where(norms > 0, cross / norms, torch.zeros_like(norms)).clamp(-1, 1)
