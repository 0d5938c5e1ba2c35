"""The folder of one run: claimed once, written atomically, safe to come back to."""

from __future__ import annotations

import re
from pathlib import Path

import xarray as xr

from analyses.experiments.config import RunConfig, read_run_config
from stimuli.files import atomic_write

CONFIG = "config.json"
RESULTS = "results.nc"
PREDICTIONS = "predictions.nc"
HELD_OUT = "held_out.nc"
FEATURES = "features"
_UNFINISHED_CONFIG = re.compile(rf"\.[0-9a-f]{{12}}\.{re.escape(CONFIG)}")


def claim_run_folder(folder: Path, config: RunConfig, *, resume: bool, results: str = RESULTS) -> None:
    """Make `folder` this run's own, or go on with it.

    Parameters
    ----------
    folder : Path
        Where the run is written.
    config : RunConfig
        What the run is.
    resume : bool
        Go on with an unfinished (or rewrite the end of a finished) run of the same configuration.
    results : str
        File that a finished run has.

    Raises
    ------
    FileExistsError
        When the folder holds another run, an unfinished or finished run without `resume`, or other files. Features
        alone are nobody's: each layer says what it was made from and of, so that any run may use them.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"out: {folder} is a file; name a folder that is new or empty")
    entries = sorted(folder.iterdir()) if folder.exists() else []
    # A kill just before a rename leaves what `atomic_write` had begun; it is nobody's work.
    unfinished = [entry for entry in entries if _UNFINISHED_CONFIG.fullmatch(entry.name)]
    held = [entry.name for entry in entries if entry not in unfinished]
    if set(held) <= {FEATURES}:
        for entry in unfinished:
            entry.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / CONFIG) as temporary:
            temporary.write_text(config.model_dump_json(indent=2), encoding="utf-8")
        return
    if CONFIG not in held:
        raise FileExistsError(
            f"out: {folder} holds other files ({', '.join(held[:3])}{', ...' if len(held) > 3 else ''}) and no run;"
            " name a folder that is new or empty"
        )
    try:
        other = read_run_config(folder / CONFIG, type(config))
    except ValueError as error:
        raise FileExistsError(f"out: {error}") from error
    if other.identity != config.identity:
        mine, theirs = config.model_dump(mode="json"), other.model_dump(mode="json")
        differing = [f"{k} (there {theirs[k]!r}, here {mine[k]!r})" for k in mine if mine[k] != theirs[k]]
        begun = set(held) <= {CONFIG, FEATURES}
        raise FileExistsError(
            f"out: {folder} holds another run, which differs in {'; '.join(differing)}; name another folder"
            f"{', or delete this one if that run has ended: it holds no results' if begun else ''}"
        )
    if not resume:
        state = "a finished" if results in held else "an unfinished"
        raise FileExistsError(
            f"out: {folder} holds {state} run with these settings; add --resume (resume=True) to go on with it, or"
            " name another folder"
        )


def release_run_folder(folder: Path) -> None:
    """Give up a run of which nothing but features was made, so that other settings may take its folder."""
    if {entry.name for entry in folder.iterdir()} <= {CONFIG, FEATURES}:
        (folder / CONFIG).unlink(missing_ok=True)


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write `dataset` as netCDF, whole or not at all; large numeric variables are compressed."""
    encoding = {
        str(name): {"zlib": True, "complevel": 1}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "fiu" and variable.size > 10_000
    }
    with atomic_write(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a netCDF file of a run into memory.

    Raises
    ------
    FileNotFoundError
        When the run is unfinished or the folder is no run.
    ValueError
        When the file is corrupt or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} has no {path.name}: it is no run's folder, or its run is unfinished (go on with --resume)"
        )
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is corrupt or truncated ({error}); delete it and finish the run again with --resume"
        ) from error
