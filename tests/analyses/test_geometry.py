"""Values to pictures of the brain and back."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.brain_maps import read_brain_map, write_brain_map
from analyses.geometry import SurfaceGeometry, VolumeGeometry, load_geometry, standard_space

AFFINE = np.array([[-3.5, 0, 0, 68.25], [0, 3.75, 0, -118.1], [0, 0, 3.75, -118.1], [0, 0, 0, 1]])


def volume(n_voxels=30, shape=(5, 4, 3), seed=0):
    places = np.random.default_rng(seed).permutation(np.prod(shape))[:n_voxels]
    return VolumeGeometry(np.stack(np.unravel_index(places, shape), axis=1), shape, AFFINE)


def surface(n_left=12, n_right=7, seed=0):
    rng = np.random.default_rng(seed)
    return SurfaceGeometry(
        50, 40, rng.permutation(50)[:n_left], rng.permutation(40)[:n_right], space="fsaverage5"
    )


def values(n, seed=1):
    drawn = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    drawn[0] = np.nan
    return drawn


@pytest.mark.parametrize("geometry", [volume(), surface(), surface(n_left=0), surface(n_right=0)])
def test_a_brain_map_comes_back_to_the_bit(geometry, tmp_path):
    drawn = values(len(geometry))
    paths = write_brain_map(drawn, geometry, tmp_path / "maps", "r_selected")
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        back = read_brain_map(path, geometry)
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, drawn)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_any_choice_of_voxels_comes_back(n_voxels, seed):
    geometry = volume(n_voxels, seed=seed)
    drawn = values(n_voxels, seed)
    np.testing.assert_array_equal(geometry.from_image(geometry.to_image(drawn)), drawn)


def test_each_value_stands_at_its_voxel_and_nan_everywhere_else():
    geometry = volume()
    drawn = values(30)
    image = geometry.to_image(drawn)
    grid = image.get_fdata()
    np.testing.assert_array_equal(image.affine, AFFINE)
    for (i, j, k), value in zip(geometry.voxel_indices, drawn, strict=True):
        np.testing.assert_array_equal(grid[i, j, k], value)
    assert np.isnan(grid).sum() == 60 - 30 + 1
    assert (geometry.to_image(drawn, fill=0).get_fdata() == 0).sum() == 30


def test_each_value_stands_at_its_vertex_left_ones_first():
    geometry = surface()
    drawn = values(19)
    left, right = geometry.to_gifti(drawn)
    for position, vertex in enumerate(geometry.vertices_left):
        np.testing.assert_array_equal(left.agg_data()[vertex], drawn[position])
    for position, vertex in enumerate(geometry.vertices_right):
        np.testing.assert_array_equal(right.agg_data()[vertex], drawn[12 + position])
    assert np.isnan(right.agg_data()).sum() == 40 - 7
    assert right.meta["AnatomicalStructurePrimary"] == "CortexRight"


def test_a_mask_gives_its_voxels_in_the_order_of_indexing(tmp_path):
    array = np.random.default_rng(0).integers(0, 2, (4, 3, 2)).astype(np.int16)
    mask = nibabel.Nifti1Image(array, AFFINE)
    nibabel.save(mask, tmp_path / "mask.nii.gz")
    image = np.random.default_rng(1).standard_normal((4, 3, 2)).astype(np.float32)
    for source in (mask, tmp_path / "mask.nii.gz"):
        geometry = VolumeGeometry.from_mask(source)
        np.testing.assert_array_equal(
            geometry.from_image(nibabel.Nifti1Image(image, AFFINE)), image[array != 0]
        )


@pytest.mark.parametrize("geometry", [volume(), surface(), replace(volume(), space="MNI152NLin6Asym")])
def test_a_geometry_comes_back_from_its_file(geometry, tmp_path):
    geometry.save(tmp_path / "geometry.npz")
    assert load_geometry(tmp_path / "geometry.npz") == geometry
    assert load_geometry(tmp_path / "geometry.npz") != volume(seed=5)
    assert load_geometry(tmp_path / "geometry.npz") != replace(geometry, space="another")
    assert load_geometry(tmp_path / "geometry.npz").space == geometry.space


def header_of(sform, qform, kind=nibabel.Nifti1Image):
    image = kind(np.ones((2, 2, 2), dtype=np.int16), None)
    image.set_qform(AFFINE, code=qform)
    image.set_sform(AFFINE, code=sform)
    return image


# Codes of the NIfTI-1 standard (nifti1.h): 0 unknown, 1 scanner, 2 aligned to another scan, 3 Talairach, 4 MNI 152.
@pytest.mark.parametrize(
    ("sform", "qform", "space"),
    [(4, 1, "MNI152"), (3, 0, "Talairach"), (0, 4, "MNI152"), (1, 4, ""), (2, 0, ""), (0, 0, ""), (5, 4, "")],
)
def test_the_space_is_that_of_the_transform_that_gives_the_affine(sform, qform, space, tmp_path):
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        nibabel.save(header_of(sform, qform, kind), tmp_path / "mask.nii")
        assert VolumeGeometry.from_mask(tmp_path / "mask.nii").space == space
    assert standard_space(nibabel.MGHImage(np.ones((2, 2, 2), dtype=np.float32), AFFINE)) == ""


@pytest.mark.parametrize(
    ("space", "code"), [("MNI152NLin2009cAsym", 4), ("MNI152", 4), ("Talairach", 3), ("", 2), ("T1w", 2)]
)
def test_a_written_map_says_its_space(space, code, tmp_path):
    (path,) = write_brain_map(values(30), replace(volume(), space=space), tmp_path, "r")
    assert int(nibabel.load(path).header["sform_code"]) == code
    np.testing.assert_allclose(nibabel.load(path).affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("size", [0, 10, 300])
def test_a_truncated_geometry_is_named_as_such(size, tmp_path):
    path = volume().save(tmp_path / "geometry.npz")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"geometry\.npz is corrupt or holds no geometry"):
        load_geometry(path)


def test_a_pickle_in_place_of_a_geometry_is_not_opened(tmp_path):
    np.savez(tmp_path / "geometry.npz", kind=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="holds no geometry"):
        load_geometry(tmp_path / "geometry.npz")


@pytest.mark.parametrize("geometry", [volume(), surface()])
def test_a_truncated_map_is_named_as_such(geometry, tmp_path):
    path = write_brain_map(values(len(geometry)), geometry, tmp_path, "r")[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as a brain image"):
        read_brain_map(path, geometry)


def test_equal_values_give_equal_files(tmp_path):
    first, second = (
        write_brain_map(values(30), volume(), tmp_path / name, "r")[0].read_bytes() for name in "ab"
    )
    assert first == second


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: volume().to_image(np.zeros(29)), r"values has shape \(29,\); the geometry has 30 voxels"),
        (lambda: surface().to_gifti(np.zeros(20)), "the geometry has 19 voxels"),
        (lambda: VolumeGeometry([[0, 0, 5]], (5, 4, 3), AFFINE), "outside the grid"),
        (lambda: VolumeGeometry([[0, 0, 0], [0, 0, 0]], (5, 4, 3), AFFINE), "more than once"),
        (lambda: VolumeGeometry([[0.5, 0, 0]], (5, 4, 3), AFFINE), "whole numbers"),
        (lambda: VolumeGeometry([[0, 0, 0]], (5, 4), AFFINE), "three sizes"),
        (lambda: VolumeGeometry([[0, 0, 0]], (5, 4, 3), np.zeros((4, 4))), "invertible"),
        (lambda: SurfaceGeometry(5, 5, [5], []), "the hemisphere has 0 to 4"),
        (lambda: SurfaceGeometry(5, 5, [1, 1], []), "more than once"),
        (lambda: SurfaceGeometry(5, 5, [], []), "both empty"),
        (lambda: volume().from_image(volume(shape=(4, 5, 3)).to_image(np.zeros(30))), "resample the image"),
        (
            lambda: volume().from_image(nibabel.Nifti1Image(np.zeros((5, 4, 3)), 2 * AFFINE)),
            "resample the image",
        ),
        (
            lambda: VolumeGeometry.from_mask(nibabel.Nifti1Image(np.zeros((2, 2, 2)), AFFINE)),
            "zero everywhere",
        ),
        (lambda: write_brain_map(np.zeros(30), volume(), ".", "../r"), "make a file name"),
    ],
)
def test_bad_input_is_refused_with_a_message_that_says_what_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        load_geometry(tmp_path / "gone.npz")
    left, right = write_brain_map(values(19), surface(), tmp_path, "r")
    right.unlink()
    with pytest.raises(FileNotFoundError, match=r"r\.right\.func\.gii"):
        read_brain_map(left, surface())
