"""Where on displays the gaze falls: fixation density over all displays, an observer a panel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses.metrics.scanpath import fixation_map
from analyses.report import style
from analyses.report.style import styled
from cogmodels.search import Scanpaths

MAX_OBSERVERS = 9
_COLUMNS = 3
#: Places along the wider side of the map, and its smoothing: one thirtieth of that side.
_SIDE, _SIGMA = 120, 4.0


def density(scanpaths: Scanpaths, displays: pd.DataFrame) -> np.ndarray:
    """Return the density of fixations over displays that are brought to one size.

    Parameters
    ----------
    scanpaths : Scanpaths
        Fixation 0 and fixations off the display are left out.
    displays : DataFrame
        ``display, width_px, height_px``, as `SearchDisplays.table`; scanpaths on others are left out.

    Returns
    -------
    (n_rows, n_columns) array
        Times as many as if all places were equally likely; NaN throughout where nothing is left.
    """
    sizes = displays.set_index("display")[["width_px", "height_px"]]
    table = scanpaths.table[(scanpaths.table["fixation"] > 0) & scanpaths.table["display"].isin(sizes.index)]
    shape = sizes["height_px"].sum() / sizes["width_px"].sum()
    columns = round(_SIDE / max(1.0, shape))
    rows = round(_SIDE * min(1.0, shape))
    of_each = sizes.loc[table["display"]].to_numpy(float)
    places = table[["x_px", "y_px"]].to_numpy() / of_each * (columns, rows)
    found = fixation_map([places], (columns, rows), _SIGMA, off_screen="drop")
    return found * found.size


@styled
def fixation_densities(observers: Mapping[str, Scanpaths], displays: pd.DataFrame) -> Figure:
    """Draw where each observer looked, over all displays together.

    Parameters
    ----------
    observers : mapping of str to Scanpaths
        Drawn are the first 9.
    displays : DataFrame
        As in `density`.

    Returns
    -------
    matplotlib.figure.Figure
        One colour scale: 1 is as often as if all places were equally likely.
    """
    shown = {name: density(paths, displays) for name, paths in list(observers.items())[:MAX_OBSERVERS]}
    columns = min(_COLUMNS, len(shown))
    n_rows = -(-len(shown) // columns)
    n_places = next(iter(shown.values())).shape
    width = style.WIDTH_IN if columns == _COLUMNS else 1.0 + 2.6 * columns
    panel = (width - 0.9) / columns
    figure = style.new_figure(n_rows * (panel * n_places[0] / n_places[1] + 0.35), width)
    axes = figure.subplots(n_rows, columns, squeeze=False)
    highest = np.nanmax([np.nanquantile(values, 0.995) for values in shown.values()])
    for ax, (name, values) in zip(axes.flat, shown.items(), strict=False):
        picture = ax.imshow(values, cmap=style.SEQUENTIAL, vmin=0, vmax=highest, interpolation="bilinear")
        ax.set_title(style.shorten(name, 26))
        ax.set(xticks=[], yticks=[])
    style.close_grid(axes, len(shown))
    bar = figure.colorbar(picture, ax=axes, shrink=0.9, extend="max", pad=0.02, aspect=16)
    bar.set_label("times an even spread", fontsize=7.5)
    bar.outline.set_visible(False)
    return figure
