"""Tables of the asymmetry study: what is read, and files that are damaged, made by the tests themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.datasets.search_tables import (
    check_reach,
    read_human_times,
    read_one_hot,
    read_padded_paths,
    split_set_sizes,
)


def test_one_hot_rows_become_numbers_of_fixations(tmp_path: Path) -> None:
    hits = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.save(tmp_path / "hits.npy", hits)
    np.savetxt(tmp_path / "hits.csv", hits, delimiter=",", fmt="%d")
    for name in ("hits.npy", "hits.csv"):
        assert read_one_hot(tmp_path / name).tolist() == pytest.approx([1, np.nan, 0, 2], nan_ok=True)
    set_size, number = split_set_sizes(6, (3, 9), tmp_path / "hits.csv")
    assert (set_size.tolist(), number.tolist()) == ([3, 3, 3, 9, 9, 9], [0, 1, 2, 0, 1, 2])
    with pytest.raises(ValueError, match="7 rows, which are no equal blocks"):
        split_set_sizes(7, (3, 9), tmp_path / "hits.csv")


def _save(values: Any) -> Callable[[Path], Any]:
    return lambda path: np.save(path, values)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_save(np.array([[0, 2, 0]])), "rows of 0 and 1"),
        (_save(np.array([[0, np.nan]])), "rows of 0 and 1"),
        (_save(np.array([0, 1])), "rows of 0 and 1"),
        (_save(np.zeros((0, 3))), "rows of 0 and 1"),
        (_save(np.array([[0, 1], [1, 1]])), "1 rows with more than one 1, first row 1"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v"), "truncated or not a numpy file"),
        (
            lambda path: np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True),
            "unpickling can run code",
        ),
    ],
)
def test_bad_one_hot_files_are_refused(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path / "hits.npy")
    with pytest.raises(ValueError, match=message):
        read_one_hot(tmp_path / "hits.npy")


def test_bad_csv_files_are_refused(tmp_path: Path) -> None:
    for content, message in (("0,1\n0", "truncated or no table"), ("a,b\n", "no table of numbers")):
        (tmp_path / "hits.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_one_hot(tmp_path / "hits.csv")
    with pytest.raises(FileNotFoundError):
        read_one_hot(tmp_path / "none.csv")


def _padded(folder: Path, **changes: Any) -> tuple[Path, Path, Path]:
    """Write three paths as (row, column), one of which ends at the very corner (0, 0)."""
    parts: dict[str, Any] = {
        "fix": np.array(
            [[(5, 7), (2, 9), *[(0, 0)] * 2], [(5, 7), (1, 1), *[(0, 0)] * 2], [(5, 7), *[(0, 0)] * 3]]
        ),
        "cp": np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]),
        "ifix": np.array([[2], [3], [1]]),
    }
    for name, values in (parts | changes).items():
        np.save(folder / f"{name}.npy", values)
    return folder / "fix.npy", folder / "cp.npy", folder / "ifix.npy"


def test_padding_ends_where_lengths_say(tmp_path: Path) -> None:
    paths, found = read_padded_paths(*_padded(tmp_path), 3)
    assert [path.tolist() for path in paths] == [[[7, 5], [9, 2]], [[7, 5], [1, 1], [0, 0]], [[7, 5]]]
    assert found.tolist() == [True, True, False]
    centres = np.array([[10.0, 2.0], [1.0, 1.0], [500.0, 500.0]])
    check_reach(paths, found, centres, 2.0, tmp_path)  # the third did not find its target
    with pytest.raises(
        ValueError, match="2 of 2 searches that found their target end more than 2 px from it"
    ):
        check_reach(paths, found, np.roll(centres[:, ::-1] + 5, 1, axis=0), 2.0, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fix": np.zeros((3, 4))}, r"needed are \(3, longest, 2\)"),
        ({"fix": np.zeros((2, 4, 2))}, r"needed are \(3, longest, 2\)"),
        ({"fix": np.full((3, 4, 2), np.nan)}, "NaN or infinite places"),
        ({"fix": np.ones((3, 4, 2))}, "goes on after the lengths"),
        ({"ifix": np.array([[2], [3]])}, "needed are 3 integers"),
        ({"ifix": np.array([[2.0], [3.0], [1.0]])}, "needed are 3 integers"),
        ({"ifix": np.array([[2], [3], [0]])}, "lengths from 0 to 3"),
        ({"ifix": np.array([[2], [3], [9]])}, "lengths from 2 to 9"),
        ({"cp": np.array([[0, 1, 0, 0], [0, 0, 1, 0]])}, "has 2 rows; needed are 3"),
        ({"cp": np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])}, "elsewhere than at the end"),
    ],
)
def test_padded_paths_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_padded_paths(*_padded(tmp_path, **changes), 3)


HUMAN_CSV = "experiment,condition,set_size,rt_ms\nletter,T_in_Ls,3,541\nletter,T_in_Ls,6,583.5\n"


def test_human_times_get_the_names_of_paradigms(tmp_path: Path) -> None:
    (tmp_path / "rt.csv").write_text(HUMAN_CSV)
    times = read_human_times(tmp_path / "rt.csv", {"letter": "t_and_l"})
    assert times.to_dict("list") == {
        "paradigm": ["t_and_l", "t_and_l"],
        "condition": ["T_in_Ls", "T_in_Ls"],
        "set_size": [3, 6],
        "rt_ms": [541.0, 583.5],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a readable csv file"),
        (HUMAN_CSV.replace("rt_ms", "time"), r"lacks the columns \['rt_ms'\]"),
        (HUMAN_CSV[:-6], "all positive and none missing"),
        (HUMAN_CSV.replace("541", "nan"), "all positive and none missing"),
        (HUMAN_CSV.replace("541", "-541"), "all positive and none missing"),
        (HUMAN_CSV.replace("541", "slow"), "all positive and none missing"),
        (HUMAN_CSV.replace(",6,", ",6.5,"), "whole numbers"),
        (HUMAN_CSV.splitlines()[0] + "\n", "none missing"),
        (HUMAN_CSV.replace(",6,", ",3,"), "has a cell twice"),
    ],
)
def test_bad_human_times_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rt.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_human_times(tmp_path / "rt.csv", {})
