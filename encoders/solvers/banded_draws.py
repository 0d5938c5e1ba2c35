"""Bands of features, and the weights of bands that a random search tries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from stimuli.files import count_of


def draw_gammas(
    n_draws: int,
    n_bands: int,
    concentration: float | Sequence[float] = (0.1, 1.0),
    seed: int = 0,
    corners: bool = False,
) -> Float64[np.ndarray, "n_rows n_bands"]:
    """Draw weights of bands from symmetric Dirichlet distributions.

    The first draw is replaced by equal weights: ordinary ridge is always among the candidates.

    Parameters
    ----------
    n_draws, n_bands : int
    concentration : float or sequence of float
        Concentrations of the distributions, taken in turn. 1 is uniform over all weights that sum to 1, small values
        come near the corners, where one band has all the weight.
    seed : int
    corners : bool
        Whether to add, for each band, the draw that gives it all the weight.

    Returns
    -------
    ndarray (n_draws, n_bands), or (n_draws + n_bands, n_bands) with corners
        Rows sum to 1.

    Raises
    ------
    ValueError
        If there is no draw, or a concentration is not positive and finite.
    """
    if n_draws < 1:
        raise ValueError(f"n_draws is {n_draws}; it must be at least 1")
    levels = np.atleast_1d(np.asarray(concentration, dtype=np.float64))
    if levels.ndim != 1 or not levels.size or not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError(
            f"concentration is {concentration!r}; give a positive number, or several to be taken in turn"
        )
    rng = np.random.default_rng(seed)
    gammas = np.stack([rng.dirichlet(np.full(n_bands, levels[i % levels.size])) for i in range(n_draws)])
    gammas[0] = 1 / n_bands
    return np.concatenate([gammas, np.eye(n_bands)]) if corners and n_bands > 1 else gammas


def check_bands(bands: Any, n_features: int) -> Int64[np.ndarray, "n_features"]:
    """Return the number of each feature's band; raise a ValueError unless they fit the features."""
    band_of = np.asarray(bands)
    if band_of.shape != (n_features,) or band_of.dtype.kind not in "iu":
        raise ValueError(
            f"bands has shape {band_of.shape} and holds {band_of.dtype}; it must hold one whole number, that of its "
            f"band, for each of {count_of(n_features, 'feature')}"
        )
    present = np.unique(band_of)
    if not np.array_equal(present, np.arange(present.size)):
        raise ValueError(
            f"bands holds the numbers {present[:10].tolist()}; bands are numbered from 0, and none may be empty"
        )
    return band_of.astype(np.int64)


def check_gammas(gammas: Any, n_bands: int) -> Float64[np.ndarray, "n_draws n_bands"]:
    """Return weights of bands in float64; raise a ValueError unless they are weights of so many bands."""
    values = np.array(gammas, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != n_bands or not len(values):
        raise ValueError(
            f"gammas has shape {values.shape}; it must have one row a draw and {n_bands} columns"
        )
    bad = ~(np.isfinite(values) & (values >= 0)).all(1) | (values.max(1) <= 0)
    if bad.any():
        raise ValueError(
            f"gammas must be finite, not negative, and positive for at least one band; row {int(bad.argmax())} is "
            f"{values[bad][0].tolist()}"
        )
    return values
