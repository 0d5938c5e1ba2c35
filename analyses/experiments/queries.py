"""Which voxels each query of a routed encoder reads out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from analyses.datasets import Dataset
from analyses.experiments.config import Queries

REST = "rest"
"""Query of the voxels that no region holds."""


def roi_masks(rois: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Make a mask a region, and one more of the voxels in none.

    Regions that hold every voxel are left out, unless there is no other: a query for all of them says nothing
    about where. Regions without a voxel are left out as well.

    Parameters
    ----------
    rois : mapping of str to bool (n_voxels,)
        Regions; they may overlap.

    Returns
    -------
    masks : ndarray of bool (n_queries, n_voxels)
    names : list of str
    """
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in rois.items()}
    told_apart = {name: mask for name, mask in masks.items() if mask.any() and not mask.all()}
    if not told_apart:
        n_voxels = len(next(iter(masks.values())))
        return np.ones((1, n_voxels), dtype=bool), ["all"]
    rest = ~np.any(list(told_apart.values()), axis=0)
    if rest.any():
        told_apart[REST] = rest
    return np.stack(list(told_apart.values())), list(told_apart)


def label_masks(labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Make a mask a label: parcels, hemispheres, or any partition.

    Parameters
    ----------
    labels : ndarray (n_voxels,)

    Returns
    -------
    masks : ndarray of bool (n_queries, n_voxels)
    names : list of str
    """
    names, codes = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    return codes == np.arange(len(names))[:, None], [str(name) for name in names]


def by_hemisphere(
    masks: np.ndarray, names: list[str], hemispheres: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Divide each mask by hemisphere: a query a region and hemisphere.

    Parameters
    ----------
    masks : ndarray of bool (n_queries, n_voxels)
    names : list of str
    hemispheres : ndarray of str (n_voxels,)

    Returns
    -------
    masks : ndarray of bool (n_queries x n_hemispheres, n_voxels)
        Without those that hold no voxel.
    names : list of str
        ``"left V1v"``.
    """
    sides, side_names = label_masks(hemispheres)
    divided = [
        (mask & side, f"{side_name} {name}")
        for side, side_name in zip(sides, side_names, strict=True)
        for mask, name in zip(masks, names, strict=True)
    ]
    filled = [(mask, name) for mask, name in divided if mask.any()]
    return np.stack([mask for mask, _ in filled]), [name for _, name in filled]


def resolve_queries(
    dataset: Dataset, kept: np.ndarray, choice: Queries
) -> tuple[Literal["all", "voxel"] | np.ndarray, list[str] | None]:
    """Turn a run's choice into the `queries` and `query_names` of an encoder.

    Regions are divided by hemisphere where the responses name hemispheres.

    Parameters
    ----------
    dataset : Dataset
    kept : ndarray of bool (n_neuroids,)
        Voxels that are fitted.
    choice : {"auto", "all", "voxel", "roi", "hemisphere", "parcel"}

    Returns
    -------
    queries : "all", "voxel" or ndarray of bool (n_queries, n_kept)
    query_names : list of str or None

    Raises
    ------
    ValueError
        When the responses lack the coordinate that the choice needs.
    """
    assert dataset.responses is not None  # make_design refuses data without
    rois = {name: np.asarray(mask, dtype=bool)[kept] for name, mask in dataset.rois.items()}
    if choice == "auto":
        choice = "roi" if any(mask.any() and not mask.all() for mask in rois.values()) else "voxel"
    if choice == "all":
        return "all", None
    if choice == "voxel":
        return "voxel", dataset.responses["neuroid_id"].values[kept].astype(str).tolist()
    if choice == "roi":
        masks, names = roi_masks(rois)
        if "hemisphere" in dataset.responses.coords:
            return by_hemisphere(masks, names, dataset.responses["hemisphere"].values[kept].astype(str))
        return masks, names
    return label_masks(_coordinate(dataset, choice)[kept])


def _coordinate(dataset: Dataset, name: str) -> Any:
    assert dataset.responses is not None
    if name not in dataset.responses.coords:
        known = [
            str(key)
            for key, values in dataset.responses.coords.items()
            if values.dims == ("neuroid",) and key != "neuroid_id"
        ]
        raise ValueError(
            f"queries={name!r}: the responses have no coordinate {name!r} on neuroids (they have"
            f" {', '.join(known) or 'none'}); take 'roi', 'voxel' or 'all', or give each neuroid its {name}"
        )
    return dataset.responses[name].values
