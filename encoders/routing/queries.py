"""Who asks: one query for all voxels, one each, or masks of voxels that may overlap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimuli.files import unknown_name_message


def query_masks(queries: Any, n_voxels: int) -> NDArray[np.bool_] | None:
    """Return the masks of queries over voxels, or None where each voxel has a query of its own.

    Parameters
    ----------
    queries : {"all", "voxel"} or array-like of bool (n_queries, n_voxels)
        "all" is one query whose mask holds every voxel.
    n_voxels : int

    Returns
    -------
    ndarray of bool (n_queries, n_voxels) or None

    Raises
    ------
    ValueError
        If the masks have another shape or other entries than 0 and 1, a query holds no voxel, or a voxel is outside
        every mask.
    """
    if isinstance(queries, str):
        if queries == "voxel":
            return None
        if queries == "all":
            return np.ones((1, n_voxels), dtype=bool)
        raise ValueError(
            f"queries is {queries!r}; allowed are 'all', 'voxel' and a boolean array (n_queries, n_voxels)"
        )
    masks = np.asarray(queries)
    if masks.ndim != 2 or masks.shape[1] != n_voxels:
        raise ValueError(
            f"queries has shape {masks.shape}; masks over these responses have the shape (n_queries, {n_voxels})"
        )
    if masks.dtype.kind not in "biuf" or not np.isin(masks, (0, 1)).all():
        raise ValueError("queries has entries other than True and False: give boolean masks over voxels")
    masks = masks.astype(bool)
    empty = np.flatnonzero(~masks.any(1))
    if empty.size:
        raise ValueError(
            f"queries has {empty.size} mask(s) without a voxel, the first in row {empty[0]}: leave them out"
        )
    outside = np.flatnonzero(~masks.any(0))
    if outside.size:
        raise ValueError(
            f"{outside.size} of {n_voxels} voxels are in no mask of queries, the first is voxel {outside[0]}: add a "
            "row that holds the rest, or leave these voxels out of Y"
        )
    return masks


def count_queries(queries: Any, n_voxels: int) -> int:
    """Return the number of queries; `queries` as in `query_masks`."""
    masks = query_masks(queries, n_voxels)
    return n_voxels if masks is None else len(masks)


def check_query_names(names: Sequence[str] | None, n_queries: int) -> None:
    """Raise ValueError unless there are no names or one different name a query."""
    if names is None:
        return
    names = list(names)
    if len(names) != n_queries or len(set(names)) != n_queries:
        raise ValueError(
            f"query_names holds {len(names)} names, {len(set(names))} of them different, for {n_queries} queries: "
            "give one different name a query, or None"
        )


def choose_queries(wanted: Any, n_queries: int, names: Sequence[str] | None) -> NDArray[np.int64]:
    """Return the numbers of the wanted queries.

    Parameters
    ----------
    wanted : None, int, str, or sequence of int, bool or str
        None takes all; names are looked up among `names`.
    n_queries : int
    names : sequence of str, optional

    Raises
    ------
    KeyError
        If a name is unknown.
    ValueError
        If a number is out of range, or a boolean mask has another length.
    """
    if wanted is None:
        return np.arange(n_queries)
    chosen = np.atleast_1d(np.asarray(wanted))
    if chosen.dtype.kind in "US":
        known = {name: number for number, name in enumerate(names or ())}
        for name in chosen:
            if str(name) not in known:
                hint = "" if known else "this encoder has no query_names: give numbers"
                raise KeyError(unknown_name_message("query", str(name), known, hint))
        return np.array([known[str(name)] for name in chosen])
    if chosen.dtype == bool:
        if chosen.shape != (n_queries,):
            raise ValueError(f"queries is a mask of shape {chosen.shape}; there are {n_queries} queries")
        return np.flatnonzero(chosen)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not ((chosen >= 0) & (chosen < n_queries)).all():
        raise ValueError(f"queries must be numbers from 0 to {n_queries - 1}, names or a boolean mask")
    return chosen.astype(np.int64)
