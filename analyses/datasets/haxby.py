"""Haxby et al. (2001) whole: six people, fetched by nilearn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from analyses.datasets.brain_images import neuroid_names, read_mask, read_series
from analyses.datasets.dataset import (
    DataFile,
    Dataset,
    DatasetInfo,
    count_repetitions,
    label_blocks,
    make_responses,
)
from analyses.datasets.download import DATA_VARIABLE, cache_folder, user_folder
from analyses.datasets.haxby_slice import CATEGORY_TEXTS, REST
from analyses.datasets.registry import register_dataset
from analyses.geometry import VolumeGeometry
from stimuli.stimulus_set import StimulusSet

_NILEARN_FOLDER = "haxby2001"  # nilearn's own name, below whatever folder it is given
# Region -> mask file of a subject; nilearn calls the 8b masks face and house, the 8 masks their little
# versions.
_MASKS = {
    "vt": "mask4_vt.nii.gz",
    "face": "mask8b_face_vt.nii.gz",
    "house": "mask8b_house_vt.nii.gz",
    "face_little": "mask8_face_vt.nii.gz",
    "house_little": "mask8_house_vt.nii.gz",
}

_SUBJECTS = ("1", "2", "3", "4", "5", "6")

HAXBY = DatasetInfo(
    name="haxby",
    title="Haxby 2001, six people, ventral temporal cortex, 8 categories (fMRI)",
    home="data.pymvpa.org/datasets/haxby2001, through nilearn.datasets.fetch_haxby",
    # nilearn compares the archives that they come in with published sums.
    files=tuple(
        DataFile(f"subj{subject}/{name}", subject=subject)
        for subject in _SUBJECTS
        for name in ("bold.nii.gz", "labels.txt", *_MASKS.values())
    ),
    licence="CC BY-SA 3.0",
    citation=(
        "Haxby, Gobbini, Furey, Ishai, Schouten & Pietrini (2001). Distributed and overlapping "
        "representations of faces and objects in ventral temporal cortex. Science 293(5539), 2425-2430."
    ),
    subjects=_SUBJECTS,
    shapes={
        "responses": "1452 volumes x some 500 voxels",
        "stimuli": "8 category names",
        "runs": "12 runs; in run 8 of subject 5 no volume has a label",
    },
    units="arbitrary scanner units",
    tr_s=2.5,
    description=(
        "Blocks of 24 s of pictures of one category, one block a category and run, rest between. The "
        "voxels are those of the published masks: ventral temporal cortex (vt), its face- and "
        "house-selective parts (face, house) and stricter versions of these; regions overlap. A block's "
        "label stands on the volumes acquired during it (no haemodynamic lag). Raw values: nothing is "
        "detrended or scaled. Which picture was shown when is not published: stimuli are the category "
        "names."
    ),
    folder=_NILEARN_FOLDER,
)


def fetch_haxby(info: DatasetInfo, subject: str | None = None) -> list[Path]:
    """Let nilearn fetch what is missing, about 300 MB a subject.

    Parameters
    ----------
    info : DatasetInfo
        Entry of the data set.
    subject : str, optional
        One of ``"1"`` to ``"6"``; all of them by default.

    Returns
    -------
    list of Path
        Files of the subjects.

    Raises
    ------
    FileNotFoundError
        If a file cannot be downloaded.
    """
    root = data_root()
    wanted = info.subjects if subject is None else (subject,)
    _call_nilearn(root, wanted)
    return [path for name in wanted for path in _subject_files(root, name)]


@register_dataset(HAXBY, fetch=fetch_haxby)
def load_haxby(subject: str, *, data_dir: str | Path | None = None, download: bool = True) -> Dataset:
    """Load one person's voxels in the published masks.

    Parameters
    ----------
    subject : str
        ``"1"`` to ``"6"``.
    data_dir : path, optional
        Folder in which nilearn keeps ``haxby2001``; by default `data_root`.
    download : bool
        Whether nilearn may download what is not there.

    Returns
    -------
    Dataset
        Kind ``"time_series"``, responses float32.

    Raises
    ------
    FileNotFoundError
        If files are missing.
    ValueError
        If files are damaged or do not fit together.
    """
    root = data_root() if data_dir is None else Path(data_dir).expanduser()
    files = _subject_files(root, subject)
    missing = [path for path in files if not path.is_file()]
    if missing and download:
        _call_nilearn(root, (subject,))
    elif missing:
        raise FileNotFoundError(
            f"haxby needs {', '.join(map(str, missing))}, and download=False was given. Fetch them with "
            f"fetch_dataset('haxby', '{subject}') or set {DATA_VARIABLE} to a folder with {_NILEARN_FOLDER}."
        )
    bold, labels_path, *mask_paths = files
    masks = {name: read_mask(path) for name, path in zip(_MASKS, mask_paths, strict=True)}
    union = np.any([mask.inside for mask in masks.values()], axis=0)
    geometry = VolumeGeometry.from_mask(nibabel.Nifti1Image(union.astype(np.uint8), masks["vt"].affine))
    labels, runs = _read_labels(labels_path)
    values = read_series(bold, geometry)
    if len(values) != len(labels):
        raise ValueError(f"{bold} has {len(values)} volumes, but {labels_path} labels {len(labels)}.")
    ids = np.where(labels == REST, "", labels)
    names = list(CATEGORY_TEXTS)
    stimuli = StimulusSet(
        stimulus_ids=names,
        texts=[CATEGORY_TEXTS[name] for name in names],
        attributes={"category": names},
        name=HAXBY.name,
    )
    responses = make_responses(
        values,
        ids,
        runs=runs,
        repetitions=count_repetitions(ids, label_blocks(ids, runs)),
        neuroid_ids=neuroid_names(geometry),
        units=HAXBY.units,
        tr_s=HAXBY.tr_s,
    )
    rois = {name: mask.inside[union] for name, mask in masks.items() if mask.inside.any()}
    return Dataset(HAXBY, subject, stimuli, responses, "time_series", rois=rois, geometry=geometry)


def data_root() -> Path:
    """Give the folder in which ``haxby2001`` is looked for.

    Returns
    -------
    Path
        The one named by ``COGMODELS_DATA``, where that holds ``haxby2001``; otherwise the cache.
    """
    user = user_folder()
    return user if user is not None and (user / _NILEARN_FOLDER).is_dir() else cache_folder()


def _subject_files(root: Path, subject: str) -> list[Path]:
    return [root / _NILEARN_FOLDER / file.path for file in HAXBY.files if file.subject == subject]


def _call_nilearn(root: Path, subjects: tuple[str, ...]) -> Any:
    from nilearn import datasets

    try:
        return datasets.fetch_haxby(data_dir=str(root), subjects=[int(name) for name in subjects])
    except Exception as error:  # nilearn passes on whatever the network, the archive or the disk raised
        raise FileNotFoundError(
            f"nilearn could not fetch haxby into {root / _NILEARN_FOLDER}: {error}. Its home is "
            f"{HAXBY.home}; unpack subjN-2010.01.14.tar.gz there, or set {DATA_VARIABLE} to a folder that "
            f"holds {_NILEARN_FOLDER}/subjN."
        ) from error


def _read_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = path.read_text(encoding="ascii").split("\n")
    rows = [line.split() for line in lines[1:] if line.strip()]  # the first line is the header
    if lines[0].split() != ["labels", "chunks"] or any(len(row) != 2 for row in rows):
        raise ValueError(f"{path} is not a table of labels and chunks; fetch it again.")
    labels = np.array([row[0] for row in rows], dtype=np.str_)
    strange = sorted(set(labels) - set(CATEGORY_TEXTS) - {REST})
    if strange:
        raise ValueError(f"{path} holds the unknown labels {strange}; fetch it again.")
    return labels, np.array([int(row[1]) for row in rows])
