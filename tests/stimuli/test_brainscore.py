"""To and from the real class of Brain-Score."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stimuli import StimulusSet

ATTRIBUTES = {
    "object_name": ["dog", "cat", "dog"],
    "size_deg": np.array([1, 2, 3], dtype=np.float32),
    "animate": [True, False, True],
    "count": pd.array([1, None, 3], dtype="Int64"),
    "background": pd.Categorical(["u", "v", "u"]),
}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for seed, path in enumerate(paths):
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def test_round_trip_of_files_and_texts(files: list[Path]) -> None:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet as BrainScoreSet

    ours = StimulusSet(["x", "y", "z"], files, ["", "NA", "a\nb"], ATTRIBUTES, "Some2026.set")
    theirs = ours.to_brainscore()
    assert type(theirs) is BrainScoreSet
    assert theirs.identifier == "Some2026.set"
    assert theirs["stimulus_id"].tolist() == ["x", "y", "z"]
    assert theirs["sentence"].tolist() == ["", "NA", "a\nb"]
    assert Path(theirs.get_stimulus("y")) == files[1]
    back = StimulusSet.from_brainscore(theirs)
    pd.testing.assert_frame_equal(back.attributes, ours.attributes)
    assert back.texts == ours.texts
    assert back.name == ours.name
    assert back.media_hashes == ours.media_hashes
    assert back.content_hash == ours.content_hash


def test_slices_on_their_side_are_slices_on_ours(files: list[Path]) -> None:
    ours = StimulusSet(["x", "y", "z"], files, attributes=ATTRIBUTES)
    theirs = ours.to_brainscore()
    dogs = StimulusSet.from_brainscore(theirs[theirs["object_name"] == "dog"])
    assert dogs.content_hash == ours[[0, 2]].content_hash


@given(texts=st.lists(st.text(), max_size=4))
def test_texts_come_back_word_for_word(texts: list[str]) -> None:
    ours = StimulusSet([f"s{row}" for row in range(len(texts))], texts=texts)
    assert StimulusSet.from_brainscore(ours.to_brainscore()).texts == texts


def test_no_media() -> None:
    ours = StimulusSet(["x", "y"], attributes={"n": [1, 2]})
    back = StimulusSet.from_brainscore(ours.to_brainscore())
    assert (back.has_images, back.has_texts) == (False, False)
    assert back.content_hash == ours.content_hash


class TestArrays:
    def test_pixels_come_back(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        images = [
            rng.integers(0, 256, (3, 5, 3), dtype=np.uint8),
            rng.integers(0, 256, (2, 2), dtype=np.uint8),
            rng.integers(0, 256, (3, 5, 3), dtype=np.uint8),
        ]
        ours = StimulusSet(["x", "y", "z"], images, attributes=ATTRIBUTES)
        back = StimulusSet.from_brainscore(ours.to_brainscore(tmp_path / "png"))
        for row in range(3):
            np.testing.assert_array_equal(back.image(row), ours.image(row))
        pd.testing.assert_frame_equal(back.attributes, ours.attributes)

    def test_sets_in_one_folder_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
        ours = StimulusSet(["a", "b", "c", "d"], images)
        first, second = ours[:2].to_brainscore(tmp_path), ours[1:].to_brainscore(tmp_path)
        np.testing.assert_array_equal(StimulusSet.from_brainscore(first).image(0), images[0])
        np.testing.assert_array_equal(StimulusSet.from_brainscore(second).image(0), images[1])
        assert len(list(tmp_path.iterdir())) == 4

    def test_a_folder_is_asked_for(self) -> None:
        with pytest.raises(ValueError, match=r"image_folder=\.\.\."):
            StimulusSet(["a"], images=np.zeros((1, 2, 2), np.uint8)).to_brainscore()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_float_levels_survive(self, tmp_path: Path, dtype: type) -> None:
        levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
        ours = StimulusSet(["a"], images=(levels / 255).astype(dtype))
        back = StimulusSet.from_brainscore(ours.to_brainscore(tmp_path))
        np.testing.assert_array_equal(back.image(0)[..., 0], levels[0])

    def test_floats_between_levels_are_not_quantised(self, tmp_path: Path) -> None:
        images = np.zeros((2, 2, 2))
        images[1, 0, 0] = 0.5
        with pytest.raises(ValueError, match=r"'b' is up to 0\.5 levels .*astype\('uint8'\)"):
            StimulusSet(["a", "b"], images=images).to_brainscore(tmp_path / "png")


class TestTheirSets:
    @staticmethod
    def make(table: dict[str, list[object]], paths: dict[object, object] | None = None) -> pd.DataFrame:
        from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet as BrainScoreSet

        made = BrainScoreSet(table)
        if paths is not None:
            made.stimulus_paths = paths
        return made

    def test_read_from_their_files(self, tmp_path: Path, files: list[Path]) -> None:
        from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet as BrainScoreSet

        table = {"stimulus_id": ["p", "q"], "filename": ["c.png", "a.png"], "n": [1, 2]}
        pd.DataFrame(table).to_csv(tmp_path / "set.csv", index=False)
        ours = StimulusSet.from_brainscore(BrainScoreSet.from_files(tmp_path / "set.csv", tmp_path))
        assert ours.image_paths == [files[2], files[0]]
        assert ours.attributes["filename"].tolist() == ["c.png", "a.png"]
        assert ours.name == ""

    def test_number_ids_and_old_name_of_ids(self, files: list[Path]) -> None:
        theirs = self.make({"image_id": [10, 2]}, {10: str(files[0]), 2: str(files[1])})
        ours = StimulusSet.from_brainscore(theirs)
        assert ours.stimulus_ids.tolist() == ["10", "2"]
        assert ours.image_paths == files[:2]

    def test_bad_sets(self, files: list[Path]) -> None:
        with pytest.raises(TypeError, match="got dict"):
            StimulusSet.from_brainscore({"stimulus_id": ["a"]})
        with pytest.raises(ValueError, match="needs a column stimulus_id; columns: 'n'"):
            StimulusSet.from_brainscore(self.make({"n": [1]}))
        with pytest.raises(ValueError, match="no path for 1 stimulus id: 'b'"):
            StimulusSet.from_brainscore(self.make({"stimulus_id": ["a", "b"]}, {"a": files[0]}))
        with pytest.raises(FileNotFoundError, match="gone"):
            StimulusSet.from_brainscore(self.make({"stimulus_id": ["a"]}, {"a": "gone.png"}))
        with pytest.raises(TypeError, match="texts must be str"):
            StimulusSet.from_brainscore(self.make({"stimulus_id": ["a"], "sentence": [np.nan]}))

    def test_attribute_with_the_name_of_their_texts(self) -> None:
        with pytest.raises(ValueError, match="give it as texts="):
            StimulusSet(["a"], attributes={"sentence": ["x"]}).to_brainscore()


def test_importing_the_floor_does_not_import_brainscore_and_never_lets_it_install() -> None:
    script = """
import os, sys
from stimuli import StimulusSet
assert not [name for name in sys.modules if name.startswith(("brainscore", "torch", "safetensors"))]
StimulusSet(["a"]).to_brainscore()
assert os.environ["BS_INSTALL_DEPENDENCIES"] == "no"
"""
    environment = {key: value for key, value in os.environ.items() if key != "BS_INSTALL_DEPENDENCIES"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
