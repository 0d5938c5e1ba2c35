"""Training with teacher forcing, stopped by how the network's own searches behave."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cogmodels.search.behaviour import sequence_statistics, statistics_delta
from cogmodels.search.oat.network import OATNetwork
from cogmodels.search.oat.objects import DisplayTokens
from cogmodels.search.oat.rollouts import roll_out
from encoders.checkpoints import Checkpoint
from encoders.training.batches import batch_sizes
from encoders.training.schedules import learning_rate
from encoders.training.seeding import make_generator, set_generator
from encoders.training.settings import Training
from encoders.training.state import HISTORY, Progress, load_module_arrays, module_arrays, pack, unpack
from stimuli.files import hash_array

StopBy = Literal["delta", "loss"]
TrainingProgress = Callable[[int, int, str], None]
"""Called after each epoch with epochs done, epochs at most, and how it went."""

PUBLISHED_TRAINING = Training(
    lr=1e-4, weight_decay=0.0, batch_size=20, n_epochs=500, clip_norm=1.0, patience_epochs=30
)
"""Adam at a constant rate, stopped after 30 epochs without a better Delta (Fang et al. 2024)."""

NO_STEP = -100
"""Stands where a trial is over; the loss leaves it out."""
_ORDER, _DROPOUT, _VALIDATION = 1, 2, 3  # streams of the seed; the initial weights have another


@dataclass(frozen=True)
class Searches:
    """Trials as the network takes them.

    Attributes
    ----------
    displays : list of DisplayTokens
    sequences : list of (n_fixations,) int64 arrays
        Fixated objects of each trial.
    owner : (n_trials,) int64 array
        The display of each trial.
    """

    displays: list[DisplayTokens]
    sequences: list[NDArray[np.int64]]
    owner: NDArray[np.int64]

    @property
    def content_hash(self) -> str:
        """Hash of displays and sequences."""
        digest = hashlib.sha256()
        for display in self.displays:
            for tensor in (*display.appearance, display.places, display.start, torch.tensor(display.target)):
                digest.update(hash_array(tensor.numpy()).encode())
        for array in (*self.sequences, self.owner):
            digest.update(hash_array(array).encode())
        return digest.hexdigest()

    def statistics(self) -> NDArray[np.float64]:
        """Return the means (5,) of the behavioural statistics over trials."""
        targets = [self.displays[number].target for number in self.owner]
        return sequence_statistics(self.sequences, targets).mean(axis=0)


@dataclass(frozen=True)
class OATTrainingResult:
    """What training ended in: weights and epoch of the best validation, and the history of all epochs."""

    state: dict[str, NDArray]
    best_epoch: int
    history: dict[str, NDArray]


def train_network(
    network: OATNetwork,
    train: Searches,
    validation: Searches,
    training: Training,
    *,
    stop_by: StopBy = "delta",
    n_validation_rollouts: int = 10,
    checkpoint: Checkpoint | None = None,
    progress: TrainingProgress | None = None,
) -> OATTrainingResult:
    """Train by Adam on the cross-entropy of each next step, and keep the epoch whose validation is best.

    Parameters
    ----------
    network : OATNetwork
        Holds the best weights afterwards.
    train, validation : Searches
    training : Training
        Rate, schedule, batches, epochs, clipping, patience, weight decay and seed; the rest does not apply.
    stop_by : {"delta", "loss"}
        ``delta``: the distance of the network's rollouts from the validation trials in five statistics (`behaviour`),
        published. ``loss``: the cross-entropy of the validation trials.
    n_validation_rollouts : int
        Rollouts of each validation display.
    checkpoint : Checkpoint, optional
        After each epoch everything is saved there. A training with the same data, settings and initial weights goes on
        from it and ends in the same bits as if it had never been interrupted.
    progress : callable, optional

    Returns
    -------
    OATTrainingResult
        ``history`` holds ``train_loss``, ``validation_loss`` (nats a step), ``validation_score`` (less Delta, or less
        the loss; the largest is best) and ``lr``.

    Raises
    ------
    FloatingPointError
        If the loss becomes NaN or infinite.
    """
    key = "oat/" + hashlib.sha256(
        "|".join([
            train.content_hash, validation.content_hash, repr(training), stop_by, str(n_validation_rollouts),
            str(network), *(f"{name}={hash_array(value)}" for name, value in module_arrays(network).items()),
        ]).encode()
    ).hexdigest()  # fmt: skip
    generator = make_generator(training.seed, _DROPOUT, device=training.device)
    set_generator(network, generator)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True
    )
    saved = None if checkpoint is None else checkpoint.load(key)
    state = Progress() if saved is None else unpack(saved, network, optimizer, generator)
    run = _Run(network, train, validation, training, optimizer, stop_by, n_validation_rollouts)
    while not state.finished:
        run.epoch(state)
        if checkpoint is not None:
            checkpoint.save(key, pack(state, network, optimizer, generator))
        if progress is not None:
            last = {name: values[-1] for name, values in state.history.items()}
            text = f"loss {last['train_loss']:.4f}, validation {stop_by} {-last['validation_score']:.4f}"
            progress(state.epoch, training.n_epochs, f"{text} (best {-state.best_score:.4f})")
    load_module_arrays(network, state.best_state)
    network.eval()
    history = {name: np.array(values) for name, values in state.history.items()}
    return OATTrainingResult(state.best_state, state.best_epoch, history)


@dataclass
class _Run:
    """What stays the same over epochs."""

    network: OATNetwork
    train: Searches
    validation: Searches
    training: Training
    optimizer: torch.optim.Optimizer
    stop_by: StopBy
    n_validation_rollouts: int

    def __post_init__(self) -> None:
        self.people = self.validation.statistics()
        self.max_length = max(map(len, self.train.sequences))

    def epoch(self, state: Progress) -> None:
        """Train one epoch, look at the validation trials, and note the best and whether it is over."""
        train_loss, lr = self._train_epoch(state.epoch)
        validation_loss = self._validation_loss()
        score = -validation_loss if self.stop_by == "loss" else -self._validation_delta()
        for name, value in zip(HISTORY, (train_loss, validation_loss, score, lr), strict=True):
            state.history[name].append(value)
        if state.best_epoch < 0 or score > state.best_score:
            state.best_epoch, state.best_score = state.epoch, score
            state.best_state = module_arrays(self.network)
        state.epoch += 1
        waited, patience = state.epoch - 1 - state.best_epoch, self.training.patience_epochs
        state.finished = state.epoch >= self.training.n_epochs or (
            patience is not None and waited >= patience
        )

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        training = self.training
        self.network.train()
        order = np.random.default_rng([training.seed, _ORDER, epoch]).permutation(len(self.train.sequences))
        sizes = [size for (size,) in batch_sizes(len(order), training.batch_size)]
        total, n_steps, lr = 0.0, 0, training.lr
        for number, trials in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
            lr = learning_rate(training, epoch * len(sizes) + number, len(sizes))
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            losses = step_losses(self.network, self.train, trials)
            self.optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            if training.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), training.clip_norm)
            self.optimizer.step()
            total, n_steps = total + float(losses.detach().double().sum()), n_steps + len(losses)
        if not np.isfinite(total):
            raise FloatingPointError(
                f"the loss became {total} in epoch {epoch}: lower lr ({training.lr:g}) or set clip_norm"
            )
        return total / n_steps, lr

    def _validation_loss(self) -> float:
        self.network.eval()
        trials = np.arange(len(self.validation.sequences))
        with torch.inference_mode():
            parts = [
                step_losses(self.network, self.validation, trials[start : start + self.training.batch_size])
                for start in range(0, len(trials), self.training.batch_size)
            ]
        return float(torch.cat(parts).double().mean())

    def _validation_delta(self) -> float:
        """Return Delta of the same random numbers in every epoch; a display counts as often as it was searched."""
        numbers, n_trials = np.unique(self.validation.owner, return_counts=True)
        means = []
        for number in numbers:
            display = self.validation.displays[number]
            rng = np.random.default_rng([self.training.seed, _VALIDATION, number])
            draws = rng.random((self.n_validation_rollouts, self.max_length))
            sequences = roll_out(self.network, display, self.max_length, draws)
            means.append(sequence_statistics(sequences, [display.target] * len(sequences)).mean(axis=0))
        return statistics_delta(np.average(means, axis=0, weights=n_trials), self.people)


def step_logits(
    network: OATNetwork, searches: Searches, trials: NDArray[np.intp]
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the logits of every step of some trials, given the true steps before it, and what was chosen.

    Returns
    -------
    logits : (n_trials, n_steps, n_longest + 1) tensor
        The last column is to stop. Minus infinity for what cannot be, as to stop in the first step.
    chosen : (n_trials, n_steps) int64 array
        The last step of a trial is to stop; `NO_STEP` follows.
    """
    shown, owner = np.unique(searches.owner[trials], return_inverse=True)
    displays = [searches.displays[number] for number in shown]
    stop = max(display.n_objects for display in displays)
    sequences = [searches.sequences[trial] for trial in trials]
    n_steps = max(map(len, sequences))
    fixated = np.zeros((len(trials), n_steps), dtype=np.int64)
    chosen = np.full((len(trials), n_steps + 1), NO_STEP)
    for row, sequence in enumerate(sequences):
        fixated[row, : len(sequence)] = chosen[row, : len(sequence)] = sequence
        chosen[row, len(sequence)] = stop
    device = network.device
    logits = network(displays, torch.from_numpy(fixated).to(device), torch.from_numpy(owner).to(device))
    never = torch.zeros_like(logits[0], dtype=torch.bool)
    never[0, stop] = True
    return logits.masked_fill(never, float("-inf")), chosen


def step_losses(network: OATNetwork, searches: Searches, trials: NDArray[np.intp]) -> Tensor:
    """Return the cross-entropy in nats of every step of some trials, trial after trial."""
    logits, chosen = step_logits(network, searches, trials)
    taken = torch.from_numpy(chosen != NO_STEP).to(logits.device)
    return functional.cross_entropy(
        logits[taken], torch.from_numpy(chosen).to(logits.device)[taken], reduction="none"
    )
