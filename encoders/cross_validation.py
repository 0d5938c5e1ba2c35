"""Held-out predictions: outer folds to judge, inner folds (inside each training fold) to choose.

Penalties and layers are chosen by the encoder's inner cross-validation on the training rows alone; the outer
test rows are only predicted. Finished folds can be kept in a checkpoint: what is computed after a kill
equals, bit for bit, what would have been computed without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.checkpoints import Checkpoint, FolderCheckpoint
from encoders.cluster import Cluster
from encoders.estimators.trained import TrainedEncoder
from encoders.fold_fit import BANDS, Rows
from encoders.fold_fitter import FoldFitter
from encoders.folds import Folds, check_folds, make_folds, merge_groups
from encoders.stored_layer import CorruptFeaturesError
from encoders.tokens import TokenSource, as_token_source

__all__ = [
    "Checkpoint",
    "CrossValidation",
    "FolderCheckpoint",
    "LayerCrossValidation",
    "cross_validate",
    "cross_validate_layers",
    "make_folds",
    "merge_groups",
]

Progress = Callable[[int, int, str], None]
"""Called after each fold with fits done, fits in all, and what was fitted."""


@dataclass(frozen=True)
class CrossValidation:
    """Held-out predictions of one encoder.

    Attributes
    ----------
    predictions : (n_samples, n_voxels) array
        Prediction of each row by the encoder that did not train on it, in the type of `Y`; NaN for rows in no
        test fold.
    alphas : (n_folds, n_voxels) array
        Penalty chosen in each training fold (units of the encoder); NaN if the encoder has none.
    alpha_grid : (n_folds, n_alphas) array or None
        Penalties that were on offer in each training fold, which may follow its features; None if the encoder
        names none (in ``alpha_grid_``).
    inner_scores : (n_folds, n_voxels) array
        Best mean score over the inner folds of each training fold; NaN if the encoder chose nothing.
    fold_of_sample : (n_samples,) array of int
        Fold in which each row was tested, -1 for none.
    """

    predictions: NDArray
    alphas: NDArray
    alpha_grid: NDArray | None
    inner_scores: NDArray
    fold_of_sample: NDArray[np.intp]


@dataclass(frozen=True)
class LayerCrossValidation:
    """Held-out predictions from each layer, and from the layer chosen per voxel in each training fold.

    Attributes
    ----------
    layers : tuple of str
        Layers in the order of the features; `selected_layer` counts in it.
    predictions : (n_layers, n_samples, n_voxels) array or None
        Held-out predictions of every layer; None if they were not kept.
    alphas, inner_scores : (n_layers, n_folds, n_voxels) arrays
        As in `CrossValidation`, a layer.
    alpha_grid : (n_layers, n_folds, n_alphas) array or None
        As in `CrossValidation`, a layer.
    selected_layer : (n_folds, n_voxels) array of int
        Layer with the best inner score; the first of equals, and the first where no layer has a score (a
        voxel that is constant in the training rows).
    selected_predictions : (n_samples, n_voxels) array
        Each row predicted from the layer that its fold selected.
    fold_of_sample : (n_samples,) array of int
        Fold in which each row was tested, -1 for none.
    band_predictions : (n_bands, n_samples, n_voxels) array or None
        Of an encoder with bands fitted to a single layer: what each band adds to the held-out predictions, about its
        mean over the training rows of the fold.
    """

    layers: tuple[str, ...]
    predictions: NDArray | None
    alphas: NDArray
    alpha_grid: NDArray | None
    inner_scores: NDArray
    selected_layer: NDArray[np.intp]
    selected_predictions: NDArray
    fold_of_sample: NDArray[np.intp]
    band_predictions: NDArray | None = None


def cross_validate(
    encoder: Any,
    X: ArrayLike | TokenSource,
    Y: ArrayLike,
    folds: Sequence[tuple[ArrayLike, ArrayLike]],
    groups: ArrayLike | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    cluster: Cluster | None = None,
) -> CrossValidation:
    """Predict every row by an encoder that was fitted without it.

    Parameters
    ----------
    encoder : estimator
        scikit-learn style; cloned for each fold and never changed. Its inner folds get the groups of the
        training rows.
    X : (n_samples, n_features) array, or tokens
        Features. Trained encoders take whatever `as_token_source` does: tokens on disk stay there.
    Y : (n_samples, n_voxels) array
        Responses.
    folds : sequence of (train, test)
        Row numbers, see `make_folds`.
    groups : (n_samples,) array, optional
        Rows that belong together, in the outer folds (checked) and in the inner ones (passed to the encoder).
    progress : callable, optional
        Called with (fits done, fits in all, label) after each fold.
    checkpoint : Checkpoint, optional
        Finished folds are saved there and taken from there. Keys hold a hash of data, rows, groups and the
        encoder's parameters, so a fold of other data is never taken. Of a fold under way, a trained encoder keeps
        every epoch there.
    cluster : Cluster, optional
        Workers that do the fits, from `encoders.cluster.open_cluster`: a fold, or a part of its voxels, at a time.
        Bits are those of a run without.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ValueError
        For NaN, shapes that do not match, or folds that leak.
    """
    responses, checked, labels = _check(Y, folds, groups)
    matrix = _check_features(encoder, "X", X, len(responses))
    result = _empty_result(responses, checked)
    grids = []
    fit = FoldFitter(encoder, responses, checked, labels, checkpoint, score_always=False, cluster=cluster)
    for number, piece in enumerate(fit.over_folds(matrix, "X")):
        result.predictions[checked[number][1]] = piece["predictions"]
        result.alphas[number] = piece["alphas"]
        result.inner_scores[number] = piece["inner_scores"]
        grids.append(piece["alpha_grid"])
        if progress is not None:
            progress(number + 1, len(checked), f"fold {number}")
    return replace(result, alpha_grid=_stack_grids(grids))


def cross_validate_layers(
    encoder: Any,
    features: Mapping[str, Any],
    Y: ArrayLike,
    folds: Sequence[tuple[ArrayLike, ArrayLike]],
    groups: ArrayLike | None = None,
    *,
    keep_layer_predictions: bool = True,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    cluster: Cluster | None = None,
) -> LayerCrossValidation:
    """Predict every row from every layer, and choose a layer per voxel inside each training fold.

    The choice is made by the encoder's own inner cross-validation (the best of `cv_scores_`). An encoder that
    reports none, because it has nothing to choose, is cross-validated inside the training fold as it stands
    (R2 over `cv` inner folds, 5 where the encoder names no number).

    Parameters
    ----------
    encoder : estimator
        scikit-learn style; cloned for each layer and fold and never changed.
    features : mapping of str to (n_samples, n_features) array
        Features a layer. With a method `matrix(layer)` (as `Features` has) that is used. One layer is in
        memory at a time if the mapping reads it when asked. Trained encoders take ``features[layer]`` as tokens
        (see `as_token_source`); those on disk stay there.
    Y, folds, groups, progress, checkpoint, cluster
        As in `cross_validate`.
    keep_layer_predictions : bool
        Keep held-out predictions of all layers: n_layers * n_samples * n_voxels numbers (4 bytes each for a
        float32 `Y`). Without them only the selected ones are held.

    Returns
    -------
    LayerCrossValidation

    Raises
    ------
    ValueError
        For no layers, NaN, shapes that do not match, or folds that leak; every layer is checked before the
        first fit.
    """
    responses, checked, labels = _check(Y, folds, groups)
    layers = tuple(features)
    if not layers:
        raise ValueError("features is empty: at least one layer is needed")
    for layer in layers:
        _check_features(encoder, f"features[{layer!r}]", _of_layer(encoder, features, layer), len(responses))

    selected = _empty_result(responses, checked)
    shape = (len(layers), len(checked), responses.shape[1])
    predictions = None
    if keep_layer_predictions:
        predictions = np.full((len(layers), *responses.shape), np.nan, responses.dtype)
    alphas, inner_scores = np.full(shape, np.nan), np.full(shape, np.nan)
    selected_layer = np.zeros(shape[1:], dtype=np.intp)
    best = np.full(shape[1:], -np.inf)
    grids = []
    bands: NDArray | None = None
    # One layer leaves nothing to choose, so its inner score is not worth fits of its own.
    score_always = len(layers) > 1
    fit = FoldFitter(encoder, responses, checked, labels, checkpoint, score_always, cluster)
    for position, layer in enumerate(layers):
        given = _of_layer(encoder, features, layer)
        # Tokens on disk have been read through above, which takes as long as an epoch.
        matrix = _check_features(encoder, f"features[{layer!r}]", given, len(responses), read=False)
        for number, piece in enumerate(fit.over_folds(matrix, layer)):
            test = checked[number][1]
            if BANDS in piece and len(layers) == 1:
                if bands is None:
                    bands = np.full((len(piece[BANDS]), *responses.shape), np.nan, responses.dtype)
                bands[:, test] = piece[BANDS]
            alphas[position, number] = piece["alphas"]
            grids.append(piece["alpha_grid"])
            scores = inner_scores[position, number] = piece["inner_scores"]
            if predictions is not None:
                predictions[position, test] = piece["predictions"]
            # NaN is never greater: a layer without a score cannot win. The first stands until beaten.
            wins = scores > best[number] if position else np.ones(shape[2], dtype=bool)
            best[number, wins] = np.where(np.isnan(scores[wins]), -np.inf, scores[wins])
            selected_layer[number, wins] = position
            selected.predictions[np.ix_(test, wins)] = piece["predictions"][:, wins]
            if progress is not None:
                done = position * len(checked) + number + 1
                progress(done, len(layers) * len(checked), f"{layer}, fold {number}")
    alpha_grid = _stack_grids(grids)
    return LayerCrossValidation(
        layers=layers,
        predictions=predictions,
        alphas=alphas,
        alpha_grid=None if alpha_grid is None else alpha_grid.reshape(*shape[:2], -1),
        inner_scores=inner_scores,
        selected_layer=selected_layer,
        selected_predictions=selected.predictions,
        fold_of_sample=selected.fold_of_sample,
        band_predictions=bands,
    )


def _check(
    Y: ArrayLike, folds: Sequence[tuple[ArrayLike, ArrayLike]], groups: ArrayLike | None
) -> tuple[NDArray, Folds, NDArray | None]:
    responses = np.asarray(Y)
    if responses.ndim != 2 or not responses.shape[1]:
        raise ValueError(f"Y has shape {responses.shape}; (n_samples, n_voxels) is needed")
    if not np.issubdtype(responses.dtype, np.floating):
        responses = responses.astype(np.float64)
    if not np.isfinite(responses).all():
        bad = (~np.isfinite(responses)).any(axis=0).sum()
        raise ValueError(
            f"Y is NaN or infinite in {bad} of {responses.shape[1]} voxels: leave these voxels out first"
        )
    checked = check_folds(folds, len(responses), groups)
    return responses, checked, None if groups is None else np.asarray(groups)


def _check_features(encoder: Any, name: str, X: Any, n_samples: int, read: bool = True) -> Rows:
    if isinstance(encoder, TrainedEncoder):
        return _check_tokens(name, X, n_samples, read)
    if isinstance(X, TokenSource):
        raise ValueError(
            f"{name} holds tokens, and {type(encoder).__name__} takes (n_samples, n_features): pool or flatten them"
        )
    matrix = np.asarray(X)
    if matrix.ndim != 2 or len(matrix) != n_samples or not matrix.shape[1]:
        raise ValueError(
            f"{name} has shape {matrix.shape}; ({n_samples}, n_features) is needed, one row a row of Y"
        )
    if not np.isfinite(matrix).all():
        bad = (~np.isfinite(matrix)).any(axis=1).sum()
        raise ValueError(
            f"{name} is NaN or infinite in {bad} of {n_samples} rows: mend or leave out these rows"
        )
    return matrix


def _check_tokens(name: str, X: Any, n_samples: int, read: bool) -> TokenSource:
    try:
        source = as_token_source(X)
        if len(source) != n_samples:
            raise ValueError(f"X has {len(source)} rows; {n_samples} are needed, one a row of Y")
        if read:
            source.check()
    except CorruptFeaturesError:
        raise  # says which file
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from error
    return source


def _of_layer(encoder: Any, features: Mapping[str, Any], layer: str) -> Any:
    matrix = getattr(features, "matrix", None)
    return features[layer] if matrix is None or isinstance(encoder, TrainedEncoder) else matrix(layer)


def _stack_grids(grids: Sequence[NDArray]) -> NDArray | None:
    """Stack the penalties of every fit, (n_fits, n_alphas); None where an encoder names none, or not as many."""
    sizes = {len(grid) for grid in grids}
    return None if sizes == {0} or len(sizes) > 1 else np.stack(grids)


def _empty_result(Y: NDArray, folds: Folds) -> CrossValidation:
    fold_of_sample = np.full(len(Y), -1, dtype=np.intp)
    for number, (_, test) in enumerate(folds):
        fold_of_sample[test] = number
    shape = (len(folds), Y.shape[1])
    return CrossValidation(
        predictions=np.full(Y.shape, np.nan, Y.dtype),
        alphas=np.full(shape, np.nan),
        alpha_grid=None,
        inner_scores=np.full(shape, np.nan),
        fold_of_sample=fold_of_sample,
    )
