"""Weights from files: only tensors are read, and they must fit exactly."""

import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stimuli.files import hash_file

_SHOWN = 4
_TORCH_STARTS = (b"PK", b"\x80")  # a zip archive, or the pickle that torch.save wrote before
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{6,64})\.[a-z]+$")


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a ``torch.save`` file that holds nothing but tensors.

    Pickled code is never run: ``torch.load`` is used with ``weights_only=True``. A dict that wraps the state
    dict under ``state_dict`` or ``model`` is unwrapped.

    Parameters
    ----------
    path
        The file; ``.safetensors`` is read as such, anything else as a ``torch.save`` file.

    Returns
    -------
    dict of str to Tensor
        On the CPU, in the types of the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is corrupt or truncated, would run code when read, or holds something else than tensors.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"weights file {file} {what}; give the path of a .safetensors or torch.save file"
        )
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, ValueError) as error:
            raise ValueError(
                f"{file} is corrupt, truncated or no safetensors file ({error}); get it again"
            ) from error
    with file.open("rb") as stream:
        start = stream.read(2)
    if start and not start.startswith(_TORCH_STARTS):
        raise ValueError(
            f"{file} is neither a safetensors nor a torch.save file; give weights in a file that is called"
            " NAME.safetensors, or a state dict that torch.save wrote"
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(file, error)) from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is corrupt or truncated ({error}); get it again") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(each, Tensor) for each in content.values()):
        raise ValueError(f"{file} holds a {type(content).__name__}, not a state dict of tensors by name")
    return {str(name): tensor for name, tensor in content.items()}


def _refusal(file: Path, error: pickle.UnpicklingError) -> str:
    blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if blocked:
        return (
            f"{file} was refused: reading it would run code ({blocked.group(1)}), so nothing of it was read. "
            "Have its maker save the state_dict() as safetensors"
        )
    return f"{file} is no file of weights, or is corrupt ({str(error).splitlines()[0]}); get it again"


def load_weights_file(module: nn.Module, path: str | os.PathLike[str]) -> str:
    """Read a state dict, copy it into a module and return what file it was, for the provenance."""
    copy_weights(module, read_weights(path), Path(path).name)
    return describe_file(path)


def describe_file(path: str | os.PathLike[str]) -> str:
    """Return name and sha256 of a file, for the provenance."""
    return f"{Path(path).name} (sha256 {hash_file(path)})"


def copy_weights(module: nn.Module, state_dict: Mapping[str, Tensor], source: str = "the state dict") -> None:
    """Copy a state dict into a module after checking that every name, shape and value fits.

    Tensors are cast to the module's types (a float16 file gives a float32 network). Counters of batches,
    which old files lack, may be missing.

    Parameters
    ----------
    module
        The network; untouched if anything is wrong.
    state_dict
        Tensors by name.
    source
        What messages call the weights.

    Raises
    ------
    ValueError
        Names are missing or unexpected, shapes differ, or a value is NaN or infinite.
    """
    expected = module.state_dict()
    common = [name for name in expected if name in state_dict]
    faults = {
        "missing": [
            name for name in expected if name not in state_dict and not name.endswith("num_batches_tracked")
        ],
        "unexpected": [name for name in state_dict if name not in expected],
        "of another shape": [
            f"{name} {tuple(state_dict[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in common
            if state_dict[name].shape != expected[name].shape
        ],
        "with NaN or infinite values": [name for name in common if not _finite(state_dict[name])],
    }
    problems = [
        f"{len(names)} {fault}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for fault, names in faults.items()
        if names
    ]
    if problems:
        raise ValueError(
            f"{source} does not fit {type(module).__name__}, which has {len(expected)} tensors: "
            f"{'; '.join(problems)}. Check that the architecture and its settings are those of the weights"
        )
    expected.update((name, state_dict[name]) for name in common)  # keeps the metadata on versions of modules
    module.load_state_dict(expected)


def check_finite(state_dict: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights with NaN or infinite values.

    Raises
    ------
    ValueError
        Names the tensors.
    """
    bad = [name for name, tensor in state_dict.items() if not _finite(tensor)]
    if bad:
        raise ValueError(
            f"{source}: {len(bad)} tensors with NaN or infinite values: {', '.join(bad[:_SHOWN])}"
        )


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def check_hash_in_name(path: str | os.PathLike[str]) -> None:
    """Check a file against the start of its sha256 that its name carries, as in ``resnet50-11ad3fa6.pth``.

    Raises
    ------
    ValueError
        The name carries a hash and the content has another one.
    """
    wanted = _HASH_IN_NAME.search(Path(path).name)
    if wanted and not hash_file(path).startswith(wanted.group(1)):
        raise ValueError(
            f"{path} is corrupt: its sha256 does not begin with {wanted.group(1)}; remove it and get it again"
        )


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Draw random weights under `seed` inside the block and leave torch's global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
