"""Small networks and displays that tests of eccNET share."""

import numpy as np
import torch
from torch import nn

from encoders.backbones import Backbone, ImagePreprocess, load_backbone
from stimuli.search_displays import SearchDisplay
from tests.cogmodels.search_cases import grid_display


class Halving(nn.Module):
    """A block that halves the map in two branches, as residual networks do; its ReLU is called twice."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, 2, 1)
        self.second = nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))


class Branching(nn.Module):
    """A block whose branches see differently far and are stacked."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n_in, n_out // 2, 1)
        self.near, self.far = (
            nn.Conv2d(n_out // 2, n_out // 2, 1),
            nn.Conv2d(n_out // 2, n_out // 2, 5, padding=2),
        )

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.near(x)), torch.relu(self.far(x))], 1)


class Gated(nn.Module):
    """A block that weighs channels by their mean over the whole map."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(n, n, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x)


def small_network(kind: str = "pools", n: int = 8, seed: int = 0) -> nn.Module:
    """Return a network of five halvings: of "pools", or of strided convolutions ("residual", "branching", "gated")."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for depth in range(5):
            n_in = 3 if depth == 0 else n
            if kind == "residual" and depth > 1:
                layers += [Halving(n_in, n)]
                continue
            layers += [nn.Conv2d(n_in, n, 3, padding=1), nn.ReLU(inplace=True)]
            if kind == "branching":
                layers += [Branching(n, n)]
            if kind == "gated" and depth == 3:
                layers += [Gated(n)]
            layers += [nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 4)).eval()


def small_backbone(kind: str = "pools", **settings) -> Backbone:
    """Return a small network with the normalisation of ImageNet."""
    return load_backbone(small_network(kind, **settings), preprocess=ImagePreprocess(), name=f"small-{kind}")


def array_display(side_px=120, target_item=0, n_items=4, seed=0, **changes) -> SearchDisplay:
    """Return squares of noise on a plain background, each its own; the target image is that of the target."""
    display = grid_display(seed, n_items=n_items, side_px=(side_px, side_px), image=None)
    rng = np.random.default_rng(seed)
    image = np.empty((side_px, side_px, 3), np.uint8)
    image[:] = display.background
    pictures = []
    for x, y, width, height in display.boxes_px.round().astype(int):
        pictures.append(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image[y : y + height, x : x + width] = pictures[-1]
    return grid_display(
        seed,
        n_items=n_items,
        side_px=(side_px, side_px),
        **{"target_item": target_item, "image": image, "target_image": pictures[target_item], **changes},
    )
