"""From the name and options of a run to the model that searches, and what it is made of."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.experiments.search_config import NETWORKS, SearchConfig
from stimuli.files import hash_file, unknown_name_message

if TYPE_CHECKING:
    from cogmodels.search import SearchModel
    from encoders.backbones import Backbone


def make_search_model(config: SearchConfig) -> SearchModel:
    """Make the model that a run asks for.

    Parameters
    ----------
    config : SearchConfig

    Returns
    -------
    SearchModel
        Its name is the run's label, where there is one.

    Raises
    ------
    FileNotFoundError
        If a folder of a model, or a file of weights, is missing.
    KeyError, TypeError, ValueError
        For options that the model or its policy does not have, or values that they do not take.
    """
    if config.model == "oat":
        from cogmodels.search.oat.oat import OAT

        assert config.model_folder is not None  # the configuration sees to it
        model = OAT.load(config.model_folder)
        if config.label is not None:
            model.name = config.label
        return model
    kind = _class_of(config.model)
    options: dict[str, Any] = dict(config.model_options)
    _check_options("model_options", options, kind)
    if config.label is not None:
        options["name"] = config.label
    policy = _policy(config, kind)
    if policy is not None:
        options["policy"] = policy
    if config.model not in NETWORKS:
        return kind(**options)
    options |= {"px_per_degree": config.px_per_degree, "device": config.device}
    if config.backbone is not None and Path(config.backbone).is_dir():
        from cogmodels.search.diets import load_diet_network

        if config.weights != "cache":
            raise ValueError(f"weights: the network in {config.backbone} has its own; leave it out")
        return kind(load_diet_network(config.backbone), **options)
    arguments = () if config.backbone is None else (config.backbone,)
    return kind(*arguments, weights=config.weights, seed=config.seed, **options)


def describe_search_model(model: SearchModel, config: SearchConfig) -> dict[str, Any]:
    """Return what decides where a model looks beyond its configuration: weights and stored files, as JSON values."""
    backbones = backbones_of(model)
    record: dict[str, Any] = {"class": type(model).__name__, "name": model.name}
    if backbones:
        record["backbone_sha256"] = backbones[0].fingerprint
    if config.model_folder is not None:
        files = sorted(path for path in Path(config.model_folder).rglob("*") if path.is_file())
        record["files_sha256"] = {
            path.relative_to(config.model_folder).as_posix(): hash_file(path) for path in files
        }
    return record


def backbones_of(model: SearchModel) -> list[Backbone]:
    """Return the networks that a model looks through."""
    backbone = getattr(model, "backbone", None)
    return [] if backbone is None else [backbone]


def _class_of(name: str) -> type[Any]:
    from cogmodels.search import baselines

    if name == "eccnet":
        from cogmodels.search.eccnet import EccNet

        return EccNet
    if name == "ivsn":
        from cogmodels.search.ivsn import IVSN

        return IVSN
    return {
        "pixel": baselines.PixelTemplate,
        "saliency": baselines.Saliency,
        "center": baselines.CenterBias,
        "chance": baselines.Chance,
        "nearest": baselines.NearestFirst,
    }[name]


def _policy(config: SearchConfig, kind: type[Any]) -> Any:
    """Return the model's own policy with the run's settings, None where there are none."""
    if not config.policy:
        return None
    from cogmodels.search import SearchPolicy

    _check_options("policy", config.policy, SearchPolicy)
    own = inspect.signature(kind).parameters["policy"].default if config.model not in NETWORKS else None
    settings: dict[str, Any] = dict(config.policy)
    return replace(own or SearchPolicy(), **settings)


def _check_options(argument: str, options: Mapping[str, Any], kind: type[Any]) -> None:
    """Refuse an option that a class does not take."""
    known: set[str] = set()
    for each in kind.__mro__:  # a subclass may hand its options on
        known |= {
            name
            for name, parameter in inspect.signature(each).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
    known -= {"policy", "name", "backbone"}
    if unknown := sorted(set(options) - known):
        raise ValueError(unknown_name_message(f"{argument} of {kind.__name__}", unknown[0], sorted(known)))
