"""The network against plain NumPy, and what it must not depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cogmodels.search import Scanpaths
from cogmodels.search.oat.network import NetworkSizes
from cogmodels.search.oat.rollouts import DecoderCache, draw, roll_out
from cogmodels.search.oat.training import step_logits
from stimuli.search_displays import SearchDisplays
from tests.cogmodels.oat_cases import move_target, random_trials, tiny_oat, vector_shelves
from tests.oracles import oat as oracle


@pytest.fixture(scope="module")
def fitted():
    displays = vector_shelves(6)
    model = tiny_oat(n_layers=2).fit(random_trials(displays), displays)
    return model, displays


def paths_on(display, sequences):
    centres = display.items[["x_px", "y_px"]].to_numpy()
    return Scanpaths.from_lists(
        [centres[s] for s in sequences], "p", display.display_id, objects=[np.array(s) for s in sequences]
    )


@pytest.mark.parametrize("grid_shape", [(2, 4), (3, 5)])
def test_probabilities_equal_the_network_written_in_numpy(fitted, grid_shape):
    model, _ = fitted
    (display,) = vector_shelves(1, grid_shape, seed=3)
    sequence = [1, 5, display.target_item, 5, 5, 0]
    (found,) = model.step_probabilities(paths_on(display, [sequence]), SearchDisplays([display]))
    wanted = oracle.step_probabilities(
        model.weights_,
        display.features,
        display.target_features,
        display.items[["row", "column"]].to_numpy(),
        (grid_shape[0] // 2, grid_shape[1] // 2),
        display.target_item,
        sequence,
        n_layers=2,
        n_heads=2,
    )
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_one_step_at_a_time_gives_what_the_whole_decoder_gives(fitted):
    model, displays = fitted
    network, tokens = model._trained().eval(), model._tokens(displays[0])
    sequences = np.array([[1, 2, 3, 3, 0], [7, 7, 7, 1, 2], [4, 3, 2, 1, 0]])
    with torch.inference_mode():
        whole = network([tokens], torch.from_numpy(sequences), torch.zeros(3, dtype=torch.int64))
        encoded = network.encode([tokens])
        cache = DecoderCache(network, encoded, 3, 6)
        inputs = [encoded.start.expand(3, -1), *(encoded.objects[0, sequences[:, t]] for t in range(5))]
        steps = torch.stack([cache.step(part) for part in inputs], dim=1)
    torch.testing.assert_close(steps, whole, atol=1e-5, rtol=1e-4)


def test_displays_and_trials_of_other_lengths_in_the_batch_do_not_matter(fitted):
    model, displays = fitted
    larger = vector_shelves(1, (3, 5), prefix="large")
    both = SearchDisplays([displays[0], larger[0]])
    paths = Scanpaths.concat([paths_on(displays[0], [[1, 2]]), paths_on(larger[0], [[14, 3, 3, 9, 1]])])
    searches, network = model._read(paths, both), model._trained().eval()
    with torch.inference_mode():
        together, chosen = step_logits(network, searches, np.array([0, 1]))
        alone, _ = step_logits(network, searches, np.array([0]))
    found = together[0, :3].softmax(-1)
    torch.testing.assert_close(found[:, [*range(8), 15]], alone[0].softmax(-1), atol=1e-6, rtol=1e-4)
    assert not found[:, 8:15].any()
    np.testing.assert_array_equal(chosen, [[1, 2, 15, -100, -100, -100], [14, 3, 3, 9, 1, 15]])


def test_the_order_in_which_objects_are_listed_does_not_matter(fitted):
    model, displays = fitted
    display = displays[1]
    order = np.array([5, 2, 0, 7, 1, 6, 3, 4])
    shuffled = replace(
        display,
        display_id="shuffled",
        items=display.items.iloc[order].reset_index(drop=True),
        features=display.features[order],
        target_item=int(np.flatnonzero(order == display.target_item)[0]),
    )
    path = [3, 6, 2]
    (one,) = model.step_probabilities(paths_on(display, [path]), SearchDisplays([display]))
    moved = [int(np.flatnonzero(order == item)[0]) for item in path]
    (other,) = model.step_probabilities(paths_on(shuffled, [moved]), SearchDisplays([shuffled]))
    np.testing.assert_allclose(other, one[:, [*order, 8]], atol=1e-5)


@pytest.mark.parametrize("reveal", [False, True])
def test_the_target_position_is_told_only_on_request(reveal):
    displays = vector_shelves(4)
    model = tiny_oat(reveal_target_position=reveal, n_validation_rollouts=1).fit(
        random_trials(displays), displays
    )
    here, there = (move_target(displays[0], item) for item in (1, 6))
    firsts = [
        model.step_probabilities(paths_on(display, [[3, 2]]), SearchDisplays([display]))[0]
        for display in (here, there)
    ]
    assert np.allclose(*firsts, atol=1e-7) != reveal


@pytest.mark.parametrize("mark", [False, True])
def test_a_fixated_target_is_marked_from_its_fixation_on(mark):
    displays = vector_shelves(4)
    model = tiny_oat(mark_fixated_target=mark).fit(random_trials(displays), displays)
    here, there = (move_target(displays[0], item) for item in (1, 6))
    one, other = (
        model.step_probabilities(paths_on(display, [[3, 6, 2]]), SearchDisplays([display]))[0]
        for display in (here, there)
    )
    np.testing.assert_allclose(one[:2], other[:2], atol=1e-7)
    assert np.allclose(one[2:], other[2:], atol=1e-7) != mark


def test_steps_are_drawn_as_often_as_their_probabilities_say():
    logits = torch.tensor([[0.0, 1.0, float("-inf"), 2.0]]).expand(40_000, -1)
    numbers = np.random.default_rng(0).random(40_000)
    shares = np.bincount(draw(logits, numbers), minlength=4) / 40_000
    weights = np.exp([0.0, 1.0, -np.inf, 2.0])
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)
    assert draw(logits[:2], np.array([0.0, np.nextafter(1, 0)])).tolist() == [0, 3]


def test_rollouts_are_drawn_from_the_probabilities_of_each_step(fitted):
    model, displays = fitted
    network, tokens = model._trained(), model._tokens(displays[2])
    draws = np.random.default_rng(1).random((20_000, 2))
    sequences = roll_out(network, tokens, 2, draws)
    (wanted,) = model.step_probabilities(paths_on(displays[2], [[4]]), SearchDisplays([displays[2]]))
    firsts = np.bincount([s[0] for s in sequences], minlength=9) / len(sequences)
    np.testing.assert_allclose(firsts, wanted[0], atol=0.015)
    after_4 = [s[1] if len(s) > 1 else 8 for s in sequences if s[0] == 4]
    shares = np.bincount(after_4, minlength=9) / len(after_4)
    np.testing.assert_allclose(shares, wanted[1], atol=4 * 0.5 / np.sqrt(len(after_4)))


def test_published_sizes_are_the_defaults():
    assert NetworkSizes() == NetworkSizes(512, 4, 4, 512, 2, 0.1)  # Fang et al. 2024, their code


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 50, "n_heads": 4}, "multiple of n_heads"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    displays = vector_shelves(3)
    with pytest.raises(ValueError, match=message):
        tiny_oat(**sizes).fit(random_trials(displays), displays)
