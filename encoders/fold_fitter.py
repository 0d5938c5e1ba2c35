"""One encoder fitted to the training rows of each fold, with finished folds kept in a checkpoint."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from encoders.checkpoints import Checkpoint
from encoders.estimators.trained import TrainedEncoder
from encoders.folds import Folds, make_folds
from encoders.parameters import describe_parameters
from encoders.tokens import TokenSource
from stimuli.files import hash_array

PIECE = {"predictions", "alphas", "alpha_grid", "inner_scores"}
"""Arrays of one finished fold."""


Rows = NDArray | TokenSource
"""Features of samples, of which rows can be taken: a matrix, or tokens that are read when they are needed."""


class _Epochs:
    """The checkpoint of the epochs of one fold, forgotten when the fold is finished: weights are large."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._keys: set[str] = set()

    def load(self, key: str) -> dict[str, NDArray] | None:
        self._keys.add(key)
        return self._checkpoint.load(key)

    def save(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        self._keys.add(key)
        self._checkpoint.save(key, arrays)

    def discard(self, key: str) -> None:
        self._checkpoint.discard(key)

    def forget(self) -> None:
        for key in self._keys:
            self._checkpoint.discard(key)


class FoldFitter:
    """Fits clones of one encoder to the training rows of each fold, or finds them done in the checkpoint."""

    def __init__(
        self,
        encoder: Any,
        Y: NDArray,
        folds: Folds,
        groups: NDArray | None,
        checkpoint: Checkpoint | None,
        score_always: bool,
    ) -> None:
        self.encoder, self.Y, self.folds, self.groups = encoder, Y, folds, groups
        self.checkpoint, self.score_always = checkpoint, score_always
        self.y_hash = "" if checkpoint is None else hash_array(Y)

    def over_folds(self, X: Rows, name: str) -> Iterator[dict[str, NDArray]]:
        """Yield each fold's arrays, those of `PIECE`."""
        x_hash = ""
        if self.checkpoint is not None:
            x_hash = X.content_hash if isinstance(X, TokenSource) else hash_array(X)
        for number in range(len(self.folds)):
            if self.checkpoint is None:
                yield self._fit(X, number, None)
                continue
            key = f"{name}/fold{number}/{self._content_hash(x_hash, number)}"
            piece = self.checkpoint.load(key)
            if (
                piece is None or set(piece) != PIECE
            ):  # another version of this package may have kept other arrays
                epochs = _Epochs(self.checkpoint)
                piece = self._fit(X, number, epochs)
                self.checkpoint.save(key, piece)
                epochs.forget()
            yield piece

    def _fit(self, X: Rows, number: int, epochs: Checkpoint | None) -> dict[str, NDArray]:
        train, test = self.folds[number]
        X_train, Y_train = X[train], self.Y[train]
        groups = None if self.groups is None else self.groups[train]
        fitted = _fit_clone(self.encoder, X_train, Y_train, groups, epochs)
        n_voxels = self.Y.shape[1]
        scores = _best_inner_score(fitted, n_voxels)
        if scores is None and self.score_always:
            scores = _inner_score(self.encoder, X_train, Y_train, groups)
        alphas, grid = getattr(fitted, "alphas_", None), getattr(fitted, "alpha_grid_", None)
        predictions = np.asarray(fitted.predict(X[test]), dtype=self.Y.dtype)
        return {
            "predictions": predictions.reshape(len(test), n_voxels),
            "alphas": np.full(n_voxels, np.nan) if alphas is None else np.asarray(alphas, dtype=np.float64),
            "alpha_grid": np.empty(0) if grid is None else np.asarray(grid, dtype=np.float64),
            "inner_scores": np.full(n_voxels, np.nan) if scores is None else scores,
        }

    def _content_hash(self, x_hash: str, number: int) -> str:
        train, test = self.folds[number]
        kind = type(self.encoder)
        parts = [f"{kind.__module__}.{kind.__qualname__}", x_hash, self.y_hash, str(self.score_always)]
        parts += [hash_array(train), hash_array(test)]
        if self.groups is not None:
            # Names of the groups do not matter, who belongs together and in which order does.
            parts.append("groups=" + hash_array(np.unique(self.groups[train], return_inverse=True)[1]))
        parts.append(describe_parameters(self.encoder))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


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
