"""A small network raised on a drawn world, or on a folder of images, as the command line asks for it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stimuli.files import unknown_name_message

if TYPE_CHECKING:
    from encoders.backbones import Backbone

CHANGES = ("rotate_90", "retina_warp", "black_lines")


def run_diet(
    out: str | Path,
    *,
    light: str | None = None,
    data: str | Path | None = None,
    change: str | None = None,
    n_images: int = 4000,
    size_px: int = 64,
    training: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Backbone:
    """Train a network on a diet and keep it in a folder; see `cogmodels.search.diets.train_diet`.

    Parameters
    ----------
    out : path
        New, or that of the same training.
    light : str, optional
        Light of the drawn world of bumps and dents; ``"above"`` where there is no `data` either.
    data : path, optional
        A folder with a sub-folder a class, instead of the drawn world.
    change : str, optional
        ``"rotate_90"``, ``"retina_warp"`` or ``"black_lines"``, done to every picture.
    n_images : int
        Pictures of the drawn world.
    size_px : int
        Side of the pictures that the network is trained on.
    training : dict, optional
        Settings of `encoders.training.settings.Training` in place of the diet's own.
    seed : int
        Of the drawn pictures and of the training.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Backbone

    Raises
    ------
    KeyError
        If the light or the change is unknown.
    NotADirectoryError
        If `data` is no folder.
    ValueError
        If both `light` and `data` are given, or a setting is unknown or not allowed; and as `train_diet`.
    """
    from analyses.experiments.progress import FitProgress
    from cogmodels.search.diets import DIET_TRAINING, folder_labels, train_diet
    from stimuli.image_diets import change_diet
    from stimuli.shaded_world import ShadedWorld
    from stimuli.stimulus_set import StimulusSet

    settings = dict(training or {})
    known = {field.name for field in fields(DIET_TRAINING)} - {"seed"}
    if unknown := sorted(set(settings) - known):
        raise ValueError(unknown_name_message("training setting", unknown[0], sorted(known)))
    if light is not None and data is not None:
        raise ValueError("light and data are both given: light is of the drawn world; leave one out")
    if change is not None and change not in CHANGES:
        raise KeyError(unknown_name_message("change", change, CHANGES))
    labels: Any = "label"
    diet: dict[str, Any]
    if data is None:
        world = ShadedWorld(light=light or "above")
        stimuli, diet = world.draw(n_images, seed=seed), {"world": world.describe()}
    else:
        if not Path(data).is_dir():
            what = "is a file" if Path(data).exists() else "does not exist"
            raise NotADirectoryError(
                f"data: {data} {what}; give a folder of images with a sub-folder a class"
            )
        stimuli = StimulusSet.from_folder(data)
        labels, diet = folder_labels(stimuli), {"folder": Path(data).name}
    if change is not None:
        stimuli = change_diet(stimuli, change)
    with FitProgress() if progress else nullcontext() as bar:
        return train_diet(
            stimuli,
            out,
            labels=labels,
            size_px=size_px,
            training=replace(DIET_TRAINING, **settings, seed=seed),
            diet=diet | {"change": change},
            progress=None if bar is None else lambda done, of, _text: bar.show("epochs", done, of),
        )
