"""Small networks that the tests of backbones share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from encoders.backbones import Backbone, ImagePreprocess, Preprocess, load_backbone


class Net(nn.Module):
    """A small network of a user's."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.relu, gain: float = 1.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU()
        )
        self.head = nn.Linear(4, 2)
        self.activation = activation
        self.gain = gain

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.gain * self.activation(self.features(pictures)).mean((2, 3)))


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill the parameters of a module under a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return module


def own(module: nn.Module, preprocess: Preprocess | None = None) -> Backbone:
    """Make a backbone of a module."""
    return load_backbone(module, preprocess=preprocess or ImagePreprocess(resize=(9, 9)))
