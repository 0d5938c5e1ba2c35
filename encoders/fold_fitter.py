"""One encoder fitted to the training rows of each fold, with finished folds kept in a checkpoint."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.checkpoints import Checkpoint
from encoders.cluster import Cluster
from encoders.cluster_fits import ClusterFits
from encoders.fold_fit import Epochs, Rows, fit_fold, is_finished_piece
from encoders.folds import Folds
from encoders.parameters import describe_parameters
from encoders.tokens import TokenSource
from stimuli.files import hash_array


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
        cluster: Cluster | None = None,
    ) -> None:
        self.encoder, self.Y, self.folds, self.groups = encoder, Y, folds, groups
        self.checkpoint, self.score_always = checkpoint, score_always
        self.y_hash = "" if checkpoint is None else hash_array(Y)
        self.elsewhere = None
        if cluster is not None:
            self.elsewhere = ClusterFits(cluster, encoder, Y, folds, groups, checkpoint, score_always)

    def over_folds(self, X: Rows, name: str) -> Iterator[dict[str, NDArray]]:
        """Yield each fold's arrays, those of `encoders.fold_fit.PIECE`."""
        keys = self._keys(X, name)
        fits: Iterator[dict[str, NDArray]] = iter(())
        if self.elsewhere is not None:
            fits = self.elsewhere.pieces(
                X, {number: key for number, key in enumerate(keys) if self._finished(key) is None}
            )
        for number, key in enumerate(keys):
            piece = self._finished(key)
            if piece is None:
                piece = self._fit(X, number, key) if self.elsewhere is None else next(fits)
            yield piece

    def _keys(self, X: Rows, name: str) -> list[str]:
        """Return the checkpoint's key of each fold."""
        if self.checkpoint is None:
            return [""] * len(self.folds)
        x_hash = X.content_hash if isinstance(X, TokenSource) else hash_array(X)
        return [
            f"{name}/fold{number}/{self._content_hash(x_hash, number)}" for number in range(len(self.folds))
        ]

    def _finished(self, key: str) -> dict[str, NDArray] | None:
        piece = None if self.checkpoint is None else self.checkpoint.load(key)
        # Another version of this package may have kept other arrays.
        return piece if is_finished_piece(piece) else None

    def _fit(self, X: Rows, number: int, key: str) -> dict[str, NDArray]:
        epochs = None if self.checkpoint is None else Epochs(self.checkpoint)
        fold = self.folds[number]
        piece = fit_fold(self.encoder, X, self.Y, *fold, self.groups, self.score_always, epochs)
        if self.checkpoint is not None and epochs is not None:
            self.checkpoint.save(key, piece)
            epochs.forget()
        return piece

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
