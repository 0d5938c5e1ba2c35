"""Scores of predictions when stimuli are paired with the wrong responses."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float64, Integer
from numpy.typing import ArrayLike

from analyses.statistics.permutation import Permutations, PermutationTest, summarize_null

Statistic = Literal["r", "r2"]

# A chunk of predictions of this size stays in the cache while all permutations pass over it.
_CACHE_BYTES = 1 << 19


def score_columns(Y: ArrayLike, P: ArrayLike, statistic: Statistic = "r") -> Float64[np.ndarray, "n_voxels"]:
    """Score predictions, a voxel.

    Parameters
    ----------
    Y, P : (n_samples, n_voxels) array
        Responses and predictions.
    statistic : {"r", "r2"}
        Pearson correlation, or coefficient of determination.

    Returns
    -------
    (n_voxels,) array
        NaN for constant responses, and for the correlation with constant predictions.

    Raises
    ------
    ValueError
        The shapes differ, a value is not finite, or the statistic is unknown.
    """
    y, p, length = _prepare(Y, P, statistic)
    return _score((y * p).sum(axis=0), p.sum(axis=0), (p**2).sum(axis=0), length, len(y), statistic)


def permute_predictions_null(
    Y: ArrayLike, P: ArrayLike, permutations: Permutations, statistic: Statistic = "r"
) -> Float64[np.ndarray, "n_permutations n_voxels"]:
    """Score permuted predictions, without fitting again.

    Valid where `P` comes from a fit to other data than `Y` (a fixed training set). With predictions pooled
    over cross-validation folds it is too narrow and gives too many false positives: use
    `analyses.statistics.refit`.

    Parameters
    ----------
    Y, P : (n_samples, n_voxels) array
        Held-out responses and their predictions.
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
        As in `score_columns`; permutations do not fit the rows.
    """
    return np.concatenate(list(_null_chunks(Y, P, permutations, statistic)), axis=1)


def held_out_test(
    Y: ArrayLike, P: ArrayLike, permutations: Permutations, statistic: Statistic = "r"
) -> PermutationTest:
    """Test held-out predictions against `permute_predictions_null`, never holding the null whole.

    Parameters
    ----------
    Y, P, permutations, statistic
        As in `permute_predictions_null`, and valid where it is.

    Returns
    -------
    PermutationTest

    Raises
    ------
    ValueError
        As in `permute_predictions_null`.
    """
    return summarize_null(score_columns(Y, P, statistic), _null_chunks(Y, P, permutations, statistic))


def _null_chunks(
    Y: ArrayLike, P: ArrayLike, permutations: Permutations, statistic: Statistic
) -> Iterator[Float64[np.ndarray, "n_permutations n_chunk"]]:
    y_all, p_all, length_all = _prepare(Y, P, statistic)
    permutations = check_permutations(permutations, len(y_all))
    n_samples, n_voxels = y_all.shape
    # How often each row is used; 1 unless blocks differ in length.
    uses = np.stack([np.bincount(permutation, minlength=n_samples) for permutation in permutations])
    each_once = bool((uses == 1).all())
    size = max(1, _CACHE_BYTES // (8 * n_samples))
    for start in range(0, n_voxels, size):
        columns = slice(start, start + size)
        y, p, length = (np.ascontiguousarray(a[..., columns]) for a in (y_all, p_all, length_all))
        cross = np.stack([np.einsum("tv,tv->v", y, p[permutation]) for permutation in permutations])
        weights = np.ones((1, n_samples)) if each_once else uses.astype(np.float64)
        yield _score(cross, weights @ p, weights @ p**2, length, n_samples, statistic)


def _prepare(
    Y: ArrayLike, P: ArrayLike, statistic: Statistic
) -> tuple[
    Float64[np.ndarray, "n_samples n_voxels"],
    Float64[np.ndarray, "n_samples n_voxels"],
    Float64[np.ndarray, "n_voxels"],
]:
    """Centre both: for r by their own means, for R2 by the mean of the responses."""
    if statistic not in ("r", "r2"):
        raise ValueError(f"statistic is {statistic!r}; allowed: 'r', 'r2'")
    y, p = check_finite(Y, "Y"), check_finite(P, "P")
    if y.shape != p.shape:
        raise ValueError(f"Y has shape {y.shape} and P {p.shape}; both are (n_samples, n_voxels)")
    constant_y, constant_p = np.ptp(y, axis=0) == 0, np.ptp(p, axis=0) == 0
    mean = y.mean(axis=0)
    y = y - mean
    p = p - (p.mean(axis=0) if statistic == "r" else mean)
    if statistic == "r":
        p = np.where(constant_p, np.nan, p)
    return y, p, np.where(constant_y, np.nan, (y**2).sum(axis=0))


def _score(
    cross: Float64[np.ndarray, "*permutations n_voxels"],
    sums: Float64[np.ndarray, "*#permutations n_voxels"],
    squares: Float64[np.ndarray, "*#permutations n_voxels"],
    length: Float64[np.ndarray, "n_voxels"],
    n: int,
    statistic: Statistic,
) -> Float64[np.ndarray, "*permutations n_voxels"]:
    """Score from sums of products; the responses are centred and `length` is their sum of squares."""
    if statistic == "r2":
        return 1 - (length - 2 * cross + squares) / length
    spread = squares - sums**2 / n
    # Below rounding, a prediction that the permutation made constant.
    return cross / np.sqrt(length * np.where(spread > 1e-14 * squares, spread, np.nan))


def check_finite(values: ArrayLike, name: str) -> Float64[np.ndarray, "n_samples n_columns"]:
    """Return `values` as a float64 matrix, or say what is wrong with it."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}; two axes, samples first, and no empty one are needed"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} holds {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite; leave out"
            " those voxels or rows first"
        )
    return array


def check_permutations(
    permutations: ArrayLike, n_samples: int
) -> Integer[np.ndarray, "n_permutations {n_samples}"]:
    """Return `permutations` as an array of row numbers, or say what is wrong with it."""
    rows = np.asarray(permutations)
    if rows.ndim != 2 or rows.shape[1] != n_samples or len(rows) == 0 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"permutations has shape {rows.shape} and dtype {rows.dtype}; integers of shape (n_permutations,"
            f" {n_samples}) are needed: permute_blocks_within_runs makes them"
        )
    if rows.min() < 0 or rows.max() >= n_samples:
        raise ValueError(f"permutations holds row numbers outside 0 to {n_samples - 1}")
    return rows
