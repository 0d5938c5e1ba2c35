"""Multi-head cross-attention of a few or many queries over tokens of a frozen network, two ways.

With query q_h, keys W_Kh x and values W_Vh x of head h (biases aside), a token's score is q_h . W_Kh x, which is
(W_Kh^T q_h) . x, and the head's answer is sum_t a_t W_Vh x_t, which is W_Vh (sum_t a_t x_t). So there are two ways to
the same numbers:

- folded: W_K goes into the queries and W_V is applied after pooling. Keys and values are never formed; a product over
  all tokens costs n_queries x n_heads columns.
- projected: all tokens become keys and values once; this costs 2 d_model columns, and each query little more.

The cheaper one depends on the number of queries and heads, see `cheaper_way`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.routing.initial import make_linear
from encoders.routing.pooler import masked_softmax
from encoders.routing.positions import Positions
from encoders.routing.precision import working_dtype

Way = Literal["folded", "projected"]

_CACHED_SCORES = 1 << 17
"""Scores an image from which on a CPU takes images one after another: its caches then hold what softmax passes over."""


def cheaper_way(n_queries: int, n_heads: int, d_model: int, n_channels: int, n_tokens: int) -> Way:
    """Return the way that takes fewer multiplications an image, forward and backward, with tokens that are fixed.

    Folded: 2 T C Q H over the tokens and Q D C for values of what was pooled. Projected: 2 T C D for keys and values
    and 2 T D Q over them. T tokens, C channels, Q queries, H heads, D = d_model. The backward pass takes as many
    again for a factor that is fixed, twice as many otherwise.
    """
    folded = 4 * n_tokens * n_channels * n_queries * n_heads + 3 * n_queries * d_model * n_channels
    projected = 4 * n_tokens * d_model * n_channels + 6 * n_tokens * d_model * n_queries
    return "folded" if folded <= projected else "projected"


@dataclass(frozen=True)
class Memory:
    """What is attended to.

    Attributes
    ----------
    tokens : Tensor (b, n_tokens, n_channels)
        Finite, also where the mask is False.
    mask : Tensor (b, n_tokens) of bool or None
        True at tokens; each stimulus has one.
    projection : nn.Linear or None
        From channels to d_model; None where they are the same.
    positions : Positions
        Codes (n_tokens, d_model) that keys carry.
    """

    tokens: Tensor
    mask: Tensor | None
    projection: nn.Linear | None
    positions: Positions


class CrossAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2) of queries over a `Memory`.

    Keys have no bias: it adds the same to all scores of a query, of which softmax takes no notice.

    Parameters
    ----------
    d_model : int
    n_heads : int
        Divides d_model.
    generator : torch.Generator
        Draws the first weights.
    way : {"folded", "projected"}, optional
        None takes `cheaper_way`.
    """

    def __init__(self, d_model: int, n_heads: int, generator: Generator, way: Way | None = None) -> None:
        super().__init__()
        self.n_heads, self.way = n_heads, way
        self.query = make_linear(d_model, d_model, generator)
        self.key = make_linear(d_model, d_model, generator, bias=False)
        self.value = make_linear(d_model, d_model, generator)
        self.out = make_linear(d_model, d_model, generator)

    def prepare(self, memory: Memory, n_queries: int) -> "Folded | Projected":
        """Return what all queries of a batch share, by the cheaper way for as many queries."""
        _, n_tokens, n_channels = memory.tokens.shape
        d_model = self.key.in_features
        way = self.way or cheaper_way(n_queries, self.n_heads, d_model, n_channels, n_tokens)
        return (Folded if way == "folded" else Projected)(self, memory)

    def heads(self, queries: Tensor) -> Tensor:
        """Return scaled queries of heads, (..., n_heads, n_queries, d_head), of queries (..., n_queries, d_model)."""
        scale = (queries.shape[-1] // self.n_heads) ** -0.5
        return (self.query(queries) * scale).unflatten(-1, (self.n_heads, -1)).transpose(-2, -3)

    def join(self, answers: Tensor) -> Tensor:
        """Return answers (b, n_queries, d_model) of heads' answers (b, n_heads, n_queries, d_head)."""
        return self.out(answers.transpose(1, 2).flatten(2))


class Folded:
    """Keys folded into queries, values applied after pooling."""

    def __init__(self, attention: CrossAttention, memory: Memory) -> None:
        self.attention, self.memory = attention, memory
        tokens, n_heads = memory.tokens, attention.n_heads
        self.keys = attention.key.weight.unflatten(0, (n_heads, -1))  # (n_heads, d_head, d_model)
        values: Tensor = attention.value.weight
        self.value_bias: Tensor = attention.value.bias
        if memory.projection is not None:
            # Weights of one image sum to 1, so the bias of the projection passes through the average as it is.
            self.value_bias = functional.linear(memory.projection.bias, values, self.value_bias)
            values = values @ memory.projection.weight
        self.values = values.unflatten(0, (n_heads, -1))  # (n_heads, d_head, n_channels)
        self.tokens = tokens.to(working_dtype(tokens))

    def __call__(self, queries: Tensor) -> Tensor:
        """Return answers (b, n_queries, d_model) to queries (n_queries, d_model) or (b, n_queries, d_model)."""
        attention = self.attention
        folded, of_positions = self._folded_queries(queries)
        with torch.autocast(self.tokens.device.type, enabled=False):  # all have its type already
            pooled = Pool.apply(self.tokens, folded, of_positions, self.memory.mask)
        pooled = pooled.unflatten(1, (attention.n_heads, -1))  # (b, n_heads, n_queries, n_channels)
        answers = torch.einsum("bhqc,hdc->bhqd", pooled, self.values.to(pooled.dtype))
        return attention.join(answers + self.value_bias.unflatten(0, (attention.n_heads, 1, -1)))

    def weights(self, queries: Tensor) -> Tensor:
        """Return attention weights (b, n_queries, n_heads, n_tokens); arguments as in the call."""
        folded, of_positions = self._folded_queries(queries)
        scores = folded @ self.tokens.transpose(1, 2)
        if of_positions is not None:
            scores = scores + of_positions
        weights = masked_softmax(
            scores.float() if scores.dtype == torch.bfloat16 else scores, self.memory.mask
        )
        return weights.unflatten(1, (self.attention.n_heads, -1)).transpose(1, 2)

    def _folded_queries(self, queries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return queries in terms of channels (..., n_heads x n_queries, n_channels) and scores of positions."""
        in_model = (self.attention.heads(queries) @ self.keys).flatten(-3, -2)
        projection = self.memory.projection
        folded = in_model if projection is None else in_model @ projection.weight
        of_positions = self.memory.positions.inner(in_model)
        dtype = self.tokens.dtype
        return folded.to(dtype), None if of_positions is None else of_positions.to(dtype)


class Projected:
    """Keys and values of all tokens, formed once for all queries."""

    def __init__(self, attention: CrossAttention, memory: Memory) -> None:
        self.attention, self.memory = attention, memory
        keys: Tensor = attention.key.weight
        values: Tensor = attention.value.weight
        bias: Tensor = attention.value.bias
        if memory.projection is not None:
            bias = functional.linear(memory.projection.bias, values, bias)
            keys, values = keys @ memory.projection.weight, values @ memory.projection.weight
        of_positions = memory.positions.inner(attention.key.weight)
        self.keys = self._split(functional.linear(memory.tokens, keys), of_positions)
        self.values = self._split(functional.linear(memory.tokens, values, bias), None)
        self.mask = None if memory.mask is None else memory.mask[:, None, None]

    def __call__(self, queries: Tensor) -> Tensor:
        """Return answers (b, n_queries, d_model) to queries (n_queries, d_model) or (b, n_queries, d_model)."""
        heads = self.attention.heads(queries).to(self.keys.dtype)
        heads = heads.expand(len(self.keys), *heads.shape[-3:])
        answers = functional.scaled_dot_product_attention(
            heads, self.keys, self.values, attn_mask=self.mask, scale=1.0
        )
        return self.attention.join(answers)

    def _split(self, tokens: Tensor, of_positions: Tensor | None) -> Tensor:
        if of_positions is not None:
            tokens = tokens + of_positions.T.to(tokens.dtype)
        return tokens.unflatten(-1, (self.attention.n_heads, -1)).transpose(1, 2)


class Pool(torch.autograd.Function):
    """Averages of tokens under softmax weights, of many queries at once.

    ``Pool.apply(tokens (b, n_tokens, n_channels), queries (n, n_channels) or (b, n, n_channels), position scores
    (n, n_tokens) or (b, n, n_tokens) or None, mask (b, n_tokens) or None) -> (b, n, n_channels)``.

    Written out for three reasons: scores of one image stay in a CPU's cache between product, softmax and product;
    weights are kept and nothing else; gradients of queries that all images share are summed as they are made.
    """

    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, queries: Tensor, of_positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        n, n_tokens, n_channels = tokens.shape
        weights = tokens.new_empty(n, queries.shape[-2], n_tokens)
        pooled = tokens.new_empty(n, queries.shape[-2], n_channels)
        for rows in _pieces(weights):
            x = tokens[rows]
            u = queries[rows] if queries.dim() == 3 else queries.expand(len(x), -1, -1)
            if of_positions is None:
                scores = torch.bmm(u, x.transpose(1, 2))
            else:
                start = of_positions[rows] if of_positions.dim() == 3 else of_positions
                scores = torch.baddbmm(start, u, x.transpose(1, 2))
            if mask is not None:
                scores.masked_fill_(~mask[rows, None], -torch.inf)
            torch.softmax(scores, -1, out=weights[rows])
            torch.bmm(weights[rows], x, out=pooled[rows])
        ctx.save_for_backward(tokens, queries, weights, pooled)
        ctx.shared_positions = of_positions is not None and of_positions.dim() == 2
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, queries, weights, pooled = ctx.saved_tensors
        of_pooled = gradients[0].contiguous()
        needs_tokens, needs_queries, needs_positions, _ = ctx.needs_input_grad
        shared = queries.dim() == 2
        # Sums over images are kept in float32 at least.
        wide = torch.promote_types(tokens.dtype, torch.float32)
        of_queries = torch.zeros_like(queries, dtype=wide) if shared else torch.empty_like(queries)
        of_tokens = torch.empty_like(tokens) if needs_tokens else None
        of_positions = None
        if needs_positions:
            shape = weights.shape[1:] if ctx.shared_positions else weights.shape
            of_positions = weights.new_zeros(shape, dtype=wide if ctx.shared_positions else weights.dtype)
        # For weights a = softmax(s): ds = a (da - sum_t a da), and sum_t a da = dy . y, over channels.
        inner = (of_pooled * pooled).sum(-1, keepdim=True)
        for rows in _pieces(weights):
            x, a = tokens[rows], weights[rows]
            of_scores = torch.bmm(of_pooled[rows], x.transpose(1, 2)).sub_(inner[rows]).mul_(a)
            if needs_queries and shared:
                _add_products(of_queries, of_scores, x)
            elif needs_queries:
                torch.bmm(of_scores, x, out=of_queries[rows])
            if of_positions is not None and ctx.shared_positions:
                of_positions += of_scores[0] if len(x) == 1 else of_scores.sum(0, dtype=wide)
            elif of_positions is not None:
                of_positions[rows] = of_scores
            if of_tokens is not None:
                u = queries[rows] if queries.dim() == 3 else queries.expand(len(x), -1, -1)
                of_tokens[rows] = torch.bmm(a.transpose(1, 2), of_pooled[rows]).baddbmm_(
                    of_scores.transpose(1, 2), u
                )
        return (
            of_tokens,
            of_queries.to(queries.dtype) if needs_queries else None,
            None if of_positions is None else of_positions.to(weights.dtype),
            None,
        )


def _add_products(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the products left[i] @ right[i] to a total, in the total's type."""
    if len(left) > 1:
        total += torch.bmm(left, right).sum(0, dtype=total.dtype)
    elif total.dtype == left.dtype:
        total.addmm_(left[0], right[0])
    else:
        total += left[0] @ right[0]


def _pieces(weights: Tensor) -> list[slice]:
    n = len(weights)
    if weights.is_cpu and weights[0].numel() >= _CACHED_SCORES:
        return [slice(row, row + 1) for row in range(n)]
    return [slice(0, n)]
