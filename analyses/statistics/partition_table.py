"""Divided variance as a table by ROI, with bootstrap intervals, sign-flip tests and a null."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analyses.statistics.bootstrap import bootstrap_interval, check_rois, mean_by_roi
from analyses.statistics.comparison import draw_signs, sign_flip_p_values
from analyses.statistics.multiple_comparisons import fdr
from analyses.statistics.permutation import permutation_p_values
from analyses.statistics.variance_partition import Part

FloatArray = NDArray[np.float64]
OnDraws = Callable[[FloatArray, slice], FloatArray]
"""Takes counts (n_draws, n_units) of units and some voxels, and returns (n_draws, n_voxels)."""
Measure = Literal["product measure", "commonality"]

TOTAL = "total"
"""Row of the R2 that is divided."""


@dataclass(frozen=True)
class VariancePartition:
    """Held-out R2 divided over feature spaces, a voxel and a ROI.

    Attributes
    ----------
    measure : {"product measure", "commonality"}
        How it was divided.
    spaces : tuple of str
        Names of the feature spaces (bands).
    parts : tuple of tuple of str
        What it was divided into: the spaces that share a part. The product measure has one part a space.
    shares : (n_parts, n_voxels) array
        R2 of each part; they sum to `r2`.
    r2 : (n_voxels,) array
        R2 of the model of all spaces. NaN where the responses are constant.
    table : DataFrame
        Rows ``(roi, part)``, the last part of a ROI is ``"total"``: ``estimate``, the mean over voxels; ``lower`` and
        ``upper`` of its bootstrap interval over units; ``p_value``, two-sided, by flipping the sign of units'
        contributions, and ``q_value`` (false discovery rate over parts and ROIs, over ROIs for the total). With a
        null also ``null_mean``, ``null_95`` (95th percentile), ``p_value_null`` (one-sided) and ``q_value_null``.
    evidence : DataFrame
        Rows ``(roi, model)`` with ``estimate``, ``lower`` and ``upper``, by which `explain_negative_shares` judges.
        Commonality: R2 of the model of each subset. Product measure: R2 that the sum loses when the band's prediction
        is left out of it, without fitting again.
    n_units, n_permutations : int
        Units that were drawn, and ways of flipping their signs.
    confidence : float
        Nominal coverage of the intervals.
    """

    measure: Measure
    spaces: Part
    parts: tuple[Part, ...]
    shares: FloatArray
    r2: FloatArray
    table: pd.DataFrame
    evidence: pd.DataFrame
    n_units: int
    n_permutations: int
    confidence: float


@dataclass(frozen=True)
class Settings:
    """Draws of units and signs, nominal coverage and seed."""

    n_bootstrap: int
    n_permutations: int
    confidence: float
    seed: int


def part_name(part: Part) -> str:
    """Write a part, or the model of a subset, in one word: ``"A"``, ``"A + B"``."""
    return " + ".join(part)


def tabulate(
    measure: Measure,
    spaces: Part,
    parts: tuple[Part, ...],
    shares: FloatArray,
    r2: FloatArray,
    rois: Mapping[str, ArrayLike] | None,
    *,
    quantities: Sequence[OnDraws],
    part_weights: FloatArray,
    evidence_weights: FloatArray,
    evidence_names: Part,
    terms: Sequence[FloatArray],
    squares: FloatArray,
    null: ArrayLike | None,
    settings: Settings,
) -> VariancePartition:
    """Average over ROIs, draw units, flip signs.

    `quantities` are what draws are computed from, `part_weights` and `evidence_weights` make the rows of both tables
    of them. `terms` (n_units, n_voxels) each, over `squares` (n_voxels,), are the contributions of units to the first
    quantities: they sum to them.
    """
    masks = check_rois(rois, r2.size)
    weights = np.vstack([part_weights, evidence_weights])
    n_rois, n_rows = len(masks), len(part_weights)

    def statistic(counts: FloatArray) -> FloatArray:
        means = np.stack([mean_by_roi(quantity, counts, masks) for quantity in quantities])
        return np.einsum("rq,qdm->dmr", weights, means).reshape(len(counts), -1)

    interval = bootstrap_interval(
        statistic,
        len(terms[0]),
        n_bootstrap=settings.n_bootstrap,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    ends = {
        name: getattr(interval, name).reshape(n_rois, len(weights)) for name in ("estimate", "lower", "upper")
    }
    labels = [*map(part_name, parts), TOTAL]
    table = _frame({name: values[:, :n_rows] for name, values in ends.items()}, masks, labels, "part")
    signs = draw_signs(len(terms[0]), settings.n_permutations, np.random.default_rng(settings.seed))
    by_roi = np.stack(
        [[_mean_over(term / squares, mask) for mask in masks.values()] for term in terms]
    )  # (n_terms, n_rois, n_units)
    contributions = np.einsum("rt,tmu->umr", part_weights[:, : len(terms)], by_roi)
    table["p_value"], _ = sign_flip_p_values(contributions.reshape(len(contributions), -1), signs)
    table["q_value"] = _fdr(table["p_value"])
    if null is not None:
        table = table.join(_against_null(table["estimate"], null, shares.shape, masks))
    evidence = _frame(
        {name: values[:, n_rows:] for name, values in ends.items()}, masks, evidence_names, "model"
    )
    return VariancePartition(
        measure,
        spaces,
        parts,
        shares,
        r2,
        table,
        evidence,
        interval.n_units,
        len(signs),
        settings.confidence,
    )


def _against_null(
    estimate: pd.Series, null: ArrayLike, shape: tuple[int, ...], masks: Mapping[str, NDArray[np.bool_]]
) -> pd.DataFrame:
    draws = np.asarray(null, dtype=np.float64)
    if draws.ndim != 3 or draws.shape[1:] != shape or not len(draws):
        raise ValueError(
            f"null has shape {draws.shape}; (n_permutations, n_parts, n_voxels) = (..., {shape[0]}, {shape[1]}) is"
            " needed"
        )
    draws = np.concatenate([draws, draws.sum(axis=1, keepdims=True)], axis=1)
    by_row = np.stack([_mean_over(draws, mask) for mask in masks.values()], axis=1)
    flat = by_row.reshape(len(draws), -1)
    p_values = permutation_p_values(estimate.to_numpy(), flat)
    columns = {
        "null_mean": flat.mean(axis=0),
        "null_95": np.quantile(flat, 0.95, axis=0),
        "p_value_null": p_values,
    }
    frame = pd.DataFrame(columns, index=estimate.index)
    frame["q_value_null"] = _fdr(frame["p_value_null"])
    return frame


def _fdr(p_values: pd.Series) -> FloatArray:
    """Correct over parts and ROIs, and the totals, which are another question, over ROIs."""
    totals = p_values.index.get_level_values("part") == TOTAL
    q_values = np.empty(len(p_values))
    for rows in (totals, ~totals):
        q_values[rows] = fdr(p_values.to_numpy()[rows])
    return q_values


def _frame(
    columns: Mapping[str, FloatArray], masks: Mapping[str, object], labels: Sequence[str], level: str
) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([list(masks), labels], names=["roi", level])
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)


def _mean_over(values: FloatArray, mask: NDArray[np.bool_]) -> FloatArray:
    """Average over the voxels of a ROI that have values; NaN where there are none."""
    inside = values[..., mask]
    known = np.isfinite(inside).all(axis=tuple(range(inside.ndim - 1)))
    return inside[..., known].mean(axis=-1) if known.any() else np.full(inside.shape[:-1], np.nan)
