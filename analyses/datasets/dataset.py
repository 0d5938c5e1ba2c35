"""What a data set is: stimuli, responses, regions and where all of it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from analyses.geometry import Geometry
from stimuli.files import count_of
from stimuli.stimulus_set import StimulusSet

Kind = Literal["trials", "averages", "time_series", "rdm"]
KINDS: tuple[str, ...] = get_args(Kind)
NeuroidKind = Literal["voxels", "vertices", "neurons", "electrodes", "sensors"]
"""What the columns of responses are, in words."""
NEUROID_KINDS: tuple[str, ...] = get_args(NeuroidKind)
Holds = Literal["responses", "search"]
"""Whether a data set is loaded as a `Dataset` or as a `SearchDataset`."""


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, at a fixed state of its home.

    Parameters
    ----------
    path : str
        Path below the data set's folder, as upstream names it, with forward slashes.
    url : str
        Where that state of the file is downloaded from; empty where it has to be asked for.
    sha256 : str
        Hexadecimal SHA-256 of the file; empty where it is not known.
    subject : str
        The subject that needs it; empty where all do.
    """

    path: str
    url: str = ""
    sha256: str = ""
    subject: str = ""


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    Parameters
    ----------
    name : str
        Name that `load_dataset` takes.
    title : str
        One line for a table.
    home : str
        Where the data live, and at which commit or version.
    files : tuple of DataFile
        The files that are read; empty where a library's own fetcher or the user's folder gives them.
    licence : str
        Terms of use as the home states them.
    citation : str
        The publication to cite.
    subjects : tuple of str
        Subjects (or recording sessions) in it; the first is the default of `load_dataset`.
    shapes : Mapping of str to str
        Shape of each part, in words.
    units : str
        Unit of the responses.
    tr_s : float or None
        Repetition time in seconds, where responses are volumes.
    description : str
        What was done, in a few sentences.
    folder : str
        Folder below ``COGMODELS_DATA`` and below the cache.
    neuroid_kind : {"voxels", "vertices", "neurons", "electrodes", "sensors"}
        What the columns of the responses are; reports speak of them so.
    holds : {"responses", "search"}
        Responses of the brain, loaded as a `Dataset`; or fixations and reaction times of people who searched
        displays, loaded as a `SearchDataset`, to which neuroids mean nothing.

    Raises
    ------
    ValueError
        If `neuroid_kind` or `holds` is none of these.
    """

    name: str
    title: str
    home: str
    files: tuple[DataFile, ...]
    licence: str
    citation: str
    subjects: tuple[str, ...]
    shapes: Mapping[str, str]
    units: str
    tr_s: float | None = None
    description: str = ""
    folder: str = ""
    neuroid_kind: NeuroidKind = "voxels"
    holds: Holds = "responses"

    def __post_init__(self) -> None:
        """Check what reports will say."""
        if self.holds not in get_args(Holds):
            raise ValueError(f"holds is {self.holds!r}; allowed are {', '.join(get_args(Holds))}.")
        if self.neuroid_kind not in NEUROID_KINDS:
            raise ValueError(
                f"neuroid_kind is {self.neuroid_kind!r}; allowed are {', '.join(NEUROID_KINDS)}."
            )


@dataclass
class Dataset:
    """One subject: what was shown, what was measured, and where in the brain.

    Parameters
    ----------
    info : DatasetInfo
        Origin, licence and units.
    subject : str
        Which of `info.subjects`.
    stimuli : StimulusSet
        Each stimulus once.
    responses : xarray.DataArray or None
        Dims ``("presentation", "neuroid")``; coordinates on presentation: ``stimulus_id`` (str, ``""``
        at rest), ``run`` (int, absent when unknown), ``repetition`` (int); on neuroid: ``neuroid_id``.
        None for kind ``"rdm"``.
    kind : {"trials", "averages", "time_series", "rdm"}
        One row a presentation, one row a stimulus (repeats averaged), one row a volume, or
        dissimilarities only.
    repeats : ndarray of shape (n_repeats, n_stimuli, n_neuroids) or None
        Single responses behind averages, in the order of `stimuli`, NaN where a repeat is missing.
    rois : dict of str to bool ndarray of shape (n_neuroids,)
        Regions; they may overlap. ``{"all": ...}`` where none are given.
    geometry : VolumeGeometry, SurfaceGeometry or None
        Where each neuroid lies.
    noise_ceiling_r : ndarray of shape (n_neuroids,) or None
        Highest correlation a perfect model could reach, as published with the data.
    test_stimulus_ids : ndarray of str or None
        Held-out stimuli, as published with the data.
    rdms : dict of str to ndarray of shape (n_subjects_or_sessions, n_stimuli, n_stimuli)
        Dissimilarity matrices for kind ``"rdm"``, in the order of `stimuli`.
    rdm_labels : dict of str to list of str
        What each matrix along the first axis of `rdms` is.
    truth : dict
        What was planted, for simulated subjects; empty otherwise.

    Raises
    ------
    ValueError
        If parts do not fit together; the message lists what does not.
    """

    info: DatasetInfo
    subject: str
    stimuli: StimulusSet
    responses: xr.DataArray | None
    kind: Kind
    repeats: np.ndarray | None = None
    rois: dict[str, np.ndarray] = field(default_factory=dict)
    geometry: Geometry | None = None
    noise_ceiling_r: np.ndarray | None = None
    test_stimulus_ids: np.ndarray | None = None
    rdms: dict[str, np.ndarray] = field(default_factory=dict)
    rdm_labels: dict[str, list[str]] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; allowed are {', '.join(KINDS)}.")
        if self.kind == "rdm":
            self._check_rdms()
            return
        if self.responses is None:
            raise ValueError(f"responses are missing; data of kind {self.kind!r} need them.")
        if not self.rois:
            self.rois = {"all": np.ones(self.n_neuroids, dtype=bool)}
        self._check_responses()

    @property
    def n_neuroids(self) -> int:
        """Number of voxels, vertices or neurons."""
        return 0 if self.responses is None else int(self.responses.sizes["neuroid"])

    @property
    def stimulus_index(self) -> np.ndarray:
        """Row of `stimuli` shown at each presentation, -1 at rest, shape (n_presentations,)."""
        if self.responses is None:
            raise ValueError("stimulus_index needs responses; this data set has dissimilarities only.")
        position = {str(name): i for i, name in enumerate(self.stimuli.stimulus_ids)}
        position[""] = -1
        ids = self.responses["stimulus_id"].values
        return np.array([position[str(name)] for name in ids], dtype=np.int64)

    @property
    def runs(self) -> np.ndarray | None:
        """Run of each presentation, or None where it is not known."""
        if self.responses is None or "run" not in self.responses.coords:
            return None
        return np.asarray(self.responses["run"].values)

    def _check_responses(self) -> None:
        responses = self.responses
        assert responses is not None
        if responses.dims != ("presentation", "neuroid"):
            raise ValueError(f"responses have dims {responses.dims}; they need ('presentation', 'neuroid').")
        if "stimulus_id" not in responses.coords or "neuroid_id" not in responses.coords:
            raise ValueError(
                "responses need the coordinates stimulus_id (presentation) and neuroid_id (neuroid)."
            )
        allowed = {str(name) for name in self.stimuli.stimulus_ids}
        if self.kind == "time_series":
            allowed.add("")
        unknown = sorted({str(name) for name in responses["stimulus_id"].values} - allowed)
        if unknown:
            raise ValueError(
                f"responses name {count_of(len(unknown), 'stimulus id')} that the stimulus set lacks: "
                f"{', '.join(map(repr, unknown[:10]))}{' ...' if len(unknown) > 10 else ''}. "
                "Make the ids of the trial table and of the stimuli agree."
            )
        for name, mask in self.rois.items():
            if np.shape(mask) != (self.n_neuroids,) or np.asarray(mask).dtype != bool:
                raise ValueError(
                    f"rois[{name!r}] is {np.asarray(mask).dtype} of shape {np.shape(mask)}; "
                    f"it has to be bool of shape ({self.n_neuroids},)."
                )
        if self.geometry is not None and len(self.geometry) != self.n_neuroids:
            raise ValueError(
                f"geometry places {len(self.geometry)} neuroids, responses have {self.n_neuroids}."
            )
        ceiling = self.noise_ceiling_r
        if ceiling is not None and np.shape(ceiling) != (self.n_neuroids,):
            raise ValueError(f"noise_ceiling_r has shape {np.shape(ceiling)}, not ({self.n_neuroids},).")
        expected = (len(self.stimuli), self.n_neuroids)
        if self.repeats is not None and (self.repeats.ndim != 3 or self.repeats.shape[1:] != expected):
            raise ValueError(
                f"repeats have shape {self.repeats.shape}, not (n_repeats, {expected[0]}, {expected[1]})."
            )
        if self.test_stimulus_ids is not None:
            strange = sorted(set(map(str, self.test_stimulus_ids)) - allowed)
            if strange:
                raise ValueError(f"test_stimulus_ids are not among the stimuli: {strange[:10]}.")

    def _check_rdms(self) -> None:
        if not self.rdms:
            raise ValueError("rdms are missing; data of kind 'rdm' need at least one.")
        n = len(self.stimuli)
        for name, matrices in self.rdms.items():
            if matrices.ndim != 3 or matrices.shape[1:] != (n, n):
                raise ValueError(f"rdms[{name!r}] has shape {matrices.shape}, not (n, {n}, {n}).")


def make_responses(
    values: np.ndarray,
    stimulus_ids: Any,
    *,
    runs: Any = None,
    repetitions: Any = None,
    neuroid_ids: Any = None,
    units: str = "",
    tr_s: float | None = None,
    neuroid_coords: Mapping[str, Any] | None = None,
    **presentation_coords: Any,
) -> xr.DataArray:
    """Wrap responses in the form that `Dataset` holds.

    Parameters
    ----------
    values : ndarray of shape (n_presentations, n_neuroids)
        Responses.
    stimulus_ids : sequence of str, length n_presentations
        What was shown; ``""`` at rest.
    runs, repetitions : sequence of int, optional
        Run of each presentation; how often its stimulus had come before, counted from 0 when not given.
    neuroid_ids : sequence of str, optional
        Names of the columns; ``"0"``, ``"1"``, ... when not given.
    units : str
        Unit of `values`.
    tr_s : float, optional
        Repetition time in seconds.
    neuroid_coords : Mapping, optional
        Further coordinates on neuroid.
    **presentation_coords
        Further coordinates on presentation.

    Returns
    -------
    xarray.DataArray
        Dims ``("presentation", "neuroid")``.

    Raises
    ------
    ValueError
        If lengths disagree.
    """
    values = np.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"values have shape {values.shape}; they have to be (n_presentations, n_neuroids).")
    ids = np.asarray(stimulus_ids, dtype=np.str_)
    if repetitions is None:
        repetitions = count_repetitions(ids)
    columns = np.arange(values.shape[1]) if neuroid_ids is None else neuroid_ids
    coords: dict[str, Any] = {"stimulus_id": ids, "repetition": np.asarray(repetitions, dtype=np.int64)}
    if runs is not None:
        coords["run"] = np.asarray(runs, dtype=np.int64)
    coords.update({name: np.asarray(column) for name, column in presentation_coords.items()})
    for name, column in coords.items():
        if column.shape != (values.shape[0],):
            raise ValueError(
                f"{name} has {column.size} entries, but there are {values.shape[0]} presentations."
            )
    neuroid_column = np.asarray(columns).astype(np.str_)
    if neuroid_column.shape != (values.shape[1],):
        raise ValueError(
            f"neuroid_ids has {neuroid_column.size} entries, but there are {values.shape[1]} columns."
        )
    attributes: dict[str, Any] = {"units": units}
    if tr_s is not None:
        attributes["tr_s"] = float(tr_s)
    return xr.DataArray(
        values,
        dims=("presentation", "neuroid"),
        coords={name: ("presentation", column) for name, column in coords.items()}
        | {"neuroid_id": ("neuroid", neuroid_column)}
        | {name: ("neuroid", np.asarray(column)) for name, column in (neuroid_coords or {}).items()},
        attrs=attributes,
        name="responses",
    )


def count_repetitions(stimulus_ids: np.ndarray, blocks: np.ndarray | None = None) -> np.ndarray:
    """Count how often the stimulus of each row was shown before, from 0.

    Parameters
    ----------
    stimulus_ids : ndarray of str, shape (n_rows,)
        What was shown; ``""`` is rest.
    blocks : ndarray, shape (n_rows,), optional
        Presentation that each row belongs to, where one presentation spans several rows (volumes). Each row
        is a presentation when not given.

    Returns
    -------
    ndarray of int, shape (n_rows,)
        0 in the first presentation of a stimulus, 1 in the second, ...; 0 at rest.
    """
    ids = np.asarray(stimulus_ids, dtype=np.str_)
    blocks = np.arange(len(ids)) if blocks is None else np.asarray(blocks)
    seen: dict[str, dict[Any, int]] = {}
    counts = np.zeros(len(ids), dtype=np.int64)
    for row, (name, block) in enumerate(zip(ids.tolist(), blocks.tolist(), strict=True)):
        if name:
            earlier = seen.setdefault(name, {})
            counts[row] = earlier.setdefault(block, len(earlier))
    return counts


def label_blocks(stimulus_ids: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Number the stretches of rows in which neither stimulus nor run changes.

    Parameters
    ----------
    stimulus_ids : ndarray of str, shape (n_rows,)
        What was shown; ``""`` is rest.
    runs : ndarray of int, shape (n_rows,)
        Run of each row.

    Returns
    -------
    ndarray of int, shape (n_rows,)
        0 for the first stretch, 1 for the next, ...
    """
    ids, runs = np.asarray(stimulus_ids, dtype=np.str_), np.asarray(runs)
    changes = (ids[1:] != ids[:-1]) | (runs[1:] != runs[:-1])
    return np.concatenate([[0], np.cumsum(changes)]) if len(ids) else np.zeros(0, dtype=np.int64)
