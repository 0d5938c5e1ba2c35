"""Reaction times over set size: models beside people, and models against each other on the same displays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from analyses.experiments.search import SearchRun
from analyses.metrics.scanpath.resampling import percentile_interval
from analyses.statistics.search_slopes import asymmetry_draws, asymmetry_interval, search_slopes

MEAN = "mean"
_CELL = ["paradigm", "condition", "set_size"]


def cell_means(runs: Sequence[SearchRun]) -> pd.DataFrame:
    """Return means over displays: run, paradigm, condition, set_size, rt_ms, n_fixations, n_displays."""
    parts = []
    for run in runs:
        displays = run.trials.groupby([*_CELL, "display"], as_index=False)[["rt_ms", "n_fixations"]].mean()
        cells = displays.groupby(_CELL).agg(
            rt_ms=("rt_ms", "mean"), n_fixations=("n_fixations", "mean"), n_displays=("display", "size")
        )
        parts.append(cells.reset_index().assign(run=run.name))
    table = pd.concat(parts, ignore_index=True)
    return table[["run", *(name for name in table if name != "run")]]


def slope_table(runs: Sequence[SearchRun], human: pd.DataFrame | None) -> pd.DataFrame:
    """Return the slope of each run and condition with its interval over displays, and people's slope beside it.

    Parameters
    ----------
    runs : sequence of SearchRun
        All of set sizes.
    human : DataFrame or None
        People's slopes, as `search_slopes` gives.

    Returns
    -------
    DataFrame
        run, paradigm, condition, slope_ms_per_item, slope_lower, slope_upper, intercept_ms, ..., human_slope (NaN where
        unknown).
    """
    parts = []
    for run in runs:
        found = search_slopes(
            run.trials,
            n_bootstrap=run.config.n_bootstrap,
            confidence=run.config.confidence,
            seed=run.config.seed,
        )
        parts.append(found.assign(run=run.name))
    table = pd.concat(parts, ignore_index=True)
    table = table[["run", *(name for name in table if name != "run")]]
    if human is None:
        return table.assign(human_slope=np.nan)
    known = human[["paradigm", "condition", "slope_ms_per_item"]]
    known = known.rename(columns={"slope_ms_per_item": "human_slope"})
    return table.merge(known, on=["paradigm", "condition"], how="left")


def index_table(runs: Sequence[SearchRun], human: pd.DataFrame) -> pd.DataFrame:
    """Return the asymmetry index of each run and paradigm, and its mean over paradigms, with intervals over displays.

    Paradigms of which a run has one condition alone, or people none, are left out.

    Returns
    -------
    DataFrame
        run, paradigm (``"mean"`` last), steeper, shallower, index, lower, upper, share_right, human_index.
    """
    parts = []
    for run in runs:
        trials = run.trials[run.trials["paradigm"].isin(_whole_paradigms(run, human))]
        if trials.empty:
            continue
        found = asymmetry_interval(
            trials,
            human,
            n_bootstrap=run.config.n_bootstrap,
            confidence=run.config.confidence,
            seed=run.config.seed,
        )
        parts.append(found.reset_index().assign(run=run.name))
    if not parts:
        return pd.DataFrame(columns=["run", "paradigm", "index", "lower", "upper", "human_index"])
    table = pd.concat(parts, ignore_index=True)
    return table[["run", *(name for name in table if name != "run")]]


def overall_table(index: pd.DataFrame, slopes: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run: in how many paradigms its index has people's direction, and how near its slopes are.

    Returns
    -------
    DataFrame
        run, n_right, n_paradigms, mean_index, lower, upper, human_mean_index, slope_r (Pearson, over conditions; NaN
        below three), slope_error_ms_per_item (mean absolute difference from people's).
    """
    rows = []
    for run, of_run in index.groupby("run", sort=False):
        mean, single = of_run[of_run["paradigm"] == MEAN].iloc[0], of_run[of_run["paradigm"] != MEAN]
        own = slopes[(slopes["run"] == run) & slopes["human_slope"].notna()]
        x, y = own["slope_ms_per_item"].to_numpy(), own["human_slope"].to_numpy()
        varies = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        rows.append(
            {
                "run": run,
                "n_right": int((single["index"] > 0).sum()),
                "n_paradigms": len(single),
                "mean_index": mean["index"],
                "lower": mean["lower"],
                "upper": mean["upper"],
                "human_mean_index": mean["human_index"],
                "slope_r": float(np.corrcoef(x, y)[0, 1]) if varies else np.nan,
                "slope_error_ms_per_item": float(np.abs(x - y).mean()),
            }
        )
    return pd.DataFrame(rows)


def index_differences(
    runs: Sequence[SearchRun], human: pd.DataFrame, n_bootstrap: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Return by how much the asymmetry index of runs differs, by a bootstrap that draws the same displays for all.

    Returns
    -------
    DataFrame
        measure ("asymmetry index"), group (the paradigm, or ``"mean"``), run_a, run_b, difference, lower, upper: over
        the paradigms that both runs have whole.
    """
    rows = []
    for a, b in combinations(runs, 2):
        paradigms = sorted(set(_whole_paradigms(a, human)) & set(_whole_paradigms(b, human)))
        if not paradigms:
            continue
        samples, estimates = [], []
        for run in (a, b):
            trials = run.trials[run.trials["paradigm"].isin(paradigms)]
            table, draws = asymmetry_draws(trials, human, n_bootstrap=n_bootstrap, seed=seed)
            estimates.append(table["index"].to_numpy())
            samples.append(draws.T)
        lower, upper = percentile_interval(samples[0] - samples[1], confidence)
        for place, name in enumerate([*paradigms, MEAN]):
            difference = estimates[0][place] - estimates[1][place]
            rows.append(("asymmetry index", name, a.name, b.name, difference, lower[place], upper[place]))
    return pd.DataFrame(rows, columns=["measure", "group", "run_a", "run_b", "difference", "lower", "upper"])


def _whole_paradigms(run: SearchRun, human: pd.DataFrame) -> list[str]:
    known = set(human["paradigm"])
    conditions = run.trials.groupby("paradigm")["condition"].nunique()
    return [str(name) for name, n in conditions.items() if n == 2 and name in known]
