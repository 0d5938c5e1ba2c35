"""A fingerprint tells networks apart by what they compute, and is the same in every process."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from encoders.backbones import ImagePreprocess, fingerprint_module, load_backbone
from tests.encoders.small_networks import Net, own, seeded


def fingerprint(module: nn.Module) -> str:
    return own(module).fingerprint


def test_equal_networks_have_equal_fingerprints_whatever_their_names() -> None:
    one = load_backbone(seeded(Net()), preprocess=ImagePreprocess(), name="a")
    two = load_backbone(seeded(Net()), preprocess=ImagePreprocess(), name="b")
    assert one.fingerprint == two.fingerprint == one.fingerprint
    assert len(one.fingerprint) == 64


@pytest.mark.parametrize("name", [name for name, _ in Net().named_parameters()])
def test_one_weight_in_its_last_bit_changes_the_fingerprint(name: str) -> None:
    module = seeded(Net())
    before = fingerprint(module)
    with torch.no_grad():
        weight = module.get_parameter(name).view(-1)
        weight[-1] = torch.nextafter(weight[-1], torch.tensor(9.0))
    assert fingerprint(module) != before


def test_a_change_after_the_first_question_is_noticed() -> None:
    backbone = own(seeded(Net()))
    before = backbone.fingerprint
    with torch.no_grad():
        backbone.module.get_parameter("head.bias").add_(1)
    changed = backbone.fingerprint
    backbone.module.load_state_dict(seeded(Net()).state_dict())
    assert changed != before == backbone.fingerprint
    backbone.module.gain = 3.0  # type: ignore[assignment]
    assert backbone.fingerprint != before


def test_asking_a_network_does_not_change_its_fingerprint() -> None:
    image = {"x": torch.rand(1, 3, 224, 224)}
    tokens = {
        "input_ids": torch.tensor([[101, 4937, 102]]),
        "attention_mask": torch.ones(1, 3, dtype=torch.long),
    }
    for spec, batch in (
        ("torchvision/squeezenet1_1", image),
        ("timm/vit_tiny_patch16_224", image),
        ("timm/tf_efficientnet_lite0", image),
        ("minilm", tokens),
    ):
        backbone = load_backbone(spec, weights="random")
        before = backbone.fingerprint
        with torch.no_grad():
            backbone.module(**batch)
        assert backbone.fingerprint == before, spec


def test_constants_of_a_class_and_values_in_a_closure_count() -> None:
    def make(constant: float, enclosed: float, default: float) -> nn.Module:
        class Scaled(nn.Module):
            scale = constant

            def forward(self, x: torch.Tensor, shift: float = default) -> torch.Tensor:
                return x * self.scale * enclosed + shift

        return Scaled()

    variants = [(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (1.0, 2.0, 0.0), (1.0, 1.0, 1.0)]
    assert len({fingerprint(make(*variant)) for variant in variants}) == 4
    assert fingerprint(make(*variants[0])) == fingerprint(make(*variants[0]))


def test_settings_without_weights_change_the_fingerprint() -> None:
    variants = {
        "as it is": seeded(Net()),
        "activation": seeded(Net(activation=torch.sigmoid)),
        "gain": seeded(Net(gain=2.0)),
    }

    def double(module: nn.Module, given: object, answer: torch.Tensor) -> torch.Tensor:
        return 2 * answer

    hooked, configured, also_configured = seeded(Net()), seeded(Net()), seeded(Net())
    hooked.register_forward_hook(double)
    configured.args, also_configured.args = SimpleNamespace(depth=1), SimpleNamespace(depth=2)  # type: ignore[assignment]
    variants |= {"hooked": hooked, "configured": configured, "also configured": also_configured}
    stride, kind = seeded(Net()), seeded(Net())
    stride.features[0].stride = (2, 2)  # type: ignore[index,union-attr]
    kind.features[1] = nn.GELU()  # type: ignore[operator]
    buffer, hidden = seeded(Net()), seeded(Net())
    buffer.register_buffer("mask", torch.ones(2), persistent=False)
    hidden.mask = torch.ones(2).numpy()  # type: ignore[assignment]
    variants |= {"stride": stride, "kind": kind, "buffer": buffer, "hidden": hidden}
    half = seeded(Net()).half()
    variants["type"] = half
    fingerprints = {name: fingerprint(module) for name, module in variants.items()}
    assert len(set(fingerprints.values())) == len(variants), fingerprints


def test_the_activation_inside_a_transformer_block_counts() -> None:
    blocks = [seeded(nn.TransformerEncoderLayer(8, 2, 16, activation=name)) for name in ("relu", "gelu")]
    assert len({fingerprint_module(block) for block in blocks}) == 2


def test_an_edited_forward_counts_though_class_name_and_weights_stay() -> None:
    def define(body: str) -> nn.Module:
        scope: dict[str, Any] = {"nn": nn, "torch": torch, "__name__": "__main__"}
        exec(f"class Cell(nn.Module):\n    def forward(self, x):\n        return {body}", scope)
        return scope["Cell"]()

    assert fingerprint(define("x + 1")) == fingerprint(define("x + 1"))
    assert (
        len({fingerprint(define(body)) for body in ("x + 1", "x + 2", "torch.relu(x)", "torch.tanh(x)")}) == 4
    )


def test_preprocessing_is_part_of_the_fingerprint() -> None:
    module = seeded(Net())
    changes: list[dict[str, Any]] = [
        {},
        {"resize": 9},
        {"crop": 8},
        {"mean": (0, 0, 0)},
        {"std": (1, 1, 1)},
        {"interpolation": "bicubic"},
        {"background": (1, 1, 1)},
        {"crop_rounding": "floor"},
    ]
    prints = {own(module, ImagePreprocess(**change)).fingerprint for change in changes}
    assert len(prints) == len(changes)
    assert own(module, ImagePreprocess(input_name="pictures")).fingerprint in prints


_ELSEWHERE = """
import sys
from encoders.backbones import list_backbones, load_backbone
assert not {"timm", "transformers", "torchvision"} & set(sys.modules), "importing must be quick"
list_backbones("torchvision/resnet*")
assert not {"timm", "transformers"} & set(sys.modules), "listing one family must not import the others"
for spec in ("gabor", "efficientnet_lite0", "minilm"):
    print(load_backbone(spec).fingerprint)
print(load_backbone("torchvision/resnet18", weights="random", seed=7).fingerprint)
"""


def test_fingerprints_are_equal_in_another_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    answer = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    here = [load_backbone(spec).fingerprint for spec in ("gabor", "efficientnet_lite0", "minilm")]
    here.append(load_backbone("torchvision/resnet18", weights="random", seed=7).fingerprint)
    assert answer.stdout.split() == here
