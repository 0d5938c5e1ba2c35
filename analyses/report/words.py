"""What a run's numbers say, in sentences that do not say more than the numbers do."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyses.report.choice_figures import MANY_AT_EDGE, penalty_shares
from analyses.report.reading import (
    ALPHA,
    SELECTED,
    at_layer,
    ceiling_rule,
    ceiling_source,
    evaluation_unit,
    exclusions,
    headline_layer,
    kept,
    layer_names,
    layer_table,
    mean_finite,
    n_shared,
    neuroids,
    null_means,
    p_of_headline,
    significant,
    whole_interval,
    without_ratio,
)
from analyses.report.style import number
from stimuli.files import count_of

ABOVE, SOME, NOT_ABOVE, NOT_POSITIVE, UNKNOWN = "above", "some", "not above", "not positive", "unknown"
#: One line a verdict, for the head of the report.
VERDICTS = {
    ABOVE: "Predicts better than chance",
    SOME: "Predicts some {many} better than chance",
    NOT_ABOVE: "Not shown to predict better than chance",
    NOT_POSITIVE: "Above its null, but not positive",
    UNKNOWN: "Not tested against chance",
}
_CONCLUSIONS = {
    ABOVE: "the model predicts better than chance.",
    SOME: "the mean is not positive, as it covers many {many} without signal, whose scores cross-validation biases "
    "below zero; {passing} a familywise error rate of 5%, and there the model predicts better than chance.",
    NOT_ABOVE: "this run gives no evidence that the features predict these responses, and no single {one} "
    "below should be taken as such evidence.",
    NOT_POSITIVE: "the score is above its null, and still not positive. Cross-validation biases the score of "
    "an empty model below zero; do not read this as prediction.",
}
#: A null whose mean r is farther from zero than this is pointed out.
OFF_CENTRE_R = 0.02


def verdict(results: xr.Dataset) -> str:
    """Return one of the keys of `VERDICTS`."""
    p = p_of_headline(results)
    if not np.isfinite(p):
        return UNKNOWN
    if p > ALPHA:
        return NOT_ABOVE
    if mean_finite(at_layer(results, "r", headline_layer(results))) > 0:
        return ABOVE
    return SOME if _n_by_maximum(results) else NOT_POSITIVE


def _n_by_maximum(results: xr.Dataset) -> int:
    """Count those with positive r that pass the maximum statistic, corrected for a layer picked by its score."""
    layer = headline_layer(results)
    if "p_value_max" not in results:
        return 0
    n_picked_from = 1 if layer == SELECTED else len(layer_names(results))
    p, r = (at_layer(results, name, layer) for name in ("p_value_max", "r"))
    return int(((p * n_picked_from <= ALPHA) & (r > 0)).sum())


def summarize(results: xr.Dataset) -> str:
    """Say what came out, in plain words.

    Parameters
    ----------
    results : xarray.Dataset
        The `results.nc` of a run.

    Returns
    -------
    str
        A few sentences: score, null, voxels, ceiling, exclusions.

    Raises
    ------
    ValueError
        If `results` has no ``r``.
    """
    return " ".join(summary_sentences(results))


def summary_sentences(results: xr.Dataset) -> list[str]:
    """Return the sentences of `summarize`."""
    parts = (_score, _shared, _null, _voxels, _within, _ceiling, _excluded)
    return [sentence for part in parts if (sentence := part(results))]


def percent(share: float) -> str:
    """Write a share as a percentage, never rounding something to nothing or to all."""
    if not np.isfinite(share):
        return "–"
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def _score(results: xr.Dataset) -> str:
    layer, names = headline_layer(results), layer_names(results)
    one, many = neuroids(results)
    r = at_layer(results, "r", layer)
    lower, upper = whole_interval(results, layer)
    interval = f" (95% interval {number(lower, 3)} to {number(upper, 3)})" if np.isfinite(lower) else ""
    if layer == SELECTED:
        source = f"with the layer chosen per {one} inside the training folds"
    elif len(names) == 1:
        source = f"from {layer}"
    else:
        source = f"from {layer}, the best of {len(names)} layers by this very score (expect less on new data)"
    n = np.isfinite(r).sum()
    return f"Held-out r is {number(mean_finite(r), 3)} on average over {n:,} {many}{interval}, {source}."


def _shows_memory(results: xr.Dataset) -> bool:
    """Tell whether held-out rows show stimuli that were fitted: runs of a series are new measurements of theirs."""
    return n_shared(results) > 0 and not _is_time_series(results)


def _shared(results: xr.Dataset) -> str:
    if not _shows_memory(results):
        return ""
    n = n_shared(results)
    return (
        f"Warning: {count_of(n, 'stimulus', 'stimuli')} {'stands' if n == 1 else 'stand'} in both training and test, "
        "so that this score shows memory for the very stimuli, not prediction of new ones; it is not compared with the "
        "noise ceiling. Keep the repeats of a stimulus together (--group-by stimulus) to score prediction."
    )


def _null(results: xr.Dataset) -> str:
    state, p = verdict(results), p_of_headline(results)
    if state == UNKNOWN:
        return "No null was computed, so it is not known whether this score is above chance."
    draws = null_means(results, headline_layer(results))
    units = str(results.attrs.get("null_units", "the pairing of stimuli and responses"))
    refitted = " and everything fitted anew" if results.attrs.get("null") == "refit" else ""
    reached = round(p * (draws.size + 1)) - 1
    times = {0: "never reached this value", 1: "reached this value once", 2: "reached this value twice"}.get(
        reached, f"reached this value {reached:,} times"
    )
    text = (
        f"With {units} permuted {draws.size:,} times{refitted}, the mean was "
        f"{number(mean_finite(draws), 3)} on average and {times} (p = {p:.2g}): "
    )
    one, many = neuroids(results)
    n = _n_by_maximum(results)
    passing = f"1 {one} with positive r passes" if n == 1 else f"{n:,} {many} with positive r pass"
    return text + _CONCLUSIONS[state].format(one=one, many=many, passing=passing)


def _voxels(results: xr.Dataset) -> str:
    layer = headline_layer(results)
    passed = significant(results, layer)
    if passed is None:
        return ""
    _, many = neuroids(results)
    text = (
        f"{passed.sum():,} of {passed.size:,} {many} ({percent(float(passed.mean()))}) pass a false "
        "discovery rate of 5%"
    )
    by_max = layer_table(results)["share_max"][layer]
    return (
        f"{text}, and {percent(by_max)} a familywise error rate of 5% (maximum over {many})."
        if np.isfinite(by_max)
        else f"{text}."
    )


def _within(results: xr.Dataset) -> str:
    if "r_within" not in results:
        return ""
    mean, group = (
        layer_table(results)["mean_within"][headline_layer(results)],
        results.attrs.get("within", "group"),
    )
    return (
        f"Among stimuli of the same {group}, r is {number(mean, 3)} on average. Without any"
        " signal the predictions of cross-validation correlate below zero within groups, so that zero is no chance"
        " level here."
    )


def _ceiling(results: xr.Dataset) -> str:
    if _shows_memory(results):
        return ""
    known = "noise_ceiling_r" in results and np.isfinite(results["noise_ceiling_r"].values).any()
    if not known:
        why = f" ({ceiling_source(results)})" if ceiling_source(results) else ""
        return (
            f"The noise ceiling is unknown{why}: how much of what could be predicted is predicted cannot be "
            "said."
        )
    layer, (one, many) = headline_layer(results), neuroids(results)
    row: dict[str, float] = layer_table(results).T.to_dict()[layer]
    ceiling = mean_finite(np.asarray(results["noise_ceiling_r"].values, dtype=float)[kept(results)])
    unit = evaluation_unit(results)
    text = (
        f"On {unit or 'the unit that repeats'} the mean r is {number(row['mean_evaluated'])} where the "
        f"noise ceiling is {number(ceiling)} on average"
    )
    if not row["n_normalized"]:
        return f"{text}; no {one}'s repeats agree reliably enough for a ratio."
    n = int(row["n_normalized"])
    return (
        f"{text}; the mean ratio is {number(row['mean_normalized'])} over the {n:,} {one if n == 1 else many} with a "
        f"{ceiling_rule(results)}."
    )


def _excluded(results: xr.Dataset) -> str:
    counts = exclusions(results)
    if counts.empty:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    n, (one, many) = int(counts.sum()), neuroids(results)
    return f"{n:,} {f'{one} was' if n == 1 else f'{many} were'} left out before fitting: {reasons}."


def caveats(results: xr.Dataset) -> list[str]:
    """Return what a reader has to keep in mind about this run's numbers."""
    notes = []
    layer, names = headline_layer(results), layer_names(results)
    if layer != SELECTED and len(names) > 1:
        notes.append(
            f"{layer} was picked by the held-out score that is reported for it, so that score is "
            "optimistic. Its p compares it with the best layer under each permutation. Choosing the layer "
            "inside the training folds avoids this."
        )
    if len(names) > 1 and "p_value" in results:
        notes.append(
            "p-values and false discovery rates hold within a layer; they are not corrected for the number "
            "of layers."
        )
    notes += _ceiling_caveats(results) + _null_caveats(results) + _penalty_caveats(results)
    if "roi_r_lower" in results:
        notes.append(
            "Intervals come from resampling stimuli or blocks of this one subject: they say how much the "
            "score depends on which of them were shown, and nothing about other people."
        )
    if _regions_overlap(results):
        notes.append(
            f"Regions overlap: one {neuroids(results)[0]} can count in several, so regions are not "
            "independent."
        )
    return notes


def _is_time_series(results: xr.Dataset) -> bool:
    return bool(results.attrs.get("kind") == "time_series")


def _regions_overlap(results: xr.Dataset) -> bool:
    """Tell whether a voxel is in two regions, not counting regions that hold every voxel."""
    if "roi_mask" not in results:
        return False
    masks = results["roi_mask"].transpose("roi", "neuroid").values.astype(bool)
    return bool((masks[~masks.all(axis=1)].sum(axis=0) > 1).any())


def _ceiling_caveats(results: xr.Dataset) -> list[str]:
    notes: list[str] = []
    unit = evaluation_unit(results)
    if "noise_ceiling_r" not in results or not np.isfinite(results["noise_ceiling_r"].values).any():
        return notes
    if unit and unit != "single samples":
        rest = " and also the difference between stimuli and rest" if _is_time_series(results) else ""
        notes.append(
            f"The ceiling belongs to {unit}: compare it with r on {unit}. r over single rows is another "
            f"quantity: rows hold more noise{rest}."
        )
    text = "The ceiling is itself an estimate, so r / ceiling scatters and can exceed 1"
    if without_ratio(results).any():
        text += (
            f"; only {neuroids(results)[1]} with a {ceiling_rule(results)} have a ratio, since that of others would be"
            " mostly noise"
        )
    return [*notes, f"{text}."]


def _null_caveats(results: xr.Dataset) -> list[str]:
    layer = headline_layer(results)
    draws = null_means(results, layer)
    if not draws.size:
        return []
    notes = []
    centre = mean_finite(draws)
    if abs(centre) > OFF_CENTRE_R:
        why = ""
        if centre < 0:
            why = ": cross-validation biases the score of an empty model below zero"
        elif _shows_memory(results):
            why = ": stimuli that stand in training and test are remembered under the null too"
        elif _is_time_series(results):
            why = (
                ": permuted stimuli keep their onsets, so the response that is common to all of them is "
                "predicted under the null too"
            )
        notes.append(
            f"The null does not lie at zero but at a mean r of {number(centre, 3)}{why}. What the features "
            "add is the distance from the null."
        )
    smallest = 1 / (draws.size + 1)
    passed = significant(results, layer)
    if passed is not None and smallest > ALPHA / passed.size:
        one, many = neuroids(results)
        needed = int(np.ceil(round(smallest / ALPHA * passed.size, 6)))
        effect = (
            f"at least {needed:,} of {passed.size:,} {many} have to reach it before any passes"
            if needed <= passed.size
            else f"no {one} can pass"
        )
        notes.append(
            f"With {draws.size:,} permutations no p-value can be below {smallest:.2g}, so that {effect} a "
            "false discovery rate of 5%. More permutations show more."
        )
    return notes


def _penalty_caveats(results: xr.Dataset) -> list[str]:
    if "alpha" not in results or not np.isfinite(results["alpha"].values).any():
        return []
    shares, (_, many) = penalty_shares(results), neuroids(results)
    notes = []
    if weak := [share.layer for share in shares if share.at_weak > MANY_AT_EDGE]:
        notes.append(
            f"More than {MANY_AT_EDGE:.0%} of {many} and folds chose the weakest penalty on offer for "
            f"{', '.join(weak)}: a grid that begins lower may fit better."
        )
    if strong := [share for share in shares if share.at_strong > MANY_AT_EDGE]:
        text = (
            f"More than {MANY_AT_EDGE:.0%} of {many} and folds chose the strongest penalty on offer for "
            f"{', '.join(share.layer for share in strong)}. It predicts a flat response, which is right for {many} "
            "without signal"
        )
        most = max(
            (s.at_strong_if_significant for s in strong), key=lambda value: np.nan_to_num(value, nan=-1)
        )
        if np.isfinite(most):
            known = f"among {many} with q ≤ {ALPHA} the share is {'at most ' if len(strong) > 1 else ''}{percent(most)}"
            text += f"; {known}" if most else f"; none with q ≤ {ALPHA} chose it"
        if any(share.is_narrow_above for share in strong):
            text += ". A grid that goes higher may fit better"
        notes.append(f"{text}.")
    return notes
