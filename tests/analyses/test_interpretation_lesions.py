"""Lesions of tokens, and their effects where the answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.interpretation import lesion_effect, lesion_tokens
from encoders.tokens import as_token_source


class RoutedReadout:
    """Voxel v reads channel 0 of the tokens by fixed weights a[v]; an absent token counts as zero."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights
        self.query_names = [f"q{number}" for number in range(len(weights))]

    def predict(self, X: Any) -> np.ndarray:
        return np.nan_to_num(as_token_source(X).read()[:, :, 0]) @ self.weights.T.astype(np.float64)

    def attention(self, X: Any, queries: Any = None) -> np.ndarray:
        maps = np.tile(self.weights[:, None], (len(as_token_source(X)), 1, 1, 1))
        return maps if queries is None else maps[:, list(queries)]


def planted(n_samples: int = 200, n_tokens: int = 10, seed: int = 0) -> tuple[np.ndarray, RoutedReadout]:
    """Two voxels: the first reads tokens 0 and 1, the second tokens 2 and 3; token values are independent."""
    X = np.random.default_rng(seed).standard_normal((n_samples, n_tokens, 3)).astype(np.float32)
    weights = np.zeros((2, n_tokens))
    weights[0, :2] = weights[1, 2:4] = 0.5
    return X, RoutedReadout(weights)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 9),
    st.floats(0.05, 0.6),
    st.sampled_from(["attended", "least", "random"]),
    st.integers(0, 1000),
)
def test_as_many_are_taken_as_asked_for_and_those_that_were_asked_for(
    n_tokens: int, fraction: float, how: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((4, n_tokens, 2)).astype(np.float32)
    if n_tokens > 4:
        X[0, -2:] = np.nan  # padding
    attention = rng.random((4, n_tokens))
    lesioned = lesion_tokens(X, attention, fraction=fraction, how=how, seed=seed)
    for row in range(4):
        present = np.flatnonzero(~np.isnan(X[row, :, 0]))
        gone = np.flatnonzero(np.isnan(lesioned[row, :, 0]) & ~np.isnan(X[row, :, 0]))
        assert len(gone) == max(1, round(fraction * len(present)))
        ranked = present[np.argsort(attention[row, present])]
        if how != "random":
            assert set(gone) == set(ranked[-len(gone) :] if how == "attended" else ranked[: len(gone)])
        left = np.setdiff1d(present, gone)
        np.testing.assert_array_equal(lesioned[row, left], X[row, left])


def test_the_mean_token_takes_the_place() -> None:
    X, _ = planted(20)
    attention = np.arange(10.0)
    own = lesion_tokens(X, attention, k=3, replace="mean")
    np.testing.assert_allclose(own[:, 7:], np.broadcast_to(X.mean(axis=(0, 1)), (20, 3, 3)), atol=1e-6)
    np.testing.assert_array_equal(own[:, :7], X[:, :7])
    given_mean = lesion_tokens(X, attention, k=1, replace="mean", mean_token=[1, 2, 3])
    np.testing.assert_array_equal(given_mean[:, 9], np.tile([1, 2, 3], (20, 1)))


def test_random_lesions_follow_the_seed_and_ties_are_not_broken_by_place() -> None:
    X, _ = planted(300)
    first, again, other = (lesion_tokens(X, None, k=2, how="random", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.isnan(first) != np.isnan(other)).any()
    tied = np.isnan(lesion_tokens(X, np.ones(10), k=2)[..., 0]).mean(axis=0)
    assert np.abs(tied - 0.2).max() < 0.1


def test_the_data_are_left_as_they_are() -> None:
    X, _ = planted(5)
    before = X.copy()
    lesion_tokens(X, np.arange(10.0), k=2)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of them"),
        ({"k": 1, "fraction": 0.1}, "give one of them"),
        ({"k": 0}, "at least 1 token"),
        ({"k": 10}, "would lose 10"),
        ({"fraction": 1.0}, "between 0 and 1"),
        ({"k": 1, "how": "most"}, "how"),
        ({"k": 1, "replace": "zero"}, "replace"),
        ({"k": 1, "replace": "mean", "mean_token": [1.0]}, "mean_token"),
    ],
)
def test_wrong_lesions_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lesion_tokens(planted(3)[0], np.arange(10.0), **options)


def test_attention_of_other_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="attention"):
        lesion_tokens(planted(3)[0], np.ones((3, 2, 10)), k=1)
    with pytest.raises(ValueError, match="attention"):
        lesion_tokens(planted(3)[0], None, k=1)


def test_effects_are_those_of_the_arithmetic() -> None:
    X, encoder = planted(n_samples=4000)
    Y = encoder.predict(X)
    effect = lesion_effect(
        encoder, X, Y, k=1, n_random=4, n_bootstrap=20, voxel_groups={"a": np.array([True, False])}
    )
    # One of two tokens that are read alike is gone: r falls to sqrt(1/2); another voxel's tokens do nothing.
    np.testing.assert_allclose(effect.r_intact, 1)
    np.testing.assert_allclose(np.diag(effect.r_drop), 1 - np.sqrt(0.5), atol=0.02)
    assert np.abs(effect.r_drop[[0, 1], [1, 0]]).max() < 1e-9
    # A random token of 10 hits one of the two with chance 1/5, in each sample anew. Then cov(prediction, Y) is
    # (9/10) var(Y) and var(prediction) the same, so that r = sqrt(9/10).
    np.testing.assert_allclose(effect.r_drop_random, 1 - np.sqrt(0.9), atol=0.02)
    row = effect.table.set_index("query").loc["q0"]
    assert row["specific"] == pytest.approx(np.sqrt(0.9) - np.sqrt(0.5), abs=0.02)
    assert row["lower"] < np.sqrt(0.9) - np.sqrt(0.5) < row["upper"]


def test_a_voxel_that_loses_all_it_reads_is_not_left_out() -> None:
    X, encoder = planted()
    effect = lesion_effect(encoder, X, encoder.predict(X), k=2, n_bootstrap=20)
    np.testing.assert_allclose(np.diag(effect.r_drop), 1)
    assert effect.table.set_index("query").loc["q0", "drop"] == pytest.approx(0.5)  # mean of 1 and 0


def test_response_drops_are_in_units_of_the_response() -> None:
    X, encoder = planted(2000)
    X[:, :, 0] += 3
    effect = lesion_effect(encoder, X, k=2, n_bootstrap=20)
    np.testing.assert_allclose(np.diag(effect.response_drop), encoder.predict(X).mean(axis=0))
    np.testing.assert_allclose(effect.response_drop[[0, 1], [1, 0]], 0)
    # Each token is gone from a fifth of the samples.
    np.testing.assert_allclose(effect.response_drop_random, 0.6, atol=0.1)
    np.testing.assert_allclose(effect.r_intact, 1)


def test_mean_tokens_do_not_shift_predictions_and_others_do() -> None:
    X, encoder = planted(2000)
    X[:, :, 0] += 3
    own = lesion_effect(encoder, X, k=2, replace="mean", n_bootstrap=10)
    assert np.abs(own.response_drop).max() < 0.1
    training = lesion_effect(encoder, X, k=2, replace="mean", mean_token=[2.0, 0, 0], n_bootstrap=10)
    np.testing.assert_allclose(np.diag(training.response_drop), 1, atol=0.1)


def test_batches_do_not_matter_and_seeds_do() -> None:
    X, encoder = planted(50)
    Y = encoder.predict(X) + np.random.default_rng(1).standard_normal((50, 2))
    effects = [
        lesion_effect(encoder, X, Y, k=1, n_bootstrap=30, batch_rows=rows, seed=seed)
        for rows, seed in ((50, 0), (7, 0), (50, 1))
    ]
    np.testing.assert_array_equal(effects[0].r_drop_random, effects[1].r_drop_random)
    assert effects[0].table.equals(effects[1].table)
    assert (effects[0].r_drop_random != effects[2].r_drop_random).any()


def test_double_dissociation_is_found_where_planted_and_not_elsewhere() -> None:
    X, encoder = planted(300)
    rng = np.random.default_rng(2)
    Y = encoder.predict(X) + 0.5 * rng.standard_normal((300, 2))
    groups = {"first": np.array([True, False]), "second": np.array([False, True])}
    effect = lesion_effect(encoder, X, Y, k=2, voxel_groups=groups, n_bootstrap=300)
    assert effect.specific.loc["q0", "first"] > 0.5
    found = effect.double_dissociation(("q0", "first"), ("q1", "second"))
    assert (found["lower"] > 0.3).all()
    assert found.loc["q0", "difference"] == pytest.approx(
        effect.specific.loc["q0", "first"] - effect.specific.loc["q0", "second"]
    )
    # Attention that looks where nothing is read dissociates nothing.
    elsewhere = np.zeros((300, 2, 10))
    elsewhere[:, 0, 8] = elsewhere[:, 1, 9] = 1
    none = lesion_effect(encoder, X, Y, attention=elsewhere, k=1, voxel_groups=groups, n_bootstrap=300)
    assert (none.double_dissociation(("q0", "first"), ("q1", "second"))["lower"] < 0).all()
    assert (none.table["specific"] < 0).all()  # as a random token would have done more harm
    with pytest.raises(KeyError, match="q7"):
        effect.double_dissociation(("q7", "first"), ("q1", "second"))


def test_chosen_queries_keep_their_names() -> None:
    X, encoder = planted(30)
    effect = lesion_effect(encoder, X, queries=[1], k=1, n_bootstrap=10)
    assert effect.query_names == ("q1",)
    assert effect.r_drop[0, 1] > 0.1


def test_misfits_are_refused() -> None:
    X, encoder = planted(10)
    with pytest.raises(ValueError, match="Y has shape"):
        lesion_effect(encoder, X, np.ones((10, 3)))
    with pytest.raises(ValueError, match="attention has shape"):
        lesion_effect(encoder, X, attention=np.ones((9, 2, 10)))
    with pytest.raises(ValueError, match="n_random"):
        lesion_effect(encoder, X, n_random=0)
    with pytest.raises(ValueError, match="units holds 1"):
        lesion_effect(encoder, X, units=np.zeros(10))

    class Pooled:
        def predict(self, X: Any) -> np.ndarray:
            return as_token_source(X).read().mean(axis=1)

    with pytest.raises(TypeError, match="Pooled routes no tokens"):
        lesion_effect(Pooled(), X, replace="mean")
