"""Half an axial slice of Haxby et al. (2001), subject 1: packaged, so that it needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analyses.datasets.array_files import check_file, read_npz
from analyses.datasets.brain_images import neuroid_names
from analyses.datasets.dataset import (
    DataFile,
    Dataset,
    DatasetInfo,
    count_repetitions,
    label_blocks,
    make_responses,
)
from analyses.datasets.registry import register_dataset
from analyses.geometry import VolumeGeometry
from stimuli.stimulus_set import StimulusSet

SLICE_FILE = Path(__file__).parent / "haxby_slice_data" / "haxby_slice.npz"
SLICE_SHA256 = "f944f9902dd0dbd7b941dd6683c09ecc64dd5384377d5323d958080f900aeb2b"

# Upstream label -> what a person would call the picture.
CATEGORY_TEXTS = {
    "bottle": "bottle",
    "cat": "cat",
    "chair": "chair",
    "face": "face",
    "house": "house",
    "scissors": "scissors",
    "scrambledpix": "scrambled picture",
    "shoe": "shoe",
}
REST = "rest"

HAXBY_SLICE = DatasetInfo(
    name="haxby-slice",
    title="Haxby 2001, subject 1, half an axial slice, 8 categories (fMRI, packaged)",
    home="PyPI source archive pymvpa2 2.6.5, mvpa2/data/ (also PyMVPA/PyMVPA 20f0335)",
    files=(DataFile(SLICE_FILE.name, "", SLICE_SHA256),),
    licence="CC BY-SA 3.0",
    citation=(
        "Haxby, Gobbini, Furey, Ishai, Schouten & Pietrini (2001). Distributed and overlapping "
        "representations of faces and objects in ventral temporal cortex. Science 293(5539), 2425-2430."
    ),
    subjects=("1",),
    shapes={"responses": "1452 volumes x 530 voxels", "stimuli": "8 category names", "runs": "12 runs"},
    units="arbitrary scanner units",
    tr_s=2.5,
    description=(
        "Blocks of 24 s of pictures of one category, one block a category in each of 12 runs, rest between. "
        "A block's label stands on the volumes acquired during it (no haemodynamic lag). Raw values: nothing "
        "is detrended or scaled. The pictures are not part of it: stimuli are the category names. "
        "The affine gives the voxel size; the height of the slice in the head is not recorded."
    ),
)


def check_packaged(info: DatasetInfo, subject: str | None = None) -> list[Path]:
    """Check the packaged file; there is nothing to fetch."""
    check_file(SLICE_FILE, SLICE_SHA256)
    return [SLICE_FILE]


@register_dataset(HAXBY_SLICE, fetch=check_packaged)
def load_haxby_slice(subject: str) -> Dataset:
    """Load the packaged slice.

    Parameters
    ----------
    subject : str
        ``"1"``.

    Returns
    -------
    Dataset
        Kind ``"time_series"``: responses float32 (1452 volumes, 530 voxels).

    Raises
    ------
    ValueError
        If the packaged file is damaged.
    """
    arrays = read_npz(SLICE_FILE, sha256=SLICE_SHA256)
    names = list(CATEGORY_TEXTS)
    stimuli = StimulusSet(
        stimulus_ids=names,
        texts=[CATEGORY_TEXTS[name] for name in names],
        attributes={"category": names},
        name=HAXBY_SLICE.name,
    )
    geometry = VolumeGeometry(arrays["voxel_indices"], tuple(arrays["volume_shape"]), arrays["affine"])
    stimulus_ids = np.where(arrays["labels"] == REST, "", arrays["labels"])
    responses = make_responses(
        arrays["bold"].T.astype(np.float32),
        stimulus_ids,
        runs=arrays["runs"],
        repetitions=count_repetitions(stimulus_ids, label_blocks(stimulus_ids, arrays["runs"])),
        neuroid_ids=neuroid_names(geometry),
        units=HAXBY_SLICE.units,
        tr_s=float(arrays["tr_s"]),
    )
    return Dataset(HAXBY_SLICE, subject, stimuli, responses, "time_series", geometry=geometry)
