"""The command's entry: sub-commands, and errors as one clear message instead of a traceback."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from analyses.cli import compare, data, fit, listing, prediction, search
from cogmodels import __version__

_INTERRUPTED = 130  # the status with which typer ends on Ctrl-C

app = typer.Typer(
    name="cogmodels",
    help="Fit encoding models to voxels, and let models search displays as people do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(fit.demo)
app.command("fit")(fit.fit)
app.command("predict")(prediction.predict)
app.command("report")(prediction.report)
app.command("compare")(compare.compare)
app.command("list")(listing.list_things)
app.add_typer(data.app, name="data")
app.add_typer(search.app, name="search")


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


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends with a message and exit status 2, Ctrl-C with 130."""
    # Without emoji, since ":100:" in a penalty grid or a path is no picture; unwrapped, since paths are copied.
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    try:
        app(arguments)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            console.print(
                "\nInterrupted. What was finished is kept: run the same command with --resume to go on.",
                markup=False,
            )
        raise
    except (ValueError, KeyError, OSError, ImportError) as error:
        console.print(f"cogmodels: {_describe(error)}", style="red", markup=False)
        sys.exit(2)


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(_describe_problem(dict(problem)) for problem in error.errors())
    # str() of a KeyError quotes its message; the argument itself does not.
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _describe_problem(problem: dict[str, Any]) -> str:
    if problem["type"] == "value_error":  # a check of this package, whose message says all
        return str(problem["ctx"]["error"])
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {problem['input']!r}"
