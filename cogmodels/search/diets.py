"""Small networks raised on a diet of pictures: what they have seen decides which searches are easy for them.

A network like VGG (convolutions and 2 x 2 pools, no shortcuts, so that `EccNet` can put its own pools in their place)
learns to name pictures in minutes on a CPU. The diet is a `StimulusSet`: a `stimuli.ShadedWorld`, a folder of a user's
own, or either one changed by `stimuli.image_diets`. After the training variants of Gupta, Zhang, Wu, Wolfe & Kreiman
(2021), NeurIPS 34.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from cogmodels import __version__
from cogmodels.search.diet_network import (
    CHANNELS,
    JSON_NAME,
    MEAN,
    STD,
    DietNetwork,
    as_backbone,
    is_list,
    load_diet_network,
    name_pictures,
    read_diet_metadata,
    save_network,
)
from encoders.backbones import Backbone, ImagePreprocess
from encoders.backbones.weights import seeded_initialisation
from encoders.checkpoints import FolderCheckpoint
from encoders.tokens import as_token_source
from encoders.training.loop import TrainingProgress, TrainingResult, train
from encoders.training.settings import Training
from encoders.training.splits import member_folds
from stimuli.files import hash_array, unknown_name_message
from stimuli.stimulus_set import StimulusSet

__all__ = [
    "DietNetwork",
    "folder_labels",
    "load_diet_network",
    "name_pictures",
    "read_diet_metadata",
    "train_diet",
]

DIET_TRAINING = Training(
    lr=4e-3,
    weight_decay=1e-2,
    batch_size=64,
    n_epochs=15,
    schedule="cosine",
    warmup_epochs=1,
    patience_epochs=5,
)
"""Settings of `train_diet`: what named most validation pictures of the shaded world lit from above, of a few tried."""

_EPOCHS = "epochs"


class _OnPixels(nn.Module):
    """The network as the training loop calls it: on pixels (b, row * column, 3) from 0 to 255."""

    def __init__(self, network: DietNetwork, size_px: int) -> None:
        super().__init__()
        self.network, self.size_px = network, size_px

    def forward(self, pixels: Tensor, mask: Tensor | None) -> Tensor:
        mean, std = (torch.tensor(values, dtype=pixels.dtype, device=pixels.device) for values in (MEAN, STD))
        scaled = (pixels / 255 - mean) / std
        images = scaled.unflatten(1, (self.size_px, self.size_px)).permute(0, 3, 1, 2)
        return self.network(images)


def train_diet(
    stimuli: StimulusSet,
    folder: str | os.PathLike[str],
    *,
    labels: str | ArrayLike = "label",
    size_px: int = 64,
    channels: Sequence[int] = CHANNELS,
    training: Training = DIET_TRAINING,
    test: StimulusSet | None = None,
    diet: Mapping[str, Any] | None = None,
    progress: TrainingProgress | None = None,
) -> Backbone:
    """Train a small network to name pictures, and keep it in a folder.

    Parameters
    ----------
    stimuli : StimulusSet
        With images. Of other sizes they are resized (short side) and cropped (centre) to `size_px`; floats are rounded
        to 8 bits.
    folder : path
        New, or that of the same training: an interrupted one goes on after its last finished epoch and ends in the same
        bits as if it had never stopped (on a CPU); a finished one is loaded.
    labels : str or (n,) array-like
        Column of the attributes, or one label a picture. `folder_labels` makes them of the names of folders.
    size_px : int
        Side of the pictures that the network is trained on, at least 2 ** number of stages.
    channels : sequence of int
        Output channels of each stage, two stages at least. `EccNet` reads the last three of those with a
        stride of 2 to 16 px, of which the default has four.
    training : Training
        Its seed draws the initial weights, the validation pictures (`validation_fraction`), which choose the epoch, and
        the order of the others.
    test : StimulusSet, optional
        Further pictures with labels in the same column, on which the chosen network is scored; nothing is chosen by
        them.
    diet : mapping, optional
        What the diet is, in terms of JSON, for the provenance: as `ShadedWorld.describe()`.
    progress : callable, optional
        Called after each epoch with epochs done, epochs at most, and how it went.

    Returns
    -------
    Backbone
        As `load_diet_network`.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    KeyError
        If there is no column of that name.
    TypeError, ValueError
        For missing labels, fewer than two classes, classes without a picture to train on, images that cannot be
        decoded, or settings out of range.
    FloatingPointError
        If the loss becomes NaN or infinite.
    """
    target = Path(folder)
    _check_settings(size_px, channels, training)
    names = check_labels(stimuli, labels)
    classes, codes = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"all {len(names)} labels are {classes[0]!r}; a network learns to tell two or more apart"
        )
    train_rows, validation_rows = member_folds(len(codes), None, training)[0]
    unseen = np.setdiff1d(np.arange(len(classes)), codes[train_rows])
    if unseen.size:
        raise ValueError(
            f"class {classes[unseen[0]]!r} has no picture among the {len(train_rows)} to train on: add pictures of "
            "it, or leave the class out"
        )
    if test is not None and not isinstance(labels, str):
        raise ValueError("test needs labels by the name of a column, which both sets have")
    test_names = None if test is None else check_labels(test, labels)
    pixels = read_pixels(stimuli, size_px)
    identity = {
        "pixels": hash_array(pixels),
        "labels": hash_array(names),
        "test": None if test is None else test.content_hash,
        "channels": list(channels),
        "training": asdict(training),
        "diet": dict(diet or {}),
    }
    if _is_finished(target, identity):
        return load_diet_network(target)
    with seeded_initialisation(training.seed):
        network = DietNetwork(classes.tolist(), channels)
    result = train(
        _OnPixels(network, size_px),
        as_token_source(pixels.reshape(len(pixels), -1, 3), grid=(size_px, size_px)),
        codes,
        train_rows,
        validation_rows,
        training,
        loss="cross_entropy",
        checkpoint=FolderCheckpoint(target / _EPOCHS, identity),
        progress=progress,
    )
    test_accuracy = None
    if test is not None and test_names is not None:
        named = name_pictures(as_backbone(network, size_px, "diet", "trained just now"), test)
        test_accuracy = float(np.mean(named == test_names))
    save_network(
        target,
        network,
        {
            "identity": identity,
            "size_px": size_px,
            "stimuli": {"name": stimuli.name, "content_hash": stimuli.content_hash, "n": len(stimuli)},
            "n_train": len(train_rows),
            "n_validation": len(validation_rows),
            "pictures_of_class": dict(Counter(names.tolist())),
            **_scores(result, classes),
            "test_accuracy": test_accuracy,
            "versions": {"cogmodels": __version__, "torch": torch.__version__, "numpy": np.__version__},
        },
    )
    return load_diet_network(target)


def folder_labels(stimuli: StimulusSet) -> NDArray[np.str_]:
    """Return as labels the folders that pictures lie in: ``cat`` for the id ``cat/001``.

    Raises
    ------
    ValueError
        A picture lies in no folder.
    """
    parts = [str(stimulus_id).rpartition("/")[0] for stimulus_id in stimuli.stimulus_ids]
    if bare := [str(name) for name, part in zip(stimuli.stimulus_ids, parts, strict=True) if not part]:
        raise ValueError(f"{len(bare)} pictures lie in no folder that could name them (first: {bare[0]!r})")
    return np.array(parts)


def check_labels(stimuli: StimulusSet, labels: str | ArrayLike) -> NDArray[np.str_]:
    """Return one label a picture as text, or refuse missing ones."""
    if not stimuli.has_images:
        raise ValueError(f"{stimuli!r} has no images to learn from; give StimulusSet(images=...)")
    if isinstance(labels, str):
        table = stimuli.attributes
        if labels not in table:
            hint = "give labels=COLUMN, one label a picture, or labels=folder_labels(stimuli)"
            raise KeyError(unknown_name_message("column of labels", labels, map(str, table.columns), hint))
        values = table[labels]
        missing = int(values.isna().sum())
        names = values.astype(str).to_numpy(dtype=str)
    else:
        array = np.asarray(labels)
        if array.shape != (len(stimuli),):
            raise ValueError(f"labels has shape {array.shape}; ({len(stimuli)},) is needed, one a picture")
        missing = sum(value is None or value != value for value in array.tolist())
        names = array.astype(str)
    missing += int((names == "").sum())
    if missing:
        raise ValueError(
            f"labels is missing for {missing} of {len(stimuli)} pictures: fill in or leave out these"
        )
    return names


def read_pixels(stimuli: StimulusSet, size_px: int) -> NDArray[np.uint8]:
    """Return all pictures as (n, size_px, size_px, 3) uint8."""
    fit = ImagePreprocess(resize=size_px, crop=size_px, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = np.empty((len(stimuli), size_px, size_px, 3), np.uint8)
    for row in range(len(stimuli)):
        pixels[row] = fit.transform(stimuli.image(row)).permute(1, 2, 0).mul(255).round().numpy()
    return pixels


def _check_settings(size_px: int, channels: Sequence[int], training: Training) -> None:
    if not isinstance(training, Training):
        raise TypeError(f"training is {training!r:.60}; it must be encoders.Training(...)")
    if training.n_members != 1:
        raise ValueError(
            f"training.n_members is {training.n_members}; a diet raises one network: set it to 1"
        )
    if not is_list(list(channels), int, 2) or min(channels) < 1:
        raise ValueError(
            f"channels is {channels!r}; two or more positive whole numbers are needed, one a stage"
        )
    if type(size_px) is not int or size_px < 2 ** len(channels):
        raise ValueError(
            f"size_px is {size_px!r}; {len(channels)} stages of pooling need a whole number of at least "
            f"{2 ** len(channels)} pixels"
        )


def _is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    """Return whether the folder holds this training, finished; refuse one that holds anything else."""
    if (folder / JSON_NAME).is_file():
        if read_diet_metadata(folder)["identity"] != identity:
            raise FileExistsError(f"{folder} holds a network of another training: choose another folder")
        return True
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {_EPOCHS}):
        raise FileExistsError(f"{folder} holds something other than a network: choose another folder")
    return False


def _scores(result: TrainingResult, classes: NDArray[np.str_]) -> dict[str, Any]:
    by_class = [None if np.isnan(score) else float(score) for score in result.validation_scores]
    return {
        "best_epoch": result.best_epoch,
        "validation_accuracy": float(result.history["validation_score"][result.best_epoch]),
        "validation_accuracy_of_class": dict(zip(classes.tolist(), by_class, strict=True)),
        "history": {name: values.tolist() for name, values in result.history.items()},
    }
