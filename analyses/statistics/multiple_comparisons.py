"""Correction of p-values for many voxels."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


def fdr(p_values: ArrayLike, method: Literal["bh", "by"] = "bh") -> NDArray[np.float64]:
    """Adjust p-values so that rejecting ``q <= rate`` keeps the expected share of false discoveries at
    `rate`.

    Parameters
    ----------
    p_values : array of any shape
        Uncorrected p-values; NaN is left out and not counted.
    method : {"bh", "by"}
        Benjamini-Hochberg (tests independent or positively dependent, as voxels mostly are) or
        Benjamini-Yekutieli (any dependence; stricter by about the logarithm of the number of tests).

    Returns
    -------
    array in the shape of `p_values`
        q-values: for each test the smallest false discovery rate at which it would be rejected; NaN where p
        is NaN.

    Raises
    ------
    ValueError
        A p-value is outside [0, 1] or the method is unknown.

    References
    ----------
    Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001; computed by statsmodels' `multipletests`.
    """
    from statsmodels.stats.multitest import multipletests

    if method not in ("bh", "by"):
        raise ValueError(f"method is {method!r}; allowed: 'bh', 'by'")
    p = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p)
    if not ((p[known] >= 0) & (p[known] <= 1)).all():
        raise ValueError(f"p_values range from {np.nanmin(p):g} to {np.nanmax(p):g}; they lie within [0, 1]")
    q_values = np.full(p.shape, np.nan)
    if known.any():
        q_values[known] = multipletests(p[known], method=f"fdr_{method}")[1]
    return q_values
