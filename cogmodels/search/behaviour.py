"""What a search looked like, in five numbers, and how far a model's five are from people's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

STATISTICS = ("correct", "length", "first_visits", "refixations", "revisits")
"""Names of the columns of `sequence_statistics`."""


def sequence_statistics(sequences: Sequence[ArrayLike], targets: ArrayLike) -> NDArray[np.float64]:
    """Return five statistics of each sequence of fixated objects.

    Parameters
    ----------
    sequences : sequence of (n_fixations,) int
        Objects in the order in which they were fixated, counted from 0, without the fixation at which the display
        came.
    targets : (n_sequences,) int
        The object that was sought in each; -1 where it was absent.

    Returns
    -------
    (n_sequences, 5) array
        ``correct`` (1 where the last fixation is on the target), ``length`` (fixations), and the shares of fixations
        that are ``first_visits`` (the search ratio), ``refixations`` (on the object of the fixation before) and
        ``revisits`` (on an object seen earlier, coming from another). The shares add up to 1.

    Raises
    ------
    ValueError
        For empty sequences, objects below 0, or another number of targets than of sequences.

    References
    ----------
    Fang, Yu, Zhang, van der Lans & Shi (2024), Oat: object-level attention transformer for gaze scanpath prediction,
    ECCV.
    """
    arrays = [check_sequence(sequence, f"sequences[{number}]") for number, sequence in enumerate(sequences)]
    sought = np.atleast_1d(np.asarray(targets))
    if sought.shape != (len(arrays),):
        raise ValueError(
            f"targets has shape {sought.shape}; it must name one object for each of {len(arrays)}"
        )
    if not arrays:
        return np.empty((0, len(STATISTICS)))
    lengths = np.array([len(array) for array in arrays])
    # Sorted by sequence, then object, then time: the first of each run of equal objects is a first visit.
    objects, owner = np.concatenate(arrays), np.repeat(np.arange(len(arrays)), lengths)
    order = np.lexsort((objects, owner))
    starts = np.r_[True, (np.diff(objects[order]) != 0) | (np.diff(owner[order]) != 0)]
    first = np.empty(len(objects), dtype=bool)
    first[order] = starts
    again = np.r_[False, (np.diff(objects) == 0) & (np.diff(owner) == 0)]
    counts = [np.bincount(owner, weights=kind, minlength=len(arrays)) for kind in (first, again)]
    last = objects[np.cumsum(lengths) - 1]
    shares = [count / lengths for count in (*counts, lengths - counts[0] - counts[1])]
    return np.column_stack([last == sought, lengths, *shares]).astype(np.float64)


def statistics_delta(model: ArrayLike, people: ArrayLike) -> float:
    """Return Delta: how far a model's mean statistics are from people's, relative to people's.

    Parameters
    ----------
    model, people : (5,) array-like
        Means of `sequence_statistics` over trials (and, of a model, over rollouts).

    Returns
    -------
    float
        Mean of ``|model - people| / people``; 0 is best. A statistic that people never show has no relative error and
        is left out of the mean, which is NaN where nothing is left.

    Raises
    ------
    ValueError
        If either has other than five numbers, or one is negative or not finite.
    """
    means = []
    for name, values in (("model", model), ("people", people)):
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (len(STATISTICS),) or not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(
                f"{name} is {array.tolist()!r:.80}; it must be the means of {', '.join(STATISTICS)}, finite and not "
                "negative"
            )
        means.append(array)
    shown = means[1] > 0
    if not shown.any():
        return float("nan")
    return float(np.mean(np.abs(means[0] - means[1])[shown] / means[1][shown]))


def check_sequence(sequence: Any, name: str) -> NDArray[np.int64]:
    """Return fixated objects as a vector of int64.

    Raises
    ------
    ValueError
        If it is empty, no vector of whole numbers, or names objects below 0.
    """
    array = np.asarray(sequence)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has shape {array.shape} and type {array.dtype}; it must be a vector of at least one object number"
        )
    if array.min() < 0:
        raise ValueError(
            f"{name} has fixations on no object ({int(array.min())}): assign them to the nearest "
            "(Scanpaths.assign_objects(displays, nearest=True)) or leave them out"
        )
    return array.astype(np.int64)
