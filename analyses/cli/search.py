"""`cogmodels search`: models that look for targets, beside people who did, and what they were raised on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from analyses.cli.fit import Out, Resume, read_settings, read_whole_numbers

app = typer.Typer(
    help="Let models search displays, compare them with people, train networks on diets.",
    no_args_is_help=True,
)


@app.command()
def run(
    model: Annotated[
        str, typer.Option(help="eccnet, ivsn, oat, pixel, saliency, center, chance or nearest.")
    ],
    paradigm: Annotated[
        str,
        typer.Option(
            help="One of six asymmetry paradigms, 'all' six, 'interiors', 'amazon-covers', or a folder of displays."
        ),
    ],
    out: Out,
    resume: Resume = False,
    backbone: Annotated[
        str | None,
        typer.Option(help="Network of eccnet and ivsn: a name, or a folder of `cogmodels search train`."),
    ] = None,
    weights: Annotated[str, typer.Option(help="Its weights: 'cache', 'random', or a file.")] = "cache",
    model_folder: Annotated[str | None, typer.Option(help="Where an oat was saved.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Argument of the model, NAME=VALUE, as eccentricity=false. May be repeated."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Setting of the search policy, NAME=VALUE, as max_fixations=20. May be repeated."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="What the observer is called in tables and figures.")
    ] = None,
    conditions: Annotated[
        str | None, typer.Option(help="Comma-separated conditions of one paradigm; all when left out.")
    ] = None,
    set_sizes: Annotated[
        str | None, typer.Option(help="Comma-separated set sizes; the published ones when left out.")
    ] = None,
    displays: Annotated[
        int | None,
        typer.Option(
            help="Displays a condition and set size (30 when left out); of other displays, how many."
        ),
    ] = None,
    px_per_degree: Annotated[float, typer.Option(help="Pixels in a degree of visual angle.")] = 30.0,
    rollouts: Annotated[int, typer.Option(help="Searches of each display.")] = 1,
    bootstraps: Annotated[int, typer.Option(help="Draws of the bootstrap intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of displays, search and bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="'cpu', 'cuda' or 'cuda:1'.")] = "cpu",
) -> None:
    """Let a model search displays; write its scanpaths, slopes or curves, and a report."""
    from analyses.experiments.search import run_search
    from analyses.experiments.search_config import SearchConfig
    from analyses.report.search_page import REPORT

    config = SearchConfig(
        model=model,
        backbone=backbone,
        weights=weights,
        model_folder=model_folder,
        model_options=read_settings("--option", option or []),
        policy=read_settings("--policy", policy or []),
        label=label,
        paradigm=paradigm,
        conditions=tuple(name.strip() for name in conditions.split(",")) if conditions else None,
        set_sizes=read_whole_numbers("--set-sizes", set_sizes) if set_sizes else None,
        n_displays=displays,
        px_per_degree=px_per_degree,
        n_rollouts=rollouts,
        n_bootstrap=bootstraps,
        seed=seed,
        device=device,
    )
    finished = run_search(config, out, resume=resume)
    trials = finished.trials
    typer.echo(
        f"{finished.name}: {len(trials):,} trials, {trials['found'].mean():.1%} found, "
        f"{trials['n_fixations'].mean():.2f} fixations on average"
    )
    typer.echo(f"Report: {out / REPORT}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of one or more finished runs of search.")],
    people: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set of people, or a CSV file of scanpaths; those at hand when left out. May be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, figures and a page: new or empty.")
    ] = None,
    bootstraps: Annotated[int, typer.Option(help="Draws of the bootstrap intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Compare searchers with people and with each other, paired over displays."""
    from analyses.experiments.compare_search import compare_search
    from analyses.report.page import check_out
    from analyses.report.search_page import search_sentences, write_search_comparison
    from analyses.report.search_tables import search_tables

    if out is not None:
        check_out(out)  # before minutes of work
    comparison = compare_search(runs, people or None, n_bootstrap=bootstraps, seed=seed)
    console = Console(emoji=False, highlight=False, markup=False, soft_wrap=True)
    for sentence in search_sentences(comparison):
        console.print(sentence)
    for table in search_tables(comparison):
        console.print(f"\n{table['title']}")
        shown = Table(box=None, pad_edge=False)
        for column in table["columns"]:
            shown.add_column(column, overflow="fold")
        for row in table["rows"]:
            shown.add_row(*row)
        console.print(shown)
    for note in comparison.notes:
        console.print(f"\n{note}")
    if out is not None:
        typer.echo(f"Report: {write_search_comparison(comparison, out)}")


@app.command()
def train(
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder of the network: new, or that of the same training, to go on."),
    ],
    light: Annotated[
        str | None,
        typer.Option(
            help="Train on a drawn world of bumps and dents lit from: above, below, left, right, any."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Train on a folder of images, a sub-folder a class, instead.")
    ] = None,
    change: Annotated[
        str | None, typer.Option(help="Change every picture: rotate_90, retina_warp or black_lines.")
    ] = None,
    images: Annotated[int, typer.Option(help="Pictures of the drawn world.")] = 4000,
    size: Annotated[int, typer.Option(help="Side in pixels that the network is trained on.")] = 64,
    training: Annotated[
        list[str] | None,
        typer.Option(help="Setting of the training, NAME=VALUE, as n_epochs=10. May be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of pictures, first weights and validation pictures.")] = 0,
) -> None:
    """Raise a small network on a diet of pictures, for `cogmodels search run --backbone FOLDER`."""
    from analyses.experiments.search_diet import run_diet
    from cogmodels.search.diets import read_diet_metadata

    settings = read_settings("--training", training or [])
    run_diet(
        out,
        light=light,
        data=data,
        change=change,
        n_images=images,
        size_px=size,
        training=settings,
        seed=seed,
    )
    learnt = read_diet_metadata(out)
    typer.echo(
        f"{learnt['validation_accuracy']:.1%} of {learnt['n_validation']:,} validation pictures named rightly"
    )
    typer.echo(f"Network: {out}")
