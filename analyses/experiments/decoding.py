"""Which category was seen: decoding from patterns of voxels, leaving one run out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.metrics import confusion_matrix
from sklearn.svm import LinearSVC

from analyses.datasets import Dataset
from analyses.statistics.bootstrap import bootstrap_interval
from analyses.statistics.permutation import permutation_p_values, permute_blocks_within_runs
from encoders.cross_validation import make_folds
from encoders.time_series import average_blocks, block_labels, detrend_runs, scale_runs
from stimuli.files import unknown_name_message

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Decoding:
    """How well labels were decoded from held-out runs.

    Attributes
    ----------
    classes : tuple
        Labels, sorted; rows and columns of `confusion`.
    accuracy : float
        Share of held-out blocks whose label was decoded.
    accuracy_lower, accuracy_upper : float
        Bootstrap interval over whole runs.
    runs : (n_runs,) array
        Run left out in each fold.
    fold_accuracy : (n_runs,) array
        Share of decoded blocks in each run.
    confusion : (n_classes, n_classes) array of int
        Number of blocks by true label (row) and decoded label (column).
    predicted : (n_blocks,) array
        Decoded label of each block.
    chance : float
        Accuracy of naming the most frequent label; 1 / n_classes where all are as frequent.
    null_accuracy : (n_permutations,) array
        Accuracies with the labels permuted within runs, all folds fitted anew.
    p_value : float
        One-sided, against that null; NaN without permutations.
    """

    classes: tuple[Any, ...]
    accuracy: float
    accuracy_lower: float
    accuracy_upper: float
    runs: NDArray
    fold_accuracy: NDArray[np.float64]
    confusion: NDArray[np.int64]
    predicted: NDArray
    chance: float
    null_accuracy: NDArray[np.float64]
    p_value: float


def decode_blocks(
    responses: ArrayLike,
    labels: ArrayLike,
    runs: ArrayLike,
    *,
    estimator: Any = None,
    n_permutations: int = 100,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> Decoding:
    """Decode the label of each block from a classifier that was fitted to all other runs.

    Parameters
    ----------
    responses : (n_blocks, n_voxels) array
        One pattern a block (or trial).
    labels : (n_blocks,) array
        What was seen.
    runs : (n_blocks,) array
        Run of each block; the blocks of a run stand together.
    estimator : scikit-learn classifier, optional
        Cloned for each fold; a linear support vector machine with C = 1 when None.
    n_permutations : int
        Draws of the null, each of which fits every fold again; 0 leaves it out.
    n_bootstrap, confidence : int, float
        Draws and coverage of the interval over runs. With few runs it is a little too narrow.
    seed : int
        Seed of null, interval and the default classifier.
    progress : callable, optional
        Called with (permutations done, permutations in all, "null").

    Returns
    -------
    Decoding

    Raises
    ------
    ValueError
        For shapes that do not match, NaN, fewer than two labels or two runs, or, with a null, a run of one
        block.
    """
    patterns, seen, run_of_block = _check(responses, labels, runs)
    classifier = LinearSVC(C=1.0, random_state=seed) if estimator is None else estimator
    folds = make_folds(len(seen), groups=run_of_block)
    n_blocks_by_run = np.array([len(test) for _, test in folds])

    def decode(true: NDArray) -> NDArray:
        decoded = np.empty_like(true)
        for train, test in folds:
            decoded[test] = clone(classifier).fit(patterns[train], true[train]).predict(patterns[test])
        return decoded

    permutations = np.empty((0, len(seen)), dtype=np.intp)
    if n_permutations:
        permutations = permute_blocks_within_runs(np.arange(len(seen)), run_of_block, n_permutations, seed)
    predicted = decode(seen)
    correct = np.array([(predicted[test] == seen[test]).sum() for _, test in folds])
    null = np.empty(len(permutations))
    for number, order in enumerate(permutations):
        null[number] = (decode(seen[order]) == seen[order]).mean()
        if progress is not None:
            progress(number + 1, len(permutations), "null")
    interval = bootstrap_interval(
        lambda counts: ((counts @ correct) / (counts @ n_blocks_by_run))[:, None],
        len(folds),
        n_bootstrap=n_bootstrap,
        confidence=confidence,
        seed=seed,
    )
    classes, frequency = np.unique(seen, return_counts=True)
    accuracy = float(correct.sum() / len(seen))
    return Decoding(
        classes=tuple(classes.tolist()),
        accuracy=accuracy,
        accuracy_lower=float(interval.lower[0]),
        accuracy_upper=float(interval.upper[0]),
        runs=np.array([run_of_block[test[0]] for _, test in folds]),
        fold_accuracy=correct / n_blocks_by_run,
        confusion=confusion_matrix(seen, predicted, labels=classes),
        predicted=predicted,
        chance=float(frequency.max() / len(seen)),
        null_accuracy=null,
        p_value=float(permutation_p_values(accuracy, null)) if len(null) else float("nan"),
    )


def decode_dataset(
    dataset: Dataset,
    attribute: str = "category",
    *,
    lag_volumes: int = 0,
    detrend_order: int = 1,
    **options: Any,
) -> Decoding:
    """Decode an attribute of the stimuli from a time series.

    Each run is detrended and z-scored over all its volumes (`detrend_runs`, `scale_runs`), the volumes of
    each block of one label are averaged, and `decode_blocks` leaves one run out at a time.

    Parameters
    ----------
    dataset : Dataset
        Of kind ``"time_series"``, with runs.
    attribute : str
        Column of ``dataset.stimuli.attributes`` to decode.
    lag_volumes : int
        Volumes by which the window of each block is moved later, towards the peak of the response.
    detrend_order : int
        Degree of the polynomial removed from each run.
    **options
        Passed to `decode_blocks`.

    Returns
    -------
    Decoding

    Raises
    ------
    KeyError
        If the stimuli have no such attribute.
    ValueError
        If the dataset is no time series or has no runs, and as in `decode_blocks`.
    """
    runs = dataset.runs
    if dataset.responses is None or dataset.kind != "time_series" or runs is None:
        raise ValueError(
            f"dataset {dataset.info.name!r} is of kind "
            f"{dataset.kind!r}{'' if runs is not None else ' without runs'}; a time series with runs is "
            f"needed. Patterns of single trials go to decode_blocks"
        )
    attributes = dataset.stimuli.attributes
    if attribute not in attributes:
        raise KeyError(unknown_name_message("attribute", attribute, map(str, attributes.columns)))
    classes, code_of_stimulus = np.unique(attributes[attribute].to_numpy().astype(str), return_inverse=True)
    index = dataset.stimulus_index
    shown = np.where(index < 0, -1, code_of_stimulus[index])
    blocks = block_labels(shown, runs)
    series = scale_runs(detrend_runs(dataset.responses.values, runs, detrend_order), runs)
    first_volumes = np.unique(blocks, return_index=True)[1][int(blocks.min() < 0) :]
    return decode_blocks(
        average_blocks(series, blocks, lag_volumes, runs),
        classes[shown[first_volumes]],
        runs[first_volumes],
        **options,
    )


def _check(responses: ArrayLike, labels: ArrayLike, runs: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    patterns, seen, run_of_block = np.asarray(responses), np.asarray(labels), np.asarray(runs)
    if patterns.ndim != 2 or not patterns.size:
        raise ValueError(f"responses has shape {patterns.shape}; (n_blocks, n_voxels) is needed")
    if not np.isfinite(patterns).all():
        bad = (~np.isfinite(patterns)).any(axis=0).sum()
        raise ValueError(
            f"responses is NaN or infinite in {bad} of {patterns.shape[1]} voxels: leave them out first"
        )
    for name, values in (("labels", seen), ("runs", run_of_block)):
        if values.shape != (len(patterns),):
            raise ValueError(
                f"{name} has shape {values.shape}; one for each of the {len(patterns)} blocks is needed"
            )
    if len(np.unique(seen)) < 2:
        raise ValueError(f"labels holds {np.unique(seen).tolist()}; at least two different ones are needed")
    return patterns, seen, run_of_block
