"""Runs of visual search beside people and beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analyses.experiments.search import SearchRun, read_search_run
from analyses.experiments.search_scenes import DIFFERENCES, scene_tables
from analyses.experiments.search_set_sizes import (
    cell_means,
    index_differences,
    index_table,
    overall_table,
    slope_table,
)
from analyses.experiments.search_sources import People, load_people, people_at_hand
from analyses.statistics.search_slopes import search_slopes

if TYPE_CHECKING:
    from analyses.datasets import SearchDataset

TABLES = ("cells", "slopes", "index", "overall", "curves", "areas", "scores", "differences")


@dataclass(frozen=True, eq=False)
class SearchComparison:
    """What runs of visual search and people have in common, and what not.

    Attributes
    ----------
    runs : tuple of SearchRun
        With different names.
    people : tuple of People
    cells : DataFrame
        Of runs over set sizes: mean reaction time of each cell.
    people_cells : DataFrame
        People's mean reaction times in the paradigms of the runs.
    slopes, index, overall : DataFrame
        As `search_set_sizes.slope_table`, `index_table` and `overall_table`.
    curves, areas, scores : DataFrame
        Of runs on scenes, as `search_scenes.SceneTables`.
    differences : DataFrame
        Between runs, paired over displays: measure, group, run_a, run_b, difference, lower, upper.
    settings : dict
        n_bootstrap, confidence, seed.
    notes : tuple of str
        What to keep in mind.
    """

    runs: tuple[SearchRun, ...]
    people: tuple[People, ...]
    cells: pd.DataFrame
    people_cells: pd.DataFrame
    slopes: pd.DataFrame
    index: pd.DataFrame
    overall: pd.DataFrame
    curves: pd.DataFrame
    areas: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    settings: dict[str, Any]
    notes: tuple[str, ...]


def compare_search(
    runs: Sequence[str | Path],
    people: str | Path | SearchDataset | Sequence[str | Path | SearchDataset] | None = None,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> SearchComparison:
    """Compare finished runs with people who searched the same displays, and with each other.

    Parameters
    ----------
    runs : sequence of path
        Folders of `run_search`. Runs over set sizes are compared by slopes and asymmetry index; runs on scenes by how
        soon targets are found and by scanpaths (MultiMatch, ScanMatch), as a share of the human ceiling.
    people : str, path, SearchDataset, a sequence of these, or None
        Data sets of people, or CSV files of scanpaths. None takes those that belong to the runs' displays where they
        lie at hand.
    n_bootstrap, confidence, seed
        Draws of displays (the same for all runs), coverage, seed.

    Returns
    -------
    SearchComparison

    Raises
    ------
    FileNotFoundError, KeyError
        If a run is unfinished or no run, or people are unknown.
    ValueError
        If no run is given, one is given twice, runs have searched different displays of one name, or people share
        neither paradigm nor display with any run.
    """
    if not len(runs):
        raise ValueError("runs is empty: give the folders of one or more finished runs")
    folders = [Path(folder) for folder in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("runs: a folder is given twice; give each once")
    read = _with_names([read_search_run(folder) for folder in folders])
    _check_same_displays(read)
    if people is None:
        names = dict.fromkeys(run.config.paradigm for run in read)
        several = [at_hand for at_hand in map(people_at_hand, names) if at_hand is not None]
    else:
        given = [people] if isinstance(people, str | Path) or not isinstance(people, Sequence) else people
        several = [load_people(each) for each in given]
        for each in several:
            if not any(_belongs(each, run) for run in read):
                raise ValueError(
                    f"people: {each.name} holds neither reaction times nor scanpaths on the displays of any run; the"
                    f" runs' paradigms are {', '.join(dict.fromkeys(run.config.paradigm for run in read))}"
                )
    several = list({each.name: each for each in several}.values())
    settings: dict[str, Any] = {"n_bootstrap": n_bootstrap, "confidence": confidence, "seed": seed}
    read = [replace(run, config=run.config.model_copy(update=settings)) for run in read]
    return summarize_searches(read, several, scores=True, **settings)


def summarize_searches(
    runs: Sequence[SearchRun],
    people: People | Sequence[People] | None,
    *,
    scores: bool,
    n_bootstrap: int | None = None,
    confidence: float | None = None,
    seed: int | None = None,
) -> SearchComparison:
    """Compute every table of a comparison, or of a single run.

    Parameters
    ----------
    runs : sequence of SearchRun
    people : People, sequence of People or None
    scores : bool
        Whether to compare scanpaths on scenes too.
    n_bootstrap, confidence, seed
        Those of the first run where None.
    """
    first = runs[0].config
    settings: dict[str, Any] = {
        "n_bootstrap": first.n_bootstrap if n_bootstrap is None else n_bootstrap,
        "confidence": first.confidence if confidence is None else confidence,
        "seed": first.seed if seed is None else seed,
    }
    several = [] if people is None else [people] if isinstance(people, People) else list(people)
    notes = [note for each in several for note in each.notes]
    tables: dict[str, pd.DataFrame] = {
        name: pd.DataFrame() for name in (*TABLES, "people_cells") if name != "differences"
    }
    differences = []
    over_sizes = [run for run in runs if run.kind == "set_sizes"]
    if over_sizes:
        times = next((each.reaction_times for each in several if each.reaction_times is not None), None)
        human = None if times is None else search_slopes(times, n_bootstrap=2)
        tables["cells"] = cell_means(over_sizes)
        tables["slopes"] = slope_table(over_sizes, human)
        if times is None or human is None:
            notes.append("People's reaction times are not at hand, so there is no asymmetry index.")
        else:
            tables["people_cells"] = times[times["paradigm"].isin(tables["cells"]["paradigm"])]
            tables["index"] = index_table(over_sizes, human)
            tables["overall"] = overall_table(tables["index"], tables["slopes"])
            differences.append(index_differences(over_sizes, human, **settings))
    parts = []
    for name in dict.fromkeys(run.config.paradigm for run in runs if run.kind == "scenes"):
        on_it = [run for run in runs if run.config.paradigm == name and run.kind == "scenes"]
        theirs = next((each for each in several if _saw(each, on_it[0])), None)
        if theirs is None:
            notes.append(f"{name}: scanpaths of people are not at hand.")
        parts.append(scene_tables(name, on_it, theirs, scores=scores, **settings))
    for part in parts:
        notes += part.notes
        differences.append(part.differences)
    for table in ("curves", "areas", "scores"):
        if parts:
            tables[table] = pd.concat([getattr(part, table) for part in parts], ignore_index=True)
    between = [table for table in differences if len(table)]
    tables["differences"] = (
        pd.concat(between, ignore_index=True) if between else pd.DataFrame(columns=DIFFERENCES)
    )
    return SearchComparison(
        tuple(runs), tuple(several), **tables, settings=settings, notes=tuple(dict.fromkeys(notes))
    )


def as_record(comparison: SearchComparison) -> dict[str, Any]:
    """Return a comparison as plain JSON values; what is unknown is None."""
    record: dict[str, Any] = {
        "runs": {
            run.name: {
                "paradigm": run.config.paradigm,
                "kind": run.kind,
                "n_displays": len(run.displays),
                "n_trials": len(run.trials),
                "n_found": int(run.trials["found"].sum()),
                "mean_fixations": float(run.trials["n_fixations"].mean()),
                "displays_sha256": run.displays_sha256,
            }
            for run in comparison.runs
        },
        "people": [people.name for people in comparison.people],
        "settings": comparison.settings,
        "notes": list(comparison.notes),
    }
    for name in TABLES:
        table = getattr(comparison, name)
        record[name] = table.astype(object).where(table.notna(), None).to_dict("records")
    return record


def _with_names(runs: list[SearchRun]) -> list[SearchRun]:
    """Call runs by their observers where these differ, else by their folders."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return runs
    folders = [run.folder.resolve().name for run in runs]
    if len(set(folders)) < len(folders):
        folders = [f"{run.folder.resolve().parent.name}/{run.folder.resolve().name}" for run in runs]
    return [replace(run, name=folder) for run, folder in zip(runs, folders, strict=True)]


def _check_same_displays(runs: Sequence[SearchRun]) -> None:
    """Refuse runs whose displays have the same names and are not the same."""
    for place, run in enumerate(runs):
        for other in runs[:place]:
            if run.displays_sha256 == other.displays_sha256:
                continue
            same_set = run.kind == "scenes" and run.config.paradigm == other.config.paradigm
            common = set(run.displays["display"]) & set(other.displays["display"])
            drawn_alike = (run.config.seed, run.config.px_per_degree) == (
                other.config.seed,
                other.config.px_per_degree,
            )
            of_common = [
                set(each.displays.loc[each.displays["paradigm"].isin(_paradigms(run, other)), "display"])
                for each in (run, other)
            ]
            if same_set or (common and not (drawn_alike and of_common[0] == of_common[1])):
                raise ValueError(
                    f"runs: {run.name} and {other.name} searched different displays of the same names; run both with"
                    " the same paradigm, displays, pixels per degree and seed"
                )


def _paradigms(run: SearchRun, other: SearchRun) -> set[str]:
    return set(run.displays["paradigm"]) & set(other.displays["paradigm"])


def _saw(people: People, run: SearchRun) -> bool:
    return people.scanpaths is not None and bool(
        set(people.scanpaths.displays) & set(run.displays["display"])
    )


def _belongs(people: People, run: SearchRun) -> bool:
    times = people.reaction_times
    if run.kind == "set_sizes":
        return times is not None and bool(set(times["paradigm"]) & set(run.trials["paradigm"]))
    return _saw(people, run)
