"""To and from Brain-Score's stimulus set, a pandas table with a path for every id."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from stimuli.files import atomic_write, count_of, hash_array
from stimuli.media import listed

if TYPE_CHECKING:
    from stimuli.stimulus_set import StimulusSet

TEXT_COLUMN = "sentence"
_LEVEL_TOLERANCE = 1e-4  # in grey levels of 1/255; float32 keeps them to about 1.5e-5


def to_brainscore(stimuli: "StimulusSet", image_folder: str | os.PathLike[str] | None = None) -> Any:
    """Make the Brain-Score set; see `StimulusSet.to_brainscore`."""
    # Its plugin machinery installs packages with pip unless told not to before it is imported.
    os.environ.setdefault("BS_INSTALL_DEPENDENCIES", "no")
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet as BrainScoreSet

    table = stimuli.attributes
    if TEXT_COLUMN in table.columns:
        raise ValueError(
            f"the attribute {TEXT_COLUMN!r} has the name of Brain-Score's column of texts; "
            "give it as texts=, or rename it"
        )
    if stimuli.texts is not None:
        table.insert(0, TEXT_COLUMN, pd.Series(stimuli.texts, index=table.index, dtype=object))
    table = table.reset_index()
    converted = BrainScoreSet(table)
    converted.identifier = stimuli.name
    converted.stimulus_paths = {}
    if stimuli.has_images:
        paths = stimuli.image_paths or _write_images(stimuli, image_folder)
        converted.stimulus_paths = dict(zip(stimuli.stimulus_ids.tolist(), paths, strict=True))
    return converted


def _write_images(stimuli: "StimulusSet", image_folder: str | os.PathLike[str] | None) -> list[Path]:
    if image_folder is None and len(stimuli):
        raise ValueError(
            "Brain-Score takes image files, and these images are arrays: say where to write them as PNG with "
            "to_brainscore(image_folder=...)"
        )
    paths = []
    for row, stimulus_id in enumerate(stimuli.stimulus_ids.tolist()):
        pixels = _as_uint8(stimuli.stored_image(row), stimulus_id)
        # Named by content, so that sets written to one folder never overwrite each other's images.
        path = Path(os.path.abspath(str(image_folder))) / f"{hash_array(pixels)[:32]}.png"
        with atomic_write(path) as temporary:
            Image.fromarray(pixels).save(temporary)
        paths.append(path)
    return paths


def _as_uint8(image: Path | np.ndarray, stimulus_id: str) -> np.ndarray:
    """Give the 8-bit levels of an image, refusing floats that lie between levels."""
    pixels = np.asarray(image)
    if pixels.dtype == np.uint8:
        return pixels
    levels = pixels * np.float32(255)
    nearest = np.rint(levels)
    if (distance := float(np.abs(levels - nearest).max())) > _LEVEL_TOLERANCE:
        raise ValueError(
            f"the float image of stimulus {stimulus_id!r} is up to {distance:.2g} levels of 1/255 off what "
            "an 8-bit PNG can hold; if that loss is acceptable, use (255 * image).round().astype('uint8')"
        )
    return nearest.astype(np.uint8)


def read_brainscore(converted: Any) -> dict[str, Any]:
    """Return the arguments of the `StimulusSet` that says the same as a Brain-Score set."""
    if not isinstance(converted, pd.DataFrame):
        raise TypeError(f"expected a Brain-Score StimulusSet, got {type(converted).__name__}")
    table = pd.DataFrame(converted).reset_index(drop=True)
    id_column = "stimulus_id" if "stimulus_id" in table.columns else "image_id"
    if id_column not in table.columns:
        raise ValueError(f"a Brain-Score set needs a column stimulus_id; columns: {listed(table.columns)}")
    original_ids = table[id_column].tolist()
    # Numbers are common as ids there; ids here are text.
    ids = [str(value) if isinstance(value, int | np.integer) else value for value in original_ids]
    images = None
    if paths := getattr(converted, "stimulus_paths", None):
        if missing := [value for value in original_ids if value not in paths]:
            raise ValueError(
                f"stimulus_paths has no path for {count_of(len(missing), 'stimulus id')}: {listed(missing)}"
            )
        images = [paths[value] for value in original_ids]
    return {
        "stimulus_ids": ids,
        "images": images,
        "texts": table[TEXT_COLUMN].tolist() if TEXT_COLUMN in table.columns else None,
        "attributes": table.drop(columns=[id_column, TEXT_COLUMN], errors="ignore"),
        "name": getattr(converted, "identifier", None) or "",
    }
