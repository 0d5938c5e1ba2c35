"""Which layers are read when none are named."""

from torch import nn

_ACTIVATIONS = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Hardswish", "Tanh")
_PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Identity)


def choose_default_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the stages or blocks of a network, in order of definition.

    The trunk is the container (``nn.Sequential`` or ``nn.ModuleList``) with the most modules in it.
    Containers beside it that begin with the same class, such as layer1 to layer4 of a residual network, are
    the stages together with it; where it stands alone, its children are: blocks, pools, and of other
    elementary layers the activations that no pool follows. Without a container that holds a third of the
    network, the direct children are taken (auxiliary heads, dropout and identities left out).

    Parameters
    ----------
    module
        Any network.

    Returns
    -------
    tuple of str
        Dotted names; empty for a module without children.
    """
    containers = _containers(module)
    if containers:
        trunk = max(containers, key=lambda name: _size(containers[name]))
        while inner := _dominant_child(containers[trunk], trunk):
            inside = {name: each for name, each in containers.items() if f"{name}.".startswith(f"{inner}.")}
            if not inside:
                break
            trunk = max(inside, key=lambda name: _size(inside[name]))
        stages = _beside(trunk, containers)
        if sum(_size(containers[name]) for name in stages) * 3 >= _size(module):
            return (
                tuple(stages) if len(stages) > 1 else tuple(_informative_children(trunk, containers[trunk]))
            )
    children = [name for name, child in module.named_children() if not isinstance(child, _PASSIVE)]
    return tuple(name for name in children if not name.lower().startswith("aux"))


def _containers(module: nn.Module) -> dict[str, nn.Sequential | nn.ModuleList]:
    return {
        name: each
        for name, each in module.named_modules()
        if isinstance(each, nn.Sequential | nn.ModuleList) and len(each) > 1
    }


def _size(module: nn.Module) -> int:
    return sum(1 for _ in module.modules())


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _dominant_child(container: nn.Module, name: str) -> str | None:
    """Return the child that is nearly all of a container, as in ``nn.Sequential(normalise, network)``."""
    shares = {_join(name, key): _size(child) / _size(container) for key, child in container.named_children()}
    return next((key for key, share in shares.items() if share > 0.9), None)


def _beside(trunk: str, containers: dict[str, nn.Sequential | nn.ModuleList]) -> list[str]:
    """Return the trunk and the containers beside it whose first child is of the same class."""
    if not trunk:
        return [trunk]
    parent, first = trunk.rpartition(".")[0], type(containers[trunk][0])
    return [
        name
        for name, each in containers.items()
        if name and name.rpartition(".")[0] == parent and (name == trunk or type(each[0]) is first)
    ]


def _informative_children(name: str, container: nn.Sequential | nn.ModuleList) -> list[str]:
    children = list(container.named_children())
    following = [child for _, child in children[1:]] + [None]
    kept = [
        _join(name, key)
        for (key, child), after in zip(children, following, strict=True)
        if any(True for _ in child.children())
        or _is_pool(child)
        or (type(child).__name__ in _ACTIVATIONS and not _is_pool(after))
    ]
    return kept or [_join(name, key) for key, _ in children]


def _is_pool(module: nn.Module | None) -> bool:
    return "pool" in type(module).__name__.lower()
