"""What trained encoders share: recovery, scaling by training rows alone, whole groups, members, files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from encoders.cross_validation import cross_validate, cross_validate_layers, make_folds
from encoders.estimators.ridge import RidgeEncoder
from encoders.estimators.trained import TrainedEncoder
from encoders.persistence import load_encoder, save_encoder
from encoders.scores import correlation_score, r2_score
from encoders.tokens import as_token_source
from encoders.training.settings import Training
from encoders.training.splits import member_folds
from encoders.training.statistics import target_moments, token_moments
from tests.encoders.linear_encoder import LinearTokenEncoder, linear_data
from tests.encoders.test_training_resume import assert_same_encoder

QUICK = Training(lr=0.02, n_epochs=12, batch_size=16)


def fitted(X, Y, groups=None, **changes):
    return LinearTokenEncoder(training=replace(QUICK, **changes)).fit(X, Y, groups)


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_planted_readout_is_recovered_whatever_the_scale_of_tokens_and_voxels(n_members):
    X, Y, signal = linear_data(n=1200, noise=1.0)
    X = X * np.logspace(-3, 3, 8, dtype=np.float32) + np.float32(10)
    units = np.logspace(-4, 4, 5)
    encoder = fitted(X[:900], (Y * units + 100)[:900], n_epochs=25, n_members=n_members)
    assert correlation_score(signal[900:], encoder.predict(X[900:])).min() > 0.99
    # in the units of the responses, so that R2 is that of a good readout: half of the variance is noise
    wide = slice(2, None)  # the first voxels vary less than 100 can show in float32
    assert encoder.correlation(X[900:], (Y * units + 100)[900:])[wide].min() > 0.6
    assert r2_score((Y * units + 100)[900:, wide], encoder.predict(X[900:])[:, wide]).min() > 0.35
    assert len(encoder.members_) == len(encoder.history_) == len(encoder.best_epoch_) == n_members


def test_validation_scores_are_those_of_the_validation_rows():
    X, Y, _ = linear_data(n=200)
    encoder = fitted(X, Y)
    ((_, held_out),) = member_folds(200, None, encoder.training)
    assert len(held_out) == 20
    np.testing.assert_allclose(
        encoder.cv_scores_[0], correlation_score(Y[held_out], encoder.predict(X[held_out])), atol=1e-5
    )
    assert encoder.history_[0]["validation_score"][encoder.best_epoch_[0]] == pytest.approx(
        encoder.cv_scores_.mean(), abs=1e-6
    )
    folds = member_folds(200, None, replace(QUICK, n_members=4))
    several = fitted(X, Y, n_members=4)
    by_member = []
    for member, (_, rows) in enumerate(folds):
        alone = clone(several).set_params(training=replace(QUICK, n_members=4))
        for name, value in vars(several).items():
            if name.endswith("_"):
                parts = name in ("token_mean_", "token_scale_", "y_mean_", "y_scale_", "members_")
                setattr(alone, name, value[member : member + 1] if parts else value)
        by_member.append(correlation_score(Y[rows], alone.predict(X[rows])))
    np.testing.assert_allclose(several.cv_scores_[0], np.mean(by_member, axis=0), atol=1e-5)


# Scaling


@pytest.mark.parametrize("on_disk", [False, True])
def test_moments_are_those_of_numpy_over_the_rows_and_tokens_that_count(on_disk, tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 4, 3)) * [1, 1e-3, 50] + [1e3, 0, -7]).astype(np.float32)
    X[rng.random((50, 4)) < 0.3] = np.nan
    X[np.isnan(X).all(axis=(1, 2)), 0] = 1.0
    rows = [np.arange(40), np.arange(0, 50, 2), np.array([7, 3])]
    tokens = as_token_source(zarr.array(X, chunks=(7, 4, 3), store=str(tmp_path / "x")) if on_disk else X)
    for chosen, part in zip(rows, token_moments(tokens, rows), strict=True):
        expected = X[chosen].astype(float).reshape(-1, 3)
        np.testing.assert_allclose(part.mean, np.nanmean(expected, axis=0), rtol=1e-10)
        np.testing.assert_allclose(part.std, np.nanstd(expected, axis=0), rtol=1e-8)
        assert part.n == (~np.isnan(expected[:, 0])).sum()
    Y = rng.standard_normal((50, 6)) + 1e6
    Y[:, 1] = 0.1
    for chosen, part in zip(rows, target_moments(Y, rows), strict=True):
        np.testing.assert_allclose(part.mean, Y[chosen].mean(axis=0))
        np.testing.assert_allclose(part.std, Y[chosen].std(axis=0), rtol=1e-6, atol=1e-12)
        assert part.std[1] == 0


def test_scales_are_learnt_from_the_training_rows_alone():
    X, Y, _ = linear_data()
    training = replace(QUICK, n_members=3)
    one = fitted(X, Y, n_members=3)
    for member, (train, held_out) in enumerate(member_folds(120, None, training)):
        np.testing.assert_allclose(one.token_mean_[member], X[train].mean((0, 1)), atol=1e-6)
        np.testing.assert_allclose(one.token_scale_[member], X[train].std((0, 1)), rtol=1e-5)
        np.testing.assert_allclose(one.y_mean_[member], Y[train].mean(0), atol=1e-6)
        np.testing.assert_allclose(one.y_scale_[member], Y[train].std(0), rtol=1e-5)
        other_X, other_Y = X.copy(), Y.copy()
        other_X[held_out] *= 3
        other_Y[held_out] *= 3
        other = fitted(other_X, other_Y, n_members=3)
        for name in ("token_mean_", "token_scale_", "y_mean_", "y_scale_"):
            np.testing.assert_array_equal(getattr(one, name)[member], getattr(other, name)[member])


def test_the_rows_that_stop_training_do_not_train_it():
    X, Y, _ = linear_data()
    ((_, held_out),) = member_folds(120, None, QUICK)
    changed = Y.copy()
    changed[held_out] = np.random.default_rng(1).permutation(Y[held_out])
    one, other = (fitted(X, each, patience_epochs=None) for each in (Y, changed))
    np.testing.assert_array_equal(one.history_[0]["train_loss"], other.history_[0]["train_loss"])
    assert one.cv_scores_.mean() > other.cv_scores_.mean() + 0.2


def test_a_constant_voxel_is_predicted_as_constant_and_harms_no_other():
    X, Y, _ = linear_data()
    Y[:, 2] = 7.25
    with_constant, without = fitted(X, Y), fitted(X, np.delete(Y, 2, axis=1))
    assert (with_constant.predict(X)[:, 2] == 7.25).all()
    assert np.isnan(with_constant.cv_scores_[0, 2])
    assert np.isfinite(np.delete(with_constant.cv_scores_[0], 2)).all()
    assert abs(np.nanmean(with_constant.cv_scores_) - without.cv_scores_.mean()) < 0.02
    unscaled = fitted(X, Y, scale_targets=False)
    assert (unscaled.predict(X)[:, 2] == 7.25).all()
    assert not unscaled.y_mean_[0, [0, 1, 3, 4]].any()


def test_without_scaling_tokens_and_voxels_stay_as_they_are():
    X, Y, _ = linear_data()
    encoder = fitted(X, Y, scale_tokens=False, scale_targets=False)
    assert not encoder.token_mean_.any()
    assert (encoder.token_scale_ == 1).all()
    weights = encoder.members_[0]
    np.testing.assert_allclose(encoder.predict(X), X.mean(1) @ weights["weight"] + weights["bias"], atol=1e-5)


# Rows, members, storage


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_validation_rows_are_whole_groups_of_about_the_share_asked_for(data):
    n_groups = data.draw(st.integers(2, 20))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=n_groups, max_size=n_groups))
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(n_groups), sizes))
    training = Training(
        validation_fraction=data.draw(st.floats(0.05, 0.9)), seed=data.draw(st.integers(0, 9))
    )
    ((train, held_out),) = member_folds(len(groups), groups, training)
    assert sorted([*train, *held_out]) == list(range(len(groups)))
    assert len(train)
    assert len(held_out)
    assert not set(groups[train]) & set(groups[held_out])
    # the nearest that whole groups allow is at most half the largest group away, while others are left to train
    wanted = training.validation_fraction * len(groups)
    assert abs(len(held_out) - wanted) <= max(sizes)


def test_members_are_held_out_in_seeded_folds_of_whole_groups():
    groups = np.repeat(np.arange(10), 6)
    training = Training(n_members=5, seed=3)
    folds = member_folds(60, groups, training)
    expected = make_folds(60, 5, groups, shuffle=True, seed=3)
    for (train, held_out), (a, b) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(train, a)
        np.testing.assert_array_equal(held_out, b)
        assert not set(groups[train]) & set(groups[held_out])
    assert sorted(np.concatenate([b for _, b in folds])) == list(range(60))
    other = member_folds(60, groups, replace(training, seed=4))
    assert any(len(np.setxor1d(a[1], b[1])) for a, b in zip(folds, other, strict=True))


def test_predictions_are_the_mean_over_members_that_start_from_different_weights():
    X, Y, _ = linear_data()
    encoder = fitted(X, Y, n_members=3, n_epochs=2)
    expected = np.zeros((120, 5))
    for member, module in enumerate(encoder.modules()):
        assert not module.training
        tokens = (X - encoder.token_mean_[member]) / encoder.token_scale_[member]
        with torch.no_grad():
            scaled = module(torch.from_numpy(tokens), None).numpy()
        expected += (scaled * encoder.y_scale_[member] + encoder.y_mean_[member]) / 3
    np.testing.assert_allclose(encoder.predict(X), expected, atol=1e-5)
    assert encoder.predict(X).dtype == np.float32
    weights = [member["weight"] for member in encoder.members_]
    assert np.abs(weights[0] - weights[1]).min() > 0
    shares = encoder.average_over_members(X, lambda module, tokens, mask: tokens[:, :, 0].softmax(1))
    assert shares.shape == (120, 3)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)


def test_on_disk_and_in_memory_predict_the_same_and_fit_alike(tmp_path):
    X, Y, _ = linear_data(n=300)
    X[::4, 2] = np.nan
    stored = zarr.array(X, chunks=(16, 3, 8), store=str(tmp_path / "x"))
    memory, disk = fitted(X, Y), fitted(stored, Y)
    np.testing.assert_array_equal(memory.predict(X), memory.predict(stored))
    np.testing.assert_array_equal(memory.token_mean_, disk.token_mean_)
    np.testing.assert_allclose(memory.cv_scores_, disk.cv_scores_, atol=0.05)  # another order of batches
    rows = [9, 3, 3, 250]
    np.testing.assert_allclose(
        memory.predict(stored)[rows], memory.predict(as_token_source(stored)[rows]), atol=1e-6
    )


def test_padding_and_what_stands_there_change_nothing():
    X, Y, _ = linear_data()
    longer = np.concatenate([X, np.full((120, 2, 8), np.nan, np.float32)], axis=1)
    one, other = fitted(X, Y), fitted(longer, Y)
    np.testing.assert_allclose(one.predict(X), other.predict(longer), atol=1e-4)
    lesioned = X.copy()
    lesioned[:, 1] = np.nan
    kept = X[:, [0, 2]].mean(1)
    weights = one.members_[0]["weight"] / one.token_scale_[0][:, None]
    expected = (kept - one.token_mean_[0]) @ weights + one.members_[0]["bias"]
    np.testing.assert_allclose(one.predict(lesioned), expected * one.y_scale_[0] + one.y_mean_[0], atol=1e-4)


def test_one_voxel_may_be_a_vector():
    X, Y, _ = linear_data()
    encoder = fitted(X, Y[:, 0])
    assert encoder.predict(X).shape == (120,)
    np.testing.assert_array_equal(encoder.predict(X), fitted(X, Y[:, :1]).predict(X)[:, 0])
    assert encoder.correlation(X, Y[:, 0]).shape == (1,)
    assert encoder.score(X, Y[:, 0]) > 0.5


# scikit-learn, files, cross-validation


def test_it_is_cloned_with_its_settings_and_learns_nothing_in_between():
    encoder = LinearTokenEncoder(dropout=0.1, training=QUICK)
    assert encoder.get_params() == {"dropout": 0.1, "training": QUICK}
    X, Y, _ = linear_data()
    other = clone(encoder.fit(X, Y))
    assert other.get_params() == encoder.get_params()
    with pytest.raises(NotFittedError):
        other.predict(X)
    with pytest.raises(NotFittedError):
        other.modules()
    assert_same_encoder(other.fit(X, Y), encoder)
    assert clone(LinearTokenEncoder()).training is None


@pytest.mark.parametrize("n_members", [1, 2])
def test_a_saved_encoder_predicts_to_the_bit_what_it_did(tmp_path, n_members):
    X, Y, _ = linear_data()
    training = replace(
        QUICK, n_members=n_members, clip_norm=0.1 + 0.2, lr=1 / 3, precision="bfloat16", n_epochs=2
    )
    encoder = LinearTokenEncoder(dropout=0.1, training=training).fit(X, Y)
    save_encoder(encoder, tmp_path / "encoder")
    back = load_encoder(tmp_path / "encoder")
    assert back.training == training
    assert back.predict(X).tobytes() == encoder.predict(X).tobytes()
    assert_same_encoder(back, encoder)
    assert_same_encoder(back.fit(X, Y), encoder)


def test_settings_from_a_changed_file_are_checked_and_no_other_class_is_made(tmp_path):
    X, Y, _ = linear_data()
    save_encoder(fitted(X, Y, n_epochs=1), tmp_path / "encoder")
    path = tmp_path / "encoder" / "encoder.json"
    text = path.read_text()
    for old, new in (('"batch_size": 16', '"batch_size": -16'), ('"Training"', '"Popen"')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match="holds no sound encoder"):
            load_encoder(tmp_path / "encoder")


def test_layers_of_tokens_are_cross_validated_and_chosen_inside_the_training_fold(tmp_path):
    X, Y, _ = linear_data(n=160)
    noise = np.random.default_rng(5).standard_normal(X.shape).astype(np.float32)
    layers = {
        "noise": noise,
        "signal": zarr.array(X, chunks=(16, 3, 8), store=str(tmp_path / "x")),
        "map": X.swapaxes(1, 2)[:, :, :, None] + 3 * noise.swapaxes(1, 2)[:, :, :, None],
    }
    groups = np.repeat(np.arange(20), 8)
    folds = make_folds(160, 3, groups)
    encoder = LinearTokenEncoder(training=QUICK)
    result = cross_validate_layers(encoder, layers, Y, folds, groups)
    assert (result.selected_layer == 1).all()
    assert correlation_score(Y, result.selected_predictions).min() > 0.7
    train, test = folds[1]
    alone = clone(encoder).fit(as_token_source(layers["signal"])[train], Y[train], groups[train])
    np.testing.assert_array_equal(alone.predict(X[test]), result.predictions[1][test])
    np.testing.assert_array_equal(alone.cv_scores_[0], result.inner_scores[1, 1])
    again = cross_validate(encoder, as_token_source(X), Y, folds, groups)
    assert again.predictions.shape == (160, 5)


def test_permuted_test_responses_change_nothing():
    X, Y, _ = linear_data()
    train, test = np.arange(80), np.arange(80, 120)
    changed = Y.copy()
    changed[test] = np.random.default_rng(1).permutation(Y[test])
    encoder = LinearTokenEncoder(training=QUICK)
    one, other = (cross_validate(encoder, X, each, [(train, test)]) for each in (Y, changed))
    np.testing.assert_array_equal(one.predictions, other.predictions)
    np.testing.assert_array_equal(one.inner_scores, other.inner_scores)


def test_features_that_do_not_fit_are_refused_before_the_first_fit():
    X, Y, _ = linear_data()
    bad = X.copy()
    bad[7, 0, 0] = np.nan
    folds, encoder = make_folds(120, 3), LinearTokenEncoder(training=QUICK)
    steps = []
    partly = r"features\['late'\]: X has tokens that are NaN in some .* \(7\)"
    for late, message in [(bad, partly), (X[1:], r"features\['late'\]: X has 119 rows")]:
        layers = {"early": X, "late": late}
        with pytest.raises(ValueError, match=message):
            cross_validate_layers(encoder, layers, Y, folds, progress=lambda *step: steps.append(step))
    assert not steps
    with pytest.raises(ValueError, match="X holds tokens, and RidgeEncoder takes"):
        cross_validate(RidgeEncoder(), as_token_source(X), Y, folds)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"Y": np.zeros((119, 5))}, ValueError, "X has 120 rows and Y has 119"),
        ({"Y": np.zeros((120, 2, 2))}, ValueError, r"Y has shape \(120, 2, 2\)"),
        ({"Y": np.full((120, 2), np.inf)}, ValueError, "Y is NaN or infinite in 2 of 2 voxels"),
        ({"Y": np.full((120, 2), "a")}, TypeError, "responses must be real numbers"),
        ({"groups": np.zeros(120)}, ValueError, "there is 1 group, but 2 are needed to train on some"),
        ({"groups": np.zeros(7)}, ValueError, r"groups has shape \(7,\)"),
        (
            {"training": Training(n_members=9), "groups": np.arange(120) % 4},
            ValueError,
            "4 groups, but 9 are needed",
        ),
        (
            {"training": Training(validation_fraction=0.01)},
            ValueError,
            "validation_rows has 1 row",
        ),
        ({"training": {"lr": 1}}, TypeError, r"it must be Training\(...\)"),
        ({"training": Training(device="cuda:77")}, ValueError, "not to be had here"),
        ({"X": np.zeros((120, 3, 8, 2, 2))}, ValueError, "X has shape"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_learnt(change, error, message):
    X, Y, _ = linear_data()
    given = {"X": X, "Y": Y, "groups": None, "training": QUICK} | change
    encoder = LinearTokenEncoder(training=given["training"])
    with pytest.raises(error, match=message):
        encoder.fit(given["X"], given["Y"], given["groups"])
    with pytest.raises(NotFittedError):
        encoder.predict(X)


def test_other_tokens_than_in_fit_are_refused():
    X, Y, _ = linear_data()
    encoder = fitted(X, Y, n_epochs=1)
    with pytest.raises(
        ValueError, match="X has 3 tokens of 7 channels; LinearTokenEncoder was fitted on 3 of 8"
    ):
        encoder.predict(X[:, :, :7])
    assert isinstance(encoder, TrainedEncoder)
