"""OAT as an observer: its searches, what it keeps, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError

from cogmodels.search import SearchModel
from cogmodels.search.oat.oat import OAT
from cogmodels.search.oat.training import PUBLISHED_TRAINING
from encoders import RidgeEncoder
from encoders.persistence import save_encoder
from encoders.training.settings import Training
from stimuli.files import hash_file, read_json, write_json
from stimuli.search_displays import SearchDisplays
from tests.cogmodels.oat_cases import image_shelves, random_trials, tiny_oat, vector_shelves


@pytest.fixture(scope="module")
def displays():
    return vector_shelves(6)


@pytest.fixture(scope="module")
def fitted(displays):
    return tiny_oat().fit(random_trials(displays), displays)


def test_several_rollouts_are_several_observers(fitted, displays):
    paths = fitted.search(displays, n_rollouts=3, seed=1)
    assert isinstance(fitted, SearchModel)
    assert paths.observers == ["OAT#0", "OAT#1", "OAT#2"]
    assert paths.displays == displays.display_ids
    paths.check_on(displays)
    lengths = paths.trials["n_fixations"]
    assert lengths.min() >= 1
    assert lengths.max() <= fitted.max_length_
    targets = {display.display_id: display.target_item for display in displays}
    ends = [
        objects[-1] == targets[name]
        for name, objects in zip(paths.trials["display"], paths.objects(), strict=True)
    ]
    np.testing.assert_array_equal(paths.trials["found"], ends)
    at_centres = paths.assign_objects(displays).table["object"]
    np.testing.assert_array_equal(at_centres, paths.table["object"])


def test_what_comes_of_a_display_depends_on_seed_and_rollout_alone(fitted, displays):
    all_of_them = fitted.search(displays, n_rollouts=4, seed=1)
    some = fitted.search(displays[[4, 2]], n_rollouts=2, seed=1)
    for observer in some.observers:
        for name in some.displays:
            one, other = (paths.select(observer, name).objects()[0] for paths in (some, all_of_them))
            np.testing.assert_array_equal(one, other)
    another = fitted.search(displays, n_rollouts=4, seed=2)
    assert not all_of_them.table["object"].equals(another.table["object"])


def test_a_single_rollout_takes_the_likeliest_steps(fitted, displays):
    paths = fitted.search(displays, seed=1)
    assert paths.observers == ["OAT"]
    for steps, objects in zip(fitted.step_probabilities(paths, displays), paths.objects(), strict=True):
        likeliest = steps.argmax(axis=1)
        np.testing.assert_array_equal(likeliest[: len(objects)], objects)
        assert likeliest[-1] == len(displays[0].items) or len(objects) == fitted.max_length_
    assert not fitted.search(displays, seed=1, sample=True).table.equals(paths.table)


def test_searches_of_another_layout_need_no_training(fitted):
    larger = vector_shelves(3, (3, 5), prefix="larger")
    paths = fitted.search(larger, n_rollouts=5)
    assert paths.table["object"].max() > 8
    vocabulary = tiny_oat(head="vocabulary")
    small = vector_shelves(5)
    vocabulary.fit(random_trials(small), small)
    assert len(vocabulary.search(small, n_rollouts=2)) == 10
    with pytest.raises(ValueError, match=r"15 objects; the vocabulary was trained for 8.*head='pointer'"):
        vocabulary.search(larger)


@pytest.mark.parametrize("positions", ["sinusoid", "index", "none"])
def test_other_positions_can_be_compared(positions, displays):
    model = tiny_oat(positions=positions).fit(random_trials(displays), displays)
    assert len(model.search(displays, n_rollouts=2)) == 2 * len(displays)


@pytest.mark.parametrize("case", ["features", "images"])
def test_a_saved_model_searches_to_the_bit(case, tmp_path):
    if case == "features":
        displays, model = vector_shelves(4), tiny_oat(head="vocabulary", training=Training(n_epochs=1))
    else:
        displays, model = (
            image_shelves(4),
            tiny_oat(crop_size_px=None, pyramid_levels=2, training=Training(n_epochs=1)),
        )
    model.fit(random_trials(displays), displays)
    model.save(tmp_path / "oat")
    loaded = OAT.load(tmp_path / "oat")
    assert loaded.get_params() == model.get_params()
    one, other = (each.search(displays, n_rollouts=3, seed=4).table for each in (model, loaded))
    assert one.equals(other)
    steps = [
        np.concatenate(each.step_probabilities(random_trials(displays), displays)) for each in (model, loaded)
    ]
    assert steps[0].tobytes() == steps[1].tobytes()


def test_what_is_no_saved_oat_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "oat")
    weights = tmp_path / "oat" / "arrays.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match="corrupt, truncated"):
        OAT.load(tmp_path / "oat")
    weights.write_bytes(whole)
    arrays = load_file(weights)
    name = next(key for key in arrays if key.endswith("mix.weight"))
    save_file(arrays | {name: np.zeros((3, 3), dtype=np.float32)}, weights)
    content = read_json(tmp_path / "oat" / "encoder.json")
    write_json(tmp_path / "oat" / "encoder.json", content | {"arrays_sha256": hash_file(weights)})
    with pytest.raises(ValueError, match="no sound OAT"):
        OAT.load(tmp_path / "oat")
    rng = np.random.default_rng(0)
    ridge = RidgeEncoder(alphas=1.0).fit(rng.standard_normal((9, 2)), rng.standard_normal((9, 2)))
    save_encoder(ridge, tmp_path / "ridge")
    with pytest.raises(ValueError, match="holds a RidgeEncoder"):
        OAT.load(tmp_path / "ridge")
    with pytest.raises(FileNotFoundError):
        OAT.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="not fitted"):
        tiny_oat().save(tmp_path / "unfitted")


def test_defaults_are_published():
    model, training = OAT(), PUBLISHED_TRAINING
    # Fang et al. 2024, their code
    assert (model.d_model, model.n_layers, model.n_heads, model.d_feedforward, model.dropout) == (
        512,
        4,
        4,
        512,
        0.1,
    )
    assert (model.positions, model.sigma, model.head, model.crop_size_px) == (
        "distance",
        2.0,
        "pointer",
        (93, 150),
    )
    assert (training.lr, training.batch_size, training.n_epochs, training.patience_epochs) == (
        1e-4,
        20,
        500,
        30,
    )
    assert (training.clip_norm, training.weight_decay, training.schedule) == (1.0, 0.0, "constant")
    assert not model.reveal_target_position  # the published code reveals it
    assert OAT.small(n_layers=1).n_layers == 1


def test_bad_settings_and_displays_are_refused_before_training(displays):
    paths = random_trials(displays)
    for options, message in (
        ({"positions": "distanc"}, "did you mean 'distance'"),
        ({"head": "point"}, "did you mean 'pointer'"),
        ({"stop_by": "dleta"}, "did you mean 'delta'"),
        ({"objects": "image"}, "did you mean 'images'"),
        ({"objects": "images"}, "has no image, which"),
        ({"n_validation_rollouts": 0}, "n_validation_rollouts is 0"),
        ({"training": Training(device="cuda:99")}, "cuda:99"),
        ({"max_grid": 3}, r"4 rows or columns, the positional code 3: set max_grid"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_oat(**options).fit(paths, displays)
    uneven = SearchDisplays([*displays[:5], replace(vector_shelves(6, n_features=7)[5])])
    with pytest.raises(ValueError, match=r"\[5, 7\] features"):
        tiny_oat().fit(paths, uneven)
    with pytest.raises(KeyError, match="d5"):
        tiny_oat().fit(paths, displays[:5])


def test_searching_refuses_what_it_cannot_read(fitted, displays):
    with pytest.raises(NotFittedError):
        tiny_oat().search(displays)
    with pytest.raises(ValueError, match="has 7 features; the model was made for 5"):
        fitted.search(vector_shelves(1, n_features=7))
    with pytest.raises(ValueError, match="displays is empty"):
        fitted.search([])
    with pytest.raises(ValueError, match="n_rollouts is 0"):
        fitted.search(displays, n_rollouts=0)


def test_two_absent_targets_can_be_searched_for(fitted, displays):
    absent = replace(displays[0], target_item=None, target_features=np.ones(5))
    paths = fitted.search(SearchDisplays([absent]), n_rollouts=5)
    assert not paths.trials["found"].any()
