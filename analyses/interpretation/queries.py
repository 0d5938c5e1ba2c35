"""How alike the learned queries of ROIs, parcels or voxels are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from analyses.statistics.permutation import permutation_p_values

FloatArray = NDArray[np.float64]


def query_similarity(query_embeddings: ArrayLike | Sequence[ArrayLike]) -> FloatArray:
    """Return the cosine between queries, averaged over models.

    Each model learns axes of its own, so embeddings of different models cannot be averaged; their cosines can.

    Parameters
    ----------
    query_embeddings : (n_members, n_queries, d_model) array, or a sequence of them
        `query_embeddings_` of one fitted encoder or several (other layers or folds), whose width may differ.

    Returns
    -------
    (n_queries, n_queries) array
        In [-1, 1], symmetric, 1 on the diagonal.

    Raises
    ------
    ValueError
        Another number of axes, other queries in one model than in another, values that are not finite, or a query
        that is zero and has no direction.

    References
    ----------
    Adeli, Sun & Kriegeskorte 2025, arXiv:2505.17329, figures S5-S8.
    """
    models = query_embeddings if isinstance(query_embeddings, list | tuple) else [query_embeddings]
    arrays = [np.asarray(model, dtype=np.float64) for model in models]
    shapes = [array.shape for array in arrays]
    if not arrays or any(len(s) != 3 or 0 in s for s in shapes) or len({s[1] for s in shapes}) > 1:
        raise ValueError(
            f"query_embeddings has shapes {shapes}; each is (n_members, n_queries, d_model), with the same queries"
        )
    members = [member for array in arrays for member in array]
    norms = [np.linalg.norm(member, axis=1, keepdims=True) for member in members]
    for norm in norms:
        if not np.isfinite(norm).all() or (norm == 0).any():
            row = int(np.flatnonzero(~np.isfinite(norm[:, 0]) | (norm[:, 0] == 0))[0])
            raise ValueError(
                f"query_embeddings: query {row} is zero or not finite in one model; it has no direction"
            )
    cosines = np.mean([(m / n) @ (m / n).T for m, n in zip(members, norms, strict=True)], axis=0)
    cosines = np.clip((cosines + cosines.T) / 2, -1, 1)
    np.fill_diagonal(cosines, 1.0)
    return cosines


def query_order(similarity: ArrayLike) -> NDArray[np.intp]:
    """Order queries so that similar ones stand together: the leaves of an average-linkage tree.

    Parameters
    ----------
    similarity : (n_queries, n_queries) array
        Symmetric, as `query_similarity` returns it.

    Returns
    -------
    (n_queries,) array of int
        Of all orders that the tree allows, the one with the most alike neighbours.

    Raises
    ------
    ValueError
        The matrix is not square, symmetric and finite.

    References
    ----------
    Bar-Joseph, Gifford & Jaakkola 2001, Bioinformatics 17 Suppl 1, S22-S29 (optimal leaf ordering).
    """
    matrix = _check_similarity(similarity)
    if len(matrix) < 3:
        return np.arange(len(matrix))
    distances = squareform(np.maximum(matrix.max() - matrix, 0), checks=False)
    return np.asarray(leaves_list(linkage(distances, "average", optimal_ordering=True)), dtype=np.intp)


def query_coordinates(similarity: ArrayLike, n_dimensions: int = 2) -> FloatArray:
    """Lay queries out so that distances show dissimilarity: classical multidimensional scaling.

    Parameters
    ----------
    similarity : (n_queries, n_queries) array
        Cosines; as the squared distance between directions ``2 - 2 cos`` is taken.
    n_dimensions : int
        At most the number of queries.

    Returns
    -------
    (n_queries, n_dimensions) array
        Centred; axes in order of the variance they carry, the entry farthest from zero of each being positive.

    Raises
    ------
    ValueError
        The matrix is not square, symmetric and finite, or has fewer queries than dimensions.

    References
    ----------
    Torgerson 1952, Psychometrika 17, 401-419.
    """
    matrix = _check_similarity(similarity)
    if not 1 <= n_dimensions <= len(matrix):
        raise ValueError(
            f"n_dimensions is {n_dimensions}; between 1 and {len(matrix)} (the queries) are possible"
        )
    # Centring the cosines twice is centring -1/2 of the squared distances 2 - 2 cos.
    centred = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    values, vectors = np.linalg.eigh(centred)
    axes = vectors[:, ::-1][:, :n_dimensions] * np.sqrt(np.maximum(values[::-1][:n_dimensions], 0))
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_dimensions)])
    return axes * np.where(signs == 0, 1, signs)


@dataclass(frozen=True)
class GroupSimilarity:
    """Similarity of queries within and between groups.

    Attributes
    ----------
    within, between : float
        Mean cosine over pairs of different queries of one group, and of two groups.
    difference : float
        ``within - between``.
    p_value : float
        One-sided, by permuting the groups' labels over queries.
    """

    within: float
    between: float
    difference: float
    p_value: float


def compare_query_groups(
    similarity: ArrayLike, groups: ArrayLike, n_permutations: int = 2000, seed: int = 0
) -> GroupSimilarity:
    """Ask whether queries of one group (of ROIs: bodies, faces, places; a hemisphere) are more alike than others.

    Parameters
    ----------
    similarity : (n_queries, n_queries) array
    groups : (n_queries,) array
        Label of each query's group.
    n_permutations, seed : int

    Returns
    -------
    GroupSimilarity

    Raises
    ------
    ValueError
        Shapes differ, there is one group only, or no group has two queries.

    References
    ----------
    Mantel 1967, Cancer Research 27, 209-220 (permutation of the rows and columns of a distance matrix).
    """
    matrix, labels = _check_similarity(similarity), np.asarray(groups)
    if labels.shape != (len(matrix),):
        raise ValueError(
            f"groups has shape {labels.shape} for {len(matrix)} queries; one label each is needed"
        )
    pairs = np.triu_indices(len(matrix), 1)
    values, codes = matrix[pairs], np.unique(labels, return_inverse=True)[1]
    same = codes[pairs[0]] == codes[pairs[1]]
    if same.all() or not same.any():
        raise ValueError("groups needs at least two groups, and one of them at least two queries")
    rng = np.random.default_rng(seed)
    null = np.empty(n_permutations)
    for draw in range(n_permutations):
        shuffled = rng.permutation(codes)
        drawn = shuffled[pairs[0]] == shuffled[pairs[1]]
        null[draw] = values[drawn].mean() - values[~drawn].mean()
    within, between = float(values[same].mean()), float(values[~same].mean())
    p_value = float(permutation_p_values(within - between, null))
    return GroupSimilarity(within, between, within - between, p_value)


def _check_similarity(similarity: ArrayLike) -> FloatArray:
    matrix = np.asarray(similarity, dtype=np.float64)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and matrix.size > 0
    if not square or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, atol=1e-6):
        raise ValueError(
            f"similarity has shape {matrix.shape}; a symmetric, finite (n_queries, n_queries) matrix is needed, as"
            " query_similarity returns it"
        )
    return matrix
