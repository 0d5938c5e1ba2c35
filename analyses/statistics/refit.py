"""Scores of an encoding model that is fitted anew to wrongly paired stimuli and responses.

Predictions pooled over the folds of a cross-validation need this. Each row is tested once and trains all
other folds, so that the scores of the folds vary together, with up to twice the variance that permuted
predictions show.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Integer
from numpy.typing import ArrayLike, NDArray

from analyses.statistics.nulls import Statistic, check_finite, check_permutations, score_columns
from analyses.statistics.permutation import Permutations

Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


def refit_null(
    Y: ArrayLike,
    fit_predict: Callable[[Permutations], ArrayLike],
    permutations: Permutations,
    statistic: Statistic = "r",
) -> Float64[np.ndarray, "n_permutations n_voxels"]:
    """Score predictions of a model that is fitted anew under each permutation.

    Parameters
    ----------
    Y : (n_samples, n_voxels) array
        Responses, never permuted: their noise keeps its autocorrelation.
    fit_predict : callable
        Takes one permutation, (n_samples,) row numbers, and returns cross-validated predictions, (n_samples,
        n_voxels), of a model fitted to ``features[permutation]`` and `Y`. Everything that was chosen from the
        data (penalty, layer) is to be chosen again inside.
    permutations : (n_permutations, n_samples) int array
        As `permute_blocks_within_runs` gives.
    statistic : {"r", "r2"}
        See `score_columns`.

    Returns
    -------
    (n_permutations, n_voxels) array

    Raises
    ------
    ValueError
        As in `permute_predictions_null`.
    """
    permutations = check_permutations(permutations, np.shape(Y)[0])
    return np.stack([score_columns(Y, fit_predict(permutation), statistic) for permutation in permutations])


def ridge_refit_null(
    X: ArrayLike,
    Y: ArrayLike,
    folds: Folds,
    alphas: ArrayLike,
    permutations: Permutations,
    statistic: Statistic = "r",
    fit_intercept: bool = True,
) -> Float64[np.ndarray, "n_permutations n_voxels"]:
    """Score cross-validated ridge predictions, refitted under each permutation with the penalties given.

    Parameters
    ----------
    X : (n_samples, n_features) array
        Features as they were fitted (delayed, scaled).
    Y : (n_samples, n_voxels) array
        Responses, never permuted.
    folds : list of (train, test)
        Outer folds; each row is tested once.
    alphas : (n_folds, n_voxels) array
        Penalty of each fold and voxel, as chosen with the true pairing. That they stay is the one thing that
        the refit does not redo; it makes the test a little too strict where voxels respond to nothing.
    permutations : (n_permutations, n_samples) int array
        As `permute_blocks_within_runs` gives; rows of `X` are permuted.
    statistic : {"r", "r2"}
        See `score_columns`.
    fit_intercept : bool
        Whether features and responses are centred by the mean of each training set.

    Returns
    -------
    (n_permutations, n_voxels) array

    Raises
    ------
    ValueError
        As in `permute_predictions_null`; the folds do not test each row once, or the penalties have another
        shape or are negative.

    Notes
    -----
    Ridge is invariant to rotations of the features, so that they are first reduced to their rank. Where a
    permutation exchanges rows within the training set of a fold only, the eigenvectors of that fold serve
    again and a permutation costs about two products of (rank x n_samples) and (n_samples x n_voxels).
    """
    x, y = check_finite(X, "X"), check_finite(Y, "Y")
    if len(x) != len(y):
        raise ValueError(f"X has {len(x)} rows and Y {len(y)}")
    permutations = check_permutations(permutations, len(y))
    penalties = np.asarray(alphas, dtype=np.float64)
    if penalties.shape != (len(folds), y.shape[1]) or not (penalties >= 0).all():
        raise ValueError(
            f"alphas has shape {penalties.shape}; non-negative penalties of shape (n_folds, n_voxels) ="
            f" {(len(folds), y.shape[1])} are needed"
        )
    tested = np.concatenate([test for _, test in folds])
    if not np.array_equal(np.sort(tested), np.arange(len(y))):
        raise ValueError("folds do not test each row exactly once; scores pooled over folds need that")
    x = _reduce_to_rank(x)
    if fit_intercept:
        y = y - y.mean(axis=0)
    models = [_FoldModel(x, y, *fold, penalties[i], fit_intercept) for i, fold in enumerate(folds)]
    null, predicted = np.empty((len(permutations), y.shape[1])), np.empty_like(y)
    for k, permutation in enumerate(permutations):
        permuted = x[permutation]
        cross = permuted.T @ y
        for model in models:
            predicted[model.test] = model.predict(permuted, cross, permutation)
        null[k] = score_columns(y, predicted, statistic)
    return null


class _FoldModel:
    """Ridge of one fold, kept in the eigenvectors of its training Gram matrix."""

    def __init__(
        self,
        x: Float64[np.ndarray, "n_samples n_features"],
        y: Float64[np.ndarray, "n_samples n_voxels"],
        train: Integer[np.ndarray, "n_train"],
        test: Integer[np.ndarray, "n_test"],
        alphas: Float64[np.ndarray, "n_voxels"],
        fit_intercept: bool,
    ) -> None:
        self.train, self.test, self.alphas, self.fit_intercept = train, test, alphas, fit_intercept
        self.members = np.bincount(train, minlength=len(x))
        self.left_out = np.flatnonzero(self.members == 0)
        self.y_left_out = y[self.left_out]
        self.y_mean = y[train].mean(axis=0) if fit_intercept else np.zeros(y.shape[1])
        self.decomposition = self._decompose(x)

    def _decompose(
        self, x: Float64[np.ndarray, "n_samples n_features"]
    ) -> tuple[
        Float64[np.ndarray, "n_features"], Float64[np.ndarray, "rank"], Float64[np.ndarray, "n_features rank"]
    ]:
        """Return the mean of the training rows, and the eigenvalues and eigenvectors about it."""
        rows = x[self.train]
        mean = rows.mean(axis=0) if self.fit_intercept else np.zeros(x.shape[1])
        values, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean))
        keep = values > values[-1] * len(values) * np.finfo(np.float64).eps
        return mean, values[keep], vectors[:, keep]

    def predict(
        self,
        x: Float64[np.ndarray, "n_samples n_features"],
        cross: Float64[np.ndarray, "n_features n_voxels"],
        permutation: Integer[np.ndarray, "n_samples"],
    ) -> Float64[np.ndarray, "n_test n_voxels"]:
        """Fit to permuted features `x` and predict; `cross` is ``x.T @ y`` over all rows."""
        same_rows = np.array_equal(np.bincount(permutation[self.train], minlength=len(x)), self.members)
        mean, values, vectors = self.decomposition if same_rows else self._decompose(x)
        # Less is left out than trained on, so that taking it off the whole is the shorter way.
        cross = cross - x[self.left_out].T @ self.y_left_out
        cross -= len(self.train) * np.outer(mean, self.y_mean)
        weights = (vectors.T @ cross) / (values[:, None] + self.alphas)
        return (x[self.test] - mean) @ vectors @ weights + self.y_mean


def _reduce_to_rank(
    x: Float64[np.ndarray, "n_samples n_features"],
) -> Float64[np.ndarray, "n_samples rank"]:
    """Rotate the features so that as many columns remain as the matrix has rank."""
    wide = x.shape[1] > x.shape[0]
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    keep = values > values[-1] * max(x.shape) * np.finfo(np.float64).eps
    return vectors[:, keep] * np.sqrt(values[keep]) if wide else x @ vectors[:, keep]
