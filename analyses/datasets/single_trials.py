"""One response for each trial from a series of volumes, by nilearn's general linear model."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class GlmSettings(BaseModel):
    """How single-trial responses are estimated.

    Parameters
    ----------
    method : {"lsa", "lss"}
        ``"lsa"``: all trials of a run in one model, a regressor each. ``"lss"``: a model for each trial, with
        one regressor for it and one for all others; steadier where trials follow each other closely (Mumford
        et al. 2012, NeuroImage 59, 2636-2643).
    hrf_model : {"glover", "spm"}
        Haemodynamic response.
    noise_model : {"ar1", "ols"}
        Noise with or without autocorrelation.
    drift_model : {"cosine", "polynomial"} or None
        Slow drift.
    high_pass_hz : float
        Frequency in Hz below which cosines model drift.
    drift_order : int
        Order of the polynomial.
    slice_time_ref : float
        Moment within a volume, 0 to 1, that its slices were corrected to.
    percent_signal : bool
        Whether each voxel is expressed in percent of its mean over the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["lsa", "lss"] = "lsa"
    hrf_model: Literal["glover", "spm"] = "glover"
    noise_model: Literal["ar1", "ols"] = "ar1"
    drift_model: Literal["cosine", "polynomial"] | None = "cosine"
    high_pass_hz: float = Field(default=0.01, gt=0)
    drift_order: int = Field(default=1, ge=0)
    slice_time_ref: float = Field(default=0.0, ge=0, le=1)
    percent_signal: bool = True


def estimate_single_trials(
    series: NDArray[np.floating],
    onsets_s: NDArray[np.floating],
    durations_s: NDArray[np.floating],
    tr_s: float,
    settings: GlmSettings | None = None,
    confounds: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Estimate the response to each trial of one run.

    Parameters
    ----------
    series : ndarray of shape (n_volumes, n_voxels)
        One run.
    onsets_s, durations_s : ndarray of shape (n_trials,)
        When each trial began, in seconds from the start of the first volume, and how long it lasted.
    tr_s : float
        Repetition time in seconds.
    settings : GlmSettings, optional
        How.
    confounds : ndarray of shape (n_volumes, n_confounds), optional
        Further regressors, such as head motion.

    Returns
    -------
    ndarray of float32, shape (n_trials, n_voxels)
        Regression weights: percent signal change, or the unit of `series`.

    Raises
    ------
    ValueError
        If trials lie outside the run, numbers are missing, a voxel's mean is not positive where percent are
        asked for, or the regressors cannot be told apart.
    """
    settings = settings or GlmSettings()
    series = np.asarray(series, dtype=np.float64)
    _check_trials(len(series), onsets_s, durations_s, tr_s)
    if settings.percent_signal:
        series = to_percent_signal(series)
    trials, nuisance = _make_regressors(len(series), onsets_s, durations_s, tr_s, settings, confounds)
    if settings.method == "lsa":
        design = np.column_stack([trials, nuisance])
        _check_rank(design, "Use the method 'lss', or leave out confounds.")
        return _fit(series, design, settings.noise_model)[: trials.shape[1]].astype(np.float32)
    estimates = np.empty((trials.shape[1], series.shape[1]), dtype=np.float32)
    everything = trials.sum(axis=1)
    for trial in range(trials.shape[1]):
        columns = [trials[:, trial], nuisance]
        if trials.shape[1] > 1:
            columns.insert(1, everything - trials[:, trial])
        design = np.column_stack(columns)
        _check_rank(design, "Leave out confounds.")
        estimates[trial] = _fit(series, design, settings.noise_model)[0]
    return estimates


def to_percent_signal(series: NDArray[np.floating]) -> NDArray[np.float64]:
    """Express each voxel in percent of its mean, around 0.

    Parameters
    ----------
    series : ndarray of shape (n_volumes, n_voxels)
        One run. Voxels that are 0 throughout stay 0.

    Returns
    -------
    ndarray of float64, shape (n_volumes, n_voxels)

    Raises
    ------
    ValueError
        If a mean is not positive.
    """
    mean = series.mean(axis=0)
    empty = ~series.any(axis=0)
    bad = (mean <= 0) & ~empty
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(mean)} voxels have a mean that is not positive, so percent signal "
            "change means nothing for them (were the data detrended before?). Set glm.percent_signal to "
            "false, or mask them."
        )
    return 100 * (series / np.where(empty, 1.0, mean) - ~empty)


def _check_trials(n_volumes: int, onsets_s: np.ndarray, durations_s: np.ndarray, tr_s: float) -> None:
    onsets_s, durations_s = np.asarray(onsets_s, dtype=float), np.asarray(durations_s, dtype=float)
    if onsets_s.ndim != 1 or onsets_s.shape != durations_s.shape or not len(onsets_s):
        raise ValueError(
            f"there are {onsets_s.size} onsets and {durations_s.size} durations; one a trial is needed."
        )
    if tr_s <= 0:
        raise ValueError(f"tr_s is {tr_s}; the repetition time is a positive number of seconds.")
    end_s = n_volumes * tr_s
    outside = ~((onsets_s >= 0) & (onsets_s < end_s)) | ~(durations_s >= 0)
    if outside.any():
        rows = np.flatnonzero(outside)
        raise ValueError(
            f"{len(rows)} trials do not lie within the run of {n_volumes} volumes ({end_s:g} s): rows "
            f"{rows[:10].tolist()}, the first at onset {onsets_s[rows[0]]} for {durations_s[rows[0]]} s. "
            "Onsets and durations are seconds from the start of the first volume."
        )


def _make_regressors(
    n_volumes: int,
    onsets_s: np.ndarray,
    durations_s: np.ndarray,
    tr_s: float,
    settings: GlmSettings,
    confounds: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    from nilearn.glm.first_level import make_first_level_design_matrix

    if confounds is not None and (confounds.shape[0] != n_volumes or not np.isfinite(confounds).all()):
        raise ValueError(
            f"confounds have shape {confounds.shape} for {n_volumes} volumes and have to be finite; fill in "
            "or leave out columns with missing values."
        )
    names = [f"trial_{i:05d}" for i in range(len(onsets_s))]
    design = make_first_level_design_matrix(
        (np.arange(n_volumes) + settings.slice_time_ref) * tr_s,
        pd.DataFrame({"onset": onsets_s, "duration": durations_s, "trial_type": names}),
        hrf_model=settings.hrf_model,
        drift_model=settings.drift_model,
        high_pass=settings.high_pass_hz,
        drift_order=settings.drift_order,
        add_regs=confounds,
    )
    return design[names].to_numpy(), design.drop(columns=names).to_numpy()


def _check_rank(design: np.ndarray, advice: str) -> None:
    n_volumes, n_columns = design.shape
    if n_columns >= n_volumes or np.linalg.matrix_rank(design) < n_columns:
        raise ValueError(
            f"the {n_columns} regressors of a run (trials, drift, confounds) cannot be told apart in "
            f"{n_volumes} volumes: trials overlap or there are too many of them. {advice}"
        )


def _fit(series: np.ndarray, design: np.ndarray, noise_model: str) -> np.ndarray:
    from nilearn.glm.first_level import run_glm

    labels, results = run_glm(series, design, noise_model=noise_model)
    weights = np.empty((design.shape[1], series.shape[1]))
    for label, result in results.items():
        weights[:, labels == label] = result.theta
    return weights
