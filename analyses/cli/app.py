"""The command's entry: sub-commands, and errors as one clear message instead of a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from analyses.cli import data, fit, listing, prediction
from cogmodels import __version__

app = typer.Typer(
    name="cogmodels",
    help="Fit encoding models to voxels, with noise ceilings, nulls and provenance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(fit.demo)
app.command("fit")(fit.fit)
app.command("predict")(prediction.predict)
app.command("report")(prediction.report)
app.command("list")(listing.list_things)
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cogmodels {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """Take options that belong to no sub-command."""


def main() -> None:
    """Run the command; bad input ends with a message and exit status 2, Ctrl-C with 130."""
    console = Console(stderr=True, highlight=False)
    try:
        app()
    except KeyboardInterrupt:
        console.print(
            "\nInterrupted. What was finished is kept: run the same command with --resume to go on.", markup=False
        )
        sys.exit(130)
    except (ValueError, KeyError, OSError, ImportError) as error:
        # str() of a KeyError quotes its message; the argument itself does not.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        console.print(f"cogmodels: {message}", style="red", markup=False)
        sys.exit(2)
