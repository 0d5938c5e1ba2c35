"""The primal and the dual form of ridge regression, diagonalised fold by fold.

Both forms give every fold the same shape. With eigenvalues l of the training Gram matrix (primal, X'X = Q l Q') or
kernel (dual, XX' = U l U'), and d(alpha) = 1 / (l + alpha), the held-out predictions of one voxel are
F diag(d) z + offset, where z (the rotated targets) and F (the rotated test rows) do not depend on the penalty.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.solvers.blocks import Blocks, sums_without_each

# A QR decomposition of F pays once the test rows outnumber the eigenvalues by this factor.
TALL = 1.25


@dataclass(frozen=True)
class FoldSystem:
    """One training fold, diagonalised.

    Attributes
    ----------
    eigenvalues : Tensor (rank,), float64
    basis : Tensor (n_features or n_train, rank)
        Eigenvectors of the Gram matrix or of the kernel.
    test : Tensor (n_test, rank)
        F: rotated test rows, less their mean.
    factor : Tensor (n_test or rank, rank)
        F, or the triangle R of its QR decomposition: the sums of squares of F d z and R d z are equal.
    triangular : bool
        Whether `factor` is upper triangular.
    offset : Tensor (rank,)
        Mean of the rotated test rows.
    n_test : int
    """

    eigenvalues: Tensor
    basis: Tensor
    test: Tensor
    factor: Tensor
    triangular: bool
    offset: Tensor
    n_test: int


@dataclass(frozen=True)
class FoldTargets:
    """The targets of one fold, rotated: all that a score at any penalty needs, besides the FoldSystem.

    Attributes
    ----------
    z : Tensor (n_voxels, rank)
    cross : Tensor (n_voxels, rank)
        Products of the test targets with F.
    sum_squares : Tensor (n_voxels,)
        Of the test targets less their mean.
    offset : Tensor (n_voxels,)
        Mean of the test targets less the mean of the training targets.
    """

    z: Tensor
    cross: Tensor
    sum_squares: Tensor
    offset: Tensor


def eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonalise a symmetric matrix; null eigenvalues are dropped, the largest come first.

    Eigenvalues under 16 units of rounding of the largest are rounding error.
    """
    values, vectors = torch.linalg.eigh(matrix)
    floor = 16 * torch.finfo(matrix.dtype).eps * values[-1].clamp_min(torch.finfo(matrix.dtype).tiny)
    first = int(torch.searchsorted(values, floor, right=True))
    return values[first:].flip(0), vectors[:, first:].flip(1)


class PrimalForm:
    """Ridge by the Gram matrix of the features, (n_features, n_features)."""

    def __init__(self, x: Blocks, fit_intercept: bool) -> None:
        self.x, self.fit_intercept = x, fit_intercept
        grams = torch.stack([block.T @ block for block in x.within])
        self._others, self._total = sums_without_each(grams)

    def _diagonalize(self, gram: Tensor, left_out: int | None) -> tuple[Tensor, Tensor, Tensor]:
        _, offsets = self.x.offsets(left_out, self.fit_intercept)
        weights = self.x.train_sizes(left_out)
        gram = gram + (offsets.T @ (weights[:, None] * offsets)).to(gram.dtype)
        values, vectors = eigenpairs(gram)
        return values.double(), vectors, offsets

    def system(self, k: int) -> FoldSystem:
        """Diagonalise the fold that leaves out block k."""
        values, vectors, offsets = self._diagonalize(self._others[k], k)
        return _fold_system(
            values, vectors, self.x.within[k] @ vectors, offsets[k].to(vectors.dtype) @ vectors
        )

    def full(self) -> tuple[Tensor, Tensor]:
        """Diagonalise all samples."""
        values, vectors, _ = self._diagonalize(self._total, None)
        return values, vectors

    def rotate(self, y: Blocks, systems: dict[int, FoldSystem]) -> tuple[dict[int, FoldTargets], Tensor]:
        """Rotate a chunk of targets into each fold's basis; also return their products with the features."""
        products = torch.stack([b.T @ a for a, b in zip(self.x.within, y.within, strict=True)])
        others, total = sums_without_each(products)
        targets = {}
        for k, system in systems.items():
            z = (others[k] + self._between(y, k)) @ system.basis
            if system.n_test > products.shape[2]:
                cross = products[k] @ system.basis
            else:
                cross = y.within[k].T @ system.test
            targets[k] = _fold_targets(y, k, z, cross, self.fit_intercept)
        return targets, total + self._between(y, None)

    def _between(self, y: Blocks, left_out: int | None) -> Tensor:
        """Products of the blocks' means, (n_voxels, n_features)."""
        weights = self.x.train_sizes(left_out)
        _, x_offsets = self.x.offsets(left_out, self.fit_intercept)
        _, y_offsets = y.offsets(left_out, self.fit_intercept)
        return ((weights[:, None] * y_offsets).T @ x_offsets).to(self.x.rows.dtype)

    def weights(self, products: Tensor, values: Tensor, vectors: Tensor, alphas: Tensor) -> Tensor:
        """Return coefficients (n_features, n_voxels) at one penalty a voxel."""
        rotated = products @ vectors
        rotated /= (values + alphas[:, None]).to(rotated.dtype)
        return vectors @ rotated.T


class DualForm:
    """Ridge by the kernel of the samples, (n_samples, n_samples)."""

    def __init__(self, x: Blocks, fit_intercept: bool) -> None:
        self.x, self.fit_intercept = x, fit_intercept
        self._within = x.rows @ x.rows.T
        owner = np.repeat(np.arange(len(x.within)), np.diff(x.edges))
        self._owner = torch.from_numpy(owner).to(x.rows.device)

    def _train(self, left_out: int | None) -> Tensor:
        rows = torch.arange(len(self._owner), device=self._owner.device)
        return rows if left_out is None else rows[self._owner != left_out]

    def _kernels(self, left_out: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return three kernels against the centred training rows.

        Of the training rows (n_train, n_train), of all rows less the mean of their own block (n_samples, n_train),
        and of the means of the blocks (n_blocks, n_train).
        """
        _, offsets = self.x.offsets(left_out, self.fit_intercept)
        offsets = offsets.to(self._within.dtype)
        train = self._train(left_out)
        owner = self._owner[train]
        projected = self.x.rows @ offsets.T
        rows = self._within[:, train] + projected[:, owner]
        means = projected[train].T + (offsets @ offsets.T)[:, owner]
        return rows[train] + means[owner], rows, means

    def system(self, k: int) -> FoldSystem:
        """Diagonalise the fold that leaves out block k."""
        kernel, rows, means = self._kernels(k)
        values, vectors = eigenpairs(kernel)
        test = rows[self.x.edges[k] : self.x.edges[k + 1]] @ vectors
        return _fold_system(values.double(), vectors, test, means[k] @ vectors)

    def full(self) -> tuple[Tensor, Tensor]:
        """Diagonalise all samples."""
        values, vectors = eigenpairs(self._kernels(None)[0])
        return values.double(), vectors

    def rotate(self, y: Blocks, systems: dict[int, FoldSystem]) -> tuple[dict[int, FoldTargets], Tensor]:
        """Rotate a chunk of targets into each fold's basis; also return the centred targets (n_voxels, n_samples)."""
        targets = {}
        for k, system in systems.items():
            z = self._targets(y, k) @ system.basis
            cross = y.within[k].T @ system.test
            targets[k] = _fold_targets(y, k, z, cross, self.fit_intercept)
        return targets, self._targets(y, None)

    def _targets(self, y: Blocks, left_out: int | None) -> Tensor:
        train = self._train(left_out)
        _, offsets = y.offsets(left_out, self.fit_intercept)
        return (y.rows[train] + offsets.to(y.rows.dtype)[self._owner[train]]).T

    def weights(self, targets: Tensor, values: Tensor, vectors: Tensor, alphas: Tensor) -> Tensor:
        """Return coefficients (n_features, n_voxels) at one penalty a voxel."""
        rotated = targets @ vectors
        rotated /= (values + alphas[:, None]).to(rotated.dtype)
        dual = vectors @ rotated.T
        _, offsets = self.x.offsets(None, self.fit_intercept)
        sums = torch.stack(
            [dual[a:b].sum(0) for a, b in zip(self.x.edges[:-1], self.x.edges[1:], strict=True)]
        )
        return self.x.rows.T @ dual + offsets.to(dual.dtype).T @ sums


def _fold_system(values: Tensor, vectors: Tensor, test: Tensor, offset: Tensor) -> FoldSystem:
    n_test, rank = test.shape
    tall = n_test > TALL * rank
    factor = torch.linalg.qr(test, mode="r").R if tall else test
    return FoldSystem(values, vectors, test, factor, tall, offset, n_test)


def _fold_targets(y: Blocks, k: int, z: Tensor, cross: Tensor, fit_intercept: bool) -> FoldTargets:
    _, offsets = y.offsets(k, fit_intercept)
    return FoldTargets(z, cross, y.within[k].square().sum(0), offsets[k].to(z.dtype))
