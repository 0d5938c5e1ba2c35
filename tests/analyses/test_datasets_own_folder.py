"""A user's own folder: the documented examples, every form of responses, and every way to be wrong."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analyses.datasets import Dataset, load_dataset

DOCS = Path(__file__).parents[2] / "docs" / "your-own-data.md"
N_TRIALS, N_VOXELS = 6, 5
IDS = ["a", "b", "c", "a", "b", "c"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with an array, a trial table and images."""
    place = tmp_path / "study"
    (place / "stimuli").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "unseen"):
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).save(
            place / "stimuli" / f"{name}.png"
        )
    np.save(place / "responses.npy", rng.normal(size=(N_TRIALS, N_VOXELS)))
    table = pd.DataFrame(
        {"stimulus_id": IDS, "run": [1, 1, 1, 2, 2, 2], "session": ["x"] * 6, "rt_s": range(6)}
    )
    table.to_csv(place / "trials.csv", index=False)
    return place


def _configure(folder: Path, **entries: object) -> None:
    (folder / "dataset.json").write_text(json.dumps(entries))


def _nifti(path: Path, values: np.ndarray, voxel_mm: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, np.diag([voxel_mm] * 3 + [1.0])).to_filename(path)


def _gifti(path: Path, maps: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [nib.gifti.GiftiDataArray(row.astype(np.float32), datatype="NIFTI_TYPE_FLOAT32") for row in maps]
    nib.GiftiImage(darrays=arrays).to_filename(path)


def test_examples_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.S)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)  # the text is this repository's own
    data, trials, steadier = (names[name] for name in ("data", "trials", "steadier"))
    assert isinstance(data, Dataset)
    assert data.responses.shape == (12, 8)
    assert data.stimuli.attributes["category"].tolist() == ["odd", "even"] * 3
    assert data.rois["early"].sum() == 5
    assert data.noise_ceiling_r.tolist() == [0.5] * 8
    assert isinstance(trials, Dataset)
    assert trials.responses.shape == (12, 12)
    assert sorted(set(trials.runs)) == [1, 2]
    assert isinstance(steadier, Dataset)
    assert steadier.responses.shape == (12, 12)
    # Trials 25 s apart are hardly confused: the two methods nearly agree.
    r = np.corrcoef(trials.responses.values.ravel(), steadier.responses.values.ravel())[0, 1]
    assert r > 0.9


def test_array_and_table_are_taken_as_they_are(folder: Path) -> None:
    data = load_dataset(folder)
    assert np.array_equal(data.responses.values, np.load(folder / "responses.npy"))
    assert data.responses["stimulus_id"].values.tolist() == IDS
    assert data.responses["repetition"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.responses["session"].values.tolist() == ["x"] * 6
    assert data.responses["rt_s"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.runs.tolist() == [1, 1, 1, 2, 2, 2]
    assert data.stimuli.stimulus_ids.tolist() == ["a", "b", "c"]  # what was not shown is left out
    assert data.rois["all"].all()
    assert data.geometry is None
    assert data.subject == "1"


@pytest.mark.parametrize("form", ["csv", "tsv", "npz", "named npz", "int npy"])
def test_other_forms_hold_the_same(folder: Path, form: str) -> None:
    values = np.round(np.load(folder / "responses.npy") * 100)
    (folder / "responses.npy").unlink()
    names = [f"voxel {i}" for i in range(N_VOXELS)]
    if form in ("csv", "tsv"):
        separator = {"csv": ",", "tsv": "\t"}[form]
        pd.DataFrame(values, columns=names).to_csv(folder / f"responses.{form}", sep=separator, index=False)
    elif form == "npz":
        np.savez(folder / "responses.npz", values)
    elif form == "named npz":
        np.savez(folder / "responses.npz", other=values[:2], responses=values)
    else:
        np.save(folder / "responses.npy", values.astype(np.int16))
    data = load_dataset(folder)
    assert np.array_equal(data.responses.values, values)
    assert data.responses.dtype.kind == "f"
    if form in ("csv", "tsv"):
        assert data.responses["neuroid_id"].values.tolist() == names


def test_empty_cells_are_missing_values(folder: Path) -> None:
    values = np.load(folder / "responses.npy")
    values[2, 3] = np.nan
    (folder / "responses.npy").unlink()
    pd.DataFrame(values).to_csv(folder / "responses.csv", index=False)
    assert np.array_equal(np.isnan(load_dataset(folder).responses.values), np.isnan(values))


def test_words_are_not_mistaken_for_missing_values(folder: Path) -> None:
    ids = ["NA", "nan", "001", "NA", "nan", "001"]
    pd.DataFrame({"stimulus_id": ids}).to_csv(folder / "trials.csv", index=False)
    table = pd.DataFrame({"stimulus_id": ["001", "NA", "nan"], "text": ["one", "sodium", "grandmother"]})
    for path in (folder / "stimuli").iterdir():
        path.unlink()
    (folder / "stimuli").rmdir()
    table.to_csv(folder / "stimuli.csv", index=False)
    data = load_dataset(folder)
    assert data.responses["stimulus_id"].values.tolist() == ids
    assert data.stimuli.texts == ["one", "sodium", "grandmother"]
    assert data.stimulus_index.tolist() == [1, 2, 0, 1, 2, 0]


def test_ids_alone_are_enough(folder: Path) -> None:
    for path in (folder / "stimuli").iterdir():
        path.unlink()
    (folder / "stimuli").rmdir()
    data = load_dataset(folder)
    assert data.stimuli.stimulus_ids.tolist() == ["a", "b", "c"]
    assert not data.stimuli.has_images


def test_configuration_goes_into_the_dataset(folder: Path) -> None:
    _configure(
        folder, name="mine", units="z", citation="me", kind="averages", test_stimulus_ids=["b"], licence="CC0"
    )
    data = load_dataset(folder)
    assert (data.info.name, data.info.units, data.info.licence) == ("mine", "z", "CC0")
    assert data.kind == "averages"
    assert data.test_stimulus_ids.tolist() == ["b"]
    assert data.responses.attrs["units"] == "z"


def test_time_series_may_rest(folder: Path) -> None:
    trials = pd.DataFrame({"stimulus_id": ["", "a", "a", "n/a", "b", "a"], "run": 1})
    trials.to_csv(folder / "trials.csv", index=False)
    with pytest.raises(ValueError, match="no stimulus in 2 rows"):
        load_dataset(folder)
    _configure(folder, kind="time_series", tr_s=1.5)
    data = load_dataset(folder)
    assert data.stimulus_index.tolist() == [-1, 0, 0, -1, 1, 0]
    assert data.responses.attrs["tr_s"] == 1.5


def test_subjects_have_folders_and_share_stimuli(folder: Path) -> None:
    for i, name in enumerate(("sub-02", "sub-01")):
        (folder / name).mkdir()
        np.save(folder / name / "responses.npy", np.random.default_rng(i).normal(size=(6, 3 + i)))
        (folder / name / "trials.csv").write_text((folder / "trials.csv").read_text())
    (folder / "responses.npy").unlink()
    data = load_dataset(folder)
    assert data.subject == "sub-01"
    assert data.info.subjects == ("sub-01", "sub-02")
    assert data.responses.shape == (6, 4)
    assert load_dataset(folder, "sub-02").responses.shape == (6, 3)
    assert data.stimuli.has_images
    for wrong in ("sub-03", "../study", "stimuli"):
        with pytest.raises(ValueError, match="sub-01, sub-02"):
            load_dataset(folder, wrong)


def test_mask_places_the_columns_of_an_array(folder: Path) -> None:
    mask = np.zeros((3, 3, 3), dtype=np.uint8)
    mask.ravel()[[1, 5, 9, 20, 26]] = 1
    _nifti(folder / "mask.nii.gz", mask)
    data = load_dataset(folder)
    image = np.asarray(data.geometry.to_image(data.responses.values[0]).dataobj)
    assert np.array_equal(image[mask > 0], data.responses.values[0].astype(np.float32))
    assert data.responses["neuroid_id"].values[0] == "0-0-1"
    _nifti(folder / "rois" / "corner.nii.gz", (np.arange(27).reshape(3, 3, 3) > 19).astype(np.uint8))
    assert load_dataset(folder).rois["corner"].tolist() == [False, False, False, True, True]
    mask.ravel()[0] = 1
    _nifti(folder / "mask.nii.gz", mask)
    with pytest.raises(ValueError, match="marks 6 voxels"):
        load_dataset(folder)


def test_regions_from_arrays_and_tables_overlap(folder: Path) -> None:
    (folder / "rois").mkdir()
    np.save(folder / "rois" / "V1.npy", np.array([True, True, False, False, False]))
    pd.DataFrame({"V2": [0, 1, 1, 0, 0]}).to_csv(folder / "rois.csv", index=False)
    rois = load_dataset(folder).rois
    assert rois["V1"].tolist() == [True, True, False, False, False]
    assert rois["V2"].tolist() == [False, True, True, False, False]


def test_images_of_responses_are_read_through_the_mask(folder: Path) -> None:
    (folder / "responses.npy").unlink()
    rng = np.random.default_rng(1)
    volumes = rng.normal(size=(4, 3, 2, N_TRIALS)).astype(np.float32)
    mask = rng.integers(0, 2, (4, 3, 2)).astype(np.uint8)
    _nifti(folder / "responses.nii.gz", volumes)
    with pytest.raises(FileNotFoundError, match=r"mask\.nii\.gz"):
        load_dataset(folder)
    _nifti(folder / "mask.nii.gz", mask)
    data = load_dataset(folder)
    assert np.array_equal(data.responses.values, volumes[mask > 0].T)
    _nifti(folder / "mask.nii.gz", mask, voxel_mm=3.0)
    with pytest.raises(ValueError, match="grid"):
        load_dataset(folder)
    _nifti(folder / "mask.nii.gz", np.zeros_like(mask))
    with pytest.raises(ValueError, match=r"mask\.nii\.gz: .*zero everywhere"):
        load_dataset(folder)


def test_scaled_integers_in_images_are_scaled_back(folder: Path) -> None:
    (folder / "responses.npy").unlink()
    image = nib.Nifti1Image(np.arange(24 * N_TRIALS, dtype=np.int16).reshape(4, 3, 2, N_TRIALS), np.eye(4))
    image.header.set_slope_inter(0.5, 3.0)
    image.to_filename(folder / "responses.nii")
    nib.Nifti1Image(np.ones((4, 3, 2), dtype=np.uint8), np.eye(4)).to_filename(folder / "mask.nii")
    written = nib.load(folder / "responses.nii").get_fdata()
    assert np.allclose(load_dataset(folder).responses.values, written.reshape(24, N_TRIALS).T)


@pytest.mark.parametrize(
    "names", [("lh.func", "rh.func"), ("left.func", "right.func"), ("hemi-L.func", "hemi-R.func")]
)
def test_surfaces_come_in_hemispheres(folder: Path, names: tuple[str, str]) -> None:
    (folder / "responses.npy").unlink()
    rng = np.random.default_rng(2)
    left, right = rng.normal(size=(N_TRIALS, 10)), rng.normal(size=(N_TRIALS, 8))
    for name, maps in zip(names, (left, right), strict=True):
        _gifti(folder / f"responses.{name}.gii", maps)
    data = load_dataset(folder)
    assert np.allclose(data.responses.values, np.concatenate([left, right], axis=1), atol=1e-6)
    assert data.responses["neuroid_id"].values[[0, 10]].tolist() == ["lh-0", "rh-0"]
    _gifti(folder / "mask.lh.gii", (np.arange(10) > 2)[None])
    _gifti(folder / "mask.rh.gii", (np.arange(8) < 4)[None])
    _gifti(folder / "rois" / "V1.lh.gii", (np.arange(10) == 3)[None])
    _gifti(folder / "rois" / "V1.rh.gii", (np.arange(8) == 1)[None])
    data = load_dataset(folder)
    assert np.allclose(data.responses.values, np.concatenate([left[:, 3:], right[:, :4]], axis=1), atol=1e-6)
    assert np.flatnonzero(data.rois["V1"]).tolist() == [0, 8]
    whole = data.geometry.to_hemispheres(data.responses.values[0])
    assert np.isnan(whole[0][:3]).all()
    (folder / "mask.rh.gii").unlink()
    with pytest.raises(FileNotFoundError, match="no partner"):
        load_dataset(folder)


def test_what_is_missing_or_ambiguous_is_named(folder: Path) -> None:
    (folder / "trials.tsv").write_text("stimulus_id\n")
    with pytest.raises(ValueError, match=r"trials\.csv and trials\.tsv"):
        load_dataset(folder)
    (folder / "trials.tsv").unlink()
    (folder / "responses.csv").write_text("x\n1\n")
    with pytest.raises(ValueError, match="several responses"):
        load_dataset(folder)
    (folder / "responses.csv").unlink()
    (folder / "bold").mkdir()
    with pytest.raises(ValueError, match="both"):
        load_dataset(folder)
    (folder / "bold").rmdir()
    (folder / "stimuli.csv").write_text("stimulus_id\na\n")
    with pytest.raises(ValueError, match="move the table"):
        load_dataset(folder)
    (folder / "stimuli.csv").unlink()
    (folder / "trials.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no trials\.csv"):
        load_dataset(folder)
    (folder / "responses.npy").unlink()
    with pytest.raises(FileNotFoundError, match="your-own-data"):
        load_dataset(folder)
    with pytest.raises(KeyError, match="no folder of that name"):
        load_dataset(folder / "nowhere")


def test_a_repetition_that_stands_twice_is_refused(folder: Path) -> None:
    trials = pd.DataFrame({"stimulus_id": list("abcabc"), "repetition": [0, 0, 0, 1, 1, 1], "run": 1})
    trials.to_csv(folder / "trials.csv", index=False)
    assert load_dataset(folder).responses["repetition"].values.tolist() == [0, 0, 0, 1, 1, 1]
    trials.loc[3, "repetition"] = 0
    trials.to_csv(folder / "trials.csv", index=False)
    with pytest.raises(
        ValueError, match=r"name 1 repetition of a stimulus twice, the first in row 4: .*of 'a'"
    ):
        load_dataset(folder)
    # The volumes of a block share their repetition.
    _configure(folder, kind="time_series", tr_s=1.5)
    assert load_dataset(folder).kind == "time_series"


def test_what_is_not_stated_of_a_folder_stays_empty(folder: Path) -> None:
    info = load_dataset(folder).info
    assert (info.citation, info.licence) == ("", "")


def test_mismatched_ids_are_listed(folder: Path) -> None:
    ids = ["a", "b", "cc", "a", "b", "dog"]
    pd.DataFrame({"stimulus_id": ids}).to_csv(folder / "trials.csv", index=False)
    with pytest.raises(
        ValueError, match=r"2 stimulus ids that .* lacks: 'cc', 'dog'.*nearest to 'cc' is 'c'"
    ):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("stimulus_id\na\nb\n", "2 rows, but the responses have 6"),
        ("stimulus\n" + "a\n" * 6, "lacks the column stimulus_id; it has stimulus"),
        ("stimulus_id,run\n" + "a,1\n" * 5 + "a,first\n", "row 6: 'first'"),
        ("stimulus_id,run\n" + "a,1\n" * 5 + "a,\n", "column run"),
        ("stimulus_id,run\n" + "a,1.5\n" * 6, "whole numbers"),
        ("", "not a readable table"),
    ],
)
def test_bad_trial_tables_are_named(folder: Path, table: str, match: str) -> None:
    (folder / "trials.csv").write_text(table)
    with pytest.raises(ValueError, match=match):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"tr": 2.0}, "tr: Extra inputs"),
        ({"kind": "events"}, "kind"),
        ({"tr_s": -1}, "tr_s"),
        ({"glm": {"hrf": "spm"}}, "glm.hrf"),
        ({"glm": 3}, "'glm'"),
        ({"test_stimulus_ids": ["zebra"]}, "zebra"),
    ],
)
def test_bad_configuration_is_named(folder: Path, entries: dict, match: str) -> None:
    _configure(folder, **entries)
    with pytest.raises(ValueError, match=re.escape(match)):
        load_dataset(folder)
    (folder / "dataset.json").write_text('{"name": "mi')
    with pytest.raises(ValueError, match=r"dataset\.json"):
        load_dataset(folder)


def test_bad_arrays_are_named(folder: Path) -> None:
    path = folder / "responses.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=r"responses\.npy is truncated"):
        load_dataset(folder)
    np.save(path, np.array([["a"], [None]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled Python objects"):
        load_dataset(folder)
    for values, match in (
        (np.full((6, 5), np.nan), "none of 5 voxels"),
        (np.ones((6, 5)), "none of 5 voxels"),
        (np.where(np.eye(6, 5) > 0, np.inf, 0.0), "none of 5 voxels"),
        (np.ones(6), "shape"),
        (np.ones((6, 5), dtype=complex), "complex"),
        (np.ones((6, 0)), "shape"),
        (np.ones((6, 5), dtype="U3"), "U3"),
    ):
        np.save(path, values)
        with pytest.raises(ValueError, match=match):
            load_dataset(folder)
    path.unlink()
    (folder / "responses.csv").write_text("v1,v2\n" + "1,2\n" * 5 + "1,2a\n")
    with pytest.raises(ValueError, match="'2a' in row 6, column 'v2'"):
        load_dataset(folder)
    (folder / "responses.csv").unlink()
    np.savez(folder / "responses.npz", x=np.ones((6, 5)), y=np.ones((6, 5)))
    with pytest.raises(ValueError, match="x, y; name one"):
        load_dataset(folder)


def test_bad_voxels_and_regions_are_named(folder: Path) -> None:
    (folder / "voxels.csv").write_text("noise_ceiling_r\n0.5\n")
    with pytest.raises(ValueError, match="1 row, but the responses have 5 columns"):
        load_dataset(folder)
    (folder / "voxels.csv").write_text("noise_ceiling_r\n" + "1.5\n" * 5)
    with pytest.raises(ValueError, match="0 to 1"):
        load_dataset(folder)
    (folder / "voxels.csv").write_text("neuroid_id\n" + "v\n" * 5)
    with pytest.raises(ValueError, match="differ"):
        load_dataset(folder)
    (folder / "voxels.csv").unlink()
    (folder / "rois").mkdir()
    for values, match in ((np.ones(4), "shape"), (np.arange(5), "0 or 1"), (np.zeros(5), "no voxel")):
        np.save(folder / "rois" / "V1.npy", values)
        with pytest.raises(ValueError, match=match):
            load_dataset(folder)
    (folder / "rois" / "V1.npy").unlink()
    _nifti(folder / "rois" / "V1.nii.gz", np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="not placed"):
        load_dataset(folder)


def test_truncated_images_are_named(folder: Path) -> None:
    (folder / "responses.npy").unlink()
    rng = np.random.default_rng(0)
    for ending in ("nii", "nii.gz"):
        path = folder / f"responses.{ending}"
        _nifti(path, rng.normal(size=(4, 4, 4, N_TRIALS)).astype(np.float32))
        _nifti(folder / "mask.nii.gz", np.ones((4, 4, 4), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:700])
        with pytest.raises(ValueError, match=rf"responses\.{ending}"):
            load_dataset(folder)
        path.unlink()
    for side in ("lh", "rh"):
        _gifti(folder / f"responses.{side}.func.gii", rng.normal(size=(N_TRIALS, 7)))
    broken = folder / "responses.rh.func.gii"
    broken.write_bytes(broken.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"responses\.rh\.func\.gii"):
        load_dataset(folder)
