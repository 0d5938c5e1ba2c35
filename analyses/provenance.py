"""What was run: enough to run it again, and nothing that belongs to one person's machine."""

from __future__ import annotations

import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any, Protocol, runtime_checkable

import numpy as np

from analyses.datasets.dataset import Dataset
from stimuli.files import hash_array, write_json
from stimuli.stimulus_set import StimulusSet

PROVENANCE = "provenance.json"
_DISTRIBUTION = "cogmodels"

# A path from the root of a file system, but not the path of a URL or a slash between words.
_ABSOLUTE_PATH = re.compile(r"(?<![\w:.~-])(?<!:/)(?:/|[A-Za-z]:[\\/])[^\s'\",;()\[\]{}]+")


@runtime_checkable
class Describable(Protocol):
    """Anything that says what it is, such as a backbone with its fingerprint."""

    def describe(self) -> dict[str, Any]:
        """Return plain JSON values."""
        ...


def collect_provenance(
    config: Mapping[str, Any],
    *,
    dataset: Dataset | None = None,
    stimuli: StimulusSet | None = None,
    backbones: Iterable[Describable] = (),
    seeds: Mapping[str, int] | None = None,
    device: str = "cpu",
    wall_s: float | None = None,
    cpu_s: float | None = None,
) -> dict[str, Any]:
    """Gather what produced a result. Call it when the work is done.

    Parameters
    ----------
    config : mapping
        Settings of the run.
    dataset : Dataset, optional
        Origin, licence and hashes of responses are recorded.
    stimuli : StimulusSet, optional
        Its hashes are recorded.
    backbones : iterable of Backbone
        Description and fingerprint of each are recorded.
    seeds : mapping of str to int, optional
        Every seed that was used.
    device : str
        Where it was computed, ``"cpu"`` or ``"cuda:0"``.
    wall_s, cpu_s : float, optional
        Elapsed seconds, and processor seconds of this process, since the start of the work.

    Returns
    -------
    dict
        Plain JSON values: ``command_line``, ``started`` and ``finished`` (UTC), ``wall_s``, ``cpu_s``,
        ``code`` (version, commit, whether files were changed since), ``versions`` of Python and of each
        declared dependency, ``machine``, ``seeds``, ``config``, ``dataset``, ``stimuli``, ``backbones``.
        Absolute paths are cut: below the working directory to the rest, elsewhere to the last name. Numbers
        that are not finite become strings.
    """
    finished = datetime.now(UTC)
    started = finished - timedelta(seconds=wall_s) if wall_s is not None else None
    record = {
        "command_line": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": started and started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "wall_s": wall_s and round(wall_s, 3),
        "cpu_s": cpu_s and round(cpu_s, 3),
        "code": _describe_code(),
        "versions": {"python": platform.python_version(), **_dependency_versions()},
        "machine": {"platform": platform.platform(), "device": _describe_device(device)},
        "seeds": dict(seeds or {}),
        "config": config,
        "dataset": _describe_dataset(dataset) if dataset is not None else None,
        "stimuli": _describe_stimuli(stimuli) if stimuli is not None else None,
        "backbones": [backbone.describe() for backbone in backbones],
    }
    return {key: plain_values(value) for key, value in record.items()}


def write_provenance(folder: str | os.PathLike[str], record: Mapping[str, Any]) -> Path:
    """Write a record as ``provenance.json``, whole or not at all.

    Parameters
    ----------
    folder : path
        Folder of the run; made if missing.
    record : mapping
        As `collect_provenance` returns.

    Returns
    -------
    Path
        The file.
    """
    path = Path(folder) / PROVENANCE
    write_json(path, dict(record))
    return path


def _describe_code() -> dict[str, Any]:
    """Version, and commit when the packages stand in a checkout of their own."""
    root = Path(__file__).resolve().parents[1]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    changed = _git(root, "status", "--porcelain") if commit else None
    return {
        "name": _DISTRIBUTION,
        "version": _version(_DISTRIBUTION),
        "commit": commit,
        "changed_since_commit": None if changed is None else bool(changed),
    }


def _git(root: Path, *arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command with fixed arguments
            [program, "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _dependency_versions() -> dict[str, str | None]:
    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    names = [re.match(r"[\w.-]+", line) for line in requirements if "extra ==" not in line]
    return {match.group(): _version(match.group()) for match in names if match}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _describe_device(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device}: {torch.cuda.get_device_name(device)}" if torch.cuda.is_available() else device


def _describe_dataset(dataset: Dataset) -> dict[str, Any]:
    info = dataset.info
    arrays = {f"rdms/{name}": values for name, values in dataset.rdms.items()}
    if dataset.responses is not None:
        arrays["responses"] = dataset.responses.values
    return {
        "name": info.name,
        "title": info.title,
        "subject": dataset.subject,
        "kind": dataset.kind,
        "home": info.home,
        "licence": info.licence,
        "citation": info.citation,
        "files": [{"path": file.path, "sha256": file.sha256} for file in info.files],
        "sha256": {name: hash_array(values) for name, values in arrays.items()},
    }


def _describe_stimuli(stimuli: StimulusSet) -> dict[str, Any]:
    return {
        "name": stimuli.name,
        "n_stimuli": len(stimuli),
        "content_hash": stimuli.content_hash,
        "media_hash": stimuli.media_hash,
    }


def plain_values(value: Any) -> Any:
    """Turn a value into plain JSON without absolute paths."""
    if isinstance(value, Mapping):
        return {_cut_paths(str(key)): plain_values(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain_values(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain_values(item) for item in items]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _shorten(str(value)) if isinstance(value, PurePath) else _cut_paths(str(value))


def _cut_paths(text: str) -> str:
    if Path(text).is_absolute():
        return _shorten(text)
    return _ABSOLUTE_PATH.sub(lambda match: _shorten(match.group()), text)


def _shorten(path: str) -> str:
    whole = PurePath(path)
    if not whole.is_absolute():
        return re.split(r"[\\/]", path)[-1] if re.match(r"[A-Za-z]:[\\/]", path) else whole.as_posix()
    try:
        return whole.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return whole.name
