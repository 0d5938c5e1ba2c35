"""Do the repeats of a stimulus agree beyond chance?"""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy import stats

_CHUNK_BYTES = 64 << 20


def repeatability_p_values(repeats: ArrayLike) -> Float64[np.ndarray, "n_voxels"]:
    """Test, a voxel, whether responses differ between stimuli more than between repeats.

    A noise ceiling estimated from few repeats of few stimuli is itself noisy, and clipped at zero it is too high on
    average: voxels without signal get a ceiling too. Dividing by it asks first whether there is one.

    Parameters
    ----------
    repeats : (n_repeats, n_stimuli, n_voxels) array
        Single responses, NaN where a repeat is missing.

    Returns
    -------
    (n_voxels,) array
        p of the one-way analysis of variance with stimuli as groups (Fisher 1925), which takes repeats to be
        independent and normal. NaN for a constant voxel and where no stimulus is repeated.

    Raises
    ------
    ValueError
        If the array does not have three axes.
    """
    values = np.asarray(repeats)
    if values.ndim != 3:
        raise ValueError(f"repeats has shape {values.shape}; (n_repeats, n_stimuli, n_voxels) is needed")
    p = np.empty(values.shape[2])
    width = max(1, _CHUNK_BYTES // (8 * max(1, values.shape[0] * values.shape[1])))
    for start in range(0, len(p), width):
        p[start : start + width] = _one_way(values[:, :, start : start + width].astype(np.float64))
    return p


def _one_way(values: Float64[np.ndarray, "n_repeats n_stimuli n_voxels"]) -> Float64[np.ndarray, "n_voxels"]:
    present = np.isfinite(values)
    count = present.sum(axis=0)
    filled = np.where(present, values, 0)
    # Deviations from the voxel's own mean keep the sums of squares accurate for responses far from zero.
    total = count.sum(axis=0)
    filled = np.where(present, filled - filled.sum(axis=(0, 1)) / np.maximum(total, 1), 0)
    means = filled.sum(axis=0) / np.maximum(count, 1)
    within = np.where(present, (filled - means) ** 2, 0).sum(axis=(0, 1))
    between = (count * means**2).sum(axis=0)
    groups = (count > 0).sum(axis=0) - 1
    freedom = np.maximum(count - 1, 0).sum(axis=0)
    usable = (groups > 0) & (freedom > 0) & (within + between > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (between / groups) / (within / freedom)
    return np.where(usable, stats.f.sf(ratio, groups, freedom), np.nan)
