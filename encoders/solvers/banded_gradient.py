"""Penalties per band and voxel by descent on the held-out error.

The inner score of a voxel is a smooth function of the logarithms of its penalties, and its gradient costs one more
linear system a fold (implicit differentiation: Bengio 2000, Neural Computation 12; for banded ridge Dupré la Tour et
al. 2022). With A = X'X + diag(alpha) over the training rows, w = A^-1 X'y, and the held-out error r of n rows,

    d (|r|^2 / n) / d log alpha_b = 2 / n alpha_b u_b' w_b,    A u = X_test' r.

Penalties move along the gradient within a radius that grows after a step which was better and shrinks after one which
was not; a step that is not better is not taken. A band wider than the samples is first rotated into the span of its
rows, which changes no prediction and no penalty.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from encoders.solvers.banded_forms import largest_eigenvalue
from encoders.solvers.blocks import Blocks, take_rows
from encoders.solvers.checks import IndexPairs
from encoders.solvers.conjugate_gradients import (
    Preconditioner,
    Rows,
    gather_rows,
    precondition,
    solve_systems,
)
from encoders.solvers.forms import FLOAT32_SHARE, diagonalize
from encoders.solvers.ridge import RidgeFit

# Steps of the descent, and the radii (in log penalty) that it begins with, never exceeds and stops at.
MAX_STEPS, FIRST_RADIUS, LARGEST_RADIUS, SMALLEST_RADIUS = 25, 1.0, 3.0, 0.1

# A step is taken if it adds this much to the score.
LEAST_GAIN = 1e-4

# Residuals at which systems are solved: for scores on the way, for the gradient, for the last score, for the refit.
SCORE_RESIDUAL, GRADIENT_RESIDUAL, FINAL_RESIDUAL = 5e-4, 2e-2, 2e-6
REFIT_RESIDUAL = {torch.float32: 2e-6, torch.float64: 1e-11}

# Penalties, as multiples of the band's largest eigenvalue: the least and the largest that the descent can reach, and
# the largest that it begins at, because hardly any gradient leads back from next to no weight.
LEAST_SHARE, LARGEST_SHARE, FIRST_SHARE = FLOAT32_SHARE, 1e4, 10.0

# Bytes of the solutions of one batch of voxels.
BATCH_BYTES = 128 * 2**20


class CompactFeatures:
    """The features, those of a band wider than the samples rotated into the span of its rows.

    Attributes
    ----------
    values : Tensor (n_samples, n_compact)
    band_of : Tensor (n_compact,)
    largest : Tensor (n_bands,)
        Largest eigenvalue of each band's Gram matrix; that of the whole for a band without variance.
    """

    def __init__(self, fit: RidgeFit, band_of: Int64[Tensor, "n_features"], n_bands: int) -> None:
        self.fit = fit
        everything = [np.arange(fit.n_samples)]
        blocks = Blocks(fit.x, everything, fit.device, fit.dtype)
        rows = blocks.rows + blocks.offsets(None, fit.fit_intercept)[1].to(fit.dtype)
        self.columns = [(band_of == band).nonzero()[:, 0] for band in range(n_bands)]
        self.rotations: list[Tensor | None] = []
        values, largest = [], []
        for columns in self.columns:
            band = rows[:, columns]
            wide = band.double()
            if len(columns) <= fit.n_samples:
                self.rotations.append(None)
                largest.append(largest_eigenvalue(wide.T @ wide))
            else:
                kernel = wide @ wide.T
                spectrum = diagonalize(kernel, torch.float64)
                size = spectrum.eigenvalues.sqrt()
                self.rotations.append((wide.T @ (spectrum.basis / size)).to(fit.dtype))
                band = (spectrum.basis * size).to(fit.dtype)
                largest.append(largest_eigenvalue(kernel))
            values.append(band)
        self.values = torch.cat(values, 1)
        counts = torch.tensor([band.shape[1] for band in values], device=fit.device)
        self.band_of = torch.repeat_interleave(torch.arange(n_bands, device=fit.device), counts)
        found = torch.stack(largest)
        total = found.max() if bool(found.max() > 0) else torch.ones_like(found.max())
        self.largest = torch.where(found > 0, found, total)

    def rows(self, train: np.ndarray, test: np.ndarray) -> Rows:
        """Return the rows of a fold."""
        return gather_rows(*self._centred(self.values, train, test))

    def responses(
        self, voxels: Int64[Tensor, "n_part"], train: np.ndarray, test: np.ndarray
    ) -> tuple[Float[Tensor, "n_train n_part"], Float[Tensor, "n_test n_part"]]:
        """Return the responses of a fold, less the mean of the training rows."""
        return self._centred(self.fit.y[:, voxels.to(self.fit.y.device)], train, test)

    def _centred(self, values: Tensor, train: np.ndarray, test: np.ndarray) -> tuple[Tensor, Tensor]:
        blocks = Blocks(values, [train], self.fit.device, self.fit.dtype)
        mean, offsets = blocks.offsets(None, self.fit.fit_intercept)
        held_out = take_rows(values, test).to(self.fit.device)
        return blocks.rows + offsets.to(self.fit.dtype), (held_out - mean).to(self.fit.dtype)

    def keep(self, w: Float[Tensor, "n_part n_compact"], voxels: Int64[Tensor, "n_part"]) -> None:
        """Write coefficients into the fit, rotated back to the features, and the intercepts that go with them."""
        fit = self.fit
        for band, (columns, rotation) in enumerate(zip(self.columns, self.rotations, strict=True)):
            part = w[:, self.band_of == band].T
            fit.coef[columns[:, None], voxels] = part if rotation is None else rotation @ part
        if fit.fit_intercept:
            responses = fit.y[:, voxels.to(fit.y.device)]
            x_mean, y_mean = (each.double().mean(0).to(fit.device) for each in (fit.x, responses))
            fit.intercept[voxels] = (y_mean - x_mean @ fit.coef[:, voxels].double()).to(fit.dtype)


@dataclass
class Descent:
    """Descent of a batch of voxels that share their preconditioners.

    Attributes
    ----------
    rows : list of Rows, one a fold
    preconditioners : list of Preconditioner, one a fold
    y : list of (Tensor (n_train, n_voxels), Tensor (n_test, n_voxels)), one a fold
    band_of : Tensor (n_features,)
    largest : Tensor (n_bands,)
    """

    rows: list[Rows]
    preconditioners: list[Preconditioner]
    y: list[tuple[Tensor, Tensor]]
    band_of: Int64[Tensor, "n_features"]
    largest: Float64[Tensor, "n_bands"]

    def __post_init__(self) -> None:
        self.right = [train.T @ rows.train for rows, (train, _) in zip(self.rows, self.y, strict=True)]
        self.null = torch.stack([test.square().mean(0) for _, test in self.y]).sum(0)
        # Solutions of the systems of score and gradient, where the next ones begin.
        self.w: list[Tensor] = []
        self.u = [torch.zeros_like(right) for right in self.right]

    def run(
        self, log_penalties: Float64[Tensor, "n_voxels n_bands"]
    ) -> tuple[Float64[Tensor, "n_voxels n_bands"], Float[Tensor, "n_voxels"]]:
        """Return the penalties that the descent ended at, and the inner R2 there."""
        least, most = (LEAST_SHARE * self.largest).log(), (LARGEST_SHARE * self.largest).log()
        at = log_penalties.clamp(least, most)
        voxels = torch.arange(len(at), device=at.device)
        score, self.w = self._score(at, voxels, SCORE_RESIDUAL)
        gradient = self._gradient(at, voxels)
        radius = torch.full((len(at), 1), FIRST_RADIUS, dtype=at.dtype, device=at.device)
        for _ in range(MAX_STEPS):
            size = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            voxels = ((radius >= SMALLEST_RADIUS) & (size > 0))[:, 0].nonzero()[:, 0]
            if not len(voxels):
                break
            there = (at[voxels] + (radius * gradient / size)[voxels]).clamp(least, most)
            reached, w = self._score(there, voxels, SCORE_RESIDUAL)
            better = reached > score[voxels] + LEAST_GAIN
            radius[voxels] *= torch.where(better, 1.5, 1 / 3)[:, None]
            radius.clamp_max_(LARGEST_RADIUS)
            voxels = voxels[better]
            if len(voxels):
                at[voxels], score[voxels] = there[better], reached[better]
                for kept, found in zip(self.w, w, strict=True):
                    kept[voxels] = found[better]
                gradient[voxels] = self._gradient(at[voxels], voxels)
        return at, self._score(at, torch.arange(len(at), device=at.device), FINAL_RESIDUAL)[0]

    def _score(
        self,
        log_penalties: Float64[Tensor, "n_part n_bands"],
        voxels: Int64[Tensor, "n_part"],
        residual: float,
    ) -> tuple[Float[Tensor, "n_part"], list[Tensor]]:
        penalties = self._spread(log_penalties)
        errors, found = torch.zeros_like(self.null[voxels]), []
        for k, (rows, ready) in enumerate(zip(self.rows, self.preconditioners, strict=True)):
            start = self.w[k][voxels] if self.w else None
            w = solve_systems(rows, ready, penalties, self.right[k][voxels], start, residual)
            errors += (self.y[k][1][:, voxels] - rows.test @ w.T).square().mean(0)
            found.append(w)
        return 1 - errors / self.null[voxels], found

    def _gradient(
        self, log_penalties: Float64[Tensor, "n_part n_bands"], voxels: Int64[Tensor, "n_part"]
    ) -> Float64[Tensor, "n_part n_bands"]:
        """Return the gradient of the score with respect to the log penalties, at the solutions kept in `w`."""
        penalties = self._spread(log_penalties)
        products = torch.zeros_like(penalties)
        for k, (rows, ready) in enumerate(zip(self.rows, self.preconditioners, strict=True)):
            w = self.w[k][voxels]
            error = self.y[k][1][:, voxels] - rows.test @ w.T
            u = solve_systems(
                rows, ready, penalties, error.T @ rows.test, self.u[k][voxels], GRADIENT_RESIDUAL
            )
            self.u[k][voxels] = u
            products += u * w / len(error)
        slopes = torch.zeros_like(log_penalties).index_add_(1, self.band_of, (products * penalties).double())
        return -2 * slopes / self.null[voxels, None]

    def _spread(self, log_penalties: Float64[Tensor, "n_part n_bands"]) -> Float[Tensor, "n_part n_features"]:
        return log_penalties.exp().to(self.null.dtype)[:, self.band_of]


def descend(
    fit: RidgeFit,
    folds: IndexPairs,
    band_of: Int64[Tensor, "n_features"],
    draw: Int64[Tensor, "n_voxels"],
    penalties: Float64[Tensor, "n_bands n_voxels"],
    scores: Float[Tensor, "n_voxels"],
) -> Float[Tensor, "n_voxels"]:
    """Go on from the random search, and refit the voxels whose inner score got better.

    Parameters
    ----------
    fit : RidgeFit
        Data and solution of the random search; coefficients of better voxels are replaced in place.
    folds : list of (train, test)
    band_of : Tensor (n_features,)
        Band of each feature.
    draw : Tensor (n_voxels,)
        Draw that each voxel chose. Voxels of a draw share their preconditioners.
    penalties : Tensor (n_bands, n_voxels)
        Penalties that each voxel chose; those of better voxels are replaced in place.
    scores : Tensor (n_voxels,)
        R2 that each voxel has reached on the inner folds.

    Returns
    -------
    Tensor (n_voxels,)
        R2 of the inner folds at the final penalties, nowhere less than `scores`.
    """
    features = CompactFeatures(fit, band_of, len(penalties))
    rows = [features.rows(train, test) for train, test in folds]
    everything = np.arange(fit.n_samples)
    all_rows = features.rows(everything, everything[:1])
    size = features.values.shape[1] * features.values.element_size()
    batch = max(64, BATCH_BYTES // (size * (3 * len(folds) + 8)))
    final = scores.clone()
    for number in draw.unique().tolist():
        voxels = ((draw == number) & ~fit.constant).nonzero()[:, 0]
        if not len(voxels):
            continue
        start = torch.minimum(penalties[:, voxels].T, FIRST_SHARE * features.largest).log()
        weights = (-start.mean(0)).exp()[features.band_of]
        ready, ready_for_all = [precondition(each, weights) for each in rows], None
        for part, begin in zip(voxels.split(batch), start.split(batch), strict=True):
            y = [features.responses(part, train, test) for train, test in folds]
            descent = Descent(rows, ready, y, features.band_of, features.largest)
            log_penalties, reached = descent.run(begin)
            better = reached > scores[part]
            if not bool(better.any()):
                continue
            part, log_penalties = part[better], log_penalties[better]
            final[part], penalties[:, part] = reached[better], log_penalties.exp().T
            fit.alphas[part] = 1 / (-log_penalties).exp().sum(1)
            if ready_for_all is None:
                ready_for_all = precondition(all_rows, weights)
            right = features.responses(part, everything, everything[:1])[0].T @ all_rows.train
            spread = log_penalties.exp().to(fit.dtype)[:, features.band_of]
            residual = REFIT_RESIDUAL[fit.dtype]
            features.keep(solve_systems(all_rows, ready_for_all, spread, right, None, residual), part)
    return final
