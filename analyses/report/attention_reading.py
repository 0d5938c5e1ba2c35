"""What the figures of attention and the words around them both read off `attention.nc`."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyses.interpretation.eccentricity import TokenGrid
from analyses.report.reading import require

MAX_IMAGES, MAX_ROWS, MAX_MEAN_MAPS, MAX_HEADS, MAX_LINES, MAX_TEXTS = 8, 12, 24, 16, 30, 6


def token_grid(attention: xr.Dataset) -> TokenGrid:
    """Return where tokens lie: in degrees where the size of the picture is known, else in widths of the picture."""
    require(attention, "row", "column")
    n_rows, n_columns = (int(attention[name].values.max()) + 1 for name in ("row", "column"))
    return TokenGrid((n_rows, n_columns), float(attention.attrs.get("image_size_deg", 1.0)) / n_columns)


def has_grid(attention: xr.Dataset) -> bool:
    """Tell whether tokens are places of an image."""
    return "row" in attention.coords and attention.sizes["token"] > 1


def query_labels(attention: xr.Dataset) -> list[str]:
    """Return the names of queries."""
    return [str(name) for name in attention["query"].values]


def spread_evenly(n: int, n_shown: int) -> list[int]:
    """Choose up to `n_shown` of `n`, evenly spread, the first and the last among them."""
    return [int(i) for i in np.unique(np.linspace(0, n - 1, min(n, n_shown)).round())]


def relative(maps: np.ndarray) -> np.ndarray:
    """Return attention as a multiple of even attention."""
    return np.asarray(maps, dtype=float) * maps.shape[-1]


def query_of_heads(attention: xr.Dataset) -> int:
    """Return the query whose heads differ most: the mean map is broader than the heads' own."""
    weights = np.asarray(attention["attention"].transpose("query", "stimulus", "head", "token").values, float)
    gap = ((weights - weights.mean(axis=2, keepdims=True)) ** 2).sum(axis=-1).mean(axis=(1, 2))
    return int(np.argmax(gap))


def eccentricity_unit(attention: xr.Dataset) -> str:
    """Return the unit of distances in the image, for an axis."""
    return "deg" if "image_size_deg" in attention.attrs else "image widths"
