"""Haxby as nilearn keeps it and Algonauts 2023 as the challenge gave it, in small folders made here."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from analyses.datasets import fetch_dataset, load_dataset

SHAPE = (6, 5, 4)
LABELS = ["rest", "face", "face", "rest", "house", "scrambledpix", "rest"]


def _save_nifti(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, np.diag([3.5, 3.75, 3.75, 1.0])).to_filename(path)


@pytest.fixture
def haxby_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make haxby2001/subj3 as nilearn leaves it, below COGMODELS_DATA."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "haxby2001" / "subj3"
    _save_nifti(folder / "bold.nii.gz", rng.integers(0, 2000, (*SHAPE, 2 * len(LABELS))).astype(np.int16))
    masks = {}
    for name, size in (("mask4_vt", 20), ("mask8b_face_vt", 9), ("mask8b_house_vt", 8), ("mask8_face_vt", 3)):
        flat = np.zeros(np.prod(SHAPE), dtype=np.uint8)
        flat[rng.choice(30, size, replace=False)] = 1  # from few places, so that they overlap
        masks[name] = flat.reshape(SHAPE)
    masks["mask8_house_vt"] = np.zeros(SHAPE, dtype=np.uint8)
    for name, mask in masks.items():
        _save_nifti(folder / f"{name}.nii.gz", mask)
    rows = [f"{label} {run}" for run in range(2) for label in LABELS]
    (folder / "labels.txt").write_text("labels chunks\n" + "\n".join(rows) + "\n")
    _save_nifti(folder / "anat.nii.gz", np.zeros((2, 2, 2)))
    _save_nifti(tmp_path / "haxby2001" / "mask.nii.gz", np.ones(SHAPE, dtype=np.uint8))
    (tmp_path / "haxby2001" / "MD5SUMS").write_text("0  subj3-2010.01.14.tar.gz\n")
    monkeypatch.setenv("COGMODELS_DATA", str(tmp_path))
    # Whatever still tries to reach a network is answered at once: nothing listens on the discard port.
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    return tmp_path


def test_haxby_voxels_are_those_of_overlapping_masks(haxby_root: Path) -> None:
    data = load_dataset("haxby", "3", download=False)
    folder = haxby_root / "haxby2001" / "subj3"
    files = {
        "vt": "mask4_vt",
        "face": "mask8b_face_vt",
        "house": "mask8b_house_vt",
        "face_little": "mask8_face_vt",
    }
    masks = {
        name: np.asarray(nib.load(folder / f"{file}.nii.gz").dataobj) > 0 for name, file in files.items()
    }
    union = np.any(list(masks.values()), axis=0)
    bold = np.asarray(nib.load(folder / "bold.nii.gz").dataobj)
    assert np.array_equal(data.responses.values, bold[union].T)
    assert set(data.rois) == set(masks)  # the empty mask is no region
    for name, mask in masks.items():
        assert np.array_equal(data.rois[name], mask[union])
    assert (data.rois["vt"] & data.rois["face"]).any()
    assert data.runs.tolist() == [0] * 7 + [1] * 7
    assert data.responses["stimulus_id"].values.tolist() == ["" if x == "rest" else x for x in LABELS] * 2
    assert data.responses["repetition"].values.tolist() == [0] * 7 + [0, 1, 1, 0, 1, 1, 0]
    assert data.info.tr_s == 2.5
    assert np.array_equal(
        np.asarray(data.geometry.to_image(data.responses.values[3]).dataobj)[union], bold[union][:, 3]
    )


def test_haxby_is_found_by_nilearn_itself(haxby_root: Path) -> None:
    paths = fetch_dataset("haxby", "3")
    assert all(path.is_file() for path in paths)
    assert load_dataset("haxby", "3", data_dir=haxby_root).responses.shape[0] == 14


def test_haxby_without_files_or_network_says_where_they_live(haxby_root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="download=False"):
        load_dataset("haxby", "1", download=False)
    with pytest.raises(FileNotFoundError, match=r"data\.pymvpa\.org"):
        load_dataset("haxby", "1")


def test_haxby_damage_is_named(haxby_root: Path) -> None:
    folder = haxby_root / "haxby2001" / "subj3"
    labels = folder / "labels.txt"
    text = labels.read_text()
    labels.write_text(text.replace("house", "hose"))
    with pytest.raises(ValueError, match="hose"):
        load_dataset("haxby", "3")
    labels.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(ValueError, match="14 volumes"):
        load_dataset("haxby", "3")
    labels.write_text(text)
    whole = (folder / "bold.nii.gz").read_bytes()
    (folder / "bold.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"bold\.nii\.gz"):
        load_dataset("haxby", "3")


N_LEFT, N_RIGHT, N_IMAGES = 30, 24, 6
ROI_CLASSES = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Make subj02 in the layout of the challenge, on a surface of 642 vertices a hemisphere."""
    rng = np.random.default_rng(1)
    home = tmp_path / "subj02"
    for folder in ("training_split/training_images", "training_split/training_fmri", "roi_masks"):
        (home / folder).mkdir(parents=True)
    for i in range(N_IMAGES):
        picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        picture.save(home / "training_split/training_images" / f"train-{i + 1:04d}_nsd-{99 - i:05d}.png")
    for side, n_vertices in (("lh", N_LEFT), ("rh", N_RIGHT)):
        fmri = rng.normal(size=(N_IMAGES, n_vertices)).astype(np.float32)
        np.save(home / "training_split/training_fmri" / f"{side}_training_fmri.npy", fmri)
        whole = np.zeros(642)
        whole[np.sort(rng.choice(642, n_vertices, replace=False))] = 1
        np.save(home / "roi_masks" / f"{side}.all-vertices_fsaverage_space.npy", whole)
        for roi_class in ROI_CLASSES:
            labels = rng.integers(0, 4, n_vertices)
            labels[:3] = 0
            labels[5] = 3  # vertex 5 is in a region of every class
            np.save(home / "roi_masks" / f"{side}.{roi_class}_challenge_space.npy", labels)
    bomb = np.array({0: "Unknown", 1: "V1v"}, dtype=object)
    np.save(home / "roi_masks" / "mapping_prf-visualrois.npy", bomb, allow_pickle=True)
    return tmp_path


def test_algonauts_places_both_hemispheres(challenge: Path) -> None:
    data = load_dataset("algonauts2023", "subj02", folder=challenge)
    home = challenge / "subj02"
    left, right = (
        np.load(home / f"training_split/training_fmri/{side}_training_fmri.npy") for side in ("lh", "rh")
    )
    assert np.array_equal(data.responses.values, np.concatenate([left, right], axis=1))
    assert data.responses["hemisphere"].values.tolist() == ["left"] * N_LEFT + ["right"] * N_RIGHT
    assert data.stimuli.stimulus_ids[0] == "train-0001_nsd-00099"
    assert data.stimuli.attributes["nsd_id"].tolist() == [99, 98, 97, 96, 95, 94]
    assert data.stimuli.image(0).shape == (16, 16, 3)
    whole_left, whole_right = data.geometry.to_hemispheres(data.responses.values[0])
    for whole, side, fmri in ((whole_left, "lh", left), (whole_right, "rh", right)):
        inside = np.load(home / f"roi_masks/{side}.all-vertices_fsaverage_space.npy") > 0
        assert np.array_equal(whole[inside], fmri[0])
        assert np.isnan(whole[~inside]).all()
    assert data.geometry.space == "fsaverage3"
    assert data.noise_ceiling_r is None


def test_algonauts_regions_overlap_and_are_named_by_the_published_tables(challenge: Path) -> None:
    data = load_dataset("algonauts2023", "subj02", folder=challenge / "subj02")
    masks = challenge / "subj02" / "roi_masks"
    for roi_class, number, name in (
        ("prf-visualrois", 3, "V2v"),
        ("floc-bodies", 1, "EBA"),
        ("floc-faces", 3, "FFA-2"),
        ("floc-places", 2, "PPA"),
        ("floc-words", 1, "OWFA"),
        ("streams", 2, "midventral"),
    ):
        labels = [np.load(masks / f"{side}.{roi_class}_challenge_space.npy") for side in ("lh", "rh")]
        assert np.array_equal(data.rois[name], np.concatenate(labels) == number), name
    assert data.rois["V2v"][5]
    assert data.rois["FFA-2"][5]
    assert data.rois["unassigned"][:3].all()
    others = [mask for name, mask in data.rois.items() if name not in ("all", "unassigned")]
    streams = ("early", "midventral", "midlateral")
    rest = [mask for name, mask in data.rois.items() if name not in ("all", "unassigned", *streams)]
    assert np.array_equal(data.rois["unassigned"], ~np.any(rest, axis=0))
    assert all(mask.any() for mask in others)
    assert "hV4" not in data.rois  # no vertex of it here


def test_algonauts_one_hemisphere_and_a_ceiling(challenge: Path) -> None:
    ceiling = np.linspace(0, 0.9, N_RIGHT)
    data = load_dataset(
        "algonauts2023", "subj02", folder=challenge, hemisphere="right", noise_ceiling_r=ceiling
    )
    both = load_dataset("algonauts2023", "subj02", folder=challenge)
    assert np.array_equal(data.responses.values, both.responses.values[:, N_LEFT:])
    assert np.array_equal(data.rois["EBA"], both.rois["EBA"][N_LEFT:])
    assert (
        data.responses["neuroid_id"].values.tolist() == both.responses["neuroid_id"].values[N_LEFT:].tolist()
    )
    assert len(data.geometry.vertices_left) == 0
    assert np.array_equal(data.noise_ceiling_r, ceiling)


def test_algonauts_bad_folders_are_named(challenge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="subj01/training_split"):
        load_dataset("algonauts2023", folder=challenge / "subj02")  # another subject's folder is not taken
    with pytest.raises(ValueError, match="hemisphere is 'top'"):
        load_dataset("algonauts2023", "subj02", folder=challenge, hemisphere="top")
    with pytest.raises(FileNotFoundError, match=r"algonauts\.csail\.mit\.edu"):
        fetch_dataset("algonauts2023")
    monkeypatch.setenv("COGMODELS_DATA", str(challenge.parent))
    with pytest.raises(FileNotFoundError, match="folder=FOLDER"):
        load_dataset("algonauts2023")
    masks = challenge / "subj02" / "roi_masks"
    np.save(masks / "lh.streams_challenge_space.npy", np.full(N_LEFT, 8))
    with pytest.raises(ValueError, match="unknown labels"):
        load_dataset("algonauts2023", "subj02", folder=challenge)
    np.save(masks / "lh.streams_challenge_space.npy", np.zeros(N_LEFT - 1, dtype=int))
    with pytest.raises(ValueError, match=r"expected \(30,\)"):
        load_dataset("algonauts2023", "subj02", folder=challenge)
    np.save(masks / "rh.all-vertices_fsaverage_space.npy", np.ones(642))
    with pytest.raises(ValueError, match="marks 642 vertices"):
        load_dataset("algonauts2023", "subj02", folder=challenge)
    fmri = challenge / "subj02/training_split/training_fmri/lh_training_fmri.npy"
    whole = fmri.read_bytes()
    fmri.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match=r"lh_training_fmri\.npy is truncated"):
        load_dataset("algonauts2023", "subj02", folder=challenge)
    np.save(fmri, np.zeros((N_IMAGES - 1, N_LEFT), dtype=np.float32))
    with pytest.raises(ValueError, match="6 training images"):
        load_dataset("algonauts2023", "subj02", folder=challenge)
