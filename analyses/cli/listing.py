"""`cogmodels list`: what there is to choose from."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


class Listable(StrEnum):
    """What can be listed."""

    backbones = "backbones"
    datasets = "datasets"
    encoders = "encoders"
    presets = "presets"


def list_things(
    what: Annotated[Listable, typer.Argument(help="What to list.")],
    pattern: Annotated[
        str | None, typer.Argument(help="Only names that match, such as 'torchvision/resnet*'.")
    ] = None,
) -> None:
    """List backbones, datasets, encoders or presets."""
    table = {
        Listable.backbones: _backbones,
        Listable.datasets: _datasets,
        Listable.encoders: _encoders,
        Listable.presets: _presets,
    }[what](pattern)
    Console().print(table)


def _matching(kind: str, names: Iterable[str], pattern: str | None) -> list[str]:
    every = list(names)
    found = [name for name in every if pattern is None or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise KeyError(f"no {kind} matches {pattern!r}; there are {', '.join(every)}")
    return found


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table


def _backbones(pattern: str | None) -> Table:
    from encoders import list_backbones

    names = list_backbones(pattern) if pattern else list_backbones()
    if not names:
        raise KeyError(
            f"no backbone matches {pattern!r}; names begin with their family, as in 'torchvision/resnet*'"
            f" (families: {', '.join(list_backbones())})"
        )
    table = _table("backbone")
    for name in names:
        table.add_row(name)
    return table


def _datasets(pattern: str | None) -> Table:
    from analyses.datasets import list_datasets

    table = _table("dataset", "what", "subjects", "licence")
    infos = {info.name: info for info in list_datasets()}
    for name in _matching("dataset", infos, pattern):
        info = infos[name]
        table.add_row(info.name, info.title, ", ".join(info.subjects), info.licence)
    return table


def _encoders(pattern: str | None) -> Table:
    from analyses.experiments.encoding_models import ENCODERS

    table = _table("encoder", "what")
    for name in _matching("encoder", ENCODERS, pattern):
        table.add_row(name, (ENCODERS[name].__doc__ or "").strip().split("\n")[0])
    return table


def _presets(pattern: str | None) -> Table:
    from analyses.experiments.config import PRESETS

    table = _table("preset", "dataset", "feature spaces")
    for name in _matching("preset", PRESETS, pattern):
        config = PRESETS[name]
        table.add_row(name, config.dataset, ", ".join(space.name for space in config.spaces))
    return table
