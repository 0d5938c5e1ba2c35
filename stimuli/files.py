"""Files that are whole or absent, hashes of content, and messages for unknown names."""

import difflib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

_CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, replace_folder: bool = False) -> Iterator[Path]:
    """Give a temporary neighbour of `path` that takes its name only when the block ends well.

    Write a file there, or make a folder there (``tmp.mkdir()``). On success everything written is flushed to
    the disk and renamed to `path`; when the block raises, it is removed and `path` is as it was.

    Parameters
    ----------
    path
        Where the finished file or folder shall stand. Missing parents are made.
    replace_folder
        Whether a folder that already stands at `path` may be replaced. A file is always replaced; an empty
        folder too.

    Yields
    ------
    Path
        A name in the same folder and with the same suffixes as `path`; nothing stands there yet.

    Raises
    ------
    FileExistsError
        `path` is a folder with something in it and `replace_folder` is False, or a file was written where a
        folder stands, or a folder where a file stands.
    FileNotFoundError
        The block ended without writing anything.
    """
    target = Path(path)
    if not replace_folder and target.is_dir() and any(target.iterdir()):
        raise FileExistsError(
            f"{target} is a folder that is not empty; choose another path or remove it first"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name stays at the end: numpy, matplotlib and nibabel choose the format by one suffix or two.
    temporary = target.with_name(f".{secrets.token_hex(6)}.{target.name[-200:]}")
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(
                f"nothing was written for {target}: write to the path that atomic_write yields"
            )
        if target.exists() and target.is_dir() != temporary.is_dir():
            kinds = ("folder", "file") if target.is_dir() else ("file", "folder")
            raise FileExistsError(f"{target} is a {kinds[0]} and cannot be replaced by a {kinds[1]}")
        _flush(temporary)
        if temporary.is_dir() and target.exists():
            _swap_folder(temporary, target)
        else:
            os.replace(temporary, target)
        _flush_entry(target.parent)
    finally:
        _remove(temporary)


def _swap_folder(new: Path, target: Path) -> None:
    """Put `new` in the place of the folder `target`; a full folder cannot be renamed over."""
    old = target.with_name(f".{target.name}.{secrets.token_hex(6)}.old")
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old)


def _flush(path: Path) -> None:
    """Force a file, or everything in a folder, to the disk."""
    for entry in [*path.rglob("*"), path] if path.is_dir() else [path]:
        if not entry.is_symlink():
            _flush_entry(entry)


def _flush_entry(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented UTF-8 JSON, whole or not at all.

    numpy scalars and arrays become numbers and lists, paths become strings.

    Raises
    ------
    ValueError
        A number is NaN or infinite: JSON has no such numbers. Write None or a string instead.
    TypeError
        Something in `content` has no form in JSON.
    """
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_as_plain)
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}; JSON has no NaN or infinity, write None") from error
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _as_plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON: {value!r:.80}")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is truncated or no JSON; the message names the file and the place.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is truncated or not JSON ({error}); write it again") from error


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """Return the sha256 of an array's shape, dtype and values as 64 hexadecimal digits.

    Memory layout and byte order do not matter; otherwise values are compared bit for bit (-0.0 is not 0.0).

    Raises
    ------
    TypeError
        The array holds Python objects, whose bytes are addresses.
    """
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise TypeError(f"cannot hash an array of dtype {array.dtype}: convert it to numbers or to str first")
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.tobytes() if array.size == 0 or array.ndim == 0 else array.view(np.uint8).data)
    return digest.hexdigest()


def near_matches(name: str, allowed: Iterable[str], n: int = 5) -> list[str]:
    """Return at most `n` of the `allowed` names that are most like `name`, the nearest first.

    Case does not matter; names that contain `name` (or are contained in it) count as near.
    """
    wanted = name.lower()
    likeness = {
        other: difflib.SequenceMatcher(None, wanted, other.lower()).ratio()
        + (0.5 if wanted and (wanted in other.lower() or other.lower() in wanted) else 0.0)
        for other in allowed
    }
    ranked = sorted(likeness, key=lambda other: (-likeness[other], other))
    return [other for other in ranked if likeness[other] >= 0.6][:n]


def count_of(n: int, noun: str, plural: str = "") -> str:
    """Return ``"1 row"``, ``"2 rows"``; `plural` where it is not the noun with an s."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def unknown_name_message(kind: str, name: str, allowed: Iterable[str], hint: str = "") -> str:
    """Compose the message for a name that is not among the `allowed` ones.

    Parameters
    ----------
    kind
        What is named, e.g. ``"layer"``.
    name
        What came.
    allowed
        What would have been right. Near matches are listed, or all of a short list.
    hint
        The next step, e.g. ``"list_backbones() shows them all"``.
    """
    names = sorted(set(allowed))
    near = near_matches(str(name), names)
    parts = [f"unknown {kind} {name!r}"]
    if near:
        parts.append(f"did you mean {', '.join(map(repr, near))}?")
    elif not names:
        parts.append(f"there is no {kind} to choose from")
    else:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        parts.append(f"allowed: {', '.join(map(repr, names[:10]))}{more}")
    return "; ".join([*parts, *([hint] if hint else [])])


def safe_member_path(root: str | os.PathLike[str], member: str, *, links_may_leave: bool = False) -> Path:
    """Return where `member`, a name from an archive or a table, lies under `root`.

    Parameters
    ----------
    root
        The folder that holds the members.
    member
        A relative name.
    links_may_leave
        Whether symbolic links under `root` may lead out of it: True only where the owner of the folder, not
        an archive, put them there.

    Raises
    ------
    ValueError
        The name is empty, absolute, or leaves `root` through ``..`` or a symbolic link.
    """
    base = Path(os.path.abspath(root))
    posix, windows = PurePosixPath(member), PureWindowsPath(member)
    absolute = posix.is_absolute() or bool(windows.drive or windows.root)
    if absolute or ".." in windows.parts or "\0" in member:
        raise ValueError(
            f"the name {member!r} leaves its folder {base}; names must be relative, without '..'"
        )
    path = base / member
    if path == base:
        raise ValueError(f"the name {member!r} names no file in {base}")
    if not links_may_leave and not path.resolve().is_relative_to(base.resolve()):
        raise ValueError(f"the name {member!r} leaves its folder {base} through a symbolic link")
    return path
