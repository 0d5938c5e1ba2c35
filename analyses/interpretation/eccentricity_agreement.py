"""Do queries attend where their voxels or ROIs are known to look?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata, spearmanr

from analyses.statistics.permutation import permutation_p_values


@dataclass(frozen=True)
class EccentricityAgreement:
    """Rank correlation of attended with measured eccentricity over queries.

    Attributes
    ----------
    rho, lower, upper : float
        Spearman's correlation and its bootstrap interval over queries.
    p_value : float
        Two-sided, by permuting queries.
    n_queries : int
    """

    rho: float
    lower: float
    upper: float
    p_value: float
    n_queries: int


def compare_eccentricity(
    attended_deg: ArrayLike,
    measured_deg: ArrayLike,
    n_bootstrap: int = 2000,
    n_permutations: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> EccentricityAgreement:
    """Ask whether queries attend where their voxels or ROIs are known to look.

    Parameters
    ----------
    attended_deg : (n_queries,) array
        Attended eccentricity, e.g. the mean over images of `mean_eccentricity_deg`.
    measured_deg : (n_queries,) array
        Eccentricity of the voxels or ROIs from population receptive fields. Queries with NaN are left out.
    n_bootstrap, n_permutations, seed : int
    confidence : float
        Nominal coverage of the interval.

    Returns
    -------
    EccentricityAgreement

    Raises
    ------
    ValueError
        Shapes differ, fewer than 4 queries are known in both, or all are the same.

    Notes
    -----
    Queries count as independent. Neighbouring voxels are not: give one query a parcel or ROI, or read the interval as
    too narrow.

    References
    ----------
    Spearman 1904, American Journal of Psychology 15, 72-101.
    """
    attended, measured = (np.asarray(v, dtype=np.float64) for v in (attended_deg, measured_deg))
    if attended.shape != measured.shape or attended.ndim != 1:
        raise ValueError(
            f"attended_deg has shape {attended.shape} and measured_deg {measured.shape}; both are (n_queries,)"
        )
    known = np.isfinite(attended) & np.isfinite(measured)
    attended, measured = attended[known], measured[known]
    if len(attended) < 4 or np.ptp(attended) == 0 or np.ptp(measured) == 0:
        raise ValueError(
            f"{len(attended)} queries have both eccentricities; at least 4 are needed, and they must differ"
        )
    rho = float(spearmanr(attended, measured)[0])
    rng = np.random.default_rng(seed)
    ranks = rankdata(attended)
    null = np.array(
        [np.corrcoef(rng.permutation(ranks), rankdata(measured))[0, 1] for _ in range(n_permutations)]
    )
    draws = rng.integers(0, len(attended), (n_bootstrap, len(attended)))
    a, m = rankdata(attended[draws], axis=1), rankdata(measured[draws], axis=1)
    a, m = a - a.mean(axis=1, keepdims=True), m - m.mean(axis=1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=1) * (m**2).sum(axis=1))
    sampled = np.divide((a * m).sum(axis=1), norm, out=np.full(len(norm), np.nan), where=norm > 0)
    lower, upper = np.nanquantile(sampled, (0.5 - confidence / 2, 0.5 + confidence / 2))
    p_value = float(permutation_p_values(abs(rho), np.abs(null)))
    return EccentricityAgreement(rho, float(lower), float(upper), p_value, len(attended))
