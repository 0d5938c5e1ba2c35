"""Slow float64 references for held-out predictions and the choice of penalty and layer."""

import numpy as np


def ridge_predict(X, Y, X_new, alpha):
    """Ridge with an intercept from the normal equations."""
    x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
    gram = (X - x_mean).T @ (X - x_mean) + alpha * np.eye(X.shape[1])
    return (X_new - x_mean) @ np.linalg.solve(gram, (X - x_mean).T @ (Y - y_mean)) + y_mean


def inner_r2(X, Y, alpha, folds):
    """R2 of pooled held-out predictions against the mean of each training part, a voxel."""
    residual = sum(((Y[b] - ridge_predict(X[a], Y[a], X[b], alpha)) ** 2).mean(axis=0) for a, b in folds)
    return 1 - residual / sum(((Y[b] - Y[a].mean(axis=0)) ** 2).mean(axis=0) for a, b in folds)


def nested_ridge(X, Y, alphas, outer, inner_of):
    """Choose each voxel's penalty in each training fold, predict the test rows: (predictions, alphas, "
    "scores)."""
    predictions = np.full(Y.shape, np.nan)
    chosen, best = np.empty((len(outer), Y.shape[1])), np.empty((len(outer), Y.shape[1]))
    for number, (train, test) in enumerate(outer):
        scores = np.array([inner_r2(X[train], Y[train], alpha, inner_of(train)) for alpha in alphas])
        for voxel in range(Y.shape[1]):
            position = scores[:, voxel].argmax()
            chosen[number, voxel], best[number, voxel] = alphas[position], scores[position, voxel]
            y = Y[train][:, [voxel]]
            predictions[test, voxel] = ridge_predict(X[train], y, X[test], alphas[position])[:, 0]
    return predictions, chosen, best


def components_by_search(*labels):
    """Connected components by repeated relabelling until nothing changes."""
    group = list(range(len(labels[0])))
    changed = True
    while changed:
        changed = False
        for grouping in labels:
            for i in range(len(group)):
                for j in range(len(group)):
                    if grouping[i] == grouping[j] and group[i] != group[j]:
                        group[i] = group[j] = min(group[i], group[j])
                        changed = True
    return group
