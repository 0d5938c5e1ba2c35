"""Which rows stop which member."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.folds import Folds, make_folds
from encoders.training.settings import Training
from stimuli.files import count_of


def member_folds(n_samples: int, groups: Any, training: Training) -> Folds:
    """Return the (train, validation) rows of each member; groups stay whole.

    One member: whole groups are drawn by seed until `validation_fraction` of the rows is reached as nearly as
    groups allow. K members: the K seeded folds, each held out once.

    Raises
    ------
    ValueError
        If there are too few rows or groups.
    """
    labels = np.arange(n_samples) if groups is None else np.asarray(groups)
    if labels.shape != (n_samples,):
        raise ValueError(f"groups has shape {labels.shape}; one label for each of {n_samples} rows is needed")
    unique, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    what = "group" if groups is not None else "row"
    needed = max(2, training.n_members)
    if len(unique) < needed:
        raise ValueError(
            f"there {'is' if len(unique) == 1 else 'are'} {count_of(len(unique), what)}, but {needed} are needed to "
            f"train on some and stop by others (n_members={training.n_members}): pass more rows or finer groups, or "
            "lower n_members"
        )
    if training.n_members > 1:
        return make_folds(n_samples, training.n_members, groups, shuffle=True, seed=training.seed)
    held_out = _draw_groups(sizes, training.validation_fraction * n_samples, training.seed)
    is_validation = np.isin(codes, held_out)
    return [(np.flatnonzero(~is_validation), np.flatnonzero(is_validation))]


def _draw_groups(sizes: NDArray[np.intp], wanted: float, seed: int) -> NDArray[np.intp]:
    """Return groups, in random order, each taken if it brings the number of rows nearer to what is wanted."""
    order = np.random.default_rng(seed).permutation(len(sizes))
    chosen: list[int] = []
    n_rows = 0
    for group in order.tolist():
        nearer = abs(n_rows + sizes[group] - wanted) < abs(n_rows - wanted)
        if nearer and len(chosen) < len(sizes) - 1:
            chosen.append(group)
            n_rows += int(sizes[group])
    # groups that are all far too large: the smallest does least harm
    return np.array(chosen or [int(order[np.argmin(sizes[order])])])
