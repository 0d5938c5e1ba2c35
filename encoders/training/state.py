"""All that the next epoch depends on, as arrays for a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

HISTORY = ("train_loss", "validation_loss", "validation_score", "lr")
"""What is noted of each epoch."""


def module_arrays(module: nn.Module) -> dict[str, NDArray]:
    """Return copies of all weights and buffers of a module as NumPy arrays."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def load_module_arrays(module: nn.Module, arrays: Mapping[str, NDArray]) -> None:
    """Set all weights and buffers of a module."""
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})


@dataclass
class Progress:
    """How far training has come, and the best so far."""

    epoch: int = 0
    finished: bool = False
    best_epoch: int = -1
    best_score: float = float("nan")
    best_state: dict[str, NDArray] = field(default_factory=dict)
    best_scores: NDArray = field(default_factory=lambda: np.empty(0))
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})


def pack(
    progress: Progress, module: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, NDArray]:
    """Write everything as arrays; of a finished training only what is returned."""
    arrays: dict[str, NDArray] = {
        "epoch": np.array(progress.epoch),
        "finished": np.array(progress.finished),
        "best_epoch": np.array(progress.best_epoch),
        "best_score": np.array(progress.best_score),
        "best_scores": progress.best_scores,
    }
    arrays |= {f"history/{name}": np.array(values) for name, values in progress.history.items()}
    newest_is_best = progress.best_epoch == progress.epoch - 1
    if progress.finished or not newest_is_best:
        arrays |= {f"best/{name}": value for name, value in progress.best_state.items()}
    if progress.finished:
        return arrays
    arrays |= {f"weights/{name}": value for name, value in module_arrays(module).items()}
    for number, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{number}/{name}": value.cpu().numpy() for name, value in state.items()}
    arrays["generator"] = generator.get_state().numpy()
    return arrays


def unpack(
    arrays: Mapping[str, NDArray],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Progress:
    """Set module, optimiser and generator to what `pack` wrote."""
    progress = Progress(
        epoch=int(arrays["epoch"]),
        finished=bool(arrays["finished"]),
        best_epoch=int(arrays["best_epoch"]),
        best_score=float(arrays["best_score"]),
        best_scores=arrays["best_scores"],
        history={name: arrays[f"history/{name}"].tolist() for name in HISTORY},
    )
    weights = _below(arrays, "weights/")
    progress.best_state = _below(arrays, "best/") or weights
    if progress.finished:
        return progress
    load_module_arrays(module, weights)
    state: dict[int, dict[str, Any]] = {}
    for key, value in _below(arrays, "optimizer/").items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = torch.from_numpy(np.array(value))
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    generator.set_state(torch.from_numpy(np.array(arrays["generator"])))
    return progress


def _below(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
