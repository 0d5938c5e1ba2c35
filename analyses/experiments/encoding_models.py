"""Encoding models made from a run's configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from analyses.datasets import Dataset
from analyses.experiments.config import EncodingConfig
from analyses.experiments.design import Design
from analyses.experiments.queries import resolve_queries
from encoders import AttentionEncoder, BandedRidgeEncoder, ProbeEncoder, RidgeEncoder, SpatialFeatureEncoder
from encoders.training.settings import Training
from stimuli.files import unknown_name_message

ALL_BANDS = "all bands"
"""Label of the one model that takes every layer, a band each."""


def make_encoder(config: EncodingConfig, dataset: Dataset, design: Design) -> Any:
    """Make the unfitted encoder that a configuration names.

    Raises
    ------
    ValueError
        When the dataset lacks what the queries ask for.
    KeyError
        For an unknown name among `encoder_options` or `training`; near matches are listed.
    """
    return ENCODERS[config.encoder](config, dataset, design)


def join_bands(
    encoder: BandedRidgeEncoder, features: Mapping[str, np.ndarray]
) -> tuple[BandedRidgeEncoder, np.ndarray]:
    """Stand layers (n_samples, n_features) beside one another and tell the encoder how wide each band is."""
    widths = tuple(matrix.shape[1] for matrix in features.values())
    return clone(encoder).set_params(bands=widths), np.concatenate(list(features.values()), axis=1)


def describe_encoder(encoder: Any) -> dict[str, str]:
    """Say in words what a trained encoder's queries are and how it is trained; nothing for others."""
    training = getattr(encoder, "training", None)
    if not isinstance(training, Training):
        return {}
    settings = ", ".join(f"{field.name} {getattr(training, field.name)}" for field in fields(Training))
    described = {"training": settings}
    queries = getattr(encoder, "queries", None)
    if isinstance(queries, str):
        described["queries"] = {"all": "one for all", "voxel": "one each"}[queries]
    elif queries is not None:
        described["queries"] = ", ".join(encoder.query_names)
    return described


def _ridge(config: EncodingConfig, dataset: Dataset, design: Design) -> RidgeEncoder:
    """Ridge regression, a penalty per voxel chosen by inner cross-validation."""
    return RidgeEncoder(**_ridge_choices(config), **_options(config, RidgeEncoder, _ridge_choices(config)))


def _banded(config: EncodingConfig, dataset: Dataset, design: Design) -> BandedRidgeEncoder:
    """Ridge regression on all layers at once, a penalty per layer and voxel."""
    own = _ridge_choices(config) | {"seed": config.seed, "bands": None}
    return BandedRidgeEncoder(**own, **_options(config, BandedRidgeEncoder, own))


def _ridge_choices(config: EncodingConfig) -> dict[str, Any]:
    return {
        "alphas": config.alphas,
        "cv": config.inner_folds,
        "scale_features": config.scale_features,
        "device": config.device,
        "dtype": config.dtype,
    }


def _attention(config: EncodingConfig, dataset: Dataset, design: Design) -> AttentionEncoder:
    """Learned queries of ROIs, parcels or voxels attend over tokens."""
    own = _routed_choices(config, dataset, design)
    if config.encoder_preset is None:
        own["training"] = training_settings(config, None)
        return AttentionEncoder(**own, **_options(config, AttentionEncoder, own))
    published = AttentionEncoder.published(**own)
    return published.set_params(
        training=training_settings(config, published.training),
        **_options(config, AttentionEncoder, own | {"training": None}),
    )


def _spatial(config: EncodingConfig, dataset: Dataset, design: Design) -> SpatialFeatureEncoder:
    """A fixed map over positions times a feature vector, per ROI or voxel."""
    own = _routed_choices(config, dataset, design) | {"training": training_settings(config, None)}
    return SpatialFeatureEncoder(**own, **_options(config, SpatialFeatureEncoder, own))


def _probe(config: EncodingConfig, dataset: Dataset, design: Design) -> ProbeEncoder:
    """A pooler of tokens (efficient probing and others) and one linear readout for all voxels."""
    if config.queries != "auto":
        raise ValueError(
            f"queries is {config.queries!r}, but the queries of a probe belong to no voxel; leave it out and set their"
            " number by encoder_options (n_queries)"
        )
    own: dict[str, Any] = {"training": training_settings(config, None)}
    return ProbeEncoder(**own, **_options(config, ProbeEncoder, own))


def _routed_choices(config: EncodingConfig, dataset: Dataset, design: Design) -> dict[str, Any]:
    queries, names = resolve_queries(dataset, design.kept, config.queries)
    return {"queries": queries, "query_names": None if names is None else tuple(names)}


def training_settings(config: EncodingConfig, base: Training | None) -> Training:
    """Change settings by those of the run.

    Raises
    ------
    KeyError
        For an unknown name; near matches are listed.
    """
    known = [field.name for field in fields(Training)]
    for name in config.training:
        if name not in known:
            raise KeyError(unknown_name_message("training setting", name, known))
    chosen: dict[str, Any] = dict(config.training)  # values are checked by Training itself
    return replace(base or Training(), **chosen, seed=config.seed, device=config.device)


def _options(config: EncodingConfig, cls: type, own: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names of `encoder_options` against what the class takes and the run does not set itself."""
    known = [name for name in inspect.signature(cls).parameters if name not in own]
    for name in config.encoder_options:
        if name not in known:
            raise KeyError(unknown_name_message(f"option of encoder {config.encoder!r}", name, known))
    return dict(config.encoder_options)


#: Encoding models by name; `EncodingConfig.encoder` names one.
ENCODERS: dict[str, Callable[[EncodingConfig, Dataset, Design], Any]] = {
    "ridge": _ridge,
    "banded": _banded,
    "spatial": _spatial,
    "attention": _attention,
    "probe": _probe,
}
