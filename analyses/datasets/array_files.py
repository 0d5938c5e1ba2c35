"""Read npy, npz and MATLAB files so that damage is named and nothing is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from stimuli.files import hash_file, safe_member_path


def check_file(path: Path, sha256: str = "") -> None:
    """Check that a file is there and, where its hash is known, whole.

    Parameters
    ----------
    path : Path
        File to check.
    sha256 : str
        Expected SHA-256 in hexadecimal; ``""`` checks existence only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its content is not the expected one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if sha256 and (found := hash_file(path)) != sha256:
        raise ValueError(
            f"{path} is damaged or another version: its sha256 is {found} ({path.stat().st_size} bytes), "
            f"expected {sha256}. Delete it and fetch it again."
        )


def read_npy(path: Path, *, mmap: bool = False) -> np.ndarray:
    """Read an npy file without ever unpickling.

    Parameters
    ----------
    path : Path
        File to read.
    mmap : bool
        Whether to map the file instead of reading it into memory.

    Returns
    -------
    ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, not an npy file, or holds Python objects.
    """
    check_file(path)
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r" if mmap else None)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(_npy_message(path, error)) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays, not one npy array; give it the ending .npz.")
    return array


def read_npz(path: Path, sha256: str = "") -> dict[str, np.ndarray]:
    """Read every array of an npz file without ever unpickling.

    Parameters
    ----------
    path : Path
        File to read.
    sha256 : str
        Expected SHA-256 in hexadecimal; ``""`` checks nothing.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, not an npz file, or holds Python objects.
    """
    check_file(path, sha256)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(_npy_message(path, error)) from error


def read_mat(path: Path, sha256: str = "") -> dict[str, Any]:
    """Read a MATLAB file of version 4 to 7.

    Parameters
    ----------
    path : Path
        File to read.
    sha256 : str
        Expected SHA-256 in hexadecimal; ``""`` checks nothing.

    Returns
    -------
    dict of str to Any
        Variables as `scipy.io.loadmat` gives them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read.
    """
    import scipy.io

    check_file(path, sha256)
    try:
        return scipy.io.loadmat(path)
    except Exception as error:  # scipy raises whatever a damaged byte leads it to
        raise ValueError(
            f"{path} is not a readable MATLAB v4-v7 file ({error}). Fetch or save it again."
        ) from error


def _npy_message(path: Path, error: Exception) -> str:
    text = str(error)
    if "allow_pickle" in text or "pickled" in text or "Object arrays" in text:
        return (
            f"{path} holds pickled Python objects (or is no npy file), and unpickling can run code. Save "
            "plain arrays of numbers or strings with numpy.save(path, array, allow_pickle=False)."
        )
    return f"{path} is truncated or not a numpy file ({text}). Copy or save it again."


def take_variable(content: dict[str, Any], name: str, path: Path) -> Any:
    """Take one variable of a file that was read.

    Parameters
    ----------
    content : dict
        What the file holds.
    name : str
        Variable.
    path : Path
        The file, for the message.

    Returns
    -------
    Any

    Raises
    ------
    ValueError
        If there is no such variable.
    """
    if name not in content:
        held = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
        raise ValueError(f"{path} holds no {name!r}; it holds {held}. It is another file than expected.")
    return content[name]


def read_zip_members(
    path: Path, endings: tuple[str, ...], max_member_bytes: int = 64 * 2**20
) -> dict[str, bytes]:
    """Read the files of a zip archive into memory; nothing is written anywhere.

    Parameters
    ----------
    path : Path
        Archive.
    endings : tuple of str
        Lower-case endings of the names to read, such as ``".jpg"``; other entries are passed over.
    max_member_bytes : int
        Largest file that is unpacked: a guard against archives made to fill the memory.

    Returns
    -------
    dict of str to bytes
        Content by name, sorted by name.

    Raises
    ------
    FileNotFoundError
        If there is no such archive.
    ValueError
        If it is truncated or damaged, a name leaves the archive's folder, or a member is too large.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = sorted(
                (member for member in archive.infolist() if member.filename.lower().endswith(endings)),
                key=lambda member: member.filename,
            )
            for member in wanted:
                safe_member_path(path.parent, member.filename)
                if member.file_size > max_member_bytes:
                    raise ValueError(f"{member.filename} would unpack to {member.file_size} bytes")
            return {member.filename: archive.read(member) for member in wanted}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is not a readable zip archive of this data set: {error}") from error
