"""One look for every picture: sizes, type, and colours that people with any colour vision can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

P = ParamSpec("P")

#: Width of a two-column figure in print, inches (183 mm).
WIDTH_IN = 7.2
DPI = 170

INK = "#1b1f24"
MUTED = "#5b6470"
LINE = "#c4cad1"
#: Okabe & Ito (2008), "Color Universal Design", without the yellow that fades on white.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
CATEGORICAL = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)
SCORE, NULL, NOT_SIGNIFICANT, ALERT = BLUE, "#8a929c", "#a4abb4", VERMILLION
#: Diverging around zero (correlations) and sequential (shares): both read without red-green vision.
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
#: Soft background, and voxels that were measured but have no value: darker than any zero on a map.
SHADE, MISSING = "#e3e6ea", "#a4abb4"

RC: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the project's style, and leave the caller's matplotlib settings as they were."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure that belongs to no window and to no global list."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def layer_colours(n: int) -> list[Any]:
    """Return `n` colours: categorical while they suffice, then ordered from dark to light."""
    if n <= len(CATEGORICAL):
        return list(CATEGORICAL[:n])
    return list(mpl.colormaps[SEQUENTIAL](np.linspace(0.0, 0.92, n)))


def text_colour_on(colour: Any) -> str:
    """Return dark or white ink, whichever stands out from `colour` (relative luminance of WCAG 2.2)."""
    rgb = np.asarray(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return INK if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.2 else "white"


def shorten(label: str, width: int = 30) -> str:
    """Shorten a long name in its middle, where names of layers differ least, and make it safe to typeset."""
    label = " ".join(str(label).split())
    if len(label) > width:
        head = (width - 1) // 3
        label = f"{label[:head]}…{label[head + 1 - width :]}"
    return label.replace("$", r"\$")  # a dollar would open matplotlib's mathematics


def two_lines(label: str, width: int) -> str:
    """Break a ``SPACE:LAYER`` name that is longer than `width` before its layer, and shorten both parts."""
    space, _, layer = label.rpartition(":")
    if len(label) <= width or not space:
        return shorten(label, width)
    return f"{shorten(space, width)}\n{shorten(layer, width)}"


def layer_ticks(labels: list[str], width: int = 30) -> tuple[list[str], str]:
    """Shorten layer labels for an axis.

    Parameters
    ----------
    labels : list of str
        ``SPACE:LAYER`` names.
    width : int
        Longest tick in characters.

    Returns
    -------
    ticks : list of str
        The labels, without the space where all share one.
    space : str
        That shared space, or ``""``.
    """
    spaces = {label.rpartition(":")[0] for label in labels if label != "selected"}
    shared = spaces.pop() if len(spaces) == 1 else ""
    bare = [label.removeprefix(f"{shared}:") if shared else label.replace(":", ": ") for label in labels]
    return [shorten(label, width) for label in bare], shorten(shared, 60)


def number(value: float, digits: int = 2) -> str:
    """Write a number with a proper minus sign; a dash where it is unknown."""
    return f"{value:.{digits}f}".replace("-", "−") if np.isfinite(value) else "–"


def p_text(p: float) -> str:
    """Write a p-value with two significant digits, as ``p = 0.0099``."""
    return f"p = {p:.2g}" if np.isfinite(p) else ""


def note(ax: Axes, text: str, small: bool = False) -> None:
    """Write a small note into the upper left corner of the axes."""
    ax.text(
        0.04,
        0.97,
        text,
        transform=ax.transAxes,
        ha="left",
        va="top",
        fontsize=7.0 if small else 8.0,
        linespacing=1.35,
        zorder=10,
    )


def zero_line(ax: Axes, axis: str = "y") -> None:
    """Mark zero with a thin line."""
    draw = ax.axhline if axis == "y" else ax.axvline
    draw(0.0, color=LINE, linewidth=0.8, zorder=0)


def close_grid(axes: np.ndarray, n_used: int) -> None:
    """Empty the panels after the first `n_used`, and give the lowest panel of each column its tick labels."""
    n_columns = axes.shape[1]
    for place, ax in enumerate(axes.flat):
        if place >= n_used:
            ax.set_axis_off()
        elif place + n_columns >= n_used:
            ax.tick_params(labelbottom=True)
