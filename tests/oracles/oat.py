"""The object-level attention transformer, one trial at a time in plain NumPy."""

import numpy as np


def sinusoid(position, n):
    """Sine and cosine in turn, entry by entry."""
    code = [[np.sin, np.cos][k % 2](position / 10_000 ** (2 * (k // 2) / n)) for k in range(n)]
    return np.array(code)


def attention(w, name, x, y, n_heads, mask=None):
    """Multi-head attention of x to y."""
    parts = np.split(w[f"{name}.in_proj_weight"], 3), np.split(w[f"{name}.in_proj_bias"], 3)
    q, k, v = (z @ m.T + b for z, m, b in zip((x, y, y), *parts, strict=True))
    size, read = q.shape[1] // n_heads, []
    for h in range(n_heads):
        part = slice(h * size, (h + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size)
        scores = scores if mask is None else np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        read.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
    return np.hstack(read) @ w[f"{name}.out_proj.weight"].T + w[f"{name}.out_proj.bias"]


def norm(w, name, x):
    """Layer normalisation."""
    z = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return z * w[f"{name}.weight"] + w[f"{name}.bias"]


def feedforward(w, name, x):
    """Two linear maps with a ReLU between."""
    hidden = np.maximum(x @ w[f"{name}.linear1.weight"].T + w[f"{name}.linear1.bias"], 0)
    return hidden @ w[f"{name}.linear2.weight"].T + w[f"{name}.linear2.bias"]


def step_probabilities(
    w, features, target_features, places, start, target, fixated, n_layers, n_heads, n_pointers=2
):
    """Probabilities (n_steps + 1, n_objects + 1), positions by the table of distances and hidden for the target."""
    w = {name: np.asarray(value, dtype=np.float64) for name, value in w.items()}
    look = lambda v: w["embedding.linear.weight"] @ v + w["embedding.linear.bias"]  # noqa: E731
    side, mark = w["places.sides"], w["places.mark"]
    where = lambda row, column, m: np.concatenate([side[row], side[column], mark[m]])  # noqa: E731
    nowhere = np.concatenate([0 * side[0], 0 * side[0], mark[1]])
    tokens = [np.concatenate([look(f), where(*p, 0)]) for f, p in zip(features, places, strict=True)]
    memory = np.array([*tokens, np.concatenate([look(target_features), nowhere])])
    for i in range(n_layers):
        name = f"encoder.{i}"
        memory = norm(w, f"{name}.norm1", memory + attention(w, f"{name}.self_attn", memory, memory, n_heads))
        memory = norm(w, f"{name}.norm2", memory + feedforward(w, name, memory))
    state = [np.concatenate([look(np.ones_like(target_features)), where(*start, 0)])]
    state += [np.concatenate([look(features[j]), where(*places[j], int(j == target))]) for j in fixated]
    x = np.array([token + sinusoid(t, len(token)) for t, token in enumerate(state)])
    past = np.tril(np.ones((len(x), len(x)), dtype=bool))
    for i in range(n_layers):
        name = f"decoder.{i}"
        x = norm(w, f"{name}.norm1", x + attention(w, f"{name}.self_attn", x, x, n_heads, past))
        x = norm(w, f"{name}.norm2", x + attention(w, f"{name}.multihead_attn", x, memory, n_heads))
        x = norm(w, f"{name}.norm3", x + feedforward(w, name, x))
    d = x.shape[1]
    keys, queries = memory @ w["object_keys.weight"].T, x @ w["state_queries.weight"].T
    logits = sum(
        w["mix.weight"][0, h] * queries[:, h * d : (h + 1) * d] @ keys[:, h * d : (h + 1) * d].T / np.sqrt(d)
        for h in range(n_pointers)
    )
    logits[0, -1] = -np.inf
    chances = np.exp(logits - logits.max(1, keepdims=True))
    return chances / chances.sum(1, keepdims=True)
