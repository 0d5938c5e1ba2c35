"""Where voxels and vertices lie: from values to NIfTI or GIFTI images of the brain, and back.

`VolumeGeometry` holds the voxels of a mask in one grid, `SurfaceGeometry` the vertices of both hemispheres.
Values are in the order of the voxels (or of the left and then the right vertices) and are written as float32;
everywhere else is NaN.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimuli.files import atomic_write


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """Voxels of a three-dimensional grid.

    Attributes
    ----------
    voxel_indices : (n_voxels, 3) array of int
        Place of each voxel in the grid, in the order of the values.
    shape : tuple of three int
        Size of the grid in voxels.
    affine : (4, 4) array
        From voxel indices to millimetres.
    space : str
        Name of the standard space that the millimetres belong to, such as "MNI152"; "" for a person's own or an
        unknown one.

    Raises
    ------
    ValueError
        For indices outside the grid or given twice, or another shape.
    """

    voxel_indices: NDArray[np.int64]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    space: str = ""

    def __post_init__(self) -> None:
        indices = _whole_numbers("voxel_indices", self.voxel_indices)
        shape = tuple(int(size) for size in self.shape)
        affine = np.asarray(self.affine, dtype=np.float64)
        if indices.ndim != 2 or indices.shape[1] != 3 or not len(indices):
            raise ValueError(f"voxel_indices has shape {indices.shape}; (n_voxels, 3) is needed")
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape is {shape}; three sizes from 1 upwards are needed")
        if (indices < 0).any() or (indices >= shape).any():
            raise ValueError(
                f"voxel_indices run from {indices.min(axis=0).tolist()} to {indices.max(axis=0).tolist()}, "
                f"outside the grid {shape}"
            )
        if len(np.unique(indices, axis=0)) < len(indices):
            raise ValueError("voxel_indices holds a voxel more than once: each voxel has one value")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
            raise ValueError(
                f"affine of shape {affine.shape} is not an invertible 4 x 4 matrix of finite numbers"
            )
        for name, value in (("voxel_indices", indices), ("shape", shape), ("affine", affine)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.voxel_indices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VolumeGeometry) and _same(self, other)

    @property
    def is_mni(self) -> bool:
        """Whether the millimetres are those of the Montreal template, in any of its versions."""
        return self.space.upper().startswith("MNI")

    @classmethod
    def from_mask(cls, mask: Any) -> "VolumeGeometry":
        """Take the voxels in which a mask is not zero, in C order, as `array[mask != 0]` does.

        Parameters
        ----------
        mask : nibabel image or path
            Three-dimensional (a fourth axis of length 1 is dropped). Its header names the space, see
            `standard_space`.
        """
        image: Any = nibabel.load(mask) if isinstance(mask, str | os.PathLike) else mask
        values = _three_dimensional(image)
        inside = np.argwhere(np.nan_to_num(values) != 0)
        if not len(inside):
            raise ValueError(f"mask of shape {values.shape} is zero everywhere: at least one voxel is needed")
        n_first, n_second, n_third = values.shape
        return cls(inside, (n_first, n_second, n_third), image.affine, standard_space(image))

    def to_image(self, values: ArrayLike, fill: float = np.nan) -> nibabel.Nifti1Image:
        """Put values into the grid.

        Parameters
        ----------
        values : (n_voxels,) array
            One value a voxel.
        fill : float
            Value outside the voxels.

        Returns
        -------
        nibabel.Nifti1Image
            float32 image of shape `shape`; its header says the standard space.
        """
        grid = np.full(self.shape, fill, dtype=np.float32)
        grid[tuple(self.voxel_indices.T)] = _check_values(values, len(self))
        image = nibabel.Nifti1Image(grid, self.affine)
        if self.is_mni or self.space == _TALAIRACH:
            image.set_sform(self.affine, code=4 if self.is_mni else 3)
        return image

    def from_image(self, image: Any) -> NDArray[np.float32]:
        """Read the values of the voxels out of an image in the same grid, (n_voxels,) float32.

        Raises
        ------
        ValueError
            If the image has another shape or affine: resample it first.
        """
        grid = _three_dimensional(image)
        if grid.shape != self.shape or not np.allclose(image.affine, self.affine, rtol=0, atol=1e-4):
            raise ValueError(
                f"image has shape {grid.shape} and affine {np.round(image.affine, 3).tolist()}; the geometry "
                f"has {self.shape} and {np.round(self.affine, 3).tolist()}: resample the image to this grid "
                f"first"
            )
        return grid[tuple(self.voxel_indices.T)].astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the geometry as npz, whole or not at all; `load_geometry` reads it."""
        return _save(path, "volume", self)


@dataclass(frozen=True, eq=False)
class SurfaceGeometry:
    """Vertices of the two hemispheres of a surface.

    Attributes
    ----------
    n_vertices_left, n_vertices_right : int
        Vertices of the whole hemispheres.
    vertices_left, vertices_right : (n,) arrays of int
        Vertices that have values: first those of the left hemisphere, then those of the right. Either may be
        empty.
    space : str
        Name of the surface, such as "fsaverage" or "fsaverage5".

    Raises
    ------
    ValueError
        For vertices outside a hemisphere, given twice, or none at all.
    """

    n_vertices_left: int
    n_vertices_right: int
    vertices_left: NDArray[np.int64]
    vertices_right: NDArray[np.int64]
    space: str = "fsaverage"

    def __post_init__(self) -> None:
        for side in ("left", "right"):
            n_vertices = int(getattr(self, f"n_vertices_{side}"))
            vertices = _whole_numbers(f"vertices_{side}", getattr(self, f"vertices_{side}"))
            if vertices.ndim != 1:
                raise ValueError(f"vertices_{side} has shape {vertices.shape}; (n,) is needed")
            if vertices.size and (vertices.min() < 0 or vertices.max() >= n_vertices):
                raise ValueError(
                    f"vertices_{side} run from {vertices.min()} to {vertices.max()}; the hemisphere has 0 to "
                    f"{n_vertices - 1}"
                )
            if len(np.unique(vertices)) < len(vertices):
                raise ValueError(f"vertices_{side} holds a vertex more than once: each vertex has one value")
            object.__setattr__(self, f"n_vertices_{side}", n_vertices)
            object.__setattr__(self, f"vertices_{side}", vertices)
        if not len(self):
            raise ValueError("vertices_left and vertices_right are both empty: at least one vertex is needed")

    def __len__(self) -> int:
        return len(self.vertices_left) + len(self.vertices_right)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SurfaceGeometry) and _same(self, other)

    def to_hemispheres(self, values: ArrayLike, fill: float = np.nan) -> tuple[NDArray, NDArray]:
        """Put values onto the whole hemispheres, (n_vertices_left,) and (n_vertices_right,) float32."""
        checked = _check_values(values, len(self))
        left = np.full(self.n_vertices_left, fill, dtype=np.float32)
        right = np.full(self.n_vertices_right, fill, dtype=np.float32)
        left[self.vertices_left] = checked[: len(self.vertices_left)]
        right[self.vertices_right] = checked[len(self.vertices_left) :]
        return left, right

    def to_gifti(self, values: ArrayLike) -> tuple[nibabel.GiftiImage, nibabel.GiftiImage]:
        """Put values onto the hemispheres, one GIFTI image each, NaN where there are none.

        Parameters
        ----------
        values : (n_vertices,) array
            Left vertices, then right ones.
        """
        left, right = self.to_hemispheres(values)
        return _gifti(left, "CortexLeft"), _gifti(right, "CortexRight")

    def from_gifti(self, left: nibabel.GiftiImage, right: nibabel.GiftiImage) -> NDArray[np.float32]:
        """Read the values of the vertices out of two GIFTI images, (n_vertices,) float32.

        Raises
        ------
        ValueError
            If an image has another number of vertices.
        """
        parts = []
        for side, image in (("left", left), ("right", right)):
            data = image.agg_data()
            n_vertices = getattr(self, f"n_vertices_{side}")
            if not isinstance(data, np.ndarray) or data.shape != (n_vertices,):
                came = data.shape if isinstance(data, np.ndarray) else f"{len(image.darrays)} arrays"
                raise ValueError(f"{side} image has {came}; one map of {n_vertices} vertices is needed")
            parts.append(data[getattr(self, f"vertices_{side}")].astype(np.float32))
        return np.concatenate(parts)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the geometry as npz, whole or not at all; `load_geometry` reads it."""
        return _save(path, "surface", self)


Geometry = VolumeGeometry | SurfaceGeometry
_CLASSES: dict[str, type[VolumeGeometry] | type[SurfaceGeometry]] = {
    "volume": VolumeGeometry,
    "surface": SurfaceGeometry,
}
_PLAIN = ("shape", "n_vertices_left", "n_vertices_right", "space")


_TALAIRACH, _MNI = "Talairach", "MNI152"
# Codes of the NIfTI-1 header: NIFTI_XFORM_TALAIRACH and NIFTI_XFORM_MNI_152.
_STANDARD_SPACES = {3: _TALAIRACH, 4: _MNI}


def standard_space(image: Any) -> str:
    """Tell from a NIfTI header which standard space an image is in.

    Parameters
    ----------
    image : nibabel image
        What counts is the code of the transform that gives its affine: the sform where there is one, else the
        qform.

    Returns
    -------
    str
        ``"MNI152"`` for code 4, ``"Talairach"`` for code 3, ``""`` for every other code (the scanner, another scan)
        and for images of other formats.
    """
    if not isinstance(image, nibabel.Nifti1Pair):
        return ""
    code = int(image.header["sform_code"]) or int(image.header["qform_code"])
    return _STANDARD_SPACES.get(code, "")


def load_geometry(path: str | os.PathLike[str]) -> Geometry:
    """Read a geometry that `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, corrupt, or holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file: a geometry's save() writes one")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        kind = str(arrays.pop("kind"))
        values = {name: value.tolist() if name in _PLAIN else value for name, value in arrays.items()}
        return _CLASSES[kind](**values)
    except Exception as error:
        # A damaged zip can fail in many ways; all mean the same to whoever asked for the geometry.
        raise ValueError(
            f"{path} is corrupt or holds no geometry ({error}): save the geometry again"
        ) from error


def _check_values(values: ArrayLike, n_values: int) -> NDArray[np.float32]:
    checked = np.asarray(values)
    if checked.shape != (n_values,):
        raise ValueError(
            f"values has shape {checked.shape}; the geometry has {n_values} voxels: ({n_values},) is needed"
        )
    return checked.astype(np.float32)


def _whole_numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} has type {array.dtype}; whole numbers are needed (np.flatnonzero turns a mask into them)"
        )
    return array.astype(np.int64)


def _three_dimensional(image: Any) -> NDArray:
    grid = np.asarray(image.dataobj)
    if grid.ndim == 4 and grid.shape[3] == 1:
        grid = grid[..., 0]
    if grid.ndim != 3:
        raise ValueError(f"image has shape {grid.shape}; one three-dimensional volume is needed")
    return grid


def _gifti(values: NDArray[np.float32], structure: str) -> nibabel.GiftiImage:
    array = nibabel.gifti.GiftiDataArray(values, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
    meta = nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": structure})
    return nibabel.GiftiImage(darrays=[array], meta=meta)


def _same(one: Geometry, other: Geometry) -> bool:
    return all(np.array_equal(value, vars(other)[name]) for name, value in vars(one).items())


def _save(path: str | os.PathLike[str], kind: str, geometry: Geometry) -> Path:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file, kind=np.array(kind), **{k: np.asarray(v) for k, v in vars(geometry).items()}
        )
    return Path(path)
