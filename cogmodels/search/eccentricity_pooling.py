"""Average pools whose windows grow with the distance from the gaze, as receptive fields do."""

import copy
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, fx, nn

from cogmodels.search.layer_graph import POOLS, LayerGraph, step
from cogmodels.search.pool_windows import PoolWindows, pool_places, ring_windows

# Degrees by which windows grow for each degree beyond the fovea, at the five pools of VGG16: Gupta et al. (2021) chose
# them so that receptive fields grow as in V1, V2, V4 and IT of macaques.
PUBLISHED_SLOPES = (0.0, 0.0, 3.5 * 0.02, 8 * 0.02, 16 * 0.02)


class EccentricityPool2d(nn.Module):
    """Average pooling over windows that grow with the distance from the centre of the map, where the gaze is.

    It takes the place of a pool in any network. Maps that are not square are padded with zeros to squares, as
    published.

    Parameters
    ----------
    px_per_degree : float
        Pixels of the pooled map in a degree; rounded to whole pixels.
    slope : float
        Degrees by which windows grow for each degree beyond the fovea.
    fovea_radius_deg : float
        Within it, windows have their smallest size.
    ring_width_deg : float
        Windows grow in rings of this width.
    min_window_px, stride : int
        Smallest window, and distance between windows, in pixels of the pooled map.

    Raises
    ------
    ValueError
        A value is not allowed.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe & Kreiman (2021). Visual search asymmetry: deep nets and humans share similar inherent
    biases. NeurIPS.
    """

    def __init__(
        self,
        px_per_degree: float,
        slope: float,
        *,
        fovea_radius_deg: float = 4.0,
        ring_width_deg: float = 1.0,
        min_window_px: int = 2,
        stride: int = 2,
    ) -> None:
        super().__init__()
        for name, value, above in (
            ("px_per_degree", px_per_degree, True),
            ("slope", slope, False),
            ("fovea_radius_deg", fovea_radius_deg, False),
            ("ring_width_deg", ring_width_deg, True),
        ):
            if not np.isfinite(value) or value < 0 or (above and value == 0):
                raise ValueError(
                    f"{name} is {value!r}; it must be a finite number {'above' if above else 'from'} 0"
                )
        for name, whole in (("min_window_px", min_window_px), ("stride", stride)):
            if isinstance(whole, bool) or int(whole) != whole or whole < 1:
                raise ValueError(f"{name} is {whole!r}; it must be a whole number from 1")
        self.px_per_degree, self.slope = float(px_per_degree), float(slope)
        self.fovea_radius_deg, self.ring_width_deg = float(fovea_radius_deg), float(ring_width_deg)
        self.min_window_px, self.stride = int(min_window_px), int(stride)
        self._windows: dict[int, PoolWindows] = {}

    def windows(self, side: int) -> PoolWindows:
        """Return the windows of a square map of this side."""
        if side not in self._windows:
            self._windows[side] = ring_windows(
                side,
                px_per_degree=self.px_per_degree,
                slope=self.slope,
                fovea_radius_deg=self.fovea_radius_deg,
                ring_width_deg=self.ring_width_deg,
                min_window_px=self.min_window_px,
                stride=self.stride,
            )
        return self._windows[side]

    def forward(self, x: Tensor) -> Tensor:
        """Return the averages (..., n_channels, side_out, side_out) of maps (..., n_channels, row, column)."""
        n_rows, n_columns = x.shape[-2:]
        side = max(n_rows, n_columns)
        if n_rows != n_columns:
            before = [(side - length) // 2 for length in (n_columns, n_rows)]
            x = F.pad(x, (before[0], side - n_columns - before[0], before[1], side - n_rows - before[1]))
        windows = self.windows(side)
        everywhere = slice(0, len(windows.sizes))
        maps = x if x.ndim == 4 else x.reshape(-1, *x.shape[-3:])
        pooled = pool_places(maps, windows, everywhere, everywhere)
        return pooled if x.ndim == 4 else pooled.reshape(*x.shape[:-2], *pooled.shape[-2:])

    def extra_repr(self) -> str:
        """Return the settings for the printed network."""
        return (
            f"px_per_degree={self.px_per_degree:g}, slope={self.slope:g}, fovea_radius_deg={self.fovea_radius_deg:g}, "
            f"ring_width_deg={self.ring_width_deg:g}, min_window_px={self.min_window_px}, stride={self.stride}"
        )


def replace_pooling(
    module: nn.Module,
    *,
    px_per_degree: float = 30.0,
    slopes: Sequence[float] = PUBLISHED_SLOPES,
    fovea_radius_deg: float = 4.0,
    ring_width_deg: float = 1.0,
) -> nn.Module:
    """Return a copy of a network that sees less and less detail away from the centre of its picture.

    The k-th halving of the map gets the k-th slope. A max or average pool becomes an `EccentricityPool2d` of the same
    stride, whose smallest window is its stride. Where a strided convolution halves the map, its weights stay as they
    are and a pool of stride 1 follows the next nonlinearity (where branches are halved side by side, the nonlinearity
    behind their sum): its windows are 1 in the fovea, which changes nothing there, and grow beyond by the same degrees.
    A slope of 0 needs no such pool, and halvings for which there is no slope stay as they are. Weights are the same
    numbers in the copy; a module with a pool behind it becomes ``nn.Sequential(layer, eccentricity_pool)`` in its
    place.

    Parameters
    ----------
    module : nn.Module
        A convolutional network whose forward can be read as a graph.
    px_per_degree : float
        Pixels of the picture in a degree of visual angle.
    slopes : sequence of float
        Degrees by which windows grow for each degree beyond the fovea, one for each halving.
    fovea_radius_deg, ring_width_deg : float

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        The network cannot be read as a graph, never halves its map, calls one pool several times, or has a step that
        does not halve.
    """
    replaced = copy.deepcopy(module)
    graph = LayerGraph(replaced)
    rings = {"fovea_radius_deg": fovea_radius_deg, "ring_width_deg": ring_width_deg}
    convolutions: dict[int, list[fx.Node]] = {}
    n_found = 0
    for node in graph.nodes:
        layer = graph.module_of(node)
        stride = step(layer)
        if stride == 1:
            continue
        n_found += 1
        stride_before = graph.strides[node] // stride
        depth = graph.strides[node].bit_length() - 1
        if stride & (stride - 1):
            raise ValueError(f"{node.target} has stride {stride}; only steps that halve the map have a depth")
        if depth > len(slopes):
            continue
        if isinstance(layer, POOLS):
            if not graph.is_called_once(node):
                raise ValueError(
                    f"the pool {str(node.target)!r} is called several times: give each depth a pool of its own"
                )
            pool = EccentricityPool2d(
                *(px_per_degree / stride_before, slopes[depth - 1]),
                **rings,
                min_window_px=stride,
                stride=stride,
            )
            _set_submodule(replaced, str(node.target), pool)
        elif slopes[depth - 1] > 0:
            convolutions.setdefault(depth, []).append(node)
    if not n_found:
        raise ValueError(
            f"{type(module).__name__} has neither pools nor strided convolutions: nothing to replace"
        )
    for depth, nodes in convolutions.items():
        path = _end_of_step(graph, nodes)
        pool = EccentricityPool2d(
            px_per_degree / 2**depth, slopes[depth - 1], **rings, min_window_px=1, stride=1
        )
        layers = {"layer": replaced.get_submodule(path), "eccentricity_pool": pool}
        wrapped = nn.Sequential()
        for name, layer in layers.items():
            wrapped.add_module(name, layer)
        _set_submodule(replaced, path, wrapped.train(replaced.training))
    return replaced


def _end_of_step(graph: LayerGraph, nodes: list[fx.Node]) -> str:
    """Return the module behind which the maps of strided convolutions, side by side or alone, may be pooled."""
    node = nodes[0] if len(nodes) == 1 else graph.first_common(nodes)
    path = None
    while node is not None:
        path = graph.path_of(node) or path
        users = list(node.users)
        follows = len(users) == 1 and graph.is_pointwise(users[0])
        node = users[0] if follows and not graph.is_activation(node) else None
    if path is None:
        raise ValueError(
            f"the branches that {nodes[0].target} begins do not end in a module that is called once: give their end a "
            "module of its own"
        )
    return path


def _set_submodule(module: nn.Module, path: str, new: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, new)
