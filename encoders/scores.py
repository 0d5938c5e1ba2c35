"""How well predictions match responses, voxel by voxel.

Sums are taken in float64 whatever the precision of the inputs, over chunks of voxels so that memory stays bounded.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

# Voxels converted to float64 at once.
CHUNK = 2048


def correlation_score(Y: Any, P: Any) -> Float64[np.ndarray, "n_voxels"]:
    """Pearson correlation between measured and predicted responses.

    Parameters
    ----------
    Y, P : array-like (n_samples, n_voxels)
        Measured and predicted responses; vectors are taken as one voxel.

    Returns
    -------
    ndarray (n_voxels,), float64
        In [-1, 1]; NaN where the measured or the predicted responses are constant, or where any is NaN.

    Raises
    ------
    ValueError
        If the shapes differ or there are fewer than two samples.
    """
    return _per_voxel(_correlation, *_check_pair(Y, P))


def r2_score(Y: Any, P: Any) -> Float64[np.ndarray, "n_voxels"]:
    """Coefficient of determination, 1 - sum (Y - P)^2 / sum (Y - mean Y)^2.

    Parameters
    ----------
    Y, P : array-like (n_samples, n_voxels)
        Measured and predicted responses; vectors are taken as one voxel.

    Returns
    -------
    ndarray (n_voxels,), float64
        At most 1, negative where the mean of the measured responses predicts better; NaN where the measured
        responses are constant, or where any entry is NaN.

    Raises
    ------
    ValueError
        If the shapes differ or there are fewer than two samples.
    """
    return _per_voxel(_r2, *_check_pair(Y, P))


def within_group_correlation(Y: Any, P: Any, groups: Any) -> Float64[np.ndarray, "n_voxels"]:
    """Pearson correlation inside each group, averaged over the groups.

    A model that only tells categories apart scores 0 here, because no difference between groups counts.

    Parameters
    ----------
    Y, P : array-like (n_samples, n_voxels)
        Measured and predicted responses.
    groups : array-like (n_samples,)
        Category of each sample.

    Returns
    -------
    ndarray (n_voxels,), float64
        The mean over groups of the correlation inside the group; NaN where it is undefined in any group.

    Raises
    ------
    ValueError
        If the shapes differ or a group has fewer than two samples.
    """
    measured, predicted = _check_pair(Y, P)
    labels = np.asarray(groups)
    if labels.shape != (len(measured),):
        raise ValueError(
            f"groups has shape {labels.shape}; it must have one label for each of {len(measured)} samples"
        )
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            f"group {names[counts.argmin()]!r} has {counts.min()} sample; a correlation needs at least 2 in each group"
        )
    rows = [np.flatnonzero(labels == name) for name in names]
    return np.mean([_per_voxel(_correlation, measured[index], predicted[index]) for index in rows], axis=0)


def _check_pair(
    Y: Any, P: Any
) -> tuple[Shaped[np.ndarray, "n_samples n_voxels"], Shaped[np.ndarray, "n_samples n_voxels"]]:
    measured, predicted = np.asarray(Y), np.asarray(P)
    if measured.shape != predicted.shape or measured.ndim not in (1, 2):
        raise ValueError(
            f"Y has shape {measured.shape} and P has shape {predicted.shape}; both must be (n_samples, n_voxels)"
        )
    if len(measured) < 2:
        raise ValueError(f"Y has {len(measured)} sample; a score needs at least 2")
    return measured.reshape(len(measured), -1), predicted.reshape(len(measured), -1)


def _per_voxel(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    Y: Shaped[np.ndarray, "n_samples n_voxels"],
    P: Shaped[np.ndarray, "n_samples n_voxels"],
) -> Float64[np.ndarray, "n_voxels"]:
    out = np.empty(Y.shape[1])
    for start in range(0, Y.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = score(Y[:, part].astype(np.float64), P[:, part].astype(np.float64))
    return out


def _correlation(
    y: Float64[np.ndarray, "n_samples n_voxels"], p: Float64[np.ndarray, "n_samples n_voxels"]
) -> Float64[np.ndarray, "n_voxels"]:
    constant = (np.ptp(y, axis=0) == 0) | (np.ptp(p, axis=0) == 0)
    y, p = y - y.mean(0), p - p.mean(0)
    norm = np.sqrt(np.einsum("ij,ij->j", y, y)) * np.sqrt(np.einsum("ij,ij->j", p, p))
    constant |= norm == 0
    r = np.einsum("ij,ij->j", y, p) / np.where(constant, 1.0, norm)
    return np.where(constant, np.nan, np.clip(r, -1.0, 1.0))


def _r2(
    y: Float64[np.ndarray, "n_samples n_voxels"], p: Float64[np.ndarray, "n_samples n_voxels"]
) -> Float64[np.ndarray, "n_voxels"]:
    constant = np.ptp(y, axis=0) == 0
    residual = np.einsum("ij,ij->j", y - p, y - p)
    y = y - y.mean(0)
    total = np.einsum("ij,ij->j", y, y)
    constant |= total == 0
    return np.where(constant, np.nan, 1 - residual / np.where(constant, 1.0, total))
