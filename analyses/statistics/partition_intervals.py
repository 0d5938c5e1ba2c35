"""Intervals and tests of divided variance, by ROI, from sums over whole units.

Every number is a sum of squares over units, so that a draw of units is a matrix product and no sample is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.statistics.bootstrap import sum_by_unit
from analyses.statistics.nulls import check_finite
from analyses.statistics.partition_table import OnDraws, Settings, VariancePartition, part_name, tabulate
from analyses.statistics.variance_partition import (
    Part,
    check_bands,
    commonality,
    complete_bands,
    inclusion_exclusion,
    order_subsets,
    product_measure,
    total_squares,
)

FloatArray = NDArray[np.float64]


def partition_by_product(
    Y: ArrayLike,
    band_predictions: Mapping[str, ArrayLike],
    units: ArrayLike,
    rois: Mapping[str, ArrayLike] | None = None,
    *,
    intercept: ArrayLike = 0.0,
    null: ArrayLike | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> VariancePartition:
    """Divide the R2 of one model over its bands by the product measure, with intervals and tests.

    Parameters
    ----------
    Y : (n_samples, n_voxels) array
        Held-out responses.
    band_predictions : mapping of str to (n_samples, n_voxels) array
        What each band adds to the prediction, see `product_measure`.
    units : (n_samples,) array
        Label of the independent unit of each row: stimulus, block or run. Better 20 than fewer.
    rois : mapping of str to (n_voxels,) bool array, optional
        Voxels of each ROI; they may overlap. All voxels as ``"all"`` if not given.
    intercept : array that broadcasts to (n_samples, n_voxels)
        What the prediction holds besides the bands.
    null : (n_permutations, n_bands, n_voxels) array, optional
        Shares under wrong pairings (`product_measure_null`, or of models that were fitted anew).
    n_bootstrap, confidence, seed
        As in `bootstrap_interval`.
    n_permutations : int
        Draws of signs; where 2 to the number of units is no larger, all are tried.

    Returns
    -------
    VariancePartition

    Raises
    ------
    ValueError
        As in `product_measure` and `bootstrap_interval`; the units or the null do not fit.

    Notes
    -----
    The predictions are taken as given: what another training set would change is not in intervals and p-values.
    """
    names = tuple(band_predictions)
    _check_shapes(Y, band_predictions)
    stacked = np.stack([np.asarray(values, dtype=np.float64) for values in band_predictions.values()])
    y, own, added = check_bands(Y, stacked, intercept)
    shares = product_measure(y, own, added)
    _, bands, weights = complete_bands(y, own, added)
    # About fixed means, so that sums of squares keep their digits and leaving a band out keeps its mean.
    squares, n = total_squares(y), len(names)
    miss = (bands.sum(axis=0) - y).mean(axis=0)
    y, own, bands = y - y.mean(axis=0), *(a - a.mean(axis=1, keepdims=True) for a in (own, bands))
    total = bands.sum(axis=0)
    left_out = [2 * p * (y - total - miss) + p * p for p in own]
    sizes, sums = sum_by_unit(
        _check_units(units, y), y, y * y, *bands, *(q * (2 * y - total) for q in bands), *left_out
    )
    y_sum, yy, q_sum, cross, losses = (
        sums[0],
        sums[1],
        sums[2 : 2 + n],
        sums[2 + n : 2 + 2 * n],
        sums[2 + 2 * n :],
    )
    spread = _Spread(sizes, y_sum, yy, squares)
    total_sum = np.sum(q_sum, axis=0)

    def share(band: int) -> OnDraws:
        def on_draws(counts: FloatArray, columns: slice) -> FloatArray:
            drawn = (counts @ sizes)[:, None]
            y_mean, q_mean, p_mean = (counts @ a[:, columns] / drawn for a in (y_sum, q_sum[band], total_sum))
            missed = p_mean - y_mean + miss[columns]
            inner = counts @ cross[band][:, columns] - drawn * q_mean * (2 * y_mean - p_mean)
            return (inner - drawn * missed**2 * weights[band, columns]) / spread(counts, columns)

        return on_draws

    def loss(band: int) -> OnDraws:
        return lambda counts, columns: counts @ losses[band][:, columns] / spread(counts, columns)

    terms = [
        cross[b]
        + weights[b] * miss * (2 * y_sum - total_sum)
        - miss * q_sum[b]
        - sizes[:, None] * weights[b] * miss**2
        for b in range(n)
    ]
    return tabulate(
        "product measure",
        names,
        tuple((name,) for name in names),
        shares,
        shares.sum(axis=0),
        rois,
        quantities=[share(b) for b in range(n)] + [loss(b) for b in range(n)],
        part_weights=np.hstack([np.vstack([np.eye(n), np.ones(n)]), np.zeros((n + 1, n))]),
        evidence_weights=np.hstack([np.zeros((n, n)), np.eye(n)]),
        evidence_names=names,
        terms=terms,
        squares=squares,
        null=null,
        settings=Settings(n_bootstrap, n_permutations, confidence, seed),
    )


def partition_by_commonality(
    Y: ArrayLike,
    predictions: Mapping[Part, ArrayLike],
    units: ArrayLike,
    rois: Mapping[str, ArrayLike] | None = None,
    *,
    null: ArrayLike | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> VariancePartition:
    """Divide R2 into unique and shared parts of 2 to 4 feature spaces, with intervals and tests.

    Parameters
    ----------
    Y : (n_samples, n_voxels) array
        Held-out responses.
    predictions : mapping of tuple of str to (n_samples, n_voxels) array
        Predictions of the model fitted to each non-empty subset of the spaces, as the keys of `commonality`.
    units, rois, n_bootstrap, n_permutations, confidence, seed
        As in `partition_by_product`.
    null : (n_null, n_parts, n_voxels) array, optional
        Parts, in the order of `subsets_of`, of models fitted anew to wrongly paired stimuli and responses. Permuted
        predictions would not do: what a space adds to others depends on how much those shrink.

    Returns
    -------
    VariancePartition

    Raises
    ------
    ValueError
        As in `commonality` and `bootstrap_interval`; shapes do not match, values are not finite.

    Notes
    -----
    A part is a contrast of the summed squared errors of models (and of the mean) over the responses' sum of squares,
    hence a sum over units. For a unique part, flipping a unit's sign exchanges the models with and without the space
    in that unit, and the test is that of two models. For shared parts it is the one-sample test of a mean of zero,
    which holds for many units. The predictions are taken as given.
    """
    spaces, by_subset = order_subsets(predictions)
    _check_shapes(Y, {" + ".join(key): values for key, values in by_subset.items()})
    y = check_finite(Y, "Y")
    errors = []
    for subset, values in by_subset.items():
        p = check_finite(values, f"predictions[{subset!r}]")
        errors.append((y - p) ** 2)
    squares = total_squares(y)
    y = y - y.mean(axis=0)
    sizes, sums = sum_by_unit(_check_units(units, y), y, y * y, *errors)
    spread = _Spread(sizes, sums[0], sums[1], squares)

    def r2(model: int) -> OnDraws:
        return lambda counts, columns: 1 - counts @ sums[2 + model][:, columns] / spread(counts, columns)

    weights = inclusion_exclusion(spaces)
    last = np.eye(len(weights))[-1:]
    of_models = {
        subset: np.where(np.isnan(squares), np.nan, 1 - error.sum(axis=0) / squares)
        for subset, error in zip(by_subset, errors, strict=True)
    }
    shares = np.stack(list(commonality(of_models).values()))
    return tabulate(
        "commonality",
        spaces,
        tuple(by_subset),
        shares,
        of_models[spaces],
        rois,
        quantities=[r2(model) for model in range(len(weights))],
        part_weights=np.vstack([weights, last]),
        evidence_weights=np.eye(len(weights)),
        evidence_names=tuple(part_name(subset) for subset in by_subset),
        terms=[sums[1] - of_model for of_model in sums[2:]],
        squares=squares,
        null=null,
        settings=Settings(n_bootstrap, n_permutations, confidence, seed),
    )


@dataclass(frozen=True)
class _Spread:
    """Sum of squares of the responses about their mean over the units drawn; NaN where that is rounding."""

    sizes: FloatArray
    sums: FloatArray
    squares: FloatArray
    whole: FloatArray

    def __call__(self, counts: FloatArray, columns: slice) -> FloatArray:
        drawn, of_squares = (counts @ self.sizes)[:, None], counts @ self.squares[:, columns]
        spread = of_squares - (counts @ self.sums[:, columns]) ** 2 / drawn
        known = (spread > 1e-13 * of_squares) & np.isfinite(self.whole[columns])
        return np.where(known, spread, np.nan)


def _check_units(units: ArrayLike, y: FloatArray) -> NDArray:
    labels = np.asarray(units)
    if labels.shape != (len(y),):
        raise ValueError(f"units has shape {labels.shape}; one label for each of {len(y)} samples is needed")
    return labels


def _check_shapes(Y: ArrayLike, predictions: Mapping[str, ArrayLike]) -> None:
    if not predictions:
        raise ValueError("the predictions are empty; give those of at least one band")
    for name, values in predictions.items():
        if np.shape(values) != np.shape(Y):
            raise ValueError(
                f"the prediction of {name} has shape {np.shape(values)} and Y {np.shape(Y)}; both are (n_samples,"
                " n_voxels)"
            )
