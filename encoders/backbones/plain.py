"""Bases that were never trained: the pixels themselves and the energy of a Gabor pyramid."""

import os
from os import PathLike

from torch import Tensor, nn

from encoders.backbones.backbone import Backbone
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.backbones.registry import register_backbone

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Pixels(nn.Module):
    """Hand the images on, as layer ``pixels``: ``(n, 3, row, column)`` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return self.pixels(x)


@register_backbone("pixels")
def load_pixels(argument: str, weights: str | PathLike[str], seed: int) -> Backbone:
    """Load ``pixels`` (each image's own size) or ``pixels:SIZE`` (resized to SIZE x SIZE, bilinear)."""
    _refuse_weights("pixels", weights)
    size = (_positive(argument, "pixels"),) * 2 if argument else None
    preprocess = ImagePreprocess(resize=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Backbone("pixels", Pixels(), preprocess, "image", ("pixels",), "no weights")


def _refuse_weights(name: str, weights: str | PathLike[str]) -> None:
    if weights not in ("cache", "random"):
        raise ValueError(
            f"{name} has no weights to load, got weights={os.fspath(weights)!r}; leave weights out"
        )


def _positive(argument: str, family: str) -> int:
    if not argument.isdecimal() or int(argument) == 0:
        raise ValueError(
            f"{family}:SIZE takes a side length in pixels, got {argument!r}; write e.g. {family}:14"
        )
    return int(argument)
