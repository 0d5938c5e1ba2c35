"""Decoding of the Haxby slice against its published figures, and of simulated patterns against the truth."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from analyses.datasets import load_dataset
from analyses.experiments.decoding import decode_blocks, decode_dataset

RUNS = np.repeat(np.arange(6), 8)
LABELS = np.tile(["cat", "face", "house", "shoe"], 12)


def patterns(signal, seed=0, n_voxels=30):
    rng = np.random.default_rng(seed)
    centres = dict(zip(np.unique(LABELS), rng.standard_normal((4, n_voxels)), strict=True))
    return signal * np.array([centres[label] for label in LABELS]) + rng.standard_normal((48, n_voxels))


def nearest_neighbour_by_loop(responses):
    """Label of the nearest pattern of any other run."""
    decoded = []
    for i in range(len(responses)):
        distances = [
            np.inf if RUNS[j] == RUNS[i] else np.sum((responses[i] - responses[j]) ** 2) for j in range(48)
        ]
        decoded.append(LABELS[np.argmin(distances)])
    return np.array(decoded)


def test_every_block_is_decoded_from_the_other_runs_only():
    responses = patterns(0.4)
    result = decode_blocks(responses, LABELS, RUNS, estimator=KNeighborsClassifier(1), n_permutations=0)
    decoded = nearest_neighbour_by_loop(responses)
    assert result.predicted.tolist() == decoded.tolist()
    assert result.accuracy == (decoded == LABELS).mean()
    assert 0.3 < result.accuracy < 0.95
    for run, accuracy in zip(result.runs, result.fold_accuracy, strict=True):
        assert accuracy == (decoded == LABELS)[run == RUNS].mean()
    for i, true in enumerate(result.classes):
        for j, named in enumerate(result.classes):
            assert result.confusion[i, j] == sum((true == LABELS) & (decoded == named))
    assert np.isnan(result.p_value)


def test_strong_patterns_are_decoded_and_significant():
    result = decode_blocks(patterns(3.0), LABELS, RUNS, n_permutations=39)
    assert result.accuracy == 1
    assert (result.confusion == 12 * np.eye(4)).all()
    assert result.p_value == 1 / 40
    assert result.chance == 0.25
    assert abs(result.null_accuracy.mean() - 0.25) < 0.05


def test_noise_is_decoded_at_chance_and_p_values_are_uniform():
    results = [
        decode_blocks(
            patterns(0.0, seed), LABELS, RUNS, estimator=KNeighborsClassifier(3), n_permutations=19, seed=seed
        )
        for seed in range(40)
    ]
    accuracies = np.array([result.accuracy for result in results])
    p_values = np.array([result.p_value for result in results])
    assert abs(accuracies.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / (48 * 40))
    # 40 uniform draws: the share below .25 is .25 with a standard error of .07.
    assert 0.05 < (p_values <= 0.25).mean() < 0.45
    covers = [result.accuracy_lower <= 0.25 <= result.accuracy_upper for result in results]
    assert np.mean(covers) > 0.75


def test_a_feature_that_names_the_label_in_one_run_only_helps_nowhere_else():
    responses = patterns(0.0)
    first = RUNS == 0
    responses[first, 0] = 100 * np.unique(LABELS, return_inverse=True)[1][first]
    result = decode_blocks(responses, LABELS, RUNS, n_permutations=0)
    assert result.accuracy < 0.5


def test_the_same_seed_gives_the_same_result():
    one, same, other = (
        decode_blocks(patterns(0.3), LABELS, RUNS, n_permutations=5, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.null_accuracy, same.null_accuracy)
    assert one.accuracy_lower == same.accuracy_lower
    assert not np.array_equal(one.null_accuracy, other.null_accuracy)


@pytest.fixture(scope="module")
def haxby_slice():
    return load_dataset("haxby-slice")


@pytest.mark.parametrize(("C", "published"), [(1.0, 0.823), (0.01, 0.8125)])
def test_the_haxby_slice_is_decoded_as_published(haxby_slice, C, published):
    # Haxby et al. (2001), subject 1, half a slice: eight categories, leave one run out; each run detrended
    # linearly and z-scored over all volumes, mean of each block's labelled volumes without lag, LinearSVC.
    result = decode_dataset(haxby_slice, estimator=LinearSVC(C=C, random_state=0), n_permutations=0)
    assert result.accuracy == pytest.approx(published, abs=0.01)
    assert result.chance == 0.125
    assert result.confusion.sum() == 96
    assert result.accuracy_lower < published < result.accuracy_upper
    assert len(result.runs) == 12


def test_haxby_slice_decoding_beats_labels_permuted_within_runs(haxby_slice):
    steps = []
    result = decode_dataset(haxby_slice, n_permutations=19, progress=lambda *step: steps.append(step))
    assert result.accuracy == pytest.approx(0.823, abs=0.01)
    assert result.null_accuracy.max() < 0.35
    assert abs(result.null_accuracy.mean() - 0.125) < 0.04
    assert result.p_value == 0.05
    assert steps[-1] == (19, 19, "null")


def test_a_window_moved_towards_the_peak_is_another_analysis(haxby_slice):
    lagged = decode_dataset(haxby_slice, lag_volumes=2, n_permutations=0)
    assert lagged.accuracy > 0.7
    assert lagged.accuracy != decode_dataset(haxby_slice, n_permutations=0).accuracy


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decode_blocks(np.zeros(48), LABELS, RUNS), "responses has shape"),
        (lambda: decode_blocks(np.full((48, 2), np.nan), LABELS, RUNS), "in 2 of 2 voxels"),
        (lambda: decode_blocks(patterns(1), LABELS[1:], RUNS), r"labels has shape \(47,\)"),
        (lambda: decode_blocks(patterns(1), LABELS, RUNS[1:]), r"runs has shape \(47,\)"),
        (lambda: decode_blocks(patterns(1), np.full(48, "cat"), RUNS), "at least two different"),
        (lambda: decode_blocks(patterns(1), LABELS, np.zeros(48)), "1 distinct labels, too few for 2 folds"),
        (lambda: decode_blocks(patterns(1), LABELS, np.arange(48)), "block"),
    ],
)
def test_bad_input_is_refused_with_a_message_that_says_what_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_attribute_or_another_kind_of_data_is_refused(haxby_slice):
    with pytest.raises(KeyError, match="unknown attribute 'categories'; did you mean 'category'"):
        decode_dataset(haxby_slice, "categories")
    simulated = load_dataset("simulated")
    if simulated.kind != "time_series":
        with pytest.raises(ValueError, match="go to decode_blocks"):
            decode_dataset(simulated)
