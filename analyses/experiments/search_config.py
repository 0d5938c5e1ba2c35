"""What one run of visual search is: a model, displays, and every choice that changes where it looks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from analyses.experiments.config import Option, RunConfig
from stimuli.files import unknown_name_message

MODELS: dict[str, str] = {
    "eccnet": "features of a network that coarsen with eccentricity, modulated by the target",
    "ivsn": "the deepest features of a network, equally sharp everywhere, modulated by the target",
    "oat": "a transformer that learned from scanpaths which object is looked at next; from its folder",
    "pixel": "pixels that resemble the target's",
    "saliency": "what stands out, whatever the target",
    "center": "a Gaussian around the middle",
    "chance": "anywhere",
    "nearest": "the nearest place that was not looked at",
}
"""Search models by name, and where each looks."""

NETWORKS = ("eccnet", "ivsn")
ALL_PARADIGMS = "all"


class SearchConfig(RunConfig):
    """All choices of one run of visual search.

    Attributes
    ----------
    model : str
        One of `MODELS`.
    backbone : str, optional
        Network of "eccnet" and "ivsn": a name for `encoders.backbones.load_backbone`, or the folder of a network that
        `cogmodels.search.diets.train_diet` kept. VGG-16 when None.
    weights : str
        ``"cache"``, ``"random"`` or a file, for a backbone by name.
    model_folder : str, optional
        Where an "oat" was saved.
    model_options : dict
        Further arguments of the model's class by their own names, such as ``eccentricity`` or ``sd_x``.
    policy : dict
        Settings of `SearchPolicy` in place of the model's own, such as ``max_fixations`` or ``inhibition``.
    label : str, optional
        What the observer is called in scanpaths and reports; the model's own name when None.
    paradigm : str
        One of the six asymmetry paradigms, ``"all"`` six, a data set of visual search (``"interiors"``,
        ``"amazon-covers"``), or a folder that `SearchDisplays.save` wrote.
    conditions : tuple of str, optional
        Of one asymmetry paradigm; all when None.
    set_sizes : tuple of int, optional
        Of one asymmetry paradigm; the published ones when None.
    n_displays : int, optional
        Of an asymmetry paradigm: displays a condition and set size, 30 when None. Of other displays: how many to show,
        from the first on; all when None.
    px_per_degree : float
        Pixels in a degree of visual angle, of the drawn displays and of the networks' eccentricity.
    n_rollouts : int
        How many times each display is searched, each time by an observer of its own.
    ms_per_fixation, intercept_ms : float, optional
        From fixations to reaction times; the published constants when None.
    chunk_displays : int
        Displays that are searched between two checkpoints.
    n_bootstrap, confidence
        Draws of displays, and nominal coverage of the intervals.
    seed : int
        Of the displays, of the search, of random weights and of the bootstrap.
    device : str
        Where networks run.
    """

    model: str
    backbone: str | None = None
    weights: str = "cache"
    model_folder: str | None = None
    model_options: dict[str, Option] = Field(default_factory=dict)
    policy: dict[str, Option] = Field(default_factory=dict)
    label: str | None = Field(default=None, min_length=1)
    paradigm: str
    conditions: tuple[str, ...] | None = None
    set_sizes: tuple[PositiveInt, ...] | None = None
    n_displays: PositiveInt | None = None
    px_per_degree: PositiveFloat = 30.0
    n_rollouts: PositiveInt = 1
    ms_per_fixation: PositiveFloat | None = None
    intercept_ms: float | None = None
    chunk_displays: PositiveInt = 8
    n_bootstrap: int = Field(default=1000, ge=2)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"

    @field_validator("model")
    @classmethod
    def _model_is_known(cls, model: str) -> str:
        if model not in MODELS:
            raise ValueError(unknown_name_message("model", model, MODELS))
        return model

    @model_validator(mode="after")
    def _choices_suit_the_model(self) -> Self:
        if self.model not in NETWORKS and (self.backbone is not None or self.weights != "cache"):
            given = "weights" if self.backbone is None else "backbone"
            raise ValueError(
                f"{given} is for {' and '.join(NETWORKS)}, and model is {self.model!r}; leave it out"
            )
        if self.model == "oat" and self.model_folder is None:
            raise ValueError("model_folder is missing: an oat is read from the folder that OAT.save wrote")
        if self.model != "oat" and self.model_folder is not None:
            raise ValueError(f"model_folder is for oat, and model is {self.model!r}; leave it out")
        if self.model == "oat" and (self.policy or self.model_options):
            given = "policy" if self.policy else "model_options"
            raise ValueError(
                f"{given}: an oat is as it was trained and decides itself when to stop; leave it out"
            )
        run_wide = {"device", "seed", "weights", "px_per_degree", "name", "policy", "backbone"}
        if own := sorted(run_wide & set(self.model_options)):
            raise ValueError(
                f"model_options: {', '.join(own)} has a field of its own in the run (name: label); set it there"
            )
        return self


RunKind = Literal["set_sizes", "scenes"]
"""What is measured: reaction times over set size, or how soon targets of single scenes are found."""
