"""Read runs whose held-out predictions can be paired, and refuse those that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyses.experiments.fitting import SELECTED
from analyses.experiments.held_out import read_held_out
from analyses.experiments.run_folder import HELD_OUT, RESULTS, read_netcdf
from stimuli.files import count_of, unknown_name_message

_DATA = ("dataset", "subject", "kind", "responses_hash")
#: Of the runs' attributes, what every reader of a comparison needs; equal in all.
_SHARED_ATTRS = (
    "dataset",
    "title",
    "subject",
    "kind",
    "neuroids",
    "units",
    "licence",
    "citation",
    "tr_s",
    "space",
)
#: Responses are float32; runs that prepared them alike agree to rounding.
_SAME = 1e-4


@dataclass(frozen=True)
class PairedRuns:
    """Predictions of several runs for the same samples and neuroids.

    Attributes
    ----------
    names, folders, layers : list
        One a run: how it is called, where it stands, which of its layers is compared.
    measured : (n_samples, n_neuroids) array
    predicted : list of (n_samples, n_neuroids) array
        One a run.
    units : (n_samples,) array
        Independent unit of each sample.
    rois : dict of str to (n_neuroids,) bool array
    neuroid_ids : (n_neuroids,) array of str
        Neuroids that every run kept.
    noise_ceiling_r : (n_neuroids,) array
    r_evaluated : (n_runs, n_neuroids) array
        Scores on the unit that the ceiling belongs to.
    notes : list of str
        What differs between the runs and does not forbid to compare them.
    attrs : dict
        Attributes that the runs share.
    """

    names: list[str]
    folders: list[Path]
    layers: list[str]
    measured: np.ndarray
    predicted: list[np.ndarray]
    units: np.ndarray
    rois: dict[str, np.ndarray]
    neuroid_ids: np.ndarray
    noise_ceiling_r: np.ndarray
    r_evaluated: np.ndarray
    notes: list[str]
    attrs: dict[str, Any]


def pair_runs(folders: Sequence[str | Path], layer: str | None = None) -> PairedRuns:
    """Read the held-out predictions of runs and match them sample by sample and neuroid by neuroid.

    Parameters
    ----------
    folders : sequence of path
        Folders of finished runs.
    layer : str, optional
        Label of the layer of every run; each run's headline layer where None.

    Returns
    -------
    PairedRuns

    Raises
    ------
    FileNotFoundError, ValueError, KeyError
        As `compare_runs`.
    """
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise ValueError(f"there is {count_of(len(paths), 'run')} to compare; name two or more folders")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"a run is named twice ({', '.join(map(str, paths))}); it equals itself")
    names = _short_names(paths)
    held_out = [_read(path) for path in paths]
    results = [read_netcdf(path / RESULTS) for path in paths]
    _check_same_data(names, held_out)
    layers = [_layer(name, data, layer) for name, data in zip(names, held_out, strict=True)]
    ids = _common_neuroids(names, held_out)
    places = [_places(data, ids) for data in held_out]
    measured = held_out[0]["measured"].transpose("sample", "neuroid").values[:, places[0]]
    _check_same_preparation(names, held_out, places, measured)
    whole = [_places(run, ids) for run in results]
    evaluated = [
        run["r_evaluated"].sel(layer=label).values[place]
        for run, label, place in zip(results, layers, whole, strict=True)
    ]
    ceiling, rois, notes = _ceiling(results, whole), *_rois(results, whole)
    return PairedRuns(
        names,
        paths,
        layers,
        measured,
        [
            data["predicted"].sel(layer=label).transpose("sample", "neuroid").values[:, place]
            for data, label, place in zip(held_out, layers, places, strict=True)
        ],
        held_out[0]["sample_unit"].values,
        rois,
        ids,
        ceiling,
        np.stack(evaluated),
        [
            *_notes_on_neuroids(names, held_out, ids),
            *notes,
            *_notes_on_folds(names, held_out),
            *_notes_on_layers(names, held_out, layers, layer),
        ],
        {name: results[0].attrs[name] for name in _SHARED_ATTRS if name in results[0].attrs}
        | {
            "evaluation_unit": str(results[0].attrs.get("evaluation_unit", "")),
            "responses_hash": str(held_out[0].attrs["responses_hash"]),
        },
    )


def _read(folder: Path) -> xr.Dataset:
    if (folder / RESULTS).is_file() and not (folder / HELD_OUT).is_file():
        raise FileNotFoundError(
            f"{folder} has no {HELD_OUT}: it was run by a version that kept no held-out predictions; run it again,"
            " with the same settings, into a new folder"
        )
    data = read_held_out(folder)
    needed = {"measured", "predicted", "sample_unit", "sample_index", "fold", "neuroid_id", "layer"}
    if missing := needed - {str(name) for name in data.variables}:
        raise ValueError(
            f"{folder / HELD_OUT} lacks {', '.join(sorted(missing))}: it is of another version; run it again"
        )
    return data


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Name runs by as many of their last folders as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _check_same_data(names: Sequence[str], held_out: Sequence[xr.Dataset]) -> None:
    first = held_out[0]
    for name, other in zip(names[1:], held_out[1:], strict=True):
        differing = [
            f"{key.replace('_', ' ')} ({first.attrs.get(key)!s:.16} and {other.attrs.get(key)!s:.16})"
            for key in _DATA
            if first.attrs.get(key) != other.attrs.get(key)
        ]
        if differing:
            raise ValueError(
                f"the runs {names[0]} and {name} were fitted to different data: {', '.join(differing)} differ."
                " Only runs on the same responses can be compared"
            )
        for key, what in (("sample_index", "samples they tested"), ("sample_unit", "units of these samples")):
            if not np.array_equal(first[key].values, other[key].values):
                raise ValueError(
                    f"the runs {names[0]} and {name} differ in the {what}:"
                    f" {_samples(first)} and {_samples(other)}. Run both with the same split, on the same kind of"
                    " samples (volumes or blocks)"
                )


def _samples(data: xr.Dataset) -> str:
    n_units = len(np.unique(data["sample_unit"].values))
    rows = data["sample_index"].values
    where = f", rows {rows.min()} to {rows.max()}" if rows.size else ""
    return f"{count_of(data.sizes['sample'], 'sample')} of {count_of(n_units, 'unit')}{where}"


def _check_same_preparation(
    names: Sequence[str], held_out: Sequence[xr.Dataset], places: Sequence[np.ndarray], measured: np.ndarray
) -> None:
    for name, data, place in zip(names[1:], held_out[1:], places[1:], strict=True):
        other = data["measured"].transpose("sample", "neuroid").values[:, place]
        if not np.allclose(measured, other, rtol=_SAME, atol=_SAME * float(np.abs(measured).max())):
            raise ValueError(
                f"the runs {names[0]} and {name} prepared the same responses differently (detrending, scaling or"
                " averaging), so that their scores are not of the same thing; run both with the same settings of the"
                " responses"
            )


def _layer(name: str, data: xr.Dataset, wanted: str | None) -> str:
    labels = [str(label) for label in data["layer"].values]
    label = str(data.attrs["ranked_by"]) if wanted is None else wanted
    if label not in labels:
        raise KeyError(unknown_name_message(f"layer of the run {name}", label, labels))
    return label


def _common_neuroids(names: Sequence[str], held_out: Sequence[xr.Dataset]) -> np.ndarray:
    ids = held_out[0]["neuroid_id"].values.astype(str)
    for name, data in zip(names, held_out, strict=True):
        own = data["neuroid_id"].values.astype(str)
        if len(np.unique(own)) < len(own):
            raise ValueError(f"neuroid_id of the run {name} is not unique: neuroids cannot be matched by it")
        ids = ids[np.isin(ids, own)]
    if not ids.size:
        raise ValueError(f"the runs {', '.join(names)} kept no neuroid in common")
    return ids


def _places(data: xr.Dataset, ids: np.ndarray) -> np.ndarray:
    """Return where the neuroids `ids` stand in a run."""
    own = data["neuroid_id"].values.astype(str)
    order = np.argsort(own, kind="stable")
    return order[np.searchsorted(own, ids, sorter=order)]


def _ceiling(results: Sequence[xr.Dataset], places: Sequence[np.ndarray]) -> np.ndarray:
    """Return the ceiling, NaN where the runs do not give the same one (units of another lag, say)."""
    ceilings = np.stack([run["noise_ceiling_r"].values[p] for run, p in zip(results, places, strict=True)])
    units = {str(run.attrs.get("evaluation_unit", "")) for run in results}
    same = len(units) == 1 and np.allclose(ceilings, ceilings[0], rtol=_SAME, atol=_SAME, equal_nan=True)
    return ceilings[0] if same else np.full(ceilings.shape[1], np.nan)


def _rois(
    results: Sequence[xr.Dataset], places: Sequence[np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the ROIs that are the same in every run, and say which are not."""
    masks = [
        {
            str(roi): mask[place].astype(bool)
            for roi, mask in zip(run["roi"].values, run["roi_mask"].values, strict=True)
        }
        for run, place in zip(results, places, strict=True)
    ]
    same = {
        roi: mask
        for roi, mask in masks[0].items()
        if all(roi in others and np.array_equal(mask, others[roi]) for others in masks[1:])
    }
    left_out = sorted({roi for others in masks for roi in others} - set(same))
    notes = [f"Left out, because the runs drew them differently: {', '.join(left_out)}."] if left_out else []
    return same or {"all": np.ones(len(places[0]), dtype=bool)}, notes


def _notes_on_neuroids(names: Sequence[str], held_out: Sequence[xr.Dataset], ids: np.ndarray) -> list[str]:
    many = str(held_out[0].attrs.get("neuroids", "voxels"))
    lost = [
        f"{data.sizes['neuroid'] - len(ids):,} of {name}"
        for name, data in zip(names, held_out, strict=True)
        if data.sizes["neuroid"] > len(ids)
    ]
    if not lost:
        return []
    return [
        f"Left out, because other runs did not keep them: {', '.join(lost)}; {len(ids):,} {many} are compared."
    ]


def _notes_on_folds(names: Sequence[str], held_out: Sequence[xr.Dataset]) -> list[str]:
    first = _as_partition(held_out[0])
    differing = [
        f"{name} ({count_of(_n_folds(data), 'fold')})"
        for name, data in zip(names[1:], held_out[1:], strict=True)
        if not np.array_equal(first, _as_partition(data))
    ]
    if not differing:
        return []
    own = f"{names[0]} ({count_of(_n_folds(held_out[0]), 'fold')})"
    return [
        f"The outer folds of {', '.join(differing)} are not those of {own}: the models were fitted to other samples,"
        " and a difference may be due to that."
    ]


def _as_partition(data: xr.Dataset) -> np.ndarray:
    """Number folds by first appearance, so that the same division has the same numbers."""
    _, first, codes = np.unique(data["fold"].values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes]


def _n_folds(data: xr.Dataset) -> int:
    return len(np.unique(data["fold"].values))


def _notes_on_layers(
    names: Sequence[str], held_out: Sequence[xr.Dataset], layers: Sequence[str], wanted: str | None
) -> list[str]:
    picked = [
        f"{layer} of {name}"
        for name, data, layer in zip(names, held_out, layers, strict=True)
        if wanted is None and layer != SELECTED and data.sizes["layer"] > 1
    ]
    if not picked:
        return []
    return [
        f"Picked from several layers by the very scores that are compared, hence favoured: {', '.join(picked)}. Name"
        " the layer beforehand, or let it be chosen inside the training folds."
    ]
