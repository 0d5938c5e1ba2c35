"""COCO-Search18: ten people look for a thing of a named category in photographs (Chen et al. 2021)."""

from __future__ import annotations

from dataclasses import replace

from analyses.datasets.dataset import DatasetInfo
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from analyses.datasets.scanpath_json import read_scene_paths, read_scenes
from analyses.datasets.search_dataset import SearchDataset, listed_files
from stimuli.search_displays import SearchDisplays, scene_displays

_REPOSITORY = "NeuroLIAA/ruarte-hs-2024"
_COMMIT = "2900aeee1311228853fa29dad6450a59e456fd57"
_HOME_FOLDER = "Datasets/COCOSearch18"
_SIZE_PX = (1680, 1050)
_N_PEOPLE = 10

COCO_SEARCH18 = DatasetInfo(
    name="coco-search18",
    title="COCO-Search18, target present: search in 612 photographs, 10 people (fixations)",
    home=f"github.com/{_REPOSITORY} at {_COMMIT}, {_HOME_FOLDER}",
    files=listed_files(
        "coco-search18", lambda path: raw_github_url(_REPOSITORY, _COMMIT, f"{_HOME_FOLDER}/{path}")
    ),
    licence="MIT (repository); COCO-Search18 and COCO have terms of their own",
    citation=(
        "Chen, Yang, Ahn, Samaras, Hoai & Zelinsky (2021). COCO-Search18 fixation dataset for predicting goal-directed "
        "attention control. Scientific Reports 11, 8776. Scanpaths as prepared by Ruarte, Bujia, Care, Ison & "
        "Kamienkowski (2024)."
    ),
    subjects=("all",),
    shapes={
        "displays": "612 scenes of 1680 x 1050 pixels, no pictures",
        "scanpaths": "5,949 trials of 10 people",
    },
    units="pixels, milliseconds",
    description=(
        "The name of a category is shown, then a photograph with one thing of it (18 categories, the condition of "
        "each display). Searches were cut at the first fixation within 26 pixels of the target's box, and places "
        "off the photograph moved to its edge. The start of each display is the mean first fixation. "
        "Photographs are not part of it."
    ),
    folder="search_scanpaths/COCOSearch18",
    holds="search",
)


@register_dataset(COCO_SEARCH18)
def load_coco_search18(subject: str = "all", *, download: bool = True) -> SearchDataset:
    """Load the target-present trials of COCO-Search18.

    Parameters
    ----------
    subject : str
        ``"all"``.
    download : bool
        Whether to download files that are neither below ``COGMODELS_DATA`` nor in the cache.

    Returns
    -------
    SearchDataset
        Displays without pictures, `condition` the category sought; scanpaths that start with fixation 0.
        ``references["trials"]`` is a table of what else is known of each trial, in the order of
        ``scanpaths.trials``: observer, display, fixations_allowed, found, screen_width_px, screen_height_px,
        start_dx_px, start_dy_px (how far fixation 0 lies from the mean one).

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged.
    """
    scenes = read_scenes(get_file(COCO_SEARCH18, "trials_properties.json", download=download))
    files = {
        f"{number:02d}": get_file(
            COCO_SEARCH18, f"human_scanpaths/subj{number:02d}_scanpaths.json", download=download
        )
        for number in range(1, _N_PEOPLE + 1)
    }
    people = read_scene_paths(files, scenes)
    displays = scene_displays(
        None,
        scenes[["x_px", "y_px", "width_px", "height_px"]].to_numpy(),
        display_ids=scenes.index.tolist(),
        size_px=_SIZE_PX,
        start_px=scenes[["start_x_px", "start_y_px"]].to_numpy().tolist(),
        paradigm=COCO_SEARCH18.name,
    )
    named = [
        replace(display, condition=word)
        for display, word in zip(displays, scenes["target_object"], strict=True)
    ]
    return SearchDataset(
        COCO_SEARCH18,
        SearchDisplays(named, name=COCO_SEARCH18.name),
        people.scanpaths,
        references={"trials": people.trials},
    )
