"""A network over a window around the gaze, computed only where the window is not plain background.

Most of a window around the gaze is background, and most of what a network makes of a picture moves with it. So

- what the network makes of a plain window is computed once;
- the layers before the first pool that depends on the gaze are computed once for a display (and for each way in which
  their grid falls on it), and where an item was erased, in its neighbourhood only;
- the layers behind are computed for each gaze, where the picture reaches; beside it the plain window holds.

All of it equals the network run over the whole window, up to the order in which floating-point numbers are added.
"""

import operator
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from cogmodels.search.early_layers import DisplayMaps, EarlyLayers, Placed, boxes_of, call, crop, evaluate
from cogmodels.search.layer_graph import LayerGraph
from cogmodels.search.regions import Region, Span, span_of

_EARLY_STRIDE = 4
_SAME = 1e-5


class WindowNetwork:
    """Some layers of a network over square windows of one side, filled with one background.

    Parameters
    ----------
    graph : LayerGraph
    wanted : sequence of fx.Node
        The operations whose maps are asked for.
    side : int
        Of the window in pixels.
    background : Tensor (3,)
        As the network takes it.

    Attributes
    ----------
    in_parts : bool
        Whether all layers are of kinds that can be computed in parts; otherwise every look runs the whole window.
    """

    def __init__(self, graph: LayerGraph, wanted: Sequence[fx.Node], side: int, background: Tensor) -> None:
        self.side, self.background = side, background
        self._graph, self._wanted = graph, list(wanted)
        self._nodes = graph.needed_for(wanted)
        self._spans: dict[fx.Node, Span] = {}
        self._sides: dict[fx.Node, int] = {}
        self._plain: dict[fx.Node, Tensor] = {}
        self.in_parts = self._measure() and self._divide()

    def whole(self, window: Tensor) -> list[Tensor]:
        """Return the maps of a window (1, 3, side, side), every layer run over all of it."""
        return run_whole(self._graph, self._wanted, window)

    def window(self, picture: Tensor, top: int, left: int) -> Tensor:
        """Return the window with the upper left corner of a picture (1, 3, n_rows, n_columns) at a place of it."""
        return crop(picture, self.background, Region(-top, self.side - top, -left, self.side - left))

    def display(self, picture: Tensor) -> DisplayMaps:
        """Return a picture (1, 3, n_rows, n_columns) ready to be looked at."""
        differs = (picture != self.background.view(1, 3, 1, 1)).any(1)[0].cpu().numpy()
        return DisplayMaps(picture, boxes_of(differs, self._early.margin_px) if self.in_parts else [])

    def look(self, display: DisplayMaps, top: int, left: int) -> list[Tensor]:
        """Return the maps while the upper left corner of the display lies at a place of the window.

        Parameters
        ----------
        display : DisplayMaps
            What the early layers make of it is kept there.
        top, left : int

        Returns
        -------
        list of Tensor (1, n_channels, side_out, side_out)
            Equal to ``whole(window(display.picture, top, left))`` up to rounding.
        """
        with torch.inference_mode():
            values = self._early.maps(display, top, left) if self.in_parts else None
            if values is None or not all(
                self._is_clear_of_edges(node, region) for node, (region, _) in values.items()
            ):
                return self.whole(self.window(display.picture, top, left))
            if values:
                self._run_late(values)
            maps = []
            for node in self._wanted:
                maps.append(self._plain[node].clone())
                if values:
                    region, value = values[node]
                    maps[-1][(..., *region.slices())] = value
            return maps

    def cells(self, node: fx.Node) -> tuple[float, float]:
        """Return where the first place of a map begins on the window, and how long it is, in pixels.

        A place is as long as the distance to the next and lies in the middle of what it sees in the fovea. Where layers
        are of unknown kinds, places are taken to divide the window from its upper left corner on.
        """
        length = float(self._graph.strides[node])
        middle = length / 2
        if self.in_parts:
            middle = 0.5 + sum(self._shift(each) for each in self._path_to(node))
        return middle - length / 2, length

    def _path_to(self, node: fx.Node) -> list[fx.Node]:
        path = [node]
        while path[-1].all_input_nodes:
            path.append(path[-1].all_input_nodes[0])
        return path

    def _shift(self, node: fx.Node) -> float:
        """Return by how many pixels of the window the middle of what place 0 sees moves in an operation."""
        span = self._spans.get(node)
        if span is None:
            return 0.0
        source = node.all_input_nodes[0]
        return self._graph.strides[source] * ((span.kernel - 1) / 2 - span.before)

    def _run_late(self, values: dict[fx.Node, Placed]) -> None:
        def read(source: fx.Node, wanted: Region) -> Tensor:
            region, value = values[source]
            if wanted.hull(region) == region:
                return value[(..., *wanted.slices(region))]
            beside = self._plain[source][(..., *wanted.slices())].clone()
            shared = region.intersection(wanted)
            if min(shared.shape) > 0:
                beside[(..., *shared.slices(wanted))] = value[(..., *shared.slices(region))]
            return beside

        for node in self._late:
            changed, *others = (values[each][0] for each in node.all_input_nodes)
            for other in others:
                changed = changed.hull(other)
            span = self._spans.get(node)
            places = (span.reached(changed) if span else changed).within(self._sides[node])
            values[node] = places, evaluate(node, self._graph, span, self._sides, places, read)

    def _measure(self) -> bool:
        """Find what each layer sees; return whether all are of kinds known here."""
        for node in self._nodes:
            if node.op == "placeholder":
                self._sides[node] = self.side
                continue
            sides = {self._sides[each] for each in node.all_input_nodes}
            module = self._graph.module_of(node)
            span = span_of(module, min(sides)) if module is not None and sides else None
            if len(sides) != 1 or (span is None and not (self._graph.is_pointwise(node) or _joins(node))):
                return False
            if span is not None:
                self._spans[node] = span
            self._sides[node] = min(sides) if span is None else span.side_out
        return True

    def _divide(self) -> bool:
        """Tell early from late layers and keep what a plain window gives; return whether its inside is plain."""
        n_early = next((at for at, node in enumerate(self._nodes) if self._is_late(node)), len(self._nodes))
        early, self._late = self._nodes[:n_early], self._nodes[n_early:]
        late = set(self._late)
        cut = [node for node in early if node in self._wanted or any(user in late for user in node.users)]
        kept = {*cut, *self._wanted}
        for node in self._late:
            if node in self._spans or len(node.all_input_nodes) > 1:
                kept.update(node.all_input_nodes)
        window = crop(
            self.background.new_zeros(1, 3, 0, 0), self.background, Region(0, self.side, 0, self.side)
        )
        nodes = [node for node in self._nodes if node in kept]
        self._plain = dict(zip(nodes, run_whole(self._graph, nodes, window), strict=True))
        inside, self._edges = {}, {}
        for node in cut:
            middle = self._sides[node] // 2
            inside[node] = self._plain[node][:, :, middle : middle + 1, middle : middle + 1]
            self._edges[node] = edge_width(self._plain[node], inside[node])
        self._early = EarlyLayers(self._graph, early, cut, self._spans, self._sides, self.background, inside)
        return all(2 * edge < self._sides[node] for node, edge in self._edges.items())

    def _is_late(self, node: fx.Node) -> bool:
        span = self._spans.get(node)
        return self._graph.strides[node] > _EARLY_STRIDE or (span is not None and span.windows is not None)

    def _is_clear_of_edges(self, node: fx.Node, region: Region) -> bool:
        edge, side = self._edges[node], self._sides[node]
        return region.intersection(Region(edge, side - edge, edge, side - edge)) == region


def run_whole(graph: LayerGraph, wanted: Sequence[fx.Node], picture: Tensor) -> list[Tensor]:
    """Run a network over whole pictures (n, 3, n_rows, n_columns) and return the results of some operations.

    Results that are not wanted are forgotten after their last use.
    """
    nodes = graph.needed_for(wanted)
    uses = Counter(each for node in nodes for each in node.all_input_nodes)
    uses.update(wanted)
    values: dict[fx.Node, Tensor] = {}
    with torch.inference_mode():
        for node in nodes:
            values[node] = picture if node.op == "placeholder" else call(node, graph, values.__getitem__)
            for each in node.all_input_nodes:
                uses[each] -= 1
                if not uses[each]:
                    del values[each]
    return [values[node] for node in wanted]


def edge_width(plain: Tensor, inside: Tensor) -> int:
    """Return within how many places of the edge a map (1, n_channels, side, side) differs from what it is inside."""
    scale = inside.abs().max().clamp(min=torch.finfo(inside.dtype).tiny)
    differs = ((plain - inside).abs().amax(1)[0] > _SAME * scale).cpu()
    rows, columns = differs.nonzero(as_tuple=True)
    side = plain.shape[-1]
    distance = torch.stack([rows, side - 1 - rows, columns, side - 1 - columns]).amin(0)
    return int(distance.max()) + 1 if distance.numel() else 0


def _joins(node: fx.Node) -> bool:
    """Return whether an operation adds maps, or stacks their channels."""
    if node.op != "call_function":
        return False
    if node.target is torch.cat:
        return (node.kwargs.get("dim") if len(node.args) < 2 else node.args[1]) in (1, -3)
    return node.target in (operator.add, operator.iadd, torch.add)
