"""Poolers of one stimulus, written down in float64: keys and values of every token, one map after another."""

import numpy as np


def softmax(scores):
    """Return weights (n_tokens,) that sum to one."""
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def cross_attention(tokens, maps, values):
    """Weigh the values W_Vj x of all tokens by map j, part after part; `values` (n_maps, n_part, n_channels)."""
    return np.concatenate(
        [sum(a * (W @ x) for a, x in zip(m, tokens, strict=True)) for m, W in zip(maps, values, strict=True)]
    )


def ep_maps(tokens, queries):
    """Return softmax(X u_j / sqrt(D)) for each query."""
    return np.array([softmax(np.array([x @ u for x in tokens]) / np.sqrt(tokens.shape[1])) for u in queries])


def multihead_maps(tokens, keys, query, n_heads):
    """Return the maps of multi-head attention, from the keys of all tokens."""
    key_of = np.array([keys @ x for x in tokens])
    heads = np.split(np.arange(len(query)), n_heads)
    return np.array([softmax(key_of[:, h] @ query[h] / np.sqrt(len(h))) for h in heads])


def abmilp_map(tokens, hidden_weight, hidden_bias, score_weight):
    """Return softmax(w tanh(V x + b))."""
    return softmax(np.array([score_weight @ np.tanh(hidden_weight @ x + hidden_bias) for x in tokens]))


def layer_norm(tokens, gain, offset, eps=1e-6):
    """Norm each token over its channels."""
    return np.array([(x - x.mean()) / np.sqrt(x.var() + eps) * gain + offset for x in tokens])


def simpool(tokens, query_weight, keys, gain, offset):
    """Return the map and the pooled vector of SimPool with exponent 1."""
    normed = layer_norm(tokens, gain, offset)
    query = query_weight @ tokens.mean(0)
    weights = softmax(np.array([(keys @ x) @ query for x in normed]) / np.sqrt(tokens.shape[1]))
    return weights, weights @ normed


def batch_norm(rows, eps=1e-6):
    """Norm columns by their mean and biased variance."""
    return (rows - rows.mean(0)) / np.sqrt(rows.var(0) + eps)
