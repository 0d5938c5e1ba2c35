"""Scores against their noise ceiling."""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike


def normalize_r(
    r: ArrayLike, ceiling_r: ArrayLike, floor: float = 0.1
) -> Float64[np.ndarray, "... n_voxels"]:
    """Divide correlations by the highest correlation that a perfect model could reach.

    Parameters
    ----------
    r : (..., n_voxels) array
        Correlation of predictions and responses.
    ceiling_r : (n_voxels,) array
        Noise ceiling of the same responses, as a correlation.
    floor : float
        Ceilings below this (or NaN) give NaN: the quotient would be mostly noise of the ceiling.

    Returns
    -------
    (..., n_voxels) array
        1 is as good as possible. Not clipped: estimates scatter above 1.

    Raises
    ------
    ValueError
        The floor is not positive, or the shapes do not match.

    References
    ----------
    Schoppe et al. 2016 (normalised correlation coefficient); Hsu, Borst & Theunissen 2004.
    """
    return _divide(r, ceiling_r, floor, "r", "ceiling_r")


def share_of_explainable_variance(
    r2: ArrayLike, explainable_variance: ArrayLike, floor: float = 0.01
) -> Float64[np.ndarray, "... n_voxels"]:
    """Divide R2 (or a squared correlation) by the share of variance that is signal.

    Parameters
    ----------
    r2 : (..., n_voxels) array
        Coefficient of determination on the responses that the share belongs to, or the square of a
        correlation with them. Squaring a correlation hides its sign: set negative ones to 0 first, as
        `capped_explained_variance` does.
    explainable_variance : (n_voxels,) array
        Share of signal in the variance of those responses.
    floor : float
        Shares below this (or NaN) give NaN. The default is the square of the floor of `normalize_r`.

    Returns
    -------
    (..., n_voxels) array
        1 is as good as possible; not clipped.

    Raises
    ------
    ValueError
        The floor is not positive, or the shapes do not match.
    """
    return _divide(r2, explainable_variance, floor, "r2", "explainable_variance")


def capped_explained_variance(
    r: ArrayLike, explainable_variance: ArrayLike
) -> Float64[np.ndarray, "... n_voxels"]:
    """Squared correlation over the ceiling, negative correlations as 0, at most 1: the Algonauts score of a
    voxel.

    Parameters
    ----------
    r : (..., n_voxels) array
        Correlation of predictions and responses.
    explainable_variance : (n_voxels,) array
        Noise ceiling as a share of variance (not percent).

    Returns
    -------
    (..., n_voxels) array
        In [0, 1]; NaN where the ceiling is 0, negative or NaN. The challenge's score is 100 times the median.

    References
    ----------
    Gifford et al. 2023, arXiv 2301.03198 (The Algonauts Project 2023 Challenge).
    """
    positive = np.clip(np.asarray(r, dtype=np.float64), 0, None)
    smallest = float(np.finfo(np.float64).tiny)
    return np.minimum(_divide(positive**2, explainable_variance, smallest, "r", "explainable_variance"), 1)


def _divide(
    score: ArrayLike, ceiling: ArrayLike, floor: float, score_name: str, ceiling_name: str
) -> Float64[np.ndarray, "... n_voxels"]:
    values, limit = np.asarray(score, dtype=np.float64), np.asarray(ceiling, dtype=np.float64)
    if not floor > 0:
        raise ValueError(f"floor is {floor}; it must be positive, or voxels without signal get huge scores")
    if limit.ndim > 0 and values.shape[-1:] != limit.shape[-1:]:
        raise ValueError(
            f"{score_name} has shape {values.shape} and {ceiling_name} {limit.shape}; the last axis of both"
            " is voxels"
        )
    return values / np.where(limit >= floor, limit, np.nan)
