"""The five behavioural statistics and Delta."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogmodels.search.behaviour import sequence_statistics, statistics_delta
from tests.oracles import search_behaviour as oracle

sequences = st.lists(st.integers(0, 6), min_size=1, max_size=15)


def test_statistics_of_a_search_counted_by_hand():
    # 4 first visits (3 5 1 2), one refixation (the second 5), two revisits (3, 5), ending on the target
    (row,) = sequence_statistics([[3, 5, 5, 1, 3, 5, 2]], [2])
    np.testing.assert_allclose(row, [1, 7, 4 / 7, 1 / 7, 2 / 7])


@given(st.lists(st.tuples(sequences, st.integers(-1, 6)), min_size=1, max_size=8))
def test_statistics_equal_those_counted_fixation_by_fixation(trials):
    found = sequence_statistics([s for s, _ in trials], [t for _, t in trials])
    np.testing.assert_allclose(found, [oracle.sequence_statistics(s, t) for s, t in trials])
    np.testing.assert_allclose(found[:, 2:].sum(1), 1)


@given(
    st.lists(st.floats(0, 50), min_size=5, max_size=5), st.lists(st.floats(0.01, 50), min_size=5, max_size=5)
)
def test_delta_is_the_mean_relative_error(model, people):
    assert statistics_delta(model, people) == pytest.approx(oracle.delta(model, people))
    assert statistics_delta(people, people) == 0


def test_delta_leaves_out_what_people_never_show():
    assert statistics_delta([0.5, 4, 0.5, 0.5, 0], [1, 8, 1, 0, 0]) == pytest.approx(0.5)
    assert np.isnan(statistics_delta([1, 1, 1, 1, 1], [0, 0, 0, 0, 0]))


@pytest.mark.parametrize(
    ("given_sequences", "targets", "message"),
    [
        ([[]], [0], r"sequences\[0\].*at least one"),
        ([[0], [1, -1]], [0, 0], r"sequences\[1\] has fixations on no object.*nearest=True"),
        ([[0.5]], [0], "type float64"),
        ([[0]], [0, 1], "one object for each of 1"),
    ],
)
def test_what_is_no_sequence_is_refused(given_sequences, targets, message):
    with pytest.raises(ValueError, match=message):
        sequence_statistics(given_sequences, targets)


@pytest.mark.parametrize("bad", [[1, 2, 3], [1, 2, np.nan, 0, 0], [1, 2, -0.1, 0, 0]])
def test_delta_refuses_what_are_no_means(bad):
    with pytest.raises(ValueError, match="people is"):
        statistics_delta([1, 1, 1, 0, 0], bad)
