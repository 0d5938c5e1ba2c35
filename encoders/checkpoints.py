"""Finished pieces of a long computation, kept in a folder so that a later run need not repeat them."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stimuli.files import atomic_write

_IDENTITY = "__identity__"


@runtime_checkable
class Checkpoint(Protocol):
    """Where finished arrays are kept: anything with `load`, `save` and `discard`."""

    def load(self, key: str) -> dict[str, NDArray] | None:
        """Return the arrays saved under `key`, or None."""

    def save(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        """Keep arrays under `key`, in place of what was there."""

    def discard(self, key: str) -> None:
        """Forget what is kept under `key`, if anything is."""


class FolderCheckpoint:
    """Checkpoints as npz files in a folder, each bound to the configuration that made it.

    Every file carries the hash of the identity and its own key, in its name and inside. What another
    configuration saved in the same folder is neither served nor overwritten. A file that is truncated or
    corrupt counts as absent: its piece is computed again.

    Parameters
    ----------
    folder : path
        Where the files lie; made when the first piece is saved.
    identity : dict
        Whatever the pieces depend on (hashes of data and features, parameters, versions, seeds), in terms of
        JSON.

    Raises
    ------
    TypeError
        If the identity holds something that JSON cannot write: an array goes in as its hash.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        try:
            text = json.dumps(dict(identity), sort_keys=True)
        except TypeError as error:
            raise TypeError(
                f"identity cannot be written as JSON ({error}): put hashes in place of arrays"
            ) from error
        self.identity_hash = hashlib.sha256(text.encode()).hexdigest()

    def path(self, key: str) -> Path:
        """Return the file of `key`; whatever the key holds, it lies in the folder."""
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", key).strip("._")[:80]
        return self.folder / f"{readable or 'piece'}.{self._seal(key)[:16]}.npz"

    def load(self, key: str) -> dict[str, NDArray] | None:
        """Return the arrays saved under `key` by this configuration, or None."""
        path = self.path(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception:
            # A damaged zip fails in many ways, and all have the same remedy: compute the piece again.
            return None
        seal = arrays.pop(_IDENTITY, None)
        return arrays if seal is not None and str(seal) == self._seal(key) else None

    def save(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        """Write the arrays, whole or not at all, and replace what stood under `key`.

        Raises
        ------
        TypeError
            For arrays of Python objects, which only pickle could write.
        """
        plain = {name: np.asarray(value) for name, value in arrays.items()}
        objects = [name for name, value in plain.items() if value.dtype.hasobject]
        if objects or _IDENTITY in plain:
            raise TypeError(
                f"arrays {objects or [_IDENTITY]} cannot be kept: numbers and text under other names can"
            )
        with atomic_write(self.path(key)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **plain, **{_IDENTITY: np.array(self._seal(key))})

    def discard(self, key: str) -> None:
        """Remove what this configuration saved under `key`, if it did."""
        self.path(key).unlink(missing_ok=True)

    def _seal(self, key: str) -> str:
        return hashlib.sha256(f"{self.identity_hash}\n{key}".encode()).hexdigest()
