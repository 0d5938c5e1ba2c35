"""The product-limit estimate of found targets, trial by trial."""

import math


def found_share(found_at: list[float], last: list[float], weights: list[float], n_max: int) -> list[float]:
    """Return the share found by fixation 1, ..., n_max (Kaplan & Meier 1958)."""
    shares, left = [], 1.0
    for step in range(n_max + 1):
        found = searching = 0.0
        for at, until, weight in zip(found_at, last, weights, strict=True):
            ended = at if not math.isnan(at) else until
            searching += weight * (ended >= step)
            found += weight * (at == step)
        left *= 1 - found / searching if searching else (1.0 if left == 0 else math.nan)
        shares.append(1 - left)
    return shares[1:]
