"""The page of a run of visual search, or of several side by side: figures, tables, words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyses.experiments.compare_search import SearchComparison, as_record
from analyses.experiments.search_config import MODELS
from analyses.experiments.search_sources import load_search_displays
from analyses.provenance import PROVENANCE, collect_provenance, write_provenance
from analyses.report.page import as_png, check_out, fact_tables, inline_png, render_page
from analyses.report.search_curves import found_curves, shares_of_ceiling
from analyses.report.search_displays import MAX_OBSERVERS as ROWS
from analyses.report.search_displays import choose_displays, scanpaths_on_displays
from analyses.report.search_maps import MAX_OBSERVERS as PANELS
from analyses.report.search_maps import fixation_densities
from analyses.report.search_slopes import (
    asymmetry_by_paradigm,
    rt_over_set_size,
    slopes_beside_people,
    words,
)
from analyses.report.search_tables import search_tables
from analyses.report.style import number
from cogmodels.search import Scanpaths
from stimuli.files import atomic_write, read_json, write_json
from stimuli.search_displays import SearchDisplays

REPORT = "report.html"
PEOPLE = "people"
_COUNTED = ", searches without success counted as the largest set size"


@dataclass(frozen=True)
class Picture:
    """One figure of the page, with its words; `figure` is None where `missing` says why."""

    name: str
    title: str
    figure: Figure | None
    caption: str
    alt: str
    missing: str = ""


def write_search_report(
    comparison: SearchComparison, folder: str | Path, displays: SearchDisplays | None
) -> Path:
    """Draw the figures of a finished run and write its page.

    Parameters
    ----------
    comparison : SearchComparison
        Of the one run.
    folder : path
        Of the run, with its `provenance.json`; figures go to ``figures/``.
    displays : SearchDisplays or None
        To draw scanpaths on.

    Returns
    -------
    Path
        `report.html`.
    """
    folder = Path(folder)
    provenance = {
        key: value for key, value in read_json(folder / PROVENANCE).items() if value not in (None, [])
    }
    pictures = search_pictures(comparison, displays)
    drawn = {picture.name: as_png(picture.figure) for picture in pictures if picture.figure is not None}
    for name, content in drawn.items():
        with atomic_write(folder / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(content)
    with atomic_write(folder / REPORT) as temporary:
        temporary.write_text(render_search(comparison, pictures, drawn, provenance), encoding="utf-8")
    return folder / REPORT


def write_search_comparison(comparison: SearchComparison, out: str | Path) -> Path:
    """Write a comparison's folder: ``comparison.json``, a CSV file a table, ``provenance.json``, ``figures/``, page.

    Parameters
    ----------
    comparison : SearchComparison
    out : path
        A folder that is new or empty.

    Returns
    -------
    Path
        The page, `report.html`.

    Raises
    ------
    FileExistsError
        The folder holds something, or is a file. Nothing is written then.
    """
    folder = Path(out)
    check_out(folder)
    pictures = search_pictures(comparison, _displays_at_hand(comparison))
    drawn = {picture.name: as_png(picture.figure) for picture in pictures if picture.figure is not None}
    runs = {run.name: run.config.model_dump(mode="json") for run in comparison.runs}
    people = [each.name for each in comparison.people]
    record = collect_provenance(
        comparison.settings | {"people": people, "runs": runs},
        seeds={"seed": int(comparison.settings["seed"])},
    )
    record = {name: value for name, value in record.items() if value not in (None, [])}
    with atomic_write(folder) as temporary:
        (temporary / "figures").mkdir(parents=True)
        for name, content in drawn.items():
            (temporary / "figures" / f"{name}.png").write_bytes(content)
        for name in ("slopes", "index", "overall", "curves", "areas", "scores", "differences"):
            table = getattr(comparison, name)
            if len(table):
                table.to_csv(temporary / f"{name}.csv", index=False, lineterminator="\n")
        write_json(temporary / "comparison.json", as_record(comparison))
        write_provenance(temporary, record)
        (temporary / REPORT).write_text(render_search(comparison, pictures, drawn, record), encoding="utf-8")
    return folder / REPORT


def render_search(
    comparison: SearchComparison,
    pictures: list[Picture],
    drawn: dict[str, bytes],
    provenance: dict[str, Any],
) -> str:
    """Render the page; every value is escaped."""
    runs = comparison.runs
    paradigms = ", ".join(dict.fromkeys(words(run.config.paradigm) for run in runs))
    return render_page(
        "search.html.jinja",
        title=f"{runs[0].name} searches" if len(runs) == 1 else "Searchers compared",
        sub=f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} of visual search: {paradigms}",
        summary=search_sentences(comparison),
        figures=[
            {
                "name": picture.name,
                "title": picture.title,
                "missing": picture.missing,
                "source": inline_png(drawn[picture.name]) if picture.name in drawn else "",
                "alt": picture.alt,
                "caption": picture.caption,
            }
            for picture in pictures
        ],
        tables=search_tables(comparison),
        caveats=_caveats(comparison),
        methods=_methods(comparison),
        facts=[(name.capitalize(), rows) for name, rows in fact_tables(provenance)],
    )


def search_sentences(comparison: SearchComparison) -> list[str]:
    """Say in a sentence or two what came out of each run."""
    sentences = []
    percent = f"{comparison.settings['confidence']:.0%}"
    for run in comparison.runs:
        sentences.append(
            f"{run.name} ({MODELS[run.config.model]}) found {run.trials['found'].mean():.1%} of the targets of"
            f" {len(run.displays):,} displays, after {number(float(run.trials['n_fixations'].mean()))} fixations on"
            f" average{_COUNTED if run.kind == 'set_sizes' else ''}."
        )
        if len(comparison.overall):
            for row in comparison.overall[comparison.overall["run"] == run.name].to_dict("records"):
                many = "paradigm" if row["n_paradigms"] == 1 else "paradigms"
                sentences.append(
                    f"{run.name} has people's direction in {row['n_right']} of {row['n_paradigms']} {many}; its mean"
                    f" asymmetry index is {number(row['mean_index'], 3)} ({percent} interval over displays"
                    f" {number(row['lower'], 3)} to {number(row['upper'], 3)}), people's"
                    f" {number(row['human_mean_index'], 3)}."
                )
        if len(comparison.areas):
            for row in comparison.areas[comparison.areas["run"] == run.name].to_dict("records"):
                area = number(row["area"], 3)
                text = f"{row['displays']}: the area under {run.name}'s curve of found targets is {area}"
                if np.isfinite(row.get("share", np.nan)):
                    text += (
                        f", {row['share']:.0%} of people's ({percent} interval {row['share_lower']:.0%} to"
                        f" {row['share_upper']:.0%})"
                    )
                sentences.append(f"{text}.")
    return sentences


def search_pictures(comparison: SearchComparison, displays: SearchDisplays | None) -> list[Picture]:
    """Draw every figure that the comparison has numbers for."""
    percent = f"{comparison.settings['confidence']:.0%}"
    pictures = []
    over_sizes = [run.name for run in comparison.runs if run.kind == "set_sizes"]
    if len(over_sizes) == 1:
        pictures.append(
            Picture(
                "rt_over_set_size",
                "Reaction time over set size",
                rt_over_set_size(comparison, over_sizes[0]),
                "Mean reaction time by set size, a panel a paradigm and a colour a condition. Filled dots: the run,"
                " whose fixations became milliseconds by fixed constants. Open dots, dashed: people, where known.",
                "Reaction time over set size. " + _slope_words(comparison),
            )
        )
    if len(comparison.slopes):
        pictures.append(
            Picture(
                "slopes",
                "Slopes beside people's",
                slopes_beside_people(comparison),
                f"Slope of reaction time over set size, with its {percent} interval over displays. Diamonds: people.",
                "Slopes by condition. " + _slope_words(comparison),
            )
        )
    if len(comparison.index):
        rows = comparison.overall.to_dict("records")
        said = "; ".join(
            f"{row['run']} {number(row['mean_index'])}, {row['n_right']} of {row['n_paradigms']} as people"
            for row in rows
        )
        pictures.append(
            Picture(
                "asymmetry",
                "Asymmetry index",
                asymmetry_by_paradigm(comparison),
                f"Right of zero, the condition that is harder for people is harder for the run too. Lines: {percent}"
                " intervals over displays. Diamonds: people.",
                f"Asymmetry index by paradigm. Means: {said}; people {number(rows[0]['human_mean_index'])}.",
            )
        )
    if len(comparison.curves):
        said = "; ".join(
            f"{row['run']} on {row['displays']} {number(row['area'])}"
            for row in comparison.areas.to_dict("records")
        )
        pictures.append(
            Picture(
                "found",
                "Targets found, fixation by fixation",
                found_curves(comparison),
                f"Share of searches that have found their target. Bands: {percent} intervals over displays, people's"
                " (black) over people and displays.",
                f"Cumulative curves of found targets. Area under the curve: {said}.",
            )
        )
    if len(comparison.scores):
        said = "; ".join(
            f"{row['run']} {row['metric']} {row['share']:.0%}"
            for row in comparison.scores.to_dict("records")[:12]
        )
        pictures.append(
            Picture(
                "shares",
                "Scanpaths as a share of the human ceiling",
                shares_of_ceiling(comparison),
                f"How alike scanpaths of runs and people are, divided by how alike those of two people are, with"
                f" {percent} intervals over people and displays.",
                f"Share of the human ceiling by measure. {said}.",
            )
        )
    return pictures + _drawn_on_displays(comparison, displays)


def _drawn_on_displays(comparison: SearchComparison, displays: SearchDisplays | None) -> list[Picture]:
    """Draw what the runs on the displays of the first one have in common."""
    first = comparison.runs[0]
    same = [run for run in comparison.runs if run.displays_sha256 == first.displays_sha256]
    observers: dict[str, Scanpaths] = {}
    ids = set(first.displays["display"])
    for people in comparison.people:
        if first.kind == "scenes" and people.scanpaths is not None and ids & set(people.scanpaths.displays):
            seen = people.scanpaths.select(displays=sorted(ids & set(people.scanpaths.displays)))
            if people.places_on_found_trials:
                from analyses.experiments.search_scenes import found_trials

                seen = found_trials(seen)
            observers[PEOPLE] = seen
    observers |= {run.name: run.scanpaths for run in same}
    several = "" if len(same) == len(comparison.runs) else f" Shown are runs on the displays of {first.name}."
    figure, missing = (
        None,
        "The displays of this run are no longer at hand as they were, so nothing is drawn on them.",
    )
    if displays is not None:
        chosen = choose_displays(displays, [set(paths.displays) for paths in observers.values()])
        missing = "" if len(chosen) else "No display was seen by all, so none is drawn."
        figure = scanpaths_on_displays(chosen, observers) if len(chosen) else None
    return [
        Picture(
            "displays",
            "Where the gaze went",
            figure,
            "Orange frame: the target. Square: where the gaze stood when the display came, where that is known;"
            f" fixations are numbered from 1. Each display shows one trial of an observer{_first_of(observers, ROWS)}."
            f"{several}",
            f"Displays with the scanpaths of {', '.join(list(observers)[:ROWS])} drawn on them.",
            missing,
        ),
        Picture(
            "density",
            "Fixation density",
            fixation_densities(observers, first.displays),
            "Fixations on all displays together, each display brought to one size, smoothed by a thirtieth of the wider"
            f" side. 1 is what an even spread would give{_first_of(observers, PANELS)}.{several}",
            f"Fixation density over the display, a panel each for {', '.join(list(observers)[:PANELS])}.",
        ),
    ]


def _first_of(observers: dict[str, Scanpaths], n_drawn: int) -> str:
    """Say how many observers are drawn where that is not all."""
    return (
        f"; drawn are the first {n_drawn} of {len(observers)} observers" if len(observers) > n_drawn else ""
    )


def _displays_at_hand(comparison: SearchComparison) -> SearchDisplays | None:
    """Make or load the displays of the first run again; None where they are gone or are others now."""
    first = comparison.runs[0]
    try:
        displays = load_search_displays(first.config)
    except (OSError, KeyError, ValueError):
        return None
    return displays if displays.content_hash == first.displays_sha256 else None


def _slope_words(comparison: SearchComparison) -> str:
    rows = comparison.slopes.to_dict("records")[:12]
    return (
        "; ".join(
            f"{row['run']}, {words(row['condition'])}: {number(row['slope_ms_per_item'], 1)} ms an item"
            + (f" (people {number(row['human_slope'], 1)})" if np.isfinite(row["human_slope"]) else "")
            for row in rows
        )
        + "."
    )


def _caveats(comparison: SearchComparison) -> list[str]:
    caveats = list(comparison.notes)
    if any(run.kind == "set_sizes" for run in comparison.runs):
        caveats.append(
            "Runs make no time: their milliseconds are fixations by constants that were fitted to people in another"
            " task. The asymmetry index depends on them no more than a ratio of slopes does."
        )
    if len(comparison.people) and any(run.kind == "set_sizes" for run in comparison.runs):
        caveats.append(
            "People's reaction times are means read off published figures, of displays other than these: the intervals"
            " cover the runs' displays, not people."
        )
    short = [run.name for run in comparison.runs if run.trials["found"].mean() < 1]
    if short:
        caveats.append(
            f"Not all targets were found by {', '.join(short)}. Over set sizes such a search counts as the largest"
            " set size; in curves it stays unfound."
        )
    return caveats


def _methods(comparison: SearchComparison) -> list[str]:
    settings = comparison.settings
    percent, draws = f"{settings['confidence']:.0%}", f"{settings['n_bootstrap']:,}"
    paragraphs = []
    if any(run.kind == "set_sizes" for run in comparison.runs):
        paragraphs.append(
            "Fixations until the target was found became reaction times by one line (Gupta, Zhang, Wu, Wolfe & Kreiman"
            " 2021), and slopes are least squares over trials. The asymmetry index is the difference of the two"
            " slopes of a paradigm over their sum, negative slopes taken as 0, the condition that is harder for"
            f" people first. Intervals ({percent}) are percentiles of {draws} draws of displays within set sizes;"
            " differences between runs rest on the same draws for both."
        )
    if any(run.kind == "scenes" for run in comparison.runs):
        paragraphs.append(
            "Curves are product-limit estimates (Kaplan & Meier 1958): where people's searches were broken off after"
            " a number of fixations, each counts for as long as it went on. Intervals"
            f" ({percent}) are percentiles of {draws} draws of displays, the same for runs and people, and for people"
            " of observers too."
        )
    if len(comparison.scores):
        paragraphs.append(
            "Scanpaths are compared by MultiMatch (Dewhurst et al. 2012) and ScanMatch (Cristino et al. 2010),"
            " without the start. The human ceiling is the mean over the other people who saw the display, then over a"
            " person's displays, then over people; a person is never compared with himself. A run takes the place of"
            " the other people, found trials or not."
        )
    return paragraphs
