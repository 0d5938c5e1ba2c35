"""One sha256 that says which network this is: architecture, settings, weights and preprocessing."""

import argparse
import dataclasses
import enum
import functools
import hashlib
import json
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LIBRARIES = ("torch", "torchvision", "timm", "transformers")
_BOOKKEEPING = set(nn.Module().__dict__)  # hooks, the training flag, the registries of children and tensors
_CONFIG_PROVENANCE = ("_name_or_path", "transformers_version")
_CLASS_BOOKKEEPING = (
    "__dict__",
    "__weakref__",
    "__module__",
    "__doc__",
    "__annotations__",
    "__abstractmethods__",
    "__slotnames__",  # left behind by pickling an instance
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint_module(module: nn.Module, preprocess_description: Mapping[str, Any] | None = None) -> str:
    """Return the sha256 over a network and its preprocessing: what `Backbone.fingerprint` is.

    Parameters
    ----------
    module
        The network.
    preprocess_description
        What ``preprocess.describe()`` returns.

    Returns
    -------
    str
        64 hexadecimal digits, equal in every process; for classes of your own, whose bytecode is covered, in
        every process of one Python version.

    Notes
    -----
    Covered are `hash_architecture`, `hash_tensors` and `preprocess_description`.
    """
    return combine_hashes(hash_architecture(module), hash_tensors(module), preprocess_description)


def combine_hashes(architecture: str, tensors: str, preprocess_description: Mapping[str, Any] | None) -> str:
    """Return the sha256 over the parts of a fingerprint."""
    preprocessing = json.dumps(preprocess_description, sort_keys=True, default=str)
    return hashlib.sha256(f"backbone 1\0{architecture}\0{tensors}\0{preprocessing}".encode()).hexdigest()


def hash_architecture(module: nn.Module) -> str:
    """Return the sha256 over everything about a network that is no parameter or buffer.

    That is the name, class and settings of each submodule (numbers, strings, functions, configurations,
    tensors kept as plain attributes), forward hooks, and the code of classes and functions that no known
    library defines: an edited cell of a notebook gives another network. Code elsewhere is not seen.
    """
    digest = hashlib.sha256()
    seen: set[type] = set()
    for name, child in module.named_modules():
        kind = type(child)
        digest.update(f"\0{name} {kind.__module__}.{kind.__qualname__}".encode())
        if kind not in seen:
            seen.add(kind)
            digest.update(_own_code(kind).encode())
        digest.update(_ADDRESS.sub("", child.extra_repr()).encode())
        settings = {key: value for key, value in vars(child).items() if key not in _BOOKKEEPING}
        if _known(
            kind
        ):  # where a library loaded it from, and how it works inside, is no part of what it computes
            settings = {key: v for key, v in settings.items() if key[0] != "_" and key != "name_or_path"}
        digest.update(_canonical(settings).encode())
        hooks = [*child._forward_pre_hooks.values(), *child._forward_hooks.values()]
        digest.update(_canonical([hook for hook in hooks if not _known(hook)]).encode())
    return digest.hexdigest()


def hash_tensors(module: nn.Module) -> str:
    """Return the sha256 over name, type, shape and bytes of parameters and buffers, also those not saved."""
    digest = hashlib.sha256()
    for name, tensor in _tensors(module):
        digest.update(f"\0{name} {_tensor_digest(tensor)}".encode())
    return digest.hexdigest()


def tensor_state(module: nn.Module) -> tuple[Any, ...]:
    """Return a cheap key that changes when a tensor of `module` is replaced or changed in place."""
    return tuple((name, each.data_ptr(), each._version, each.shape) for name, each in _tensors(module))


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _tensor_digest(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
    return f"{plain.dtype} {tuple(plain.shape)} {hashlib.sha256(data.data).hexdigest()}"


def _canonical(value: Any) -> str:
    """Write a setting as text that is equal in every process; what has no such text gives its class only."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if value is None or isinstance(
        value, bool | int | float | complex | str | bytes | torch.dtype | torch.Size
    ):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key!s}:{_canonical(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ",".join(sorted(map(_canonical, value))) + "}"
    if isinstance(value, Tensor):
        return _tensor_digest(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}"
    if isinstance(value, functools.partial):
        return f"partial{_canonical([value.func, value.args, value.keywords])}"
    if isinstance(value, enum.Enum):
        return f"{kind}.{value.name}"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType | type):
        return f"{value.__module__}.{value.__qualname__}{_code_of(value)}"
    if isinstance(value, staticmethod | classmethod):
        return _canonical(value.__func__)
    if isinstance(value, property):
        return _canonical([value.fget])
    if callable(getattr(value, "to_dict", None)):  # the configuration of a transformers model
        return _canonical({k: v for k, v in value.to_dict().items() if k not in _CONFIG_PROVENANCE})
    if isinstance(value, types.SimpleNamespace | argparse.Namespace) or dataclasses.is_dataclass(value):
        return f"{kind}{_canonical(vars(value))}"
    return f"<{kind}>"


def _known(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").split(".")[0] in _LIBRARIES


def _own_code(kind: type) -> str:
    """Return what a class and its bases define, as far as no known library does."""
    return ";".join(
        f"{base.__qualname__}.{name}={_canonical(value)}"
        for base in kind.__mro__
        if base is not object and not _known(base)
        for name, value in sorted(vars(base).items())
        if name not in _CLASS_BOOKKEEPING
    )


def _code_of(value: Any) -> str:
    function = getattr(value, "__func__", value)
    if not isinstance(function, types.FunctionType) or _known(function):
        return ""
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell.cell_contents is not value]
    held = [each for each in cells if isinstance(each, bool | int | float | str | Tensor | np.ndarray)]
    return _bytecode(function.__code__) + _canonical([function.__defaults__, function.__kwdefaults__, held])


def _bytecode(code: types.CodeType) -> str:
    constants = [
        _bytecode(each) if isinstance(each, types.CodeType) else _canonical(each) for each in code.co_consts
    ]
    return f"({hashlib.sha256(code.co_code).hexdigest()},{code.co_names},{','.join(constants)})"
