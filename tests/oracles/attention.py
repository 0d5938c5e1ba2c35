"""The transformer brain encoder and the factorised readout written down, one image, head and query at a time, in
float64. Weights are those of a network's `state_dict`, as arrays."""

import numpy as np


def sine_1d(place, width):
    """Code of one place along an axis: sin and cos at wavelengths that grow from 2 pi to 2 pi 10000."""
    code = np.zeros(width)
    for channel in range(width):
        angle = place / 10_000 ** (2 * (channel // 2) / width)
        code[channel] = np.sin(angle) if channel % 2 == 0 else np.cos(angle)
    return code


def sine_codes(n_tokens, grid, width):
    """Codes (n_tokens, width): of the row beside that of the column, sides scaled to 2 pi; of the index of a word."""
    if grid is None:
        return np.stack([sine_1d(index, width) for index in range(n_tokens)])
    rows, columns = grid
    return np.stack(
        [
            np.concatenate(
                [
                    sine_1d((row + 1) / (rows + 1e-6) * 2 * np.pi, width - width // 2),
                    sine_1d((column + 1) / (columns + 1e-6) * 2 * np.pi, width // 2),
                ]
            )
            for row in range(rows)
            for column in range(columns)
        ]
    )


def softmax(x):
    """Softmax of a vector."""
    e = np.exp(x - x.max())
    return e / e.sum()


def layer_norm(x, weights, name):
    """Norm over channels with the weights under a name."""
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    """x W' + b."""
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)


def attend(queries, keys, values, seen, weights, name, n_heads):
    """Multi-head attention of queries (q, d) over the seen ones of keys and values (t, d); answers and weights."""
    q, k, v = (
        linear(x, weights, f"{name}.{part}")
        for x, part in ((queries, "query"), (keys, "key"), (values, "value"))
    )
    width = q.shape[1] // n_heads
    answers, maps = np.zeros_like(q), np.zeros((len(q), n_heads, len(k)))
    for i in range(len(q)):
        for head in range(n_heads):
            part = slice(head * width, (head + 1) * width)
            a = softmax(np.array([q[i, part] @ k[t, part] / np.sqrt(width) for t in np.flatnonzero(seen)]))
            maps[i, head, seen] = a
            answers[i, part] = a @ v[seen][:, part]
    return linear(answers, weights, f"{name}.out"), maps


def feedforward(x, weights, name):
    """x + W2 relu(W1 norm(x) + b1) + b2, or x where there are no such weights."""
    if f"{name}.expand.weight" not in weights:
        return x
    hidden = np.maximum(linear(layer_norm(x, weights, f"{name}.norm"), weights, f"{name}.expand"), 0)
    return x + linear(hidden, weights, f"{name}.contract")


def attention_network(
    tokens, mask, weights, codes, masks, n_heads, n_encoder_layers, n_decoder_layers, overlap, order
):
    """Predictions (n, n_voxels) and last weights (n, q, h, t); `order` is the voxel of each row of the readout."""
    weights = {name: np.asarray(value, float) for name, value in weights.items()}
    rows = np.argsort(order)
    W, b = weights["readout.weight"][rows], weights["readout.bias"][rows]
    predicted, maps = np.zeros((len(tokens), len(W))), []
    for n in range(len(tokens)):
        x = np.asarray(tokens[n], float)
        seen = np.ones(len(x), bool) if mask is None else mask[n]
        if "projection.weight" in weights:
            x = linear(x, weights, "projection")
        for layer in range(n_encoder_layers):
            normed = layer_norm(x, weights, f"encoder.{layer}.norm")
            name = f"encoder.{layer}.attention"
            x = x + attend(normed + codes, normed + codes, normed, seen, weights, name, n_heads)[0]
            x = feedforward(x, weights, f"encoder.{layer}.feedforward")
        if n_encoder_layers:
            x = layer_norm(x, weights, "encoder_norm")
        target = np.zeros_like(weights["queries"])
        for layer in range(n_decoder_layers):
            asked = layer_norm(target, weights, f"decoder.{layer}.norm") + weights["queries"]
            answers, a = attend(asked, x + codes, x, seen, weights, f"decoder.{layer}.attention", n_heads)
            target = feedforward(target + answers, weights, f"decoder.{layer}.feedforward")
        maps.append(a)
        out = layer_norm(target, weights, "norm")
        for v in range(len(W)):
            asked_by = [v] if masks is None else np.flatnonzero(masks[:, v])
            total = sum(out[q] @ W[v] + b[v] for q in asked_by)
            predicted[n, v] = total / (len(asked_by) if overlap == "mean" else 1)
    return predicted, np.array(maps)


def routed_readout(answers, W, b, masks, overlap):
    """Dense: all queries predict all voxels, and masks choose; W and b in the order of voxels."""
    every = np.einsum("nqd,vd->nqv", answers, W) + b
    total = (every * masks).sum(1)
    return total / masks.sum(0) if overlap == "mean" else total


def spatial_network(tokens, mask, logits, W, b, masks, overlap):
    """Predictions (n, n_voxels) of a map a query and a feature vector a voxel."""
    masks = np.eye(len(logits), dtype=bool) if masks is None else masks
    pooled = np.zeros((len(tokens), len(logits), tokens.shape[2]))
    for n in range(len(tokens)):
        seen = np.ones(tokens.shape[1], bool) if mask is None else mask[n]
        for q in range(len(logits)):
            pooled[n, q] = softmax(logits[q][seen]) @ tokens[n][seen]
    return routed_readout(pooled, W, b, masks, overlap)
