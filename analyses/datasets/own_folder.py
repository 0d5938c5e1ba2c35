"""A user's own data: one folder, in the layout that docs/your-own-data.md describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analyses.datasets.dataset import Dataset, DatasetInfo, NeuroidKind, make_responses
from analyses.datasets.own_responses import Measured, read_rows, response_files
from analyses.datasets.own_series import SERIES, read_runs
from analyses.datasets.own_tables import check_known_ids, check_repetitions
from analyses.datasets.own_voxels import read_rois, read_voxels
from analyses.datasets.single_trials import GlmSettings
from analyses.geometry import SurfaceGeometry
from stimuli.files import count_of, read_json
from stimuli.stimulus_set import StimulusSet

CONFIG, STIMULI, VOXELS = "dataset.json", "stimuli", "voxels.csv"


class OwnDatasetConfig(BaseModel):
    """What ``dataset.json`` may say; every entry may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    title: str = ""
    description: str = ""
    home: str = ""
    licence: str = ""
    citation: str = ""
    units: str = ""
    kind: Literal["trials", "averages", "time_series"] = "trials"
    tr_s: float | None = Field(default=None, gt=0)
    space: str | None = None
    neuroid_kind: NeuroidKind | None = None
    test_stimulus_ids: tuple[str, ...] | None = None
    glm: GlmSettings = GlmSettings()


def load_own_folder(folder: Path, subject: str | None = None, **glm: Any) -> Dataset:
    """Load one subject of a folder in the layout of ``docs/your-own-data.md``.

    Parameters
    ----------
    folder : Path
        Holds the responses of one subject, or a folder for each subject.
    subject : str, optional
        Name of a subject's folder; the first by default.
    **glm
        Settings of `GlmSettings` that take the place of those in ``dataset.json``.

    Returns
    -------
    Dataset
        Kind as ``dataset.json`` says, ``"trials"`` by default and for series of volumes with events.

    Raises
    ------
    FileNotFoundError
        If something that the layout needs is missing.
    ValueError
        If something is damaged or does not fit together; the message names the file.
    """
    folder = folder.resolve()
    config = read_config(folder / CONFIG, glm)
    home, subjects = _choose_subject(folder, subject)
    measured = _read_measured(home, config)
    _refuse_unusable(measured)
    kind = config.kind
    ids = measured.trials["stimulus_ids"]
    if kind != "time_series" and (ids == "").any():
        raise ValueError(
            f"{home}: no stimulus in {count_of(int((ids == '').sum()), 'row')}. Rest belongs to series only: set "
            f'"kind": "time_series" in {CONFIG}, or leave the rows out.'
        )
    if kind != "time_series":  # whose volumes share the repetition of their block
        check_repetitions(measured.trials, f"the trials of {home}")
    stimuli = _read_stimuli(home, folder, ids)
    info = _make_info(folder, config, subjects, measured, len(stimuli))
    voxels = read_voxels(home / VOXELS, measured.values.shape[1])
    neuroid_ids = voxels.pop("neuroid_id", measured.neuroid_ids)
    ceiling = voxels.pop("noise_ceiling_r", None)
    responses = make_responses(
        measured.values,
        neuroid_ids=neuroid_ids,
        units=info.units,
        tr_s=config.tr_s if kind == "time_series" else None,
        neuroid_coords=voxels,
        **measured.trials,
    )
    return Dataset(
        info,
        home.name if home != folder else info.subjects[0],
        stimuli,
        responses,
        kind,
        rois=read_rois(home, measured.values.shape[1], measured.geometry),
        geometry=measured.geometry,
        noise_ceiling_r=ceiling,
        test_stimulus_ids=None if config.test_stimulus_ids is None else np.array(config.test_stimulus_ids),
    )


def read_config(path: Path, glm: dict[str, Any]) -> OwnDatasetConfig:
    """Read ``dataset.json``, where there is one.

    Parameters
    ----------
    path : Path
        The file; everything has its default where it is missing.
    glm : dict
        Settings that take the place of those in the file.

    Returns
    -------
    OwnDatasetConfig

    Raises
    ------
    ValueError
        If it is no JSON, or has entries that are unknown or of the wrong type; each is named.
    """
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict) or not isinstance(content.get("glm", {}), dict):
        raise ValueError(f"{path} has to be a JSON object, with an object under 'glm' where that is given.")
    if glm:
        content = content | {"glm": content.get("glm", {}) | glm}
    try:
        return OwnDatasetConfig.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        entries = ", ".join(OwnDatasetConfig.model_fields)
        settings = ", ".join(GlmSettings.model_fields)
        raise ValueError(
            f"{path}: {problems}. Entries are {entries}; those of glm are {settings}."
        ) from error


def _choose_subject(folder: Path, subject: str | None) -> tuple[Path, tuple[str, ...]]:
    if _has_responses(folder):
        if subject not in (None, "1"):
            raise ValueError(f"{folder} holds one subject, named '1'; {subject!r} came.")
        return folder, ("1",)
    places = [path for path in sorted(folder.iterdir()) if path.is_dir() and _has_responses(path)]
    subjects = tuple(path.name for path in places)
    if not places:
        raise FileNotFoundError(
            f"{folder} holds no responses: neither responses.npy (.npz, .csv, .tsv, .nii.gz, .lh.func.gii "
            "and .rh.func.gii) nor a folder bold/, nor folders of subjects with these. "
            "docs/your-own-data.md shows the layout."
        )
    if subject is None:
        return places[0], subjects
    if subject not in subjects:
        raise ValueError(f"subject is {subject!r}; {folder} has {', '.join(subjects)}.")
    return folder / subject, subjects


def _has_responses(folder: Path) -> bool:
    return (folder / SERIES).is_dir() or bool(response_files(folder))


def _read_measured(home: Path, config: OwnDatasetConfig) -> Measured:
    if not (home / SERIES).is_dir():
        return read_rows(home, config.space)
    if files := response_files(home):
        raise ValueError(f"{home} holds both {files[0].name} and {SERIES}/; keep one of them.")
    if config.kind == "averages":
        raise ValueError(f'{home / SERIES} gives trials or volumes; "kind" in {CONFIG} says averages.')
    return read_runs(home, config.tr_s, config.kind, config.glm, config.space)


def _read_stimuli(home: Path, folder: Path, ids: NDArray[np.str_]) -> StimulusSet:
    """Read the stimuli beside the responses, or those that all subjects share."""
    shown = set(map(str, ids)) - {""}
    for place in dict.fromkeys((home, folder)):
        table, media = place / f"{STIMULI}.csv", place / STIMULI
        if table.is_file() and media.is_dir():
            raise ValueError(
                f"{place} holds both {table.name} and {media.name}/; move the table into the folder."
            )
        if table.is_file() or media.is_dir():
            source = media if media.is_dir() else place
            stimuli = StimulusSet.from_folder(source)
            check_known_ids(ids, stimuli.stimulus_ids, f"the trials of {home}", str(source))
            return stimuli[np.flatnonzero([str(name) in shown for name in stimuli.stimulus_ids])]
    # Ids alone are enough for models of the trial table, such as categories.
    return StimulusSet(stimulus_ids=sorted(shown), name=folder.name)


def _refuse_unusable(measured: Measured) -> None:
    values = measured.values
    # NaN and infinities pass on to the range: a column counts only if its extremes are finite and differ.
    with np.errstate(invalid="ignore"):
        spread = values.max(axis=0) - values.min(axis=0)
    if not (np.isfinite(spread) & (spread > 0)).any():
        raise ValueError(
            f"{measured.source}: none of {values.shape[1]} voxels varies without missing values over the "
            f"{count_of(len(values), 'row')}, so there is nothing to fit."
        )


def _default_units(config: OwnDatasetConfig, measured: Measured) -> str:
    from_glm = measured.source.name == SERIES and config.kind == "trials"
    return "percent signal change" if from_glm and config.glm.percent_signal else "as given"


def _make_info(
    folder: Path, config: OwnDatasetConfig, subjects: tuple[str, ...], measured: Measured, n_stimuli: int
) -> DatasetInfo:
    n_rows, n_neuroids = measured.values.shape
    name = config.name or folder.name
    on_surface = isinstance(measured.geometry, SurfaceGeometry)
    neuroids: NeuroidKind = config.neuroid_kind or ("vertices" if on_surface else "voxels")
    return DatasetInfo(
        name=name,
        title=config.title or name,
        home=config.home or str(folder),
        files=(),
        licence=config.licence,
        citation=config.citation,
        subjects=subjects,
        shapes={"responses": f"{n_rows} rows x {n_neuroids} {neuroids}", "stimuli": f"{n_stimuli}"},
        units=config.units or _default_units(config, measured),
        tr_s=config.tr_s,
        description=config.description,
        neuroid_kind=neuroids,
    )
