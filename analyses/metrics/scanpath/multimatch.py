"""MultiMatch: five similarities of two scanpaths, for many pairs at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.metrics.scanpath.alignment import euclidean_cost, follow_back, warp
from analyses.metrics.scanpath.grouping import Grouping, group_saccades
from analyses.metrics.scanpath.ragged import (
    FloatArray,
    IntArray,
    Ragged,
    check_paired,
    check_size,
    length_batches,
    pack_durations,
    pack_places,
)

MULTIMATCH = ("shape", "direction", "length", "position", "duration")
"""Names of the columns of `multimatch`."""

_PIECE_ELEMENTS = 8192


@dataclass(frozen=True)
class Saccades:
    """The saccades of many scanpaths, one after the other.

    Attributes
    ----------
    start_px, vector_px : (2, n_total) array
        Where each began and where it led, x and y.
    towards : (2, n_total) array
        Its vector again, but (1, 0) where the eye stayed: no movement has the direction 0, as in multimatch-gaze.
    amplitude_px : (n_total,) array
    duration : (n_total,) array
        Of the fixation before it; NaN where unknown.
    starts, lengths : (n_scanpaths,) int array
        Where each scanpath begins and how many saccades it has. What lies between scanpaths belongs to none.
    """

    start_px: FloatArray
    vector_px: FloatArray
    towards: FloatArray
    amplitude_px: FloatArray
    duration: FloatArray
    starts: IntArray
    lengths: IntArray


def multimatch(
    a: Sequence[ArrayLike],
    b: Sequence[ArrayLike],
    size_px: ArrayLike,
    durations_a: Sequence[ArrayLike] | None = None,
    durations_b: Sequence[ArrayLike] | None = None,
    *,
    grouping: Grouping | None = None,
) -> FloatArray:
    """Compare scanpaths in shape, direction, length, position and duration.

    The saccades of both are aligned along the path through the table of their vector differences whose sum is least.
    Each similarity is 1 less the median difference along that path, over the largest one that the display allows.

    Parameters
    ----------
    a, b : sequence of (n_fixations, 2) array
        Scanpaths, x and y in pixels; a[i] is compared with b[i]. Fixations off the display count as they are, and can
        bring a similarity below 0.
    size_px : (2,) or (n_pairs, 2) array-like
        Width and height of the display.
    durations_a, durations_b : sequence of (n_fixations,) array, optional
        Duration of each fixation in ms (any unit, if it is the same for both); NaN where unknown.
    grouping : Grouping, optional
        Merge small or straight successive saccades first; needs durations. By default nothing is merged.

    Returns
    -------
    (n_pairs, 5) array
        In the order of `MULTIMATCH`. ``shape``: difference of the saccades' vectors over twice the diagonal;
        ``direction``: angle between them over 180 degrees; ``length``: difference of amplitudes over the diagonal;
        ``position``: distance of their starting points over the diagonal; ``duration``: difference of the durations of
        the fixations before them, over the longer. All five are NaN where a scanpath has fewer than 3 fixations, and
        ``duration`` where one of its durations is unknown or two that are compared are both 0.

    Raises
    ------
    ValueError
        If the arguments do not match, places are not finite, or `grouping` lacks durations.

    Notes
    -----
    The values are those of multimatch-gaze. Where several paths have exactly the same sum, which takes saccades that
    are equal to the last bit, it is the shortest alignment that is followed here, and any in multimatch-gaze.

    References
    ----------
    Jarodzka, Holmqvist & Nyström 2010, ETRA: 211-218. Dewhurst et al. 2012, Behavior Research Methods 44: 1079-1100.
    Wagner, Halchenko & Hanke 2019, Journal of Open Source Software 4(40): 1525 (multimatch-gaze).
    """
    first, second = pack_places(a, "a"), pack_places(b, "b")
    n_pairs = check_paired(first, second)
    size = check_size(size_px, n_pairs)
    if grouping is not None and (durations_a is None or durations_b is None):
        raise ValueError("grouping merges across short fixations: give durations_a and durations_b in ms")
    saccades_a = _saccades(first, durations_a, "durations_a", grouping)
    saccades_b = _saccades(second, durations_b, "durations_b", grouping)
    values = np.full((n_pairs, len(MULTIMATCH)), np.nan)
    known = np.flatnonzero((first.lengths >= 3) & (second.lengths >= 3))
    diagonals = np.hypot(size[:, 0], size[:, 1])
    for batch in length_batches(saccades_a.lengths[known], saccades_b.lengths[known]):
        rows = known[batch]
        values[rows] = _compare(saccades_a, saccades_b, rows, diagonals[rows])
    return values


def _saccades(
    places: Ragged, durations: Sequence[ArrayLike] | None, name: str, grouping: Grouping | None
) -> Saccades:
    n_total = places.values.shape[1]
    duration = np.full(n_total, np.nan) if durations is None else pack_durations(durations, places, name)
    if grouping is None:
        start, starts, lengths = places.values, places.starts, np.maximum(places.lengths - 1, 0)
        vector = np.ones_like(start)
        np.subtract(start[:, 1:], start[:, :-1], out=vector[:, :-1])
    else:
        parts = group_saccades(places, duration, grouping)
        start, vector, duration = parts.values[:2], parts.values[2:4], parts.values[4]
        starts, lengths = parts.starts, parts.lengths
    amplitude = np.sqrt(vector[0] ** 2 + vector[1] ** 2)
    towards = vector
    if not amplitude.all():
        towards = vector.copy()
        towards[0, amplitude == 0] = 1
    return Saccades(start, vector, towards, amplitude, duration, starts, lengths)


def _compare(first: Saccades, second: Saccades, rows: IntArray, diagonals: FloatArray) -> FloatArray:
    lengths = first.lengths[rows], second.lengths[rows]
    n, m = int(lengths[0].max()), int(lengths[1].max())
    vectors_a = Ragged(first.vector_px, first.starts, first.lengths).padded(rows, n)
    vectors_b = Ragged(second.vector_px, second.starts, second.lengths).padded(rows, m, reverse=True)
    moves = np.empty((n + m - 1, n, len(rows)), dtype=np.uint8)
    warp(euclidean_cost(vectors_a, vectors_b), lengths, moves=moves)
    at_a, at_b, n_paired = follow_back(moves, lengths)
    at_a += first.starts[rows][:, None]
    at_b += second.starts[rows][:, None]

    differences = np.empty((len(rows), len(MULTIMATCH)))
    # In pieces that stay in the cache.
    step = max(1, _PIECE_ELEMENTS // at_a.shape[1])
    for part in (slice(start, start + step) for start in range(0, len(rows), step)):
        differences[part] = _median_differences(first, second, at_a[part], at_b[part], n_paired[part])
    one = np.ones_like(diagonals)
    return 1 - differences / np.stack([2 * diagonals, np.pi * one, diagonals, diagonals, one], axis=1)


def _median_differences(
    first: Saccades, second: Saccades, at_a: IntArray, at_b: IntArray, n_paired: IntArray
) -> FloatArray:
    """Return the medians over the first `n_paired` saccades that are paired in each row, (n_rows, 5)."""

    def distance(points_a: FloatArray, points_b: FloatArray) -> FloatArray:
        x = points_a[0].take(at_a) - points_b[0].take(at_b)
        y = points_a[1].take(at_a) - points_b[1].take(at_b)
        return np.sqrt(x * x + y * y)

    beyond = np.arange(at_a.shape[1]) >= n_paired[:, None]
    # Places, in a flat table of sorted rows, of the two middle values (the same twice, where they are odd in number).
    middle_two = np.arange(len(n_paired)) * at_a.shape[1] + np.stack([n_paired // 2, (n_paired - 1) // 2])
    medians = np.empty((len(n_paired), len(MULTIMATCH)))
    for column, values in enumerate(
        (
            distance(first.vector_px, second.vector_px),
            _straightness(first.towards, second.towards, at_a, at_b),
            np.abs(first.amplitude_px.take(at_a) - second.amplitude_px.take(at_b)),
            distance(first.start_px, second.start_px),
            _relative_difference(first.duration.take(at_a), second.duration.take(at_b)),
        )
    ):
        middle = _sort_and_take(values, beyond, middle_two)
        medians[:, column] = (_angle(middle) if column == 1 else middle).mean(axis=0)
    return medians


def _straightness(a: FloatArray, b: FloatArray, at_a: IntArray, at_b: IntArray) -> FloatArray:
    """Return -1 for saccades in one direction, 1 for opposite ones, and in between what grows with their angle.

    Which angle is the median follows from the order alone: so only two angles a pair are computed from this.
    """
    ax, ay, bx, by = a[0].take(at_a), a[1].take(at_a), b[0].take(at_b), b[1].take(at_b)
    along, across = ax * bx + ay * by, np.abs(ax * by - ay * bx)
    return -along / (across + np.abs(along))


def _angle(straightness: FloatArray) -> FloatArray:
    """Return the angle in radians, in [0, pi]."""
    return np.arctan2(1 - np.abs(straightness), -straightness)


def _relative_difference(a: FloatArray, b: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) / np.maximum(a, b)


def _sort_and_take(values: FloatArray, beyond: NDArray[np.bool_], places: IntArray) -> FloatArray:
    """Return what stands at `places` when each row is sorted up to its end, in the shape of `places`.

    `values` is overwritten. NaN where one that is not `beyond` the end is NaN.
    """
    np.copyto(values, np.inf, where=beyond)
    values.sort(axis=1)
    # NaN come last of all.
    return values.reshape(-1).take(places) + np.where(np.isnan(values[:, -1]), np.nan, 0)
