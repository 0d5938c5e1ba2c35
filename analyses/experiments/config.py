"""What one encoding run is: every choice that changes its numbers, in one record that is written beside them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from encoders.solvers.checks import check_alphas
from stimuli.files import unknown_name_message

Encoder = Literal["ridge", "banded", "spatial", "attention", "probe"]
Queries = Literal["auto", "all", "voxel", "roi", "hemisphere", "parcel"]
Option = bool | int | float | str | tuple[float, ...] | None

TRAINED: tuple[Encoder, ...] = ("spatial", "attention", "probe")
"""Encoders that are trained on tokens by gradient descent."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class FeatureSpace(BaseModel):
    """One set of features: a backbone with its layers, or the one-hot code of a stimulus attribute.

    Attributes
    ----------
    backbone : str
        A name for `encoders.load_backbone`, or ``"onehot"`` (one column a stimulus) or ``"onehot:ATTRIBUTE"``
        (one column a value of that stimulus attribute).
    layers : tuple of str, optional
        Dotted layer names; the backbone's `default_layers` when None.
    reduction : str, optional
        How a layer's output becomes one row a stimulus; see `encoders.reductions`. None takes ``"mean"`` over tokens
        for text, ``"flatten"`` for the plain bases and ``"projection:4096"`` for image networks.
    weights : str
        ``"cache"``, ``"random"`` or the path of a weights file.
    image_size_px : int, "native" or None
        Side to which images are resized; their own size; or what the network's preprocessing says.
    label : str, optional
        How the space is called in results; the backbone's name when None.
    """

    model_config = _FROZEN

    backbone: str
    layers: tuple[str, ...] | None = None
    reduction: str | None = None
    weights: str = "cache"
    image_size_px: PositiveInt | Literal["native"] | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """Label of the space in results."""
        return self.label or self.backbone


class RunConfig(BaseModel):
    """All choices of one run, whatever it computes."""

    model_config = _FROZEN

    @property
    def identity(self) -> str:
        """Hash of every choice: two runs with the same identity compute the same thing."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


ConfigT = TypeVar("ConfigT", bound=RunConfig)


class EncodingConfig(RunConfig):
    """All choices of one encoding run.

    Attributes
    ----------
    dataset : str
        A name from `list_datasets`, or a folder of the user's.
    subject : str, optional
        Subject (or session); the dataset's first when None.
    dataset_options : dict
        Further keyword arguments of `load_dataset`.
    spaces : tuple of FeatureSpace
        Feature spaces fitted side by side.
    encoder : {"ridge", "banded", "spatial", "attention", "probe"}
        The encoding model. "banded" takes all layers of all spaces at once, a band each. "spatial", "attention" and
        "probe" are trained on tokens (each position of a map is one), which no space may have reduced away.
    encoder_options : dict
        Further parameters of the encoding model's class by their own names, such as ``n_heads`` or ``dropout``.
    encoder_preset : {"published"}, optional
        Model and training of the attention encoder as published (Adeli, Sun & Kriegeskorte 2025); options and
        settings given beside it change it.
    training : dict
        Settings of `encoders.Training` for the trained encoders, such as ``lr`` or ``n_epochs``. Seed and device are
        the run's.
    queries : {"auto", "all", "voxel", "roi", "hemisphere", "parcel"}
        What gets a query (or a spatial map) of its own. "auto" is a query a ROI where the dataset names any beside
        "all", and a query a voxel otherwise.
    ensemble : bool
        Also average the layers' predictions, weighted voxel by voxel by a softmax of their inner scores.
    alphas : tuple of float, optional
        Ridge penalties; the encoder's default grid when None.
    split : {"cv", "published"}
        Outer folds: cross-validation, or fit on everything outside the dataset's published test set.
    n_folds : int, optional
        Outer folds; None leaves one run out for time series and takes 5 folds otherwise.
    inner_folds : int
        Folds that choose penalty and layer inside each outer training set.
    group_by : {"auto", "run", "stimulus", "none"}
        What is never split over folds. "auto" is runs for time series, and stimuli otherwise.
    shuffle : bool
        Shuffle samples (or groups) before cutting outer folds.
    delays_volumes : tuple of int
        FIR delays of a time series, in volumes.
    block_lag_volumes : int
        Shift of a block's window for block averages, in volumes, to allow for the haemodynamic delay.
    time_series_samples : {"volumes", "blocks"}
        What the rows of a time series are: volumes, predicted by FIR delays, or one average a block. Trained encoders
        need "blocks".
    detrend_order : int
        Polynomial removed from each run of a time series; each run is then z-scored by its own statistics.
    scale_features : bool
        Standardise features by the training fold.
    choose_layer : bool
        Also choose the layer per voxel inside each training fold, when there are several.
    null : {"auto", "refit", "held_out", "none"}
        "refit" permutes stimuli against responses and fits anew; "held_out" permutes held-out predictions against
        responses, which is valid for a fixed training set only. "auto" takes the one that fits `split`.
    n_permutations, n_bootstrap : int
        Draws of the null and of the interval.
    within : str, optional
        Stimulus attribute whose groups also get a score of their own, averaged over groups.
    seed : int
        Seed of folds, null, bootstrap and random weights.
    device, dtype, batch_size
        Passed to extraction and solver.
    """

    dataset: str
    subject: str | None = None
    dataset_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    spaces: tuple[FeatureSpace, ...] = Field(min_length=1)
    encoder: Encoder = "ridge"
    encoder_options: dict[str, Option] = Field(default_factory=dict)
    encoder_preset: Literal["published"] | None = None
    training: dict[str, Option] = Field(default_factory=dict)
    queries: Queries = "auto"
    ensemble: bool = False
    alphas: tuple[float, ...] | None = None
    split: Literal["cv", "published"] = "cv"
    n_folds: int | None = Field(default=None, ge=2)
    inner_folds: int = Field(default=5, ge=2)
    group_by: Literal["auto", "run", "stimulus", "none"] = "auto"
    shuffle: bool = False
    delays_volumes: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    block_lag_volumes: int = Field(default=2, ge=0)
    time_series_samples: Literal["volumes", "blocks"] = "volumes"
    detrend_order: int = Field(default=1, ge=0)
    scale_features: bool = False
    choose_layer: bool = True
    null: Literal["auto", "refit", "held_out", "none"] = "auto"
    n_permutations: int = Field(default=200, ge=1)
    n_bootstrap: int = Field(default=1000, ge=1)
    within: str | None = None
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"
    dtype: Literal["float32", "float64"] = "float32"
    batch_size: int = Field(default=32, ge=1)

    @field_validator("delays_volumes")
    @classmethod
    def _delays_are_causal(cls, delays: tuple[int, ...]) -> tuple[int, ...]:
        if not delays or min(delays) < 0 or len(set(delays)) != len(delays):
            raise ValueError(
                f"delays_volumes must be distinct whole numbers >= 0, got {delays}: name the volumes after a stimulus"
                " in which the response may fall, such as 1,2,3,4,5,6"
            )
        return delays

    @field_validator("alphas")
    @classmethod
    def _alphas_are_positive(cls, alphas: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if alphas is not None:
            check_alphas(alphas)
        return alphas

    @model_validator(mode="after")
    def _names_differ(self) -> EncodingConfig:
        names = [space.name for space in self.spaces]
        if len(set(names)) != len(names):
            raise ValueError(f"spaces need different names, got {names}: give each a label (--label)")
        return self

    @model_validator(mode="after")
    def _choices_suit_the_encoder(self) -> EncodingConfig:
        trained = self.encoder in TRAINED
        if not trained and (self.training or self.encoder_preset or self.queries != "auto"):
            given = "training" if self.training else "encoder_preset" if self.encoder_preset else "queries"
            raise ValueError(
                f"{given} is for trained encoders ({', '.join(TRAINED)}), and encoder is {self.encoder!r}; leave it out"
            )
        if self.encoder_preset and self.encoder != "attention":
            raise ValueError(f"encoder_preset is for encoder 'attention', got {self.encoder!r}; leave it out")
        if trained and self.alphas is not None:
            raise ValueError(
                f"alphas: {self.encoder!r} has no ridge penalty; its settings are encoder_options and training"
            )
        if own := {"seed", "device"} & set(self.training):
            raise ValueError(
                f"training: {', '.join(sorted(own))} is set for the whole run, by the field of that name"
            )
        if self.ensemble and self.encoder == "banded":
            raise ValueError(
                "ensemble: a banded encoder takes all layers at once, so there is nothing to average"
            )
        return self


#: The runs that this package repeats from the literature or ships as its demonstration; `cogmodels fit --preset`.
PRESETS: dict[str, EncodingConfig] = {
    "demo": EncodingConfig(
        dataset="haxby-slice",
        spaces=(
            FeatureSpace(backbone="onehot", label="category one-hot"),
            FeatureSpace(
                backbone="minilm",
                layers=("encoder.layer.0", "encoder.layer.2", "encoder.layer.5"),
                label="MiniLM category names",
            ),
        ),
        # Up to where voxels without signal are predicted flat: their choices belong at the strong end.
        alphas=tuple(float(10.0**k) for k in range(-1, 8)),
        n_permutations=100,
    ),
    # van Gerven, de Lange & Heskes 2010: V1-V3 responses to handwritten sixes and nines.
    "digits69": EncodingConfig(
        dataset="digits69",
        spaces=(FeatureSpace(backbone="pixels"),),
        # The penalty of 300 holds for 784 pixels; here each grey pixel stands in three equal colour channels.
        alphas=(900.0,),
        n_folds=10,
        shuffle=True,
        group_by="none",
        within="digit",
    ),
    # Cowley et al. 2023: macaque V4, first half of the sorted images to fit, second half to test.
    "v4-natural": EncodingConfig(
        dataset="v4-natural",
        subject="210325",
        spaces=(
            FeatureSpace(
                backbone="torchvision/squeezenet1_0",
                layers=("features.2", "features.4", "features.6", "features.9", "features.11"),
                reduction="grid:4",
                image_size_px="native",
            ),
        ),
        split="published",
    ),
}


def preset(name: str) -> EncodingConfig:
    """Return the named preset.

    Raises
    ------
    KeyError
        For an unknown name; near matches are listed.
    """
    if name not in PRESETS:
        raise KeyError(unknown_name_message("preset", name, list(PRESETS)))
    return PRESETS[name]


def read_config(path: Path) -> EncodingConfig:
    """Read the `config.json` of an encoding run; as `read_run_config`."""
    return read_run_config(path, EncodingConfig)


def read_run_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Read the `config.json` of a run of some kind.

    Raises
    ------
    FileNotFoundError
        When there is none.
    ValueError
        When it is damaged, or of another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}: it is no run's folder")
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValueError as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(
            f"{path} is damaged or of another version ({f'{where}: ' if where else ''}{problem['msg']}); put back the"
            " file that the run wrote, or run the analysis again into a new folder"
        ) from error
