"""Tokens without those that a query attends to."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.solvers.checks import check_choice
from encoders.tokens import TokenSource, as_token_source
from stimuli.files import count_of

FloatArray = NDArray[np.float64]
How = Literal["attended", "least", "random"]
Replace = Literal["mean", "remove"]


def lesion_tokens(
    X: Any,
    attention: ArrayLike | None,
    *,
    fraction: float | None = None,
    k: int | None = None,
    how: How = "attended",
    replace: Replace = "remove",
    mean_token: ArrayLike | None = None,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Take tokens away from each sample.

    Parameters
    ----------
    X : TokenSource or array
        Tokens, as `encoders.tokens.as_token_source` takes them.
    attention : (n_samples, n_tokens) or (n_tokens,) array, or None
        Of one query, heads averaged; one map for all samples where the map is fixed. None where `how` is "random".
    fraction : float
        Share of each sample's tokens that is taken, rounded, at least one. Either this or `k` is given.
    k : int
        Number of tokens that are taken from each sample.
    how : {"attended", "least", "random"}
        The most or the least attended tokens, or as many at random. Ties are broken at random.
    replace : {"remove", "mean"}
        "remove" makes a token NaN, which every encoder of tokens takes as absent; "mean" puts the mean token in its
        place, for encoders that need all tokens.
    mean_token : (n_channels,) array, optional
        For "mean": best the mean over the training samples. That over the tokens of X when None.
    seed : int
        Of the random tokens and of ties.

    Returns
    -------
    (n_samples, n_tokens, n_channels) array of float32
        A copy. Padding (NaN) stays, and is never chosen.

    Raises
    ------
    ValueError
        Neither or both of `fraction` and `k`; a sample would lose all of its tokens; shapes do not match; an unknown
        choice.
    """
    check_choice("how", how, ("attended", "least", "random"))
    check_choice("replace", replace, ("mean", "remove"))
    tokens = np.array(as_token_source(X).read())
    if how == "random":
        scores = np.zeros(tokens.shape[:2])
    else:
        scores = _check_scores(attention, tokens.shape[:2]) * (1.0 if how == "attended" else -1.0)
    noise = np.random.default_rng(seed).random(tokens.shape[:2])
    fill = np.full(tokens.shape[2], np.nan)
    if replace == "mean":
        fill = check_mean_token(mean_token, as_token_source(X))
    return replace_tokens(tokens, scores, noise, tokens_taken(fraction, k), fill)


def _check_scores(attention: ArrayLike | None, shape: tuple[int, ...]) -> FloatArray:
    scores = np.asarray(np.nan if attention is None else attention, dtype=np.float64)
    if scores.shape not in (shape, shape[1:]) or not np.isfinite(scores).all():
        raise ValueError(
            f"attention has shape {scores.shape}; finite weights of one query, {shape} or {shape[1:]}, are needed"
            " (average heads first)"
        )
    return np.broadcast_to(scores, shape)


def check_mean_token(mean_token: ArrayLike | None, source: TokenSource) -> FloatArray:
    if mean_token is None:
        total, count = np.zeros(source.shape[2]), 0
        for rows in source.blocks():
            tokens = source.read(rows)
            present = tokens[~np.isnan(tokens).all(axis=-1)]
            total, count = total + present.sum(axis=0, dtype=np.float64), count + len(present)
        return total / max(count, 1)
    mean = np.asarray(mean_token, dtype=np.float64)
    if mean.shape != (source.shape[2],) or not np.isfinite(mean).all():
        raise ValueError(f"mean_token has shape {mean.shape}; finite values ({source.shape[2]},) are needed")
    return mean


def tokens_taken(fraction: float | None, k: int | None) -> Callable[[NDArray[np.intp]], NDArray[np.intp]]:
    """Return how many tokens are taken of a number that is present."""
    if (fraction is None) == (k is None):
        raise ValueError(f"fraction is {fraction} and k is {k}; give one of them")
    if fraction is not None:
        if not 0 < fraction < 1:
            raise ValueError(f"fraction is {fraction}; a share between 0 and 1 can be taken")
        return lambda present: np.maximum(np.rint(fraction * present), 1).astype(np.intp)
    assert k is not None
    if k < 1:
        raise ValueError(f"k is {k}; at least 1 token has to be taken")
    return lambda present: np.full(present.shape, k, dtype=np.intp)


def replace_tokens(
    tokens: NDArray[np.float32],
    scores: NDArray[Any],
    noise: FloatArray,
    n_taken: Callable[[NDArray[np.intp]], NDArray[np.intp]],
    fill: FloatArray,
) -> NDArray[np.float32]:
    """Put `fill` in the place of each row's present tokens with the highest scores; in place."""
    present = ~np.isnan(tokens).all(axis=-1)
    taken = n_taken(present.sum(axis=1))
    if (taken >= present.sum(axis=1)).any():
        row = int(np.flatnonzero(taken >= present.sum(axis=1))[0])
        raise ValueError(
            f"sample {row} has {count_of(int(present[row].sum()), 'token')} and would lose {taken[row]}; a model needs"
            " at least one that is left: take fewer"
        )
    order = np.lexsort((noise, -np.where(present, scores, -np.inf)), axis=-1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=-1)
    tokens[rank < taken[:, None]] = fill
    return tokens
