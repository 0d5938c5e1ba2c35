"""Ridge regression with a penalty per voxel, chosen by cross-validation.

For all voxels at once: one Gram matrix (or kernel) put together from the blocks of the folds, one symmetric
eigendecomposition a fold, one matrix product a penalty, one refit. See `blocks` for how training folds are centred,
`forms` for primal and dual, `search` for the scores.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from encoders.solvers import search as scoring
from encoders.solvers.blocks import Blocks, fold_blocks
from encoders.solvers.checks import (
    Folds,
    as_tensor,
    check_alphas,
    check_finite,
    check_same_rows,
    working_dtype,
)
from encoders.solvers.folds import resolve_folds
from encoders.solvers.forms import DualForm, FoldSystem, PrimalForm

Array = Any
Solver = Literal["auto", "primal", "dual"]
Score = Literal["r2", "correlation"]
Form = PrimalForm | DualForm

# Bytes that the arrays of one chunk of voxels may take, unless target_chunk says otherwise.
CHUNK_BYTES = 64 * 2**20


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
        Mean held-out score over the folds, rows in the order of the penalties given; NaN for a constant voxel. None
        where the penalty was fixed.
    solver : str
        "primal" or "dual": the form that was used.
    """

    alphas_: Array
    coef_: Array
    intercept_: Array
    cv_scores_: Array | None
    solver: str

    def predict(self, X: Array) -> Array:
        """Return predictions (n_samples, n_voxels) for features X (n_samples, n_features)."""
        if isinstance(self.coef_, Tensor):
            x = as_tensor(X, "X").to(device=self.coef_.device, dtype=self.coef_.dtype)
            return x @ self.coef_ + self.intercept_
        return np.asarray(X, dtype=self.coef_.dtype) @ self.coef_ + self.intercept_


def solve_ridge_cv(
    X: Array,
    Y: Array,
    alphas: Array,
    folds: Folds = 5,
    *,
    groups: Array | None = None,
    fit_intercept: bool = True,
    solver: Solver = "auto",
    score: Score = "r2",
    device: str | torch.device = "cpu",
    dtype: Any = None,
    target_chunk: int | None = None,
) -> RidgeSolution:
    """Fit ridge regression with a penalty per voxel, chosen by K-fold cross-validation.

    Minimises ||Y - X b - c||^2 + alpha ||b||^2 for each voxel (Hoerl & Kennard 1970) at the penalty with the best
    mean held-out score, and refits on all samples.
    """
    x, y, precision = _prepare(X, Y, dtype)
    grid = check_alphas(alphas)
    pairs = resolve_folds(x.shape[0], folds, groups)
    check_finite(x, "X")
    check_finite(y, "Y")
    place = torch.device(device)
    form_name = choose_form(x.shape[0], x.shape[1], solver)
    n_voxels = y.shape[1]
    penalties = torch.from_numpy(grid).to(place)
    errors = torch.zeros((n_voxels, grid.size), dtype=precision, device=place)
    null = torch.zeros(n_voxels, dtype=precision, device=place)
    layout = fold_blocks(x.shape[0], pairs)
    for row_sets, tests in layout:
        form = _make_form(form_name, x, row_sets, place, precision, fit_intercept)
        systems = {k: form.system(k) for k in tests}
        step = _chunk(target_chunk, form, n_voxels)
        for start in range(0, n_voxels, step):
            part = slice(start, min(start + step, n_voxels))
            blocks = Blocks(y[:, part], row_sets, place, precision)
            rotated, _ = form.rotate(blocks, systems)
            for k, system in systems.items():
                if score == "r2":
                    errors[part] += scoring.squared_errors(system, rotated[k], penalties)
                    null[part] += rotated[k].sum_squares / system.n_test + rotated[k].offset.square()
                else:
                    errors[part] += scoring.correlations(system, rotated[k], penalties)
    constant = _constant(y).to(place)
    scores = 1 - errors / null[:, None] if score == "r2" else errors / len(pairs)
    scores[constant] = torch.nan
    best = choose_penalty(scores, penalties)
    row_sets = layout[0][0] if len(layout) == 1 else [np.arange(x.shape[0])]
    form = _make_form(form_name, x, row_sets, place, precision, fit_intercept)
    coef, intercept = _refit(form, row_sets, y, penalties[best], constant, target_chunk)
    return _solution(Y, penalties[best], coef, intercept, scores.T, form_name)


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
    """Fit ridge regression at a given penalty, one for all voxels or one a voxel, without cross-validation."""
    x, y, precision = _prepare(X, Y, dtype)
    grid = check_alphas(alpha)
    if grid.size not in (1, y.shape[1]):
        raise ValueError(f"alpha has {grid.size} values; give one, or one for each of {y.shape[1]} voxels")
    check_finite(x, "X")
    check_finite(y, "Y")
    place = torch.device(device)
    form_name = choose_form(x.shape[0], x.shape[1], solver)
    row_sets = [np.arange(x.shape[0])]
    form = _make_form(form_name, x, row_sets, place, precision, fit_intercept)
    penalties = torch.from_numpy(np.broadcast_to(grid, y.shape[1]).copy()).to(place)
    coef, intercept = _refit(form, row_sets, y, penalties, _constant(y).to(place), target_chunk)
    return _solution(Y, penalties, coef, intercept, None, form_name)


def choose_form(n_samples: int, n_features: int, solver: Solver = "auto") -> Literal["primal", "dual"]:
    """Choose the smaller of Gram matrix and kernel."""
    if solver not in ("auto", "primal", "dual"):
        raise ValueError(f'solver is {solver!r}; it must be "auto", "primal" or "dual"')
    if solver != "auto":
        return solver
    return "primal" if n_features <= n_samples else "dual"


def choose_penalty(scores: Tensor, alphas: Tensor) -> Tensor:
    """Return the index of the best penalty of each voxel; of equal scores, and of none, the largest penalty."""
    order = torch.argsort(alphas, descending=True, stable=True)
    return order[torch.nan_to_num(scores[:, order], nan=-torch.inf).argmax(1)]


def _prepare(X: Array, Y: Array, dtype: Any) -> tuple[Tensor, Tensor, torch.dtype]:
    x, y = as_tensor(X, "X"), as_tensor(Y, "Y")
    check_same_rows(x, y)
    return x, y, working_dtype(x, y, dtype)


def _make_form(
    name: str,
    x: Tensor,
    row_sets: list[np.ndarray],
    place: torch.device,
    dtype: torch.dtype,
    fit_intercept: bool,
) -> Form:
    blocks = Blocks(x, row_sets, place, dtype)
    return PrimalForm(blocks, fit_intercept) if name == "primal" else DualForm(blocks, fit_intercept)


def _chunk(target_chunk: int | None, form: Form, n_voxels: int) -> int:
    if target_chunk is not None:
        if target_chunk < 1:
            raise ValueError(f"target_chunk is {target_chunk}; it must be at least 1")
        return min(int(target_chunk), n_voxels)
    rows = form.x.rows
    columns = 2 * len(form.x.within) * min(rows.shape) + 2 * rows.shape[0]
    return max(128, CHUNK_BYTES // (columns * rows.element_size()))


def _constant(y: Tensor) -> Tensor:
    return y.amax(0) == y.amin(0)


def _refit(
    form: Form,
    row_sets: list[np.ndarray],
    y: Tensor,
    alphas: Tensor,
    constant: Tensor,
    target_chunk: int | None,
) -> tuple[Tensor, Tensor]:
    rows = form.x.rows
    values, vectors = form.full()
    x_mean, _ = form.x.offsets(None, form.fit_intercept)
    n_voxels = y.shape[1]
    coef = torch.empty((rows.shape[1], n_voxels), dtype=rows.dtype, device=rows.device)
    intercept = torch.empty(n_voxels, dtype=rows.dtype, device=rows.device)
    step = _chunk(target_chunk, form, n_voxels)
    for start in range(0, n_voxels, step):
        part = slice(start, min(start + step, n_voxels))
        blocks = Blocks(y[:, part], row_sets, rows.device, rows.dtype)
        _, products = form.rotate(blocks, {})
        weights = form.weights(products, values, vectors, alphas[part])
        if form.fit_intercept:
            weights[:, constant[part]] = 0
        y_mean, _ = blocks.offsets(None, form.fit_intercept)
        coef[:, part] = weights
        intercept[part] = (y_mean - x_mean @ weights.double()).to(rows.dtype)
    return coef, intercept


def _solution(
    Y: Array, alphas: Tensor, coef: Tensor, intercept: Tensor, scores: Tensor | None, solver: str
) -> RidgeSolution:
    if isinstance(Y, Tensor):
        return RidgeSolution(alphas, coef, intercept, scores, solver)
    host = [None if t is None else t.cpu().numpy() for t in (alphas, coef, intercept, scores)]
    return RidgeSolution(*host, solver)
