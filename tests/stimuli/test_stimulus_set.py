"""The stimulus set: what it accepts, what it gives back, slices and hashes."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stimuli import StimulusSet


def make_set(n: int = 4, **changes: object) -> StimulusSet:
    rng = np.random.default_rng(0)
    parts = {
        "stimulus_ids": [f"s{i}" for i in range(n)],
        "images": rng.integers(0, 256, (n, 3, 5, 3), dtype=np.uint8),
        "texts": [f"a thing {i}" for i in range(n)],
        "attributes": {"size_deg": np.linspace(1, 2, n), "category": [f"c{i % 2}" for i in range(n)]},
        "name": "things",
    }
    return StimulusSet(**{**parts, **changes})


@pytest.fixture
def image_files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)).save(path)
    return paths


class TestAccess:
    def test_parts(self) -> None:
        stimuli = make_set()
        assert len(stimuli) == 4
        assert stimuli.stimulus_ids.tolist() == ["s0", "s1", "s2", "s3"]
        assert stimuli.stimulus_ids.dtype.kind == "U"
        assert stimuli.texts == ["a thing 0", "a thing 1", "a thing 2", "a thing 3"]
        assert stimuli.attributes.index.tolist() == stimuli.stimulus_ids.tolist()
        assert stimuli.attributes.index.name == "stimulus_id"
        assert (stimuli.has_images, stimuli.has_texts, stimuli.name) == (True, True, "things")
        assert repr(stimuli) == (
            "StimulusSet('things'; 4 stimuli; image arrays and texts; attributes: 'size_deg', 'category')"
        )

    def test_ids_alone(self) -> None:
        stimuli = StimulusSet(["face", "house"])
        assert (stimuli.has_images, stimuli.has_texts, stimuli.texts) == (False, False, None)
        assert repr(stimuli) == "StimulusSet(2 stimuli; no media)"
        stimuli.verify()
        with pytest.raises(ValueError, match="has no images"):
            stimuli.image(0)

    def test_images_of_every_form(self) -> None:
        rng = np.random.default_rng(2)
        grey, colour = rng.random((3, 4)), rng.random((5, 2, 3)).astype(np.float32)
        stimuli = StimulusSet(["grey", "colour"], images=[grey, colour])
        assert stimuli.image(0).dtype == stimuli.image(1).dtype == np.float32
        np.testing.assert_array_equal(stimuli.image(0), np.stack([grey.astype(np.float32)] * 3, axis=-1))
        np.testing.assert_array_equal(stimuli.image(-1), colour)
        stack = StimulusSet(["a", "b"], images=np.zeros((2, 3, 3), dtype=np.uint8))
        assert stack.image(0).shape == (3, 3, 3)  # (n, row, column): grey, whatever the last length is

    def test_files(self, image_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(image_files[0].parent)
        stimuli = make_set(images=[path.name for path in image_files])
        monkeypatch.chdir("/")
        for row, path in enumerate(image_files):
            np.testing.assert_array_equal(stimuli.image(row), np.asarray(Image.open(path)))
        assert stimuli.image_paths == image_files
        assert "image files" in repr(stimuli)

    def test_is_not_iterable(self) -> None:
        with pytest.raises(TypeError, match="not iterable"):
            iter(make_set())  # type: ignore[call-overload]

    def test_nothing_handed_in_or_out_can_change_it(self) -> None:
        pixels = np.zeros((2, 2, 2), dtype=np.uint8)
        table = pd.DataFrame({"x": [1, 2]})
        texts = ["a", "b"]
        stimuli = StimulusSet(["a", "b"], images=pixels, texts=texts, attributes=table)
        twin = StimulusSet(["a", "b"], images=pixels.copy(), texts=["a", "b"], attributes=table.copy())
        pixels[:] = 9
        table["x"] = 0
        texts[0] = "changed"
        stimuli.attributes["x"] = 7
        stimuli.texts[0] = "changed"
        stimuli.image(0)[:] = 5
        with pytest.raises(ValueError, match="read-only"):
            stimuli.stimulus_ids[0] = "z"
        assert stimuli.image(0).max() == 0
        assert stimuli.content_hash == twin.content_hash

    def test_read_only_arrays_are_shared(self) -> None:
        pixels = np.zeros((2, 2, 2, 3), dtype=np.uint8)
        pixels.flags.writeable = False
        assert np.shares_memory(StimulusSet(["a", "b"], images=pixels).stored_image(1), pixels)


class TestRefusals:
    @pytest.mark.parametrize(
        ("ids", "error", "message"),
        [
            (["a", "b", "a", "c"], ValueError, "unique.*'a'.*repeated presentations"),
            (["a", "", "c", "d"], ValueError, "empty.*rows 1"),
            (["a", " ", "c", "d"], ValueError, "rows 1"),
            (["a", "b\0", "c", "d"], ValueError, "NUL"),
            ([1, 2, 3, 4], TypeError, r"must be str, got int.*str\(i\)"),
            (["a", float("nan"), "c", "d"], TypeError, "got float"),
            ("abcd", TypeError, "one str"),
        ],
    )
    def test_ids(self, ids: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make_set(stimulus_ids=ids)

    @pytest.mark.parametrize(
        ("images", "error", "message"),
        [
            (np.zeros((3, 2, 2), np.uint8), ValueError, "3 entries for 4"),
            (np.zeros((4, 3, 8, 8), np.uint8), ValueError, "channels last"),
            (np.zeros((4, 8), np.uint8), ValueError, r"got shape \(4, 8\)"),
            (np.zeros((4, 2, 2, 4), np.uint8), ValueError, r"got shape \(4, 2, 2, 4\)"),
            (np.full((4, 2, 2), np.nan), ValueError, "NaN, image 0"),
            (np.full((4, 2, 2), 1.01), ValueError, r"\[1.01, 1.01\]; divide by its range"),
            (np.full((4, 2, 2), -0.5), ValueError, r"in \[0, 1\]"),
            (np.full((4, 2, 2), np.inf), ValueError, "inf"),
            (np.zeros((4, 2, 2), np.int64), TypeError, "int64"),
            (np.zeros((4, 2, 2), bool), TypeError, "bool"),
            (np.zeros((4, 2, 2), object), TypeError, "object"),
            (np.zeros((4, 0, 2), np.uint8), ValueError, r"image 0 has \(0, 2\)"),
            ([np.zeros((2, 2), np.uint8)] * 3 + [np.zeros(2, np.uint8)], ValueError, r"image 3 has \(2,\)"),
            ([np.zeros((2, 2), np.uint8)] * 3 + ["a.png"], TypeError, "got both"),
            ([Image.new("P", (2, 2))] * 4, TypeError, r"convert\('RGB'\)"),
            ("a.png", TypeError, "one str"),
        ],
    )
    def test_images(self, images: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make_set(images=images)

    def test_missing_files_are_counted(self, image_files: list[Path]) -> None:
        with pytest.raises(FileNotFoundError, match=r"2 of 4 .*none\.png.*nor\.png"):
            make_set(images=[*image_files[:2], "none.png", "nor.png"])

    @pytest.mark.parametrize(
        ("texts", "error", "message"),
        [
            (["a", float("nan"), "c", None], TypeError, "2 are not: row 1 is nan"),
            (["a", "b", "c"], ValueError, "texts has 3 entries for 4"),
            ("abcd", TypeError, "one str"),
            (["a", "b", "c", "\ud800"], ValueError, "UTF-8"),
        ],
    )
    def test_texts(self, texts: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make_set(texts=texts)

    def test_name(self) -> None:
        with pytest.raises(TypeError, match="name must be a str"):
            make_set(name=3)


class TestSlices:
    @given(data=st.data())
    def test_slicing_composes(self, data: st.DataObject) -> None:
        stimuli = make_set(6)
        start, stop = data.draw(st.integers(-7, 7)), data.draw(st.integers(-7, 7))
        step = data.draw(st.integers(-3, 3).filter(bool))
        part = stimuli[start:stop:step]
        expected = list(range(6))[start:stop:step]
        assert part.stimulus_ids.tolist() == [f"s{i}" for i in expected]
        rows = data.draw(st.permutations(range(len(part)))) if expected else []
        again = part[rows]
        direct = stimuli.select([f"s{expected[row]}" for row in rows])
        assert again.content_hash == direct.content_hash
        assert again.media_hashes == tuple(stimuli.media_hashes[expected[row]] for row in rows)
        for new, row in enumerate(rows):
            np.testing.assert_array_equal(again.image(new), stimuli.image(expected[row]))
            assert again.texts[new] == stimuli.texts[expected[row]]
        pd.testing.assert_frame_equal(again.attributes, stimuli.attributes.iloc[[expected[r] for r in rows]])
        assert again.name == stimuli.name

    def test_every_kind_of_index(self) -> None:
        stimuli = make_set()
        wanted = stimuli.select(["s1", "s3"]).content_hash
        for rows in ([1, 3], np.array([1, -1]), np.array([1, 3], np.uint8), slice(1, None, 2)):
            assert stimuli[rows].content_hash == wanted
        assert stimuli[[False, True, False, True]].content_hash == wanted
        assert stimuli[pd.Series([False, True, False, True])].content_hash == wanted
        assert stimuli[-1].stimulus_ids.tolist() == stimuli[np.int64(3)].stimulus_ids.tolist() == ["s3"]
        assert len(stimuli[[]]) == len(stimuli[np.zeros(4, bool)]) == len(stimuli[2:2]) == 0

    @pytest.mark.parametrize(
        ("rows", "error", "message"),
        [
            (4, IndexError, "out of range for 4"),
            ([0, -5], IndexError, "-5.*out of range"),
            ([True, False], IndexError, "mask of 2"),
            ("s1", TypeError, "select"),
            (["s1"], TypeError, "select"),
            ([0.5], TypeError, "1-D indices"),
            ([[0, 1]], TypeError, "1-D indices"),
            (True, TypeError, "1-D indices"),
            ([1, 1], ValueError, "unique"),
        ],
    )
    def test_bad_rows(self, rows: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make_set()[rows]

    def test_unknown_id_lists_near_ones(self) -> None:
        stimuli = StimulusSet(["face_01", "face_02", "house_01"])
        with pytest.raises(KeyError, match="unknown stimulus id 'face_3'; did you mean 'face_0"):
            stimuli.select(["house_01", "face_3"])
        with pytest.raises(TypeError, match="one str"):
            stimuli.select("face_01")

    def test_hashes_of_a_slice_do_not_depend_on_when_they_were_asked_for(self) -> None:
        early, late = make_set(), make_set()
        assert early.media_hash
        assert early[1:3].content_hash == late[1:3].content_hash
        assert (
            early[[3, 0]].media_hashes
            == late[[3, 0]].media_hashes
            == tuple(late.media_hashes[i] for i in (3, 0))
        )


class TestHashes:
    def test_every_part_enters_the_right_hash(self) -> None:
        base = make_set()
        pixels = np.stack([base.image(i) for i in range(4)])
        one_pixel = pixels.copy()
        one_pixel[3, 2, 4, 2] ^= 1
        changed_media = [
            make_set(images=one_pixel),
            make_set(images=None),
            make_set(images=list(pixels.transpose(0, 2, 1, 3))),
            make_set(texts=["a thing 0", "a thing 1", "a thing 2", "another"]),
            make_set(texts=None),
            base[::-1],
            base[:3],
        ]
        changed_rest = [
            make_set(stimulus_ids=["s0", "s1", "s2", "t"]),
            make_set(attributes=None),
            make_set(attributes={"size_deg": [1.0, 1.0, 1.0, 1.0], "category": list("abab")}),
            make_set(attributes=base.attributes[["category", "size_deg"]]),
            make_set(attributes=base.attributes.astype({"size_deg": "float32"})),
        ]
        for first, second in itertools.combinations([base, *changed_media], 2):
            assert first.media_hash != second.media_hash
        for other in changed_rest:
            assert other.media_hash == base.media_hash
        for first, second in itertools.combinations([base, *changed_media, *changed_rest], 2):
            assert first.content_hash != second.content_hash
        assert make_set(name="other").content_hash == base.content_hash
        assert make_set(images=list(pixels)).content_hash == base.content_hash

    def test_files_hash_by_their_bytes(self, image_files: list[Path], tmp_path: Path) -> None:
        texts = ["a", "b", "c", "d"]
        expected = [
            hashlib.sha256(
                b"image file:"
                + hashlib.sha256(path.read_bytes()).hexdigest().encode()
                + b"text:"
                + hashlib.sha256(text.encode()).digest()
            ).hexdigest()
            for path, text in zip(image_files, texts, strict=True)
        ]
        assert list(make_set(images=image_files, texts=texts).media_hashes) == expected
        (tmp_path / "moved").mkdir()
        moved = [path.rename(tmp_path / "moved" / f"renamed{path.name}") for path in image_files]
        assert list(make_set(images=moved, texts=texts).media_hashes) == expected

    def test_neighbours_do_not_run_into_each_other(self) -> None:
        first = StimulusSet(["a", "b"], texts=["xy", "z"])
        second = StimulusSet(["a", "b"], texts=["x", "yz"])
        assert first.media_hash != second.media_hash
        ids = [StimulusSet(["ab", "c"]), StimulusSet(["a", "bc"])]
        assert ids[0].content_hash != ids[1].content_hash

    def test_an_empty_text_is_not_no_text(self) -> None:
        assert StimulusSet(["a"], texts=[""]).media_hash != StimulusSet(["a"]).media_hash

    @given(first=st.lists(st.text(max_size=3), max_size=3), second=st.lists(st.text(max_size=3), max_size=3))
    def test_media_hash_changes_iff_texts_change(self, first: list[str], second: list[str]) -> None:
        sets = [StimulusSet([f"{i}" for i in range(len(texts))], texts=texts) for texts in (first, second)]
        assert (sets[0].media_hash == sets[1].media_hash) == (first == second)


class TestVerify:
    def test_good_set_passes(self, image_files: list[Path]) -> None:
        make_set(images=image_files).verify()

    def test_all_bad_files_are_named_at_once(self, image_files: list[Path]) -> None:
        stimuli = make_set(images=image_files)
        image_files[1].write_bytes(image_files[1].read_bytes()[:60])
        image_files[2].write_text("no image")
        image_files[3].unlink()
        with pytest.raises(ValueError, match="3 of 4 stimuli") as caught:
            stimuli.verify()
        message = str(caught.value)
        assert all(f"'s{row}'" in message and f"{row}.png" in message for row in (1, 2, 3))
        assert "'s0'" not in message
        with pytest.raises(ValueError, match=r"stimulus 's1' \(.*1\.png\)"):
            stimuli.image(1)
        with pytest.raises(FileNotFoundError, match="'s3'"):
            stimuli.image(3)
