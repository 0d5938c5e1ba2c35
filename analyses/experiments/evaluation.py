"""The unit that a noise ceiling belongs to, and scores on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyses.datasets import Dataset
from analyses.experiments.design import Design
from analyses.noise_ceiling import explainable_variance
from analyses.statistics.multiple_comparisons import fdr
from analyses.statistics.repeatability import repeatability_p_values
from encoders.time_series import average_blocks

CEILING_FLOOR = 0.1
"""Ceilings (as r) below this give no relative score: the quotient would be mostly noise of the ceiling."""
CEILING_LEVEL = 0.05
"""False discovery rate at which repeats count as agreeing."""


@dataclass(frozen=True)
class EvaluationUnits:
    """Samples averaged to the unit that repeats: a block of a time series, a stimulus, or the sample itself.

    Attributes
    ----------
    name : str
        "block", "stimulus average" or "sample".
    average : callable
        Averages samples (n_samples, n_voxels) to units (n_units, n_voxels).
    noise_ceiling_r : ndarray (n_kept,)
        Correlation that the true signal would have with these units, in expectation; NaN where unknown.
    explainable_variance : ndarray (n_kept,)
        Share of the units' variance that repeats; NaN where unknown.
    ceiling_source : str
        How the ceiling was found, in words.
    ceiling_q : ndarray (n_kept,) or None
        Whether repeats agree beyond chance (q of an F test over stimuli); None where there are no repeats to ask.
    """

    name: str
    average: Callable[[np.ndarray], np.ndarray]
    noise_ceiling_r: np.ndarray
    explainable_variance: np.ndarray
    ceiling_source: str
    ceiling_q: np.ndarray | None = None

    @property
    def ceiling_to_divide_by(self) -> np.ndarray:
        """The ceiling where repeats agree beyond chance, NaN elsewhere (n_kept,)."""
        if self.ceiling_q is None:
            return self.noise_ceiling_r
        return np.where(self.ceiling_q <= CEILING_LEVEL, self.noise_ceiling_r, np.nan)

    @property
    def ceiling_rule(self) -> str:
        """Say which voxels get a score relative to their ceiling."""
        rule = f"ceiling of at least {CEILING_FLOOR}"
        if self.ceiling_q is None:
            return rule
        return f"{rule} and repeats that agree beyond chance (F test over stimuli, q <= {CEILING_LEVEL})"


def average_by(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of the rows of each label >= 0, labels in rising order."""
    inside = labels >= 0
    _, inverse, counts = np.unique(labels[inside], return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]), dtype=np.float64)
    np.add.at(sums, inverse, values[inside])
    return sums / counts[:, None]


def stack_repeats(values: np.ndarray, stimulus: np.ndarray) -> np.ndarray:
    """Arrange rows as (n_repeats, n_stimuli, n_voxels), NaN where a stimulus has fewer repeats."""
    stimuli, inverse, counts = np.unique(stimulus, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    repeat = np.concatenate([np.arange(count) for count in counts])
    repeats = np.full((counts.max(), len(stimuli), values.shape[1]), np.nan)
    repeats[repeat, inverse[order]] = values[order]
    return repeats


def evaluation_units(dataset: Dataset, design: Design, *, block_lag_volumes: int) -> EvaluationUnits:
    """Find the unit on which responses repeat, and its ceiling.

    A time series is averaged over each block's volumes, shifted by `block_lag_volumes`; blocks of one stimulus are
    repeats. Trials are averaged over the repeats of a stimulus. Averages come with their repeats or their published
    ceiling, or without.
    """
    if design.is_time_series:
        return _block_units(design, block_lag_volumes)
    tested = design.tested
    stimulus = design.stimulus_index[tested]
    if design.samples == "blocks":
        repeats = stack_repeats(design.Y, design.stimulus_index)
        source = _block_source(repeats, block_lag_volumes)
        return _from_repeats("block", lambda values: values[tested], repeats, 1.0, source)
    if len(np.unique(stimulus)) < len(stimulus):
        repeats = stack_repeats(design.Y[tested], stimulus)
        n_averaged = _mean_repeats(repeats)
        source = (
            f"repeats of each stimulus (harmonic mean {n_averaged:.3g}), bias-corrected explainable variance"
        )
        return _from_repeats(
            "stimulus average",
            lambda values: average_by(values[tested], stimulus),
            repeats,
            n_averaged,
            source,
        )
    if dataset.repeats is not None:
        repeats = np.asarray(dataset.repeats)[:, stimulus][:, :, design.kept]
        n_averaged = _mean_repeats(repeats)
        source = (
            f"single repeats behind the averages (harmonic mean {n_averaged:.3g}),"
            " bias-corrected explainable variance"
        )
        return _from_repeats("stimulus average", lambda values: values[tested], repeats, n_averaged, source)
    ceiling = np.full(design.Y.shape[1], np.nan)
    source = "unknown: no stimulus is repeated"
    if dataset.noise_ceiling_r is not None:
        ceiling = np.asarray(dataset.noise_ceiling_r, dtype=np.float64)[design.kept]
        source = "published with the data"
    return EvaluationUnits("sample", lambda values: values[tested], ceiling, ceiling**2, source)


def resampling_units(design: Design) -> np.ndarray:
    """Label every sample with the unit that the bootstrap draws whole, (n_samples,).

    Trials of one stimulus form a unit, and so does each block average; in a time series a block and the rest that
    follows it do, and the rest before a run's first block joins that block.
    """
    if design.samples == "blocks":
        return np.arange(len(design.Y))
    if design.blocks is None:
        return design.stimulus_index
    assert design.runs is not None
    units = np.empty(len(design.blocks), dtype=np.int64)
    for run in np.unique(design.runs):
        here = np.flatnonzero(design.runs == run)
        blocks = design.blocks[here]
        first = blocks[blocks >= 0].min(initial=blocks.max())
        units[here] = np.maximum.accumulate(np.where(blocks >= 0, blocks, first))
    return units


def _mean_repeats(repeats: np.ndarray) -> float:
    """Harmonic mean over stimuli of the number of repeats, which is what averaging divides noise by."""
    counts = np.isfinite(repeats[..., 0]).sum(axis=0)
    return float(len(counts) / (1 / counts).sum())


def _block_units(design: Design, lag_volumes: int) -> EvaluationUnits:
    blocks, runs = design.blocks, design.runs
    assert blocks is not None
    assert runs is not None

    def average(values: np.ndarray) -> np.ndarray:
        return average_blocks(values, blocks, lag=lag_volumes, runs=runs)

    numbers, first = np.unique(blocks, return_index=True)
    repeats = stack_repeats(average(design.Y), design.stimulus_index[first[numbers >= 0]])
    return _from_repeats("block", average, repeats, 1.0, _block_source(repeats, lag_volumes))


def _block_source(repeats: np.ndarray, lag_volumes: int) -> str:
    return (
        f"blocks of one stimulus as repeats ({repeats.shape[0]} each), single block, averaged over its volumes"
        f" {lag_volumes} volumes later, bias-corrected explainable variance"
    )


def _from_repeats(
    name: str,
    average: Callable[[np.ndarray], np.ndarray],
    repeats: np.ndarray,
    n_averaged: float,
    source: str,
) -> EvaluationUnits:
    variance = explainable_variance(repeats, n_averaged=n_averaged)
    ceiling = np.sqrt(np.clip(variance, 0, None))
    q = fdr(repeatability_p_values(repeats))
    return EvaluationUnits(name, average, ceiling, variance, source, q)
