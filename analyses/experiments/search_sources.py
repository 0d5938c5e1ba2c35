"""Displays to search and people who searched them, by name or from folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analyses.experiments.search_config import ALL_PARADIGMS, RunKind, SearchConfig
from stimuli.files import count_of, unknown_name_message
from stimuli.search_displays import SearchDisplays, list_paradigms, make_paradigm

if TYPE_CHECKING:
    from analyses.datasets import SearchDataset
    from cogmodels.search import Scanpaths

DISPLAYS_EACH = 30
ASYMMETRY_DATA = "search-asymmetry"


def load_search_displays(config: SearchConfig) -> SearchDisplays:
    """Make or load the displays of a run.

    Parameters
    ----------
    config : SearchConfig

    Returns
    -------
    SearchDisplays
        All with a target.

    Raises
    ------
    FileNotFoundError
        If files of a data set are missing.
    KeyError
        If the paradigm or a condition is neither known nor a folder.
    ValueError
        If conditions or set sizes are given for something other than one paradigm, a display has no target, or a folder
        is damaged.
    """
    name = config.paradigm
    paradigms = list_paradigms() if name == ALL_PARADIGMS else [name] if name in list_paradigms() else []
    if len(paradigms) != 1 and (config.conditions is not None or config.set_sizes is not None):
        given = "conditions" if config.conditions is not None else "set_sizes"
        raise ValueError(f"{given} is for one asymmetry paradigm, and paradigm is {name!r}; leave it out")
    if paradigms:
        made = [
            make_paradigm(
                each,
                config.n_displays or DISPLAYS_EACH,
                conditions=config.conditions,
                set_sizes=config.set_sizes,
                px_per_degree=config.px_per_degree,
                seed=config.seed,
            )
            for each in paradigms
        ]
        return SearchDisplays([display for part in made for display in part], name=name)
    displays = _stored_displays(name)[: config.n_displays]
    if absent := [display.display_id for display in displays if not display.target_present]:
        raise ValueError(
            f"paradigm: {count_of(len(absent), 'display')} of {name} have no target (first: {absent[0]!r}), and how"
            " soon a target is found is what a run measures; save the others into a folder of their own"
        )
    return displays


def display_kind(table: pd.DataFrame) -> RunKind:
    """Return "set_sizes" where some condition comes in several set sizes, "scenes" where none does."""
    sizes = table.dropna(subset=["set_size"]).groupby(["paradigm", "condition"])["set_size"].nunique()
    return "set_sizes" if len(sizes) and sizes.max() > 1 else "scenes"


def search_data_sets() -> list[str]:
    """Return the names of the data sets of visual search."""
    from analyses.datasets import list_datasets

    return [info.name for info in list_datasets() if info.holds == "search"]


@dataclass(frozen=True, eq=False)
class People:
    """What people did on the displays of a run.

    Attributes
    ----------
    name : str
        What they are called.
    reaction_times : DataFrame or None
        Mean reaction times: paradigm, condition, set_size, rt_ms.
    scanpaths : Scanpaths or None
    fixations_allowed : (n_trials,) array or None
        After how many fixations each trial of `scanpaths` was broken off; None where people searched as long as
        they wanted.
    notes : tuple of str
        What to keep in mind.
    places_on_found_trials : bool
        Whether places can be trusted on trials that found their target alone.
    """

    name: str
    reaction_times: pd.DataFrame | None = None
    scanpaths: Scanpaths | None = None
    fixations_allowed: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    places_on_found_trials: bool = False


def load_people(people: str | Path | SearchDataset) -> People:
    """Load people who searched.

    Parameters
    ----------
    people : str, path or SearchDataset
        A data set of visual search, by name or loaded; or a file that `Scanpaths.save` wrote.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    KeyError
        If there is no such data set or file.
    ValueError
        If a file is damaged.
    """
    from analyses.datasets import SearchDataset, load_dataset

    if isinstance(people, SearchDataset):
        return _people_of(people)
    if str(people) in search_data_sets():
        options: dict[str, Any] = {"images": False} if str(people) == "interiors" else {}
        data = load_dataset(str(people), **options)
        assert isinstance(data, SearchDataset)
        return _people_of(data)
    if Path(people).is_file():
        from cogmodels.search import Scanpaths

        return People(Path(people).stem, scanpaths=Scanpaths.load(people))
    hint = "or the path of a CSV file of scanpaths"
    raise KeyError(unknown_name_message("people", str(people), search_data_sets(), hint))


def people_at_hand(paradigm: str) -> People | None:
    """Return the people who searched a run's displays where their data lie at hand: nothing is downloaded for it."""
    from analyses.datasets import SearchDataset, load_dataset

    name = paradigm if paradigm in search_data_sets() else ASYMMETRY_DATA
    if name == ASYMMETRY_DATA and paradigm not in (*list_paradigms(), ALL_PARADIGMS, ASYMMETRY_DATA):
        return None
    try:
        data = load_dataset(name, download=False)
    except FileNotFoundError:
        return None
    assert isinstance(data, SearchDataset)
    return _people_of(data)


def _people_of(data: SearchDataset) -> People:
    trials = data.references.get("trials")
    allowed = None
    if isinstance(trials, pd.DataFrame) and "fixations_allowed" in trials:
        allowed = trials["fixations_allowed"].to_numpy(dtype=np.int64)
    notes: tuple[str, ...] = ()
    flawed = data.info.name == "interiors"
    if flawed:
        notes = (
            "Interiors: published places of most trials that did not find their target are shifted, so scanpaths of"
            " people are compared on found trials alone, and people's share of found targets is a lower bound.",
        )
    return People(data.info.name, data.reaction_times, data.scanpaths, allowed, notes, flawed)


def _stored_displays(name: str) -> SearchDisplays:
    if name in search_data_sets():
        from analyses.datasets import SearchDataset, load_dataset

        data = load_dataset(name)
        assert isinstance(data, SearchDataset)
        return data.displays
    if Path(name).is_dir():
        return SearchDisplays.load(name)
    known = [*list_paradigms(), ALL_PARADIGMS, *search_data_sets()]
    raise KeyError(
        unknown_name_message("paradigm", name, known, "or give a folder that SearchDisplays.save wrote")
    )
