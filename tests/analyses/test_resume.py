"""Going on with a run: damage is mended, and nothing of other data is taken over."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analyses.datasets import Dataset
from analyses.experiments import null
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from encoders import load_encoder
from stimuli import StimulusSet
from tests.analyses.small_data import trials

CONFIG = EncodingConfig(
    dataset="small",
    spaces=(FeatureSpace(backbone="pixels"),),
    alphas=(0.1, 10.0),
    n_permutations=6,
    n_bootstrap=20,
)


def fit(out: Path, dataset: Dataset, *, resume: bool = False) -> xr.Dataset:
    return run_encoding(CONFIG, out, resume=resume, dataset=dataset, progress=False)


def with_other_images(dataset: Dataset) -> Dataset:
    ids = dataset.stimuli.stimulus_ids
    images = np.random.default_rng(1).integers(0, 256, (len(ids), 6, 6), dtype=np.uint8)
    return replace(dataset, stimuli=StimulusSet(ids, images=images, attributes=dataset.stimuli.attributes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, fit(out, trials())


def interrupt_after(monkeypatch: pytest.MonkeyPatch, n_permutations: int) -> None:
    """Let the null fail once some permutations are kept, as an interruption would."""
    true_refit, done = null._refit, []

    def refit(*arguments: object, **options: object) -> dict[str, np.ndarray]:
        if len(done) == n_permutations:
            raise KeyboardInterrupt
        done.append(1)
        return true_refit(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(null, "_refit", refit)


def test_permutations_of_other_images_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = with_other_images(trials())
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "run", trials())
    assert len(list((tmp_path / "run" / "checkpoints").glob("null*"))) == 3
    resumed = fit(tmp_path / "run", changed, resume=True)
    xr.testing.assert_identical(resumed, fit(tmp_path / "fresh", changed))


@pytest.mark.parametrize(
    ("damaged", "missing"),
    [
        ("predictions.nc", False),
        ("provenance.json", True),
        ("encoder/arrays.safetensors", False),
        ("encoder/encoder.json", True),
    ],
)
def test_resume_mends_what_is_damaged_in_a_finished_run(
    tmp_path: Path, finished: tuple[Path, xr.Dataset], damaged: str, missing: bool
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    whole = load_encoder(out / "encoder").coef_
    if missing:
        (out / damaged).unlink()
    else:
        (out / damaged).write_bytes((out / damaged).read_bytes()[:100])
    xr.testing.assert_identical(fit(out, trials(), resume=True), finished[1])
    np.testing.assert_array_equal(load_encoder(out / "encoder").coef_, whole)
    assert (out / damaged).stat().st_size > 100


def test_a_finished_run_of_other_data_is_not_passed_off_as_this_one(
    finished: tuple[Path, xr.Dataset],
) -> None:
    out, _ = finished
    dataset = trials()
    assert dataset.responses is not None
    other = dataset.responses.copy(data=dataset.responses.values[::-1])
    with pytest.raises(FileExistsError, match=r"different: stimuli"):
        fit(out, with_other_images(dataset), resume=True)
    with pytest.raises(FileExistsError, match="different: responses"):
        fit(out, replace(dataset, responses=other), resume=True)
    assert (out / "report.html").exists()
