"""Attention on annotated regions: exact shares, and a null that keeps fixed maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.interpretation import box_masks, category_shares, pointing_game, region_attention, region_cover
from tests.analyses.attention_maps import gaussian_maps, random_attention
from tests.oracles import interpretation as oracle


def random_masks(n_samples: int, n_regions: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n_samples, n_regions, height, width)) < 0.3


def moving_objects(n: int, side_px: int = 48, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Round objects of 6 pixels radius, more often in the middle, and their centres (row, column) in pixels."""
    centres = np.clip(np.random.default_rng(seed).normal(side_px / 2, side_px / 6, (n, 2)), 6, side_px - 6)
    rows, columns = np.mgrid[:side_px, :side_px] + 0.5
    distance = np.hypot(rows - centres[:, :1, None], columns - centres[:, 1:, None])
    return distance <= 6, centres


def test_cover_is_the_share_of_each_patch() -> None:
    masks = random_masks(3, 2, 12, 18)
    cover = region_cover(masks, (4, 6))
    expected = masks.reshape(3, 2, 4, 3, 6, 3).mean(axis=(3, 5)).reshape(3, 2, 24)
    np.testing.assert_allclose(cover, expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 9), st.integers(0, 1000))
def test_cover_keeps_area_on_any_grid(n_rows: int, n_columns: int, more: int, seed: int) -> None:
    masks = random_masks(2, 2, n_rows + more, n_columns + 2 * more, seed)
    cover = region_cover(masks, (n_rows, n_columns))
    np.testing.assert_allclose(cover.mean(axis=-1), masks.mean(axis=(2, 3)), atol=1e-12)
    assert ((cover >= 0) & (cover <= 1)).all()


def test_region_attention_is_attention_over_pixels() -> None:
    maps = random_attention(4, 2, 2, 15).reshape(4, 2, 2, 3, 5)
    masks = random_masks(4, 2, 9, 20)
    table = region_attention(
        maps, masks, ["face", "house"], ["OFA", "PPA"], n_permutations=20, n_bootstrap=20
    )
    table = table.set_index(["query", "region"])
    for q, query in enumerate(("OFA", "PPA")):
        for r, region in enumerate(("face", "house")):
            shares = [
                oracle.share_in_mask(maps[s, q].mean(axis=0).ravel(), (3, 5), masks[s, r]) for s in range(4)
            ]
            row = table.loc[(query, region)]
            assert row["attention_share"] == pytest.approx(np.mean(shares), abs=1e-9)
            assert row["area_share"] == pytest.approx(masks[:, r].mean())
            assert row["enrichment"] == pytest.approx(np.mean(shares) / masks[:, r].mean(), abs=1e-9)


def test_a_central_bias_is_not_taken_for_following() -> None:
    masks, centres = moving_objects(150)
    follower = gaussian_maps(centres / 48 * 8, (8, 8), 0.8)
    central = np.tile(gaussian_maps(np.array([4.0, 4.0]), (8, 8), 1.5), (150, 1))
    rng = np.random.default_rng(99)
    wandering = gaussian_maps(rng.normal(4, 1.2, (150, 2)), (8, 8), 1.0)  # changes, but not with the object
    maps = np.stack([follower, central, wandering], axis=1).reshape(150, 3, 8, 8)
    table = region_attention(
        maps, masks[:, None], ["object"], ["follower", "central", "wandering"]
    ).set_index("query")
    # All three are enriched on objects, since these lie in the middle more often than not.
    assert (table["lower"] > 1.2).all()
    assert table.loc["follower", "p_value"] < 0.01
    assert table.loc["follower", "enrichment"] > 3 * table.loc["follower", "null_enrichment"]
    assert table.loc["central", "p_value"] == 1
    assert table.loc["central", "null_enrichment"] == pytest.approx(table.loc["central", "enrichment"])
    assert table.loc["wandering", "p_value"] > 0.05


def test_p_values_are_uniform_where_nothing_is_followed() -> None:
    p_values = []
    for seed in range(100):
        maps = random_attention(12, 1, 1, 9, seed).reshape(12, 1, 3, 3)
        masks = random_masks(12, 1, 6, 6, seed + 1000)
        p_values.append(region_attention(maps, masks, n_permutations=99, n_bootstrap=5)["p_value"].item())
    assert 0.0 <= np.mean(np.array(p_values) <= 0.05) <= 0.11
    assert 0.4 < np.mean(p_values) < 0.6


def test_a_region_that_no_image_shows_has_no_enrichment() -> None:
    masks = random_masks(5, 2, 6, 6)
    masks[:, 1] = False
    table = region_attention(
        random_attention(5, 1, 1, 9).reshape(5, 1, 3, 3), masks, n_permutations=9, n_bootstrap=9
    )
    assert table["n_images"].tolist() == [5, 0]
    assert table.loc[1, ["enrichment", "lower", "upper", "null_enrichment", "p_value"]].isna().all()


@pytest.mark.parametrize("k_px", [1, 7, 8, 30, 96])
def test_category_shares_are_those_of_the_most_attended_pixels(k_px: int) -> None:
    maps = random_attention(3, 2, 1, 12).reshape(3, 2, 3, 4)
    maps[0, 0] = 1 / 12  # all tied
    masks = random_masks(3, 2, 6, 16)
    shares = category_shares(maps, masks, k_px)["share"].to_numpy().reshape(2, 2)
    for q, r in np.ndindex(2, 2):
        expected = np.mean(
            [oracle.top_pixel_share(maps[s, q].ravel(), (3, 4), masks[s, r], k_px) for s in range(3)]
        )
        assert shares[q, r] == pytest.approx(expected, abs=1e-9)


def test_pointing_game_finds_the_follower_and_knows_both_chances() -> None:
    masks, centres = moving_objects(200)
    follower = gaussian_maps(centres / 48 * 12, (12, 12), 1.0)
    central = np.tile(gaussian_maps(np.array([6.2, 6.2]), (12, 12), 1.5), (200, 1))
    game = pointing_game(
        np.stack([follower, central], 1).reshape(200, 2, 12, 12), masks, query_names=["a", "b"]
    )
    assert game.table.loc["a", "accuracy"] >= 0.99
    assert game.table.loc["a", "p_value"] < 0.01
    # The peak of the central map is the centre of token (6, 6), pixel (26, 26).
    assert game.table.loc["b", "accuracy"] == pytest.approx(masks[:, 26, 26].mean())
    assert game.table.loc["b", "accuracy"] == pytest.approx(game.table.loc["b", "chance_fixed"])
    assert game.table.loc["b", "p_value"] == 1
    centres_px = 4 * np.arange(12) + 2
    uniform = masks[:, centres_px[:, None], centres_px].mean()
    assert game.table["chance_uniform"].tolist() == pytest.approx([uniform, uniform])


def test_fixed_chance_is_the_mean_over_pairs_of_different_images() -> None:
    maps, masks = random_attention(7, 1, 1, 16).reshape(7, 1, 4, 4), random_masks(7, 1, 8, 8)[:, 0]
    game = pointing_game(maps, masks, n_permutations=9, n_bootstrap=9)
    peaks = maps.reshape(7, 16).argmax(axis=1)
    hit = [[masks[i, 2 * (p // 4) + 1, 2 * (p % 4) + 1] for p in peaks] for i in range(7)]
    assert game.table["chance_fixed"].item() == pytest.approx(
        np.mean([hit[i][j] for i in range(7) for j in range(7) if i != j])
    )
    np.testing.assert_array_equal(game.hits[:, 0], np.diag(hit))


def test_flat_maps_hit_as_often_as_chance_and_tolerance_widens_objects() -> None:
    masks = np.zeros((3, 8, 8), dtype=bool)
    masks[:2, 0:2, 0:2] = True  # the third image shows no object
    flat = np.full((3, 1, 4, 4), 1 / 16)
    game = pointing_game(flat, masks, n_permutations=9, n_bootstrap=9)
    assert game.rows.tolist() == [0, 1]
    assert game.table["accuracy"].item() == pytest.approx(1 / 16)
    # Centre (1, 1) of the first token is inside; (1, 3) and (3, 1) are 2 pixels away, (3, 3) is 2.83.
    wide = pointing_game(flat, masks, tolerance_px=2, n_permutations=9, n_bootstrap=9)
    assert wide.table["accuracy"].item() == pytest.approx(3 / 16)


def test_boxes_hold_the_pixels_whose_centres_they_hold() -> None:
    masks = box_masks([[1, 0, 3, 2], [0.6, 1.4, 4, 2.4], [np.nan] * 4], (3, 4))
    assert np.argwhere(masks[0]).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert np.argwhere(masks[1]).tolist() == [[1, 1], [1, 2], [1, 3]]
    assert not masks[2].any()
    with pytest.raises(ValueError, match=r"boxes_px\[0\]"):
        box_masks([[3, 0, 1, 2]], (3, 4))


def test_wrong_masks_are_refused() -> None:
    maps = random_attention(4, 1, 1, 9).reshape(4, 1, 3, 3)
    with pytest.raises(ValueError, match="boolean"):
        region_attention(maps, np.ones((4, 1, 6, 6)))
    with pytest.raises(ValueError, match="same images"):
        region_attention(maps, random_masks(3, 1, 6, 6))
    with pytest.raises(ValueError, match="at least one a token"):
        region_attention(maps, random_masks(4, 1, 2, 6))
    with pytest.raises(ValueError, match="k_px is 37"):
        category_shares(maps, random_masks(4, 1, 6, 6), k_px=37)
    with pytest.raises(ValueError, match="0 of 4 images"):
        pointing_game(maps, np.zeros((4, 6, 6), dtype=bool))
    with pytest.raises(ValueError, match="box_masks"):
        pointing_game(maps, np.zeros((4, 4)))
