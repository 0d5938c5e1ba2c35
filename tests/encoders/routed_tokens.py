"""Simulated tokens of which it is known where voxels read."""

import numpy as np

GRID = (5, 5)


def simulate_routing(kind, n=1200, n_channels=12, n_voxels=6, noise_sd=0.5, seed=0):
    """Return tokens (n, 25, n_channels), responses of signal variance 1, and the token (n,) that was read.

    "content": an object moves about, marked in channel 0, and voxels read the other channels there. "fixed": voxels
    read the same place of every image. "global": they read the mean over places.
    """
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((n, GRID[0] * GRID[1], n_channels)).astype(np.float32)
    place = rng.integers(0, tokens.shape[1], n) if kind == "content" else np.full(n, 8)
    if kind == "content":
        tokens[np.arange(n), place, 0] += 5
    read = tokens.mean(1) if kind == "global" else tokens[np.arange(n), place]
    signal = read[:, 1:] @ rng.standard_normal((n_channels - 1, n_voxels))
    signal /= signal.std(0)
    return tokens, signal + noise_sd * rng.standard_normal(signal.shape), place
