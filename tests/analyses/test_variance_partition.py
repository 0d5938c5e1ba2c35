"""Divided variance: product measure, unique and shared parts, intervals, tests and words."""

import numpy as np
import pytest
from himalaya.scoring import r2_score_split
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.statistics.partition_intervals import partition_by_commonality, partition_by_product
from analyses.statistics.partition_words import explain_negative_shares
from analyses.statistics.permutation import permute_blocks_within_runs
from analyses.statistics.variance_partition import (
    commonality,
    product_measure,
    product_measure_null,
    subsets_of,
)
from encoders.scores import r2_score
from tests.oracles import variance_partition as oracle

SPACES = "ABCD"


def random_models(rng, n_spaces, n_samples=60, n_voxels=3):
    """Responses, and predictions of every subset that have nothing to do with one another."""
    Y = rng.standard_normal((n_samples, n_voxels)) + 5
    return Y, {s: 0.4 * Y + rng.standard_normal(Y.shape) for s in subsets_of(SPACES[:n_spaces])}


def fit(train_X, train_Y, test_X):
    weights = np.linalg.lstsq(train_X, train_Y, rcond=None)[0]
    return weights, test_X @ weights


def fitted_models(rng, make, n_train=4000, n_test=4000, n_voxels=3):
    """Least squares of every subset of the spaces that ``make(rng, n, n_voxels) -> (features, Y)`` draws."""
    (train, train_Y), (test, test_Y) = make(rng, n_train, n_voxels), make(rng, n_test, n_voxels)
    predictions = {
        s: fit(np.hstack([train[n] for n in s]), train_Y, np.hstack([test[n] for n in s]))[1]
        for s in subsets_of(tuple(train))
    }
    weights, _ = fit(np.hstack(list(train.values())), train_Y, np.hstack(list(test.values())))
    ends = np.cumsum([0, *(x.shape[1] for x in train.values())])
    bands = {n: test[n] @ weights[a:b] for n, a, b in zip(train, ends[:-1], ends[1:], strict=True)}
    return test_Y, predictions, bands


def orthogonal(rng, n, n_voxels):
    """A explains 0.3 and B 0.2 of the variance."""
    a, b, noise = rng.standard_normal((3, n, n_voxels))
    return {"A": a, "B": b}, np.sqrt(0.3) * a + np.sqrt(0.2) * b + np.sqrt(0.5) * noise


def overlapping(rng, n, n_voxels):
    """A alone 0.2, B alone 0.1, C alone 0.05, A and B 0.25, all three 0.15, noise 0.25."""
    a, b, c, ab, abc, noise = rng.standard_normal((6, n, n_voxels))
    spaces = {"A": np.hstack([a, ab, abc]), "B": np.hstack([b, ab, abc]), "C": np.hstack([c, abc])}
    scales = np.sqrt([0.2, 0.1, 0.05, 0.25, 0.15, 0.25])
    return spaces, sum(s * x for s, x in zip(scales, (a, b, c, ab, abc, noise), strict=True))


def suppressor(rng, n, n_voxels):
    """A holds the signal and a nuisance, B the nuisance alone: B predicts nothing and doubles what A does."""
    signal, nuisance, noise = rng.standard_normal((3, n, n_voxels))
    return {"A": signal + nuisance, "B": nuisance}, signal + noise


def opposed(rng, n, n_voxels):
    """A and B correlate 0.9 and the response is ``A - 0.5 B``: B follows it, with a negative weight."""
    a, own = rng.standard_normal((2, n, n_voxels))
    b = 0.9 * a + np.sqrt(1 - 0.81) * own
    return {"A": a, "B": b}, a - 0.5 * b + 0.5 * rng.standard_normal((n, n_voxels))


def test_product_measure_is_the_definition():
    rng = np.random.default_rng(0)
    Y, bands = 3 + rng.standard_normal((40, 4)), rng.standard_normal((3, 40, 4)) + 1
    intercept = rng.standard_normal((40, 4))
    Y[:, 3] = 2.0
    expected = oracle.product_shares(Y[:, :3], bands[:, :, :3], intercept[:, :3])
    found = product_measure(Y, bands, intercept)
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-12)
    assert np.isnan(found[:, 3]).all()


def test_product_measure_is_himalayas_where_means_are_zero():
    rng = np.random.default_rng(1)
    Y, bands = rng.standard_normal((50, 4)), 0.5 * rng.standard_normal((3, 50, 4))
    Y, bands = Y - Y.mean(axis=0), bands - bands.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(product_measure(Y, bands), r2_score_split(Y, bands), atol=1e-12)


def test_product_measure_of_least_squares_is_weight_times_correlation():
    """Pratt 1987: in the training set, standardised weight times correlation."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 3))
    Y = X @ rng.standard_normal((3, 2)) + rng.standard_normal((200, 2))
    X, Y = (X - X.mean(axis=0)) / X.std(axis=0), (Y - Y.mean(axis=0)) / Y.std(axis=0)
    weights, _ = fit(X, Y, X)
    pratt = weights * (X.T @ Y / len(X))
    np.testing.assert_allclose(product_measure(Y, X.T[:, :, None] * weights[:, None, :]), pratt, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(-50, 50))
def test_shares_sum_to_r2_and_follow_their_bands(n_bands, seed, mean):
    rng = np.random.default_rng(seed)
    Y = mean + rng.standard_normal((20, 3))
    bands = rng.standard_normal((n_bands, 20, 3)) * rng.uniform(0, 2, (n_bands, 1, 1))
    intercept = mean + rng.standard_normal(3)
    shares = product_measure(Y, bands, intercept)
    np.testing.assert_allclose(
        shares.sum(axis=0), r2_score(Y, intercept + bands.sum(axis=0)), rtol=1e-7, atol=1e-9
    )
    order = rng.permutation(n_bands)
    np.testing.assert_allclose(product_measure(Y, bands[order], intercept), shares[order], atol=1e-9)
    idle = product_measure(Y, np.concatenate([bands, np.full((1, 20, 3), 0.7)]), intercept - 0.7)
    np.testing.assert_allclose(
        idle, np.vstack([shares, np.zeros(3)]), atol=1e-9
    )  # who predicts nothing gets nothing
    moved = bands + rng.standard_normal((n_bands, 1, 3))  # what a band predicts on average is not its own
    offset = intercept + (bands - moved).sum(axis=0).mean(axis=0)
    np.testing.assert_allclose(product_measure(Y, moved, offset), shares, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(0, 10_000))
def test_parts_sum_to_r2_and_follow_their_spaces(n_spaces, seed):
    rng = np.random.default_rng(seed)
    spaces = tuple(SPACES[:n_spaces])
    r2_of = {s: rng.uniform(-1, 1, 3) for s in subsets_of(spaces)}
    found = commonality(r2_of)
    np.testing.assert_allclose(sum(found.values()), r2_of[spaces], atol=1e-12)
    for part, values in oracle.parts(r2_of, spaces).items():
        np.testing.assert_allclose(found[part], values, atol=1e-12)
    renamed = dict(zip(spaces, rng.permutation(list(spaces)), strict=True))
    again = commonality({tuple(str(renamed[n]) for n in s): values for s, values in r2_of.items()})
    for part, values in again.items():
        original = next(p for p in found if {renamed[n] for n in p} == set(part))
        np.testing.assert_allclose(values, found[original], atol=1e-12)


@pytest.mark.parametrize(("n_spaces", "n_parts"), [(2, 3), (3, 7), (4, 15)])
def test_draws_and_signs_are_the_definition(n_spaces, n_parts):
    rng = np.random.default_rng(3)
    Y, predictions = random_models(rng, n_spaces)
    Y = np.hstack([Y, np.full((60, 1), 7.0)])
    predictions = {s: np.hstack([p, rng.standard_normal((60, 1))]) for s, p in predictions.items()}
    units = rng.integers(0, 9, 60)
    rois = {
        "one": np.array([1, 0, 0, 0], bool),
        "rest": np.array([0, 1, 1, 1], bool),
        "none": np.eye(4, dtype=bool)[3],
    }
    found = partition_by_commonality(Y, predictions, units, rois, n_bootstrap=50, n_permutations=600, seed=4)
    draws = np.random.default_rng(4).multinomial(9, np.full(9, 1 / 9), size=50)
    drawn = [np.repeat(np.arange(9), counts) for counts in draws]

    def of_rows(columns):
        def parts(rows):
            by_voxel = [
                oracle.parts(
                    {s: oracle.r2(Y[rows, v], p[rows, v]) for s, p in predictions.items()}, SPACES[:n_spaces]
                )
                for v in columns
            ]
            return [np.mean([of_voxel[s] for of_voxel in by_voxel]) for s in predictions]

        return parts

    assert len(found.parts) == n_parts
    for roi, columns in (("one", [0]), ("rest", [1, 2])):
        rows = found.table.loc[roi].iloc[:-1]
        np.testing.assert_allclose(rows["estimate"], of_rows(columns)(np.arange(60)), atol=1e-10)
        samples = oracle.on_draws(units, drawn, of_rows(columns))
        ends = np.quantile(samples, [0.025, 0.975], axis=0)
        np.testing.assert_allclose(rows[["lower", "upper"]].T, ends, atol=1e-9)
    assert found.table.loc["none", ["estimate", "lower", "p_value"]].isna().all(axis=None)
    np.testing.assert_allclose(found.r2[:3], r2_score(Y, predictions[tuple(SPACES[:n_spaces])])[:3])
    # The unique part of A is a comparison of two models: exchange them in all 2^9 ways.
    without = predictions[tuple(SPACES[1:n_spaces])][:, 0]
    gain = ((Y[:, 0] - without) ** 2 - (Y[:, 0] - predictions[tuple(SPACES[:n_spaces])][:, 0]) ** 2) / (
        60 * Y[:, 0].var()
    )
    terms = [gain[units == u].sum() for u in range(9)]
    signs = np.array(np.meshgrid(*[[1, -1]] * 9)).reshape(9, -1).T
    assert found.n_permutations == 512
    assert found.table.loc[("one", "A"), "p_value"] == pytest.approx(oracle.sign_flip_p(terms, signs))


def test_draws_of_the_product_measure_are_the_definition():
    rng = np.random.default_rng(5)
    Y, bands = 4 + rng.standard_normal((60, 3)), rng.standard_normal((3, 60, 3))
    units, intercept = rng.integers(0, 8, 60), 4 + 0.3 * rng.standard_normal((60, 3))
    named = dict(zip("ABC", bands, strict=True))
    found = partition_by_product(
        Y, named, units, intercept=intercept, n_bootstrap=40, n_permutations=300, seed=6
    )
    drawn = [
        np.repeat(np.arange(8), counts)
        for counts in np.random.default_rng(6).multinomial(8, np.full(8, 1 / 8), size=40)
    ]
    # A varying intercept is divided before units are drawn, so that the shares stay those of the same bands.
    variances = bands.var(axis=1)
    whole = bands + (variances / variances.sum(axis=0))[:, None] * intercept

    def shares(rows):
        return oracle.product_shares(Y[rows], whole[:, rows], 0.0, variances).mean(axis=1)

    np.testing.assert_allclose(found.table.loc["all"].iloc[:3]["estimate"], shares(np.arange(60)), atol=1e-10)
    ends = np.quantile(oracle.on_draws(units, drawn, shares), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found.table.loc["all"].iloc[:3][["lower", "upper"]].T, ends, atol=1e-9)
    total = found.table.loc[("all", "total")]
    assert total["estimate"] == pytest.approx(r2_score(Y, intercept + bands.sum(axis=0)).mean())
    left_out = whole.sum(axis=0) - (bands[1] - bands[1].mean(axis=0))
    lost = (r2_score(Y, whole.sum(axis=0)) - r2_score(Y, left_out)).mean()
    assert found.evidence.loc[("all", "B"), "estimate"] == pytest.approx(lost)
    # Contributions of units sum to the share: flipping none of them is the observed one.
    assert 1 / 256 <= found.table.loc[("all", "A"), "p_value"] <= 1


def test_orthogonal_spaces_have_their_planted_shares():
    Y, predictions, bands = fitted_models(np.random.default_rng(7), orthogonal)
    units = np.arange(len(Y)) // 4
    parts = partition_by_commonality(Y, predictions, units, n_bootstrap=200, n_permutations=200).table.loc[
        "all"
    ]
    np.testing.assert_allclose(parts["estimate"], [0.3, 0.2, 0.0, 0.5], atol=0.02)
    shares = partition_by_product(Y, bands, units, n_bootstrap=200, n_permutations=200).table.loc["all"]
    np.testing.assert_allclose(shares["estimate"], [0.3, 0.2, 0.5], atol=0.02)
    assert (parts.loc[["A", "B"], "q_value"] < 0.05).all()
    assert parts.loc["A + B", "p_value"] > 0.05
    assert (parts["lower"] < [0.3, 0.2, 0.0, 0.5]).all()
    assert (parts["upper"] > [0.3, 0.2, 0.0, 0.5]).all()


def test_planted_overlap_of_three_spaces_is_found():
    Y, predictions, _ = fitted_models(np.random.default_rng(8), overlapping, n_voxels=5)
    found = partition_by_commonality(Y, predictions, np.arange(len(Y)), n_bootstrap=100, n_permutations=100)
    planted = {"A": 0.2, "B": 0.1, "C": 0.05, "A + B": 0.25, "A + C": 0.0, "B + C": 0.0, "A + B + C": 0.15}
    for part, share in planted.items():
        assert found.table.loc[("all", part), "estimate"] == pytest.approx(share, abs=0.02), part
    assert found.table.loc[("all", "total"), "estimate"] == pytest.approx(0.75, abs=0.02)


def test_suppressor_is_told_from_overfitting_and_chance():
    Y, predictions, _ = fitted_models(np.random.default_rng(9), suppressor)
    found = partition_by_commonality(Y, predictions, np.arange(len(Y)), n_bootstrap=200, n_permutations=100)
    # R2 of A is 0.25, of B 0, of both 0.5: the common part is -0.25 and the unique part of B 0.25.
    estimates = found.table.loc["all"]["estimate"]
    np.testing.assert_allclose(estimates, [0.5, 0.25, -0.25, 0.5], atol=0.03)
    (sentence,) = explain_negative_shares(found)
    assert "shared by A and B" in sentence
    assert "suppression" in sentence

    def useless(rng, n, n_voxels):
        return {
            "A": rng.standard_normal((n, n_voxels)),
            "B": rng.standard_normal((n, 60)),
        }, rng.standard_normal((n, n_voxels))

    def with_signal(rng, n, n_voxels):
        spaces, noise = useless(rng, n, n_voxels)
        return spaces, spaces["A"] + noise

    Y, predictions, bands = fitted_models(np.random.default_rng(10), with_signal, n_train=200, n_test=600)
    found = partition_by_commonality(Y, predictions, np.arange(len(Y)), n_bootstrap=200, n_permutations=100)
    sentences = explain_negative_shares(found)
    assert any("unique part of B" in s and "overfitting" in s for s in sentences)
    assert not any("is suppression (synergy)" in s for s in sentences)
    by_band = partition_by_product(Y, bands, np.arange(len(Y)), n_bootstrap=200, n_permutations=100)
    assert any("share of B" in s and "overfitting" in s for s in explain_negative_shares(by_band))

    Y, predictions, bands = fitted_models(np.random.default_rng(11), useless, n_train=150, n_test=600)
    found = partition_by_product(Y, bands, np.arange(len(Y)), n_bootstrap=200, n_permutations=100)
    assert all("worse than the mean of the responses" in s for s in explain_negative_shares(found))

    Y, _, bands = fitted_models(np.random.default_rng(12), opposed)
    found = partition_by_product(Y, bands, np.arange(len(Y)), n_bootstrap=200, n_permutations=100)
    # cov(B, Y) = 0.9 - 0.5, weight -0.5, var(Y) = 1 + 0.25 - 0.9 + 0.25: Pratt's share of B is -0.2 / 0.6.
    assert found.table.loc[("all", "B"), "estimate"] == pytest.approx(-0.2 / 0.6, abs=0.03)
    (sentence,) = explain_negative_shares(found)
    assert "share of B" in sentence
    assert "suppression, not noise" in sentence


def test_a_negative_share_that_may_be_zero_is_called_chance():
    for seed in range(20):
        Y, predictions, _ = fitted_models(np.random.default_rng(seed), orthogonal, n_train=3000, n_test=200)
        found = partition_by_commonality(Y, predictions, np.arange(200), n_bootstrap=100, n_permutations=50)
        common = found.table.loc[("all", "A + B")]
        if common["estimate"] < 0 < common["upper"]:
            (sentence,) = explain_negative_shares(found)
            assert "the sign may be chance" in sentence
            return
    pytest.fail("no negative common part in 20 data sets")


def test_null_of_permuted_predictions():
    rng = np.random.default_rng(14)
    Y, _, bands = fitted_models(rng, orthogonal, n_train=500, n_test=200, n_voxels=4)
    orders = permute_blocks_within_runs(np.arange(200), np.zeros(200, int), 60, seed=1)
    null = product_measure_null(Y, np.stack(list(bands.values())), orders)
    expected = [oracle.product_shares(Y, np.stack([b[rows] for b in bands.values()])) for rows in orders[:2]]
    np.testing.assert_allclose(null[:2], expected, atol=1e-10)
    table = partition_by_product(Y, bands, np.arange(200), null=null, n_bootstrap=50, n_permutations=50).table
    np.testing.assert_allclose(table["p_value_null"], 1 / 61)
    np.testing.assert_allclose(
        table.loc[("all", "A"), ["null_mean", "null_95"]].astype(float),
        [null[:, 0].mean(), np.quantile(null[:, 0].mean(axis=1), 0.95)],
    )
    with pytest.raises(ValueError, match=r"null has shape \(60, 3, 4\)"):
        partition_by_product(Y, bands, np.arange(200), null=np.zeros((60, 3, 4)))


def calibration(n_sets, seed, n_units=50, n_bootstrap=200):
    """P-values and coverage where B has nothing of its own and nothing in common with A, by whole units."""
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(n_units), 4)
    p_common, covered = [], []
    for number in range(n_sets):
        # Fixed predictions (the true weights), responses and features dependent within units.
        a, b, noise = rng.standard_normal((3, n_units, 1))[:, units] + rng.standard_normal(
            (3, 4 * n_units, 1)
        )
        predictions = {("A",): a, ("B",): b, ("A", "B"): a + b}
        found = partition_by_commonality(
            a + b + noise, predictions, units, n_bootstrap=n_bootstrap, n_permutations=199, seed=number
        )
        common = found.table.loc[("all", "A + B")]
        p_common.append(common["p_value"])
        covered.append(common["lower"] <= 0 <= common["upper"])
    return np.mean(np.array(p_common) <= 0.05), np.mean(covered)


def test_common_part_of_nothing_is_found_as_often_as_promised():
    false, covered = calibration(200, 15)
    assert 0.01 <= false <= 0.10  # binomial, 99 % around 5 %
    assert 0.88 <= covered <= 0.98  # 50 units cost the percentile interval about two points


@pytest.mark.slow
def test_common_part_of_nothing_is_found_as_often_as_promised_in_a_thousand_sets():
    false, covered = calibration(1000, 16, 150, 1000)
    assert 0.032 <= false <= 0.068  # binomial, 99 %
    assert 0.915 <= covered <= 0.965  # 94 % is documented
    _, covered_by_few = calibration(1000, 17, 20, 1000)
    assert 0.87 <= covered_by_few <= 0.93  # 90 % is documented


def test_exchange_of_equal_models_has_nominal_false_positives():
    """Models with and without a space that are equally far from the truth: the unique part is zero."""
    rng = np.random.default_rng(17)
    p_values = []
    for number in range(300):
        truth, e_with, e_without, other, noise = rng.standard_normal((5, 120, 1))
        predictions = {("A",): 0.3 * other, ("B",): truth + e_without, ("A", "B"): truth + e_with}
        found = partition_by_commonality(
            truth + noise, predictions, np.arange(120) // 3, n_bootstrap=2, n_permutations=199, seed=number
        )
        p_values.append(found.table.loc[("all", "A"), "p_value"])
    assert 0.018 <= np.mean(np.array(p_values) <= 0.05) <= 0.083


def test_bad_input_is_refused():
    rng = np.random.default_rng(18)
    Y, predictions = random_models(rng, 2)
    five = {s: np.zeros(3) for s in subsets_of("ABCDE")}
    with pytest.raises(ValueError, match=r"5 feature spaces.*2 to 4"):
        commonality(five)
    with pytest.raises(ValueError, match=r"1 feature space \(A\)"):
        commonality({("A",): np.zeros(3)})
    with pytest.raises(ValueError, match=r"models of A \+ B are missing"):
        commonality({("A",): np.zeros(3), ("B",): np.zeros(3)})
    with pytest.raises(ValueError, match="'AB' names no set of spaces"):
        commonality({"AB": np.zeros(3)})
    with pytest.raises(ValueError, match="given twice"):
        commonality({("A", "B"): np.zeros(3), ("B", "A"): np.zeros(3), ("A",): np.zeros(3)})
    with pytest.raises(ValueError, match=r"shapes \[\(2,\), \(3,\)\]"):
        commonality({("A",): np.zeros(3), ("B",): np.zeros(2), ("A", "B"): np.zeros(3)})
    with pytest.raises(ValueError, match="NaN for a voxel in some models only"):
        commonality({("A",): np.array([np.nan]), ("B",): np.zeros(1), ("A", "B"): np.zeros(1)})
    with pytest.raises(ValueError, match=r"band_predictions has shape \(60, 3\)"):
        product_measure(Y, Y)
    with pytest.raises(ValueError, match="band_predictions is NaN or infinite in 1 of 3 voxels"):
        product_measure(Y, np.where(np.arange(3) == 1, np.nan, Y)[None])
    with pytest.raises(ValueError, match=r"intercept has shape \(4,\)"):
        product_measure(Y, Y[None], np.zeros(4))
    with pytest.raises(ValueError, match=r"units has shape \(3,\)"):
        partition_by_commonality(Y, predictions, np.zeros(3))
    with pytest.raises(ValueError, match=r"prediction of A \+ B has shape \(59, 3\)"):
        partition_by_commonality(Y, predictions | {("A", "B"): Y[1:]}, np.arange(60))
    with pytest.raises(ValueError, match="3 values that are NaN"):
        partition_by_commonality(
            Y, predictions | {("A",): np.where(np.arange(60)[:, None] == 4, np.nan, Y)}, np.arange(60)
        )
    with pytest.raises(ValueError, match="there is 1 unit"):
        partition_by_commonality(Y, predictions, np.zeros(60))
