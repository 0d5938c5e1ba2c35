"""Parameters of encoders as text that is equal where they are equal."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stimuli.files import hash_array


def describe_parameters(encoder: Any) -> str:
    """Write the parameters of an encoder, one a line."""
    return "\n".join(
        f"{name}={describe_value(value)}" for name, value in sorted(encoder.get_params().items())
    )


def describe_value(value: Any) -> str:
    """Write a parameter so that equal text means an equal parameter: repr shortens long arrays."""
    if isinstance(value, np.ndarray):
        return hash_array(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(describe_value, value))})"
    if isinstance(value, Mapping):
        return f"mapping({', '.join(f'{key!r}: {describe_value(item)}' for key, item in value.items())})"
    return repr(value)
