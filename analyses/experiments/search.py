"""A whole run of visual search: displays, a model's scanpaths, what they say, provenance, report."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analyses.experiments.config import read_run_config
from analyses.experiments.progress import FitProgress
from analyses.experiments.run_folder import CONFIG, claim_run_folder
from analyses.experiments.search_config import RunKind, SearchConfig
from analyses.experiments.search_models import backbones_of, describe_search_model, make_search_model
from analyses.experiments.search_sources import display_kind, load_search_displays
from analyses.provenance import PROVENANCE, collect_provenance, write_provenance
from cogmodels import __version__
from encoders.checkpoints import FolderCheckpoint
from encoders.solvers.checks import check_device
from stimuli.files import atomic_write, read_json, write_json

if TYPE_CHECKING:
    from cogmodels.search import Scanpaths, SearchModel
    from stimuli.search_displays import SearchDisplays

RESULTS = "results.json"
SCANPATHS, TRIALS, DISPLAYS = "scanpaths.csv", "trials.csv", "displays.csv"
_DISPLAY_DTYPES: dict[str, Any] = {"display": str, "paradigm": str, "condition": str, "set_size": "Int64"}
_TEXT = {"observer": str, "display": str, "paradigm": str, "condition": str}


@dataclass(frozen=True, eq=False)
class SearchRun:
    """A finished run of visual search.

    Attributes
    ----------
    name : str
        What the run is called beside others: its observer's name.
    config : SearchConfig
    kind : {"set_sizes", "scenes"}
    scanpaths : Scanpaths
    trials : DataFrame
        One row a trial: observer, display, trial, paradigm, condition, set_size, found, n_fixations; where set sizes
        differ also rt_ms, with searches that did not find their target counted as the largest set size.
    displays : DataFrame
        One row a display, as `SearchDisplays.table`.
    displays_sha256 : str
        Of all that the displays say, pixels included.
    folder : Path
    """

    name: str
    config: SearchConfig
    kind: RunKind
    scanpaths: Scanpaths
    trials: pd.DataFrame
    displays: pd.DataFrame
    displays_sha256: str
    folder: Path


def run_search(
    config: SearchConfig, out: str | Path, *, resume: bool = False, progress: bool = True
) -> SearchRun:
    """Let a model search displays and write a run's folder.

    The folder holds ``config.json``, ``scanpaths.csv``, ``trials.csv``, ``displays.csv``, ``results.json`` (slopes and
    asymmetry index, or cumulative curves, beside people's where their data lie at hand), ``provenance.json``,
    ``figures/`` and ``report.html``.

    Parameters
    ----------
    config : SearchConfig
        Every choice that changes the numbers.
    out : path
        Folder of the run: new or empty, or the same run's with `resume`.
    resume : bool
        Go on with a run that was interrupted: displays that were searched are read, and the result has the same bits.
    progress : bool
        Show a progress bar.

    Returns
    -------
    SearchRun

    Raises
    ------
    ValueError, TypeError, KeyError, FileNotFoundError
        For bad names, settings or displays, before the folder is claimed wherever that can be told.
    FileExistsError
        When `out` holds something else.
    """
    out = Path(out)
    started, cpu_started = time.time(), time.process_time()
    check_device(config.device)
    displays = load_search_displays(config)
    model = make_search_model(config)
    _check_needs(model, displays)
    claim_run_folder(out, config, resume=resume, results=RESULTS)
    made_of = {
        "config": config.identity,
        "displays": displays.content_hash,
        "model": describe_search_model(model, config),
        "version": __version__,
    }
    if (out / RESULTS).exists():
        _check_same(out, made_of)
        return _finish(out, displays)
    checkpoint = FolderCheckpoint(out / "checkpoints", made_of)
    scanpaths = _search_in_chunks(model, displays, config, checkpoint, progress)
    scanpaths.save(out / SCANPATHS)
    _write_csv(_trial_table(scanpaths, displays, config), out / TRIALS)
    _write_csv(displays.table, out / DISPLAYS)
    write_provenance(
        out,
        collect_provenance(
            config.model_dump(mode="json"),
            backbones=backbones_of(model),
            seeds={"seed": config.seed},
            device=config.device,
            wall_s=time.time() - started,
            cpu_s=time.process_time() - cpu_started,
        )
        | {
            "displays": {"n_displays": len(displays), "content_hash": displays.content_hash},
            "made_of": made_of,
        },
    )
    return _finish(out, displays)


def read_search_run(folder: str | Path) -> SearchRun:
    """Read a finished run.

    Raises
    ------
    FileNotFoundError
        When the folder is no run of visual search, or an unfinished one.
    ValueError
        When a file is damaged.
    """
    folder = Path(folder)
    config = read_run_config(folder / CONFIG, SearchConfig)
    if not (folder / RESULTS).is_file():
        raise FileNotFoundError(f"{folder} has no {RESULTS}: its run is unfinished (go on with --resume)")
    return _read_search(folder, config)


def _read_search(folder: Path, config: SearchConfig) -> SearchRun:
    from cogmodels.search import Scanpaths

    scanpaths = Scanpaths.load(folder / SCANPATHS)
    try:
        trials = pd.read_csv(
            folder / TRIALS, dtype=_TEXT, keep_default_na=False, na_values={"set_size": [""]}
        )
        displays = pd.read_csv(
            folder / DISPLAYS,
            dtype=_DISPLAY_DTYPES,
            keep_default_na=False,
            na_values={name: [""] for name in ("set_size", "target_item", "px_per_degree")},
        )
        sha256 = str(read_json(folder / PROVENANCE)["displays"]["content_hash"])
        same = trials["display"].tolist() == scanpaths.trials["display"].tolist()
        whole = set(trials["display"]) <= set(displays["display"])
        found = trials["found"].dtype == bool
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds a damaged table or provenance ({error}); run it again") from error
    if not (same and whole and found):
        raise ValueError(f"{folder}: {TRIALS} does not belong to {SCANPATHS} and {DISPLAYS}; run it again")
    name = (
        config.label or str(trials["observer"].iloc[0]).rpartition("#")[0] or str(trials["observer"].iloc[0])
    )
    return SearchRun(name, config, display_kind(displays), scanpaths, trials, displays, sha256, folder)


def _search_in_chunks(
    model: SearchModel,
    displays: SearchDisplays,
    config: SearchConfig,
    checkpoint: FolderCheckpoint,
    progress: bool,
) -> Scanpaths:
    """Search some displays at a time, and keep each part as soon as it is done."""
    from cogmodels.search import Scanpaths

    size, parts = config.chunk_displays, []
    with FitProgress() if progress else nullcontext() as bar:
        for first in range(0, len(displays), size):
            if bar is not None:
                bar.show(f"{model.name} searches", first, len(displays))
            key = f"displays-{first:06d}"
            kept = checkpoint.load(key)
            if kept is None:
                found = model.search(
                    displays[first : first + size], n_rollouts=config.n_rollouts, seed=config.seed
                )
                kept = _as_arrays(found.table)
                checkpoint.save(key, kept)
            parts.append(Scanpaths(pd.DataFrame(kept)))
        if bar is not None:
            bar.show(f"{model.name} searches", len(displays), len(displays))
    return Scanpaths.concat(parts)


def _as_arrays(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        str(name): column.to_numpy(dtype=str) if column.dtype == object else column.to_numpy()
        for name, column in table.items()
    }


def _trial_table(scanpaths: Scanpaths, displays: SearchDisplays, config: SearchConfig) -> pd.DataFrame:
    from cogmodels.search.reaction_time import INTERCEPT_MS, MS_PER_FIXATION, reaction_times

    table = displays.table
    if display_kind(table) == "set_sizes":
        slope = MS_PER_FIXATION if config.ms_per_fixation is None else config.ms_per_fixation
        intercept = INTERCEPT_MS if config.intercept_ms is None else config.intercept_ms
        return reaction_times(scanpaths, displays, slope, intercept)
    about = table[["display", "paradigm", "condition", "set_size"]]
    trials = scanpaths.trials.merge(about, on="display", how="left", validate="many_to_one")
    return trials[
        ["observer", "display", "trial", "paradigm", "condition", "set_size", "found", "n_fixations"]
    ]


def _check_needs(model: SearchModel, displays: SearchDisplays) -> None:
    """Refuse displays that lack what the model looks at, before the folder is claimed."""
    for need in sorted(getattr(model, "needs", ())):
        lacking = [display.display_id for display in displays if getattr(display, need) is None]
        if lacking:
            raise ValueError(
                f"model: {model.name} looks at the {need.replace('_', ' ')}, and {len(lacking):,} of {len(displays):,}"
                f" displays have none (first: {lacking[0]!r}); choose a model that goes without (chance, center,"
                " nearest, oat), or other displays"
            )


def _check_same(out: Path, made_of: dict[str, Any]) -> None:
    """Refuse a finished run whose displays or weights are no longer those at hand."""
    try:
        then = read_json(out / PROVENANCE)["made_of"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{out / PROVENANCE} is missing or damaged; name another folder and run again"
        ) from error
    if differing := [name for name in ("displays", "model") if then.get(name) != made_of[name]]:
        raise FileExistsError(
            f"out: {out} holds a finished run of other {' and '.join(differing)} than those at hand; name another"
            " folder"
        )


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _finish(out: Path, displays: SearchDisplays) -> SearchRun:
    from analyses.experiments.compare_search import as_record, summarize_searches
    from analyses.experiments.search_sources import people_at_hand
    from analyses.report.search_page import write_search_report  # draws, and so costs a second to import

    run = _read_search(out, read_run_config(out / CONFIG, SearchConfig))
    summary = summarize_searches([run], people_at_hand(run.config.paradigm), scores=False)
    write_json(out / RESULTS, as_record(summary))
    write_search_report(summary, out, displays)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return run
