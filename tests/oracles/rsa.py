"""Dissimilarities and rank correlations pair by pair."""

import itertools

import numpy as np


def kendall_tau_a(a, b):
    """Concordant less discordant over all pairs, ties counting as neither."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    return sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs) / len(pairs)


def noise_ceiling(vectors, score, scale):
    """Lower and upper bound over rows of pairs: against the mean of the others, of all."""
    scaled = [scale(vector) for vector in vectors]
    lower = [score(np.mean(scaled[:i] + scaled[i + 1 :], axis=0), vectors[i]) for i in range(len(vectors))]
    upper = [score(np.mean(scaled, axis=0), vector) for vector in vectors]
    return np.mean(lower), np.mean(upper)
