"""What a target does to what a network sees: its features become kernels over those of the search display."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogmodels.search.eccentricity_pooling import EccentricityPool2d
from cogmodels.search.layer_graph import LayerGraph

LayerPair = tuple[str, str]

# Search layer and target layer at three depths. VGG16 as published: features of the search display before, those of the
# target behind the third, fourth and fifth pool. The others at the same strides: the last rectified features before
# the third, fourth and (where there is one) fifth halving; the target's are pooled once more.
DEFAULT_PAIRS: Mapping[str, tuple[LayerPair, ...]] = MappingProxyType(
    {
        "torchvision/vgg16": (
            ("features.15", "features.16"),
            ("features.22", "features.23"),
            ("features.29", "features.30"),
        ),
        "torchvision/squeezenet1_0": (
            ("features.5", "features.6"),
            ("features.10", "features.11"),
            ("features.12", "features.12"),
        ),
        "efficientnet_lite0": (
            ("blocks.2.0.bn1", "blocks.2.0.bn1"),
            ("blocks.3.0.bn1", "blocks.3.0.bn1"),
            ("blocks.5.0.bn1", "blocks.5.0.bn1"),
        ),
    }
)
_DEEPEST_STRIDE, _N_PAIRS = 16, 3


def choose_pairs(name: str, graph: LayerGraph) -> tuple[LayerPair, ...]:
    """Return the pairs of search layer and target layer that belong to a network.

    Parameters
    ----------
    name : str
        Of the network; what stands behind the last dot (the weights) does not matter.
    graph : LayerGraph
        For a network without a place in `DEFAULT_PAIRS`: the layers are then the last rectified ones at the three
        largest strides of its trunk up to 16 pixels, and the target's are the same.

    Returns
    -------
    tuple of (str, str)
        The deepest last.

    Raises
    ------
    ValueError
        No layer halves the map.
    """
    for known in (name, name.rpartition(".")[0]):
        if known in DEFAULT_PAIRS:
            return DEFAULT_PAIRS[known]
    layers = [path for stride, path in graph.last_layers().items() if 1 < stride <= _DEEPEST_STRIDE]
    if not layers:
        raise ValueError(
            f"{name} has no layer at a stride of 2 to {_DEEPEST_STRIDE} pixels: name its layers as layers=[(search "
            "layer, target layer), ...], or take a convolutional network"
        )
    return tuple((path, path) for path in layers[-_N_PAIRS:])


def add_pools(graph: LayerGraph, paths: Sequence[str], stride: int, kind: str) -> list:
    """Let ordinary pools of 2 x 2 bring the maps of layers to one stride, and return the operations at their ends.

    Parameters
    ----------
    graph : LayerGraph
    paths : sequence of str
    stride : int
        In pixels of the picture.
    kind : {"average", "max"}

    Raises
    ------
    KeyError
        A layer is unknown.
    ValueError
        A layer has a larger stride, or one that no halving brings there.
    """
    ends = []
    for path in paths:
        node = graph.node_of(path)
        while graph.strides[node] < stride:
            pool = EccentricityPool2d(1.0, 0.0) if kind == "average" else nn.MaxPool2d(2, ceil_mode=True)
            node = graph.append(node, f"pooled_to_{stride}_{len(graph.nodes)}", pool)
        if graph.strides[node] != stride:
            raise ValueError(
                f"layer {path!r} has a stride of {graph.strides[graph.node_of(path)]} px, which cannot be brought to "
                f"{stride} px: choose another layer for it"
            )
        ends.append(node)
    return ends


def modulate(features: Tensor, kernel: Tensor) -> Tensor:
    """Return how strongly the features around each place agree with those of the target.

    Parameters
    ----------
    features : Tensor (1, n_channels, n_rows, n_columns)
        Of the search display.
    kernel : Tensor (1, n_channels, n_kernel_rows, n_kernel_columns)
        Features of the target.

    Returns
    -------
    Tensor (n_rows, n_columns)
        The sum of products; a kernel of even size reaches one place further down and right, zeros lie around the map.
    """
    n_rows, n_columns = features.shape[2:]
    size = kernel.shape[2:]
    # One matrix product for all places of the kernel, then their sum: a convolution into a single channel is slow.
    places = features[0].permute(1, 2, 0).reshape(n_rows * n_columns, -1)
    products = (places @ kernel[0].reshape(kernel.shape[1], -1)).T.reshape(*size, n_rows, n_columns)
    before = [(length - 1) // 2 for length in size]
    after = [length - 1 - first for length, first in zip(size, before, strict=True)]
    total = features.new_zeros(n_rows + sum((before[0], after[0])), n_columns + sum((before[1], after[1])))
    for row, column in np.ndindex(*size):
        at = (after[0] + before[0] - row, after[1] + before[1] - column)
        total[at[0] : at[0] + n_rows, at[1] : at[1] + n_columns] += products[row, column]
    return total[after[0] : after[0] + n_rows, after[1] : after[1] + n_columns]


def similarity(first: Tensor, second: Tensor) -> float:
    """Return the cosine between the mean features of two maps (1, n_channels, row, column); 0 where one is nil."""
    return float(F.cosine_similarity(first.mean((2, 3))[0], second.mean((2, 3))[0], dim=0))


def with_same_padding(module: nn.Module) -> nn.Module:
    """Let max pools without padding keep what is left over at the lower right edge, as "same" padding does."""
    for layer in module.modules():
        if isinstance(layer, nn.MaxPool2d) and layer.padding in (0, (0, 0)):
            layer.ceil_mode = True
    return module


def without_gradients(module: nn.Module, device: str | torch.device) -> nn.Module:
    """Return a module ready to be run in parts: in evaluation mode, nothing in place, channels last."""
    for layer in module.modules():
        if hasattr(layer, "inplace"):
            layer.__dict__["inplace"] = False  # what one layer gives may be looked at by several
    return module.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
