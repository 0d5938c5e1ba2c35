"""Displays in folders: everything comes back, nothing half, nothing changed in silence."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stimuli import SearchDisplay, SearchDisplays, make_paradigm, object_array, scene_displays, shelf


def same(one: SearchDisplays, other: SearchDisplays) -> None:
    assert other.content_hash == one.content_hash
    assert other.name == one.name
    pd.testing.assert_frame_equal(other.table, one.table)
    for before, after in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(after.items, before.items)
        for name in ("start_px", "grid_shape", "grid_area_px", "background", "px_per_degree"):
            assert getattr(after, name) == getattr(before, name)
        for name in ("features", "target_features"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
            if getattr(before, name) is not None:
                assert getattr(after, name).dtype == getattr(before, name).dtype


def mixed(tmp_path: Path) -> SearchDisplays:
    rng = np.random.default_rng(0)
    photograph = tmp_path / "a photograph.JPG"
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(photograph)
    pictures = [rng.integers(0, 256, (8, 9, 3), dtype=np.uint8) for _ in range(6)]
    return SearchDisplays(
        [
            *make_paradigm("orientation_homogeneous", 1, px_per_degree=5),
            *make_paradigm("curvature", 1, px_per_degree=5, target_present=False),
            *scene_displays([photograph], [[1.25, 2, 3, 4]], start_px=(0.1, 0.2)),
            *scene_displays(None, [[np.nan] * 4], size_px=(9, 9), display_ids=["nothing"]),
            *object_array(pictures, n_displays=2, size_px=(99, 98), object_px=(20, 20), px_per_degree=1 / 3),
            shelf(
                features=rng.normal(size=(6, 3)).astype(np.float32),
                grid_shape=(2, 3),
                target_item=1,
                title_px=50,
            ),
        ],
        name="all kinds",
    )


class TestRoundTrip:
    def test_all_kinds(self, tmp_path: Path) -> None:
        displays = mixed(tmp_path)
        displays.save(tmp_path / "saved")
        loaded = SearchDisplays.load(tmp_path / "saved")
        same(displays, loaded)
        loaded.save(tmp_path / "again")
        same(displays, SearchDisplays.load(tmp_path / "again"))

    def test_what_lies_in_the_folder(self, tmp_path: Path) -> None:
        displays = make_paradigm("t_and_l", 1, px_per_degree=5, conditions="T_in_Ls")
        displays.save(tmp_path / "saved")
        names = sorted(
            path.relative_to(tmp_path / "saved").as_posix() for path in (tmp_path / "saved").rglob("*.*")
        )
        assert [name for name in names if not name.startswith("targets/")] == [
            "displays.csv",
            *(f"images/{row:06d}_{name}.png" for row, name in enumerate(displays.display_ids)),
            "items.csv",
            "manifest.json",
        ]
        table = pd.read_csv(tmp_path / "saved" / "displays.csv", index_col="display")
        assert table["set_size"].tolist() == [3, 6, 9]
        for display in displays:
            pixels = np.asarray(Image.open(tmp_path / "saved" / table.loc[display.display_id, "image"]))
            np.testing.assert_array_equal(pixels, display.read_image())
        items = pd.read_csv(tmp_path / "saved" / "items.csv").set_index(["display", "item"])
        assert items.loc[(displays.display_ids[2], 4), "x_px"] == displays[2].items["x_px"][4]

    def test_of_nothing(self, tmp_path: Path) -> None:
        SearchDisplays([], name="none").save(tmp_path / "saved")
        same(SearchDisplays([], name="none"), SearchDisplays.load(tmp_path / "saved"))

    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def test_any_words_and_numbers(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
        number = st.floats(5, 15, allow_nan=False)
        ids = data.draw(st.lists(words.filter(str.strip), min_size=1, max_size=4, unique=True))
        displays = []
        for display_id in ids:
            rows = data.draw(st.lists(st.tuples(number, number, words, st.booleans(), words), max_size=3))
            items = pd.DataFrame(rows, columns=["x_px", "y_px", "kind", "seen, before", "word"])
            items = items.assign(width_px=0.3, height_px=0.1).astype({"x_px": float, "seen, before": bool})
            experiment = {"paradigm": data.draw(words), "condition": data.draw(words)}
            displays.append(SearchDisplay(display_id, 20, 20, items, None, **experiment))
        folder = tmp_path_factory.mktemp("words") / "saved"
        SearchDisplays(displays).save(folder)
        same(SearchDisplays(displays), SearchDisplays.load(folder))

    @pytest.mark.parametrize(
        "display_id", ["../../up", "/etc/x", "a\\b", "CON", ".", "x" * 300, "ä ö", "a\nb"]
    )
    def test_names_stay_in_the_folder(self, tmp_path: Path, display_id: str) -> None:
        picture = np.zeros((9, 9, 3), np.uint8)
        items = pd.DataFrame(
            {"x_px": [4.0], "y_px": [4.0], "width_px": [2.0], "height_px": [2.0], "kind": ["k"]}
        )
        displays = SearchDisplays(
            [SearchDisplay(display_id, 9, 9, items, 0, image=picture, target_image=picture)]
        )
        displays.save(tmp_path / "inner" / "saved")
        assert [path.name for path in tmp_path.iterdir()] == ["inner"]
        assert len(list((tmp_path / "inner" / "saved" / "images").iterdir())) == 1
        same(displays, SearchDisplays.load(tmp_path / "inner" / "saved"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    mixed(tmp_path).save(tmp_path / "saved")
    return tmp_path / "saved"


class TestRefused:
    def test_folder_with_something_in_it(self, saved: Path) -> None:
        with pytest.raises(FileExistsError, match="not empty"):
            make_paradigm("curvature", 1, px_per_degree=5).save(saved)

    def test_nothing_is_left_where_saving_fails(self, tmp_path: Path) -> None:
        displays = mixed(tmp_path)
        (tmp_path / "a photograph.JPG").unlink()
        with pytest.raises(FileNotFoundError):
            displays.save(tmp_path / "saved")
        assert list(tmp_path.iterdir()) == []

    def test_no_saved_displays(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"holds no saved displays \(manifest.json\)"):
            SearchDisplays.load(tmp_path)

    @pytest.mark.parametrize(
        "name", ["displays.csv", "items.csv", "features.safetensors", "images/000000_*.png"]
    )
    def test_changed_truncated_and_missing_files(self, saved: Path, name: str) -> None:
        path = next(saved.glob(name))
        content = path.read_bytes()
        for changed in (content[:-7], content + b"\n", b""):
            path.write_bytes(changed)
            with pytest.raises(
                ValueError, match=rf"not what was saved: '{path.relative_to(saved).as_posix()}'"
            ):
                SearchDisplays.load(saved)
        path.unlink()
        with pytest.raises(FileNotFoundError, match="misses 1 file"):
            SearchDisplays.load(saved)

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"format": "x"}', '{"format": "cogmodels search displays 1"}']
    )
    def test_other_manifests(self, saved: Path, text: str) -> None:
        (saved / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"manifest.json"):
            SearchDisplays.load(saved)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("n_displays", 3),
            ("item_columns", []),
            ("item_columns", [{"x_px": "complex"}] * 16),
            ("sha256", {}),
        ],
    )
    def test_garbled_entries(self, saved: Path, name: str, value: object) -> None:
        manifest = json.loads((saved / "manifest.json").read_text())
        manifest[name] = value
        (saved / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match="save"):
            SearchDisplays.load(saved)

    def test_files_outside(self, saved: Path) -> None:
        secret = saved.parent / "secret.png"
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(secret)
        manifest = json.loads((saved / "manifest.json").read_text())
        manifest["sha256"]["../secret.png"] = "0" * 64
        (saved / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match="leaves its folder"):
            SearchDisplays.load(saved)

    def test_tables_that_name_files_that_were_not_saved(self, saved: Path) -> None:
        """Files that a table names, but the manifest does not, were put there by others."""
        from stimuli import hash_file

        table = (saved / "displays.csv").read_text()
        first = next((saved / "images").iterdir())
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(saved / "other.png")
        (saved / "displays.csv").write_text(table.replace(f"images/{first.name}", "other.png"))
        manifest = json.loads((saved / "manifest.json").read_text())
        manifest["sha256"]["displays.csv"] = hash_file(saved / "displays.csv")
        (saved / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match=r"other\.png"):
            SearchDisplays.load(saved)
