"""From texts to a batch of token ids."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from stimuli.stimulus_set import StimulusSet


@dataclass(frozen=True)
class TextPreprocess:
    """Cut texts into tokens and pad them, on the right, to the longest of the batch.

    Padding on the right leaves the positions of a causal network's tokens as they are.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers; it is made to pad on the right, and given a padding token if it has none.
    max_length
        Most tokens of a text, special ones included; what is longer is cut off with a warning.

    Raises
    ------
    ValueError
        `max_length` is no positive integer, or the tokenizer has no token that could pad or wants no mask.
    """

    tokenizer: Any = field(repr=False, compare=False)
    max_length: int
    _vocabulary: str = field(init=False, default="")
    modality: ClassVar[Literal["text"]] = "text"

    def __post_init__(self) -> None:
        if not isinstance(self.max_length, int) or isinstance(self.max_length, bool) or self.max_length < 1:
            raise ValueError(f"max_length must be a positive integer, got {self.max_length!r}")
        tokenizer = self.tokenizer
        if "attention_mask" not in tokenizer.model_input_names:
            raise ValueError(
                f"{type(tokenizer).__name__} belongs to a network that takes no attention mask; load the "
                "network with transformers and give it to load_backbone with a preprocess of your own"
            )
        if tokenizer.pad_token is None:
            # Padding is masked, so any token will do.
            stand_in = tokenizer.eos_token or tokenizer.bos_token or tokenizer.unk_token
            if stand_in is None:
                raise ValueError(
                    f"{type(tokenizer).__name__} has no token to pad with; set tokenizer.pad_token"
                )
            tokenizer.pad_token = stand_in
        tokenizer.padding_side = tokenizer.truncation_side = "right"
        object.__setattr__(self, "_vocabulary", _vocabulary_hash(tokenizer))

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask`` (1 for text, 0 for padding), both (n, token) int64.

        Raises
        ------
        ValueError
            The set has no texts, or a text has no token.
        """
        if not stimuli.has_texts or stimuli.texts is None:
            raise ValueError(
                "this network takes text and the stimulus set has none: give StimulusSet(texts=...)"
            )
        everything = stimuli.texts
        texts = [everything[int(index)] for index in indices]
        # The count of tokens is wanted; the tokenizer's own warning would name no stimulus.
        lengths = [len(ids) for ids in self.tokenizer(texts, verbose=False)["input_ids"]]
        names = [str(stimuli.stimulus_ids[int(index)]) for index in indices]
        if 0 in lengths:
            raise ValueError(
                f"the text of stimulus {names[lengths.index(0)]!r} has no token; leave the stimulus out"
            )
        if max(lengths) > self.max_length:
            longest = int(np.argmax(lengths))
            warnings.warn(
                f"{sum(n > self.max_length for n in lengths)} of {len(texts)} texts were cut to "
                f"{self.max_length} tokens; the longest, {names[longest]!r}, has {lengths[longest]}",
                stacklevel=2,
            )
        batch = self.tokenizer(
            texts, padding="longest", truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    def describe(self) -> dict[str, Any]:
        """Return tokenizer, a hash of its vocabulary and rules, and the greatest length."""
        return {
            "kind": "text",
            "tokenizer": type(self.tokenizer).__name__,
            "vocabulary_sha256": self._vocabulary,
            "max_length": self.max_length,
        }


def _vocabulary_hash(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = sorted(tokenizer.get_vocab().items())
    else:
        # Padding and truncation are set anew by each call.
        rules = {
            key: v for key, v in json.loads(backend.to_str()).items() if key not in ("padding", "truncation")
        }
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
