"""Scenes with target boxes, object arrays and shelves."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stimuli import object_array, scene_displays, shelf
from stimuli.search_displays.natural import size_ratio


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"room_{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return paths


BOXES = np.array([[10, 20, 12, 16], [0, 0, 20, 20], [64, 40, 16, 20.0]])


class TestScenes:
    def test_boxes_and_crops(self, photographs: list[Path]) -> None:
        several = scene_displays(photographs, BOXES, px_per_degree=20, start_px=(40, 30), paradigm="rooms")
        assert several.display_ids == ["room_0", "room_1", "room_2"]
        for display, box, path in zip(several, BOXES.astype(int), photographs, strict=True):
            np.testing.assert_array_equal(display.target_box_px, box)
            x, y, width, height = box
            pixels = np.asarray(Image.open(path))
            np.testing.assert_array_equal(display.read_target_image(), pixels[y : y + height, x : x + width])
            assert (display.set_size, display.grid_shape, display.px_per_degree) == (None, None, 20)
            assert (display.width_px, display.height_px, display.start_px) == (80, 60, (40, 30))
            assert display.items["kind"].tolist() == ["target"]

    def test_coordinates_of_a_larger_screen_are_scaled(self, photographs: list[Path]) -> None:
        starts = [(80, 60), (0, 0), (160, 120)]
        scaled = scene_displays(
            photographs, BOXES * 2, coordinates_size_px=(160, 120), px_per_degree=40, start_px=starts
        )
        plain = scene_displays(photographs, BOXES, px_per_degree=20, start_px=np.array(starts) / 2)
        assert scaled.content_hash == plain.content_hash

    def test_part_of_a_pixel_is_cut_whole(self, photographs: list[Path]) -> None:
        boxes = BOXES + np.array([0.5, 0.25, 0, 0])
        boxes[2] = [60, 39.5, 20, 20.5]
        shapes = [display.read_target_image().shape for display in scene_displays(photographs, boxes)]
        assert shapes == [(17, 13, 3), (21, 21, 3), (21, 20, 3)]

    def test_absent_and_told(self, photographs: list[Path]) -> None:
        boxes = BOXES.copy()
        boxes[1] = np.nan
        told = np.full((4, 4, 3), 7, np.uint8)
        several = scene_displays(
            photographs, boxes, target_images=[told, told, None], display_ids=["a", "b", "c"]
        )
        assert several.table["target_present"].tolist() == [True, False, True]
        assert len(several[1].items) == 0
        np.testing.assert_array_equal(several[1].read_target_image(), told)
        with pytest.raises(ValueError, match="'c' has no target_image"):
            several[2].read_target_image()
        with pytest.raises(ValueError, match="'room_1' has no target_image"):
            scene_displays(photographs, boxes)[1].read_target_image()

    def test_without_images(self) -> None:
        several = scene_displays(None, BOXES, size_px=(80, 60))
        assert several.display_ids == ["scene-000", "scene-001", "scene-002"]
        assert several[0].image is None
        np.testing.assert_array_equal(several[2].target_box_px, BOXES[2])

    @pytest.mark.parametrize(
        ("boxes", "arguments", "message"),
        [
            (BOXES[:2], {}, "images has 3 entries for 2 rows of target_boxes_px"),
            (BOXES, {"display_ids": ["a"]}, "display_ids has 1 entries for 3 rows"),
            (BOXES, {"target_images": [None]}, "target_images has 1 entries for 3 rows"),
            (BOXES[:, :2], {}, r"shape \(n_displays, 4\): x, y, width, height; got \(3, 2\)"),
            (BOXES / [80, 60, 80, 60], {}, "are they fractions of the display"),
            (BOXES[:, [1, 0, 3, 2]], {}, "1 of 3 displays are wrong:\n.*room_2.* with x and y swapped"),
            (BOXES * 2, {}, "2 of 3 displays are wrong:\n.*'room_0'.*\n.*room_2.* of a larger display"),
            (BOXES * [1, 1, 0, 1], {}, "3 of 3 .*\n.*width_px.* must be positive"),
            ([[np.nan, 1, 2, 3]] * 3, {}, "NaN in part in rows 0, 1, 2"),
            (BOXES, {"coordinates_size_px": (120, 160)}, "differ in shape; .* swapped"),
            (BOXES, {"size_px": (80, 60)}, "size_px only without images"),
            (BOXES, {"start_px": [(1, 2)] * 2}, r"one a display \(3, 2\), got shape \(2, 2\)"),
            (BOXES, {"start_px": (100, 2)}, r"start_px must be \(x, y\) on its 80 x 60 px"),
        ],
    )
    def test_refused(self, photographs: list[Path], boxes: np.ndarray, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            scene_displays(photographs, boxes, **arguments)

    def test_refused_files(self, photographs: list[Path]) -> None:
        with pytest.raises(ValueError, match="give images, or the size_px"):
            scene_displays(None, BOXES)
        photographs[1].write_bytes(b"no image")
        with pytest.raises(ValueError, match=r"1 of 3 displays are wrong:\n.*image of display 'room_1'"):
            scene_displays(photographs, BOXES)

    @given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 6))
    def test_ratio(self, width: int, height: int, times: int) -> None:
        assert size_ratio((width, height), (width * times, height * times)) == times
        assert size_ratio((width * times, height * times), (width, height)) == pytest.approx(1 / times)

    def test_interiors(self, real_data: Path) -> None:
        """134 scenes of Interiors (NeuroLIAA/ruarte-hs-2024): boxes at 1024 x 768, photographs at 512 x 384."""
        trials = json.loads(
            (real_data / "search_scanpaths" / "Interiors" / "trials_properties.json").read_text()
        )
        names = ("target_matched_column", "target_matched_row", "target_width", "target_height")
        several = scene_displays(
            [real_data / "interiors_images" / "images" / trial["image"] for trial in trials],
            [[trial[name] for name in names] for trial in trials],
            coordinates_size_px=(1024, 768),
        )
        assert len(several) == 134
        correlations = []
        for display, trial in zip(several, trials, strict=True):
            assert (display.width_px, display.height_px) == (512, 384)
            crop = display.read_target_image()
            template = Image.open(real_data / "interiors_images" / "templates" / trial["target"]).convert(
                "RGB"
            )
            small = np.asarray(template.resize(crop.shape[1::-1], Image.Resampling.BOX))
            correlations.append(np.corrcoef(crop.ravel(), small.ravel())[0, 1])
        # The template that people were shown is what stands in the box; JPEG and scaling cost the rest.
        assert min(correlations) > 0.85
        assert np.median(correlations) > 0.95


@pytest.fixture(scope="module")
def objects() -> list[np.ndarray]:
    """Plain squares, wide and high pictures, each of its own colour."""
    shapes = [(20, 20), (10, 30), (40, 20)] * 4
    return [
        np.full((*shape, 3), (20 * row, 255 - 20 * row, 99), np.uint8) for row, shape in enumerate(shapes)
    ]


class TestObjectArray:
    def test_pixels_items_and_target_agree(self, objects: list[np.ndarray]) -> None:
        several = object_array(
            objects, n_displays=8, size_px=(200, 160), object_px=(30, 30), background=(9, 9, 9)
        )
        assert len(several) == 8
        for display in several:
            assert display.items["kind"].is_unique
            rest = display.read_image()
            for row, (left, top, width, height) in enumerate(display.boxes_px.astype(int)):
                source = objects[int(display.items["kind"][row].removeprefix("object_"))]
                assert width / height == pytest.approx(source.shape[1] / source.shape[0], rel=0.05)
                assert max(width, height) == 30
                box = np.s_[top : top + height, left : left + width]
                assert (rest[box] == source[0, 0]).all()
                rest[box] = 9
                if row == display.target_item:
                    np.testing.assert_array_equal(display.read_target_image(), source)
            assert (rest == 9).all()

    def test_absent_shows_another_object(self, objects: list[np.ndarray]) -> None:
        arguments: dict = {"n_displays": 5, "size_px": (200, 160), "object_px": (30, 30), "seed": 4}
        present, absent = (
            object_array(objects, **arguments),
            object_array(objects, target_present=False, **arguments),
        )
        for with_target, without in zip(present, absent, strict=True):
            target = with_target.target_item
            kinds = with_target.items["kind"].drop(index=target)
            assert without.items["kind"].drop(index=target).equals(kinds)
            assert with_target.items["kind"][target] not in without.items["kind"].tolist()
            np.testing.assert_array_equal(with_target.read_target_image(), without.read_target_image())

    def test_vectors_alone(self) -> None:
        vectors = np.random.default_rng(0).normal(size=(9, 5))
        for display in object_array(features=vectors, n_displays=4, set_size=9, kinds=list("abcdefghi")):
            order = ["abcdefghi".index(kind) for kind in display.items["kind"]]
            np.testing.assert_array_equal(display.features, vectors[order])
            np.testing.assert_array_equal(display.target_features, vectors[order[display.target_item]])
            assert display.image is None

    def test_every_object_is_sought_and_seeds_count(self, objects: list[np.ndarray]) -> None:
        arguments: dict = {"n_displays": 120, "size_px": (80, 80), "object_px": (9, 9)}
        several = object_array(objects, **arguments)
        sought = {display.items["kind"][display.target_item] for display in several}
        assert len(sought) == len(objects)
        assert several.content_hash == object_array(objects, **arguments).content_hash
        assert several.content_hash != object_array(objects, seed=1, **arguments).content_hash

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"set_size": 13}, "13 different objects are needed, 12 were given"),
            ({"set_size": 12, "target_present": False}, "13 different objects are needed"),
            ({"set_size": 17}, "set_size must be 1 to 16"),
            ({"object_px": (500, 10)}, "do not fit into cells"),
            ({"kinds": ["a"]}, "kinds has 1 entries for 12 objects"),
            ({"features": np.zeros((3, 2))}, r"features must have shape \(12, n_features\)"),
            ({"background": (1, 2)}, "background must be three integers"),
            ({"n_displays": 0}, "n_displays must be a whole number from 1, got 0"),
        ],
    )
    def test_refused(self, objects: list[np.ndarray], arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            object_array(objects, **arguments)
        with pytest.raises(ValueError, match="give object_images, features or both"):
            object_array()


class TestShelf:
    @pytest.mark.parametrize(("grid_shape", "title_px"), [((2, 11), 152), ((3, 9), 135), ((6, 14), 0)])
    def test_objects_fill_their_cells(self, grid_shape: tuple[int, int], title_px: int) -> None:
        n = grid_shape[0] * grid_shape[1]
        vectors = np.random.default_rng(0).normal(size=(n, 6))
        display = shelf(
            features=vectors, grid_shape=grid_shape, target_item=5, title_px=title_px, margin_px=4
        )
        boxes, cells = display.boxes_px, display.cells_px
        size = np.array([1680, 1050 - title_px]) / grid_shape[::-1]
        for item, (row, column) in enumerate(np.ndindex(*grid_shape)):
            np.testing.assert_allclose(cells[item], [column * size[0], title_px + row * size[1], *size])
            assert (display.items["row"][item], display.items["column"][item]) == (row, column)
        gaps = np.concatenate([boxes[:, :2] - cells[:, :2], (cells - boxes)[:, 2:] - (boxes - cells)[:, :2]])
        assert gaps.min() >= 4 - 1e-9
        assert gaps.max() < 7
        np.testing.assert_array_equal(display.target_features, vectors[5])
        assert (display.set_size, display.grid_shape) == (n, grid_shape)

    def test_images(self, objects: list[np.ndarray]) -> None:
        display = shelf(
            objects,
            (3, 4),
            target_item=7,
            size_px=(400, 330),
            background=(0, 0, 0),
            kinds=list("abcdefghijkl"),
        )
        np.testing.assert_array_equal(display.read_target_image(), objects[7])
        pixels = display.read_image()
        for item, (left, top, width, height) in enumerate(display.boxes_px.astype(int)):
            assert (pixels[top : top + height, left : left + width] == objects[item][0, 0]).all()
        covered = display.boxes_px[:, 2:].prod(axis=1).sum()
        assert (pixels == 0).all(axis=2).sum() == 400 * 330 - covered

    def test_absent_target_is_told(self, objects: list[np.ndarray]) -> None:
        told = np.zeros((5, 5, 3), np.uint8)
        display = shelf(objects, (3, 4), target_item=None, target_image=told)
        assert not display.target_present
        np.testing.assert_array_equal(display.read_target_image(), told)
        assert shelf(objects, (3, 4), target_item=None).target_image is None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"grid_shape": (2, 11)}, "a shelf of 2 x 11 needs 22 objects, got 12"),
            ({"target_item": 12}, "target_item 12 is none of its 12 items"),
            ({"margin_px": 300}, "do not hold objects with margins of 300 px"),
            ({"title_px": 1050}, "do not hold objects"),
            ({"object_images": [None] * 12}, r"object_images\[0\] is None"),
        ],
    )
    def test_refused(self, objects: list[np.ndarray], arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            shelf(**{"object_images": objects, "grid_shape": (3, 4), "target_item": 0, **arguments})
