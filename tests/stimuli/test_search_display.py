"""One display and a set of them: what they accept, and what they answer."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stimuli import SearchDisplay, SearchDisplays, make_paradigm


def make_items(n: int = 3, **columns: object) -> pd.DataFrame:
    """Items of 10 x 6 px in the cells of a grid of 2 x 3 over 90 x 60 px."""
    row, column = np.divmod(np.arange(n), 3)
    parts = {
        "x_px": 15.0 + 30 * column,
        "y_px": 15.0 + 30 * row,
        "width_px": 10.0,
        "height_px": 6.0,
        "kind": [f"k{i}" for i in range(n)],
        "row": row,
        "column": column,
    }
    return pd.DataFrame({**parts, **columns})


def make_display(**changes: object) -> SearchDisplay:
    rng = np.random.default_rng(0)
    parts: dict = {
        "display_id": "d",
        "width_px": 90,
        "height_px": 60,
        "items": make_items(),
        "target_item": 1,
        "image": rng.integers(0, 256, (60, 90, 3), dtype=np.uint8),
        "target_image": rng.integers(0, 256, (6, 10, 3), dtype=np.uint8),
        "px_per_degree": 30,
        "set_size": 3,
        "grid_shape": (2, 3),
        "background": (1, 2, 3),
        "features": rng.normal(size=(3, 4)),
        "target_features": np.arange(4),
        "paradigm": "p",
        "condition": "c",
    }
    return SearchDisplay(**{**parts, **changes})


class TestDisplay:
    def test_parts(self) -> None:
        display = make_display()
        assert (display.target_present, display.start_px) == (True, (45.0, 30.0))
        np.testing.assert_array_equal(display.boxes_px, [[10, 12, 10, 6], [40, 12, 10, 6], [70, 12, 10, 6]])
        np.testing.assert_array_equal(display.cells_px, [[0, 0, 30, 30], [30, 0, 30, 30], [60, 0, 30, 30]])
        np.testing.assert_array_equal(display.target_box_px, [40, 12, 10, 6])
        assert display.read_image().shape == (60, 90, 3)
        assert display.target_features.dtype == float  # type: ignore[union-attr]
        assert repr(display) == "SearchDisplay('d'; p c; 90 x 60 px; 3 items; target item 1)"

    def test_cells_of_part_of_the_display(self) -> None:
        items = make_items(2, y_px=[35.0, 35.0], column=[0, 2], x_px=[20.0, 70.0])
        display = make_display(
            items=items, set_size=2, features=None, grid_shape=(1, 3), grid_area_px=(9, 10, 72, 50)
        )
        np.testing.assert_array_equal(display.cells_px, [[9, 10, 24, 50], [57, 10, 24, 50]])

    def test_without_a_grid_cells_are_boxes(self) -> None:
        display = make_display(grid_shape=None)
        np.testing.assert_array_equal(display.cells_px, display.boxes_px)

    def test_its_arrays_do_not_change(self) -> None:
        image, items = np.zeros((60, 90, 3), dtype=np.uint8), make_items()
        display = make_display(image=image, items=items)
        image[:] = 9
        items.loc[0, "x_px"] = 50.0
        assert display.read_image().max() == 0
        assert display.items["x_px"][0] == 15
        display.read_image()[:] = 7
        assert display.read_image().max() == 0
        for array in (display.image, display.boxes_px, display.cells_px, display.features):
            assert not array.flags.writeable  # type: ignore[union-attr]
        with pytest.raises(dataclasses.FrozenInstanceError):
            display.width_px = 3  # type: ignore[misc]

    def test_absent(self) -> None:
        display = make_display(target_item=None)
        assert not display.target_present
        with pytest.raises(ValueError, match="display 'd' has no target"):
            _ = display.target_box_px

    def test_files(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(1).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        Image.fromarray(pixels[:50]).save(tmp_path / "b.png")
        np.testing.assert_array_equal(make_display(image=tmp_path / "a.png").read_image(), pixels)
        with pytest.raises(ValueError, match=r"image of display 'd' is 90 x 50 px, the display 90 x 60 px"):
            make_display(image=str(tmp_path / "b.png")).read_image()
        (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
        with pytest.raises(ValueError, match=r"image of display 'd' .*truncated or corrupt"):
            make_display(image=tmp_path / "c.png").read_image()
        with pytest.raises(FileNotFoundError, match=r"display 'd': target_image .*none\.png does not exist"):
            make_display(target_image=tmp_path / "none.png")

    def test_no_images(self) -> None:
        display = make_display(image=None, target_image=None)
        with pytest.raises(ValueError, match="has no image; give it when making"):
            display.read_image()
        with pytest.raises(ValueError, match=r"has no target_image; .* it can be cut"):
            display.read_target_image()


class TestItemAt:
    def test_edges_belong_as_pixels_do(self) -> None:
        display = make_display()
        assert [display.item_at(x, 15) for x in (9.99, 10, 19.99, 20, 45)] == [-1, 0, 0, -1, 1]
        assert display.item_at(21, 15, nearest=True) == 0
        assert display.item_at(float("nan"), 15, nearest=True) == -1
        assert (
            make_display(items=make_items(0), target_item=None, set_size=None, features=None).item_at(
                1, 1, nearest=True
            )
            == -1
        )

    @given(st.data())
    def test_against_a_loop(self, data: st.DataObject) -> None:
        number, size = st.integers(0, 40), st.integers(1, 20)
        corners = data.draw(st.lists(st.tuples(number, number, size, size), min_size=1, max_size=6))
        rows = [(x + w / 2, y + h / 2, w, h, "k") for x, y, w, h in corners]
        items = pd.DataFrame(rows, columns=["x_px", "y_px", "width_px", "height_px", "kind"])
        display = SearchDisplay("d", 60, 60, items, 0)
        px, py = data.draw(st.floats(0, 60)), data.draw(st.floats(0, 60))
        distances = [(px - x - w / 2) ** 2 + (py - y - h / 2) ** 2 for x, y, w, h in corners]
        inside = [i for i, (x, y, w, h) in enumerate(corners) if x <= px < x + w and y <= py < y + h]
        found, near = display.item_at(px, py), display.item_at(px, py, nearest=True)
        if inside:
            assert found == near
            assert found in inside
            assert distances[found] == pytest.approx(min(distances[i] for i in inside))
        else:
            assert found == -1
            assert distances[near] == pytest.approx(min(distances))


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"display_id": " "}, "display_id must not be empty"),
            ({"display_id": "a\ud800"}, "UTF-8"),
            ({"width_px": 0}, "display 'd': width_px must be a whole number of pixels from 1, got 0"),
            ({"height_px": 60.0}, "height_px must be a whole number"),
            ({"items": make_items().drop(columns="kind")}, "items lack the columns 'kind'"),
            (
                {"items": make_items(x_px=[1.0, np.nan, 3.0])},
                r"items\['x_px'\] must be finite, it is not in rows 1",
            ),
            ({"items": make_items(height_px=0.0)}, "must be positive"),
            (
                {"items": make_items(x_px=[15.0, 45.0, 95.0])},
                "1 item of 3 reach beyond it: item 2 covers x 90 to 100",
            ),
            ({"items": make_items(y_px=[15.0, 15.0, 80.0], x_px=[15.0, 20.0, 15.0])}, "with x and y swapped"),
            ({"items": make_items(x_px=[15.0, 45.0, 1200.0])}, "a larger display"),
            (
                {"items": make_items(x_px=0.2, y_px=0.1, width_px=0.1, height_px=0.1)},
                "fractions of the display",
            ),
            ({"items": make_items(row=[0, 0, 2])}, "must lie in its grid of 2 x 3"),
            ({"items": make_items(column=[0, 2, 1])}, "items 1, 2 lie outside their cells"),
            ({"items": make_items().drop(columns=["row", "column"])}, "lack 'row', 'column'"),
            ({"target_item": 3}, "target_item 3 is none of its 3 items"),
            ({"target_item": -1}, "target_item -1 is none"),
            ({"set_size": 4}, "set_size 4, but 3 items"),
            ({"image": np.zeros((90, 60, 3), np.uint8)}, r"90 x 60 px \(width x height\), its image 60 x 90"),
            ({"image": np.zeros((60, 90), np.uint8)}, r"uint8 of shape \(row, column, 3\)"),
            ({"image": np.zeros((60, 90, 3))}, "got float64"),
            ({"px_per_degree": 0}, "px_per_degree must be positive"),
            ({"px_per_degree": float("nan")}, "px_per_degree must be positive"),
            ({"start_px": (91, 3)}, r"start_px must be \(x, y\) on its 90 x 60 px"),
            ({"start_px": (1, float("nan"))}, "start_px"),
            ({"background": (0, 0, 256)}, "three integers in 0-255"),
            ({"background": 0.5}, "three integers in 0-255"),
            ({"grid_shape": (0, 3)}, "grid_shape must be"),
            ({"grid_shape": None, "grid_area_px": (0, 0, 9, 9)}, "no grid_shape"),
            ({"grid_area_px": (0, 0, 91, 60)}, "grid_area_px must be"),
            ({"features": np.zeros((2, 4))}, r"features must have shape \(3, n_features\), got \(2, 4\)"),
            ({"features": np.full((3, 4), np.inf)}, "must not hold NaN"),
            ({"target_features": np.zeros(5)}, "target_features has 5 values, features of the items 4"),
        ],
    )
    def test_values(self, changes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            make_display(**changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"display_id": 3}, "display_id must be a str"),
            ({"items": [1, 2]}, "items must be a DataFrame"),
            ({"items": make_items(kind=[1, 2, 3])}, r"items\['kind'\] must be words, got int64 1"),
            ({"items": make_items(x_px=["a", "b", "c"])}, "must be numbers"),
            ({"items": make_items(row=[0.0, 0.0, 0.0])}, r"items\['row'\] must be integers"),
            ({"items": make_items(extra=[None, "a", "b"])}, "numbers, bools or words, got NoneType"),
            ({"target_item": 1.0}, "target_item must be a row of items or None"),
            ({"target_item": True}, "target_item must be a row"),
            ({"image": [[1]]}, "must be a path or a numpy array"),
            ({"features": np.full((3, 4), "a")}, "features must be numbers"),
        ],
    )
    def test_types(self, changes: dict, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            make_display(**changes)

    def test_boxes_may_reach_one_pixel_beyond(self) -> None:
        assert make_display(items=make_items(x_px=[15.0, 45.0, 86.0]))
        with pytest.raises(ValueError, match="reach beyond"):
            make_display(items=make_items(x_px=[15.0, 45.0, 86.5]))


@pytest.fixture(scope="module")
def several() -> SearchDisplays:
    return make_paradigm("lighting_direction", 2, px_per_degree=5)


class TestDisplays:
    def test_rows(self, several: SearchDisplays) -> None:
        assert len(several) == 12
        assert several[-1].display_id == "lighting_direction-left_right-12-001"
        assert [display.display_id for display in several] == several.display_ids
        assert several[2:4].display_ids == several.display_ids[2:4]
        mask = several.table["set_size"].eq(6).to_numpy(bool)
        assert several[mask].display_ids == several[[2, 3, 8, 9]].display_ids
        assert several[np.array([-1, 0])].display_ids == [several.display_ids[-1], several.display_ids[0]]
        assert len(several[[]]) == 0
        assert repr(several) == "SearchDisplays('lighting_direction'; 12 displays; 'lighting_direction')"

    @pytest.mark.parametrize("rows", [12, -13, [0, 12], np.ones(3, bool)])
    def test_rows_out_of_range(self, several: SearchDisplays, rows: object) -> None:
        with pytest.raises(IndexError, match=r"out of range|does not fit"):
            several[rows]  # type: ignore[call-overload]

    @pytest.mark.parametrize("rows", ["a", ["a"], 1.5, [[0]]])
    def test_rows_of_other_kinds(self, several: SearchDisplays, rows: object) -> None:
        with pytest.raises(TypeError, match="rows must be"):
            several[rows]  # type: ignore[call-overload]

    def test_select(self, several: SearchDisplays) -> None:
        wanted = several.display_ids[::-3]
        assert several.select(wanted).display_ids == wanted
        with pytest.raises(KeyError, match=r"unknown display id .*did you mean"):
            several.select(["lighting_direction-top_down-06-01"])
        with pytest.raises(TypeError, match="write \\['a'\\]"):
            several.select("a")

    def test_table(self) -> None:
        bare = SearchDisplay("b", 9, 9, make_items(0).drop(columns=["row", "column"]), None)
        table = SearchDisplays([make_display(), bare]).table
        assert table.loc[0].to_dict() == {
            "display": "d",
            "paradigm": "p",
            "condition": "c",
            "set_size": 3,
            "n_items": 3,
            "target_present": True,
            "target_item": 1,
            "target_x_px": 45.0,
            "target_y_px": 15.0,
            "width_px": 90,
            "height_px": 60,
            "px_per_degree": 30.0,
        }
        assert table.loc[1, ["set_size", "target_item", "target_x_px", "px_per_degree"]].isna().all()
        assert SearchDisplays([]).table.dtypes.equals(table.dtypes)

    def test_ids_and_kinds(self) -> None:
        with pytest.raises(ValueError, match="display ids must be unique, these repeat: 'd'"):
            SearchDisplays([make_display(), make_display()])
        with pytest.raises(TypeError, match="displays must be SearchDisplay, got int"):
            SearchDisplays([3])  # type: ignore[list-item]

    def test_hash_says_everything(self, tmp_path: Path) -> None:
        display = make_display()
        changes: list[dict] = [
            *({"display_id": "e"}, {"target_item": 0}, {"target_item": None}, {"px_per_degree": 31}),
            *(
                {"start_px": (1, 2)},
                {"paradigm": "q"},
                {"condition": "q"},
                {"set_size": None},
                {"background": None},
            ),
            *(
                {"grid_shape": None},
                {"features": np.zeros((3, 4))},
                {"target_features": np.ones(4)},
                {"features": None},
            ),
            *({"image": np.zeros((60, 90, 3), np.uint8)}, {"image": None}, {"target_image": None}),
            *({"items": make_items(kind=["a", "b", "c"])}, {"items": make_items(x_px=[15.0, 45.0, 76.0])}),
        ]
        hashes = [SearchDisplays([make_display(**change)]).content_hash for change in [{}, *changes]]
        assert len(set(hashes)) == len(hashes)
        Image.fromarray(display.read_image()).save(tmp_path / "a.png")
        assert SearchDisplays([make_display(image=tmp_path / "a.png")], name="n").content_hash == hashes[0]

    def test_to_stimulus_set(self, several: SearchDisplays) -> None:
        stimuli = several.to_stimulus_set()
        assert stimuli.stimulus_ids.tolist() == several.display_ids
        np.testing.assert_array_equal(stimuli.image(3), several[3].read_image())
        assert stimuli.attributes["set_size"].tolist() == several.table["set_size"].tolist()
        with pytest.raises(ValueError, match="1 display without an image: 'd'"):
            SearchDisplays([make_display(image=None)]).to_stimulus_set()
