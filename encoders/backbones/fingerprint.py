"""One sha256 that says which network this is: architecture, settings, weights and preprocessing."""

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
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint_module(module: nn.Module, preprocess_description: Mapping[str, Any] | None = None) -> str:
    """Return the sha256 over a network and its preprocessing.

    Covered are, for each submodule, its name, class and settings (numbers, strings, functions, tensors kept
    as plain attributes; the code of classes defined outside the known libraries), the name, shape, type and
    bytes of each parameter and buffer, a `config` if there is one, and `preprocess_description`. Equal in
    every process. Code that a module calls outside its own class is not seen.

    Parameters
    ----------
    module
        The network.
    preprocess_description
        What ``preprocess.describe()`` returns.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(b"cogmodels-backbone-1")
    seen_classes: set[type] = set()
    for name, child in module.named_modules():
        kind = type(child)
        digest.update(f"\0module {name} {kind.__module__}.{kind.__qualname__}".encode())
        if kind not in seen_classes:
            seen_classes.add(kind)
            digest.update(_own_code(kind).encode())
        digest.update(_ADDRESS.sub("", child.extra_repr()).encode())
        settings = {key: value for key, value in vars(child).items() if key not in _BOOKKEEPING}
        if _known(
            kind
        ):  # where a library loaded it from, and how it works inside, is no part of what it computes
            settings = {key: v for key, v in settings.items() if key[0] != "_" and key != "name_or_path"}
        digest.update(_canonical(settings).encode())
    for name, tensor in _tensors(module):
        digest.update(f"\0tensor {name} {_tensor_digest(tensor)}".encode())
    digest.update(json.dumps(preprocess_description, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def module_state_key(module: nn.Module) -> tuple[Any, ...]:
    """Return a cheap key that changes when a tensor of `module` is replaced or changed in place."""
    return tuple(
        (name, tensor.data_ptr(), tensor._version, tensor.shape) for name, tensor in _tensors(module)
    )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give parameters and buffers, those left out of the state dict too."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _tensor_digest(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
    return f"{plain.dtype} {tuple(plain.shape)} {hashlib.sha256(data.data).hexdigest()}"


def _canonical(value: Any) -> str:
    """Write a setting as text that is equal in every process; what has no such text gives its class only."""
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
        return f"partial({_canonical(value.func)},{_canonical(value.args)},{_canonical(value.keywords)})"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
        name = f"{value.__module__}.{value.__qualname__}"
        return name + (
            _code(value.__code__) if isinstance(value, types.FunctionType) and not _known(value) else ""
        )
    if callable(getattr(value, "to_dict", None)):  # the configuration of a transformers model
        return _canonical({k: v for k, v in value.to_dict().items() if k not in _CONFIG_PROVENANCE})
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _known(thing: Any) -> bool:
    return (thing.__module__ or "").split(".")[0] in _LIBRARIES


def _own_code(kind: type) -> str:
    """Return the code of a class and its bases as far as no known library defines them.

    Two classes of the same name, such as one cell of a notebook before and after an edit, differ here only.
    """
    functions = [
        f"{base.__qualname__}.{name}{_code(value.__code__)}"
        for base in kind.__mro__
        if base is not object and not _known(base)
        for name, value in sorted(vars(base).items())
        if isinstance(value, types.FunctionType)
    ]
    return ";".join(functions)


def _code(code: types.CodeType) -> str:
    constants = [_code(c) if isinstance(c, types.CodeType) else _canonical(c) for c in code.co_consts]
    return f"({hashlib.sha256(code.co_code).hexdigest()},{code.co_names},{','.join(constants)})"
