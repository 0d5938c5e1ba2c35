"""Folds for cross-validation that keep dependent samples together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

from encoders.solvers.folds import resolve_folds
from stimuli.files import count_of

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
            f"groups has {len(unique)} distinct labels, too few for {n_needed} folds: use "
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
    """Return outer folds as sorted row numbers, or refuse those that would leak.

    Parameters
    ----------
    folds : sequence of (train, test)
        Row numbers or masks. A row may be in no test fold, but not in two.
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
    if isinstance(folds, int | np.integer):
        raise ValueError(f"folds is {folds}; outer folds are (train, test) pairs, see make_folds")
    checked = resolve_folds(n_samples, folds, groups)
    times_tested = np.bincount(np.concatenate([test for _, test in checked]), minlength=n_samples)
    if times_tested.max() > 1:
        again = np.flatnonzero(times_tested > 1)
        raise ValueError(
            f"folds tests {count_of(len(again), 'row')} more than once (first {again[0]}): a row has one held-out"
            " prediction"
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
