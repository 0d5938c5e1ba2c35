"""Single-trial responses by the book: convolve, then least squares, one voxel and one trial at a time."""

from collections.abc import Callable

import numpy as np


def convolve_boxcar(
    onset_s: float, duration_s: float, times_s: np.ndarray, kernel: Callable[[float], float], step_s: float
) -> np.ndarray:
    """Integrate the haemodynamic response `kernel(t)` over the time that a stimulus is on, at `times_s`."""
    shifts = np.arange(onset_s + step_s / 2, onset_s + duration_s, step_s)
    return np.array([sum(kernel(time - shift) for shift in shifts) * step_s for time in times_s])


def glover_kernel(t: float) -> float:
    """Give Glover's (1999) response to an impulse, peaks at 5.4 and 10.8 s (undershoot), not normalised."""
    if t <= 0:
        return 0.0
    peak = (t / 5.4) ** 6 * np.exp(-(t - 5.4) / 0.9)
    return float(peak - 0.35 * (t / 10.8) ** 12 * np.exp(-(t - 10.8) / 0.9))


def lss(series: np.ndarray, trials: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Fit each trial against the sum of all others and the nuisance regressors."""
    found = np.empty((trials.shape[1], series.shape[1]))
    for trial in range(trials.shape[1]):
        others = np.delete(trials, trial, axis=1).sum(axis=1)
        design = np.column_stack([trials[:, trial], others, nuisance])
        for voxel in range(series.shape[1]):
            found[trial, voxel] = np.linalg.lstsq(design, series[:, voxel], rcond=None)[0][0]
    return found
