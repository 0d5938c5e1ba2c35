import numpy as np
import pytest
from sklearn.base import clone

from encoders import AttentionEncoder, SpatialFeatureEncoder, load_encoder, save_encoder
from encoders.tokens import as_token_source
from encoders.training.settings import Training
from tests.encoders.routed_tokens import GRID, simulate_routing
from tests.oracles.attention import spatial_network

MASKS = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize("queries", ["voxel", "all", MASKS], ids=["voxel", "all", "masks"])
def test_a_fixed_receptive_field_is_found(queries):
    tokens, Y, place = simulate_routing("fixed")
    X = as_token_source(tokens, GRID)
    encoder = SpatialFeatureEncoder(queries, training=Training(lr=0.03, n_epochs=25)).fit(X[:1000], Y[:1000])
    assert encoder.correlation(X[1000:], Y[1000:]).mean() > 0.85  # noise allows 0.894
    maps = encoder.spatial_maps()
    assert maps.shape == ({"voxel": 6, "all": 1}.get(queries, 2) if isinstance(queries, str) else 2, 25)
    assert (maps.argmax(1) == place[0]).all()
    assert maps.max(1).min() > 0.5


def test_maps_learn_faster_where_few_images_leave_few_steps():
    tokens, Y, place = simulate_routing("fixed")
    X = as_token_source(tokens, GRID)
    short = Training(lr=0.003, n_epochs=30, patience_epochs=None)
    slow, fast = (
        SpatialFeatureEncoder("all", map_lr_factor=f, training=short).fit(X[:300], Y[:300]) for f in (1, 10)
    )
    assert slow.spatial_maps().max() < 0.2
    assert fast.spatial_maps().max() > 0.5
    assert (fast.spatial_maps().argmax(1) == place[0]).all()
    assert fast.correlation(X[1000:], Y[1000:]).mean() > slow.correlation(X[1000:], Y[1000:]).mean() + 0.1


@pytest.mark.parametrize("factor", [0, -1.0, np.nan])
def test_maps_need_a_positive_rate(factor):
    encoder = SpatialFeatureEncoder("all", map_lr_factor=factor)
    with pytest.raises(ValueError, match="map_lr_factor is"):
        encoder.fit(np.zeros((20, 4, 3), np.float32), np.arange(20.0))


def test_a_code_of_the_whole_image_is_read_by_an_even_map_and_by_attention_alike():
    tokens, Y, _ = simulate_routing("global")
    X = as_token_source(tokens, GRID)
    spatial = SpatialFeatureEncoder("all", training=Training(lr=0.01, n_epochs=25)).fit(X[:1000], Y[:1000])
    attention = AttentionEncoder(d_model=64, n_heads=4, dropout=0.0, training=Training(lr=0.003, n_epochs=15))
    attention.fit(X[:1000], Y[:1000])
    r = [encoder.correlation(X[1000:], Y[1000:]).mean() for encoder in (spatial, attention)]
    assert r[0] > 0.83
    assert abs(r[0] - r[1]) < 0.05
    entropy = -(spatial.spatial_maps() * np.log2(spatial.spatial_maps())).sum()
    assert entropy > 0.95 * np.log2(25)


@pytest.mark.parametrize("queries", ["voxel", MASKS], ids=["voxel", "masks"])
def test_predictions_are_those_written_down(queries):
    tokens, Y, _ = simulate_routing("fixed", n=60)
    rng = np.random.default_rng(0)
    lesioned = rng.random(tokens.shape[:2]) < 0.3
    lesioned[:, 0] = False
    damaged = np.where(lesioned[..., None], np.nan, tokens)
    training = Training(lr=0.03, n_epochs=3, n_members=2)
    encoder = SpatialFeatureEncoder(queries, training=training).fit(damaged, Y)
    predicted, maps = [], []
    for m, member in enumerate(encoder.members_):
        rows = np.arange(6) if isinstance(queries, str) else encoder.modules()[m].readout.rows.numpy()
        scaled = (damaged.astype(float) - encoder.token_mean_[m]) / encoder.token_scale_[m]
        W, b = member["readout.weight"][rows], member["readout.bias"][rows]
        masks = None if isinstance(queries, str) else queries
        answer = spatial_network(scaled, ~lesioned, member["logits"], W, b, masks, "sum")
        predicted.append(answer * encoder.y_scale_[m] + encoder.y_mean_[m])
        e = np.exp(member["logits"])
        maps.append(e / e.sum(1, keepdims=True))
    np.testing.assert_allclose(encoder.predict(damaged), np.mean(predicted, 0), atol=1e-4)
    np.testing.assert_allclose(encoder.spatial_maps(), np.mean(maps, 0), atol=1e-5)


def test_some_maps_saved_and_named(tmp_path):
    tokens, Y, _ = simulate_routing("fixed", n=60)
    encoder = SpatialFeatureEncoder(MASKS, ["early", "late"], training=Training(n_epochs=1)).fit(tokens, Y)
    np.testing.assert_array_equal(encoder.spatial_maps("late"), encoder.spatial_maps()[1:])
    loaded = load_encoder(save_encoder(encoder, tmp_path / "encoder"))
    assert np.array_equal(loaded.predict(tokens), encoder.predict(tokens))
    assert np.array_equal(loaded.spatial_maps(["early"]), encoder.spatial_maps(["early"]))
    with pytest.raises(KeyError, match="did you mean 'early'"):
        encoder.spatial_maps("earl")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"queries": MASKS[1:]}, "2 of 6 voxels are in no mask"),
        ({"queries": "voxels"}, "allowed are 'all', 'voxel'"),
        ({"query_names": ["a"]}, "1 names.* for 6 queries"),
        ({"overlap": "max"}, "overlap"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, message):
    tokens, Y, _ = simulate_routing("fixed", n=60)
    with pytest.raises(ValueError, match=message):
        clone(SpatialFeatureEncoder(**parameters)).fit(tokens, Y)
