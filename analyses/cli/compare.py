"""`cogmodels compare`: encoding runs of the same data, paired."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of two or more finished runs on the same data.")
    ],
    layer: Annotated[
        str | None,
        typer.Option(help="Layer of every run, as in its report; each run's headline layer when left out."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Compare every other run with this one, instead of all pairs.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, figures and a page: new or empty.")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Exchanges of two runs' predictions.")] = 1000,
    bootstraps: Annotated[int, typer.Option(help="Draws of the bootstrap interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of both.")] = 0,
) -> None:
    """Compare encoding runs on the same responses, region by region, with intervals and p-values."""
    from analyses.experiments.compare_runs import compare_runs

    if out is not None:
        from analyses.report.page import check_out

        check_out(out)  # before minutes of work
    comparison = compare_runs(runs, layer, reference, bootstraps, permutations, seed)
    console = Console(emoji=False, highlight=False, markup=False)
    for run, used in zip(comparison.runs, comparison.layers, strict=True):
        console.print(f"{run}: {used}")
    for a, b in comparison.pairs:
        console.print(f"\n{a} less {b}")
        table = Table(box=None, pad_edge=False)
        for column in ("region", "n", "r of first", "r of second", "difference", "interval", "p", "q"):
            table.add_column(column, overflow="fold", no_wrap=column != "region")
        for row in comparison.table.query("run_a == @a and run_b == @b").to_dict("records"):
            table.add_row(
                row["roi"],
                f"{row['n_voxels']}",
                *(f"{value:.3f}" for value in (row["r_a"], row["r_b"])),
                f"{row['difference']:+.3f}",
                f"{row['lower']:+.3f} to {row['upper']:+.3f}",
                *(f"{value:.2g}" for value in (row["p_value"], row["q_value"])),
            )
        console.print(table)
    for note in comparison.notes:
        console.print(f"\n{note}")
    if out is not None:
        from analyses.report.comparison_page import write_comparison

        typer.echo(f"Report: {write_comparison(comparison, out)}")
