"""Variance partitioning from features to shares: every subset of the spaces fitted inside the same outer folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from analyses.statistics.nulls import check_finite, check_permutations
from analyses.statistics.partition_intervals import partition_by_commonality, partition_by_product
from analyses.statistics.partition_table import VariancePartition, part_name
from analyses.statistics.partition_words import explain_negative_shares
from analyses.statistics.variance_partition import (
    Part,
    check_spaces,
    commonality,
    product_measure,
    subsets_of,
)
from encoders.cross_validation import Progress
from encoders.folds import Folds, check_folds
from encoders.scores import r2_score

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SpacePartition:
    """What several feature spaces explain of the same responses.

    Attributes
    ----------
    commonality : VariancePartition
        Unique and shared parts of the R2 of the joint model.
    product : VariancePartition
        The same R2 divided over the bands of the joint model.
    predictions : dict of tuple of str to (n_tested, n_voxels) array
        Held-out predictions of the model of each subset of spaces.
    band_predictions : dict of str to (n_tested, n_voxels) array
        What each band of the joint model adds, about its mean over the training rows of each fold.
    tested : (n_tested,) int array
        Rows that some fold tests.
    """

    commonality: VariancePartition
    product: VariancePartition
    predictions: dict[Part, NDArray]
    band_predictions: dict[str, NDArray]
    tested: NDArray[np.intp]

    def explain(self) -> list[str]:
        """Say what negative shares mean; see `explain_negative_shares`."""
        return explain_negative_shares(self.commonality) + explain_negative_shares(self.product)


def partition_variance(
    features: Mapping[str, ArrayLike],
    Y: ArrayLike,
    folds: Sequence[tuple[ArrayLike, ArrayLike]],
    groups: ArrayLike | None = None,
    encoder: Any = None,
    *,
    units: ArrayLike | None = None,
    rois: Mapping[str, ArrayLike] | None = None,
    permutations: ArrayLike | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> SpacePartition:
    """Fit every subset of 2 to 4 feature spaces and divide the held-out R2 of the joint model among them.

    Parameters
    ----------
    features : mapping of str to (n_samples, n_features) array
        Feature spaces, by name.
    Y : (n_samples, n_voxels) array
        Responses.
    folds : sequence of (train, test)
        Outer folds (`make_folds`), the same for all models. Everything is fitted, penalties chosen too, to the
        training rows alone.
    groups : (n_samples,) array, optional
        Rows that no fold, outer or inner, may divide.
    encoder : estimator, optional
        Takes a mapping of spaces and has `predict_bands`. `BandedRidgeEncoder(corners=True, seed=seed)` where None: a
        penalty for each space and voxel, so that adding a space does not change how much the others are shrunk.
    units : (n_samples,) array, optional
        Independent units for intervals and tests: stimuli, blocks or runs. The groups, or else the rows, where None.
    rois : mapping of str to (n_voxels,) bool array, optional
        All voxels as ``"all"`` if not given.
    permutations : (n_null, n_samples) int array, optional
        As `permute_blocks_within_runs` gives. All models are fitted anew to features permuted so, all spaces alike:
        the null of responses that no space has anything to do with. It costs as many times the fit.
    n_bootstrap, n_permutations, confidence, seed
        As in `partition_by_product`.
    progress : callable, optional
        Called with (fits done, fits in all, label).

    Returns
    -------
    SpacePartition

    Raises
    ------
    ValueError
        Other than 2 to 4 spaces, shapes that do not match, NaN, folds that leak, or an encoder without bands; all
        before the first fit.

    References
    ----------
    Lescroart, Stansbury & Gallant 2015, Frontiers in Computational Neuroscience 9, 135 (unique and shared parts of
    held-out variance); Dupré la Tour et al. 2022, NeuroImage 264, 119728 (product measure of banded ridge).
    """
    spaces = check_spaces(features)
    y = check_finite(Y, "Y").astype(np.asarray(Y).dtype if np.asarray(Y).dtype.kind == "f" else np.float64)
    matrices = {name: _check_space(name, values, len(y)) for name, values in features.items()}
    checked = check_folds(folds, len(y), groups)
    labels = None if groups is None else np.asarray(groups)
    encoder = _default_encoder(seed) if encoder is None else encoder
    if not hasattr(encoder, "predict_bands"):
        raise ValueError(
            f"encoder is a {type(encoder).__name__}, without predict_bands; take BandedRidgeEncoder, or None for it"
        )
    tested = np.unique(np.concatenate([test for _, test in checked]))
    unit_labels = labels if units is None else np.asarray(units)
    unit_labels = np.arange(len(y)) if unit_labels is None else unit_labels
    if unit_labels.shape != (len(y),):
        raise ValueError(
            f"units has shape {unit_labels.shape}; one label for each of {len(y)} samples is needed"
        )
    orders = np.empty((0, len(y)), dtype=np.intp)
    if permutations is not None:
        orders = check_permutations(permutations, len(y))
    n_fits = (1 + len(orders)) * len(checked) * len(subsets_of(spaces))
    done = 0

    def tick(label: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, n_fits, label)

    predictions, bands, offset = _fit_subsets(matrices, y, checked, labels, encoder, tick)
    null_parts, null_shares = [], []
    for number, order in enumerate(orders):
        permuted = {name: matrix[order] for name, matrix in matrices.items()}
        wrong, wrong_bands, wrong_offset = _fit_subsets(
            permuted, y, checked, labels, encoder, lambda label, n=number: tick(f"permutation {n}: {label}")
        )
        scores = {subset: r2_score(y[tested], values[tested]) for subset, values in wrong.items()}
        null_parts.append(np.stack(list(commonality(scores).values())))
        null_shares.append(product_measure(y[tested], wrong_bands[:, tested], wrong_offset[tested]))
    common: dict[str, Any] = {
        "n_bootstrap": n_bootstrap,
        "n_permutations": n_permutations,
        "confidence": confidence,
        "seed": seed,
    }
    held_out = {subset: values[tested] for subset, values in predictions.items()}
    by_band = dict(zip(spaces, bands[:, tested], strict=True))
    return SpacePartition(
        partition_by_commonality(
            y[tested],
            held_out,
            unit_labels[tested],
            rois,
            null=np.stack(null_parts) if null_parts else None,
            **common,
        ),
        partition_by_product(
            y[tested],
            by_band,
            unit_labels[tested],
            rois,
            intercept=offset[tested],
            null=np.stack(null_shares) if null_shares else None,
            **common,
        ),
        held_out,
        by_band,
        tested,
    )


def _default_encoder(seed: int) -> Any:
    from encoders.estimators.banded import BandedRidgeEncoder

    # With the models of single spaces among the candidates: a space of no use can then be given no weight.
    return BandedRidgeEncoder(corners=True, seed=seed)


def _fit_subsets(
    matrices: Mapping[str, NDArray],
    Y: NDArray,
    folds: Folds,
    groups: NDArray | None,
    encoder: Any,
    tick: Any,
) -> tuple[dict[Part, NDArray], NDArray, NDArray]:
    """Return predictions of each subset, the bands of the joint model and what it predicts besides them.

    All cover all rows, NaN where no fold tests. Bands are taken about their mean over the training rows: offsets that
    differ between folds then stand in the rest, with the mean of the training responses.
    """
    spaces = tuple(matrices)
    predictions = {subset: np.full(Y.shape, np.nan) for subset in subsets_of(spaces)}
    bands, offset = np.full((len(spaces), *Y.shape), np.nan), np.full(Y.shape, np.nan)
    for number, (train, test) in enumerate(folds):
        for subset, predicted in predictions.items():
            of_train, of_test = ({name: matrices[name][rows] for name in subset} for rows in (train, test))
            options = {} if groups is None else {"groups": groups[train]}
            fitted = clone(encoder).fit(of_train, Y[train], **options)
            predicted[test] = np.asarray(fitted.predict(of_test), dtype=np.float64).reshape(len(test), -1)
            if subset == spaces:
                means = np.asarray(fitted.predict_bands(of_train), dtype=np.float64).mean(axis=1)
                added = np.asarray(fitted.predict_bands(of_test), dtype=np.float64)
                bands[:, test] = added - means[:, None]
                offset[test] = predicted[test] - bands[:, test].sum(axis=0)
            tick(f"{part_name(subset)}, fold {number}")
    return predictions, bands, offset


def _check_space(name: str, values: ArrayLike, n_samples: int) -> NDArray:
    matrix = np.asarray(values)
    if matrix.ndim != 2 or len(matrix) != n_samples or not matrix.shape[1]:
        raise ValueError(
            f"features[{name!r}] has shape {matrix.shape}; ({n_samples}, n_features) is needed, one row a row of Y"
        )
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix)).any(axis=1).sum())
        raise ValueError(
            f"features[{name!r}] is NaN or infinite in {bad} of {n_samples} rows: mend or leave out these rows"
        )
    return matrix
