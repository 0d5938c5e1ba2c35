"""Paired comparison of encoding runs that predicted the same responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from analyses.experiments.paired_runs import PairedRuns, pair_runs
from analyses.statistics.bootstrap import bootstrap_correlation
from analyses.statistics.comparison import ModelComparison, compare_models
from analyses.statistics.multiple_comparisons import fdr
from encoders.scores import correlation_score
from stimuli.files import count_of, unknown_name_message

FEW_UNITS = 20


@dataclass(frozen=True)
class RunComparison:
    """Encoding runs side by side.

    Attributes
    ----------
    runs : tuple of str
        Names of the runs: of their folders, with parents where these are the same.
    layers : tuple of str
        Layer of each run that is compared.
    pairs : tuple of (str, str)
        What is compared: the first less the second.
    table : DataFrame
        One row a pair and ROI: ``run_a``, ``run_b``, ``roi``, ``n_voxels``, means over voxels of ``r_a``, ``r_b`` and
        ``difference`` (a less b), bootstrap interval ``lower`` to ``upper`` of the difference, two-sided ``p_value`` by
        exchanging the runs within units, ``q_value`` (false discovery rate over ROIs and pairs).
    scores : xarray.Dataset
        Dims ``run``, ``roi``, ``neuroid``: ``r`` and ``r_evaluated (run, neuroid)``, ``noise_ceiling_r (neuroid,)``,
        ``roi_mask``, ``roi_r`` with interval ``roi_r_lower`` and ``roi_r_upper (run, roi)``, ``roi_r_ceiling (roi,)``,
        over the neuroids that all runs kept; named as in `results.nc`.
    voxels : xarray.Dataset
        Dims ``pair``, ``neuroid``: ``difference``, ``p_value``, ``q_value`` (over voxels of the pair) and
        ``p_value_max`` (family-wise).
    notes : tuple of str
        What to keep in mind: neuroids left out, folds that differ, layers picked by their score, few units.
    settings : dict
        Draws, seed, units and what was compared, for a record.
    """

    runs: tuple[str, ...]
    layers: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    table: pd.DataFrame
    scores: xr.Dataset
    voxels: xr.Dataset
    notes: tuple[str, ...]
    settings: dict[str, str | int | float | list[str] | None]


def compare_runs(
    folders: Sequence[str | Path],
    layer: str | None = None,
    reference: str | Path | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    seed: int = 0,
) -> RunComparison:
    """Compare the held-out correlations of encoding runs, pair by pair and ROI by ROI.

    Parameters
    ----------
    folders : sequence of path
        Folders of two or more finished runs on the same responses and the same tested samples. Their feature spaces,
        encoders, folds and seeds may differ.
    layer : str, optional
        Layer of every run, a label of `results.nc`. Where None each run's headline layer: the one chosen inside the
        training folds (``selected``), or else the best.
    reference : str or path, optional
        One of the runs, by folder or name, with which every other is compared; all pairs where None.
    n_bootstrap : int
        Draws of whole units (stimuli, blocks) for the intervals.
    n_permutations : int
        Exchanges of two runs' predictions within units for the p-values.
    seed : int
        Seed of both. All pairs meet the same draws.

    Returns
    -------
    RunComparison

    Raises
    ------
    FileNotFoundError
        A folder is no finished run, or of a version that kept no held-out predictions.
    ValueError
        Fewer than two runs, one twice, or runs of other data, subject, responses or tested samples; the message says
        what differs.
    KeyError
        A run has no such layer, or the reference is none of the runs.

    Notes
    -----
    Predictions are taken as given: intervals and p-values are for new stimuli (or blocks) of the same kind, with the
    models as they were fitted. The correlation is over tested samples pooled over folds, as `r` in `results.nc`.
    """
    paired = pair_runs(folders, layer)
    pairs = _choose_pairs(paired, reference)
    compared = [
        compare_models(
            paired.measured,
            paired.predicted[a],
            paired.predicted[b],
            paired.units,
            paired.rois,
            n_bootstrap=n_bootstrap,
            n_permutations=n_permutations,
            seed=seed,
        )
        for a, b in pairs
    ]
    named = tuple((paired.names[a], paired.names[b]) for a, b in pairs)
    table = pd.concat(
        [
            result.rois.reset_index().assign(run_a=a, run_b=b)
            for result, (a, b) in zip(compared, named, strict=True)
        ],
        ignore_index=True,
    )
    table["q_value"] = fdr(table["p_value"].to_numpy())
    columns = ("run_a", "run_b", "roi", "n_voxels", "r_a", "r_b")
    table = table[[*columns, "difference", "lower", "upper", "p_value", "q_value"]]
    scores = _scores(paired, n_bootstrap, seed)
    notes = [*paired.notes, *_notes_on_units(compared[0], len(table))]
    settings: dict[str, str | int | float | list[str] | None] = {
        "layer": layer,
        "reference": None if reference is None else named[0][1],
        "n_bootstrap": n_bootstrap,
        "n_permutations": compared[0].n_permutations,
        "confidence": compared[0].confidence,
        "n_units": compared[0].n_units,
        "n_samples": len(paired.measured),
        "seed": seed,
    }
    return RunComparison(
        tuple(paired.names),
        tuple(paired.layers),
        named,
        table,
        scores,
        _voxels(compared, named, paired),
        tuple(notes),
        settings,
    )


def _choose_pairs(paired: PairedRuns, reference: str | Path | None) -> list[tuple[int, int]]:
    """Return positions of the runs to compare: each with the reference, or all with all."""
    every = range(len(paired.names))
    if reference is None:
        return list(combinations(every, 2))
    wanted = Path(reference).resolve()
    by_folder = [i for i in every if paired.folders[i].resolve() == wanted]
    found = by_folder or [i for i in every if paired.names[i] == str(reference)]
    if not found:
        raise KeyError(
            unknown_name_message("reference", str(reference), paired.names, "give one of the runs compared")
        )
    return [(i, found[0]) for i in every if i != found[0]]


def _scores(paired: PairedRuns, n_bootstrap: int, seed: int) -> xr.Dataset:
    intervals = [
        bootstrap_correlation(
            paired.measured, predicted, paired.units, n_bootstrap=n_bootstrap, seed=seed, rois=paired.rois
        )
        for predicted in paired.predicted
    ]
    masks = np.stack(list(paired.rois.values()))
    ceiling = paired.noise_ceiling_r
    variables = {
        "r": (("run", "neuroid"), [correlation_score(paired.measured, p) for p in paired.predicted]),
        "r_evaluated": (("run", "neuroid"), paired.r_evaluated),
        "noise_ceiling_r": (("neuroid",), ceiling),
        "roi_mask": (("roi", "neuroid"), masks),
        "roi_r": (("run", "roi"), [interval.estimate for interval in intervals]),
        "roi_r_lower": (("run", "roi"), [interval.lower for interval in intervals]),
        "roi_r_upper": (("run", "roi"), [interval.upper for interval in intervals]),
        "roi_r_ceiling": (("roi",), [_mean_known(ceiling[mask]) for mask in masks]),
    }
    coordinates = {
        "run": paired.names,
        "layer": ("run", paired.layers),
        "roi": list(paired.rois),
        "neuroid_id": ("neuroid", paired.neuroid_ids),
    }
    return xr.Dataset(variables, coordinates, paired.attrs)


def _mean_known(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _voxels(
    compared: Sequence[ModelComparison], named: Sequence[tuple[str, str]], paired: PairedRuns
) -> xr.Dataset:
    names = ("difference", "p_value", "q_value", "p_value_max")
    return xr.Dataset(
        {
            name: (("pair", "neuroid"), np.stack([one.voxels[name].to_numpy() for one in compared]))
            for name in names
        },
        {
            "run_a": ("pair", [a for a, _ in named]),
            "run_b": ("pair", [b for _, b in named]),
            "neuroid_id": ("neuroid", paired.neuroid_ids),
        },
        paired.attrs,
    )


def _notes_on_units(compared: ModelComparison, n_tests: int) -> list[str]:
    notes = []
    if compared.n_units < FEW_UNITS:
        notes.append(
            f"There are {count_of(compared.n_units, 'independent unit')} only: below about {FEW_UNITS}, intervals are"
            " a little too narrow and p-values a little too small."
        )
    # Where all exchanges are tried, the one of all signs gives the same difference as the true pairing.
    tried_all = compared.n_units < 63 and 2**compared.n_units == compared.n_permutations
    smallest = (2 if tried_all else 1) / compared.n_permutations
    if smallest * n_tests > 0.05:
        notes.append(
            f"The smallest p-value that {count_of(compared.n_permutations, 'exchange')} can give is {smallest:.2g},"
            f" which is not enough for {count_of(n_tests, 'test')} at a false discovery rate of 5% unless several are"
            " as small; take more permutations, or fewer runs."
        )
    return notes
