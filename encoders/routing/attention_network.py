"""The transformer brain encoder (Adeli, Sun & Kriegeskorte 2025): queries of voxels attend to tokens."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor, nn

from encoders.routing.attention import CrossAttention, Folded, Memory, Projected, Way
from encoders.routing.chunks import chunk_slices, recompute_in_backward
from encoders.routing.initial import make_linear
from encoders.routing.positions import PositionKind, Positions
from encoders.routing.readout import Overlap, RoutedReadout, VoxelReadout, row_products
from encoders.training.seeding import SeededDropout

Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
assert set(ACTIVATIONS) == set(get_args(Activation))

_CHUNK_NUMBERS = 1 << 28
"""Numbers that a batch may keep for the backward pass before queries are taken in chunks: 1 GiB in float32."""


class FeedForward(nn.Module):
    """x + dropout(W2 activation(W1 norm(x) + b1) + b2)."""

    def __init__(
        self, d_model: int, d_hidden: int, activation: Activation, dropout: float, generator: Generator
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.expand = make_linear(d_model, d_hidden, generator)
        self.activation = ACTIVATIONS[activation]()
        self.contract = make_linear(d_hidden, d_model, generator)
        self.dropout = SeededDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., d_model) with what the layer adds."""
        return x + self.dropout(self.contract(self.activation(self.expand(self.norm(x)))))


class DecoderLayer(nn.Module):
    """Queries read the tokens: pre-norm cross-attention and feed-forward, without attention among queries.

    The first layer's target is zero, and of its norm only the shift remains.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        feedforward: FeedForward | None,
        dropout: float,
        generator: Generator,
        way: Way | None,
        first: bool,
    ) -> None:
        super().__init__()
        if first:
            self.shift = nn.Parameter(torch.zeros(d_model))
        else:
            self.norm = nn.LayerNorm(d_model)
        self.attention = CrossAttention(d_model, n_heads, generator, way)
        self.dropout = SeededDropout(dropout)
        self.feedforward = feedforward

    def asked(self, target: Tensor | None, queries: Tensor) -> Tensor:
        """Return what is asked of the tokens, (n, d_model) in the first layer, else (b, n, d_model)."""
        return (self.shift if target is None else self.norm(target)) + queries

    def forward(self, target: Tensor | None, queries: Tensor, shared: "Folded | Projected") -> Tensor:
        """Return the next target (b, n, d_model)."""
        answers = self.dropout(shared(self.asked(target, queries)))
        target = answers if target is None else target + answers
        return target if self.feedforward is None else self.feedforward(target)


class EncoderLayer(nn.Module):
    """Tokens read one another: pre-norm self-attention, positions on queries and keys, and feed-forward."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        feedforward: FeedForward | None,
        dropout: float,
        generator: Generator,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.attention = CrossAttention(d_model, n_heads, generator, "projected")
        self.dropout = SeededDropout(dropout)
        self.feedforward = feedforward

    def forward(self, x: Tensor, mask: Tensor | None, positions: Positions) -> Tensor:
        """Return the next tokens (b, n_tokens, d_model)."""
        normed, codes = self.norm(x), positions.codes()
        shared = self.attention.prepare(Memory(normed, mask, None, positions), x.shape[1])
        x = x + self.dropout(shared(normed if codes is None else normed + codes))
        return x if self.feedforward is None else self.feedforward(x)


class AttentionNetwork(nn.Module):
    """From tokens to voxels through learned queries.

    With tokens X (projected to d_model where it differs) and position codes P: the target starts at zero, queries Q
    are learned, and each decoder layer computes ``y = dropout(MHA(LN(target) + Q, X + P, X))``, ``target += y`` and
    ``target += dropout(W2 relu(W1 LN(target)))``; answers are LN(target), and the readout takes them to voxels.

    Parameters
    ----------
    n_tokens, n_channels : int
    grid : tuple (n_rows, n_columns) or None
    masks : array-like of bool (n_queries, n_voxels), or None
        None gives each voxel a query of its own.
    n_voxels : int
    generator : torch.Generator
        Draws the first weights: Xavier-uniform layers, standard normal queries, biases of zero.
    overlap, d_model, n_heads, d_feedforward, n_decoder_layers, n_encoder_layers, dropout, activation, positions, \
query_chunk
        As in `AttentionEncoder`.
    way : {"folded", "projected"}, optional
        How the decoder attends, see `encoders.routing.attention`; None takes the cheaper.
    """

    def __init__(
        self,
        n_tokens: int,
        n_channels: int,
        grid: tuple[int, int] | None,
        masks: ArrayLike | None,
        n_voxels: int,
        generator: Generator,
        *,
        overlap: Overlap = "sum",
        d_model: int | None = None,
        n_heads: int = 1,
        d_feedforward: int | None = None,
        n_decoder_layers: int = 1,
        n_encoder_layers: int = 0,
        dropout: float = 0.1,
        activation: Activation = "relu",
        positions: PositionKind = "sine",
        query_chunk: int | None = None,
        way: Way | None = None,
    ) -> None:
        super().__init__()
        width = d_model or n_channels
        self.query_chunk = query_chunk
        n_queries = n_voxels if masks is None else len(masks)  # type: ignore[arg-type]
        self.queries = nn.Parameter(torch.randn(n_queries, width, generator=generator))
        self.projection = None if d_model in (None, n_channels) else make_linear(n_channels, width, generator)
        self.positions = Positions(positions, n_tokens, grid, width, generator)

        def feedforward() -> FeedForward | None:
            if not d_feedforward:
                return None
            return FeedForward(width, d_feedforward, activation, dropout, generator)

        self.encoder = nn.ModuleList(
            EncoderLayer(width, n_heads, feedforward(), dropout, generator) for _ in range(n_encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(width) if n_encoder_layers else None
        self.decoder = nn.ModuleList(
            DecoderLayer(width, n_heads, feedforward(), dropout, generator, way, first=number == 0)
            for number in range(n_decoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.readout: RoutedReadout | VoxelReadout
        if masks is None:
            self.readout = VoxelReadout(n_voxels, width, generator)
        else:
            self.readout = RoutedReadout(masks, width, overlap, generator)
        # What the backward pass needs of one query and image, beside what all queries share.
        scores = n_heads * (n_tokens + 2 * n_channels)
        self._numbers_a_query = n_decoder_layers * (scores + 8 * width + 3 * (d_feedforward or 0))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return predictions (b, n_voxels).

        Parameters
        ----------
        tokens : Tensor (b, n_tokens, n_channels)
            Finite, also where the mask is False.
        mask : Tensor (b, n_tokens) of bool, optional
            True at tokens. What is no token is attended to with weight exactly 0.
        """
        memory = self._encode(tokens, mask)
        n_queries = len(self.queries)
        shared = [layer.attention.prepare(memory, n_queries) for layer in self._layers()]
        most = self.query_chunk or max(1, _CHUNK_NUMBERS // (len(tokens) * self._numbers_a_query))
        pieces = chunk_slices(n_queries, most)
        # Parameters are split once: each slice would have a gradient of the size of the whole.
        sizes = [piece.stop - piece.start for piece in pieces]
        arguments: list[Sequence[Tensor]] = [self.queries.split(sizes)]
        if isinstance(self.readout, VoxelReadout):
            arguments += [self.readout.weight.split(sizes), self.readout.bias.split(sizes)]
        answer = _Answer(self, shared)
        if len(pieces) > 1 and torch.is_grad_enabled():
            parts = [recompute_in_backward(self, answer, *part) for part in zip(*arguments, strict=True)]
        else:
            parts = [answer(*part) for part in zip(*arguments, strict=True)]
        answers = torch.cat(parts, 1)
        return self.readout(answers) if isinstance(self.readout, RoutedReadout) else answers

    def attention(self, tokens: Tensor, mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """Return weights (b, n_queries, n_heads, n_tokens) of the last decoder layer; each sums to 1 over tokens.

        Parameters
        ----------
        tokens, mask
            As in the call.
        queries : Tensor (n,) of int, optional
            Which queries; None takes all.
        """
        memory = self._encode(tokens, mask)
        asking = self.queries if queries is None else self.queries[queries]
        *earlier, last = self._layers()
        target = None
        for layer in earlier:
            target = layer(target, asking, layer.attention.prepare(memory, len(asking)))
        return Folded(last.attention, memory).weights(last.asked(target, asking))

    def _encode(self, tokens: Tensor, mask: Tensor | None) -> Memory:
        if self.encoder_norm is None:
            return Memory(tokens, mask, self.projection, self.positions)
        x = tokens if self.projection is None else self.projection(tokens)
        for layer in self.encoder:
            x = layer(x, mask, self.positions)
        return Memory(self.encoder_norm(x), mask, None, self.positions)

    def _layers(self) -> list[Any]:
        return list(self.decoder)


class _Answer:
    """Answers of some queries to what all share; predictions, where each query has a voxel of its own."""

    def __init__(self, network: AttentionNetwork, shared: list[Any]) -> None:
        self.network, self.shared = network, shared

    def __call__(self, queries: Tensor, *readout: Tensor) -> Tensor:
        target = None
        for layer, shared in zip(self.network.decoder, self.shared, strict=True):
            target = layer(target, queries, shared)
        answers = self.network.norm(target)
        if not readout:
            return answers
        weight, bias = readout
        return row_products(answers, weight) + bias
