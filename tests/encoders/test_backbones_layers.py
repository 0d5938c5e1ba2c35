"""The default layers are the stages and blocks that people in the field read."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from encoders.backbones.layers import choose_default_layers
from tests.encoders.small_networks import Net

STAGES = [f"layer{k}" for k in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torchvision/resnet18", STAGES),
        ("torchvision/resnet152", STAGES),
        ("torchvision/alexnet", [f"features.{k}" for k in (2, 5, 7, 9, 12)]),
        ("torchvision/squeezenet1_0", [f"features.{k}" for k in range(2, 13)]),
        ("torchvision/vgg11", [f"features.{k}" for k in (2, 5, 7, 10, 12, 15, 17, 20)]),
        ("torchvision/vit_b_16", [f"encoder.layers.encoder_layer_{k}" for k in range(12)]),
        ("torchvision/convnext_tiny", [f"features.{k}" for k in range(8)]),
        ("torchvision/swin_t", [f"features.{k}" for k in range(8)]),
        ("torchvision/efficientnet_b0", [f"features.{k}" for k in range(9)]),
        ("torchvision/regnet_y_400mf", [f"trunk_output.block{k}" for k in (1, 2, 3, 4)]),
        ("timm/resnet50", STAGES),
        ("timm/tf_efficientnet_lite0", [f"blocks.{k}" for k in range(7)]),
        ("timm/vit_small_patch16_224", [f"blocks.{k}" for k in range(12)]),
        ("timm/convnext_tiny", [f"stages.{k}" for k in range(4)]),
        ("timm/swin_tiny_patch4_window7_224", [f"layers.{k}" for k in range(4)]),
    ],
)
def test_stages_and_blocks_are_the_default(name: str, expected: list[str]) -> None:
    import timm
    import torchvision

    family, _, architecture = name.partition("/")
    make = timm.create_model if family == "timm" else torchvision.models.get_model
    assert list(choose_default_layers(_without_weights(make, architecture))) == expected


def _without_weights(make: Callable[[str], nn.Module], architecture: str) -> nn.Module:
    if architecture.startswith("regnet"):  # computes its widths with tensors
        return make(architecture).to("meta")
    with torch.device("meta"):
        return make(architecture)


def test_default_layers_of_plain_modules() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop, self.second = nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2)

    assert choose_default_layers(Bare()) == ("first", "second")
    assert choose_default_layers(nn.Linear(2, 2)) == ()
    assert choose_default_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))) == ("1",)
    assert choose_default_layers(Net()) == ("features.2", "features.4")


def test_a_network_behind_a_first_step_keeps_its_default_layers() -> None:
    import torchvision.models

    with torch.device("meta"):
        network = torchvision.models.resnet18()
    wrapped = nn.Sequential(nn.Identity(), nn.ModuleDict({"network": network}))
    assert choose_default_layers(wrapped) == tuple(f"1.network.{stage}" for stage in STAGES)


def _note(reached: set[str], layer: str, *called_with: object) -> None:
    reached.add(layer)


@pytest.mark.slow
def test_every_default_layer_of_torchvision_is_reached() -> None:
    import torchvision.models

    names = torchvision.models.list_models(module=torchvision.models)
    names.remove("regnet_y_128gf")  # 2.6 GB, of the same class as its smaller siblings
    for name in names:
        module = _without_weights(torchvision.models.get_model, name).eval()
        with torch.device("meta"):
            layers, reached = choose_default_layers(module), set[str]()
            for layer in layers:
                note = functools.partial(_note, reached, layer)
                module.get_submodule(layer).register_forward_hook(note)
            side = 299 if name == "inception_v3" else 224
            with torch.no_grad():
                module(torch.zeros(1, 3, side, side))
        assert layers, name
        assert reached == set(layers), name
