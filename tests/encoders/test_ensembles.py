"""The voxelwise softmax over layers against a loop, and that held-out rows weigh nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from encoders.cross_validation import cross_validate_layers, make_folds
from encoders.ensembles import ensemble_layers, ensemble_predictions, layer_weights
from encoders.estimators.ridge import RidgeEncoder
from encoders.scores import correlation_score
from tests.oracles.training import softmax_weights

SCORES = arrays(np.float64, (4, 3), elements=st.one_of(st.floats(-1, 1), st.just(np.nan)))


@settings(deadline=None)
@given(SCORES, st.floats(0, 100))
def test_weights_are_the_softmax_of_the_scores_that_are_known(scores, temperature):
    weights = layer_weights(scores, temperature)
    np.testing.assert_allclose(weights, softmax_weights(scores, temperature), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    known = ~np.isnan(scores).all(axis=0)
    assert not weights[:, known][np.isnan(scores[:, known])].any()
    np.testing.assert_allclose(layer_weights(scores + 0.5, temperature), weights, rtol=1e-6, atol=1e-9)


def test_published_temperature_by_hand():
    # 40 times a difference of 0.05 in r: e^2 to 1
    weights = layer_weights([[0.30], [0.25]])
    np.testing.assert_allclose(weights[:, 0], [np.e**2 / (1 + np.e**2), 1 / (1 + np.e**2)])
    assert layer_weights(np.full((4, 1), 0.2)).tolist() == [[0.25]] * 4
    assert layer_weights([[1e4], [0.0]], 40).tolist() == [[1.0], [0.0]]  # no overflow


def test_predictions_are_averaged_over_folds_and_weighed_over_layers():
    rng = np.random.default_rng(0)
    predictions, scores = rng.standard_normal((3, 4, 6, 5)), rng.uniform(-0.2, 0.6, (3, 4, 5))
    scores[0, 1, 2] = np.nan
    weights = softmax_weights(np.nanmean(scores, axis=1), 40.0)
    expected = np.zeros((6, 5))
    for layer in range(3):
        for fold in range(4):
            expected += weights[layer] * predictions[layer, fold] / 4
    found = ensemble_predictions(predictions, scores)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # one fold is no fold
    one = ensemble_predictions(predictions[:, 0].astype(np.float32), scores[:, 0])
    np.testing.assert_allclose(one, ensemble_predictions(predictions[:, :1], scores[:, :1]), atol=1e-6)
    assert one.dtype == np.float32


def subject(n=90):
    rng = np.random.default_rng(0)
    layers = {f"layer{k}": rng.standard_normal((n, 5)) for k in range(3)}
    # Two layers carry a voxel together, so neither alone is the best that can be done.
    Y = (layers["layer0"] + layers["layer1"]) @ rng.standard_normal((5, 8)) + rng.standard_normal((n, 8))
    return layers, Y


def test_held_out_ensembles_weigh_each_fold_by_its_own_inner_scores():
    layers, Y = subject()
    folds = [*make_folds(90, 4)[:3]]
    fitted = cross_validate_layers(RidgeEncoder(cv_score="correlation"), layers, Y, folds)
    found = ensemble_layers(fitted, 5.0)
    for row, fold in enumerate(fitted.fold_of_sample):
        if fold < 0:
            assert np.isnan(found[row]).all()
            continue
        weights = softmax_weights(fitted.inner_scores[:, fold], 5.0)
        np.testing.assert_allclose(found[row], (weights * fitted.predictions[:, row]).sum(axis=0), atol=1e-12)
    rows = fitted.fold_of_sample >= 0
    ensemble = correlation_score(Y[rows], found[rows]).mean()
    assert ensemble > correlation_score(Y[rows], fitted.selected_predictions[rows]).mean() + 0.05


def test_test_rows_weigh_nothing():
    layers, Y = subject()
    train, test = np.arange(60), np.arange(60, 90)
    changed = Y.copy()
    changed[test] = np.random.default_rng(1).permutation(Y[test])
    found = [
        ensemble_layers(cross_validate_layers(RidgeEncoder(), layers, each, [(train, test)]))
        for each in (Y, changed)
    ]
    np.testing.assert_array_equal(found[0][test], found[1][test])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer_weights([0.1, 0.2]), r"scores has shape \(2,\); \(n_layers, n_voxels\) is needed"),
        (lambda: layer_weights([[np.inf]]), "1 infinite entries"),
        (lambda: layer_weights([[0.1]], -1), "temperature is -1"),
        (lambda: ensemble_predictions(np.zeros((2, 4, 3)), np.zeros((3, 3))), r"scores has shape \(3, 3\)"),
        (lambda: ensemble_predictions(np.zeros((2, 5, 4, 3)), np.zeros((2, 3))), "n_folds in second place"),
    ],
)
def test_what_does_not_go_together_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_predictions_of_layers_must_have_been_kept():
    layers, Y = subject()
    fitted = cross_validate_layers(RidgeEncoder(), layers, Y, make_folds(90, 3))
    with pytest.raises(ValueError, match="keep_layer_predictions=True"):
        ensemble_layers(replace(fitted, predictions=None))
