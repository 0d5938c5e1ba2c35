"""Slow, plain references for what attention does."""

import math

import numpy as np


def entropy_bits(weights) -> float:
    return -math.fsum(w * math.log2(w) for w in map(float, weights) if w > 0)


def content_dependence(maps) -> float:
    """Mutual information of image and token over the entropy of the token, from their joint distribution."""
    joint = np.asarray(maps, dtype=float) / len(maps)
    token = joint.sum(axis=0)
    terms = [
        p * math.log2(p / (token[t] / len(maps)))
        for row in joint
        for t, p in enumerate(row)
        if p > 0 and token[t] > 0
    ]
    return math.fsum(terms) / entropy_bits(token)


def mass_in_ring(weights, grid, size_deg, low, high, n_side=200) -> float:
    """Attention within a ring, by counting fine points of the image."""
    (n_rows, n_columns), total = grid, 0.0
    for row in range(n_rows):
        for column in range(n_columns):
            y = ((row + (np.arange(n_side) + 0.5) / n_side) - n_rows / 2) * size_deg
            x = ((column + (np.arange(n_side) + 0.5) / n_side) - n_columns / 2) * size_deg
            distance = np.hypot(y[:, None], x[None, :])
            total += weights[row * n_columns + column] * ((distance >= low) & (distance < high)).mean()
    return total


def share_in_mask(weights, grid, mask, fine=12) -> float:
    """Attention within a mask, each token's weight spread over fine points of its patch."""
    height, width = mask.shape
    total = 0.0
    for row in range(grid[0] * fine):
        for column in range(grid[1] * fine):
            pixel = (
                int((row + 0.5) / (grid[0] * fine) * height),
                int((column + 0.5) / (grid[1] * fine) * width),
            )
            weight = weights[(row // fine) * grid[1] + column // fine] / fine**2
            total += weight * float(mask[pixel])
    return total


def top_pixel_share(weights, grid, mask, k) -> float:
    """Share of a mask among the k most attended pixels of a map enlarged by whole numbers, ties averaged out."""
    height, width = mask.shape
    values = np.kron(np.reshape(weights, grid), np.ones((height // grid[0], width // grid[1]))).ravel()
    threshold = np.sort(values)[::-1][k - 1]
    above, tied = values > threshold, values == threshold
    return float((mask.ravel()[above].sum() + (k - above.sum()) * mask.ravel()[tied].mean()) / k)


def bilinear(values, height, width):
    """Enlarge by bilinear interpolation between centres, held constant beyond the outermost."""
    rows, columns = values.shape
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = (
                min(int(y), rows - 2) if rows > 1 else 0,
                min(int(x), columns - 2) if columns > 1 else 0,
            )
            below, beside = min(top + 1, rows - 1), min(left + 1, columns - 1)
            a, b = y - top, x - left
            out[i, j] = (1 - a) * ((1 - b) * values[top, left] + b * values[top, beside]) + a * (
                (1 - b) * values[below, left] + b * values[below, beside]
            )
    return out
