"""Where the files of a data set are, and how they get there.

A file is looked for in the folder that ``COGMODELS_DATA`` names, then in the cache; only an explicit call for
the data set downloads it from its home. Wherever it was found, its SHA-256 has to be the published one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from analyses.datasets.array_files import check_file
from analyses.datasets.dataset import DataFile, DatasetInfo
from stimuli.files import safe_member_path

DATA_VARIABLE = "COGMODELS_DATA"


def raw_github_url(repository: str, commit: str, path: str) -> str:
    """Give the address of one file of a GitHub repository at one commit.

    Parameters
    ----------
    repository : str
        ``OWNER/NAME``.
    commit : str
        Full hash, so that the file cannot change.
    path : str
        Path inside the repository.

    Returns
    -------
    str
    """
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"


def cache_folder() -> Path:
    """Give the folder that downloads go to.

    Returns
    -------
    Path
        ``data`` below the user's cache folder for cogmodels; it need not exist yet.
    """
    return Path(pooch.os_cache("cogmodels")) / "data"


def user_folder() -> Path | None:
    """Give the folder that ``COGMODELS_DATA`` names.

    Returns
    -------
    Path or None
        None where the variable is not set.

    Raises
    ------
    FileNotFoundError
        If the variable names something that is no folder.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{DATA_VARIABLE} is {value!r}, which is no folder. Correct it or unset it.")
    return folder


def search_folders(info: DatasetInfo) -> list[Path]:
    """List the folders in which the files of a data set are looked for.

    Parameters
    ----------
    info : DatasetInfo
        The data set.

    Returns
    -------
    list of Path
        First the one below ``COGMODELS_DATA``, where that is set, then the one in the cache.
    """
    user = user_folder()
    roots = ([user] if user is not None else []) + [cache_folder()]
    return [root / info.folder for root in roots]


def find_file(info: DatasetInfo, path: str) -> Path | None:
    """Look for one file of a data set without downloading it.

    Parameters
    ----------
    info : DatasetInfo
        The data set.
    path : str
        One of the paths in ``info.files``.

    Returns
    -------
    Path or None
        None where it is in neither folder. Its content is not looked at.
    """
    for folder in search_folders(info):
        candidate = safe_member_path(folder, path)
        if candidate.is_file():
            return candidate
    return None


def get_file(info: DatasetInfo, path: str, *, download: bool = True) -> Path:
    """Find one file of a data set, or download it, and check its SHA-256.

    Parameters
    ----------
    info : DatasetInfo
        The data set.
    path : str
        One of the paths in ``info.files``.
    download : bool
        Whether to download what is not there.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If the file is nowhere and must not or could not be downloaded; the message names its home and the
        folder that it may be put into.
    ValueError
        If a file was found that is damaged or another version.
    """
    entry = _entry(info, path)
    found = find_file(info, path)
    if found is None:
        return download_file(info, entry) if download else _give_up(info, entry, "download=False was given")
    check_file(found, entry.sha256)
    return found


def download_file(info: DatasetInfo, entry: DataFile) -> Path:
    """Download one file into the cache; a damaged copy there is replaced.

    Parameters
    ----------
    info : DatasetInfo
        The data set.
    entry : DataFile
        One of ``info.files``.

    Returns
    -------
    Path
        The file in the cache. It appears there only when it is complete and its SHA-256 agrees.

    Raises
    ------
    FileNotFoundError
        If it cannot be downloaded or what came is not the published file.
    """
    target = safe_member_path(cache_folder() / info.folder, entry.path)
    if not entry.url:
        return _give_up(info, entry, "its home gives no address for it")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # pooch writes beside the target, compares the hash, then renames.
        pooch.retrieve(entry.url, known_hash=f"sha256:{entry.sha256}", fname=target.name, path=target.parent)
    except (OSError, ValueError) as error:
        return _give_up(info, entry, f"downloading {entry.url} failed: {error}", error)
    return target


def fetch_files(info: DatasetInfo, subject: str | None = None) -> list[Path]:
    """Make the files of a data set present and whole.

    Parameters
    ----------
    info : DatasetInfo
        The data set.
    subject : str, optional
        Only what this subject needs.

    Returns
    -------
    list of Path
        One a file, in the order of ``info.files``.

    Raises
    ------
    FileNotFoundError
        If a file cannot be downloaded.
    ValueError
        If a file below ``COGMODELS_DATA`` is damaged (a damaged one in the cache is replaced).
    """
    paths = []
    for entry in info.files:
        if subject is not None and entry.subject not in ("", subject):
            continue
        found = find_file(info, entry.path)
        if found is None or found.is_relative_to(cache_folder()):
            paths.append(download_file(info, entry))
        else:
            check_file(found, entry.sha256)
            paths.append(found)
    return paths


def _entry(info: DatasetInfo, path: str) -> DataFile:
    return next(entry for entry in info.files if entry.path == path)


def _give_up(info: DatasetInfo, entry: DataFile, reason: str, cause: Exception | None = None) -> Path:
    looked = " and ".join(str(folder / entry.path) for folder in search_folders(info))
    unset = "" if os.environ.get(DATA_VARIABLE) else f" ({DATA_VARIABLE} is not set)"
    raise FileNotFoundError(
        f"{info.name} needs the file {entry.path}, which is not there (looked for {looked}{unset}), and "
        f"{reason}. Its home is {info.home}. Save the file as {cache_folder() / info.folder / entry.path}, "
        f"or set {DATA_VARIABLE} to a folder that holds {info.folder}/{entry.path}."
    ) from cause
