"""Fits by workers: one piece is one fold, or a part of its voxels where the encoder can be divided.

Parts are cut so that their fits have the bits of one fit to all voxels (`RidgeEncoder.divide_voxels`). Features go to
each worker once a layer, responses once in all, in blocks of voxels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.checkpoints import Checkpoint, FolderCheckpoint
from encoders.cluster import Cluster, Shared
from encoders.estimators.trained import TrainedEncoder
from encoders.fold_fit import Epochs, Rows, fit_fold, is_finished_piece
from encoders.folds import Folds

_BLOCK_BYTES = 64 << 20

Piece = dict[str, NDArray]


@dataclass(frozen=True)
class FoldWork:
    """What each worker is sent once: rows and groups of the folds, and where epochs are kept."""

    folds: Folds
    groups: NDArray | None
    score_always: bool
    epochs: Checkpoint | None

    def __call__(
        self, item: tuple[int, Any, slice, Sequence[NDArray]], X: Rows
    ) -> tuple[Piece, Sequence[str]]:
        """Fit one encoder to some columns of some blocks of the responses; return arrays, and keys of epochs."""
        number, encoder, columns, blocks = item
        Y = np.concatenate(blocks, axis=1)[:, columns]
        epochs = None if self.epochs is None else Epochs(self.epochs)
        piece = fit_fold(encoder, X, Y, *self.folds[number], self.groups, self.score_always, epochs)
        return piece, [] if epochs is None else sorted(epochs.keys)


class ClusterFits:
    """Fits of one encoder to the folds of one set of responses.

    Parameters
    ----------
    cluster : Cluster
    encoder, Y, folds, groups, checkpoint, score_always
        As in `FoldFitter`. Parts of a fold under way are kept in the checkpoint too; where a trained encoder is to go
        on inside a fold, workers must share the folder of a `FolderCheckpoint`.
    """

    def __init__(
        self,
        cluster: Cluster,
        encoder: Any,
        Y: NDArray,
        folds: Folds,
        groups: NDArray | None,
        checkpoint: Checkpoint | None,
        score_always: bool,
    ) -> None:
        self.cluster, self.encoder, self.Y, self.groups = cluster, encoder, Y, groups
        self.checkpoint = checkpoint
        epochs = None
        if isinstance(encoder, TrainedEncoder) and isinstance(checkpoint, FolderCheckpoint):
            cluster.check_folder("checkpoint", checkpoint.folder)
            epochs = checkpoint
        self.work = FoldWork(folds, groups, score_always, epochs)
        self.block_width = max(1, _BLOCK_BYTES // max(1, len(Y) * Y.itemsize))
        self.blocks: dict[int, Shared] = {}

    def pieces(self, X: Rows, keys: Mapping[int, str]) -> Iterator[Piece]:
        """Yield the arrays of each fold in `keys`, in their order, having saved them under its key."""
        parts: dict[int, list[slice]] = {}
        done: dict[tuple[int, int], Piece] = {}
        todo: list[tuple[int, int]] = []
        items = []
        for number, key in keys.items():
            encoder, parts[number] = self._divide(X, number)
            for position, part in enumerate(parts[number]):
                kept = self._kept(key, part) if len(parts[number]) > 1 else None
                if kept is not None:
                    done[number, position] = kept
                    continue
                todo.append((number, position))
                items.append((number, encoder, *self._voxels(part)))
        epochs: dict[int, Sequence[str]] = {}
        results = self.cluster.completed(self.work, items, {"X": X}, label="fits")
        for number, key in keys.items():
            places = [(number, position) for position in range(len(parts[number]))]
            while any(place not in done for place in places):
                index, (piece, seen) = next(results)
                place = todo[index]
                done[place], epochs[place[0]] = piece, seen
                if self.checkpoint is not None and len(parts[place[0]]) > 1:
                    self.checkpoint.save(_part_key(keys[place[0]], parts[place[0]][place[1]]), piece)
            whole = _merge([done.pop(place) for place in places])
            if self.checkpoint is not None:
                self.checkpoint.save(key, whole)
                of_parts = [_part_key(key, part) for part in parts[number]] if len(places) > 1 else []
                for finished in (*of_parts, *epochs.get(number, ())):
                    self.checkpoint.discard(finished)
            yield whole

    def _divide(self, X: Rows, number: int) -> tuple[Any, list[slice]]:
        divide = getattr(self.encoder, "divide_voxels", None)
        if divide is None:
            return self.encoder, [slice(0, self.Y.shape[1])]
        train = self.work.folds[number][0]
        return divide(X, self.Y, train, None if self.groups is None else self.groups[train])

    def _voxels(self, part: slice) -> tuple[slice, list[Shared]]:
        """Return the blocks of the responses that hold some voxels, and which of their columns these are."""
        first = part.start // self.block_width
        numbers = range(first, -(-part.stop // self.block_width))
        for number in numbers:
            if number not in self.blocks:
                columns = self.Y[:, number * self.block_width : (number + 1) * self.block_width]
                self.blocks[number] = self.cluster.share(np.ascontiguousarray(columns))
        offset = first * self.block_width
        return slice(part.start - offset, part.stop - offset), [self.blocks[number] for number in numbers]

    def _kept(self, key: str, part: slice) -> Piece | None:
        piece = None if self.checkpoint is None else self.checkpoint.load(_part_key(key, part))
        return piece if is_finished_piece(piece) else None


def _part_key(key: str, part: slice) -> str:
    return f"{key}/voxels{part.start}-{part.stop}"


def _merge(parts: Sequence[Piece]) -> Piece:
    """Join the arrays of the parts of one fold; the penalties on offer are those of all."""
    names = set(parts[0]) - {"alpha_grid"}
    joined = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in names}
    return {**joined, "alpha_grid": parts[0]["alpha_grid"]}
