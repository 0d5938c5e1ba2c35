"""Do models look where people look when they seek a thing in a photograph of a room?

Run ``python -m benchmarks.search_scenes`` (``--displays 10`` for a first look). Needs the data set interiors and, below
``COGMODELS_DATA``, the weights of SqueezeNet. Every searcher searches the 134 photographs once, those that draw their
fixations 20 times; runs are kept under ``runs/search_scenes``, and finished ones are read again. Prints Markdown; the
page is ``runs/search_scenes/comparison/report.html``, the numbers ``benchmarks/results/search_scenes.json``. One
thread.

Settings were fixed before any search: eccNET as published for natural scenes (maps of three depths weigh alike, and are
sharpened by the windows "scenes"), IVSN sharpened alike, inhibition as is the default in scenes. A search ends within
8 pixels of the target's box, where people's searches were cut as well, or after 12 fixations, the most that people were
allowed.

How large the photographs were in degrees is not published with the data. Assumed are 16 pixels in a degree: the data
set's own "receptive size" of 32 published pixels, halved as the photographs are, taken for one degree. What eccNET does
at 30, the value of its authors for all displays, is shown beside it with one of the networks. IVSN and the others know
no degrees.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analyses.experiments.compare_search import SearchComparison, as_record, compare_search
from analyses.experiments.search import run_search
from analyses.experiments.search_config import SearchConfig
from analyses.report.search_page import write_search_comparison
from stimuli import write_json

RUNS = Path("runs") / "search_scenes"
RESULTS = Path(__file__).parent / "results" / "search_scenes.json"
PX_PER_DEGREE, OTHER_PX_PER_DEGREE = 16.0, 30.0
POLICY: dict[str, Any] = {"max_fixations": 12, "recognition_box_px": 16.0}
N_ROLLOUTS = 20
SHORTEST_SCORED = 3
"""Fixations without which MultiMatch is not defined."""
ECCNET: dict[str, Any] = {"model": "eccnet", "model_options": {"weighting": "equal", "sharpening": "scenes"}}
IVSN: dict[str, Any] = {"model": "ivsn", "model_options": {"sharpening": "scenes"}}


def networks() -> dict[str, dict[str, str]]:
    """Return the trained networks that searches are run with."""
    weights = Path(os.environ.get("COGMODELS_DATA", "")) / "weights" / "squeezenet1_0_imagenet.safetensors"
    return {
        "Lite0": {"backbone": "efficientnet_lite0"},
        "SqueezeNet": {"backbone": "torchvision/squeezenet1_0", "weights": str(weights)},
    }


def searchers() -> dict[str, dict[str, Any]]:
    """Return what each run is, by its label; that of the other size in degrees comes last."""
    drawn = {"n_rollouts": N_ROLLOUTS}
    networked: dict[str, dict[str, Any]] = {
        f"{name}, {network}": kind | weights
        for name, kind in (("eccNET", ECCNET), ("IVSN", IVSN))
        for network, weights in networks().items()
    }
    others: dict[str, dict[str, Any]] = {
        "saliency": {"model": "saliency"},
        "center bias": {"model": "center"} | drawn,
        "chance": {"model": "chance"} | drawn,
        "pixel template": {"model": "pixel"},
    }
    resized = ECCNET | networks()["Lite0"] | {"px_per_degree": OTHER_PX_PER_DEGREE}
    return networked | others | {f"eccNET, Lite0, {OTHER_PX_PER_DEGREE:g} px": resized}


def search(label: str, settings: dict[str, Any], n_displays: int | None, folder: Path) -> Path:
    """Run one searcher, or read its finished run, and return its folder."""
    config = SearchConfig(
        **{"px_per_degree": PX_PER_DEGREE} | settings,
        label=label,
        paradigm="interiors",
        policy=POLICY,
        n_displays=n_displays,
    )
    out = folder / label.replace(", ", "-").replace(" ", "_")
    run = run_search(config, out, resume=out.exists(), progress=False)
    spent = json.loads((out / "provenance.json").read_text())["cpu_s"]
    print(f"{label}: {run.trials['found'].mean():.1%} found, {spent:.0f} CPU s", flush=True)
    return out


def to_markdown(comparison: SearchComparison) -> str:
    """Return a table with a row a searcher: found targets, area, and shares of the human ceiling."""
    scores, areas = comparison.scores, comparison.areas.set_index("run")
    measures = list(dict.fromkeys(scores["metric"]))
    people = areas.iloc[0]["people_area"]
    rows = []
    for run in comparison.runs:
        counts = run.trials["n_fixations"]
        area = areas.loc[run.name]
        row = {
            "searcher": run.name,
            "found": f"{run.trials['found'].mean():.0%}",
            "fixations": f"{counts.mean():.1f}",
            f"area (people {people:.3f})": f"{area['area']:.3f}",
            "of people's": _share(area),
            "scored": f"{(counts >= SHORTEST_SCORED).mean():.0%}",
        }
        for measure in measures:
            of_run = scores[(scores["run"] == run.name) & (scores["metric"] == measure)]
            row[measure.removeprefix("multimatch ")] = _share(of_run.iloc[0]) if len(of_run) else "-"
        rows.append(row)
    ceiling = scores.drop_duplicates("metric").set_index("metric")["ceiling"]
    table = pd.DataFrame(rows)
    lines = [f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in table.itertuples(index=False)]
    said = ", ".join(f"{name} {value:.3f}" for name, value in ceiling.items())
    return "\n".join(lines) + f"\n\nHuman ceiling: {said}."


def _share(row: Any) -> str:
    return f"{row['share']:.2f} ({row['share_lower']:.2f} to {row['share_upper']:.2f})"


def main() -> None:
    """Run every searcher, compare them, print the table and keep numbers and page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--displays", type=int, help="only the first so many photographs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = RUNS if given.displays is None else RUNS.with_name(f"{RUNS.name}_{given.displays}")
    kept = [
        search(label, settings, given.displays, folder / "runs") for label, settings in searchers().items()
    ]
    comparison = compare_search(kept, "interiors")
    write_json(RESULTS, as_record(comparison))
    print(f"\n{to_markdown(comparison)}\n", flush=True)
    page = folder / "comparison"
    if not page.exists():
        print(f"Report: {write_search_comparison(comparison, page)}")


if __name__ == "__main__":
    main()
