"""Slopes, asymmetry and F tests of reaction times, one line at a time."""

import numpy as np
from scipy.stats import f as f_distribution


def line(set_sizes, rt_ms):
    """Slope and intercept by the normal equations."""
    x = np.column_stack([np.asarray(set_sizes, float), np.ones(len(set_sizes))])
    slope, intercept = np.linalg.solve(x.T @ x, x.T @ np.asarray(rt_ms, float))
    return slope, intercept


def asymmetry(slope_h, slope_l):
    """(H - L) / (H + L) of slopes that are 0 where they were negative; 0 where both are."""
    high, low = max(slope_h, 0), max(slope_l, 0)
    return 0.0 if high + low == 0 else (high - low) / (high + low)


def f_test(set_sizes, conditions, rt_ms):
    """F and p of rt ~ set_size * condition against rt ~ set_size: a line for each condition against one for all."""
    x, y, names = np.asarray(set_sizes, float), np.asarray(rt_ms, float), np.asarray(conditions)
    slope, intercept = line(x, y)
    small = ((y - slope * x - intercept) ** 2).sum()
    large = 0.0
    for name in np.unique(names):
        rows = names == name
        slope, intercept = line(x[rows], y[rows])
        large += ((y[rows] - slope * x[rows] - intercept) ** 2).sum()
    more, left = 2 * (len(np.unique(names)) - 1), len(y) - 2 * len(np.unique(names))
    f = (small - large) / more / (large / left)
    return f, f_distribution.sf(f, more, left)


def found_by(found_at, n_max):
    """Share of trials that found their target by fixation 1, ..., n_max."""
    return [sum(n <= last for n in found_at) / len(found_at) for last in range(1, n_max + 1)]


def distance_to_box(place, box):
    """How far a place lies from a box (x, y, width, height), 0 inside."""
    x, y = place
    left, top, width, height = box
    dx = left - x if x < left else x - left - width if x > left + width else 0.0
    dy = top - y if y < top else y - top - height if y > top + height else 0.0
    return (dx * dx + dy * dy) ** 0.5
