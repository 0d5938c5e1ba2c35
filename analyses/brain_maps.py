"""Files of one value a voxel or vertex, as brain viewers open them."""

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.geometry import Geometry, SurfaceGeometry, VolumeGeometry
from stimuli.files import atomic_write


def write_brain_map(
    values: ArrayLike, geometry: Geometry, folder: str | os.PathLike[str], name: str
) -> list[Path]:
    """Write one value a voxel as an image that brain viewers open.

    Parameters
    ----------
    values : (n_voxels,) array
        Written as float32; NaN is allowed and stands outside the voxels too.
    geometry : VolumeGeometry or SurfaceGeometry
        Where the voxels lie.
    folder : path
        Made if it is missing.
    name : str
        File name without ending: letters, digits, dot, dash and underscore.

    Returns
    -------
    list of Path
        ``NAME.nii.gz``, or ``NAME.left.func.gii`` and ``NAME.right.func.gii``.
    """
    if not name or name.startswith(".") or any(not (letter.isalnum() or letter in "._-") for letter in name):
        raise ValueError(f"name is {name!r}; letters, digits, dot, dash and underscore make a file name")
    if isinstance(geometry, VolumeGeometry):
        images: dict[str, Any] = {f"{name}.nii.gz": geometry.to_image(values)}
    else:
        left, right = geometry.to_gifti(values)
        images = {f"{name}.left.func.gii": left, f"{name}.right.func.gii": right}
    paths = []
    for file_name, image in images.items():
        path = Path(folder) / file_name
        content = image.to_bytes()
        with atomic_write(path) as temporary:
            # No time stamp in the gzip header: equal values give equal files.
            temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
        paths.append(path)
    return paths


def read_brain_map(path: str | os.PathLike[str], geometry: Geometry) -> NDArray[np.float32]:
    """Read the values back from a file that `write_brain_map` wrote.

    Parameters
    ----------
    path : path
        The NIfTI file, or either of the two GIFTI files (the other is found beside it).
    geometry : VolumeGeometry or SurfaceGeometry
        Where the voxels lie.

    Returns
    -------
    (n_voxels,) array of float32

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is corrupt or does not fit the geometry.
    """
    paths = [Path(path)]
    if isinstance(geometry, SurfaceGeometry):
        stem = Path(path).name.removesuffix(".left.func.gii").removesuffix(".right.func.gii")
        paths = [Path(path).with_name(f"{stem}.{side}.func.gii") for side in ("left", "right")]
    images: list[Any] = []
    for file in paths:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is no file: write_brain_map writes it")
        try:
            image: Any = nibabel.load(file)
            if isinstance(geometry, VolumeGeometry):
                image = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)
        except Exception as error:
            # nibabel, gzip, zlib and expat each raise their own; all mean a file that cannot be read.
            raise ValueError(f"{file} cannot be read as a brain image ({error}): write it again") from error
        images.append(image)
    if isinstance(geometry, VolumeGeometry):
        return geometry.from_image(images[0])
    return geometry.from_gifti(*images)
