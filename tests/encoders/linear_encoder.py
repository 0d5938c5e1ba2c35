"""The smallest trained encoder: a linear readout of the mean token, with dropout; and a child that fits it."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from encoders.checkpoints import FolderCheckpoint
from encoders.estimators.trained import TrainedEncoder
from encoders.persistence import register_encoder
from encoders.training.seeding import SeededDropout
from encoders.training.settings import Training


class LinearReadout(nn.Module):
    """Mean of the tokens that are there, dropout, then one weight a channel and voxel."""

    def __init__(
        self, n_channels: int, n_outputs: int, generator: torch.Generator, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(n_channels, n_outputs, generator=generator))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.dropout = SeededDropout(dropout)
        self.register_buffer("n_seen", torch.zeros((), dtype=torch.int64))

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if self.training:
            self.n_seen += len(tokens)
        present = (
            torch.ones(tokens.shape[:2], device=tokens.device) if mask is None else mask.to(tokens.dtype)
        )
        mean = (tokens * present[:, :, None]).sum(1) / present.sum(1, keepdim=True)
        return self.dropout(mean) @ self.weight + self.bias


@register_encoder
class LinearTokenEncoder(TrainedEncoder):
    """An encoder of `LinearReadout`."""

    def __init__(self, dropout: float = 0.0, training: Training | None = None) -> None:
        self.dropout = dropout
        self.training = training

    def make_module(
        self,
        n_tokens: int,
        n_channels: int,
        grid: tuple[int, int] | None,
        n_outputs: int,
        generator: torch.Generator,
    ) -> nn.Module:
        return LinearReadout(n_channels, n_outputs, generator, self.dropout)


def linear_data(
    n: int = 120, n_tokens: int = 3, n_channels: int = 8, n_voxels: int = 5, noise: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw tokens, responses that are linear in their mean, and the signal in the responses."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, n_tokens, n_channels)).astype(np.float32)
    signal = X.mean(axis=1) @ rng.standard_normal((n_channels, n_voxels))
    signal /= signal.std(axis=0)
    Y = signal + noise * rng.standard_normal((n, n_voxels))
    return X, Y.astype(np.float32), signal


RESUMED = Training(
    lr=5e-3,
    batch_size=8,
    n_epochs=12,
    schedule="cosine",
    warmup_epochs=2,
    clip_norm=0.5,
    precision="bfloat16",
    accumulation_steps=2,
    n_members=2,
    patience_epochs=None,
)
"""Everything that a resumed training could forget."""


def fit_child(folder: str) -> None:
    """Fit with a checkpoint in a folder, telling each finished epoch; to be killed meanwhile."""
    torch.set_num_threads(1)
    X, Y, _ = linear_data()
    encoder = LinearTokenEncoder(dropout=0.2, training=RESUMED)
    print("ready", flush=True)
    encoder.fit(
        X, Y, checkpoint=FolderCheckpoint(Path(folder), {}), progress=lambda *_: print("epoch", flush=True)
    )
    print("done", flush=True)


if __name__ == "__main__":
    fit_child(sys.argv[1])
