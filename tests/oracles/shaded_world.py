"""A shaded dome from the formulas of the paraboloid, and a warped picture, a pixel at a time."""

import math

import numpy as np


def dome_brightness(
    x_px: float, y_px: float, radius_px: float, height_px: float, light_deg: float, slant_deg: float
) -> float:
    """Return the brightness of z = h (1 - r^2 / R^2) at x to the right and y upwards of its centre."""
    normal = np.array([2 * height_px * x_px / radius_px**2, 2 * height_px * y_px / radius_px**2, 1.0])
    tilt, slant = math.radians(light_deg), math.radians(slant_deg)
    light = np.array([math.cos(tilt) * math.sin(slant), math.sin(tilt) * math.sin(slant), math.cos(slant)])
    return max(0.0, float(normal @ light / np.linalg.norm(normal)))


def bilinear(image: np.ndarray, row: float, column: float) -> float:
    """Return a grey picture between its pixel centres, which lie at whole numbers; 0 outside of its pixels."""
    last = len(image) - 1
    if not (-0.5 <= row <= last + 0.5 and -0.5 <= column <= last + 0.5):
        return 0.0
    row, column = min(max(row, 0), last), min(max(column, 0), last)
    total = 0.0
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if r <= last and c <= last:
                total += (1 - abs(row - r)) * (1 - abs(column - c)) * float(image[r, c])
    return total


def retina_pixel(image: np.ndarray, row: int, column: int, e2: float, per_pixel: int) -> float:
    """Return one pixel of a square picture warped as by a retina: the mean of points within it."""
    half = len(image) / 2
    values = []
    for i in range(per_pixel):
        for j in range(per_pixel):
            down = (row + (i + 0.5) / per_pixel - half) / half
            right = (column + (j + 0.5) / per_pixel - half) / half
            seen = math.hypot(down, right)
            eccentricity = e2 * ((1 + 1 / e2) ** seen - 1)
            scale = half * (eccentricity / seen if seen else 0.0)
            values.append(bilinear(image, half + down * scale - 0.5, half + right * scale - 0.5))
    return sum(values) / len(values)
