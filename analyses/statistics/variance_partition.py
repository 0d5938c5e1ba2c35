"""How the held-out R2 of a model of several feature spaces divides among them.

The product measure divides the R2 of one joint model over its bands; commonality analysis divides it into what
single spaces explain alone and what they share, from the models of every subset of them. Intervals and tests are in
`analyses.statistics.partition_intervals`, what negative shares mean in `analyses.statistics.partition_words`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.statistics.nulls import check_finite, check_permutations
from analyses.statistics.permutation import Permutations
from stimuli.files import count_of

FloatArray = NDArray[np.float64]
Part = tuple[str, ...]
"""Names of spaces: those that share a part, or those that a model was fitted to."""

MAX_SPACES = 4


def product_measure(Y: ArrayLike, band_predictions: ArrayLike, intercept: ArrayLike = 0.0) -> FloatArray:
    """Divide the R2 of a summed prediction over the bands that were summed.

    Parameters
    ----------
    Y : (n_samples, n_voxels) array
        Held-out responses.
    band_predictions : (n_bands, n_samples, n_voxels) array
        What each band adds to the prediction (`BandedRidgeEncoder.predict_bands`). The mean of each does not matter;
        where predictions of several folds are pooled, take them less their mean over the training rows, so that
        offsets that differ between folds are none of the bands'.
    intercept : array that broadcasts to (n_samples, n_voxels)
        What the prediction holds besides the bands.

    Returns
    -------
    (n_bands, n_voxels) array
        Shares that sum to the R2 of ``intercept + band_predictions.sum(axis=0)``. They may be negative, see
        `explain_negative_shares`. NaN where the responses are constant.

    Raises
    ------
    ValueError
        Shapes do not match or values are not finite.

    Notes
    -----
    With ``y`` the responses about their mean, ``q_b`` the band's and ``p`` the whole prediction about theirs, the
    share is ``sum(q_b (2 y - p)) / sum(y^2)``. In the training set of an unpenalised fit, where ``sum(q_b (y - p))``
    is zero, it is Pratt's product of standardised weight and correlation. What the mean of the prediction misses, and
    an intercept that varies over samples, belong to no band. So that the shares sum to R2 they are divided in
    proportion to the variance of the bands' predictions: a band that predicts nothing gets exactly nothing.

    References
    ----------
    Hoffman 1960, Psychological Bulletin 57, 116-131; Pratt 1987, Proc. 2nd Int. Conf. in Statistics, 245-260;
    Dupré la Tour, Eickenberg, Nunez-Elizalde & Gallant 2022, NeuroImage 264, 119728 (held-out).
    """
    return _shares(*complete_bands(*check_bands(Y, band_predictions, intercept)))


def product_measure_null(
    Y: ArrayLike, band_predictions: ArrayLike, permutations: Permutations, intercept: ArrayLike = 0.0
) -> FloatArray:
    """Divide R2 again with the predictions of all bands permuted together, without fitting again.

    Valid where the predictions come from a fit to other data than `Y` (a fixed training set). Predictions pooled over
    folds need models that are fitted anew: `analyses.experiments.variance_partition` does that.

    Parameters
    ----------
    Y, band_predictions, intercept
        As in `product_measure`.
    permutations : (n_permutations, n_samples) int array
        As `permute_blocks_within_runs` gives.

    Returns
    -------
    (n_permutations, n_bands, n_voxels) array

    Raises
    ------
    ValueError
        As in `product_measure`; permutations do not fit the rows.
    """
    y, bands, weights = complete_bands(*check_bands(Y, band_predictions, intercept))
    rows = check_permutations(permutations, len(y))
    return np.stack([_shares(y, bands[:, order], weights) for order in rows])


def commonality(r2_of: Mapping[Part, ArrayLike]) -> dict[Part, FloatArray]:
    """Divide R2 into what spaces explain alone and what they share.

    Parameters
    ----------
    r2_of : mapping of tuple of str to (n_voxels,) array
        Held-out R2 of the model fitted to each non-empty subset of 2, 3 or 4 feature spaces, named by the spaces in
        it, in any order: ``{("A",): ..., ("B",): ..., ("A", "B"): ...}``.

    Returns
    -------
    dict of tuple of str to (n_voxels,) array
        The part that exactly these spaces share, all others aside; for one space its unique part. They sum to the R2
        of the model of all spaces. Negative parts: see `explain_negative_shares`.

    Raises
    ------
    ValueError
        Other than 2 to 4 spaces, a subset is missing or given twice, shapes differ or values are infinite.

    Notes
    -----
    With ``f(S)`` the R2 of a model, ``f`` of none zero, and ``C`` the spaces outside ``T``, the part is the sum over
    all ``W`` in ``T`` of ``(-1)^(|W| + 1) f(C + W)`` (inclusion and exclusion).

    References
    ----------
    Newton & Spurrell 1967, Applied Statistics 16, 51-64; Mood 1971; Nimon et al. 2008, Behavior Research Methods 40,
    457-466. On held-out data: Lescroart, Stansbury & Gallant 2015, Frontiers in Computational Neuroscience 9, 135.
    """
    spaces, by_subset = order_subsets(r2_of)
    scores = [np.asarray(values, dtype=np.float64) for values in by_subset.values()]
    shapes = {values.shape for values in scores}
    if len(shapes) > 1 or scores[0].ndim != 1:
        raise ValueError(f"r2_of holds arrays of shapes {sorted(shapes)}; each is (n_voxels,)")
    stacked = np.stack(scores)
    if np.isinf(stacked).any() or (np.isnan(stacked).any(axis=0) != np.isnan(stacked).all(axis=0)).any():
        raise ValueError(
            "r2_of is infinite, or NaN for a voxel in some models only; score all models on the same samples, and"
            " leave out voxels that one of them cannot predict"
        )
    return dict(zip(by_subset, inclusion_exclusion(spaces) @ stacked, strict=True))


def subsets_of(spaces: Sequence[str]) -> list[Part]:
    """List the non-empty subsets of the spaces, the smaller first, each in the order of `spaces`."""
    return [subset for size in range(1, len(spaces) + 1) for subset in combinations(spaces, size)]


def inclusion_exclusion(spaces: Sequence[str]) -> FloatArray:
    """Return the (n_subsets, n_subsets) weights that make parts (rows) of the R2 of models (columns)."""
    subsets = subsets_of(spaces)
    weights = np.zeros((len(subsets), len(subsets)))
    for row, part in enumerate(subsets):
        outside = set(spaces) - set(part)
        for column, model in enumerate(subsets):
            within = set(model) - outside
            if outside <= set(model):
                weights[row, column] = (-1.0) ** (len(within) + 1)
    return weights


def order_subsets(of_subset: Mapping[Part, ArrayLike]) -> tuple[Part, dict[Part, ArrayLike]]:
    """Return the spaces in order of appearance, and the values by subset as `subsets_of` lists them.

    Raises
    ------
    ValueError
        Other than 2 to 4 spaces, or a subset is missing or given twice.
    """
    for key in of_subset:
        if not isinstance(key, tuple) or not key or len(set(key)) != len(key):
            raise ValueError(
                f"the key {key!r} names no set of spaces; write it as a tuple, ('A',) or ('A', 'B')"
            )
    spaces = check_spaces(dict.fromkeys(name for key in of_subset for name in key))
    given = {frozenset(key): values for key, values in of_subset.items()}
    if len(given) < len(of_subset):
        raise ValueError("a set of spaces is given twice, in different orders; give each model once")
    subsets = subsets_of(spaces)
    missing = [" + ".join(subset) for subset in subsets if frozenset(subset) not in given]
    if missing:
        raise ValueError(
            f"models of {', '.join(missing)} are missing: {count_of(len(spaces), 'space')} need the models of all"
            f" {len(subsets)} subsets"
        )
    return spaces, {subset: given[frozenset(subset)] for subset in subsets}


def check_spaces(names: Iterable[str]) -> Part:
    """Return the names of 2 to 4 feature spaces, or say what is wrong with them."""
    spaces = tuple(names)
    if not 2 <= len(spaces) <= MAX_SPACES:
        raise ValueError(
            f"there are {count_of(len(spaces), 'feature space')} ({', '.join(map(str, spaces[:6]))}); 2 to"
            f" {MAX_SPACES} can be divided into unique and shared parts. Join spaces that belong together, or take the"
            " product measure of one banded model, which has no limit"
        )
    if not all(isinstance(name, str) and name for name in spaces):
        raise ValueError(f"spaces are named {spaces}; give each a name of its own, not empty")
    return spaces


def _shares(y: FloatArray, bands: FloatArray, weights: FloatArray) -> FloatArray:
    """Divide R2 over `bands` that sum to the whole prediction; `weights` divide what its mean misses."""
    total = bands.sum(axis=0)
    miss = total.mean(axis=0) - y.mean(axis=0)
    centred = bands - bands.mean(axis=1, keepdims=True)
    cross = np.einsum("bnv,nv->bv", centred, 2 * y - total)
    return (cross - len(y) * miss**2 * weights) / total_squares(y)


def complete_bands(
    y: FloatArray, bands: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Divide the intercept over the bands, so that they sum to the whole prediction.

    Returns
    -------
    y, bands : arrays
    weights : (n_bands, n_voxels) array
        By which it was divided: the bands' shares in the summed variance of their predictions; equal where none varies.
    """
    variances = bands.var(axis=1)
    summed = variances.sum(axis=0)
    varies = summed > 0
    weights = np.where(varies, variances / np.where(varies, summed, 1), 1 / len(bands))
    return y, bands + weights[:, None] * intercept, weights


def check_bands(
    Y: ArrayLike, band_predictions: ArrayLike, intercept: ArrayLike = 0.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return responses, bands and the intercept of every sample and voxel in float64, or say what is wrong.

    Raises
    ------
    ValueError
        Shapes do not match or values are not finite.
    """
    y = check_finite(Y, "Y")
    bands = np.asarray(band_predictions, dtype=np.float64)
    if bands.ndim != 3 or bands.shape[1:] != y.shape or not len(bands):
        raise ValueError(
            f"band_predictions has shape {bands.shape} and Y {y.shape}; (n_bands, n_samples, n_voxels) with the samples"
            " and voxels of Y is needed, as predict_bands gives"
        )
    if not np.isfinite(bands).all():
        bad = int((~np.isfinite(bands)).any(axis=(0, 1)).sum())
        raise ValueError(
            f"band_predictions is NaN or infinite in {bad} of {y.shape[1]} voxels; leave out samples that no"
            " fold tests, and voxels that were not fitted"
        )
    added = np.asarray(intercept, dtype=np.float64)
    try:
        added = np.broadcast_to(added, y.shape)
    except ValueError:
        raise ValueError(
            f"intercept has shape {added.shape}; a number, (n_voxels,) or {y.shape} is needed"
        ) from None
    if not np.isfinite(added).all():
        raise ValueError("intercept is NaN or infinite; leave out samples that no fold tests")
    return y, bands, added


def total_squares(y: FloatArray) -> FloatArray:
    """Return the sum of squares about the mean, (n_voxels,); NaN where the responses are constant."""
    return np.where(np.ptp(y, axis=0) == 0, np.nan, ((y - y.mean(axis=0)) ** 2).sum(axis=0))
