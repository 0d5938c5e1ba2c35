"""Does the peak of attention point at the object?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from analyses.interpretation.attention import check_maps
from analyses.interpretation.names import check_names
from analyses.interpretation.regions import exchanged_means, random_orders
from analyses.statistics.bootstrap import bootstrap_interval
from analyses.statistics.permutation import permutation_p_values

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PointingGame:
    """Whether the peak of attention lies on the object.

    Attributes
    ----------
    table : DataFrame
        One row a query: ``accuracy`` and its 95 % bootstrap interval over images ``lower``, ``upper``;
        ``chance_uniform`` (a random token's centre lies on the object), ``chance_fixed`` (the peak for another image
        does: what a map that ignores the image reaches); ``p_value`` (one-sided, maps exchanged among images).
    hits : (n_images, n_queries) array
        1 where the peak lies on the object; between 0 and 1 where several tokens share the peak.
    rows : (n_images,) array
        Images that show the object.
    """

    table: pd.DataFrame
    hits: FloatArray
    rows: NDArray[np.intp]


def pointing_game(
    attention_maps: ArrayLike,
    masks: ArrayLike,
    tolerance_px: float = 0.0,
    query_names: ArrayLike | None = None,
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> PointingGame:
    """Count how often the most attended point lies on the object.

    Parameters
    ----------
    attention_maps : (n_samples, n_queries[, n_heads], n_rows, n_columns) array
        Heads are averaged. The point is the centre of the most attended token.
    masks : (n_samples, height, width) bool array
        The object in each image; `box_masks` makes them of boxes. Images without it are left out.
    tolerance_px : float
        How far from the object a point may lie and still count (15 pixels in the original game). A coarse grid has its
        points half a token apart from where they might be; nothing is added for that.
    query_names : strings, optional
    n_permutations, n_bootstrap, seed : int

    Returns
    -------
    PointingGame

    Raises
    ------
    ValueError
        As `check_maps`; masks do not fit, or fewer than 2 images show the object.

    References
    ----------
    Zhang et al. 2018, International Journal of Computer Vision 126, 1084-1102 (pointing game).
    """
    objects = np.asarray(masks)
    if objects.ndim != 3 or objects.dtype != bool:
        raise ValueError(
            f"masks has dtype {objects.dtype} and shape {objects.shape}; a boolean array (n_samples, height, width) is"
            " needed (box_masks makes one of boxes)"
        )
    maps = check_maps(attention_maps)
    if len(maps) != len(objects):
        raise ValueError(
            f"attention_maps has {len(maps)} images and masks {len(objects)}; one mask an image is needed"
        )
    queries = check_names(query_names, maps.shape[1], "query")
    rows = np.flatnonzero(objects.any(axis=(1, 2)))
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows)} of {len(objects)} images show the object (masks); at least 2 are needed"
        )
    on_object = _points_on_object(objects[rows], (maps.shape[2], maps.shape[3]), tolerance_px)
    maps = maps[rows].reshape(len(rows), len(queries), -1)
    peaks = maps == maps.max(axis=-1, keepdims=True)
    peaks = peaks / peaks.sum(axis=-1, keepdims=True)
    hits = np.einsum("nqt,nt->nq", peaks, on_object)
    # The mean over all pairs of different images is that over all pairs, less the pairs with themselves.
    pairs = np.einsum("qt,t->q", peaks.sum(axis=0), on_object.sum(axis=0)) - hits.sum(axis=0)
    interval = bootstrap_interval(
        lambda counts: counts @ hits / counts.sum(axis=1, keepdims=True),
        len(rows),
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    orders = random_orders(len(rows), n_permutations, seed)
    null = np.stack([exchanged_means(on_object, peaks[:, q], orders) for q in range(len(queries))], axis=1)
    table = pd.DataFrame(
        {
            "accuracy": hits.mean(axis=0),
            "lower": interval.lower,
            "upper": interval.upper,
            "chance_uniform": on_object.mean(),
            "chance_fixed": pairs / (len(rows) * (len(rows) - 1)),
            "p_value": permutation_p_values(hits.mean(axis=0), null),
        },
        index=pd.Index(queries, name="query"),
    )
    return PointingGame(table, hits, rows)


def _points_on_object(masks: NDArray[np.bool_], grid: tuple[int, int], tolerance_px: float) -> FloatArray:
    """Tell whether the centre of each token lies on the object, (n_images, n_tokens) of 0 and 1."""
    height, width = masks.shape[1:]
    rows = ((np.arange(grid[0]) + 0.5) * height / grid[0]).astype(int)
    columns = ((np.arange(grid[1]) + 0.5) * width / grid[1]).astype(int)
    if tolerance_px > 0:
        masks = np.stack([distance_transform_edt(~mask) <= tolerance_px for mask in masks])
    return masks[:, rows[:, None], columns].reshape(len(masks), -1).astype(np.float64)


def box_masks(boxes_px: ArrayLike, image_size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels inside bounding boxes.

    Parameters
    ----------
    boxes_px : (n_samples, 4) array
        Left, top, right and bottom edge in pixels from the upper left corner; right and bottom lie outside the box.
        NaN where there is no object.
    image_size_px : (height, width)

    Returns
    -------
    (n_samples, height, width) bool array
        Pixels whose centre is inside.

    Raises
    ------
    ValueError
        Another shape, or a box whose right is not beyond its left or whose bottom not beyond its top.
    """
    boxes = np.asarray(boxes_px, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"boxes_px has shape {boxes.shape}; (n_samples, 4) is needed: left, top, right, bottom"
        )
    left, top, right, bottom = boxes.T
    if ((right <= left) | (bottom <= top)).any():
        row = int(np.flatnonzero((right <= left) | (bottom <= top))[0])
        raise ValueError(
            f"boxes_px[{row}] is {boxes[row].tolist()}; left < right and top < bottom are needed"
        )
    y, x = np.arange(image_size_px[0]) + 0.5, np.arange(image_size_px[1]) + 0.5
    inside_y = (y >= top[:, None]) & (y < bottom[:, None])
    inside_x = (x >= left[:, None]) & (x < right[:, None])
    return np.asarray(inside_y[:, :, None] & inside_x[:, None, :])
