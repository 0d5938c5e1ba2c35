"""`cogmodels fit` and `cogmodels demo`: one encoding run, from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from stimuli.files import count_of

Out = Annotated[
    Path, typer.Option("--out", help="Folder of the run: new or empty, or the same run's with --resume.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")]


def demo(out: Out = Path("runs/demo"), resume: Resume = False) -> None:
    """Fit the packaged Haxby slice from category one-hot features and from a language network; write a report."""
    from analyses.experiments.config import preset

    _run(preset("demo"), out, resume=resume)


def fit(
    out: Out,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset's name; see `cogmodels list datasets`.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder of your own data; see docs/your-own-data.md.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A whole run by name; the other choices are then taken from it.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Subject or session; the first when left out.")] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(help="Feature space: a backbone, 'onehot' or 'onehot:ATTRIBUTE'. May be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="How a feature space is called in results: one for each --backbone, in their order."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of the backbones: 'cache', 'random', or a safetensors file.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Comma-separated layer names; the backbone's own when left out.")
    ] = None,
    reduction: Annotated[
        str | None,
        typer.Option(help="How a layer becomes one row a stimulus: flatten, mean, cls, grid:4, ..."),
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Side in pixels that images are resized to, or 'native'.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoding model: ridge, banded, spatial, attention or probe.")
    ] = None,
    encoder_preset: Annotated[
        str | None, typer.Option(help="'published': the attention encoder and its training as published.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Parameter of the encoding model, NAME=VALUE, as n_heads=4. May be repeated."),
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option(help="Setting of a trained encoder, NAME=VALUE, as lr=0.001. May be repeated."),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(help="What gets a query or map of its own: all, roi, voxel, hemisphere, parcel."),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Also average the layers, weighted by their inner scores.")
    ] = False,
    alphas: Annotated[
        str | None,
        typer.Option(help="Ridge penalties: '1,10,100', or 'LOWEST:HIGHEST:NUMBER' spaced by ratio."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="'cv', or 'published': the dataset's own test set.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Outer folds; one run at a time for time series.")] = None,
    inner_folds: Annotated[int | None, typer.Option(help="Folds that choose penalty and layer.")] = None,
    group_by: Annotated[str | None, typer.Option(help="What stays whole: auto, run, stimulus, none.")] = None,
    delays: Annotated[
        str | None, typer.Option(help="FIR delays of a time series, in volumes: '1,2,3,4'.")
    ] = None,
    samples: Annotated[
        str | None, typer.Option(help="Rows of a time series: 'volumes', or 'blocks' (one average a block).")
    ] = None,
    scale_features: Annotated[
        bool, typer.Option("--scale-features", help="Standardise features in each fold.")
    ] = False,
    null: Annotated[str | None, typer.Option(help="auto, refit, held_out or none.")] = None,
    permutations: Annotated[int | None, typer.Option(help="Draws of the null.")] = None,
    bootstraps: Annotated[int | None, typer.Option(help="Draws of the bootstrap interval.")] = None,
    within: Annotated[
        str | None, typer.Option(help="Stimulus attribute to score within, such as 'digit'.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, null and bootstrap.")] = None,
    device: Annotated[str | None, typer.Option(help="'cpu', 'cuda' or 'cuda:1'.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Stimuli a forward pass.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Workers: 'local', 'slurm' or the ADDRESS of a scheduler; see docs/cluster.md."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes, or jobs, of --cluster.")] = 2,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="Option of SLURM jobs, NAME=VALUE, as cores=8 or queue=gpu. May be repeated."),
    ] = None,
    resume: Resume = False,
) -> None:
    """Fit an encoding model to voxel responses and write a report."""
    from analyses.experiments import config as configs

    chosen: dict[str, Any] = {
        "subject": subject,
        "encoder": encoder,
        "encoder_preset": encoder_preset,
        "encoder_options": None if option is None else read_settings("--option", option),
        "training": None if training is None else read_settings("--training", training),
        "queries": queries,
        "ensemble": ensemble or None,
        "time_series_samples": samples,
        "alphas": None if alphas is None else parse_alphas(alphas),
        "split": split,
        "n_folds": folds,
        "inner_folds": inner_folds,
        "group_by": group_by,
        "delays_volumes": None if delays is None else read_whole_numbers("--delays", delays),
        "scale_features": scale_features or None,
        "null": null,
        "n_permutations": permutations,
        "n_bootstrap": bootstraps,
        "within": within,
        "seed": seed,
        "device": device,
        "batch_size": batch_size,
    }
    chosen = {key: value for key, value in chosen.items() if value is not None}
    of_space: dict[str, Any] = {
        "weights": weights,
        "layers": None if layers is None else [layer.strip() for layer in layers.split(",")],
        "reduction": reduction,
        "image_size_px": image_size if image_size in (None, "native") else _side(image_size),
    }
    of_space = {key: value for key, value in of_space.items() if value is not None}
    spaces: list[dict[str, Any]] = [{"backbone": name} | of_space for name in backbone or []]
    if label:
        if len(label) != len(spaces):
            raise ValueError(
                f"--label came {count_of(len(label), 'time')} and --backbone {count_of(len(spaces), 'time')}; give one"
                " label for each backbone, in the same order"
            )
        spaces = [space | {"label": name} for space, name in zip(spaces, label, strict=True)]
    if (dataset is not None) + (data is not None) + (preset is not None) != 1:
        raise ValueError("name exactly one of --dataset NAME, --data FOLDER and --preset NAME")
    if preset is not None:
        base = configs.preset(preset).model_dump()
        if not spaces:
            spaces = [space | of_space for space in base["spaces"]]
    else:
        if not spaces:
            raise ValueError(
                "--backbone is missing: name one, such as efficientnet_lite0, minilm, pixels or onehot"
            )
        base = {"dataset": dataset if data is None else _own_folder(data)}
    if spaces:
        chosen["spaces"] = spaces
    config = configs.EncodingConfig.model_validate(base | chosen)
    if cluster is None:
        if slurm:
            raise ValueError("--slurm is for --cluster slurm; add it, or leave --slurm out")
        _run(config, out, resume=resume)
        return
    from encoders.cluster import open_cluster

    options = read_settings("--slurm", slurm) if slurm else None
    with open_cluster(cluster, workers, slurm=options) as opened:
        _run(config, out, resume=resume, cluster=opened)


def parse_alphas(text: str) -> tuple[float, ...]:
    """Read penalties: ``"1,10,100"`` or ``"LOWEST:HIGHEST:NUMBER"``.

    Raises
    ------
    ValueError
        When the text is neither.
    """
    try:
        if ":" in text:
            low, high, number = text.split(":")
            return tuple(float(alpha) for alpha in np.geomspace(float(low), float(high), int(number)))
        return tuple(float(alpha) for alpha in text.split(","))
    except ValueError as error:
        raise ValueError(f"--alphas: {text!r} is neither '1,10,100' nor 'LOWEST:HIGHEST:NUMBER'") from error


def read_settings(option: str, texts: list[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs; values are numbers, true, false, none, comma-separated numbers, or words."""
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ValueError(f"{option}: {text!r} is not NAME=VALUE, as in n_heads=4")
        settings[name.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> bool | int | float | str | tuple[float, ...] | None:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    try:
        return tuple(float(number) for number in text.split(",")) if "," in text else text
    except ValueError:
        return text


def read_whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Read comma-separated whole numbers."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise ValueError(f"{option}: {text!r} is no comma-separated list of whole numbers") from error


def _side(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(
            f"--image-size: {text!r} is neither 'native' nor one whole number, the side in pixels"
        ) from error


def _own_folder(data: Path) -> str:
    """Write a folder so that it cannot be taken for a dataset of the same name."""
    from analyses.datasets import list_datasets

    if not data.is_dir():
        what = "is a file" if data.exists() else "does not exist"
        raise NotADirectoryError(
            f"--data: {data} {what}; give the folder that holds responses and stimuli (docs/your-own-data.md). A"
            " dataset that comes by name is given with --dataset"
        )
    return f"./{data}" if str(data) in {info.name for info in list_datasets()} else str(data)


def _run(config: object, out: Path, *, resume: bool, cluster: Any = None) -> None:
    from analyses.experiments.config import EncodingConfig
    from analyses.experiments.encoding import run_encoding
    from analyses.report import summarize

    assert isinstance(config, EncodingConfig)
    results = run_encoding(config, out, resume=resume, cluster=cluster)
    Console(emoji=False, highlight=False).print(summarize(results), markup=False)
    typer.echo(f"Report: {out / 'report.html'}")
