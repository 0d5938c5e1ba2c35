"""Single-trial responses: planted ones are recovered from runs made without nilearn's design."""

import json
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from analyses.datasets import load_dataset
from analyses.datasets.own_series import label_volumes
from analyses.datasets.single_trials import GlmSettings, estimate_single_trials, to_percent_signal
from tests.oracles.single_trials import convolve_boxcar, glover_kernel, lss

TR_S, N_VOLUMES, N_TRIALS, N_VOXELS = 2.0, 120, 12, 8
ONSETS_S = 6.0 + 18.0 * np.arange(N_TRIALS)
DURATIONS_S = np.full(N_TRIALS, 3.0)
OLS = GlmSettings(noise_model="ols", percent_signal=False)


@cache
def _regressors(spacing_s: float = 18.0) -> np.ndarray:
    """Convolve every trial at fine steps, scaled to a peak of 1 for a long stimulus as is usual."""
    times = np.arange(N_VOLUMES) * TR_S
    onsets = 6.0 + spacing_s * np.arange(N_TRIALS)
    columns = [convolve_boxcar(onset, 3.0, times, glover_kernel, step_s=0.1) for onset in onsets]
    area = sum(glover_kernel(t) for t in np.arange(0.005, 32, 0.01)) * 0.01
    return np.column_stack(columns) / area


def _series(weights: np.ndarray, noise_sd: float, drift: float = 5.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    slow = drift * np.cos(np.pi * np.linspace(0, 1, N_VOLUMES))[:, None]
    return 100 + slow + _regressors() @ weights + noise_sd * rng.normal(size=(N_VOLUMES, weights.shape[1]))


@pytest.mark.parametrize("method", ["lsa", "lss"])
@pytest.mark.parametrize("noise_model", ["ols", "ar1"])
def test_planted_responses_are_recovered(method: str, noise_model: str) -> None:
    weights = np.random.default_rng(1).normal(2.0, 1.0, (N_TRIALS, N_VOXELS))
    settings = GlmSettings(method=method, noise_model=noise_model, percent_signal=False)
    found = estimate_single_trials(_series(weights, 0.02), ONSETS_S, DURATIONS_S, TR_S, settings)
    assert found.shape == weights.shape
    assert found.dtype == np.float32
    r = [np.corrcoef(found[:, voxel], weights[:, voxel])[0, 1] for voxel in range(N_VOXELS)]
    assert min(r) > (0.995 if method == "lsa" else 0.95)
    if method == "lsa":
        # Both kernels have area 1; nilearn's gamma functions differ from Glover's by some 3 %.
        assert np.abs(found - weights).max() < 0.05 * np.abs(weights).max()


def test_lss_is_the_least_squares_of_the_book() -> None:
    from nilearn.glm.first_level import make_first_level_design_matrix

    rng = np.random.default_rng(2)
    onsets = 4.0 + 5.0 * np.arange(N_TRIALS)  # close enough to make the two methods differ
    names = [f"t{i:02d}" for i in range(N_TRIALS)]
    events = pd.DataFrame({"onset": onsets, "duration": 1.0, "trial_type": names})
    design = make_first_level_design_matrix(np.arange(N_VOLUMES) * TR_S, events)
    series = 100 + rng.normal(size=(N_VOLUMES, 4))
    settings = GlmSettings(method="lss", noise_model="ols", percent_signal=False)
    found = estimate_single_trials(series, onsets, np.ones(N_TRIALS), TR_S, settings)
    expected = lss(series, design[names].to_numpy(), design.drop(columns=names).to_numpy())
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
    all_at_once = estimate_single_trials(series, onsets, np.ones(N_TRIALS), TR_S, OLS)
    assert not np.allclose(found, all_at_once, atol=0.1)


def test_order_of_trials_and_voxels_does_not_matter() -> None:
    weights = np.random.default_rng(3).normal(size=(N_TRIALS, N_VOXELS))
    series = _series(weights, 0.5)
    found = estimate_single_trials(series, ONSETS_S, DURATIONS_S, TR_S, OLS)
    order = np.random.default_rng(4).permutation(N_TRIALS)
    shuffled = estimate_single_trials(series, ONSETS_S[order], DURATIONS_S[order], TR_S, OLS)
    assert np.allclose(shuffled, found[order], atol=1e-4)
    voxels = np.random.default_rng(5).permutation(N_VOXELS)
    assert np.allclose(
        estimate_single_trials(series[:, voxels], ONSETS_S, DURATIONS_S, TR_S, OLS), found[:, voxels]
    )


def test_confounds_are_taken_out() -> None:
    weights = np.random.default_rng(6).normal(size=(N_TRIALS, N_VOXELS))
    motion = np.random.default_rng(7).normal(size=(N_VOLUMES, 2))
    clean = _series(weights, 0.01)
    moved = clean + motion @ np.full((2, N_VOXELS), 20.0)
    with_confounds = estimate_single_trials(moved, ONSETS_S, DURATIONS_S, TR_S, OLS, motion)
    reference = estimate_single_trials(clean, ONSETS_S, DURATIONS_S, TR_S, OLS, motion)
    assert np.allclose(with_confounds, reference, atol=1e-4)
    without = estimate_single_trials(moved, ONSETS_S, DURATIONS_S, TR_S, OLS)
    assert np.abs(without - weights).max() > 10 * np.abs(with_confounds - weights).max()


def test_percent_signal_forgets_the_scale_of_the_scanner() -> None:
    series = _series(np.ones((N_TRIALS, N_VOXELS)), 0.5)
    one, scaled = (
        estimate_single_trials(values, ONSETS_S, DURATIONS_S, TR_S) for values in (series, 37.0 * series)
    )
    assert np.allclose(one, scaled, atol=1e-4)
    percent = to_percent_signal(series)
    assert np.allclose(percent.mean(axis=0), 0)
    assert np.allclose(percent / 100 * series.mean(axis=0) + series.mean(axis=0), series)
    with_empty = np.column_stack([series, np.zeros(N_VOLUMES)])
    assert not to_percent_signal(with_empty)[:, -1].any()
    with pytest.raises(ValueError, match="8 of 8 voxels have a mean that is not positive"):
        to_percent_signal(series - 1000)


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # nilearn says it too, before the error
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"onsets_s": ONSETS_S + 100}, "do not lie within the run of 120 volumes"),
        ({"onsets_s": ONSETS_S - 10}, "do not lie within the run"),
        ({"onsets_s": np.full(N_TRIALS, np.nan)}, "do not lie within the run"),
        ({"durations_s": -DURATIONS_S}, "do not lie within the run"),
        ({"durations_s": DURATIONS_S[:3]}, "12 onsets and 3 durations"),
        ({"onsets_s": np.zeros(0), "durations_s": np.zeros(0)}, "0 onsets"),
        ({"tr_s": 0.0}, "tr_s is 0.0"),
        ({"onsets_s": np.repeat(ONSETS_S[:6], 2)}, "cannot be told apart"),
        ({"confounds": np.zeros((5, 1))}, "confounds have shape"),
        ({"confounds": np.full((N_VOLUMES, 1), np.nan)}, "fill in or leave out"),
        ({"confounds": np.ones((N_VOLUMES, 1))}, "cannot be told apart"),
    ],
)
def test_what_cannot_be_estimated_is_refused(changes: dict, match: str) -> None:
    arguments = {
        "series": _series(np.ones((N_TRIALS, 2)), 0.1),
        "onsets_s": ONSETS_S,
        "durations_s": DURATIONS_S,
        "tr_s": TR_S,
        "settings": OLS,
    }
    with pytest.raises(ValueError, match=match):
        estimate_single_trials(**(arguments | changes))


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray], np.ndarray]:
    """Make three runs of volumes with planted responses; give folder, planted weights and mask."""
    rng = np.random.default_rng(8)
    mask = np.zeros((4, 3, 2), dtype=np.uint8)
    mask.ravel()[rng.choice(24, N_VOXELS, replace=False)] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for name in ("bold", "events"):
        (tmp_path / name).mkdir()
    nib.Nifti1Image(mask, affine).to_filename(tmp_path / "mask.nii.gz")
    planted = {}
    for i, run in enumerate(("run-10", "run-2", "run-3")):
        weights = rng.normal(1.0, 1.0, (N_TRIALS, N_VOXELS))
        volumes = np.full((4, 3, 2, N_VOLUMES), 100.0, dtype=np.float32)
        volumes[mask > 0] = _series(weights, 0.02, seed=i).T
        nib.Nifti1Image(volumes, affine).to_filename(tmp_path / "bold" / f"{run}.nii.gz")
        events = pd.DataFrame(
            {"onset": ONSETS_S, "duration": DURATIONS_S, "trial_type": ["x", "y", "z", "n/a"] * 3}
        )
        events.sample(frac=1, random_state=i).to_csv(
            tmp_path / "events" / f"{run}.tsv", sep="\t", index=False
        )
        planted[run] = weights
    settings = {"noise_model": "ols", "percent_signal": False}
    (tmp_path / "dataset.json").write_text(json.dumps({"tr_s": TR_S, "glm": settings}))
    return tmp_path, planted, mask


def test_runs_with_events_become_trials(study: tuple) -> None:
    folder, planted, _ = study
    data = load_dataset(folder)
    assert data.kind == "trials"
    assert data.responses.shape == (
        27,
        N_VOXELS,
    )  # nine named trials in each of three runs, in order of onset
    assert data.responses["stimulus_id"].values.tolist() == ["x", "y", "z"] * 9
    assert data.runs.tolist() == [10] * 9 + [2] * 9 + [3] * 9
    assert data.stimuli.stimulus_ids.tolist() == ["x", "y", "z"]
    assert data.responses["repetition"].values.max() == 8
    named = [row for row in range(N_TRIALS) if row % 4 != 3]
    for run in (10, 2, 3):
        found = data.responses.values[data.runs == run]
        r = np.corrcoef(found.ravel(), planted[f"run-{run}"][named].ravel())[0, 1]
        assert r > 0.8  # unmodelled responses at the baseline events disturb the neighbours
    assert data.info.units == "as given"


def test_every_trial_named_is_recovered_well(study: tuple) -> None:
    folder, planted, mask = study
    for path in (folder / "events").iterdir():
        path.write_text(path.read_text().replace("n/a", "w"))
    data = load_dataset(folder)
    for run in (10, 2, 3):
        found = data.responses.values[data.runs == run]
        assert np.abs(found - planted[f"run-{run}"]).max() < 0.15
    image = np.asarray(data.geometry.to_image(data.responses.values[0]).dataobj)
    assert np.array_equal(image[mask > 0], data.responses.values[0])
    percent = load_dataset(folder, percent_signal=True)
    assert percent.info.units == "percent signal change"
    assert np.allclose(
        percent.responses.values, data.responses.values, rtol=0.1, atol=0.02
    )  # the mean is about 100


def test_surface_runs_give_the_same_responses(study: tuple, tmp_path: Path) -> None:
    folder, _, mask = study
    volume = load_dataset(folder)
    for path in sorted((folder / "bold").iterdir()):
        series = np.asarray(nib.load(path).dataobj)[mask > 0]
        for side, part in (("lh", series[:5]), ("rh", series[5:])):
            arrays = [nib.gifti.GiftiDataArray(column, datatype="NIFTI_TYPE_FLOAT32") for column in part.T]
            name = f"{path.name.removesuffix('.nii.gz')}.{side}.func.gii"
            nib.GiftiImage(darrays=arrays).to_filename(folder / "bold" / name)
        path.unlink()
    surface = load_dataset(folder)
    assert np.allclose(surface.responses.values, volume.responses.values, atol=1e-4)
    assert len(surface.geometry.vertices_left) == 5
    assert surface.runs.tolist() == volume.runs.tolist()


def test_names_of_bids_belong_together(study: tuple) -> None:
    folder, _, _ = study
    before = load_dataset(folder).responses.values
    for path in (folder / "bold").iterdir():
        run = path.name.removesuffix(".nii.gz")
        path.rename(path.with_name(f"sub-1_task-see_{run}_space-T1w_desc-preproc_bold.nii.gz"))
    for path in (folder / "events").iterdir():
        path.rename(path.with_name(f"sub-1_task-see_{path.stem}_events.tsv"))
    data = load_dataset(folder)
    assert np.array_equal(data.responses.values, before)
    assert sorted(set(data.runs)) == [2, 3, 10]


def test_confounds_of_runs_are_read(study: tuple) -> None:
    folder, _, _ = study
    before = load_dataset(folder).responses.values
    (folder / "confounds").mkdir()
    rng = np.random.default_rng(9)
    for path in (folder / "bold").iterdir():
        motion = rng.normal(size=N_VOLUMES)
        image = nib.load(path)
        volumes = np.asarray(image.dataobj) + 5 * motion
        nib.Nifti1Image(volumes.astype(np.float32), image.affine).to_filename(path)
        table = pd.DataFrame({"trans_x": motion})
        run = path.name.removesuffix(".nii.gz")
        table.to_csv(folder / "confounds" / f"{run}.tsv", sep="\t", index=False)
    assert np.corrcoef(load_dataset(folder).responses.values.ravel(), before.ravel())[0, 1] > 0.98
    table.loc[0, "trans_x"] = np.nan
    table.to_csv(folder / "confounds" / f"{run}.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match=r"column trans_x: 1 cell without a number"):
        load_dataset(folder)


def test_volumes_themselves_carry_what_was_shown(study: tuple) -> None:
    folder, _, mask = study
    (folder / "dataset.json").write_text(json.dumps({"tr_s": TR_S, "kind": "time_series"}))
    data = load_dataset(folder)
    assert data.kind == "time_series"
    assert data.responses.shape == (3 * N_VOLUMES, N_VOXELS)
    first = np.asarray(nib.load(folder / "bold" / "run-10.nii.gz").dataobj)[mask > 0].T
    assert np.array_equal(data.responses.values[:N_VOLUMES], first)
    # Onset 6 s for 3 s at a repetition time of 2 s covers the volumes at 6 and 8 s.
    ids = data.responses["stimulus_id"].values
    assert np.flatnonzero(ids[:14] != "").tolist() == [3, 4, 12, 13]
    assert ids[[3, 12, 21, 30]].tolist() == ["x", "y", "z", ""]
    assert data.responses["repetition"].values[3] == 0
    assert data.responses["repetition"].values[39] == 1  # x again, four trials later
    (folder / "dataset.json").write_text(json.dumps({"tr_s": TR_S, "kind": "averages"}))
    with pytest.raises(ValueError, match="averages"):
        load_dataset(folder)


def test_events_that_no_volume_shows_are_refused() -> None:
    brief = pd.DataFrame({"onset": [0.5], "duration": [0.2], "stimulus_id": ["a"]})
    with pytest.raises(ValueError, match="covers no volume"):
        label_volumes(10, brief, 2.0, 0.0)
    overlapping = pd.DataFrame({"onset": [0.0, 2.0], "duration": [4.0, 4.0], "stimulus_id": ["a", "b"]})
    with pytest.raises(ValueError, match="overlaps"):
        label_volumes(10, overlapping, 2.0, 0.0)
    assert label_volumes(
        3, pd.DataFrame({"onset": [1.0], "duration": [2.0], "stimulus_id": ["a"]}), 2.0, 0.5
    ) == [
        "a",
        "",
        "",
    ]


def test_bad_runs_are_named(study: tuple) -> None:
    folder, _, _ = study
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="tr_s"):
        load_dataset(folder)
    (folder / "dataset.json").write_text(json.dumps({"tr_s": TR_S}))
    events = folder / "events" / "run-2.tsv"
    text = events.read_text()
    events.write_text(text.replace("6.0", "600.0", 1))
    with pytest.raises(ValueError, match=r"run run-2 .*run-2\.tsv.*do not lie within"):
        load_dataset(folder)
    events.write_text("onset\tduration\tcondition\n1\t1\ta\n")
    with pytest.raises(ValueError, match="lacks the column stimulus_id; it has onset, duration, condition"):
        load_dataset(folder)
    events.write_text("onset\tduration\ttrial_type\n1\t1\tn/a\n")
    with pytest.raises(ValueError, match="names no stimulus"):
        load_dataset(folder)
    events.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"run run-2 needs one table of events.*run-10\.tsv, run-3\.tsv"
    ):
        load_dataset(folder)
    events.write_text(text)
    path = folder / "bold" / "run-3.nii.gz"
    image = nib.load(path)
    volumes = np.array(image.dataobj)
    volumes[np.asarray(nib.load(folder / "mask.nii.gz").dataobj) > 0, 5] = np.nan
    nib.Nifti1Image(volumes, image.affine).to_filename(path)
    with pytest.raises(ValueError, match=r"run run-3 .*8 of 8 voxels hold NaN"):
        load_dataset(folder)
    with pytest.raises(ValueError, match="glm"):
        load_dataset(folder, hrf="glover")
