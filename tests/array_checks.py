"""What the tests check of each call into the numerical core: that arrays have the shapes their annotations name."""

from collections.abc import Callable
from inspect import isclass
from typing import Any, get_args

import beartype
from jaxtyping import AbstractArray

# The numerical core, where an array of the wrong shape can broadcast into a wrong number without an error.
CHECKED_MODULES = (
    "analyses.metrics.normalization",
    "analyses.metrics.rsa",
    "analyses.metrics.scanpath.alignment",
    "analyses.noise_ceiling",
    "analyses.statistics.nulls",
    "analyses.statistics.refit",
    "analyses.statistics.repeatability",
    "encoders.scores",
    "encoders.solvers.banded",
    "encoders.solvers.banded_draws",
    "encoders.solvers.banded_forms",
    "encoders.solvers.banded_gradient",
    "encoders.solvers.blocks",
    "encoders.solvers.conjugate_gradients",
    "encoders.solvers.forms",
    "encoders.solvers.ridge",
    "encoders.solvers.search",
    "encoders.time_series",
)


def check_arrays(function: Callable) -> Callable:
    """Let beartype check the arrays that a function takes and returns, and nothing else.

    Words, numbers and array-likes are left to the function: its own error messages are tested with wrong ones.
    """
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if _names_a_shape(hint)}
    return beartype.beartype(function)


def _names_a_shape(hint: Any) -> bool:
    if isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return any(_names_a_shape(part) for part in get_args(hint))
