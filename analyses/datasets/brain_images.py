"""NIfTI and GIFTI files as rows of responses, with damage named."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from analyses.datasets.array_files import check_file
from analyses.geometry import Geometry, SurfaceGeometry, VolumeGeometry, standard_space

VOLUME_ENDINGS = (".nii.gz", ".nii")
SURFACE_ENDING = ".gii"
_SIDE = re.compile(r"[._](hemi-L|hemi-R|lh|rh|left|right)(?=[._])")
_LEFT = {"hemi-L", "lh", "left"}
_KIND_OF_GIFTI = re.compile(r"\.(func|shape|label)$")
_SPACE_OF_SIZE = {
    642: "fsaverage3",
    2562: "fsaverage4",
    10242: "fsaverage5",
    40962: "fsaverage6",
    163842: "fsaverage",
    32492: "fsLR_32k",
}
_AFFINE_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Mask:
    """Voxels of a grid: `inside` (x, y, z) bool, the 4 x 4 `affine` to millimetres, the standard `space`."""

    inside: NDArray[np.bool_]
    affine: NDArray[np.float64]
    space: str


def surface_space(n_vertices: int) -> str:
    """Name the usual surface with so many vertices in a hemisphere.

    Parameters
    ----------
    n_vertices : int
        Vertices of one hemisphere.

    Returns
    -------
    str
        ``"fsaverage5"`` for 10242, and so on; ``"unknown"`` for a number that no usual surface has.
    """
    return _SPACE_OF_SIZE.get(n_vertices, "unknown")


def read_mask(path: Path) -> Mask:
    """Read a mask: not zero is inside.

    Parameters
    ----------
    path : Path
        NIfTI file of three dimensions.

    Returns
    -------
    Mask

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or has more dimensions.
    """
    image = _load(path)
    values = np.asarray(_volume_data(path, image))
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise ValueError(f"{path} has shape {values.shape}; a mask has three dimensions.")
    inside = np.nan_to_num(values) != 0
    return Mask(inside, np.asarray(image.affine, dtype=np.float64), standard_space(image))


def read_mask_geometry(path: Path, space: str | None = None) -> VolumeGeometry:
    """Place the voxels that a mask marks.

    Parameters
    ----------
    path : Path
        NIfTI file of three dimensions.
    space : str, optional
        Name of its standard space; by default told by its header.

    Returns
    -------
    VolumeGeometry
        In C order of the indices.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or marks no voxel.
    """
    mask = read_mask(path)
    try:
        voxels = VolumeGeometry.from_mask(nibabel.Nifti1Image(mask.inside.astype(np.uint8), mask.affine))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return replace(voxels, space=mask.space if space is None else space)


def read_mask_in(path: Path, geometry: VolumeGeometry) -> NDArray[np.bool_]:
    """Tell which voxels of a geometry a mask marks.

    Parameters
    ----------
    path : Path
        NIfTI file of three dimensions, in the grid of the geometry.
    geometry : VolumeGeometry
        Voxels.

    Returns
    -------
    ndarray of bool, shape (n_voxels,)

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or in another grid.
    """
    mask = read_mask(path)
    try:
        return geometry.from_image(nibabel.Nifti1Image(mask.inside.astype(np.uint8), mask.affine)) != 0
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_series(path: Path, geometry: VolumeGeometry) -> NDArray[np.float32]:
    """Read the voxels of a geometry out of a series of volumes.

    Parameters
    ----------
    path : Path
        NIfTI file of four dimensions (three are taken as one volume).
    geometry : VolumeGeometry
        Voxels to read, in the grid of the file.

    Returns
    -------
    ndarray of float32, shape (n_volumes, n_voxels)

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or its grid is not that of the geometry.
    """
    image = _load(path)
    if image.shape[:3] != tuple(geometry.shape) or not np.allclose(
        image.affine, geometry.affine, atol=_AFFINE_TOLERANCE_MM
    ):
        raise ValueError(
            f"{path} has shape {image.shape} and another affine or grid than the mask, {geometry.shape}. "
            "Resample one onto the other (nilearn.image.resample_to_img)."
        )
    data = _volume_data(path, image)
    if data.ndim not in (3, 4):
        raise ValueError(f"{path} has shape {data.shape}; a series of volumes has four dimensions.")
    values = data.reshape(*data.shape[:3], -1)[tuple(geometry.voxel_indices.T)]
    return np.ascontiguousarray(values.T, dtype=np.float32)


def split_side(name: str) -> tuple[str, str] | None:
    """Split the name of a GIFTI file into what it is and the hemisphere.

    Parameters
    ----------
    name : str
        File name such as ``run-01.lh.func.gii`` or ``run-01_hemi-L_bold.func.gii``.

    Returns
    -------
    tuple of str or None
        Name without ending and hemisphere, and ``"left"`` or ``"right"``; None where no hemisphere is named.
    """
    found = _SIDE.search(name)
    if found is None:
        return None
    rest = name[: found.start()] + name[found.end() :]
    rest = _KIND_OF_GIFTI.sub("", rest.removesuffix(SURFACE_ENDING))
    return rest, "left" if found.group(1) in _LEFT else "right"


def find_surface_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """List the GIFTI files of a folder in pairs of hemispheres.

    Parameters
    ----------
    folder : Path
        Where to look; not below it.

    Returns
    -------
    dict of str to (left, right) paths
        By name without ending and hemisphere, sorted.

    Raises
    ------
    FileNotFoundError
        If one of a pair is missing.
    ValueError
        If several files have one name, or a file names no hemisphere.
    """
    sides: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob(f"*{SURFACE_ENDING}")):
        parts = split_side(path.name)
        if parts is None:
            raise ValueError(
                f"{path} names no hemisphere; write .lh. or .rh. (or _hemi-L, _hemi-R) into its name."
            )
        stem, side = parts
        if side in sides.setdefault(stem, {}):
            raise ValueError(f"{path} and {sides[stem][side]} are both the {side} hemisphere of {stem}.")
        sides[stem][side] = path
    for stem, found in sides.items():
        if len(found) != 2:
            (only,) = found.values()
            raise FileNotFoundError(f"{only} has no partner of the other hemisphere ({stem}).")
    return {stem: (found["left"], found["right"]) for stem, found in sorted(sides.items())}


def read_hemispheres(paths: tuple[Path, Path]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read the maps (or volumes of a series) of both hemispheres.

    Parameters
    ----------
    paths : tuple of Path
        Left and right GIFTI file; one data array a map.

    Returns
    -------
    tuple of ndarray of float32, shapes (n_maps, n_vertices_left) and (n_maps, n_vertices_right)

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or the hemispheres have different numbers of maps.
    """
    left, right = (_read_gifti(path) for path in paths)
    if len(left) != len(right):
        raise ValueError(
            f"{paths[0]} has {len(left)} maps and {paths[1]} has {len(right)}; they have to agree."
        )
    return left, right


def surface_geometry(
    n_left: int, n_right: int, mask: tuple[np.ndarray, np.ndarray] | None, space: str | None
) -> SurfaceGeometry:
    """Place vertices on a surface.

    Parameters
    ----------
    n_left, n_right : int
        Vertices of the whole hemispheres.
    mask : tuple of ndarray, optional
        Which of them are kept (not zero), left and right; all by default.
    space : str, optional
        Name of the surface; by default told by the number of vertices.

    Returns
    -------
    SurfaceGeometry

    Raises
    ------
    ValueError
        If the mask has another number of vertices.
    """
    kept: list[np.ndarray] = []
    for side, (n_vertices, values) in enumerate(zip((n_left, n_right), mask or (None, None), strict=True)):
        if values is not None and np.shape(values) != (n_vertices,):
            raise ValueError(
                f"the {('left', 'right')[side]} mask has shape {np.shape(values)} for {n_vertices} vertices."
            )
        kept.append(np.arange(n_vertices) if values is None else np.flatnonzero(np.nan_to_num(values)))
    return SurfaceGeometry(n_left, n_right, kept[0], kept[1], space=space or surface_space(n_left))


def neuroid_names(geometry: Geometry) -> list[str]:
    """Name voxels by their indices (``"10-20-5"``) and vertices by hemisphere and number (``"lh-163"``).

    Parameters
    ----------
    geometry : VolumeGeometry or SurfaceGeometry
        Where they lie.

    Returns
    -------
    list of str
    """
    if isinstance(geometry, VolumeGeometry):
        return ["-".join(map(str, ijk)) for ijk in geometry.voxel_indices.tolist()]
    sides = (("lh", geometry.vertices_left), ("rh", geometry.vertices_right))
    return [f"{side}-{vertex}" for side, vertices in sides for vertex in vertices.tolist()]


def _load(path: Path) -> Any:
    check_file(path)
    try:
        return nibabel.load(path)
    except Exception as error:  # nibabel passes on whatever gzip, expat or numpy raised
        raise ValueError(
            f"{path} is not a readable NIfTI or GIFTI file ({error}). Copy or convert it again."
        ) from error


def _volume_data(path: Path, image: Any) -> np.ndarray:
    if not isinstance(image, nibabel.Nifti1Image):
        raise ValueError(f"{path} is a {type(image).__name__}; a NIfTI file (.nii, .nii.gz) is needed.")
    try:
        return image.get_fdata(dtype=np.float32, caching="unchanged")
    except Exception as error:  # EOFError, zlib.error, OSError, ValueError: all of them mean damage
        raise ValueError(f"{path} is truncated or damaged ({error}). Copy or convert it again.") from error


def _read_gifti(path: Path) -> NDArray[np.float32]:
    image = _load(path)
    if not isinstance(image, nibabel.GiftiImage) or not image.darrays:
        raise ValueError(f"{path} holds no GIFTI data arrays.")
    arrays = [np.asarray(array.data) for array in image.darrays]
    if any(array.shape != arrays[0].shape for array in arrays) or arrays[0].ndim not in (1, 2):
        raise ValueError(f"{path} holds data arrays of shapes {sorted({array.shape for array in arrays})}.")
    # One array a map is usual; some programs write a single (vertex, map) array.
    values = np.stack(arrays) if arrays[0].ndim == 1 else np.concatenate([array.T for array in arrays])
    return values.astype(np.float32)
