"""The Algonauts 2023 challenge: visual cortex on the surface, read from a user's own folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.datasets.array_files import check_file, read_npy
from analyses.datasets.brain_images import neuroid_names, surface_space
from analyses.datasets.dataset import Dataset, DatasetInfo, make_responses
from analyses.datasets.download import search_folders
from analyses.datasets.registry import register_dataset
from analyses.geometry import SurfaceGeometry
from stimuli.stimulus_set import StimulusSet

# Regions of each mask file by number, as the challenge published them. Its mapping_*.npy files hold the
# same as pickled Python objects, which are never read here: unpickling can run code.
ROI_LABELS: dict[str, tuple[str, ...]] = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
Side = Literal["lh", "rh"]
_SIDES: tuple[Side, Side] = ("lh", "rh")
_HEMISPHERES: dict[str, tuple[Side, ...]] = {"both": ("lh", "rh"), "left": ("lh",), "right": ("rh",)}

ALGONAUTS2023 = DatasetInfo(
    name="algonauts2023",
    title="Algonauts 2023 challenge: Natural Scenes Dataset, eight people, visual cortex (7T fMRI)",
    home="algonauts.csail.mit.edu/2023: ask for the data there; nothing is downloaded",
    files=(),
    licence="terms of the Natural Scenes Dataset, agreed to when asking for the data",
    citation=(
        "Gifford, Lahner, Saba-Sadiya, Vilas, Lascelles, Oliva, Kay, Roig & Cichy (2023). The Algonauts "
        "Project 2023 Challenge. arXiv:2301.03198. Allen et al. (2022). A massive 7T fMRI dataset to "
        "bridge cognitive neuroscience and artificial intelligence. Nature Neuroscience 25, 116-126."
    ),
    subjects=tuple(f"subj{i:02d}" for i in range(1, 9)),
    shapes={
        "responses": "8779 to 9841 images x some 39500 vertices of both hemispheres",
        "stimuli": "photographs of 425 x 425 pixels",
    },
    units="z-scores within each session, averaged over up to 3 repeats",
    description=(
        "Responses to the training images; those to the test images were withheld. Vertices are the "
        "visually responsive ones of fsaverage. Regions overlap; 'unassigned' holds the vertices in none "
        "but the streams. No noise ceiling comes with the challenge data: give noise_ceiling_r where you "
        "have one."
    ),
    folder="algonauts2023",
    neuroid_kind="vertices",
)


def explain_fetch(info: DatasetInfo, subject: str | None = None) -> list[Path]:
    """Say where the data have to be asked for."""
    raise FileNotFoundError(
        f"{info.name} cannot be downloaded here: its home is {info.home}. Unpack what you get and pass "
        "load_dataset('algonauts2023', folder=FOLDER)."
    )


@register_dataset(ALGONAUTS2023, fetch=explain_fetch)
def load_algonauts2023(
    subject: str,
    *,
    folder: str | Path | None = None,
    hemisphere: Literal["both", "left", "right"] = "both",
    noise_ceiling_r: ArrayLike | None = None,
) -> Dataset:
    """Load one person from a folder in the layout of the challenge.

    Parameters
    ----------
    subject : str
        ``"subj01"`` to ``"subj08"``.
    folder : path, optional
        The folder that holds ``subj01``, or that folder itself; by default ``algonauts2023`` below
        ``COGMODELS_DATA`` or in the cache.
    hemisphere : {"both", "left", "right"}
        Half of the vertices need half of the memory (both of subj01 need 1.5 GB).
    noise_ceiling_r : array of shape (n_vertices,), optional
        Ceiling of each vertex as a correlation, left vertices first.

    Returns
    -------
    Dataset
        Kind ``"averages"``: responses (n_images, n_vertices) float32, left vertices first; coordinate
        ``hemisphere`` on neuroid; stimuli are the image files of the training split in sorted order.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is missing.
    ValueError
        If files are damaged or do not fit together.
    """
    if hemisphere not in _HEMISPHERES:
        raise ValueError(f"hemisphere is {hemisphere!r}; allowed are {', '.join(_HEMISPHERES)}.")
    home = _find_subject(subject, folder)
    sides = _HEMISPHERES[hemisphere]
    stimuli = _read_stimuli(home, subject)
    fmri = {side: _read_fmri(home, side, len(stimuli)) for side in sides}
    geometry = _read_geometry(home, {side: fmri[side].shape[1] for side in sides})
    counts = [fmri[side].shape[1] for side in sides]
    responses = make_responses(
        np.concatenate([fmri[side] for side in sides], axis=1, dtype=np.float32),
        stimuli.stimulus_ids,
        neuroid_ids=neuroid_names(geometry),
        units=ALGONAUTS2023.units,
        neuroid_coords={"hemisphere": np.repeat([{"lh": "left", "rh": "right"}[s] for s in sides], counts)},
    )
    return Dataset(
        ALGONAUTS2023,
        subject,
        stimuli,
        responses,
        "averages",
        rois=_read_rois(home, dict(zip(sides, counts, strict=True))),
        geometry=geometry,
        noise_ceiling_r=None if noise_ceiling_r is None else np.asarray(noise_ceiling_r, dtype=np.float64),
    )


def _find_subject(subject: str, folder: str | Path | None) -> Path:
    roots = search_folders(ALGONAUTS2023) if folder is None else [Path(folder).expanduser()]
    candidates = [place for root in roots for place in (root / subject, root)]
    for place in candidates:
        # The folder itself is taken only if it is not another subject's.
        if (place / "training_split").is_dir() and place.name not in set(ALGONAUTS2023.subjects) - {subject}:
            return place
    looked = ", ".join(str(root / subject) for root in roots)
    raise FileNotFoundError(
        f"algonauts2023 needs {subject}/training_split, which is not there (looked for {looked}). Its "
        f"home is {ALGONAUTS2023.home}. Pass the unpacked folder: load_dataset('algonauts2023', "
        "folder=FOLDER)."
    )


def _read_stimuli(home: Path, subject: str) -> StimulusSet:
    folder = home / "training_split" / "training_images"
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise FileNotFoundError(f"There are no images (*.png) in {folder}.")
    numbers = [re.search(r"nsd-(\d+)", path.stem) for path in paths]
    attributes = {"nsd_id": [int(found.group(1)) for found in numbers if found]} if all(numbers) else None
    return StimulusSet(
        stimulus_ids=[path.stem for path in paths],
        images=paths,
        attributes=attributes,
        name=f"{ALGONAUTS2023.name}-{subject}",
    )


def _read_fmri(home: Path, side: str, n_images: int) -> np.ndarray:
    path = home / "training_split" / "training_fmri" / f"{side}_training_fmri.npy"
    values = read_npy(path, mmap=True)
    if values.ndim != 2 or len(values) != n_images or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"{path} holds {values.dtype} of shape {values.shape}; expected floats, one row for each of the "
            f"{n_images} training images."
        )
    return values


def _read_geometry(home: Path, n_vertices: dict[Side, int]) -> SurfaceGeometry:
    inside: dict[str, NDArray] = {}
    for side in _SIDES:
        path = home / "roi_masks" / f"{side}.all-vertices_fsaverage_space.npy"
        inside[side] = np.asarray(read_npy(path)) != 0
        if side in n_vertices and inside[side].sum() != n_vertices[side]:
            raise ValueError(
                f"{path} marks {inside[side].sum()} vertices, but the responses have {n_vertices[side]}."
            )
    kept = [np.flatnonzero(inside[side]) if side in n_vertices else np.zeros(0, dtype=int) for side in _SIDES]
    return SurfaceGeometry(
        len(inside["lh"]), len(inside["rh"]), kept[0], kept[1], space=surface_space(len(inside["lh"]))
    )


def _read_rois(home: Path, n_vertices: dict[Side, int]) -> dict[str, NDArray[np.bool_]]:
    rois = {"all": np.ones(sum(n_vertices.values()), dtype=bool)}
    assigned = np.zeros(sum(n_vertices.values()), dtype=bool)
    for roi_class, names in ROI_LABELS.items():
        numbers = [_read_labels(home, side, roi_class, n) for side, n in n_vertices.items()]
        labels = np.concatenate(numbers)
        for number, name in enumerate(names, start=1):
            if (labels == number).any():
                rois[name] = labels == number
        if roi_class != "streams":
            assigned |= labels > 0
    if not assigned.all():
        rois["unassigned"] = ~assigned
    return rois


def _read_labels(home: Path, side: str, roi_class: str, n_vertices: int) -> np.ndarray:
    path = home / "roi_masks" / f"{side}.{roi_class}_challenge_space.npy"
    check_file(path)
    labels = read_npy(path)
    if labels.shape != (n_vertices,):
        raise ValueError(f"{path} has shape {labels.shape}; expected ({n_vertices},).")
    known = np.arange(len(ROI_LABELS[roi_class]) + 1)
    if not np.isin(labels, known).all():
        strange = sorted(set(np.unique(labels).tolist()) - set(known.tolist()))
        raise ValueError(f"{path} holds the unknown labels {strange[:5]}; allowed are 0 to {known[-1]}.")
    return labels
