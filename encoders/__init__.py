"""Backbones, features, solvers and encoding models."""

from encoders.backbones.backbone import Backbone
from encoders.backbones.registry import list_backbones, load_backbone, register_backbone
from encoders.cross_validation import cross_validate, cross_validate_layers, make_folds
from encoders.estimators.ridge import RidgeEncoder
from encoders.extraction import Features, extract_features
from encoders.feature_store import FeatureStore
from encoders.persistence import load_encoder, save_encoder

__all__ = [
    "Backbone",
    "FeatureStore",
    "Features",
    "RidgeEncoder",
    "cross_validate",
    "cross_validate_layers",
    "extract_features",
    "list_backbones",
    "load_backbone",
    "load_encoder",
    "make_folds",
    "register_backbone",
    "save_encoder",
]
