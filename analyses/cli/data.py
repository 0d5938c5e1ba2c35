"""`cogmodels data`: fetch a dataset explicitly, and say where it lies."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Fetch datasets and say where they lie.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="A dataset's name; see `cogmodels list datasets`.")]


@app.command()
def fetch(
    name: _Name,
    subject: Annotated[str | None, typer.Option(help="One subject or session; all when left out.")] = None,
) -> None:
    """Download a dataset from its home into the cache, checked by sha256."""
    from analyses.datasets import fetch_dataset

    for file in fetch_dataset(name, subject):
        typer.echo(str(file))


@app.command()
def path(name: _Name) -> None:
    """Print where a dataset's files lie: one line a file that is found; status 1 when some are missing."""
    from analyses.datasets import dataset_info
    from analyses.datasets.download import find_file, search_folders
    from stimuli.files import count_of

    info = dataset_info(name)
    if not info.folder:
        typer.echo(f"{name} comes with the package and needs no fetching")
        return
    folders = search_folders(info)
    if info.files:
        found = [file for file in (find_file(info, entry.path) for entry in info.files) if file is not None]
    else:  # each owner's copy holds other files
        found = [folder for folder in folders if folder.is_dir()]
    for file in found:
        typer.echo(str(file))
    missing = len(info.files) - len(found)
    if missing > 0 or not found:
        lacking = count_of(missing, "file") if info.files else "all files"
        places = " or ".join(map(str, folders))
        typer.echo(f"not here yet: {lacking} of {name}, looked for in {places}", err=True)
        raise typer.Exit(1)
