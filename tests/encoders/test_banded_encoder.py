"""BandedRidgeEncoder: bands in every guise, what each contributes, and recovery of planted bands."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold
from sklearn.utils.estimator_checks import check_estimator

from encoders import BandedRidgeEncoder, RidgeEncoder, cross_validate, load_encoder, make_folds, save_encoder
from encoders.scores import r2_score
from tests.oracles.banded import search_draws

ALPHAS = np.geomspace(1, 1e4, 6)
WIDTHS = {"pixels": 7, "gabor": 4, "words": 9}


def simulate(n=60, v=5, seed=0):
    rng = np.random.default_rng(seed)
    X = {name: rng.standard_normal((n, width)) * 2 + 1 for name, width in WIDTHS.items()}
    Y = X["words"] @ rng.standard_normal((9, v)) + 3 * rng.standard_normal((n, v))
    return X, Y


def joined(X):
    return np.hstack(list(X.values()))


@pytest.mark.filterwarnings("ignore")
def test_every_check_of_scikit_learn_passes():
    check_estimator(BandedRidgeEncoder(cv=2))


def test_bands_as_mapping_widths_and_labels_are_the_same():
    X, Y = simulate()
    mapping = BandedRidgeEncoder(alphas=ALPHAS, n_draws=4).fit(X, Y)
    widths = BandedRidgeEncoder(bands=list(WIDTHS.values()), alphas=ALPHAS, n_draws=4).fit(joined(X), Y)
    labels = np.repeat(list(WIDTHS), list(WIDTHS.values()))
    order = np.r_[0, 7, 11, np.random.default_rng(0).permutation(np.delete(np.arange(20), [0, 7, 11]))]
    mixed = BandedRidgeEncoder(bands=labels[order], alphas=ALPHAS, n_draws=4).fit(joined(X)[:, order], Y)
    assert mapping.band_names_ == mixed.band_names_ == tuple(WIDTHS)
    assert widths.band_names_ == ("0", "1", "2")
    new, _ = simulate(seed=1)
    np.testing.assert_array_equal(mapping.coef_, widths.coef_)
    np.testing.assert_allclose(mixed.coef_, mapping.coef_[order], atol=1e-10)
    np.testing.assert_allclose(mixed.predict(joined(new)[:, order]), mapping.predict(new), atol=1e-9)
    np.testing.assert_allclose(
        mixed.predict_bands(joined(new)[:, order]), mapping.predict_bands(new), atol=1e-9
    )
    # A mapping is read by its names, and may be given where a matrix with labels was fitted.
    turned = {name: new[name] for name in reversed(new)}
    np.testing.assert_array_equal(mapping.predict(turned), mapping.predict(new))
    own = {name: joined(new)[:, order][:, labels[order] == name] for name in WIDTHS}
    np.testing.assert_allclose(mixed.predict(own), mapping.predict(new), atol=1e-9)


def test_arrays_of_every_kind_give_the_same():
    X, Y = simulate()
    plain = BandedRidgeEncoder(alphas=ALPHAS, n_draws=3).fit(X, Y)
    for convert in (
        torch.from_numpy,
        lambda a: xr.DataArray(a, dims=("presentation", "column")),
        np.asfortranarray,
    ):
        other = BandedRidgeEncoder(alphas=ALPHAS, n_draws=3)
        other.fit({name: convert(values) for name, values in X.items()}, convert(Y))
        assert isinstance(other.coef_, np.ndarray)
        np.testing.assert_allclose(other.coef_, plain.coef_, atol=1e-10)


@pytest.mark.parametrize("search", ["random", "gradient"])
def test_contributions_of_bands_sum_to_the_prediction(search):
    X, Y = simulate()
    encoder = BandedRidgeEncoder(alphas=ALPHAS, n_draws=4, search=search, scale_features=True).fit(X, Y)
    new, _ = simulate(seed=1)
    parts = encoder.predict_bands(new)
    assert parts.shape == (3, 60, 5)
    np.testing.assert_allclose(parts.sum(0) + encoder.intercept_, encoder.predict(new), atol=1e-9)
    moved = {**new, "gabor": new["gabor"] + 1}
    change = encoder.predict_bands(moved) - parts
    np.testing.assert_allclose(change[[0, 2]], 0)
    np.testing.assert_allclose(change[1], np.tile(encoder.coef_[7:11].sum(0), (60, 1)), atol=1e-9)


def test_groups_and_given_weights_reach_the_solver():
    X, Y = simulate()
    groups = np.arange(60) % 7
    gammas = np.array([[0.2, 0.2, 0.6], [0.0, 0.1, 0.9]])
    encoder = BandedRidgeEncoder(alphas=ALPHAS, cv=3, gammas=gammas, penalty_search="full")
    encoder.fit(X, Y, groups=groups)
    folds = list(GroupKFold(3).split(joined(X), groups=groups))
    band_of = np.repeat(np.arange(3), list(WIDTHS.values()))
    scores = search_draws(joined(X), Y, band_of, gammas, ALPHAS, folds)
    np.testing.assert_allclose(encoder.cv_scores_, scores.max(1), atol=1e-9)
    np.testing.assert_array_equal(encoder.gammas_, gammas)
    corners = BandedRidgeEncoder(alphas=ALPHAS, n_draws=2, corners=True).fit(X, Y)
    np.testing.assert_array_equal(corners.gammas_[2:], np.eye(3))


def test_scaling_is_that_of_the_samples_given_to_fit():
    X, Y = simulate()
    X["pixels"][:, 2] = 5.0
    scale = {name: np.where(values.std(0) > 0, values.std(0), 1) for name, values in X.items()}
    scaled = BandedRidgeEncoder(alphas=ALPHAS, n_draws=3).fit({k: X[k] / scale[k] for k in X}, Y)
    encoder = BandedRidgeEncoder(alphas=ALPHAS, n_draws=3, scale_features=True).fit(X, Y)
    new, _ = simulate(seed=1)
    np.testing.assert_allclose(
        encoder.predict(new), scaled.predict({k: new[k] / scale[k] for k in new}), atol=1e-8
    )
    np.testing.assert_allclose(encoder.alphas_, scaled.alphas_)


@pytest.mark.parametrize("n", [60, 15])
def test_one_band_is_the_ridge_encoder_to_the_bit(n):
    X, Y = (a[:n] for a in (joined(simulate()[0]), simulate()[1]))
    ridge = RidgeEncoder(scale_features=True).fit(X, Y)
    banded = BandedRidgeEncoder(scale_features=True, penalty_search="full").fit(X, Y)
    np.testing.assert_array_equal(banded.coef_, ridge.coef_)
    np.testing.assert_array_equal(banded.intercept_, ridge.intercept_)
    np.testing.assert_array_equal(banded.alphas_[0], ridge.alphas_)
    np.testing.assert_array_equal(banded.alpha_grid_, ridge.alpha_grid_)


def test_a_vector_of_responses_gives_vectors():
    X, Y = simulate()
    one, every = (BandedRidgeEncoder(alphas=ALPHAS, n_draws=3).fit(X, y) for y in (Y[:, 0], Y))
    assert one.coef_.shape == (20,)
    assert one.alphas_.shape == (3,)
    assert one.intercept_.shape == one.overall_alphas_.shape == ()
    assert one.predict_bands(X).shape == (3, 60)
    np.testing.assert_allclose(one.predict(X), every.predict(X)[:, 0], atol=1e-9)
    assert isinstance(one.score(X, Y[:, 0]), float)


@pytest.mark.parametrize("search", ["random", "gradient"])
def test_a_saved_encoder_predicts_to_the_bit(tmp_path, search):
    X, Y = simulate()
    encoder = BandedRidgeEncoder(alphas=ALPHAS, n_draws=3, corners=True, search=search).fit(X, Y)
    loaded = load_encoder(save_encoder(encoder, tmp_path / "banded"))
    assert isinstance(loaded, BandedRidgeEncoder)
    assert loaded.band_names_ == encoder.band_names_
    np.testing.assert_array_equal(loaded.predict(X), encoder.predict(X))
    np.testing.assert_array_equal(loaded.predict_bands(X), encoder.predict_bands(X))
    np.testing.assert_array_equal(loaded.alphas_, encoder.alphas_)


def test_cross_validation_keeps_overall_penalties_and_predictions():
    X, Y = simulate()
    folds = make_folds(60, 3)
    encoder = BandedRidgeEncoder(bands=list(WIDTHS.values()), alphas=ALPHAS, n_draws=4)
    result = cross_validate(encoder, joined(X), Y, folds)
    assert np.isin(result.alphas, ALPHAS).all()
    np.testing.assert_array_equal(result.alpha_grid, np.tile(ALPHAS, (3, 1)))
    train, test = folds[1]
    alone = clone(encoder).fit(joined(X)[train], Y[train])
    np.testing.assert_array_equal(result.predictions[test], alone.predict(joined(X)[test]))
    np.testing.assert_array_equal(result.alphas[1], alone.overall_alphas_)


@pytest.mark.parametrize("search", ["random", "gradient"])
def test_planted_bands_are_weighted_and_predicted_as_planted(search):
    # Three bands of 100 features; each voxel is driven by one or two of them, with half its variance signal.
    rng = np.random.default_rng(2)
    n, n_test, width = 400, 2000, 60
    X = {name: rng.standard_normal((n + n_test, width)) for name in ("a", "b", "c")}
    shares = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 0, 0]], float)
    shares = np.repeat(shares, 20, 0)
    Y = np.zeros((n + n_test, len(shares)))
    for band, values in enumerate(X.values()):
        signal = values @ rng.standard_normal((width, len(shares))) / np.sqrt(width)
        Y += np.sqrt(shares[:, band]) * signal
    explained = np.where(shares.sum(1) > 0, 0.5, 0)
    Y += rng.standard_normal(Y.shape)
    train, test = ({name: values[part] for name, values in X.items()} for part in (slice(n), slice(n, None)))
    encoder = BandedRidgeEncoder(n_draws=30 if search == "random" else 4, search=search).fit(train, Y[:n])
    r2 = r2_score(Y[n:], encoder.predict(test))
    weights = 1 / encoder.alphas_
    weights /= weights.sum(0)
    for band in range(3):
        alone = shares[:, band] == 1
        assert np.median(weights[band, alone]) > 0.8
        variance = encoder.predict_bands(test).var(1)
        assert np.median(variance[band, alone] / variance[:, alone].sum(0)) > 0.95
        # With 60 features and 400 samples least squares on the true band alone would lose some 0.09 of the 0.5.
        assert abs(r2[alone].mean() - 0.5) < 0.09
    both = (shares == 0.5).any(1)
    assert (weights[2, both] < 0.2).mean() > 0.8
    assert -0.02 < r2[explained == 0].mean() < 0
    plain = RidgeEncoder().fit(joined(train), Y[:n])
    gain = r2 - r2_score(Y[n:], plain.predict(joined(test)))
    assert gain[shares.max(1) == 1].mean() > 0.03


def test_fit_does_no_work_before_and_keeps_parameters():
    encoder = BandedRidgeEncoder(bands=[3, 2], concentration=(0.5,), seed=4)
    with pytest.raises(NotFittedError):
        encoder.predict(np.ones((2, 5)))
    with pytest.raises(NotFittedError):
        encoder.predict_bands(np.ones((2, 5)))
    copy = clone(encoder)
    assert repr(copy.get_params()) == repr(encoder.get_params())


@pytest.mark.parametrize(
    ("bands", "X", "error", "message"),
    [
        ([3, 3], np.ones((9, 5)), ValueError, "neither widths that sum to 5"),
        ([5, 0], np.ones((9, 5)), ValueError, "bands gives band 1 0 features; leave out"),
        ([7, -2], np.ones((9, 5)), ValueError, "bands gives band 1 -2 features"),
        ([0, 1, 2], np.ones((9, 3)), ValueError, "could be widths or labels"),
        ([2.0, 3.0], np.ones((9, 5)), ValueError, "holds float64; give the widths"),
        ([[2, 3]], np.ones((9, 5)), ValueError, r"bands has shape \(1, 2\)"),
        ([2, 3], {"a": np.ones((9, 2))}, ValueError, "leave bands=None"),
        (None, {}, ValueError, "X is an empty mapping"),
        (None, {"a": np.ones((9, 2)), "b": np.ones((8, 2))}, ValueError, "'a': 9, 'b': 8.*one row a sample"),
        (None, {"a": np.ones((9, 2)), "b": np.ones((9, 0))}, ValueError, r"X\['b'\] has 0"),
        (None, {"a": np.ones((9, 2)), "b": np.ones(9)}, ValueError, r"X\['b'\] has shape \(9,\)"),
        (None, {"a": np.ones((9, 2)), "b": np.full((9, 1), np.nan)}, ValueError, "X has 9 NaN"),
        (None, {"a": csr_matrix(np.ones((9, 2)))}, TypeError, r"X\['a'\] is a sparse matrix"),
    ],
)
def test_bad_bands_are_named_before_work_starts(bands, X, error, message):
    with pytest.raises(error, match=message):
        BandedRidgeEncoder(bands=bands).fit(X, np.random.default_rng(0).standard_normal((9, 2)))


def test_bad_input_to_predict_is_named():
    X, Y = simulate()
    encoder = BandedRidgeEncoder(alphas=ALPHAS, n_draws=2).fit(X, Y)
    with pytest.raises(ValueError, match="X has 19 features, but BandedRidgeEncoder is expecting 20"):
        encoder.predict(joined(X)[:, 1:])
    with pytest.raises(ValueError, match=r"band 'wordz'.*words"):
        encoder.predict({**X, "wordz": X["words"]})
    with pytest.raises(ValueError, match="X lacks the bands gabor, words"):
        encoder.predict({"pixels": X["pixels"]})
    with pytest.raises(ValueError, match=r"X\['gabor'\] has 3 features, and had 4 in fit"):
        encoder.predict({**X, "gabor": X["gabor"][:, 1:]})
    X["gabor"][3, 1] = np.inf
    with pytest.raises(ValueError, match="X has 1 NaN or infinite"):
        encoder.predict(X)
    with pytest.raises(ValueError, match="requires y to be passed"):
        encoder.fit(X, None)
