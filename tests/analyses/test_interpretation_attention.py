"""Sharpness, dependence on the image, and place in the visual field of attention maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from analyses.interpretation import (
    TokenGrid,
    attention_centroid_deg,
    attention_entropy_bits,
    attention_spread_deg,
    compare_eccentricity,
    content_dependence,
    eccentricity_profile,
    effective_tokens,
    mean_eccentricity_deg,
    polar_angle_deg,
    split_map_variance,
    upsample_maps,
)
from analyses.interpretation.attention import check_attention, check_maps
from tests.analyses.attention_maps import gaussian_maps, random_attention
from tests.oracles import interpretation as oracle


def test_entropy_is_that_of_the_definition() -> None:
    attention = random_attention()
    of_mean, of_each = attention_entropy_bits(attention), attention_entropy_bits(attention, heads="each")
    for s, q in np.ndindex(of_mean.shape):
        assert of_mean[s, q] == pytest.approx(oracle.entropy_bits(attention[s, q].mean(axis=0)), abs=1e-12)
        for h in range(attention.shape[2]):
            assert of_each[s, q, h] == pytest.approx(oracle.entropy_bits(attention[s, q, h]), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_tokens_that_share_equally_are_counted(k: int) -> None:
    attention = np.zeros((2, 1, 1, 8))
    attention[..., :k] = 1 / k
    np.testing.assert_allclose(effective_tokens(attention), k)


def test_heads_that_look_apart_spread_the_mean_map_alone() -> None:
    attention = np.zeros((1, 1, 2, 4))
    attention[0, 0, 0, 1] = attention[0, 0, 1, 3] = 1
    assert attention_entropy_bits(attention)[0, 0] == pytest.approx(1)
    np.testing.assert_array_equal(attention_entropy_bits(attention, heads="each"), 0)


def test_content_dependence_is_the_mutual_information_of_image_and_token() -> None:
    attention = random_attention(n_samples=9)
    expected = [oracle.content_dependence(attention[:, q].mean(axis=1)) for q in range(attention.shape[1])]
    np.testing.assert_allclose(content_dependence(attention), expected, atol=1e-12)


def test_content_dependence_tells_a_fixed_field_from_a_follower() -> None:
    fixed = np.tile(random_attention(1, 1, 1, 16), (16, 1, 1, 1))
    follower = np.eye(16)[:, None, None, :]
    one_place = np.tile(np.eye(16)[3], (16, 1, 1, 1))
    assert content_dependence(fixed)[0] == pytest.approx(0, abs=1e-12)
    assert content_dependence(follower)[0] == pytest.approx(1)
    assert content_dependence(one_place)[0] == 0
    half = content_dependence(0.5 * follower + 0.5 * fixed)[0]
    assert 0.1 < half < 0.9


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(2, 9), st.integers(0, 10_000))
def test_bounds_and_order_of_images_hold(n_samples: int, n_tokens: int, seed: int) -> None:
    attention = random_attention(n_samples, 2, 2, n_tokens, seed)
    dependence, entropy = content_dependence(attention), attention_entropy_bits(attention)
    assert ((dependence >= 0) & (dependence <= 1)).all()
    assert ((entropy >= 0) & (entropy <= np.log2(n_tokens) + 1e-12)).all()
    np.testing.assert_allclose(content_dependence(attention[::-1]), dependence, atol=1e-12)
    shuffled = attention[..., np.random.default_rng(seed).permutation(n_tokens)]
    np.testing.assert_allclose(content_dependence(shuffled), dependence, atol=1e-12)
    split = split_map_variance(attention)
    np.testing.assert_allclose(split.fixed + split.content, split.total, atol=1e-12)


def test_map_variance_is_split_without_bias() -> None:
    rng = np.random.default_rng(0)
    mean = rng.dirichlet(np.ones(20))
    concentration = 30.0
    # Var of a Dirichlet's entries: m (1 - m) / (concentration + 1).
    content = (mean * (1 - mean)).sum() / (concentration + 1)
    fixed = ((mean - 1 / 20) ** 2).sum()
    splits = [split_map_variance(rng.dirichlet(mean * concentration, size=(4, 1, 1))) for _ in range(3000)]
    assert np.mean([s.content for s in splits]) == pytest.approx(content, rel=0.02)
    assert np.mean([s.fixed for s in splits]) == pytest.approx(fixed, rel=0.04)


def test_uniform_attention_has_no_variance_to_split() -> None:
    assert np.isnan(split_map_variance(np.full((3, 1, 1, 10), 0.1)).content_share[0])


@pytest.mark.parametrize("how", ["nearest", "bilinear"])
def test_maps_are_enlarged_as_defined(how: str) -> None:
    maps = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    large = upsample_maps(maps, (12, 20), how)  # type: ignore[arg-type]
    for small, big in zip(maps, large, strict=True):
        expected = np.kron(small, np.ones((4, 5))) if how == "nearest" else oracle.bilinear(small, 12, 20)
        np.testing.assert_allclose(big, expected, atol=1e-6)


def test_nearest_pixels_belong_to_the_token_their_centre_lies_in() -> None:
    large = upsample_maps(np.array([[0.0, 1.0, 2.0]]), (1, 7), "nearest")[0]
    np.testing.assert_array_equal(large, np.floor((np.arange(7) + 0.5) * 3 / 7))


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (np.ones((3, 4)), "shape"),
        (np.full((2, 1, 1, 4), 0.5), "sums to 2"),
        (np.array([[[[1.5, -0.5]]]]), "negative"),
        (np.array([[[[np.nan, 1.0]]]]), "NaN"),
    ],
)
def test_what_is_no_attention_is_refused(attention: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention_entropy_bits(attention)


def test_choices_and_numbers_of_images_are_checked() -> None:
    with pytest.raises(ValueError, match="heads"):
        attention_entropy_bits(random_attention(), heads="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 image"):
        content_dependence(random_attention(1))
    with pytest.raises(ValueError, match="size_px"):
        upsample_maps(np.ones((2, 2)), (0, 4))
    with pytest.raises(ValueError, match="attention_maps"):
        check_maps(np.ones((2, 3)))


def test_weights_of_half_precision_are_brought_to_sum_one() -> None:
    attention = random_attention().astype(np.float16)
    np.testing.assert_allclose(check_attention(attention).sum(axis=-1), 1, atol=1e-12)


# Visual field


@pytest.fixture(scope="module")
def field() -> TokenGrid:
    return TokenGrid.of_image((7, 7), image_size_deg=8.4)


def test_positions_run_right_and_up_from_fixation(field: TokenGrid) -> None:
    np.testing.assert_allclose(field.positions_deg[0], (-3.6, 3.6))
    np.testing.assert_allclose(field.positions_deg[24], (0, 0), atol=1e-12)
    np.testing.assert_allclose(field.positions_deg[-1], (3.6, -3.6))
    moved = TokenGrid.of_image((7, 7), 8.4, fixation_deg=(1.2, 0.0))
    np.testing.assert_allclose(moved.positions_deg[25], (0, 0), atol=1e-12)


def test_uniform_eccentricity_is_that_of_a_square(field: TokenGrid) -> None:
    # Mean distance of a square's points from its centre: side (sqrt 2 + asinh 1) / 6.
    expected = 8.4 * (np.sqrt(2) + np.arcsinh(1)) / 6
    assert field.uniform_eccentricity_deg == pytest.approx(expected, rel=1e-3)
    uniform = np.full((2, 1, 1, 49), 1 / 49)
    np.testing.assert_allclose(mean_eccentricity_deg(uniform, field), expected, rtol=1e-3)


@pytest.mark.parametrize(("x", "y", "angle"), [(2.4, 0, 0), (0, 2.4, 90), (-2.4, 0, 180), (0, -2.4, -90)])
def test_a_planted_receptive_field_is_found(field: TokenGrid, x: float, y: float, angle: float) -> None:
    centre = np.array([3.5 - y / 1.2, 3.5 + x / 1.2])  # row, column in tokens
    attention = gaussian_maps(centre, (7, 7), 0.6)[None, None, None]
    np.testing.assert_allclose(attention_centroid_deg(attention, field)[0, 0], (x, y), atol=0.02)
    assert polar_angle_deg(attention, field)[0, 0] == pytest.approx(angle, abs=0.5)
    # A round Gaussian of 0.6 tokens of 1.2 degrees, in two dimensions.
    assert attention_spread_deg(attention, field)[0, 0] == pytest.approx(0.72 * np.sqrt(2), rel=0.05)


def test_attention_on_fixation_has_no_angle_and_no_spread(field: TokenGrid) -> None:
    attention = np.eye(49)[24][None, None, None]
    assert np.isnan(polar_angle_deg(attention, field)[0, 0])
    assert attention_spread_deg(attention, field)[0, 0] == 0


def test_profile_is_attention_within_rings() -> None:
    field = TokenGrid((5, 6), 0.8)
    attention = random_attention(4, 2, 2, 30)
    edges = [0.0, 0.5, 1.5, 2.0, 3.5]
    profile = eccentricity_profile(attention, field, edges, query_names=["V1", "FFA"], n_bootstrap=50)
    for query, name in enumerate(("V1", "FFA")):
        rows = profile[profile["query"] == name]
        for row, low, high in zip(rows.itertuples(), edges, edges[1:], strict=False):
            expected = np.mean(
                [oracle.mass_in_ring(a, (5, 6), 0.8, low, high) for a in attention[:, query].mean(axis=1)]
            )
            area = oracle.mass_in_ring(np.full(30, 1 / 30), (5, 6), 0.8, low, high)
            assert row.attention_share == pytest.approx(expected, abs=0.004)
            assert row.area_share == pytest.approx(area, abs=0.003)
            assert row.lower <= row.enrichment <= row.upper


def test_rings_that_cover_the_image_hold_all_attention(field: TokenGrid) -> None:
    profile = eccentricity_profile(random_attention(3, 2, 1, 49), field, n_bootstrap=20)
    np.testing.assert_allclose(profile.groupby("query")["attention_share"].sum(), 1)
    np.testing.assert_allclose(profile.groupby("query")["area_share"].sum(), 1)


def test_planted_foveal_and_peripheral_queries_are_ordered_and_enriched(field: TokenGrid) -> None:
    rng = np.random.default_rng(0)
    eccentricities = np.linspace(0.2, 3.6, 12)
    angles = rng.uniform(0, 2 * np.pi, (40, 12))
    centres = np.stack(
        [3.5 + eccentricities * np.sin(angles) / 1.2, 3.5 + eccentricities * np.cos(angles) / 1.2], -1
    )
    attention = gaussian_maps(centres, (7, 7), 0.7)[:, :, None]
    attended = mean_eccentricity_deg(attention, field).mean(axis=0)
    agreement = compare_eccentricity(attended, eccentricities, n_bootstrap=500, n_permutations=500)
    assert agreement.rho == pytest.approx(spearmanr(attended, eccentricities)[0])
    assert agreement.rho > 0.95
    assert agreement.lower > 0.8
    assert agreement.p_value < 0.01
    profile = eccentricity_profile(attention, field, [0, 1.5, 3, 6], n_bootstrap=200).set_index(
        ["query", "from_deg"]
    )
    assert profile.loc[("query 0", 0.0), "lower"] > 2
    assert profile.loc[("query 11", 0.0), "upper"] < 0.5


def test_unrelated_eccentricities_do_not_agree() -> None:
    rng = np.random.default_rng(1)
    p_values, covered = [], []
    for seed in range(60):
        agreement = compare_eccentricity(
            rng.random(25), rng.random(25), n_bootstrap=200, n_permutations=200, seed=seed
        )
        p_values.append(agreement.p_value)
        covered.append(agreement.lower <= 0 <= agreement.upper)
    assert np.mean(np.array(p_values) < 0.05) < 0.15
    assert np.mean(covered) > 0.85


def test_agreement_needs_queries_known_in_both() -> None:
    known = np.array([1.0, 2, 3, 4, np.nan])
    assert compare_eccentricity(known, np.arange(5.0), n_bootstrap=50, n_permutations=50).n_queries == 4
    with pytest.raises(ValueError, match="3 queries"):
        compare_eccentricity(known[1:], known[1:])
    with pytest.raises(ValueError, match="shape"):
        compare_eccentricity(known, known[1:])


def test_grids_that_do_not_fit_are_refused(field: TokenGrid) -> None:
    with pytest.raises(ValueError, match="50 tokens and the grid"):
        mean_eccentricity_deg(random_attention(n_tokens=50), field)
    with pytest.raises(ValueError, match="degrees_per_token"):
        TokenGrid((7, 7), -1)
    with pytest.raises(ValueError, match="increasing"):
        eccentricity_profile(random_attention(n_tokens=49), field, [0, 2, 1])
    with pytest.raises(ValueError, match="more than once"):
        eccentricity_profile(random_attention(n_tokens=49), field, query_names=["a", "a", "b"])
