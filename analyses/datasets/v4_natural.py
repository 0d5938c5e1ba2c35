"""Neurons of macaque V4 and natural images (Cowley et al. 2023); sessions stand as subjects."""

from __future__ import annotations

import numpy as np

from analyses.datasets.array_files import read_npy, read_zip_members
from analyses.datasets.dataset import DataFile, Dataset, DatasetInfo, make_responses
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from stimuli.images import read_image
from stimuli.stimulus_set import StimulusSet

_REPOSITORY = "cowleygroup/V4_compact_models"
_COMMIT = "f4552ad9d34a466ebc66658f72a08a8e5038f1cf"
_HOME_FOLDER = "data_V4_responses"
_IMAGES, _AVERAGES, _RAW = (
    "images/images_{}.zip",
    "responses_repeat_averaged/responses_{}.npy",
    "responses_raw/responses_{}.npy",
)
_SHA256 = {
    "images/images_210325.zip": "992774eca3508a2ad01accb1a31f5f3e3d90248c49f4eec314f2a915a263e454",
    "images/images_201025.zip": "3abb63679107665eab7220bdeaf7863832a1df943bf3d7792501f5082a55b2e8",
    "images/images_210224.zip": "e2690810bee34c2e2821e5dd504c7970f3441579bc57659f27d2c11678b52c6b",
    "images/images_190923.zip": "e99a4df1c7476bdc4d565ff4408bc421976ecc3a22c41af6bfd0cfbddb508c0c",
    "responses_raw/responses_210325.npy": "4008dbbf31a47d9b1b8d8da609f4a7a3433c7071f0e45c611c220b217dd75b76",
    "responses_repeat_averaged/responses_210325.npy": (
        "555e67037182611969ab90da291dcc39601de4411f651a64ad60e90572cf59d3"
    ),
    "responses_repeat_averaged/responses_201025.npy": (
        "f729f3dc0d29aa38bd380c0da9e39aba916f9e2580949929b65d1714e7217a8a"
    ),
    "responses_repeat_averaged/responses_210224.npy": (
        "4dbb7367707a5ca47ab4cea863bbf4e9765b8409cb30216693721bddfad7abfe"
    ),
    "responses_repeat_averaged/responses_190923.npy": (
        "741672d36541ce39930c8a3b5bd1cfd33c187aa47b1549c9c5569bc21aa97a28"
    ),
}

V4_NATURAL = DatasetInfo(
    name="v4-natural",
    title="Macaque V4, natural images, four recording sessions (neurons)",
    home=f"github.com/{_REPOSITORY} at {_COMMIT}, {_HOME_FOLDER}",
    files=tuple(
        DataFile(path, raw_github_url(_REPOSITORY, _COMMIT, f"{_HOME_FOLDER}/{path}"), sha256, path[-10:-4])
        for path, sha256 in _SHA256.items()
    ),
    licence="GPL-3 (repository)",
    citation=(
        "Cowley, Stan, Pillow & Smith (2023). Compact deep neural network models of visual cortex. bioRxiv "
        "2023.11.22.568315."
    ),
    subjects=("210325", "201025", "210224", "190923"),
    shapes={
        "210325": "640 images x 50 neurons, 6-10 repeats, single repeats given",
        "201025": "1200 images x 89 neurons, averages of about 12 repeats",
        "210224": "800 images x 67 neurons, averages of about 9 repeats",
        "190923": "1200 images x 33 neurons, averages of about 14 repeats",
        "stimuli": "colour images of 112 x 112 pixels",
    },
    units="spikes in 100 ms",
    description=(
        "Spike counts of neurons in macaque V4 for natural images, averaged over repeats. A session is "
        "loaded as a subject. Single repeats, and so noise ceilings, exist for session 210325 alone."
    ),
    folder="v4_natural",
    neuroid_kind="neurons",
)


@register_dataset(V4_NATURAL)
def load_v4_natural(subject: str, *, download: bool = True) -> Dataset:
    """Load one recording session.

    Parameters
    ----------
    subject : str
        Session, e.g. ``"210325"``.
    download : bool
        Whether to download files that are neither below ``COGMODELS_DATA`` nor in the cache.

    Returns
    -------
    Dataset
        Kind ``"averages"``: responses float32 (n_images, n_neurons), rows in the order of the sorted file
        names of the images; `repeats` float32 (n_repeats, n_images, n_neurons) for session 210325.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged.
    """

    def locate(template: str) -> str:
        return template.format(subject)

    members = read_zip_members(get_file(V4_NATURAL, locate(_IMAGES), download=download), (".jpg",))
    averages_path = get_file(V4_NATURAL, locate(_AVERAGES), download=download)
    averages = read_npy(averages_path)
    if averages.ndim != 2 or averages.shape[1] != len(members):
        raise ValueError(f"{averages_path} has shape {averages.shape} for {len(members)} images.")
    ids = [name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in members]
    stimuli = StimulusSet(
        stimulus_ids=ids,
        images=[read_image(content, name=name) for name, content in members.items()],
        attributes={"file": list(members)},
        name=f"{V4_NATURAL.name}-{subject}",
    )
    responses = make_responses(averages.T.astype(np.float32), ids, units=V4_NATURAL.units)
    repeats = None
    if locate(_RAW) in _SHA256:
        raw = read_npy(get_file(V4_NATURAL, locate(_RAW), download=download))
        repeats = np.ascontiguousarray(raw.transpose(2, 1, 0), dtype=np.float32)
    # The common split: the first half of the sorted file names to fit, the second half to test.
    test = np.asarray(ids[len(ids) // 2 :])
    return Dataset(
        V4_NATURAL, subject, stimuli, responses, "averages", repeats=repeats, test_stimulus_ids=test
    )
