"""Fitted encoders in folders: arrays as safetensors, everything else as JSON, nothing pickled.

A folder holds `encoder.json` (class, parameters, what was learnt, metadata) and `arrays.safetensors`. Reading
it executes nothing that the folder brings: the class is looked up by name among the registered ones, and only
constructor parameters and learnt attributes (names that end in an underscore) are set.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from encoders.estimators.ridge import RidgeEncoder
from encoders.training.settings import Training
from stimuli.files import atomic_write, hash_file, read_json, unknown_name_message, write_json

FORMAT = "cogmodels encoder"
VERSION = 1
_JSON_NAME = "encoder.json"
_ARRAYS_NAME = "arrays.safetensors"

EncoderClass = TypeVar("EncoderClass", bound=type)
_ENCODERS: dict[str, type] = {}
# Settings that are a parameter as a whole; no other class is made from what a folder says.
_SETTINGS: dict[str, type] = {"Training": Training}


def register_encoder(cls: EncoderClass) -> EncoderClass:
    """Let an encoder class be saved and loaded under its name; use as a decorator.

    The class follows scikit-learn: parameters by `get_params`, what is learnt in attributes that end in an
    underscore and hold arrays of numbers or text, plain values, or lists, tuples and dicts of them.

    Raises
    ------
    ValueError
        If another class has the name.
    """
    if _ENCODERS.setdefault(cls.__name__, cls) is not cls:
        raise ValueError(
            f"an encoder named {cls.__name__!r} is already registered: choose another class name"
        )
    return cls


register_encoder(RidgeEncoder)


def save_encoder(
    encoder: Any, folder: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write a fitted encoder into a folder of its own, whole or not at all.

    Parameters
    ----------
    encoder : estimator
        Fitted, of a registered class.
    folder : path
        New, empty, or holding an encoder saved earlier, which is replaced.
    metadata : mapping, optional
        Whatever shall stand beside it (layer, backbone, fingerprint), in terms of JSON.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    KeyError
        If the class is not registered.
    TypeError
        If a parameter or learnt attribute has a type that safetensors and JSON cannot hold.
    ValueError
        If the encoder is not fitted.
    """
    cls: type = type(encoder)
    name = cls.__name__
    if _ENCODERS.get(name) is not cls:
        raise KeyError(
            unknown_name_message("encoder class", name, _ENCODERS, "register_encoder(CLASS) adds one")
        )
    params = encoder.get_params(deep=False)
    learnt = {key: value for key, value in vars(encoder).items() if _is_learnt_name(key)}
    if not learnt:
        raise ValueError(f"encoder {name} is not fitted, so there is nothing to save: call fit first")
    target = Path(folder)
    if target.is_dir() and any(target.iterdir()) and not (target / _JSON_NAME).is_file():
        raise FileExistsError(f"folder {target} holds something other than an encoder: choose another folder")
    arrays: dict[str, NDArray] = {}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "class": name,
        "params": {key: _pack(value, f"params.{key}", arrays) for key, value in params.items()},
        "learnt": {key: _pack(value, f"learnt.{key}", arrays) for key, value in learnt.items()},
        "metadata": dict(metadata or {}),
    }
    with atomic_write(target, replace_folder=True) as temporary:
        temporary.mkdir()
        save_file(arrays, temporary / _ARRAYS_NAME)
        content["arrays_sha256"] = hash_file(temporary / _ARRAYS_NAME)
        write_json(temporary / _JSON_NAME, content)
    return target


def load_encoder(folder: str | os.PathLike[str]) -> Any:
    """Read an encoder that `save_encoder` wrote; it predicts to the bit what the saved one did.

    Parameters
    ----------
    folder : path

    Returns
    -------
    estimator
        Of the class that was saved.

    Raises
    ------
    FileNotFoundError
        If the folder or a file in it is missing.
    KeyError
        If the class is not registered: import the module that registers it first.
    ValueError
        If a file is corrupt or truncated, or the two do not belong together.
    """
    content = _read_content(folder)
    name = content["class"]
    if name not in _ENCODERS:
        raise KeyError(
            unknown_name_message(
                "encoder class", str(name), _ENCODERS, "import the module that registers it first"
            )
        )
    path = Path(folder) / _ARRAYS_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: save the encoder again")
    if hash_file(path) != content["arrays_sha256"]:
        raise ValueError(
            f"{path} is corrupt, truncated or of another encoder: its sha256 differs; save it again"
        )
    cls = _ENCODERS[name]
    try:
        arrays = load_file(path)
        params = {key: _unpack(value, arrays) for key, value in content["params"].items()}
        learnt = {key: _unpack(value, arrays) for key, value in content["learnt"].items()}
        known = set(cls().get_params(deep=False))
        foreign = (set(params) - known) | {key for key in learnt if not _is_learnt_name(key)}
        if foreign:
            raise ValueError(f"{name} has no {', '.join(sorted(foreign))}")
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} holds no sound encoder ({error}): save it again") from error
    encoder = cls(**params)
    for key, value in learnt.items():
        setattr(encoder, key, value)
    return encoder


def read_metadata(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the metadata that `save_encoder` was given, without the arrays.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_encoder`.
    """
    return dict(_read_content(folder)["metadata"])


def _read_content(folder: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(folder) / _JSON_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is no folder that save_encoder wrote")
    content = read_json(path)
    expected = {"class": str, "params": dict, "learnt": dict, "metadata": dict, "arrays_sha256": str}
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} describes no encoder: its format is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {content.get('version')}, this program reads {VERSION}: update it"
        )
    wrong = [key for key, kind in expected.items() if not isinstance(content.get(key), kind)]
    if wrong:
        raise ValueError(f"{path} is damaged: {', '.join(wrong)} missing or of the wrong kind; save it again")
    return content


def _is_learnt_name(name: str) -> bool:
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")


def _pack(value: Any, place: str, arrays: dict[str, NDArray]) -> Any:
    """Turn a value into JSON; arrays go into `arrays` under the name of their place."""
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub":
        # Column-major arrays are stored transposed: sums in another order would end in other last bits.
        transposed = value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous
        arrays[place] = np.asarray(value.T if transposed else value, order="C")
        kind = "scalar" if isinstance(value, np.generic) else "transposed" if transposed else "array"
        return {kind: place}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"text": value.tolist()}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{place}.{number}", arrays) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _pack(item, f"{place}.{key}", arrays) for key, item in value.items()}}
    if type(value) in _SETTINGS.values():
        # Not asdict: what lies inside is packed here.
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"settings": [type(value).__name__, _pack(held, place, arrays)]}
    raise TypeError(
        f"{place} is {value!r:.60} ({type(value).__name__}), which cannot be saved: numpy arrays of numbers "
        f"or text, numbers, text, None, and lists, tuples and dicts of them can"
    )


def _unpack(value: Any, arrays: Mapping[str, NDArray]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tuple":
        return tuple(_unpack(item, arrays) for item in held)
    if kind == "dict":
        return {key: _unpack(item, arrays) for key, item in held.items()}
    if kind == "float":
        return float(held)
    if kind == "settings":
        name, content = held
        return _SETTINGS[name](**_unpack(content, arrays))
    if kind == "text":
        return np.array(held, dtype=str)
    if kind == "scalar":
        return arrays[held][()]
    if kind == "transposed":
        return arrays[held].T
    if kind == "array":
        return arrays[held]
    raise ValueError(f"unknown kind of value {kind!r}")
