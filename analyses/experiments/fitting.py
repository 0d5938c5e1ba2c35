"""Feature spaces and encoders of a run, made from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.design import Design
from encoders import Backbone, RidgeEncoder, extract_features, load_backbone
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.checkpoints import Checkpoint
from encoders.cross_validation import LayerCrossValidation, Progress, cross_validate_layers
from encoders.feature_store import CorruptFeaturesError, FeatureStore
from encoders.solvers.checks import check_device
from stimuli import StimulusSet
from stimuli.files import count_of, unknown_name_message

SELECTED = "selected"
"""Label, beside the layers, of the layer chosen per voxel inside each training fold."""


@dataclass(frozen=True)
class SpaceFeatures:
    """Features of all spaces, one entry a layer.

    Attributes
    ----------
    matrices : dict of str to ndarray (n_stimuli, n_features)
        By label, ``SPACE:LAYER`` (``SPACE`` alone for one-hot codes).
    sources : dict of str to (FeatureSpace, layer)
        Which space and layer a label stands for; the layer is "" for one-hot codes.
    backbones : dict of str to Backbone
        By space name.
    """

    matrices: dict[str, np.ndarray]
    sources: dict[str, tuple[FeatureSpace, str]]
    backbones: dict[str, Backbone]

    @property
    def labels(self) -> list[str]:
        """Labels in the order of the configuration."""
        return list(self.matrices)


def _ridge(config: EncodingConfig) -> RidgeEncoder:
    """Ridge regression, a penalty per voxel chosen by inner cross-validation."""
    return RidgeEncoder(
        alphas=config.alphas,
        cv=config.inner_folds,
        scale_features=config.scale_features,
        device=config.device,
        dtype=config.dtype,
    )


#: Encoding models by name; `EncodingConfig.encoder` names one.
ENCODERS: dict[str, Callable[[EncodingConfig], RidgeEncoder]] = {"ridge": _ridge}


def fit_layers(
    design: Design,
    features: Mapping[str, np.ndarray],
    encoder: Any,
    *,
    stimulus_index: np.ndarray | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> LayerCrossValidation:
    """Lay features (n_stimuli, n_features) out over samples and cross-validate every layer.

    `stimulus_index` replaces the true one, for the null.
    """
    laid_out = {label: design.matrix(matrix, stimulus_index) for label, matrix in features.items()}
    return cross_validate_layers(
        encoder,
        laid_out,
        design.Y,
        design.folds,
        groups=design.groups,
        progress=progress,
        checkpoint=checkpoint,
    )


def predictions_by_label(fitted: LayerCrossValidation, *, with_selected: bool) -> dict[str, np.ndarray]:
    """Name held-out predictions (n_samples, n_voxels) by layer, and those of the selected layer by `SELECTED`."""
    assert fitted.predictions is not None
    predictions = dict(zip(fitted.layers, fitted.predictions, strict=True))
    if with_selected:
        predictions[SELECTED] = fitted.selected_predictions
    return predictions


def make_encoder(config: EncodingConfig) -> RidgeEncoder:
    """Make the unfitted encoder that a configuration names.

    Raises
    ------
    ValueError
        When this machine has no such device.
    """
    check_device(config.device)
    return ENCODERS[config.encoder](config)


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


def default_reduction(backbone: Backbone) -> str:
    """Name the reduction of a space that gives none."""
    if backbone.modality == "text":
        return "mean"
    # The plain bases learn nothing and are small; a projection would blur what their columns mean.
    learned = any(True for _ in backbone.module.parameters())
    return "projection:4096" if learned else "flatten"


def used_reductions(config: EncodingConfig, backbones: Mapping[str, Backbone]) -> dict[str, str]:
    """Name the reduction of each space that has one, by the space's name, the default where none is asked for."""
    return {
        space.name: space.reduction or default_reduction(backbones[space.name])
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
) -> dict[str, np.ndarray]:
    """Compute one space's features: label to (n_stimuli, n_features)."""
    if backbone is None:
        return {space.name: one_hot(stimuli, space.backbone.partition(":")[2] or None)[0]}
    wanted = layers or space.layers or backbone.default_layers
    features = extract_features(
        backbone,
        stimuli,
        wanted,
        reduction=space.reduction or default_reduction(backbone),
        device=config.device,
        batch_size=config.batch_size,
        store=None if store is None else str(store),
        progress=progress,
    )
    return {f"{space.name}:{layer}": np.asarray(features.matrix(layer)) for layer in features}


def extract_into_store(
    config: EncodingConfig,
    backbones: Mapping[str, Backbone],
    stimuli: StimulusSet,
    store: Path,
    *,
    progress: bool = True,
) -> SpaceFeatures:
    """Compute the features of every space into a store; what is damaged there is computed again, and said."""
    try:
        return extract_spaces(config, backbones, stimuli, store=store, progress=progress)
    except CorruptFeaturesError:
        bad = FeatureStore(store).repair()
    named = ", ".join(str(path.relative_to(store)) for path in bad[:3])
    Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(
        f"{count_of(len(bad), 'damaged file')} in {store} ({named}): computing what was lost again",
        markup=False,
    )
    return extract_spaces(config, backbones, stimuli, store=store, progress=progress)


def extract_spaces(
    config: EncodingConfig,
    backbones: Mapping[str, Backbone],
    stimuli: StimulusSet,
    *,
    store: Path | None,
    progress: bool = True,
) -> SpaceFeatures:
    """Compute the features of every space; finished chunks in the store are read, not computed."""
    matrices: dict[str, np.ndarray] = {}
    sources: dict[str, tuple[FeatureSpace, str]] = {}
    for space in config.spaces:
        backbone = backbones.get(space.name)
        for label, matrix in extract_space(
            space, backbone, stimuli, config, store=store, progress=progress
        ).items():
            matrices[label] = matrix
            sources[label] = (space, label[len(space.name) + 1 :])
    return SpaceFeatures(matrices, sources, dict(backbones))
