"""Many queries a few at a time, in memory that does not grow with their number."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoders.training.seeding import SeededDropout


def recompute_in_backward(module: nn.Module, function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Return ``function(*arguments)`` without keeping what lies between: the backward pass computes it again.

    Dropout then drops what it dropped the first time: its generator is wound back, and forward again afterwards.
    """
    generators = {
        id(part.generator): part.generator
        for part in module.modules()
        if isinstance(part, SeededDropout) and part.generator is not None
    }
    at_start = [(generator, generator.get_state()) for generator in generators.values()]

    @contextmanager
    def as_at_start() -> Iterator[None]:
        now = [generator.get_state() for generator, _ in at_start]
        for generator, state in at_start:
            generator.set_state(state)
        try:
            yield
        finally:
            for (generator, _), state in zip(at_start, now, strict=True):
                generator.set_state(state)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), as_at_start()

    return checkpoint(
        function, *arguments, use_reentrant=False, context_fn=contexts, preserve_rng_state=False
    )


def chunk_slices(n: int, size: int) -> list[slice]:
    """Return slices of at most `size` that cover n, as equal as can be."""
    n_chunks = -(-n // size)
    edges = torch.linspace(0, n, n_chunks + 1, dtype=torch.float64).round().long().tolist()
    return [slice(first, last) for first, last in pairwise(edges)]
