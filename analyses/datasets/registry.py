"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from analyses.datasets.dataset import Dataset, DatasetInfo
from analyses.datasets.download import fetch_files
from stimuli.files import unknown_name_message

Loader = Callable[..., Dataset]
Fetcher = Callable[[DatasetInfo, str | None], list[Path]]
_ENTRIES: dict[str, tuple[DatasetInfo, Loader, Fetcher]] = {}


def register_dataset(info: DatasetInfo, fetch: Fetcher = fetch_files) -> Callable[[Loader], Loader]:
    """Enter a loader under the name that `info` gives.

    Parameters
    ----------
    info : DatasetInfo
        What is known of the data set.
    fetch : callable
        What `fetch_dataset` does for it; by default every one of ``info.files`` is downloaded.

    Returns
    -------
    callable
        Decorator for a function ``loader(subject, **options) -> Dataset``.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if info.name in _ENTRIES:
        raise ValueError(f"A data set named {info.name!r} is registered already; choose another name.")

    def enter(loader: Loader) -> Loader:
        _ENTRIES[info.name] = (info, loader, fetch)
        return loader

    return enter


def list_datasets() -> list[DatasetInfo]:
    """List what `load_dataset` knows by name.

    Returns
    -------
    list of DatasetInfo
        In alphabetical order.
    """
    return [_ENTRIES[name][0] for name in sorted(_ENTRIES)]


def dataset_info(name: str) -> DatasetInfo:
    """Look a data set up without loading it.

    Parameters
    ----------
    name : str
        One of the names in `list_datasets`.

    Returns
    -------
    DatasetInfo

    Raises
    ------
    KeyError
        If there is none of that name; the message lists near matches.
    """
    if name not in _ENTRIES:
        raise KeyError(
            unknown_name_message("data set", name, sorted(_ENTRIES), "list_datasets() shows them all")
        )
    return _ENTRIES[name][0]


def fetch_dataset(name: str, subject: str | None = None) -> list[Path]:
    """Download what is missing of a data set, and check the rest.

    Parameters
    ----------
    name : str
        One of the names in `list_datasets`.
    subject : str, optional
        Only what this subject needs; everything by default.

    Returns
    -------
    list of Path
        Every file, in the order of ``info.files``; empty where the data are simulated, or come from the user.

    Raises
    ------
    KeyError
        If there is none of that name; the message lists near matches.
    FileNotFoundError
        If a file cannot be downloaded; the message names its home and where it may be put.
    ValueError
        If the subject is unknown, or a file below ``COGMODELS_DATA`` is damaged; damaged files in the cache
        are replaced.
    """
    info = dataset_info(name)
    if subject is not None:
        _check_subject(info, subject)
    return _ENTRIES[name][2](info, subject)


def load_dataset(name_or_folder: str | Path, subject: str | None = None, **options: Any) -> Dataset:
    """Load one subject of a data set, by the data set's name or from a folder of one's own.

    Parameters
    ----------
    name_or_folder : str or Path
        A name from `list_datasets`, or a folder in the layout that ``docs/your-own-data.md`` describes. A
        `Path` is always a folder, also where it is called like a data set.
    subject : str, optional
        One of ``info.subjects``; the first by default.
    **options
        What the data set's own loader takes: ``download=False`` forbids a download, ``folder=`` names
        a folder that the user holds (``algonauts2023``), and so on.

    Returns
    -------
    Dataset

    Raises
    ------
    KeyError
        If there is neither a data set nor a folder of that name; the message lists near matches.
    ValueError
        If the subject is unknown or the data are damaged or do not fit together.
    FileNotFoundError
        If files are missing and cannot be downloaded.
    """
    name = str(name_or_folder)
    if isinstance(name_or_folder, Path) or name not in _ENTRIES:
        folder = Path(name_or_folder)
        if folder.is_dir():
            from analyses.datasets.own_folder import load_own_folder

            return load_own_folder(folder, subject, **options)
        hint = "there is no folder of that name either"
        raise KeyError(unknown_name_message("data set", name, sorted(_ENTRIES), hint))
    info, loader, _ = _ENTRIES[name]
    if subject is None:
        subject = info.subjects[0]
    _check_subject(info, subject)
    return loader(subject, **options)


def _check_subject(info: DatasetInfo, subject: str) -> None:
    if subject not in info.subjects:
        raise ValueError(f"subject is {subject!r}; {info.name} has {', '.join(info.subjects)}.")
