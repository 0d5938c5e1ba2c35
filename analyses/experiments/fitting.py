"""Feature spaces of a run, made from its configuration, and their fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from analyses.experiments.config import TRAINED, EncodingConfig, FeatureSpace
from analyses.experiments.design import Design
from analyses.experiments.encoding_models import ALL_BANDS, join_bands
from encoders import Backbone, BandedRidgeEncoder, extract_features, load_backbone
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.checkpoints import Checkpoint
from encoders.cluster import Cluster
from encoders.cross_validation import LayerCrossValidation, Progress, cross_validate_layers
from encoders.ensembles import ensemble_layers
from encoders.feature_store import CorruptFeaturesError, FeatureStore
from encoders.features import Features
from encoders.tokens import TokenSource, as_token_source
from stimuli import StimulusSet
from stimuli.files import count_of, unknown_name_message

TOKEN_REDUCTIONS = ("none", "tokens")
"""Reductions after which there are still tokens."""
MAX_LEADING_TOKENS = 8
"""More tokens than these in front of a square number of patches are no class or register tokens."""

SELECTED = "selected"
"""Label, beside the layers, of the layer chosen per voxel inside each training fold."""
ENSEMBLE = "ensemble"
"""Label, beside the layers, of their average weighted by a softmax of inner scores."""

FeatureRows = np.ndarray | TokenSource
"""Features a stimulus: a matrix (n_stimuli, n_features), or tokens."""


@dataclass(frozen=True)
class SpaceFeatures:
    """Features of all spaces, one entry a layer.

    Attributes
    ----------
    rows : dict of str to ndarray (n_stimuli, n_features) or TokenSource
        By label, ``SPACE:LAYER`` (``SPACE`` alone for one-hot codes). Tokens for the encoders that are trained on them.
    sources : dict of str to (FeatureSpace, layer)
        Which space and layer a label stands for; the layer is "" for one-hot codes.
    backbones : dict of str to Backbone
        By space name.
    """

    rows: dict[str, FeatureRows]
    sources: dict[str, tuple[FeatureSpace, str]]
    backbones: dict[str, Backbone]

    @property
    def labels(self) -> list[str]:
        """Labels in the order of the configuration."""
        return list(self.rows)


def fit_layers(
    design: Design,
    features: Mapping[str, FeatureRows],
    encoder: Any,
    *,
    stimulus_index: np.ndarray | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    cluster: Cluster | None = None,
) -> LayerCrossValidation:
    """Lay features of stimuli (matrices or tokens) out over samples and cross-validate every layer.

    A banded encoder takes all layers at once. `stimulus_index` replaces the true one, for the null.
    """
    laid_out = {label: design.matrix(matrix, stimulus_index) for label, matrix in features.items()}
    if isinstance(encoder, BandedRidgeEncoder):
        encoder, joined = join_bands(encoder, laid_out)
        laid_out = {ALL_BANDS: joined}
    return cross_validate_layers(
        encoder,
        laid_out,
        design.Y,
        design.folds,
        groups=design.groups,
        progress=progress,
        checkpoint=checkpoint,
        cluster=cluster,
    )


def predictions_by_label(fitted: LayerCrossValidation, config: EncodingConfig) -> dict[str, np.ndarray]:
    """Name held-out predictions (n_samples, n_voxels) by layer.

    Where there are several layers those of the ensemble (`ENSEMBLE`) and of the selected layer (`SELECTED`, the last)
    stand beside them, if they are asked for.
    """
    assert fitted.predictions is not None
    predictions = dict(zip(fitted.layers, fitted.predictions, strict=True))
    if len(fitted.layers) > 1:
        if config.ensemble:
            predictions[ENSEMBLE] = ensemble_layers(fitted)
        if config.choose_layer:
            predictions[SELECTED] = fitted.selected_predictions
    return predictions


def one_hot(stimuli: StimulusSet, attribute: str | None = None) -> tuple[np.ndarray, list[str]]:
    """Code stimuli by one column a stimulus, or one column a value of an attribute.

    Returns
    -------
    features : ndarray of float32 (n_stimuli, n_columns)
    columns : list of str

    Raises
    ------
    KeyError
        When the stimuli have no such attribute.
    """
    if attribute is None:
        values = np.asarray(stimuli.stimulus_ids)
    else:
        if attribute not in stimuli.attributes.columns:
            raise KeyError(
                unknown_name_message("stimulus attribute", attribute, list(stimuli.attributes.columns))
            )
        values = stimuli.attributes[attribute].astype(str).to_numpy()
    columns, codes = np.unique(values, return_inverse=True)
    return np.eye(len(columns), dtype=np.float32)[codes], [str(column) for column in columns]


def open_backbones(
    config: EncodingConfig, stimuli: StimulusSet, given: Mapping[str, Backbone] | None = None
) -> dict[str, Backbone]:
    """Load the backbones that the configuration's spaces name, and check their layers against the stimuli.

    Parameters
    ----------
    config : EncodingConfig
    stimuli : StimulusSet
    given : mapping of str to Backbone, optional
        Backbones of the user's own, by the name that a space gives as `backbone`.
    """
    backbones = {}
    for space in config.spaces:
        if is_one_hot(space):
            one_hot(stimuli, space.backbone.partition(":")[2] or None)
            continue
        backbone = open_backbone(space, config, given)
        if not (stimuli.has_images if backbone.modality == "image" else stimuli.has_texts):
            has = "texts" if stimuli.has_texts else "images" if stimuli.has_images else "names alone"
            raise ValueError(
                f"{space.backbone} takes {backbone.modality}s, and the stimuli of {config.dataset} are {has}; choose a"
                " backbone for them (cogmodels list backbones)"
            )
        backbones[space.name] = backbone
    return backbones


def open_backbone(
    space: FeatureSpace, config: EncodingConfig, given: Mapping[str, Backbone] | None = None
) -> Backbone:
    """Load one space's backbone, or take it from `given`, with the image size that the space asks for."""
    backbone = (given or {}).get(space.backbone)
    if backbone is None:
        backbone = load_backbone(
            space.backbone, weights=space.weights, seed=config.seed, device=config.device
        )
    if space.image_size_px is not None:
        if not isinstance(backbone.preprocess, ImagePreprocess):
            raise ValueError(
                f"image_size_px={space.image_size_px!r}: {space.backbone} takes no images by ImagePreprocess"
            )
        size = space.image_size_px
        resize = None if size == "native" else (size, size)
        backbone = replace(backbone, preprocess=replace(backbone.preprocess, resize=resize, crop=None))
    backbone.check_layers(space.layers or backbone.default_layers)
    return backbone


def is_one_hot(space: FeatureSpace) -> bool:
    """Tell whether a space is a one-hot code and needs no backbone."""
    return space.backbone == "onehot" or space.backbone.startswith("onehot:")


def default_reduction(backbone: Backbone, config: EncodingConfig) -> str:
    """Name the reduction of a space that gives none."""
    if config.encoder in TRAINED:
        return "none"
    if backbone.modality == "text":
        return "mean"
    # The plain bases learn nothing and are small; a projection would blur what their columns mean.
    learned = any(True for _ in backbone.module.parameters())
    return "projection:4096" if learned else "flatten"


def used_reductions(config: EncodingConfig, backbones: Mapping[str, Backbone]) -> dict[str, str]:
    """Name the reduction of each space that has one, by the space's name, the default where none is asked for."""
    return {
        space.name: space.reduction or default_reduction(backbones[space.name], config)
        for space in config.spaces
        if space.name in backbones
    }


def extract_space(
    space: FeatureSpace,
    backbone: Backbone | None,
    stimuli: StimulusSet,
    config: EncodingConfig,
    *,
    store: Path | None,
    layers: tuple[str, ...] | None = None,
    progress: bool = True,
    cluster: Cluster | None = None,
) -> dict[str, FeatureRows]:
    """Compute one space's features by label: matrices (n_stimuli, n_features), or tokens for a trained encoder."""
    tokens = config.encoder in TRAINED
    if backbone is None:
        codes, _ = one_hot(stimuli, space.backbone.partition(":")[2] or None)
        return {space.name: as_token_source(codes) if tokens else codes}
    if tokens and space.reduction not in (None, *TOKEN_REDUCTIONS):
        raise ValueError(
            f"reduction {space.reduction!r} leaves no tokens for encoder {config.encoder!r}; leave it out, or take"
            f" {' or '.join(map(repr, TOKEN_REDUCTIONS))}"
        )
    wanted = layers or space.layers or backbone.default_layers
    features = extract_features(
        backbone,
        stimuli,
        wanted,
        reduction=space.reduction or default_reduction(backbone, config),
        device=config.device,
        batch_size=config.batch_size,
        store=None if store is None else str(store),
        progress=progress,
        cluster=cluster,
    )
    if tokens:
        keep_class_token = config.encoder == "probe"
        return {
            f"{space.name}:{layer}": layer_tokens(features, layer, backbone, keep_class_token)
            for layer in features
        }
    return {f"{space.name}:{layer}": np.asarray(features.matrix(layer)) for layer in features}


def layer_tokens(
    features: Features, layer: str, backbone: Backbone, keep_class_token: bool = False
) -> TokenSource:
    """Give one layer as tokens, read from the store when they are asked for.

    Tokens of an image network that are no patches (class and register tokens, which stand first) are left out, so
    that the others form a grid, unless `keep_class_token`.
    """
    values = features[layer]
    if backbone.modality != "image" or values.ndim != 3:
        return as_token_source(values)
    n_tokens = values.shape[1]
    side = math.isqrt(n_tokens)
    n_leading = n_tokens - side * side
    if n_leading > MAX_LEADING_TOKENS or (n_leading and keep_class_token):
        return as_token_source(values)
    return as_token_source(values, grid=(side, side), skip_tokens=n_leading)


def extract_into_store(
    config: EncodingConfig,
    backbones: Mapping[str, Backbone],
    stimuli: StimulusSet,
    store: Path,
    *,
    progress: bool = True,
    cluster: Cluster | None = None,
) -> SpaceFeatures:
    """Compute the features of every space into a store; what is damaged there is computed again, and said."""
    try:
        return extract_spaces(config, backbones, stimuli, store=store, progress=progress, cluster=cluster)
    except CorruptFeaturesError:
        bad = FeatureStore(store).repair()
    named = ", ".join(str(path.relative_to(store)) for path in bad[:3])
    Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(
        f"{count_of(len(bad), 'damaged file')} in {store} ({named}): computing what was lost again",
        markup=False,
    )
    return extract_spaces(config, backbones, stimuli, store=store, progress=progress, cluster=cluster)


def extract_spaces(
    config: EncodingConfig,
    backbones: Mapping[str, Backbone],
    stimuli: StimulusSet,
    *,
    store: Path | None,
    progress: bool = True,
    cluster: Cluster | None = None,
) -> SpaceFeatures:
    """Compute the features of every space; finished chunks in the store are read, not computed."""
    found: dict[str, FeatureRows] = {}
    sources: dict[str, tuple[FeatureSpace, str]] = {}
    for space in config.spaces:
        backbone = backbones.get(space.name)
        for label, rows in extract_space(
            space, backbone, stimuli, config, store=store, progress=progress, cluster=cluster
        ).items():
            found[label] = rows
            sources[label] = (space, label[len(space.name) + 1 :])
    return SpaceFeatures(found, sources, dict(backbones))
