"""Dynamic time warping of scanpaths."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from analyses.metrics.scanpath.alignment import euclidean_cost, warp
from analyses.metrics.scanpath.ragged import FloatArray, check_paired, length_batches, pack_places


def dtw(a: Sequence[ArrayLike], b: Sequence[ArrayLike]) -> FloatArray:
    """Return the least sum of distances between fixations that are aligned in order.

    Parameters
    ----------
    a, b : sequence of (n_fixations, 2) array
        Scanpaths, x and y in pixels; a[i] is compared with b[i]. Fixations off the display count as they are.

    Returns
    -------
    (n_pairs,) array
        In pixels, 0 for equal scanpaths; it grows with their lengths. NaN where one has no fixations.

    Raises
    ------
    ValueError
        If there are not as many scanpaths in both, or places are not finite.

    References
    ----------
    Sakoe & Chiba 1978, IEEE Transactions on Acoustics, Speech and Signal Processing 26: 43-49 (symmetric steps of
    weight 1, no window).
    """
    first, second = pack_places(a, "a"), pack_places(b, "b")
    distances = np.full(check_paired(first, second), np.nan)
    known = np.flatnonzero((first.lengths > 0) & (second.lengths > 0))
    for batch in length_batches(first.lengths[known], second.lengths[known]):
        rows = known[batch]
        lengths = first.lengths[rows], second.lengths[rows]
        places = (
            first.padded(rows, int(lengths[0].max())),
            second.padded(rows, int(lengths[1].max()), reverse=True),
        )
        distances[rows] = warp(euclidean_cost(*places), lengths)
    return distances
