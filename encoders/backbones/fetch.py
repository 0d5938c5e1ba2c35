"""The explicit download of weights: what would be fetched from where, and fetching it."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from encoders.backbones.vision import hub_file, timm_config, torchvision_weights
from encoders.backbones.weights import check_hash_in_name

# Never pickled weights, never code.
_HUB_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class FetchPlan:
    """What `fetch_weights` would download.

    Parameters
    ----------
    spec
        The network.
    url
        Address of a single file, or None.
    repository
        Id of a repository of the Hugging Face hub, or None.
    patterns
        Which files of the repository.
    target
        Where a single file will stand; files of a repository go into the hub's own cache.
    """

    spec: str
    url: str | None = None
    repository: str | None = None
    patterns: tuple[str, ...] = ()
    target: Path | None = None


def plan_fetch(spec: str) -> FetchPlan:
    """Say what `fetch_weights` would download; nothing is asked of the network.

    Raises
    ------
    KeyError
        The name is unknown.
    ValueError
        The network has no weights to download.
    """
    family, _, argument = spec.partition("/")
    if family == "torchvision":
        url = torchvision_weights(argument)[1].url
        return FetchPlan(spec, url=url, target=hub_file(url))
    if family == "timm":
        config = timm_config(argument)
        if config.hf_hub_id:
            return FetchPlan(spec, repository=config.hf_hub_id, patterns=("model.safetensors",))
        if config.url:
            return FetchPlan(spec, url=config.url, target=hub_file(config.url))
        raise ValueError(
            f"timm knows no trained weights for {argument}; choose one of timm.list_models(pretrained=True)"
        )
    if family == "hf":
        repository = argument.partition("#")[0]
        if Path(repository).expanduser().is_dir():
            raise ValueError(
                f"{repository} is a folder on this machine: load_backbone({spec!r}) needs no download"
            )
        return FetchPlan(spec, repository=repository, patterns=_HUB_PATTERNS)
    raise ValueError(
        f"there is nothing to download for {spec!r}: only 'torchvision/NAME', 'timm/NAME' and 'hf/ID' have "
        "weights elsewhere; the others come with installed packages or have none"
    )


def fetch_weights(spec: str) -> Path:
    """Download the weights of a network into the cache where `load_backbone` looks for them.

    Parameters
    ----------
    spec
        ``"torchvision/NAME"``, ``"timm/NAME"`` or ``"hf/ID"``.

    Returns
    -------
    Path
        The file, or the folder of a repository.

    Raises
    ------
    KeyError, ValueError
        As `plan_fetch`; or the file's sha256 does not begin as its name says (it is then thrown away).
    ConnectionError
        The download failed.
    """
    plan = plan_fetch(spec)
    return download_repository(plan) if plan.repository else download_file(plan)


def download_file(plan: FetchPlan) -> Path:
    """Fetch a single file to its target, unless it is there; an error as in `fetch_weights`."""
    import pooch
    import requests

    target = plan.target
    assert target is not None
    if target.is_file():
        check_hash_in_name(target)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Only the start of the hash is known, so pooch cannot check it: the file gets its name after the check.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        try:
            fetched = pooch.retrieve(
                plan.url, known_hash=None, fname=target.name, path=folder, progressbar=False
            )
        except (requests.RequestException, OSError) as error:
            raise ConnectionError(
                f"{plan.url} could not be downloaded: {error}; try again, or {_ELSE}"
            ) from error
        check_hash_in_name(fetched)
        os.replace(fetched, target)
    return target


_ELSE = "get the file some other way and give load_backbone weights=PATH"


def download_repository(plan: FetchPlan) -> Path:
    """Fetch safetensors and settings of a repository into the hub's cache; errors as in `fetch_weights`."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    assert plan.repository is not None
    try:
        return Path(snapshot_download(plan.repository, allow_patterns=list(plan.patterns)))
    except HFValidationError as error:
        raise ValueError(f"{plan.repository!r} is no id of a repository (OWNER/NAME): {error}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, httpx.HTTPError) as error:
        raise ConnectionError(
            f"{plan.repository} could not be downloaded: {error}; try again, or {_ELSE}"
        ) from error
