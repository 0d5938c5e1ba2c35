"""Going on with a run: damage is mended, and nothing of other data is taken over."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analyses.datasets import Dataset
from analyses.experiments import encoding, null
from analyses.experiments.config import EncodingConfig, FeatureSpace, read_config
from analyses.experiments.encoding import run_encoding
from encoders import load_encoder
from encoders.cross_validation import LayerCrossValidation
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
    true_refit, done = null.fit_layers, []

    def refit(*arguments: object, **options: object) -> LayerCrossValidation:
        if len(done) == n_permutations:
            raise KeyboardInterrupt
        done.append(1)
        return true_refit(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(null, "fit_layers", refit)


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


def stop_at_the_first_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoding, "fit_layers", fail)


def test_resume_computes_damaged_features_again_and_says_so(
    tmp_path: Path,
    finished: tuple[Path, xr.Dataset],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at_the_first_fit(patch)
        with pytest.raises(KeyboardInterrupt):
            fit(out, trials())
    chunks = sorted((out / "features").glob("*/0.zarr/[0-9]*"))
    whole = [chunk.read_bytes() for chunk in chunks]
    assert len(chunks) == 2  # 60 stimuli, 32 a batch
    changed = bytearray(whole[1])
    changed[-1] ^= 1
    chunks[1].write_bytes(changed)
    untouched = chunks[0].stat().st_mtime_ns
    capsys.readouterr()
    xr.testing.assert_identical(fit(out, trials(), resume=True), finished[1])
    said = capsys.readouterr().err
    assert "1 damaged file in" in said
    assert chunks[1].name in said
    assert [chunk.read_bytes() for chunk in chunks] == whole
    assert chunks[0].stat().st_mtime_ns == untouched


def test_a_run_that_fails_on_its_features_leaves_the_folder_to_other_settings(tmp_path: Path) -> None:
    out, dataset = tmp_path / "run", trials()
    ids = dataset.stimuli.stimulus_ids
    grey = np.zeros((len(ids), 6, 6), dtype=np.uint8)
    flat = replace(dataset, stimuli=StimulusSet(ids, images=grey, attributes=dataset.stimuli.attributes))
    with pytest.raises(ValueError, match="are the same for all stimuli"):
        fit(out, flat)
    assert [entry.name for entry in out.iterdir()] == ["features"]
    half = CONFIG.model_copy(update={"spaces": (FeatureSpace(backbone="onehot:half"),)})
    run_encoding(half, out, dataset=flat, progress=False)
    assert read_config(out / "config.json") == half
    with pytest.raises(FileExistsError, match="holds another run"):
        fit(out, dataset)


def test_an_interrupted_or_finished_run_keeps_its_folder(
    tmp_path: Path, finished: tuple[Path, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CONFIG.model_copy(update={"seed": 1})
    stop_at_the_first_fit(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", trials())
    with pytest.raises(FileExistsError, match=r"differs in seed .*or delete this one if that run has ended"):
        run_encoding(other, tmp_path / "run", dataset=trials(), progress=False)
    with pytest.raises(FileExistsError, match=r"differs in seed .*; name another folder$"):
        run_encoding(other, finished[0], dataset=trials(), progress=False)
    assert read_config(tmp_path / "run" / "config.json") == CONFIG


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"dataset": "small", "spa', "config.json is damaged or of another version"),
        ('{"dataset": "small", "spaces": [], "alpha": 1}', r"spaces: .*new folder"),
        (b"\xff\xfe\x00", "config.json is damaged"),
    ],
)
def test_a_damaged_configuration_names_its_file_and_what_to_do(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_config(path)
    with pytest.raises(FileExistsError, match=message):
        fit(tmp_path, trials(), resume=True)


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
