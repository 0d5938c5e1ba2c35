"""What a user's own folder says of its voxels: names, ceilings and regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyses.datasets.array_files import read_npy
from analyses.datasets.brain_images import (
    VOLUME_ENDINGS,
    find_surface_pairs,
    read_hemispheres,
    read_mask_in,
)
from analyses.datasets.own_responses import on_surface
from analyses.datasets.own_tables import number_column, read_matrix, read_table
from analyses.geometry import Geometry, SurfaceGeometry, VolumeGeometry
from stimuli.files import count_of

ROIS = "rois"


def read_voxels(path: Path, n_neuroids: int) -> dict[str, Any]:
    """Read the table of voxels, where there is one.

    Parameters
    ----------
    path : Path
        Table with a row for each column of the responses and, optionally, the columns ``neuroid_id`` and
        ``noise_ceiling_r``.
    n_neuroids : int
        Columns of the responses.

    Returns
    -------
    dict of str to ndarray of shape (n_neuroids,)
        ``noise_ceiling_r`` float64, every other column str.

    Raises
    ------
    ValueError
        If it has another number of rows, a ceiling outside [0, 1], or names that repeat.
    """
    if not path.is_file():
        return {}
    table = read_table(path)
    if len(table) != n_neuroids:
        raise ValueError(
            f"{path} has {count_of(len(table), 'row')}, but the responses have {count_of(n_neuroids, 'column')}."
        )
    columns: dict[str, Any] = {name: table[name].to_numpy(dtype=np.str_) for name in table.columns}
    if "noise_ceiling_r" in columns:
        ceiling = number_column(table, "noise_ceiling_r", path)
        if not ((ceiling >= 0) & (ceiling <= 1)).all():
            raise ValueError(f"{path}, column noise_ceiling_r: correlations from 0 to 1 are needed.")
        columns["noise_ceiling_r"] = ceiling
    if "neuroid_id" in columns and len(set(columns["neuroid_id"])) < n_neuroids:
        raise ValueError(f"{path}, column neuroid_id: names have to differ.")
    return columns


def read_rois(folder: Path, n_neuroids: int, geometry: Geometry | None) -> dict[str, NDArray[np.bool_]]:
    """Read the regions: ``rois.csv`` and the files in ``rois/``.

    Parameters
    ----------
    folder : Path
        The folder of one subject.
    n_neuroids : int
        Columns of the responses.
    geometry : VolumeGeometry, SurfaceGeometry or None
        Where they lie; NIfTI files in ``rois/`` need a volume, GIFTI files a surface.

    Returns
    -------
    dict of str to bool ndarray of shape (n_neuroids,)
        By name of column or file; regions may overlap.

    Raises
    ------
    ValueError
        If a file does not fit the responses, or a region holds none of their columns.
    """
    rois: dict[str, NDArray[np.bool_]] = {}
    table = folder / f"{ROIS}.csv"
    if table.is_file():
        values, names = read_matrix(table, ROIS)
        for column, name in enumerate(names or []):
            rois[name] = _as_mask(values[:, column], n_neuroids, table)
    for path in sorted((folder / ROIS).glob("*.npy")):
        rois[path.stem] = _as_mask(read_npy(path), n_neuroids, path)
    images = [path for path in sorted((folder / ROIS).glob("*")) if path.name.endswith(VOLUME_ENDINGS)]
    pairs = find_surface_pairs(folder / ROIS)
    if (images and not isinstance(geometry, VolumeGeometry)) or (
        pairs and not isinstance(geometry, SurfaceGeometry)
    ):
        raise ValueError(
            f"{folder / ROIS} holds images, but the responses are not placed in such a space; give "
            "regions as .npy files, or a mask.nii.gz with the responses."
        )
    for path in images:
        assert isinstance(geometry, VolumeGeometry)
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        rois[name] = read_mask_in(path, geometry)
    for name, paths in pairs.items():
        assert isinstance(geometry, SurfaceGeometry)
        left, right = read_hemispheres(paths)
        try:
            rois[name] = on_surface(left[:1], right[:1], geometry)[0] != 0
        except ValueError as error:
            raise ValueError(f"{paths[0]} and {paths[1]}: {error}") from error
    if empty := [name for name, mask in rois.items() if not mask.any()]:
        raise ValueError(
            f"{folder}: no voxel of the responses is in {', '.join(empty)}; remove these regions."
        )
    return rois


def _as_mask(values: NDArray, n_neuroids: int, path: Path) -> NDArray[np.bool_]:
    if values.shape != (n_neuroids,) or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{path} holds {values.dtype} of shape {values.shape}; a region is 0 or 1 (or bool) for each "
            f"of the {n_neuroids} columns of the responses."
        )
    return values.astype(bool)
