"""Published data sets against figures that were checked when they were collected (see each test)."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import detrend
from scipy.stats import pearsonr, spearmanr, zscore
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.svm import LinearSVC

from analyses.datasets import Dataset, fetch_dataset, load_dataset
from analyses.datasets.dataset import label_blocks

# Every test takes `real_data`, which skips where COGMODELS_DATA is absent.


def test_haxby_slice_decodes_as_published() -> None:
    """8-way leave-one-run-out accuracy .823 (z-scored runs, means of blocks, LinearSVC, C = 1)."""
    data = load_dataset("haxby-slice")
    runs, ids = data.runs, data.responses["stimulus_id"].values
    scaled = np.concatenate(
        [
            zscore(detrend(data.responses.values[runs == run].astype(float), axis=0), axis=0)
            for run in range(12)
        ]
    )
    blocks = label_blocks(ids, runs)
    kept = np.unique(blocks[ids != ""])
    means = np.stack([scaled[blocks == block].mean(axis=0) for block in kept])
    first = [np.flatnonzero(blocks == block)[0] for block in kept]
    scores = cross_val_score(LinearSVC(C=1.0), means, ids[first], groups=runs[first], cv=LeaveOneGroupOut())
    assert scores.mean() == pytest.approx(0.823, abs=0.01)


def test_digits69_is_upright_and_complete(real_data: Path) -> None:
    data = load_dataset("digits69", download=False)
    assert data.responses.shape == (100, 3092)
    attributes = data.stimuli.attributes
    assert attributes["split"].tolist() == ["train"] * 90 + ["test"] * 10
    assert attributes["digit"].value_counts().to_dict() == {6: 50, 9: 50}
    assert data.test_stimulus_ids.tolist() == data.stimuli.stimulus_ids[90:].tolist()
    images = np.stack([data.stimuli.stored_image(i) for i in range(100)])
    assert images.dtype == np.uint8
    assert images.shape == (100, 28, 28)
    # Upright, the loop of a six is in the lower half and that of a nine in the upper one: that half is wider.
    halves = images.reshape(100, 2, 14, 28).astype(float).sum(axis=2)
    centre = (halves * np.arange(28)).sum(axis=2) / halves.sum(axis=2)
    spread = (halves * (np.arange(28) - centre[:, :, None]) ** 2).sum(axis=2) / halves.sum(axis=2)
    assert ((spread[:, 1] > spread[:, 0]) == (attributes["digit"].to_numpy() == 6)).mean() > 0.8
    assert len(set(data.stimuli.media_hashes)) == 100


def test_kriegeskorte92_agrees_between_human_and_monkey(real_data: Path) -> None:
    """Spearman of mean human and monkey IT RDM: .439 (Kriegeskorte et al. 2008, supplemental data)."""
    data = load_dataset("kriegeskorte92", download=False)
    assert {name: matrices.shape for name, matrices in data.rdms.items()} == {
        "human-IT": (8, 92, 92),
        "monkey-IT": (1, 92, 92),
        "behaviour": (16, 92, 92),
        "models": (8, 92, 92),
    }
    pairs = np.triu_indices(92, 1)
    human, monkey = data.rdms["human-IT"].mean(axis=0)[pairs], data.rdms["monkey-IT"][0][pairs]
    assert spearmanr(human, monkey).statistic == pytest.approx(0.439, abs=0.0005)
    for name, matrices in data.rdms.items():
        assert np.array_equal(matrices, matrices.transpose(0, 2, 1)), name
        assert not np.diagonal(matrices, axis1=1, axis2=2).any(), name
        assert len(data.rdm_labels[name]) == len(matrices)
    # The monkey RDM is published twice: among the models too.
    assert np.array_equal(
        data.rdms["models"][data.rdm_labels["models"].index("monkeyIT")], data.rdms["monkey-IT"][0]
    )
    # Two sessions of one person are more alike than sessions of two people.
    sessions = [matrix[pairs] for matrix in data.rdms["human-IT"]]
    within = np.mean([spearmanr(sessions[i], sessions[i + 1]).statistic for i in range(0, 8, 2)])
    across = np.mean([spearmanr(sessions[i], sessions[(i + 2) % 8]).statistic for i in range(8)])
    assert within > across
    assert [label.split()[0] for label in data.rdm_labels["human-IT"]] == ["BE"] * 2 + ["KO"] * 2 + [
        "SN"
    ] * 2 + ["TI"] * 2
    attributes = data.stimuli.attributes
    assert attributes["is_animate"].sum() == attributes["animal"].sum() == 48
    assert (attributes["category"] == "human face").sum() == 12
    # Faces are a cluster in IT: pairs of faces are less dissimilar than pairs of a face and something else.
    face = attributes["face"].to_numpy()
    matrix = data.rdms["human-IT"].mean(axis=0)
    between = matrix[np.ix_(face, ~face)].mean()
    assert matrix[np.ix_(face, face)][np.triu_indices(24, 1)].mean() < between


@pytest.mark.parametrize(
    ("session", "n_images", "n_neurons"),
    [("210325", 640, 50), ("201025", 1200, 89), ("210224", 800, 67), ("190923", 1200, 33)],
)
def test_v4_natural_sessions(real_data: Path, session: str, n_images: int, n_neurons: int) -> None:
    data = load_dataset("v4-natural", session, download=False)
    assert data.responses.shape == (n_images, n_neurons)
    assert data.kind == "averages"
    assert data.stimuli.image(0).shape == (112, 112, 3)
    assert data.stimuli.stimulus_ids.tolist() == sorted(data.stimuli.stimulus_ids)
    assert data.responses["stimulus_id"].values.tolist() == data.stimuli.stimulus_ids.tolist()
    assert (data.responses >= 0).all()
    assert (data.repeats is not None) == (session == "210325")


def test_v4_natural_repeats_average_to_the_published_means(real_data: Path) -> None:
    data = load_dataset("v4-natural", "210325", download=False)
    counts = np.isfinite(data.repeats).sum(axis=0)
    assert counts.min() == 6
    assert counts.max() == 10
    assert np.allclose(np.nanmean(data.repeats, axis=0), data.responses.values, atol=1e-5)
    # Spikes are counts.
    assert np.array_equal(data.repeats[np.isfinite(data.repeats)] % 1, np.zeros(int(counts.sum())))


def test_v4_natural_images_are_in_the_order_of_responses(real_data: Path) -> None:
    """A ridge from pixels at 14 x 14 x 3, penalty 100, first half to second half: mean r .235."""
    data = load_dataset("v4-natural", "210325", download=False)
    images = np.stack([data.stimuli.image(i) for i in range(640)]) / 255
    X = images.reshape(640, 14, 8, 14, 8, 3).mean(axis=(2, 4)).reshape(640, -1)
    Y = data.responses.values.astype(float)
    centre_x, centre_y = X[:320].mean(axis=0), Y[:320].mean(axis=0)
    A = X[:320] - centre_x
    weights = np.linalg.solve(A.T @ A + 100 * np.eye(A.shape[1]), A.T @ (Y[:320] - centre_y))
    predicted = (X[320:] - centre_x) @ weights + centre_y
    r = [pearsonr(predicted[:, i], Y[320:, i]).statistic for i in range(50)]
    assert np.mean(r) == pytest.approx(0.235, abs=0.005)


@pytest.mark.parametrize("name", ["digits69", "kriegeskorte92", "v4-natural"])
def test_files_are_those_of_the_homes(real_data: Path, name: str) -> None:
    paths = fetch_dataset(name)
    assert all(path.is_relative_to(real_data) for path in paths)


def test_one_session_needs_only_its_own_files(real_data: Path) -> None:
    assert [path.name for path in fetch_dataset("v4-natural", "190923")] == [
        "images_190923.zip",
        "responses_190923.npy",
    ]


def test_presentations_and_stimuli_agree(real_data: Path) -> None:
    data: Dataset = load_dataset("digits69", download=False)
    assert data.stimulus_index.tolist() == list(range(100))
    assert data.rois["all"].all()
