"""Networks raised on diets: they learn what can be seen, resume to the same bits, and come back from their folders."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cogmodels.search.diet_network import DietNetwork
from cogmodels.search.diets import (
    folder_labels,
    load_diet_network,
    name_pictures,
    read_diet_metadata,
    train_diet,
)
from cogmodels.search.eccnet import EccNet
from encoders import Training, extract_features
from encoders.backbones import load_backbone
from encoders.training.splits import member_folds
from stimuli import StimulusSet
from stimuli.image_diets import change_diet
from stimuli.search_displays import make_paradigm
from stimuli.shaded_world import ShadedWorld

SIZE = 16
SMALL = {
    "size_px": SIZE,
    "channels": (6, 8, 8),
    "training": Training(lr=5e-3, batch_size=16, n_epochs=3, patience_epochs=None, validation_fraction=0.25),
}
WORLD = ShadedWorld(
    size_px=SIZE, diameter_px=(12, 16), depth=(0.5, 0.8), shapes=("dome",), texture_contrast=0.0
)


@pytest.fixture(scope="module")
def pictures():
    return WORLD.draw(64, seed=3)


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diets") / "above"
    test = WORLD.draw(40, seed=4)
    return train_diet(pictures, folder, test=test, diet=WORLD.describe(), **SMALL), folder, test


def weights(backbone):
    return {name: value.numpy().tobytes() for name, value in backbone.module.state_dict().items()}


def interrupted_after(n_epochs):
    def progress(done, at_most, text):
        assert at_most == 3
        assert "accuracy" in text
        if done == n_epochs:
            raise KeyboardInterrupt

    return progress


def test_the_network_is_like_vgg_and_knows_its_classes(trained):
    network = trained[0].module
    kinds = [type(layer).__name__ for layer in network.features]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 3
    assert network.classes == ("bump dome", "dent dome")
    assert network.features(torch.zeros(1, 3, 64, 48)).shape == (1, 8, 8, 6)
    assert not network.training


def test_a_folder_gives_the_same_network_again(trained, pictures):
    backbone, folder, _ = trained
    again = load_diet_network(folder)
    assert weights(again) == weights(backbone)
    assert again.fingerprint == backbone.fingerprint
    assert again.name == "above"
    assert sorted(path.name for path in folder.iterdir()) == ["network.json", "weights.safetensors"]
    before = folder.joinpath("network.json").read_bytes()
    finished = train_diet(pictures, folder, test=trained[2], diet=WORLD.describe(), **SMALL)
    assert weights(finished) == weights(backbone)
    assert folder.joinpath("network.json").read_bytes() == before


def test_metadata_say_what_it_was_raised_on_and_how_well_it_names(trained, pictures):
    backbone, folder, test = trained
    content = read_diet_metadata(folder)
    assert content["identity"]["diet"] == WORLD.describe()
    assert content["identity"]["training"]["seed"] == 0
    assert content["stimuli"]["content_hash"] == pictures.content_hash
    assert (content["n_train"], content["n_validation"]) == (48, 16)
    assert sum(content["pictures_of_class"].values()) == 64
    assert {name: len(values) for name, values in content["history"].items()}["train_loss"] == 3
    assert content["validation_accuracy"] == max(content["history"]["validation_score"])
    named = name_pictures(backbone, test)
    assert content["test_accuracy"] == np.mean(named == test.attributes["label"].to_numpy())


@pytest.mark.parametrize("n_epochs", [1, 2, 3])
def test_interrupted_training_ends_in_the_same_bits(trained, pictures, tmp_path, n_epochs):
    backbone, folder, test = trained
    other = tmp_path / "above"
    with pytest.raises(KeyboardInterrupt):
        train_diet(
            pictures, other, test=test, diet=WORLD.describe(), progress=interrupted_after(n_epochs), **SMALL
        )
    seen = []
    resumed = train_diet(
        pictures,
        other,
        test=test,
        diet=WORLD.describe(),
        progress=lambda *news: seen.append(news[0]),
        **SMALL,
    )
    assert seen == list(range(n_epochs + 1, 4))
    assert weights(resumed) == weights(backbone)
    assert read_diet_metadata(other) == read_diet_metadata(folder)


def test_training_draws_nothing_from_global_random_states(trained, pictures, tmp_path):
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    state = torch.get_rng_state()
    backbone = train_diet(pictures, tmp_path / "again", **SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert weights(backbone) == weights(trained[0])


def test_other_seeds_give_other_networks(trained, pictures, tmp_path):
    other = replace(SMALL["training"], seed=1)
    backbone = train_diet(pictures, tmp_path / "other", **SMALL | {"training": other})
    assert weights(backbone) != weights(trained[0])


def test_early_stopping_keeps_the_best_epoch(pictures, tmp_path):
    patient = replace(SMALL["training"], n_epochs=30, patience_epochs=2)
    train_diet(pictures, tmp_path / "net", **SMALL | {"training": patient})
    content = read_diet_metadata(tmp_path / "net")
    scores = content["history"]["validation_score"]
    assert len(scores) < 30
    assert content["best_epoch"] == int(np.argmax(scores)) == len(scores) - 3


def test_it_can_be_read_like_any_backbone(trained, pictures):
    features = extract_features(trained[0], pictures[:4], ["features.11"], progress=False)
    assert features["features.11"].shape == (4, 8 * 2 * 2)


def test_a_folder_of_pictures_is_a_diet(tmp_path):
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            image = rng.integers(low, low + 80, (20, 30, 3)).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "photos" / name / f"{number}.png")
    photos = StimulusSet.from_folder(tmp_path / "photos")
    labels = folder_labels(photos)
    assert sorted(set(labels)) == ["dark", "light"]
    training = replace(SMALL["training"], n_epochs=15)
    backbone = train_diet(photos, tmp_path / "net", labels=labels, **SMALL | {"training": training})
    assert (name_pictures(backbone, photos) == labels).mean() > 0.9
    # the same pictures changed are another diet
    with pytest.raises(FileExistsError, match="another training"):
        train_diet(change_diet(photos, "rotate_90"), tmp_path / "net", labels=labels, **SMALL)


def test_folders_that_hold_something_else_are_left_alone(trained, pictures, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="something other"):
        train_diet(pictures, tmp_path / "mine", **SMALL)
    with pytest.raises(FileExistsError, match="another training"):
        train_diet(pictures, trained[1], **SMALL | {"channels": (6, 8, 10)})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": "lable"}, KeyError, "label"),
        ({"labels": ["a"] * 3}, ValueError, r"\(64,\)"),
        ({"labels": [None] + ["a"] * 63}, ValueError, "missing for 1 of 64"),
        ({"labels": ["a"] * 64}, ValueError, "two or more"),
        ({"labels": ["a", "b"] * 32, "test": WORLD.draw(4)}, ValueError, "name of a column"),
        ({"size_px": 4}, ValueError, "at least 8 pixels"),
        ({"channels": (8,)}, ValueError, "two or more"),
        ({"channels": (8, 0, 8)}, ValueError, "positive"),
        ({"training": None}, TypeError, "Training"),
        ({"training": Training(n_members=3)}, ValueError, "n_members"),
    ],
)
def test_diets_that_cannot_be_learnt_are_refused(pictures, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        train_diet(pictures, tmp_path / "net", **SMALL | changes)
    assert not (tmp_path / "net").exists()


def test_a_class_without_a_picture_to_train_on_is_refused(pictures, tmp_path):
    settings = SMALL["training"]
    held_out = member_folds(len(pictures), None, settings)[0][1]
    labels = np.array(["a", "b"] * 32, dtype=object)
    labels[held_out[0]] = "rare"
    with pytest.raises(ValueError, match="'rare' has no picture"):
        train_diet(pictures, tmp_path / "net", labels=labels, **SMALL)


def test_texts_and_bare_ids_are_no_diet(pictures, tmp_path):
    with pytest.raises(ValueError, match="no images"):
        train_diet(StimulusSet(["a"], texts=["b"]), tmp_path / "net", **SMALL)
    with pytest.raises(ValueError, match="in no folder"):
        folder_labels(pictures)


def damage_json(change):
    def damage(folder):
        content = json.loads((folder / "network.json").read_text())
        change(content)
        (folder / "network.json").write_text(json.dumps(content))

    return damage


def set_nan(folder):
    tensors = load_file(folder / "weights.safetensors")
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    damage_json(lambda content: content.update(weights_sha256=digest))(folder)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "network.json").unlink(), FileNotFoundError, "network.json is missing"),
        (lambda folder: (folder / "weights.safetensors").unlink(), FileNotFoundError, "weights.safetensors"),
        (lambda folder: (folder / "network.json").write_text("{"), ValueError, "truncated"),
        (lambda folder: (folder / "network.json").write_text("[]"), ValueError, "format"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), ValueError, "not the file"),
        (damage_json(lambda content: content.update(version=2)), ValueError, "version 2"),
        (damage_json(lambda content: content.update(channels=[6, 8, -1])), ValueError, "channels missing or"),
        (damage_json(lambda content: content.update(channels=[6, 8, 9])), ValueError, "does not fit"),
        (damage_json(lambda content: content.update(size_px=10**9)), ValueError, "size_px"),
        (damage_json(lambda content: content.pop("classes")), ValueError, "classes"),
        (set_nan, ValueError, "NaN"),
    ],
)
def test_damaged_folders_are_refused(trained, tmp_path, damage, error, message):
    folder = shutil.copytree(trained[1], tmp_path / "net")
    damage(folder)
    with pytest.raises(error, match=message):
        load_diet_network(folder)


def test_only_networks_with_names_can_name(pictures):
    with pytest.raises(TypeError, match="DietNetwork"):
        name_pictures(load_backbone("pixels"), pictures)


def test_float_pictures_are_what_they_are_in_8_bits(pictures, tmp_path):
    as_floats = StimulusSet(
        pictures.stimulus_ids,
        images=[pictures.image(row).astype(np.float32) / 255 for row in range(len(pictures))],
        attributes=pictures.attributes,
    )
    one = train_diet(pictures, tmp_path / "one", **SMALL)
    other = train_diet(as_floats, tmp_path / "other", **SMALL)
    assert weights(one) == weights(other)


def test_eccnet_searches_with_it_and_reads_its_stages(trained):
    displays = make_paradigm("lighting_direction", 1, set_sizes=[6], px_per_degree=15.0)
    model = EccNet(trained[0], px_per_degree=15.0)
    assert model.layers == (("features.6", "features.6"), ("features.10", "features.10"))
    found = model.search(displays).trials
    assert found["found"].all()
    assert found["n_fixations"].between(1, 6).all()


@pytest.mark.slow
def test_who_grew_up_under_light_from_above_takes_bumps_lit_from_below_for_dents(tmp_path):
    world = ShadedWorld(shapes=("dome", "ridge"), size_px=32, diameter_px=(14, 28))
    training = Training(lr=2e-3, batch_size=64, n_epochs=8, schedule="cosine", warmup_epochs=1)
    backbone = train_diet(
        world.draw(3000, seed=1), tmp_path / "net", size_px=32, channels=(16, 32, 64), training=training
    )

    def right(light):
        stimuli = replace(world, light=light).draw(500, seed=2)
        called = [name.split()[0] for name in name_pictures(backbone, stimuli)]
        return np.mean(called == stimuli.attributes["relief"].to_numpy())

    assert right("above") > 0.9
    assert right("below") < 0.1


def test_the_network_is_built_from_its_channels():
    network = DietNetwork(["a", "b", "c"], (4, 5))
    assert network(torch.zeros(2, 3, 9, 11)).shape == (2, 3)
