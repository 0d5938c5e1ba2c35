"""Collages of book covers: their grid, and files that are damaged, made by the tests themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets import (
    load_dataset,
)
from analyses.datasets.amazon_covers import derive_grid, make_cover_displays, read_collages


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def _collage(**changes: Any) -> dict[str, Any]:
    collage = {
        "fixations": {"1": [[10, 20], [30, 40]], "2": [[50, 60]]},
        "ground_truth": [{"xmin": 20, "xmax": 180, "ymin": 30, "ymax": 270}],
        "size": {"width": 2560, "height": 1600},
        "target": "target_3.jpg",
    }
    return collage | changes


def test_collages_are_read_in_numerical_order(tmp_path: Path) -> None:
    table = read_collages(_write(tmp_path / "covers.json", {"10.jpg": _collage(), "2.jpg": _collage()}))
    assert table.index.tolist() == ["2", "10"]
    row = table.loc["10"]
    assert row[["x_px", "y_px", "target_width_px", "target_height_px"]].tolist() == [20, 30, 160, 240]
    assert (row["width_px"], row["height_px"], row["target"]) == (2560, 1600, "target_3")
    assert row["fixations"]["1"].tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no such mapping"),
        ({"1.jpg": "a"}, "lacks a part"),
        ({"1.jpg": _collage(size={"width": 5})}, "lacks a part or has it in another form"),
        ({"1.jpg": _collage(ground_truth=[])}, "has 0 targets; needed is one"),
        ({"1.jpg": _collage(ground_truth=[{}])}, "lacks a part"),
        ({"1.jpg": _collage(size={"width": float("nan"), "height": 5})}, "a finite number"),
        ({"1.jpg": _collage(fixations={"1": [[1, 2], [3]]})}, "pairs of finite numbers"),
        ({"1.jpg": _collage(fixations={"1": [[1, 2, 3]]})}, r"lists of \[x, y\]"),
        ({"1.jpg": _collage(fixations={"1": []})}, "pairs of finite numbers"),
        ({"1.jpg": _collage(fixations={"1": [[1, float("nan")]]})}, "pairs of finite numbers"),
        ({"1.jpg": _collage(fixations={})}, "at least one an observer"),
    ],
)
def test_bad_collages_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_collages(_write(tmp_path / "covers.json", content))


@settings(max_examples=40, deadline=None)
@given(
    n_rows=st.integers(2, 6),
    n_columns=st.integers(2, 14),
    pitch=st.tuples(st.floats(100, 200), st.floats(150, 300)),
    seed=st.integers(0, 1000),
)
def test_grids_are_recovered_from_boxes(
    n_rows: int, n_columns: int, pitch: tuple[float, float], seed: int
) -> None:
    """Boxes drawn on a known grid, each off by up to a tenth of the distance of lines; every line is among them."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(np.arange(n_rows), np.arange(n_columns), indexing="ij"), axis=-1).reshape(
        -1, 2
    )
    cells = rng.permutation(np.vstack([cells, cells[rng.integers(len(cells), size=20)]]))
    centres = 90 + cells[:, ::-1] * pitch
    shifted = centres + rng.uniform(-0.1, 0.1, centres.shape) * pitch
    size = np.array([0.8, 0.9]) * pitch
    found, places, found_size = derive_grid(
        np.hstack([shifted - size / 2, np.tile(size, (len(cells), 1))]), n_rows, n_columns
    )
    assert np.array_equal(found, cells)
    expected = 90 + np.stack(np.divmod(np.arange(n_rows * n_columns), n_columns)[::-1], axis=1) * pitch
    assert np.abs(places - expected).max() <= 0.1 * max(pitch)
    assert np.allclose(found_size, size)


def test_targets_off_a_grid_are_refused() -> None:
    boxes = np.array([(x * 180.0, y * 260.0, 160.0, 240.0) for x in range(3) for y in range(2)])
    with pytest.raises(ValueError, match="the boxes lie on 3 columns; the grid has 14"):
        derive_grid(boxes, 2, 14)
    with pytest.raises(ValueError, match="the boxes lie on 2 rows; the grid has 6"):
        derive_grid(boxes, 6, 3)


def test_covers_of_a_collage_keep_the_box_of_its_target(tmp_path: Path) -> None:
    """One box of three in a cell is off by 7 px: it is kept as annotated, and the grid goes by the others."""
    cells = [(i, i % 6) for i in range(14)] + [(4, 4), (4, 4)]
    boxes = [
        {"xmin": 20 + 180 * i, "xmax": 178 + 180 * i, "ymin": 25 + 262 * j, "ymax": 262 + 262 * j}
        for i, j in cells
    ]
    boxes[4] = {name: value + 7 for name, value in boxes[4].items()}
    content = {f"{i + 1}.jpg": _collage(ground_truth=[box]) for i, box in enumerate(boxes)}
    displays = make_cover_displays(read_collages(_write(tmp_path / "covers.json", content)))
    assert displays[4].target_item == 4 * 14 + 4
    assert displays[4].target_box_px.tolist() == [747, 1080, 158, 237]
    assert displays[5].boxes_px[4 * 14 + 4].tolist() == [740, 1073, 158, 237]
    with pytest.raises(ValueError, match="found_within_px is -1"):
        load_dataset("amazon-covers", found_within_px=-1, download=False)
