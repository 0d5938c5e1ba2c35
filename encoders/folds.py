"""Folds for cross-validation that keep dependent samples together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]
"""(train, test) pairs of sorted row numbers."""


def make_folds(
    n_samples: int,
    n_folds: int | None = None,
    groups: ArrayLike | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> Folds:
    """Divide samples into training and test rows; every sample is tested once and groups stay whole.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    n_folds : int, optional
        Number of folds. None leaves one group out at a time, in the sorted order of the groups.
    groups : (n_samples,) array, optional
        Rows with the same label (a run, a repeated stimulus) are never divided. See `merge_groups` for two
        kinds at once.
    shuffle : bool
        Draw rows (or whole groups) at random instead of in order.
    seed : int
        Seed of the draw; only used with `shuffle`.

    Returns
    -------
    list of (train, test)
        Sorted row numbers. Without groups they are those of scikit-learn's `KFold`, shuffled those of
        `KFold(shuffle=True, random_state=seed)`. With groups, unshuffled, they are those of `GroupKFold`
        (folds of nearly equal size); shuffled, `KFold` deals out the sorted groups.

    Raises
    ------
    ValueError
        If there are fewer samples or groups than folds, or neither `n_folds` nor `groups` is given.
    """
    if n_folds is not None and n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}; at least 2 are needed")
    rows = np.zeros((n_samples, 1))
    splitter = KFold(n_folds or 2, shuffle=shuffle, random_state=seed if shuffle else None)
    if groups is None:
        if n_folds is None:
            raise ValueError(
                "n_folds and groups are both None: pass a number of folds, or groups to leave out in turn"
            )
        if n_samples < n_folds:
            raise ValueError(f"n_samples is {n_samples}, fewer than n_folds={n_folds}: lower n_folds")
        return [(np.sort(train), np.sort(test)) for train, test in splitter.split(rows)]
    labels = _as_labels(groups, n_samples)
    unique, codes = np.unique(labels, return_inverse=True)
    n_needed = n_folds or 2
    if len(unique) < n_needed:
        raise ValueError(
            f"groups has {len(unique)} distinct labels ({_some(unique)}), too few for {n_needed} folds: use "
            f"at most as many folds as groups. Runs that share stimuli become one group when both must stay "
            f"whole; then group by one of the two"
        )
    if n_folds is None:
        return [
            (np.sort(train), np.sort(test)) for train, test in LeaveOneGroupOut().split(rows, groups=codes)
        ]
    if not shuffle:
        return [
            (np.sort(train), np.sort(test)) for train, test in GroupKFold(n_folds).split(rows, groups=codes)
        ]
    return [
        (np.flatnonzero(np.isin(codes, train)), np.flatnonzero(np.isin(codes, test)))
        for train, test in splitter.split(unique)
    ]


def merge_groups(*labels: ArrayLike, missing: Sequence[object] = ("", -1)) -> NDArray[np.intp]:
    """Merge groupings, so that rows sharing a label of any of them share a group.

    Two rows belong together if a chain of shared labels joins them: the connected components of rows and
    labels. With runs and stimuli, neither a run nor the repeats of a stimulus can then be divided between
    training and test.

    Parameters
    ----------
    *labels : (n_samples,) arrays
        One or more groupings.
    missing : sequence
        Labels that join nothing, such as the empty stimulus of rest.

    Returns
    -------
    (n_samples,) array of int
        Groups, numbered from 0 in order of first appearance.

    Raises
    ------
    ValueError
        For no labels or labels of different length.
    """
    if not labels:
        raise ValueError("labels is empty: pass at least one array of labels")
    n_samples = len(np.asarray(labels[0]))
    rows, nodes, n_nodes = [], [], n_samples
    for position, grouping in enumerate(labels):
        unique, codes = np.unique(_as_labels(grouping, n_samples, f"labels[{position}]"), return_inverse=True)
        joins = np.array([value not in missing for value in unique.tolist()], dtype=bool)[codes]
        rows.append(np.flatnonzero(joins))
        nodes.append(n_nodes + codes[joins])
        n_nodes += len(unique)
    edges = (np.concatenate(rows), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(n_nodes, n_nodes))
    component = connected_components(graph, directed=False)[1][:n_samples]
    _, first, codes = np.unique(component, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes].astype(np.intp)


def check_folds(
    folds: Sequence[tuple[ArrayLike, ArrayLike]], n_samples: int, groups: ArrayLike | None = None
) -> Folds:
    """Return folds as index arrays, or refuse those that would leak.

    Parameters
    ----------
    folds : sequence of (train, test)
        Row numbers. A row may be in no test fold, but not in two.
    n_samples : int
        Number of rows that the folds divide.
    groups : (n_samples,) array, optional
        Labels that no fold may divide.

    Returns
    -------
    list of (train, test)

    Raises
    ------
    ValueError
        If rows are out of range, repeated, empty, on both sides of a fold or in two test folds, or a group is
        on both sides.
    """
    if not len(folds):
        raise ValueError("folds is empty: make_folds gives (train, test) pairs")
    labels = None if groups is None else _as_labels(groups, n_samples)
    times_tested = np.zeros(n_samples, dtype=int)
    checked: Folds = []
    for number, (train, test) in enumerate(folds):
        for side, given in (("train", train), ("test", test)):
            rows = np.asarray(given)
            if rows.ndim != 1 or not rows.size or not np.issubdtype(rows.dtype, np.integer):
                raise ValueError(
                    f"folds[{number}] has {side} rows of shape {rows.shape} and type {rows.dtype}; a list of "
                    f"row numbers, at least one, is needed (np.flatnonzero turns a mask into one)"
                )
            if rows.min() < 0 or rows.max() >= n_samples or len(np.unique(rows)) < len(rows):
                raise ValueError(
                    f"folds[{number}] has {side} rows from {rows.min()} to {rows.max()}, "
                    f"{len(np.unique(rows))} of {len(rows)} distinct; distinct rows from 0 to "
                    f"{n_samples - 1} are allowed"
                )
        train, test = np.asarray(train, dtype=np.intp), np.asarray(test, dtype=np.intp)
        shared = np.intersect1d(train, test)
        if shared.size:
            raise ValueError(
                f"folds[{number}] trains and tests on the same rows ({_some(shared)}): that leaks"
            )
        if labels is not None:
            torn = np.intersect1d(labels[train], labels[test])
            if torn.size:
                raise ValueError(
                    f"folds[{number}] has groups on both sides ({_some(torn)}): make the folds with the same "
                    f"groups"
                )
        times_tested[test] += 1
        checked.append((train, test))
    if times_tested.max() > 1:
        raise ValueError(
            f"{(times_tested > 1).sum()} rows are tested in more than one fold "
            f"({_some(np.flatnonzero(times_tested > 1))}): each row can have one held-out prediction"
        )
    return checked


def _as_labels(groups: ArrayLike, n_samples: int, name: str = "groups") -> NDArray:
    labels = np.asarray(groups)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"{name} has shape {labels.shape}; one label for each of the {n_samples} samples is needed"
        )
    if np.issubdtype(labels.dtype, np.floating) and np.isnan(labels).any():
        raise ValueError(f"{name} has {np.isnan(labels).sum()} NaN: every sample needs a label")
    return labels


def _some(values: NDArray, most: int = 5) -> str:
    return ", ".join(map(str, values[:most].tolist())) + (", ..." if len(values) > most else "")
