"""Encoder of objects, decoder of fixations, and the head that points at the next object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cogmodels.search.oat.objects import CropEmbedding, DisplayTokens, FeatureEmbedding
from cogmodels.search.oat.positional_table import PositionalCode, sinusoid
from encoders.solvers.checks import check_choice
from encoders.training.seeding import SeededDropout

Head = Literal["pointer", "vocabulary"]
HEADS: tuple[Head, ...] = ("pointer", "vocabulary")

NO_PLACE = (-1, -1, -1)


@dataclass(frozen=True)
class NetworkSizes:
    """How large the network is; the defaults are the published ones.

    Parameters
    ----------
    d_model : int
        Columns of a token: one half says what it looks like, the other where it is.
    n_layers : int
        Layers of the encoder, and of the decoder.
    n_heads : int
    d_feedforward : int
    n_pointer_heads : int
        Likenesses between object and decoder state that the head mixes.
    dropout : float
        Share of entries dropped behind every sublayer and of the decoder's time code.

    Raises
    ------
    ValueError
        If a number is out of range, or heads do not divide `d_model`.
    """

    d_model: int = 512
    n_layers: int = 4
    n_heads: int = 4
    d_feedforward: int = 512
    n_pointer_heads: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "d_feedforward", "n_pointer_heads"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it must be a whole number of at least 1"
                )
        if self.d_model % self.n_heads or self.d_model % 2:
            raise ValueError(
                f"d_model is {self.d_model}; it must be even and a multiple of n_heads ({self.n_heads})"
            )


@dataclass(frozen=True)
class EncodedDisplays:
    """What the decoder reads of some displays; objects are padded to those of the largest.

    Attributes
    ----------
    memory : (n_displays, n_longest + 1, d_model) tensor
        Objects, then the target token.
    padding : (n_displays, n_longest + 1) bool tensor
        True where there is no object.
    objects : (n_displays, n_longest, d_model) tensor
        The token that an object becomes in the decoder once it has been fixated.
    start : (n_displays, d_model) tensor
        The decoder's first token.
    """

    memory: Tensor
    padding: Tensor
    objects: Tensor
    start: Tensor


class OATNetwork(nn.Module):
    """The object-level attention transformer (Fang et al. 2024).

    Parameters
    ----------
    embedding : FeatureEmbedding or CropEmbedding
        Gives half of `d_model`.
    places : PositionalCode
        Gives the other half.
    sizes : NetworkSizes
    head : {"pointer", "vocabulary"}
        ``pointer`` compares the decoder's state with each encoded object and the target token, whatever their number;
        ``vocabulary`` is a linear map to object numbers.
    vocabulary_size : int
        Object numbers that the head "vocabulary" knows.
    reveal_target_position : bool
        Whether the encoder's target token says where the target is, as in the published code.
    mark_fixated_target : bool
        Whether the decoder's token of a fixated object says that it is the target.

    Notes
    -----
    The published head appends a logit of 0 for a padding slot, which is never right and never drawn; it is left out.
    Weights of attention are not dropped, everything else is as published.
    """

    def __init__(
        self,
        embedding: FeatureEmbedding | CropEmbedding,
        places: PositionalCode,
        sizes: NetworkSizes,
        head: Head = "pointer",
        vocabulary_size: int = 0,
        reveal_target_position: bool = False,
        mark_fixated_target: bool = True,
    ) -> None:
        super().__init__()
        check_choice("head", head, HEADS)
        self.embedding, self.places, self.sizes, self.head = embedding, places, sizes, head
        self.reveal_target_position = reveal_target_position
        self.mark_fixated_target = mark_fixated_target
        self.vocabulary_size = vocabulary_size
        d_model = sizes.d_model
        shape = (d_model, sizes.n_heads, sizes.d_feedforward, 0.0)
        encoder = [nn.TransformerEncoderLayer(*shape, batch_first=True) for _ in range(sizes.n_layers)]
        decoder = [nn.TransformerDecoderLayer(*shape, batch_first=True) for _ in range(sizes.n_layers)]
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        for layer in (*encoder, *decoder):
            for name in ("dropout", "dropout1", "dropout2", "dropout3"):
                if hasattr(layer, name):
                    setattr(layer, name, SeededDropout(sizes.dropout))
        self.time_dropout = SeededDropout(sizes.dropout)
        if head == "pointer":
            self.object_keys = nn.Linear(d_model, sizes.n_pointer_heads * d_model, bias=False)
            self.state_queries = nn.Linear(d_model, sizes.n_pointer_heads * d_model, bias=False)
            self.mix = nn.Linear(sizes.n_pointer_heads, 1, bias=False)
        else:
            self.vocabulary = nn.Linear(d_model, vocabulary_size + 1)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def encode(self, displays: Sequence[DisplayTokens]) -> EncodedDisplays:
        """Encode the objects and the target of some displays.

        Raises
        ------
        ValueError
            If a display has a larger grid than the positional code, or more objects than the vocabulary.
        """
        self._check(displays)
        device = self.device
        looks = self.embedding([part.to(device) for display in displays for part in display.appearance])
        looks = looks.split([len(display.appearance) for display in displays])
        shown = pad_sequence([look[:-1] for look in looks], batch_first=True)
        where = pad_sequence([d.places for d in displays], batch_first=True).to(device)
        n_longest = shown.shape[1]
        target = torch.tensor([display.target for display in displays], device=device)
        empty = torch.tensor([display.n_objects for display in displays], device=device)
        padding = torch.arange(n_longest, device=device) >= empty[:, None]

        unmarked = torch.zeros_like(padding)
        hidden = where.new_tensor(NO_PLACE).expand(len(displays), 1, 3)
        if self.reveal_target_position:
            known = where[torch.arange(len(displays)), target.clamp(min=0)][:, None]
            hidden = torch.where((target >= 0)[:, None, None], known, hidden)
        sought = torch.stack([look[-1] for look in looks])[:, None]
        tokens = torch.cat(
            [
                torch.cat([shown, self.places(where, unmarked)], dim=-1),
                torch.cat([sought, self.places(hidden, unmarked.new_ones(len(displays), 1))], dim=-1),
            ],
            dim=1,
        )
        padding_all = torch.cat([padding, padding.new_zeros(len(displays), 1)], dim=1)
        memory = tokens
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=padding_all)

        marks = unmarked
        if self.mark_fixated_target:
            marks = torch.arange(n_longest, device=device) == target[:, None]
        first = torch.stack([display.start for display in displays]).to(device)
        start = torch.cat(
            [self.embedding.start().expand(len(displays), -1), self.places(first, unmarked[:, 0])], dim=-1
        )
        return EncodedDisplays(
            memory, padding_all, torch.cat([shown, self.places(where, marks)], dim=-1), start
        )

    def _check(self, displays: Sequence[DisplayTokens]) -> None:
        for display in displays:
            side = int(display.places[:, :2].max()) + 1
            if side > self.places.max_grid and self.places.positions not in ("index", "none"):
                raise ValueError(
                    f"a display has {side} rows or columns, the positional code {self.places.max_grid}: set max_grid"
                )
            if self.head == "vocabulary" and display.n_objects > self.vocabulary_size:
                raise ValueError(
                    f"a display has {display.n_objects} objects; the vocabulary was trained for "
                    f"{self.vocabulary_size}: use head='pointer', which takes any number"
                )

    def forward(self, displays: Sequence[DisplayTokens], fixated: Tensor, owner: Tensor) -> Tensor:
        """Return the logits of every next step, given the true steps before it.

        Parameters
        ----------
        displays : sequence of DisplayTokens
        fixated : (n_trials, n_steps) int64 tensor
            Objects; any number of 0 or more stands after the end of a trial.
        owner : (n_trials,) int64 tensor
            The display of each trial.

        Returns
        -------
        (n_trials, n_steps + 1, n_longest + 1) tensor
            ``[:, t]`` for fixation t counted from 0, given those before; the last column is to stop.
        """
        encoded = self.encode(displays)
        before = encoded.objects[owner[:, None], fixated]
        tokens = torch.cat([encoded.start[owner][:, None], before], dim=1)
        n_steps = tokens.shape[1]
        state = tokens + self.time_dropout(self.time_code(n_steps))
        future = torch.ones(n_steps, n_steps, dtype=torch.bool, device=state.device).triu(1)
        memory, padding = encoded.memory[owner], encoded.padding[owner]
        for layer in self.decoder:
            state = layer(state, memory, tgt_mask=future, memory_key_padding_mask=padding)
        return self.point(state, memory, padding)

    def time_code(self, n_steps: int) -> Tensor:
        """Return the code of the steps, (n_steps, d_model)."""
        steps = torch.arange(n_steps, dtype=torch.float32, device=self.device)
        return sinusoid(steps, self.sizes.d_model)

    def point(self, state: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """Return logits (b, n_steps, n_longest + 1) of decoder states (b, n_steps, d_model); -inf for no object."""
        if self.head == "pointer":
            n_heads, d_model = self.sizes.n_pointer_heads, self.sizes.d_model
            keys = self.object_keys(memory).unflatten(-1, (n_heads, d_model))
            queries = self.state_queries(state).unflatten(-1, (n_heads, d_model))
            likeness = torch.einsum("bthd,bnhd->btnh", queries, keys) / math.sqrt(d_model)
            logits = self.mix(likeness)[..., 0]
        else:
            numbers = self.vocabulary(state)
            logits = torch.cat([numbers[..., : memory.shape[1] - 1], numbers[..., -1:]], dim=-1)
        return logits.masked_fill(padding[:, None], float("-inf"))


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew: matrices Xavier-uniform as published, biases 0, scales of normalisation 1."""
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            elif isinstance(module, nn.LayerNorm) and parameter is module.weight:
                nn.init.ones_(parameter)
            else:
                nn.init.zeros_(parameter)
