"""Slopes of reaction times: against plain references, and on simulated searchers whose truth is known."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.statistics.search_slopes import (
    asymmetry_draws,
    asymmetry_index,
    asymmetry_interval,
    mixed_effects,
    search_slopes,
    set_size_interaction,
)
from tests.oracles.search_slopes import asymmetry, f_test, line

TRUTH = {("letters", "T_in_Ls"): (500.0, 12.0), ("letters", "L_in_Ts"): (480.0, 30.0)}


def simulate(
    truth: Mapping[tuple[str, str], tuple[float, float]] = TRUTH,
    *,
    set_sizes: tuple[int, ...] = (3, 6, 9),
    n_displays: int = 30,
    n_trials: int = 1,
    display_sd_ms: float = 60.0,
    trial_sd_ms: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Reaction times that lie on lines (intercept, slope), each display harder or easier by itself."""
    rng = np.random.default_rng(seed)
    rows = []
    for (paradigm, condition), (intercept, slope) in truth.items():
        for set_size in set_sizes:
            for display in range(n_displays):
                mean = intercept + slope * set_size + display_sd_ms * rng.standard_normal()
                for _ in range(n_trials):
                    rt_ms = mean + trial_sd_ms * rng.standard_normal()
                    rows.append((paradigm, condition, set_size, f"{condition}-{set_size}-{display}", rt_ms))
    return pd.DataFrame(rows, columns=["paradigm", "condition", "set_size", "display", "rt_ms"])


def human(slopes: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    rows = [(*key, slope) for key, slope in slopes.items()]
    return pd.DataFrame(rows, columns=["paradigm", "condition", "slope_ms_per_item"])


HUMAN = human({("letters", "T_in_Ls"): 14.0, ("letters", "L_in_Ts"): 33.0})


def test_lines_are_those_of_least_squares() -> None:
    """Set sizes and displays of unequal numbers of trials."""
    rt = simulate(n_trials=4, trial_sd_ms=30).sample(frac=0.6, random_state=1)
    table = search_slopes(rt, n_bootstrap=20).set_index("condition")
    assert table.index.tolist() == ["L_in_Ts", "T_in_Ls"]
    for condition, trials in rt.groupby("condition"):
        slope, intercept = line(trials["set_size"], trials["rt_ms"])
        assert table.loc[condition, "slope_ms_per_item"] == pytest.approx(slope, abs=1e-9)
        assert table.loc[condition, "intercept_ms"] == pytest.approx(intercept, abs=1e-9)
        assert table.loc[condition, "n_displays"] == trials["display"].nunique()


def test_draws_are_lines_through_drawn_displays() -> None:
    """With one display an outlier at each end, draws lie on a handful of lines, all of which the oracle gives."""
    rt = pd.DataFrame(
        {
            "paradigm": "p",
            "condition": "c",
            "set_size": [2, 2, 8, 8],
            "display": list("abcd"),
            "rt_ms": [400.0, 500.0, 700.0, 1000.0],
        }
    )
    possible = [
        line([2, 2, 8, 8], [*low, *high])[0]
        for low in ((400, 400), (400, 500), (500, 500))
        for high in ((700, 700), (700, 1000), (1000, 1000))
    ]
    row = search_slopes(rt, n_bootstrap=4000, seed=3).iloc[0]
    assert row["slope_lower"] == pytest.approx(min(possible))
    assert row["slope_upper"] == pytest.approx(max(possible))


def test_intervals_have_the_width_that_noise_gives() -> None:
    """Slope of 40 displays a set size, sd 60 ms: standard error 60 / sqrt(40 * sum of squared deviations)."""
    rt = simulate(n_displays=40, seed=5)
    table = search_slopes(rt, n_bootstrap=4000)
    error = 60 / np.sqrt(40 * ((np.array([3, 6, 9]) - 6) ** 2).sum())
    width = (table["slope_upper"] - table["slope_lower"]).mean()
    assert width == pytest.approx(2 * 1.96 * error, rel=0.12)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    hits = []
    for seed in range(150):
        table = search_slopes(simulate(seed=seed), n_bootstrap=300, seed=seed)
        for row in table.itertuples():
            intercept, slope = TRUTH[row.paradigm, row.condition]
            hits.append(
                (
                    row.slope_lower <= slope <= row.slope_upper,
                    row.intercept_lower <= intercept <= row.intercept_upper,
                )
            )
    slope_share, intercept_share = np.mean(hits, axis=0)
    assert 0.91 <= slope_share <= 0.98
    assert 0.91 <= intercept_share <= 0.98


def test_rollouts_on_one_display_count_once() -> None:
    """Ten equal trials on each display tell no more than one; taken for displays of their own they would."""
    once, often = simulate(seed=2), simulate(seed=2).loc[lambda rt: np.repeat(rt.index, 10)]
    expected, found = (search_slopes(rt, n_bootstrap=500, seed=1) for rt in (once, often))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9)
    alone = search_slopes(often.drop(columns="display"), n_bootstrap=500, seed=1)
    ratio = (alone["slope_upper"] - alone["slope_lower"]) / (
        expected["slope_upper"] - expected["slope_lower"]
    )
    assert (ratio < 0.5).all()


def test_means_alone_have_no_interval() -> None:
    rt = simulate(n_displays=1).drop(columns="display")
    table = search_slopes(rt)
    assert table[["slope_lower", "slope_upper", "intercept_lower", "intercept_upper"]].isna().all(axis=None)
    assert np.isfinite(table["slope_ms_per_item"]).all()
    index = asymmetry_interval(rt, HUMAN)
    assert index[["lower", "upper", "share_right"]].isna().all(axis=None)
    assert np.isfinite(index["index"]).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(-300, 300), st.floats(0.1, 5))
def test_slopes_follow_their_times(seed: int, shift: float, scale: float) -> None:
    rt = simulate(n_displays=4, seed=seed)
    table = search_slopes(rt, n_bootstrap=40, seed=seed)
    shuffled = rt.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(
        search_slopes(shuffled, n_bootstrap=40, seed=seed), table, rtol=1e-7, atol=1e-7
    )
    moved = search_slopes(rt.assign(rt_ms=rt["rt_ms"] * scale + shift), n_bootstrap=40, seed=seed)
    slopes, levels = (
        ["slope_ms_per_item", "slope_lower", "slope_upper"],
        ["intercept_ms", "intercept_lower", "intercept_upper"],
    )
    assert np.allclose(moved[slopes], table[slopes] * scale, atol=1e-6)
    assert np.allclose(moved[levels], table[levels] * scale + shift, atol=1e-5)
    ordered = table[["slope_lower", "slope_ms_per_item", "slope_upper"]]
    assert (ordered["slope_lower"] <= ordered["slope_upper"]).all()
    assert search_slopes(rt, n_bootstrap=40, seed=seed).equals(table)


SLOPES = st.floats(-50, 50, allow_subnormal=False)


@given(SLOPES, SLOPES, SLOPES, SLOPES)
def test_asymmetry_takes_its_direction_from_people(
    a: float, b: float, people_a: float, people_b: float
) -> None:
    if people_a == people_b:
        return
    model, people = human({("p", "a"): a, ("p", "b"): b}), human({("p", "a"): people_a, ("p", "b"): people_b})
    table = asymmetry_index(model, people)
    high, low = ("a", "b") if people_a > people_b else ("b", "a")
    own = {"a": a, "b": b}
    assert (table.loc["p", "steeper"], table.loc["p", "shallower"]) == (high, low)
    assert table.loc["p", "index"] == pytest.approx(asymmetry(own[high], own[low]), abs=1e-12)
    assert -1 <= table.loc["p", "index"] <= 1
    assert 0 <= table.loc["p", "human_index"] <= 1
    mirrored = asymmetry_index(human({("p", "a"): b, ("p", "b"): a}), people)
    assert mirrored.loc["p", "index"] == -table.loc["p", "index"]


def test_asymmetry_of_known_slopes() -> None:
    """By hand: 3 to 1 is .5; a falling slope counts as 0, and so does an index of two such."""
    model = human(
        {("x", "a"): 30, ("x", "b"): 10, ("y", "a"): -5, ("y", "b"): 2, ("z", "a"): 0, ("z", "b"): -1},
    )
    people = human({("x", "a"): 2, ("x", "b"): 1, ("y", "a"): 2, ("y", "b"): 1, ("z", "a"): 2, ("z", "b"): 0})
    table = asymmetry_index(model, people)
    assert table["index"].tolist() == pytest.approx([0.5, -1.0, 0.0, -0.5 / 3])
    assert table["human_index"].tolist() == pytest.approx([1 / 3, 1 / 3, 1.0, 5 / 9])
    assert table.index.tolist() == ["x", "y", "z", "mean"]


def test_constant_times_have_no_slope_and_no_direction() -> None:
    """Rounding must not decide: 252.359 * n + 376.271 of one fixation everywhere is a slope of exactly 0."""
    flat = {("letters", "T_in_Ls"): (628.63, 0.0), ("letters", "L_in_Ts"): (628.63, 0.0)}
    rt = simulate(flat, display_sd_ms=0)
    rt.loc[rt.index % 7 == 0, "rt_ms"] = 628.63
    table = search_slopes(rt, n_bootstrap=200)
    assert (table[["slope_ms_per_item", "slope_lower", "slope_upper"]] == 0).all(axis=None)
    index = asymmetry_interval(rt, HUMAN, n_bootstrap=200)
    assert (index[["index", "lower", "upper", "share_right"]] == 0).all(axis=None)


def test_draws_of_two_searchers_are_those_of_the_same_displays() -> None:
    rt = simulate(seed=2)
    _, one = asymmetry_draws(rt, HUMAN, n_bootstrap=50, seed=3)
    # Twice the time for every display: the same index, in every draw, where the same displays were drawn.
    _, other = asymmetry_draws(rt.assign(rt_ms=2 * rt["rt_ms"]), HUMAN, n_bootstrap=50, seed=3)
    assert one.std(axis=1).min() > 0
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_intervals_of_the_index_cover_its_truth() -> None:
    truth = asymmetry(30, 12)
    hits, right = [], []
    for seed in range(200):
        row = asymmetry_interval(simulate(seed=seed), HUMAN, n_bootstrap=300, seed=seed).loc["letters"]
        hits.append(row["lower"] <= truth <= row["upper"])
        right.append(row["share_right"])
    assert 0.89 <= np.mean(hits) <= 0.99
    assert np.mean(right) > 0.95


def test_the_mean_index_averages_paradigms_in_each_draw() -> None:
    second = {("curves", "a"): (500.0, 5.0), ("curves", "b"): (500.0, 20.0)}
    people = human(
        {("letters", "T_in_Ls"): 14, ("letters", "L_in_Ts"): 33, ("curves", "a"): 1, ("curves", "b"): 8}
    )
    table = asymmetry_interval(simulate({**TRUTH, **second}, seed=4), people, n_bootstrap=2000)
    assert table.index.tolist() == ["curves", "letters", "mean"]
    assert table.loc["mean", "index"] == pytest.approx(table["index"].iloc[:2].mean())
    # Of two independent indices the mean varies with the root of summed squares, over two.
    widths = (table["upper"] - table["lower"]).to_numpy()
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]) / 2, rel=0.15)


def test_interaction_is_the_f_test_of_two_models() -> None:
    rt = simulate(n_displays=5, seed=6)
    f, p_value = f_test(rt["set_size"], rt["condition"], rt["rt_ms"])
    row = set_size_interaction(rt).loc["letters"]
    assert row["f"] == pytest.approx(f, rel=1e-9)
    assert row["p_value"] == pytest.approx(p_value, rel=1e-7)
    assert (row["df_difference"], row["df_residual"], row["n_displays"]) == (2, 26, 30)
    three = simulate({**TRUTH, ("letters", "F_in_Es"): (450.0, 20.0)}, n_displays=5, seed=6)
    row = set_size_interaction(three).loc["letters"]
    assert row["f"] == pytest.approx(
        f_test(three["set_size"], three["condition"], three["rt_ms"])[0], rel=1e-9
    )
    assert (row["df_difference"], row["df_residual"]) == (4, 39)


def test_interaction_averages_trials_on_a_display() -> None:
    """Without that, equal rollouts would make any difference significant."""
    rt = simulate(n_displays=5, seed=6)
    often = rt.loc[np.repeat(rt.index, 20)]
    pd.testing.assert_frame_equal(set_size_interaction(often), set_size_interaction(rt), rtol=1e-7)


def test_interaction_is_seldom_found_where_there_is_none() -> None:
    same = dict.fromkeys(TRUTH, (500.0, 20.0))
    p_values = [
        set_size_interaction(simulate(same, n_displays=10, seed=seed)).loc["letters", "p_value"]
        for seed in range(200)
    ]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1
    assert set_size_interaction(simulate(n_displays=30)).loc["letters", "p_value"] < 1e-4


def test_interaction_of_exact_lines_is_unknown() -> None:
    for truth in (TRUTH, dict.fromkeys(TRUTH, (628.63, 0.0))):
        row = set_size_interaction(simulate(truth, display_sd_ms=0)).loc["letters"]
        assert np.isnan(row["f"])
        assert np.isnan(row["p_value"])


def observers(seed: int, difference: float = 18.0, n_observers: int = 24) -> pd.DataFrame:
    """People who differ in speed (sd 60 ms) and in slope (sd 5 ms an item), noise 80 ms."""
    rng = np.random.default_rng(seed)
    rows = []
    for observer in range(n_observers):
        level, slope = 60 * rng.standard_normal(), 5 * rng.standard_normal()
        for condition, (intercept, steepness) in {
            "A": (480.0, 12.0 + difference),
            "B": (500.0, 12.0),
        }.items():
            for set_size in np.repeat((3, 6, 9), 12):
                rt_ms = intercept + level + (steepness + slope) * set_size + 80 * rng.standard_normal()
                rows.append(("letters", condition, set_size, str(observer), rt_ms))
    return pd.DataFrame(rows, columns=["paradigm", "condition", "set_size", "observer", "rt_ms"])


def test_mixed_effects_recover_what_was_simulated() -> None:
    table = mixed_effects(observers(0)).set_index("term")
    assert table.index.tolist() == ["intercept", "set_size", "condition[B]", "set_size:condition[B]"]
    truth = {"intercept": 480.0, "set_size": 30.0, "condition[B]": 20.0, "set_size:condition[B]": -18.0}
    for term, value in truth.items():
        assert abs(table.loc[term, "estimate"] - value) < 3 * table.loc[term, "standard_error"], term
    assert table["converged"].all()
    assert (table["n_groups"] == 24).all()
    assert table.loc["set_size:condition[B]", "p_value"] < 1e-6
    # Slopes that differ from person to person (sd 5) leave the mean slope of 24 people uncertain by 5 / sqrt(24) at
    # least; the difference between conditions is within people, and is known as well as if they did not differ.
    assert table.loc["set_size", "standard_error"] > 5 / np.sqrt(24) * 0.6
    fixed_only = 80 / np.sqrt(24 * 12 * 18) * np.sqrt(2)
    assert table.loc["set_size:condition[B]", "standard_error"] == pytest.approx(fixed_only, rel=0.1)


def test_mixed_effects_are_seldom_found_where_there_are_none() -> None:
    p_values = [
        mixed_effects(observers(seed, difference=0, n_observers=12))
        .set_index("term")
        .loc["set_size:condition[B]", "p_value"]
        for seed in range(20)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.2


def test_displays_as_groups_widen_what_rollouts_would_narrow() -> None:
    rt = simulate(n_displays=15, n_trials=8, display_sd_ms=60, trial_sd_ms=20, seed=8)
    table = mixed_effects(rt, group="display", random_slopes=False).set_index("term")
    # 15 displays a set size decide, not 120 trials: mean of a display varies by 60 and 20 / sqrt(8).
    sd = np.hypot(60, 20 / np.sqrt(8))
    assert table.loc["set_size", "standard_error"] == pytest.approx(sd / np.sqrt(15 * 18), rel=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rt: rt.drop(columns="rt_ms"), r"rt lacks the columns \['rt_ms'\]"),
        (lambda rt: rt.iloc[:0], "rt is empty"),
        (lambda rt: rt.assign(rt_ms=np.nan), "rows whose rt_ms is NaN or no number, first row 0"),
        (lambda rt: rt.assign(rt_ms="fast"), "rt_ms is NaN or no number"),
        (lambda rt: rt.assign(rt_ms=np.inf), "rt_ms is NaN or no number"),
        (lambda rt: rt.assign(set_size=-1), "set sizes down to -1"),
        (lambda rt: rt.assign(condition=None), "rows without condition"),
        (lambda rt: rt[rt["set_size"] == 3], "single set size: a slope needs two"),
    ],
)
def test_bad_tables_are_refused(change, message: str) -> None:
    rt = change(simulate(n_displays=2))
    for function in (search_slopes, set_size_interaction, lambda table: asymmetry_interval(table, HUMAN)):
        with pytest.raises(ValueError, match=message):
            function(rt)


def test_bad_settings_are_refused() -> None:
    rt = simulate(n_displays=2)
    with pytest.raises(TypeError, match=r"pandas\.DataFrame of reaction times; got list"):
        search_slopes([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_bootstrap is 1"):
        search_slopes(rt, n_bootstrap=1)
    with pytest.raises(ValueError, match=r"confidence 1\.0"):
        asymmetry_interval(rt, HUMAN, confidence=1.0)
    with pytest.raises(ValueError, match="single condition"):
        set_size_interaction(rt[rt["condition"] == "T_in_Ls"])
    with pytest.raises(ValueError, match="no column 'observer'"):
        mixed_effects(rt)
    with pytest.raises(ValueError, match="random_slopes=False"):
        mixed_effects(rt, group="display")
    with pytest.raises(ValueError, match="group is 'person'; allowed"):
        mixed_effects(rt, group="person")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="are equal: there is nothing to fit"):
        mixed_effects(rt.assign(rt_ms=500.0, observer=list("ab") * 6))
    with pytest.raises(ValueError, match="single observer"):
        mixed_effects(rt.assign(observer="ann"))


def test_unlike_slopes_are_refused() -> None:
    own = search_slopes(simulate(n_displays=2), n_bootstrap=2)
    with pytest.raises(ValueError, match=r"unknown paradigm in slopes 'letters'; did you mean 'letter'"):
        asymmetry_index(own, human({("letter", "T_in_Ls"): 1, ("letter", "L_in_Ts"): 2}))
    with pytest.raises(ValueError, match="an asymmetry is between two conditions"):
        asymmetry_index(own, human({("letters", "Ts"): 1, ("letters", "L_in_Ts"): 2}))
    with pytest.raises(ValueError, match="are equal"):
        asymmetry_index(own, human({("letters", "T_in_Ls"): 2, ("letters", "L_in_Ts"): 2}))
    with pytest.raises(ValueError, match="human lacks the columns"):
        asymmetry_index(own, pd.DataFrame({"paradigm": ["letters"]}))
    with pytest.raises(ValueError, match="one finite slope for each condition"):
        asymmetry_index(own, pd.concat([HUMAN, HUMAN]))
    with pytest.raises(ValueError, match="one finite slope"):
        asymmetry_index(own.assign(slope_ms_per_item=np.nan), HUMAN)
