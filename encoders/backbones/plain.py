"""Bases that were never trained: the pixels themselves and the energy of a Gabor pyramid."""

import math
import os
from collections.abc import Sequence
from os import PathLike

import torch
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


class GaborScale(nn.Module):
    """Gabor wavelets of one frequency: root of the quadrature energy at ``frequency x frequency`` places.

    Parameters
    ----------
    frequency_cpi
        Frequency in cycles an image, a whole number; also the number of places along each side.
    n_orientations
        Orientations evenly spaced over 180 degrees; the first modulates along columns (vertical stripes).
    size
        Rows and columns of the image, in pixels.
    bandwidth_octaves
        Full width of the spectrum at half height; it sets the standard deviation of the Gaussian envelope.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, frequency_cpi: int, n_orientations: int, size: int, bandwidth_octaves: float) -> None:
        super().__init__()
        width = 2.0**bandwidth_octaves
        sd = (
            math.sqrt(math.log(2) / 2) / math.pi * (width + 1) / (width - 1) / frequency_cpi
        )  # in image widths
        pixels = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        places = (torch.arange(frequency_cpi, dtype=torch.float64) + 0.5) / frequency_cpi
        distance = pixels - places[:, None]
        envelope = torch.exp(-0.5 * (distance / sd) ** 2) / (math.sqrt(2 * math.pi) * sd * size)
        angles = torch.arange(n_orientations, dtype=torch.float64) * math.pi / n_orientations
        # A Gabor with a round envelope is the product of one factor along rows and one along columns.
        for name, share in (("rows", torch.sin(angles)), ("columns", torch.cos(angles))):
            phase = 2 * math.pi * frequency_cpi * share[:, None, None] * distance
            self.register_buffer(name, torch.polar(envelope.expand_as(phase), phase).to(torch.complex64))

    def forward(self, luminance: Tensor) -> Tensor:
        """Return the contrast energy ``(n, orientation, row, column)`` of ``(n, row, column)`` images.

        A grating of the preferred frequency and orientation gives its amplitude, whatever its phase.
        """
        image = luminance.to(self.rows.dtype)
        along_columns = torch.einsum("nyx,opx->noyp", image, self.columns)
        return 2 * torch.einsum("noyp,oqy->noqp", along_columns, self.rows).abs()


class GaborPyramid(nn.Module):
    """Energy of a pyramid of Gabor wavelets: the classical model of early visual cortex.

    Luminance, minus its mean over the image, is met by pairs of Gabor wavelets in quadrature; the response is
    the root of the summed squares (Adelson and Bergen 1985). As in the pyramid of Kay, Naselaris, Prenger and
    Gallant (2008, Nature 452:352) each side has as many places as cycles. Outside the image is grey.

    Parameters
    ----------
    frequencies_cpi
        Frequencies in cycles an image, whole numbers; at most ``size / 2``.
    n_orientations
        Number of orientations.
    size
        Side of the square images, in pixels.
    bandwidth_octaves
        Bandwidth of the wavelets at half height.

    Notes
    -----
    Layers: ``scales.cpi_F`` gives (n, orientation, row, column), ``energy`` all scales as (n, feature).
    With the defaults that is 8 x (1 + 4 + 16 + 64 + 256 + 1024) = 10,920 features.
    """

    luminance_weights: Tensor

    def __init__(
        self,
        frequencies_cpi: Sequence[int] = (1, 2, 4, 8, 16, 32),
        n_orientations: int = 8,
        size: int = 128,
        bandwidth_octaves: float = 1.0,
    ) -> None:
        super().__init__()
        if not frequencies_cpi or any(f != int(f) or not 1 <= f <= size / 2 for f in frequencies_cpi):
            raise ValueError(
                f"frequencies_cpi must be whole numbers from 1 to size / 2 = {size // 2} cycles an image, "
                f"got {tuple(frequencies_cpi)}"
            )
        if n_orientations < 1 or bandwidth_octaves <= 0:
            raise ValueError(
                "n_orientations must be at least 1 and bandwidth_octaves above 0, "
                f"got {n_orientations} and {bandwidth_octaves}"
            )
        self.scales = nn.ModuleDict(
            {f"cpi_{f}": GaborScale(int(f), n_orientations, size, bandwidth_octaves) for f in frequencies_cpi}
        )
        self.energy = nn.Identity()
        self.register_buffer("luminance_weights", torch.tensor(_LUMINANCE).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the energies ``(n, feature)`` of images ``(n, 3, row, column)`` in [0, 1]."""
        luminance = (x * self.luminance_weights).sum(dim=1)
        luminance = luminance - luminance.mean(dim=(1, 2), keepdim=True)
        return self.energy(torch.cat([scale(luminance).flatten(1) for scale in self.scales.values()], dim=1))


@register_backbone("pixels")
def load_pixels(argument: str, weights: str | PathLike[str], seed: int) -> Backbone:
    """Load ``pixels`` (each image's own size) or ``pixels:SIZE`` (resized to SIZE x SIZE, bilinear)."""
    _refuse_weights("pixels", weights)
    size = (_positive(argument, "pixels"),) * 2 if argument else None
    preprocess = ImagePreprocess(resize=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Backbone("pixels", Pixels(), preprocess, "image", ("pixels",), "no weights")


@register_backbone("gabor")
def load_gabor(argument: str, weights: str | PathLike[str], seed: int) -> Backbone:
    """Load ``gabor``, a `GaborPyramid` over images squeezed to 128 x 128, or ``gabor:SIZE``."""
    _refuse_weights("gabor", weights)
    size = _positive(argument, "gabor") if argument else 128
    frequencies = [frequency for frequency in (1, 2, 4, 8, 16, 32) if frequency <= size / 4]
    if not frequencies:
        raise ValueError(f"gabor:SIZE needs at least 4 pixels for one cycle, got {size}")
    module = GaborPyramid(frequencies, size=size)
    preprocess = ImagePreprocess(resize=(size, size), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Backbone("gabor", module, preprocess, "image", ("energy",), "no weights")


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
