"""A network of your own: any torch module becomes a backbone, its layers become features.

The network is a small vision transformer trained on CIFAR-10 that is in no model zoo. Run it with

    COGMODELS_DATA=FOLDER python examples/own_network.py

where FOLDER holds ``weights/vit_cifar10.safetensors`` and the pictures ``cifar10_sample/CLASS/*.jpg``.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from encoders import Backbone, extract_features, load_backbone
from encoders.backbones import ImagePreprocess
from stimuli import StimulusSet


class CifarTransformer(nn.Module):
    """Vision transformer for 32 x 32 pixels: 64 patches, a CLS token, six post-norm blocks, ten classes."""

    def __init__(self) -> None:
        super().__init__()
        # Named as in the weights file.
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 128, kernel_size=4, stride=4)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 128))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, 128))
        block = nn.TransformerEncoderLayer(
            d_model=128, nhead=8, dim_feedforward=256, activation="relu", batch_first=True
        )
        self.transformer = nn.TransformerEncoder(block, num_layers=6, enable_nested_tensor=False)
        self.mlp_head = nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(n, 10)`` of images ``(n, 3, 32, 32)``."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1) + self.pos_embed
        return self.mlp_head(self.transformer(tokens)[:, 0])


def load(data: Path) -> Backbone:
    """Give the module its weights and preprocessing: [0, 1], then ImageNet mean and standard deviation."""
    return load_backbone(
        CifarTransformer(),
        weights=data / "weights" / "vit_cifar10.safetensors",
        preprocess=ImagePreprocess(),  # no resizing: the pictures have 32 pixels already
        name="vit_cifar10",
    )


def read_pictures(data: Path) -> StimulusSet:
    """Read the CIFAR-10 sample; the folder of a picture is its class."""
    paths = sorted((data / "cifar10_sample").glob("*/*.jpg"))
    classes = [path.parent.name for path in paths]
    names = [f"{path.parent.name}-{path.stem}" for path in paths]
    return StimulusSet(names, images=paths, attributes={"class": classes}, name="cifar10_sample")


def main() -> float:
    """Extract features from every block and return the accuracy of the network's own readout."""
    data = Path(os.environ["COGMODELS_DATA"])
    backbone, pictures = load(data), read_pictures(data)
    print(f"{backbone.name}: {len(backbone.layer_names())} layers, by default {backbone.default_layers}")
    print(f"fingerprint {backbone.fingerprint}")

    blocks = extract_features(backbone, pictures, reduction="cls", progress=False)
    for layer in blocks:
        print(f"{layer}: {blocks[layer].shape} {blocks.dims[layer]}")

    logits = extract_features(backbone, pictures, layers=["mlp_head"], progress=False).matrix("mlp_head")
    classes = pictures.attributes["class"].to_numpy()
    accuracy = float(np.mean(np.unique(classes)[logits.argmax(axis=1)] == classes))
    print(f"accuracy on {len(pictures)} pictures: {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
