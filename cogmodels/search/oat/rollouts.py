"""Searches that the network makes up step by step, from its own fixations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cogmodels.search.oat.network import EncodedDisplays, OATNetwork
from cogmodels.search.oat.objects import DisplayTokens
from cogmodels.search.observer import trial_rng
from cogmodels.search.policy import SearchPath

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay


def search_display(
    network: OATNetwork,
    display: "SearchDisplay",
    tokens: DisplayTokens,
    max_length: int,
    n_rollouts: int,
    seed: int | None,
) -> list[SearchPath]:
    """Return searches of one display, from its start on over centres of objects.

    With a seed each rollout is drawn, by random numbers of its own; without, all are the one with the likeliest steps.
    """
    draws = None
    if seed is not None:
        rngs = [trial_rng(seed, rollout, display.display_id) for rollout in range(n_rollouts)]
        draws = np.array([rng.random(max_length) for rng in rngs])
    sequences = roll_out(network, tokens, max_length, draws)
    centres = display.items[["x_px", "y_px"]].to_numpy(dtype=np.float64)
    start = np.array(display.start_px, dtype=np.float64)
    paths = []
    for rollout in range(n_rollouts):
        objects = sequences[0 if draws is None else rollout]
        places, seen = np.vstack([start, centres[objects]]), np.append(display.item_at(*start), objects)
        paths.append(SearchPath(places, seen, bool(objects[-1] == tokens.target)))
    return paths


def roll_out(
    network: OATNetwork,
    display: DisplayTokens,
    max_length: int,
    draws: NDArray[np.float64] | None = None,
) -> list[NDArray[np.int64]]:
    """Return searches of one display.

    The first step cannot be to stop. A search ends by pointing at the target token, or after `max_length` fixations.

    Parameters
    ----------
    network : OATNetwork
    display : DisplayTokens
    max_length : int
        Most fixations, published: those of the longest training sequence.
    draws : (n_rollouts, max_length) array, optional
        Random numbers, even on [0, 1): each decides one step, drawn from the network's probabilities. Without them
        there is one rollout, which always takes the likeliest step.

    Returns
    -------
    list of n_rollouts (n_fixations,) arrays
        Fixated objects.
    """
    network.eval()
    n_rollouts = 1 if draws is None else len(draws)
    with torch.inference_mode():
        encoded = network.encode([display])
        cache = DecoderCache(network, encoded, n_rollouts, max_length)
        stop = display.n_objects
        fixated = torch.full((n_rollouts, max_length), -1)
        running = torch.ones(n_rollouts, dtype=torch.bool)
        tokens = encoded.start.expand(n_rollouts, -1)
        for step in range(max_length):
            logits = cache.step(tokens).cpu()
            if step == 0:
                logits[:, stop] = float("-inf")
            choice = logits.argmax(dim=1) if draws is None else draw(logits, draws[:, step])
            running &= choice != stop
            if not bool(running.any()):
                break
            fixated[running, step] = choice[running]
            # Ended searches are carried along; what they would do next is thrown away.
            tokens = encoded.objects[0, choice.clamp(max=stop - 1).to(encoded.objects.device)]
    return [row[row >= 0].numpy() for row in fixated]


def draw(logits: Tensor, numbers: NDArray[np.float64]) -> Tensor:
    """Return a choice (b,) for each row of logits (b, n), by a number (b,) even on [0, 1) where their sum passes it."""
    sums = logits.double().softmax(dim=1).cumsum(dim=1)
    passed = sums > torch.from_numpy(numbers)[:, None] * sums[:, -1:]
    return passed.int().argmax(dim=1)


class DecoderCache:
    """The decoder one step at a time, for many searches of one display.

    What attention reads is kept: keys and values of the display once for all searches, those of earlier steps as they
    come. A step gives what the whole decoder would give for it.

    Parameters
    ----------
    network : OATNetwork
        In eval mode.
    encoded : EncodedDisplays
        Of one display.
    n_rollouts, max_length : int
    """

    def __init__(
        self, network: OATNetwork, encoded: EncodedDisplays, n_rollouts: int, max_length: int
    ) -> None:
        self._network, self._encoded = network, encoded
        self._time = network.time_code(max_length)
        self._step = 0
        n_heads, d_model = network.sizes.n_heads, network.sizes.d_model
        shape = (n_rollouts, n_heads, max_length, d_model // n_heads)
        self._past = [
            (encoded.memory.new_empty(shape), encoded.memory.new_empty(shape)) for _ in network.decoder
        ]
        self._layers = [layer for layer in network.decoder if isinstance(layer, nn.TransformerDecoderLayer)]
        self._seen = [_project(layer.multihead_attn, encoded.memory, (1, 2)) for layer in self._layers]

    def step(self, tokens: Tensor) -> Tensor:
        """Return logits (n_rollouts, n_objects + 1) after one more token (n_rollouts, d_model) each."""
        state = tokens + self._time[self._step]
        end = self._step + 1
        for layer, past, (keys, values) in zip(self._layers, self._past, self._seen, strict=True):
            query, key, value = _project(layer.self_attn, state[:, None], (0, 1, 2))
            past[0][:, :, self._step], past[1][:, :, self._step] = key[:, :, 0], value[:, :, 0]
            own = functional.scaled_dot_product_attention(query, past[0][:, :, :end], past[1][:, :, :end])
            state = layer.norm1(state + layer.self_attn.out_proj(own.flatten(1)))
            # All searches look at one display: they are queries beside each other, not a batch.
            (query,) = _project(layer.multihead_attn, state[None], (0,))
            read = functional.scaled_dot_product_attention(query, keys, values)
            state = layer.norm2(state + layer.multihead_attn.out_proj(read[0].transpose(0, 1).flatten(1)))
            state = layer.norm3(state + layer.linear2(functional.relu(layer.linear1(state))))
        self._step = end
        return self._network.point(state[None], self._encoded.memory, self._encoded.padding)[0]


def _project(attention: nn.MultiheadAttention, tokens: Tensor, parts: Sequence[int]) -> list[Tensor]:
    """Return queries (0), keys (1) or values (2) of tokens (b, n, d_model) as (b, n_heads, n, d_head)."""
    assert attention.in_proj_weight is not None
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    projected = (functional.linear(tokens, weights[part], biases[part]) for part in parts)
    return [part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in projected]
