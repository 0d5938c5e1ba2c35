"""Book covers: six people look for one of 84 covers in a collage (Sattar et al. 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analyses.datasets.dataset import DatasetInfo
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from analyses.datasets.search_dataset import SearchDataset, listed_files
from stimuli.files import read_json
from stimuli.search_displays import SearchDisplay, SearchDisplays

if TYPE_CHECKING:
    from cogmodels.search.scanpaths import Scanpaths

_REPOSITORY = "DFKI-Interactive-Machine-Learning/STI-Dataset"
_COMMIT = "60d27471bf1a2188dff244058503df0b8bddd79b"
_FILE = "Amazon.json"
_N_ROWS, _N_COLUMNS = 6, 14
FOUND_WITHIN_PX = 60.0

AMAZON_COVERS = DatasetInfo(
    name="amazon-covers",
    title="Book covers: search in 100 collages of 84 covers, 6 people (fixations)",
    home=f"github.com/{_REPOSITORY} at {_COMMIT}, AmazonCovers",
    files=listed_files(
        "amazon-covers", lambda path: raw_github_url(_REPOSITORY, _COMMIT, f"AmazonCovers/{path}")
    ),
    licence="CC BY-NC-SA 4.0",
    citation=(
        "Sattar, Müller, Fritz & Bulling (2015). Prediction of search targets from fixations in open-world settings. "
        "CVPR. Targets annotated by Stauden, Barz & Sonntag (2018). Visual search target inference using bag of deep "
        "visual words. KI 2018."
    ),
    subjects=("all",),
    shapes={
        "displays": "100 collages of 6 x 14 covers, about 2560 x 1600 pixels, no pictures",
        "scanpaths": "600 trials of 6 people, 8,683 fixations, no durations",
    },
    units="pixels",
    description=(
        "A cover is shown, then a collage that holds it; five covers were sought, each in 20 collages (the condition "
        "of a display). Published are fixations and the box of each target. Boxes of the other covers "
        "are derived from those of all targets, which lie on one grid to within 20 pixels. Where the gaze stood at the "
        "start is not known. Whether the target was found is not recorded either: found says that the last "
        "fixation lies within 60 pixels of the target's box, as it does in 545 of 600 trials. Objects looked at are "
        "the covers under, or else nearest to, each fixation."
    ),
    folder="amazon_covers",
    holds="search",
)


@register_dataset(AMAZON_COVERS)
def load_amazon_covers(
    subject: str = "all", *, found_within_px: float = FOUND_WITHIN_PX, download: bool = True
) -> SearchDataset:
    """Load the collages of book covers.

    Parameters
    ----------
    subject : str
        ``"all"``.
    found_within_px : float
        How far from the edge of the target's box the last fixation may lie to have found it.
    download : bool
        Whether to download the file where it is neither below ``COGMODELS_DATA`` nor in the cache.

    Returns
    -------
    SearchDataset
        Displays of 84 items in a grid of 6 x 14, numbered row by row, without pictures; scanpaths without durations
        and without a fixation 0, `object` filled.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If it is damaged, or `found_within_px` is negative.
    """
    if not found_within_px >= 0:
        raise ValueError(
            f"found_within_px is {found_within_px!r}; it has to be a distance in pixels, from 0."
        )
    collages = read_collages(get_file(AMAZON_COVERS, _FILE, download=download))
    displays = make_cover_displays(collages)
    scanpaths = _scanpaths(collages, found_within_px).assign_objects(displays, nearest=True)
    return SearchDataset(AMAZON_COVERS, displays, scanpaths)


def read_collages(path: Path) -> pd.DataFrame:
    """Read sizes, targets and fixations of all collages.

    Parameters
    ----------
    path : Path
        ``Amazon.json``.

    Returns
    -------
    DataFrame
        Indexed by display (the number of the picture), in numerical order: width_px, height_px, target (name of the
        picture sought), x_px, y_px, target_width_px, target_height_px (its box), fixations (observer -> (n, 2) array).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, or an entry lacks a part, has other than one target, or holds something that is no finite
        number.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} has to hold collages by name; it holds no such mapping.")
    rows = {}
    for name in sorted(content, key=lambda name: (len(name), name)):
        entry, label = content[name], f"{path}: collage {name}"
        try:
            if len(entry["ground_truth"]) != 1:
                raise ValueError(f"{label} has {len(entry['ground_truth'])} targets; needed is one.")
            box = entry["ground_truth"][0]
            left, right, top, bottom = (_finite(box[key], label) for key in ("xmin", "xmax", "ymin", "ymax"))
            fixations = {
                str(observer): _finite(places, label, n_axes=2)
                for observer, places in entry["fixations"].items()
            }
            rows[Path(name).stem] = {
                "width_px": int(_finite(entry["size"]["width"], label)),
                "height_px": int(_finite(entry["size"]["height"], label)),
                "target": Path(entry["target"]).stem,
                "x_px": float(left),
                "y_px": float(top),
                "target_width_px": float(right - left),
                "target_height_px": float(bottom - top),
                "fixations": fixations,
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{label} lacks a part or has it in another form ({type(error).__name__}: {error}); needed are size, "
                "target, ground_truth and fixations."
            ) from error
        if not fixations or any(places.shape[1] != 2 for places in fixations.values()):
            raise ValueError(f"{label}: fixations have to be lists of [x, y], at least one an observer.")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("display")


def derive_grid(
    boxes_px: np.ndarray, n_rows: int, n_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the grid on which boxes of many displays lie.

    Parameters
    ----------
    boxes_px : ndarray (n_boxes, 4)
        x and y of the upper left corner, width, height; each row and each column of the grid has to be among them.
    n_rows, n_columns : int
        Shape of the grid.

    Returns
    -------
    cells : ndarray of int (n_boxes, 2)
        Row and column of each box.
    centres_px : ndarray (n_rows * n_columns, 2)
        x and y of the centre of each cell, row by row: medians of the boxes in its column, and in its row.
    size_px : ndarray (2,)
        Median width and height.

    Raises
    ------
    ValueError
        If the centres do not fall into that many rows and columns.
    """
    boxes = np.asarray(boxes_px, dtype=float)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    columns, column_centres = _split_lines(centres[:, 0], n_columns, "columns")
    rows, row_centres = _split_lines(centres[:, 1], n_rows, "rows")
    y, x = np.meshgrid(row_centres, column_centres, indexing="ij")
    return (
        np.column_stack([rows, columns]),
        np.column_stack([x.ravel(), y.ravel()]),
        np.median(boxes[:, 2:], axis=0),
    )


def make_cover_displays(collages: pd.DataFrame) -> SearchDisplays:
    """Make displays of 84 covers from the boxes of the targets.

    Parameters
    ----------
    collages : DataFrame
        What `read_collages` gave.

    Returns
    -------
    SearchDisplays
        The target has the box that was annotated, the other covers have those of the grid.

    Raises
    ------
    ValueError
        If the targets do not lie on a grid of 6 x 14, or a box does not lie on its display.
    """
    boxes = collages[["x_px", "y_px", "target_width_px", "target_height_px"]].to_numpy(float)
    cells, centres, size = derive_grid(boxes, _N_ROWS, _N_COLUMNS)
    rows, columns = np.divmod(np.arange(_N_ROWS * _N_COLUMNS), _N_COLUMNS)
    items = pd.DataFrame(
        {
            "x_px": centres[:, 0],
            "y_px": centres[:, 1],
            "width_px": size[0],
            "height_px": size[1],
            "kind": "cover",
            "row": rows,
            "column": columns,
        }
    )
    displays = []
    for (name, collage), box, (row, column) in zip(collages.iterrows(), boxes, cells, strict=True):
        target, own = int(row * _N_COLUMNS + column), items.copy()
        own.loc[target, ["x_px", "y_px"]] = box[:2] + box[2:] / 2
        own.loc[target, ["width_px", "height_px"]] = box[2:]
        own.loc[target, "kind"] = "target"
        displays.append(
            SearchDisplay(
                display_id=str(name),
                width_px=collage["width_px"],
                height_px=collage["height_px"],
                items=own,
                target_item=target,
                paradigm=AMAZON_COVERS.name,
                condition=collage["target"],
                set_size=len(own),
                grid_shape=(_N_ROWS, _N_COLUMNS),
            )
        )
    return SearchDisplays(displays, name=AMAZON_COVERS.name)


def _scanpaths(collages: pd.DataFrame, found_within_px: float) -> Scanpaths:
    from cogmodels.search.scanpaths import Scanpaths

    places, observers, names, found = [], [], [], []
    for name, collage in collages.iterrows():
        corner = collage[["x_px", "y_px"]].to_numpy(float)
        size = collage[["target_width_px", "target_height_px"]].to_numpy(float)
        for observer, path in collage["fixations"].items():
            beyond = np.maximum(np.maximum(corner - path[-1], path[-1] - corner - size), 0)
            places.append(path)
            observers.append(observer)
            names.append(str(name))
            found.append(np.hypot(*beyond) <= found_within_px)
    return Scanpaths.from_lists(places, observers, names, found=found)


def _split_lines(values: np.ndarray, n_lines: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Number the lines that values lie on: a gap of more than half the distance of lines begins a new one."""
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order]) > np.ptp(values) / max(n_lines - 1, 1) / 2
    lines = np.empty(len(values), dtype=np.int64)
    lines[order] = np.concatenate([[0], np.cumsum(gaps)])
    if lines.max() + 1 != n_lines:
        raise ValueError(f"the boxes lie on {lines.max() + 1} {what}; the grid has {n_lines}.")
    return lines, np.array([np.median(values[lines == line]) for line in range(n_lines)])


def _finite(value: Any, label: str, n_axes: int = 0) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.full(0, np.nan)
    if array.ndim != n_axes or array.size == 0 or not np.isfinite(array).all():
        expected = "a finite number" if n_axes == 0 else "a list of pairs of finite numbers"
        raise ValueError(f"{label} holds {value!r:.60} where {expected} has to stand.")
    return array
