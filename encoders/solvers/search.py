"""Held-out scores of every penalty, one fold and one chunk of voxels at a time."""

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from encoders.solvers.forms import FoldSystem, FoldTargets

# Rows of the factor multiplied at once: few enough to skip most zeros of a triangle, and more where the products
# of every voxel's predictions are taken, because these are small matrices.
FULL_ROWS, COARSE_ROWS = 64, 256

# Share of the penalties up to which it pays to interpolate between them.
WORTHWHILE = 2 / 3


class FoldSearch:
    """Scores of one fold at every penalty.

    Parameters
    ----------
    system : FoldSystem
    alphas : Tensor (n_alphas,), float64
    tolerance : float
        0 predicts at every penalty. Otherwise predictions are computed at a few penalties only (`skeleton`), and
        those at the others are combinations of them, to within this share of their size.
    """

    def __init__(self, system: FoldSystem, alphas: Float64[Tensor, "n_alphas"], tolerance: float) -> None:
        dtype = system.factor.dtype
        d = 1 / (system.spectrum.eigenvalues + alphas[:, None])
        self.system = system
        self.shrinkage = d.to(dtype)  # (n_alphas, rank)
        self.nodes = self.shrinkage
        self.mixing = None
        if tolerance and bool(system.factor.any()):  # without variance there is nothing to interpolate
            nodes, mixing = skeleton(system, d, tolerance)
            if len(nodes) <= WORTHWHILE * len(alphas):
                self.nodes = self.shrinkage[nodes]
                # Sums of squares of combinations are sums over pairs of nodes.
                self.mixing = (mixing[:, None] * mixing[None]).flatten(0, 1).to(dtype)

    def gains(self, targets: FoldTargets) -> Float[Tensor, "n_voxels n_alphas"]:
        """How far the mean squared held-out error is below that of the training mean.

        The difference is put together from small terms, so that float32 tells apart penalties at which a voxel
        without signal is hardly predicted at all.
        """
        gains = self._cross(targets)
        gains *= 2
        gains -= self._squares(targets.z)
        gains /= self.system.n_test
        mean = targets.z @ (self.system.offset * self.shrinkage).T
        return gains.addcmul_(mean, 2 * targets.offset[:, None] - mean)

    def correlations(self, targets: FoldTargets) -> Float[Tensor, "n_voxels n_alphas"]:
        """Held-out Pearson r; 0 where targets or predictions are constant."""
        norms = self._squares(targets.z).sqrt() * targets.sum_squares[:, None].sqrt()
        r = self._cross(targets) / norms
        return torch.where(norms > 0, r, torch.zeros_like(r)).clamp(-1, 1)

    def _cross(self, targets: FoldTargets) -> Float[Tensor, "n_voxels n_alphas"]:
        """Sum of products of centred targets and predictions."""
        return (targets.cross * targets.z) @ self.shrinkage.T

    def _squares(self, z: Float[Tensor, "n_voxels rank"]) -> Float[Tensor, "n_voxels n_alphas"]:
        """Sum of squares of the centred predictions: the costly part.

        2 n_test rank operations a voxel and node, or little more than rank^2 with a triangle.
        """
        factor, triangular = self.system.factor, self.system.triangular
        n_voxels, n_nodes = z.shape[0], self.nodes.shape[0]
        full = self.mixing is None
        totals = torch.zeros((n_voxels, n_nodes, 1 if full else n_nodes), dtype=z.dtype, device=z.device)
        step = FULL_ROWS if full else COARSE_ROWS
        for start in range(0, factor.shape[0], step):
            first = start if triangular else 0
            rows = factor[start : start + step, first:]
            stacked = (rows * self.nodes[:, None, first:]).flatten(0, 1)
            predicted = (z[:, first:] @ stacked.T).view(n_voxels, n_nodes, rows.shape[0])
            if full:
                totals[:, :, 0] += torch.linalg.vector_norm(predicted, dim=2).square()
            else:
                totals.baddbmm_(predicted, predicted.transpose(1, 2))
        if self.mixing is None:
            return totals[:, :, 0]
        return (totals.flatten(1) @ self.mixing).clamp_min_(0)


def skeleton(
    system: FoldSystem, d: Float64[Tensor, "n_alphas rank"], tolerance: float
) -> tuple[Int64[Tensor, "n_nodes"], Float64[Tensor, "n_nodes n_alphas"]]:
    """Choose penalties whose predictions span those at all penalties.

    Predictions are linear in the vectors d = 1 / (eigenvalues + alpha), which are smooth in log alpha. A pivoted
    QR decomposition (interpolative decomposition; Cheng, Gimbutas, Martinsson & Rokhlin 2005) of these vectors,
    each direction weighted by what it adds to the predictions of a voxel without signal, picks the penalties and
    the mixing weights.

    Parameters
    ----------
    system : FoldSystem
    d : Tensor (n_alphas, rank), float64
    tolerance : float
        Root mean square error of the predictions at a penalty, as a share of their own root mean square, for a
        voxel without signal.

    Returns
    -------
    nodes : Tensor (n_nodes,)
        Numbers of the penalties at which to predict.
    mixing : Tensor (n_nodes, n_alphas)
        Weights that make the predictions at every penalty of those at the nodes.
    """
    scale = torch.linalg.vector_norm(system.factor, dim=0).double() * system.spectrum.eigenvalues.sqrt()
    weighted = (scale * d).T.cpu().numpy()
    size = np.linalg.norm(weighted, axis=0)
    weighted /= size
    triangle, order = scipy.linalg.qr(weighted, mode="r", pivoting=True)
    n_nodes = 1
    while n_nodes < min(weighted.shape) and (triangle[n_nodes:] ** 2).sum(0).max() > tolerance**2:
        n_nodes += 1
    nodes = order[:n_nodes]
    mixing = np.empty((n_nodes, d.shape[0]))
    mixing[:, order] = scipy.linalg.solve_triangular(triangle[:n_nodes, :n_nodes], triangle[:n_nodes])
    mixing *= size / size[nodes, None]
    return torch.from_numpy(nodes).long().to(d.device), torch.from_numpy(mixing).to(d.device)
