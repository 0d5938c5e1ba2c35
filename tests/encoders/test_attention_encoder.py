import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from encoders import AttentionEncoder, SpatialFeatureEncoder, load_encoder, save_encoder
from encoders.routing.attention_network import AttentionNetwork
from encoders.tokens import as_token_source
from encoders.training.settings import Training
from tests.encoders.routed_tokens import GRID, simulate_routing
from tests.oracles.attention import attention_network

SHORT = Training(lr=0.01, n_epochs=2, batch_size=16)
MASKS = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]], bool)


@pytest.fixture(scope="module")
def small():
    tokens, Y, _ = simulate_routing("content", n=60)
    return as_token_source(tokens, GRID), Y


@pytest.fixture(scope="module")
def fitted(small):
    X, Y = small
    encoder = AttentionEncoder(
        MASKS,
        ["early", "late"],
        d_model=8,
        n_heads=2,
        d_feedforward=6,
        n_decoder_layers=2,
        n_encoder_layers=1,
        training=Training(lr=0.01, n_epochs=2, batch_size=16, n_members=2),
    )
    return encoder.fit(X, Y)


def test_content_dependent_routing_is_found_and_beats_a_fixed_map():
    tokens, Y, place = simulate_routing("content")
    X = as_token_source(tokens, GRID)
    training = Training(lr=0.003, n_epochs=15)
    attention = AttentionEncoder(d_model=64, n_heads=4, dropout=0.0, training=training).fit(
        X[:1000], Y[:1000]
    )
    spatial = SpatialFeatureEncoder("all", training=Training(lr=0.03, n_epochs=20)).fit(X[:1000], Y[:1000])
    r = attention.correlation(X[1000:], Y[1000:]).mean()
    # the most that noise allows is 1 / sqrt(1 + 0.5 ** 2) = 0.894
    assert r > 0.8
    assert r > spatial.correlation(X[1000:], Y[1000:]).mean() + 0.1
    maps = attention.attention_maps(X[1000:]).mean(axis=(1, 2))
    assert maps.shape == (200, *GRID)
    assert (maps.reshape(200, -1).argmax(1) == place[1000:]).mean() >= 0.9


def test_a_fixed_receptive_field_is_found_through_positions():
    tokens, Y, place = simulate_routing("fixed")
    X = as_token_source(tokens, GRID)
    training = Training(lr=0.003, n_epochs=20)
    attention = AttentionEncoder(d_model=64, n_heads=4, dropout=0.0, training=training).fit(
        X[:1000], Y[:1000]
    )
    assert attention.correlation(X[1000:], Y[1000:]).mean() > 0.8
    # Chance is 1 / 25; a head whose answer is not used may look anywhere, and counts in the mean over heads.
    assert (attention.attention(X[1000:]).mean(axis=(1, 2)).argmax(1) == place[1000:]).mean() >= 0.6


def test_predictions_and_attention_are_those_written_down(fitted, small):
    X, _ = small
    rows = np.array([3, 50, 7])
    raw = X.read(rows).astype(float)
    predicted, maps = [], []
    for m, member in enumerate(fitted.members_):
        network = fitted.modules()[m]
        weights = dict(member)
        weights["decoder.0.norm.bias"] = weights.pop("decoder.0.shift")
        weights["decoder.0.norm.weight"] = np.ones(8)
        answer, attention = attention_network(
            (raw - fitted.token_mean_[m]) / fitted.token_scale_[m],
            None,
            weights,
            network.positions.codes().numpy(),
            MASKS,
            n_heads=2,
            n_encoder_layers=1,
            n_decoder_layers=2,
            overlap="sum",
            order=network.readout.voxels.numpy(),
        )
        predicted.append(answer * fitted.y_scale_[m] + fitted.y_mean_[m])
        maps.append(attention)
    np.testing.assert_allclose(fitted.predict(X[rows]), np.mean(predicted, 0), atol=1e-4)
    np.testing.assert_allclose(fitted.attention(X[rows]), np.mean(maps, 0), atol=1e-5)


def test_attention_of_some_queries(fitted, small):
    X, _ = small
    every = fitted.attention(X[:5])
    assert every.shape == (5, 2, 2, 25)
    np.testing.assert_allclose(every.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(fitted.attention(X[:5], queries=["late"]), every[:, 1:], atol=1e-6)
    np.testing.assert_allclose(
        fitted.attention_maps(X[:5], queries=[1]), every[:, 1:].reshape(5, 1, 2, 5, 5), atol=1e-6
    )
    assert fitted.query_embeddings_.shape == (2, 2, 8)
    with pytest.raises(KeyError, match="did you mean 'early'"):
        fitted.attention(X[:5], queries="earl")


def test_attention_that_would_fill_the_memory_is_refused(fitted, small, monkeypatch):
    monkeypatch.setattr("encoders.estimators.attention._MOST_BYTES", 4 * 5 * 2 * 25)
    with pytest.raises(ValueError, match=r"choose queries=\[\.\.\.\]"):
        fitted.attention(small[0][:5])


def test_what_is_no_token_is_never_attended_to_and_never_matters(small):
    X, Y = small
    tokens = X.read()
    rng = np.random.default_rng(0)
    lesioned = rng.random(tokens.shape[:2]) < 0.3
    lesioned[:, 0] = False
    damaged = np.where(lesioned[..., None], np.nan, tokens)
    for layers in (0, 1):
        encoder = AttentionEncoder("voxel", n_heads=2, n_encoder_layers=layers, training=SHORT).fit(
            damaged, Y
        )
        weights = encoder.attention(damaged)
        assert (weights.transpose(0, 3, 1, 2)[lesioned] == 0).all()
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        # as if the tokens were not there: words without positions, the padding cut off
        short = AttentionEncoder(
            "voxel", n_heads=2, positions="none", n_encoder_layers=layers, training=SHORT
        )
        words = tokens.copy()
        words[:, 20:] = np.nan
        short.fit(words, Y)
        network, full = short.modules()[0], torch.from_numpy(tokens[:4])
        mask = torch.arange(25).expand(4, -1) < 20
        padded = network(full.masked_fill(~mask[..., None], 0), mask)
        torch.testing.assert_close(padded, network(full[:, :20]), atol=1e-4, rtol=1e-4)


def test_a_voxel_in_two_masks_predicts_the_sum_or_the_mean(small):
    X, Y = small
    summed = AttentionEncoder(MASKS, n_heads=2, training=SHORT).fit(X, Y)
    averaged = clone(summed).set_params(overlap="mean").fit(X, Y)
    averaged.members_ = summed.members_
    tokens = torch.from_numpy(X.read())
    first, second = (encoder.modules()[0](tokens) for encoder in (summed, averaged))
    torch.testing.assert_close(first / torch.from_numpy(MASKS.sum(0)), second)


def test_saved_and_loaded_predicts_to_the_bit(fitted, small, tmp_path):
    X, _ = small
    loaded = load_encoder(save_encoder(fitted, tmp_path / "encoder"))
    assert np.array_equal(loaded.predict(X), fitted.predict(X))
    assert np.array_equal(loaded.attention(X[:3], ["late"]), fitted.attention(X[:3], ["late"]))
    assert np.array_equal(loaded.queries, MASKS)
    assert loaded.training == fitted.training


def test_equal_seeds_give_equal_bits_and_others_do_not(small):
    X, Y = small
    encoder = AttentionEncoder("voxel", n_heads=2, query_chunk=4, training=SHORT)
    first, second = (clone(encoder).fit(X, Y).predict(X) for _ in range(2))
    assert np.array_equal(first, second)
    other = clone(encoder).set_params(training=Training(lr=0.01, n_epochs=2, batch_size=16, seed=1))
    assert not np.array_equal(first, other.fit(X, Y).predict(X))


def test_bfloat16_and_chunks_learn_about_the_same(small):
    X, Y = small
    plain = AttentionEncoder("voxel", n_heads=2, dropout=0.0, training=SHORT)
    reference = clone(plain).fit(X, Y).predict(X)
    chunked = clone(plain).set_params(query_chunk=4).fit(X, Y).predict(X)
    np.testing.assert_allclose(chunked, reference, atol=1e-3)
    half = clone(plain).set_params(
        training=Training(lr=0.01, n_epochs=2, batch_size=16, precision="bfloat16")
    )
    found = half.fit(X, Y).predict(X)
    assert np.corrcoef(found.ravel(), reference.ravel())[0, 1] > 0.98


def test_the_published_configuration():
    encoder = AttentionEncoder.published(MASKS, query_names=["a", "b"], n_epochs=3, device="cpu", dropout=0.2)
    training = encoder.training
    assert (encoder.d_model, encoder.n_heads, encoder.d_feedforward) == (768, 16, 1024)
    assert (encoder.n_decoder_layers, encoder.n_encoder_layers, encoder.activation, encoder.positions) == (
        1,
        0,
        "relu",
        "sine",
    )
    assert (training.lr, training.weight_decay, training.batch_size, training.clip_norm) == (
        5e-4,
        1e-4,
        16,
        0.1,
    )
    assert (training.schedule, training.lr_drop_factor) == ("step", 0.5)
    assert (training.scale_tokens, training.scale_targets) == (False, False)
    assert (training.n_epochs, encoder.dropout, encoder.overlap) == (3, 0.2, "sum")
    assert AttentionEncoder.published().training.n_epochs == 15
    with pytest.raises(TypeError, match="did you mean 'dropout'"):
        AttentionEncoder.published(drop_out=0.2)
    network = encoder.make_module(961, 768, (31, 31), 6, torch.Generator().manual_seed(0))
    assert isinstance(network, AttentionNetwork)
    assert network.projection is None


def test_clone_and_repr_do_no_work():
    encoder = AttentionEncoder(MASKS, n_heads=3)
    assert clone(encoder).get_params()["n_heads"] == 3
    with pytest.raises(NotFittedError):
        encoder.predict(np.ones((2, 3, 4)))
    with pytest.raises(NotFittedError):
        _ = encoder.query_embeddings_


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"n_heads": 5},
            "n_heads is 5, which does not divide the 12 channels of the tokens; these do: 1, 2, 3, 4, 6, 12",
        ),
        ({"d_model": 10, "n_heads": 3}, "does not divide the 10 of d_model; these do: 1, 2, 5, 10"),
        ({"d_model": 0}, "d_model is 0; .* at least 1, or None"),
        ({"n_decoder_layers": 0}, "n_decoder_layers is 0; .* at least 1"),
        ({"n_encoder_layers": -1}, "n_encoder_layers is -1; .* at least 0"),
        ({"n_heads": 1.5}, "n_heads is 1.5; it must be a whole number"),
        ({"positions": "sin"}, "did you mean 'sine'"),
        ({"activation": "relu6"}, "did you mean 'relu'"),
        ({"overlap": "average"}, "overlap"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"queries": MASKS[:1]}, "3 of 6 voxels are in no mask"),
        ({"query_names": ["a", "b"]}, "2 names.* for 1 queries"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_training(small, parameters, message):
    with pytest.raises(ValueError, match=message):
        AttentionEncoder(**parameters, training=SHORT).fit(*small)


def test_maps_need_a_grid(small):
    X, Y = small
    words = AttentionEncoder(training=SHORT).fit(X.read(), Y)
    with pytest.raises(ValueError, match="how these tokens lie in the image"):
        words.attention_maps(X)
