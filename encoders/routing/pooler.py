"""What all poolers share: from the tokens of a frozen network to one vector a stimulus.

All poolers are instances of one scheme (Psomas et al. 2025, arXiv 2506.10178, section 3): M predictors give maps
a_j over the tokens X (n_tokens, n_channels) that sum to one, the tokens are averaged under each map, a linear map
W_Vj takes the j-th average to the j-th part of the output, and the parts stand side by side: y_j = W_Vj (X^T a_j).
Averaging comes first, because (W_Vj X^T) a_j would apply W_V to every token for the same result; for the same reason
no key is ever formed where the query is known, because q (W_K x) = (W_K^T q) x.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

NORM_EPS = 1e-6  # of all norms, as in the published probes
QUERY_STD = 0.02


class BatchNorm(nn.BatchNorm1d):
    """Batch norm without weights that takes a batch of one as it comes: by the running statistics.

    One row has no variance; the last batch of an epoch may be that small.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels, eps=NORM_EPS, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return rows (n, n_channels), normalised."""
        if self.training and len(input) < 2:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(input)


class Pooler(nn.Module, ABC):
    """One way to make a vector of tokens.

    Parameters
    ----------
    n_channels : int
        Channels of a token, D.
    n_queries : int
        Learned queries, of "ep".
    output_divisor : int
        The output has D / output_divisor channels, where the pooler maps values.
    n_heads : int
        Heads, of "aim" and "multihead"; each is one map.
    generator : torch.Generator
        Source of the first weights.

    Attributes
    ----------
    n_maps : int
        Attention maps, M.
    n_pooled : int
        Length of the output.
    """

    maps_argument: ClassVar[str | None] = None  # which argument sets the number of maps
    maps_values: ClassVar[bool] = False  # whether there is a W_V
    n_channels: int
    n_maps: int
    n_pooled: int

    def __init__(
        self, n_channels: int, n_queries: int, output_divisor: int, n_heads: int, generator: Generator
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.n_maps, self.n_pooled = self.sizes(n_channels, n_queries, output_divisor, n_heads)
        if self.maps_values:
            shape = (self.n_maps, self.n_pooled // self.n_maps, n_channels)
            self.values = normal_weights(shape, n_channels**-0.5, generator)
        self.make_weights(generator)

    def make_weights(self, generator: Generator) -> None:
        """Draw the weights that predict the maps; none unless a subclass has some."""

    @classmethod
    def sizes(cls, n_channels: int, n_queries: int, output_divisor: int, n_heads: int) -> tuple[int, int]:
        """Return the number of maps and the length of the output.

        Raises
        ------
        ValueError
            A number is not positive, or does not divide what it shall divide; those that would are named.
        """
        given = {"n_queries": n_queries, "output_divisor": output_divisor, "n_heads": n_heads}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a positive integer")
        pooler = cls.__name__.removesuffix("Pooler").lower()
        if not cls.maps_values and output_divisor != 1:
            raise ValueError(
                f"output_divisor is {output_divisor}, but pooler {pooler!r} has no value weights that could make its "
                f"output shorter: leave it at 1, or take one of 'ep', 'aim', 'multihead'"
            )
        if n_channels % output_divisor:
            raise ValueError(
                f"output_divisor {output_divisor} does not divide the {n_channels} channels of a token; "
                f"these do: {_divisors(n_channels)}"
            )
        n_maps = 1 if cls.maps_argument is None else given[cls.maps_argument]
        n_pooled = n_channels // output_divisor
        if n_pooled % n_maps:
            raise ValueError(
                f"{cls.maps_argument} {n_maps} does not divide the {n_pooled} channels of the output of pooler "
                f"{pooler!r} ({n_channels} of a token / output_divisor {output_divisor}), and each map needs an equal "
                f"share; these do: {_divisors(n_pooled)}"
            )
        return n_maps, n_pooled

    @classmethod
    @abstractmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return how many weights predict the maps."""

    @abstractmethod
    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the maps (n, n_maps, n_tokens); each sums to one, padding has exactly zero.

        Parameters
        ----------
        tokens : Tensor (n, n_tokens, n_channels)
            Finite, also where the mask says padding.
        mask : Tensor (n, n_tokens) of bool, optional
            True at tokens, False at padding; every stimulus has a token.
        """

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return pooled vectors (n, n_pooled); arguments as in `attention`."""
        return self.map_values(self.attention(tokens, mask) @ tokens)

    def map_values(self, averages: Tensor) -> Tensor:
        """Apply W_Vj to the average under map j and put the parts side by side: (n, n_maps, D) to (n, n_pooled)."""
        if self.maps_values:
            averages = torch.einsum("bmd,mod->bmo", averages, self.values)
        return averages.flatten(1)


def equivalent_queries(keys: Tensor, query: Tensor, n_heads: int) -> Tensor:
    """Return the queries of efficient probing that give the maps of multi-head attention.

    softmax(q_j (W_Kj X^T) / sqrt(D / M)) = softmax(u_j X^T / sqrt(D)) for u_j = sqrt(M) W_Kj^T q_j.

    Parameters
    ----------
    keys : Tensor (n_channels, n_channels)
        W_K; its rows fall into heads, W_Kj (n_channels / n_heads, n_channels).
    query : Tensor (n_channels,)
        The parts q_j one after another.
    n_heads : int
        M.

    Returns
    -------
    Tensor (n_heads, n_channels)
    """
    parts = query.view(n_heads, 1, -1) @ keys.view(n_heads, -1, keys.shape[1])
    return parts.squeeze(1) * math.sqrt(n_heads)


def query_attention(tokens: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
    """Return softmax(u X^T / sqrt(D)) (n, n_maps, n_tokens) of queries u (n_maps, D), or (n, n_maps, D)."""
    return masked_softmax((queries * tokens.shape[-1] ** -0.5) @ tokens.transpose(1, 2), mask)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Make weights over tokens of scores (n, n_maps, n_tokens): exactly zero where mask (n, n_tokens) is False."""
    if mask is not None:
        scores = scores.masked_fill(~mask.unsqueeze(1), -torch.inf)
    return scores.softmax(-1)


def normal_weights(shape: tuple[int, ...], std: float, generator: Generator) -> nn.Parameter:
    """Draw weights from a normal distribution around zero."""
    return nn.Parameter(torch.randn(shape, generator=generator) * std)


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
