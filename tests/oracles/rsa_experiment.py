"""Slow float64 references for resampled and permuted comparisons of dissimilarity matrices."""

import numpy as np
from scipy.stats import pearsonr, spearmanr

CORRELATIONS = {"spearman": spearmanr, "pearson": pearsonr}


def agreement_of_drawn_stimuli(a, b, counts, comparison):
    """Write every stimulus down as often as it was drawn, leave pairs of a stimulus with itself out."""
    drawn = np.repeat(np.arange(len(counts)), counts.astype(int))
    pairs = [(i, j) for k, i in enumerate(drawn) for j in drawn[k + 1 :] if i != j]
    return CORRELATIONS[comparison]([a[i, j] for i, j in pairs], [b[i, j] for i, j in pairs])[0]


def agreement_of_permuted_stimuli(a, b, order, comparison):
    """Correlate pairs after renaming the stimuli of the first matrix."""
    pairs = [(i, j) for i in range(len(a)) for j in range(i + 1, len(a))]
    return CORRELATIONS[comparison]([a[order[i], order[j]] for i, j in pairs], [b[i, j] for i, j in pairs])[0]
