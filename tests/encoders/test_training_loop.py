"""Training against AdamW written out in float64, and what may not change it: batches, threads, the global seed."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from encoders.scores import correlation_score
from encoders.tokens import as_token_source
from encoders.training.evaluation import CorrelationSums
from encoders.training.loop import train
from encoders.training.schedules import learning_rate
from encoders.training.seeding import SeededDropout, make_generator, set_generator
from encoders.training.settings import Training
from tests.encoders.linear_encoder import LinearReadout, linear_data
from tests.oracles.training import adamw_linear, mean_tokens

TRAIN, HELD_OUT = np.arange(90), np.arange(90, 120)


def network(seed=0, dropout=0.0, n_outputs=5):
    return LinearReadout(8, n_outputs, make_generator(seed, 0), dropout)


def run(X, Y, training, *, module=None, **options):
    module = network() if module is None else module
    return train(module, as_token_source(X), Y, TRAIN, HELD_OUT, training, **options)


def module_state(module):
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def assert_same_bits(one, other):
    assert set(one.state) == set(other.state)
    for name, value in one.state.items():
        assert value.tobytes() == other.state[name].tobytes(), name
    assert one.best_epoch == other.best_epoch
    assert {k: v.tobytes() for k, v in one.history.items()} == {
        k: v.tobytes() for k, v in other.history.items()
    }
    assert one.validation_scores.tobytes() == other.validation_scores.tobytes()


@pytest.mark.parametrize("clip_norm", [None, 0.3])
@pytest.mark.parametrize("padded", [False, True])
def test_weights_losses_and_scores_are_those_of_adamw_in_float64(clip_norm, padded):
    X, Y, _ = linear_data()
    if padded:
        X[::3, 1] = np.nan
        X[1::3, 1:] = np.nan
    training = Training(
        lr=0.02, weight_decay=0.3, batch_size=200, n_epochs=15, schedule="cosine", warmup_epochs=3,
        clip_norm=clip_norm, patience_epochs=None,
    )  # fmt: skip
    module = network()
    W, b = module.weight.detach().numpy().copy(), module.bias.detach().numpy().copy()
    result = run(X, Y, training, module=module)
    Z, Y64 = mean_tokens(X.astype(float)), Y.astype(float)
    steps = adamw_linear(
        Z, Y64, W, b, [TRAIN] * 15, lambda step: learning_rate(training, step, 1), 0.3, clip_norm
    )
    predicted = [Z @ weight + bias for weight, bias in [(W, b), *steps]]
    scores = [
        np.mean([np.corrcoef(p[HELD_OUT, v], Y64[HELD_OUT, v])[0, 1] for v in range(5)])
        for p in predicted[1:]
    ]
    np.testing.assert_allclose(result.history["validation_score"], scores, atol=2e-5)
    losses = [((p[TRAIN] - Y64[TRAIN]) ** 2).mean() for p in predicted[:-1]]
    np.testing.assert_allclose(result.history["train_loss"], losses, rtol=1e-4)
    losses = [((p[HELD_OUT] - Y64[HELD_OUT]) ** 2).mean() for p in predicted[1:]]
    np.testing.assert_allclose(result.history["validation_loss"], losses, rtol=1e-4)
    assert result.best_epoch == np.argmax(scores)
    steps = adamw_linear(
        Z, Y64, W, b, [TRAIN] * 15, lambda step: learning_rate(training, step, 1), 0.3, clip_norm
    )
    weight, bias = list(steps)[result.best_epoch]
    np.testing.assert_allclose(result.state["weight"], weight, atol=2e-5)
    np.testing.assert_allclose(result.state["bias"], bias, atol=2e-5)
    np.testing.assert_array_equal(result.state["weight"], module.weight.detach().numpy())
    expected = [np.corrcoef((Z @ weight + bias)[HELD_OUT, v], Y64[HELD_OUT, v])[0, 1] for v in range(5)]
    np.testing.assert_allclose(result.validation_scores, expected, atol=2e-5)
    assert not module.training


@pytest.mark.parametrize("n_parts", [2, 3, 5])
def test_accumulated_batches_take_the_step_of_one_large_batch(n_parts):
    X, Y, _ = linear_data()
    large = Training(lr=0.02, batch_size=30, n_epochs=6, clip_norm=0.2, patience_epochs=None)
    small = replace(large, batch_size=30 // n_parts, accumulation_steps=n_parts)
    one, other = run(X, Y, large), run(X, Y, small)
    np.testing.assert_allclose(one.state["weight"], other.state["weight"], atol=3e-6)
    np.testing.assert_allclose(one.history["train_loss"], other.history["train_loss"], rtol=1e-5)
    # A mean of the means of uneven batches would be another step: 90 rows by 35 leave uneven ones.
    uneven = replace(large, batch_size=35), replace(large, batch_size=7, accumulation_steps=5)
    one, other = run(X, Y, uneven[0]), run(X, Y, uneven[1])
    np.testing.assert_allclose(one.state["weight"], other.state["weight"], atol=3e-6)


def test_training_stops_after_the_patience_and_keeps_the_best_epoch():
    X, Y, _ = linear_data(noise=3.0)
    patient = run(X, Y, Training(lr=0.05, n_epochs=60, patience_epochs=None))
    scores = patient.history["validation_score"]
    assert len(scores) == 60
    assert patient.best_epoch == scores.argmax() < 50
    hasty = run(X, Y, Training(lr=0.05, n_epochs=60, patience_epochs=4))
    done = len(hasty.history["validation_score"])
    np.testing.assert_array_equal(hasty.history["validation_score"], scores[:done])
    assert hasty.best_epoch == scores[:done].argmax() == done - 5
    assert all(scores[:n].argmax() > n - 5 for n in range(1, done))
    # the weights are those of the best epoch, not of the last
    short = run(X, Y, Training(lr=0.05, n_epochs=hasty.best_epoch + 1, patience_epochs=None))
    np.testing.assert_array_equal(hasty.state["weight"], short.state["weight"])


def test_parameters_that_ask_for_it_learn_faster_and_decay_as_the_others():
    X, Y, _ = linear_data()
    once = Training(lr=1e-3, weight_decay=0.0, batch_size=200, n_epochs=1, patience_epochs=None)
    moved = {}
    for decay, factor in ((0.0, 1.0), (0.0, 7.0), (3.0, 7.0)):
        module = network()
        module.lr_factors = {"bias": factor}
        before = {name: value.copy() for name, value in module_state(module).items()}
        after = run(X, Y, replace(once, weight_decay=decay), module=module).state
        shrunk = {name: value * (1 - 1e-3 * decay) for name, value in before.items()}
        moved[decay, factor] = {name: np.abs(after[name] - shrunk[name]) for name in before}
    # The first step of Adam is the learning rate itself, whatever the gradient.
    for factor in (1.0, 7.0):
        np.testing.assert_allclose(moved[0.0, factor]["weight"], 1e-3, rtol=1e-2)
        np.testing.assert_allclose(moved[0.0, factor]["bias"], factor * 1e-3, rtol=1e-2)
    np.testing.assert_allclose(moved[3.0, 7.0]["weight"], 1e-3, rtol=1e-2)
    np.testing.assert_allclose(moved[3.0, 7.0]["bias"], 7e-3, rtol=1e-2)


def test_a_planted_readout_is_recovered():
    X, Y, signal = linear_data(n=1500, noise=1.0)
    result = train(
        network(), as_token_source(X), Y, np.arange(900), np.arange(900, 1000), Training(lr=0.01, n_epochs=40)
    )
    predicted = X[1000:].mean(1) @ result.state["weight"] + result.state["bias"]
    assert correlation_score(signal[1000:], predicted).min() > 0.99


def test_the_same_seed_gives_the_same_bits_whatever_the_global_seed_and_another_seed_does_not():
    X, Y, _ = linear_data()
    training = Training(n_epochs=4, batch_size=16)
    results = []
    for global_seed, seed in [(0, 0), (1, 0), (0, 5)]:
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        results.append(run(X, Y, replace(training, seed=seed), module=network(dropout=0.3)))
        assert torch.equal(torch.get_rng_state(), before)
    assert_same_bits(results[0], results[1])
    assert not np.array_equal(results[0].state["weight"], results[2].state["weight"])


def test_parallel_trainings_do_not_meet():
    X, Y, _ = linear_data()
    trainings = [Training(n_epochs=15, batch_size=8, seed=seed, patience_epochs=None) for seed in range(4)]
    alone = [run(X, Y, each, module=network(each.seed, 0.3)) for each in trainings]
    together = [None] * 4
    start = threading.Barrier(4)

    def work(number):
        torch.set_num_threads(1)
        start.wait()
        together[number] = run(X, Y, trainings[number], module=network(number, 0.3))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert_same_bits(one, other)


def test_bfloat16_computes_in_autocast_over_float32_weights():
    X, Y, _ = linear_data()
    full = run(X, Y, Training(lr=0.02, n_epochs=20, batch_size=16))
    half = run(X, Y, Training(lr=0.02, n_epochs=20, batch_size=16, precision="bfloat16"))
    assert half.state["weight"].dtype == np.float32
    difference = np.abs(half.state["weight"] - full.state["weight"]).max()
    assert 0 < difference < 0.02
    assert not np.array_equal(
        half.state["weight"], torch.from_numpy(half.state["weight"]).bfloat16().float().numpy()
    )


def test_classes_are_learnt_and_the_epoch_is_chosen_by_accuracy():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 120)
    X = (rng.standard_normal((120, 2, 8)) + 2.5 * np.eye(8)[classes][:, None]).astype(np.float32)
    module = network(n_outputs=5)  # the fifth class never comes
    result = run(X, classes, Training(lr=0.02, n_epochs=25), module=module, loss="cross_entropy")
    logits = X.mean(1) @ result.state["weight"] + result.state["bias"]
    right = logits.argmax(1) == classes
    assert right[HELD_OUT].mean() > 0.8
    assert right[HELD_OUT].mean() == pytest.approx(result.history["validation_score"].max())
    for c in range(4):
        rows = HELD_OUT[classes[HELD_OUT] == c]
        assert result.validation_scores[c] == pytest.approx(right[rows].mean())
    assert np.isnan(result.validation_scores[4])
    entropy = -(logits - np.log(np.exp(logits).sum(1, keepdims=True)))[HELD_OUT, classes[HELD_OUT]].mean()
    assert result.history["validation_loss"][result.best_epoch] == pytest.approx(entropy, rel=1e-4)


def test_scaled_targets_are_learnt_without_a_scaled_copy():
    X, Y, _ = linear_data()
    mean, scale = np.full(5, 3.0), np.array([1, 2, 3, 4, 5.0])
    training = Training(n_epochs=5)
    one = run(X, Y * scale + mean, training, target_scaling=(mean, scale))
    other = run(X, Y, training)
    np.testing.assert_allclose(one.state["weight"], other.state["weight"], atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_correlations_from_sums_are_those_of_all_predictions(offset):
    rng = np.random.default_rng(0)
    Y = (rng.standard_normal((101, 6)) + offset).astype(np.float32)
    P = (0.5 * Y + rng.standard_normal((101, 6))).astype(np.float32)
    Y[:, 1], P[:, 2], P[:, 3] = 0.1, 0.7, -Y[:, 3]
    sums = CorrelationSums()
    for rows in np.array_split(np.arange(101), 7):
        sums.add(torch.from_numpy(Y[rows]), torch.from_numpy(P[rows]))
    r, mean = sums.correlation()
    expected = correlation_score(Y, P)
    np.testing.assert_allclose(r, expected, atol=1e-9)
    assert np.isnan(r[[1, 2]]).all()
    # the voxel that is predicted as constant counts as 0, the constant voxel not at all
    assert mean == pytest.approx(np.nansum(expected) / 5)


def test_dropout_is_seeded_has_the_right_share_and_needs_its_generator():
    dropout = SeededDropout(0.25)
    x = torch.ones(40000)
    with pytest.raises(RuntimeError, match="dropout has no generator"):
        dropout(x)
    set_generator(nn.Sequential(dropout), make_generator(0, 2))
    first = dropout(x)
    assert first.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert abs((first == 0).float().mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 40000)
    assert not torch.equal(dropout(x), first)
    set_generator(dropout, make_generator(0, 2))
    assert torch.equal(dropout(x), first)
    assert dropout.eval()(x) is x
    with pytest.raises(ValueError, match=r"dropout is 1\.0"):
        SeededDropout(1.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"Y": np.zeros((119, 5))}, ValueError, r"Y has shape \(119, 5\); \(120, n_voxels\) is needed"),
        ({"Y": np.zeros(120)}, ValueError, r"\(120, n_voxels\) is needed"),
        ({"Y": np.full((120, 5), np.nan)}, ValueError, "Y is NaN or infinite in 5 of 5 voxels"),
        ({"Y": np.zeros((120, 5), dtype=complex)}, TypeError, "Y holds complex128"),
        ({"Y": np.zeros((120, 4))}, ValueError, r"the module gives \(\d+, 5\) for responses \(\d+, 4\)"),
        ({"Y": np.zeros(120), "loss": "cross_entropy"}, ValueError, "classes as whole numbers"),
        ({"loss": "mae"}, ValueError, "unknown loss 'mae'"),
        ({"train_rows": np.arange(100)}, ValueError, r"share 10 rows \(first 90\)"),
        ({"train_rows": [0, 0, 1]}, ValueError, "train_rows must name each of its rows once, from 0 to 119"),
        ({"train_rows": [120]}, ValueError, "from 0 to 119"),
        ({"train_rows": []}, ValueError, "train_rows must be a non-empty vector"),
        (
            {"validation_rows": [100, 101]},
            ValueError,
            "validation_rows has 2 rows; a correlation needs at least 3",
        ),
        ({"training": Training(device="cuda:77")}, ValueError, "device 'cuda:77' is not to be had here"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    X, Y, _ = linear_data()
    given = {"Y": Y, "train_rows": TRAIN, "validation_rows": HELD_OUT, "training": Training(n_epochs=1)}
    with pytest.raises(error, match=message):
        train(network(), as_token_source(X), **(given | change))


def test_divergence_is_an_error_that_says_what_to_do():
    X, Y, _ = linear_data()
    with pytest.raises(FloatingPointError, match=r"the loss became (nan|inf) in epoch \d+: lower lr"):
        run(X, 1e18 * Y, Training(lr=1e30, n_epochs=30))


def test_a_voxel_that_never_varies_does_not_keep_the_others_from_choosing():
    X, Y, _ = linear_data()
    Y[:, 0] = 1.0
    result = run(X, Y, Training(lr=0.02, n_epochs=10))
    assert np.isnan(result.validation_scores[0])
    assert np.isfinite(result.history["validation_score"]).all()
    nothing = run(X, np.ones_like(Y), Training(n_epochs=4, patience_epochs=2))
    assert nothing.best_epoch == 0
    assert len(nothing.history["lr"]) == 3
