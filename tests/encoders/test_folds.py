"""Folds against scikit-learn, and what no fold may ever do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold

from encoders.cross_validation import make_folds, merge_groups
from encoders.folds import check_folds
from tests.oracles.cross_validation import components_by_search


def same(ours, theirs):
    return all(
        np.array_equal(a, np.sort(c)) and np.array_equal(b, np.sort(d))
        for (a, b), (c, d) in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("n_samples", [10, 23])
@pytest.mark.parametrize("n_folds", [2, 5, 10])
def test_folds_equal_those_of_scikit_learn(n_samples, n_folds):
    rows = np.zeros(n_samples)
    assert same(make_folds(n_samples, n_folds), KFold(n_folds).split(rows))
    for seed in (0, 7):
        theirs = KFold(n_folds, shuffle=True, random_state=seed).split(rows)
        assert same(make_folds(n_samples, n_folds, shuffle=True, seed=seed), theirs)


def test_group_folds_equal_those_of_scikit_learn():
    groups = np.random.default_rng(0).integers(0, 9, 60)
    theirs = GroupKFold(4).split(np.zeros(60), groups=groups)
    assert same(make_folds(60, 4, groups=groups), theirs)


def test_no_number_of_folds_leaves_one_run_out():
    runs = np.repeat([4, 2, 9], [3, 5, 2])
    folds = make_folds(10, groups=runs)
    assert [sorted(set(runs[test].tolist())) for _, test in folds] == [[2], [4], [9]]
    assert all(len(train) + len(test) == 10 for train, test in folds)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "dd", "e", "f"]), min_size=6, max_size=40),
    st.integers(2, 6),
    st.booleans(),
    st.integers(0, 99),
)
def test_groups_stay_whole_and_every_row_is_tested_once(groups, n_folds, shuffle, seed):
    labels = np.array(groups)
    if len(set(groups)) < n_folds:
        with pytest.raises(
            ValueError, match=f"{len(set(groups))} distinct labels, too few for {n_folds} folds"
        ):
            make_folds(len(labels), n_folds, labels, shuffle, seed)
        return
    folds = make_folds(len(labels), n_folds, labels, shuffle, seed)
    assert len(folds) == n_folds
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(labels)))
    for train, test in folds:
        assert not set(labels[train]) & set(labels[test])
        assert np.array_equal(np.union1d(train, test), np.arange(len(labels)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
    assert same(folds, make_folds(len(labels), n_folds, labels, shuffle, seed))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=20))
def test_merged_groups_are_the_connected_components(pairs):
    runs, stimuli = np.array(pairs).T
    merged = merge_groups(runs, stimuli)
    expected = components_by_search(runs, stimuli)
    assert (merged[:, None] == merged).tolist() == (np.array(expected)[:, None] == expected).tolist()
    first = [np.flatnonzero(merged == group)[0] for group in range(merged.max() + 1)]
    assert first == sorted(first)


def test_rest_joins_no_runs():
    stimuli = np.array(["", "cat", "", "dog", "", "cat"])
    runs = np.array([1, 1, 2, 2, 3, 3])
    assert merge_groups(runs, stimuli).tolist() == [0, 0, 1, 1, 0, 0]
    assert merge_groups(runs, np.array([-1, 5, -1, 6, -1, 5])).tolist() == [0, 0, 1, 1, 0, 0]
    assert len(set(merge_groups(runs, stimuli, missing=()).tolist())) == 1


def test_masks_serve_as_folds():
    test = np.arange(6) < 2
    ((train_rows, test_rows),) = check_folds([(~test, test)], 6)
    assert train_rows.tolist() == [2, 3, 4, 5]
    assert test_rows.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_folds(10), "pass a number of folds, or groups"),
        (lambda: make_folds(10, 1), "at least 2"),
        (lambda: make_folds(3, 5), "fewer than n_folds=5"),
        (lambda: make_folds(10, groups=np.zeros(10)), "1 distinct labels, too few for 2 folds"),
        (lambda: make_folds(10, 2, groups=np.zeros(9)), r"groups has shape \(9,\)"),
        (lambda: make_folds(3, 2, groups=[0.0, 1.0, np.nan]), "1 NaN"),
        (lambda: merge_groups(), "labels is empty"),
        (lambda: merge_groups([1, 2], [1, 2, 3]), r"labels\[1\] has shape \(3,\)"),
        (lambda: check_folds(5, 10), "see make_folds"),
        (lambda: check_folds([], 10), "empty"),
        (lambda: check_folds([([0, 1], [1, 2])], 5), "both train and test"),
        (lambda: check_folds([([0, 1], [5])], 5), "rows run from 0 to 4"),
        (lambda: check_folds([([0, 1], [-1])], 5), "rows run from 0 to 4"),
        (lambda: check_folds([([0], [2]), ([1], [2])], 5), "tests 1 row more than once"),
        (lambda: check_folds([([0, 1], [2, 3])], 4, groups=[0, 1, 1, 2]), "splits 1 groups"),
    ],
)
def test_bad_input_is_refused_with_a_message_that_says_what_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()
