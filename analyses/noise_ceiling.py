"""How well a perfect model could do: reliability of responses over repeats and over subjects.

Every function takes responses as they were measured and treats each voxel by itself. Repeats of a stimulus
are exchangeable: remove what differs between runs for other reasons (drift, gain) first. `docs/statistics.md`
says which ceiling belongs to which score.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from numpy.typing import ArrayLike

_CHUNK_BYTES = 64 << 20


class SplitHalf(NamedTuple):
    """Reliability of each voxel from random halves of the repeats.

    Attributes
    ----------
    r : (n_voxels,) array
        Correlation over stimuli between the means of two halves, averaged over draws.
    spearman_brown : (n_voxels,) array
        Reliability of the mean of all repeats, ``2 r / (1 + r)`` of each draw, averaged over draws. Its
        square root is the noise ceiling of a correlation with that mean.
    """

    r: Float64[np.ndarray, "n_voxels"]
    spearman_brown: Float64[np.ndarray, "n_voxels"]


class SubjectCeiling(NamedTuple):
    """Bounds on the mean correlation that any one prediction can reach with all subjects, a voxel.

    Attributes
    ----------
    lower, upper : (n_voxels,) array
        Means over subjects.
    lower_by_subject : (n_subjects, n_voxels) array
        Correlation of each subject with the mean of the others.
    """

    lower: Float64[np.ndarray, "n_voxels"]
    upper: Float64[np.ndarray, "n_voxels"]
    lower_by_subject: Float64[np.ndarray, "n_subjects n_voxels"]


class _Components(NamedTuple):
    signal: Float64[np.ndarray, "n_voxels"]
    noise: Float64[np.ndarray, "n_voxels"]
    variance_of_means: Float64[np.ndarray, "n_voxels"]


def explainable_variance(
    repeats: ArrayLike, bias_corrected: bool = True, n_averaged: float | ArrayLike = 1
) -> Float64[np.ndarray, "n_voxels"]:
    """Share of the variance over stimuli, of the mean of `n_averaged` repeats, that is signal.

    Parameters
    ----------
    repeats : (n_repeats, n_stimuli, n_voxels) array
        Single responses, NaN where a repeat is missing. Stimuli may differ in their number of repeats; a
        stimulus without repeats still tells of the variance over stimuli.
    bias_corrected : bool
        Subtract the noise that is left in the means of the repeats. Without it the share is too high by about
        ``(1 - share) / n_repeats``; that form is only defined for `n_averaged` = 1.
    n_averaged : float or (n_stimuli,) array
        How many repeats stand behind each response that a model is scored on: one number, or one a stimulus
        (their harmonic mean counts).

    Returns
    -------
    (n_voxels,) array
        At most 1. Unbiased and so not clipped: voxels without signal scatter around 0. NaN for a constant
        voxel, one without repeated stimuli, and one whose total variance would be negative when `n_averaged`
        exceeds the repeats that were measured.

    Raises
    ------
    ValueError
        The array is no set of repeats: wrong shape, fewer than 2 repeats, fewer than 2 stimuli, infinite
        values.

    Notes
    -----
    One-way analysis of variance with stimuli as groups: the pooled variance within stimuli estimates the
    noise ``N``; the variance of the stimulus means, less ``N`` times the mean of one over the number of
    repeats, estimates the signal ``S``; the share is ``S / (S + N / n_averaged)``.

    References
    ----------
    Sahani & Linden 2003 (signal power); Hsu, Borst & Theunissen 2004 (bias of the naive estimate); Schoppe et
    al. 2016, Frontiers in Computational Neuroscience 10:10 (as a ceiling for models).
    """
    if not bias_corrected and (np.ndim(n_averaged) > 0 or n_averaged != 1):
        raise ValueError(
            f"n_averaged is {n_averaged!r} with bias_corrected=False; the uncorrected share is defined for"
            " n_averaged=1 only: use bias_corrected=True"
        )
    inverse = _mean_inverse(n_averaged)
    parts = _variance_components(repeats)
    if bias_corrected:
        total = parts.signal + parts.noise * inverse
        explained = parts.signal
    else:
        total = parts.signal + parts.noise
        explained = parts.variance_of_means
    share = np.full(total.shape, np.nan)
    return np.divide(explained, total, out=share, where=total > 0)


def noise_ceiling_r(explainable_variance: ArrayLike) -> Float64[np.ndarray, "..."]:
    """Highest expected correlation of a noise-free prediction with the responses: ``sqrt(clip(share, 0,
    1))``.

    Parameters
    ----------
    explainable_variance : array
        Share of variance that is signal, of responses averaged as those a model is scored on.

    Returns
    -------
    array
        In [0, 1], NaN where the share is NaN.
    """
    return np.sqrt(np.clip(np.asarray(explainable_variance, dtype=np.float64), 0, 1))


def ncsnr(repeats: ArrayLike) -> Float64[np.ndarray, "n_voxels"]:
    """Noise ceiling signal-to-noise ratio: standard deviation of the signal over that of the noise of one
    trial.

    Parameters
    ----------
    repeats : (n_repeats, n_stimuli, n_voxels) array
        Single responses, NaN where a repeat is missing.

    Returns
    -------
    (n_voxels,) array
        0 where the signal variance comes out negative, unbounded where repeats agree exactly, NaN as in
        `explainable_variance`.

    Raises
    ------
    ValueError
        As in `explainable_variance`.

    Notes
    -----
    Signal variance is estimated as in `explainable_variance`, so that the two ceilings agree; Allen et al.
    subtract the noise variance from the total variance of all trials, which differs by a term of order 1 /
    n_stimuli.

    References
    ----------
    Allen et al. 2022, Nature Neuroscience 25, 116-126 (Natural Scenes Dataset), Methods, "Noise ceiling
    estimation".
    """
    parts = _variance_components(repeats)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.clip(parts.signal, 0, None) / parts.noise)


def noise_ceiling_from_ncsnr(
    ncsnr: ArrayLike, n_averaged: float | ArrayLike = 1
) -> Float64[np.ndarray, "n_voxels"]:
    """Share of variance that a perfect model can explain, from the ratio that is published with a data set.

    Parameters
    ----------
    ncsnr : (n_voxels,) array
        Ratio of standard deviations, at least 0.
    n_averaged : float or (n_stimuli,) array
        Repeats behind each response, one number or one a stimulus. With A stimuli averaged over 3 repeats, B
        over 2 and C over 1, ``1 / n`` is ``(A / 3 + B / 2 + C) / (A + B + C)``.

    Returns
    -------
    (n_voxels,) array
        ``ncsnr^2 / (ncsnr^2 + 1 / n)``: a share in [0, 1], not a percentage and not a correlation (its square
        root is).

    Raises
    ------
    ValueError
        A ratio is negative, or a number of repeats is not positive.

    References
    ----------
    Allen et al. 2022, Methods, "Noise ceiling estimation".
    """
    ratio = np.asarray(ncsnr, dtype=np.float64)
    if (ratio < 0).any():
        raise ValueError(
            f"ncsnr holds {ratio[ratio < 0].min():g}; a ratio of standard deviations is at least 0"
        )
    inverse = _mean_inverse(n_averaged)
    finite = np.where(np.isinf(ratio), 0, ratio)
    return np.where(np.isinf(ratio), 1.0, finite**2 / (finite**2 + inverse))


def split_half(repeats: ArrayLike, n_splits: int = 20, seed: int = 0) -> SplitHalf:
    """Correlate the means of random halves of the repeats, over stimuli.

    Parameters
    ----------
    repeats : (n_repeats, n_stimuli, n_voxels) array
        Single responses, NaN where a repeat is missing. The repeats of each stimulus are divided by
        themselves, anew in each draw; of an odd number the second half gets one more. Stimuli with fewer than
        2 are left out.
    n_splits : int
        Number of draws.
    seed : int
        Seed of the draws.

    Returns
    -------
    SplitHalf
        ``r`` and ``spearman_brown``, each (n_voxels,); NaN for a constant voxel. The Spearman-Brown value is
        kept within [-1, 1].

    Raises
    ------
    ValueError
        As in `explainable_variance`; `n_splits` is less than 1.

    References
    ----------
    Spearman 1910; Brown 1910, British Journal of Psychology 3.
    """
    if n_splits < 1:
        raise ValueError(f"n_splits is {n_splits}; at least 1 is needed")
    values = _check_repeats(repeats)
    n_repeats, n_stimuli, n_voxels = values.shape
    rng = np.random.default_rng(seed)
    orders = [np.argsort(rng.random((n_repeats, n_stimuli)), axis=0) for _ in range(n_splits)]
    r, corrected = np.zeros(n_voxels), np.zeros(n_voxels)
    for columns in _voxel_chunks(values.shape):
        chunk = _centred(values[:, :, columns])
        half = np.isfinite(chunk).sum(axis=0) // 2
        for order in orders:
            drawn = np.take_along_axis(chunk, order[:, :, None], axis=0)
            present = np.isfinite(drawn)
            first = present & (present.cumsum(axis=0) <= half)
            draw = _correlation(_mean_where(drawn, first), _mean_where(drawn, present & ~first))
            with np.errstate(divide="ignore"):
                r[columns] += draw / n_splits
                corrected[columns] += np.clip(2 * draw / (1 + draw), -1, 1) / n_splits
    return SplitHalf(r, corrected)


def leave_one_subject_out(responses: ArrayLike) -> SubjectCeiling:
    """Bounds on the mean correlation over subjects that one prediction for all can reach, a voxel.

    Parameters
    ----------
    responses : (n_subjects, n_stimuli, n_voxels) array
        Responses of subjects to the same stimuli in corresponding voxels (or ROI averages), NaN where
        missing. A stimulus that a subject lacks is left out for that voxel.

    Returns
    -------
    SubjectCeiling
        ``lower``: each subject against the mean of the others, a prediction that knows no more than the
        group; ``upper``: each subject against the mean of all, the prediction with the highest mean
        correlation there is. Subjects are z-scored over stimuli before averaging. NaN where a subject's voxel
        is constant.

    Raises
    ------
    ValueError
        The array has another number of axes, fewer than 2 subjects or stimuli, or infinite values.

    References
    ----------
    Nili et al. 2014, PLoS Computational Biology 10(4): e1003553, for RDMs; here for responses.
    """
    values = _check_repeats(responses, name="responses", axis="subject")
    n_subjects, _, n_voxels = values.shape
    lower, upper = np.empty((n_subjects, n_voxels)), np.empty((n_subjects, n_voxels))
    for columns in _voxel_chunks(values.shape):
        chunk = _centred(values[:, :, columns])
        chunk = np.where(np.isfinite(chunk).all(axis=0), chunk, np.nan)
        z = np.stack([_standardised(subject) for subject in chunk])
        total = z.sum(axis=0)
        for i in range(n_subjects):
            lower[i, columns] = _correlation(z[i], total - z[i])
            upper[i, columns] = _correlation(z[i], total)
    return SubjectCeiling(lower.mean(axis=0), upper.mean(axis=0), lower)


def _mean_inverse(n_averaged: float | ArrayLike) -> float:
    counts = np.asarray(n_averaged, dtype=np.float64)
    if counts.size == 0 or not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError(
            f"n_averaged is {n_averaged!r}; give the positive number of repeats, or one a stimulus"
        )
    return float((1 / counts).mean())


def _check_repeats(
    repeats: ArrayLike, name: str = "repeats", axis: str = "repeat"
) -> Shaped[np.ndarray, "n_repeats n_stimuli n_voxels"]:
    values = np.asarray(repeats)
    if values.ndim != 3 or not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        raise ValueError(
            f"{name} has shape {values.shape} and dtype {values.dtype}; numbers of shape"
            f" (n_{axis}s, n_stimuli, n_voxels) are needed"
        )
    if values.shape[0] < 2:
        raise ValueError(f"{name} holds {values.shape[0]} {axis}; reliability needs at least 2 {axis}s")
    if values.shape[1] < 2:
        raise ValueError(f"{name} holds {values.shape[1]} stimulus; variance over stimuli needs at least 2")
    if np.isinf(values).any():
        raise ValueError(f"{name} holds infinite values; mark missing responses with NaN")
    if not (np.isfinite(values).sum(axis=0) >= 2).any():
        raise ValueError(
            f"{name} has fewer than 2 {axis}s of every stimulus (the rest is NaN); at least 2 are needed"
        )
    return values


def _voxel_chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the voxels so that a float64 copy of a chunk stays small."""
    size = max(1, _CHUNK_BYTES // (8 * shape[0] * shape[1]))
    for start in range(0, shape[2], size):
        yield slice(start, min(start + size, shape[2]))


def _centred(
    chunk: Shaped[np.ndarray, "n_repeats n_stimuli n_voxels"],
) -> Float64[np.ndarray, "n_repeats n_stimuli n_voxels"]:
    """Copy to float64 and take off each voxel's mean, so that large offsets cost no precision."""
    chunk = chunk.astype(np.float64)
    count = np.isfinite(chunk).sum(axis=(0, 1))
    return chunk - np.nansum(chunk, axis=(0, 1)) / np.maximum(count, 1)


def _is_constant(
    chunk: Shaped[np.ndarray, "n_repeats n_stimuli n_voxels"],
) -> Bool[np.ndarray, "n_voxels"]:
    """Tell voxels with one value only (or none); sums of squares would be rounding errors."""
    highest = np.fmax.reduce(chunk, axis=(0, 1))
    lowest = np.fmin.reduce(chunk, axis=(0, 1))
    return ~(highest > lowest)


def _mean_where(
    values: Float64[np.ndarray, "n_repeats *columns"], mask: Bool[np.ndarray, "n_repeats *columns"]
) -> Float64[np.ndarray, "*columns"]:
    """Mean over the first axis of what `mask` marks, NaN where it marks nothing."""
    count = mask.sum(axis=0)
    total = np.where(mask, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _standardised(
    values: Float64[np.ndarray, "n_stimuli n_voxels"],
) -> Float64[np.ndarray, "n_stimuli n_voxels"]:
    """Centre over stimuli and scale to length 1; NaN stays, constant columns become NaN."""
    present = np.isfinite(values)
    values = values - _mean_where(values, present)
    length = np.sqrt(np.where(present, values**2, 0).sum(axis=0))
    constant = ~(np.fmax.reduce(values, axis=0) > np.fmin.reduce(values, axis=0))
    return values / np.where(constant, np.nan, length)


def _correlation(
    a: Float64[np.ndarray, "n_stimuli n_voxels"], b: Float64[np.ndarray, "n_stimuli n_voxels"]
) -> Float64[np.ndarray, "n_voxels"]:
    """Pearson correlation over stimuli, a voxel, over the stimuli that both have."""
    present = np.isfinite(a) & np.isfinite(b)
    product = _standardised(np.where(present, a, np.nan)) * _standardised(np.where(present, b, np.nan))
    return np.where(present.sum(axis=0) < 2, np.nan, np.where(present, product, 0).sum(axis=0))


def _variance_components(repeats: ArrayLike) -> _Components:
    values = _check_repeats(repeats)
    parts = np.full((3, values.shape[2]), np.nan)
    for columns in _voxel_chunks(values.shape):
        chunk = _centred(values[:, :, columns])
        present = np.isfinite(chunk)
        count = present.sum(axis=0)
        means = _mean_where(chunk, present)
        within = np.where(present, (chunk - means) ** 2, 0).sum(axis=(0, 1))
        freedom = np.maximum(count - 1, 0).sum(axis=0)
        shown = (count > 0).sum(axis=0)
        usable = (freedom > 0) & (shown > 1) & ~_is_constant(values[:, :, columns])
        freedom, shown = np.where(usable, freedom, 1), np.where(usable, shown, 2)
        noise = within / freedom
        grand_mean = np.nansum(means, axis=0) / shown
        between = np.nansum((means - grand_mean) ** 2, axis=0) / (shown - 1)
        inverse_count = np.divide(1.0, count, out=np.zeros(count.shape), where=count > 0).sum(axis=0) / shown
        parts[:, columns] = np.where(usable, [between - noise * inverse_count, noise, between], np.nan)
    return _Components(*parts)
