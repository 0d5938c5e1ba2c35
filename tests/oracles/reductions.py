"""Reductions of one stimulus by loops, in float64."""

import math

import numpy as np


def mean_tokens(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Average the tokens (token, channel) that the mask keeps."""
    total, count = np.zeros(tokens.shape[1]), 0
    for token, kept in zip(tokens.astype(np.float64), mask, strict=True):
        if kept:
            total, count = total + token, count + 1
    return total / count


def grid_means(image_map: np.ndarray, size: int) -> np.ndarray:
    """Average a map (channel, row, column) over size x size cells that cover it, rounding outwards."""
    _, rows, columns = image_map.shape
    cells = [
        [
            image_map.astype(np.float64)[
                :,
                math.floor(i * rows / size) : math.ceil((i + 1) * rows / size),
                math.floor(j * columns / size) : math.ceil((j + 1) * columns / size),
            ].mean(axis=(1, 2))
            for j in range(size)
        ]
        for i in range(size)
    ]
    return np.array(cells).transpose(2, 0, 1).ravel()


def dense_projection(
    values: np.ndarray, indptr: np.ndarray, indices: np.ndarray, entries: np.ndarray
) -> np.ndarray:
    """Multiply one vector with a matrix given in compressed rows."""
    return np.array(
        [
            sum(
                float(entries[k]) * float(values[indices[k]])
                for k in range(indptr[component], indptr[component + 1])
            )
            for component in range(len(indptr) - 1)
        ]
    )
