"""Names find networks; a module of the user's needs only a preprocess."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from encoders.backbones import Backbone, ImagePreprocess, list_backbones, load_backbone, register_backbone
from encoders.backbones import registry as registry_module
from stimuli import StimulusSet
from tests.encoders.small_networks import Net, own, seeded


def test_a_users_module_needs_only_a_preprocess() -> None:
    backbone = load_backbone(Net().train(), preprocess=ImagePreprocess(resize=(12, 12)), name="mine")
    images = np.random.default_rng(0).random((3, 20, 30, 3)).astype(np.float32)
    batch = backbone.preprocess(StimulusSet(["a", "b", "c"], images=images), [0, 2])
    assert list(batch) == ["pictures"], "the first argument of forward"
    assert backbone.module(**batch).shape == (2, 2)
    assert (backbone.name, backbone.modality, backbone.module.training) == ("mine", "image", False)
    assert backbone.default_layers == ("features.2", "features.4")
    assert json.loads(json.dumps(backbone.describe()))["n_parameters"] == sum(
        p.numel() for p in Net().parameters()
    )


def test_what_a_users_module_lacks_is_said() -> None:
    with pytest.raises(ValueError, match=r"preprocess is needed.*ImagePreprocess"):
        load_backbone(Net())
    with pytest.raises(ValueError, match="initialise your own module"):
        load_backbone(Net(), weights="random", preprocess=ImagePreprocess())
    with pytest.raises(ValueError, match=r"unknown input_name 'picture'; did you mean 'pictures'"):
        own(Net(), ImagePreprocess(input_name="picture"))
    with pytest.raises(TypeError, match="describe"):
        load_backbone(Net(), preprocess=lambda stimuli, indices: {})  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"torch.nn.Module, got ndarray"):
        load_backbone(np.zeros(3))  # type: ignore[arg-type]


def test_any_object_that_makes_batches_will_do_as_preprocess() -> None:
    class Counts:
        modality = "text"

        def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> Mapping[str, Tensor]:
            texts = stimuli.texts or []
            return {"input": torch.tensor([[float(len(texts[i]))] for i in indices])}

        def describe(self) -> dict[str, Any]:
            return {"kind": "counts"}

    backbone = load_backbone(nn.Sequential(nn.Linear(1, 2)), preprocess=Counts())
    batch = backbone.preprocess(StimulusSet(["a"], texts=["word"]), [0])
    assert backbone.modality == "text"
    assert backbone.module(**batch).shape == (1, 2)


def test_layers_are_checked_by_name() -> None:
    backbone = own(Net())
    backbone.check_layers(["features", "features.0", "head"])
    with pytest.raises(KeyError, match=r"unknown layer 'feature.0'; did you mean 'features.0'"):
        backbone.check_layers(["head", "feature.0"])
    with pytest.raises(TypeError, match="list of names"):
        backbone.check_layers("head")


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("resnet50", "'timm/resnet50'"),
        ("pixel", "'pixels'"),
        ("torchvision/resnet5", "'resnet50'"),
        ("torchvision/resnet50.IMAGENET1K_V3", "'IMAGENET1K_V2'"),
        ("timm/vit_tiny_patch16", "'vit_tiny_patch16_224'"),
        ("efficientnet_lite", "'efficientnet_lite0'"),
    ],
)
def test_unknown_names_list_near_ones(spec: str, near: str) -> None:
    with pytest.raises(KeyError, match="did you mean") as error:
        load_backbone(spec)
    assert near in str(error.value)


def test_listing_by_glob() -> None:
    short = list_backbones()
    assert {"efficientnet_lite0", "gabor", "hf/*", "minilm", "pixels", "timm/*", "torchvision/*"} <= set(
        short
    )
    residual = [f"torchvision/resnet{depth}" for depth in (101, 152, 18, 34, 50)]
    assert list_backbones("torchvision/resnet*") == residual
    assert list_backbones("pix*") == ["pixels"]
    assert set(residual) <= set(list_backbones("*/resnet*"))
    assert "timm/resnet50.a1_in1k" in list_backbones("timm/resnet50*")
    assert list_backbones("nothing*") == []


def test_a_registered_family_is_loaded_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_families", dict(registry_module._families))

    @register_backbone("mylab", list_names=lambda: ["net1", "net2"])
    def load_mylab(argument: str, weights: registry_module.Weights, seed: int) -> Backbone:
        return replace(own(seeded(Net(), seed)), source=f"{argument} {weights}")

    assert list_backbones("mylab/*") == ["mylab/net1", "mylab/net2"]
    backbone = load_backbone("mylab/net1", weights="random", seed=4)
    assert (backbone.name, backbone.source) == ("mylab/net1", "net1 random")
    for taken in ("mylab", "pixels"):
        with pytest.raises(ValueError, match="is taken"):
            register_backbone(taken)(lambda argument, weights, seed: own(Net()))
    with pytest.raises(ValueError, match="without '/'"):
        register_backbone("my/lab")(load_mylab)


def test_random_weights_follow_the_seed_and_leave_the_global_state_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = load_backbone("torchvision/squeezenet1_1", weights="random", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again = load_backbone("torchvision/squeezenet1_1", weights="random", seed=1)
    other = load_backbone("torchvision/squeezenet1_1", weights="random", seed=2)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert "seed 1" in first.source
