"""Series of volumes of a user's own folder, with the events of each run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.datasets.brain_images import (
    VOLUME_ENDINGS,
    find_surface_pairs,
    neuroid_names,
    read_hemispheres,
    read_series,
)
from analyses.datasets.dataset import count_repetitions, label_blocks
from analyses.datasets.own_responses import Measured, folder_surface, folder_volume, on_surface
from analyses.datasets.own_tables import TABLE_ENDINGS, number_column, read_events, read_table
from analyses.datasets.single_trials import GlmSettings, estimate_single_trials
from analyses.geometry import Geometry, VolumeGeometry

SERIES, EVENTS, CONFOUNDS = "bold", "events", "confounds"
_RUN_NUMBER = re.compile(r"run-?(\d+)")
_BIDS_SUFFIX = re.compile(r"_(bold|events|confounds|timeseries|space-[^_]+|desc-[^_]+)(?=_|$)")
RunFile = Path | tuple[Path, Path]


def read_runs(
    folder: Path,
    tr_s: float | None,
    kind: Literal["trials", "time_series"],
    glm: GlmSettings,
    space: str | None,
) -> Measured:
    """Read every run, as one response a trial or as one row a volume.

    Parameters
    ----------
    folder : Path
        The folder of one subject: ``bold/``, ``events/`` and, for NIfTI files, ``mask.nii.gz``.
    tr_s : float or None
        Repetition time in seconds.
    kind : {"trials", "time_series"}
        Single-trial responses by a general linear model, or the volumes themselves.
    glm : GlmSettings
        How single-trial responses are estimated.
    space : str or None
        Name of the surface, or of the standard space of the mask; told by the files where it is None.

    Returns
    -------
    Measured

    Raises
    ------
    FileNotFoundError
        If a run has no events or the mask is missing.
    ValueError
        If files are damaged or do not fit together; the message names the run.
    """
    if tr_s is None:
        raise ValueError(
            f"{folder / SERIES} holds series of volumes, so dataset.json has to give tr_s, in seconds."
        )
    runs = _list_runs(folder / SERIES)
    # Tables are small and series are not: every table is checked before the first series is read.
    tables = {stem: _run_table(folder / EVENTS, stem, EVENTS) for stem in runs}
    events = {stem: read_events(path) for stem, path in tables.items()}
    confounds = {stem: _read_confounds(folder / CONFOUNDS, stem) for stem in runs}
    geometry: Geometry | None = None
    values: list[NDArray[np.float32]] = []
    ids: list[str] = []
    run_of_row: list[int] = []
    for number, (stem, paths) in zip(_number_runs(list(runs)), runs.items(), strict=True):
        series, geometry = _read_run(folder, paths, geometry, space)
        try:
            if kind == "time_series":
                rows, shown = series, label_volumes(len(series), events[stem], tr_s, glm.slice_time_ref)
            else:
                _refuse_missing(series)
                onsets, durations = (events[stem][name].to_numpy() for name in ("onset", "duration"))
                rows = estimate_single_trials(series, onsets, durations, tr_s, glm, confounds[stem])
                shown = events[stem]["stimulus_id"].tolist()
        except ValueError as error:
            raise ValueError(f"run {stem} with {tables[stem]}: {error}") from error
        values.append(rows)
        ids.extend(shown)
        run_of_row.extend([number] * len(rows))
    assert geometry is not None
    trials: dict[str, Any] = {"stimulus_ids": np.array(ids, dtype=np.str_), "runs": np.array(run_of_row)}
    if kind == "time_series":
        blocks = label_blocks(trials["stimulus_ids"], trials["runs"])
        trials["repetitions"] = count_repetitions(trials["stimulus_ids"], blocks)
    return Measured(np.concatenate(values), trials, folder / SERIES, geometry, neuroid_names(geometry))


def label_volumes(n_volumes: int, events: pd.DataFrame, tr_s: float, slice_time_ref: float) -> list[str]:
    """Say what was shown while each volume was acquired.

    Parameters
    ----------
    n_volumes : int
        Volumes of the run.
    events : DataFrame
        ``onset`` and ``duration`` in seconds, ``stimulus_id``.
    tr_s : float
        Repetition time in seconds.
    slice_time_ref : float
        Moment within a volume, 0 to 1, that counts.

    Returns
    -------
    list of str
        The event whose onset <= t < onset + duration, ``""`` where there is none.

    Raises
    ------
    ValueError
        If events overlap, or one covers no volume.
    """
    times = (np.arange(n_volumes) + slice_time_ref) * tr_s
    labels = [""] * n_volumes
    rows = zip(
        events["onset"].tolist(), events["duration"].tolist(), events["stimulus_id"].tolist(), strict=True
    )
    for row, (onset, duration, stimulus_id) in enumerate(rows):
        covered = np.flatnonzero((times >= onset) & (times < onset + duration))
        if not covered.size:
            raise ValueError(
                f"the event in row {row + 1} (onset {onset} s for {duration} s) covers no "
                'volume; use the kind "trials" for brief events.'
            )
        if any(labels[volume] for volume in covered):
            raise ValueError(f'the event in row {row + 1} overlaps another; use the kind "trials".')
        for volume in covered:
            labels[volume] = str(stimulus_id)
    return labels


def _read_run(
    folder: Path, paths: RunFile, geometry: Geometry | None, space: str | None
) -> tuple[NDArray[np.float32], Geometry]:
    if isinstance(paths, Path):
        volume = geometry if isinstance(geometry, VolumeGeometry) else folder_volume(folder, space)
        return read_series(paths, volume), volume
    left, right = read_hemispheres(paths)
    surface = (
        folder_surface(folder, left.shape[1], right.shape[1], space)
        if geometry is None or isinstance(geometry, VolumeGeometry)
        else geometry
    )
    try:
        return on_surface(left, right, surface), surface
    except ValueError as error:
        raise ValueError(f"{paths[0]} and {paths[1]}: {error}") from error


def _list_runs(folder: Path) -> dict[str, RunFile]:
    volumes = {
        path.name.removesuffix(ending): path
        for ending in VOLUME_ENDINGS
        for path in folder.glob(f"*{ending}")
    }
    surfaces = find_surface_pairs(folder)
    if bool(volumes) == bool(surfaces):
        raise ValueError(f"{folder} has to hold either NIfTI files or pairs of GIFTI files, one a run.")
    found: dict[str, Any] = dict(volumes or surfaces)
    runs: dict[str, RunFile] = {}
    for name in sorted(found):
        stem = _run_stem(name)
        if stem in runs:
            raise ValueError(f"{folder}: {name} and another file are both the run {stem}; keep one of them.")
        runs[stem] = found[name]
    return runs


def _run_stem(name: str) -> str:
    """Leave out what BIDS adds to tell series from tables: sub-1_run-01_space-T1w_bold -> sub-1_run-01."""
    return _BIDS_SUFFIX.sub("", name)


def _run_table(folder: Path, stem: str, what: str) -> Path:
    candidates = [path for path in sorted(folder.glob("*")) if path.suffix in TABLE_ENDINGS]
    found = [path for path in candidates if _run_stem(path.stem) == stem]
    if len(found) != 1:
        present = ", ".join(path.name for path in candidates) or "nothing"
        raise FileNotFoundError(
            f"run {stem} needs one table of {what} in {folder}, {stem}.tsv or {stem}_{what}.tsv; "
            f"{len(found)} of that name came ({present})."
        )
    return found[0]


def _number_runs(stems: list[str]) -> list[int]:
    matches = [_RUN_NUMBER.search(stem) for stem in stems]
    numbers = [int(found.group(1)) for found in matches if found]
    unique = len(numbers) == len(stems) == len(set(numbers))
    return numbers if unique else list(range(1, len(stems) + 1))


def _read_confounds(folder: Path, stem: str) -> NDArray[np.float64] | None:
    if not folder.is_dir():
        return None
    path = _run_table(folder, stem, CONFOUNDS)
    table = read_table(path)
    return np.column_stack([number_column(table, name, path) for name in table.columns])


def _refuse_missing(series: NDArray) -> None:
    bad = ~np.isfinite(series).all(axis=0)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {series.shape[1]} voxels hold NaN or infinite values; leave them out of the "
            "mask."
        )
