"""The self-contained page of a run: everything inline, nothing loaded, readable offline, in print and "
"on a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from analyses.experiments.attention_summary import ATTENTION
from analyses.experiments.config import EncodingConfig, read_config
from analyses.experiments.run_folder import CONFIG, PREDICTIONS, RESULTS, read_netcdf
from analyses.geometry import load_geometry
from analyses.provenance import PROVENANCE, plain_values
from analyses.report.attention_entries import ATTENTION_ENTRIES
from analyses.report.band_figures import BAND_ENTRIES
from analyses.report.entries import ENTRIES, Entry, RunData
from analyses.report.methods import methods_text
from analyses.report.page import as_png, fact_tables, inline_png, render_page
from analyses.report.reading import (
    exclusions,
    headline_layer,
    layer_names,
    layer_table,
    neuroids,
    roi_table,
    used_reductions,
)
from analyses.report.style import number
from analyses.report.words import VERDICTS, caveats, percent, summary_sentences, verdict
from stimuli.files import atomic_write

GEOMETRY, REPORT = "geometry.npz", "report.html"
#: Parts of the provenance that stand open on the page, with their headings; the others unfold.
_PARTS = {"run": "Run", "code": "Code", "seeds": "Seeds", "backbones": "Backbones"}

OF_SOME_MODELS = (*BAND_ENTRIES, *ATTENTION_ENTRIES)
"""Figures that only banded, or only trained, encoders have."""


def write_report(run_folder: str | Path) -> Path:
    """Draw the figures of a finished run and write its page.

    Parameters
    ----------
    run_folder : str or Path
        Folder with `results.nc` and `config.json`; `predictions.nc`, `provenance.json`, `geometry.npz` and
        `attention.nc` are used where they are, and the page says what is missing.

    Returns
    -------
    Path
        `report.html` in that folder; the figures stand in `figures/`.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    ValueError
        If a file is corrupt.
    """
    folder = Path(run_folder)
    results = read_netcdf(folder / RESULTS)
    config = read_config(folder / CONFIG)
    provenance = _read_provenance(folder / PROVENANCE)
    predictions = read_netcdf(folder / PREDICTIONS) if (folder / PREDICTIONS).is_file() else None
    geometry = load_geometry(folder / GEOMETRY) if (folder / GEOMETRY).is_file() else None
    attention = read_netcdf(folder / ATTENTION) if (folder / ATTENTION).is_file() else None
    run = RunData(results, predictions, geometry, attention)
    page = render_report(run, config, provenance, _write_figures(run, folder / "figures"))
    with atomic_write(folder / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / REPORT


def render_report(
    run: RunData, config: EncodingConfig, provenance: dict[str, Any], pictures: dict[str, bytes]
) -> str:
    """Render the page.

    Parameters
    ----------
    run : RunData
        What the figures were drawn from.
    config : EncodingConfig
        The run's configuration.
    provenance : dict
        `provenance.json`.
    pictures : dict of str to bytes
        PNG files by name of the figure.

    Returns
    -------
    str
        HTML; every value is escaped.
    """
    results = run.results
    attrs = results.attrs
    one, many = neuroids(results)
    data = [(name, str(attrs[key])) for name, key in _DATA_FACTS if attrs.get(key)]
    parts = fact_tables(provenance | {"config": _settings(results, config)})
    return render_page(
        "template.html.jinja",
        title=str(attrs.get("title", config.dataset)),
        subject=str(attrs.get("subject", "")),
        one=one,
        many=many,
        state=verdict(results).replace(" ", "-"),
        verdict=VERDICTS[verdict(results)].format(many=many),
        summary=summary_sentences(results),
        layers=_layer_rows(results),
        within=str(results.attrs.get("within", "group")) if "r_within" in results else "",
        regions=_roi_rows(results),
        headline=headline_layer(results),
        figures=[_figure(entry, run, pictures) for entry in _entries(run)],
        exclusions=[(reason, f"{count:,}") for reason, count in exclusions(results).items()],
        caveats=caveats(results),
        methods=methods_text(results, config, _versions(provenance)),
        has_provenance=bool(provenance),
        open_facts=[("Data", data)] + [(_PARTS[key], rows) for key, rows in parts if key in _PARTS],
        folded_facts=[(key.capitalize(), rows) for key, rows in parts if key not in _PARTS],
    )


def _settings(results: xr.Dataset, config: EncodingConfig) -> dict[str, Any]:
    """Return the configuration with the defaults that were taken, and without the paths of one machine."""
    settings = config.model_dump(mode="json")
    reductions, labels = used_reductions(results, config), layer_names(results)
    for space, shown in zip(config.spaces, settings["spaces"], strict=True):
        shown["reduction"] = reductions.get(space.name)
        of_space = [
            label.removeprefix(f"{space.name}:") for label in labels if label.startswith(f"{space.name}:")
        ]
        shown["layers"] = shown["layers"] or of_space or None
    for name in ("subject", "n_folds"):
        if settings[name] is None and name in results.attrs:
            settings[name] = plain_values(results.attrs[name])
    return dict(plain_values(settings))


_DATA_FACTS = (
    ("Data set", "title"),
    ("Subject", "subject"),
    ("Citation", "citation"),
    ("Licence", "licence"),
    ("Units of the responses", "units"),
    ("Space of the maps", "space"),
)


def _versions(provenance: dict[str, Any]) -> dict[str, str]:
    """Return versions of the software by package, this one's among them."""
    versions, code = provenance.get("versions"), provenance.get("code")
    known = dict(versions) if isinstance(versions, dict) else {}
    if isinstance(code, dict):
        known["cogmodels"] = code.get("version")
    return {str(name): str(version) for name, version in known.items() if version}


def _read_provenance(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is corrupt ({error}): delete it and finish the run again with --resume"
        ) from error
    return record if isinstance(record, dict) else {"provenance": record}


def _entries(run: RunData) -> list[Entry]:
    """Return the figures that the page speaks of: of bands and of attention only those that there are."""
    return [*ENTRIES, *(entry for entry in OF_SOME_MODELS if not entry.missing(run))]


def _write_figures(run: RunData, folder: Path) -> dict[str, bytes]:
    pictures = {}
    for entry in (*ENTRIES, *OF_SOME_MODELS):
        path = folder / f"{entry.name}.png"
        if entry.missing(run):
            path.unlink(missing_ok=True)  # left from an earlier state of this run
            continue
        pictures[entry.name] = as_png(entry.draw(run))
        with atomic_write(path) as temporary:
            temporary.write_bytes(pictures[entry.name])
    return pictures


def _figure(entry: Entry, run: RunData, pictures: dict[str, bytes]) -> dict[str, Any]:
    picture = pictures.get(entry.name)
    title = entry.title.format(many=neuroids(run.results)[1])
    if picture is None:
        return {
            "name": entry.name,
            "title": title,
            "missing": entry.missing(run) or "It was not drawn.",
        }
    return {
        "name": entry.name,
        "title": title,
        "missing": "",
        "source": inline_png(picture),
        "alt": entry.alt(run),
        "caption": entry.caption(run),
        "folded": entry.folded,
    }


def _layer_rows(results: xr.Dataset) -> list[tuple[str, ...]]:
    return [
        (
            str(layer),
            number(row["mean_r"], 3),
            number(row["median_r"], 3),
            number(row["r_95"], 3),
            number(row["null_95"], 3),
            f"{row['p']:.2g}" if np.isfinite(row["p"]) else "–",
            percent(row["share_fdr"]),
            *([number(row["mean_within"], 3)] if "r_within" in results else []),
            number(row["mean_normalized"]),
        )
        for layer, row in layer_table(results).iterrows()
    ]


def _roi_rows(results: xr.Dataset) -> list[tuple[str, ...]]:
    return [
        (
            str(roi),
            _count(row["n_voxels"]),
            number(row["mean_r"], 3),
            f"{number(row['lower'], 3)} to {number(row['upper'], 3)}" if np.isfinite(row["lower"]) else "–",
            number(row["mean_evaluated"], 3),
            number(row["ceiling"], 3),
            percent(row["share_fdr"]),
            number(row["mean_normalized"]),
        )
        for roi, row in roi_table(results).iterrows()
    ]


def _count(value: float) -> str:
    return f"{int(value):,}" if pd.notna(value) else "–"
