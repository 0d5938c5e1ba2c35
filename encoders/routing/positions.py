"""Codes of where a token lies, which keys carry and values do not."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stimuli.files import unknown_name_message

PositionKind = Literal["sine", "learned", "none"]

TEMPERATURE = 10_000
"""Ratio of the longest to the shortest wavelength of the sine codes (Vaswani et al. 2017)."""


def sine_codes(places: Tensor, width: int) -> Tensor:
    """Return sine codes of places along one axis: channel 2j holds sin(place / f), channel 2j + 1 cos(place / f).

    Parameters
    ----------
    places : Tensor (n_places,)
        In radians of the shortest wavelength.
    width : int
        Number of channels; f is `TEMPERATURE ** (2j / width)`.

    Returns
    -------
    Tensor (n_places, width)
        In float64.

    References
    ----------
    Vaswani et al. 2017, Attention is all you need, section 3.5.
    """
    channel = torch.arange(width, dtype=torch.float64)
    wavelength = TEMPERATURE ** (2 * (channel // 2) / max(width, 1))
    angle = places.double()[:, None] / wavelength
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def grid_places(n_places: int) -> Tensor:
    """Return places 1 to n of a grid's side scaled so that the last is 2 pi (Carion et al. 2020), float64."""
    return torch.arange(1, n_places + 1, dtype=torch.float64) / (n_places + 1e-6) * (2 * math.pi)


class Positions(nn.Module):
    """Position codes of the tokens of an image (a grid, row by row) or of a text.

    The code of a token on a grid is the code of its row (the first half of the channels) beside that of its column
    (the second), so that inner products with all codes cost rows plus columns, not rows times columns.

    Parameters
    ----------
    kind : {"sine", "learned", "none"}
        "sine": on a grid the codes of DETR, each side scaled to 2 pi; along a text those of Vaswani et al., in
        tokens from 0, since scaling would make a word's code depend on the padding. "learned": an embedding a row
        and a column, or a token of a text, started evenly in [0, 1). "none": zero.
    n_tokens : int
    grid : tuple (n_rows, n_columns) or None
    width : int
        Number of channels.
    generator : torch.Generator
        Draws the first learned codes.

    Raises
    ------
    ValueError
        If `kind` is unknown.

    References
    ----------
    Carion et al. 2020, End-to-end object detection with transformers, section A.4.
    """

    axis0: Tensor
    axis1: Tensor

    def __init__(
        self,
        kind: PositionKind,
        n_tokens: int,
        grid: tuple[int, int] | None,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if kind not in get_args(PositionKind):
            raise ValueError(unknown_name_message("positions", str(kind), get_args(PositionKind)))
        self.kind, self.n_tokens, self.grid = kind, n_tokens, grid
        # An odd width gives rows the channel that is left over.
        self.widths = (width,) if grid is None else (width - width // 2, width // 2)
        sides = (n_tokens,) if grid is None else grid
        for axis, (n_places, channels) in enumerate(zip(sides, self.widths, strict=True)):
            if kind == "learned":
                codes = torch.empty(n_places, channels).uniform_(0, 1, generator=generator)
                self.register_parameter(f"axis{axis}", nn.Parameter(codes))
            elif kind == "sine":
                places = torch.arange(n_places) if grid is None else grid_places(n_places)
                self.register_buffer(f"axis{axis}", sine_codes(places, channels).float(), persistent=False)

    def inner(self, vectors: Tensor) -> Tensor | None:
        """Return inner products of vectors (..., n_vectors, width) with all codes (..., n_vectors, n_tokens), or None.

        None stands for codes of zero.
        """
        if self.kind == "none":
            return None
        if self.grid is None:
            return vectors @ self.axis0.T
        rows, columns = vectors.split(self.widths, -1)
        return ((rows @ self.axis0.T)[..., :, None] + (columns @ self.axis1.T)[..., None, :]).flatten(-2)

    def codes(self) -> Tensor | None:
        """Return the codes (n_tokens, width), or None for codes of zero."""
        if self.kind == "none":
            return None
        if self.grid is None:
            return self.axis0
        n_rows, n_columns = self.grid
        rows = self.axis0[:, None].expand(-1, n_columns, -1)
        columns = self.axis1[None].expand(n_rows, -1, -1)
        return torch.cat([rows, columns], -1).flatten(0, 1)
