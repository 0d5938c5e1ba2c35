"""First weights of routing networks, drawn from a generator that is handed in."""

import torch
from torch import nn
from torch.nn.utils import skip_init


def make_linear(n_in: int, n_out: int, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    """Return a linear layer with Xavier-uniform weights (Glorot and Bengio 2010) and a bias of zero.

    `torch.nn.Linear` draws its first weights from the generator of the whole process, which would tie together
    networks that are made in parallel threads.
    """
    layer = skip_init(nn.Linear, n_in, n_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def uniform_parameter(*shape: int, bound: float, generator: torch.Generator) -> nn.Parameter:
    """Return a parameter drawn evenly from -bound to bound."""
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))
