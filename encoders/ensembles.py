"""Ensembles over layers and folds: a softmax of scores, voxel by voxel.

As in Adeli et al. (2025, "Transformer brain encoders explain human high-level visual responses"): each voxel weighs
layers by the softmax of 40 times their mean validation correlation. There the weighted predictions of all runs are
summed; here they are averaged over runs, so that predictions stay in the units of the responses (correlations are
the same).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.cross_validation import LayerCrossValidation

TEMPERATURE = 40.0
"""Published multiple of the validation correlation in the softmax."""


def layer_weights(scores: ArrayLike, temperature: float = TEMPERATURE) -> NDArray[np.float64]:
    """Return how much each voxel listens to each layer.

    Parameters
    ----------
    scores : (n_layers, n_voxels) array
        Score of each layer on rows that nobody is judged by, a correlation as published. NaN: unknown.
    temperature : float
        Factor of the scores in the softmax: 0 weighs layers alike, infinity would take the best alone.

    Returns
    -------
    (n_layers, n_voxels) float64 array
        Softmax over layers of ``temperature * scores``; the sum over layers is 1. A layer without a score weighs 0;
        where no layer has one, all weigh alike.

    Raises
    ------
    ValueError
        For another shape, infinite scores, or a temperature that is negative or not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.shape[0]:
        raise ValueError(f"scores has shape {table.shape}; (n_layers, n_voxels) is needed")
    if np.isinf(table).any():
        raise ValueError(
            f"scores has {np.isinf(table).sum()} infinite entries: finite ones or NaN are allowed"
        )
    if not (np.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature is {temperature}; it must be finite and at least 0")
    known = ~np.isnan(table)
    best = np.where(known, table, -np.inf).max(axis=0)
    above = np.where(known, table - np.where(np.isneginf(best), 0.0, best), 0.0)
    weights = np.where(known, np.exp(temperature * above), 0.0)
    weights[:, ~known.any(axis=0)] = 1.0
    return weights / weights.sum(axis=0)


def ensemble_predictions(
    predictions: ArrayLike, scores: ArrayLike, temperature: float = TEMPERATURE
) -> NDArray:
    """Return predictions averaged over folds, and over layers with each voxel's weights.

    Parameters
    ----------
    predictions : (n_layers, n_samples, n_voxels) or (n_layers, n_folds, n_samples, n_voxels) array
        Predictions of the same samples by each layer, or by each layer's model of each fold.
    scores : (n_layers, n_voxels) or (n_layers, n_folds, n_voxels) array
        Validation scores that go with them. Over folds their mean counts (NaN left out). They must not come from
        the samples that are predicted.
    temperature : float
        As in `layer_weights`.

    Returns
    -------
    (n_samples, n_voxels) array, in the type of the predictions

    Raises
    ------
    ValueError
        If the shapes do not go together, or as `layer_weights`.
    """
    values, table = np.asarray(predictions), np.asarray(scores, dtype=np.float64)
    expected = (values.shape[:-2] + values.shape[-1:]) if values.ndim in (3, 4) else None
    if table.shape != expected:
        raise ValueError(
            f"predictions has shape {values.shape} and scores has shape {table.shape}; (n_layers, n_samples, n_voxels) "
            "with (n_layers, n_voxels), or both with n_folds in second place, are needed"
        )
    if values.ndim == 3:
        values, table = values[:, None], table[:, None]
    weights = layer_weights(_mean_known(table), temperature)
    total = np.zeros(values.shape[2:])
    for layer in range(len(values)):  # one layer at a time: predictions may be large
        total += weights[layer] * values[layer].mean(axis=0, dtype=np.float64)
    return total.astype(np.result_type(values.dtype, np.float32), copy=False)


def ensemble_layers(fitted: LayerCrossValidation, temperature: float = TEMPERATURE) -> NDArray:
    """Return held-out predictions in which each voxel weighs layers by the inner scores of the fold at hand.

    The weights of an outer fold come from its training rows alone, so nothing of the test rows is used.

    Parameters
    ----------
    fitted : LayerCrossValidation
        With predictions of all layers.
    temperature : float
        As in `layer_weights`. The published 40 is meant for correlations; inner scores of encoders that choose by R2
        are R2.

    Returns
    -------
    (n_samples, n_voxels) array
        NaN for rows in no test fold.

    Raises
    ------
    ValueError
        If the predictions of layers were not kept.
    """
    if fitted.predictions is None:
        raise ValueError(
            "fitted has no predictions of layers: cross-validate with keep_layer_predictions=True"
        )
    out = np.full(fitted.predictions.shape[1:], np.nan, fitted.predictions.dtype)
    for fold in np.unique(fitted.fold_of_sample[fitted.fold_of_sample >= 0]):
        rows = np.flatnonzero(fitted.fold_of_sample == fold)
        out[rows] = ensemble_predictions(
            fitted.predictions[:, rows], fitted.inner_scores[:, fold], temperature
        )
    return out


def _mean_known(table: NDArray) -> NDArray:
    known = ~np.isnan(table)
    total = np.where(known, table, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
