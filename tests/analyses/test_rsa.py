"""RDMs against scipy, ceilings against loops and published data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau, rankdata, spearmanr

from analyses.datasets import load_dataset
from analyses.metrics.rsa import compare_rdms, rdm, rdm_noise_ceiling, upper_triangle
from tests.oracles import rsa as oracle

SCIPY_NAMES = {"squared_euclidean": "sqeuclidean"}


def random_rdms(n, n_stimuli=12, seed=0, levels=None):
    rng = np.random.default_rng(seed)
    pairs = rng.random((n, n_stimuli * (n_stimuli - 1) // 2)) + np.linspace(
        0, 1, n_stimuli * (n_stimuli - 1) // 2
    )
    if levels:
        pairs = np.floor(pairs * levels)
    return np.stack([squareform(row) for row in pairs])


@pytest.mark.parametrize("method", ["correlation", "cosine", "euclidean", "squared_euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rdm_equals_scipy(method, dtype):
    X = (np.random.default_rng(0).standard_normal((40, 300)) * 3 + 20).astype(dtype)
    expected = squareform(pdist(X.astype(np.float64), SCIPY_NAMES.get(method, method)))
    result = rdm(X, method)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(result, result.T)
    np.testing.assert_array_equal(np.diag(result), 0)


def test_rdm_in_chunks_of_a_mapped_file(tmp_path, monkeypatch):
    X = np.random.default_rng(1).standard_normal((20, 1000)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr("analyses.metrics.rsa._CHUNK_BYTES", 8 * 20 * 64)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for method in ("correlation", "cosine", "euclidean"):
        np.testing.assert_allclose(
            rdm(mapped, method), squareform(pdist(X.astype(np.float64), method)), rtol=1e-9, atol=1e-12
        )


@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100), offset=st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_rdm_invariances(seed, scale, offset):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((6, 15))
    order = rng.permutation(6)
    rows = rng.uniform(0.1, 10, (6, 1))
    np.testing.assert_allclose(rdm(X * rows * scale + offset), rdm(X), atol=1e-8)
    np.testing.assert_allclose(rdm(X * rows, "cosine"), rdm(X, "cosine"), atol=1e-10)
    np.testing.assert_allclose(rdm(X + offset, "euclidean"), rdm(X, "euclidean"), atol=1e-6)
    np.testing.assert_allclose(rdm(X[order]), rdm(X)[np.ix_(order, order)], atol=1e-12)
    assert (rdm(X) <= 2 + 1e-12).all()


def test_equal_stimuli_have_no_distance():
    X = np.random.default_rng(0).standard_normal((5, 2000)) + 1000
    X[3] = X[1]
    for method in ("correlation", "cosine", "euclidean", "squared_euclidean"):
        assert rdm(X, method)[1, 3] < 1e-12


def test_upper_triangle_is_in_scipys_order():
    rdms = random_rdms(3)
    np.testing.assert_array_equal(upper_triangle(rdms), [squareform(one) for one in rdms])
    np.testing.assert_array_equal(upper_triangle(rdms[0]), squareform(rdms[0]))


@pytest.mark.parametrize("levels", [None, 5])
def test_comparisons_equal_scipy_with_and_without_ties(levels):
    a, b = random_rdms(3, seed=1, levels=levels), random_rdms(4, seed=2, levels=levels)
    expected = {
        "spearman": lambda x, y: spearmanr(x, y).statistic,
        "pearson": lambda x, y: np.corrcoef(x, y)[0, 1],
        "cosine": lambda x, y: x @ y / np.sqrt(x @ x * (y @ y)),
        "kendall_tau_a": oracle.kendall_tau_a,
    }
    for method, score in expected.items():
        truth = [[score(squareform(x), squareform(y)) for y in b] for x in a]
        np.testing.assert_allclose(compare_rdms(a, b, method), truth, atol=1e-12)
        assert compare_rdms(a[0], b[1], method) == pytest.approx(truth[0][1])
        np.testing.assert_allclose(compare_rdms(a[0], b, method), truth[0], atol=1e-12)
    if levels:
        assert (
            compare_rdms(a[0], b[0], "kendall_tau_a")
            < kendalltau(squareform(a[0]), squareform(b[0])).statistic
        )


@given(seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_rank_comparisons_see_order_only(seed):
    a, b = random_rdms(2, n_stimuli=6, seed=seed)
    stretched = np.where(np.eye(6), 0, np.exp(3 * a))
    for method in ("spearman", "kendall_tau_a"):
        assert compare_rdms(stretched, b, method) == pytest.approx(compare_rdms(a, b, method))
        assert compare_rdms(b, a, method) == pytest.approx(compare_rdms(a, b, method))
        assert compare_rdms(a, a, method) == pytest.approx(1)
    order = np.random.default_rng(seed).permutation(6)
    relabelled = compare_rdms(a[np.ix_(order, order)], b[np.ix_(order, order)])
    assert relabelled == pytest.approx(compare_rdms(a, b))


@pytest.mark.parametrize(
    ("method", "scale"),
    [
        ("spearman", rankdata),
        ("pearson", lambda v: (v - v.mean()) / v.std()),
        ("cosine", lambda v: v / np.sqrt(v @ v)),
        ("kendall_tau_a", rankdata),
    ],
)
def test_ceiling_equals_loop_and_bounds_the_truth(method, scale):
    rng = np.random.default_rng(3)
    truth = squareform(random_rdms(1, 14, seed=5)[0])
    vectors = np.abs(truth + 0.4 * rng.standard_normal((6, len(truth))))
    rdms = np.stack([squareform(v) for v in vectors])
    scores = {
        "spearman": lambda x, y: spearmanr(x, y).statistic,
        "pearson": lambda x, y: np.corrcoef(x, y)[0, 1],
        "cosine": lambda x, y: x @ y / np.sqrt(x @ x * (y @ y)),
        "kendall_tau_a": oracle.kendall_tau_a,
    }
    ceiling = rdm_noise_ceiling(rdms, method)
    lower, upper = oracle.noise_ceiling(list(vectors), scores[method], scale)
    assert (ceiling.lower, ceiling.upper) == pytest.approx((lower, upper))
    assert ceiling.lower < np.mean(compare_rdms(squareform(truth), rdms, method)) < ceiling.upper
    # No RDM at hand beats the upper bound.
    assert np.mean(compare_rdms(rdms, rdms, method), axis=1).max() < ceiling.upper


def test_errors_say_what_is_wrong_with_an_rdm():
    good = random_rdms(2)
    bad = good.copy()
    bad[1, 0, 1] = np.nan
    with pytest.raises(ValueError, match="a holds 1 values that are NaN"):
        compare_rdms(bad, good)
    bad = good.copy()
    bad[0, 2, 1] += 0.1
    with pytest.raises(ValueError, match="b is not symmetric"):
        compare_rdms(good, bad)
    with pytest.raises(ValueError, match="not zero on the diagonal; dissimilarities are needed"):
        upper_triangle(1 - good)
    with pytest.raises(ValueError, match="holds 1 RDM that is constant"):
        compare_rdms(1 - np.eye(12), good)
    with pytest.raises(ValueError, match="RDM that is zero"):
        compare_rdms(np.zeros((12, 12)), good, "cosine")
    with pytest.raises(ValueError, match=r"shape \(12, 11\)"):
        upper_triangle(good[0, :, 1:])
    with pytest.raises(ValueError, match="RDMs of the same stimuli"):
        compare_rdms(good, random_rdms(1, 8))
    with pytest.raises(
        ValueError, match="method is 'tau'; allowed: spearman, pearson, kendall_tau_a, cosine"
    ):
        compare_rdms(good, good, "tau")
    with pytest.raises(ValueError, match="at least 2 RDMs"):
        rdm_noise_ceiling(good[0])
    with pytest.raises(ValueError, match="at least 2 different"):
        rdm_noise_ceiling(good, groups=[1, 1])


def test_errors_say_what_is_wrong_with_features():
    X = np.random.default_rng(0).standard_normal((4, 6))
    with pytest.raises(ValueError, match="method is 'l1'; allowed: correlation, cosine"):
        rdm(X, "l1")
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite in 1 stimuli, the first is row 2"):
        rdm(X)
    X[2] = 0.1
    with pytest.raises(ValueError, match="constant over features in 1 stimuli, the first is row 2"):
        rdm(X)
    X[2] = 0
    with pytest.raises(ValueError, match="zero over features in 1 stimuli, the first is row 2"):
        rdm(X, "cosine")
    assert np.isfinite(rdm(X, "euclidean")).all()
    with pytest.raises(ValueError, match=r"shape \(6,\).*at least 2 stimuli"):
        rdm(X[0])


@pytest.fixture(scope="module")
def it_rdms(real_data):
    """RDMs of Kriegeskorte et al. 2008."""
    return load_dataset("kriegeskorte92").rdms


def test_human_it_ceiling_is_as_published(it_rdms):
    """Lower and upper bound over 8 sessions of 4 people, by how ranks are pooled (the data's README)."""
    sessions = it_rdms["human-IT"]
    people = np.repeat(np.arange(4), 2)
    by_rsatoolbox = rdm_noise_ceiling(sessions)
    assert (by_rsatoolbox.lower, by_rsatoolbox.upper) == pytest.approx((0.328, 0.525), abs=1e-3)
    unranked = rdm_noise_ceiling(sessions, rank_pool=False)
    assert (unranked.lower, unranked.upper) == pytest.approx((0.334, 0.532), abs=1e-3)
    assert rdm_noise_ceiling(sessions, groups=people).lower == pytest.approx(0.306, abs=1e-3)
    means = rdm_noise_ceiling(sessions.reshape(4, 2, 92, 92).mean(axis=1))
    assert (means.lower, means.upper) == pytest.approx((0.372, 0.666), abs=1e-3)


def test_human_and_monkey_it_agree_as_published(it_rdms):
    """Spearman 0.439 between the RDMs of figure 1; the human one is the mean of the sessions."""
    agreement = compare_rdms(it_rdms["human-IT"].mean(axis=0), it_rdms["monkey-IT"][0])
    assert agreement == pytest.approx(0.439, abs=1e-3)
