"""How soon targets are found, and whose scanpaths are alike: models beside people on the same displays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.experiments.search import SearchRun
from analyses.experiments.search_sources import People
from analyses.metrics.scanpath import human_ceiling, model_agreement, share_of_ceiling
from analyses.metrics.scanpath.resampling import index_trials, percentile_interval
from cogmodels.search import Scanpaths

FloatArray = NDArray[np.float64]
PEOPLE = "people"
METRICS = ("multimatch", "scanmatch")
DIFFERENCES = ["measure", "group", "run_a", "run_b", "difference", "lower", "upper"]


@dataclass(frozen=True, eq=False)
class SceneTables:
    """What came out on one set of displays.

    Attributes
    ----------
    curves : DataFrame
        displays, observer (a run, or "people"), fixation, found, lower, upper.
    areas : DataFrame
        displays, run, area, lower, upper, n_max, and people's area with the run's share of it.
    scores : DataFrame
        displays, run, metric, value, lower, upper, ceiling, ceiling_lower, ceiling_upper, share, share_lower,
        share_upper.
    differences : DataFrame
        measure, group (the displays), run_a, run_b, difference, lower, upper.
    notes : tuple of str
    """

    curves: pd.DataFrame
    areas: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    notes: tuple[str, ...]


def scene_tables(
    name: str,
    runs: Sequence[SearchRun],
    people: People | None,
    *,
    scores: bool,
    n_bootstrap: int,
    confidence: float,
    seed: int,
) -> SceneTables:
    """Compare runs on the same displays with people and with each other.

    Parameters
    ----------
    name : str
        Of the displays.
    runs : sequence of SearchRun
        All on the same displays.
    people : People or None
        With scanpaths; displays that they did not see are left out for all.
    scores : bool
        Whether to compare scanpaths too, which takes seconds where people are many.
    n_bootstrap, confidence, seed
        One draw of displays serves all runs and people (of whom it draws observers too).
    """
    shared = sorted(set(runs[0].displays["display"]))
    theirs = None if people is None else people.scanpaths
    notes: list[str] = []
    if theirs is not None:
        seen = sorted(set(shared) & set(theirs.displays))
        if len(seen) < 2:
            theirs = None
            notes.append(f"{name}: people saw {len(seen)} of these displays, too few to be compared.")
        else:
            if len(seen) < len(shared):
                notes.append(
                    f"{name}: people saw {len(seen)} of {len(shared)} displays; the others are left out."
                )
            shared = seen
    curves, areas, area_draws = _curves(name, runs, people, theirs, shared, n_bootstrap, confidence, seed)
    found_scores = pd.DataFrame()
    score_draws: dict[str, dict[str, tuple[float, FloatArray]]] = {}
    if scores and theirs is not None and people is not None:
        found_scores, score_draws, more = _scores(
            name, runs, people, theirs.select(displays=shared), n_bootstrap, confidence, seed
        )
        notes += more
    differences = _differences(name, runs, area_draws | score_draws, confidence)
    return SceneTables(curves, areas, found_scores, differences, tuple(notes))


def found_draws(found_at: FloatArray, last: FloatArray, weights: FloatArray, n_max: int) -> FloatArray:
    """Return the share of searches that have found their target by each fixation, for each weighting of trials.

    Searches that were broken off tell nothing of later fixations; the product-limit estimator (Kaplan & Meier 1958)
    takes each into account for as long as it went on. Where none was broken off this is the plain share.

    Parameters
    ----------
    found_at : (n_trials,) array
        Fixation that found the target, from 0; NaN where none did.
    last : (n_trials,) array
        Fixation after which a search that had not found its target was broken off; infinite where it was not.
    weights : (n_draws, n_trials) array
        How often each trial counts.
    n_max : int

    Returns
    -------
    (n_draws, n_max) array
        After fixation 1, 2, ...; NaN from where no search is left that could tell.
    """
    steps = np.arange(n_max + 1)
    found = found_at[:, None] == steps
    before = np.isnan(found_at)[:, None] | (found_at[:, None] >= steps)
    searching = before & (found | (last[:, None] >= steps))
    n_found, n_searching = weights @ found.astype(float), weights @ searching.astype(float)
    # Once all are found nobody searches, and nothing changes; broken off altogether, nothing is known.
    hazard = np.divide(n_found, n_searching, out=np.full(n_found.shape, np.nan), where=n_searching > 0)
    left = np.cumprod(1 - hazard, axis=1)
    all_found = np.maximum.accumulate(left == 0, axis=1)
    return np.where(all_found, 1.0, 1 - left)[:, 1:]


def _curves(
    name: str,
    runs: Sequence[SearchRun],
    people: People | None,
    theirs: Scanpaths | None,
    shared: list[str],
    n_bootstrap: int,
    confidence: float,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, tuple[float, FloatArray]]]]:
    rng = np.random.default_rng(seed)
    n = len(shared)
    display_counts = np.vstack(
        [np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)]
    )  # the first row is no draw, but the displays as they are
    groups: dict[str, tuple[pd.DataFrame, FloatArray]] = {}
    n_max = max(int(run.trials["n_fixations"].max()) for run in runs)
    if theirs is not None and people is not None:
        trials = theirs.trials
        last = np.full(len(trials), np.inf)
        if people.fixations_allowed is not None:
            # Some made more fixations than they were allowed; these were seen as well.
            last = np.maximum(people.fixations_allowed, trials["n_fixations"].to_numpy(float))
            n_max = int(people.fixations_allowed.max())
        else:
            n_max = max(1, int(trials["n_fixations"].max()))
        keep = trials["display"].isin(shared).to_numpy()
        groups[PEOPLE] = (trials[keep], last[keep])
    for run in runs:
        trials = run.scanpaths.trials
        keep = trials["display"].isin(shared).to_numpy()
        groups[run.name] = (trials[keep], np.full(int(keep.sum()), np.inf))
    curves, samples = [], {}
    for observer, (trials, last) in groups.items():
        drawn = index_trials(trials["observer"], trials["display"], len(trials))
        to_shared = np.searchsorted(shared, drawn.display_names)
        weights = display_counts[:, to_shared[drawn.display]]
        if observer == PEOPLE:
            n_people = len(drawn.observer_names)
            counts = rng.multinomial(n_people, np.full(n_people, 1 / n_people), size=n_bootstrap)
            weights = weights * np.vstack([np.ones(n_people), counts])[:, drawn.observer]
        found = found_draws(trials["found_at"].to_numpy(float), last, weights, n_max)
        samples[observer] = found.mean(axis=1)
        lower, upper = percentile_interval(found[1:], confidence)
        curves.append(
            pd.DataFrame(
                {
                    "displays": name,
                    "observer": observer,
                    "fixation": np.arange(1, n_max + 1),
                    "found": found[0],
                    "lower": lower,
                    "upper": upper,
                }
            )
        )
    areas = []
    for run in runs:
        area = samples[run.name]
        ends = percentile_interval(area[1:], confidence)
        row = {
            "displays": name,
            "run": run.name,
            "n_max": n_max,
            "area": area[0],
            "lower": float(ends[0]),
            "upper": float(ends[1]),
        }
        if PEOPLE in samples:
            share = area / samples[PEOPLE]
            ends = percentile_interval(share[1:], confidence)
            row |= {
                "people_area": samples[PEOPLE][0],
                "share": share[0],
                "share_lower": float(ends[0]),
                "share_upper": float(ends[1]),
            }
        areas.append(row)
    draws = {
        "area under the curve": {run.name: (samples[run.name][0], samples[run.name][1:]) for run in runs}
    }
    return pd.concat(curves, ignore_index=True), pd.DataFrame(areas), draws


def _scores(
    name: str,
    runs: Sequence[SearchRun],
    people: People,
    theirs: Scanpaths,
    n_bootstrap: int,
    confidence: float,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, dict[str, tuple[float, FloatArray]]], list[str]]:
    if people.places_on_found_trials:
        theirs = found_trials(theirs)
    several = theirs.trials.groupby("display")["observer"].nunique()
    told = several.index[several > 1].tolist()
    if len(told) < 2 or len(theirs.observers) < 2:
        return (
            pd.DataFrame(),
            {},
            [f"{name}: too few people saw the same displays for a ceiling of scanpaths."],
        )
    theirs = theirs.select(displays=told)
    about = runs[0].displays.set_index("display").loc[theirs.displays]
    sizes = {
        str(name): (int(width), int(height))
        for name, width, height in zip(about.index, about["width_px"], about["height_px"], strict=True)
    }
    settings: dict[str, Any] = {
        "n_bootstrap": n_bootstrap,
        "confidence": confidence,
        "seed": seed,
        "size_px": sizes,
    }
    rows: list[dict[str, Any]] = []
    draws: dict[str, dict[str, tuple[float, FloatArray]]] = {}
    for metric in METRICS:
        ceiling = human_ceiling(theirs, metric, **settings)
        for run in runs:
            own = model_agreement(run.scanpaths.select(displays=told), theirs, metric, **settings)
            share = share_of_ceiling(own, ceiling)
            for place, value in enumerate(own.names):
                if not np.isfinite(own.estimate[place]):
                    continue  # models have no durations
                label = value if len(own.names) == 1 else f"{metric} {value}"
                draws.setdefault(label, {})[run.name] = (own.estimate[place], own.samples[:, place])
                rows.append(
                    {
                        "displays": name,
                        "run": run.name,
                        "metric": label,
                        "value": own.estimate[place],
                        "lower": own.lower[place],
                        "upper": own.upper[place],
                        "ceiling": ceiling.estimate[place],
                        "ceiling_lower": ceiling.lower[place],
                        "ceiling_upper": ceiling.upper[place],
                        "share": share["share"].iloc[place],
                        "share_lower": share["lower"].iloc[place],
                        "share_upper": share["upper"].iloc[place],
                    }
                )
    return pd.DataFrame(rows), draws, []


def found_trials(scanpaths: Scanpaths) -> Scanpaths:
    """Return the trials that found their target."""
    trials = scanpaths.trials
    key = ["observer", "display", "trial"]
    kept = scanpaths.table.merge(trials.loc[trials["found"], key], on=key, how="inner", sort=False)
    return Scanpaths(kept)


def _differences(
    name: str,
    runs: Sequence[SearchRun],
    draws: dict[str, dict[str, tuple[float, FloatArray]]],
    confidence: float,
) -> pd.DataFrame:
    rows = []
    for measure, by_run in draws.items():
        for a, b in combinations([run.name for run in runs if run.name in by_run], 2):
            lower, upper = percentile_interval(by_run[a][1] - by_run[b][1], confidence)
            rows.append((measure, name, a, b, by_run[a][0] - by_run[b][0], float(lower), float(upper)))
    return pd.DataFrame(rows, columns=DIFFERENCES)
