"""All encoding models side by side on real data: macaque V4, V1-V3 and a slice of human ventral cortex.

Run ``python -m benchmarks.encoders v4-natural`` (or ``digits69``, ``haxby-slice``; ``--subject`` for one session,
``--tune`` for the search of settings). Every model is a run of `analyses.experiments.run_encoding` in a folder under
``--out``, so that what is finished is not computed again. Needs COGMODELS_DATA. Prints Markdown and writes
``benchmarks/results/encoders-DATASET.json``.

Settings of the trained encoders were chosen by validation scores inside the training half of V4 session 210325
(``--tune``), once for all sessions and data sets; no held-out score had a say.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyses.experiments.compare_runs import compare_runs
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from analyses.experiments.run_folder import RESULTS, read_netcdf
from analyses.report.reading import headline_layer
from stimuli import write_json

RESULTS_FOLDER = Path(__file__).parent / "results"
SESSIONS = ("210325", "201025", "210224", "190923")
SQUEEZENET = ("features.6", "features.9", "features.11")
LITE0 = ("blocks.2", "blocks.3", "blocks.4")
#: Chosen by validation scores inside the training half of session 210325.
TRAINING: dict[str, Any] = {
    "lr": 3e-3,
    "weight_decay": 1.0,
    "n_epochs": 60,
    "patience_epochs": 10,
    "validation_fraction": 0.2,
    "batch_size": 32,
}
ATTENTION: dict[str, Any] = {"n_heads": 1, "dropout": 0.0}
PROBE: dict[str, Any] = {"pooler": "ep", "n_queries": 8}


def v4_models(session: str) -> dict[str, EncodingConfig]:
    """Return the runs of one session by label: each model from each network, layers chosen or averaged inside."""
    models = {}
    networks = {"SqueezeNet": ("torchvision/squeezenet1_0", SQUEEZENET), "EfficientNet-Lite0": ("efficientnet_lite0", LITE0)}
    for network, (backbone, layers) in networks.items():

        def run(reduction: str | None, encoder: str = "ridge", **choices: Any) -> EncodingConfig:
            space = FeatureSpace(
                backbone=backbone, layers=layers, reduction=reduction, image_size_px="native", label=network
            )
            return EncodingConfig.model_validate(
                {
                    "dataset": "v4-natural",
                    "subject": session,
                    "spaces": (space,),
                    "split": "published",
                    "encoder": encoder,
                    "ensemble": encoder != "banded",
                    "n_permutations": 200,
                    **choices,
                }
            )

        trained = {"training": TRAINING}
        models |= {
            f"{network}, ridge on the mean": run("mean"),
            f"{network}, ridge on a 4 x 4 grid": run("grid:4"),
            f"{network}, ridge on whole maps": run("flatten"),
            f"{network}, banded ridge on grids": run("grid:4", "banded"),
            f"{network}, factorised": run(None, "spatial", queries="voxel", **trained),
            f"{network}, attention": run(
                None, "attention", queries="voxel", encoder_options=ATTENTION, **trained
            ),
            f"{network}, efficient probing": run(None, "probe", encoder_options=PROBE, **trained),
        }
    return models


def digits_models(_: str) -> dict[str, EncodingConfig]:
    """Return the runs on V1-V3 responses to handwritten digits, from pixels and early features."""

    def run(backbone: str, label: str, encoder: str = "ridge", **choices: Any) -> EncodingConfig:
        layers = choices.pop("layers", None)
        space = FeatureSpace(backbone=backbone, layers=layers, reduction=choices.pop("reduction", None), label=label)
        return EncodingConfig.model_validate(
            {
                "dataset": "digits69",
                "spaces": (space,),
                "encoder": encoder,
                "n_folds": 10,
                "shuffle": True,
                "group_by": "none",
                "within": "digit",
                "n_permutations": 40,
                **choices,
            }
        )

    gabor = {"backbone": "gabor:28", "label": "Gabor"}
    early = {"backbone": "torchvision/squeezenet1_0", "label": "SqueezeNet", "layers": ("features.2",)}
    models = {"pixels, ridge (fixed penalty)": run("pixels", "pixels", alphas=(900.0,))}
    models["pixels, ridge"] = run("pixels", "pixels")
    for name, given in {"Gabor": gabor, "SqueezeNet features.2": early}.items():
        trained = {"training": TRAINING | {"batch_size": 16}}
        models |= {
            f"{name}, ridge": run(**given, reduction="flatten"),
            f"{name}, factorised": run(**given, encoder="spatial", queries="voxel", **trained),
            f"{name}, attention": run(
                **given, encoder="attention", queries="voxel", encoder_options=ATTENTION, **trained
            ),
            f"{name}, efficient probing": run(**given, encoder="probe", encoder_options=PROBE, **trained),
        }
    return models


def haxby_models(_: str) -> dict[str, EncodingConfig]:
    """Return the runs on block averages of one slice, from the words of the category names."""
    minilm = FeatureSpace(
        backbone="minilm", layers=("encoder.layer.0", "encoder.layer.2", "encoder.layer.5"), label="MiniLM"
    )
    one_hot = FeatureSpace(backbone="onehot", label="one-hot")

    def run(encoder: str, *spaces: FeatureSpace, **choices: Any) -> EncodingConfig:
        return EncodingConfig.model_validate(
            {
                "dataset": "haxby-slice",
                "spaces": spaces,
                "encoder": encoder,
                "time_series_samples": "blocks",
                "n_permutations": 40,
                **choices,
            }
        )

    trained = {"training": TRAINING | {"batch_size": 16}}
    return {
        "one-hot, ridge": run("ridge", one_hot),
        "MiniLM, ridge on the mean": run("ridge", minilm, ensemble=True),
        "one-hot and MiniLM, banded ridge": run("banded", one_hot, minilm),
        "MiniLM, factorised": run("spatial", minilm, queries="all", ensemble=True, **trained),
        "MiniLM, attention": run("attention", minilm, queries="all", ensemble=True, encoder_options=ATTENTION, **trained),
        "MiniLM, efficient probing": run("probe", minilm, ensemble=True, encoder_options=PROBE, **trained),
    }


MODELS = {"v4-natural": v4_models, "digits69": digits_models, "haxby-slice": haxby_models}


def summarize_run(label: str, results: xr.Dataset) -> list[dict[str, Any]]:
    """Return one row a label of interest: the headline layer and, beside it, the ensemble."""
    rows = []
    names = [headline_layer(results)]
    names += [name for name in ("ensemble",) if name in results["layer"].values and name not in names]
    reliable = np.isfinite(results["r_normalized"].values).any(axis=0)
    for name in names:
        row = results.sel(layer=name)
        all_of = row.sel(roi="all")
        rows.append(
            {
                "model": label,
                "layer": name,
                "r": float(np.nanmean(row["r"])),
                "lower": float(all_of["roi_r_lower"]),
                "upper": float(all_of["roi_r_upper"]),
                "r_within": float(np.nanmean(row["r_within"])) if "r_within" in row else None,
                "r_95": float(np.nanpercentile(row["r"], 95)),
                "normalized": float(np.nanmean(row["r_normalized"])) if reliable.any() else None,
                "ceiling": float(np.nanmean(row["noise_ceiling_r"])) if reliable.any() else None,
                "null_mean": float(row["null_mean_r"].mean()) if "null_mean_r" in row else None,
                "null_max": float(row["null_mean_r"].max()) if "null_mean_r" in row else None,
            }
        )
    return rows


def run_all(
    models: Mapping[str, EncodingConfig], out: Path, progress: bool
) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """Compute the runs that are not there yet, and return their rows and folders."""
    rows, folders = [], {}
    for label, config in models.items():
        folder = out / label.lower().replace(", ", "-").replace(" ", "-")
        if not (folder / RESULTS).exists():
            run_encoding(config, folder, resume=(folder / "config.json").exists(), progress=progress)
        rows += summarize_run(label, read_netcdf(folder / RESULTS))
        folders[label] = folder
        print(json.dumps(rows[-1]), flush=True)
    return rows, folders


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as Markdown."""
    within = any(row["r_within"] is not None for row in rows)
    print(f"\n{title}\n")
    print(f"| model | layers | mean r (95 % interval) |{' within class |' if within else ''} r / ceiling | null mean (highest draw) |")
    print(f"|---|---|---|{'---|' if within else ''}---|---|")
    for row in rows:
        cells = [row["model"], row["layer"], f"{row['r']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})"]
        if within:
            cells.append(_number(row["r_within"]))
        cells += [_number(row["normalized"]), f"{_number(row['null_mean'])} ({_number(row['null_max'])})"]
        print("| " + " | ".join(cells) + " |")


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"


def print_differences(folders: Mapping[str, Path], reference: str) -> list[dict[str, Any]]:
    """Compare every run with a reference, paired over stimuli, and print the differences."""
    rows = []
    others = [label for label in folders if label != reference]
    comparison = compare_runs(
        [folders[reference], *(folders[label] for label in others)], reference=folders[reference]
    )
    table = comparison.rois
    print(f"\nDifference of mean r from {reference} (95 % interval, q over models)\n")
    print(table.to_markdown() if hasattr(table, "to_markdown") else table)
    rows.append({"reference": reference})
    return rows


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=tuple(MODELS))
    parser.add_argument("--subject", action="append", help="sessions of v4-natural; all four when left out")
    parser.add_argument("--out", type=Path, default=Path("runs") / "benchmark-encoders")
    parser.add_argument("--only", default="", help="models whose label holds this text")
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    subjects = arguments.subject or (SESSIONS if arguments.dataset == "v4-natural" else ("1",))
    written: dict[str, Any] = {}
    for subject in subjects:
        models = MODELS[arguments.dataset](subject)
        models = {label: config for label, config in models.items() if arguments.only in label}
        rows, folders = run_all(models, arguments.out / arguments.dataset / subject, arguments.progress)
        print_table(f"{arguments.dataset}, {subject}", rows)
        written[subject] = {"rows": rows, "folders": {k: str(v) for k, v in folders.items()}}
    write_json(RESULTS_FOLDER / f"encoders-{arguments.dataset}.json", written)


if __name__ == "__main__":
    main()
