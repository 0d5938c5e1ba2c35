"""Responses of a user's own folder that stand row by row beside a trial table: arrays, tables or images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyses.datasets.brain_images import (
    SURFACE_ENDING,
    VOLUME_ENDINGS,
    find_surface_pairs,
    neuroid_names,
    read_hemispheres,
    read_mask_geometry,
    read_series,
    split_side,
    surface_geometry,
)
from analyses.datasets.own_tables import find_table, read_matrix, read_trials
from analyses.geometry import Geometry, SurfaceGeometry, VolumeGeometry
from stimuli.files import count_of

RESPONSES = "responses"
MATRIX_ENDINGS = (".npy", ".npz", ".csv", ".tsv")


@dataclass
class Measured:
    """What was measured.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_neuroids)
        Responses.
    trials : dict
        Arguments of `make_responses` that say what each row is.
    source : Path
        Where the values come from, for messages.
    geometry : VolumeGeometry, SurfaceGeometry or None
        Where the columns lie.
    neuroid_ids : list of str or None
        What the columns are called.
    """

    values: NDArray
    trials: dict[str, Any]
    source: Path
    geometry: Geometry | None = None
    neuroid_ids: list[str] | None = None


def response_files(folder: Path) -> list[Path]:
    """Find ``responses.*`` in a folder.

    Parameters
    ----------
    folder : Path
        The folder of one subject.

    Returns
    -------
    list of Path
        One file, or the GIFTI files of the hemispheres, or none.

    Raises
    ------
    ValueError
        If there are responses in several forms.
    """
    exact = [folder / f"{RESPONSES}{ending}" for ending in (*MATRIX_ENDINGS, *VOLUME_ENDINGS)]
    found = [path for path in exact if path.is_file()]
    surfaces = [
        path for path in sorted(folder.glob(f"{RESPONSES}*{SURFACE_ENDING}")) if split_side(path.name)
    ]
    if len(found) > 1 or (found and surfaces):
        names = ", ".join(path.name for path in [*found, *surfaces])
        raise ValueError(f"{folder} holds several responses ({names}); keep one of them.")
    return found or surfaces


def read_rows(folder: Path, space: str | None) -> Measured:
    """Read responses and the trial table beside them.

    Parameters
    ----------
    folder : Path
        The folder of one subject; it holds `response_files`.
    space : str or None
        Name of the surface, or of the standard space of the mask; told by the files where it is None.

    Returns
    -------
    Measured

    Raises
    ------
    FileNotFoundError
        If the trial table, or the mask of NIfTI files, is missing.
    ValueError
        If files are damaged or do not fit together.
    """
    files = response_files(folder)
    geometry: Geometry | None
    if files[0].name.endswith(SURFACE_ENDING):
        left, right = read_hemispheres(find_surface_pairs(folder)[RESPONSES])
        geometry = folder_surface(folder, left.shape[1], right.shape[1], space)
        values, columns = on_surface(left, right, geometry), None
    elif files[0].name.endswith(VOLUME_ENDINGS):
        geometry = folder_volume(folder, space)
        values, columns = read_series(files[0], geometry), None
    else:
        values, columns = read_matrix(files[0], RESPONSES)
        if values.dtype != np.float64:
            values = values.astype(np.float32)
        geometry = folder_volume(folder, space) if find_mask(folder) else None
        if geometry is not None and len(geometry) != values.shape[1]:
            raise ValueError(
                f"{find_mask(folder)} marks {count_of(len(geometry), 'voxel')}, but {files[0]} has "
                f"{count_of(values.shape[1], 'column')}."
            )
    trials = read_trials(find_table(folder, "trials"), len(values))
    names = columns or (neuroid_names(geometry) if geometry is not None else None)
    return Measured(values, trials, files[0], geometry, names)


def find_mask(folder: Path) -> Path | None:
    """Find ``mask.nii.gz`` (or ``.nii``) in a folder.

    Parameters
    ----------
    folder : Path
        The folder of one subject.

    Returns
    -------
    Path or None
    """
    found = [folder / f"mask{ending}" for ending in VOLUME_ENDINGS if (folder / f"mask{ending}").is_file()]
    return found[0] if found else None


def folder_volume(folder: Path, space: str | None) -> VolumeGeometry:
    """Place the voxels that the folder's mask marks.

    Parameters
    ----------
    folder : Path
        The folder of one subject.
    space : str or None
        Name of the mask's standard space; told by its header where it is None.

    Returns
    -------
    VolumeGeometry

    Raises
    ------
    FileNotFoundError
        If there is no mask.
    ValueError
        If it is damaged or empty.
    """
    mask = find_mask(folder)
    if mask is None:
        raise FileNotFoundError(f"There is no mask.nii.gz in {folder}; it says which voxels are read.")
    return read_mask_geometry(mask, space)


def folder_surface(folder: Path, n_left: int, n_right: int, space: str | None) -> SurfaceGeometry:
    """Place the vertices that the folder's mask marks, all of them where there is no mask.

    Parameters
    ----------
    folder : Path
        The folder of one subject; may hold ``mask.lh.gii`` and ``mask.rh.gii``.
    n_left, n_right : int
        Vertices of the whole hemispheres.
    space : str or None
        Name of the surface.

    Returns
    -------
    SurfaceGeometry

    Raises
    ------
    ValueError
        If the mask is damaged or has other numbers of vertices.
    """
    paths = find_surface_pairs(folder).get("mask")
    masks = None
    if paths is not None:
        left, right = read_hemispheres(paths)
        masks = (left[0], right[0])
    return surface_geometry(n_left, n_right, masks, space)


def on_surface(left: NDArray, right: NDArray, geometry: SurfaceGeometry) -> NDArray[np.float32]:
    """Take the vertices of a geometry out of maps of whole hemispheres.

    Parameters
    ----------
    left, right : ndarray of shape (n_maps, n_vertices of the hemisphere)
        Maps.
    geometry : SurfaceGeometry
        Vertices to take.

    Returns
    -------
    ndarray of shape (n_maps, n_vertices)

    Raises
    ------
    ValueError
        If the hemispheres have other numbers of vertices.
    """
    came, needed = (left.shape[1], right.shape[1]), (geometry.n_vertices_left, geometry.n_vertices_right)
    if came != needed:
        raise ValueError(f"hemispheres of {came} vertices came where {needed} are needed.")
    return np.concatenate([left[:, geometry.vertices_left], right[:, geometry.vertices_right]], axis=1)
