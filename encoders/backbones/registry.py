"""Networks by name: `load_backbone`, `list_backbones`, and `register_backbone` for one's own families."""

import fnmatch
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from encoders.backbones.backbone import Backbone, Modality, Preprocess
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.backbones.layers import choose_default_layers
from encoders.backbones.weights import load_weights_file
from stimuli.files import unknown_name_message

Weights = str | os.PathLike[str]
Loader = Callable[[str, Weights, int], Backbone]

_BUILT_IN = ("plain", "transformers_hub", "vision")
_SEPARATOR = re.compile(r"[/:]")


@dataclass(frozen=True)
class _Family:
    load: Loader
    list_names: Callable[[], Iterable[str]] | None


_families: dict[str, _Family] = {}


def register_backbone(
    name: str, list_names: Callable[[], Iterable[str]] | None = None
) -> Callable[[Loader], Loader]:
    """Make a network, or a family of networks, known to `load_backbone` by name.

    Parameters
    ----------
    name
        What stands before the first ``/`` or ``:`` of the spec, e.g. ``"mylab"`` for ``"mylab/net3"``.
    list_names
        For a family: returns the names that may stand behind ``name/``. Called when they are listed.

    Returns
    -------
    callable
        A decorator for ``load(argument: str, weights, seed: int) -> Backbone``. `argument` is what stood
        behind the separator (empty if nothing), `weights` is ``"cache"``, ``"random"`` or a path.

    Raises
    ------
    ValueError
        The name is taken by another loader, or holds a separator.
    """

    def decorate(load: Loader) -> Loader:
        known = _families.get(name)
        if known and (known.load.__module__, known.load.__qualname__) != (load.__module__, load.__qualname__):
            raise ValueError(
                f"the backbone name {name!r} is taken by {known.load.__module__}; choose another"
            )
        if not name or _SEPARATOR.search(name):
            raise ValueError(f"a backbone name must be a word without '/' or ':', got {name!r}")
        _families[name] = _Family(load, list_names)
        return load

    return decorate


def list_backbones(pattern: str | None = None) -> list[str]:
    """Return the networks that `load_backbone` knows.

    Parameters
    ----------
    pattern
        A glob over full names, e.g. ``"torchvision/resnet*"``. None gives the short list: single networks by
        name and each family as the pattern that lists it.

    Returns
    -------
    list of str
        Sorted. ``hf/`` takes any folder or hub id and is only in the short list.
    """
    families = _all_families()
    if pattern is None:
        return sorted(name if family.list_names is None else f"{name}/*" for name, family in families.items())
    # Listing a family imports its library: only those whose names can match are asked.
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    names: list[str] = []
    for name, family in families.items():
        prefix = name if family.list_names is None else f"{name}/"
        if prefix.startswith(literal) or literal.startswith(prefix):
            names += [name] if family.list_names is None else [prefix + each for each in family.list_names()]
    return sorted(each for each in names if fnmatch.fnmatchcase(each, pattern))


def load_backbone(
    spec: str | nn.Module,
    *,
    weights: Weights = "cache",
    preprocess: Preprocess | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Load a network with its preprocessing, ready to be asked about stimuli.

    Nothing is downloaded (`fetch_weights` does that) and nothing that is loaded is executed.

    Parameters
    ----------
    spec
        ``"torchvision/NAME"``, ``"timm/NAME"``, ``"hf/FOLDER-or-ID"`` (``#vision`` or ``#text`` behind it
        chooses a tower), ``"efficientnet_lite0"``, ``"minilm"``, ``"pixels"``, ``"pixels:SIZE"``,
        ``"gabor"``, a name from `register_backbone`, or a module of your own (it is put into evaluation mode
        and moved to `device` in place).
    weights
        ``"cache"``: those that are on this machine already (hub caches, installed packages; for your own
        module those it has). ``"random"``: the architecture's own initialisation under `seed`. Otherwise the
        path of a ``.safetensors`` or ``torch.save`` state dict.
    preprocess
        Replaces the network's own; needed for a module of your own. An `ImagePreprocess`, or any object with
        ``__call__(stimuli, indices)`` and ``describe()``; its attribute `modality` may say ``"text"``.
    name
        Name in results; the spec or the class name if None.
    seed
        Of the random initialisation. The global random state is left as it was.
    device
        Where the network goes.

    Returns
    -------
    Backbone

    Raises
    ------
    KeyError
        The name is unknown; near matches are listed.
    FileNotFoundError
        The weights are not on this machine; the message lists the ways on.
    ValueError
        The weights do not fit, are corrupt or would run code, or an argument does not apply.
    """
    backbone = _wrap(spec, weights, preprocess) if isinstance(spec, nn.Module) else _load(spec, weights, seed)
    preprocess = _named_input(preprocess or backbone.preprocess, backbone.module)
    modality: Modality = getattr(preprocess, "modality", "image")
    if modality not in ("image", "text"):
        raise ValueError(f"the modality of a preprocess must be 'image' or 'text', got {modality!r}")
    backbone.module.eval().to(device)
    return replace(backbone, name=name or backbone.name, preprocess=preprocess, modality=modality)


def _load(spec: str, weights: Weights, seed: int) -> Backbone:
    if not isinstance(spec, str):
        raise TypeError(f"spec must be a name or a torch.nn.Module, got {type(spec).__name__}")
    family, *rest = _SEPARATOR.split(spec, maxsplit=1)
    argument = rest[0] if rest else ""
    known = _all_families().get(family)
    if known is None:
        hint = "list_backbones() shows the families, list_backbones('torchvision/*') the names of one"
        raise KeyError(unknown_name_message("backbone", spec, list_backbones("*"), hint))
    return replace(known.load(argument, weights, seed), name=spec)


def _wrap(module: nn.Module, weights: Weights, preprocess: Preprocess | None) -> Backbone:
    if preprocess is None:
        raise ValueError(
            "preprocess is needed for a module of your own: give ImagePreprocess(resize=..., crop=..., "
            "mean=..., std=...) or an object with __call__(stimuli, indices) and describe()"
        )
    source = "a module of the user's"
    if weights == "random":
        raise ValueError("weights='random' needs a named architecture; initialise your own module yourself")
    if weights != "cache":
        source = load_weights_file(module, weights)
    name = type(module).__name__
    return Backbone(name, module, preprocess, "image", choose_default_layers(module), source)


def _named_input(preprocess: Preprocess, module: nn.Module) -> Preprocess:
    """Fill in which argument of the network's forward takes the images."""
    if not callable(preprocess) or not callable(getattr(preprocess, "describe", None)):
        raise TypeError(
            f"preprocess must offer __call__(stimuli, indices) and describe(), got {preprocess!r}"
        )
    if not isinstance(preprocess, ImagePreprocess):
        return preprocess
    arguments = inspect.signature(module.forward).parameters
    named = [
        key for key, each in arguments.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    if preprocess.input_name is None:
        return replace(preprocess, input_name=named[0] if named else "x")
    takes_any = any(each.kind is each.VAR_KEYWORD for each in arguments.values())
    if preprocess.input_name not in named and not takes_any:
        hint = "leave input_name out to use the first"
        raise ValueError(unknown_name_message("input_name", preprocess.input_name, named, hint))
    return preprocess


def _all_families() -> dict[str, _Family]:
    for module in _BUILT_IN:
        importlib.import_module(f"encoders.backbones.{module}")
    return dict(sorted(_families.items()))
