"""An ideal observer of simulated routing: it is told the rule of where to look, and works pixel by pixel."""

import numpy as np


def share_of_tokens(mask: np.ndarray, token_px: int) -> np.ndarray:
    """Share of an object's pixels (row, column) that lie in the square of each token, row by row."""
    side = mask.shape[1] // token_px
    share = np.zeros(side * side)
    for row, column in zip(*np.nonzero(mask), strict=True):
        share[(row // token_px) * side + column // token_px] += 1
    return share / share.sum()


def gaussian_share(centre: tuple[float, float], sd: float, side: int) -> np.ndarray:
    """Gaussian field on a grid of side x side tokens, centre and sd in shares of the picture's side."""
    share = np.zeros(side * side)
    for row in range(side):
        for column in range(side):
            squared = ((row + 0.5) / side - centre[0]) ** 2 + ((column + 0.5) / side - centre[1]) ** 2
            share[row * side + column] = np.exp(-squared / (2 * sd**2))
    return share / share.sum()


def read_tokens(
    share: np.ndarray, tokens: np.ndarray, weights: np.ndarray, intercept: np.ndarray
) -> np.ndarray:
    """Response (n_voxels,) to one picture: tokens (n_tokens, n_channels) averaged by their share, then weighted."""
    seen = np.zeros(tokens.shape[1])
    for token, part in zip(tokens.astype(np.float64), share, strict=True):
        seen += part * token
    return seen @ weights + intercept
