"""What the columns of responses are called, and the space that they lie in."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from analyses.datasets import dataset_info, list_datasets, load_dataset
from analyses.geometry import SurfaceGeometry, VolumeGeometry

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
N_ROWS = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with a trial table and nothing else."""
    pd.DataFrame({"stimulus_id": ["a", "b", "a", "b"], "run": [1, 1, 2, 2]}).to_csv(
        tmp_path / "trials.csv", index=False
    )
    return tmp_path


def nifti(values: np.ndarray, code: int) -> nib.Nifti1Image:
    image = nib.Nifti1Image(values, AFFINE)
    image.set_sform(AFFINE, code=code)
    return image


def write_volume(folder: Path, code: int) -> None:
    mask = np.zeros((3, 3, 2), dtype=np.uint8)
    mask[1:, 1:] = 1
    nifti(mask, code).to_filename(folder / "mask.nii.gz")
    responses = np.random.default_rng(0).normal(size=(3, 3, 2, N_ROWS)).astype(np.float32)
    nifti(responses, code).to_filename(folder / "responses.nii.gz")


def write_surface(folder: Path) -> None:
    for side in ("lh", "rh"):
        maps = np.random.default_rng(0).normal(size=(N_ROWS, 30)).astype(np.float32)
        arrays = [nib.gifti.GiftiDataArray(row, datatype="NIFTI_TYPE_FLOAT32") for row in maps]
        nib.GiftiImage(darrays=arrays).to_filename(folder / f"responses.{side}.func.gii")


@pytest.mark.parametrize(("code", "space"), [(4, "MNI152"), (3, "Talairach"), (1, ""), (2, "")])
def test_the_header_of_the_mask_names_the_space(folder: Path, code: int, space: str) -> None:
    write_volume(folder, code)
    geometry = load_dataset(folder).geometry
    assert isinstance(geometry, VolumeGeometry)
    assert geometry.space == space
    assert geometry.is_mni == (space == "MNI152")


@pytest.mark.parametrize(("said", "code"), [("MNI152NLin2009cAsym", 2), ("", 4)])
@pytest.mark.parametrize("form", ["images", "array"])
def test_dataset_json_knows_the_space_better_than_the_header(
    folder: Path, said: str, code: int, form: str
) -> None:
    write_volume(folder, code)
    if form == "array":
        (folder / "responses.nii.gz").unlink()
        np.save(folder / "responses.npy", np.random.default_rng(0).normal(size=(N_ROWS, 8)))
    (folder / "dataset.json").write_text(json.dumps({"space": said}))
    geometry = load_dataset(folder).geometry
    assert isinstance(geometry, VolumeGeometry)
    assert geometry.space == said
    assert len(geometry) == 8


def test_runs_lie_where_dataset_json_says(folder: Path) -> None:
    write_volume(folder, 2)
    for name in ("responses.nii.gz", "trials.csv"):
        (folder / name).unlink()
    (folder / "bold").mkdir()
    (folder / "events").mkdir()
    bold = np.random.default_rng(0).normal(100, 1, size=(3, 3, 2, 30)).astype(np.float32)
    nifti(bold, 2).to_filename(folder / "bold" / "run-01.nii.gz")
    events = pd.DataFrame({"onset": [2.0, 20.0], "duration": 2.0, "trial_type": ["a", "b"]})
    events.to_csv(folder / "events" / "run-01.tsv", sep="\t", index=False)
    entries = {"space": "MNI152NLin6Asym", "tr_s": 2.0, "kind": "time_series"}
    (folder / "dataset.json").write_text(json.dumps(entries))
    geometry = load_dataset(folder).geometry
    assert isinstance(geometry, VolumeGeometry)
    assert geometry.space == "MNI152NLin6Asym"


def test_surfaces_have_vertices_and_volumes_have_voxels(folder: Path) -> None:
    write_surface(folder)
    data = load_dataset(folder)
    assert isinstance(data.geometry, SurfaceGeometry)
    assert data.info.neuroid_kind == "vertices"
    assert data.info.shapes["responses"] == "4 rows x 60 vertices"
    for path in folder.glob("responses*"):
        path.unlink()
    write_volume(folder, 2)
    assert load_dataset(folder).info.neuroid_kind == "voxels"
    (folder / "dataset.json").write_text(json.dumps({"neuroid_kind": "electrodes"}))
    data = load_dataset(folder)
    assert data.info.neuroid_kind == "electrodes"
    assert data.info.shapes["responses"] == "4 rows x 8 electrodes"


def test_unknown_kinds_are_refused_with_those_that_there_are(folder: Path) -> None:
    write_volume(folder, 2)
    (folder / "dataset.json").write_text(json.dumps({"neuroid_kind": "cells"}))
    with pytest.raises(ValueError, match=r"dataset\.json: neuroid_kind.*'neurons'"):
        load_dataset(folder)
    with pytest.raises(ValueError, match="neuroid_kind is 'cells'; allowed are voxels, vertices, neurons"):
        replace(dataset_info("digits69"), neuroid_kind="cells")


def test_published_data_sets_say_what_was_measured() -> None:
    found = {info.name: info.neuroid_kind for info in list_datasets()}
    others = {"v4-natural": "neurons", "algonauts2023": "vertices"}
    assert found == dict.fromkeys(found, "voxels") | others
