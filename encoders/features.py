"""What a network answered, layer by layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stimuli.files import unknown_name_message


@dataclass(frozen=True, eq=False)
class Features(Mapping[str, Any]):
    """The outputs of named layers for a set of stimuli: ``features[layer]`` is (n_stimuli, ...) float32.

    Parameters
    ----------
    arrays
        One array an output: numpy arrays, or zarr arrays that read from the store when sliced.
    dims
        The axes of each array: ``("stimulus", "channel")``, ``("stimulus", "token", "channel")`` or
        ``("stimulus", "channel", "row", "column")``.
    stimulus_ids
        (n_stimuli,) str.
    token_masks
        For outputs with padded tokens, (n_stimuli, n_tokens) bool: True at tokens. Elsewhere the array is
        NaN.
    provenance
        Backbone, fingerprint, stimuli, reductions and precision, as JSON values.
    """

    arrays: dict[str, Any]
    dims: dict[str, tuple[str, ...]]
    stimulus_ids: np.ndarray
    token_masks: dict[str, np.ndarray] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> Any:
        if layer not in self.arrays:
            raise KeyError(unknown_name_message("layer", layer, self.arrays))
        return self.arrays[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{layer}: {tuple(array.shape)}" for layer, array in self.arrays.items())
        return f"Features({shapes})"

    def matrix(self, layer: str) -> np.ndarray:
        """Return one row a stimulus, (n_stimuli, n_features) float32, in memory; padding counts as zero.

        Raises
        ------
        KeyError
            There is no such layer; the message lists near matches.
        """
        values = np.asarray(self[layer][:], dtype=np.float32)
        if layer in self.token_masks:
            values = np.where(self.token_masks[layer][:, :, None], values, np.float32(0))
        return values.reshape(len(values), -1)
