"""Interiors: 57 people look for a thing in photographs of rooms (Bujia et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from analyses.datasets.dataset import DatasetInfo
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from analyses.datasets.scanpath_json import read_scene_paths, read_scenes
from analyses.datasets.search_dataset import SearchDataset, listed_files
from stimuli.images import read_image
from stimuli.search_displays import scene_displays

_REPOSITORY = "NeuroLIAA/ruarte-hs-2024"
_COMMIT = "2900aeee1311228853fa29dad6450a59e456fd57"
_IMAGE_HOME = "gastonbujia/VisualSearch at d37a1ef2cc7c5b8d5a6149821aa8c7a86feaef9d"
_PATHS, _IMAGES = "search_scanpaths/Interiors", "interiors_images"
_PUBLISHED_SIZE_PX, _SIZE_PX = (1024, 768), (512, 384)
_N_PEOPLE = 57


def _url(path: str) -> str:
    if not path.startswith(_PATHS):
        return ""  # pictures are kept at half their published size
    return raw_github_url(_REPOSITORY, _COMMIT, f"Datasets/{path.removeprefix('search_scanpaths/')}")


INTERIORS = DatasetInfo(
    name="interiors",
    title="Interiors: search in 134 photographs of rooms, 57 people (fixations)",
    home=f"github.com/{_REPOSITORY} at {_COMMIT}, Datasets/Interiors; photographs: github.com/{_IMAGE_HOME}",
    files=listed_files("interiors", _url),
    licence="MIT (repository of the scanpaths); none stated for the photographs",
    citation=(
        "Bujia, Sclar, Vita, Solovey & Kamienkowski (2022). Modeling human visual search in natural scenes: a combined "
        "Bayesian searcher and saliency map approach. Frontiers in Systems Neuroscience 16, 882315. Scanpaths as "
        "prepared by Ruarte, Bujia, Care, Ison & Kamienkowski (2024)."
    ),
    subjects=("all",),
    shapes={
        "displays": "134 grey photographs of 512 x 384 pixels (half the published 1024 x 768)",
        "scanpaths": "7,313 trials of 57 people",
    },
    units="pixels of the display (half those published), milliseconds",
    description=(
        "A target cut from the scene is shown, then the scene, with 2, 4, 8 or 12 saccades allowed "
        "(references['trials'], fixations_allowed): curves of found targets have to take that into account. "
        "Photographs, targets and coordinates are at half the published size; the size in degrees is not given "
        "with the data. Searches were cut at the first fixation within 16 published pixels of the target's box, and "
        "places off the photograph moved to its edge. Two flaws of the published scanpaths: most trials "
        "that did not find their target lie about 60 display pixels too far right and down, as if in coordinates "
        "of the screen around the photograph (their start does too: start_dx_px, start_dy_px), so compare places on "
        "found trials only; and such a shift can hide a found target, so people's share of found targets is a "
        "lower bound."
    ),
    folder=".",
    holds="search",
)


@register_dataset(INTERIORS)
def load_interiors(subject: str = "all", *, images: bool = True, download: bool = True) -> SearchDataset:
    """Load displays and scanpaths of Interiors.

    Parameters
    ----------
    subject : str
        ``"all"``.
    images : bool
        Whether displays have their photographs and targets; coordinates are the same without.
    download : bool
        Whether to download files that are neither below ``COGMODELS_DATA`` nor in the cache. Photographs at half size
        have no address.

    Returns
    -------
    SearchDataset
        Displays of 512 x 384 pixels with a target image of 36 x 36; scanpaths that start with fixation 0.
        ``references["trials"]`` is a table of what else is known of each trial, in the order of
        ``scanpaths.trials``: observer, display, fixations_allowed, found, screen_width_px, screen_height_px,
        start_dx_px, start_dy_px (how far fixation 0 lies from where the search was to start).

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged.
    """

    def find(path: str) -> Path:
        return get_file(INTERIORS, path, download=download)

    scenes = read_scenes(find(f"{_PATHS}/trials_properties.json"))
    observers = [f"{number:02d}" for number in range(1, _N_PEOPLE + 1)]
    people = read_scene_paths(
        {name: find(f"{_PATHS}/human_scanpaths/subj{name}_scanpaths.json") for name in observers},
        scenes,
        scale=_SIZE_PX[0] / _PUBLISHED_SIZE_PX[0],
    )
    displays = scene_displays(
        [find(f"{_IMAGES}/images/{name}") for name in scenes["image"]] if images else None,
        scenes[["x_px", "y_px", "width_px", "height_px"]].to_numpy(),
        display_ids=scenes.index.tolist(),
        target_images=(
            [_read_target(find(f"{_IMAGES}/templates/{name}")) for name in scenes["target"]]
            if images
            else None
        ),
        coordinates_size_px=_PUBLISHED_SIZE_PX,
        size_px=None if images else _SIZE_PX,
        start_px=scenes[["start_x_px", "start_y_px"]].to_numpy().tolist(),
        paradigm=INTERIORS.name,
    )
    return SearchDataset(INTERIORS, displays, people.scanpaths, references={"trials": people.trials})


def _read_target(path: Path) -> np.ndarray:
    """Read a target, which is kept at its published size, and halve it: each pixel the mean of four."""
    picture = Image.fromarray(read_image(path))
    return np.asarray(picture.reduce(_PUBLISHED_SIZE_PX[0] // _SIZE_PX[0]))
