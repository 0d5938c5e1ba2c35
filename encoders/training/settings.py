"""How trained encoders are trained: one frozen set of settings for all of them."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from encoders.solvers.checks import check_choice

Schedule = Literal["constant", "step", "cosine"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Training:
    """Settings of AdamW training with early stopping, the same for every trained encoder.

    Parameters
    ----------
    lr : float
        Highest learning rate.
    weight_decay : float
        Decoupled weight decay (Loshchilov & Hutter 2019) of every parameter, biases and queries included, as in
        the published brain encoders (Adeli et al. 2025).
    batch_size : int
        Most samples in one pass through the network.
    n_epochs : int
        Most passes over the training rows.
    schedule : {"constant", "step", "cosine"}
        What becomes of the learning rate after the warm-up: it stays; it is multiplied by `lr_drop_factor` every
        `lr_drop_epochs`, counted from the first epoch; it falls to 0 along half a cosine.
    warmup_epochs : int
        Epochs over which the learning rate rises linearly, step by step.
    lr_drop_epochs, lr_drop_factor : int, float
        Of the schedule "step".
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together; larger ones are scaled down to it.
    patience_epochs : int, optional
        Stop after so many epochs without a better validation score; None trains all `n_epochs`. The weights of
        the best epoch are kept either way.
    validation_fraction : float
        Share of rows (whole groups) held out for early stopping where there is one member.
    n_members : int
        1, or the number of folds: each member is trained without one fold, which stops it, and predictions of
        all are averaged.
    precision : {"float32", "bfloat16"}
        bfloat16 computes under `torch.autocast`, in training and prediction; weights and optimiser stay float32.
    accumulation_steps : int
        Batches whose gradients make one step: the step is that of one batch of `batch_size` times as many rows.
    scale_tokens : bool
        Whether to bring each channel to mean 0 and standard deviation 1 over the tokens of the training rows.
    scale_targets : bool
        Whether to bring each voxel to mean 0 and standard deviation 1 over the training rows, so that voxels weigh
        alike in the loss. Predictions are scaled back.
    seed : int
        Of validation rows, initial weights, order of batches and dropout.
    device : str
        Torch device, as "cpu" or "cuda:0".

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of range; the message says what is allowed.

    Examples
    --------
    >>> from dataclasses import replace
    >>> quick = Training(n_epochs=20, schedule="cosine", warmup_epochs=2)
    >>> replace(quick, seed=1).seed
    1
    """

    lr: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 32
    n_epochs: int = 50
    schedule: Schedule = "constant"
    warmup_epochs: int = 0
    lr_drop_epochs: int = 100
    lr_drop_factor: float = 0.5
    clip_norm: float | None = None
    patience_epochs: int | None = 10
    validation_fraction: float = 0.1
    n_members: int = 1
    precision: Precision = "float32"
    accumulation_steps: int = 1
    scale_tokens: bool = True
    scale_targets: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST_INTEGER.items():
            self._check_integer(name, lowest)
        for name, (low, high, low_allowed, high_allowed) in _RANGE.items():
            self._check_real(name, low, high, low_allowed, high_allowed)
        for name in ("scale_tokens", "scale_targets"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}; it must be True or False")
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_choice("precision", self.precision, get_args(Precision))
        if self.warmup_epochs >= self.n_epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, but n_epochs is {self.n_epochs}: the warm-up must end "
                "before the last epoch"
            )
        if not isinstance(self.device, str):
            object.__setattr__(self, "device", str(self.device))

    def _check_integer(self, name: str, lowest: int) -> None:
        value = getattr(self, name)
        if value is None and name in _OPTIONAL:
            return
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; it must be a whole number{_or_none(name)}")
        if value < lowest:
            raise ValueError(f"{name} is {value}; it must be at least {lowest}{_or_none(name)}")
        object.__setattr__(self, name, int(value))  # a NumPy integer would not be saved as a plain number

    def _check_real(self, name: str, low: float, high: float, low_allowed: bool, high_allowed: bool) -> None:
        value = getattr(self, name)
        if value is None and name in _OPTIONAL:
            return
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; it must be a number{_or_none(name)}")
        number = float(value)
        above = number >= low if low_allowed else number > low
        below = number <= high if high_allowed else number < high
        if not (math.isfinite(number) and above and below):
            limits = f"{'at least' if low_allowed else 'more than'} {low:g}"
            if high < math.inf:
                limits += f" and {'at most' if high_allowed else 'less than'} {high:g}"
            raise ValueError(f"{name} is {value}; it must be finite, {limits}{_or_none(name)}")
        object.__setattr__(self, name, number)


_OPTIONAL = ("clip_norm", "patience_epochs")
_LOWEST_INTEGER = {
    "batch_size": 1,
    "n_epochs": 1,
    "warmup_epochs": 0,
    "lr_drop_epochs": 1,
    "patience_epochs": 1,
    "n_members": 1,
    "accumulation_steps": 1,
    "seed": 0,
}
_RANGE: dict[str, tuple[float, float, bool, bool]] = {
    "lr": (0, math.inf, False, False),
    "weight_decay": (0, math.inf, True, False),
    "lr_drop_factor": (0, 1, False, True),
    "clip_norm": (0, math.inf, False, False),
    "validation_fraction": (0, 1, False, False),
}


def _or_none(name: str) -> str:
    return ", or None" if name in _OPTIONAL else ""


def as_training(training: Any) -> Training:
    """Return settings; None stands for the defaults.

    Raises
    ------
    TypeError
        If it is anything but `Training` or None.
    """
    if training is None:
        return Training()
    if not isinstance(training, Training):
        known = ", ".join(field.name for field in fields(Training))
        raise TypeError(
            f"training is {training!r:.60}; it must be Training(...) with any of {known}, or None"
        )
    return training
