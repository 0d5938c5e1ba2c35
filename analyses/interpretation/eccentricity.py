"""Where in the visual field attention lies, in degrees of visual angle.

x runs to the right and y upwards from fixation, as in population receptive fields.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analyses.interpretation.attention import check_attention
from analyses.interpretation.names import check_names
from analyses.statistics.bootstrap import bootstrap_interval

FloatArray = NDArray[np.float64]

# Points along each side of a token's patch: rings are thinner than tokens of a coarse grid.
_POINTS = 16


@dataclass(frozen=True)
class TokenGrid:
    """Tokens that tile an image, and how large they are for who looks at it.

    Parameters
    ----------
    grid : (n_rows, n_columns)
        Tokens down and across; they are numbered row by row from the upper left.
    degrees_per_token : float or (down, across)
        Size of the patch of a token in degrees of visual angle.
    fixation_deg : (x, y)
        Where the observer fixated, from the centre of the image: to the right, upwards.

    Raises
    ------
    ValueError
        Sizes are not positive, or the fixation is no pair of numbers.
    """

    grid: tuple[int, int]
    degrees_per_token: float | tuple[float, float]
    fixation_deg: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid is {self.grid!r}; (n_rows, n_columns) is needed, both at least 1")
        sizes = np.broadcast_to(np.asarray(self.degrees_per_token, dtype=float), 2)
        if not (np.isfinite(sizes).all() and sizes.min() > 0):
            raise ValueError(
                f"degrees_per_token is {self.degrees_per_token!r}; a positive number of degrees, or a pair (down,"
                " across), is needed"
            )
        if np.shape(self.fixation_deg) != (2,) or not np.isfinite(self.fixation_deg).all():
            raise ValueError(
                f"fixation_deg is {self.fixation_deg!r}; (x, y) from the image's centre is needed"
            )
        object.__setattr__(self, "degrees_per_token", (float(sizes[0]), float(sizes[1])))

    @classmethod
    def of_image(
        cls,
        grid: tuple[int, int],
        image_size_deg: float | tuple[float, float],
        fixation_deg: tuple[float, float] = (0.0, 0.0),
    ) -> "TokenGrid":
        """Return the grid of an image of this size, (height, width) or the side of a square in degrees.

        The size is that of what the network saw: where its preprocessing crops, of the crop.
        """
        height, width = np.broadcast_to(np.asarray(image_size_deg, dtype=float), 2) / np.asarray(grid)
        return cls(grid, (float(height), float(width)), fixation_deg)

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return self.grid[0] * self.grid[1]

    @cached_property
    def positions_deg(self) -> FloatArray:
        """Centres of tokens from fixation, (n_tokens, 2): x to the right, y upwards."""
        return self._points(1)[:, 0]

    @cached_property
    def eccentricity_deg(self) -> FloatArray:
        """Distance from fixation, averaged over each token's patch, (n_tokens,)."""
        return np.asarray(np.linalg.norm(self._points(_POINTS), axis=-1).mean(axis=1))

    @property
    def uniform_eccentricity_deg(self) -> float:
        """Mean eccentricity of the area: what attention spread evenly would have."""
        return float(self.eccentricity_deg.mean())

    def ring_shares(self, edges_deg: ArrayLike) -> FloatArray:
        """Return which share of each token's patch lies in each ring around fixation, (n_rings, n_tokens)."""
        edges = np.asarray(edges_deg, dtype=np.float64)
        ring = np.searchsorted(edges, np.linalg.norm(self._points(_POINTS), axis=-1), side="right") - 1
        return np.stack([(ring == number).mean(axis=1) for number in range(len(edges) - 1)])

    def _points(self, n_side: int) -> FloatArray:
        """Points that tile each token's patch, (n_tokens, n_side ** 2, 2)."""
        (n_rows, n_columns), sizes = self.grid, np.broadcast_to(self.degrees_per_token, 2)
        inside = (np.arange(n_side) + 0.5) / n_side
        down = (np.arange(n_rows)[:, None] + inside - n_rows / 2) * sizes[0]
        right = (np.arange(n_columns)[:, None] + inside - n_columns / 2) * sizes[1]
        x = np.broadcast_to(right[None, :, None, :], (n_rows, n_columns, n_side, n_side))
        y = np.broadcast_to(-down[:, None, :, None], (n_rows, n_columns, n_side, n_side))
        return np.stack([x, y], axis=-1).reshape(self.n_tokens, -1, 2) - np.asarray(self.fixation_deg)


def attention_centroid_deg(attention: ArrayLike, tokens: TokenGrid) -> FloatArray:
    """Return the centre of mass of attention from fixation.

    Parameters
    ----------
    attention : (n_samples, n_queries, n_heads, n_tokens) array
        Heads are averaged.
    tokens : TokenGrid

    Returns
    -------
    (n_samples, n_queries, 2) array
        x to the right and y upwards, degrees.

    Raises
    ------
    ValueError
        As `check_attention`; the grid has another number of tokens.
    """
    return _on_grid(attention, tokens) @ tokens.positions_deg


def attention_spread_deg(attention: ArrayLike, tokens: TokenGrid) -> FloatArray:
    """Return the root mean square distance of attended tokens from their centre of mass.

    Parameters
    ----------
    attention, tokens
        As in `attention_centroid_deg`.

    Returns
    -------
    (n_samples, n_queries) array
        Degrees; 0 where one token has all attention. For a round Gaussian map, its standard deviation times root 2.
    """
    maps = _on_grid(attention, tokens)
    centroid = maps @ tokens.positions_deg
    square = maps @ (tokens.positions_deg**2).sum(axis=-1)
    return np.sqrt(np.maximum(square - (centroid**2).sum(axis=-1), 0))


def mean_eccentricity_deg(attention: ArrayLike, tokens: TokenGrid) -> FloatArray:
    """Return the mean distance of attention from fixation.

    Parameters
    ----------
    attention, tokens
        As in `attention_centroid_deg`.

    Returns
    -------
    (n_samples, n_queries) array
        Degrees. Attention spread evenly over the image has `TokenGrid.uniform_eccentricity_deg`, not 0.
    """
    return _on_grid(attention, tokens) @ tokens.eccentricity_deg


def polar_angle_deg(attention: ArrayLike, tokens: TokenGrid) -> FloatArray:
    """Return the polar angle of attention's centre of mass.

    Parameters
    ----------
    attention, tokens
        As in `attention_centroid_deg`.

    Returns
    -------
    (n_samples, n_queries) array
        In (-180, 180], counterclockwise from the right horizontal meridian; 90 is up. NaN where the centre of mass is
        fixation.
    """
    centroid = attention_centroid_deg(attention, tokens)
    at_fixation = np.linalg.norm(centroid, axis=-1) < 1e-9 * max(tokens.eccentricity_deg.max(), 1e-300)
    angle = np.rad2deg(np.arctan2(centroid[..., 1], centroid[..., 0]))
    return np.where(at_fixation, np.nan, np.where(angle == -180, 180.0, angle))


def default_edges_deg(tokens: TokenGrid) -> FloatArray:
    """Return edges of rings about as wide as a token, from fixation to the farthest corner."""
    corners = np.abs(tokens.positions_deg) + np.asarray(tokens.degrees_per_token)[::-1] / 2
    farthest = float(np.linalg.norm(corners, axis=1).max())
    n_rings = max(2, round(farthest / max(np.broadcast_to(tokens.degrees_per_token, 2))))
    return np.linspace(0, farthest * (1 + 1e-9), n_rings + 1)


def eccentricity_profile(
    attention: ArrayLike,
    tokens: TokenGrid,
    edges_deg: ArrayLike | None = None,
    query_names: ArrayLike | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Sum attention in rings around fixation and compare it with their area.

    Parameters
    ----------
    attention : (n_samples, n_queries, n_heads, n_tokens) array
        Heads are averaged.
    tokens : TokenGrid
    edges_deg : (n_rings + 1,) array, optional
        Increasing eccentricities; rings about as wide as a token when None. What lies outside is left out.
    query_names : (n_queries,) strings, optional
    n_bootstrap, seed : int
        Draws of images for the interval, and their seed.

    Returns
    -------
    DataFrame
        One row a query and ring: ``query``, ``from_deg``, ``to_deg``, ``attention_share`` (mean over images),
        ``area_share`` (what attention spread evenly would have), ``enrichment`` (their ratio) and its 95 % bootstrap
        interval over images ``lower``, ``upper`` (NaN for one image). NaN in rings without area.

    Raises
    ------
    ValueError
        As `check_attention`; edges do not increase, or names do not match.
    """
    maps = _on_grid(attention, tokens)
    names = check_names(query_names, maps.shape[1], "query")
    edges = default_edges_deg(tokens) if edges_deg is None else np.asarray(edges_deg, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError(f"edges_deg is {edges_deg!r}; at least two increasing eccentricities are needed")
    shares = tokens.ring_shares(edges)
    mass, area = maps @ shares.T, shares.mean(axis=1)
    flat = mass.reshape(len(mass), -1)
    ratio = np.tile(np.divide(1, area, out=np.full_like(area, np.nan), where=area > 0), len(names))
    lower = upper = np.full(flat.shape[1], np.nan)
    if len(mass) > 1:
        interval = bootstrap_interval(
            lambda counts: counts @ flat / counts.sum(axis=1, keepdims=True) * ratio,
            len(mass),
            n_bootstrap=n_bootstrap,
            seed=seed,
        )
        lower, upper = interval.lower, interval.upper
    n_rings = len(area)
    return pd.DataFrame(
        {
            "query": np.repeat(names, n_rings),
            "from_deg": np.tile(edges[:-1], len(names)),
            "to_deg": np.tile(edges[1:], len(names)),
            "attention_share": flat.mean(axis=0),
            "area_share": np.tile(area, len(names)),
            "enrichment": flat.mean(axis=0) * ratio,
            "lower": lower,
            "upper": upper,
        }
    )


def _on_grid(attention: ArrayLike, tokens: TokenGrid) -> FloatArray:
    maps = check_attention(attention).mean(axis=2)
    if maps.shape[-1] != tokens.n_tokens:
        raise ValueError(
            f"attention has {maps.shape[-1]} tokens and the grid {tokens.grid} has {tokens.n_tokens}; give the grid of"
            " these tokens, without a class token"
        )
    return maps
