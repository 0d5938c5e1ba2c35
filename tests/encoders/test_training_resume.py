"""Killed or interrupted after any epoch and resumed: the same bits as never interrupted."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from encoders.checkpoints import FolderCheckpoint
from encoders.cross_validation import cross_validate_layers, make_folds
from encoders.tokens import as_token_source
from encoders.training.loop import train
from encoders.training.settings import Training
from tests.encoders.linear_encoder import RESUMED, LinearReadout, LinearTokenEncoder, linear_data
from tests.encoders.test_training_loop import HELD_OUT, TRAIN, assert_same_bits, network

N_EPOCHS = 12


class DiesAtEpoch:
    """A progress callable that interrupts after its n-th call."""

    def __init__(self, n: int) -> None:
        self.n_left = n

    def __call__(self, *_):
        self.n_left -= 1
        if not self.n_left:
            raise KeyboardInterrupt


def encoder(**changes):
    return LinearTokenEncoder(dropout=0.2, training=replace(RESUMED, **changes))


def assert_same_encoder(one, other):
    for name, value in vars(one).items():
        if name.endswith("_"):
            assert_same_values(value, getattr(other, name), name)


def assert_same_values(one, other, name):
    if isinstance(one, dict):
        assert set(one) == set(other), name
        for key in one:
            assert_same_values(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), name
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same_values(*pair, f"{name}.{number}")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes()), name
    else:
        assert one == other, name


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_interrupted_after_every_epoch_the_result_is_the_same_to_the_bit(tmp_path, precision, on_disk):
    X, Y, _ = linear_data()
    tokens = as_token_source(
        zarr.array(X, chunks=(7, 3, 8), store=str(tmp_path / "tokens")) if on_disk else X
    )
    training = replace(RESUMED, precision=precision, n_epochs=6)

    def run(folder, progress=None):
        checkpoint = None if folder is None else FolderCheckpoint(folder, {})
        return train(
            network(dropout=0.2),
            tokens,
            Y,
            TRAIN,
            HELD_OUT,
            training,
            checkpoint=checkpoint,
            progress=progress,
        )

    whole = run(None)
    for n in range(1, 7):
        folder = tmp_path / str(n)
        with pytest.raises(KeyboardInterrupt):
            run(folder, DiesAtEpoch(n))
        if n > 1:  # and once more on the way
            with pytest.raises(KeyboardInterrupt):
                run(folder, DiesAtEpoch(1)) if n < 6 else DiesAtEpoch(1)()
        epochs = []
        assert_same_bits(run(folder, lambda *step, epochs=epochs: epochs.append(step[0])), whole)
        assert epochs == list(range(n + 1 + (1 < n < 6), 7))


def test_a_member_under_way_is_resumed_and_finished_ones_are_taken(tmp_path):
    X, Y, _ = linear_data()
    whole = encoder().fit(X, Y)
    for n in (1, 5, N_EPOCHS, N_EPOCHS + 1, 2 * N_EPOCHS - 1):
        checkpoint = FolderCheckpoint(tmp_path / str(n), {})
        with pytest.raises(KeyboardInterrupt):
            encoder().fit(X, Y, checkpoint=checkpoint, progress=DiesAtEpoch(n))
        steps = []
        resumed = encoder().fit(X, Y, checkpoint=checkpoint, progress=lambda *s, steps=steps: steps.append(s))
        assert_same_encoder(resumed, whole)
        assert len(steps) == 2 * N_EPOCHS - n
        again = []
        encoder().fit(X, Y, checkpoint=checkpoint, progress=lambda *s, again=again: again.append(s))
        assert not again
    assert steps[0][2].startswith("member 2 of 2: loss ")


def test_other_data_rows_settings_or_weights_start_anew(tmp_path):
    X, Y, _ = linear_data()
    checkpoint = FolderCheckpoint(tmp_path, {})
    short = Training(n_epochs=2)

    def n_epochs_run(module=None, X=X, Y=Y, train_rows=TRAIN, training=short, **options):
        epochs = []
        train(
            network() if module is None else module, as_token_source(X), Y, train_rows, HELD_OUT, training,
            checkpoint=checkpoint, progress=lambda *step: epochs.append(step), **options,
        )  # fmt: skip
        return len(epochs)

    assert n_epochs_run() == 2
    assert n_epochs_run() == 0
    scaling = (np.zeros(5), np.full(5, 2.0))
    changes = [
        {"X": X + np.float32(1e-3)},
        {"Y": Y + np.float32(1e-3)},
        {"train_rows": TRAIN[:-1]},
        {"training": replace(short, lr=2e-3)},
        {"training": replace(short, seed=1)},
        {"module": network(seed=1)},
        {"module": network(dropout=0.1)},
        {"target_scaling": scaling},
        {"checkpoint_key": "another"},
    ]
    for change in changes:
        assert n_epochs_run(**change) == 2, change
        assert n_epochs_run(**change | ({"module": None} if "module" in change else {})) == 0


def test_a_damaged_checkpoint_counts_as_none(tmp_path):
    X, Y, _ = linear_data()
    whole = encoder(n_members=1).fit(X, Y)
    checkpoint = FolderCheckpoint(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        encoder(n_members=1).fit(X, Y, checkpoint=checkpoint, progress=DiesAtEpoch(3))
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    assert_same_encoder(encoder(n_members=1).fit(X, Y, checkpoint=checkpoint), whole)


def test_a_fold_of_a_cross_validation_goes_on_within_its_epochs_and_leaves_no_weights(tmp_path):
    X, Y, _ = linear_data()
    layers = {"early": X, "late": X[:, :, ::-1].copy()}
    folds = make_folds(120, 2)
    model = encoder(n_members=1, n_epochs=4, validation_fraction=0.3)

    def run(checkpoint):
        return cross_validate_layers(model, layers, Y, folds, checkpoint=checkpoint)

    whole = run(None)

    class DiesAfterSaves(FolderCheckpoint):
        n_left = 0

        def save(self, key, arrays):
            super().save(key, arrays)
            self.n_left -= 1
            if not self.n_left:
                raise KeyboardInterrupt

    # Four epochs and the fold itself are saved for each of four fits.
    for n in (1, 3, 4, 5, 7, 20):
        checkpoint = DiesAfterSaves(tmp_path / str(n), {})
        checkpoint.n_left = n
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint)
        resumed = DiesAfterSaves(tmp_path / str(n), {})
        result = run(resumed)
        assert -resumed.n_left == 20 - n
        assert result.selected_predictions.tobytes() == whole.selected_predictions.tobytes()
        assert result.inner_scores.tobytes() == whole.inner_scores.tobytes()
        n_files = len(list((tmp_path / str(n)).glob("*.npz")))
        # only a kill between the fold and the clearing of its epochs leaves them behind
        assert n_files == 4 + (n % 5 == 0)


def child(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.encoders.linear_encoder", str(folder)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill(folder: Path, n_lines: int) -> bool:
    """Start a fit and kill it after some lines, which tell its epochs; return whether that was in time."""
    process = child(folder)
    assert process.stdout is not None
    for _ in range(n_lines):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def test_a_killed_process_leaves_what_the_next_one_needs(tmp_path):
    X, Y, _ = linear_data()
    assert kill(tmp_path, n_lines=6)
    epochs = []
    resumed = encoder().fit(
        X, Y, checkpoint=FolderCheckpoint(tmp_path, {}), progress=lambda *step: epochs.append(step)
    )
    assert_same_encoder(resumed, encoder().fit(X, Y))
    assert 0 < len(epochs) <= 2 * N_EPOCHS - 5  # "ready" and five epochs were told


@pytest.mark.slow
def test_killed_twenty_times_the_result_is_the_same_to_the_bit(tmp_path):
    X, Y, _ = linear_data()
    whole = encoder().fit(X, Y)
    rng = np.random.default_rng(0)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        assert all(kill(folder, int(n_lines)) for n_lines in rng.integers(1, 6, 5))
        assert_same_encoder(encoder().fit(X, Y, checkpoint=FolderCheckpoint(folder, {})), whole)


def test_batch_norm_and_unused_weights_are_resumed_too(tmp_path):
    import torch
    from torch import nn

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(8)
            self.readout = LinearReadout(8, 5, torch.Generator().manual_seed(0))
            self.unused = nn.Parameter(torch.zeros(3))

        def forward(self, tokens, mask):
            return self.readout(self.norm(tokens.mean(1))[:, None], None)

    X, Y, _ = linear_data()
    training = Training(n_epochs=4, batch_size=16, patience_epochs=None)
    whole = train(Normalised(), as_token_source(X), Y, TRAIN, HELD_OUT, training)
    checkpoint = FolderCheckpoint(tmp_path, {})
    options = {"checkpoint": checkpoint, "progress": DiesAtEpoch(2)}
    with pytest.raises(KeyboardInterrupt):
        train(Normalised(), as_token_source(X), Y, TRAIN, HELD_OUT, training, **options)
    module = Normalised()
    resumed = train(module, as_token_source(X), Y, TRAIN, HELD_OUT, training, checkpoint=checkpoint)
    assert_same_bits(resumed, whole)
    assert module.norm.num_batches_tracked == 6 * (whole.best_epoch + 1)
    assert not whole.state["unused"].any()
