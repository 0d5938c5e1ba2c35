"""The training loop that all trained encoders share."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from encoders.checkpoints import Checkpoint
from encoders.solvers.checks import check_choice, check_device
from encoders.tokens import TokenSource
from encoders.training.batches import Positions, batch_sizes, iter_batches, shuffled_blocks
from encoders.training.evaluation import AccuracyCounts, CorrelationSums, precision_context, stored_batches
from encoders.training.schedules import learning_rate
from encoders.training.seeding import make_generator, set_generator
from encoders.training.settings import Training
from encoders.training.state import HISTORY, Progress, load_module_arrays, module_arrays, pack, unpack
from encoders.training.targets import Loss, Targets, check_rows
from stimuli.files import hash_array

TrainingProgress = Callable[[int, int, str], None]
"""Called after each epoch with epochs done, epochs at most, and how it went."""

_ORDER, _DROPOUT = 1, 2  # streams of the seed; the initial weights have another


@dataclass(frozen=True)
class TrainingResult:
    """What training ended in.

    Attributes
    ----------
    state : dict of str to array
        Weights and buffers of the best epoch.
    best_epoch : int
        Epoch with the best validation score, counted from 0.
    history : dict of str to (n_epochs_done,) array
        ``train_loss`` (mean over the epoch), ``validation_loss``, ``validation_score`` (mean r over voxels, or
        accuracy) and ``lr`` (of the last step), an epoch.
    validation_scores : (n_outputs,) array
        Pearson's r of each voxel on the validation rows in the best epoch; for classes the share of each class that
        is right. NaN where it is undefined.
    """

    state: dict[str, NDArray]
    best_epoch: int
    history: dict[str, NDArray]
    validation_scores: NDArray


def train(
    module: nn.Module,
    tokens: TokenSource,
    Y: ArrayLike,
    train_rows: ArrayLike,
    validation_rows: ArrayLike,
    training: Training,
    *,
    loss: Loss = "mse",
    target_scaling: tuple[NDArray, NDArray] | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_key: str = "training",
    progress: TrainingProgress | None = None,
) -> TrainingResult:
    """Train a network by AdamW, stopped by validation rows; the best epoch's weights are kept.

    Everything random comes from `training.seed`: the order of batches as a function of seed and epoch, dropout
    (`SeededDropout`) from a generator of this training alone. Trainings in parallel threads do not meet.

    Parameters
    ----------
    module : nn.Module
        Called as ``module(tokens (b, n_tokens, n_channels), mask (b, n_tokens) bool or None) -> (b, n_outputs)``,
        mask True at tokens. It is moved to the device, and holds the best weights, in eval mode, afterwards.
    tokens : TokenSource
    Y : (n_samples, n_voxels) array, or (n_samples,) int
        Responses, or classes counted from 0 for "cross_entropy".
    train_rows, validation_rows : (n,) int arrays
        Rows to train on and rows that choose the epoch; no row may be in both.
    training : Training
        `validation_fraction`, `n_members`, `scale_tokens` and `scale_targets` are the caller's business.
    loss : {"mse", "cross_entropy"}
        Mean squared error over rows and voxels, scored by r; or cross-entropy, scored by accuracy.
    target_scaling : (mean, scale), each (n_voxels,), optional
        The network learns (Y - mean) / scale.
    checkpoint : Checkpoint, optional
        After each epoch weights, moments of the optimiser, generator and history are saved there, and a training
        with the same data, rows, settings and initial weights goes on from them: on a CPU it ends in the same bits
        as if it had never been interrupted.
    checkpoint_key : str
        What distinguishes trainings that differ in more than that.
    progress : callable, optional
        Called with (epochs done, epochs at most, text) after each epoch.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ValueError
        For rows that are out of range, repeated or shared, too few of them, NaN in Y or the tokens, a module whose
        output has another shape, or a device that is not there.
    FloatingPointError
        If the loss becomes NaN or infinite.
    """
    check_choice("loss", loss, ("mse", "cross_entropy"))
    device = check_device(training.device)
    targets = Targets(Y, loss, target_scaling, len(tokens), device)
    chosen, held_out = check_rows(train_rows, validation_rows, len(tokens), 1 if targets.classes else 3)
    key = ""
    if checkpoint is not None:
        parts = [checkpoint_key, tokens.content_hash, targets.content_hash, hash_array(chosen), loss]
        parts += [hash_array(held_out), repr(training), _module_hash(module), repr(_lr_factors(module))]
        key = f"{checkpoint_key}/{hashlib.sha256('|'.join(parts).encode()).hexdigest()}"
    module.to(device)
    generator = make_generator(training.seed, _DROPOUT, device=device)
    set_generator(module, generator)
    optimizer = torch.optim.AdamW(
        parameter_groups(module, training), lr=training.lr, weight_decay=training.weight_decay, fused=True
    )
    saved = None if checkpoint is None else checkpoint.load(key)
    state = Progress() if saved is None else unpack(saved, module, optimizer, generator)
    run = _Run(module, tokens, targets, chosen, held_out, training, optimizer)
    while not state.finished:
        run.epoch(state)
        if checkpoint is not None:
            checkpoint.save(key, pack(state, module, optimizer, generator))
        if progress is not None:
            progress(state.epoch, training.n_epochs, _describe(state, targets.classes))
    load_module_arrays(module, state.best_state)
    module.eval()
    return TrainingResult(
        state=state.best_state,
        best_epoch=state.best_epoch,
        history={name: np.array(values) for name, values in state.history.items()},
        validation_scores=state.best_scores,
    )


@dataclass
class _Run:
    """What stays the same over epochs."""

    module: nn.Module
    tokens: TokenSource
    targets: Targets
    train_rows: Positions
    validation_rows: Positions
    training: Training
    optimizer: torch.optim.Optimizer

    def epoch(self, state: Progress) -> None:
        """Train one epoch, score the validation rows, and note the best and whether it is over."""
        training = self.training
        train_loss, lr = self._train_epoch(state.epoch)
        validation_loss, scores, score = self._validate()
        for name, value in zip(HISTORY, (train_loss, validation_loss, score, lr), strict=True):
            state.history[name].append(value)
        # NaN is never better, and the first epoch stands until beaten.
        if (
            state.best_epoch < 0
            or score > state.best_score
            or (np.isnan(state.best_score) and score == score)
        ):
            state.best_epoch, state.best_score, state.best_scores = state.epoch, score, scores
            state.best_state = module_arrays(self.module)
        state.epoch += 1
        waited = state.epoch - 1 - state.best_epoch
        patience = training.patience_epochs
        state.finished = state.epoch >= training.n_epochs or (patience is not None and waited >= patience)

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        training, module = self.training, self.module
        module.train()
        rng = np.random.default_rng([training.seed, _ORDER, epoch])
        blocks = shuffled_blocks(self.tokens, self.train_rows, rng)
        plan = batch_sizes(len(self.train_rows), training.batch_size, training.accumulation_steps)
        batches = iter_batches(
            self.tokens, blocks, [size for step in plan for size in step], self.targets.device
        )
        total = torch.zeros((), dtype=torch.float64, device=self.targets.device)
        lr = training.lr
        for number, sizes in enumerate(plan):
            lr = learning_rate(training, epoch * len(plan) + number, len(plan))
            self.optimizer.zero_grad(set_to_none=True)
            for size in sizes:
                rows, tokens, mask = next(batches)
                loss = self._loss(self._predict(tokens, mask), self.targets.rows(rows)) * (size / sum(sizes))
                loss.backward()
                total += loss.detach() * sum(sizes)
            if training.clip_norm is not None:
                nn.utils.clip_grad_norm_(module.parameters(), training.clip_norm)
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["lr_factor"]
            self.optimizer.step()
        mean_loss = float(total) / len(self.train_rows)
        if not np.isfinite(mean_loss):
            raise FloatingPointError(
                f"the loss became {mean_loss} in epoch {epoch}: lower lr ({training.lr:g}), set clip_norm, or warm up"
            )
        return mean_loss, lr

    def _validate(self) -> tuple[float, NDArray, float]:
        self.module.eval()
        counts, sums = AccuracyCounts(), CorrelationSums()
        total = torch.zeros((), dtype=torch.float64, device=self.targets.device)
        with torch.inference_mode():
            for rows, tokens, mask in stored_batches(self.tokens, self.training, self.validation_rows):
                outputs, wanted = self._predict(tokens, mask), self.targets.rows(rows)
                total += self._loss(outputs, wanted).double() * len(rows)
                (counts if self.targets.classes else sums).add(wanted, outputs)
        scores, score = counts.accuracy() if self.targets.classes else sums.correlation()
        return float(total) / len(self.validation_rows), scores, score

    def _predict(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        with precision_context(self.training):
            outputs = self.module(tokens, mask)
        return outputs.float()

    def _loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        if self.targets.classes:
            return functional.cross_entropy(outputs, wanted)
        if outputs.shape != wanted.shape:
            raise ValueError(
                f"the module gives {tuple(outputs.shape)} for responses {tuple(wanted.shape)}: it must give "
                "(b, n_outputs)"
            )
        return functional.mse_loss(outputs, wanted)


def parameter_groups(module: nn.Module, training: Training) -> list[dict[str, Any]]:
    """Divide parameters by how fast they are to learn, for AdamW.

    AdamW moves every number by about the learning rate a step, whatever the size of its gradient. Numbers that must
    travel far, as the logits of a softmax, ask for more: a module's `lr_factors` names such parameters. Their decay
    a step stays that of the others.
    """
    factors = _lr_factors(module)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        groups.setdefault(factors.get(name, 1.0), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": factor, "weight_decay": training.weight_decay / factor}
        for factor, parameters in groups.items()
    ]


def _lr_factors(module: nn.Module) -> dict[str, float]:
    return dict(getattr(module, "lr_factors", {}))


def _module_hash(module: nn.Module) -> str:
    arrays = module_arrays(module)
    parts = [f"{name}={hash_array(value)}" for name, value in arrays.items()]
    return hashlib.sha256("\n".join([str(module), *parts]).encode()).hexdigest()


def _describe(state: Progress, classes: bool) -> str:
    last = {name: values[-1] for name, values in state.history.items()}
    score = "accuracy" if classes else "r"
    return (
        f"loss {last['train_loss']:.4g}, validation {score} {last['validation_score']:.4f} "
        f"(best {state.best_score:.4f} after epoch {state.best_epoch + 1})"
    )
