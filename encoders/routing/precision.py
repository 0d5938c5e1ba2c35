"""Types of numbers under autocast."""

import torch
from torch import Tensor


def working_dtype(tokens: Tensor) -> torch.dtype:
    """Return the type that products with these tokens have: that of autocast where it is on."""
    kind = tokens.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tokens.dtype
