"""What layers give in a plain forward pass: one hook each, a copy of each output, nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def plain_layer_outputs(
    module: nn.Module, batch: Mapping[str, Tensor], layers: Sequence[str]
) -> dict[str, list[Any]]:
    """Return, for each layer, its outputs in the order of its calls."""
    outputs: dict[str, list[Any]] = {layer: [] for layer in layers}

    def keep(layer: str) -> Any:
        return lambda _module, _inputs, output: outputs[layer].append(_copied(output))

    handles = [module.get_submodule(layer).register_forward_hook(keep(layer)) for layer in layers]
    module.eval()
    with torch.no_grad():
        module(**batch)
    for handle in handles:
        handle.remove()
    return outputs


def _copied(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    return tuple(_copied(part) for part in output) if isinstance(output, tuple) else output
