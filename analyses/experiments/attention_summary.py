"""What the attention of a fitted encoder looks like, in one small file of its run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from analyses.experiments.run_folder import write_netcdf
from analyses.interpretation.attention import (
    check_attention,
    dependence_from_entropies,
    entropy_bits,
    split_from_moments,
)
from analyses.interpretation.encoder_attention import name_queries, read_attention
from analyses.interpretation.queries import query_similarity
from encoders.tokens import TokenSource, as_token_source
from stimuli import StimulusSet

ATTENTION = "attention.nc"
MAX_STIMULI = 12
MAX_VOXEL_QUERIES = 12
THUMBNAIL_PX = 160
_BATCH_BYTES = 64 << 20
# How tokenizers mark a word's beginning, or a word's continuation, in the tokens themselves.
_MARKS = (("Ġ", " "), ("▁", " "), ("##", ""))


def summarize_attention(
    encoder: Any,
    tokens: Any,
    stimuli: StimulusSet,
    query_names: Sequence[str] | None = None,
    layer_label: str = "",
    out: str | Path | None = None,
    *,
    fitted_on: str = "all samples",
    preprocess: Any = None,
    stimulus_scores: ArrayLike | None = None,
    image_size_deg: float | None = None,
    n_stimuli: int = MAX_STIMULI,
) -> xr.Dataset:
    """Gather attention over all stimuli, and keep that of a few.

    Parameters
    ----------
    encoder : fitted encoder
        With `attention(X)` or `spatial_maps()`. Where each voxel has a query of its own, up to 12 are
        kept: those of the best inner scores (`cv_scores_`).
    tokens : TokenSource or array
        Tokens of all `stimuli`, in their order; read in bounded memory.
    stimuli : StimulusSet
    query_names : sequence of str, optional
        Of all queries; the encoder's own, or numbers, when None.
    layer_label : str
        Where the tokens come from, ``SPACE:LAYER``.
    out : path, optional
        Folder of the run; `attention.nc` is written there.
    fitted_on : str
        What the encoder was fitted on, in words that fit "a model fitted on ...".
    preprocess : ImagePreprocess or TextPreprocess, optional
        Of the backbone: pictures are then shown as the network saw them, and texts by their tokens. Without it,
        pictures are taken to have been seen whole.
    stimulus_scores : (n_stimuli,) array, optional
        The stimuli with the highest are kept; evenly spread ones when None.
    image_size_deg : float, optional
        Width, in degrees of visual angle, of the picture that the network saw (of the crop, where it crops).
    n_stimuli : int
        How many are kept at most.

    Returns
    -------
    xarray.Dataset
        As `docs/architecture.md` describes `attention.nc`.

    Raises
    ------
    TypeError
        The encoder has no attention.
    ValueError
        Numbers of tokens, stimuli, names or scores do not match.
    """
    source = as_token_source(tokens)
    if len(source) != len(stimuli):
        raise ValueError(f"tokens has {len(source)} rows for {len(stimuli)} stimuli; give one row a stimulus")
    if n_stimuli < 1:
        raise ValueError(f"n_stimuli is {n_stimuli}; at least 1 is needed")
    queries = _best_voxels(encoder)
    shown = _choose_stimuli(len(stimuli), stimulus_scores, n_stimuli)
    attention = check_attention(read_attention(encoder, source[shown], queries))
    chosen_names = None if query_names is None else np.asarray(query_names)
    if chosen_names is not None and queries is not None:
        if len(chosen_names) <= max(queries):
            raise ValueError(f"query_names has {len(chosen_names)} names, too few for query {max(queries)}")
        chosen_names = chosen_names[queries]
    names = name_queries(encoder, queries, attention.shape[1], chosen_names)
    mean, entropy, distance = _stream(encoder, source, queries, attention.shape[1] * attention.shape[2])
    similarity, similarity_of = _similarity(encoder, queries, mean)
    variables: dict[str, Any] = {
        "attention": (("stimulus", "query", "head", "token"), attention.astype(np.float32)),
        "mean_attention": (("query", "token"), mean.astype(np.float32)),
        "entropy_bits": ("query", entropy),
        "query_similarity": (("query", "other_query"), similarity),
    }
    coordinates: dict[str, Any] = {
        "stimulus_id": ("stimulus", np.asarray(stimuli.stimulus_ids)[shown]),
        "query": names,
    }
    if source.grid is not None:
        variables["content_dependence"] = ("query", dependence_from_entropies(entropy_bits(mean), entropy))
        if len(source) > 1:
            split = split_from_moments(mean, distance, len(source))
            variables["content_share"] = ("query", split.content_share)
        coordinates["row"] = ("token", np.repeat(np.arange(source.grid[0]), source.grid[1]))
        coordinates["column"] = ("token", np.tile(np.arange(source.grid[1]), source.grid[0]))
        if stimuli.has_images:
            pictures = np.stack([_thumbnail(stimuli, int(row), source.grid, preprocess) for row in shown])
            variables["image"] = (("stimulus", "y", "x", "rgb"), pictures)
    elif stimuli.has_texts:
        coordinates["word"] = (("stimulus", "token"), _words(stimuli, shown, source.shape[1], preprocess))
    attributes = {
        "layer": layer_label,
        "fitted_on": fitted_on,
        "encoder": type(encoder).__name__,
        "n_stimuli": len(stimuli),
        "queries_shown": "" if queries is None else "the best predicted by inner cross-validation",
        "query_similarity_of": similarity_of,
        "stimuli_shown": "spread evenly over the stimuli"
        if stimulus_scores is None
        else "those predicted best",
    }
    if image_size_deg is not None:
        attributes["image_size_deg"] = float(image_size_deg)
    summary = xr.Dataset(variables, coords=coordinates, attrs=attributes)
    if out is not None:
        write_netcdf(summary, Path(out) / ATTENTION)
    return summary


def _best_voxels(encoder: Any) -> list[int] | None:
    """Numbers of the queries that are kept where each voxel has one; None keeps all."""
    if not isinstance(getattr(encoder, "queries", None), str) or encoder.queries != "voxel":
        return None
    scores = np.nan_to_num(np.asarray(encoder.cv_scores_, dtype=np.float64).reshape(-1), nan=-np.inf)
    return [int(voxel) for voxel in np.argsort(-scores, kind="stable")[:MAX_VOXEL_QUERIES]]


def _choose_stimuli(n: int, scores: ArrayLike | None, n_shown: int) -> NDArray[np.intp]:
    if scores is None:
        return np.unique(np.linspace(0, n - 1, min(n_shown, n)).round().astype(np.intp))
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(
            f"stimulus_scores has shape {values.shape} for {n} stimuli; one score each is needed"
        )
    return np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:n_shown]


def _stream(
    encoder: Any, source: TokenSource, queries: list[int] | None, n_maps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean map (n_queries, n_tokens), mean entropy and squared distance from uniform (n_queries,), heads averaged."""
    total: Any = 0.0
    entropy: Any = 0.0
    distance: Any = 0.0
    for rows in _batches(source, max(1, _BATCH_BYTES // (8 * n_maps * source.shape[1]))):
        maps = check_attention(read_attention(encoder, source[rows], queries)).mean(axis=2)
        total, entropy = total + maps.sum(axis=0), entropy + entropy_bits(maps).sum(axis=0)
        distance = distance + ((maps - 1 / maps.shape[-1]) ** 2).sum(axis=(0, -1))
    return total / len(source), entropy / len(source), distance / len(source)


def _batches(source: TokenSource, n_rows: int) -> Iterator[NDArray[np.intp]]:
    for rows in source.blocks():
        for start in range(0, len(rows), n_rows):
            yield rows[start : start + n_rows]


def _similarity(
    encoder: Any, queries: list[int] | None, mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    embeddings = getattr(encoder, "query_embeddings_", None)
    if embeddings is None:
        return query_similarity(mean[None]), "mean maps"
    chosen = np.asarray(embeddings) if queries is None else np.asarray(embeddings)[:, queries]
    return query_similarity(chosen), "query embeddings"


def _thumbnail(stimuli: StimulusSet, row: int, grid: tuple[int, int], preprocess: Any) -> NDArray[np.uint8]:
    """The picture that the network saw, its longer side at most 160 pixels, uint8 (row, column, 3)."""
    if preprocess is None:
        picture = stimuli.image(row)
        height, width = (side / max(grid) for side in grid)
    else:
        seen = preprocess.transform(stimuli.image(row)).permute(1, 2, 0).numpy()
        picture = np.clip(seen * np.asarray(preprocess.std) + np.asarray(preprocess.mean), 0, 1)
        height, width = (side / max(picture.shape[:2]) for side in picture.shape[:2])
    if picture.dtype != np.uint8:
        picture = np.round(255 * picture).astype(np.uint8)
    size = (max(1, round(THUMBNAIL_PX * width)), max(1, round(THUMBNAIL_PX * height)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _words(stimuli: StimulusSet, rows: NDArray[np.intp], n_tokens: int, preprocess: Any) -> NDArray[np.str_]:
    """Tokens of each text, (n_rows, n_tokens), "" where padded."""
    words = np.full((len(rows), n_tokens), "", dtype=object)
    if preprocess is None:
        words[:] = [f"token {number}" for number in range(1, n_tokens + 1)]
        return words.astype(str)
    for place, row in enumerate(rows):
        ids = preprocess(stimuli, [int(row)])["input_ids"][0].tolist()[:n_tokens]
        for token, text in enumerate(preprocess.tokenizer.convert_ids_to_tokens(ids)):
            for mark, written in _MARKS:
                text = text.replace(mark, written)
            words[place, token] = text.strip() or text
    return words.astype(str)
