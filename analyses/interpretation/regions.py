"""Attention and what is annotated in images: does it lie on regions, and does it follow them?

Masks belong to the picture that the network saw: resized and cropped as its preprocessing does.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from analyses.interpretation.attention import check_maps
from analyses.interpretation.names import check_names
from analyses.statistics.bootstrap import bootstrap_interval
from analyses.statistics.permutation import permutation_p_values

FloatArray = NDArray[np.float64]

_BLOCK_VALUES = 1 << 22


def region_cover(region_masks: ArrayLike, grid: tuple[int, int]) -> FloatArray:
    """Return which share of each token's patch a region covers.

    Parameters
    ----------
    region_masks : (n_samples, n_regions, height, width) bool array
        Pixels of each region in each image; regions may overlap and be absent.
    grid : (n_rows, n_columns)
        Tokens down and across. Height and width need not be multiples of it.

    Returns
    -------
    (n_samples, n_regions, n_rows * n_columns) array
        In [0, 1].

    Raises
    ------
    ValueError
        The masks are not boolean or not 4-D, or have fewer pixels than tokens along a side.
    """
    masks = np.asarray(region_masks)
    if masks.ndim != 4 or masks.dtype != bool or 0 in masks.shape:
        raise ValueError(
            f"region_masks has dtype {masks.dtype} and shape {masks.shape}; a boolean array (n_samples, n_regions,"
            " height, width) is needed (labels == value makes one)"
        )
    if masks.shape[2] < grid[0] or masks.shape[3] < grid[1]:
        raise ValueError(
            f"region_masks has {masks.shape[2:]} pixels for a grid of {grid}; at least one a token is needed"
        )
    down, across = (_overlap(n_pixels, n) for n_pixels, n in zip(masks.shape[2:], grid, strict=True))
    cover = np.empty((*masks.shape[:2], grid[0] * grid[1]))
    for row, of_image in enumerate(masks):  # one image at a time: masks in float64 are eight times as large
        cover[row] = (down @ of_image.astype(np.float64) @ across.T).reshape(masks.shape[1], -1)
    return np.clip(cover, 0, 1)


def _overlap(n_pixels: int, n_tokens: int) -> FloatArray:
    """Share of each token's extent that lies in each pixel, (n_tokens, n_pixels); rows sum to 1."""
    edges = np.arange(n_tokens + 1) * n_pixels / n_tokens
    pixels = np.arange(n_pixels)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(covered, 0, None) * n_tokens / n_pixels


def region_attention(
    attention_maps: ArrayLike,
    region_masks: ArrayLike,
    region_names: ArrayLike | None = None,
    query_names: ArrayLike | None = None,
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the share of attention in annotated regions with their share of the image.

    Enrichment is the mean share of attention in a region over the mean share of the image that it covers, both over
    all images. Attention that always lies in the middle is enriched on objects that photographers put there, so the
    null exchanges whole maps among images: it keeps any fixed map and breaks its tie to the content.

    Parameters
    ----------
    attention_maps : (n_samples, n_queries[, n_heads], n_rows, n_columns) array
        Heads are averaged. One row an image, no image twice.
    region_masks : (n_samples, n_regions, height, width) bool array
    region_names, query_names : strings, optional
    n_permutations, n_bootstrap, seed : int

    Returns
    -------
    DataFrame
        One row a query and region: ``query``, ``region``, ``n_images`` that show it, ``attention_share``,
        ``area_share``, ``enrichment`` with its 95 % bootstrap interval over images ``lower``, ``upper``,
        ``null_enrichment`` (mean over permutations: what the fixed map explains) and ``p_value`` (one-sided: more
        attention than maps of other images give). NaN for a region that no image shows.

    Raises
    ------
    ValueError
        As `check_maps` and `region_cover`; numbers of images differ, fewer than 2 images, or names do not match.

    Notes
    -----
    The cost of the null grows with the square of the number of images.
    """
    maps, cover, queries, regions = _check_pair(attention_maps, region_masks, region_names, query_names)
    n_samples, n_regions = cover.shape[:2]
    area = cover.mean(axis=-1)
    share = np.einsum("nqt,nrt->nqr", maps, cover).reshape(n_samples, -1)
    areas = np.tile(area, (1, len(queries)))

    def enrichment(counts: FloatArray) -> FloatArray:
        attended, covered = counts @ share, counts @ areas
        return np.divide(attended, covered, out=np.full(attended.shape, np.nan), where=covered > 0)

    interval = bootstrap_interval(enrichment, n_samples, n_bootstrap=n_bootstrap, seed=seed)
    orders = random_orders(n_samples, n_permutations, seed)
    null = np.empty((n_permutations, len(queries), n_regions))
    for query in range(len(queries)):
        for region in range(n_regions):
            null[:, query, region] = exchanged_means(cover[:, region], maps[:, query], orders)
    shown = area.mean(axis=0) > 0
    observed = share.mean(axis=0)
    p_values = permutation_p_values(observed, null.reshape(n_permutations, -1))
    mean_area = np.tile(np.where(shown, area.mean(axis=0), np.nan), len(queries))
    return pd.DataFrame(
        {
            "query": np.repeat(queries, n_regions),
            "region": np.tile(regions, len(queries)),
            "n_images": np.tile((area > 0).sum(axis=0), len(queries)),
            "attention_share": observed,
            "area_share": areas.mean(axis=0),
            "enrichment": interval.estimate,
            "lower": interval.lower,
            "upper": interval.upper,
            "null_enrichment": null.mean(axis=0).ravel() / mean_area,
            "p_value": np.where(np.isnan(mean_area), np.nan, p_values),
        }
    )


def category_shares(
    attention_maps: ArrayLike,
    region_masks: ArrayLike,
    k_px: int = 2000,
    region_names: ArrayLike | None = None,
    query_names: ArrayLike | None = None,
) -> pd.DataFrame:
    """Say which categories the most attended pixels of each image belong to.

    Parameters
    ----------
    attention_maps : (n_samples, n_queries[, n_heads], n_rows, n_columns) array
        Heads are averaged.
    region_masks : (n_samples, n_categories, height, width) bool array
        Pixels of each category; they may overlap (a face belongs to a person) and leave pixels without any.
    k_px : int
        Pixels taken from each image, the most attended first. All pixels of a token have its attention, so a last
        token counts in part, and tokens that are attended alike share equally.
    region_names, query_names : strings, optional

    Returns
    -------
    DataFrame
        One row a query and category: ``query``, ``region``, ``share`` of the taken pixels that belong to it (mean over
        images), ``area_share`` of all pixels, and ``enrichment``, their ratio.

    Raises
    ------
    ValueError
        As `region_attention`; `k_px` is not between 1 and the number of pixels.

    References
    ----------
    Adeli, Sun & Kriegeskorte 2025, arXiv:2505.17329 (category selectivity of attention).
    """
    maps, cover, queries, regions = _check_pair(attention_maps, region_masks, region_names, query_names)
    n_pixels = int(np.prod(np.shape(region_masks)[2:]))
    if not 1 <= k_px <= n_pixels:
        raise ValueError(f"k_px is {k_px}; between 1 and {n_pixels} pixels of an image can be taken")
    taken = _most_attended(maps, k_px / n_pixels * maps.shape[-1])
    share = np.einsum("nqt,nrt->qr", taken, cover) / (taken.sum(axis=-1)[:, :, None].sum(axis=0))
    area = cover.mean(axis=(0, 2))
    ratio = np.divide(share, area, out=np.full_like(share, np.nan), where=area > 0)
    return pd.DataFrame(
        {
            "query": np.repeat(queries, len(regions)),
            "region": np.tile(regions, len(queries)),
            "share": share.ravel(),
            "area_share": np.tile(area, len(queries)),
            "enrichment": ratio.ravel(),
        }
    )


def _most_attended(maps: FloatArray, n_taken: float) -> FloatArray:
    """Share of each token among the `n_taken` (a real number of) most attended ones; ties share equally."""
    first, last = (rankdata(-maps, method=method, axis=-1) for method in ("min", "max"))
    return np.clip((n_taken - first + 1) / (last - first + 1), 0, 1)


def _check_pair(
    attention_maps: ArrayLike,
    region_masks: ArrayLike,
    region_names: ArrayLike | None,
    query_names: ArrayLike | None,
) -> tuple[FloatArray, FloatArray, np.ndarray, np.ndarray]:
    maps = check_maps(attention_maps)
    cover = region_cover(region_masks, (maps.shape[2], maps.shape[3]))
    if len(maps) != len(cover) or len(maps) < 2:
        raise ValueError(
            f"attention_maps has {len(maps)} images and region_masks {len(cover)}; both need the same images, at"
            " least 2"
        )
    queries = check_names(query_names, maps.shape[1], "query")
    regions = check_names(region_names, cover.shape[1], "region")
    return maps.reshape(len(maps), len(queries), -1), cover, queries, regions


def random_orders(n_samples: int, n_permutations: int, seed: int) -> NDArray[np.intp]:
    """Return row numbers in random order, (n_permutations, n_samples)."""
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; at least 1 is needed")
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n_samples), (n_permutations, 1)), axis=1)


def exchanged_means(cover: FloatArray, maps: FloatArray, orders: NDArray[np.intp]) -> FloatArray:
    """Mean over images of cover (n_samples, n_tokens) times the map that each order gives it, (n_permutations,)."""
    n_samples = len(cover)
    total = np.zeros(len(orders))
    size = max(1, _BLOCK_VALUES // n_samples)
    for start in range(0, n_samples, size):
        rows = np.arange(start, min(start + size, n_samples))
        every_pair = cover[rows] @ maps.T
        total += every_pair[rows - start, orders[:, rows]].sum(axis=1)
    return total / n_samples
