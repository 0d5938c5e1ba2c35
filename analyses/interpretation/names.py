"""Names of queries and regions, for tables."""

import numpy as np
from numpy.typing import ArrayLike

from stimuli.files import count_of


def check_names(names: ArrayLike | None, n_names: int, kind: str) -> np.ndarray:
    """Return one different name each as an array of str, numbers from 0 where none are given.

    Raises
    ------
    ValueError
        Another number of names, or one stands twice.
    """
    if names is None:
        return np.array([f"{kind} {number}" for number in range(n_names)])
    labels = np.asarray(names).astype(str)
    if labels.shape != (n_names,):
        raise ValueError(
            f"{kind}_names has shape {labels.shape} for {count_of(n_names, kind, f'{kind}s')}; one name each is needed"
        )
    unique, counts = np.unique(labels, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{kind}_names has {unique[counts > 1][0]!r} more than once; each needs a name of its own"
        )
    return labels
