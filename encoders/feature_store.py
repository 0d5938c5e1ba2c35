"""Features on disk, found again by what they were made from and of."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from encoders.stored_layer import CorruptFeaturesError, StoredLayer

__all__ = ["CorruptFeaturesError", "FeatureStore", "StoredFeatures"]

# Goes up whenever the same stimuli and network would give other features.
EXTRACTION_VERSION = 1


@dataclass(frozen=True)
class StoredFeatures:
    """One line of the store's inventory."""

    key: str
    backbone: str
    layer: str
    reduction: str
    dtype: str
    shapes: dict[str, tuple[int, ...]]
    n_finished: int
    n_chunks: int
    size_bytes: int


class FeatureStore:
    """A folder of features that `extract_features` fills, resumes and reads.

    Each layer has one folder, named by the sha256 over the hash of the stimuli's media, the fingerprint of
    weights and preprocessing, the layer, the reduction, the precision and the named axes. So features of
    another network, or of the same after a change of one weight, are never served. Inside is one zarr array
    an output, cut into chunks along the stimuli.

    A chunk is finished once its mark is written, after its data; a kill loses only the chunk under way. Chunk
    and batch size are kept with the first chunk and used until the layer is complete, so that a resumed run
    on the same machine gives the same bits as an uninterrupted one. Each finished chunk carries its sha256,
    which is checked on reading.

    Two processes that want the same layer take turns: the second waits for the lock of the first, then
    computes what is missing. The system frees the lock when a process dies. Locks do not reach across
    machines on some network file systems.

    Parameters
    ----------
    folder
        Made when first written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"the feature store must be a folder, and {self.folder} is a file")

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.folder)!r})"

    def layer(self, identity: Mapping[str, Any]) -> StoredLayer:
        """Return what is stored under an identity, possibly nothing yet.

        Parameters
        ----------
        identity
            JSON values that decide the features.

        Raises
        ------
        CorruptFeaturesError
            Something stored there is damaged.
        """
        text = json.dumps({"version": EXTRACTION_VERSION, **identity}, sort_keys=True)
        stored = StoredLayer(self.folder, hashlib.sha256(text.encode()).hexdigest(), identity)
        stored.reload()
        return stored

    @contextmanager
    def locked(self, layers: Iterable[StoredLayer]) -> Iterator[None]:
        """Hold the right to write these layers; waits for other processes."""
        with ExitStack() as stack:
            for key in sorted(
                layer.key for layer in layers
            ):  # one order for all, or two could wait for each other
                stack.enter_context(self._lock(key))
            yield

    def list(self) -> Sequence[StoredFeatures]:
        """Return the inventory, one entry a layer, sorted by backbone and layer.

        Raises
        ------
        CorruptFeaturesError
            A record is not readable.
        """
        found = []
        for key in self._keys():
            stored = StoredLayer(self.folder, key)
            stored.reload()
            identity = stored.identity
            settings = identity.get("reduction", {})
            found.append(
                StoredFeatures(
                    key=key,
                    backbone=str(stored.info.get("backbone", {}).get("name", "")),
                    layer=str(identity.get("layer", "")),
                    reduction=":".join(str(value) for value in settings.values()),
                    dtype=str(identity.get("dtype", "")),
                    shapes={output.name: output.shape for output in stored.outputs},
                    n_finished=len(stored.finished),
                    n_chunks=stored.n_chunks,
                    size_bytes=_folder_bytes(stored.folder),
                )
            )
        return sorted(found, key=lambda entry: (entry.backbone, entry.layer, entry.key))

    def size_bytes(self) -> int:
        """Return how many bytes the files of the store take."""
        return _folder_bytes(self.folder)

    def repair(self) -> tuple[Path, ...]:
        """Read every file, remove damaged chunks, and return the files that were bad.

        The next `extract_features` computes the removed chunks again, and only them.
        """
        bad: list[Path] = []
        for key in self._keys():
            with self._lock(key):
                bad.extend(StoredLayer(self.folder, key).repair())
        return tuple(bad)

    def delete(self, key: str) -> None:
        """Remove one layer's features, named by its key in `list`.

        Raises
        ------
        KeyError
            There is no such key.
        """
        if key not in self._keys():
            raise KeyError(f"{self!r} holds no features under {key!r}; list() shows the keys")
        with self._lock(key):
            shutil.rmtree(self.folder / key)

    def _keys(self) -> Sequence[str]:
        return sorted(path.parent.name for path in self.folder.glob("*/record.json"))

    def _lock(self, key: str) -> FileLock:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock")


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
