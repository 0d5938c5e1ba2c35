"""Saved sets, and folders of a user's own."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stimuli import StimulusSet


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def assert_same(first: StimulusSet, second: StimulusSet) -> None:
    assert first.stimulus_ids.tolist() == second.stimulus_ids.tolist()
    assert first.texts == second.texts
    assert first.name == second.name
    assert first.has_images == second.has_images
    for row in range(len(first) if first.has_images else 0):
        assert first.image(row).dtype == second.image(row).dtype
        np.testing.assert_array_equal(first.image(row), second.image(row))
    pd.testing.assert_frame_equal(first.attributes, second.attributes, check_exact=True)
    assert first.media_hashes == second.media_hashes
    assert first.content_hash == second.content_hash


ATTRIBUTES = {
    "small": np.array([1, 2, 3], dtype=np.int8),
    "share": np.array([0.1, np.nan, np.inf], dtype=np.float32),
    "word": ["Ångström", None, ""],
    "when": np.array(["2020-01-01 00:00:00.000000001", "2021-01-01", "NaT"], dtype="datetime64[ns]"),
    "kind": pd.Categorical(["u", "v", "u"], categories=["v", "u", "w"], ordered=True),
    "count": pd.array([1, None, 3], dtype="Int64"),
}
ARRAYS = {
    "uint8": np.random.default_rng(3).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8),
    "float": np.random.default_rng(4).random((3, 4, 5)),
    "sizes": [np.zeros((2, 3), np.uint8), np.full((4, 1, 3), 0.25), np.ones((1, 1), np.float32)],
}


class TestSaved:
    @pytest.mark.parametrize("images", ARRAYS.values(), ids=ARRAYS.keys())
    def test_arrays(self, tmp_path: Path, images: object) -> None:
        stimuli = StimulusSet(["a", "b/c", "ü"], images, ["x", "", '\n,"'], ATTRIBUTES, "my set")
        stimuli.save(tmp_path / "set")
        assert_same(StimulusSet.load(tmp_path / "set"), stimuli)

    def test_files_are_copied(self, tmp_path: Path) -> None:
        paths = [write_image(tmp_path / f"im{i}.png", i) for i in range(3)]
        stimuli = StimulusSet(["a", "b", "c"], images=paths, attributes=ATTRIBUTES)
        stimuli.save(tmp_path / "set")
        for path in paths:
            path.unlink()
        loaded = StimulusSet.load(tmp_path / "set")
        assert loaded.content_hash == stimuli.content_hash
        assert loaded.image(2).shape == (5, 4, 3)
        # A saved set may move.
        (tmp_path / "set").rename(tmp_path / "moved")
        assert StimulusSet.load(tmp_path / "moved").content_hash == stimuli.content_hash

    @pytest.mark.parametrize("part", [{"texts": ["x", "y"]}, {}, {"images": np.zeros((2, 1, 1), np.uint8)}])
    def test_any_media_and_none(self, tmp_path: Path, part: dict[str, object]) -> None:
        stimuli = StimulusSet(["a", "b"], **part)
        stimuli.save(tmp_path / "set")
        stimuli[:0].save(tmp_path / "empty")
        assert_same(StimulusSet.load(tmp_path / "set"), stimuli)
        assert_same(StimulusSet.load(tmp_path / "empty"), stimuli[:0])

    @given(texts=st.lists(st.text(), min_size=1, max_size=4))
    def test_texts_word_for_word(self, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
        folder = tmp_path_factory.mktemp("saved") / "set"
        stimuli = StimulusSet([str(row) for row in range(len(texts))], texts=texts, attributes={"t": texts})
        stimuli.save(folder)
        assert_same(StimulusSet.load(folder), stimuli)

    def test_full_folder_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("x")
        with pytest.raises(FileExistsError, match="not empty"):
            StimulusSet(["a"]).save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["precious"]

    def test_failure_leaves_no_half_set(self, tmp_path: Path) -> None:
        path = write_image(tmp_path / "im.png")
        stimuli = StimulusSet(["a"], images=[path])
        path.unlink()
        with pytest.raises(FileNotFoundError):
            stimuli.save(tmp_path / "set")
        assert list(tmp_path.iterdir()) == []

    def test_image_changed_before_saving_is_noticed(self, tmp_path: Path) -> None:
        path = write_image(tmp_path / "im.png", 0)
        stimuli = StimulusSet(["a"], images=[path])
        assert stimuli.media_hash
        write_image(path, 1)
        with pytest.raises(ValueError, match=r"'a'.*changed"):
            stimuli.save(tmp_path / "set")
        assert not (tmp_path / "set").exists()

    def test_damage_is_named(self, tmp_path: Path) -> None:
        paths = [write_image(tmp_path / f"im{i}.png", i) for i in range(2)]
        StimulusSet(["a", "b"], images=paths).save(tmp_path / "set")
        write_image(tmp_path / "set" / "images" / "000001.png", 9)
        with pytest.raises(ValueError, match="media of 1 stimuli are not what was saved: 'b'"):
            StimulusSet.load(tmp_path / "set")
        (tmp_path / "set" / "images" / "000001.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"000001\.png"):
            StimulusSet.load(tmp_path / "set")

    @pytest.mark.parametrize("file", ["stimuli.json", "images.safetensors"])
    def test_every_truncation_is_a_clear_error(self, tmp_path: Path, file: str) -> None:
        StimulusSet(["a", "b", "c"], ARRAYS["uint8"], attributes=ATTRIBUTES).save(tmp_path / "set")
        path = tmp_path / "set" / file
        whole = path.read_bytes()
        for length in random.Random(0).sample(range(len(whole) - 2), 20):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=file.replace(".", r"\.")):
                StimulusSet.load(tmp_path / "set")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"texts": ["other"]}, "media of 1 stimuli"),
            ({"stimulus_ids": ["z"]}, "content is not what was saved"),
            ({"attributes": []}, "content is not what was saved"),
            ({"format": "something else"}, "not of the format"),
            ({"image_files": ["../../secret.png"]}, "leaves its folder"),
            ({"image_files": ["/etc/passwd"]}, "leaves its folder"),
            ({"attributes": [{"name": "x"}]}, "garbles"),
            ({"attributes": 3}, "garbles"),
            ({"media_hashes": 3}, "garbles"),
            ({"name": None}, "garbles"),
        ],
    )
    def test_edited_table_is_noticed(self, tmp_path: Path, change: dict[str, object], message: str) -> None:
        StimulusSet(["a"], texts=["x"], attributes={"n": [1]}).save(tmp_path / "set")
        path = tmp_path / "set" / "stimuli.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(ValueError, match=message):
            StimulusSet.load(tmp_path / "set")

    def test_missing_entry_is_named(self, tmp_path: Path) -> None:
        StimulusSet(["a"]).save(tmp_path / "set")
        path = tmp_path / "set" / "stimuli.json"
        content = json.loads(path.read_text())
        del content["texts"]
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="texts"):
            StimulusSet.load(tmp_path / "set")

    def test_no_set_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="from_folder"):
            StimulusSet.load(tmp_path)


class TestImagesAlone:
    def test_sorted_with_ids_from_names(self, tmp_path: Path) -> None:
        root = tmp_path / "scenes"
        for seed, name in enumerate(["b.png", "a.JPG", "cat/2.png", "cat/10.bmp"]):
            write_image(root / name, seed)
        (root / "notes.txt").write_text("not a stimulus")
        write_image(root / ".hidden.png")
        write_image(root / ".cache" / "thumb.png")
        stimuli = StimulusSet.from_folder(root)
        assert stimuli.stimulus_ids.tolist() == ["a", "b", "cat/10", "cat/2"]
        assert [path.name for path in stimuli.image_paths] == ["a.JPG", "b.png", "10.bmp", "2.png"]
        assert stimuli.name == "scenes"

    def test_clash_of_names(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png")
        write_image(tmp_path / "a.jpg")
        with pytest.raises(ValueError, match=r"same name.*a\.jpg.*a\.png"):
            StimulusSet.from_folder(tmp_path)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no stimuli\.csv and no image"):
            StimulusSet.from_folder(tmp_path)
        with pytest.raises(NotADirectoryError, match="none"):
            StimulusSet.from_folder(tmp_path / "none")

    def test_saved_set_is_recognised(self, tmp_path: Path) -> None:
        StimulusSet(["a"]).save(tmp_path / "set")
        with pytest.raises(ValueError, match=r"StimulusSet\.load"):
            StimulusSet.from_folder(tmp_path / "set")


class TestTable:
    @staticmethod
    def write(root: Path, text: str) -> Path:
        (root / "stimuli.csv").write_text(text, encoding="utf-8")
        return root

    def test_images_texts_and_attributes(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", 1)
        write_image(tmp_path / "deep" / "b.png", 2)
        self.write(
            tmp_path,
            "stimulus_id,image,text,animate,size_deg,label\n"
            '002,deep/b.png,"a dog, running",True,1.5,dog\n'
            "001,a.png,NA,False,,\n",
        )
        stimuli = StimulusSet.from_folder(tmp_path)
        assert stimuli.stimulus_ids.tolist() == ["002", "001"]
        assert stimuli.texts == ["a dog, running", "NA"]
        assert [path.name for path in stimuli.image_paths] == ["b.png", "a.png"]
        table = stimuli.attributes
        assert table.dtypes.astype(str).to_dict() == {
            "animate": "bool",
            "size_deg": "float64",
            "label": "object",
        }
        assert table.loc["002"].tolist() == [True, 1.5, "dog"]
        assert table.loc["001", ["size_deg", "label"]].isna().all()

    @pytest.mark.parametrize("column", ["image", "filename"])
    def test_only_the_named_images_are_taken(self, tmp_path: Path, column: str) -> None:
        write_image(tmp_path / "a.png")
        write_image(tmp_path / "unused.png")
        self.write(tmp_path, f"stimulus_id,{column}\nface,a.png\n")
        assert StimulusSet.from_folder(tmp_path).image_paths == [tmp_path / "a.png"]

    def test_texts_alone(self, tmp_path: Path) -> None:
        stimuli = StimulusSet.from_folder(self.write(tmp_path, "stimulus_id,text\n1,null\n2, spaced \n"))
        assert stimuli.texts == ["null", " spaced "]
        assert not stimuli.has_images

    def test_images_matched_by_id(self, tmp_path: Path) -> None:
        write_image(tmp_path / "images" / "a.png")
        write_image(tmp_path / "images" / "b.jpg")
        self.write(tmp_path, "stimulus_id,category\nimages/b,x\nimages/a,y\n")
        stimuli = StimulusSet.from_folder(tmp_path)
        assert [path.name for path in stimuli.image_paths] == ["b.jpg", "a.png"]
        self.write(tmp_path, "stimulus_id\nimages/a\nb\n")
        with pytest.raises(FileNotFoundError, match=r"1 of 2 ids.*'b'; name the files in a column image"):
            StimulusSet.from_folder(tmp_path)
        write_image(tmp_path / "images" / "a.bmp")
        self.write(tmp_path, "stimulus_id\nimages/a\n")
        with pytest.raises(ValueError, match="several images fit"):
            StimulusSet.from_folder(tmp_path)

    def test_spreadsheet_mark_and_line_ends(self, tmp_path: Path) -> None:
        (tmp_path / "stimuli.csv").write_bytes("\ufeffstimulus_id,text\r\na,Å\r\n\r\n".encode())
        assert StimulusSet.from_folder(tmp_path).texts == ["Å"]

    def test_all_missing_files_at_once(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png")
        self.write(tmp_path, "stimulus_id,image\n1,a.png\n2,gone.png\n3,lost.png\n")
        with pytest.raises(FileNotFoundError, match=r"2 of 3 .*gone\.png.*lost\.png"):
            StimulusSet.from_folder(tmp_path)

    @pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..\\secret.png", "C:\\secret.png"])
    def test_names_stay_inside(self, tmp_path: Path, name: str) -> None:
        root = tmp_path / "root"
        write_image(tmp_path / "secret.png")
        root.mkdir()
        self.write(root, f"stimulus_id,image\n1,{name}\n")
        with pytest.raises(ValueError, match="leaves its folder"):
            StimulusSet.from_folder(root)

    def test_links_of_the_owner_are_followed(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        os.symlink(write_image(tmp_path / "annex" / "1.png"), root / "a.png")
        self.write(root, "stimulus_id,image\n1,a.png\n")
        assert StimulusSet.from_folder(root).image(0).shape == (5, 4, 3)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "needs a column stimulus_id"),
            ("id,text\n1,x\n", "needs a column stimulus_id; its columns are: 'id', 'text'"),
            ("stimulus_id;text\n1;x\n", "needs a column stimulus_id"),
            ("stimulus_id,text\n", "has no rows"),
            ("stimulus_id,text\n1,x,y\n", r"2 columns, but other numbers of cells in rows 2"),
            ("stimulus_id,text\n1,x\n2\n", "rows 3"),
            ("stimulus_id,text\n1,x\n1,y\n", "unique"),
            ("stimulus_id,text\n,x\n", "empty"),
            ("stimulus_id,text\n1,x\n2,\n", "nothing in column 'text' for the stimulus ids '2'"),
            ("stimulus_id,image\n1,\n", "nothing in column 'image' for the stimulus ids '1'"),
            ("stimulus_id,x,x\n1,2,3\n", "several columns named 'x'"),
            ("stimulus_id,image,filename\n1,a,b\n", "keep the one"),
            ('stimulus_id,text\n1,"x\n', "not a table"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            StimulusSet.from_folder(self.write(tmp_path, text))

    def test_other_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "stimuli.csv").write_bytes("stimulus_id,text\n1,Å\n".encode("latin-1"))
        with pytest.raises(ValueError, match="UTF-8"):
            StimulusSet.from_folder(tmp_path)

    def test_set_of_a_folder_survives_saving(self, tmp_path: Path) -> None:
        write_image(tmp_path / "own" / "a.png")
        stimuli = StimulusSet.from_folder(self.write(tmp_path / "own", "stimulus_id,text,n\na,x,1\n"))
        stimuli.save(tmp_path / "set")
        assert_same(StimulusSet.load(tmp_path / "set"), stimuli)
