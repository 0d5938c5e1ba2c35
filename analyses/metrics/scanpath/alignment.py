"""Alignment of two sequences by dynamic programming, for many pairs at once.

A table is filled along its anti-diagonals: the cells of one do not depend on each other, so each is a few operations on
arrays of cells by pairs. The second sequence is laid backwards, which makes the partners of the cells of a diagonal one
slice. Only three diagonals are held.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8
from numpy.typing import NDArray

# cost(first, second, out): write the cost of pairing elements `first` of one sequence with elements `second` of the
# other, laid backwards, into `out` (n_cells, n_pairs).
Cost = Callable[[slice, slice, NDArray], None]
Lengths = Int64[np.ndarray, " n_pairs"]

FROM_ABOVE, FROM_LEFT, FROM_BOTH, AT_START = 0, 1, 2, 4


def warp(
    cost: Cost,
    lengths: tuple[Lengths, Lengths],
    *,
    moves: UInt8[np.ndarray, "n_diagonals n n_pairs"] | None = None,
) -> Float64[np.ndarray, " n_pairs"]:
    """Return the least sum of costs over monotone paths from the first pair of elements to the last.

    A step goes on in one sequence or in both, and every cell of the path is paid for, the first included.

    Parameters
    ----------
    cost : callable
        Writes the costs of the cells of a diagonal.
    lengths : two (n_pairs,) int arrays
        Number of elements of both sequences of each pair, all positive.
    moves : (n + m - 1, n, n_pairs) uint8 array, optional
        Filled with where each cell was reached from, by diagonal and element of the first sequence.

    Returns
    -------
    (n_pairs,) array
    """
    n, m = (int(length.max()) for length in lengths)
    n_pairs = len(lengths[0])
    last = lengths[0] + lengths[1] - 2
    total = np.empty(n_pairs)
    # Row i + 1 is element i; row 0 and rows not yet written cannot be come from.
    before, previous, current = (np.full((n + 1, n_pairs), np.inf) for _ in range(3))
    best, later = np.empty((n, n_pairs)), np.empty((n, n_pairs), dtype=bool)
    for diagonal in range(n + m - 1):
        low, high = max(0, diagonal - m + 1), min(n, diagonal + 1)
        into, least = current[low + 1 : high + 1], best[: high - low]
        cost(slice(low, high), slice(low + m - 1 - diagonal, high + m - 1 - diagonal), into)
        if diagonal:
            above, left, both = previous[low:high], previous[low + 1 : high + 1], before[low:high]
            np.minimum(above, left, out=least)
            if moves is not None:
                # Ties go to the step in both sequences, then to the one in the first: the shortest alignment.
                code, flag = moves[diagonal, low:high], later[: high - low]
                np.less_equal(both, least, out=flag)
                np.less(left, above, out=code.view(bool))
                np.left_shift(flag.view(np.uint8), 1, out=flag.view(np.uint8))
                np.bitwise_or(code, flag.view(np.uint8), out=code)
            np.minimum(least, both, out=least)
            np.add(into, least, out=into)
        elif moves is not None:
            moves[0, 0] = AT_START
        ended = np.flatnonzero(last == diagonal)
        total[ended] = current[lengths[0][ended], ended]
        before, previous, current = previous, current, before
    return total


def follow_back(
    moves: UInt8[np.ndarray, "n_diagonals n n_pairs"], lengths: tuple[Lengths, Lengths]
) -> tuple[Int64[np.ndarray, "n_pairs n_steps"], Int64[np.ndarray, "n_pairs n_steps"], Lengths]:
    """Return the paths that `warp` found, from their ends to their beginnings.

    Parameters
    ----------
    moves : (n + m - 1, n, n_pairs) uint8 array
        As filled by `warp`.
    lengths : two (n_pairs,) int arrays
        As given to `warp`.

    Returns
    -------
    first, second : (n_pairs, n_steps) int array
        Elements that are paired at each step; the first pair (0, 0) is repeated once a path is at its beginning.
    n_paired : (n_pairs,) int array
        Length of each path.
    """
    n_diagonals, n, n_pairs = moves.shape
    # How far back in the flat table each code leads: above, left, both (with or without a tie), nowhere.
    back = np.array([(n + 1), n, 2 * n + 1, 2 * n + 1, 0]) * n_pairs
    flat = moves.reshape(-1)
    at = ((lengths[0] + lengths[1] - 2) * n + lengths[0] - 1) * n_pairs + np.arange(n_pairs)
    visited = np.empty((n_diagonals, n_pairs), dtype=np.intp)
    for step in range(n_diagonals):
        visited[step] = at
        if at.max() < n_pairs:  # all are in the first cell
            break
        at = at - back.take(flat.take(at))
    cell = np.ascontiguousarray(visited[: step + 1].T) // n_pairs
    diagonal = cell // n
    first = cell - n * diagonal
    return first, diagonal - first, 1 + np.count_nonzero(diagonal, axis=1)


def edit(
    cost: Cost, lengths: tuple[Lengths, Lengths], gap: Any, dtype: Any = np.float64
) -> Shaped[np.ndarray, " n_pairs"]:
    """Return the least cost of turning one sequence into the other (Needleman and Wunsch 1970, as a minimum).

    Parameters
    ----------
    cost : callable
        Writes the costs of pairing two elements.
    lengths : two (n_pairs,) int arrays
        Number of elements of both sequences of each pair, all positive.
    gap : number
        Cost of an element without a partner.
    dtype : dtype
        Of the costs.

    Returns
    -------
    (n_pairs,) array of `dtype`
    """
    n, m = (int(length.max()) for length in lengths)
    n_pairs = len(lengths[0])
    last = lengths[0] + lengths[1]
    total = np.empty(n_pairs, dtype=dtype)
    # Row i: i elements of the first sequence are used up.
    before, previous, current = (np.zeros((n + 1, n_pairs), dtype=dtype) for _ in range(3))
    best = np.empty((n, n_pairs), dtype=dtype)
    for diagonal in range(1, n + m + 1):
        low, high = max(1, diagonal - m), min(n, diagonal - 1) + 1
        if diagonal <= m:
            current[0] = diagonal * gap
        if diagonal <= n:
            current[diagonal] = diagonal * gap
        if high > low:
            into, least = current[low:high], best[: high - low]
            shift = m - diagonal
            cost(slice(low - 1, high - 1), slice(low + shift, high + shift), into)
            np.add(into, before[low - 1 : high - 1], out=into)
            np.minimum(previous[low - 1 : high - 1], previous[low:high], out=least)
            if gap:
                np.add(least, gap, out=least)
            np.minimum(into, least, out=into)
        ended = np.flatnonzero(last == diagonal)
        total[ended] = current[lengths[0][ended], ended]
        before, previous, current = previous, current, before
    return total


def euclidean_cost(
    first: Float64[np.ndarray, "2 n n_pairs"], second: Float64[np.ndarray, "2 m n_pairs"]
) -> Cost:
    """Return the cost that is the distance of two points.

    Parameters
    ----------
    first : (2, n, n_pairs) array
    second : (2, m, n_pairs) array
        Laid backwards in time.
    """
    scratch = np.empty(first.shape[1:])

    def cost(rows: slice, columns: slice, out: NDArray) -> None:
        other = scratch[: rows.stop - rows.start]
        np.subtract(first[0, rows], second[0, columns], out=out)
        np.multiply(out, out, out=out)
        np.subtract(first[1, rows], second[1, columns], out=other)
        np.multiply(other, other, out=other)
        np.add(out, other, out=out)
        np.sqrt(out, out=out)

    return cost
