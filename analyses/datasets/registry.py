"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from analyses.datasets.dataset import Dataset, DatasetInfo
from analyses.datasets.download import fetch_files
from analyses.datasets.search_dataset import SearchDataset
from stimuli.files import unknown_name_message

# By these a type checker tells what `load_dataset` gives for a name that is written out.
ResponseName = Literal[
    "algonauts2023", "digits69", "haxby", "haxby-slice", "kriegeskorte92", "simulated", "v4-natural"
]
SearchName = Literal["amazon-covers", "coco-search18", "interiors", "search-asymmetry"]

Loader = Callable[..., Dataset | SearchDataset]
LoaderT = TypeVar("LoaderT", bound=Loader)
Fetcher = Callable[[DatasetInfo, str | None], list[Path]]
_ENTRIES: dict[str, tuple[DatasetInfo, Loader, Fetcher]] = {}


def register_dataset(info: DatasetInfo, fetch: Fetcher = fetch_files) -> Callable[[LoaderT], LoaderT]:
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
        Decorator for a function ``loader(subject, **options)`` that gives a `Dataset`, or a `SearchDataset`
        where ``info.holds`` is ``"search"``.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if info.name in _ENTRIES:
        raise ValueError(f"A data set named {info.name!r} is registered already; choose another name.")

    def enter(loader: LoaderT) -> LoaderT:
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


@overload
def load_dataset(name_or_folder: SearchName, subject: str | None = ..., **options: Any) -> SearchDataset: ...


@overload
def load_dataset(
    name_or_folder: ResponseName | Path, subject: str | None = ..., **options: Any
) -> Dataset: ...


@overload
def load_dataset(
    name_or_folder: str, subject: str | None = ..., **options: Any
) -> Dataset | SearchDataset: ...


def load_dataset(
    name_or_folder: str | Path, subject: str | None = None, **options: Any
) -> Dataset | SearchDataset:
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
    Dataset or SearchDataset
        Stimuli and responses of the brain; or, where ``dataset_info(name).holds`` is ``"search"``, displays and
        people's scanpaths. `load_response_dataset` gives the first alone.

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


def load_response_dataset(name_or_folder: str | Path, subject: str | None = None, **options: Any) -> Dataset:
    """Load a data set with responses of the brain, and refuse others before any file is read.

    Parameters
    ----------
    name_or_folder, subject, **options
        As in `load_dataset`.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the data set holds visual search; and as `load_dataset`.
    """
    name = str(name_or_folder)
    if not isinstance(name_or_folder, Path) and name in _ENTRIES and _ENTRIES[name][0].holds == "search":
        with_responses = ", ".join(info.name for info in list_datasets() if info.holds == "responses")
        raise ValueError(
            f"{name} holds displays and scanpaths of people who searched, and no responses to fit or decode; "
            f"data sets with responses are {with_responses}, or a folder of your own. Search data go with "
            "models of search: load_dataset, then a model's search(displays)."
        )
    dataset = load_dataset(name_or_folder, subject, **options)
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"the loader of {name} gave a {type(dataset).__name__} where its info says that it holds responses; "
            'register it with holds="search".'
        )
    return dataset


def _check_subject(info: DatasetInfo, subject: str) -> None:
    if subject not in info.subjects:
        hint = ""
        if info.holds == "search":
            hint = " Observers are loaded together; take one with scanpaths.select(observers=...)."
        raise ValueError(f"subject is {subject!r}; {info.name} has {', '.join(info.subjects)}.{hint}")
