"""Banded ridge regression written down: one direct float64 solve a fold, draw, penalty and voxel."""

import numpy as np


def banded_ridge(X, y, penalties, fit_intercept=True):
    """Return coefficients and intercept of one voxel at one penalty a feature, which may be infinite."""
    X, y = np.asarray(X, float), np.asarray(y, float)
    x_mean, y_mean = (X.mean(0), y.mean()) if fit_intercept else (np.zeros(X.shape[1]), 0.0)
    kept = np.isfinite(penalties)
    Xc = (X - x_mean)[:, kept]
    coef = np.zeros(X.shape[1])
    coef[kept] = np.linalg.solve(Xc.T @ Xc + np.diag(penalties[kept]), Xc.T @ (y - y_mean))
    return coef, y_mean - x_mean @ coef


def inner_score(X, y, penalties, folds, fit_intercept=True, score="r2"):
    """Return the mean held-out score of one voxel at one penalty a feature."""
    error, null, correlations = 0.0, 0.0, []
    for train, test in folds:
        coef, intercept = banded_ridge(X[train], y[train], penalties, fit_intercept)
        predicted = X[test] @ coef + intercept
        error += ((y[test] - predicted) ** 2).mean()
        null += ((y[test] - (y[train].mean() if fit_intercept else 0)) ** 2).mean()
        correlations.append(np.corrcoef(predicted, y[test])[0, 1])
    return 1 - error / null if score == "r2" else np.mean(correlations)


def search_draws(X, Y, band_of, gammas, alphas, folds, fit_intercept=True, score="r2"):
    """Return the score of every draw, overall penalty and voxel, (n_draws, n_alphas, n_voxels)."""
    scores = np.empty((len(gammas), len(alphas), Y.shape[1]))
    for i, gamma in enumerate(gammas):
        for j, alpha in enumerate(alphas):
            with np.errstate(divide="ignore"):
                penalties = (alpha / gamma)[band_of]
            for v, y in enumerate(Y.T):
                scores[i, j, v] = inner_score(X, y, penalties, folds, fit_intercept, score)
    return scores
