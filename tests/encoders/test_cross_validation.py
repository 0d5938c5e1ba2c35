"""Held-out predictions against a slow reference, adversarial leakage, and the choice of layers."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold

from encoders.cross_validation import cross_validate, cross_validate_layers, make_folds
from encoders.estimators.ridge import RidgeEncoder
from encoders.scores import correlation_score
from tests.oracles.cross_validation import inner_r2, nested_ridge

ALPHAS = [0.1, 1.0, 10.0, 100.0, 1000.0]
N, N_VOXELS = 72, 6
RUNS = np.repeat(np.arange(6), 12)


def linear_subject(noise=1.0, n_features=8, seed=0):
    """Draw features and responses that depend on them, a different noise level a voxel."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, n_features))
    signal = X @ rng.standard_normal((n_features, N_VOXELS))
    return X, signal + noise * np.arange(1, N_VOXELS + 1) * rng.standard_normal((N, N_VOXELS))


def test_nested_predictions_penalties_and_scores_equal_the_reference():
    X, Y = linear_subject()
    encoder = RidgeEncoder(alphas=ALPHAS, cv=3)
    result = cross_validate(encoder, X, Y, make_folds(N, 4))
    outer = list(KFold(4).split(X))
    predictions, alphas, scores = nested_ridge(X, Y, ALPHAS, outer, lambda rows: list(KFold(3).split(rows)))
    np.testing.assert_array_equal(result.alphas, alphas)
    np.testing.assert_allclose(result.predictions, predictions, atol=1e-9)
    np.testing.assert_allclose(result.inner_scores, scores, atol=1e-9)
    np.testing.assert_array_equal(result.fold_of_sample, np.repeat(np.arange(4), 18))
    assert not hasattr(encoder, "coef_")


def test_inner_folds_keep_the_training_groups_whole():
    X, Y = linear_subject()
    result = cross_validate(RidgeEncoder(alphas=ALPHAS, cv=5), X, Y, make_folds(N, groups=RUNS), groups=RUNS)
    outer = [(np.flatnonzero(run != RUNS), np.flatnonzero(run == RUNS)) for run in range(6)]
    predictions, alphas, _ = nested_ridge(
        X, Y, ALPHAS, outer, lambda rows: list(GroupKFold(5).split(rows, groups=RUNS[rows]))
    )
    np.testing.assert_array_equal(result.alphas, alphas)
    np.testing.assert_allclose(result.predictions, predictions, atol=1e-9)


def test_repeats_of_a_stimulus_would_mislead_inner_folds_that_divide_them():
    # Each stimulus has its own response, unrelated to its features: nothing generalises to new stimuli.
    rng = np.random.default_rng(0)
    stimulus = np.repeat(np.arange(24), 3)
    X, Y = rng.standard_normal((24, 40))[stimulus], rng.standard_normal((24, 200))[stimulus]
    folds = make_folds(N, 4, groups=stimulus)
    grouped = cross_validate(RidgeEncoder(alphas=ALPHAS), X, Y, folds, groups=stimulus)
    divided = cross_validate(
        RidgeEncoder(alphas=ALPHAS, cv=list(make_folds(54, 5, shuffle=True))), X, Y, folds
    )
    assert (grouped.alphas == 1000).mean() > 0.6
    assert (divided.alphas == 0.1).mean() > 0.9
    assert grouped.inner_scores.mean() < 0.1 < 0.8 < divided.inner_scores.mean()


def test_rows_in_no_test_fold_are_nan_and_types_stay():
    X, Y = linear_subject()
    folds = [(np.arange(40), np.arange(50, 60))]
    result = cross_validate(RidgeEncoder(alphas=ALPHAS), X.astype(np.float32), Y.astype(np.float32), folds)
    assert result.predictions.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(result.predictions).all(axis=1), result.fold_of_sample == 0)
    assert (result.fold_of_sample == 0).sum() == 10
    assert np.isnan(result.predictions[:50]).all()


def test_any_scikit_learn_regressor_can_be_cross_validated():
    X, Y = linear_subject()
    result = cross_validate(Ridge(alpha=3.0), X, Y, make_folds(N, 4))
    for train, test in KFold(4).split(X):
        np.testing.assert_array_equal(
            result.predictions[test], Ridge(alpha=3.0).fit(X[train], Y[train]).predict(X[test])
        )
    assert np.isnan(result.alphas).all()
    assert result.alpha_grid is None
    assert np.isnan(result.inner_scores).all()


def test_the_penalties_on_offer_are_told_fold_by_fold():
    X, Y = linear_subject()
    layers = {"small": 0.1 * X[:, :4], "wide": np.random.default_rng(3).standard_normal((N, 100))}
    folds = make_folds(N, 4)
    result = cross_validate_layers(RidgeEncoder(), layers, Y, folds)
    assert result.alpha_grid.shape == (2, 4, 17)
    for row, features in enumerate(layers.values()):
        for number, (train, _) in enumerate(folds):
            centred = features[train] - features[train].mean(axis=0)
            eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2
            middle = eigenvalues.sum() / min(centred.shape)
            np.testing.assert_allclose(
                result.alpha_grid[row, number] / middle, 10 ** np.linspace(-4, 4, 17), rtol=1e-6
            )
            assert np.isin(result.alphas[row, number], result.alpha_grid[row, number]).all()
    alone = cross_validate(RidgeEncoder(), layers["wide"], Y, folds)
    np.testing.assert_array_equal(alone.alpha_grid, result.alpha_grid[1])
    fixed = cross_validate(RidgeEncoder(alphas=5.0), X, Y, folds)
    np.testing.assert_array_equal(fixed.alpha_grid, np.full((4, 1), 5.0))


# Leakage


def split_half():
    """One fold, so that a row is on one side only."""
    return [(np.arange(0, N, 2), np.arange(1, N, 2))]


def test_features_that_equal_the_test_responses_do_not_help():
    rng = np.random.default_rng(1)
    Y = rng.standard_normal((N, 400))
    ((train, test),) = split_half()
    X = rng.standard_normal((N, 400))
    X[test] = Y[test]
    result = cross_validate(RidgeEncoder(alphas=ALPHAS), X, Y, split_half())
    r = correlation_score(Y[test], result.predictions[test])
    assert abs(r.mean()) < 3 / np.sqrt(400 * len(test))
    # The same features on the training rows would have been found out: the test can fail.
    X[train] = Y[train]
    leaked = cross_validate(RidgeEncoder(alphas=ALPHAS), X, Y, split_half())
    assert correlation_score(Y[test], leaked.predictions[test]).mean() > 0.2


@pytest.mark.parametrize("encoder", [RidgeEncoder(alphas=ALPHAS), RidgeEncoder(alphas=1.0), Ridge(alpha=1.0)])
def test_a_layer_that_is_perfect_on_the_test_rows_and_noise_in_training_is_not_selected(encoder):
    X, Y = linear_subject(noise=0.3)
    ((train, test),) = split_half()
    perfect = np.random.default_rng(2).standard_normal((N, N_VOXELS))
    perfect[test] = Y[test]
    result = cross_validate_layers(encoder, {"perfect": perfect, "honest": X}, Y, split_half())
    assert (result.selected_layer == 1).all()
    np.testing.assert_array_equal(result.selected_predictions, result.predictions[1])
    # Once it is perfect in training as well, it is selected: the test can fail.
    perfect[train] = Y[train]
    result = cross_validate_layers(encoder, {"perfect": perfect, "honest": X}, Y, split_half())
    assert (result.selected_layer[:, 1:] == 0).all()


def test_permuting_the_test_responses_changes_nothing_that_was_fitted_or_chosen():
    X, Y = linear_subject()
    layers = {"wide": np.random.default_rng(3).standard_normal((N, 100)), "true": X, "part": X[:, :4]}
    permuted = Y.copy()
    ((_, test),) = split_half()
    permuted[test] = np.random.default_rng(4).permutation(Y[test])
    before = cross_validate_layers(RidgeEncoder(alphas=ALPHAS), layers, Y, split_half())
    after = cross_validate_layers(RidgeEncoder(alphas=ALPHAS), layers, permuted, split_half())
    for name in (
        "predictions",
        "alphas",
        "alpha_grid",
        "inner_scores",
        "selected_layer",
        "selected_predictions",
    ):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)


# Layers


def test_the_planted_layer_wins_and_its_predictions_are_the_ones_selected():
    rng = np.random.default_rng(5)
    layers = {f"layer{number}": rng.standard_normal((N, 6)) for number in range(3)}
    planted = np.arange(N_VOXELS) % 3
    signal = np.stack([layers[f"layer{number}"] @ rng.standard_normal(6) for number in planted], axis=1)
    Y = signal + 0.5 * rng.standard_normal((N, N_VOXELS))
    result = cross_validate_layers(RidgeEncoder(alphas=ALPHAS), layers, Y, make_folds(N, 4))
    assert result.layers == ("layer0", "layer1", "layer2")
    assert (result.selected_layer == planted).all()
    for voxel, layer in enumerate(planted):
        np.testing.assert_array_equal(
            result.selected_predictions[:, voxel], result.predictions[layer][:, voxel]
        )
    assert correlation_score(Y, result.selected_predictions).min() > 0.9


def test_every_fold_takes_its_own_best_layer():
    X, Y = linear_subject(noise=4.0)
    layers = {"first": X[:, :4], "second": X[:, 4:], "all": X}
    result = cross_validate_layers(RidgeEncoder(alphas=ALPHAS), layers, Y, make_folds(N, 6))
    np.testing.assert_array_equal(result.selected_layer, result.inner_scores.argmax(axis=0))
    assert len(np.unique(result.selected_layer[:, -1])) > 1
    for row, fold in enumerate(result.fold_of_sample):
        for voxel in range(N_VOXELS):
            layer = result.selected_layer[fold, voxel]
            assert result.selected_predictions[row, voxel] == result.predictions[layer, row, voxel]
    alone = cross_validate(RidgeEncoder(alphas=ALPHAS), X, Y, make_folds(N, 6))
    np.testing.assert_array_equal(result.predictions[2], alone.predictions)
    np.testing.assert_array_equal(result.alphas[2], alone.alphas)


def test_one_fixed_penalty_is_scored_by_inner_folds_for_the_choice():
    X, Y = linear_subject()
    layers = {"part": X[:, :3], "all": X}
    result = cross_validate_layers(RidgeEncoder(alphas=5.0, cv=3), layers, Y, make_folds(N, 4))
    for number, (train, _) in enumerate(KFold(4).split(X)):
        inner = list(KFold(3).split(train))
        for position, features in enumerate(layers.values()):
            scores = inner_r2(features[train], Y[train], 5.0, inner)
            np.testing.assert_allclose(result.inner_scores[position, number], scores, atol=1e-10)
    assert (result.selected_layer == result.inner_scores.argmax(axis=0)).all()
    assert (result.alphas == 5).all()


def test_layer_predictions_need_not_be_kept():
    X, Y = linear_subject()
    layers = {"part": X[:, :3], "all": X}
    lean = cross_validate_layers(
        RidgeEncoder(alphas=ALPHAS), layers, Y, make_folds(N, 4), keep_layer_predictions=False
    )
    full = cross_validate_layers(RidgeEncoder(alphas=ALPHAS), layers, Y, make_folds(N, 4))
    assert lean.predictions is None
    np.testing.assert_array_equal(lean.selected_predictions, full.selected_predictions)


def test_features_are_asked_for_their_matrix_and_progress_is_told():
    class Maps(dict):
        def matrix(self, layer):
            return self[layer].reshape(N, -1)

    X, Y = linear_subject()
    steps = []
    result = cross_validate_layers(
        RidgeEncoder(alphas=ALPHAS),
        Maps(a=X.reshape(N, 2, 4), b=X[:, :6].reshape(N, 3, 2)),
        Y,
        make_folds(N, 3),
        progress=lambda done, total, label: steps.append((done, total, label)),
    )
    assert [step[:2] for step in steps] == [(number, 6) for number in range(1, 7)]
    assert steps[3][2] == "b, fold 0"
    np.testing.assert_array_equal(
        result.predictions[0], cross_validate(RidgeEncoder(alphas=ALPHAS), X, Y, make_folds(N, 3)).predictions
    )


def test_a_constant_voxel_takes_the_first_layer_and_harms_no_other():
    X, Y = linear_subject()
    Y[:, 2] = 7.0
    result = cross_validate_layers(RidgeEncoder(alphas=ALPHAS), {"a": X[:, :2], "b": X}, Y, make_folds(N, 3))
    assert (result.selected_layer[:, 2] == 0).all()
    assert np.isnan(result.inner_scores[:, :, 2]).all()
    np.testing.assert_allclose(result.selected_predictions[:, 2], 7.0)
    assert (result.selected_layer[:, :2] == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((N - 1, 3))}, r"features\['late'\] has shape \(71, 3\)"),
        ({"X": np.full((N, 3), np.nan)}, r"features\['late'\] is NaN or infinite in 72 of 72 rows"),
        ({"X": np.zeros((N, 0))}, r"features\['late'\] has shape \(72, 0\)"),
        ({"Y": np.full((N, 2), np.inf)}, "in 2 of 2 voxels"),
        ({"Y": np.zeros(N)}, r"Y has shape \(72,\)"),
        ({"folds": [([0, 1], [1, 2])]}, "both train and test"),
        ({"groups": RUNS[::-1].copy() % 2}, "groups"),
        ({"groups": RUNS[1:]}, "groups has shape"),
    ],
)
def test_bad_input_is_refused_before_the_first_fit(change, message):
    X, Y = linear_subject()
    given = {"X": X, "Y": Y, "folds": make_folds(N, 3), "groups": None} | change
    steps = []
    with pytest.raises(ValueError, match=message):
        cross_validate_layers(
            RidgeEncoder(alphas=ALPHAS),
            {"early": X, "late": given["X"]},
            given["Y"],
            given["folds"],
            given["groups"],
            progress=lambda *step: steps.append(step),
        )
    assert not steps
    with pytest.raises(ValueError, match="features is empty"):
        cross_validate_layers(RidgeEncoder(), {}, Y, make_folds(N, 3))
