"""Representational similarity analysis: dissimilarity matrices (RDMs), their comparison, their noise
ceiling."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

Dissimilarity = Literal["correlation", "cosine", "euclidean", "squared_euclidean"]
Comparison = Literal["spearman", "pearson", "kendall_tau_a", "cosine"]

DISSIMILARITIES: tuple[str, ...] = ("correlation", "cosine", "euclidean", "squared_euclidean")
COMPARISONS: tuple[str, ...] = ("spearman", "pearson", "kendall_tau_a", "cosine")

_CHUNK_BYTES = 64 << 20
_ASYMMETRY = 1e-6


class RdmCeiling(NamedTuple):
    """Bounds on the mean agreement that any one model RDM can reach with a set of RDMs.

    Attributes
    ----------
    lower, upper : float
        Means over RDMs.
    lower_by_rdm, upper_by_rdm : (n_rdms,) array
        Agreement of each RDM with the pool of the others, and with the pool of all.
    """

    lower: float
    upper: float
    lower_by_rdm: Float64[np.ndarray, "n_rdms"]
    upper_by_rdm: Float64[np.ndarray, "n_rdms"]


def rdm(X: ArrayLike, method: Dissimilarity = "correlation") -> Float64[np.ndarray, "n_stimuli n_stimuli"]:
    """Compute the dissimilarity of every pair of stimuli.

    Parameters
    ----------
    X : (n_stimuli, n_features) array
        Features, voxels or neurons of each stimulus. Read in chunks of features, so that an array on disk is
        never copied whole.
    method : {"correlation", "cosine", "euclidean", "squared_euclidean"}
        ``1 - r`` between two rows, ``1 - cosine``, distance, or squared distance (a sum over features, not a
        mean).

    Returns
    -------
    (n_stimuli, n_stimuli) array
        Symmetric, zero on the diagonal.

    Raises
    ------
    ValueError
        The method is unknown, there are fewer than 2 stimuli, values are not finite, or a row is constant
        (``"correlation"``) or zero (``"cosine"``), so that it has no direction.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4.
    """
    if method not in DISSIMILARITIES:
        raise ValueError(f"method is {method!r}; allowed: {', '.join(DISSIMILARITIES)}")
    x = np.asanyarray(X)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1 or x.dtype.kind not in "fiub":
        raise ValueError(
            f"X has shape {x.shape} and dtype {x.dtype}; real numbers of shape (n_stimuli, n_features)"
            " with at least 2 stimuli are needed"
        )
    n_stimuli, n_features = x.shape
    size = max(1, _CHUNK_BYTES // (8 * n_stimuli))
    chunks = [slice(start, start + size) for start in range(0, n_features, size)]
    row_means = _row_means(x, chunks)
    gram = np.zeros((n_stimuli, n_stimuli))
    for columns in chunks:
        part = x[:, columns].astype(np.float64)
        if method == "correlation":
            part -= row_means
        elif method != "cosine":
            part -= part.mean(axis=0)  # distances stay; the digits that a large mean would cost are kept
        gram += part @ part.T
    squares = gram.diagonal().copy()
    if method in ("correlation", "cosine"):
        _check_direction(x, squares, method)
        lengths = np.sqrt(squares)
        distances = 1 - gram / np.outer(lengths, lengths)
    else:
        scale = squares[:, None] + squares
        distances = scale - 2 * gram
        distances[distances < 1e-14 * scale] = 0  # rounding, which the square root would make visible
    distances = np.clip((distances + distances.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    return np.sqrt(distances) if method == "euclidean" else distances


def upper_triangle(rdms: ArrayLike) -> Float64[np.ndarray, "... n_pairs"]:
    """Take each pair of stimuli once, row by row, as scipy's `squareform` does.

    Parameters
    ----------
    rdms : (..., n_stimuli, n_stimuli) array
        Dissimilarity matrices.

    Returns
    -------
    (..., n_pairs) array

    Raises
    ------
    ValueError
        Not square, not symmetric, not zero on the diagonal, or not finite.
    """
    return _pairs(rdms, "rdms")


def compare_rdms(
    a: ArrayLike, b: ArrayLike, method: Comparison = "spearman"
) -> Float64[np.ndarray, "..."] | float:
    """Compare every RDM of one set with every RDM of another, over the pairs of stimuli.

    Parameters
    ----------
    a, b : (..., n_stimuli, n_stimuli) array
        One RDM, or any number of them, of the same stimuli in the same order.
    method : {"spearman", "pearson", "kendall_tau_a", "cosine"}
        Rank correlation with ties at their mean rank; linear correlation; concordant less discordant over all
        pairs of pairs (for models that predict ties, Nili et al. 2014); cosine.

    Returns
    -------
    float or array
        A number for two single RDMs; else of shape ``a.shape[:-2] + b.shape[:-2]``.

    Raises
    ------
    ValueError
        As in `upper_triangle`; the numbers of stimuli differ or are below 3; an RDM is constant (for cosine:
        all zero), so that it orders nothing.
    """
    _check_comparison(method)
    first, second = _pairs(a, "a"), _pairs(b, "b")
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"a has shape {np.shape(a)} and b {np.shape(b)}; RDMs of the same stimuli are needed"
        )
    _check_variation(first, "a", method)
    _check_variation(second, "b", method)
    flat_a, flat_b = (v.reshape(-1, v.shape[-1]) for v in (first, second))
    result = _compare(flat_a, flat_b, method).reshape(first.shape[:-1] + second.shape[:-1])
    return float(result) if result.ndim == 0 else result


def rdm_noise_ceiling(
    rdms: ArrayLike,
    method: Comparison = "spearman",
    *,
    groups: ArrayLike | None = None,
    rank_pool: bool = True,
) -> RdmCeiling:
    """Bound the mean agreement that one model RDM can reach with the RDMs of several people (or sessions).

    Parameters
    ----------
    rdms : (n_rdms, n_stimuli, n_stimuli) array
        One RDM a person.
    method : {"spearman", "pearson", "kendall_tau_a", "cosine"}
        How models are compared. RDMs are brought to the scale that it sees (ranks, z-scores, unit length)
        before they are pooled.
    groups : (n_rdms,) array, optional
        Whose each RDM is. The lower bound then leaves out all RDMs of the same person: other sessions of one
        person share what is that person's own, and would raise it.
    rank_pool : bool
        Only for Spearman: rank the mean of ranks again, as a model's RDM would be ranked (what rsatoolbox
        does). Without it the upper bound is a little higher, and no model needs to reach it.

    Returns
    -------
    RdmCeiling
        ``lower``: mean agreement of each RDM with the pool of the others. ``upper``: with the pool of all.
        For Kendall's tau a the pool of ranks is close to the best RDM, not proven to be it.

    Raises
    ------
    ValueError
        As in `compare_rdms`; fewer than 2 RDMs, or fewer than 2 groups.

    References
    ----------
    Nili et al. 2014, PLoS Computational Biology 10(4): e1003553, "Estimating the noise ceiling".
    """
    _check_comparison(method)
    values = _pairs(rdms, "rdms")
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"rdms has shape {np.shape(rdms)}; at least 2 RDMs (n_rdms, n, n) are needed")
    _check_variation(values, "rdms", method)
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    if labels.shape != (len(values),) or len(np.unique(labels)) < 2:
        raise ValueError(
            f"groups is {groups!r}; one label for each of {len(values)} RDMs, at least 2 different"
        )
    scaled = _SCALES[method](values)

    def agreement(i: int, pooled: Bool[np.ndarray, "n_rdms"]) -> float:
        pool = scaled[pooled].mean(axis=0, keepdims=True)
        if method == "spearman" and not rank_pool:
            return float(_compare(pool, scaled[i : i + 1], "pearson")[0, 0])
        return float(_compare(pool, values[i : i + 1], method)[0, 0])

    everyone = np.ones(len(values), dtype=bool)
    lower = np.array([agreement(i, labels != labels[i]) for i in range(len(values))])
    upper = np.array([agreement(i, everyone) for i in range(len(values))])
    return RdmCeiling(float(lower.mean()), float(upper.mean()), lower, upper)


def _row_means(
    x: Shaped[np.ndarray, "n_stimuli n_features"], chunks: list[slice]
) -> Float64[np.ndarray, "n_stimuli 1"]:
    """Check that values are finite and return each row's mean."""
    total = np.zeros(len(x))
    for columns in chunks:
        total += x[:, columns].sum(axis=1, dtype=np.float64)
    if not np.isfinite(total).all():
        bad = np.flatnonzero(~np.isfinite(total))
        raise ValueError(
            f"X holds values that are NaN or infinite in {len(bad)} stimuli, the first is row {bad[0]}; leave"
            " out those stimuli or features first"
        )
    return total[:, None] / x.shape[1]


def _check_direction(
    x: Shaped[np.ndarray, "n_stimuli n_features"],
    squares: Float64[np.ndarray, "n_stimuli"],
    method: Dissimilarity,
) -> None:
    flat = np.ptp(x, axis=1) == 0 if method == "correlation" else squares == 0
    if flat.any():
        kind = "constant" if method == "correlation" else "zero"
        raise ValueError(
            f"X is {kind} over features in {flat.sum()} stimuli, the first is row"
            f" {np.flatnonzero(flat)[0]}; the {method} distance to them is not defined: leave"
            " them out or use method='euclidean'"
        )


def _pairs(rdms: ArrayLike, name: str) -> Float64[np.ndarray, "... n_pairs"]:
    matrices = np.asarray(rdms, dtype=np.float64)
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2] or matrices.shape[-1] < 2:
        raise ValueError(f"{name} has shape {matrices.shape}; (..., n_stimuli, n_stimuli) is needed")
    if not np.isfinite(matrices).all():
        count = np.count_nonzero(~np.isfinite(matrices))
        raise ValueError(
            f"{name} holds {count} values that are NaN or infinite; leave out those stimuli first"
        )
    scale = np.abs(matrices).max()
    if np.abs(np.diagonal(matrices, axis1=-2, axis2=-1)).max() > _ASYMMETRY * scale:
        raise ValueError(
            f"{name} is not zero on the diagonal; dissimilarities are needed (1 - similarity, if these are"
            " similarities)"
        )
    if np.abs(matrices - np.swapaxes(matrices, -1, -2)).max() > _ASYMMETRY * scale:
        raise ValueError(
            f"{name} is not symmetric; average it with its transpose if both halves measure the same"
        )
    rows, columns = np.triu_indices(matrices.shape[-1], k=1)
    return matrices[..., rows, columns]


def _check_comparison(method: Comparison) -> None:
    if method not in COMPARISONS:
        raise ValueError(f"method is {method!r}; allowed: {', '.join(COMPARISONS)}")


def _check_variation(pairs: Float64[np.ndarray, "... n_pairs"], name: str, method: Comparison) -> None:
    if pairs.shape[-1] < 3:
        raise ValueError(f"{name} holds {pairs.shape[-1]} pair of stimuli; at least 3 stimuli are needed")
    flat = (pairs == 0).all(axis=-1) if method == "cosine" else np.ptp(pairs, axis=-1) == 0
    if flat.any():
        kind = "zero" if method == "cosine" else "constant"
        raise ValueError(
            f"{name} holds {flat.sum()} RDM that is {kind} over all pairs; it cannot be compared"
        )


def _compare(
    a: Float64[np.ndarray, "n_a n_pairs"], b: Float64[np.ndarray, "n_b n_pairs"], method: Comparison
) -> Float64[np.ndarray, "n_a n_b"]:
    """Compare rows of pairs with rows of pairs."""
    if method == "kendall_tau_a":
        return np.array([[_kendall_tau_a(one, other) for other in b] for one in a])
    first, second = (_unit_length(_SCALES[method](v), centre=method != "cosine") for v in (a, b))
    return np.clip(first @ second.T, -1, 1)


def _kendall_tau_a(a: Float64[np.ndarray, "n_pairs"], b: Float64[np.ndarray, "n_pairs"]) -> float:
    """Undo the correction for ties that scipy's tau b makes."""
    n_pairs = len(a) * (len(a) - 1) / 2
    untied = [n_pairs - _count_ties(values) for values in (a, b)]
    return float(kendalltau(a, b).statistic * np.sqrt(untied[0] / n_pairs * (untied[1] / n_pairs)))


def _count_ties(values: Float64[np.ndarray, "n_pairs"]) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def _ranks(pairs: Float64[np.ndarray, "n_rdms n_pairs"]) -> Float64[np.ndarray, "n_rdms n_pairs"]:
    return np.asarray(rankdata(pairs, axis=-1), dtype=np.float64)


def _unit_length(
    pairs: Float64[np.ndarray, "n_rdms n_pairs"], centre: bool = True
) -> Float64[np.ndarray, "n_rdms n_pairs"]:
    pairs = pairs - pairs.mean(axis=-1, keepdims=True) if centre else pairs
    return pairs / np.linalg.norm(pairs, axis=-1, keepdims=True)


_SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "spearman": _ranks,
    "pearson": _unit_length,
    "kendall_tau_a": _ranks,
    "cosine": lambda pairs: _unit_length(pairs, centre=False),
}
