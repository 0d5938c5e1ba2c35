"""Dropout that draws from a generator of its own, so that threads and resumed runs give the same bits."""

import numpy as np
import torch
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose masks come from a generator that is handed in.

    `torch.nn.Dropout` draws from one generator for the whole process: fits in parallel threads would change one
    another, and a resumed run would have to wind that generator back.

    Parameters
    ----------
    p : float
        Share of entries set to zero while training; the others are divided by 1 - p.

    Attributes
    ----------
    generator : torch.Generator or None
        Set by `set_generator`; training with p > 0 needs one.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}; it must be at least 0 and less than 1")
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x with entries dropped while training, x itself otherwise."""
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise RuntimeError(
                "dropout has no generator: call training.seeding.set_generator(module, generator)"
            )
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.div_(1 - self.p)

    def extra_repr(self) -> str:
        """Show p where the module is printed."""
        return f"p={self.p}"


def set_generator(module: nn.Module, generator: torch.Generator) -> None:
    """Let every `SeededDropout` in a module draw from one generator, which must be on their device."""
    for part in module.modules():
        if isinstance(part, SeededDropout):
            part.generator = generator


def make_generator(seed: int, *stream: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator for one purpose: other streams of the same seed are independent of it."""
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)  # torch takes 63 bits
