"""A paragraph of methods that holds for the run it describes."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyses.experiments.config import TRAINED, EncodingConfig
from analyses.report.reading import (
    ENSEMBLE,
    SELECTED,
    ceiling_rule,
    ceiling_source,
    evaluation_unit,
    fitted_layers,
    kept,
    layer_names,
    n_shared,
    neuroids,
    used_reductions,
)
from encoders.estimators.ridge import RELATIVE_ALPHAS
from encoders.reductions import make_reduction
from stimuli.files import count_of


def methods_text(results: xr.Dataset, config: EncodingConfig, versions: dict[str, str]) -> str:
    """Describe data, features, fit, scores and statistics of a run, as a paper would.

    Parameters
    ----------
    results : xarray.Dataset
        The `results.nc` of the run.
    config : EncodingConfig
        Its `config.json`.
    versions : dict of str to str
        Versions of the software, by package.

    Returns
    -------
    str
        One paragraph.
    """
    sentences = [
        _data(results, config),
        _features(results, config),
        _fit(results, config),
        _scores(results),
        _statistics(results),
        _software(versions),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _data(results: xr.Dataset, config: EncodingConfig) -> str:
    attrs = results.attrs
    source = f" ({attrs['citation']})" if attrs.get("citation") else ""
    rows = {
        "time_series": "volumes",
        "trials": "single trials",
        "averages": "responses averaged over repeats",
        "blocks": "averages over blocks",
    }
    text = (
        f"Responses of {kept(results).sum():,} {neuroids(results)[1]} of subject {attrs.get('subject', '?')} in "
        f"{attrs.get('title', config.dataset)}{source} were analysed"
    )
    if "n_samples" in attrs:
        text += f" ({int(attrs['n_samples']):,} {rows.get(str(attrs.get('kind')), 'rows')})"
    if attrs.get("kind") in ("time_series", "blocks"):
        order = {0: "centred", 1: "linearly detrended"}.get(
            config.detrend_order, f"detrended by a polynomial of order {config.detrend_order}"
        )
        text += (
            f"; each run was {order} and z-scored by its own mean and standard deviation, without regard to "
            "stimuli"
        )
    if attrs.get("kind") == "blocks":
        text += (
            f", and averaged over the volumes of each block, {config.block_lag_volumes} volumes later to allow for the "
            "haemodynamic delay"
        )
    return f"{text}."


def _features(results: xr.Dataset, config: EncodingConfig) -> str:
    layers = fitted_layers(results)
    text = f"Features came from {_listed(layers)}"
    spaces_of: dict[str, list[str]] = {}
    for name, how in used_reductions(results, config).items():
        spaces_of.setdefault(how, []).append(name)
    if spaces_of:
        rows = [f"{_reduction_in_words(how)} ({_listed(names)})" for how, names in spaces_of.items()]
        text += f", made one row a stimulus by {_listed(rows)}"
    if results.attrs.get("kind") == "time_series":
        delays = list(config.delays_volumes)
        text += (
            f", and entered as a finite impulse response at delays of {_listed([str(d) for d in delays])} "
            "volumes"
        )
        if "tr_s" in results.attrs:
            tr_s = float(results.attrs["tr_s"])
            text += f" ({min(delays) * tr_s:g} to {max(delays) * tr_s:g} s)"
    if config.scale_features:
        text += ", standardised by the mean and standard deviation of the training fold"
    return f"{text}."


_REDUCTIONS = {
    "none": "taking them as they are",
    "flatten": "flattening",
    "mean": "the mean over tokens or over the positions of a map",
    "cls": "taking the first token",
    "last": "taking the last token",
    "tokens": "taking all tokens",
    "grid": "averaging maps to a grid of {size} x {size}",
    "projection": "a sparse random projection to {n_components} components of seed {seed}, where they had more"
    " (Li, Hastie & Church 2006)",
}


def _reduction_in_words(how: str) -> str:
    settings = make_reduction(how).describe()
    return _REDUCTIONS[settings["name"]].format(**settings)


def _fit(results: xr.Dataset, config: EncodingConfig) -> str:
    one, _ = neuroids(results)
    text = _trained(results, config) if config.encoder in TRAINED else _ridge(results, config)
    if config.split == "published":
        text += " Models were fitted on all stimuli outside the published test set and scored on that set."
    else:
        folds = results.attrs.get("n_folds", results.sizes.get("fold", "?"))
        grouping = str(results.attrs.get("grouping", ""))
        if grouping.startswith("samples alone"):
            whole = f" of {grouping.replace('samples alone', 'single samples')}"
        else:
            whole = f"; never divided between training and test: {grouping}" if grouping else ""
        text += f" Predictions were held out in {folds} outer folds{whole}."
    if n := n_shared(results):
        shown = f"{count_of(n, 'stimulus', 'stimuli')} {'was' if n == 1 else 'were'} shown"
        text += (
            f" In training and test runs alike {shown}: scores generalise to new runs of the same stimuli, not to new"
            " stimuli."
            if results.attrs.get("kind") == "time_series"
            else f" In training and test alike {shown}: scores measure memory for these very stimuli, not prediction of"
            " new ones."
        )
    if ENSEMBLE in layer_names(results):
        text += (
            f" The layers were also averaged {one} by {one}, weighted by a softmax of 40 times their inner scores in "
            "each training set."
        )
    if SELECTED in layer_names(results):
        text += f" A layer was also chosen per {one} inside each training set, by the best inner score."
    return text


def _ridge(results: xr.Dataset, config: EncodingConfig) -> str:
    one, _ = neuroids(results)
    grid = config.alphas
    if grid is not None and len(grid) == 1:
        penalty = f"a fixed penalty of {grid[0]:g}"
    else:
        offered = (
            _relative_grid(results)
            if grid is None
            else f"{len(grid)} values from {min(grid):g} to {max(grid):g}"
        )
        penalty = (
            f"a penalty per {one} chosen among {offered} by {config.inner_folds}-fold cross-validation inside each "
            "training set"
        )
    if config.encoder == "banded":
        return (
            f"Responses were predicted by banded ridge regression (Nunez-Elizalde, Huth & Gallant 2019) on all of "
            f"these at once, a band each, with {penalty}, and with it the relative weight of each band, drawn at "
            f"random (seed {config.seed})."
        )
    return f"Responses were predicted by ridge regression with {penalty}."


_TRAINED = {
    "spatial": "by a map over positions times a feature vector (a factorised readout)",
    "attention": "by cross-attention: learned queries read the tokens, and each {one} is a linear function of what its"
    " query gathered (Adeli, Sun & Kriegeskorte 2025)",
    "probe": "by a learned pooling of the tokens, of which each {one} is a linear function",
}


def _trained(results: xr.Dataset, config: EncodingConfig) -> str:
    one, _ = neuroids(results)
    text = f"Responses were predicted {_TRAINED[config.encoder].format(one=one)}"
    if config.encoder != "probe":
        text += f" (queries: {results.attrs.get('queries', config.queries)})"
    settings = results.attrs.get("training", "")
    text += ", trained by AdamW with early stopping on rows held out of the training set"
    options = ", ".join(f"{name} {value}" for name, value in config.encoder_options.items())
    text += f"; {options}" if options else ""
    return f"{text} ({settings})." if settings else f"{text}."


def _relative_grid(results: xr.Dataset) -> str:
    """Say which penalties were on offer where they follow the features of each training set."""
    low, high = RELATIVE_ALPHAS[[0, -1]]
    text = (
        f"{len(RELATIVE_ALPHAS)} values from {low:g} to {high:g} times the mean non-zero eigenvalue of the training "
        "features' scatter matrix"
    )
    grid = results["alpha_grid"].values if "alpha_grid" in results else np.empty(0)
    if np.isfinite(grid).any():
        text += f" (in this run {np.nanmin(grid):.2g} to {np.nanmax(grid):.2g})"
    return text


def _scores(results: xr.Dataset) -> str:
    text = (
        "The score is the Pearson correlation of measured and held-out predicted responses, pooled over "
        "folds."
    )
    if "r_within" in results:
        text += (
            f" It was also taken within each {results.attrs.get('within', 'group')} and averaged over these."
        )
    unit = evaluation_unit(results)
    source = ceiling_source(results)
    if "noise_ceiling_r" in results and np.isfinite(results["noise_ceiling_r"].values).any():
        text += f" The noise ceiling belongs to {unit or 'the unit that repeats'}"
        text += f" ({source})" if source else ""
        text += f"; normalised scores divide the correlation on that unit by it, for {neuroids(results)[1]} with a "
        text += f"{ceiling_rule(results)}."
    return text


def _statistics(results: xr.Dataset) -> str:
    attrs = results.attrs
    _, many = neuroids(results)
    text = ""
    if "null_mean_r" in results:
        how = (
            "the whole procedure was repeated"
            if attrs.get("null") == "refit"
            else "held-out predictions were compared with responses again"
        )
        text = (
            f"For the null, {attrs.get('null_units', 'stimuli')} were permuted "
            f"{results.sizes['permutation']:,} times and {how} each time; p-values are one-sided and count "
            f"the observed arrangement (Phipson & Smyth 2010). They were corrected over {many} by the false "
            f"discovery rate (Benjamini & Hochberg 1995) and, more strictly, by the maximum over {many} "
            "(Nichols & Holmes 2002)."
        )
    if "roi_r_lower" in results:
        draws = f" ({int(attrs['n_bootstrap']):,} draws)" if "n_bootstrap" in attrs else ""
        unit = "whole blocks" if attrs.get("kind") == "time_series" else "whole stimuli"
        text += f" Intervals are 95% bootstrap intervals that resample {unit}{draws}."
    return text.strip()


def _software(versions: dict[str, str]) -> str:
    named = [
        f"{name} {versions[name]}"
        for name in ("cogmodels", "torch", "scikit-learn", "numpy")
        if name in versions
    ]
    return f"Software: {_listed(named)}." if named else ""


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"
