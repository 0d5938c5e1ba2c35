"""`cogmodels predict` and `cogmodels report`: what a finished run is good for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="Folder of a finished run.")]


def predict(
    run: Run,
    stimuli: Annotated[Path, typer.Option(help="Folder of images, or with a stimuli.csv.")],
    out: Annotated[Path | None, typer.Option(help="File to write; RUN/predicted.nc when left out.")] = None,
) -> None:
    """Predict the voxels' responses to new stimuli with a run's encoder."""
    from analyses.experiments.prediction import predict_run
    from analyses.experiments.run_folder import write_netcdf
    from stimuli import StimulusSet

    path = out or run / "predicted.nc"
    if out is not None and out.exists() and out.resolve().is_relative_to(run.resolve()):
        raise FileExistsError(
            f"--out: {out} is a file of the run; name another, or leave it out for predicted.nc"
        )
    predicted = predict_run(run, StimulusSet.from_folder(stimuli))
    write_netcdf(predicted.to_dataset(), path)
    typer.echo(f"{path}: {' x '.join(f'{size} {name}' for name, size in predicted.sizes.items())}")


def report(run: Run) -> None:
    """Draw a run's figures and page again."""
    from analyses.report import write_report

    typer.echo(str(write_report(run)))
