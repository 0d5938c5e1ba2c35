"""92 object images and their dissimilarities in human and monkey IT (Kriegeskorte et al. 2008)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import squareform

from analyses.datasets.array_files import read_mat, take_variable
from analyses.datasets.dataset import DataFile, Dataset, DatasetInfo
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from stimuli.stimulus_set import StimulusSet

_COMMIT = "f1f83cadb7243492a1aae7460466e0f0140b20ac"
_STIMULI = "Kriegeskorte_Neuron2008_supplementalData.mat"
_BRAIN, _BEHAVIOUR, _MODELS = "92_brainRDMs.mat", "92_behavRDMs.mat", "92_modelRDMs.mat"
_SHA256 = {
    _STIMULI: "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
    _BRAIN: "1743f90a15e895798a94318649e80e1123a7e5943a1703fa1dd7c31ea5780b7c",
    _BEHAVIOUR: "7a8e118c144c3840adeeeef6ea0706a0be2b3e80df719af15fbb56fc62562f5f",
    _MODELS: "e1d2b58bb2f9508bc13da4c81b94d1ab07823b25ed30b9563bd9d6d730c2a00a",
}
_KEYS = {
    _STIMULI: ("stimuli_92objs", "categoryLabels", "categoryVectors", "RDMs_mIT_hIT_fig1"),
    _BRAIN: ("RDMs",),
    _BEHAVIOUR: ("rdms_behav_92",),
    _MODELS: ("Models",),
}
_FLAGS = ("human", "face", "animal", "natural")
# Upstream's column titles, two of them cut short there.
_CATEGORY_NAMES = {"inanim": "inanimate", "nonhumani": "nonhuman"}

KRIEGESKORTE92 = DatasetInfo(
    name="kriegeskorte92",
    title="92 object images: RDMs of human IT (fMRI), monkey IT (neurons) and behaviour",
    home=f"github.com/rsagroup/rsatoolbox at {_COMMIT}, demos/92imageData",
    files=tuple(
        DataFile(name, raw_github_url("rsagroup/rsatoolbox", _COMMIT, f"demos/92imageData/{name}"), sha256)
        for name, sha256 in _SHA256.items()
    ),
    licence="MIT",
    citation=(
        "Kriegeskorte, Mur, Ruff, Kiani, Bodurka, Esteky, Tanaka & Bandettini (2008). Matching categorical "
        "object representations in inferior temporal cortex of man and monkey. Neuron 60(6), 1126-1141."
    ),
    subjects=("all",),
    shapes={
        "stimuli": "92 images of 175 x 175 pixels",
        "human-IT": "8 sessions (4 people x 2) x 92 x 92",
        "monkey-IT": "1 x 92 x 92 (674 neurons)",
        "behaviour": "16 people x 92 x 92",
        "models": "8 x 92 x 92",
    },
    units="dissimilarity; human and monkey IT: 1 - Pearson r",
    description=(
        "Dissimilarities only: of 316 voxels of human IT, of 674 neurons of monkey IT, of people who judged "
        "the similarity of the images, and of eight models."
    ),
    folder="kriegeskorte92",
)


@register_dataset(KRIEGESKORTE92)
def load_kriegeskorte92(subject: str, *, download: bool = True) -> Dataset:
    """Load the images and every published dissimilarity matrix.

    Parameters
    ----------
    subject : str
        ``"all"``: people are rows of the matrices.
    download : bool
        Whether to download files that are neither below ``COGMODELS_DATA`` nor in the cache.

    Returns
    -------
    Dataset
        Kind ``"rdm"``; `rdms` has float64 ``"human-IT"`` (8, 92, 92), ``"monkey-IT"`` (1, 92, 92),
        ``"behaviour"`` (16, 92, 92) and ``"models"`` (8, 92, 92); `rdm_labels` names each matrix. Attributes
        of the stimuli are ``category`` and, as bool, the flags and category vectors of the publication.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged.
    """
    content = {}
    for name in _SHA256:
        path = get_file(KRIEGESKORTE92, name, download=download)
        content[name] = {
            key: take_variable(raw, key, path) for raw in [read_mat(path)] for key in _KEYS[name]
        }
    sessions = content[_BRAIN]["RDMs"][0].ravel()  # person by person, the two sessions of each together
    people = content[_BEHAVIOUR]["rdms_behav_92"].ravel()
    models = content[_MODELS]["Models"].ravel()
    monkey = content[_STIMULI]["RDMs_mIT_hIT_fig1"].ravel()[0]
    rdms = {
        "human-IT": _stack(sessions),
        "monkey-IT": squareform(np.asarray(monkey["RDM"], dtype=np.float64).ravel())[None],
        "behaviour": _stack(people),
        "models": _stack(models),
    }
    labels = {
        "human-IT": [_human_label(_text(entry["name"])) for entry in sessions],
        "monkey-IT": ["674 neurons"],
        "behaviour": [_text(entry["name"]).split("|")[-1].strip() for entry in people],
        "models": [_text(entry["name"]) for entry in models],
    }
    stimuli = _make_stimuli(content[_STIMULI])
    return Dataset(KRIEGESKORTE92, subject, stimuli, None, "rdm", rdms=rdms, rdm_labels=labels)


def _make_stimuli(content: dict[str, Any]) -> StimulusSet:
    entries = content["stimuli_92objs"].ravel()
    columns: dict[str, Any] = {"category": [_text(entry["category"]) for entry in entries]}
    names = [_text(name) for name in content["categoryLabels"].ravel()]
    for column, name in enumerate(names):
        vector = content["categoryVectors"][:, column].astype(bool)
        columns[f"is_{_CATEGORY_NAMES.get(name, name)}"] = vector
    for flag in _FLAGS:
        columns[flag] = np.array([bool(np.ravel(entry[flag])[0]) for entry in entries])
    return StimulusSet(
        stimulus_ids=[f"object-{i:02d}" for i in range(1, len(entries) + 1)],
        images=[np.asarray(entry["image"], dtype=np.uint8) for entry in entries],
        attributes=columns,
        name=KRIEGESKORTE92.name,
    )


def _stack(entries: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(entry["RDM"], dtype=np.float64) for entry in entries])


def _text(value: Any) -> str:
    return str(np.ravel(value)[0])


def _human_label(name: str) -> str:
    # "hIT | BE | Session: 1" -> "BE session 1"
    _, person, session = (part.strip() for part in name.split("|"))
    return f"{person} session {session.split(':')[1].strip()}"
