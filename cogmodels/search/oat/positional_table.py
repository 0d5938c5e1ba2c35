"""Where an object is, as a vector: likeness that falls with distance on the grid, and the codes it replaces."""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.solvers.checks import check_choice

Positions = Literal["distance", "sinusoid", "index", "none"]
POSITIONS: tuple[Positions, ...] = ("distance", "sinusoid", "index", "none")

TOLERANCE = 1e-3
"""Largest error of the likeness of places at most `NEAR_PLACES` apart (Fang et al. 2024 stop there too)."""
NEAR_PLACES = 3


def gaussian_table(n_places: int, n_features: int, sigma: float = 2.0, seed: int = 0) -> NDArray[np.float64]:
    """Return a vector for each place in a row, whose cosine similarity is a Gaussian of the distance.

    Parameters
    ----------
    n_places : int
        Places in the row, one apart.
    n_features : int
    sigma : float
        Standard deviation of the Gaussian, in places.
    seed : int
        Of a random rotation, without which most columns would be next to null.

    Returns
    -------
    (n_places, n_features) array
        ``cos(table[i], table[j]) = exp(-(i - j) ** 2 / (2 sigma ** 2))``; all rows have length ``sqrt(n_features)``, so
        that an entry is about 1.

    Raises
    ------
    ValueError
        If so few columns miss the Gaussian by more than 1e-3 between places at most 3 apart, or an argument is out of
        range.

    Notes
    -----
    Fang et al. (2024) approach the same table by gradient descent on the squared error of the cosines. The wanted
    similarities are a positive definite matrix, so a factor of it, from its eigenvectors, has them exactly where there
    are as many columns as places. With fewer columns the largest eigenvalues are kept, the best choice of that rank.
    """
    if n_places < 1 or n_features < 1 or not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(
            f"n_places is {n_places}, n_features {n_features} and sigma {sigma}; all must be positive and finite"
        )
    places = np.arange(n_places)
    apart = np.abs(places[:, None] - places)
    wanted = np.exp(-(apart**2) / (2 * sigma**2))
    values, vectors = np.linalg.eigh(wanted)
    kept = min(n_places, n_features)
    factor = vectors[:, -kept:] * np.sqrt(values[-kept:].clip(min=0))
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n_features, kept)))
    table = factor @ rotation.T
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    error = np.abs(table @ table.T - wanted)[apart <= NEAR_PLACES].max()
    if error > TOLERANCE:
        raise ValueError(
            f"{n_features} features cannot tell {n_places} places apart (similarity is wrong by up to {error:.2g}): "
            "raise d_model, or lower max_grid to the rows and columns that displays have"
        )
    return table * math.sqrt(n_features)


def sinusoid(positions: Tensor, n_features: int) -> Tensor:
    """Return the sinusoidal code of positions (Vaswani et al. 2017).

    Parameters
    ----------
    positions : (...) float tensor
    n_features : int

    Returns
    -------
    (..., n_features) tensor
        Pairs of sine and cosine, with wavelengths from 2 pi to 10,000 times that.
    """
    pairs = torch.arange(math.ceil(n_features / 2), dtype=positions.dtype, device=positions.device)
    angles = positions[..., None] * torch.exp(pairs * (-2 * math.log(10_000) / n_features))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :n_features]


class PositionalCode(nn.Module):
    """Vectors for places on a grid, with a mark for the target; nothing in it is trained.

    Parameters
    ----------
    positions : {"distance", "sinusoid", "index", "none"}
        ``distance``: row and column by `gaussian_table`. ``sinusoid``: row and column by `sinusoid`. ``index``: the
        number of the cell, counted along the rows, by `sinusoid`; it does not know which cells are neighbours across
        rows. ``none``: no position.
    n_features : int
        Columns in all: a third each for row, column and mark, what remains for the mark.
    max_grid : int
        Most rows, and most columns, of a grid.
    sigma : float
        Of `gaussian_table`.

    Raises
    ------
    ValueError
        As `gaussian_table`, for an unknown name, or with fewer than 6 features.
    """

    sides: Tensor
    mark: Tensor

    def __init__(
        self, positions: Positions = "distance", n_features: int = 256, max_grid: int = 14, sigma: float = 2.0
    ) -> None:
        super().__init__()
        check_choice("positions", positions, POSITIONS)
        if n_features < 6:
            raise ValueError(f"positions have {n_features} features; row, column and mark need two each")
        self.positions, self.max_grid = positions, max_grid
        self.n_side = n_features // 3
        table = (
            gaussian_table(max_grid, self.n_side, sigma)
            if positions == "distance"
            else sinusoid(torch.arange(max_grid, dtype=torch.float64), self.n_side).numpy()
        )
        # Buffers, saved with the weights: eigenvectors of another machine may be turned.
        self.register_buffer("sides", torch.as_tensor(table, dtype=torch.float32))
        pair = gaussian_table(2, n_features - 2 * self.n_side, sigma)
        self.register_buffer("mark", torch.as_tensor(pair, dtype=torch.float32))

    def forward(self, places: Tensor, marks: Tensor) -> Tensor:
        """Return the code of places.

        Parameters
        ----------
        places : (..., 3) int tensor
            Row, column, and number of the cell; a row of -1 is no place, whose row and column are null vectors.
        marks : (...) int or bool tensor
            1 for the target.

        Returns
        -------
        (..., n_features) tensor
        """
        known = places.clamp(min=0)
        if self.positions == "none":
            where = self.sides.new_zeros(*marks.shape, 2 * self.n_side)
        elif self.positions == "index":
            where = sinusoid(known[..., 2].float(), 2 * self.n_side)
        else:
            where = self.sides[known[..., :2]].flatten(-2)
        where = where * (places[..., :1] >= 0)
        return torch.cat([where, self.mark[marks.long()]], dim=-1)
