"""The attention of any encoder that routes tokens."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.interpretation.names import check_names
from encoders.tokens import TokenSource


def read_attention(
    encoder: Any, tokens: TokenSource, queries: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return the attention of a fitted encoder.

    Parameters
    ----------
    encoder : fitted encoder
        With `attention(X)`, or `spatial_maps()` where maps are the same for all samples; both may take `queries`.
    tokens : TokenSource
        Read and answered at once.
    queries : sequence of int, optional
        Numbers of the queries; all when None.

    Returns
    -------
    (n_samples, n_queries, n_heads, n_tokens) array of float32
        Fixed maps stand once for every sample (a read-only view).

    Raises
    ------
    TypeError
        The encoder has neither method.
    """
    if hasattr(encoder, "attention"):
        return np.asarray(_of_queries(encoder.attention, 1, queries, tokens), dtype=np.float32)
    if hasattr(encoder, "spatial_maps"):
        maps = np.asarray(_of_queries(encoder.spatial_maps, 0, queries), dtype=np.float32)
        return np.broadcast_to(maps[None, :, None, :], (len(tokens), len(maps), 1, maps.shape[1]))
    raise TypeError(
        f"{type(encoder).__name__} routes no tokens: it has neither attention(X) nor spatial_maps(); give a fitted"
        " AttentionEncoder, SpatialFeatureEncoder or ProbeEncoder, or the attention itself"
    )


def _of_queries(method: Callable[..., Any], axis: int, queries: Sequence[int] | None, *inputs: Any) -> Any:
    if queries is None:
        return method(*inputs)
    # With a query a voxel, only those that are asked for may be computed; few queries are all computed and chosen.
    if "queries" in signature(method).parameters:
        return method(*inputs, queries=list(queries))
    return np.take(method(*inputs), list(queries), axis=axis)


def name_queries(
    encoder: Any, queries: Sequence[int] | None, n_queries: int, query_names: ArrayLike | None = None
) -> np.ndarray:
    """Return names of the chosen queries: those given, else the encoder's own, else their numbers."""
    own = getattr(encoder, "query_names", None)
    if query_names is None and own is not None:
        query_names = np.asarray(own) if queries is None else np.asarray(own)[list(queries)]
    if query_names is None and queries is not None:
        query_names = [f"query {number}" for number in queries]
    return check_names(query_names, n_queries, "query")
