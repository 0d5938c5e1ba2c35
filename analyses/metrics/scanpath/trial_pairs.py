"""Scores of pairs of trials on the same display, and metrics that can be asked for by name."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from analyses.metrics.scanpath.dtw import dtw
from analyses.metrics.scanpath.multimatch import MULTIMATCH, multimatch
from analyses.metrics.scanpath.ragged import FloatArray, IntArray
from analyses.metrics.scanpath.scanmatch import scanmatch
from analyses.metrics.scanpath.sequences import edit_distance, sequence_score
from stimuli.files import unknown_name_message

if TYPE_CHECKING:
    from cogmodels.search import Scanpaths

Metric = Callable[[list[Any], list[Any]], ArrayLike]

ON_PLACES: dict[str, Callable[..., FloatArray]] = {
    "multimatch": multimatch,
    "scanmatch": scanmatch,
    "dtw": dtw,
}
ON_OBJECTS: dict[str, Callable[..., FloatArray]] = {
    "sequence_score": sequence_score,
    "edit_distance": edit_distance,
}


class PairScores(NamedTuple):
    """Scores of pairs of trials.

    Attributes
    ----------
    first, second : (n_pairs,) int array
        Trials that are compared, which saw the same display.
    values : (n_pairs, n_values) array
        NaN where a score is undefined.
    names : tuple of str
        One a value.
    """

    first: IntArray
    second: IntArray
    values: FloatArray
    names: tuple[str, ...]


def score_pairs(
    one: "Scanpaths",
    other: "Scanpaths",
    pairs: tuple[IntArray, IntArray],
    metric: str | Metric,
    settings: Mapping[str, Any],
    start: bool = False,
) -> PairScores:
    """Compare trials of `one` with trials of `other`.

    Parameters
    ----------
    one, other : Scanpaths
        Two tables, or the same twice.
    pairs : two (n_pairs,) int arrays
        Trials of `one` and of `other`.
    metric : str or callable
        "multimatch", "scanmatch", "dtw", "sequence_score", "edit_distance", or a function of two lists of places
        (n_fixations, 2) that returns (n_pairs,) or (n_pairs, n_values).
    settings : mapping
        Keyword arguments of the metric. ``size_px`` may be a mapping of display to (width, height). Durations are
        given to MultiMatch, and to ScanMatch where it has ``bin_ms``.
    start : bool
        Whether fixation 0, where it was recorded, is part of a scanpath.

    Raises
    ------
    ValueError
        If the metric is unknown, lacks the size of a display, or returns another shape.
    """
    settings = dict(settings)
    if isinstance(metric, str):
        name, known = metric, {**ON_PLACES, **ON_OBJECTS}
        if name not in known:
            raise ValueError(unknown_name_message("metric", name, known, "or give a function"))
        function: Callable[..., ArrayLike] = known[name]
    else:
        name, function = getattr(metric, "__name__", "value"), metric
    if isinstance(settings.get("size_px"), Mapping):
        settings["size_px"] = _sizes(settings["size_px"], one.trials["display"].to_numpy()[pairs[0]])
    if name == "multimatch" or (name == "scanmatch" and settings.get("bin_ms") is not None):
        for argument, paths, rows in (("durations_a", one, pairs[0]), ("durations_b", other, pairs[1])):
            settings[argument] = _take(paths.durations(start), rows)
    values = [paths.objects(start) if name in ON_OBJECTS else paths.arrays(start) for paths in (one, other)]
    scores = np.asarray(
        function(_take(values[0], pairs[0]), _take(values[1], pairs[1]), **settings), dtype=np.float64
    )
    if scores.ndim not in (1, 2) or len(scores) != len(pairs[0]):
        raise ValueError(
            f"metric returned shape {scores.shape} for {len(pairs[0])} pairs; (n_pairs,) or (n_pairs, n_values) is"
            " needed"
        )
    if scores.ndim == 1:
        return PairScores(*pairs, scores[:, None], (name,))
    names = MULTIMATCH if name == "multimatch" else tuple(f"{name}_{i}" for i in range(scores.shape[1]))
    return PairScores(*pairs, scores, names)


def pairs_on_displays(
    displays: ArrayLike, others: ArrayLike, observers: ArrayLike | None = None
) -> tuple[IntArray, IntArray]:
    """Return all pairs of trials that saw the same display.

    Parameters
    ----------
    displays, others : (n_trials,) array-like
        Display of each trial of both sides.
    observers : (n_trials,) array-like, optional
        Where both sides are the same trials: each pair is named once, and trials of one person are never paired.
    """
    here, there = np.asarray(displays), np.asarray(others)
    first, second = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    for display in np.unique(here):
        rows, columns = np.flatnonzero(here == display), np.flatnonzero(there == display)
        a, b = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
        if observers is not None:
            who = np.asarray(observers)
            keep = (a < b) & (who[a] != who[b])
            a, b = a[keep], b[keep]
        first.append(a)
        second.append(b)
    return np.concatenate(first), np.concatenate(second)


def _take(values: list[Any], rows: IntArray) -> list[Any]:
    return [values[row] for row in rows.tolist()]


def _sizes(sizes: Mapping[str, Any], displays: np.ndarray) -> FloatArray:
    for display in np.unique(displays):
        if display not in sizes:
            raise ValueError(unknown_name_message("display", str(display), sizes, "size_px lacks it"))
    return np.array([sizes[display] for display in displays], dtype=np.float64).reshape(-1, 2)
