"""Ridge systems in which every voxel has penalties of its own, solved for all voxels at once.

(X'X + diag(penalties)) w = b by conjugate gradients (Hestenes & Stiefel 1952). The inverse at penalties near by,
known from one decomposition, is the preconditioner: the number of steps then grows with how far penalties lie from
these, and not with how unequal the eigenvalues of X'X are.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MAX_ITERATIONS = 300

# Eigenvalues under this share of the largest are left to the null space, as which they count at any penalty here.
NULL_SHARE = 1e-10


@dataclass(frozen=True)
class Rows:
    """Features of the rows that are fitted, and of those held out, both less the mean of the fitted ones.

    Attributes
    ----------
    train : Tensor (n_train, n_features)
    test : Tensor (n_test, n_features)
    gram : Tensor (n_features, n_features) or None
        X'X of the training rows; None where two products with the rows themselves are cheaper.
    """

    train: Float[Tensor, "n_train n_features"]
    test: Float[Tensor, "n_test n_features"]
    gram: Float[Tensor, "n_features n_features"] | None

    def apply(self, v: Float[Tensor, "n_voxels n_features"]) -> Float[Tensor, "n_voxels n_features"]:
        """Return X'X v of each voxel."""
        return (v @ self.train.T) @ self.train if self.gram is None else v @ self.gram


def gather_rows(train: Float[Tensor, "n_train n_features"], test: Float[Tensor, "n_test n_features"]) -> Rows:
    """Return rows with the Gram matrix of the training rows, where products with it are the cheaper ones."""
    wide = train.shape[1] > 2 * train.shape[0]
    return Rows(train, test, None if wide else train.T @ train)


@dataclass(frozen=True)
class Preconditioner:
    """Inverse of X'X + alpha D^-2 at any alpha, where D^2 holds a weight for each feature.

    With D X'X D = Q L Q' it is B (1 / (L + alpha) - 1 / alpha) B' + D^2 / alpha, where B = D Q and Q need not span
    the null directions.

    Attributes
    ----------
    basis : Tensor (n_features, rank)
        B.
    eigenvalues : Tensor (rank,)
        L.
    weights : Tensor (n_features,)
        D^2.
    """

    basis: Float[Tensor, "n_features rank"]
    eigenvalues: Float[Tensor, "rank"]
    weights: Float[Tensor, "n_features"]

    def apply(
        self, v: Float[Tensor, "n_voxels n_features"], alphas: Float[Tensor, "n_voxels 1"]
    ) -> Float[Tensor, "n_voxels n_features"]:
        """Return the products with the inverse, at one alpha a voxel."""
        shrunk = (v @ self.basis) * (1 / (self.eigenvalues + alphas) - 1 / alphas)
        return torch.addmm(v * (self.weights / alphas), shrunk, self.basis.T)


def precondition(rows: Rows, weights: Float[Tensor, "n_features"]) -> Preconditioner:
    """Decompose the training rows, with features scaled by the square roots of positive weights.

    In float64: a basis that is not quite orthogonal would give an inverse that is not quite positive.
    """
    scale = weights.double().sqrt()
    scaled = rows.train.double() * scale
    primal = scaled.shape[1] <= scaled.shape[0]
    values, vectors = torch.linalg.eigh(scaled.T @ scaled if primal else scaled @ scaled.T)
    kept = values > NULL_SHARE * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    values, vectors = values[kept], vectors[:, kept]
    basis = vectors if primal else (scaled.T @ vectors) / values.sqrt()
    dtype = rows.train.dtype
    return Preconditioner((scale[:, None] * basis).to(dtype), values.to(dtype), weights.to(dtype))


def solve_systems(
    rows: Rows,
    preconditioner: Preconditioner,
    penalties: Float[Tensor, "n_voxels n_features"],
    right: Float[Tensor, "n_voxels n_features"],
    start: Float[Tensor, "n_voxels n_features"] | None,
    residual: float,
) -> Float[Tensor, "n_voxels n_features"]:
    """Solve (X'X + diag(penalties)) w = b for every voxel.

    Parameters
    ----------
    rows : Rows
    preconditioner : Preconditioner
    penalties : Tensor (n_voxels, n_features)
        Positive.
    right : Tensor (n_voxels, n_features)
        b.
    start : Tensor (n_voxels, n_features) or None
        Where to begin; None begins at the solution for the preconditioner's penalties.
    residual : float
        Norm of b - (X'X + diag(penalties)) w to stop at, as a share of the norm of b.

    Returns
    -------
    Tensor (n_voxels, n_features)
    """
    # The preconditioner's penalties times the factor that brings them nearest to the voxel's own.
    alphas = (penalties.log() + preconditioner.weights.log()).mean(1, keepdim=True).exp()
    w = preconditioner.apply(right, alphas) if start is None else start.clone()
    r = right - rows.apply(w) - penalties * w
    limits = residual * torch.linalg.vector_norm(right, dim=1)
    voxels = torch.arange(len(w), device=w.device)
    direction, product = torch.zeros_like(r), torch.ones_like(limits)
    for _ in range(MAX_ITERATIONS):
        unfinished = torch.linalg.vector_norm(r, dim=1) > limits
        if not bool(unfinished.all()):  # solved voxels cost no more
            voxels, alphas, penalties, limits, r, direction, product = (
                each[unfinished] for each in (voxels, alphas, penalties, limits, r, direction, product)
            )
        if not len(voxels):
            break
        z = preconditioner.apply(r, alphas)
        last, product = product, (r * z).sum(1)
        direction = torch.addcmul(z, (product / last)[:, None], direction)
        applied = rows.apply(direction).addcmul_(penalties, direction)
        step = (product / (direction * applied).sum(1))[:, None]
        w[voxels] += step * direction
        r = r - step * applied
    return w
