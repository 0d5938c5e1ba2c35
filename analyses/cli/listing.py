"""`cogmodels list`: what there is to choose from."""

from __future__ import annotations

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
        str | None, typer.Argument(help="Only names that match, such as 'torchvision/resnet*' (backbones).")
    ] = None,
) -> None:
    """List backbones, datasets, encoders or presets."""
    table = {
        Listable.backbones: lambda: _backbones(pattern),
        Listable.datasets: _datasets,
        Listable.encoders: _encoders,
        Listable.presets: _presets,
    }[what]()
    Console().print(table)


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


def _datasets() -> Table:
    from analyses.datasets import list_datasets

    table = _table("dataset", "what", "subjects", "licence")
    for info in list_datasets():
        table.add_row(info.name, info.title, ", ".join(info.subjects), info.licence)
    return table


def _encoders() -> Table:
    from analyses.experiments.fitting import ENCODERS

    table = _table("encoder", "what")
    for name, maker in ENCODERS.items():
        table.add_row(name, (maker.__doc__ or "").strip().split("\n")[0])
    return table


def _presets() -> Table:
    from analyses.experiments.config import PRESETS

    table = _table("preset", "dataset", "feature spaces")
    for name, config in PRESETS.items():
        table.add_row(name, config.dataset, ", ".join(space.name for space in config.spaces))
    return table
