"""The primal and the dual form of ridge regression, diagonalised fold by fold.

Both forms give every fold the same shape. With the eigenvalues l of the training Gram matrix (primal,
X'X = Q l Q') or kernel (dual, XX' = U l U') and d = 1 / (l + alpha), the held-out predictions of a voxel are
F (d * z) plus their mean, where z (the rotated targets) and F (the rotated test rows) know no penalty.

A Gram matrix holds the squares of singular values, so it needs twice their digits. It is summed in float64, and
diagonalised in float64 for the refit; folds, which only rank penalties, are diagonalised in float32 where no penalty
is too small for it (`fold_precision`). All else is products, for which the precision of the data will do.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from encoders.solvers.blocks import Blocks, sums_without_each

# Float32 decomposes folds whose penalties are all at least this share of the largest eigenvalue: held-out errors
# then differ from those in float64 by some 1 % at the smallest penalty, and in inverse proportion less at others.
FLOAT32_SHARE = 5e-6

# Eigenvalues under this many units of rounding of the largest are rounding error.
NULL_UNITS = {torch.float32: 4, torch.float64: 64}

# The test rows are replaced by the triangle of their QR decomposition once they are this much taller than wide.
TALL = 1.25


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (rank,) in float64, the largest first, and eigenvectors (n, rank)."""

    eigenvalues: Float64[Tensor, "rank"]
    basis: Float[Tensor, "n rank"]


@dataclass(frozen=True)
class FoldSystem:
    """One training fold, diagonalised.

    Attributes
    ----------
    spectrum : Spectrum
    test : Tensor (n_test, rank)
        F: rotated test rows less their mean.
    factor : Tensor (n_test or rank, rank)
        F, or the triangle R of its QR decomposition, which keeps the sum of squares: |F v| = |R v|.
    triangular : bool
        Whether `factor` is upper triangular.
    offset : Tensor (rank,)
        Mean of the rotated test rows.
    """

    spectrum: Spectrum
    test: Float[Tensor, "n_test rank"]
    factor: Float[Tensor, "n_rows rank"]
    triangular: bool
    offset: Float[Tensor, "rank"]

    @property
    def n_test(self) -> int:
        """Number of test rows."""
        return self.test.shape[0]


@dataclass(frozen=True)
class FoldTargets:
    """The targets of one fold, rotated: with the FoldSystem, all that a score at any penalty needs.

    Attributes
    ----------
    z : Tensor (n_voxels, rank)
        Rotated training targets.
    cross : Tensor (n_voxels, rank)
        Products of the test targets with F.
    sum_squares : Tensor (n_voxels,)
        Of the test targets less their mean.
    offset : Tensor (n_voxels,)
        Mean of the test targets less the mean of the training targets.
    """

    z: Float[Tensor, "n_voxels rank"]
    cross: Float[Tensor, "n_voxels rank"]
    sum_squares: Float[Tensor, "n_voxels"]
    offset: Float[Tensor, "n_voxels"]


def fold_precision(x: Blocks, smallest_alpha: float, fit_intercept: bool) -> torch.dtype:
    """Choose the precision in which folds are diagonalised, by the largest eigenvalue of X'X."""
    if x.rows.dtype == torch.float64:
        return torch.float64
    vector = x.rows[torch.linalg.vector_norm(x.rows, dim=1).argmax()].clone()
    for _ in range(8):  # power iteration
        vector /= torch.linalg.vector_norm(vector).clamp_min(torch.finfo(vector.dtype).tiny)
        vector = x.rows.T @ (x.rows @ vector)
    _, offsets = x.offsets(None, fit_intercept)
    largest = torch.linalg.vector_norm(vector).double() + (x.sizes * offsets.square().sum(1)).sum()
    return torch.float32 if smallest_alpha >= FLOAT32_SHARE * float(largest) else torch.float64


class PrimalForm:
    """Ridge by the Gram matrix of the features, (n_features, n_features)."""

    name = "primal"

    def __init__(self, x: Blocks, fit_intercept: bool) -> None:
        self.x, self.fit_intercept = x, fit_intercept

    def diagonalize(
        self, tests: list[int], refit: bool, dtype: torch.dtype
    ) -> tuple[dict[int, FoldSystem], Spectrum | None]:
        """Diagonalise the folds that leave out each of `tests`, in `dtype`, and for the refit all rows."""
        grams, total = self.grams_within()
        systems = {}
        for k in range(len(grams)):
            gram, grams[k] = grams[k], torch.empty(0)  # let go of each as soon as it is diagonalised
            if k in tests:
                gram = self.add_means(gram, k)
                systems[k] = self.fold_system(diagonalize(gram.to(dtype), self.x.rows.dtype), k)
        if not refit:
            return systems, None
        return systems, diagonalize(self.add_means(total, None), self.x.rows.dtype)

    def grams_within(
        self,
    ) -> tuple[list[Float64[Tensor, "n_features n_features"]], Float64[Tensor, "n_features n_features"]]:
        """Return the sums over all blocks but each, and over all, of the blocks' own Gram matrices."""
        grams = []
        for block in self.x.within:
            wide = block.double()
            grams.append(wide.T @ wide)
        total = sums_without_each(grams)
        return grams, total

    def add_means(
        self, gram: Float64[Tensor, "n_features n_features"], left_out: int | None
    ) -> Float64[Tensor, "n_features n_features"]:
        """Add what the means of the blocks not left out add to their Gram matrix, in place."""
        _, offsets = self.x.offsets(left_out, self.fit_intercept)
        weights = self.x.train_sizes(left_out)
        return gram.addmm_(offsets.T, weights[:, None] * offsets)

    def fold_system(self, spectrum: Spectrum, k: int) -> FoldSystem:
        """Rotate the test rows of the fold that leaves out block k."""
        _, offsets = self.x.offsets(k, self.fit_intercept)
        test = self.x.within[k] @ spectrum.basis
        return _fold_system(spectrum, test, offsets[k].to(test.dtype) @ spectrum.basis)

    def prepare(self, y: Blocks) -> list[Float[Tensor, "n_voxels n_features"]]:
        """Return the products of targets and features without each block, and of all: (n_voxels, n_features)."""
        products = [b.T @ a for a, b in zip(self.x.within, y.within, strict=True)]
        products.append(sums_without_each(products))
        for left_out, product in zip([*range(len(products) - 1), None], products, strict=True):
            weights = self.x.train_sizes(left_out)
            _, x_offsets = self.x.offsets(left_out, self.fit_intercept)
            _, y_offsets = y.offsets(left_out, self.fit_intercept)
            dtype = product.dtype
            product.addmm_((weights[:, None] * y_offsets).T.to(dtype), x_offsets.to(dtype))
        return products

    def rotate(self, y: Blocks, prepared: Any, k: int, system: FoldSystem) -> FoldTargets:
        """Rotate a chunk of targets into the basis of the fold that leaves out block k."""
        return _fold_targets(self, y, k, prepared[k] @ system.spectrum.basis, system)

    def coefficients(
        self, prepared: Any, spectrum: Spectrum, alphas: Float64[Tensor, "n_voxels"]
    ) -> Float[Tensor, "n_features n_voxels"]:
        """Return coefficients (n_features, n_voxels) at one penalty a voxel."""
        return spectrum.basis @ _shrink(prepared[-1] @ spectrum.basis, spectrum, alphas).T


class DualForm:
    """Ridge by the kernel of the samples, (n_samples, n_samples)."""

    name = "dual"

    def __init__(self, x: Blocks, fit_intercept: bool) -> None:
        self.x, self.fit_intercept = x, fit_intercept
        counts = torch.tensor([len(block) for block in x.within])
        self._owner = torch.repeat_interleave(torch.arange(len(counts)), counts).to(x.rows.device)

    def diagonalize(
        self, tests: list[int], refit: bool, dtype: torch.dtype
    ) -> tuple[dict[int, FoldSystem], Spectrum | None]:
        """Diagonalise the folds that leave out each of `tests`, in `dtype`, and for the refit all rows."""
        wide = self.x.rows.double()
        within = wide @ wide.T
        systems = {k: self.fold_system(within, *self.kernels_of_means(wide, k), k, dtype) for k in tests}
        if not refit:
            return systems, None
        return systems, self.spectrum(within, *self.kernels_of_means(wide, None), None, torch.float64)[0]

    def kernels_of_means(
        self,
        wide: Float64[Tensor, "n_samples n_columns"],
        left_out: int | None,
        columns: Any = slice(None),
    ) -> tuple[Float64[Tensor, "n_samples n_blocks"], Float64[Tensor, "n_blocks n_blocks"]]:
        """Return the kernel of rows and means of the blocks, and that of the means, where some rows are left out.

        Parameters
        ----------
        wide : Tensor (n_samples, n_columns), float64
            Rows, each less the mean of its own block.
        left_out : int or None
        columns : index
            The features that `wide` holds.
        """
        offsets = self.x.offsets(left_out, self.fit_intercept)[1][:, columns]
        return wide @ offsets.T, offsets @ offsets.T

    def spectrum(
        self,
        within: Float64[Tensor, "n_samples n_samples"],
        projected: Float64[Tensor, "n_samples n_blocks"],
        between: Float64[Tensor, "n_blocks n_blocks"],
        left_out: int | None,
        dtype: torch.dtype,
    ) -> tuple[Spectrum, Float64[Tensor, "n_samples n_train"], Float64[Tensor, "n_blocks n_train"]]:
        """Diagonalise the kernel of the training rows.

        Also return the kernel against the training rows of all rows less the mean of their own block,
        (n_samples, n_train), and of the means of the blocks, (n_blocks, n_train).
        """
        train = self._train_rows(left_out)
        owner = self._owner[train]
        rows = within[:, train] + projected[:, owner]
        means = projected[train].T + between[:, owner]
        return diagonalize((rows[train] + means[owner]).to(dtype), self.x.rows.dtype), rows, means

    def fold_system(
        self,
        within: Float64[Tensor, "n_samples n_samples"],
        projected: Float64[Tensor, "n_samples n_blocks"],
        between: Float64[Tensor, "n_blocks n_blocks"],
        k: int,
        dtype: torch.dtype,
    ) -> FoldSystem:
        """Diagonalise the fold that leaves out block k and rotate its test rows."""
        spectrum, rows, means = self.spectrum(within, projected, between, k, dtype)
        block = slice(self.x.edges[k], self.x.edges[k + 1])
        test = rows[block].to(spectrum.basis.dtype) @ spectrum.basis
        return _fold_system(spectrum, test, means[k].to(test.dtype) @ spectrum.basis)

    def _train_rows(self, left_out: int | None) -> Int64[Tensor, "n_train"]:
        rows = torch.arange(len(self._owner), device=self._owner.device)
        return rows if left_out is None else rows[self._owner != left_out]

    def prepare(self, y: Blocks) -> Blocks:
        """Return the targets: the kernel needs no products with the features."""
        return y

    def rotate(self, y: Blocks, prepared: Any, k: int, system: FoldSystem) -> FoldTargets:
        """Rotate a chunk of targets into the basis of the fold that leaves out block k."""
        return _fold_targets(self, y, k, self._centred(prepared, k).T @ system.spectrum.basis, system)

    def _centred(self, y: Blocks, left_out: int | None) -> Float[Tensor, "n_train n_voxels"]:
        _, offsets = y.offsets(left_out, self.fit_intercept)
        train = self._train_rows(left_out)
        return y.rows[train] + offsets.to(y.rows.dtype)[self._owner[train]]

    def coefficients(
        self, prepared: Any, spectrum: Spectrum, alphas: Float64[Tensor, "n_voxels"]
    ) -> Float[Tensor, "n_features n_voxels"]:
        """Return coefficients (n_features, n_voxels) at one penalty a voxel."""
        rotated = self._centred(prepared, None).T @ spectrum.basis
        dual = spectrum.basis @ _shrink(rotated, spectrum, alphas).T
        _, offsets = self.x.offsets(None, self.fit_intercept)
        edges = self.x.edges
        sums = torch.stack([dual[a:b].sum(0) for a, b in pairwise(edges)])
        return torch.addmm(offsets.T.to(dual.dtype) @ sums, self.x.rows.T, dual)


Form = PrimalForm | DualForm


def diagonalize(matrix: Float[Tensor, "n n"], dtype: torch.dtype) -> Spectrum:
    """Diagonalise a symmetric matrix, drop its null eigenvalues and return the eigenvectors as `dtype`."""
    values, vectors = torch.linalg.eigh(matrix)
    limits = torch.finfo(values.dtype)
    floor = NULL_UNITS[values.dtype] * limits.eps * values[-1].clamp_min(limits.tiny)
    first = int(torch.searchsorted(values, floor, right=True))
    return Spectrum(values[first:].flip(0).double(), vectors[:, first:].flip(1).to(dtype))


def _fold_system(
    spectrum: Spectrum, test: Float[Tensor, "n_test rank"], offset: Float[Tensor, "rank"]
) -> FoldSystem:
    tall = test.shape[0] > TALL * test.shape[1]
    factor = torch.linalg.qr(test, mode="r").R if tall else test
    return FoldSystem(spectrum, test, factor, tall, offset)


def _fold_targets(
    form: Form, y: Blocks, k: int, z: Float[Tensor, "n_voxels rank"], system: FoldSystem
) -> FoldTargets:
    _, offsets = y.offsets(k, form.fit_intercept)
    block = y.within[k]
    return FoldTargets(z, block.T @ system.test, block.square().sum(0), offsets[k].to(z.dtype))


def _shrink(
    rotated: Float[Tensor, "n_voxels rank"], spectrum: Spectrum, alphas: Float64[Tensor, "n_voxels"]
) -> Float[Tensor, "n_voxels rank"]:
    rotated /= (spectrum.eigenvalues + alphas[:, None]).to(rotated.dtype)
    return rotated
