"""The items of the asymmetry paradigms, as outlines in degrees of visual angle.

Measures are those of Gupta, Zhang, Wu, Wolfe and Kreiman (2021), Visual search asymmetry: deep nets and humans share
similar inherent biases, NeurIPS 34, and of the generators that they published with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stimuli.search_displays.drawing import band_profile, blend, coverage

BLACK, WHITE = (0.0,), (255.0,)
STROKE_DEG = 0.55
LETTER_DEG = 5.5
DISC_DEG = 1.04

# The four poses of letters, crosses and discs. Pixels are flipped, not outlines, so that mirror images are exact.
# An L has equal arms: upside down and turned by a quarter it is the same, and two of its published poses look alike.
FLIPS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda picture: picture,
    "up_down": lambda picture: picture[::-1],
    "transposed": lambda picture: picture.transpose(1, 0, 2),
    "quarter_turn": lambda picture: picture.transpose(1, 0, 2)[:, ::-1],
}


@dataclass(frozen=True, eq=False)
class SearchItem:
    """One item: its outline in degrees from its middle (x right, y down), its paint and its pose.

    Parameters
    ----------
    kind
        What it is.
    outline
        Corners (n_corners, 2) of a closed polygon, unflipped.
    levels
        Grey levels in 0-255: one for flat paint, or those of equal bands from the top to the bottom of the outline.
    orientation_deg
        How far the outline is turned, counter-clockwise.
    flip
        How the drawn item is flipped: one of `FLIPS`.
    """

    kind: str
    outline: np.ndarray
    levels: tuple[float, ...]
    orientation_deg: float = 0.0
    flip: str = "none"

    def draw(self, size_px: int, px_per_degree: float, background: tuple[int, int, int]) -> np.ndarray:
        """Return the item in the middle of a square of its background: uint8 (size_px, size_px, 3)."""
        covered = coverage([self.outline * px_per_degree + size_px / 2], size_px, size_px)
        height_px = float(np.ptp(self.outline[:, 1])) * px_per_degree
        shading = np.broadcast_to(band_profile(self.levels, height_px, size_px)[:, None], covered.shape)
        return np.ascontiguousarray(FLIPS[self.flip](blend(background, shading, covered)))


def turned(outline: np.ndarray, orientation_deg: float) -> np.ndarray:
    """Turn an outline counter-clockwise, as seen with y down."""
    angle = np.deg2rad(orientation_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return outline @ turn.T


def bar(orientation_deg: float) -> SearchItem:
    """Black bar of 2 x 0.3 degrees, upright at 0, turned counter-clockwise."""
    outline = turned(_box(-0.15, -1.0, 0.15, 1.0), orientation_deg)
    return SearchItem(f"bar_{orientation_deg:g}", outline, BLACK, orientation_deg=orientation_deg)


def line(orientation_deg: float) -> SearchItem:
    """White line of 1.2 x 0.2 degrees, level at 0, turned counter-clockwise."""
    outline = turned(_box(-0.6, -0.1, 0.6, 0.1), orientation_deg)
    return SearchItem("line", outline, WHITE, orientation_deg=orientation_deg)


def curve(
    orientation_deg: float, radius_deg: float = 1.0, length_deg: float = 1.3, width_deg: float = 1 / 6
) -> SearchItem:
    """White arc, open to the top at 0, turned counter-clockwise.

    Radius and length are those of the middle of the stroke, which has round ends beyond them.
    """
    half = length_deg / radius_deg / 2
    sweep = np.linspace(
        -half, half, 129
    )  # sides of at most 0.01 degrees: off the circle by less than 0.001 px
    cap = np.linspace(0, np.pi, 33)[1:-1]
    rim = width_deg / 2
    ends = [radius_deg * np.array([np.sin(angle), np.cos(angle)]) for angle in (half, -half)]
    outline = np.vstack(
        [
            (radius_deg + rim) * np.column_stack([np.sin(sweep), np.cos(sweep)]),
            ends[0] + rim * np.column_stack([np.sin(half + cap), np.cos(half + cap)]),
            (radius_deg - rim) * np.column_stack([np.sin(sweep), np.cos(sweep)])[::-1],
            ends[1] + rim * np.column_stack([np.sin(np.pi - half + cap), np.cos(np.pi - half + cap)]),
        ]
    )
    outline[:, 1] -= radius_deg * (1 + np.cos(half)) / 2
    return SearchItem("curve", turned(outline, orientation_deg), WHITE, orientation_deg=orientation_deg)


def disc(bright_side: str) -> SearchItem:
    """Disc of 1.04 degrees in 16 grey bands from 0 to 255, brightest at ``top``, ``bottom``, ``left`` or ``right``."""
    flip = {"bottom": "none", "top": "up_down", "right": "transposed", "left": "quarter_turn"}[bright_side]
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    outline = DISC_DEG / 2 * np.column_stack([np.cos(angles), np.sin(angles)])
    return SearchItem(f"bright_{bright_side}", outline, tuple(range(0, 256, 17)), flip=flip)


def letter(kind: str, flip: str) -> SearchItem:
    """Black ``T``, ``L``, ``cross`` or ``non_cross`` of 5.5 degrees with strokes of 0.55.

    A cross has its bar above the middle; in a non-cross the right half of the bar stands as far below. All four have
    the same area.
    """
    return SearchItem(kind, _LETTERS[kind], BLACK, flip=flip)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _letters() -> dict[str, np.ndarray]:
    """Corners in strokes of 0.55 degrees: a letter is ten wide and ten high, upper left corner first."""
    strokes = {
        "T": [(0, 0), (10, 0), (10, 1), (5.5, 1), (5.5, 10), (4.5, 10), (4.5, 1), (0, 1)],
        "L": [(0, 0), (1, 0), (1, 9), (10, 9), (10, 10), (0, 10)],
        "cross": [
            *((4.5, 0), (5.5, 0), (5.5, 3), (10, 3), (10, 4), (5.5, 4)),
            *((5.5, 10), (4.5, 10), (4.5, 4), (0, 4), (0, 3), (4.5, 3)),
        ],
        "non_cross": [
            *((4.5, 0), (5.5, 0), (5.5, 6), (10, 6), (10, 7), (5.5, 7)),
            *((5.5, 10), (4.5, 10), (4.5, 4), (0, 4), (0, 3), (4.5, 3)),
        ],
    }
    return {kind: np.array(corners) * STROKE_DEG - LETTER_DEG / 2 for kind, corners in strokes.items()}


_LETTERS = _letters()
