"""Scanpaths as strings of object numbers: the sequence score and the edit distance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.metrics.scanpath.alignment import Cost, edit
from analyses.metrics.scanpath.ragged import (
    FloatArray,
    Ragged,
    check_paired,
    length_batches,
    pack_objects,
    pack_places,
)


def sequence_score(a: Sequence[ArrayLike], b: Sequence[ArrayLike]) -> FloatArray:
    """Return how much of the longer sequence of objects also occurs in the other, in the same order.

    The best alignment by Needleman and Wunsch with match 1, mismatch 0 and gap 0, over the longer length.

    Parameters
    ----------
    a, b : sequence of (n_fixations,) int
        The object of each fixation (or the cluster: `fixation_clusters`), counted from 0; a[i] is compared with b[i].

    Returns
    -------
    (n_pairs,) array
        From 0 to 1. 0 where one sequence is empty, NaN where both are.

    Raises
    ------
    ValueError
        If there are not as many sequences in both, or an object is no whole number from 0.

    References
    ----------
    Yang, Huang, Zelinsky, Hoai & Samaras 2020, CVPR (sequence score). Fang, Yu, Zhang, van der Lans & Shi 2024, ECCV
    (on object numbers).
    """
    first, second = pack_objects(a, "a"), pack_objects(b, "b")
    matches = _edit_all(first, second, gap=0, match=-1)
    longer = np.maximum(first.lengths, second.lengths)
    return np.divide(-matches, longer, out=np.full(len(longer), np.nan), where=longer > 0)


def edit_distance(a: Sequence[ArrayLike], b: Sequence[ArrayLike]) -> FloatArray:
    """Return how many objects have to be inserted, deleted or replaced to turn one sequence into the other.

    Parameters
    ----------
    a, b : sequence of (n_fixations,) int
        The object of each fixation, counted from 0; a[i] is compared with b[i].

    Returns
    -------
    (n_pairs,) array
        From 0 to the longer length; where one sequence is empty, the length of the other.

    Raises
    ------
    ValueError
        If there are not as many sequences in both, or an object is no whole number from 0.

    References
    ----------
    Levenshtein 1966, Soviet Physics Doklady 10: 707-710.
    """
    first, second = pack_objects(a, "a"), pack_objects(b, "b")
    return _edit_all(first, second, gap=1, match=0)


def fixation_clusters(
    paths: Sequence[ArrayLike], reference: Sequence[ArrayLike], bandwidth_px: float
) -> list[NDArray[np.int64]]:
    """Number the places of a scene where people look, and turn scanpaths into sequences of these numbers.

    For scenes without objects: mean shift finds the clusters of the reference fixations on one display; every fixation
    belongs to the cluster whose centre is nearest.

    Parameters
    ----------
    paths : sequence of (n_fixations, 2) array
        Scanpaths on one display, x and y in pixels.
    reference : sequence of (n_fixations, 2) array
        Scanpaths of people on the same display, which say where clusters are. To judge a model, take people alone; to
        judge one person against others, the clusters may contain that person's fixations, as is usual: they do not say
        in which order.
    bandwidth_px : float
        Radius of the window of mean shift; about 2 degrees of visual angle.

    Returns
    -------
    list of (n_fixations,) int array
        One a scanpath, for `sequence_score`.

    Raises
    ------
    ValueError
        If there is no reference fixation, the bandwidth is not positive, or places are not finite.

    References
    ----------
    Yang, Huang, Zelinsky, Hoai & Samaras 2020, CVPR. Comaniciu & Meer 2002, IEEE PAMI 24: 603-619 (mean shift).
    """
    from scipy.spatial import KDTree
    from sklearn.cluster import MeanShift

    if not (np.isfinite(bandwidth_px) and bandwidth_px > 0):
        raise ValueError(
            f"bandwidth_px is {bandwidth_px}; it must be positive, about 2 degrees of visual angle"
        )
    packed, known = pack_places(paths, "paths"), pack_places(reference, "reference")
    if not known.values.size:
        raise ValueError("reference has no fixation; give people's scanpaths on this display")
    centres = MeanShift(bandwidth=bandwidth_px).fit(known.values.T).cluster_centers_
    if not packed.values.size:
        return [np.empty(0, dtype=np.int64) for _ in packed.lengths]
    labels = KDTree(centres).query(packed.values.T)[1].astype(np.int64)
    return np.split(labels, packed.starts[1:])


def _edit_all(first: Ragged, second: Ragged, *, gap: int, match: int) -> FloatArray:
    costs = np.empty(check_paired(first, second))
    both = (first.lengths > 0) & (second.lengths > 0)
    costs[~both] = gap * (first.lengths + second.lengths)[~both]
    known = np.flatnonzero(both)
    for batch in length_batches(first.lengths[known], second.lengths[known]):
        rows = known[batch]
        lengths = first.lengths[rows], second.lengths[rows]
        objects = (
            first.padded(rows, int(lengths[0].max())),
            second.padded(rows, int(lengths[1].max()), reverse=True),
        )
        costs[rows] = edit(_mismatch_cost(objects[0][0], objects[1][0], match), lengths, gap, np.int32)
    return costs


def _mismatch_cost(first: NDArray, second: NDArray, match: int) -> Cost:
    """Return the cost that is `match` where objects are equal and one more where they are not."""
    different = np.empty(first.shape, dtype=bool)

    def cost(rows: slice, columns: slice, out: NDArray) -> None:
        flags = different[: rows.stop - rows.start]
        np.not_equal(first[rows], second[columns], out=flags)
        np.add(flags.view(np.int8), match, out=out)

    return cost
