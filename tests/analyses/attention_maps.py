"""Attention with a planted look, over grids of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.special import softmax

from analyses.datasets.simulated_scenes import Scenes, scenes_with_objects
from analyses.experiments.attention_summary import summarize_attention
from analyses.interpretation import TokenGrid, region_cover
from encoders.tokens import as_token_source
from stimuli import StimulusSet


def random_attention(
    n_samples: int = 6, n_queries: int = 3, n_heads: int = 2, n_tokens: int = 12, seed: int = 0
):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(n_tokens, 0.5), size=(n_samples, n_queries, n_heads))


def gaussian_maps(centres: np.ndarray, grid: tuple[int, int], sd: float) -> np.ndarray:
    """Round maps (..., n_rows * n_columns) around centres (..., 2) given as (row, column) in tokens from the corner."""
    rows, columns = np.mgrid[: grid[0], : grid[1]] + 0.5
    places = np.stack([rows.ravel(), columns.ravel()], axis=-1)
    distance = ((places - np.asarray(centres)[..., None, :]) ** 2).sum(axis=-1)
    weights = np.exp(-distance / (2 * sd**2))
    return weights / weights.sum(axis=-1, keepdims=True)


class PlantedRouting:
    """Attends by what tokens hold and where they lie, both planted: softmax(tokens @ keys + places)."""

    def __init__(
        self, keys: np.ndarray, places: np.ndarray, query_names: list[str], n_heads: int = 2
    ) -> None:
        self.keys, self.places, self.query_names, self.n_heads = keys, places, query_names, n_heads
        self.query_embeddings_ = np.concatenate([keys, places, np.ones((len(keys), 1))], axis=1)[None]

    def attention(self, X: Any) -> np.ndarray:
        tokens = as_token_source(X).read()
        scores = np.einsum("ntc,qc->nqt", np.nan_to_num(tokens), self.keys) + self.places
        scores = np.where(np.isnan(tokens).all(axis=2)[:, None], -np.inf, scores)
        # The second head looks more broadly than the first.
        heads = np.stack([softmax(scores / (1 + head), axis=-1) for head in range(self.n_heads)], axis=2)
        return heads.astype(np.float32)


QUERIES = ["disc seeker", "ring seeker", "cross seeker", "fovea", "periphery", "left field", "even"]


def planted_scenes(
    n_images: int = 40, side: int = 8, seed: int = 0
) -> tuple[Scenes, np.ndarray, PlantedRouting]:
    """Scenes, tokens (n_images, side * side, 3) that say how much of each category they hold, and a router of them."""
    scenes = scenes_with_objects(n_images, seed=seed)
    cover = region_cover(scenes.masks, (side, side))
    tokens = np.moveaxis(cover, 1, 2).astype(np.float32)
    field = TokenGrid.of_image((side, side), 8.0)
    keys, places = np.zeros((7, 3)), np.zeros((7, side * side))
    keys[:3] = 9 * np.eye(3)
    places[3], places[4] = -1.2 * field.eccentricity_deg, 0.9 * field.eccentricity_deg
    places[5] = -0.9 * field.positions_deg[:, 0]
    return scenes, tokens, PlantedRouting(keys, places, QUERIES)


def planted_summary(n_images: int = 40, side: int = 8, **options: Any) -> xr.Dataset:
    """The `attention.nc` of `planted_scenes`."""
    scenes, tokens, router = planted_scenes(n_images, side)
    stimuli = StimulusSet([f"scene{i:02}" for i in range(n_images)], images=scenes.images)
    source = as_token_source(tokens, (side, side))
    options = {"layer_label": "vgg16:features.22", "image_size_deg": 8.0} | options
    return summarize_attention(router, source, stimuli, **options)


SENTENCES = ["a photo of a bottle", "a photo of a pair of scissors", "houses", "two cats and a face"]


def planted_texts() -> xr.Dataset:
    """The `attention.nc` of texts whose words are their tokens; one query looks for nouns, one at the beginning."""
    words = [sentence.split() for sentence in SENTENCES]
    longest = max(map(len, words))
    tokens = np.full((len(words), longest, 2), np.nan, np.float32)
    for row, of_text in enumerate(words):
        for token, word in enumerate(of_text):
            tokens[row, token] = (len(word) > 4, token == 0)
    router = PlantedRouting(np.array([[3.0, 0], [0, 3.0]]), np.zeros((2, longest)), ["nouns", "beginning"])
    stimuli = StimulusSet([f"text{i}" for i in range(len(words))], texts=SENTENCES)
    return summarize_attention(
        router, tokens, stimuli, layer_label="minilm:encoder.layer.5", preprocess=Whitespace()
    )


class Whitespace:
    """A text preprocess whose tokens are the words."""

    modality = "text"

    def __init__(self) -> None:
        self.tokenizer = self

    def __call__(self, stimuli: StimulusSet, rows: Any) -> dict[str, Any]:
        assert stimuli.texts is not None
        self.words = stimuli.texts[rows[0]].split()
        return {"input_ids": np.arange(len(self.words))[None]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.words[i] for i in ids]
