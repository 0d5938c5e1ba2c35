"""Handwritten sixes and nines in V1-V3 (van Gerven, de Lange & Heskes 2010)."""

from __future__ import annotations

import numpy as np

from analyses.datasets.array_files import read_mat, take_variable
from analyses.datasets.dataset import DataFile, Dataset, DatasetInfo, make_responses
from analyses.datasets.download import get_file, raw_github_url
from analyses.datasets.registry import register_dataset
from stimuli.stimulus_set import StimulusSet

_FILE = "digit69_28x28.mat"
_COMMIT = "684daf6eb531cfc812bfadf72e07563295264ea2"
_SIDE = 28
_DIGIT_OF_LABEL = {1: 6, 2: 9}

DIGITS69 = DatasetInfo(
    name="digits69",
    title="Handwritten sixes and nines, one person, V1-V3 (fMRI)",
    home=f"github.com/ChangdeDu/DGMM at {_COMMIT}",
    files=(
        DataFile(
            _FILE,
            raw_github_url("ChangdeDu/DGMM", _COMMIT, _FILE),
            "44513e09ad2398566aedd550088b817a3c0bf9cd7873f87078ecd7fdf170b22d",
        ),
    ),
    licence="none stated; for research",
    citation=(
        "van Gerven, de Lange & Heskes (2010). Neural decoding with hierarchical generative models. Neural "
        "Computation 22(12), 3127-3142."
    ),
    subjects=("1",),
    shapes={"responses": "100 trials x 3092 voxels", "stimuli": "100 images of 28 x 28 pixels"},
    units="detrended response, arbitrary units",
    description=(
        "Fifty handwritten sixes and fifty nines, each shown in one trial; one response a trial and voxel of "
        "V1, V2 and V3. Rows are the 90 published training trials, then the 10 published test trials "
        "(attribute split). Half the images are each digit, so report correlations within digit too. Where "
        "the voxels lie, and the runs, are not published."
    ),
    folder="digits69",
)


@register_dataset(DIGITS69)
def load_digits69(subject: str, *, download: bool = True) -> Dataset:
    """Load the sixes and nines.

    Parameters
    ----------
    subject : str
        ``"1"``.
    download : bool
        Whether to download the file where it is neither below ``COGMODELS_DATA`` nor in the cache.

    Returns
    -------
    Dataset
        Kind ``"trials"``: responses float32 (100, 3092), images uint8 (28, 28), upright.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If the file is damaged.
    """
    path = get_file(DIGITS69, _FILE, download=download)
    content = read_mat(path)
    parts = {
        name: [take_variable(content, f"{name}{split}", path) for split in splits]
        for name, splits in {
            "stim": ("Trn", "Test"),
            "fmri": ("Trn", "Test"),
            "label": ("Trn", "Test"),
        }.items()
    }
    n_train, n_test = (len(part) for part in parts["stim"])
    # MATLAB unrolls pictures column by column.
    images = np.concatenate(parts["stim"]).reshape(-1, _SIDE, _SIDE).transpose(0, 2, 1)
    split = ["train"] * n_train + ["test"] * n_test
    digits = [_DIGIT_OF_LABEL[int(label)] for label in np.concatenate(parts["label"]).ravel()]
    ids = [f"train-{i:02d}" for i in range(n_train)] + [f"test-{i:02d}" for i in range(n_test)]
    stimuli = StimulusSet(
        stimulus_ids=ids,
        images=np.ascontiguousarray(images),
        attributes={"digit": digits, "split": split},
        name=DIGITS69.name,
    )
    responses = make_responses(np.concatenate(parts["fmri"]).astype(np.float32), ids, units=DIGITS69.units)
    return Dataset(DIGITS69, subject, stimuli, responses, "trials", test_stimulus_ids=np.array(ids[n_train:]))
