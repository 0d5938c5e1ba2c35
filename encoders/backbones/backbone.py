"""What every network offers, whoever made it: a module, preprocessing, named layers and a fingerprint."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from encoders.backbones.fingerprint import combine_hashes, hash_architecture, hash_tensors, tensor_state
from stimuli.files import unknown_name_message
from stimuli.stimulus_set import StimulusSet

Modality = Literal["image", "text"]


@runtime_checkable
class Preprocess(Protocol):
    """What turns stimuli into the keyword arguments of a network."""

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> Mapping[str, Tensor]:
        """Return one batch: the tensors that ``module(**batch)`` takes, stimuli along the first axis."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return everything that changes the batch, as plain JSON values."""
        ...


@dataclass(frozen=True)
class Backbone:
    """A network in evaluation mode with what is needed to ask it about stimuli.

    Parameters
    ----------
    name
        How the network was asked for, e.g. ``"torchvision/resnet50"``.
    module
        The network, in evaluation mode.
    preprocess
        Turns stimuli into the keyword arguments of `module`.
    modality
        ``"image"`` or ``"text"``: which medium of a stimulus the network takes.
    default_layers
        Dotted names of the layers that are read when none are named.
    source
        Where the weights came from, in words.
    """

    name: str
    module: nn.Module
    preprocess: Preprocess
    modality: Modality
    default_layers: tuple[str, ...]
    source: str
    _tensor_hash: dict[Any, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def layer_names(self) -> list[str]:
        """Return the dotted names of all modules below the root, in the order of definition."""
        return [name for name, _ in self.module.named_modules() if name]

    def check_layers(self, names: Iterable[str]) -> None:
        """Refuse names that are no layers.

        Raises
        ------
        KeyError
            A name is unknown; the message lists the near matches.
        """
        if isinstance(names, str):
            raise TypeError(f"layers must be a list of names, got the string {names!r}; write [{names!r}]")
        known = self.layer_names()
        for name in sorted(set(names).difference(known)):
            hint = f"layer_names() of {self.name} lists them all"
            raise KeyError(unknown_name_message("layer", name, known, hint))

    @property
    def fingerprint(self) -> str:
        """The sha256 over architecture, weights and preprocessing, as 64 hexadecimal digits.

        It follows what is done to the module later. The weights, which take most of the time, are hashed once
        and again when a tensor was replaced or changed in place; changes through ``tensor.data`` are
        not seen.
        """
        state = tensor_state(self.module)
        if state not in self._tensor_hash:
            self._tensor_hash.clear()
            self._tensor_hash[state] = hash_tensors(self.module)
        architecture = hash_architecture(self.module)
        return combine_hashes(architecture, self._tensor_hash[state], self.preprocess.describe())

    def describe(self) -> dict[str, Any]:
        """Return what belongs into the provenance of a result, as plain JSON values."""
        kind = type(self.module)
        return {
            "name": self.name,
            "modality": self.modality,
            "architecture": f"{kind.__module__}.{kind.__qualname__}",
            "n_parameters": sum(parameter.numel() for parameter in self.module.parameters()),
            "source": self.source,
            "preprocess": self.preprocess.describe(),
            "default_layers": list(self.default_layers),
            "fingerprint": self.fingerprint,
        }
