"""One encoder fitted to the training rows of one fold: the same here and on a worker of a cluster."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from encoders.checkpoints import Checkpoint
from encoders.estimators.trained import TrainedEncoder
from encoders.folds import make_folds
from encoders.tokens import TokenSource

PIECE = {"predictions", "alphas", "alpha_grid", "inner_scores"}
"""Arrays of every finished fold; that of an encoder with bands also holds `BANDS`."""

BANDS = "band_predictions"
"""What each band adds to the predictions (n_bands, n_test, n_voxels), about its mean over the training rows."""

Rows = NDArray | TokenSource
"""Features of samples, of which rows can be taken: a matrix, or tokens that are read when they are needed."""


class Epochs:
    """The checkpoint of the epochs of one fold, forgotten when the fold is finished: weights are large.

    Attributes
    ----------
    keys : set of str
        What was asked for or saved.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.keys: set[str] = set()

    def load(self, key: str) -> dict[str, NDArray] | None:
        self.keys.add(key)
        return self._checkpoint.load(key)

    def save(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        self.keys.add(key)
        self._checkpoint.save(key, arrays)

    def discard(self, key: str) -> None:
        self._checkpoint.discard(key)

    def forget(self) -> None:
        for key in self.keys:
            self._checkpoint.discard(key)


def fit_fold(
    encoder: Any,
    X: Rows,
    Y: NDArray,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    groups: NDArray | None,
    score_always: bool,
    epochs: Checkpoint | None = None,
) -> dict[str, NDArray]:
    """Fit a clone to the rows `train`, predict the rows `test`, and return the arrays of `PIECE`.

    Parameters
    ----------
    encoder : estimator
    X : (n_samples, n_features) array, or tokens
    Y : (n_samples, n_voxels) array
    train, test : arrays of int
    groups : (n_samples,) array or None
    score_always : bool
        Whether an encoder that has nothing to choose is cross-validated inside the training rows.
    epochs : Checkpoint, optional
        Where a trained encoder keeps its epochs.
    """
    X_train, Y_train = X[train], Y[train]
    groups = None if groups is None else groups[train]
    fitted = _fit_clone(encoder, X_train, Y_train, groups, epochs)
    n_voxels = Y.shape[1]
    scores = _best_inner_score(fitted, n_voxels)
    if scores is None and score_always:
        scores = _inner_score(encoder, X_train, Y_train, groups)
    # Encoders with several penalties a voxel say which of the grid they all derive from.
    alphas = getattr(fitted, "overall_alphas_", getattr(fitted, "alphas_", None))
    grid = getattr(fitted, "alpha_grid_", None)
    predictions = np.asarray(fitted.predict(X[test]), dtype=Y.dtype)
    piece = {
        "predictions": predictions.reshape(len(test), n_voxels),
        "alphas": np.full(n_voxels, np.nan) if alphas is None else np.asarray(alphas, dtype=np.float64),
        "alpha_grid": np.empty(0) if grid is None else np.asarray(grid, dtype=np.float64),
        "inner_scores": np.full(n_voxels, np.nan) if scores is None else scores,
    }
    if hasattr(fitted, "predict_bands"):
        # Offsets that differ between folds belong to no band.
        means = np.asarray(fitted.predict_bands(X_train)).mean(axis=1, keepdims=True)
        piece[BANDS] = (np.asarray(fitted.predict_bands(X[test])) - means).astype(Y.dtype)
    return piece


def is_finished_piece(piece: Mapping[str, NDArray] | None) -> bool:
    """Tell whether a checkpoint holds all of a fold: another version of this package may have kept other arrays."""
    return piece is not None and set(piece) - {BANDS} == PIECE


def _fit_clone(
    encoder: Any, X: Rows, Y: NDArray, groups: NDArray | None, epochs: Checkpoint | None = None
) -> Any:
    if isinstance(encoder, TrainedEncoder):
        return clone(encoder).fit(X, Y, groups, checkpoint=epochs)
    # Estimators without groups of their own (plain scikit-learn ones) can still be used where there are none.
    return clone(encoder).fit(X, Y) if groups is None else clone(encoder).fit(X, Y, groups=groups)


def _best_inner_score(fitted: Any, n_voxels: int) -> NDArray | None:
    """Return the best of the scores by which a fitted encoder chose, (n_voxels,), or None."""
    scores = getattr(fitted, "cv_scores_", None)
    if scores is None:
        return None
    table = np.asarray(scores, dtype=np.float64).reshape(-1, n_voxels)
    known = ~np.isnan(table)
    if not known.any():
        return None
    best = np.where(known, table, -np.inf).max(axis=0)
    return np.where(known.any(axis=0), best, np.nan)


def _inner_score(encoder: Any, X: Rows, Y: NDArray, groups: NDArray | None) -> NDArray:
    """Return the inner held-out R2, (n_voxels,), of an encoder that has nothing to choose.

    Squared errors over squared deviations from the training mean, both averaged over folds, as in
    `solve_ridge_cv`.
    """
    n_folds = getattr(encoder, "cv", 5)
    errors, null = np.zeros(Y.shape[1]), np.zeros(Y.shape[1])
    for train, test in make_folds(len(X), n_folds if isinstance(n_folds, int) else 5, groups):
        fitted = _fit_clone(encoder, X[train], Y[train], None if groups is None else groups[train])
        predicted = np.asarray(fitted.predict(X[test]), dtype=np.float64).reshape(len(test), -1)
        errors += ((Y[test] - predicted) ** 2).mean(axis=0)
        null += ((Y[test] - Y[train].mean(axis=0, dtype=np.float64)) ** 2).mean(axis=0)
    constant = np.ptp(Y, axis=0) == 0
    return np.where(constant, np.nan, 1 - errors / np.where(constant, 1.0, null))
