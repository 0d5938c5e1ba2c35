"""Figures of attention on the page of a run, and the words around them."""

from __future__ import annotations

import math
from collections.abc import Callable

import xarray as xr
from matplotlib.figure import Figure

from analyses.report.attention_figures import attention_heads, attention_maps, mean_attention_maps
from analyses.report.attention_reading import (
    MAX_IMAGES,
    MAX_LINES,
    MAX_MEAN_MAPS,
    MAX_ROWS,
    MAX_TEXTS,
    has_grid,
    query_labels,
    query_of_heads,
    token_grid,
)
from analyses.report.entries import Entry, RunData
from analyses.report.query_figures import attention_eccentricity, query_similarity_matrix
from analyses.report.style import number
from analyses.report.word_figures import attention_words
from stimuli.files import count_of


def _attention(run: RunData) -> xr.Dataset:
    assert run.attention is not None  # `missing` comes first
    return run.attention


def _missing(wanted: Callable[[xr.Dataset], bool], why: str) -> Callable[[RunData], str]:
    def missing(run: RunData) -> str:
        if run.attention is None:
            return "The run's model routes nothing by attention."
        return "" if wanted(run.attention) else why

    return missing


def _made_by(attention: xr.Dataset) -> str:
    """Say which model attends."""
    attrs = attention.attrs
    return f"Model: {attrs['encoder']} on {attrs['layer'] or 'the tokens'}, fitted on {attrs['fitted_on']}."


def _some_of(n: int, n_shown: int, noun: str, plural: str) -> str:
    return "" if n <= n_shown else f" {n_shown} of {count_of(n, noun, plural)} are shown, evenly spread."


def _queries(attention: xr.Dataset, n_shown: int) -> str:
    chosen = str(attention.attrs.get("queries_shown", ""))
    voxels = f" Each voxel has a query of its own; these are {chosen}." if chosen else ""
    return _some_of(attention.sizes["query"], n_shown, "query", "queries") + voxels


_SCALE = "as a multiple of what a place would have if attention were spread evenly"
_NOT_IMPORTANCE = (
    "Attention says what a query reads, not by itself what the prediction depends on: a lesion of the attended tokens"
    " tests that."
)


def _maps_caption(run: RunData) -> str:
    attention = _attention(run)
    n_images, size = attention.sizes["stimulus"], attention.attrs.get("image_size_deg")
    shown = "" if n_images <= MAX_IMAGES else f"; {MAX_IMAGES} of {n_images} are drawn"
    bar = "" if size is None else " The bar in the first image is in degrees of visual angle."
    return (
        f"Where each query (row) attends in each image (column), averaged over heads, {_SCALE}; dark is none, and each"
        " row has a scale of its own. Bits are the entropy of a map, averaged over all"
        f" {attention.attrs['n_stimuli']:,} stimuli: {number(_most_bits(attention), 1)} bits are even attention, 0 a"
        f" single place. The images are {attention.attrs['stimuli_shown']}{shown}.{bar}"
        f"{_queries(attention, MAX_ROWS)} {_made_by(attention)}"
        f" {_NOT_IMPORTANCE}"
    )


def _most_bits(attention: xr.Dataset) -> float:
    return math.log2(attention.sizes["token"])


def _heads_caption(run: RunData) -> str:
    attention = _attention(run)
    name = query_labels(attention)[query_of_heads(attention)]
    return (
        f"The heads of {name}, the query whose heads differ most, {_SCALE}; each row has a scale of its own."
        f" {_made_by(attention)}"
    )


def _mean_caption(run: RunData) -> str:
    attention = _attention(run)
    return (
        f"Attention averaged over all {attention.attrs['n_stimuli']:,} stimuli and over heads, {_SCALE}: white is even,"
        " red more, blue less. The cross is the centre of the image. Content is the share of what sets maps apart from"
        " even attention (squared distance) that follows the image: 0 % for a map that is the same for all images,"
        " 100 % where the mean map is even and each image has its own. Bits say how much there is to share: maps near"
        f" even have little.{_queries(attention, MAX_MEAN_MAPS)} {_made_by(attention)}"
    )


def _similarity_caption(run: RunData) -> str:
    attention = _attention(run)
    of = (
        "the learned queries, averaged over the models of the ensemble"
        if attention.attrs["query_similarity_of"] == "query embeddings"
        else "the mean maps, as the model learns no query vectors"
    )
    return (
        f"Cosine between {of}; queries stand in the order of a tree that joins the most alike first."
        f"{_queries(attention, attention.sizes['query'])} {_made_by(attention)}"
    )


def _eccentricity_caption(run: RunData) -> str:
    attention = _attention(run)
    unit = (
        "Distances are in degrees of visual angle, and the centre of the image is taken as fixation."
        if "image_size_deg" in attention.attrs
        else "How large people saw the images is not recorded, so distances are in widths of the image."
    )
    return (
        f"Left: attention in rings around the centre of the image, averaged over all stimuli, {_SCALE}; a line a query,"
        " in the colours of the right panel. Right: mean distance of attention from the centre; the dashed line is even"
        f" attention, whose mean distance is not zero. {unit}{_queries(attention, MAX_LINES)} {_made_by(attention)}"
    )


def _eccentricity_alt(run: RunData) -> str:
    attention = _attention(run)
    tokens = token_grid(attention)
    means = attention["mean_attention"].transpose("query", "token").values @ tokens.eccentricity_deg
    rows = [f"{name} {number(mean)}" for name, mean in zip(query_labels(attention), means, strict=True)]
    return (
        f"Mean attended eccentricity by query: {', '.join(rows[:12])}; even attention has"
        f" {number(tokens.uniform_eccentricity_deg)}."
    )


def _entropies(run: RunData) -> str:
    attention = _attention(run)
    bits = attention["entropy_bits"].values
    rows = [f"{name} {value:.1f}" for name, value in zip(query_labels(attention), bits, strict=True)]
    return f"Entropy in bits by query: {', '.join(rows[:12])}."


def _words_caption(run: RunData) -> str:
    attention = _attention(run)
    return (
        "Words shaded by attention, averaged over heads: a block a text, a line a query; the darkest word of a line has"
        f" the strongest attention in that text.{_queries(attention, MAX_TEXTS)}"
        f"{_some_of(attention.sizes['stimulus'], MAX_TEXTS, 'text', 'texts')} {_made_by(attention)} {_NOT_IMPORTANCE}"
    )


def _of_attention(draw: Callable[[xr.Dataset], Figure]) -> Callable[[RunData], Figure]:
    return lambda run: draw(_attention(run))


_NO_PLACES = "The tokens are not places of an image."

#: Figures of runs that have an `attention.nc`, in the order of the page.
ATTENTION_ENTRIES = (
    Entry(
        "attention_maps",
        "Where queries attend",
        _missing(has_grid, _NO_PLACES),
        _of_attention(attention_maps),
        _maps_caption,
        lambda run: f"Attention maps laid over images, a row a query. {_entropies(run)}",
    ),
    Entry(
        "attention_heads",
        "Heads of one query",
        _missing(
            lambda attention: has_grid(attention) and attention.sizes["head"] > 1, "There is one head only."
        ),
        _of_attention(attention_heads),
        _heads_caption,
        lambda run: "Attention maps of each head of one query, laid over images.",
        folded=True,
    ),
    Entry(
        "attention_words",
        "Which words queries attend to",
        _missing(lambda attention: "word" in attention.coords, "The tokens are not words."),
        _of_attention(attention_words),
        _words_caption,
        lambda run: f"Texts whose words are shaded by attention, a line a query. {_entropies(run)}",
    ),
    Entry(
        "mean_attention_maps",
        "Mean attention of each query",
        _missing(has_grid, _NO_PLACES),
        _of_attention(mean_attention_maps),
        _mean_caption,
        lambda run: f"Mean attention maps, a panel a query. {_entropies(run)}",
    ),
    Entry(
        "attention_eccentricity",
        "Attention against eccentricity",
        _missing(has_grid, _NO_PLACES),
        _of_attention(attention_eccentricity),
        _eccentricity_caption,
        _eccentricity_alt,
    ),
    Entry(
        "query_similarity",
        "How alike queries are",
        _missing(lambda attention: attention.sizes["query"] > 1, "There is one query only."),
        _of_attention(query_similarity_matrix),
        _similarity_caption,
        lambda run: "Matrix of cosines between queries, similar ones side by side.",
    ),
)
