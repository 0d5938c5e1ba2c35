"""Ridge regression with a penalty per band of features and voxel, chosen by cross-validation.

Random search (Dupré la Tour et al. 2022): weights of the bands are drawn from Dirichlet distributions; for every draw
each voxel tries a grid of overall penalties, and keeps the best pair. Gram matrices, kernels and products of features
and responses are computed once for all draws (`banded_forms`), a draw costs one eigendecomposition a fold and the
products of `search.FoldSearch`. `banded_gradient` goes on from there.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from encoders.solvers.banded_draws import check_bands, check_gammas, draw_gammas
from encoders.solvers.banded_forms import BandedDual, BandedForm, BandedPrimal
from encoders.solvers.banded_gradient import descend
from encoders.solvers.blocks import Blocks, Layout, arrange_folds
from encoders.solvers.checks import Folds, check_alphas, check_choice
from encoders.solvers.folds import resolve_folds
from encoders.solvers.ridge import TOLERANCES, Array, RidgeFit, Score, Solver, choose_form, choose_penalty
from encoders.solvers.ridge import Search as PenaltySearch
from encoders.solvers.search import FoldSearch

Search = Literal["random", "gradient"]

# Bytes that the arrays of one batch of voxels may take at least, unless target_chunk says otherwise. Every batch
# decomposes the folds of every draw anew.
BATCH_BYTES = 256 * 2**20


@dataclass(frozen=True)
class BandedRidgeSolution:
    """A banded ridge regression per voxel.

    Arrays are NumPy arrays, or tensors on the solver's device where Y was a tensor.

    Attributes
    ----------
    alphas_ : (n_bands, n_voxels)
        Penalty of each band and voxel, float64; infinite for a band without weight.
    overall_alphas_ : (n_voxels,)
        Overall penalty of each voxel, one of those tried; where a gradient search went on from it, the alpha for
        which the weights alpha / alpha_b of the bands sum to 1.
    coef_ : (n_features, n_voxels)
    intercept_ : (n_voxels,)
    cv_scores_ : (n_draws, n_voxels) or (n_draws + 1, n_voxels)
        Mean held-out score of each draw at the overall penalty that suits the voxel best; after a gradient search a
        last row with the score at the penalties it ended at.
    gammas_ : (n_draws, n_bands)
        Weights of the bands that were tried.
    draw_ : (n_voxels,)
        Draw that each voxel chose.
    solver : {"primal", "dual"}
        The form that was used.
    """

    alphas_: Float[Array, "n_bands n_voxels"]
    overall_alphas_: Float[Array, "n_voxels"]
    coef_: Float[Array, "n_features n_voxels"]
    intercept_: Float[Array, "n_voxels"]
    cv_scores_: Float[Array, "n_rows n_voxels"]
    gammas_: Float[Array, "n_draws n_bands"]
    draw_: Int[Array, "n_voxels"]
    solver: str


def solve_banded_ridge_cv(
    X: Array,
    Y: Array,
    bands: Array,
    alphas: Array,
    folds: Folds = 5,
    *,
    groups: Array | None = None,
    gammas: Array | None = None,
    n_draws: int = 20,
    concentration: float | Sequence[float] = (0.1, 1.0),
    corners: bool = False,
    search: Search = "random",
    penalty_search: PenaltySearch = "interpolate",
    score: Score = "r2",
    fit_intercept: bool = True,
    solver: Solver = "auto",
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: Any = None,
    target_chunk: int | None = None,
) -> BandedRidgeSolution:
    """Fit ridge regression with a penalty per band and voxel, chosen by K-fold cross-validation.

    Minimises |y - sum_b X_b w_b - c|^2 + sum_b alpha_b |w_b|^2 for each voxel (Nunez-Elizalde, Huth & Gallant 2019)
    with alpha_b = alpha / gamma_b: gamma is one of the draws, alpha one of the overall penalties, and the pair has
    the voxel's best mean held-out score (Dupré la Tour et al. 2022). Nothing of a fold's test rows enters its fit.

    Parameters
    ----------
    X : array-like (n_samples, n_features)
        Features of all bands. They are centred, not scaled: the weights of two bands mean what they say when their
        features have comparable variances.
    Y : array-like (n_samples, n_voxels)
        Responses. A constant voxel gets weights 0, the largest penalty and NaN scores.
    bands : array-like of int (n_features,)
        Number of the band of each feature, from 0; no number may be left out.
    alphas : array-like (n_alphas,)
        Overall penalties, positive, in any order. Of penalties with equal scores the largest is chosen.
    folds, groups, fit_intercept, solver, score
        As in `solve_ridge_cv`.
    gammas : array-like (n_draws, n_bands), optional
        Weights to try instead of random ones; not negative, at least one positive in a row.
    n_draws, concentration, seed, corners
        Of the random weights, see `banded_draws.draw_gammas`. A single band has nothing to draw.
    search : {"random", "gradient"}
        "gradient" goes on from each voxel's best draw down the gradient of the held-out error with respect to the
        logarithms of its penalties, and stays with the draw unless the score got better (`banded_gradient`).
    penalty_search : {"interpolate", "full"}
        How overall penalties are scored: `search` of `solve_ridge_cv`.
    device : str or torch.device
    dtype : {None, "float32", "float64"}
        As in `solve_ridge_cv`.
    target_chunk : int, optional
        Voxels fitted at once. Every batch decomposes the folds of each draw anew, so a batch is by default as large
        as the matrices of all folds, and at least 256 MiB.

    Returns
    -------
    BandedRidgeSolution

    Raises
    ------
    TypeError, ValueError
        As `solve_ridge_cv`; if `bands` does not fit X, `gammas` has another shape or holds other values, or a
        gradient search is asked for with score="correlation".

    Notes
    -----
    Beside the data, memory holds one matrix of the features (primal) for each fold, or one of the samples (dual) for
    each band.
    """
    check_choice("search", search, ("random", "gradient"))
    check_choice("penalty_search", penalty_search, tuple(TOLERANCES))
    check_choice("score", score, ("r2", "correlation"))
    if search == "gradient" and score != "r2":
        raise ValueError(
            f'score is {score!r}; the gradient search follows the held-out error: use score="r2"'
        )
    grid = check_alphas(alphas)
    fit = RidgeFit(X, Y, fit_intercept, device, dtype, target_chunk)
    band_of = check_bands(bands, fit.x.shape[1])
    n_bands = int(band_of.max()) + 1
    if gammas is None:
        gammas = draw_gammas(n_draws if n_bands > 1 else 1, n_bands, concentration, seed, corners)
    weights = torch.from_numpy(check_gammas(gammas, n_bands)).to(fit.device)
    pairs = resolve_folds(fit.n_samples, folds, groups)
    form_name = choose_form(min(train.size for train, _ in pairs), fit.x.shape[1], solver)
    searcher = _RandomSearch(
        fit,
        torch.from_numpy(band_of).to(fit.device),
        weights,
        torch.from_numpy(grid).to(fit.device),
        arrange_folds(fit.n_samples, pairs),
        form_name,
        score,
        TOLERANCES[penalty_search],
    )
    for part in searcher.batches():
        searcher.search(part)
        searcher.refit(part)
    scores = searcher.scores
    penalties = (fit.alphas / weights[searcher.draw].T).contiguous()
    if search == "gradient":
        reached = scores.gather(0, searcher.draw[None])[0]
        final = descend(fit, pairs, searcher.band_of, searcher.draw, penalties, reached)
        scores = torch.cat([scores, final[None]])
    scores[:, fit.constant] = torch.nan

    def give(values: Tensor) -> Array:
        return values if fit.returns_tensors else values.cpu().numpy()

    return BandedRidgeSolution(
        give(penalties),
        give(fit.alphas),
        give(fit.coef),
        give(fit.intercept),
        give(scores),
        give(weights),
        give(searcher.draw),
        form_name,
    )


class _RandomSearch:
    """Scores of draws and overall penalties, and the refit of what each voxel chose."""

    def __init__(
        self,
        fit: RidgeFit,
        band_of: Int64[Tensor, "n_features"],
        weights: Float64[Tensor, "n_draws n_bands"],
        penalties: Float64[Tensor, "n_alphas"],
        layouts: list[Layout],
        form_name: str,
        score: Score,
        tolerance: float,
    ) -> None:
        self.fit, self.band_of, self.weights, self.penalties = fit, band_of, weights, penalties
        self.layouts, self.score, self.tolerance = layouts, score, tolerance
        self.smallest = float(penalties.min())
        self.kind = BandedPrimal if form_name == "primal" else BandedDual
        self.forms = [self._form(layout) for layout in layouts]
        # Blocks that hold every sample serve the refit too.
        if len(layouts) == 1 and layouts[0].complete:
            self.whole, self.whole_form = layouts[0], self.forms[0]
        else:
            self.whole = Layout([np.arange(fit.n_samples)], [], fit.n_samples)
            self.whole_form = self._form(self.whole)
        self.draw = torch.zeros(fit.n_voxels, dtype=torch.int64, device=fit.device)
        self.scores = torch.zeros((len(weights), fit.n_voxels), dtype=fit.dtype, device=fit.device)

    def _form(self, layout: Layout) -> BandedForm:
        blocks = Blocks(self.fit.x, layout.row_sets, self.fit.device, self.fit.dtype)
        return self.kind(blocks, self.fit.fit_intercept, self.band_of, self.weights.shape[1], layout.tests)

    def batches(self) -> Iterator[slice]:
        """Yield the voxels of each batch."""
        fit = self.fit
        step = fit.target_chunk
        if step is None:
            side = min(fit.x.shape)
            n_blocks = sum(len(layout.row_sets) + 1 for layout in self.layouts)
            columns = (n_blocks + 3) * side + 2 * fit.n_samples + 128 * len(self.penalties)
            matrices = n_blocks * side**2 * 8
            most = max(128, max(BATCH_BYTES, matrices) // (columns * fit.coef.element_size()))
            step = math.ceil(fit.n_voxels / math.ceil(fit.n_voxels / most))  # batches of equal size
        for start in range(0, fit.n_voxels, step):
            yield slice(start, min(start + step, fit.n_voxels))

    def search(self, part: slice) -> None:
        """Choose a draw and a penalty for each voxel of a batch."""
        fit, n_folds = self.fit, sum(len(layout.tests) for layout in self.layouts)
        constant = fit.constant[part]
        y = [Blocks(fit.y[:, part], layout.row_sets, fit.device, fit.dtype) for layout in self.layouts]
        prepared = [form.prepare(blocks) for form, blocks in zip(self.forms, y, strict=True)]
        best = torch.full((len(constant),), -torch.inf, dtype=fit.dtype, device=fit.device)
        for number, weights in enumerate(self.weights):
            scores = torch.zeros((len(constant), len(self.penalties)), dtype=fit.dtype, device=fit.device)
            null = torch.zeros(len(constant), dtype=fit.dtype, device=fit.device)
            for form, layout, blocks, products in zip(self.forms, self.layouts, y, prepared, strict=True):
                for k in layout.tests:
                    system = form.fold(weights, k, self.smallest)
                    search = FoldSearch(system, self.penalties, self.tolerance)
                    targets = form.rotate(blocks, products, k, system)
                    if self.score == "r2":
                        scores += search.gains(targets)
                        null += targets.sum_squares / system.n_test + targets.offset.square()
                    else:
                        scores += search.correlations(targets)
            scores /= null[:, None] if self.score == "r2" else n_folds
            chosen = choose_penalty(scores, self.penalties, constant)
            reached = scores.gather(1, chosen[:, None])[:, 0]
            self.scores[number, part] = reached
            better = (reached > best) | (number == 0)  # the first draw stands for voxels without a score
            best = torch.where(better, reached, best)
            self.draw[part] = torch.where(better, number, self.draw[part])
            fit.alphas[part] = torch.where(better, self.penalties[chosen], fit.alphas[part])

    def refit(self, part: slice) -> None:
        """Fit each voxel of a batch to all samples with what it chose."""
        fit = self.fit
        voxels = torch.arange(fit.n_voxels, device=fit.device)[part]
        for number in self.draw[part].unique().tolist():
            chosen = voxels[self.draw[part] == number]
            blocks = Blocks(fit.y[:, chosen.to(fit.y.device)], self.whole.row_sets, fit.device, fit.dtype)
            spectrum = self.whole_form.all_rows(self.weights[number], float(fit.alphas[chosen].min()))
            products = self.whole_form.prepare(blocks)
            fit.refit(self.whole_form, products, blocks, spectrum, chosen, fit.alphas[chosen])
