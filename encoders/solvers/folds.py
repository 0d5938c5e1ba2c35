"""Index pairs for the inner cross-validation."""

from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from encoders.solvers.checks import Folds, IndexPairs


def resolve_folds(n_samples: int, folds: Folds, groups: Any = None) -> IndexPairs:
    """Turn a number of folds, or pairs of indices, into checked pairs of index arrays.

    Parameters
    ----------
    n_samples : int
        Number of rows of X and Y.
    folds : int or list of (train, test)
        A number gives contiguous folds of nearly equal size, or, with `groups`, folds that keep groups whole
        and are balanced in size. Pairs hold row numbers or boolean masks.
    groups : array-like (n_samples,), optional
        Label of the run, or of the stimulus, that each row belongs to. With pairs, they are only checked.

    Returns
    -------
    list of (train, test)
        Sorted row numbers.

    Raises
    ------
    ValueError
        If there are too few samples or groups, or if a pair is empty, repeats or exceeds the rows, shares rows
        between train and test, or splits a group.
    """
    labels = None
    if groups is not None:
        labels = np.asarray(groups)
        if labels.shape != (n_samples,):
            raise ValueError(
                f"groups has shape {labels.shape}; it must have one label for each of {n_samples} rows"
            )
    if isinstance(folds, (int, np.integer)) and not isinstance(folds, bool):
        return _split(n_samples, int(folds), labels)
    if isinstance(folds, (str, bytes, bool)) or not hasattr(folds, "__iter__"):
        raise ValueError(f"folds is {folds!r}; it must be a number of folds or a list of (train, test) pairs")
    pairs = list(folds)
    if not pairs:
        raise ValueError("folds is an empty list; give at least one (train, test) pair")
    return [_check_pair(i, pair, n_samples, labels) for i, pair in enumerate(pairs)]


def _split(n_samples: int, n_folds: int, labels: np.ndarray | None) -> IndexPairs:
    if n_folds < 2:
        raise ValueError(f"folds is {n_folds}; at least 2 are needed to hold samples out")
    rows = np.arange(n_samples)
    if labels is None:
        if n_folds > n_samples:
            raise ValueError(f"folds is {n_folds}, but there are only {n_samples} samples")
        return [(train, test) for train, test in KFold(n_folds).split(rows)]
    n_groups = len(np.unique(labels))
    if n_folds > n_groups:
        raise ValueError(
            f"folds is {n_folds}, but groups holds only {n_groups} groups; use at most {n_groups} folds"
        )
    return [(train, test) for train, test in GroupKFold(n_folds).split(rows, groups=labels)]


def _check_pair(
    i: int, pair: Any, n_samples: int, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    try:
        train, test = pair
    except (TypeError, ValueError):
        raise ValueError(f"folds[{i}] is not a (train, test) pair") from None
    train = _check_indices(train, f"folds[{i}] train", n_samples)
    test = _check_indices(test, f"folds[{i}] test", n_samples)
    shared = np.intersect1d(train, test)
    if shared.size:
        raise ValueError(
            f"folds[{i}] has {shared.size} rows in both train and test, the first is {shared[0]}; "
            "a held-out score needs rows that were not fitted"
        )
    if labels is not None:
        split = np.intersect1d(labels[train], labels[test])
        if split.size:
            raise ValueError(
                f"folds[{i}] splits {split.size} groups between train and test, the first is {split[0]!r}"
            )
    return train, test


def _check_indices(indices: Any, name: str, n_samples: int) -> np.ndarray:
    values = np.asarray(indices)
    if values.dtype == bool:
        if values.shape != (n_samples,):
            raise ValueError(f"{name} is a mask of shape {values.shape}; it must have shape ({n_samples},)")
        values = np.flatnonzero(values)
    if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a non-empty vector of row numbers")
    unique = np.unique(values)
    if unique[0] < 0 or unique[-1] >= n_samples:
        raise ValueError(f"{name} names rows {unique[0]} to {unique[-1]}; rows run from 0 to {n_samples - 1}")
    if unique.size != values.size:
        raise ValueError(f"{name} names {values.size - unique.size} rows more than once")
    return unique
