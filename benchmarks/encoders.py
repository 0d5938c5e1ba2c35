"""All encoding models side by side on real data: macaque V4, V1-V3 and a slice of human ventral cortex.

Run ``python -m benchmarks.encoders v4-natural`` (or ``digits69``, ``haxby-slice``; ``--subject`` for one session).
Every model is a run of `analyses.experiments.run_encoding` in a folder under ``--out``, so that what is finished is not
computed again. Needs COGMODELS_DATA. Prints Markdown; a whole data set also writes
``benchmarks/results/encoders-DATASET.json`` and draws ``docs/figures/encoders-DATASET.png``.

Settings of the trained encoders were chosen by validation scores inside the training half of V4 session 210325, for
each network once, and hold for all sessions and data sets; no held-out score had a say.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import bootstrap

from analyses.experiments.compare_runs import compare_runs
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from analyses.experiments.run_folder import RESULTS, read_netcdf
from analyses.report.encoder_figures import encoder_comparison
from analyses.report.reading import headline_layer
from stimuli import write_json

RESULTS_FOLDER = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
SESSIONS = ("210325", "201025", "210224", "190923")
SQUEEZENET = ("features.6", "features.9", "features.11")
N_REFITS, N_REFITS_TRAINED = 20, 5  # permutations that refit everything
LITE0 = ("blocks.2", "blocks.3", "blocks.4")
_COMMON: dict[str, Any] = {
    "n_epochs": 60,
    "patience_epochs": 10,
    "validation_fraction": 0.2,
    "batch_size": 32,
}
#: Options and training by network. Decay is much of it: the fewer the channels, the less of it is best.
SETTINGS: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "SqueezeNet": {
        "spatial": ({"map_lr_factor": 30.0}, {"lr": 1e-3, "weight_decay": 10.0, "n_epochs": 100}),
        "attention": ({"n_heads": 4}, {"lr": 1e-3, "weight_decay": 30.0}),
        "one query": ({"d_model": 1024, "n_heads": 64}, {"lr": 1e-3, "weight_decay": 30.0}),
        "probe": ({"pooler": "ep", "n_queries": 8}, {"lr": 3e-4, "weight_decay": 100.0}),
    },
    "EfficientNet-Lite0": {
        "spatial": ({"map_lr_factor": 30.0}, {"lr": 1e-3, "weight_decay": 3.0, "n_epochs": 200}),
        "attention": ({"d_model": 256, "n_heads": 16}, {"lr": 1e-3, "weight_decay": 3.0}),
        "one query": ({"d_model": 512, "n_heads": 32}, {"lr": 1e-3, "weight_decay": 10.0}),
        "probe": ({"pooler": "ep", "n_queries": 8}, {"lr": 1e-3, "weight_decay": 3.0}),
    },
}


def settings_of(network: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options and the training of an entry of `SETTINGS`."""
    options, training = SETTINGS[network][name]
    return options, _COMMON | training


def trained(
    encoder: str, network: str = "SqueezeNet", settings: str | None = None, **choices: Any
) -> dict[str, Any]:
    """Return the choices of a run of a trained encoder; probes have no queries of voxels."""
    options, training = settings_of(network, settings or encoder)
    queries = {} if encoder == "probe" else {"queries": choices.pop("queries", "voxel")}
    choices.pop("queries", None)
    given = {"encoder": encoder, "training": training, "encoder_options": options}
    return given | queries | choices


def squeezenet_weights() -> str:
    """Return the file of SqueezeNet's ImageNet weights below COGMODELS_DATA."""
    return str(Path(os.environ["COGMODELS_DATA"]) / "weights" / "squeezenet1_0_imagenet.safetensors")


def networks() -> dict[str, dict[str, Any]]:
    """Return backbone, layers and weights of each network by its name in `SETTINGS`."""
    return {
        "SqueezeNet": {
            "backbone": "torchvision/squeezenet1_0",
            "layers": SQUEEZENET,
            "weights": squeezenet_weights(),
        },
        "EfficientNet-Lite0": {"backbone": "efficientnet_lite0", "layers": LITE0},
    }


def v4_models(session: str) -> dict[str, EncodingConfig]:
    """Return the runs of one session by label: each model from each network, layers chosen or averaged inside."""
    models = {}
    for network, given in networks().items():

        def run(reduction: str | None, given: dict[str, Any] = given, **choices: Any) -> EncodingConfig:
            space = FeatureSpace(**given, reduction=reduction, image_size_px="native")
            return EncodingConfig.model_validate(
                {
                    "dataset": "v4-natural",
                    "subject": session,
                    "spaces": (space,),
                    "split": "published",
                    "ensemble": choices.get("encoder") != "banded",
                    "n_permutations": 200,
                    **choices,
                }
            )

        models |= {
            f"{network}, ridge on the mean": run("mean"),
            f"{network}, ridge on a 4 x 4 grid": run("grid:4"),
            f"{network}, ridge on whole maps": run("flatten"),
            f"{network}, banded ridge on grids": run("grid:4", encoder="banded"),
            f"{network}, factorised": run(None, **trained("spatial", network)),
            f"{network}, attention, a query each": run(None, **trained("attention", network)),
            f"{network}, attention, one query": run(
                None, **trained("attention", network, "one query", queries="all")
            ),
            f"{network}, efficient probing": run(None, **trained("probe", network)),
        }
    return models


def digits_models(_: str) -> dict[str, EncodingConfig]:
    """Return the runs on V1-V3 responses to handwritten digits, from pixels and early features."""

    def run(space: dict[str, Any], **choices: Any) -> EncodingConfig:
        return EncodingConfig.model_validate(
            {
                "dataset": "digits69",
                "spaces": (space,),
                "n_folds": 10,
                "shuffle": True,
                "group_by": "none",
                "within": "digit",
                "n_permutations": N_REFITS,
                **choices,
            }
        )

    pixels = {"backbone": "pixels"}
    models = {"pixels, ridge (penalty 300)": run(pixels, alphas=(900.0,)), "pixels, ridge": run(pixels)}
    squeezenet = {
        "backbone": "torchvision/squeezenet1_0",
        "layers": ("features.2",),
        "weights": squeezenet_weights(),
        "image_size_px": 56,
    }
    few = {"n_permutations": N_REFITS_TRAINED}
    narrow = "EfficientNet-Lite0"  # its maps are as narrow as the 96 channels here
    return models | {
        "Gabor, ridge": run({"backbone": "gabor:28"}),
        "SqueezeNet, ridge": run(squeezenet | {"reduction": "flatten"}),
        "SqueezeNet, ridge on the mean": run(squeezenet | {"reduction": "mean"}),
        "SqueezeNet, factorised, one map": run(squeezenet, **trained("spatial", queries="all", **few)),
        "SqueezeNet, factorised, a map each": run(squeezenet, **trained("spatial", **few)),
        "SqueezeNet, attention, one query": run(squeezenet, **trained("attention", queries="all", **few)),
        "SqueezeNet, attention, one query, narrow": run(
            squeezenet, **trained("attention", narrow, "one query", queries="all", **few)
        ),
        "SqueezeNet, efficient probing": run(squeezenet, **trained("probe", **few)),
        "SqueezeNet, efficient probing, narrow": run(squeezenet, **trained("probe", narrow, **few)),
    }


def haxby_models(_: str) -> dict[str, EncodingConfig]:
    """Return the runs on block averages of one slice, from the words of the category names."""
    minilm = FeatureSpace(backbone="minilm", layers=("encoder.layer.2", "encoder.layer.5"), label="MiniLM")
    one_hot = FeatureSpace(backbone="onehot", label="one-hot")

    def run(*spaces: FeatureSpace, **choices: Any) -> EncodingConfig:
        return EncodingConfig.model_validate(
            {
                "dataset": "haxby-slice",
                "spaces": spaces,
                "time_series_samples": "blocks",
                "n_permutations": N_REFITS,
                **choices,
            }
        )

    few = {"n_permutations": N_REFITS_TRAINED}
    return {
        "one-hot, ridge": run(one_hot),
        "MiniLM, ridge on the mean": run(minilm, ensemble=True),
        "one-hot and MiniLM, banded ridge": run(one_hot, minilm, encoder="banded"),
        "MiniLM, factorised": run(minilm, ensemble=True, **trained("spatial", queries="all", **few)),
        "MiniLM, attention": run(minilm, ensemble=True, **trained("attention", queries="all", **few)),
        "MiniLM, efficient probing": run(minilm, ensemble=True, **trained("probe", **few)),
    }


MODELS = {"v4-natural": v4_models, "digits69": digits_models, "haxby-slice": haxby_models}


REFERENCES = {
    "v4-natural": ("SqueezeNet, ridge on a 4 x 4 grid", "EfficientNet-Lite0, ridge on a 4 x 4 grid"),
    "digits69": ("SqueezeNet, ridge",),
    "haxby-slice": ("MiniLM, ridge on the mean",),
}


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
                "null_95": float(row["null_mean_r"].quantile(0.95)) if "null_mean_r" in row else None,
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
        folder = out / re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        if not (folder / RESULTS).exists():
            run_encoding(config, folder, resume=(folder / "config.json").exists(), progress=progress)
        rows += summarize_run(label, read_results(folder))
        folders[label] = folder
        print(json.dumps(rows[-1]), flush=True)
    return rows, folders


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as Markdown."""
    within = any(row["r_within"] is not None for row in rows)
    print(f"\n{title}\n")
    heads = ["model", "layers", "mean r (95 % interval)", *(["within class"] if within else [])]
    heads += ["r / ceiling", "null mean (highest draw)"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows:
        cells = [row["model"], row["layer"], f"{row['r']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})"]
        if within:
            cells.append(_number(row["r_within"]))
        cells += [_number(row["normalized"]), f"{_number(row['null_mean'])} ({_number(row['null_max'])})"]
        print("| " + " | ".join(cells) + " |")


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"


def print_differences(folders: Mapping[str, Path], reference: str) -> list[dict[str, Any]]:
    """Compare every run with a reference, paired, print the differences and return them.

    One interval is for other stimuli (stimuli resampled), one for other neurons or voxels (those resampled).
    """
    others = [label for label in folders if label != reference]
    if reference not in folders or not others:
        return []
    comparison = compare_runs(
        [folders[label] for label in (reference, *others)], reference=folders[reference]
    )
    labels = dict(zip(comparison.runs, (reference, *others), strict=True))
    table = comparison.table[comparison.table["roi"] == "all"]
    print(f"\nDifference of mean r, each less {reference}\n")
    print("| model | difference (95 % interval over stimuli) | over neurons | q |\n|---|---|---|---|")
    rows = []
    for row in table.to_dict("records"):
        # Each pair is (reference, run) or (run, reference): written as run less reference.
        first = labels[row["run_a"]]
        sign, label = (1, first) if first != reference else (-1, labels[row["run_b"]])
        low, high = sorted((sign * row["lower"], sign * row["upper"]))
        difference = sign * row["difference"]
        over_neurons = interval_over_neurons(folders[label], folders[reference])
        print(
            f"| {label} | {difference:+.3f} ({low:+.3f} to {high:+.3f}) |"
            f" ({over_neurons[0]:+.3f} to {over_neurons[1]:+.3f}) | {row['q_value']:.3f} |"
        )
        row = {"model": label, "difference": difference, "lower": low, "upper": high, "q": row["q_value"]}
        rows.append(row | {"lower_neurons": over_neurons[0], "upper_neurons": over_neurons[1]})
    return rows


def interval_over_neurons(run: Path, reference: Path) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference of r between two runs, neurons resampled in pairs."""
    r = [results.sel(layer=headline_layer(results))["r"] for results in map(read_results, (run, reference))]
    differences = (r[0] - r[1]).dropna("neuroid").to_numpy()
    interval = bootstrap(
        (differences,), np.mean, n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(interval.low), float(interval.high)


def read_results(folder: Path) -> xr.Dataset:
    """Return the results of a run."""
    return read_netcdf(folder / RESULTS)


def draw(written: Mapping[str, Any], dataset: str) -> None:
    """Draw every encoder beside ceiling and null, a panel a session and network; ensembles where there are some."""
    rows = []
    for subject, found in written.items():
        last = {row["model"]: row for row in found["rows"]}  # the ensemble is a model's last row
        for model, row in last.items():
            network, encoder = model.split(", ", 1)
            panel = (
                f"{subject}, {network.removeprefix('EfficientNet-')}" if dataset == "v4-natural" else dataset
            )
            label = encoder if dataset == "v4-natural" else model
            names = {"null": row["null_95"], "ceiling": row["ceiling"]}
            known = {name: np.nan if value is None else value for name, value in names.items()}
            rows.append(
                {"encoder": label, "dataset": panel, **known} | {k: row[k] for k in ("r", "lower", "upper")}
            )
    figure = encoder_comparison(pd.DataFrame(rows))
    figure.savefig(FIGURES / f"encoders-{dataset}.png", dpi=150)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        differences = []
        for reference in REFERENCES[arguments.dataset]:
            own = {k: v for k, v in folders.items() if k.split(",")[0] == reference.split(",")[0]}
            differences += print_differences(own, reference)
        written[subject] = {"rows": rows, "differences": differences}
    if not arguments.only and (arguments.dataset != "v4-natural" or tuple(subjects) == SESSIONS):
        write_json(RESULTS_FOLDER / f"encoders-{arguments.dataset}.json", written)
        draw(written, arguments.dataset)


if __name__ == "__main__":
    main()
