"""Colours of brain maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analyses.report import style

#: Variables that can be mapped, with the words at the colour bar.
MAPPED = {
    "r": "held-out r",
    "r2": "held-out R²",
    "r_within": "held-out r within category",
    "r_evaluated": "held-out r on the unit of the ceiling",
    "r_normalized": "r / noise ceiling",
    "noise_ceiling_r": "noise ceiling (r)",
}


@dataclass(frozen=True)
class MapColours:
    """From values to colours, and the words at the colour bar."""

    mappable: ScalarMappable
    label: str
    extend: str


def map_colours(variable: str, values: np.ndarray) -> MapColours:
    """Choose colours: around zero for scores that can be negative, 0 to 1 for shares of a ceiling."""
    finite = values[np.isfinite(values)]
    if variable in ("r_normalized", "noise_ceiling_r"):
        norm, name = Normalize(0.0, 1.0), style.SEQUENTIAL
    else:
        # The 99th percentile: one lucky voxel must not bleach the map.
        limit = max(0.05, float(np.percentile(np.abs(finite), 99)) if finite.size else 1.0)
        norm, name = Normalize(-limit, limit), style.DIVERGING
    below, above = (
        (finite.size > 0) and finite.min() < norm.vmin,
        (finite.size > 0) and finite.max() > norm.vmax,
    )
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        (below, above)
    ]
    return MapColours(ScalarMappable(norm, mpl.colormaps[name]), MAPPED[variable], extend)


def add_colour_bar(figure: Figure, axes: Any, colours: MapColours) -> None:
    """Add the colour bar of a map beside its axes."""
    bar = figure.colorbar(colours.mappable, ax=axes, shrink=0.7, aspect=22, pad=0.02, extend=colours.extend)
    bar.set_label(colours.label)
    bar.outline.set_linewidth(0.5)
