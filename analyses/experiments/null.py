"""The null of a run: stimuli exchanged among whole blocks, and everything else as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.experiments.config import EncodingConfig
from analyses.experiments.design import Design
from analyses.experiments.fitting import FeatureRows, fit_layers, predictions_by_label
from analyses.statistics.permutation import (
    max_statistic_p_values,
    permutation_p_values,
    permute_blocks_within_runs,
)
from encoders.checkpoints import Checkpoint
from encoders.cluster import Cluster
from encoders.cross_validation import Progress
from encoders.scores import correlation_score
from encoders.tokens import TokenSource
from stimuli.files import hash_array


@dataclass(frozen=True)
class Null:
    """Held-out correlations when stimuli and responses have nothing to do with each other.

    Attributes
    ----------
    r : ndarray of float32 (n_permutations, n_layers, n_voxels)
    kind : str
        "refit" or "held_out".
    units : str
        What was exchanged, in words.
    """

    r: np.ndarray
    kind: str
    units: str

    def p_values(self, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return p per voxel and p by the maximum over voxels, each (n_layers, n_voxels)."""
        per_voxel = np.stack(
            [permutation_p_values(row, self.r[:, layer]) for layer, row in enumerate(observed)]
        )
        by_max = np.stack(
            [max_statistic_p_values(row, self.r[:, layer]) for layer, row in enumerate(observed)]
        )
        return per_voxel, by_max


def null_kind(config: EncodingConfig) -> str:
    """Resolve "auto": refit under cross-validation, exchange held-out predictions under a published split.

    Raises
    ------
    ValueError
        For "held_out" under cross-validation. Each sample is tested once and trains all other folds, so the folds'
        scores vary together; permuted predictions do not show that and give too many false positives.
    """
    if config.null == "auto":
        return "held_out" if config.split == "published" else "refit"
    if config.null == "held_out" and config.split == "cv":
        raise ValueError(
            "null='held_out' needs a fixed training set (split='published'): predictions pooled over folds depend on"
            " one another; take 'refit'"
        )
    return config.null


def draw_permutations(design: Design, n_permutations: int, seed: int) -> tuple[np.ndarray, str]:
    """Draw which sample's stimulus (or prediction) stands in for which.

    Blocks of a time series are exchanged within their run, with the rest that follows them; onsets stay. Block averages
    are exchanged within their run as well, though their stimuli come back: exchanged as wholes, stimuli that a code
    merely tells apart would be predicted as well as before. Trials are exchanged within their run when no stimulus is
    repeated; repeated stimuli are exchanged as wholes, because responses to the same stimulus are alike under the null
    too. Samples that are only fitted and samples that are tested (in a published split) stay apart.

    Returns
    -------
    rows : ndarray of int (n_permutations, n_samples)
    units : str
        What was exchanged, in words.
    """
    index = design.stimulus_index
    if design.blocks is not None:
        assert design.runs is not None
        drawn = permute_blocks_within_runs(design.blocks, design.runs, n_permutations, seed)
        return drawn, "whole blocks within runs"
    tested = np.isin(np.arange(len(index)), design.tested)
    if len(np.unique(index)) == len(index) or design.samples == "blocks":
        runs = np.zeros(len(index), dtype=np.int64) if design.runs is None else design.runs
        strata = np.unique(np.stack([runs, tested]), axis=1, return_inverse=True)[1].ravel()
        order = np.argsort(strata, kind="stable")
        drawn_in_order = permute_blocks_within_runs(
            np.arange(len(order)), strata[order], n_permutations, seed
        )
        drawn = np.empty_like(drawn_in_order)
        drawn[:, order] = order[drawn_in_order]
        within = "blocks within runs" if design.samples == "blocks" else "trials within runs"
        return drawn, within if design.runs is not None else "stimuli"
    generator = np.random.default_rng(seed)
    drawn = np.empty((n_permutations, len(index)), dtype=np.int64)
    for part in (tested, ~tested):
        shown, first, rank = np.unique(index[part], return_index=True, return_inverse=True)
        first_row = np.flatnonzero(part)[first]
        for row in drawn:
            row[part] = first_row[generator.permutation(len(shown))[rank]]
    return drawn, "whole stimuli"


@dataclass(frozen=True)
class PermutedScore:
    """Scores of one permutation by label, (n_labels, n_voxels): by a refit, or of held-out predictions."""

    design: Design
    encoder: Any
    config: EncodingConfig
    predictions: Mapping[str, np.ndarray] | None

    def __call__(self, rows: np.ndarray, features: Mapping[str, FeatureRows]) -> np.ndarray:
        """Score with row ``rows[i]`` standing in for row i."""
        design, tested = self.design, self.design.tested
        if self.predictions is None:
            fitted = fit_layers(design, features, self.encoder, stimulus_index=design.stimulus_index[rows])
            permuted = [values[tested] for values in predictions_by_label(fitted, self.config).values()]
        else:
            permuted = [values[rows[tested]] for values in self.predictions.values()]
        measured = design.Y[tested]
        return np.stack([correlation_score(measured, values) for values in permuted]).astype(np.float32)


def compute_null(
    design: Design,
    features: Mapping[str, FeatureRows],
    encoder: Any,
    config: EncodingConfig,
    predictions: Mapping[str, np.ndarray],
    checkpoint: Checkpoint,
    progress: Progress | None = None,
    cluster: Cluster | None = None,
) -> Null:
    """Score the run under each permutation.

    Parameters
    ----------
    design : Design
    features : mapping of str to (n_stimuli, n_features) or TokenSource
    encoder : estimator
    config : EncodingConfig
    predictions : mapping of str to (n_samples, n_voxels)
        Held-out predictions by label, the selected layer among them.
    checkpoint : Checkpoint
        Finished permutations are kept there.
    progress : callable, optional
    cluster : Cluster, optional
        Workers that each refit a permutation at a time; bits are those of a run without.
    """
    kind = null_kind(config)
    drawn, units = draw_permutations(design, config.n_permutations, config.seed)
    r = np.full((len(drawn), len(predictions), design.Y.shape[1]), np.nan, dtype=np.float32)
    if kind == "held_out":
        score = PermutedScore(design, encoder, config, predictions)
        for number, rows in enumerate(drawn):
            r[number] = score(rows, features)
        return Null(r, kind, units)
    made_of = _fitted_to(design, features)
    keys = [
        f"null/{kind}/{number}/{hash_array(design.stimulus_index[rows])}/{made_of}"
        for number, rows in enumerate(drawn)
    ]
    todo = []
    for number, key in enumerate(keys):
        piece = checkpoint.load(key)
        if piece is None:
            todo.append(number)
        else:
            r[number] = piece["r"]
    score = PermutedScore(design, encoder, config, None)
    with _completed(score, drawn[todo], features, config.device, cluster) as results:
        for done, (position, scores) in enumerate(results, start=len(drawn) - len(todo) + 1):
            number = todo[position]
            r[number] = scores
            checkpoint.save(keys[number], {"r": scores})
            if progress is not None:
                progress(done, len(drawn), "null")
    return Null(r, kind, units)


def _fitted_to(design: Design, features: Mapping[str, FeatureRows]) -> str:
    """Hash what a permutation is fitted to beside the responses.

    Stimuli or weights may be exchanged between a kill and `resume`: scores of the old ones must not mix with the new.
    """
    parts = [
        f"{label}={rows.content_hash if isinstance(rows, TokenSource) else hash_array(rows)}"
        for label, rows in features.items()
    ]
    labels = [design.runs, design.groups, *(side for fold in design.folds for side in fold)]
    parts += ["none" if label is None else hash_array(label) for label in labels]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextmanager
def _completed(
    score: PermutedScore,
    drawn: np.ndarray,
    features: Mapping[str, FeatureRows],
    device: str,
    cluster: Cluster | None,
) -> Iterator[Iterator[tuple[int, np.ndarray]]]:
    """Give the numbers and scores of permutations as they are done: by a thread a core, or by workers of a cluster.

    Each has single-threaded linear algebra. The fits of a null are many and small: sharing cores between them wastes
    less than sharing cores within them, and sums keep one order however many cores there are. A GPU takes one fit at a
    time.
    """
    if cluster is not None:
        yield cluster.completed(score, list(drawn), {"features": features}, label="null", threads=1)
        return
    n_threads = torch.get_num_threads()
    n_workers = n_threads if device == "cpu" else 1
    pool = ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield enumerate(pool.map(lambda rows: score(rows, features), drawn))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(n_threads)
