"""eccNET: a network that sees less detail away from the gaze, and prefers what resembles the target."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from cogmodels.search.early_layers import DisplayMaps, crop
from cogmodels.search.eccentricity_pooling import PUBLISHED_SLOPES, replace_pooling
from cogmodels.search.layer_graph import LayerGraph
from cogmodels.search.modulation import (
    LayerPair,
    add_pools,
    choose_pairs,
    modulate,
    similarity,
    with_same_padding,
    without_gradients,
)
from cogmodels.search.normalisation import Normalisation, check_normalisation, normalise
from cogmodels.search.observer import PriorityModel
from cogmodels.search.policy import Gaze, SearchPolicy
from cogmodels.search.priority_maps import (
    PUBLISHED_SHARPENING,
    Sharpening,
    Weighting,
    cells_within,
    check_sharpening,
    combine_maps,
    sharpen,
    spread_over_pixels,
)
from cogmodels.search.regions import Region
from cogmodels.search.window_network import WindowNetwork, run_whole
from encoders.backbones import Backbone, ImagePreprocess, load_backbone
from stimuli.files import unknown_name_message

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

Placement = Literal["receptive_fields", "stretched"]

# Between the farthest place of the display and the edge of the window (Gupta et al. 2021).
SURROUND_PX = 64
_MIN_TARGET_PX = 8
_MAX_TARGETS = 256


@dataclass(frozen=True)
class EccNetState:
    """What `EccNet` knows of a display: its picture, its target's features, and the network over its windows."""

    network: WindowNetwork
    display: DisplayMaps
    kernels: tuple[Tensor, ...]
    sharpening: Sharpening | None
    target_shape: tuple[int, int]


class EccNet(PriorityModel):
    """Looks where features resemble the target's, seen ever more coarsely away from the gaze (Gupta et al. 2021).

    Pools of the network average over windows that grow with eccentricity. The features of the target at three depths
    are convolved with those of a square window around the gaze. Its side is twice the sum of the display's longer side
    and 64 pixels, and it is filled with the display's background (black where it has none). Each map is brought to
    [0, 1], weighted by its highest value, summed and sharpened. The network is never trained on search.

    Parameters
    ----------
    backbone : str or Backbone
        A convolutional network, by a name that `encoders.backbones.load_backbone` knows, or loaded. Its preprocessing
        gives the normalisation; pictures are neither resized nor cropped.
    weights : str or path
        As `load_backbone`: ``"cache"``, ``"random"`` or a file, for networks trained on other pictures.
    layers : sequence of (str, str), "last" or None
        Pairs of search layer and target layer. None: the three of `cogmodels.search.modulation.choose_pairs`; "last":
        the deepest of them alone. Search features are brought to the largest stride among the search layers, target
        features to twice that, by ordinary pools of 2 x 2.
    eccentricity : bool
        False: the network keeps its own pools, and max pools bring features to one stride.
    normalisation : {"none", "places", "channels", "standardised", "whitened"}
        What features of display and target are divided by, from the display as it is seen at each fixation: see
        `cogmodels.search.normalisation.normalise`. "none" as published; the others suppress what the display commonly
        shows.
    weighting : {"max", "equal"}
        See `combine_maps`.
    sharpening : Sharpening, str or None
        One for all displays by default. A name of `PUBLISHED_SHARPENING`, or "published": that of each display's
        paradigm (scenes: "scenes"). The published choice differs between paradigms; the default is the one of most.
    placement : {"receptive_fields", "stretched"}
        Where places of the map lie on the display. "receptive_fields": where their receptive fields in the fovea are
        centred. "stretched": the map is stretched over the window, as published; for VGG16 that is the same where the
        side of the window is a multiple of 16 px, and up to 10 px off at the published sizes; networks whose strided
        convolutions are not centred would be off by half a place.
    px_per_degree, fovea_radius_deg, slopes
        See `replace_pooling`.
    gaze_step_px : int
        The window is centred on the gaze to this many pixels. 1 as published; with 4 (0.13 degrees) the early layers
        need not be computed again for each gaze.
    policy : SearchPolicy, optional
    name : str
    device : str or torch.device
    seed : int
        Of random weights.

    Attributes
    ----------
    backbone : Backbone
    layers : tuple of (str, str)

    Raises
    ------
    KeyError
        A network, layer or sharpening is unknown.
    TypeError, ValueError
        A value is not allowed, or the network cannot be used: its forward is not a graph, no layer halves its map, or
        its preprocessing has no normalisation.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe & Kreiman (2021). Visual search asymmetry: deep nets and humans share similar inherent
    biases. NeurIPS.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "target_image"})

    def __init__(
        self,
        backbone: str | Backbone = "torchvision/vgg16",
        *,
        weights: Any = "cache",
        layers: Sequence[LayerPair] | Literal["last"] | None = None,
        eccentricity: bool = True,
        normalisation: Normalisation = "none",
        weighting: Weighting = "max",
        sharpening: Sharpening | str | None = Sharpening(),  # noqa: B008 - frozen
        placement: Placement = "receptive_fields",
        px_per_degree: float = 30.0,
        fovea_radius_deg: float = 4.0,
        slopes: Sequence[float] = PUBLISHED_SLOPES,
        gaze_step_px: int = 1,
        policy: SearchPolicy | None = None,
        name: str = "eccnet",
        device: str | torch.device = "cpu",
        seed: int = 0,
    ) -> None:
        self.name, self.policy = name, policy or SearchPolicy()
        self.eccentricity, self.weighting, self.placement = bool(eccentricity), weighting, placement
        self.px_per_degree, self.gaze_step_px = float(px_per_degree), int(gaze_step_px)
        self.sharpening = check_sharpening(sharpening)
        self.normalisation = check_normalisation(normalisation)
        if self.gaze_step_px != gaze_step_px or self.gaze_step_px < 1:
            raise ValueError(f"gaze_step_px is {gaze_step_px!r}; it must be a whole number from 1")
        for argument, value, kinds in (
            ("weighting", weighting, get_args(Weighting)),
            ("placement", placement, get_args(Placement)),
        ):
            if value not in kinds:
                raise ValueError(f"{argument} is {value!r}; allowed: {', '.join(map(repr, kinds))}")
        self.backbone = _load(backbone, weights, device, seed)
        self.device = torch.device(device)
        self._normalise = _normalisation(self.backbone)
        if self.eccentricity:
            network = replace_pooling(
                self.backbone.module,
                px_per_degree=px_per_degree,
                slopes=slopes,
                fovea_radius_deg=fovea_radius_deg,
            )
        else:
            network = with_same_padding(copy.deepcopy(self.backbone.module))
        self._graph = LayerGraph(without_gradients(network, device))
        self.layers = self._choose_layers(layers)
        search, target = (list(each) for each in zip(*self.layers, strict=True))
        self._stride = max(self._graph.strides[self._graph.node_of(path)] for path in search)
        kind = "average" if self.eccentricity else "max"
        self._search_nodes = add_pools(self._graph, search, self._stride, kind)
        self._target_nodes = add_pools(self._graph, target, 2 * self._stride, kind)
        self._networks: dict[tuple[int, tuple[int, ...]], WindowNetwork] = {}
        self._kernels: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}

    def begin(self, display: "SearchDisplay") -> EccNetState:
        """Return the features of the target, and the display ready to be looked at.

        Raises
        ------
        KeyError
            `sharpening` is "published", and nothing is published for the display's paradigm.
        ValueError
            The display has another number of pixels in a degree, or its target image is too small.
        """
        own = display.px_per_degree
        if own is not None and not np.isclose(own, self.px_per_degree, rtol=0.01):
            raise ValueError(
                f"display {display.display_id!r} has {own:g} px per degree, the model {self.px_per_degree:g}: give "
                f"EccNet(px_per_degree={own:g}), or a display of another size"
            )
        target = display.read_target_image()
        if min(target.shape[:2]) < _MIN_TARGET_PX:
            raise ValueError(
                f"the target image of display {display.display_id!r} has {target.shape[0]} x {target.shape[1]} pixels "
                f"(row, column), too few to have features: give one of at least {_MIN_TARGET_PX} x {_MIN_TARGET_PX}"
            )
        network = self._network(display)
        picture = self._picture(display.read_image())
        return EccNetState(
            network,
            network.display(picture),
            self._target_features(target),
            _sharpening_on(display, self.sharpening),
            (target.shape[0], target.shape[1]),
        )

    def erase(self, state: EccNetState, display: "SearchDisplay", item: int) -> EccNetState:
        """Return the state for the display whose picture was painted over at the cell of an item."""
        picture = self._picture(display.read_image())
        differs = (picture != state.display.picture).any(1)[0].cpu().numpy()
        changed = state.network.display(picture)
        if not differs.any():
            return replace(state, display=changed)
        rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
        box = Region(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        return replace(state, display=state.display.changed_to(changed, box))

    def priority(self, state: EccNetState, gaze_px: Gaze) -> np.ndarray:
        """Return the attention map (height_px, width_px) of a display while the gaze is at x, y; 0 is the lowest."""
        n_rows, n_columns = state.display.picture.shape[2:]
        column, row = (
            self._gaze_pixel(at, length) for at, length in zip(gaze_px, (n_columns, n_rows), strict=True)
        )
        half = state.network.side // 2
        features = state.network.look(state.display, half - row, half - column)
        # Without padding, paths to one stride may differ by the last place.
        shared = min(each.shape[2] for each in features)
        first, length = self._cells(state.network, shared)
        corner = (first - (half - row), first - (half - column))
        shown = (
            cells_within(n_rows, corner[0], length, shared),
            cells_within(n_columns, corner[1], length, shared),
        )
        with torch.inference_mode():
            maps = [
                modulate(*normalise(each, kernel, shown, self.normalisation)).cpu().numpy()[:shared, :shared]
                for each, kernel in zip(features, state.kernels, strict=True)
            ]
        attention = combine_maps(np.stack(maps), self.weighting)
        if state.sharpening is not None:
            attention = sharpen(attention, state.sharpening)
        return spread_over_pixels(attention - attention.min(), (n_rows, n_columns), corner, length)

    def recognition_score(self, state: EccNetState, gaze_px: Gaze) -> float:
        """Return how much what is at the gaze looks like the target, in [0, 1] for rectified features.

        It is the cosine between the mean features of both at the deepest target layer. What is at the gaze has the size
        of the target image.
        """
        rows, columns = state.target_shape
        left, top = int(gaze_px[0]) - columns // 2, int(gaze_px[1]) - rows // 2
        seen = crop(
            state.display.picture, state.network.background, Region(top, top + rows, left, left + columns)
        )
        return similarity(run_whole(self._graph, self._target_nodes[-1:], seen)[0], state.kernels[-1])

    def _gaze_pixel(self, place: float, length: int) -> int:
        middle, step = length // 2, self.gaze_step_px
        pixel = middle + step * round((int(np.floor(place)) - middle) / step)
        return min(max(pixel, 0), length - 1)

    def _cells(self, network: WindowNetwork, n_cells: int) -> tuple[float, float]:
        if self.placement == "stretched":
            return 0.0, network.side / n_cells
        places = [network.cells(node) for node in self._search_nodes]
        return float(np.mean([first for first, _ in places])), places[0][1]

    def _choose_layers(self, layers: Sequence[LayerPair] | str | None) -> tuple[LayerPair, ...]:
        if layers is None or layers == "last":
            pairs = choose_pairs(self.backbone.name, LayerGraph(self.backbone.module))
            return pairs[-1:] if layers == "last" else pairs
        if (
            isinstance(layers, str)
            or not layers
            or any(isinstance(pair, str) or len(pair) != 2 for pair in layers)
        ):
            raise ValueError(
                f"layers is {layers!r}; give pairs of names [(search layer, target layer), ...], 'last' or None"
            )
        return tuple((search, target) for search, target in layers)

    def _picture(self, pixels: np.ndarray) -> Tensor:
        picture = self._normalise.transform(pixels)[None].to(self.device)
        return picture.contiguous(memory_format=torch.channels_last)

    def _network(self, display: "SearchDisplay") -> WindowNetwork:
        """Return the network over windows of the display's size and background; the latest is kept."""
        colour = display.background or (0, 0, 0)
        key = (2 * (max(display.width_px, display.height_px) + SURROUND_PX), tuple(map(int, colour)))
        if key not in self._networks:
            self._networks.clear()  # one may take hundreds of MB
            background = self._picture(np.full((1, 1, 3), colour, dtype=np.uint8))[0, :, 0, 0]
            self._networks[key] = WindowNetwork(self._graph, self._search_nodes, key[0], background)
        return self._networks[key]

    def _target_features(self, target: np.ndarray) -> tuple[Tensor, ...]:
        key = (target.shape, hashlib.sha256(target.tobytes()).digest())
        if key not in self._kernels:
            if len(self._kernels) >= _MAX_TARGETS:
                self._kernels.clear()
            self._kernels[key] = tuple(run_whole(self._graph, self._target_nodes, self._picture(target)))
        return self._kernels[key]


def _sharpening_on(display: "SearchDisplay", sharpening: Sharpening | str | None) -> Sharpening | None:
    if not isinstance(sharpening, str):
        return sharpening
    if sharpening == "published":
        sharpening = "scenes" if display.set_size is None else display.paradigm
    if sharpening not in PUBLISHED_SHARPENING:
        hint = f"display {display.display_id!r} asks for it; give one sharpening for all"
        raise KeyError(unknown_name_message("paradigm", sharpening, PUBLISHED_SHARPENING, hint))
    return PUBLISHED_SHARPENING[sharpening]


def _load(backbone: str | Backbone, weights: Any, device: str | torch.device, seed: int) -> Backbone:
    if isinstance(backbone, str):
        return load_backbone(backbone, weights=weights, device=device, seed=seed)
    if not isinstance(backbone, Backbone):
        raise TypeError(
            f"backbone must be a name or a Backbone, got {type(backbone).__name__}: load_backbone(module, "
            "preprocess=ImagePreprocess()) makes one of your own network"
        )
    if weights != "cache":
        raise ValueError("weights belong to a backbone given by name; this one has its own")
    return backbone


def _normalisation(backbone: Backbone) -> ImagePreprocess:
    if not isinstance(backbone.preprocess, ImagePreprocess):
        raise ValueError(
            f"{backbone.name} has no normalisation of pixels that is known here: give it an ImagePreprocess"
        )
    return replace(backbone.preprocess, resize=None, crop=None)
