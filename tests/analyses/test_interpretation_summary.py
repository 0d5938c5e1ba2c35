"""The file of a run that holds its attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from analyses.experiments import attention_summary
from analyses.experiments.attention_summary import ATTENTION, summarize_attention
from analyses.experiments.run_folder import read_netcdf
from analyses.interpretation import (
    attention_entropy_bits,
    content_dependence,
    lesion_effect,
    pointing_game,
    query_similarity,
    split_map_variance,
)
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.estimators.attention import AttentionEncoder
from encoders.estimators.probe import ProbeEncoder
from encoders.estimators.ridge import RidgeEncoder
from encoders.estimators.spatial import SpatialFeatureEncoder
from encoders.tokens import as_token_source
from encoders.training.settings import Training
from stimuli import StimulusSet
from tests.analyses.attention_maps import QUERIES, SENTENCES, planted_scenes, planted_summary, planted_texts


@pytest.fixture(scope="module")
def summary() -> xr.Dataset:
    return planted_summary()


def test_means_are_over_all_stimuli_in_any_batches(
    summary: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokens, router = planted_scenes()
    attention = router.attention(tokens)
    np.testing.assert_allclose(summary["mean_attention"], attention.mean(axis=(0, 2)), atol=1e-6)
    np.testing.assert_allclose(
        summary["entropy_bits"], attention_entropy_bits(attention).mean(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(summary["content_dependence"], content_dependence(attention), atol=1e-6)
    np.testing.assert_allclose(
        summary["content_share"], split_map_variance(attention).content_share, atol=1e-6
    )
    np.testing.assert_allclose(summary["query_similarity"], query_similarity(router.query_embeddings_))
    monkeypatch.setattr(attention_summary, "_BATCH_BYTES", 3 * 8 * 14 * 64)  # three stimuli at a time
    xr.testing.assert_allclose(planted_summary(), summary)


def test_stimuli_are_spread_evenly_or_the_best(summary: xr.Dataset) -> None:
    _, tokens, router = planted_scenes()
    assert summary["stimulus_id"].values[[0, -1]].tolist() == ["scene00", "scene39"]
    assert summary.sizes["stimulus"] == 12
    best = planted_summary(stimulus_scores=np.r_[np.full(38, np.nan), 0.2, 0.9], n_stimuli=2)
    assert best["stimulus_id"].values.tolist() == ["scene39", "scene38"]
    np.testing.assert_allclose(best["attention"], router.attention(tokens)[[39, 38]], atol=1e-6)


def test_the_file_says_what_was_attended_by_whom(summary: xr.Dataset, tmp_path: Path) -> None:
    planted_summary(out=tmp_path, fitted_on="the training trials of fold 1")
    read = read_netcdf(tmp_path / ATTENTION)
    xr.testing.assert_allclose(read.drop_vars("image"), summary.drop_vars("image"))
    assert read.attrs["layer"] == "vgg16:features.22"
    assert read.attrs["fitted_on"] == "the training trials of fold 1"
    assert read["query"].values.tolist() == QUERIES
    assert read["image"].dtype == np.uint8
    np.testing.assert_array_equal(read["row"].values[:9], [0] * 8 + [1])


def test_thumbnails_are_what_the_network_saw() -> None:
    scenes, tokens, router = planted_scenes(3)
    stimuli = StimulusSet(["a", "b", "c"], images=scenes.images)
    source = as_token_source(tokens, (8, 8))
    seen = ImagePreprocess(resize=80, crop=(40, 20))
    cropped = summarize_attention(router, source, stimuli, preprocess=seen)["image"]
    assert cropped.shape == (3, 160, 80, 3)
    # The middle of the picture, each pixel of the crop four times as large.
    whole = np.asarray(summarize_attention(router, source, stimuli)["image"])
    np.testing.assert_allclose(
        cropped.values[:, 20:140, 10:70].mean((1, 2)), whole[:, 45:115, 64:96].mean((1, 2)), atol=12
    )


def test_words_come_from_the_tokenizer_and_padding_has_none() -> None:
    texts = planted_texts()
    for row, sentence in enumerate(SENTENCES):
        words = texts["word"].values[row]
        assert " ".join(words).strip() == sentence
        np.testing.assert_array_equal(texts["attention"].values[row][..., words == ""], 0)
    assert "image" not in texts
    assert "content_dependence" not in texts  # places of words mean nothing across texts
    assert "content_share" not in texts


def fitted(encoder: Any, n_images: int) -> tuple[Any, np.ndarray, StimulusSet, np.ndarray]:
    """Fit to three voxels each that read the token marked by the first and by the second channel, wherever it is."""
    rng = np.random.default_rng(0)
    where = rng.integers(0, 16, (n_images, 2))
    content = rng.standard_normal((n_images, 16, 6))
    tokens = np.concatenate([2 * np.eye(16)[where].swapaxes(1, 2), content], axis=2).astype(np.float32)
    Y = np.concatenate(
        [content[np.arange(n_images), where[:, c]] @ rng.standard_normal((6, 3)) for c in range(2)], 1
    )
    stimuli = StimulusSet(
        [f"s{i}" for i in range(n_images)], images=rng.integers(0, 256, (n_images, 8, 8), np.uint8)
    )
    return encoder.fit(as_token_source(tokens, (4, 4)), Y), tokens, stimuli, where


QUICK = Training(lr=0.01, n_epochs=30)
MASKS = np.array([[True] * 3 + [False] * 3, [False] * 3 + [True] * 3])


def test_the_attention_encoder_is_summarized_and_points_at_what_it_reads() -> None:
    encoder, tokens, stimuli, where = fitted(
        AttentionEncoder(MASKS, ["one", "two"], n_heads=2, training=QUICK), 600
    )
    source = as_token_source(tokens, (4, 4))
    summary = summarize_attention(encoder, source, stimuli, layer_label="planted")
    assert summary["attention"].shape == (12, 2, 2, 16)
    assert summary.attrs["query_similarity_of"] == "query embeddings"
    marked = np.eye(16, dtype=bool)[where].reshape(-1, 2, 4, 4)
    for query, name in enumerate(("one", "two")):
        maps = encoder.attention_maps(source)[:, [query]]
        game = pointing_game(maps, marked[:, query], n_permutations=99, n_bootstrap=50)
        assert game.table["accuracy"].item() >= 0.95
        assert game.table["p_value"].item() <= 0.01
        assert summary["content_dependence"].sel(query=name) > 0.3
    effect = lesion_effect(
        encoder, source, k=1, n_bootstrap=50, voxel_groups={"one": MASKS[0], "two": MASKS[1]}
    )
    assert (effect.double_dissociation(("one", "one"), ("two", "two"))["lower"] > 0.5).all()


def test_voxels_with_queries_of_their_own_are_chosen_by_inner_scores() -> None:
    encoder, tokens, stimuli, _ = fitted(SpatialFeatureEncoder(training=Training(n_epochs=2)), 60)
    encoder.cv_scores_ = np.array([[0.1, np.nan, 0.5, 0.3, 0.2, 0.4]])
    names = [f"voxel {v}" for v in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_summary, "MAX_VOXEL_QUERIES", 3)
        summary = summarize_attention(encoder, as_token_source(tokens, (4, 4)), stimuli, names)
    assert summary["query"].values.tolist() == ["voxel 2", "voxel 5", "voxel 3"]
    np.testing.assert_allclose(summary["mean_attention"], encoder.spatial_maps([2, 5, 3]), atol=1e-6)
    np.testing.assert_allclose(summary["content_dependence"], 0, atol=1e-6)
    np.testing.assert_allclose(summary["content_share"], 0, atol=1e-6)
    assert summary.attrs["query_similarity_of"] == "mean maps"


def test_the_probe_is_summarized() -> None:
    encoder, tokens, stimuli, _ = fitted(ProbeEncoder(n_queries=2, training=Training(n_epochs=2)), 60)
    summary = summarize_attention(encoder, as_token_source(tokens, (4, 4)), stimuli)
    np.testing.assert_allclose(
        summary["mean_attention"], encoder.attention(tokens).mean(axis=(0, 2)), atol=1e-6
    )
    assert summary["query"].values.tolist() == ["query 0", "query 1"]


def test_misfits_are_refused() -> None:
    scenes, tokens, router = planted_scenes(5)
    stimuli = StimulusSet([f"s{i}" for i in range(5)], images=scenes.images)
    with pytest.raises(ValueError, match="4 rows for 5 stimuli"):
        summarize_attention(router, tokens[:4], stimuli)
    with pytest.raises(ValueError, match="stimulus_scores"):
        summarize_attention(router, tokens, stimuli, stimulus_scores=[1.0])
    with pytest.raises(ValueError, match="query_names"):
        summarize_attention(router, tokens, stimuli, ["V1"])
    with pytest.raises(TypeError, match="RidgeEncoder routes no tokens"):
        summarize_attention(RidgeEncoder(), tokens, stimuli)
