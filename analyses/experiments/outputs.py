"""What a run leaves beside its numbers: the encoder fitted to everything, and maps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from analyses.brain_maps import write_brain_map
from analyses.datasets import Dataset
from analyses.experiments.attention_summary import summarize_attention
from analyses.experiments.design import Design
from analyses.experiments.encoding_models import join_bands
from analyses.experiments.fitting import SpaceFeatures
from encoders import BandedRidgeEncoder, ImagePreprocess, TextPreprocess, save_encoder
from encoders.cross_validation import LayerCrossValidation
from encoders.tokens import TokenSource


def write_encoder(
    out: Path, features: SpaceFeatures, design: Design, encoder: Any, fitted: LayerCrossValidation
) -> tuple[Any, str]:
    """Fit the layer with the best inner score (all layers, for a banded encoder) to all samples, and save it.

    Returns
    -------
    encoder : estimator
        The fitted encoder, which `cogmodels predict` will use.
    label : str
        Label of its layer; of a banded encoder, that of the first band.
    """
    if isinstance(encoder, BandedRidgeEncoder):
        labels = features.labels
        encoder, X = join_bands(encoder, {label: design.matrix(features.rows[label]) for label in labels})
    else:
        labels = [best_layer(fitted)]
        X = design.matrix(features.rows[labels[0]])
    whole = clone(encoder).fit(X, design.Y, groups=design.groups)
    shutil.rmtree(out / "encoder", ignore_errors=True)  # what is left of a damaged one
    save_encoder(
        whole,
        out / "encoder",
        metadata={
            "parts": [_describe_part(features, label) for label in labels],
            "delays_volumes": None if design.delays_volumes is None else list(design.delays_volumes),
        },
    )
    return whole, labels[0]


def write_attention(out: Path, features: SpaceFeatures, dataset: Dataset, encoder: Any, label: str) -> None:
    """Keep what a trained encoder attends to, over all stimuli and over a few of them."""
    tokens = features.rows[label]
    if not isinstance(tokens, TokenSource) or tokens.shape[1] < 2:
        return  # a single token leaves nothing to attend to
    backbone = features.backbones.get(features.sources[label][0].name)
    preprocess = None if backbone is None else backbone.preprocess
    summarize_attention(
        encoder,
        tokens,
        dataset.stimuli,
        getattr(encoder, "query_names", None),
        label,
        out,
        preprocess=preprocess if isinstance(preprocess, ImagePreprocess | TextPreprocess) else None,
    )


def best_layer(fitted: LayerCrossValidation) -> str:
    """Name the layer with the best mean inner score."""
    known = [scores[np.isfinite(scores)] for scores in fitted.inner_scores]
    means = np.array([scores.mean() if scores.size else -np.inf for scores in known])
    return fitted.layers[int(means.argmax())]


def _describe_part(features: SpaceFeatures, label: str) -> dict[str, Any]:
    space, layer = features.sources[label]
    backbone = features.backbones.get(space.name)
    return {
        "label": label,
        "space": space.model_dump(mode="json"),
        "layer": layer,
        "fingerprint": None if backbone is None else backbone.fingerprint,
    }


def write_maps(out: Path, dataset: Dataset, results: xr.Dataset) -> None:
    """Write scores of the headline layer and the ceiling as images of the brain, where the data say where they lie."""
    if dataset.geometry is None:
        return
    from analyses.report.reading import headline_layer  # draws, and so costs a second to import

    dataset.geometry.save(out / "geometry.npz")
    row = results.sel(layer=headline_layer(results))
    for name in ("r", "r_normalized", "q_value"):
        if name in row:
            write_brain_map(row[name].values, dataset.geometry, out / "maps", name)
    write_brain_map(results["noise_ceiling_r"].values, dataset.geometry, out / "maps", "noise_ceiling_r")
