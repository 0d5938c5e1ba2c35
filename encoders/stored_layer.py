"""One layer's features on disk: zarr arrays, a record of what they are, a mark for each finished chunk."""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc

from stimuli.files import hash_file, read_json, write_json

_CHUNK_FILE = re.compile(r"\d+(\.\d+)+")
_RECORD_FIELDS = {"identity", "info", "n_stimuli", "chunk_size", "batch_size", "outputs"}
_MAX_CHUNK_BYTES = 256 << 20  # the compressor takes less than 2 GiB at once


class CorruptFeaturesError(ValueError):
    """A file of the feature store is missing, truncated or changed."""

    def __init__(self, path: Path, what: str, store: Path) -> None:
        self.path, self.what, self.store = path, what, store
        super().__init__(
            f"{path} {what}; run FeatureStore({str(store)!r}).repair() and extract again: "
            "it removes what is damaged, and only that is computed anew"
        )

    def __reduce__(self) -> tuple[type, tuple[Path, str, Path]]:
        return type(self), (self.path, self.what, self.store)


@dataclass(frozen=True)
class StoredOutput:
    """One array of a layer: its name, axes, full shape, and whether NaN stands for padded tokens."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    padded: bool


class _CheckedStore(zarr.storage.DirectoryStore):
    """A folder of chunks that notes the sha256 of each when written and checks it when read."""

    def __init__(self, path: Path, owner: Path, digests: Mapping[str, str] | None = None) -> None:
        super().__init__(str(path))
        self._owner = owner
        self._expected = digests
        self.written: dict[str, str] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if _CHUNK_FILE.fullmatch(key):
            self.written[key] = hashlib.sha256(memoryview(value).cast("B")).hexdigest()

    def __getitem__(self, key: str) -> bytes:
        if self._expected is None or not _CHUNK_FILE.fullmatch(key):
            return super().__getitem__(key)
        path = Path(self.path) / key
        if not path.is_file():
            raise CorruptFeaturesError(path, "is missing", self._owner)
        value = super().__getitem__(key)
        if hashlib.sha256(value).hexdigest() != self._expected.get(key):
            raise CorruptFeaturesError(path, "is truncated or was changed (sha256 differs)", self._owner)
        return value

    @property
    def chunk_digests(self) -> dict[str, str] | None:
        """The sha256 of each chunk that reading is held to; None while writing."""
        return None if self._expected is None else dict(self._expected)

    def getitems(self, keys: Sequence[str], *, contexts: Mapping[str, Any]) -> dict[str, Any]:
        # zarr leaves out missing keys and then fills in; a finished chunk that is gone must be an error.
        if self._expected is None:
            return dict(super().getitems(keys, contexts=contexts))
        return {key: self[key] for key in keys}


class StoredLayer:
    """The features of one layer under one key.

    The folder holds ``record.json`` (what the key stands for, chunk size, outputs), ``INDEX.zarr`` for each
    output, and ``finished/CHUNK.json`` with the size and sha256 of the files of each finished chunk. The
    record is written with the first chunk, so a run that fails before leaves nothing to be held to.

    Parameters
    ----------
    store, key
        Folder of the store and name of this folder in it.
    identity
        What the key is the sha256 of; read from the record where there is one.
    """

    def __init__(self, store: Path, key: str, identity: Mapping[str, Any] | None = None) -> None:
        self.store, self.key, self.identity = store, key, dict(identity or {})
        self.folder = store / key
        self.chunk_size = self.batch_size = self.n_stimuli = 0
        self.outputs: list[StoredOutput] = []
        self.finished: dict[int, dict[str, Any]] = {}
        self.info: dict[str, Any] = {}

    def reload(self) -> None:
        """Read the record and the marks, and check that files of finished chunks are there in full length.

        Raises
        ------
        CorruptFeaturesError
            A file is missing or has another length, or the record or a mark is not readable.
        """
        self.finished = {}
        self.chunk_size = 0
        if not self.exists:
            return
        self.read_record()
        self.finished = {int(path.stem): self._read(path, {"files"})["files"] for path in self._marks()}
        for files in self.finished.values():
            for name, mark in files.items():
                path = self.folder / name
                size = path.stat().st_size if path.is_file() else None
                if size != mark["size"]:
                    what = (
                        "is missing"
                        if size is None
                        else f"has {size} bytes where {mark['size']} were written"
                    )
                    raise CorruptFeaturesError(path, what, self.store)

    @property
    def exists(self) -> bool:
        """Whether at least the first chunk was begun."""
        return (self.folder / "record.json").is_file()

    @property
    def n_chunks(self) -> int:
        """How many chunks all stimuli make; 0 before the first is begun."""
        return -(-self.n_stimuli // self.chunk_size) if self.chunk_size else 0

    @property
    def complete(self) -> bool:
        """Whether every chunk is finished."""
        return self.n_chunks > 0 and len(self.finished) == self.n_chunks

    def begin(
        self, outputs: Iterable[StoredOutput], chunk_size: int, batch_size: int, info: Mapping[str, Any]
    ) -> None:
        """Make the empty arrays and write the record."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.outputs = list(outputs)
        for index, output in enumerate(self.outputs):
            rest = output.shape[1:]
            row_bytes = 4 * chunk_size * int(np.prod(rest[1:], dtype=np.int64))
            zarr.open_array(
                store=_CheckedStore(self._array_path(index), self.store),
                mode="w",
                shape=output.shape,
                chunks=(chunk_size, min(max(1, _MAX_CHUNK_BYTES // row_bytes), rest[0]), *rest[1:]),
                dtype="<f4",
                fill_value=np.nan,
                write_empty_chunks=True,
                compressor=Blosc("lz4", clevel=1, shuffle=Blosc.SHUFFLE),
            )
        record = {
            "identity": self.identity,
            "info": dict(info),
            "n_stimuli": self.outputs[0].shape[0],
            "chunk_size": chunk_size,
            "batch_size": batch_size,
            "outputs": [asdict(output) for output in self.outputs],
        }
        write_json(self.folder / "record.json", record)
        self.reload()

    def write_chunk(self, chunk: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the rows of one chunk of every output, then mark it as finished.

        A kill at any moment leaves the chunk either finished or to be done again; its stale files are
        overwritten.
        """
        files = {}
        for index, output in enumerate(self.outputs):
            folder = self._array_path(index)
            for stale in folder.glob(f"{chunk}.*"):
                stale.unlink(missing_ok=True)  # a worker taken for dead may be at it too
            checked = _CheckedStore(folder, self.store)
            rows = slice(chunk * self.chunk_size, min((chunk + 1) * self.chunk_size, self.n_stimuli))
            zarr.open_array(store=checked, mode="r+")[rows] = arrays[output.name]
            for key, digest in checked.written.items():
                size = (folder / key).stat().st_size
                files[f"{folder.name}/{key}"] = {"size": size, "sha256": digest}
        write_json(self._mark_path(chunk), {"files": files})
        self.finished[chunk] = files

    def arrays(self) -> dict[str, zarr.Array]:
        """Open the outputs for reading; each chunk is checked against its sha256 when it is read.

        Raises
        ------
        CorruptFeaturesError
            The description of an array is not readable or not that of the record; later, on reading, a chunk
            is missing, truncated or changed.
        """
        digests: dict[str, str] = {
            name: mark["sha256"] for files in self.finished.values() for name, mark in files.items()
        }
        return {output.name: self._open(index, digests) for index, output in enumerate(self.outputs)}

    def _open(self, index: int, digests: Mapping[str, str]) -> zarr.Array:
        folder, output = self._array_path(index), self.outputs[index]
        of_array = {
            name.removeprefix(f"{folder.name}/"): digest
            for name, digest in digests.items()
            if name.startswith(f"{folder.name}/")
        }
        try:
            # Absolute: the array may be read in another folder, or on a worker that stands in one.
            array = zarr.open_array(store=_CheckedStore(folder.absolute(), self.store, of_array), mode="r")
        except (zarr.errors.ArrayNotFoundError, zarr.errors.MetadataError, ValueError, KeyError) as error:
            raise CorruptFeaturesError(
                folder / ".zarray", "is missing or not readable", self.store
            ) from error
        if array.shape != output.shape or array.chunks[0] != self.chunk_size or array.dtype != "<f4":
            raise CorruptFeaturesError(folder / ".zarray", "does not fit record.json", self.store)
        return array

    def repair(self) -> list[Path]:
        """Remove each finished chunk whose files are missing or changed, and return the files that were bad.

        A layer whose record or array description is not readable is removed as a whole.
        """
        try:
            self.read_record()
            for index in range(len(self.outputs)):
                self._open(index, {})
        except CorruptFeaturesError as error:
            shutil.rmtree(self.folder)
            return [error.path]
        bad = []
        for path in self._marks():
            try:
                files = self._read(path, {"files"})["files"]
                wrong = [
                    self.folder / name for name, m in files.items() if not _is_whole(self.folder / name, m)
                ]
            except CorruptFeaturesError:
                wrong = [path]
            if wrong:
                path.unlink()  # a chunk without a mark is to be done, whatever lies there
                bad.extend(wrong)
        return bad

    def read_record(self) -> None:
        """Read what the layer is, without its marks: enough to write a chunk.

        Raises
        ------
        CorruptFeaturesError
            The record is not readable.
        FileNotFoundError
            There is none.
        """
        record = self._read(self.folder / "record.json", _RECORD_FIELDS)
        self.identity, self.info = record["identity"], record["info"]
        self.chunk_size, self.batch_size = record["chunk_size"], record["batch_size"]
        self.n_stimuli = record["n_stimuli"]
        self.outputs = [
            StoredOutput(each["name"], tuple(each["dims"]), tuple(each["shape"]), each["padded"])
            for each in record["outputs"]
        ]

    def _marks(self) -> list[Path]:
        # Digits first: a kill during writing leaves a temporary neighbour, whose name begins with a dot.
        return sorted((self.folder / "finished").glob("[0-9]*.json"))

    def _read(self, path: Path, needed: set[str]) -> dict[str, Any]:
        try:
            content = read_json(path)
        except ValueError as error:
            raise CorruptFeaturesError(path, "is truncated or not JSON", self.store) from error
        if not isinstance(content, dict) or not needed <= content.keys():
            raise CorruptFeaturesError(path, f"lacks one of {sorted(needed)}", self.store)
        return content

    def _array_path(self, index: int) -> Path:
        return self.folder / f"{index}.zarr"

    def _mark_path(self, chunk: int) -> Path:
        return self.folder / "finished" / f"{chunk:06d}.json"


def _is_whole(path: Path, mark: Mapping[str, Any]) -> bool:
    return path.is_file() and hash_file(path) == mark["sha256"]
