"""Voxels of which it is known where in the picture they look: at an object, at a fixed place, or everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analyses.datasets.simulated import gaussian_receptive_fields
from analyses.datasets.simulated_scenes import CATEGORIES, Scenes, scenes_with_objects
from encoders import Backbone, extract_features, load_backbone
from encoders.backbones import ImagePreprocess
from stimuli.stimulus_set import StimulusSet

RoutingKind = Literal["content", "fixed", "global"]
TOKEN_PX = 8
_N_CHANNELS = 32


@dataclass(frozen=True)
class TokenScenes:
    """Pictures with moving objects, and the tokens that a frozen network makes of them.

    Attributes
    ----------
    stimuli : StimulusSet
    scenes : Scenes
        Pictures, masks and centres of the objects.
    tokens : ndarray of float32, shape (n_images, n_tokens, n_channels)
        One token for each square of `TOKEN_PX` pixels, row by row.
    grid : tuple of int
        (n_rows, n_columns) of the tokens.
    """

    stimuli: StimulusSet
    scenes: Scenes
    tokens: NDArray[np.float32]
    grid: tuple[int, int]


@dataclass(frozen=True)
class SimulatedRouting:
    """Responses of voxels to pictures, and what made them.

    Attributes
    ----------
    kind : {"content", "fixed", "global"}
    source : TokenScenes
        Pictures and tokens.
    responses : ndarray of float32, shape (n_images, n_voxels)
        ``signal`` plus independent Gaussian noise.
    signal : ndarray of shape (n_images, n_voxels)
        Mean 0 and variance 1 over the pictures.
    noise_ceiling_r : float
        Expected correlation of responses and signal over many pictures: what an ideal observer reaches.
    roi_names : tuple of str
        One region of interest (ROI) for each category of objects.
    rois : ndarray of bool, shape (n_rois, n_voxels)
        Each voxel belongs to one.
    routing : ndarray of shape (n_images, n_rois, n_tokens)
        Where each ROI looks: weights of the tokens, nonnegative, of sum 1.
    weights : ndarray of shape (n_channels, n_voxels)
    intercept : ndarray of shape (n_voxels,)
        ``signal[i, v] = (routing[i, roi of v] @ tokens[i]) @ weights[:, v] + intercept[v]``.
    """

    kind: RoutingKind
    source: TokenScenes
    responses: NDArray[np.float32]
    signal: NDArray[np.float64]
    noise_ceiling_r: float
    roi_names: tuple[str, ...]
    rois: NDArray[np.bool_]
    routing: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]


class TokenBank(nn.Module):
    """Two convolutions with rectified outputs, 8 x 8 pixels a token; layer ``pool`` is (n, 32, row, column)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 24, kernel_size=5, stride=2, padding=2, bias=False)
        self.second = nn.Conv2d(24, _N_CHANNELS, kernel_size=3, stride=2, padding=1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of tokens of images ``(n, 3, row, column)``."""
        return self.pool(torch.relu(self.second(torch.relu(self.first(x)))))


def token_bank(seed: int = 0) -> Backbone:
    """Make the frozen network of the simulation, with random weights (He et al. 2015) drawn by `seed`."""
    module = TokenBank()
    generator = torch.Generator().manual_seed(seed)
    for layer in (module.first, module.second):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    preprocess = ImagePreprocess(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    return load_backbone(module.requires_grad_(False), preprocess=preprocess, name="token bank")


def token_scenes(n_images: int, side_px: int = 64, seed: int = 0) -> TokenScenes:
    """Draw pictures with moving objects and pass them through the frozen network of the simulation.

    Parameters
    ----------
    n_images : int
        Number of pictures.
    side_px : int
        Side in pixels, a multiple of `TOKEN_PX` and at least 48.
    seed : int
        Of the pictures; picture i depends on it and on i alone. The network is the same for all seeds.

    Returns
    -------
    TokenScenes

    Raises
    ------
    ValueError
        If `n_images` or `side_px` is out of range.
    """
    if side_px % TOKEN_PX:
        raise ValueError(
            f"side_px is {side_px}; it has to be a multiple of {TOKEN_PX}, the pixels of a token."
        )
    scenes = scenes_with_objects(n_images, side_px, seed)
    ids = [f"scene-{seed}-{i:05d}" for i in range(n_images)]
    stimuli = StimulusSet(ids, images=scenes.images, name="simulated scenes")
    features = extract_features(
        token_bank(), stimuli, ["pool"], reduction="tokens", batch_size=128, progress=False
    )
    side = side_px // TOKEN_PX
    return TokenScenes(stimuli, scenes, np.asarray(features["pool"]), (side, side))


def simulate_routing(
    n_images: int,
    kind: RoutingKind = "content",
    *,
    n_voxels: int = 60,
    noise_ceiling_r: float = 0.8,
    field_sd: float = 0.12,
    seed: int = 0,
) -> SimulatedRouting:
    """Simulate voxels that read tokens of pictures by a known rule of where to look.

    Parameters
    ----------
    n_images : int
        Number of pictures, at least 2.
    kind : {"content", "fixed", "global"}
        Each ROI looks at the object of its own category wherever that lies (each token weighted by how much of
        it the object covers), through a Gaussian receptive field of its own, or at all tokens alike.
    n_voxels : int
        Voxels of all three ROIs together.
    noise_ceiling_r : float
        Correlation in (0, 1] of a single response with its signal.
    field_sd : float
        Standard deviation of the receptive fields of ``"fixed"`` as a share of the picture's side.
    seed : int
        Fixes pictures, weights, fields and noise.

    Returns
    -------
    SimulatedRouting

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Weights are random on the leading 16 principal components of the tokens of all places, each divided by its
    standard deviation, so that what is read varies over the background and the distractors no less than over
    the objects: only where to look tells them apart.
    """
    _check_arguments(kind, n_voxels, noise_ceiling_r, field_sd)
    return plant_routing(
        token_scenes(n_images, seed=seed),
        kind,
        n_voxels=n_voxels,
        noise_ceiling_r=noise_ceiling_r,
        field_sd=field_sd,
        seed=seed,
    )


def plant_routing(
    source: TokenScenes,
    kind: RoutingKind = "content",
    *,
    n_voxels: int = 60,
    noise_ceiling_r: float = 0.8,
    field_sd: float = 0.12,
    seed: int = 0,
) -> SimulatedRouting:
    """Simulate voxels over pictures that are there already; arguments and errors as in `simulate_routing`."""
    _check_arguments(kind, n_voxels, noise_ceiling_r, field_sd)
    if len(source.tokens) < 2:
        raise ValueError("source holds 1 picture; a signal needs at least 2 to vary.")
    rng = np.random.default_rng(seed)
    tokens = source.tokens.astype(np.float64)
    routing = _route(source, kind, field_sd, rng)
    rois = np.zeros((len(CATEGORIES), n_voxels), dtype=bool)
    for mask, voxels in zip(rois, np.array_split(np.arange(n_voxels), len(CATEGORIES)), strict=True):
        mask[voxels] = True
    weights = _draw_weights(tokens, n_voxels, rng)
    read = np.einsum("nrt,ntc->rnc", routing, tokens, optimize=True)
    signal = np.empty((len(tokens), n_voxels))
    for roi, voxels in zip(read, rois, strict=True):
        signal[:, voxels] = roi @ weights[:, voxels]
    weights /= signal.std(axis=0)
    signal /= signal.std(axis=0)
    intercept = -signal.mean(axis=0)
    signal += intercept
    noise_sd = np.sqrt(1 / noise_ceiling_r**2 - 1)
    responses = signal + noise_sd * rng.standard_normal(signal.shape)
    return SimulatedRouting(
        kind,
        source,
        responses.astype(np.float32),
        signal,
        float(noise_ceiling_r),
        CATEGORIES,
        rois,
        routing,
        weights,
        intercept,
    )


def _check_arguments(kind: str, n_voxels: int, noise_ceiling_r: float, field_sd: float) -> None:
    if kind not in get_args(RoutingKind):
        raise ValueError(f"kind is {kind!r}; it has to be one of {', '.join(get_args(RoutingKind))}.")
    if n_voxels < len(CATEGORIES):
        raise ValueError(f"n_voxels is {n_voxels}; each of {len(CATEGORIES)} ROIs needs at least one.")
    if not 0 < noise_ceiling_r <= 1:
        raise ValueError(f"noise_ceiling_r is {noise_ceiling_r}; it has to be above 0 and at most 1.")
    if not field_sd > 0:
        raise ValueError(f"field_sd is {field_sd}; it has to be positive.")


def _route(
    source: TokenScenes, kind: RoutingKind, field_sd: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    n_rois, n_images = len(CATEGORIES), len(source.tokens)
    n_rows, n_columns = source.grid
    if kind == "content":
        squares = source.scenes.masks.reshape(n_images, n_rois, n_rows, TOKEN_PX, n_columns, TOKEN_PX)
        cover = squares.mean(axis=(3, 5)).reshape(n_images, n_rois, -1)
        return cover / cover.sum(axis=-1, keepdims=True)
    if kind == "fixed":
        fields = gaussian_receptive_fields(rng.uniform(0.25, 0.75, (n_rois, 2)), field_sd, n_rows, n_columns)
    else:
        fields = np.full((n_rois, n_rows, n_columns), 1 / (n_rows * n_columns))
    return np.broadcast_to(fields.reshape(n_rois, -1), (n_images, n_rois, n_rows * n_columns))


def _draw_weights(
    tokens: NDArray[np.float64], n_voxels: int, rng: np.random.Generator, n_components: int = 16
) -> NDArray[np.float64]:
    every_place = tokens.reshape(-1, tokens.shape[-1])
    variance, directions = np.linalg.eigh(np.cov(every_place.T))
    leading = directions[:, ::-1][:, :n_components] / np.sqrt(variance[::-1][:n_components])
    return leading @ rng.standard_normal((n_components, n_voxels))
