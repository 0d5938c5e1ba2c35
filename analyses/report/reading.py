"""What the figures and the words both read off a run's results, so that they cannot disagree."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import xarray as xr

from analyses.experiments.config import EncodingConfig

#: Significance level of every statement in the report.
ALPHA = 0.05
SELECTED = "selected"
ENSEMBLE = "ensemble"


def require(results: xr.Dataset, *names: str) -> None:
    """Raise a ValueError when the dataset lacks variables that a figure draws."""
    missing = [name for name in names if name not in results.variables]
    if missing:
        raise ValueError(
            f"the data set lacks {', '.join(missing)}, which this shows (it holds "
            f"{', '.join(sorted(map(str, results.variables)))}): open the file of a finished run that "
            "computed them."
        )


def fitted_layers(results: xr.Dataset) -> list[str]:
    """Name the layers that were fitted, without what was made of several of them."""
    return [name for name in layer_names(results) if name not in (SELECTED, ENSEMBLE)]


def layer_names(results: xr.Dataset) -> list[str]:
    """Return the labels of the layer dimension."""
    require(results, "layer")
    return [str(name) for name in results["layer"].values]


def roi_names(results: xr.Dataset) -> list[str]:
    """Return the labels of the roi dimension; empty where there is none."""
    return [str(name) for name in results["roi"].values] if "roi" in results.coords else []


def kept(results: xr.Dataset) -> np.ndarray:
    """Return which voxels were fitted, bool of shape (n_neuroids,)."""
    if "excluded" in results:
        return np.asarray(results["excluded"].values).astype(str) == ""
    return np.isfinite(results["r"].values).any(axis=results["r"].get_axis_num("layer"))


def neuroids(results: xr.Dataset) -> tuple[str, str]:
    """Return what one column of the responses is called, and several: ``("voxel", "voxels")`` where unknown."""
    many = str(results.attrs.get("neuroids", "voxels"))
    return "vertex" if many == "vertices" else many.removesuffix("s"), many


def headline_layer(results: xr.Dataset) -> str:
    """Return the layer that the report speaks of first.

    Where layers were chosen inside the training folds that is ``selected``, whose score is free of the
    choice; otherwise it is the layer with the highest mean held-out r, chosen after the fact.
    """
    names = layer_names(results)
    if SELECTED in names or len(names) == 1:
        return SELECTED if SELECTED in names else names[0]
    require(results, "r")
    means = np.array([mean_finite(at_layer(results, "r", name)) for name in names])
    return names[int(np.nanargmax(means))] if np.isfinite(means).any() else names[0]


def at_layer(results: xr.Dataset, variable: str, layer: str) -> np.ndarray:
    """Return one layer of a variable over the kept voxels, float of shape (n_kept,)."""
    row = layer_names(results).index(layer)
    return np.asarray(results[variable].transpose("layer", "neuroid").values[row], dtype=float)[kept(results)]


def significant(results: xr.Dataset, layer: str) -> np.ndarray | None:
    """Return which kept voxels have q <= 0.05 at a layer, or None where no null was computed."""
    if "q_value" not in results:
        return None
    q = at_layer(results, "q_value", layer)
    return None if not np.isfinite(q).any() else q <= ALPHA


def mean_finite(values: np.ndarray) -> float:
    """Return the mean of the finite entries, NaN where there are none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")


def null_means(results: xr.Dataset, layer: str) -> np.ndarray:
    """Return the mean r over voxels under each permutation, shape (n_permutations,); empty without a null."""
    if "null_mean_r" not in results:
        return np.empty(0)
    row = layer_names(results).index(layer)
    draws = np.asarray(results["null_mean_r"].transpose("layer", ...).values[row], dtype=float).ravel()
    return draws[np.isfinite(draws)]


def p_of_mean(results: xr.Dataset, layer: str) -> float:
    """Return the one-sided permutation p of the mean r over voxels, NaN without a null.

    Counts the observed arrangement among the draws: (b + 1) / (m + 1), Phipson & Smyth (2010).
    """
    draws = null_means(results, layer)
    if not draws.size:
        return float("nan")
    observed = mean_finite(at_layer(results, "r", layer))
    return float((np.sum(draws >= observed) + 1) / (draws.size + 1))


def p_of_headline(results: xr.Dataset) -> float:
    """Return the permutation p of the headline layer's mean r, NaN without a null.

    Where the best of several layers was picked by this very score, it is compared with the best layer under
    each permutation (the same permutations serve all layers), so that the picking is in the null too.
    """
    layer, names = headline_layer(results), layer_names(results)
    if layer == SELECTED or len(names) == 1 or not null_means(results, layer).size:
        return p_of_mean(results, layer)
    draws = np.nanmax(
        np.asarray(results["null_mean_r"].transpose("layer", ...).values, dtype=float), axis=0
    ).ravel()
    observed = mean_finite(at_layer(results, "r", layer))
    return float((np.sum(draws >= observed) + 1) / (draws.size + 1))


def without_ratio(results: xr.Dataset) -> np.ndarray:
    """Return which voxels have a score and a ceiling but no ratio of the two, bool of shape (n_neuroids,)."""
    if not {"r_evaluated", "r_normalized", "noise_ceiling_r"} <= set(results.variables):
        return np.zeros(results.sizes["neuroid"], dtype=bool)
    scored = np.isfinite(results["r_evaluated"].transpose("layer", "neuroid").values)
    divided = np.isfinite(results["r_normalized"].transpose("layer", "neuroid").values)
    return np.asarray((scored & ~divided).any(axis=0) & np.isfinite(results["noise_ceiling_r"].values))


def low_ceiling(results: xr.Dataset) -> float:
    """Return the highest ceiling up to which no voxel has a ratio, NaN where there is none."""
    without = without_ratio(results)
    if not without.any():
        return float("nan")
    ceiling = np.asarray(results["noise_ceiling_r"].values, dtype=float)
    divided = np.isfinite(results["r_normalized"].values).any(
        axis=results["r_normalized"].get_axis_num("layer")
    )
    low = ceiling[without & (ceiling < np.min(ceiling[divided], initial=np.inf))]
    return float(low.max(initial=-np.inf)) if low.size else float("nan")


def evaluation_unit(results: xr.Dataset) -> str:
    """Return in words the unit that `r_evaluated` and the ceiling belong to."""
    unit = str(results.attrs.get("evaluation_unit", ""))
    return {
        "block": "block averages",
        "stimulus average": "stimulus averages",
        "sample": "single samples",
    }.get(unit, unit)


def ceiling_source(results: xr.Dataset) -> str:
    """Return in words how the ceiling was found, or why it is unknown."""
    return str(results.attrs.get("ceiling_source", "")).removeprefix("unknown: ")


def ceiling_rule(results: xr.Dataset) -> str:
    """Return in words which voxels have a ratio to their ceiling."""
    return str(results.attrs.get("ceiling_rule", "ceiling that is high enough to divide by"))


def used_reductions(results: xr.Dataset, config: EncodingConfig) -> dict[str, str]:
    """Return how each space's layers were reduced, by its name: what the run recorded, else what was asked for."""
    if "reductions" in results.attrs:
        return dict(json.loads(results.attrs["reductions"]))
    return {space.name: space.reduction for space in config.spaces if space.reduction}


def n_shared(results: xr.Dataset) -> int:
    """Return how many stimuli stand in both training and test of some fold."""
    return int(results.attrs.get("shared_stimuli", 0))


def layer_table(results: xr.Dataset) -> pd.DataFrame:
    """Summarise each layer over the kept voxels.

    Parameters
    ----------
    results : xarray.Dataset
        The `results.nc` of a run.

    Returns
    -------
    pandas.DataFrame
        One row a layer; columns ``mean_r``, ``median_r``, ``r_95`` (95th percentile over voxels), ``null_95``
        (95th percentile of the permuted mean), ``p``, ``share_fdr`` and ``share_max`` (voxels at 0.05),
        ``mean_within``, ``mean_evaluated``, ``mean_normalized`` and ``n_normalized`` (voxels that have a ratio). NaN
        where unknown.

    Raises
    ------
    ValueError
        If `results` has no ``r``.
    """
    require(results, "r")
    rows = []
    for layer in layer_names(results):
        r = at_layer(results, "r", layer)
        finite = r[np.isfinite(r)]
        draws = null_means(results, layer)
        normalized = at_layer(results, "r_normalized", layer) if "r_normalized" in results else np.empty(0)
        rows.append(
            {
                "mean_r": mean_finite(r),
                "median_r": float(np.median(finite)) if finite.size else np.nan,
                "r_95": float(np.percentile(finite, 95)) if finite.size else np.nan,
                "null_95": float(np.percentile(draws, 95)) if draws.size else np.nan,
                "p": p_of_mean(results, layer),
                "share_fdr": _share_below(results, "q_value", layer),
                "share_max": _share_below(results, "p_value_max", layer),
                "mean_within": mean_finite(at_layer(results, "r_within", layer))
                if "r_within" in results
                else np.nan,
                "mean_evaluated": mean_finite(at_layer(results, "r_evaluated", layer))
                if "r_evaluated" in results
                else np.nan,
                "mean_normalized": mean_finite(normalized),
                "n_normalized": int(np.isfinite(normalized).sum()),
            }
        )
    return pd.DataFrame(rows, index=pd.Index(layer_names(results), name="layer"))


def _share_below(results: xr.Dataset, variable: str, layer: str) -> float:
    if variable not in results:
        return float("nan")
    values = at_layer(results, variable, layer)
    values = values[np.isfinite(values)]
    return float((values <= ALPHA).mean()) if values.size else float("nan")


def roi_table(results: xr.Dataset, layer: str | None = None) -> pd.DataFrame:
    """Summarise each region at one layer.

    Parameters
    ----------
    results : xarray.Dataset
        The `results.nc` of a run.
    layer : str, optional
        The headline layer when None.

    Returns
    -------
    pandas.DataFrame
        One row a region; columns ``n_voxels`` (kept), ``mean_r``, ``lower``, ``upper``, ``mean_evaluated``,
        ``ceiling``, ``share_fdr``, ``mean_normalized``. Empty without regions.
    """
    columns = [
        "n_voxels",
        "mean_r",
        "lower",
        "upper",
        "mean_evaluated",
        "ceiling",
        "share_fdr",
        "mean_normalized",
    ]
    index = pd.Index(roi_names(results), name="roi")
    if not len(index) or "roi_r" not in results:
        return pd.DataFrame(columns=columns, index=index[:0])
    layer = layer or headline_layer(results)
    row = layer_names(results).index(layer)
    table = pd.DataFrame(np.nan, index=index, columns=columns)
    for column, variable in (("mean_r", "roi_r"), ("lower", "roi_r_lower"), ("upper", "roi_r_upper")):
        if variable in results:
            table[column] = results[variable].transpose("layer", "roi").values[row]
    if "roi_r_ceiling" in results:
        table["ceiling"] = results["roi_r_ceiling"].values
    if "roi_mask" in results:
        masks = results["roi_mask"].transpose("roi", "neuroid").values.astype(bool)[:, kept(results)]
        table["n_voxels"] = masks.sum(axis=1)
        passed = significant(results, layer)
        per_voxel: dict[str, np.ndarray] = {} if passed is None else {"share_fdr": passed.astype(float)}
        for column, variable in (("mean_evaluated", "r_evaluated"), ("mean_normalized", "r_normalized")):
            if variable in results:
                per_voxel[column] = at_layer(results, variable, layer)
        for column, values in per_voxel.items():
            table[column] = [mean_finite(values[mask]) for mask in masks]
    return table


def whole_interval(results: xr.Dataset, layer: str) -> tuple[float, float]:
    """Return the bootstrap interval of the mean r over all kept voxels; NaN where no region holds them "
    "all."""
    if "roi_mask" in results:
        table = roi_table(results, layer)
        masks = results["roi_mask"].transpose("roi", "neuroid").values.astype(bool)[:, kept(results)]
        for whole, lower, upper in zip(masks.all(axis=1), table["lower"], table["upper"], strict=True):
            if whole:
                return float(lower), float(upper)
    return float("nan"), float("nan")


def exclusions(results: xr.Dataset) -> pd.Series:
    """Count excluded voxels by reason, most frequent first; empty where all were kept."""
    if "excluded" not in results:
        return pd.Series(dtype=int)
    reasons = pd.Series(np.asarray(results["excluded"].values).astype(str))
    return reasons[reasons != ""].value_counts()
