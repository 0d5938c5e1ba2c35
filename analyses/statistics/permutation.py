"""Permutations that keep what is dependent together, and p-values from them.

`docs/statistics.md` says which null is valid when; `analyses.statistics.nulls` computes the scores under it.
"""

import itertools
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Permutations = NDArray[np.intp]
Segments = list[tuple[int, int]]

# Orders that give the same score differ by rounding; they must count as ties.
_TIE = 1e-9
_LARGEST_LENGTH_RATIO = 1.5


@dataclass(frozen=True)
class PermutationTest:
    """Observed scores against a null.

    Attributes
    ----------
    observed : (n_voxels,) array
        Score with the true pairing.
    p_values : (n_voxels,) array
        One-sided, not corrected for the number of voxels; see `permutation_p_values`.
    p_values_max : (n_voxels,) array
        Corrected for the number of voxels; see `max_statistic_p_values`.
    null_95 : (n_voxels,) array
        95th percentile of the null.
    null_mean, null_max : (n_permutations,) array
        Mean and largest score over voxels under each permutation.
    """

    observed: FloatArray
    p_values: FloatArray
    p_values_max: FloatArray
    null_95: FloatArray
    null_mean: FloatArray
    null_max: FloatArray


def count_block_permutations(block_labels: ArrayLike, runs: ArrayLike) -> int:
    """Count the orders of blocks within runs, the true one included.

    Parameters
    ----------
    block_labels, runs : (n_samples,) array
        As in `permute_blocks_within_runs`.

    Returns
    -------
    int
        Product over runs of the factorial of the number of blocks.
    """
    return math.prod(math.factorial(len(segments)) for segments in _segments_by_run(block_labels, runs))


def permute_blocks_within_runs(
    block_labels: ArrayLike, runs: ArrayLike, n_permutations: int = 1000, seed: int = 0
) -> Permutations:
    """Draw permutations that exchange whole blocks within each run.

    Which stimulus goes with which block is permuted. The onsets stay, so a response that is the same to every
    stimulus is in the null too and cannot become significant. For single trials each row is its own block:
    ``block_labels=np.arange(n_samples)``.

    Parameters
    ----------
    block_labels : (n_samples,) int array
        Which block each row belongs to, a number of its own for each block; -1 is rest. Rest after a block
        moves with it (a response outlasts its stimulus); rest before the first block of a run stays.
    runs : (n_samples,) array
        Which run each row belongs to; the rows of a run stand together.
    n_permutations : int
        Number of permutations. Where no more exist, all but the true order are returned, with a warning.
    seed : int
        Seed of the draw.

    Returns
    -------
    (n_permutations, n_samples) int array
        Row numbers: ``features[permutation]`` or ``predictions[permutation]`` puts another block's rows in
        the place of each block. Rows are matched from the onset; a block shorter than its new place holds its
        last row, a longer one is cut. With blocks of equal length each row is used once.

    Raises
    ------
    ValueError
        A run has a single block (nothing to exchange), a block is divided or spans two runs, the rows of a
        run are apart, or a run's longest block is more than 1.5 times its shortest.
    """
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; at least 1 is needed")
    runs_segments = _segments_by_run(block_labels, runs)
    _check_exchangeable(runs_segments)
    available = math.prod(math.factorial(len(segments)) for segments in runs_segments) - 1
    orders: Iterable
    if available <= n_permutations:
        warnings.warn(
            f"only {available} orders of blocks within runs exist besides the true one, fewer than"
            f" n_permutations={n_permutations}: all are used, and no p-value can be below"
            f" {1 / (available + 1):.3g}",
            stacklevel=2,
        )
        every = itertools.product(*(itertools.permutations(range(len(run))) for run in runs_segments))
        orders = itertools.islice(every, 1, None)
        n_permutations = available
    else:
        rng = np.random.default_rng(seed)
        orders = ([rng.permutation(len(run)) for run in runs_segments] for _ in range(n_permutations))
    permutations = np.tile(np.arange(np.size(block_labels)), (n_permutations, 1))
    for permutation, order in zip(permutations, orders, strict=True):
        for segments, sources in zip(runs_segments, order, strict=True):
            for (start, length), source in zip(segments, sources, strict=True):
                source_start, source_length = segments[source]
                rows = np.minimum(np.arange(length), source_length - 1)
                permutation[start : start + length] = source_start + rows
    return permutations


def permutation_p_values(observed: ArrayLike, null: ArrayLike) -> FloatArray:
    """Compute one-sided p-values, ``(1 + number of null >= observed) / (1 + number of permutations)``.

    Parameters
    ----------
    observed : (...) array
        Scores with the true pairing.
    null : (n_permutations, ...) array
        Scores under each permutation.

    Returns
    -------
    (...) array
        NaN where the observed score is NaN. A NaN in the null counts as large: it never helps.

    Raises
    ------
    ValueError
        The shapes do not match or there is no permutation.

    References
    ----------
    Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9(1): 39.
    """
    score, scores = _check_null(observed, null)
    count = (~(scores < score - _TIE)).sum(axis=0)
    return np.where(np.isnan(score), np.nan, (1 + count) / (1 + len(scores)))


def max_statistic_p_values(observed: ArrayLike, null: ArrayLike) -> FloatArray:
    """Compute p-values against the largest score over voxels under each permutation.

    Parameters
    ----------
    observed : (n_voxels,) array
        Scores with the true pairing.
    null : (n_permutations, n_voxels) array
        Scores of all voxels under the same permutations.

    Returns
    -------
    (n_voxels,) array
        Rejecting the voxels with values up to 0.05 has at most a 5 % chance of any false rejection.

    Raises
    ------
    ValueError
        The shapes do not match or there is no permutation.

    References
    ----------
    Nichols & Holmes 2002, Human Brain Mapping 15, 1-25.
    """
    score, scores = _check_null(observed, null)
    return _against_largest(score, _largest(scores))


def summarize_null(observed: ArrayLike, null_chunks: Iterable[ArrayLike]) -> PermutationTest:
    """Compare observed scores with a null that comes in chunks of voxels, so that it is never held whole.

    Parameters
    ----------
    observed : (n_voxels,) array
        Scores with the true pairing.
    null_chunks : iterable of (n_permutations, n_chunk) arrays
        Scores under the same permutations, the voxels in order. ``[null]`` where all fit.

    Returns
    -------
    PermutationTest

    Raises
    ------
    ValueError
        The chunks do not cover the voxels once, or differ in their number of permutations.
    """
    score = np.asarray(observed, dtype=np.float64)
    p_values, percentile = np.full(score.shape, np.nan), np.full(score.shape, np.nan)
    total, count, largest = np.zeros(1), np.zeros(1), np.full(1, -np.inf)
    done = 0
    for chunk in null_chunks:
        width = np.shape(chunk)[-1]
        columns = slice(done, done + width)
        part, null = _check_null(score[columns], chunk)
        if done and len(null) != len(total):
            raise ValueError(f"a chunk holds {len(null)} permutations and the one before {len(total)}")
        p_values[columns] = permutation_p_values(part, null)
        percentile[columns] = np.quantile(null, 0.95, axis=0)
        total, count = total + np.nansum(null, axis=1), count + np.isfinite(null).sum(axis=1)
        largest = np.fmax(largest, _largest(null))
        done += width
    if done != score.size:
        raise ValueError(f"null_chunks cover {done} voxels and observed has {score.size}")
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return PermutationTest(score, p_values, _against_largest(score, largest), percentile, mean, largest)


def _against_largest(score: FloatArray, largest: FloatArray) -> FloatArray:
    ordered = np.sort(largest)
    count = len(ordered) - np.searchsorted(ordered, score - _TIE, side="left")
    return np.where(np.isnan(score), np.nan, (1 + count) / (1 + len(ordered)))


def _largest(null: FloatArray) -> FloatArray:
    """Largest score over voxels; infinite where no voxel has one, so that it never helps."""
    return np.where(np.isnan(null).all(axis=1), np.inf, np.fmax.reduce(null, axis=1))


def _check_null(observed: ArrayLike, null: ArrayLike) -> tuple[FloatArray, FloatArray]:
    score, scores = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if scores.ndim < 1 or scores.shape[1:] != score.shape or len(scores) == 0:
        raise ValueError(
            f"null has shape {scores.shape} and observed {score.shape}; null needs a first axis of"
            " permutations (at least one) before the axes of observed"
        )
    return score, scores


def _segments_by_run(block_labels: ArrayLike, runs: ArrayLike) -> list[Segments]:
    """Find start and length of each block with the rest that follows it, run by run."""
    labels, run_of_row = np.asarray(block_labels), np.asarray(runs)
    if labels.ndim != 1 or labels.shape != run_of_row.shape or labels.size == 0:
        raise ValueError(
            f"block_labels has shape {labels.shape} and runs {run_of_row.shape}; both are (n_samples,)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"block_labels has dtype {labels.dtype}; number the blocks, -1 for rest")
    run_starts = np.flatnonzero(np.r_[True, run_of_row[1:] != run_of_row[:-1]])
    if len(run_starts) != len(np.unique(run_of_row)):
        raise ValueError(
            "runs come back after other runs; sort the rows so that those of a run stand together"
        )
    begins = np.r_[True, (labels[1:] != labels[:-1]) | (run_of_row[1:] != run_of_row[:-1])] & (labels >= 0)
    names, counts = np.unique(labels[begins], return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"block_labels names block {names[counts > 1][0]} in {counts.max()} places; give each stretch of"
            " rows that is exchanged as a whole a number of its own"
        )
    ends = np.r_[run_starts[1:], len(labels)]
    found = []
    for start, end in zip(run_starts, ends, strict=True):
        onsets = start + np.flatnonzero(begins[start:end])
        found.append([(int(a), int(b - a)) for a, b in zip(onsets, np.append(onsets, end)[1:], strict=True)])
    return found


def _check_exchangeable(runs_segments: list[Segments]) -> None:
    if not any(runs_segments):
        raise ValueError("block_labels marks no block (all rest); nothing can be exchanged")
    for number, segments in enumerate(runs_segments):
        if len(segments) == 1:
            raise ValueError(
                f"run number {number} (in order, from 0) has a single block: nothing to exchange within it;"
                " leave the run out or mark shorter blocks"
            )
        lengths = [length for _, length in segments] or [1]
        if max(lengths) > _LARGEST_LENGTH_RATIO * min(lengths):
            raise ValueError(
                f"the blocks of run number {number} (in order, from 0; with the rest after each) are"
                f" {min(lengths)} to {max(lengths)} rows long; blocks that are exchanged must be of similar"
                f" length, the longest at most {_LARGEST_LENGTH_RATIO} times the shortest"
            )
