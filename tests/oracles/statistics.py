"""Nulls, intervals and corrections in plain loops."""

import numpy as np


def permuted_r(Y, P, permutations):
    """Correlation of each voxel with its permuted prediction."""
    return np.array(
        [[np.corrcoef(y, p[rows])[0, 1] for y, p in zip(Y.T, P.T, strict=True)] for rows in permutations]
    )


def ridge_predictions(X, Y, folds, alphas, fit_intercept=True):
    """Cross-validated ridge predictions, one voxel and fold at a time."""
    predicted = np.full(Y.shape, np.nan)
    for (train, test), penalties in zip(folds, alphas, strict=True):
        x_mean = X[train].mean(axis=0) if fit_intercept else 0
        for v, penalty in enumerate(penalties):
            y_mean = Y[train, v].mean() if fit_intercept else 0
            x = X[train] - x_mean
            weights = np.linalg.solve(x.T @ x + penalty * np.eye(X.shape[1]), x.T @ (Y[train, v] - y_mean))
            predicted[test, v] = (X[test] - x_mean) @ weights + y_mean
    return predicted


def p_values(observed, null):
    """One-sided p-values with the observed score counted in the null."""
    return np.array(
        [
            (1 + sum(n >= o for n in column)) / (1 + len(null))
            for o, column in zip(observed, null.T, strict=True)
        ]
    )


def p_values_max(observed, null):
    """P-values against the largest of each permutation."""
    largest = [max(row) for row in null]
    return np.array([(1 + sum(m >= o for m in largest)) / (1 + len(null)) for o in observed])


def benjamini_hochberg(p, correction=1.0):
    """Adjusted p-values by the definition: the smallest over larger p of ``p * n / rank``."""
    n = len(p)
    return np.array([min(1, min(q * n * correction / sum(p <= q) for q in p if q >= one)) for one in p])


def resampled_r(Y, P, units, draws):
    """Mean correlation over voxels on samples copied out for each draw of units."""
    means = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in draw])
        means.append(np.mean([np.corrcoef(y, p)[0, 1] for y, p in zip(Y[rows].T, P[rows].T, strict=True)]))
    return np.array(means)
