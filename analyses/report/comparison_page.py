"""The folder of a comparison of runs: numbers, pictures, provenance and a self-contained page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyses.experiments.compare_runs import RunComparison
from analyses.experiments.run_folder import write_netcdf
from analyses.provenance import collect_provenance, write_provenance
from analyses.report.comparison_figures import (
    MAX_PAIRS,
    MAX_REGIONS,
    difference_forest,
    difference_words,
    score_scatter,
    scores_by_run,
)
from analyses.report.page import as_png, check_out, fact_tables, inline_png, render_page
from analyses.report.reading import ALPHA, evaluation_unit, mean_finite, neuroids
from analyses.report.style import number
from stimuli.files import atomic_write, write_json

REPORT = "report.html"


def write_comparison(comparison: RunComparison, out: str | Path) -> Path:
    """Write a comparison's folder: ``comparison.json``, ``.csv`` and ``.nc``, ``provenance.json``, ``figures/``, page.

    Parameters
    ----------
    comparison : RunComparison
    out : path
        A folder that is new or empty.

    Returns
    -------
    Path
        The page, `report.html`.

    Raises
    ------
    FileExistsError
        The folder holds something, or is a file. Nothing is written then.
    """
    folder = Path(out)
    check_out(folder)
    pictures = {name: as_png(draw(comparison)) for name, (_, draw) in _FIGURES.items()}
    record = collect_provenance(
        comparison.settings
        | {
            "runs": dict(zip(comparison.runs, comparison.layers, strict=True)),
            "responses_hash": comparison.scores.attrs["responses_hash"],
        },
        seeds={"seed": int(str(comparison.settings["seed"]))},
    )
    record = {name: value for name, value in record.items() if value not in (None, [])}
    with atomic_write(folder) as temporary:
        (temporary / "figures").mkdir(parents=True)
        for name, picture in pictures.items():
            (temporary / "figures" / f"{name}.png").write_bytes(picture)
        comparison.table.to_csv(temporary / "comparison.csv", index=False)
        write_json(temporary / "comparison.json", as_record(comparison))
        write_netcdf(as_dataset(comparison), temporary / "comparison.nc")
        write_provenance(temporary, record)
        (temporary / REPORT).write_text(render_comparison(comparison, pictures, record), encoding="utf-8")
    return folder / REPORT


def as_record(comparison: RunComparison) -> dict[str, Any]:
    """Return the comparison as plain JSON values; what is unknown is None."""
    rows = comparison.table.astype(object).where(comparison.table.notna(), None).to_dict("records")
    return {
        "runs": dict(zip(comparison.runs, comparison.layers, strict=True)),
        "data": {name: str(value) for name, value in comparison.scores.attrs.items()},
        "settings": comparison.settings,
        "differences": rows,
        "notes": list(comparison.notes),
    }


def as_dataset(comparison: RunComparison) -> Any:
    """Return scores and differences, by voxel and region, as one dataset."""
    n_pairs, regions = len(comparison.pairs), comparison.scores["roi"].values
    columns = ("difference", "lower", "upper", "p_value", "q_value")
    by_region = {
        f"roi_{name}": (("pair", "roi"), comparison.table[name].to_numpy().reshape(n_pairs, len(regions)))
        for name in columns
    }
    whole = comparison.scores.merge(comparison.voxels).assign(by_region)
    whole["roi_mask"] = whole["roi_mask"].astype(np.int8)
    return whole


def render_comparison(
    comparison: RunComparison, pictures: dict[str, bytes], provenance: dict[str, Any]
) -> str:
    """Render the page; every value is escaped."""
    scores = comparison.scores
    many = neuroids(scores)[1]
    return render_page(
        "comparison.html.jinja",
        title=str(scores.attrs.get("title", scores.attrs.get("dataset", "Runs compared"))),
        subject=str(scores.attrs.get("subject", "")),
        many=many,
        confidence=f"{comparison.settings['confidence']:.0%}",
        summary=comparison_sentences(comparison),
        runs=_run_rows(comparison),
        differences=[(a, b, _difference_rows(rows)) for a, b, rows in _by_pair(comparison)],
        figures=[
            {
                "name": name,
                "title": title,
                "missing": "",
                "source": inline_png(pictures[name]),
                "alt": _alt(name, comparison),
                "caption": _caption(name, comparison),
            }
            for name, (title, _) in _FIGURES.items()
        ],
        caveats=list(comparison.notes),
        methods=_methods(comparison),
        facts=[(name.capitalize(), rows) for name, rows in fact_tables(provenance)],
    )


def comparison_sentences(comparison: RunComparison) -> list[str]:
    """Say what came out of each pair, in the region that holds most voxels and over all regions."""
    sentences, many = [], neuroids(comparison.scores)[1]
    for a, b, rows in _by_pair(comparison):
        known = [row for row in rows if np.isfinite(row["difference"])]
        if not known:
            sentences.append(f"{a} and {b} have no region in which both can be scored.")
            continue
        widest = max(known, key=lambda row: row["n_voxels"])
        better, worse = (a, b) if widest["difference"] >= 0 else (b, a)
        where = f"over all {many}" if widest["roi"] == "all" else f"in {widest['roi']}"
        interval = "{} [{}, {}]".format(
            *(number(widest[name], 3) for name in ("difference", "lower", "upper"))
        )
        if widest["q_value"] <= ALPHA:
            head = f"{better} predicts better than {worse} {where}: {a} less {b} is {interval} in mean r"
        else:
            head = f"{a} and {b} cannot be told apart {where}: {a} less {b} is {interval} in mean r"
        n_found, others = sum(row["q_value"] <= ALPHA for row in known), ""
        if len(rows) > 1:
            others = f" They differ in {n_found} of {len(rows)} regions, at a false discovery rate of 5%."
        sentences.append(f"{head} (q = {widest['q_value']:.2g}).{others}")
    return sentences


def _by_pair(comparison: RunComparison) -> list[tuple[str, str, list[dict[str, Any]]]]:
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in comparison.table.to_dict("records")
    ]
    return [
        (a, b, [row for row in rows if (row["run_a"], row["run_b"]) == (a, b)]) for a, b in comparison.pairs
    ]


def _run_rows(comparison: RunComparison) -> list[tuple[str, ...]]:
    scores = comparison.scores
    ceiling = number(mean_finite(scores["noise_ceiling_r"].values), 3)
    return [
        (run, layer, number(mean_finite(r), 3), number(mean_finite(evaluated), 3), ceiling)
        for run, layer, r, evaluated in zip(
            comparison.runs, comparison.layers, scores["r"].values, scores["r_evaluated"].values, strict=True
        )
    ]


def _difference_rows(rows: list[dict[str, Any]]) -> list[tuple[bool, tuple[str, ...]]]:
    return [
        (
            row["q_value"] <= ALPHA,
            (
                row["roi"],
                f"{row['n_voxels']:,}",
                *(number(row[name], 3) for name in ("r_a", "r_b", "difference")),
                f"{number(row['lower'], 3)} to {number(row['upper'], 3)}",
                *(f"{row[name]:.2g}" if np.isfinite(row[name]) else "–" for name in ("p_value", "q_value")),
            ),
        )
        for row in rows
    ]


def _caption(name: str, comparison: RunComparison) -> str:
    many = neuroids(comparison.scores)[1]
    percent = f"{comparison.settings['confidence']:.0%}"
    if name == "difference_forest":
        text = (
            f"Dots: mean over the {many} of a region of the difference in held-out r, with its {percent} bootstrap"
            f" interval over whole units. To the right of zero the run named first predicts better."
        )
        n_regions = comparison.scores.sizes["roi"]
        if len(comparison.pairs) > MAX_PAIRS or n_regions > MAX_REGIONS:
            text += f" Drawn are the first {MAX_PAIRS} pairs and {MAX_REGIONS} regions; the table has all."
        return text
    if name == "score_scatter":
        return (
            f"Each {neuroids(comparison.scores)[0]}'s held-out r in one run against the other; the colour tells how"
            " many lie nearby. Above the line the run on the vertical axis predicts better."
        )
    text = f"Dots: mean held-out r over the {many} of a region, with its {percent} interval, a row a run."
    unit = evaluation_unit(comparison.scores)
    if not np.isfinite(comparison.scores["noise_ceiling_r"].values).any():
        return f"{text} The noise ceiling is unknown."
    return (
        f"{text} Dashed: mean noise ceiling, which belongs to {unit or 'the unit that repeats'}. Open diamonds, where"
        " there are any, are the mean r on that unit, to be compared with it."
    )


def _alt(name: str, comparison: RunComparison) -> str:
    if name == "difference_forest":
        return difference_words(comparison)
    means = [f"{row[0]} {row[2]}" for row in _run_rows(comparison)]
    what = "Scatter plots of r, run against run" if name == "score_scatter" else "Mean r by run and region"
    return f"{what}. Mean r over all: {', '.join(means)}."


def _methods(comparison: RunComparison) -> str:
    settings = comparison.settings
    one, many = neuroids(comparison.scores)
    return (
        f"Runs were paired by their held-out predictions of the same {settings['n_samples']:,} samples and"
        f" {comparison.scores.sizes['neuroid']:,} {many}. For each {one} the difference of the two Pearson correlations"
        " with the measured responses was taken, predictions of all folds pooled, and averaged over the"
        f" {many} of each region. Intervals ({settings['confidence']:.0%}) are percentiles of"
        f" {settings['n_bootstrap']:,} bootstrap draws of {settings['n_units']:,} whole units (stimuli or blocks), the"
        f" same for both runs. Two-sided p-values come from {settings['n_permutations']:,} exchanges of the runs'"
        " predictions within units, the true pairing among them, which flip the sign of each unit's influence on the"
        " difference (Devlin, Gnanadesikan & Kettenring 1975), and were corrected over regions and pairs by false"
        " discovery rate (Benjamini & Hochberg 1995). The predictions are taken as given: what another training set"
        " would change is in neither."
    )


_FIGURES: dict[str, tuple[str, Callable[[RunComparison], Figure]]] = {
    "difference_forest": ("Differences, region by region", difference_forest),
    "score_scatter": ("Run against run", score_scatter),
    "scores_by_run": ("Scores beside the noise ceiling", scores_by_run),
}
