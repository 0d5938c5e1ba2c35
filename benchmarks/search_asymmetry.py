"""Are searches hard for a network where they are hard for people? Six asymmetries, eccNET, and what it is made of.

Run ``python -m benchmarks.search_asymmetry`` (``--quick`` for a first look); needs COGMODELS_DATA. Searchers search all
six paradigms of Gupta et al. (2021), 30 displays a condition and set size: eccNET on two trained networks with default
settings, with one part taken away or changed at a time, and with features normalised by the display; IVSN, pixels,
saliency and chance. Prints Markdown and writes ``benchmarks/results/search_asymmetry.json``. Runs are kept under
``runs/search_asymmetry``, with the page that shows them all in ``compared``; a second run goes on where the first
ended.

Nothing is trained on search, and nothing is tuned to people or to these displays. One choice is made, by a rule that
was written down when the indices of the default alone were known, and of the kinds of normalisation nothing. The
product of raw features prefers whatever drives a network strongly; the four kinds of `cogmodels.search.normalisation`
are the remedies that were thought of. Which of them, or none, and how maps are weighted ("max" or "equal"), is chosen
for each network by efficiency on another task: 50 arrays of 32 of the 92 objects of Kriegeskorte et al. (2008), 48 px
wide, in a grid of 6 x 6, the target told by a picture that is larger (64 px) and mirrored, so that pixels do not give
it away. The pair of the fewest fixations to the target, on average, is chosen; of equals the first in the order of
`NORMALISATIONS` and `WEIGHTINGS`. It searches the paradigms once and is reported as chosen, whatever comes out; so are
the other kinds, at its weighting.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from analyses.datasets import load_dataset
from analyses.experiments.compare_search import SearchComparison, as_record, compare_search
from analyses.experiments.search import SearchRun, run_search
from analyses.experiments.search_config import SearchConfig
from analyses.report.search_page import write_search_comparison
from analyses.report.search_slopes import words
from analyses.statistics.search_slopes import asymmetry_interval, search_slopes
from benchmarks.encoders import squeezenet_weights
from stimuli import write_json
from stimuli.search_displays import SearchDisplays, object_array

RESULTS = Path(__file__).parent / "results" / "search_asymmetry.json"
RUNS = Path("runs") / "search_asymmetry"

NORMALISATIONS = ("none", "places", "channels", "standardised", "whitened")
WEIGHTINGS = ("max", "equal")
N_ARRAYS, SET_SIZE, OBJECT_PX, TOLD_PX = 50, 32, 48, 64

CHANGES: Mapping[str, dict[str, Any]] = {
    "published sharpening": {"model_options": {"sharpening": "published"}},
    "equal weights": {"model_options": {"weighting": "equal"}},
    "stretched": {"model_options": {"placement": "stretched"}},
    "last layer": {"model_options": {"layers": "last"}},
    "no eccentricity": {"model_options": {"eccentricity": False}},
    "IVSN": {"model": "ivsn"},
    "untrained": {"weights": "random"},
}
"""What is changed in the default eccNET, one at a time. IVSN is "no eccentricity" and "last layer" together."""
BASELINES: Mapping[str, dict[str, Any]] = {
    "pixel template": {"model": "pixel"},
    "saliency": {"model": "saliency"},
    "chance": {"model": "chance", "n_rollouts": 5},
}
PUBLISHED_MEANS = {
    "default": 0.513,
    "no eccentricity": 0.014,
    "last layer": 0.085,
    "IVSN": 0.316,
    "pixel template": -0.178,
    "saliency": -0.018,
    "chance": 0.030,
}
"""Mean indices of Gupta et al. (2021) on VGG16: from the searches its authors stored; saliency as they printed it."""


def networks() -> dict[str, dict[str, str]]:
    """Return the trained networks as arguments of a run."""
    return {
        "Lite0": {"backbone": "efficientnet_lite0"},
        "SqueezeNet": {"backbone": "torchvision/squeezenet1_0", "weights": squeezenet_weights()},
    }


def make_arrays(n_displays: int) -> SearchDisplays:
    """Return arrays of objects whose targets are told by a larger, mirrored picture."""
    stimuli = load_dataset("kriegeskorte92").stimuli
    pictures = [stimuli.image(row) for row in range(len(stimuli))]
    arrays = object_array(
        pictures,
        n_displays=n_displays,
        set_size=SET_SIZE,
        grid_shape=(6, 6),
        size_px=(340, 340),
        object_px=(OBJECT_PX, OBJECT_PX),
        background=(128, 128, 128),  # as around the objects
        px_per_degree=30.0,
    )
    told = [
        replace(display, target_image=_mirrored(display.read_target_image(), TOLD_PX)) for display in arrays
    ]
    return SearchDisplays(told, name="object_arrays")


def search_arrays(network: str, arrays: Path, folder: Path) -> pd.DataFrame:
    """Search the arrays with every normalisation and weighting: one row each, with the mean number of fixations."""
    rows = []
    for normalisation in NORMALISATIONS:
        for weighting in WEIGHTINGS:
            options = {"normalisation": normalisation, "weighting": weighting}
            own = {"label": f"{normalisation}, {weighting}", "paradigm": str(arrays)}
            run = _run(
                f"arrays {network} {normalisation} {weighting}",
                folder,
                **own,
                **networks()[network],
                model_options=options,
            )
            fixations = run.trials["n_fixations"]
            rows.append(
                {"network": network, **options, "fixations": fixations.mean(), "error": fixations.sem()}
            )
    return pd.DataFrame(rows)


def choose(efficiency: pd.DataFrame) -> dict[str, str]:
    """Return the normalisation and weighting of the fewest fixations; rows are in order of preference."""
    best = efficiency.sort_values("fixations", kind="stable").iloc[0]
    return {"normalisation": str(best["normalisation"]), "weighting": str(best["weighting"])}


def variants(chosen: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the searchers on one network: what each is called, and its arguments of a run."""
    normalised = {
        f"{kind}, {chosen['weighting']}": {"model_options": {**chosen, "normalisation": kind}}
        for kind in NORMALISATIONS[1:]
    }
    return {"default": {}, **normalised, **CHANGES}


def name_of(chosen: Mapping[str, str]) -> str:
    """Return what a searcher of these settings is called among the variants."""
    if chosen["normalisation"] == "none":
        return "default" if chosen["weighting"] == "max" else "equal weights"
    return "{normalisation}, {weighting}".format(**chosen)


def search_all(
    chosen: Mapping[str, Mapping[str, str]], n_displays: int | None, folder: Path
) -> list[SearchRun]:
    """Let everyone search the six paradigms."""
    runs = []
    for network, arguments in networks().items():
        for name, change in variants(chosen[network]).items():
            label = f"eccNET {network}" if name == "default" else f"{network}: {name}"
            runs.append(_run(label, folder, n_displays=n_displays, label=label, **{**arguments, **change}))
    for name, change in BASELINES.items():
        runs.append(_run(name, folder, n_displays=n_displays, **change))
    return runs


def rows_of(comparison: SearchComparison, chosen: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return one row a searcher: indices with intervals, directions, fixations; published models and people too."""
    rows = []
    for run in comparison.runs:
        network, _, name = run.name.partition(": ")
        if run.name.startswith("eccNET "):
            network, name = run.name.removeprefix("eccNET "), "default"
        name = name or run.name
        table = comparison.index[comparison.index["run"] == run.name].set_index("paradigm")
        note = ""
        if network in chosen and name == name_of(chosen[network]):
            note = " (chosen by efficiency on object arrays)"
        rows.append(
            _row(run.name + note, table, PUBLISHED_MEANS.get(name))
            | {
                "fixations": float(run.trials["n_fixations"].mean()),
                "found": float(run.trials["found"].mean()),
            }
        )
    data = load_dataset("search-asymmetry")
    assert data.reaction_times is not None
    human = search_slopes(data.reaction_times, n_bootstrap=2)
    for model, trials in data.references["model_trials"].groupby("observer", sort=False):
        own = {"fixations": float(trials["n_fixations"].mean()), "found": float(trials["found"].mean())}
        rows.append(_row(f"published {model} (VGG16)", asymmetry_interval(trials, human), None) | own)
    people = comparison.index.drop_duplicates("paradigm").set_index("paradigm")[["human_index"]]
    return [*rows, _row("people", people.rename(columns={"human_index": "index"}), None)]


def to_markdown(rows: list[dict[str, Any]], efficiency: pd.DataFrame) -> str:
    """Return the tables of the results."""
    lines = [
        "| fixations to the target | " + " | ".join(efficiency["network"].unique()) + " |",
        "|---|---|---|",
    ]
    for (kind, weighting), part in efficiency.groupby(["normalisation", "weighting"], sort=False):
        cells = [f"{row.fixations:.2f} +- {row.error:.2f}" for row in part.itertuples()]
        lines.append(f"| {kind}, {weighting} | {' | '.join(cells)} |")
    paradigms = list(rows[0]["index"])
    titles = [*(words(name) for name in paradigms), "right", "fixations", "published mean"]
    lines += ["", f"| searcher | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for row in rows:
        cells = [_cell(*row["index"][name]) for name in paradigms]
        cells += [f"{row['n_right']} of {len(paradigms) - 1}"]
        cells += ["" if row.get(key) is None else f"{row[key]:.2f}" for key in ("fixations", "published")]
        lines.append(f"| {row['searcher']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _run(
    name: str, folder: Path, *, model: str = "eccnet", paradigm: str = "all", **settings: Any
) -> SearchRun:
    slug = "-".join(name.replace(":", "").replace(",", "").lower().split())
    config = SearchConfig(model=model, paradigm=paradigm, **settings)
    run = run_search(config, folder / slug, resume=True, progress=False)
    print(f"{name}: {run.trials['n_fixations'].mean():.3f} fixations", flush=True)
    return run


def _mirrored(picture: np.ndarray, side_px: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture[:, ::-1]).resize((side_px, side_px), Image.Resampling.LANCZOS))


def _row(searcher: str, table: pd.DataFrame, published: float | None) -> dict[str, Any]:
    columns = [name for name in ("index", "lower", "upper") if name in table]
    single = table.drop(index="mean")
    return {
        "searcher": searcher,
        "index": {str(name): [float(value) for value in row] for name, row in table[columns].iterrows()},
        "n_right": int((single["index"] > 0).sum()),
        "published": published,
    }


def _cell(index: float, lower: float | None = None, upper: float | None = None) -> str:
    return f"{index:.2f}" if lower is None else f"{index:.2f} ({lower:.2f} to {upper:.2f})"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two displays a cell, ten arrays; writes no results"
    )
    parser.add_argument("--runs", type=Path, default=RUNS, help="where runs are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.runs / "quick" if arguments.quick else arguments.runs
    arrays = folder / "object_arrays"
    if not arrays.exists():
        make_arrays(10 if arguments.quick else N_ARRAYS).save(arrays)
    efficiency = pd.concat(
        [search_arrays(network, arrays, folder) for network in networks()], ignore_index=True
    )
    chosen = {str(network): choose(part) for network, part in efficiency.groupby("network", sort=False)}
    print(json.dumps(chosen), flush=True)
    runs = search_all(chosen, 2 if arguments.quick else None, folder)
    comparison = compare_search([run.folder for run in runs])
    rows = rows_of(comparison, chosen)
    print(to_markdown(rows, efficiency))
    page = folder / "compared"
    if not page.exists():
        write_search_comparison(comparison, page)
    if not arguments.quick:
        found = {"chosen": chosen, "efficiency": efficiency.to_dict("records"), "searchers": rows}
        write_json(RESULTS, {**found, "comparison": as_record(comparison)})


if __name__ == "__main__":
    main()
