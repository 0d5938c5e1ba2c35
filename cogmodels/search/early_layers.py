"""The first layers of a network over a display: they move with the picture, so they are computed once, and in parts."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, fx

from cogmodels.search.layer_graph import LayerGraph
from cogmodels.search.regions import Region, Span, apply_layer

Placed = tuple[Region, Tensor]
Way = tuple[int, int]

_COARSE_PX = 8
_MAX_BOXES = 64
_MAX_WAYS = 4


@dataclass
class DisplayMaps:
    """A picture, and what the early layers make of it for each way in which their grid may fall on it.

    Parameters
    ----------
    picture : Tensor (1, 3, n_rows, n_columns)
        As the network takes it.
    boxes : list of Region
        Together they hold every pixel that is not background.
    maps : dict
        By way: where on the window the map of each operation lies, and the map.
    stale : dict
        By way: the boxes in which the picture changed since its maps were computed.
    """

    picture: Tensor
    boxes: list[Region]
    maps: dict[Way, dict[fx.Node, Placed]] = field(default_factory=dict)
    stale: dict[Way, list[Region]] = field(default_factory=dict)

    def changed_to(self, other: "DisplayMaps", box: Region) -> "DisplayMaps":
        """Return another picture, different within a box alone, with what is known from this one."""
        stale = {way: [*self.stale.get(way, []), box] for way in self.maps}
        return DisplayMaps(other.picture, other.boxes, dict(self.maps), stale)


class EarlyLayers:
    """Layers that see only a neighbourhood, the same everywhere, of each place.

    Parameters
    ----------
    graph : LayerGraph
    nodes : sequence of fx.Node
        The operations in order, from the picture on.
    cut : sequence of fx.Node
        Those whose maps are wanted.
    spans, sides : dict
        What the operations see, and the sides of their maps in the window.
    background : Tensor (3,)
    plain : dict
        For each of `cut` what it gives far inside a plain window, (1, n_channels, 1, 1).

    Attributes
    ----------
    grid : int
        Moving the picture by multiples of it moves all maps by whole places.
    margin_px : int
        By so much the part of a picture is longer that is needed where a box of it changed.
    """

    def __init__(
        self,
        graph: LayerGraph,
        nodes: Sequence[fx.Node],
        cut: Sequence[fx.Node],
        spans: dict[fx.Node, Span],
        sides: dict[fx.Node, int],
        background: Tensor,
        plain: dict[fx.Node, Tensor],
    ) -> None:
        self._graph, self._nodes, self._cut = graph, list(nodes), list(cut)
        self._spans, self._sides, self._plain = spans, sides, plain
        self._background = background
        self.grid = max(graph.strides[node] for node in cut)
        box = Region(0, self.grid, 0, self.grid)
        self.margin_px = self._needed(self._reached(box))[self._nodes[0]].shape[0] - self.grid

    def maps(self, display: DisplayMaps, top: int, left: int) -> dict[fx.Node, Placed] | None:
        """Return the maps of a display whose corner lies at a place of the window, where they differ from plain ones.

        None where the window is too narrow to compute them as if it had no edges.
        """
        way = (top % self.grid, left % self.grid)
        # The same place on the grid, but in the middle of the window, far from its edges.
        side = self._sides[self._nodes[0]]
        row, column = (
            (side - length) // 2 // self.grid * self.grid + at
            for length, at in zip(display.picture.shape[2:], way, strict=True)
        )
        if way not in display.maps:
            maps, boxes = self._plain_maps(display, row, column), display.boxes
        else:
            maps, boxes = display.maps[way], display.stale.get(way, [])
        if boxes:
            updated = {node: (region, value.clone()) for node, (region, value) in maps.items()}
            if not all(self._update(updated, display.picture, row, column, box) for box in boxes):
                return None
            maps = updated
        display.maps.pop(way, None)
        display.maps[way] = maps  # the latest last
        display.stale[way] = []
        while len(display.maps) > _MAX_WAYS:
            del display.maps[next(iter(display.maps))]
        if not display.boxes:
            return {}
        hull = display.boxes[0]
        for box in display.boxes:
            hull = hull.hull(box)
        reached = self._reached(hull.shifted(row, column))
        placed = {}
        for node, (region, value) in maps.items():
            rows, columns = (
                (to - at) // self._graph.strides[node] for to, at in ((top, row), (left, column))
            )
            placed[node] = (
                reached[node].shifted(rows, columns),
                value[(..., *reached[node].slices(region))],
            )
        return placed

    def _plain_maps(self, display: DisplayMaps, row: int, column: int) -> dict[fx.Node, Placed]:
        n_rows, n_columns = display.picture.shape[2:]
        reached = self._reached(Region(row, row + n_rows, column, column + n_columns))
        return {
            node: (reached[node], self._plain[node].expand(-1, -1, *reached[node].shape))
            for node in self._cut
        }

    def _reached(self, changed: Region) -> dict[fx.Node, Region]:
        """Return the places of each operation that see anything of a region of the window."""
        regions: dict[fx.Node, Region] = {}
        for node in self._nodes:
            sources = node.all_input_nodes
            region = changed
            for at, each in enumerate(sources):
                region = regions[each] if at == 0 else region.hull(regions[each])
            regions[node] = self._spans[node].reached(region) if node in self._spans else region
        return regions

    def _needed(self, reached: dict[fx.Node, Region]) -> dict[fx.Node, Region]:
        """Return the places of each operation that are seen where the cut is reached."""
        needed: dict[fx.Node, Region] = {}
        for node in reversed(self._nodes):
            if node in self._plain:
                needed[node] = reached[node].hull(needed.get(node))
            if node not in needed:
                continue
            seen = self._spans[node].seen(needed[node]) if node in self._spans else needed[node]
            for each in node.all_input_nodes:
                needed[each] = seen.hull(needed.get(each))
        return needed

    def _update(
        self, maps: dict[fx.Node, Placed], picture: Tensor, row: int, column: int, box: Region
    ) -> bool:
        """Compute the maps anew where they see a box of the picture; return whether the window is wide enough."""
        reached = self._reached(box.shifted(row, column))
        needed = self._needed(reached)
        if any(region != region.within(self._sides[node]) for node, region in needed.items()):
            return False
        values: dict[fx.Node, Tensor] = {}
        uses = Counter(each for node in self._nodes for each in node.all_input_nodes)
        for node in self._nodes:
            if node.op == "placeholder":
                values[node] = crop(picture, self._background, needed[node].shifted(-row, -column))
            else:
                values[node] = evaluate(
                    node,
                    self._graph,
                    self._spans.get(node),
                    self._sides,
                    needed[node],
                    lambda source, region: values[source][(..., *region.slices(needed[source]))],
                )
            if node in maps:
                region, value = maps[node]
                value[(..., *reached[node].slices(region))] = values[node][
                    (..., *reached[node].slices(needed[node]))
                ]
            for each in node.all_input_nodes:
                uses[each] -= 1
                if not uses[each]:
                    del values[each]
        return True


def crop(picture: Tensor, background: Tensor, region: Region) -> Tensor:
    """Return a region of a picture (1, 3, n_rows, n_columns), background where it reaches beyond."""
    part = background.view(1, 3, 1, 1).expand(1, 3, *region.shape).clone(memory_format=torch.channels_last)
    n_rows, n_columns = picture.shape[2:]
    inside = region.intersection(Region(0, n_rows, 0, n_columns))
    if min(inside.shape) > 0:
        part[(..., *inside.slices(region))] = picture[(..., *inside.slices())]
    return part


def evaluate(
    node: fx.Node,
    graph: LayerGraph,
    span: Span | None,
    sides: dict[fx.Node, int],
    places: Region,
    read: Callable[[fx.Node, Region], Tensor],
) -> Tensor:
    """Return the result of an operation at some places; `read` gives a region of another operation's result."""
    if span is None:
        return call(node, graph, lambda each: read(each, places))
    module = graph.module_of(node)
    assert module is not None
    source = node.all_input_nodes[0]
    return apply_layer(module, span, sides[source], places, lambda region: read(source, region))


def call(node: fx.Node, graph: LayerGraph, value: Callable[[fx.Node], Tensor]) -> Tensor:
    """Return the result of an operation whose inputs are given."""
    arguments, named = fx.node.map_arg(node.args, value), fx.node.map_arg(node.kwargs, value)
    if node.op == "call_module":
        module = graph.module_of(node)
        assert module is not None
        return module(*arguments, **named)
    if node.op == "call_method":
        return getattr(arguments[0], str(node.target))(*arguments[1:], **named)
    if node.op == "get_attr":
        return graph.attribute(str(node.target))
    assert callable(node.target)
    return node.target(*arguments, **named)


def boxes_of(differs: np.ndarray, margin_px: int = 80) -> list[Region]:
    """Return boxes that hold all places of a picture that differ from the background.

    Neighbours share a box where that costs less, each box being computed with a margin around it.

    Parameters
    ----------
    differs : ndarray of bool (n_rows, n_columns)
    margin_px : int
        By so much the part that is computed is longer than a box.
    """
    n_rows, n_columns = differs.shape
    padded = np.pad(differs, ((0, -n_rows % _COARSE_PX), (0, -n_columns % _COARSE_PX)))
    coarse = padded.reshape(padded.shape[0] // _COARSE_PX, _COARSE_PX, -1, _COARSE_PX).any((1, 3))
    labels, n_found = ndimage.label(coarse, np.ones((3, 3)))
    if n_found > _MAX_BOXES:
        labels = coarse.astype(int)
    boxes = [
        Region(
            *(rows.start * _COARSE_PX, min(rows.stop * _COARSE_PX, n_rows)),
            *(columns.start * _COARSE_PX, min(columns.stop * _COARSE_PX, n_columns)),
        )
        for rows, columns in ndimage.find_objects(labels)
    ]

    def cost(box: Region) -> int:
        return (box.shape[0] + margin_px) * (box.shape[1] + margin_px)

    while len(boxes) > 1:
        pairs = [(a, b) for a in range(len(boxes)) for b in range(a)]
        gains = [cost(boxes[a]) + cost(boxes[b]) - cost(boxes[a].hull(boxes[b])) for a, b in pairs]
        best = int(np.argmax(gains))
        if gains[best] < 0:
            break
        a, b = pairs[best]
        joined = boxes[a].hull(boxes[b])
        boxes = [box for at, box in enumerate(boxes) if at not in (a, b)] + [joined]
    return boxes
