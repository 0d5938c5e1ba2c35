"""Visual search asymmetry: people's reaction times and eyes, and the output of eccNET and IVSN (Gupta et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analyses.datasets.array_files import read_npy
from analyses.datasets.dataset import DatasetInfo
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from analyses.datasets.search_dataset import SearchDataset, listed_files
from analyses.datasets.search_tables import (
    check_reach,
    read_human_times,
    read_one_hot,
    read_padded_paths,
    split_set_sizes,
)
from stimuli.search_displays import SearchDisplays, scene_displays

if TYPE_CHECKING:
    from cogmodels.search.scanpaths import Scanpaths

Find = Callable[[str], Path]

_REPOSITORY = "kreimanlab/VisualSearchAsymmetry"
_COMMIT = "2e41a9ed6b3a02b7a827ef8f3d3903a5e700d323"
_PREFIXES = {"human_scanpaths/": "vs_saccade_exp/out/", "reference_models/": "vs_exp/eccNET/out/"}
_RT_FILE = "human_rt.csv"
_MODELS = ("eccNET", "IVSN")
# File name below out_data -> paradigm, condition, set sizes; rows are in equal blocks, one a set size.
_CONDITIONS = {
    "curvature_curve_in_lines": ("curvature", "curve_in_lines", (8, 16, 32)),
    "curvature_line_in_curves": ("curvature", "line_in_curves", (8, 16, 32)),
    "lightning_dir_top_down": ("lighting_direction", "top_down", (1, 6, 12)),
    "lightning_dir_left_right": ("lighting_direction", "left_right", (1, 6, 12)),
    "intersection_non_cross": ("intersection", "non_cross", (3, 6, 9)),
    "intersection_cross": ("intersection", "cross", (3, 6, 9)),
    "intersection_Ts": ("t_and_l", "T_in_Ls", (3, 6, 9)),
    "intersection_Ls": ("t_and_l", "L_in_Ts", (3, 6, 9)),
    "categorization_homo_t20": ("orientation_homogeneous", "20_in_0", (1, 4, 8, 12)),
    "categorization_homo_t0": ("orientation_homogeneous", "0_in_20", (1, 4, 8, 12)),
    "categorization_hetero_t0": ("orientation_heterogeneous", "0_in_mixed", (1, 4, 8, 12)),
    "categorization_hetero_t20": ("orientation_heterogeneous", "20_in_mixed", (1, 4, 8, 12)),
}
# Names in the table of people's reaction times -> those of make_paradigm.
_HUMAN_NAMES = {
    "letter": "t_and_l",
    "cross_in_non_crosses": "cross",
    "non_cross_in_crosses": "non_cross",
}
_N_WALDO = 67
_N_PEOPLE = 15
_WALDO_SIZE_PX = (1280, 1024)
# The authors searched pictures of 896 x 736 pixels for targets of 32.
_WALDO_TARGET_PX = (32 * 1280 / 896, 32 * 1024 / 736)
_WALDO_PX_PER_DEGREE = 156 / 5
# Searches of people and of both models ended within this distance of the centre of the target.
_WALDO_REACH_PX = 110.0


def _url(path: str) -> str:
    for local, upstream in _PREFIXES.items():
        if path.startswith(local):
            return raw_github_url(_REPOSITORY, _COMMIT, upstream + path.removeprefix(local))
    return ""  # the table of reaction times was converted from the authors' code


SEARCH_ASYMMETRY = DatasetInfo(
    name="search-asymmetry",
    title="Visual search asymmetry: reaction times in 6 paradigms, eyes of 15 people, output of eccNET and IVSN",
    home=f"github.com/{_REPOSITORY} at {_COMMIT}",
    files=listed_files("search-asymmetry", _url),
    licence="none stated; for research",
    citation=(
        "Gupta, Zhang, Wu, Wolfe & Kreiman (2021). Visual search asymmetry: deep nets and humans share similar "
        "inherent biases. NeurIPS 34. Eye movements: Zhang, Feng, Ma, Lim, Zhao & Kreiman (2018). Finding any "
        "Waldo with zero-shot invariant and efficient visual search. Nature Communications 9, 3730."
    ),
    subjects=("all",),
    shapes={
        "reaction_times": "40 cells: 6 paradigms, 2 conditions each, 3 or 4 set sizes",
        "displays": "67 crowded drawings of 1280 x 1024 pixels (Waldo), no pictures",
        "scanpaths": "1,005 trials of 15 people",
        "references": "1,272 trials of each model, object arrays of people and models, scanpaths of models",
    },
    units="pixels of the screen, milliseconds",
    description=(
        "Reaction times of people are means that the authors read off published figures of six earlier studies; "
        "the table was converted from vs_exp/human_rt_data.py, and paradigms and conditions are named as "
        "in make_paradigm. Scanpaths are those on Waldo drawings: places off the screen are kept as recorded; "
        "durations are not published; the box of a target is what the authors' models were shown of it, "
        "while people's searches ended within about 100 pixels of its centre. Of the object arrays only the fixation "
        "that found the target is given, since rows of fixations and of found targets do not line up: use pooled "
        "curves."
    ),
    folder="search_asymmetry",
    holds="search",
)


@register_dataset(SEARCH_ASYMMETRY)
def load_search_asymmetry(
    subject: str = "all", *, reaction_times: bool = True, download: bool = True
) -> SearchDataset:
    """Load what was published on visual search asymmetry.

    Parameters
    ----------
    subject : str
        ``"all"``.
    reaction_times : bool
        Whether to load people's reaction times, a file that has to be at hand: its home holds the numbers in
        another form, so that it cannot be downloaded.
    download : bool
        Whether to download files that are neither below ``COGMODELS_DATA`` nor in the cache.

    Returns
    -------
    SearchDataset
        Displays and scanpaths of the Waldo drawings; reaction times of the six paradigms; `references`:

        - ``"model_trials"``: DataFrame, one row a display that eccNET or IVSN searched, with the columns that
          `cogmodels.search.reaction_time.reaction_times` gives: observer (the model), display, trial, paradigm,
          condition, set_size, found, n_fixations, rt_ms.
        - ``"object_arrays"``: DataFrame, one row a trial on arrays of six objects: observer ("people", "eccNET",
          "IVSN"), found_at (fixation that found the target, NaN where none of six did). Rows have no order.
        - ``"waldo"``: dict of model to `Scanpaths` on `displays`.
        - ``"scanmatch"``: DataFrame, similarity of scanpaths with those of people as published: display_set,
          observer, mean, sem.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged.
    """

    def find(path: str) -> Path:
        return get_file(SEARCH_ASYMMETRY, path, download=download)

    displays = _waldo_displays(find("human_scanpaths/Waldo/target_pos.npy"))
    references: dict[str, Any] = {
        "model_trials": _model_trials(find),
        "object_arrays": _object_arrays(find),
        "waldo": {model: _waldo_paths(find, model, displays, [model]) for model in _MODELS},
        "scanmatch": _scanmatch(find),
    }
    people = _waldo_paths(find, "human_all", displays, [f"{i:02d}" for i in range(1, _N_PEOPLE + 1)])
    times = read_human_times(find(_RT_FILE), _HUMAN_NAMES) if reaction_times else None
    return SearchDataset(SEARCH_ASYMMETRY, displays, people, times, references)


def _waldo_displays(path: Path) -> SearchDisplays:
    targets = read_npy(path)
    if targets.shape != (_N_WALDO, 2) or targets.dtype.kind not in "iuf":
        raise ValueError(f"{path} holds {targets.dtype} {targets.shape}; needed are numbers ({_N_WALDO}, 2).")
    centres = targets[:, ::-1].astype(float)  # stored as row and column
    size = np.broadcast_to(_WALDO_TARGET_PX, centres.shape)
    return scene_displays(
        None,
        np.hstack([centres - size / 2, size]),
        display_ids=[f"waldo-{number:02d}" for number in range(1, _N_WALDO + 1)],
        size_px=_WALDO_SIZE_PX,
        px_per_degree=_WALDO_PX_PER_DEGREE,
        paradigm="waldo",
    )


def _waldo_paths(find: Find, name: str, displays: SearchDisplays, observers: list[str]) -> Scanpaths:
    """Read scanpaths whose rows run over the displays, observer by observer."""
    from cogmodels.search.scanpaths import Scanpaths

    folder = "human_scanpaths/Waldo"
    path = find(f"{folder}/fix/{name}.npy")
    paths, found = read_padded_paths(
        path,
        find(f"{folder}/cp/CP_{name}.npy"),
        find(f"{folder}/ifix/I_{name}.npy"),
        len(displays) * len(observers),
    )
    centres = displays.table[["target_x_px", "target_y_px"]].to_numpy()
    check_reach(paths, found, np.tile(centres, (len(observers), 1)), _WALDO_REACH_PX, path)
    return Scanpaths.from_lists(
        paths,
        np.repeat(observers, len(displays)).tolist(),
        displays.display_ids * len(observers),
        start=True,
        found=found,
    )


def _model_trials(find: Find) -> pd.DataFrame:
    from cogmodels.search.reaction_time import fixations_to_rt_ms

    tables = []
    for model in _MODELS:
        for file, (paradigm, condition, set_sizes) in _CONDITIONS.items():
            path = find(f"reference_models/{model}/out_data/{file}.csv")
            found_at = read_one_hot(path)
            set_size, number = split_set_sizes(len(found_at), set_sizes, path)
            found = np.isfinite(found_at)
            tables.append(
                pd.DataFrame(
                    {
                        "observer": model,
                        "display": [
                            f"{condition}-{n}-{i:03d}" for n, i in zip(set_size, number, strict=True)
                        ],
                        "trial": 0,
                        "paradigm": paradigm,
                        "condition": condition,
                        "set_size": set_size,
                        "found": found,
                        "n_fixations": np.where(found, found_at, max(set_sizes)),
                    }
                )
            )
    trials = pd.concat(tables, ignore_index=True)
    return trials.assign(rt_ms=fixations_to_rt_ms(trials["n_fixations"]))


def _object_arrays(find: Find) -> pd.DataFrame:
    found_at = {
        observer: read_one_hot(find(f"human_scanpaths/ObjArr/cp/CP_{name}.npy"))
        for observer, name in {"people": "human_all", "eccNET": "eccNET", "IVSN": "IVSN"}.items()
    }
    return pd.concat(
        [pd.DataFrame({"observer": name, "found_at": values}) for name, values in found_at.items()],
        ignore_index=True,
    )


def _scanmatch(find: Find) -> pd.DataFrame:
    rows = []
    for display_set, folder in {"object_arrays": "ObjArr", "waldo": "Waldo"}.items():
        for observer, name in {"people": "human", "eccNET": "eccNET", "IVSN": "IVSN"}.items():
            path = find(f"human_scanpaths/{folder}/ss_score/{name}.npy")
            values = read_npy(path)
            if values.shape != (2,) or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
                raise ValueError(f"{path} holds {values!r:.60}; needed are a mean and its standard error.")
            rows.append((display_set, observer, float(values[0]), float(values[1])))
    return pd.DataFrame(rows, columns=["display_set", "observer", "mean", "sem"])
