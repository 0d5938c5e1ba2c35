"""What attention maps look like: how sharp they are, and how much they depend on the image.

Attention has the shape (n_samples, n_queries, n_heads, n_tokens); over the tokens it is a distribution. A token that
is absent (padding, or lesioned) has no attention. `analyses.interpretation.eccentricity` says where in the visual field
it lies.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.solvers.checks import check_choice

FloatArray = NDArray[np.float64]

# Sums of weights kept in bfloat16 are off by up to this much.
_SUM_TOLERANCE = 0.02


def check_attention(attention: ArrayLike, name: str = "attention") -> FloatArray:
    """Return attention in float64, each map summing to 1 exactly, or say what is wrong.

    Parameters
    ----------
    attention : (n_samples, n_queries, n_heads, n_tokens) array
        As the `attention` method of an encoder returns it.
    name : str
        What messages call the argument.

    Raises
    ------
    ValueError
        Another number of axes, an empty axis, negative or infinite weights, or maps that do not sum to 1.
    """
    maps = np.asarray(attention, dtype=np.float64)
    if maps.ndim != 4 or 0 in maps.shape:
        raise ValueError(
            f"{name} has shape {maps.shape}; (n_samples, n_queries, n_heads, n_tokens) is needed, as an encoder's"
            " attention(X) returns it"
        )
    return _check_distributions(maps, name)


def check_maps(attention_maps: ArrayLike, name: str = "attention_maps") -> FloatArray:
    """Return maps over an image, averaged over heads, in float64 (n_samples, n_queries, n_rows, n_columns).

    Parameters
    ----------
    attention_maps : (n_samples, n_queries[, n_heads], n_rows, n_columns) array
        As the `attention_maps` method of an encoder returns it.
    name : str
        What messages call the argument.

    Raises
    ------
    ValueError
        As `check_attention`.
    """
    maps = np.asarray(attention_maps, dtype=np.float64)
    if maps.ndim not in (4, 5) or 0 in maps.shape:
        raise ValueError(
            f"{name} has shape {maps.shape}; (n_samples, n_queries[, n_heads], n_rows, n_columns) is needed, as an"
            " encoder's attention_maps(X) returns it"
        )
    if maps.ndim == 5:
        maps = maps.mean(axis=2)
    flat = _check_distributions(maps.reshape(*maps.shape[:2], -1), name)
    return flat.reshape(maps.shape)


def _check_distributions(maps: FloatArray, name: str) -> FloatArray:
    if not np.isfinite(maps).all() or maps.min() < 0:
        raise ValueError(
            f"{name} holds {'NaN or infinite' if not np.isfinite(maps).all() else 'negative'} weights; attention is"
            " a distribution over tokens (a softmax), without negative weights"
        )
    total = maps.sum(axis=-1, keepdims=True)
    if np.abs(total - 1).max() > _SUM_TOLERANCE:
        raise ValueError(
            f"{name} sums to {total.min():.3g} to {total.max():.3g} over the tokens of a map; it must sum to 1: give"
            " the weights after the softmax"
        )
    return maps / total


def attention_entropy_bits(attention: ArrayLike, heads: Literal["mean", "each"] = "mean") -> FloatArray:
    """Measure how widely attention is spread, by Shannon's entropy.

    Parameters
    ----------
    attention : (n_samples, n_queries, n_heads, n_tokens) array
    heads : {"mean", "each"}
        Of the map averaged over heads, or of each head's own. Heads that look at different places make the first
        larger.

    Returns
    -------
    (n_samples, n_queries) or (n_samples, n_queries, n_heads) array
        In [0, log2 n_tokens] bits: 0 where one token has all attention.

    Raises
    ------
    ValueError
        As `check_attention`; an unknown `heads`.

    References
    ----------
    Shannon 1948, Bell System Technical Journal 27, 379-423.
    """
    check_choice("heads", heads, ("mean", "each"))
    maps = check_attention(attention)
    return entropy_bits(maps.mean(axis=2) if heads == "mean" else maps)


def effective_tokens(attention: ArrayLike, heads: Literal["mean", "each"] = "mean") -> FloatArray:
    """Count the tokens among which attention is in effect shared, 2 to the entropy in bits.

    Parameters
    ----------
    attention, heads
        As in `attention_entropy_bits`.

    Returns
    -------
    (n_samples, n_queries) or (n_samples, n_queries, n_heads) array
        In [1, n_tokens]; k where k tokens share attention equally (Hill's number of order 1).

    References
    ----------
    Hill 1973, Ecology 54, 427-432.
    """
    return 2 ** attention_entropy_bits(attention, heads)


def content_dependence(attention: ArrayLike) -> FloatArray:
    """Measure how much of where a query attends is decided by the image.

    Draw an image, then a token from its map: the mutual information of the two, divided by the entropy of the token
    alone. With p_s the map of image s (heads averaged) and p their mean, that is ``1 - mean_s H(p_s) / H(p)``, the
    uncertainty coefficient of the attended token given the image.

    Parameters
    ----------
    attention : (n_samples, n_queries, n_heads, n_tokens) array
        One row an image; tokens have to mean the same place in all of them.

    Returns
    -------
    (n_queries,) array
        In [0, 1]: 0 where the map is the same for all images, 1 where each image draws all attention to one token,
        not the same in all. 0 where all images draw it to one and the same token.

    Raises
    ------
    ValueError
        As `check_attention`; fewer than 2 images.

    Notes
    -----
    The numerator is the Jensen-Shannon divergence of the maps. It is at most log2 of the number of images, so that
    few images understate sharp maps that move over many tokens.

    References
    ----------
    Theil 1970, American Journal of Sociology 76, 103-154 (uncertainty coefficient); Lin 1991, IEEE Transactions on
    Information Theory 37, 145-151 (divergence of several distributions).
    """
    maps = _several_images(attention)
    return dependence_from_entropies(entropy_bits(maps.mean(axis=0)), entropy_bits(maps).mean(axis=0))


def dependence_from_entropies(entropy_of_mean_bits: ArrayLike, mean_entropy_bits: ArrayLike) -> FloatArray:
    """Return `content_dependence` from the entropy of the mean map and the mean entropy of maps, as they stream by.

    Parameters
    ----------
    entropy_of_mean_bits, mean_entropy_bits : (n_queries,) array

    Returns
    -------
    (n_queries,) array
    """
    of_mean, mean = np.asarray(entropy_of_mean_bits, float), np.asarray(mean_entropy_bits, float)
    share = np.divide(mean, of_mean, out=np.ones_like(of_mean), where=of_mean > 1e-12)
    # Entropy is concave, so that only rounding can lead out of [0, 1].
    return np.clip(1 - share, 0, 1)


@dataclass(frozen=True)
class VarianceSplit:
    """Squared distance of maps from uniform attention, summed over tokens and averaged over images.

    Attributes
    ----------
    fixed, content : (n_queries,) array
        Of the mean map from uniform, and of the images' maps from the mean map. Unbiased for new images of the same
        kind, so that `fixed` can be slightly negative; they sum to `total` exactly.
    total : (n_queries,) array
    content_share : (n_queries,) array
        ``content / total`` within [0, 1]; NaN where attention is uniform in every image.
    """

    fixed: FloatArray
    content: FloatArray
    total: FloatArray
    content_share: FloatArray


def split_map_variance(attention: ArrayLike) -> VarianceSplit:
    """Split what attention maps differ by from uniform into a fixed map and what follows the image.

    With maps a_s over T tokens of n images and m their mean: total ``mean_s |a_s - 1/T|^2``, content
    ``sum_s |a_s - m|^2 / (n - 1)``, fixed ``|m - 1/T|^2 - content / n`` (one-way analysis of variance, random effects).

    Parameters
    ----------
    attention : (n_samples, n_queries, n_heads, n_tokens) array
        Heads are averaged.

    Returns
    -------
    VarianceSplit

    Raises
    ------
    ValueError
        As `check_attention`; fewer than 2 images.

    References
    ----------
    Searle, Casella & McCulloch 1992, Variance Components, chapter 3.
    """
    maps = _several_images(attention)
    n_tokens = maps.shape[-1]
    total = ((maps - 1 / n_tokens) ** 2).sum(axis=-1).mean(axis=0)
    return split_from_moments(maps.mean(axis=0), total, len(maps))


def split_from_moments(mean: ArrayLike, total: ArrayLike, n_samples: int) -> VarianceSplit:
    """Return `split_map_variance` from what can be summed as maps stream by.

    Parameters
    ----------
    mean : (n_queries, n_tokens) array
        Mean map.
    total : (n_queries,) array
        Mean squared distance of maps from uniform.
    n_samples : int
        Images, at least 2.

    Returns
    -------
    VarianceSplit
    """
    mean, total = np.asarray(mean, float), np.asarray(total, float)
    of_mean = ((mean - 1 / mean.shape[-1]) ** 2).sum(axis=-1)
    # Squared distance splits by the mean; n / (n - 1) undoes that the mean was taken of these images.
    content = np.maximum(total - of_mean, 0.0) * n_samples / (n_samples - 1)
    share = np.divide(content, total, out=np.full_like(total, np.nan), where=total > 1e-20)
    return VarianceSplit(of_mean - content / n_samples, content, total, np.clip(share, 0, 1))


def entropy_bits(maps: ArrayLike) -> FloatArray:
    """Return the entropy over the last axis of distributions, in bits; a token without weight adds nothing."""
    weights = np.asarray(maps, dtype=np.float64)
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    return np.maximum(-(weights * logs).sum(axis=-1), 0.0)


def _several_images(attention: ArrayLike) -> FloatArray:
    maps = check_attention(attention).mean(axis=2)
    if len(maps) < 2:
        raise ValueError(
            "attention holds the maps of 1 image; how maps change between images needs at least 2"
        )
    return maps


def upsample_maps(
    attention_maps: ArrayLike, size_px: tuple[int, int], how: Literal["nearest", "bilinear"] = "bilinear"
) -> NDArray[np.float32]:
    """Enlarge maps to the size of an image, for drawing.

    Parameters
    ----------
    attention_maps : (..., n_rows, n_columns) array
    size_px : (height, width)
        Of the image that the network saw: after its preprocessing resized and cropped it.
    how : {"nearest", "bilinear"}
        Squares, as attention is, or smooth transitions between the centres of tokens.

    Returns
    -------
    (..., height, width) array of float32
        A pixel has the attention of its token: values are not divided by the number of pixels.

    Raises
    ------
    ValueError
        Fewer than two axes, a size below 1 pixel, or an unknown `how`.
    """
    from torch import from_numpy
    from torch.nn.functional import interpolate

    check_choice("how", how, ("nearest", "bilinear"))
    maps = np.ascontiguousarray(attention_maps, dtype=np.float32)
    if maps.ndim < 2 or 0 in maps.shape:
        raise ValueError(f"attention_maps has shape {maps.shape}; (..., n_rows, n_columns) is needed")
    if len(size_px) != 2 or min(size_px) < 1:
        raise ValueError(f"size_px is {size_px!r}; (height, width) in pixels is needed, both at least 1")
    flat = from_numpy(maps.reshape(-1, 1, *maps.shape[-2:]))
    # "nearest-exact" takes the token that a pixel's centre lies in; torch's "nearest" is off by half a pixel.
    mode, corners = ("nearest-exact", None) if how == "nearest" else ("bilinear", False)
    large = interpolate(flat, size=tuple(size_px), mode=mode, align_corners=corners)
    return large.numpy().reshape(*maps.shape[:-2], *size_px)
