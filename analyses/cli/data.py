"""`cogmodels data`: fetch a dataset explicitly, and say where it lies."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Fetch datasets and say where they lie.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="A dataset's name; see `cogmodels list datasets`.")]


@app.command()
def fetch(name: _Name) -> None:
    """Download a dataset from its home into the cache, checked by sha256."""
    from analyses.datasets import fetch_dataset

    typer.echo(str(fetch_dataset(name)))


@app.command()
def path(name: _Name) -> None:
    """Print the folder that a dataset is read from."""
    from analyses.datasets import dataset_path

    typer.echo(str(dataset_path(name)))
