"""From a dataset and a configuration to the rows that are fitted, what stays together, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from analyses.datasets import Dataset
from analyses.experiments.config import EncodingConfig
from encoders.cross_validation import make_folds, merge_groups
from encoders.time_series import (
    average_blocks,
    block_labels,
    delay_features,
    detrend_runs,
    features_at_volumes,
    scale_runs,
)

Folds = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Design:
    """The rows of one encoding run.

    Attributes
    ----------
    Y : ndarray (n_samples, n_kept)
        Responses of the voxels that are kept; a time series is detrended and z-scored run by run.
    stimulus_index : ndarray of int (n_samples,)
        Row of the stimulus set shown at each sample; -1 at rest.
    runs : ndarray of int (n_samples,) or None
    groups : ndarray of int (n_samples,) or None
        Samples of one group are never split over folds, outer or inner.
    folds : list of (train, test)
        Outer folds.
    excluded : ndarray of str (n_neuroids,)
        Why a voxel is left out; "" when kept.
    delays_volumes : tuple of int or None
        FIR delays; None when samples are trials.
    grouping : str
        What `groups` are, in words.
    samples : {"trials", "volumes", "blocks"}
        What a row is; blocks are averages over the volumes of a block of a time series.
    """

    Y: np.ndarray
    stimulus_index: np.ndarray
    runs: np.ndarray | None
    groups: np.ndarray | None
    folds: Folds
    excluded: np.ndarray
    delays_volumes: tuple[int, ...] | None
    grouping: str
    samples: Literal["trials", "volumes", "blocks"] = "trials"

    @property
    def kept(self) -> np.ndarray:
        """Mask (n_neuroids,) of the voxels that are fitted."""
        return self.excluded == ""

    @property
    def is_time_series(self) -> bool:
        """Whether samples are volumes."""
        return self.samples == "volumes"

    @cached_property
    def tested(self) -> np.ndarray:
        """Indices of the samples that some outer fold predicts, in order."""
        return np.unique(np.concatenate([test for _, test in self.folds]))

    @cached_property
    def blocks(self) -> np.ndarray | None:
        """Block number of each volume, -1 at rest; None when samples are no volumes."""
        if not self.is_time_series:
            return None
        assert self.runs is not None
        return block_labels(self.stimulus_index, self.runs)

    def matrix(self, features: Any, stimulus_index: np.ndarray | None = None) -> Any:
        """Lay features (n_stimuli, n_features) out over samples: (n_samples, n_features [x n_delays]).

        A `TokenSource` gives a view by samples, of which nothing is read. `stimulus_index` replaces the true one, for
        the null.
        """
        index = self.stimulus_index if stimulus_index is None else stimulus_index
        if self.delays_volumes is None:
            return features[index]
        assert self.runs is not None
        return delay_features(features_at_volumes(features, index), self.delays_volumes, self.runs)


def compact_features(features: np.ndarray) -> np.ndarray:
    """Rotate features into the span of the stimuli, when they are much wider than the stimuli are many.

    Ridge depends on features through their inner products alone, and a rotation keeps them, so predictions do not
    change: 384 numbers for each of 8 category names become 8. It pays where delays multiply columns and where a null
    fits the same features hundreds of times. Nothing is estimated: no response is used, nothing is centred.

    Parameters
    ----------
    features : ndarray (n_stimuli, n_features)

    Returns
    -------
    ndarray (n_stimuli, n_stimuli), or the features themselves when they are less than twice as wide
    """
    n_stimuli, n_features = features.shape
    if n_features < 2 * n_stimuli:
        return features
    gram = np.zeros((n_stimuli, n_stimuli))
    for start in range(0, n_features, 4096):
        part = features[:, start : start + 4096].astype(np.float64)
        gram += part @ part.T
    values, vectors = np.linalg.eigh(gram)
    return (vectors * np.sqrt(np.clip(values, 0, None))).astype(features.dtype)


def make_design(dataset: Dataset, config: EncodingConfig) -> Design:
    """Validate the data against the configuration and lay out the rows.

    Raises
    ------
    ValueError
        When the dataset has no voxel responses, no voxel can be fitted, there are too few runs or stimuli for the
        folds, or a published split is asked for where there is none.
    """
    if dataset.responses is None or dataset.kind == "rdm":
        raise ValueError(
            f"dataset {dataset.info.name!r} holds RDMs and no voxel responses, so there is nothing to fit; compare"
            " them with a model by analyses.experiments.compare_layers_with_rdms"
        )
    responses = dataset.responses
    Y = np.asarray(responses.values, dtype=np.float32)
    index = dataset.stimulus_index
    runs = dataset.runs
    excluded = exclusion_reasons(Y)
    if not (excluded == "").any():
        raise ValueError(
            f"responses: none of {len(excluded)} voxels can be fitted ({count_reasons(excluded)}); check the mask"
        )
    Y = Y[:, excluded == ""]
    delays = None
    samples: Literal["trials", "volumes", "blocks"] = "trials"
    if dataset.kind == "time_series":
        if runs is None:
            raise ValueError(
                "responses: a time series needs the coordinate 'run' on presentations; give every volume its run"
            )
        Y = scale_runs(detrend_runs(Y, runs, order=config.detrend_order), runs).astype(np.float32)
        samples = config.time_series_samples
        if samples == "volumes":
            delays = config.delays_volumes
        else:
            Y, index, runs = average_to_blocks(Y, index, runs, config.block_lag_volumes)
    groups, grouping = sample_groups(config, dataset.kind, index, runs)
    folds = outer_folds(config, dataset, index, groups)
    return Design(Y, index, runs, groups, folds, excluded, delays, grouping, samples)


def average_to_blocks(
    Y: np.ndarray, index: np.ndarray, runs: np.ndarray, lag_volumes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average volumes (n_volumes, n_voxels) over each block, shifted by the lag of the haemodynamic response.

    Returns
    -------
    Y : ndarray (n_blocks, n_voxels)
    index, runs : ndarray of int (n_blocks,)
        Stimulus and run of each block.
    """
    blocks = block_labels(index, runs)
    numbers, first = np.unique(blocks, return_index=True)
    first = first[numbers >= 0]
    return average_blocks(Y, blocks, lag=lag_volumes, runs=runs), index[first], runs[first]


def check_inner_folds(design: Design, n_inner: int) -> None:
    """Make sure that each outer training set can be divided once more, to choose penalty and layer.

    Parameters
    ----------
    design : Design
    n_inner : int
        Inner folds that are asked for.

    Raises
    ------
    ValueError
        When an outer fold trains on fewer samples, or groups, than there are to be inner folds.
    """
    if design.groups is None:
        sizes, what = [len(train) for train, _ in design.folds], "samples only"
    else:
        sizes = [len(np.unique(design.groups[train])) for train, _ in design.folds]
        what = f"groups only ({design.grouping})"
    fold, fewest = int(np.argmin(sizes)), min(sizes)
    if fewest >= n_inner:
        return
    what = what if fewest > 1 else what.replace("s only", " only", 1)
    remedy = (
        f"take inner_folds={fewest} or fewer (--inner-folds {fewest})"
        if fewest > 1
        else "give a single penalty (--alphas) and a single layer, which leave nothing to choose"
    )
    raise ValueError(
        f"inner_folds is {n_inner}, but outer fold {fold} is fitted to {fewest} {what}, to be divided once more"
        f" to choose penalty and layer; {remedy}"
    )


def exclusion_reasons(Y: np.ndarray) -> np.ndarray:
    """Say for each voxel why it cannot be fitted, "" when it can.

    Parameters
    ----------
    Y : ndarray (n_samples, n_voxels)
    """
    reasons = np.full(Y.shape[1], "", dtype="U16")
    finite = np.isfinite(Y).all(axis=0)
    reasons[~finite] = "not finite"
    constant = finite & (np.ptp(np.where(finite, Y, 0), axis=0) == 0)
    reasons[constant] = "constant"
    return reasons


def count_reasons(excluded: np.ndarray) -> str:
    """Put the reasons in words: ``"3 constant, 1 not finite"``."""
    names, counts = np.unique(excluded[excluded != ""], return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True)) or "none"


def count_shared_stimuli(design: Design) -> int:
    """Count the stimuli that some outer fold both trains and tests on."""
    index = design.stimulus_index
    shared = [np.intersect1d(index[train], index[test]) for train, test in design.folds]
    return int((np.unique(np.concatenate(shared)) >= 0).sum())


def sample_groups(
    config: EncodingConfig, kind: str, index: np.ndarray, runs: np.ndarray | None
) -> tuple[np.ndarray | None, str]:
    """Choose what is never split over folds, and say it in words."""
    choice = config.group_by
    repeated = len(np.unique(index)) < len(index)
    if choice == "none":
        return None, "samples alone"
    if choice == "run" or (choice == "auto" and kind == "time_series"):
        if runs is None:
            raise ValueError("group_by='run': the dataset names no runs; take 'stimulus' or 'none'")
        return runs, "runs"
    if choice == "auto" and runs is not None and len(np.unique(runs)) > 1:
        if not repeated:
            return runs, "runs"
        merged = merge_groups(runs, index)
        if len(np.unique(merged)) >= (config.n_folds or 5):
            return merged, "runs and repeated stimuli"
        # Every stimulus comes back in nearly every run, so that both cannot stay whole: a stimulus seen in training
        # would be the worse leak.
        return index, "repeated stimuli (runs share stimuli, so that runs cannot stay whole as well)"
    if repeated:
        return index, "repeated stimuli"
    return None, "samples alone (no stimulus is repeated)"


def outer_folds(
    config: EncodingConfig, dataset: Dataset, index: np.ndarray, groups: np.ndarray | None
) -> Folds:
    """Cut the outer folds: cross-validation, or the dataset's published split."""
    if config.split == "cv":
        n_folds = config.n_folds
        if n_folds is None and dataset.kind != "time_series":
            n_folds = 5 if groups is None else max(2, min(5, len(np.unique(groups))))
        return make_folds(len(index), n_folds, groups=groups, shuffle=config.shuffle, seed=config.seed)
    if dataset.kind == "time_series":
        raise ValueError("split='published': a time series is split by runs; take split='cv'")
    if dataset.test_stimulus_ids is None:
        raise ValueError(
            f"split='published': dataset {dataset.info.name!r} names no published test stimuli; take split='cv'"
        )
    ids = np.asarray(dataset.stimuli.stimulus_ids)
    tested = np.isin(ids[index], np.asarray(dataset.test_stimulus_ids))
    return [(np.flatnonzero(~tested), np.flatnonzero(tested))]
