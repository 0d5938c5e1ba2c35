"""How often each person and each display is drawn by a bootstrap over both."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.metrics.scanpath.ragged import FloatArray, IntArray
from stimuli.files import unknown_name_message

Resample = Literal["both", "observers", "displays"]


class Trials(NamedTuple):
    """Who saw what: names of the observers and displays, and their number for each trial."""

    observer_names: NDArray
    observer: IntArray
    display_names: NDArray
    display: IntArray


def index_trials(observers: ArrayLike, displays: ArrayLike, n_trials: int) -> Trials:
    """Number observers and displays.

    Raises
    ------
    ValueError
        If there is not one observer and one display a trial, or no trial.
    """
    names = np.asarray(observers), np.asarray(displays)
    if names[0].shape != (n_trials,) or names[1].shape != (n_trials,) or not n_trials:
        raise ValueError(
            f"observers has shape {names[0].shape} and displays {names[1].shape}; one of each is needed for every"
            f" one of {n_trials} trials, and at least one trial"
        )
    (who, observer), (what, display) = (np.unique(array, return_inverse=True) for array in names)
    return Trials(who, observer, what, display)


def draw_counts(
    n_observers: int, n_displays: int, n_bootstrap: int, resample: Resample, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return how often each observer and each display is drawn, (n_bootstrap, n_observers) and (.., n_displays).

    Observers and displays are drawn independently of each other, so that an interval holds for other people and other
    displays (Owen 2007, Annals of Applied Statistics 1: 386-411: a little conservative).

    Raises
    ------
    ValueError
        If `resample` is unknown, fewer than 2 draws are asked for, or fewer than 2 of what is drawn exist.
    """
    if resample not in ("both", "observers", "displays"):
        raise ValueError(unknown_name_message("resample", resample, ("both", "observers", "displays")))
    if n_bootstrap < 2:
        raise ValueError(f"n_bootstrap is {n_bootstrap}; at least 2 draws are needed, better 1000")
    rng = np.random.default_rng(seed)
    counts = []
    for name, n in (("observers", n_observers), ("displays", n_displays)):
        if resample not in ("both", name):
            counts.append(np.ones((n_bootstrap, n)))
            continue
        if n < 2:
            raise ValueError(
                f"there is {n} of the {name} to draw from; an interval needs at least 2: choose resample="
                f"{'displays' if name == 'observers' else 'observers'!r}"
            )
        counts.append(rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap).astype(np.float64))
    return counts[0], counts[1]


def percentile_interval(samples: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the percentile interval over the first axis, of the samples that are known; NaN if none is.

    Raises
    ------
    ValueError
        If the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    flat = samples.reshape(len(samples), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    known = ~np.isnan(flat).all(axis=0)
    if known.any():
        ends[:, known] = np.nanquantile(flat[:, known], (0.5 - confidence / 2, 0.5 + confidence / 2), axis=0)
    return ends[0].reshape(samples.shape[1:]), ends[1].reshape(samples.shape[1:])
