"""Hooks on named layers that end the forward pass as soon as the last of them has answered."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from stimuli.files import unknown_name_message


@dataclasses.dataclass(frozen=True)
class TapPoint:
    """Which tensor of a pass: the layer, the how-manieth call of it, and the place in a composite output.

    `path` is empty for a layer that gives one tensor, otherwise ``"[0]"``, ``"[0][1]"``, ``"[key]"``.
    """

    layer: str
    call: int
    path: str

    @property
    def candidate_names(self) -> tuple[str, ...]:
        """Names by which a user may mean this tensor, the most specific first."""
        names = (f"{self.layer}#{self.call}{self.path}", f"{self.layer}{self.path}", self.layer)
        return tuple(dict.fromkeys(names))


Transform = Callable[[TapPoint, Tensor], Any]


class _EndOfPass(BaseException):
    """Ends a pass from inside a hook. Not an Exception, which a network might catch itself."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How often each layer is called in a pass, and the layer that answers last."""

    counts: dict[str, int]
    final_layer: str

    @property
    def stop_at(self) -> str | None:
        # A final layer inside a loop could be called once more than expected; only a whole pass would show
        # it.
        return self.final_layer if self.counts[self.final_layer] == 1 else None


class LayerTaps:
    """The layers of one module under observation; made by `tap_layers`. Call it as you would call the module.

    Calling it returns ``{name: tensor}``. A layer that was called more than once in a pass gives ``layer#0``,
    ``layer#1``, ... in the order of the calls. A tuple, list, mapping or dataclass gives ``layer[0]``,
    ``layer[1]``, ... or ``layer[key]`` for its floating-point tensors when there is more than one.
    """

    def __init__(self, module: nn.Module, names: Sequence[str], transform: Transform) -> None:
        self._module = module
        self._names = list(names)
        self._transform = transform
        self._plans: dict[Any, _Plan] = {}
        self._calls: list[str] = []
        self._captured: dict[TapPoint, Any] = {}
        self._stop_at: str | None = None
        self._active = False

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run one pass without gradients and return what the tapped layers gave, in the order of the names.

        Raises
        ------
        ValueError
            A wanted layer was never called, was called another number of times than in earlier passes, or
            gives no floating-point tensor.
        """
        # Loops in a network mostly depend on the shape of its input: the first pass of each shape runs to its
        # end to count the calls, later ones stop after the final layer.
        shapes = _shapes((args, kwargs))
        plan = self._plans.get(shapes)
        self._stop_at = plan.stop_at if plan else None
        self._calls, self._captured, self._active = [], {}, True
        try:
            with suppress(_EndOfPass), torch.no_grad(), _every_submodule_called():
                self._module(*args, **kwargs)
            counts = {name: Counter(self._calls)[name] for name in self._names}
            self._plans[shapes] = plan or self._make_plan(counts)
            if counts != (first := next(iter(self._plans.values()))).counts:
                name = next(name for name in self._names if counts[name] != first.counts[name])
                raise ValueError(
                    f"layer {name!r} was called {counts[name]} times in this pass and {first.counts[name]} "
                    f"times in the "
                    "first one, so its outputs do not line up across stimuli; give stimuli of one size or "
                    "length, "
                    "or name a layer outside the loop"
                )
            return self._named(counts)
        finally:
            self._captured, self._active = {}, False

    def _make_plan(self, counts: dict[str, int]) -> _Plan:
        if silent := [name for name, count in counts.items() if count == 0]:
            raise ValueError(
                f"layers {silent} were never called in the forward pass and have no output: a container that "
                f"is only "
                "indexed (ModuleList), a part whose weights a fused function takes (out_proj of "
                "MultiheadAttention), or a branch that is not used in evaluation; name the module around it"
            )
        return _Plan(counts, self._calls[-1])

    def _named(self, counts: dict[str, int]) -> dict[str, Any]:
        order = {name: position for position, name in enumerate(self._names)}
        points = sorted(self._captured, key=lambda point: (order[point.layer], point.call))
        return {
            f"{p.layer}{f'#{p.call}' if counts[p.layer] > 1 else ''}{p.path}": self._captured[p]
            for p in points
        }

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def capture(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not self._active:  # the module is used by itself inside the block
                return
            call = self._calls.count(name)
            self._calls.append(name)
            tensors = dict(_float_tensors(output))
            if not tensors:
                raise ValueError(
                    f"layer {name!r} gives {type(output).__name__} without a floating-point tensor; "
                    "name another layer"
                )
            for path, tensor in tensors.items():
                point = TapPoint(name, call, path if len(tensors) > 1 else "")
                self._captured[point] = self._transform(point, tensor)
            if name == self._stop_at:
                raise _EndOfPass

        return capture


@contextmanager
def tap_layers(
    module: nn.Module, names: Sequence[str], transform: Transform | None = None
) -> Iterator[LayerTaps]:
    """Observe layers of a network; the pass ends right after the last of them.

    Inside the block the module is in evaluation mode; afterwards the hooks are gone and each submodule is in
    its former mode. During each pass the fused path of ``nn.TransformerEncoder``, which goes past its inner
    layers, is switched off for the whole process.

    Parameters
    ----------
    module
        Any network.
    names
        Dotted names as in ``module.named_modules()``, each once.
    transform
        ``transform(point, tensor)`` is called inside the hook; what it returns is kept instead of the tensor.
        It must not return a view of it: later operations may write into it (``ReLU(inplace=True)``). Without
        it a copy of the tensor is kept.

    Yields
    ------
    LayerTaps
        Called like the module, gives ``{name: tensor}``.

    Raises
    ------
    KeyError
        A name is no module; the message lists near matches.
    ValueError
        No name was given, or one twice.

    Notes
    -----
    The first pass over inputs of one shape runs to its end to count calls. Later ones stop after the last layer if
    it was called once, and run to their end if it was called more often, so that another number of calls is
    seen even when values decide it.

    Examples
    --------
    >>> with tap_layers(network, ["layer2", "layer4"]) as taps:
    ...     maps = taps(images)["layer2"]
    """
    modules = _find_modules(module, names)
    taps = LayerTaps(module, names, transform or (lambda _point, tensor: tensor.detach().clone()))
    modes = [(part, part.training) for part in module.modules()]
    handles = []
    try:
        module.eval()
        for name, part in modules.items():
            handles.append(part.register_forward_hook(taps._hook(name)))
        yield taps
    finally:
        for handle in handles:
            handle.remove()
        for part, mode in modes:
            part.training = mode


def _find_modules(module: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    if isinstance(names, str):
        raise TypeError(f"names must be a list of layer names, got the string {names!r}; write [{names!r}]")
    known = {name: part for name, part in module.named_modules(remove_duplicate=False) if name}
    for name in names:
        if name not in known:
            raise KeyError(
                unknown_name_message("layer", name, known, "module.named_modules() lists them all")
            )
    if not names or len(set(names)) != len(names):
        raise ValueError(f"names must hold at least one layer and each only once, got {list(names)}")
    return {name: known[name] for name in names}


@contextmanager
def _every_submodule_called() -> Iterator[None]:
    """Switch off the fused attention path, which calls no submodule and so no hook."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _float_tensors(output: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Give each floating-point tensor of a layer's output with its place in it."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield path, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _float_tensors(value, f"{path}[{key}]")
    elif isinstance(output, tuple | list):
        for index, value in enumerate(output):
            yield from _float_tensors(value, f"{path}[{index}]")
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from _float_tensors(getattr(output, field.name), f"{path}[{field.name}]")


def _shapes(arguments: Any) -> Any:
    """Return the shapes of all tensors in the arguments without the first axis, which is the stimulus."""
    if isinstance(arguments, Tensor):
        return tuple(arguments.shape[1:])
    if isinstance(arguments, Mapping):
        return tuple((str(key), _shapes(value)) for key, value in arguments.items())
    if isinstance(arguments, tuple | list):
        return tuple(map(_shapes, arguments))
    return None
