"""Slow float64 references for runs, delays and blocks: loops over volumes and voxels."""

import numpy as np


def detrend_by_polyfit(Y, runs, order):
    """Subtract the fitted polynomial, a run and a voxel at a time."""
    residuals = np.array(Y, dtype=np.float64)
    for run in dict.fromkeys(runs):
        volumes = [t for t in range(len(runs)) if runs[t] == run]
        for voxel in range(residuals.shape[1]):
            fit = np.polyfit(np.arange(len(volumes)), residuals[volumes, voxel], order)
            residuals[volumes, voxel] -= np.polyval(fit, np.arange(len(volumes)))
    return residuals


def delay_by_loop(X, delays, runs):
    """Look every value up in the volume `delay` earlier, if that volume is of the same run."""
    rows = []
    for t in range(len(X)):
        row = []
        for delay in delays:
            inside = t - delay >= 0 and runs[t - delay] == runs[t]
            row += list(X[t - delay]) if inside else [0.0] * len(X[0])
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def blocks_by_loop(stimulus_index, runs):
    """Start a new block whenever stimulus or run changes."""
    blocks, n_blocks = [], 0
    for t, stimulus in enumerate(stimulus_index):
        if stimulus == -1:
            blocks.append(-1)
            continue
        if t == 0 or stimulus_index[t - 1] != stimulus or runs[t - 1] != runs[t]:
            n_blocks += 1
        blocks.append(n_blocks - 1)
    return blocks


def block_means_by_loop(Y, blocks, lag, runs):
    """Mean over the volumes that stand `lag` after a block's volumes in the same run."""
    means = []
    for block in range(max(blocks) + 1):
        volumes = [t + lag for t in range(len(blocks)) if blocks[t] == block]
        volumes = [t for t in volumes if t < len(blocks) and runs[t] == runs[t - lag]]
        means.append(np.mean([Y[t] for t in volumes], axis=0, dtype=np.float64))
    return np.array(means)
