"""The numbers and sentences of a report, against small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.experiments.config import PRESETS, preset
from analyses.report import layer_table, roi_table, summarize
from analyses.report.choice_figures import penalty_shares, selected_shares
from analyses.report.methods import methods_text
from analyses.report.reading import (
    exclusions,
    headline_layer,
    low_ceiling,
    p_of_headline,
    p_of_mean,
    whole_interval,
    without_ratio,
)
from analyses.report.words import ABOVE, NOT_ABOVE, NOT_POSITIVE, SOME, UNKNOWN, caveats, percent, verdict
from tests.analyses.run_folder import hand_made, simulate_results

NAN = float("nan")


def test_layer_table_leaves_out_excluded_voxels() -> None:
    table = layer_table(hand_made())
    assert table.loc["a", "mean_r"] == pytest.approx(0.15)
    assert table.loc["b", "mean_r"] == pytest.approx(0.35)
    assert table.loc["b", "median_r"] == pytest.approx(0.35)
    assert table.loc["a", "share_fdr"] == pytest.approx(1 / 4)
    assert table.loc["b", "share_fdr"] == pytest.approx(2 / 4)  # 0.05 itself passes
    assert table.loc["b", "mean_normalized"] == pytest.approx(0.75)
    assert table.loc["b", "n_normalized"] == 2
    assert np.isnan(table.loc["b", "share_max"])


def test_p_of_the_mean_counts_the_observed_arrangement() -> None:
    # Layer a: mean 0.15; 0.2 and 0.4 reach it. Layer b: mean 0.35; none does.
    assert p_of_mean(hand_made(), "a") == pytest.approx(3 / 5)
    assert p_of_mean(hand_made(), "b") == pytest.approx(1 / 5)


def test_p_of_a_layer_picked_afterwards_is_against_the_best_layer_of_each_permutation() -> None:
    # b is picked with 0.35; the best layers of the permutations are 0.0, 0.1, 0.2 and 0.4 (that of layer a).
    results = hand_made()
    assert headline_layer(results) == "b"
    assert p_of_headline(results) == pytest.approx(2 / 5)


def test_a_layer_selected_inside_the_folds_goes_first_and_needs_no_correction() -> None:
    results = hand_made().assign_coords(layer=["a", "selected"])
    results["r"].values[1] -= 0.3
    assert headline_layer(results) == "selected"
    assert p_of_headline(results) == p_of_mean(results, "selected")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_picking_a_layer_afterwards_never_makes_p_smaller(seed: int) -> None:
    rng = np.random.default_rng(seed)
    results = xr.Dataset(
        {
            "r": (("layer", "neuroid"), rng.normal(0, 0.1, (3, 5))),
            "null_mean_r": (("layer", "permutation"), rng.normal(0, 0.05, (3, 19))),
        },
        coords={"layer": ["a", "b", "c"]},
    )
    assert p_of_headline(results) >= p_of_mean(results, headline_layer(results))


def test_picking_afterwards_keeps_the_nominal_rate_of_false_positives() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        draws = rng.normal(0, 0.1, (6, 20))  # the first column is the observed arrangement
        results = xr.Dataset(
            {
                "r": (("layer", "neuroid"), draws[:, :1]),
                "null_mean_r": (("layer", "permutation"), draws[:, 1:]),
            },
            coords={"layer": list("abcdef")},
        )
        hits += p_of_headline(results) <= 0.05
    # Binomial(300, 0.05): 15 expected; 28 is four standard deviations and more above it.
    assert 3 <= hits <= 28


def test_roi_table_counts_kept_voxels() -> None:
    table = roi_table(hand_made())
    assert table["n_voxels"].tolist() == [4, 2]
    assert table.loc["V1", "mean_evaluated"] == pytest.approx(0.4)
    assert table.loc["V1", "share_fdr"] == pytest.approx(0.5)
    assert table.loc["V1", "mean_normalized"] == pytest.approx(0.8)
    assert table.loc["V1", ["lower", "upper"]].tolist() == [0.25, 0.5]
    assert roi_table(hand_made(), "a").loc["V1", "mean_r"] == pytest.approx(0.25)


def test_interval_of_the_mean_comes_from_a_region_of_all_voxels_only() -> None:
    results = hand_made()
    assert whole_interval(results, "b") == (0.2, 0.45)
    results["roi_mask"].values[0, 0] = 0
    assert np.isnan(whole_interval(results, "b")).all()


def test_low_ceiling_is_one_without_a_ratio() -> None:
    results = hand_made()
    assert low_ceiling(results) == pytest.approx(0.05)
    # A voxel whose repeats do not agree has none either, and does not make high ceilings low.
    results["r_normalized"].values[:, 0] = NAN
    assert without_ratio(results).tolist() == [True, False, True, False, False]
    assert low_ceiling(results) == pytest.approx(0.05)
    results["r_normalized"].values[:] = NAN
    assert low_ceiling(results) == pytest.approx(0.8)


def test_exclusions_are_counted_by_reason() -> None:
    results = xr.Dataset({"excluded": ("neuroid", ["", "constant", "not finite", "constant"])})
    assert exclusions(results).to_dict() == {"constant": 2, "not finite": 1}


def penalties_of(values: list[list[float]], grid: list[list[float]] | None) -> xr.Dataset:
    variables = {
        "alpha": (("layer", "fold", "neuroid"), [values]),
        "r": (("layer", "neuroid"), [[0.1] * len(values[0])]),
    }
    if grid is not None:
        variables["alpha_grid"] = (("layer", "fold", "penalty"), [grid])
    return xr.Dataset(variables, coords={"layer": ["a"]})


def test_penalties_at_the_ends_are_counted_in_each_folds_own_grid() -> None:
    results = penalties_of([[1, 10, 100, 10], [5, 50, 500, 500]], [[1, 10, 100], [5, 50, 500]])
    (share,) = penalty_shares(results)
    assert share.shares.tolist() == [2 / 8, 3 / 8, 3 / 8]
    assert share.at_weak == pytest.approx(2 / 8)
    assert share.at_strong == pytest.approx(3 / 8)
    assert np.isnan(share.at_strong_if_significant)


def test_the_strong_end_is_no_fault_where_there_is_no_signal() -> None:
    # Four folds; the last two voxels take the strongest penalty in all of them, the first in one.
    values = [[10.0, 10.0, 100.0, 100.0]] * 3 + [[100.0, 10.0, 100.0, 100.0]]
    results = penalties_of(values, [[1, 10, 100]] * 4)
    assert penalty_shares(results)[0].is_narrow  # not tested: it cannot be told
    results["q_value"] = (("layer", "neuroid"), [[0.2, 0.01, 0.5, 0.5]])
    (share,) = penalty_shares(results)
    assert (share.at_strong, share.at_strong_if_significant) == (9 / 16, 0)
    assert not share.is_narrow
    text = " ".join(caveats(results))
    assert "chose the strongest penalty on offer for a. It predicts a flat response" in text
    assert "without signal; none with q ≤ 0.05 chose it." in text
    results["q_value"] = (("layer", "neuroid"), [[0.01, 0.01, 0.5, 0.5]])
    (share,) = penalty_shares(results)
    assert share.at_strong_if_significant == 1 / 8
    assert share.is_narrow
    assert "the share is 12%. A grid that goes higher may fit better." in " ".join(caveats(results))


def test_penalties_survive_single_precision() -> None:
    grid = [float(10.0**k) for k in range(-1, 6)]
    results = penalties_of([np.float32(grid).tolist()], [grid])
    assert penalty_shares(results)[0].shares.tolist() == [1 / 7] * 7


def test_ends_of_an_unknown_grid_are_not_guessed() -> None:
    (share,) = penalty_shares(penalties_of([[1, 10, 100, 10]], None))
    assert np.isnan([share.at_weak, share.at_strong, share.at_strong_if_significant]).all()
    assert not share.is_narrow
    assert share.shares.sum() == pytest.approx(1)


def test_selected_shares_by_region_leave_out_excluded_and_unchosen() -> None:
    results = hand_made().assign_coords(layer=["a", "b"])
    results["selected_layer"] = (("fold", "neuroid"), [[0, 1, 1, NAN, 0], [0, 0, 1, NAN, 0]])
    regions, layers, shares = selected_shares(results)
    assert (regions, layers) == (["all", "V1"], ["a", "b"])
    np.testing.assert_allclose(shares, [[3 / 6, 3 / 6], [1 / 4, 3 / 4]])


def test_selected_layer_without_a_layer_is_an_error() -> None:
    results = hand_made()
    results["selected_layer"] = (("fold", "neuroid"), [[2.0, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match="index 2, but there are 2 layers"):
        selected_shares(results)


@pytest.mark.parametrize(
    ("r", "null", "expected"),
    [
        (0.3, [0.0] * 40, ABOVE),
        (0.3, [0.4] * 40, NOT_ABOVE),
        (-0.01, [-0.1] * 40, NOT_POSITIVE),
        (0.3, [0.0] * 10, NOT_ABOVE),  # too few permutations to reach 0.05
        (0.3, None, UNKNOWN),
    ],
)
def test_verdict_says_no_more_than_the_null_allows(r: float, null: list[float] | None, expected: str) -> None:
    variables = {"r": (("layer", "neuroid"), [[r, r]])}
    if null is not None:
        variables["null_mean_r"] = (("layer", "permutation"), [null])
    results = xr.Dataset(variables, coords={"layer": ["a"]})
    assert verdict(results) == expected
    says_better = "predicts better than chance" in summarize(results)
    assert says_better == (expected == ABOVE)


def whole_brain(n_layers: int = 1) -> xr.Dataset:
    """Ten voxels of which two are predicted, in a brain whose mean r is below zero but above its null."""
    r = np.full((n_layers, 10), -0.2)
    r[0, :2], p = (0.6, 0.5), np.full((n_layers, 10), 0.9)
    p[0, :3] = (0.01, 0.02, 0.01)  # the third is far from its null as well, and not positive
    return xr.Dataset(
        {
            "r": (("layer", "neuroid"), r),
            "p_value_max": (("layer", "neuroid"), p),
            "null_mean_r": (("layer", "permutation"), np.full((n_layers, 99), -0.3)),
        },
        coords={"layer": list("abcd")[:n_layers]},
    )


def test_a_few_predicted_voxels_are_not_lost_in_a_brain_without_signal() -> None:
    results = whole_brain()
    assert verdict(results) == SOME
    assert "below zero; 2 voxels with positive r pass a familywise error rate of 5%" in summarize(results)
    # Of four layers the best was picked: 0.02 x 4 is above 0.05, 0.01 x 4 is not.
    assert "; 1 voxel with positive r passes" in summarize(whole_brain(4))
    results["p_value_max"].values[:] = 0.9
    assert verdict(results) == NOT_POSITIVE
    results = whole_brain()
    results["null_mean_r"].values[:] = 0.0
    assert verdict(results) == NOT_ABOVE


def test_summary_of_a_hand_made_run() -> None:
    text = summarize(hand_made())
    assert (
        "Held-out r is 0.350 on average over 4 voxels (95% interval 0.200 to 0.450), from b, the best of 2"
        in text
    )
    # Layer b under permutation: 0.0, 0.1, 0.2, 0.3.
    assert "the mean was 0.150 on average and reached this value once (p = 0.4)" in text
    assert "2 of 4 voxels (50%) pass a false discovery rate of 5%." in text
    # Mean of 0.6, 0.4, 0.4, 0.2 against the mean ceiling of the kept voxels 0.8, 0.5, 0.05.
    assert "On block averages the mean r is 0.40 where the noise ceiling is 0.45 on average" in text
    assert "mean ratio is 0.75 over the 2 voxels" in text
    assert "1 voxel was left out before fitting: 1 constant." in text


def test_unknown_ceiling_is_said_with_its_reason() -> None:
    results = hand_made().drop_vars(["noise_ceiling_r", "r_normalized"])
    results.attrs["ceiling_source"] = "unknown: no stimulus is repeated"
    assert "The noise ceiling is unknown (no stimulus is repeated)" in summarize(results)


def test_caveats_name_what_applies() -> None:
    text = " ".join(caveats(hand_made()))
    assert "b was picked by the held-out score" in text
    assert "The null does not lie at zero but at a mean r of 0.150. What" in text
    assert "keep their onsets" in " ".join(caveats(hand_made().assign_attrs(kind="time_series")))
    # Benjamini-Hochberg: k of 4 voxels at p = 1/5 pass when 1/5 <= 0.05 k / 4.
    assert "no p-value can be below 0.2, so that no voxel can pass a false discovery rate" in text
    assert "The ceiling belongs to block averages" in text
    assert "Regions overlap" not in text  # "all" holds every voxel and does not count
    # 19 permutations: 1/20 <= 0.05 k / 4 asks for all four; 99: one of four will do, and nothing need be said.
    few = hand_made().drop_vars("null_mean_r")
    few["null_mean_r"] = (("layer", "permutation"), np.zeros((2, 19)))
    assert "below 0.05, so that at least 4 of 4 voxels" in " ".join(caveats(few))
    many = few.drop_vars("null_mean_r")
    many["null_mean_r"] = (("layer", "permutation"), np.zeros((2, 99)))
    assert "More permutations" not in " ".join(caveats(many))
    edge = simulate_results(n_voxels=50)
    edge["alpha"].values[:] = 0.1
    grid = np.broadcast_to([0.1, 1.0, 10.0], (*edge["alpha"].shape[:2], 3))
    edge["alpha_grid"] = (("layer", "fold", "penalty"), grid)
    assert "chose the weakest penalty on offer for one-hot, MiniLM" in " ".join(caveats(edge))


def test_percent_never_rounds_to_none_or_all() -> None:
    assert [percent(x) for x in (0.0, 0.004, 0.5, 0.996, 1.0, NAN)] == [
        "0%",
        "under 1%",
        "50%",
        "over 99%",
        "100%",
        "–",
    ]


@pytest.mark.parametrize("name", list(PRESETS))
def test_methods_hold_for_every_preset(name: str) -> None:
    config = preset(name)
    results = simulate_results(n_voxels=20)
    if config.split == "published":
        results.attrs["kind"] = "averages"
    text = methods_text(results, config, {"cogmodels": "0.1.0", "torch": "2"})
    assert text.endswith("Software: cogmodels 0.1.0 and torch 2.")
    assert ("published test set" in text) == (config.split == "published")
    assert ("detrended" in text) == (results.attrs["kind"] == "time_series")
    if config.alphas is not None and len(config.alphas) == 1:
        assert f"a fixed penalty of {config.alphas[0]:g}" in text


def test_missing_variables_are_named() -> None:
    with pytest.raises(ValueError, match="lacks r, which"):
        layer_table(xr.Dataset(coords={"layer": ["a"]}))
