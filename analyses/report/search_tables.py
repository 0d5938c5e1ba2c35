"""The tables of a page on visual search, cell by cell as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from analyses.report.search_slopes import words
from analyses.report.style import number

if TYPE_CHECKING:
    from analyses.experiments.compare_search import SearchComparison


def search_tables(comparison: SearchComparison) -> list[dict[str, Any]]:
    """Return title, caption, columns and rows of every table that has rows."""
    percent = f"{comparison.settings['confidence']:.0%}"
    tables = [
        _table(
            "Runs",
            "A trial is one search of one display.",
            ("Run", "Displays", "Trials", "Found", "Mean fixations"),
            [
                (
                    run.name,
                    f"{len(run.displays):,}",
                    f"{len(run.trials):,}",
                    f"{run.trials['found'].mean():.1%}",
                    number(float(run.trials["n_fixations"].mean())),
                )
                for run in comparison.runs
            ],
        ),
        _table(
            "Direction of the asymmetries",
            f"Mean asymmetry index with its {percent} interval over displays. r and error: slopes against people's.",
            (
                "Run",
                "Direction as people's",
                "Mean index",
                "Interval",
                "People's",
                "r of slopes",
                "Error (ms an item)",
            ),
            [
                (
                    row["run"],
                    f"{row['n_right']} of {row['n_paradigms']}",
                    number(row["mean_index"], 3),
                    _interval(row),
                    number(row["human_mean_index"], 3),
                    number(row["slope_r"]),
                    number(row["slope_error_ms_per_item"], 1),
                )
                for row in _rows(comparison.overall)
            ],
        ),
        _table(
            "Asymmetry index",
            "From −1 (the reverse of people's direction) to 1; 0 where neither slope is positive.",
            ("Paradigm", "Run", "Index", "Interval", "People's"),
            [
                (
                    words(row["paradigm"]),
                    row["run"],
                    number(row["index"], 3),
                    _interval(row),
                    number(row["human_index"], 3),
                )
                for row in _rows(comparison.index)
            ],
        ),
        _table(
            "Slopes",
            f"Least squares over trials, with {percent} intervals over displays; milliseconds an item.",
            ("Condition", "Run", "Slope", "Interval", "People's"),
            [
                (
                    f"{words(row['paradigm'])}: {words(row['condition'])}",
                    row["run"],
                    number(row["slope_ms_per_item"], 1),
                    _interval(row, "slope_", 1),
                    number(row["human_slope"], 1),
                )
                for row in _rows(comparison.slopes)
            ],
        ),
        _table(
            "Area under the curve",
            "Mean share of targets found over the fixations of the curve, and that as a share of people's.",
            ("Displays", "Run", "Area", "Interval", "People's", "Share", "Interval of the share"),
            [
                (
                    row["displays"],
                    row["run"],
                    number(row["area"], 3),
                    _interval(row),
                    number(row.get("people_area", float("nan")), 3),
                    number(row.get("share", float("nan")), 3),
                    _interval(row, "share_") if "share" in row else "–",
                )
                for row in _rows(comparison.areas)
            ],
        ),
        _table(
            "Scanpaths like people's",
            "Similarity of the run's scanpaths and people's, and that of people among themselves (ceiling).",
            ("Measure", "Displays", "Run", "Value", "Ceiling", "Share", "Interval of the share"),
            [
                (
                    row["metric"],
                    row["displays"],
                    row["run"],
                    number(row["value"], 3),
                    number(row["ceiling"], 3),
                    number(row["share"], 3),
                    _interval(row, "share_"),
                )
                for row in _rows(comparison.scores)
            ],
        ),
        _table(
            "Differences between runs",
            f"First less second, on the same displays; {percent} intervals of paired draws of displays.",
            ("Measure", "On", "First", "Second", "Difference", "Interval"),
            [
                (
                    row["measure"],
                    words(row["group"]),
                    row["run_a"],
                    row["run_b"],
                    number(row["difference"], 3),
                    _interval(row),
                )
                for row in _rows(comparison.differences)
            ],
        ),
    ]
    return [table for table in tables if table["rows"]]


def _table(title: str, caption: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _interval(row: dict[str, Any], prefix: str = "", digits: int = 3) -> str:
    lower, upper = (number(row[f"{prefix}{end}"], digits) for end in ("lower", "upper"))
    return "–" if "–" in (lower, upper) else f"{lower} to {upper}"
