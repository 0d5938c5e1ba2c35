"""Training: what it minimises, what stops it, and that it can be interrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search import Scanpaths
from cogmodels.search.behaviour import statistics_delta
from cogmodels.search.oat.trials import fixated_objects, hold_out
from encoders.checkpoints import FolderCheckpoint
from tests.cogmodels.oat_cases import QUICK, image_shelves, random_trials, tiny_oat, vector_shelves
from tests.oracles import search_behaviour as behaviour_oracle


class Interrupt(Exception):
    """Raised by the test in place of a power cut."""


def stop_after(n_epochs):
    def progress(done, total, text):
        if done == n_epochs:
            raise Interrupt

    return progress


def split(displays, paths, n_train):
    names = [display.display_id for display in displays]
    return paths.select(displays=names[:n_train]), (paths.select(displays=names[n_train:]), displays)


def test_an_interrupted_training_ends_in_the_same_bits(tmp_path):
    displays = vector_shelves(8)
    paths = random_trials(displays)
    model = tiny_oat(training=replace(QUICK, n_epochs=5))
    whole = model.fit(paths, displays)
    checkpoint = FolderCheckpoint(tmp_path, {"test": 1})
    resumed = tiny_oat(training=replace(QUICK, n_epochs=5))
    for n_epochs in (2, 4):
        with pytest.raises(Interrupt):
            resumed.fit(paths, displays, checkpoint=checkpoint, progress=stop_after(n_epochs))
    seen = []
    resumed.fit(paths, displays, checkpoint=checkpoint, progress=lambda done, total, text: seen.append(done))
    assert seen == [5]
    assert resumed.best_epoch_ == whole.best_epoch_
    for name, value in whole.weights_.items():
        assert value.tobytes() == resumed.weights_[name].tobytes()
    for name, values in whole.history_.items():
        np.testing.assert_array_equal(values, resumed.history_[name])


def test_a_checkpoint_of_other_trials_is_not_taken(tmp_path):
    displays = vector_shelves(6)
    checkpoint = FolderCheckpoint(tmp_path, {"test": 1})
    tiny_oat().fit(random_trials(displays), displays, checkpoint=checkpoint)
    other = random_trials(displays, seed=1)
    with_checkpoint = tiny_oat().fit(other, displays, checkpoint=checkpoint)
    without = tiny_oat().fit(other, displays)
    np.testing.assert_array_equal(with_checkpoint.history_["train_loss"], without.history_["train_loss"])


def test_the_same_seed_gives_the_same_bits_and_leaves_torch_as_it_was():
    displays = vector_shelves(5)
    before = torch.random.get_rng_state()
    one, two = (tiny_oat().fit(random_trials(displays), displays) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    other = tiny_oat(training=replace(QUICK, seed=1)).fit(random_trials(displays), displays)
    assert all(value.tobytes() == two.weights_[name].tobytes() for name, value in one.weights_.items())
    assert not np.array_equal(one.weights_["mix.weight"], other.weights_["mix.weight"])


def test_positions_are_not_trained():
    displays = vector_shelves(5)
    model = tiny_oat(training=replace(QUICK, n_epochs=2)).fit(random_trials(displays), displays)
    untouched = model._build().state_dict()
    for name in ("places.sides", "places.mark"):
        np.testing.assert_array_equal(model.weights_[name], untouched[name])


def test_the_loss_is_the_mean_surprise_of_the_steps_taken():
    displays = vector_shelves(6)
    paths = random_trials(displays)
    trained, validation = split(displays, paths, 4)
    model = tiny_oat(stop_by="loss", training=replace(QUICK, n_epochs=4)).fit(
        trained, displays, validation=validation
    )
    surprises = []
    for steps, objects in zip(model.step_probabilities(*validation), validation[0].objects(), strict=True):
        surprises += [-np.log(step[choice]) for step, choice in zip(steps, [*objects, -1], strict=True)]
    assert model.history_["validation_loss"][model.best_epoch_] == pytest.approx(np.mean(surprises), rel=1e-4)
    assert model.best_epoch_ == np.argmin(model.history_["validation_loss"])


def test_delta_of_rollouts_chooses_the_epoch():
    displays = vector_shelves(8)
    trained, validation = split(displays, random_trials(displays), 5)
    model = tiny_oat(training=replace(QUICK, n_epochs=6), n_validation_rollouts=20)
    model.fit(trained, displays, validation=validation)
    assert model.best_epoch_ == np.argmax(model.history_["validation_score"])
    # other random numbers than in training: only of about the same size
    targets = {display.display_id: display.target_item for display in displays}
    rolled = model.search(displays.select(validation[0].displays), n_rollouts=300, seed=5)
    means = [
        np.mean(
            [
                behaviour_oracle.sequence_statistics(list(objects), targets[name])
                for name, objects in zip(paths.trials["display"], paths.objects(), strict=True)
            ],
            axis=0,
        )
        for paths in (rolled, validation[0])
    ]
    assert statistics_delta(*means) == pytest.approx(-model.history_["validation_score"].max(), abs=0.25)


def test_training_stops_when_patience_is_over():
    displays = vector_shelves(6)
    training = replace(QUICK, n_epochs=40, patience_epochs=2)
    model = tiny_oat(training=training).fit(random_trials(displays), displays)
    assert len(model.history_["lr"]) == min(40, model.best_epoch_ + 3)


@pytest.mark.parametrize("options", [{"crop_size_px": (40, 60)}, {"crop_size_px": None, "pyramid_levels": 2}])
def test_image_crops_are_learnt_from_end_to_end(options):
    displays = image_shelves(5)
    model = tiny_oat(training=replace(QUICK, n_epochs=2), **options).fit(random_trials(displays), displays)
    assert model.objects_ == "images"
    before = model._build().state_dict()["embedding.convolutions.0.weight"].shape
    assert model.weights_["embedding.convolutions.0.weight"].shape == before == (16, 3, 5, 5)
    assert len(model.search(displays, n_rollouts=2)) == 10


def test_trials_that_choose_the_epoch_are_not_trained_on():
    displays = vector_shelves(4)
    paths = random_trials(displays)
    with pytest.raises(ValueError, match=r"2 trials of validation are trained on \(first \('s0', 'd3', 0\)"):
        tiny_oat().fit(paths, displays, validation=(paths.select(displays=["d3"]), displays))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 9), st.floats(0.01, 0.99), st.integers(0, 3))
def test_held_out_displays_are_whole_and_apart(n_displays, fraction, seed):
    paths = random_trials(vector_shelves(n_displays))
    trained, held_out = hold_out(paths, fraction, seed)
    assert not set(trained.displays) & set(held_out.displays)
    assert len(trained) + len(held_out) == len(paths)
    assert len(held_out.displays) == min(max(1, round(fraction * n_displays)), n_displays - 1)


def test_one_display_cannot_be_divided():
    displays = vector_shelves(1)
    with pytest.raises(ValueError, match="on one display"):
        tiny_oat().fit(random_trials(displays), displays)


def test_fixations_beside_objects_count_for_the_nearest_and_still_eyes_are_left_out():
    (display,) = displays = vector_shelves(1, (2, 4))
    below = display.items["y_px"].max() + display.items["height_px"].max() / 2 + 1
    paths = Scanpaths.from_lists(
        [[display.start_px, (10, 10), (399, below)], [display.start_px]], "p", ["d0", "d0"], start=True
    )
    sequences, owner = fixated_objects(paths, displays)
    assert [sequence.tolist() for sequence in sequences] == [[0, 7]]
    assert owner.tolist() == [0]
    with pytest.raises(ValueError, match="no fixation after the start"):
        fixated_objects(Scanpaths.from_lists([[display.start_px]], "p", "d0", start=True), displays)
    wrong = Scanpaths.from_lists([[(1, 1)]], "p", "d0", objects=[[8]])
    with pytest.raises(ValueError, match="object 8 of 8"):
        fixated_objects(wrong, displays)
