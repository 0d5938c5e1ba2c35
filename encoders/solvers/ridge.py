"""Ridge regression with a penalty per voxel, chosen by cross-validation.

For all voxels at once: Gram matrices (or one kernel) of the blocks that the folds are made of, one symmetric
eigendecomposition a fold, one matrix product a penalty, one refit. `blocks` says how training folds are centred,
`forms` what primal and dual share, `search` how penalties are scored.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from encoders.solvers.blocks import Blocks, Layout, arrange_folds
from encoders.solvers.checks import (
    Folds,
    as_tensor,
    check_alphas,
    check_choice,
    check_device,
    check_finite,
    check_same_rows,
    constant_columns,
    working_dtype,
)
from encoders.solvers.folds import resolve_folds
from encoders.solvers.forms import DualForm, Form, PrimalForm, Spectrum, fold_precision
from encoders.solvers.search import FoldSearch

Array = Any
Solver = Literal["auto", "primal", "dual"]
Search = Literal["full", "interpolate"]
Score = Literal["r2", "correlation"]

# Error allowed to predictions at penalties between those evaluated, as a share of their size.
TOLERANCES = {"full": 0.0, "interpolate": 3e-4}

# Bytes that the arrays of one chunk of voxels may take, unless target_chunk says otherwise.
CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class RidgeSolution:
    """A ridge regression per voxel.

    Arrays are NumPy arrays, or tensors on the solver's device where Y was a tensor.

    Attributes
    ----------
    alphas_ : (n_voxels,)
        Penalty of each voxel, float64.
    coef_ : (n_features, n_voxels)
    intercept_ : (n_voxels,)
    cv_scores_ : (n_alphas, n_voxels) or None
        Mean held-out score, rows in the order of the penalties given; None where the penalty was fixed.
    solver : {"primal", "dual"}
        The form that was used.
    voxel_chunk : int
        Voxels that were worked on at once.
    """

    alphas_: Float[Array, "n_voxels"]
    coef_: Float[Array, "n_features n_voxels"]
    intercept_: Float[Array, "n_voxels"]
    cv_scores_: Float[Array, "n_alphas n_voxels"] | None
    solver: str
    voxel_chunk: int

    def predict(self, X: Array) -> Float[Array, "n_samples n_voxels"]:
        """Return predictions (n_samples, n_voxels) for features X (n_samples, n_features)."""
        features = as_tensor(X, "X")
        if isinstance(self.coef_, Tensor):
            return features.to(self.coef_) @ self.coef_ + self.intercept_
        return features.cpu().numpy().astype(self.coef_.dtype, copy=False) @ self.coef_ + self.intercept_


def solve_ridge_cv(
    X: Array,
    Y: Array,
    alphas: Array,
    folds: Folds = 5,
    *,
    groups: Array | None = None,
    fit_intercept: bool = True,
    solver: Solver = "auto",
    search: Search = "full",
    score: Score = "r2",
    device: str | torch.device = "cpu",
    dtype: Any = None,
    target_chunk: int | None = None,
) -> RidgeSolution:
    """Fit ridge regression with a penalty per voxel, chosen by K-fold cross-validation.

    Minimises |y - X b - c|^2 + alpha |b|^2 for each voxel (Hoerl & Kennard 1970) at the penalty with the best mean
    held-out score, on all samples. Nothing of a fold's test rows enters its fit, the means included.

    Parameters
    ----------
    X : array-like (n_samples, n_features)
        Features: NumPy array or tensor. They are centred, not scaled. Constant features get weight 0.
    Y : array-like (n_samples, n_voxels)
        Responses. A constant voxel gets weights 0, the largest penalty and NaN scores.
    alphas : array-like (n_alphas,)
        Penalties, positive, in any order. Of penalties with equal scores the largest is chosen.
    folds : int or list of (train, test)
        Number of contiguous folds, or row numbers (or masks) of each. Test rows may be in no fold, or in several.
    groups : array-like (n_samples,), optional
        Run, or repeated stimulus, of each row: a group is never divided between train and test.
    fit_intercept : bool
        Centre X and Y by the means of each training fold.
    solver : {"auto", "primal", "dual"}
        Gram matrix of the features, or kernel of the samples. Every cost of either form but those that they share
        grows with the side of its matrix, so "auto" takes the smaller one: primal if there are no more features
        than rows in a training fold.
    search : {"full", "interpolate"}
        "full" computes held-out predictions at every penalty. "interpolate" computes them at as few penalties as
        give those at the others to within 3e-4 of their size (see `search.skeleton`), or at all of them
        where that saves less than a third.
    score : {"r2", "correlation"}
        "r2" is 1 - (mean squared held-out error) / (that of the mean of the training fold), both averaged over the
        folds first: it ranks penalties as the mean squared error does, keeps meaning with folds of one sample, and
        is 0 for a model that knows no more than the mean. "correlation" is the mean over folds of Pearson's r, a
        fold in which predictions or responses are constant counting 0.
    device : str or torch.device
    dtype : {None, "float32", "float64"}
        Precision of data and products; None takes the wider of X and Y. Where a small penalty needs it, matrices
        are diagonalised in float64 all the same.
    target_chunk : int, optional
        Voxels worked on at once. By default as many as 32 MiB of working arrays serve.

    Returns
    -------
    RidgeSolution

    Raises
    ------
    TypeError
        If X or Y does not hold real numbers.
    ValueError
        If X or Y holds NaN or infinite entries, if shapes disagree, if there are too few samples or groups for the
        folds, if a test set shares rows with its training set, or for unknown words or penalties that are not
        positive.

    Notes
    -----
    Beside the data, memory holds one matrix of the smaller side squared for each fold.
    """
    check_choice("search", search, tuple(TOLERANCES))
    check_choice("score", score, ("r2", "correlation"))
    grid = check_alphas(alphas)
    fit = RidgeFit(X, Y, fit_intercept, device, dtype, target_chunk)
    pairs = resolve_folds(fit.n_samples, folds, groups)
    form_name = choose_form(min(train.size for train, _ in pairs), fit.x.shape[1], solver)
    penalties = torch.from_numpy(grid).to(fit.device)
    scores = torch.zeros((fit.n_voxels, grid.size), dtype=fit.dtype, device=fit.device)
    null = torch.zeros(fit.n_voxels, dtype=fit.dtype, device=fit.device)
    layouts = arrange_folds(fit.n_samples, pairs)
    fit.voxel_chunk = target_chunk or chunk_width(
        fit.n_samples, fit.x.shape[1], fit.n_voxels, layouts, fit.dtype
    )
    # Blocks that hold every sample serve the refit too: each chunk of voxels is then read only once.
    refit_here = len(layouts) == 1 and layouts[0].complete
    for layout in layouts:
        form = fit.form(form_name, layout)
        precision = fold_precision(form.x, float(grid.min()), fit_intercept)
        systems, spectrum = form.diagonalize(layout.tests, refit_here, precision)
        searches = {k: FoldSearch(systems[k], penalties, TOLERANCES[search]) for k in systems}
        for part, blocks in fit.chunks(layout):
            prepared = form.prepare(blocks)
            for k, system in systems.items():
                targets = form.rotate(blocks, prepared, k, system)
                if score == "r2":
                    scores[part] += searches[k].gains(targets)
                    null[part] += targets.sum_squares / system.n_test + targets.offset.square()
                else:
                    scores[part] += searches[k].correlations(targets)
            if refit_here:
                best = choose_penalty(scores[part], penalties, fit.constant[part])
                fit.refit(form, prepared, blocks, spectrum, part, penalties[best])
    if not refit_here:
        fit.refit_all(form_name, penalties[choose_penalty(scores, penalties, fit.constant)])
    scores /= null[:, None] if score == "r2" else len(pairs)
    scores[fit.constant] = torch.nan
    return fit.solution(scores.T.contiguous(), form_name)


def solve_ridge(
    X: Array,
    Y: Array,
    alpha: Array,
    *,
    fit_intercept: bool = True,
    solver: Solver = "auto",
    device: str | torch.device = "cpu",
    dtype: Any = None,
    target_chunk: int | None = None,
) -> RidgeSolution:
    """Fit ridge regression at a given penalty, without cross-validation.

    Parameters
    ----------
    X, Y, fit_intercept, solver, device, dtype, target_chunk
        As in `solve_ridge_cv`.
    alpha : float or array-like (n_voxels,)
        Penalty of all voxels, or of each; positive.

    Returns
    -------
    RidgeSolution
        With `cv_scores_` None.

    Raises
    ------
    TypeError, ValueError
        As `solve_ridge_cv`, and if the number of penalties is neither one nor that of the voxels.
    """
    grid = check_alphas(alpha)
    fit = RidgeFit(X, Y, fit_intercept, device, dtype, target_chunk)
    if grid.size not in (1, fit.n_voxels):
        raise ValueError(f"alpha has {grid.size} values; give one, or one for each of {fit.n_voxels} voxels")
    form_name = choose_form(fit.n_samples, fit.x.shape[1], solver)
    layouts = [Layout([np.arange(fit.n_samples)], [], fit.n_samples)]
    fit.voxel_chunk = target_chunk or chunk_width(
        fit.n_samples, fit.x.shape[1], fit.n_voxels, layouts, fit.dtype
    )
    fit.refit_all(form_name, torch.from_numpy(grid).to(fit.device).expand(fit.n_voxels))
    return fit.solution(None, form_name)


def chunk_width(
    n_samples: int, n_features: int, n_voxels: int, layouts: list[Layout], dtype: torch.dtype
) -> int:
    """Choose how many voxels to work on at once: chunks of equal size, whose arrays take some `CHUNK_BYTES`."""
    n_blocks = max(len(layout.row_sets) for layout in layouts)
    columns = 2 * n_blocks * min(n_samples, n_features) + 2 * n_samples
    most = max(128, CHUNK_BYTES // (columns * dtype.itemsize))
    return math.ceil(n_voxels / math.ceil(n_voxels / most))


def choose_form(n_train: int, n_features: int, solver: Solver = "auto") -> Literal["primal", "dual"]:
    """Choose the form with the smaller matrix, unless one is named."""
    check_choice("solver", solver, ("auto", "primal", "dual"))
    if solver != "auto":
        return solver
    return "primal" if n_features <= n_train else "dual"


def choose_penalty(
    scores: Float[Tensor, "n_voxels n_alphas"],
    alphas: Float64[Tensor, "n_alphas"],
    constant: Bool[Tensor, "n_voxels"],
) -> Int64[Tensor, "n_voxels"]:
    """Return the number of the penalty with the best score for each voxel.

    Of equal scores the largest penalty wins, and for a constant voxel the largest of all.
    """
    order = torch.argsort(alphas, descending=True, stable=True)
    ranked = torch.where(constant[:, None], torch.zeros_like(scores), scores[:, order])
    return order[ranked.argmax(1)]


class RidgeFit:
    """The data of one call, checked, and the arrays that it fills in."""

    def __init__(
        self,
        X: Array,
        Y: Array,
        fit_intercept: bool,
        device: str | torch.device,
        dtype: Any,
        target_chunk: int | None,
    ) -> None:
        self.x, self.y = as_tensor(X, "X"), as_tensor(Y, "Y")
        check_same_rows(self.x, self.y)
        check_finite(self.x, "X")
        check_finite(self.y, "Y")
        if target_chunk is not None and target_chunk < 1:
            raise ValueError(f"target_chunk is {target_chunk}; it must be at least 1")
        self.n_samples, self.n_voxels = self.y.shape
        self.returns_tensors = isinstance(Y, Tensor)
        self.device, self.dtype = check_device(device), working_dtype(self.x, self.y, dtype)
        self.fit_intercept, self.target_chunk = fit_intercept, target_chunk
        self.voxel_chunk = target_chunk or self.n_voxels
        # Without an intercept a constant voxel is a voxel like any other.
        self.constant = constant_columns(self.y).to(self.device) & fit_intercept
        self.alphas = torch.empty(self.n_voxels, dtype=torch.float64, device=self.device)
        self.coef = torch.empty((self.x.shape[1], self.n_voxels), dtype=self.dtype, device=self.device)
        self.intercept = torch.empty(self.n_voxels, dtype=self.dtype, device=self.device)

    def form(self, name: str, layout: Layout) -> Form:
        blocks = Blocks(self.x, layout.row_sets, self.device, self.dtype)
        return (PrimalForm if name == "primal" else DualForm)(blocks, self.fit_intercept)

    def chunks(self, layout: Layout) -> Iterator[tuple[slice, Blocks]]:
        for start in range(0, self.n_voxels, self.voxel_chunk):
            part = slice(start, min(start + self.voxel_chunk, self.n_voxels))
            yield part, Blocks(self.y[:, part], layout.row_sets, self.device, self.dtype)

    def refit(
        self,
        form: Form,
        prepared: Any,
        y: Blocks,
        spectrum: Spectrum | None,
        part: slice | Int64[Tensor, "n_chunk"],
        alphas: Float64[Tensor, "n_chunk"],
    ) -> None:
        assert spectrum is not None
        coef = form.coefficients(prepared, spectrum, alphas)
        coef[:, self.constant[part]] = 0
        x_mean, _ = form.x.offsets(None, self.fit_intercept)
        y_mean, _ = y.offsets(None, self.fit_intercept)
        self.alphas[part] = alphas
        self.coef[:, part] = coef
        self.intercept[part] = (y_mean - x_mean @ coef.double()).to(self.dtype)

    def refit_all(self, form_name: str, alphas: Float64[Tensor, "n_voxels"]) -> None:
        layout = Layout([np.arange(self.n_samples)], [], self.n_samples)
        form = self.form(form_name, layout)
        _, spectrum = form.diagonalize([], True, torch.float64)
        for part, blocks in self.chunks(layout):
            self.refit(form, form.prepare(blocks), blocks, spectrum, part, alphas[part])

    def solution(self, scores: Float[Tensor, "n_alphas n_voxels"] | None, form_name: str) -> RidgeSolution:
        def give(values: Tensor) -> Array:
            return values if self.returns_tensors else values.cpu().numpy()

        return RidgeSolution(
            give(self.alphas),
            give(self.coef),
            give(self.intercept),
            None if scores is None else give(scores),
            form_name,
            self.voxel_chunk,
        )
