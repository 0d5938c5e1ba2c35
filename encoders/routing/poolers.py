"""The poolers of attentive probing, and their names."""

import torch
from class_resolver import ClassResolver
from torch import Generator, Tensor, nn

from encoders.routing.pooler import (
    NORM_EPS,
    QUERY_STD,
    BatchNorm,
    Pooler,
    equivalent_queries,
    masked_softmax,
    normal_weights,
    query_attention,
)
from stimuli.files import unknown_name_message


class MeanPooler(Pooler):
    """The average over all tokens: with a linear head, the linear probe."""

    @classmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return 0: nothing is learned."""
        return 0

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return equal weights for all tokens."""
        present = torch.ones_like(tokens[:, :, 0]) if mask is None else mask.to(tokens.dtype)
        return (present / present.sum(1, keepdim=True)).unsqueeze(1)


class ClsPooler(Pooler):
    """The first token that is no padding: CLS, in networks that have one.

    Only the network knows whether its first token is a CLS token: for one without (most convolutional networks and
    many transformers trained with SigLIP or MAE readouts) this is the patch at the top left.
    """

    @classmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return 0: nothing is learned."""
        return 0

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return all weight on one token."""
        weights = torch.zeros_like(tokens[:, :, 0])
        first = weights.argmin(1) if mask is None else mask.int().argmax(1)
        return weights.scatter_(1, first[:, None], 1.0).unsqueeze(1)


class EpPooler(Pooler):
    """Efficient probing: learned queries attend to the tokens themselves (Psomas et al. 2025).

    a_j = softmax(X u_j / sqrt(D)) and W_V from D to D / output_divisor channels, without bias.
    """

    maps_argument = "n_queries"
    maps_values = True

    def make_weights(self, generator: Generator) -> None:
        """Draw the queries from 0.02 N(0, 1)."""
        self.queries = normal_weights((self.n_maps, self.n_channels), QUERY_STD, generator)

    @classmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return M D."""
        return n_maps * n_channels

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a_j."""
        return query_attention(tokens, self.queries, mask)


class AbmilpPooler(Pooler):
    """Attention-based multiple-instance pooling: a = softmax(w tanh(V x + b)) (Ilse, Tomczak and Welling 2018, eq. 8).

    The hidden layer has as many units as a token has channels, as in Psomas et al. 2025; values are the tokens.
    """

    def make_weights(self, generator: Generator) -> None:
        """Draw V and w."""
        scale = self.n_channels**-0.5
        self.hidden_weight = normal_weights((self.n_channels, self.n_channels), scale, generator)
        self.hidden_bias = nn.Parameter(torch.zeros(self.n_channels))
        self.score_weight = normal_weights((self.n_channels,), scale, generator)

    @classmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return D^2 + 2 D; a bias of the score would move all tokens alike, and there is none."""
        return n_channels**2 + 2 * n_channels

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the one map."""
        hidden = torch.tanh(nn.functional.linear(tokens, self.hidden_weight, self.hidden_bias))
        return masked_softmax((hidden @ self.score_weight).unsqueeze(1), mask)


class MultiheadPooler(Pooler):
    """Multi-head cross-attention of one learned query: a_j = softmax(q_j (W_Kj X^T) / sqrt(D / M)), M heads.

    A weight for queries would only rewrite the learned query, one for outputs the linear head that follows, a bias of
    keys moves all tokens alike: there is none of them.
    """

    maps_argument = "n_heads"
    maps_values = True

    def make_weights(self, generator: Generator) -> None:
        """Draw the query from 0.02 N(0, 1), and W_K."""
        self.query = normal_weights((self.n_channels,), QUERY_STD, generator)
        self.keys = normal_weights((self.n_channels, self.n_channels), self.n_channels**-0.5, generator)

    @classmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return D + D^2."""
        return n_channels + n_channels**2

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the map of each head."""
        return query_attention(tokens, equivalent_queries(self.keys, self.query, self.n_maps), mask)


class AimPooler(MultiheadPooler):
    """Multi-head cross-attention behind a batch norm of the tokens (El-Nouby et al. 2024, arXiv 2401.08541)."""

    def make_weights(self, generator: Generator) -> None:
        """Draw query and W_K."""
        super().make_weights(generator)
        self.norm = BatchNorm(self.n_channels)

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the map of each head over the tokens before their norm; statistics leave padding out."""
        return super().attention(self._normed(tokens, mask), mask)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return pooled vectors (n, n_pooled)."""
        normed = self._normed(tokens, mask)  # once: in training, each call moves the running statistics
        return self.map_values(super().attention(normed, mask) @ normed)

    def _normed(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return self.norm(tokens.flatten(0, 1)).view_as(tokens)
        rows = self.norm(tokens[mask])
        return rows.new_zeros(tokens.shape).masked_scatter(mask.unsqueeze(-1), rows)


class SimpoolPooler(Pooler):
    """SimPool: the average token asks, normed tokens answer (Psomas et al. 2023, ICCV, arXiv 2309.06891).

    a = softmax((W_Q mean(X)) (W_K LN(X)^T) / sqrt(D)); values are LN(X) and are averaged plainly, the exponent gamma
    of the paper being 1, as where it was compared as a probe (Psomas et al. 2025).
    """

    def make_weights(self, generator: Generator) -> None:
        """Draw W_Q and W_K."""
        shape, scale = (self.n_channels, self.n_channels), self.n_channels**-0.5
        self.query_weight = normal_weights(shape, scale, generator)
        self.keys = normal_weights(shape, scale, generator)
        self.norm = nn.LayerNorm(self.n_channels, eps=NORM_EPS)

    @classmethod
    def count_map_weights(cls, n_channels: int, n_maps: int) -> int:
        """Return 2 D^2 + 2 D: W_Q, W_K, and gain and offset of the layer norm."""
        return 2 * n_channels**2 + 2 * n_channels

    def attention(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the one map."""
        return self._normed_attention(tokens, self.norm(tokens), mask)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return pooled vectors (n, n_pooled)."""
        normed = self.norm(tokens)
        return self.map_values(self._normed_attention(tokens, normed, mask) @ normed)

    def _normed_attention(self, tokens: Tensor, normed: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            average = tokens.mean(1)
        else:
            weights = mask.to(tokens.dtype).unsqueeze(-1)
            average = (tokens * weights).sum(1) / weights.sum(1)
        queries = average @ self.query_weight.T @ self.keys
        return query_attention(normed, queries.unsqueeze(1), mask)


pooler_resolver: ClassResolver[Pooler] = ClassResolver(
    [EpPooler, MeanPooler, ClsPooler, AbmilpPooler, AimPooler, SimpoolPooler, MultiheadPooler],
    base=Pooler,  # type: ignore[type-abstract]
    default=EpPooler,
)


def find_pooler(pooler: str | type[Pooler]) -> type[Pooler]:
    """Return the class of a pooler.

    Raises
    ------
    ValueError
        The name is unknown; near matches are listed.
    """
    if isinstance(pooler, type) and issubclass(pooler, Pooler):
        return pooler
    if not isinstance(pooler, str) or pooler_resolver.normalize(pooler) not in pooler_resolver.lookup_dict:
        raise ValueError(unknown_name_message("pooler", str(pooler), pooler_resolver.options))
    return pooler_resolver.lookup(pooler)
