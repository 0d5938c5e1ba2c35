"""Networks that are asked about stimuli: loading them, naming their layers, knowing which ones they are."""

from encoders.backbones.backbone import Backbone, Preprocess
from encoders.backbones.fetch import fetch_weights
from encoders.backbones.fingerprint import fingerprint_module
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.backbones.registry import list_backbones, load_backbone, register_backbone
from encoders.backbones.text_preprocess import TextPreprocess

__all__ = [
    "Backbone",
    "ImagePreprocess",
    "Preprocess",
    "TextPreprocess",
    "fetch_weights",
    "fingerprint_module",
    "list_backbones",
    "load_backbone",
    "register_backbone",
]
