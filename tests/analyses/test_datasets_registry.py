"""What a data set promises, names, and the packaged slice."""

import gzip
import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.datasets import (
    dataset_info,
    fetch_dataset,
    list_datasets,
    load_dataset,
    register_dataset,
    registry,
)
from analyses.datasets.dataset import Dataset, DatasetInfo, count_repetitions, label_blocks, make_responses
from analyses.datasets.haxby_slice import SLICE_FILE
from stimuli.stimulus_set import StimulusSet

REPOSITORY = Path(__file__).parents[2]


def _info(**changes: Any) -> DatasetInfo:
    values = {
        "name": "test",
        "title": "",
        "home": "",
        "files": (),
        "licence": "",
        "citation": "",
        "subjects": ("1",),
        "shapes": {},
        "units": "",
    }
    return DatasetInfo(**(values | changes))


def _dataset(**changes: Any) -> Dataset:
    stimuli = StimulusSet(stimulus_ids=["a", "b"], texts=["A", "B"])
    values = {
        "info": _info(),
        "subject": "1",
        "stimuli": stimuli,
        "responses": make_responses(np.zeros((3, 4)), ["a", "b", "a"]),
        "kind": "trials",
    }
    return Dataset(**(values | changes))


def test_every_entry_says_where_it_comes_from() -> None:
    infos = list_datasets()
    assert [info.name for info in infos] == sorted(info.name for info in infos)
    for info in infos:
        assert all(
            [info.title, info.home, info.licence, info.citation, info.subjects, info.units, info.shapes]
        )
        for file in info.files:
            assert len(file.sha256) == 64 or info.name == "haxby"  # nilearn checks the archives
            assert not Path(file.path).is_absolute()


def test_unknown_names_list_near_matches() -> None:
    with pytest.raises(KeyError, match="haxby-slice"):
        load_dataset("haxby-slcie")
    with pytest.raises(KeyError, match="haxby-slice"):
        fetch_dataset("haxby-slcie")
    with pytest.raises(KeyError, match="haxby-slice"):
        dataset_info("haxby_slice")
    with pytest.raises(ValueError, match="subject is '2'; haxby-slice has 1"):
        load_dataset("haxby-slice", subject="2")
    with pytest.raises(ValueError, match="registered already"):
        register_dataset(_info(name="haxby-slice"))


def test_registered_loader_is_called_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "_ENTRIES", dict(registry._ENTRIES)
    )  # later tests list what was there before
    name = "test-of-the-registry"

    @register_dataset(
        _info(name=name, subjects=("s1", "s2")),
        fetch=lambda info, subject: [Path(info.name), Path(subject or "everyone")],
    )
    def load(subject: str, *, option: int = 0) -> Dataset:
        return _dataset(subject=f"{subject}-{option}")

    assert load_dataset(name).subject == "s1-0"
    assert load_dataset(name, "s2", option=3).subject == "s2-3"
    assert fetch_dataset(name) == [Path(name), Path("everyone")]
    assert fetch_dataset(name, "s2") == [Path(name), Path("s2")]
    with pytest.raises(ValueError, match="subject is 's3'"):
        fetch_dataset(name, "s3")


def test_parts_that_do_not_fit_are_refused() -> None:
    assert _dataset().rois["all"].tolist() == [True] * 4
    assert _dataset().stimulus_index.tolist() == [0, 1, 0]
    assert _dataset().runs is None
    with pytest.raises(ValueError, match="1 stimulus id that the stimulus set lacks: 'c'"):
        _dataset(responses=make_responses(np.zeros((3, 4)), ["a", "b", "c"]))
    with pytest.raises(ValueError, match="stimulus id"):
        _dataset(responses=make_responses(np.zeros((3, 4)), ["a", "b", ""]))  # rest needs kind time_series
    with pytest.raises(ValueError, match="rois"):
        _dataset(rois={"V1": np.ones(3, dtype=bool)})
    with pytest.raises(ValueError, match="rois"):
        _dataset(rois={"V1": np.ones(4)})
    with pytest.raises(ValueError, match="repeats"):
        _dataset(repeats=np.zeros((5, 3, 4)))
    with pytest.raises(ValueError, match="noise_ceiling_r"):
        _dataset(noise_ceiling_r=np.zeros(3))
    with pytest.raises(ValueError, match="test_stimulus_ids"):
        _dataset(test_stimulus_ids=np.array(["c"]))
    with pytest.raises(ValueError, match="kind is 'events'"):
        _dataset(kind="events")
    with pytest.raises(ValueError, match="responses are missing"):
        _dataset(responses=None)
    with pytest.raises(ValueError, match="rdms are missing"):
        _dataset(responses=None, kind="rdm")
    with pytest.raises(ValueError, match=r"rdms\['IT'\] has shape"):
        _dataset(responses=None, kind="rdm", rdms={"IT": np.zeros((2, 3, 3))})
    with pytest.raises(ValueError, match="2 entries, but there are 3 presentations"):
        make_responses(np.zeros((3, 4)), ["a", "b"])
    with pytest.raises(ValueError, match="2 entries, but there are 4 columns"):
        make_responses(np.zeros((3, 4)), ["a", "b", "a"], neuroid_ids=["x", "y"])


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=30))
def test_repetitions_count_earlier_rows(names: list[str]) -> None:
    counts = count_repetitions(np.array(names, dtype=str))
    assert counts.tolist() == [names[:i].count(name) if name else 0 for i, name in enumerate(names)]


def test_blocks_count_as_one_presentation() -> None:
    ids = np.array(["a", "a", "", "a", "b", "b", "b"])
    runs = np.array([0, 0, 0, 0, 0, 0, 1])
    blocks = label_blocks(ids, runs)
    assert blocks.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert count_repetitions(ids, blocks).tolist() == [0, 0, 0, 1, 0, 0, 1]


def test_haxby_slice_has_the_design_of_the_study() -> None:
    data = load_dataset("haxby-slice")
    responses = data.responses
    assert responses is not None
    assert responses.shape == (1452, 530)
    assert responses.dtype == np.float32
    assert data.kind == "time_series"
    assert data.info.tr_s == responses.attrs["tr_s"] == 2.5
    assert np.unique(data.runs).tolist() == list(range(12))
    ids = responses["stimulus_id"].values
    blocks = label_blocks(ids, data.runs)
    # One block of each of eight categories in each of twelve runs; the repetition is the run.
    shown = {(str(ids[row]), int(data.runs[row])) for row in np.flatnonzero(ids != "")}
    assert len(np.unique(blocks[ids != ""])) == len(shown) == 96
    assert np.array_equal(responses["repetition"].values[ids != ""], data.runs[ids != ""])
    assert data.stimuli.texts[list(data.stimuli.stimulus_ids).index("scrambledpix")] == "scrambled picture"
    assert data.geometry.shape == (40, 20, 1)
    assert (responses.std("presentation") > 0).all()


def test_haxby_slice_holds_the_published_numbers(real_data: Path) -> None:
    folder = real_data / "haxby_slice"
    image, mask = nib.load(folder / "bold.nii.gz"), nib.load(folder / "mask.nii.gz")
    bold = np.asarray(image.dataobj)[np.asarray(mask.dataobj) > 0].T
    rows = [line.split() for line in (folder / "attributes_literal.txt").read_text().splitlines()]
    data = load_dataset("haxby-slice")
    assert np.array_equal(data.responses.values, bold)  # int16 is exact in float32
    labels = np.array([label for label, _ in rows])
    assert np.array_equal(np.where(data.responses["stimulus_id"].values == "", "rest", labels), labels)
    assert np.array_equal(data.responses["stimulus_id"].values == "", labels == "rest")
    assert data.runs.tolist() == [int(run) for _, run in rows]
    assert np.array_equal(data.geometry.affine, image.affine)
    volume = np.asarray(data.geometry.to_image(bold[7].astype(np.float32)).dataobj)
    assert np.array_equal(volume[np.asarray(mask.dataobj) > 0], bold[7])


def test_haxby_slice_is_made_again_bit_by_bit(real_data: Path, tmp_path: Path) -> None:
    # The script takes the three members out of the archive; from the same members come the same arrays.
    spec = importlib.util.spec_from_file_location(
        "make_haxby_slice", REPOSITORY / "tools/make_haxby_slice.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    members = [(real_data / "haxby_slice" / name).read_bytes() for name in script.MEMBER_SHA256]
    arrays = script.make_arrays(*members)
    for copy in ("one.npz", "two.npz"):
        script.write_npz(tmp_path / copy, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(SLICE_FILE, allow_pickle=False) as packaged:
        assert set(packaged.files) == set(arrays)
        for name, array in arrays.items():
            assert packaged[name].dtype == array.dtype
            assert np.array_equal(packaged[name], array)
    with zipfile.ZipFile(SLICE_FILE) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {script.ZIP_EPOCH}
    wrong = tmp_path / "pymvpa2-2.6.5.tar.gz"
    wrong.write_bytes(gzip.compress(b"not it"))
    with pytest.raises(SystemExit, match=r"not the file from 2\.6\.5"):
        script.read_members(wrong)
