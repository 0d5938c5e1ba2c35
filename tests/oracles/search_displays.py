"""Search items as sets of points, and what is measured on their pixels."""

from collections.abc import Callable

import numpy as np

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


def covered_by_points(inside: Inside, size_px: int, px_per_degree: float, n: int = 24) -> np.ndarray:
    """Share of each pixel's n x n random points, one in each small square, inside an item in the middle of a square."""
    jitter = np.random.default_rng(0).random((2, size_px * n, size_px * n))
    row, column = np.indices(jitter.shape[1:])
    x, y = (
        ((at + part) / n - size_px / 2) / px_per_degree
        for at, part in ((column, jitter[0]), (row, jitter[1]))
    )
    return inside(x, y).reshape(size_px, n, size_px, n).mean(axis=(1, 3))


def unturned(inside: Inside, orientation_deg: float) -> Inside:
    """The item turned counter-clockwise, as seen with y down: its points are turned back."""
    angle = np.deg2rad(orientation_deg)
    return lambda x, y: inside(x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))


def box(left: float, top: float, right: float, bottom: float) -> Inside:
    return lambda x, y: (left <= x) & (x < right) & (top <= y) & (y < bottom)


def union(*parts: Inside) -> Inside:
    return lambda x, y: np.any([part(x, y) for part in parts], axis=0)


def curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All points within 1/12 degree of an arc of 1.3 degrees and radius 1, its lowest point in the middle below."""
    half = 0.65
    centre_y = -(1 + np.cos(half)) / 2
    angle = np.clip(np.arctan2(x, y - centre_y), -half, half)
    return np.hypot(x - np.sin(angle), y - centre_y - np.cos(angle)) <= 1 / 12


# Degrees; letters as their strokes of 0.55.
ITEMS: dict[str, Inside] = {
    "bar": box(-0.15, -1, 0.15, 1),
    "line": box(-0.6, -0.1, 0.6, 0.1),
    "curve": curve,
    "disc": lambda x, y: np.hypot(x, y) <= 0.52,
    "T": union(box(-2.75, -2.75, 2.75, -2.2), box(-0.275, -2.75, 0.275, 2.75)),
    "L": union(box(-2.75, -2.75, -2.2, 2.75), box(-2.75, 2.2, 2.75, 2.75)),
    "cross": union(box(-0.275, -2.75, 0.275, 2.75), box(-2.75, -1.1, 2.75, -0.55)),
    "non_cross": union(box(-0.275, -2.75, 0.275, 2.75), box(-2.75, -1.1, 0, -0.55), box(0, 0.55, 2.75, 1.1)),
}


def flipped(inside: Inside, flip: str) -> Inside:
    """The flipped item: its points are taken back to where they were."""
    return {
        "none": inside,
        "up_down": lambda x, y: inside(x, -y),
        "transposed": lambda x, y: inside(y, x),
        "quarter_turn": lambda x, y: inside(y, -x),  # clockwise: what was above is to the right
    }[flip]


def measured(ink: np.ndarray) -> dict[str, float]:
    """Area, centre, and length, width and orientation (counter-clockwise of upright) of the like bar, in pixels."""
    y, x = np.indices(ink.shape) + 0.5
    area = ink.sum()
    centre = np.array([(ink * x).sum(), (ink * y).sum()]) / area
    offsets = np.stack([x - centre[0], y - centre[1]])
    # Sharing ink among pixels spreads it by the second moment of a pixel, 1/12.
    moments = np.einsum("irc,jrc,rc->ij", offsets, offsets, ink) / area - np.eye(2) / 12
    values, axes = np.linalg.eigh(moments)
    along = axes[:, 1] * -np.sign(axes[1, 1])
    return {
        "area": float(area),
        "x": float(centre[0]),
        "y": float(centre[1]),
        "length": float(np.sqrt(12 * values[1])),
        "width": float(np.sqrt(12 * values[0])),
        "orientation_deg": float(np.rad2deg(np.arctan2(-along[0], -along[1]))),
    }
