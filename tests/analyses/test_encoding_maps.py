"""Runs on whole brains and on surfaces: pictures where the values lie, words for what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from analyses.brain_maps import read_brain_map
from analyses.datasets.dataset import Dataset, NeuroidKind, make_responses
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from analyses.geometry import Geometry, VolumeGeometry, load_geometry
from stimuli import StimulusSet
from tests.analyses.geometries import back_of_fsaverage
from tests.analyses.page import Page
from tests.analyses.small_data import small_info

N_IMAGES = 40


def mni_mask(code: int = 4) -> VolumeGeometry:
    """Take nilearn's mask of the MNI 152 template in voxels of 12 mm, with a code that says what it is."""
    from nilearn.datasets import load_mni152_brain_mask

    mask = load_mni152_brain_mask(resolution=12)
    image = nibabel.Nifti1Image(mask.get_fdata().astype(np.uint8), mask.affine)
    image.set_sform(mask.affine, code=code)
    return VolumeGeometry.from_mask(image)


def planted(geometry: Geometry, responsive: np.ndarray, kind: NeuroidKind) -> Dataset:
    """Images of 4 x 4 pixels, shown twice; responsive voxels read them, the others are noise."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (N_IMAGES, 4, 4), dtype=np.uint8)
    pixels = images.reshape(N_IMAGES, -1) / 255
    weights = generator.standard_normal((16, len(geometry))) * responsive
    shown = np.tile(np.arange(N_IMAGES), 2)
    values = ((pixels - pixels.mean(0)) @ weights)[shown]
    values = values + 0.5 * generator.standard_normal(values.shape)
    ids = np.array([f"image{i:02}" for i in range(N_IMAGES)])
    responses = make_responses(values.astype(np.float32), ids[shown])
    info = replace(small_info("planted"), neuroid_kind=kind)
    return Dataset(info, "1", StimulusSet(ids, images=images), responses, "trials", geometry=geometry)


def run(dataset: Dataset, out: Path, n_permutations: int = 79) -> xr.Dataset:
    config = EncodingConfig(
        dataset="planted",
        spaces=(FeatureSpace(backbone="pixels"),),
        alphas=(1.0,),
        n_folds=3,
        n_permutations=n_permutations,
        n_bootstrap=20,
    )
    return run_encoding(config, out, dataset=dataset, progress=False)


def red(picture: Path, start: float, stop: float) -> float:
    """Share of strongly red pixels between two shares of a picture's width."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    part = pixels[:, int(start * pixels.shape[1]) : int(stop * pixels.shape[1])]
    return float(((part[..., 0] > 90) & (part[..., 1:] < 70).all(axis=2)).mean())


@pytest.fixture(scope="module")
def mni_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset, VolumeGeometry]:
    geometry = mni_mask()
    x_mm = geometry.voxel_indices @ geometry.affine[0, :3] + geometry.affine[0, 3]
    out = tmp_path_factory.mktemp("runs") / "mni"
    return out, run(planted(geometry, x_mm < -8, "voxels"), out), geometry


def test_a_whole_brain_in_mni_space_is_drawn_in_glass(
    mni_run: tuple[Path, xr.Dataset, VolumeGeometry],
) -> None:
    out, results, geometry = mni_run
    assert results.attrs["space"] == "MNI152"
    assert load_geometry(out / "geometry.npz") == geometry
    # The glass brain: from the left, from behind, from the right, from above. The left hemisphere was planted.
    picture = out / "figures" / "map_r.png"
    assert red(picture, 0.0, 0.24) > 0.2
    assert red(picture, 0.45, 0.68) < 0.002
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "Glass brain: the head from the left" in page.text
    assert "of voxels with q ≤ 0.05 only" in page.text
    assert "MNI152" in page.text
    assert any("on a glass brain" in str(image["alt"]) for image in page.all("img"))


def test_maps_on_disk_say_their_space_and_hold_the_scores(
    mni_run: tuple[Path, xr.Dataset, VolumeGeometry],
) -> None:
    out, results, geometry = mni_run
    assert int(nibabel.load(out / "maps" / "r.nii.gz").header["sform_code"]) == 4
    found = read_brain_map(out / "maps" / "r.nii.gz", geometry)
    np.testing.assert_array_equal(found, results["r"].values[0])


def test_a_volume_in_another_space_is_drawn_in_slices(tmp_path: Path) -> None:
    geometry = mni_mask(code=1)
    assert geometry.space == ""
    results = run(planted(geometry, np.ones(len(geometry)), "voxels"), tmp_path / "run", n_permutations=4)
    assert "space" not in results.attrs
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "Glass brain" not in page.text
    assert "the dark line surrounds voxels" in page.text


def test_a_surface_is_drawn_inflated_and_speaks_of_vertices(tmp_path: Path) -> None:
    geometry = replace(back_of_fsaverage(n_each=1000), space="fsaverage5")
    left = np.arange(len(geometry)) < len(geometry.vertices_left)
    out = tmp_path / "run"
    results = run(planted(geometry, left, "vertices"), out, n_permutations=4)
    assert (results.attrs["space"], results.attrs["neuroids"]) == ("fsaverage5", "vertices")
    pixels = np.asarray(Image.open(out / "figures" / "map_r.png").convert("RGB")).astype(int)
    strong = (pixels[..., 0] > 90) & (pixels[..., 1:] < 70).all(axis=2)
    half = len(strong) // 2
    width = int(0.88 * strong.shape[1])  # beyond is the colour bar
    assert strong[:half, :width].mean() > 0.01  # the left hemisphere stands above the right one
    assert strong[half:, :width].mean() < 1e-4
    np.testing.assert_array_equal(
        read_brain_map(out / "maps" / "r.left.func.gii", geometry), results["r"].values[0]
    )
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "Vertex-wise encoding models" in page.text
    assert "on average over 2,000 vertices" in page.text
    words = " ".join([page.text, *(str(image["alt"]) for image in page.all("img"))]).lower()
    assert "voxel" not in words
