"""Both forms of ridge regression with the features of each band scaled by a weight of its own.

With a weight g_b a band, a penalty alpha / g_b on the coefficients of band b is the penalty alpha on those of
features scaled by sqrt(g_b) (Nunez-Elizalde, Huth & Gallant 2019). Gram matrices and kernels are therefore taken
once: weights rescale the rows and columns of a Gram matrix, D G D with D = sqrt(g), and sum the kernels of the bands,
sum_b g_b K_b (Dupré la Tour, Eickenberg, Nunez-Elizalde & Gallant 2022). A basis Q of D G D is kept as D Q, so that
features, products of features and responses, and coefficients stay as they are.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from encoders.solvers.blocks import Blocks
from encoders.solvers.forms import FLOAT32_SHARE, DualForm, FoldSystem, PrimalForm, Spectrum, diagonalize


@dataclass(frozen=True)
class WeightedSpectrum(Spectrum):
    """Spectrum of a weighted sum of kernels, with the weight of each feature."""

    weights: Float[Tensor, "n_features"]


class BandedPrimal(PrimalForm):
    """Gram matrices of the training rows, rescaled by the weights of the bands.

    Parameters
    ----------
    x : Blocks
    fit_intercept : bool
    band_of : Tensor (n_features,)
        Number of the band of each feature.
    n_bands : int
    tests : list of int
        Blocks that are the test set of a fold.

    Attributes
    ----------
    largest : Tensor (n_bands,), float64
        Largest eigenvalue of each band's own Gram matrix.
    """

    def __init__(
        self,
        x: Blocks,
        fit_intercept: bool,
        band_of: Int64[Tensor, "n_features"],
        n_bands: int,
        tests: list[int],
    ) -> None:
        super().__init__(x, fit_intercept)
        self.band_of = band_of
        grams, total = self.grams_within()
        self.grams = {k: self.add_means(grams[k], k) for k in tests}
        self.total = self.add_means(total, None)
        columns = [(band_of == band).nonzero()[:, 0] for band in range(n_bands)]
        self.largest = torch.stack([largest_eigenvalue(self.total[c][:, c]) for c in columns])

    def fold(self, weights: Float64[Tensor, "n_bands"], k: int, smallest_alpha: float) -> FoldSystem:
        """Diagonalise the fold that leaves out block k, as precisely as the smallest penalty asks for."""
        dtype = _precision(self, weights, smallest_alpha)
        return self.fold_system(self._weighted(self.grams[k], weights, smallest_alpha, dtype), k)

    def all_rows(self, weights: Float64[Tensor, "n_bands"], smallest_alpha: float) -> Spectrum:
        """Diagonalise the Gram matrix of all rows in float64, for the refit."""
        return self._weighted(self.total, weights, smallest_alpha, torch.float64)

    def _weighted(
        self,
        gram: Float64[Tensor, "n_features n_features"],
        weights: Float64[Tensor, "n_bands"],
        smallest_alpha: float,
        dtype: torch.dtype,
    ) -> Spectrum:
        matters = _matters(self, weights, smallest_alpha)[self.band_of]
        scale = weights.sqrt()[self.band_of]
        if bool(matters.all()):
            spectrum = diagonalize((scale[:, None] * gram * scale).to(dtype), self.x.rows.dtype)
            return Spectrum(spectrum.eigenvalues, spectrum.basis * scale[:, None].to(spectrum.basis.dtype))
        kept = matters.nonzero()[:, 0]
        scale = scale[kept]
        spectrum = diagonalize((scale[:, None] * gram[kept][:, kept] * scale).to(dtype), self.x.rows.dtype)
        basis = spectrum.basis.new_zeros((len(gram), spectrum.basis.shape[1]))
        basis[kept] = spectrum.basis * scale[:, None].to(basis.dtype)
        return Spectrum(spectrum.eigenvalues, basis)


class BandedDual(DualForm):
    """Kernels of the bands, summed with their weights.

    Parameters and attributes as of `BandedPrimal`.
    """

    def __init__(
        self,
        x: Blocks,
        fit_intercept: bool,
        band_of: Int64[Tensor, "n_features"],
        n_bands: int,
        tests: list[int],
    ) -> None:
        super().__init__(x, fit_intercept)
        self.band_of = band_of
        self.within = []
        self.of_means: dict[int | None, list[tuple[Tensor, Tensor]]] = {k: [] for k in [*tests, None]}
        largest = []
        for band in range(n_bands):
            columns = (band_of == band).nonzero()[:, 0]
            wide = x.rows[:, columns].double()
            self.within.append(wide @ wide.T)
            for left_out, parts in self.of_means.items():
                parts.append(self.kernels_of_means(wide, left_out, columns))
            projected, between = self.of_means[None][-1]
            owner = self._owner
            centred = self.within[-1] + projected[:, owner] + projected[:, owner].T + between[owner][:, owner]
            largest.append(largest_eigenvalue(centred))
        self.largest = torch.stack(largest)

    def fold(self, weights: Float64[Tensor, "n_bands"], k: int, smallest_alpha: float) -> FoldSystem:
        """Diagonalise the fold that leaves out block k, as precisely as the smallest penalty asks for."""
        dtype = _precision(self, weights, smallest_alpha)
        return self.fold_system(*self._weighted(weights, k, smallest_alpha), k, dtype)

    def all_rows(self, weights: Float64[Tensor, "n_bands"], smallest_alpha: float) -> Spectrum:
        """Diagonalise the kernel of all rows in float64, for the refit."""
        spectrum, _, _ = self.spectrum(*self._weighted(weights, None, smallest_alpha), None, torch.float64)
        matters = _matters(self, weights, smallest_alpha)
        weights = torch.where(matters, weights, torch.zeros_like(weights))
        features = weights[self.band_of].to(spectrum.basis.dtype)
        return WeightedSpectrum(spectrum.eigenvalues, spectrum.basis, features)

    def _weighted(
        self, weights: Float64[Tensor, "n_bands"], left_out: int | None, smallest_alpha: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        kept = _matters(self, weights, smallest_alpha).nonzero()[:, 0].tolist()
        within, projected, between = (
            torch.zeros_like(part) for part in (self.within[0], *self.of_means[left_out][0])
        )
        for b in kept:
            within.add_(self.within[b], alpha=float(weights[b]))
            projected.add_(self.of_means[left_out][b][0], alpha=float(weights[b]))
            between.add_(self.of_means[left_out][b][1], alpha=float(weights[b]))
        return within, projected, between

    def coefficients(
        self, prepared: Any, spectrum: Spectrum, alphas: Float64[Tensor, "n_voxels"]
    ) -> Float[Tensor, "n_features n_voxels"]:
        """Return coefficients (n_features, n_voxels) at one penalty a voxel."""
        assert isinstance(spectrum, WeightedSpectrum)
        return super().coefficients(prepared, spectrum, alphas) * spectrum.weights[:, None]


BandedForm = BandedPrimal | BandedDual


def _precision(form: BandedForm, weights: Float64[Tensor, "n_bands"], smallest_alpha: float) -> torch.dtype:
    """Choose the precision of a fold as `forms.fold_precision`, by a bound of the largest eigenvalue."""
    largest = float(weights @ form.largest)
    single = form.x.rows.dtype == torch.float32 and smallest_alpha >= FLOAT32_SHARE * largest
    return torch.float32 if single else torch.float64


def _matters(
    form: BandedForm, weights: Float64[Tensor, "n_bands"], smallest_alpha: float
) -> Bool[Tensor, "n_bands"]:
    """Tell which bands add more than rounding error to any prediction.

    Draws far from even give some bands next to no weight; the matrices are then smaller without them.
    """
    reach = weights * form.largest
    matters = reach > torch.finfo(form.x.rows.dtype).eps * smallest_alpha
    matters[reach.argmax()] = True  # a matrix is never empty
    return matters


def largest_eigenvalue(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, ""]:
    """Return the largest eigenvalue of a matrix without negative ones, by a few steps of power iteration."""
    vector = matrix[matrix.diagonal().argmax()]
    for _ in range(8):
        vector = matrix @ (
            vector / torch.linalg.vector_norm(vector).clamp_min(torch.finfo(vector.dtype).tiny)
        )
    return torch.linalg.vector_norm(vector)
