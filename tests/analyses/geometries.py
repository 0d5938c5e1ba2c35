"""Places for simulated voxels."""

from __future__ import annotations

import numpy as np

from analyses.geometry import SurfaceGeometry, VolumeGeometry

#: As in the packaged Haxby slice: x runs to the left, voxels of 3.1 x 3.75 x 3.75 mm.
AFFINE = np.array([[-3.1, 0, 0, 60.45], [0, 3.75, 0, -35.6], [0, 0, 3.75, 0], [0, 0, 0, 1.0]])


def half_slice(n_voxels: int = 530) -> VolumeGeometry:
    """Half an axial slice of 40 x 20 x 1 voxels: the `n_voxels` nearest to the centre of its front edge."""
    x, y = np.indices((40, 20)).reshape(2, -1)
    nearest = np.argsort(((x - 19.5) / 20) ** 2 + ((y - 19.5) / 19) ** 2, kind="stable")[:n_voxels]
    voxels = np.column_stack([x, y, np.zeros_like(x)])[np.sort(nearest)]
    return VolumeGeometry(voxels, (40, 20, 1), AFFINE)


def whole_brain(n_voxels: int = 8000, affine: np.ndarray | None = None) -> VolumeGeometry:
    """An ellipsoid in a grid of 4 mm voxels around the origin."""
    grid = np.indices((44, 54, 40)).reshape(3, -1).T
    distance = np.linalg.norm((grid - [22, 27, 20]) / [17, 22, 16], axis=1)
    voxels = grid[np.sort(np.argsort(distance, kind="stable")[:n_voxels])]
    place = np.diag([4.0, 4.0, 4.0, 1.0])
    place[:3, 3] = [-88, -124, -70]
    return VolumeGeometry(voxels, (44, 54, 40), place if affine is None else affine)


def back_of_fsaverage(n_vertices: int = 10_242, n_each: int = 2500) -> SurfaceGeometry:
    """The hindmost vertices of both hemispheres of an fsaverage surface, as visual cortex is."""
    from nilearn.datasets import load_fsaverage

    mesh = load_fsaverage("fsaverage5")["white_matter"].parts
    hindmost = {
        side: np.sort(np.argsort(mesh[side].coordinates[:, 1])[:n_each]) for side in ("left", "right")
    }
    return SurfaceGeometry(n_vertices, n_vertices, hindmost["left"], hindmost["right"], space="fsaverage")
