"""Divided variance by its definitions, in loops over voxels, on samples copied out."""

from itertools import combinations

import numpy as np


def r2(y, p):
    """Coefficient of determination of one voxel."""
    return 1 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2)


def product_shares(Y, bands, intercept=0.0, variances=None):
    """Share of each band, a sample at a time; what is no band's is divided by the variance of their predictions."""
    n_bands, n_samples, n_voxels = bands.shape
    variances = bands.var(axis=1) if variances is None else variances
    rest = np.broadcast_to(intercept, Y.shape)
    shares = np.zeros((n_bands, n_voxels))
    for v in range(n_voxels):
        y = Y[:, v] - Y[:, v].mean()
        whole = bands[:, :, v].sum(axis=0) + rest[:, v] - Y[:, v].mean()
        own = [band - band.mean() for band in bands[:, :, v]]
        nobody = whole - sum(own)
        for b in range(n_bands):
            weight = variances[b, v] / variances[:, v].sum()
            for i in range(n_samples):
                shares[b, v] += (own[b][i] + nobody[i] * weight) * (2 * y[i] - whole[i]) / np.sum(y**2)
    return shares


def parts(r2_of, spaces):
    """Solve for the parts: the R2 of a model is the sum of all parts that any of its spaces has."""
    subsets = [subset for size in range(1, len(spaces) + 1) for subset in combinations(spaces, size)]
    has = np.array([[float(bool(set(part) & set(model))) for part in subsets] for model in subsets])
    return dict(zip(subsets, np.linalg.solve(has, np.stack([r2_of[s] for s in subsets])), strict=True))


def on_draws(units, draws, statistic):
    """Evaluate ``statistic(rows)`` on the rows of each draw of units, copied out."""
    return np.array(
        [statistic(np.concatenate([np.flatnonzero(units == unit) for unit in draw])) for draw in draws]
    )


def sign_flip_p(terms, signs):
    """Two-sided p-value of a sum whose terms change sign."""
    observed = abs(sum(terms))
    return np.mean(
        [abs(sum(s * t for s, t in zip(row, terms, strict=True))) >= observed - 1e-9 for row in signs]
    )
