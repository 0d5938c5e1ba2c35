"""Backbones, features, solvers and encoding models."""

from encoders.backbones import (
    Backbone,
    ImagePreprocess,
    TextPreprocess,
    fetch_weights,
    list_backbones,
    load_backbone,
    register_backbone,
)
from encoders.cross_validation import cross_validate, cross_validate_layers, make_folds
from encoders.estimators.attention import AttentionEncoder
from encoders.estimators.banded import BandedRidgeEncoder
from encoders.estimators.probe import ProbeClassifier, ProbeEncoder
from encoders.estimators.ridge import RidgeEncoder
from encoders.estimators.spatial import SpatialFeatureEncoder
from encoders.extraction import Features, extract_features
from encoders.feature_store import FeatureStore
from encoders.persistence import load_encoder, save_encoder
from encoders.training.settings import Training

__all__ = [
    "AttentionEncoder",
    "Backbone",
    "BandedRidgeEncoder",
    "FeatureStore",
    "Features",
    "ImagePreprocess",
    "ProbeClassifier",
    "ProbeEncoder",
    "RidgeEncoder",
    "SpatialFeatureEncoder",
    "TextPreprocess",
    "Training",
    "cross_validate",
    "cross_validate_layers",
    "extract_features",
    "fetch_weights",
    "list_backbones",
    "load_backbone",
    "load_encoder",
    "make_folds",
    "register_backbone",
    "save_encoder",
]
