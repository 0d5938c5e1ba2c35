"""The network of a probe: a pooler, a batch norm and a linear head."""

import torch
from torch import Generator, Tensor, nn

from encoders.routing.initial import make_linear
from encoders.routing.pooler import BatchNorm, Pooler
from encoders.routing.poolers import find_pooler


class Probe(nn.Module):
    """A pooler, a batch norm without weights, and a linear head (Psomas et al. 2025).

    Parameters
    ----------
    pooler : str or type
        "ep", "mean", "cls", "abmilp", "aim", "simpool", "multihead", or a subclass of `Pooler`.
    n_channels, n_outputs : int
        Channels of a token; classes or voxels.
    n_queries, output_divisor, n_heads : int
        As in `Pooler`.
    generator : torch.Generator, optional
        Source of the first weights; None is one with seed 0.

    Raises
    ------
    ValueError
        As `find_pooler` and `Pooler.sizes`.
    """

    def __init__(
        self,
        pooler: str | type[Pooler],
        n_channels: int,
        n_outputs: int,
        *,
        n_queries: int = 32,
        output_divisor: int = 1,
        n_heads: int = 12,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0) if generator is None else generator
        self.pooler = find_pooler(pooler)(n_channels, n_queries, output_divisor, n_heads, source)
        self.norm = BatchNorm(self.pooler.n_pooled)
        # Small first weights, as of linear probes (He et al. 2022): from large ones the maps learn late, because what
        # they are told to attend to depends on a readout that is still random.
        self.head = make_linear(self.pooler.n_pooled, n_outputs, source)
        nn.init.normal_(self.head.weight, std=0.01, generator=source)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits or responses (n, n_outputs); arguments as in `Pooler.attention`."""
        return self.head(self.norm(self.pooler(tokens, mask)))


def count_parameters(
    pooler: str | type[Pooler],
    n_channels: int,
    n_outputs: int,
    *,
    n_queries: int = 32,
    output_divisor: int = 1,
    n_heads: int = 12,
) -> int:
    """Count the trained parameters of a probe, head included.

    For "ep", M D + D (D / d) + (D / d) C + C with M queries, D channels, output divisor d and C outputs.

    Parameters
    ----------
    pooler, n_channels, n_outputs, n_queries, output_divisor, n_heads
        As in `Probe`.

    Raises
    ------
    ValueError
        As `Probe`.

    Examples
    --------
    >>> count_parameters("ep", 768, 1000, n_queries=32)
    1383400
    >>> count_parameters("mean", 768, 1000)
    769000
    """
    kind = find_pooler(pooler)
    n_maps, n_pooled = kind.sizes(n_channels, n_queries, output_divisor, n_heads)
    value_weights = n_channels * n_pooled if kind.maps_values else 0
    return kind.count_map_weights(n_channels, n_maps) + value_weights + (n_pooled + 1) * n_outputs
