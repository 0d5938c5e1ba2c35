"""Settings are refused before work starts, and the learning rate follows torch's own schedules."""

import math
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders.training.schedules import learning_rate
from encoders.training.settings import Training, as_training


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": 0}, ValueError, "lr is 0; it must be finite, more than 0"),
        ({"lr": math.nan}, ValueError, "lr is nan; it must be finite"),
        ({"lr": "fast"}, TypeError, "lr is 'fast'; it must be a number"),
        ({"weight_decay": -1e-4}, ValueError, "at least 0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5; it must be a whole number"),
        ({"n_epochs": True}, TypeError, "n_epochs is True"),
        ({"schedule": "cosin"}, ValueError, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"warmup_epochs": 50}, ValueError, "warmup_epochs is 50, but n_epochs is 50"),
        ({"lr_drop_epochs": 0}, ValueError, "lr_drop_epochs is 0"),
        ({"lr_drop_factor": 1.5}, ValueError, "more than 0 and at most 1"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm is 0.0; it must be finite, more than 0, or None"),
        ({"patience_epochs": 0}, ValueError, "patience_epochs is 0; it must be at least 1, or None"),
        ({"validation_fraction": 1.0}, ValueError, "more than 0 and less than 1"),
        ({"n_members": 0}, ValueError, "n_members is 0"),
        ({"precision": "float16"}, ValueError, "unknown precision 'float16'"),
        ({"accumulation_steps": None}, TypeError, "accumulation_steps is None"),
        ({"scale_tokens": 1}, TypeError, "scale_tokens is 1; it must be True or False"),
        ({"seed": -1}, ValueError, "seed is -1; it must be at least 0"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(change, error, message):
    with pytest.raises(error, match=message):
        Training(**change)
    with pytest.raises(error, match=message):
        replace(Training(), **change)


def test_settings_are_frozen_plain_values():
    training = Training(lr=np.float32(0.5), seed=np.int64(3), clip_norm=None, device=torch.device("cpu"))
    kinds = {type(value) for value in asdict(training).values()}
    assert kinds <= {int, float, bool, str, type(None)}
    assert (training.lr, training.seed, training.device) == (0.5, 3, "cpu")
    with pytest.raises(FrozenInstanceError):
        training.lr = 1.0
    assert as_training(None) == Training()
    assert as_training(training) is training
    with pytest.raises(
        TypeError, match=r"training is \{'lr': 1\}; it must be Training\(...\) with any of lr, "
    ):
        as_training({"lr": 1})


def rates(training, steps_per_epoch):
    return [learning_rate(training, s, steps_per_epoch) for s in range(training.n_epochs * steps_per_epoch)]


def torch_rates(make, n_steps, steps_a_scheduler_step):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimizer)
    found = []
    for step in range(n_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % steps_a_scheduler_step == 0:
            scheduler.step()
    return found


def test_steps_and_cosine_are_those_of_torch():
    step = Training(lr=0.3, n_epochs=9, schedule="step", lr_drop_epochs=2, lr_drop_factor=0.25)
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.25), 9 * 5, 5)
    np.testing.assert_allclose(rates(step, 5), expected, rtol=1e-12)
    cosine = Training(lr=0.3, n_epochs=9, schedule="cosine")
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 9 * 5), 9 * 5, 1)
    np.testing.assert_allclose(rates(cosine, 5), expected, rtol=1e-9)
    assert set(rates(Training(lr=0.3, n_epochs=4), 5)) == {0.3}


@given(
    st.sampled_from(["constant", "step", "cosine"]), st.integers(1, 6), st.integers(1, 4), st.integers(1, 9)
)
def test_a_warm_up_rises_in_equal_steps_and_joins_the_schedule(schedule, more, warmup, steps):
    training = Training(lr=2.0, n_epochs=warmup + more, schedule=schedule, warmup_epochs=warmup)
    found = rates(training, steps)
    n_warmup = warmup * steps
    np.testing.assert_allclose(found[:n_warmup], 2.0 * np.arange(1, n_warmup + 1) / n_warmup)
    assert found[n_warmup] == 2.0
    assert (np.diff(found[n_warmup:]) <= 0).all()
    assert min(found) > 0
