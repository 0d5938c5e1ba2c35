"""What a convolutional network does to the size of a picture, read from its graph."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from stimuli.files import unknown_name_message

_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh),
)
_PASSIVE = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d)
_ACTIVATION_FUNCTIONS = (F.relu, torch.relu, F.relu6, F.gelu, F.silu, F.hardswish, F.leaky_relu)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_HEADS = ("classifier", "head", "fc", "aux")


class _Tracer(fx.Tracer):
    """Notes which node is the output of which module, and how often each module is called."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, fx.Node] = {}
        self.calls: Counter[str] = Counter()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.Conv2d | nn.BatchNorm2d) or not any(True for _ in m.children())
        return whole or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m)
        self.calls[path] += 1
        if isinstance(output, fx.Proxy):
            self.outputs[path] = output.node
        return output


class LayerGraph:
    """The graph of a network: its operations in order, their modules and their strides.

    Parameters
    ----------
    module : nn.Module
        A network whose forward takes one picture and does not depend on what is in it.

    Attributes
    ----------
    nodes : list of fx.Node
        All operations, in the order in which they run.
    strides : dict
        Pixels of the picture between neighbouring places of each operation's map; pools over whole maps do not count.

    Raises
    ------
    ValueError
        The forward cannot be read as a graph, or has steps of different length along rows and columns.
    """

    def __init__(self, module: nn.Module) -> None:
        tracer = _Tracer()
        try:
            graph = tracer.trace(module)
        except Exception as error:
            raise ValueError(
                f"the forward of {type(module).__name__} cannot be read as a graph ({error}); eccentricity needs a "
                "convolutional network without branches on its input's values: wrap its trunk in nn.Sequential"
            ) from error
        self.nodes = [node for node in graph.nodes if node.op != "output"]
        self._graph = graph  # nodes live as long as their graph
        self._root, self._modules = module, dict(module.named_modules())
        self._outputs = {path: node for path, node in tracer.outputs.items() if tracer.calls[path] == 1}
        self._calls = tracer.calls
        self.strides: dict[fx.Node, int] = {}
        for node in self.nodes:
            before = max((self.strides[each] for each in node.all_input_nodes), default=1)
            self.strides[node] = before * step(self.module_of(node))

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """Return the module that an operation calls, if it calls one."""
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def attribute(self, path: str) -> Any:
        """Return a parameter or buffer that the forward itself reads."""
        return operator.attrgetter(path)(self._root)

    def append(self, node: fx.Node, name: str, module: nn.Module) -> fx.Node:
        """Let a module of one's own follow an operation, beside what followed it, and return its operation."""
        self._modules[name] = module
        self.nodes.append(self._graph.call_module(name, (node,)))
        self.strides[self.nodes[-1]] = self.strides[node] * step(module)
        return self.nodes[-1]

    def node_of(self, path: str) -> fx.Node:
        """Return the operation whose result is the output of a module.

        Raises
        ------
        KeyError
            The module is unknown, or is called several times or never.
        """
        if path not in self._outputs:
            called = "a module that is called exactly once gives one map"
            raise KeyError(unknown_name_message("layer", path, self._outputs, called))
        return self._outputs[path]

    def path_of(self, node: fx.Node) -> str | None:
        """Return the module, called once, whose output an operation is: the innermost one."""
        found = [path for path, output in self._outputs.items() if output is node and path]
        return max(found, key=lambda path: path.count("."), default=None)

    def is_called_once(self, node: fx.Node) -> bool:
        """Return whether no other operation calls the same module."""
        return self._calls[str(node.target)] == 1

    def is_activation(self, node: fx.Node) -> bool:
        """Return whether an operation is a nonlinearity, place by place."""
        if node.op == "call_function":
            return node.target in _ACTIVATION_FUNCTIONS
        module = self.module_of(node)
        inner = getattr(module, "act", None) if isinstance(module, nn.BatchNorm2d) else module
        return isinstance(inner, _ACTIVATIONS)

    def is_pointwise(self, node: fx.Node) -> bool:
        """Return whether each place of the result depends on the same place of one map only."""
        return self.is_activation(node) or isinstance(self.module_of(node), _PASSIVE)

    def is_rectified(self, node: fx.Node) -> bool:
        """Return whether an operation is a nonlinearity, or joins the channels of several."""
        if node.op == "call_function" and node.target is torch.cat:
            return all(self.is_rectified(each) for each in node.all_input_nodes)
        if isinstance(self.module_of(node), nn.Identity | nn.Dropout | nn.Dropout2d):
            return all(self.is_rectified(each) for each in node.all_input_nodes)
        return self.is_activation(node)

    def last_layers(self) -> dict[int, str]:
        """Return the last rectified layer of the trunk at each stride: where it has none, the last layer."""
        last: dict[int, str] = {}
        rectified: dict[int, str] = {}
        for node in self.nodes:
            path = self.path_of(node)
            module = self.module_of(node)
            if path is None or path.startswith(_HEADS) or isinstance(module, (*POOLS, nn.AdaptiveAvgPool2d)):
                continue
            last[self.strides[node]] = path
            if self.is_rectified(node):
                rectified[self.strides[node]] = path
        return {stride: rectified.get(stride, path) for stride, path in sorted(last.items())}

    def needed_for(self, wanted: Iterable[fx.Node]) -> list[fx.Node]:
        """Return the operations that some depend on, and these, in order."""
        needed = set(wanted)
        for node in reversed(self.nodes):
            if node in needed:
                needed.update(node.all_input_nodes)
        return [node for node in self.nodes if node in needed]

    def first_common(self, sources: Iterable[fx.Node]) -> fx.Node | None:
        """Return the first operation that depends on all of some."""
        descend = [self._descendants(source) for source in sources]
        return next((node for node in self.nodes if all(node in each for each in descend)), None)

    def _descendants(self, source: fx.Node) -> set[fx.Node]:
        found = {source}
        for node in self.nodes:
            if any(each in found for each in node.all_input_nodes):
                found.add(node)
        return found


def step(module: nn.Module | None) -> int:
    """Return the stride of a module: 1 where it has none.

    Raises
    ------
    ValueError
        It differs between rows and columns.
    """
    stride = getattr(module, "stride", 1)
    pair = stride if isinstance(stride, tuple) else (stride, stride)
    if len(pair) == 2 and pair[0] != pair[1]:
        raise ValueError(
            f"{type(module).__name__} has stride {pair} (rows, columns); equal strides are needed"
        )
    return int(pair[0])
