"""Slow float64 references for the training of a linear readout of the mean token."""

import numpy as np


def mean_tokens(X):
    """Mean of the tokens of each sample that are not NaN."""
    return np.array(
        [[np.mean([t[c] for t in x if not np.isnan(t).all()]) for c in range(x.shape[1])] for x in X]
    )


def adamw_linear(Z, Y, W, b, batches, lr_of_step, weight_decay, clip_norm=None):
    """Yield (W, b) after each step of AdamW (Loshchilov & Hutter 2019) on the mean squared error of Z W + b."""
    params = [np.array(W, float), np.array(b, float)]
    first, second = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    for step, rows in enumerate(batches):
        error = Z[rows] @ params[0] + params[1] - Y[rows]
        grads = [2 * Z[rows].T @ error / error.size, 2 * error.sum(axis=0) / error.size]
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        if clip_norm is not None and norm > clip_norm:
            grads = [g * clip_norm / norm for g in grads]
        for i, g in enumerate(grads):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            step_size = (first[i] / (1 - 0.9 ** (step + 1))) / (
                np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8
            )
            params[i] = params[i] - lr_of_step(step) * (weight_decay * params[i] + step_size)
        yield params[0].copy(), params[1].copy()


def softmax_weights(scores, temperature):
    """Voxelwise softmax of the known scores, one voxel at a time."""
    weights = np.zeros_like(scores)
    for voxel in range(scores.shape[1]):
        known = [layer for layer in range(len(scores)) if not np.isnan(scores[layer, voxel])]
        if not known:
            weights[:, voxel] = 1 / len(scores)
            continue
        powers = {layer: np.exp(temperature * scores[layer, voxel]) for layer in known}
        for layer in known:
            weights[layer, voxel] = powers[layer] / sum(powers.values())
    return weights
