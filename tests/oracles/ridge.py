"""Ridge regression written down: one direct float64 solve a fold and penalty."""

import numpy as np


def ridge(X, Y, alpha, fit_intercept=True):
    """Return coefficients and intercepts at one penalty."""
    X, Y = np.asarray(X, float), np.asarray(Y, float)
    x_mean = X.mean(0) if fit_intercept else np.zeros(X.shape[1])
    y_mean = Y.mean(0) if fit_intercept else np.zeros(Y.shape[1])
    Xc, Yc = X - x_mean, Y - y_mean
    coef = np.linalg.solve(Xc.T @ Xc + alpha * np.eye(X.shape[1]), Xc.T @ Yc)
    return coef, y_mean - x_mean @ coef


def held_out_r2(X, Y, alphas, folds, fit_intercept=True):
    """1 - mean squared held-out error / that of the training mean, both averaged over folds (n_alphas, n_voxels)."""
    error, null = np.zeros((len(alphas), Y.shape[1])), np.zeros(Y.shape[1])
    for train, test in folds:
        for i, alpha in enumerate(alphas):
            coef, intercept = ridge(X[train], Y[train], alpha, fit_intercept)
            error[i] += ((Y[test] - X[test] @ coef - intercept) ** 2).mean(0)
        reference = Y[train].mean(0) if fit_intercept else 0
        null += ((Y[test] - reference) ** 2).mean(0)
    return 1 - error / null


def held_out_correlation(X, Y, alphas, folds, fit_intercept=True):
    """Mean Pearson correlation over folds (n_alphas, n_voxels)."""
    scores = np.zeros((len(alphas), Y.shape[1]))
    for train, test in folds:
        for i, alpha in enumerate(alphas):
            coef, intercept = ridge(X[train], Y[train], alpha, fit_intercept)
            predicted = X[test] @ coef + intercept
            scores[i] += [np.corrcoef(p, y)[0, 1] for p, y in zip(predicted.T, Y[test].T, strict=True)]
    return scores / len(folds)
