"""What is planted in simulated subjects comes out by means that know nothing of how it was planted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.datasets import load_dataset, simulate_subject
from analyses.datasets.simulated import gaussian_receptive_fields
from analyses.datasets.simulated_images import gabor_energy, pooled_brightness, textured_images


def _features(n_stimuli: int = 3000, n_features: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"early": rng.normal(size=(n_stimuli, 5)), "late": rng.normal(2.0, 3.0, (n_stimuli, n_features))}


def _columnwise_r(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def test_weights_are_those_of_a_regression() -> None:
    features = _features()
    data = simulate_subject(features, "late", n_voxels=12, noise_ceiling_r=0.9, kind="averages", seed=3)
    design = np.column_stack([features["late"], np.ones(3000)])
    found = np.linalg.lstsq(design, data.responses.values.astype(float), rcond=None)[0]
    truth = data.truth["weights"]
    assert np.abs(found[:-1] - truth).max() < 0.05 * np.abs(truth).max()
    assert np.abs(found[-1] - data.truth["intercept"]).max() < 0.1
    assert np.allclose(data.truth["signal"].mean(axis=0), 0, atol=1e-10)
    assert np.allclose(data.truth["signal"].std(axis=0), 1)
    # The other layer explains nothing of it.
    other = np.column_stack([features["early"], np.ones(3000)])
    predicted = other @ np.linalg.lstsq(other, data.responses.values.astype(float), rcond=None)[0]
    assert (_columnwise_r(predicted, data.responses.values) < 0.1).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.floats(0.2, 0.99), st.integers(0, 99))
def test_ceiling_is_that_of_the_noise_free_signal(n_repeats: int, ceiling: float, seed: int) -> None:
    data = simulate_subject(
        _features(seed=seed), "late", n_voxels=30, noise_ceiling_r=ceiling, n_repeats=n_repeats, seed=seed
    )
    averages = data.repeats.astype(float).mean(axis=0)
    assert np.mean(_columnwise_r(averages, data.truth["signal"])) == pytest.approx(ceiling, abs=0.02)
    single = np.mean(_columnwise_r(data.repeats[0].astype(float), data.truth["signal"]))
    assert single == pytest.approx(data.truth["noise_ceiling_r_single"][0], abs=0.03)
    assert np.allclose(data.truth["explainable_variance"], ceiling**2)


def test_ceiling_can_differ_and_be_zero() -> None:
    ceiling = np.array([0.0, 0.5, 1.0])
    data = simulate_subject(_features(), "late", n_voxels=3, noise_ceiling_r=ceiling, seed=1)
    assert not data.truth["weights"][:, 0].any()
    assert data.truth["weights"][:, 1:].all()
    assert data.truth["noise_sd"][2] == 0
    averages = data.repeats.astype(float).mean(axis=0)
    assert np.allclose(averages[:, 2], data.truth["signal"][:, 2], atol=1e-5)
    assert (averages.std(axis=0) > 0).all()


def test_trials_and_averages_hold_the_same_repeats() -> None:
    features = _features(n_stimuli=50)
    trials = simulate_subject(features, "late", n_repeats=3, n_runs=7, seed=5)
    averages = simulate_subject(features, "late", n_repeats=3, n_runs=7, seed=5, kind="averages")
    assert np.array_equal(trials.repeats, averages.repeats)
    assert trials.responses.shape == (150, 40)
    rows, repetition = trials.stimulus_index, trials.responses["repetition"].values
    assert np.array_equal(trials.responses.values, trials.repeats[repetition, rows])
    assert np.allclose(averages.responses.values, trials.repeats.mean(axis=0))
    # Leaving a run out leaves its stimuli out.
    for stimulus in range(50):
        assert len(set(trials.runs[rows == stimulus])) == 1
        assert sorted(repetition[rows == stimulus]) == [0, 1, 2]
    assert len(set(trials.runs)) == 7
    assert trials.runs.tolist() == sorted(trials.runs)


def test_same_seed_same_bits() -> None:
    one, two, other = (simulate_subject(_features(50), "late", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.responses.values, two.responses.values)
    assert np.array_equal(one.truth["weights"], two.truth["weights"])
    assert not np.allclose(one.truth["weights"], other.truth["weights"])


def test_receptive_field_is_where_it_was_planted() -> None:
    # White noise in each place: reverse correlation gives the receptive field of each voxel.
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(20000, 2, 8, 10))
    data = simulate_subject(
        {"maps": maps}, "maps", n_voxels=10, noise_ceiling_r=0.95, receptive_field_sd=0.12, kind="averages"
    )
    field = data.truth["receptive_field"]
    found = np.einsum("nckl,nv->vckl", maps, data.responses.values) / len(maps)
    for voxel in range(10):
        strength = np.sqrt((found[voxel] ** 2).sum(axis=0)) - 0.02  # above the floor of the noise
        strength = np.clip(strength, 0, None) / np.clip(strength, 0, None).sum()
        centre = [
            (strength.sum(axis=1) * (np.arange(8) + 0.5) / 8).sum(),
            (strength.sum(axis=0) * (np.arange(10) + 0.5) / 10).sum(),
        ]
        assert np.abs(centre - field["centre"][voxel]).max() < 0.05
    assert field["map"].shape == (10, 8, 10)
    assert np.allclose(field["map"].sum(axis=(1, 2)), 1)
    rebuilt = np.einsum("cv,vkl->cklv", field["channel_weights"], field["map"]).reshape(160, 10)
    assert np.allclose(rebuilt, data.truth["weights"])


def test_gaussian_fields_have_their_centre_and_width() -> None:
    centre = np.array([[0.5, 0.3]])
    field = gaussian_receptive_fields(centre, 0.05, 200, 100)[0]
    rows, columns = (np.arange(200) + 0.5) / 200, (np.arange(100) + 0.5) / 100
    assert (field.sum(axis=1) * rows).sum() == pytest.approx(0.5, abs=1e-6)
    assert (field.sum(axis=0) * columns).sum() == pytest.approx(0.3, abs=1e-6)
    assert np.sqrt((field.sum(axis=1) * (rows - 0.5) ** 2).sum()) == pytest.approx(0.05, rel=1e-3)


def test_default_subject_can_be_fitted_from_its_own_features() -> None:
    data = load_dataset("simulated", n_stimuli=700, n_voxels=8, noise_ceiling_r=0.95, kind="averages")
    layer = data.truth["features"][data.truth["layer"]].reshape(700, -1)
    assert np.allclose(layer @ data.truth["weights"] + data.truth["intercept"], data.truth["signal"])
    # A ridge that knows nothing of receptive fields predicts new images near the ceiling; pixels do not.
    r = {}
    for name, values in data.truth["features"].items():
        X = values.reshape(700, -1)
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        Y = data.responses.values.astype(float)
        A, B = X[:600], Y[:600]
        weights = np.linalg.solve(A.T @ A + 50 * np.eye(A.shape[1]), A.T @ (B - B.mean(axis=0)))
        r[name] = _columnwise_r(X[600:] @ weights, Y[600:]).mean()
    assert r["gabor"] > 0.85
    assert r["gabor"] > r["pixels"] + 0.3


def test_subjects_see_the_same_images_and_differ() -> None:
    one, two = (load_dataset("simulated", subject, n_stimuli=30) for subject in ("1", "2"))
    assert one.stimuli.content_hash == two.stimuli.content_hash
    assert not np.allclose(one.truth["weights"], two.truth["weights"])
    assert one.stimuli.image(0).shape == (64, 64, 3)


def test_images_depend_on_seed_and_place_alone() -> None:
    assert np.array_equal(textured_images(3, seed=1)[:2], textured_images(2, seed=1))
    assert not np.array_equal(textured_images(2, seed=1), textured_images(2, seed=2))


def test_gabor_energy_prefers_its_own_orientation_and_place() -> None:
    rows, columns = np.mgrid[:64, :64]
    for channel, (wavelength, angle) in enumerate((w, a) for w in (6, 12) for a in np.pi * np.arange(4) / 4):
        along = rows * np.sin(angle) + columns * np.cos(angle)
        grating = np.where(columns < 32, 127 + 100 * np.cos(2 * np.pi * along / wavelength), 127)
        energy = gabor_energy(grating[None].astype(np.uint8))[0]
        assert energy.mean(axis=(1, 2)).argmax() == channel
        assert energy[channel, :, :3].mean() > 5 * energy[channel, :, 5:7].mean()
    white = np.full((1, 64, 64), 255, dtype=np.uint8)
    assert np.allclose(gabor_energy(white), 0, atol=1e-9)
    assert np.allclose(pooled_brightness(white), 1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"planted_layer": "lat"}, "did you mean 'late'"),
        ({"noise_ceiling_r": 1.2}, "noise_ceiling_r"),
        ({"noise_ceiling_r": np.nan}, "noise_ceiling_r"),
        ({"receptive_field_sd": 0.1}, "n_rows, n_columns"),
        ({"n_runs": 51}, "n_runs is 51"),
        ({"n_repeats": 0}, "n_repeats is 0"),
        ({"kind": "rdm"}, "kind is 'rdm'"),
    ],
)
def test_bad_arguments_are_named(changes: dict, match: str) -> None:
    arguments = {"features": _features(50), "planted_layer": "late"} | changes
    with pytest.raises((ValueError, KeyError), match=match):
        simulate_subject(**arguments)


def test_features_have_to_be_finite_and_vary() -> None:
    with pytest.raises(ValueError, match="NaN"):
        simulate_subject({"a": np.full((5, 2), np.nan)}, "a", n_runs=1)
    with pytest.raises(ValueError, match="does not vary"):
        simulate_subject({"a": np.ones((5, 2))}, "a", n_runs=1)
    with pytest.raises(ValueError, match="shape"):
        simulate_subject({"a": np.ones(5)}, "a", n_runs=1)


def test_no_file_is_read_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_dataset("simulated", n_stimuli=10)
    assert not list(tmp_path.iterdir())
