"""Scanpaths in JSON as NeuroLIAA publishes them: one file of scenes, and one file of trials a person.

Rows and columns count from 0 at the upper left of the image. ``target_bbox`` is [first row, first column, last row,
last column]; X runs over columns, Y over rows. A search ended as soon as a fixation came within half a
``receptive`` width and height of the box; places off the image were moved to its edge. T, in milliseconds, goes on
beyond the end of such a search and so may be longer than X and Y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stimuli.files import read_json

if TYPE_CHECKING:
    from cogmodels.search.scanpaths import Scanpaths

_SCENE_NUMBERS = {
    "target_matched_column": "x_px",
    "target_matched_row": "y_px",
    "target_width": "width_px",
    "target_height": "height_px",
    "initial_fixation_column": "start_x_px",
    "initial_fixation_row": "start_y_px",
    "image_width": "image_width_px",
    "image_height": "image_height_px",
}
_BOX, _START = ("x_px", "y_px", "width_px", "height_px"), ("start_x_px", "start_y_px")
_SCENE_WORDS = ("image", "target", "target_object")
_TRIAL_KEYS = (
    *("target_found", "target_bbox", "X", "Y", "T"),
    *("receptive_height", "receptive_width", "max_fixations", "screen_height", "screen_width"),
)


@dataclass(frozen=True, eq=False)
class ScenePaths:
    """Scanpaths on scenes, and what else is known of each trial.

    Attributes
    ----------
    scanpaths : Scanpaths
        Fixation 0 is the first that was recorded; ``found`` is as published.
    trials : DataFrame
        One row a trial, in the order of ``scanpaths.trials``: observer, display, fixations_allowed (the
        start not counted), found, screen_width_px, screen_height_px, start_dx_px, start_dy_px (fixation 0 less the
        place where the search was to start).
    """

    scanpaths: Scanpaths
    trials: pd.DataFrame


def read_scenes(path: Path) -> pd.DataFrame:
    """Read the file of scenes, ``trials_properties.json``.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    DataFrame
        Indexed by display (the name of the image without its suffix): image, target (names of files), target_object
        (a word), x_px, y_px, width_px, height_px (the box of the target), start_x_px, start_y_px,
        image_width_px, image_height_px. Pixels are those of the published image.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, lacks a key, holds something that is no number, or names an image twice.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path} has to hold a list of scenes; it holds {_kind(content)}.")
    rows = []
    for number, scene in enumerate(content):
        label = f"{path}: scene {number}"
        _check_keys(scene, (*_SCENE_WORDS, *_SCENE_NUMBERS), label)
        row: dict[str, Any] = {key: _word(scene[key], key, label) for key in _SCENE_WORDS}
        row |= {name: float(_numbers(scene[key], key, label, 0)) for key, name in _SCENE_NUMBERS.items()}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.index = pd.Index([Path(name).stem for name in table["image"]], name="display")
    if not table.index.is_unique:
        repeated = table.index[table.index.duplicated()][0]
        raise ValueError(f"{path} names the image {repeated} twice.")
    return table


def read_scene_paths(paths: Mapping[str, Path], scenes: pd.DataFrame, scale: float = 1.0) -> ScenePaths:
    """Read the trials of all people.

    Parameters
    ----------
    paths : mapping of str to Path
        File of each observer.
    scenes : DataFrame
        What `read_scenes` gave.
    scale : float
        What all pixels are multiplied by: display over published image.

    Returns
    -------
    ScenePaths

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is truncated; a trial lacks a key or is on an unknown scene; X, Y and T do not fit together or hold
        NaN; the box of the target is not that of the scene; or ``target_found`` is at odds with where the
        last fixation lies. The message names file and trial.
    """
    from cogmodels.search.scanpaths import Scanpaths

    places, durations, rows = [], [], []
    known = {name: scene.to_numpy(float) for name, scene in scenes[[*_BOX, *_START]].iterrows()}
    for observer, path in paths.items():
        content = read_json(path)
        if not isinstance(content, dict) or not content:
            raise ValueError(f"{path} has to hold trials by image; it holds {_kind(content)}.")
        for image, trial in content.items():
            label = f"{path}: trial on {image}"
            _check_keys(trial, _TRIAL_KEYS, label)
            display = Path(image).stem
            if display not in known:
                raise ValueError(f"{label}: there is no scene of that name.")
            xy, duration_ms = _read_path(trial, label)
            _check_ending(trial, xy[-1], known[display][:4], label)
            places.append(xy * scale)
            durations.append(duration_ms)
            start = xy[0] - known[display][4:]
            rows.append(
                {
                    "observer": observer,
                    "display": display,
                    "fixations_allowed": int(_numbers(trial["max_fixations"], "max_fixations", label, 0)) - 1,
                    "found": trial["target_found"],
                    "screen_width_px": int(_numbers(trial["screen_width"], "screen_width", label, 0)),
                    "screen_height_px": int(_numbers(trial["screen_height"], "screen_height", label, 0)),
                    "start_dx_px": start[0] * scale,
                    "start_dy_px": start[1] * scale,
                }
            )
    trials = pd.DataFrame(rows)
    scanpaths = Scanpaths.from_lists(
        places,
        trials["observer"].tolist(),
        trials["display"].tolist(),
        start=True,
        durations_ms=durations,
        found=trials["found"].to_numpy(dtype=bool),
    )
    return ScenePaths(scanpaths, trials)


def _read_path(trial: dict[str, Any], label: str) -> tuple[np.ndarray, np.ndarray]:
    x, y, t = (_numbers(trial[key], key, label, 1) for key in ("X", "Y", "T"))
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{label}: X has {len(x)} and Y {len(y)} values; both have one a fixation.")
    if len(t) < len(x):
        raise ValueError(f"{label}: T has {len(t)} durations for {len(x)} fixations.")
    return np.column_stack([x, y]), t[: len(x)]


def _check_ending(trial: dict[str, Any], last: np.ndarray, scene_box: np.ndarray, label: str) -> None:
    """Ask that the box is the scene's and that the target was found just where the last fixation is near it."""
    box = _numbers(trial["target_bbox"], "target_bbox", label, 1)
    x, y, width, height = scene_box.tolist()
    if box.tolist() != [y, x, y + height, x + width]:
        raise ValueError(
            f"{label}: target_bbox is {box.tolist()}, and by the scene it is {[y, x, y + height, x + width]} "
            "(first row, first column, last row, last column)."
        )
    found = trial["target_found"]
    if not isinstance(found, bool):
        raise ValueError(f"{label}: target_found is {found!r}, neither true nor false.")
    reach_x, reach_y = (
        float(_numbers(trial[f"receptive_{side}"], f"receptive_{side}", label, 0)) / 2
        for side in ("width", "height")
    )
    near = x - reach_x <= last[0] <= x + width + reach_x and y - reach_y <= last[1] <= y + height + reach_y
    if near != found:
        where = "near" if near else "not near"
        raise ValueError(
            f"{label}: target_found is {found}, but the last fixation, at x {last[0]:g}, y {last[1]:g}, lies {where} "
            f"the target (x {x:g}, y {y:g}, {width:g} x {height:g} px). Are rows and columns exchanged?"
        )


def _check_keys(entry: Any, keys: tuple[str, ...], label: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{label} is {_kind(entry)}, not a mapping.")
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"{label} lacks {', '.join(missing)}.")


def _word(value: Any, key: str, label: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{label}: {key} is {value!r:.40}, not a word.")
    return value


def _numbers(value: Any, key: str, label: str, n_axes: int) -> np.ndarray:
    """Return finite numbers; JSON lets NaN through."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{label}: {key} holds something that is no number: {value!r:.60}") from None
    if array.ndim != n_axes or isinstance(value, bool | str):
        expected = "a number" if n_axes == 0 else "a list of numbers"
        raise ValueError(f"{label}: {key} has to be {expected}, got {value!r:.60}")
    if not np.isfinite(array).all():
        raise ValueError(f"{label}: {key} holds NaN or infinite numbers.")
    return array


def _kind(value: Any) -> str:
    return f"an empty {type(value).__name__}" if value in ([], {}, "") else f"a {type(value).__name__}"
