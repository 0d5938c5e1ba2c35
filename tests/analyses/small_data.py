"""Small datasets with planted answers, for tests of whole runs."""

from __future__ import annotations

import numpy as np

from analyses.datasets.dataset import Dataset, DatasetInfo, make_responses
from stimuli import StimulusSet


def small_info(name: str, kind_units: str = "a.u.", tr_s: float | None = None) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        title="Planted responses",
        home="made by the tests",
        files=(),
        licence="CC0",
        citation="none",
        subjects=("1",),
        shapes={},
        units=kind_units,
        tr_s=tr_s,
    )


def trials(
    n_stimuli: int = 60, n_repeats: int = 2, n_voxels: int = 12, noise_sd: float = 0.5, seed: int = 0
) -> Dataset:
    """Images of 6 x 6 pixels; the first half of the voxels read pixels linearly, the rest are noise."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (n_stimuli, 6, 6), dtype=np.uint8)
    pixels = np.repeat(images.reshape(n_stimuli, -1, 1), 3, axis=2).reshape(n_stimuli, -1) / 255
    weights = generator.standard_normal((pixels.shape[1], n_voxels)) / 4
    weights[:, n_voxels // 2 :] = 0
    shown = np.tile(np.arange(n_stimuli), n_repeats)
    signal = (pixels - pixels.mean(0)) @ weights
    values = signal[shown] + noise_sd * generator.standard_normal((len(shown), n_voxels))
    ids = np.array([f"image{i:03}" for i in range(n_stimuli)])
    stimuli = StimulusSet(ids, images=images, attributes={"half": np.arange(n_stimuli) % 2})
    early = np.arange(n_voxels) < n_voxels // 2
    responses = make_responses(values.astype(np.float32), ids[shown])
    rois = {"planted": early, "noise": ~early, "all": np.ones(n_voxels, bool)}
    return Dataset(small_info("small-trials"), "1", stimuli, responses, "trials", rois=rois)


def time_series(
    n_runs: int = 6, n_categories: int = 4, n_voxels: int = 10, noise_sd: float = 1.0, seed: int = 0
) -> Dataset:
    """Blocks of 6 volumes and 4 of rest; half the voxels prefer one category with a delayed response."""
    generator = np.random.default_rng(seed)
    names = np.array([f"category{c}" for c in range(n_categories)])
    preference = generator.standard_normal((n_categories, n_voxels))
    preference[:, n_voxels // 2 :] = 0
    index, runs = [], []
    for run in range(n_runs):
        index += [-1] * 4
        for category in generator.permutation(n_categories):
            index += [category] * 6 + [-1] * 4
        runs += [run] * (len(index) - len(runs))
    shown, run_labels = np.array(index), np.array(runs)
    delayed = np.full_like(shown, -1)
    delayed[2:] = shown[:-2]
    delayed[run_labels != np.roll(run_labels, 2)] = -1
    values = np.where(delayed[:, None] >= 0, preference[delayed], 0.0)
    values = values + noise_sd * generator.standard_normal(values.shape) + 100
    stimuli = StimulusSet(names, texts=list(names), attributes={"category": names})
    ids = np.where(shown >= 0, names[shown], "")
    responses = make_responses(values.astype(np.float32), ids, runs=run_labels, tr_s=2.0)
    return Dataset(small_info("small-series", tr_s=2.0), "1", stimuli, responses, "time_series")
