"""The small network that a diet raises, and the folder that keeps it: weights as safetensors, the rest as JSON."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from encoders.backbones import Backbone, ImagePreprocess, load_backbone
from encoders.backbones.weights import copy_weights, read_weights, seeded_initialisation
from stimuli.files import atomic_write, hash_file, read_json, write_json
from stimuli.stimulus_set import StimulusSet

FORMAT, VERSION = "cogmodels diet network", 1
JSON_NAME, WEIGHTS_NAME = "network.json", "weights.safetensors"
CHANNELS = (16, 32, 64, 128, 128)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

_BATCH = 64


class DietNetwork(nn.Module):
    """Stages of convolution, batch normalisation, ReLU and max pooling; then the mean over space and a linear layer.

    Parameters
    ----------
    classes : sequence of str
        What the outputs stand for.
    channels : sequence of int
        Output channels of each stage; after k of them the stride is 2 ** k.
    """

    def __init__(self, classes: Sequence[str], channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.classes, self.channels = tuple(classes), tuple(channels)
        layers: list[nn.Module] = []
        for n_in, n_out in zip((3, *self.channels), self.channels, strict=False):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(self.channels[-1], len(self.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (n, n_classes) of pictures (n, 3, row, column)."""
        return self.classifier(self.features(images).mean(dim=(2, 3)))


def load_diet_network(folder: str | os.PathLike[str]) -> Backbone:
    """Load a network that `train_diet` kept, ready for `EccNet` or for encoding models.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Backbone
        Its module is a `DietNetwork` in evaluation mode; its name is that of the folder.

    Raises
    ------
    FileNotFoundError
        If the folder or a file in it is missing.
    ValueError
        If a file is corrupt or truncated, or the two do not belong together.
    """
    path = Path(folder)
    content = read_diet_metadata(path)
    weights = path / WEIGHTS_NAME
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing: train the network again")
    if hash_file(weights) != content["weights_sha256"]:
        raise ValueError(f"{weights} is not the file that {JSON_NAME} belongs to: train the network again")
    with seeded_initialisation(0):
        network = DietNetwork(content["classes"], content["channels"])
    copy_weights(network, read_weights(weights), weights.name)
    source = f"{WEIGHTS_NAME} (sha256 {content['weights_sha256']})"
    return as_backbone(network, content["size_px"], path.resolve().name, source)


def read_diet_metadata(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is known of a trained network: classes, settings, diet, accuracy, history, versions.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_diet_network`.
    """
    path = Path(folder) / JSON_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is no folder that train_diet has finished")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} describes no network: its format is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {content.get('version')}, this program reads {VERSION}: update it"
        )
    sound = {
        "identity": isinstance(content.get("identity"), dict),
        "weights_sha256": isinstance(content.get("weights_sha256"), str),
        "size_px": type(content.get("size_px")) is int and 0 < content["size_px"] <= 4096,
        "classes": is_list(content.get("classes"), str, 2),
        "channels": is_list(content.get("channels"), int, 1)
        and all(0 < n <= 4096 for n in content["channels"]),
    }
    if wrong := [key for key, is_sound in sound.items() if not is_sound]:
        raise ValueError(
            f"{path} is damaged: {', '.join(wrong)} missing or of the wrong kind; train it again"
        )
    return content


def name_pictures(backbone: Backbone, stimuli: StimulusSet) -> NDArray[np.str_]:
    """Return what a `DietNetwork` calls each picture: (n,) labels."""
    module = backbone.module
    if not isinstance(module, DietNetwork):
        raise TypeError(
            f"{backbone.name} is a {type(module).__name__}; a DietNetwork is needed, as load_diet_network gives"
        )
    device = next(module.parameters()).device
    best: list[int] = []
    with torch.inference_mode():
        for start in range(0, len(stimuli), _BATCH):
            batch = backbone.preprocess(stimuli, range(start, min(start + _BATCH, len(stimuli))))
            images = next(iter(batch.values())).to(device)
            best += module(images.contiguous(memory_format=torch.channels_last)).argmax(1).tolist()
    return np.array(module.classes)[best]


def as_backbone(network: DietNetwork, size_px: int, name: str, source: str) -> Backbone:
    preprocess = ImagePreprocess(resize=size_px, crop=size_px, mean=MEAN, std=STD)
    return replace(load_backbone(network, preprocess=preprocess, name=name), source=source)


def save_network(folder: Path, network: DietNetwork, metadata: dict[str, Any]) -> None:
    with atomic_write(folder, replace_folder=True) as temporary:
        temporary.mkdir()
        save_file(
            {name: value.contiguous() for name, value in network.state_dict().items()},
            temporary / WEIGHTS_NAME,
        )
        content = {
            "format": FORMAT,
            "version": VERSION,
            "weights_sha256": hash_file(temporary / WEIGHTS_NAME),
            "classes": list(network.classes),
            "channels": list(network.channels),
            **metadata,
        }
        write_json(temporary / JSON_NAME, content)


def is_list(values: Any, kind: type, fewest: int) -> bool:
    return isinstance(values, list) and len(values) >= fewest and all(type(value) is kind for value in values)
