"""How alike the scanpaths of people are (the human ceiling), and those of a model and people.

Published ceilings of one data set differ by the rule by which pairs are formed and averaged, and by whether people are
compared with themselves. Here the rule is an argument, and no trial is compared with a trial of the same person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from analyses.metrics.scanpath.ragged import FloatArray, IntArray
from analyses.metrics.scanpath.resampling import (
    Resample,
    Trials,
    draw_counts,
    index_trials,
    percentile_interval,
)
from analyses.metrics.scanpath.trial_pairs import Metric, PairScores, pairs_on_displays, score_pairs
from stimuli.files import unknown_name_message

if TYPE_CHECKING:
    from cogmodels.search import Scanpaths

Rule = Literal["leave-one-observer-out", "all-pairs", "pooled"]

RULES: dict[str, str] = {
    "leave-one-observer-out": "mean over the other people who saw the display, then over a person's displays, then over"
    " people",
    "all-pairs": "mean over all pairs of people on a display, then over displays",
    "pooled": "mean over all pairs of all displays, each counting once",
}
"""The rules by which scores of pairs are averaged, in words."""


@dataclass(frozen=True)
class Agreement:
    """Mean scores of pairs of scanpaths, with intervals.

    Attributes
    ----------
    names : tuple of str
        One a value of the metric.
    estimate, lower, upper : (n_values,) array
        The average by the rule, and the ends of its interval.
    samples : (n_bootstrap, n_values) array
        The average on each draw.
    rule : str
        One of `RULES`, which says it in words.
    start : bool
        Whether fixation 0 was part of the scanpaths.
    confidence : float
        Nominal coverage.
    resample : {"both", "observers", "displays"}
        What was drawn.
    seed : int
        Of the draws.
    observers, displays : tuple of str
        The people and the displays that were drawn from.
    n_pairs : int
        Number of pairs of trials.
    n_undefined : (n_values,) int array
        Pairs without a score (scanpaths too short for the metric), which are left out of all means.
    """

    names: tuple[str, ...]
    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    samples: FloatArray
    rule: Rule
    start: bool
    confidence: float
    resample: Resample
    seed: int
    observers: tuple[str, ...]
    displays: tuple[str, ...]
    n_pairs: int
    n_undefined: IntArray

    def to_frame(self) -> pd.DataFrame:
        """Tabulate estimates and intervals, one row a value."""
        columns = {
            "estimate": self.estimate,
            "lower": self.lower,
            "upper": self.upper,
            "n_undefined": self.n_undefined,
        }
        return pd.DataFrame(columns, index=pd.Index(self.names, name="metric"))


def human_ceiling(
    scanpaths: "Scanpaths",
    metric: str | Metric,
    rule: Rule = "leave-one-observer-out",
    *,
    start: bool = False,
    resample: Resample = "both",
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    **settings: Any,
) -> Agreement:
    """Return how alike the scanpaths of different people on the same display are.

    Parameters
    ----------
    scanpaths : Scanpaths
        Of several people.
    metric : str or callable
        "multimatch", "scanmatch", "dtw", "sequence_score", "edit_distance", or a function of two lists of places
        (n_fixations, 2) that returns (n_pairs,) or (n_pairs, n_values) and does not change when they are exchanged:
        each pair is scored once.
    rule : {"leave-one-observer-out", "all-pairs", "pooled"}
        How scores are averaged; `RULES` says it in words. Never is a person paired with himself. The first weighs
        people equally, the second displays, the third pairs; they agree where everyone saw everything once.
    start : bool
        Whether fixation 0, where the gaze stood when the display came, is part of a scanpath where it was recorded.
        With it, short searches reach the three fixations that MultiMatch needs, but all of them begin alike.
    resample : {"both", "observers", "displays"}
        What the bootstrap draws. Copies of one person in a draw are not paired with each other.
    n_bootstrap, confidence, seed
        Number of draws, nominal coverage of the percentile interval, seed of the draws.
    **settings
        Of the metric, as ``size_px`` ((width, height), or a mapping of display to it). MultiMatch takes the durations
        of the scanpaths, ScanMatch where ``bin_ms`` is given.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If no display was seen by two people, the rule or the metric is unknown, or there are fewer than 2 people or
        displays to draw from.
    """
    table = scanpaths.trials
    trials = index_trials(table["observer"], table["display"], len(table))
    pairs = pairs_on_displays(trials.display, trials.display, trials.observer)
    if not len(pairs[0]):
        raise ValueError(
            "no display was seen by two people: a ceiling needs pairs of people on the same display"
        )
    scores = score_pairs(scanpaths, scanpaths, pairs, metric, settings, start)
    # Each pair once as it is and once exchanged: whose trial is told, and whose tells it.
    both = PairScores(
        np.concatenate([scores.first, scores.second]),
        np.concatenate([scores.second, scores.first]),
        np.concatenate([scores.values, scores.values]),
        scores.names,
    )
    cells = _cells(both, trials, trials.observer)
    return _summarize(cells, scores, trials, rule, start, resample, n_bootstrap, confidence, seed)


def model_agreement(
    model: "Scanpaths",
    people: "Scanpaths",
    metric: str | Metric,
    rule: Rule = "leave-one-observer-out",
    *,
    start: bool = False,
    resample: Resample = "both",
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    **settings: Any,
) -> Agreement:
    """Return how alike a model's scanpaths and people's are, averaged as the human ceiling is.

    Parameters
    ----------
    model : Scanpaths
        One rollout or more on each display that people saw; all of them count as one observer.
    people : Scanpaths
        Trials on displays that the model did not search are left out.
    metric, rule, start, resample, n_bootstrap, confidence, seed, **settings
        As in `human_ceiling`; "leave-one-observer-out" averages over rollouts, then over a person's displays, then over
        people. The draws are of people and displays.

    Returns
    -------
    Agreement
        To be compared with the ceiling of ``people`` on the same displays: `share_of_ceiling`.

    Raises
    ------
    ValueError
        If model and people share no display; and as in `human_ceiling`.
    """
    shared = sorted(set(model.displays) & set(people.displays))
    if not shared:
        raise ValueError(
            f"model and people share no display: the model's are {model.displays[:3]} ..., people's"
            f" {people.displays[:3]} ..."
        )
    people = people.select(displays=shared)
    table = people.trials
    trials = index_trials(table["observer"], table["display"], len(table))
    pairs = pairs_on_displays(table["display"].to_numpy(str), model.trials["display"].to_numpy(str))
    scores = score_pairs(people, model, pairs, metric, settings, start)
    cells = _cells(scores, trials, None)
    return _summarize(cells, scores, trials, rule, start, resample, n_bootstrap, confidence, seed)


def share_of_ceiling(agreement: Agreement, ceiling: Agreement) -> pd.DataFrame:
    """Return a model's agreement as a share of the human ceiling, with an interval from the same draws.

    Parameters
    ----------
    agreement, ceiling : Agreement
        Of `model_agreement` and `human_ceiling`, by the same metric, rule and draws, of the same people and displays.
        For similarities only: a ratio of distances (DTW, edit distance) is smaller for the better model.

    Returns
    -------
    DataFrame
        ``share, lower, upper``, one row a value.

    Raises
    ------
    ValueError
        If the two do not rest on the same people, displays, metric, rule or draws.
    """
    for name in ("names", "rule", "start", "resample", "seed", "confidence", "observers", "displays"):
        if getattr(agreement, name) != getattr(ceiling, name):
            raise ValueError(
                f"{name} of agreement and ceiling differ; compute both on the same people and displays"
                " (people.select(displays=model.displays)), by the same metric, rule and draws"
            )
    if agreement.samples.shape != ceiling.samples.shape:
        raise ValueError(f"{len(agreement.samples)} and {len(ceiling.samples)} draws; take as many for both")
    lower, upper = percentile_interval(agreement.samples / ceiling.samples, agreement.confidence)
    columns = {"share": agreement.estimate / ceiling.estimate, "lower": lower, "upper": upper}
    return pd.DataFrame(columns, index=pd.Index(agreement.names, name="metric"))


class _Cell(NamedTuple):
    """Scores on one display: whose scanpath is told by whose (None: by the model), summed over pairs of trials."""

    display: int
    told: IntArray
    telling: IntArray | None
    sums: FloatArray
    counts: FloatArray


def _cells(scores: PairScores, trials: Trials, tellers: IntArray | None) -> list[_Cell]:
    cells = []
    displays = trials.display[scores.first]
    for display in np.unique(displays):
        rows = np.flatnonzero(displays == display)
        told, to = np.unique(trials.observer[scores.first[rows]], return_inverse=True)
        if tellers is None:
            telling, by = None, np.zeros(len(rows), dtype=np.intp)
        else:
            telling, by = np.unique(tellers[scores.second[rows]], return_inverse=True)
        values = scores.values[rows]
        known = ~np.isnan(values)
        n_telling = 1 if telling is None else len(telling)
        sums, counts = (np.zeros((n_telling, len(told), values.shape[1])) for _ in range(2))
        np.add.at(sums, (by, to), np.where(known, values, 0))
        np.add.at(counts, (by, to), known)
        cells.append(_Cell(int(display), told, telling, sums, counts))
    return cells


def _summarize(
    cells: Sequence[_Cell],
    scores: PairScores,
    trials: Trials,
    rule: Rule,
    start: bool,
    resample: Resample,
    n_bootstrap: int,
    confidence: float,
    seed: int,
) -> Agreement:
    if rule not in RULES:
        raise ValueError(unknown_name_message("rule", rule, RULES))
    n_observers, n_displays = len(trials.observer_names), len(trials.display_names)
    once = np.ones((1, n_observers)), np.ones((1, n_displays))
    estimate = _average(cells, *once, rule)[0]
    samples = _average(cells, *draw_counts(n_observers, n_displays, n_bootstrap, resample, seed), rule)
    lower, upper = percentile_interval(samples, confidence)
    return Agreement(
        scores.names,
        estimate,
        lower,
        upper,
        samples,
        rule,
        start,
        confidence,
        resample,
        seed,
        tuple(trials.observer_names.tolist()),
        tuple(trials.display_names.tolist()),
        len(scores.first),
        np.isnan(scores.values).sum(axis=0),
    )


def _average(cells: Sequence[_Cell], people: FloatArray, scenes: FloatArray, rule: Rule) -> FloatArray:
    """Average with every person and display counted as often as drawn, (n_draws, n_values)."""
    n_draws, n_values = len(people), cells[0].sums.shape[2]
    width = people.shape[1] if rule == "leave-one-observer-out" else 1
    total, weight = (np.zeros((n_draws, width, n_values)) for _ in range(2))
    for cell in cells:
        sums, counts = cell.sums, cell.counts
        if rule == "leave-one-observer-out":
            # Every other person counts once, however many trials he had.
            sums, counts = _ratio(sums, counts, 0), (counts > 0).astype(np.float64)
        telling = np.ones((n_draws, 1)) if cell.telling is None else people[:, cell.telling]
        # (n_draws, n_told, n_values): sum over those who tell, as often as they were drawn.
        sums, counts = (np.tensordot(telling, array, axes=(1, 0)) for array in (sums, counts))
        times = scenes[:, cell.display, None, None]
        if rule == "leave-one-observer-out":
            total[:, cell.told] += times * _ratio(sums, counts, 0)
            weight[:, cell.told] += times * (counts > 0)
            continue
        told = people[:, cell.told, None]
        sums, counts = ((told * array).sum(axis=1, keepdims=True) for array in (sums, counts))
        if rule == "all-pairs":
            sums, counts = _ratio(sums, counts, 0), (counts > 0).astype(np.float64)
        total += times * sums
        weight += times * counts
    if rule == "leave-one-observer-out":
        known = people[:, :, None] * (weight > 0)
        total, weight = known * _ratio(total, weight, 0), known
    return _ratio(total.sum(axis=1), weight.sum(axis=1), np.nan)


def _ratio(total: FloatArray, weight: FloatArray, otherwise: float) -> FloatArray:
    return np.divide(total, weight, out=np.full(total.shape, float(otherwise)), where=weight > 0)
