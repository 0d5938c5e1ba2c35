"""The command line: what it prints, how it fails, and a whole run of each command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from analyses.cli import main
from analyses.cli.fit import parse_alphas
from analyses.datasets import dataset_info, load_dataset


def cogmodels(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analyses.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(Path.cwd())},
    )


def make_own_folder(folder: Path, n_stimuli: int = 80, n_voxels: int = 8) -> Path:
    generator = np.random.default_rng(0)
    (folder / "stimuli").mkdir(parents=True)
    images = generator.integers(0, 256, (n_stimuli, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / "stimuli" / f"s{number:02}.png")
    pixels = images.reshape(n_stimuli, -1) / 255
    responses = (pixels - 0.5) @ generator.standard_normal((pixels.shape[1], n_voxels))
    responses += 0.3 * generator.standard_normal(responses.shape)
    np.save(folder / "responses.npy", responses.astype(np.float32))
    rows = "\n".join(f"s{number:02},{number % 8}" for number in range(n_stimuli))
    (folder / "trials.csv").write_text(f"stimulus_id,run\n{rows}\n")
    return folder


def main_ends_well(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("cli")
    data = make_own_folder(root / "data")
    quick = ("--permutations", "19", "--bootstraps", "20", "--alphas", "0.1:100:4")
    done = cogmodels("fit", "--data", str(data), "--backbone", "pixels", *quick, "--out", str(root / "run"))
    assert done.returncode == 0, done.stderr
    assert "Held-out r" in done.stdout
    return data, root / "run"


def test_fit_predict_and_report_on_ones_own_folder(own_run: tuple[Path, Path]) -> None:
    data, run = own_run
    with xr.open_dataset(run / "results.nc", engine="h5netcdf") as results:
        assert float(results["r"].mean()) > 0.3
        assert results.attrs["grouping"] == "runs"
    done = cogmodels("predict", str(run), "--stimuli", str(data / "stimuli"))
    assert done.returncode == 0, done.stderr
    with xr.open_dataset(run / "predicted.nc", engine="h5netcdf") as predicted:
        assert predicted["predicted"].shape == (80, 8)
        # The encoder was fitted to these images, so that it follows what was measured.
        measured = np.load(data / "responses.npy")
        assert np.corrcoef(predicted["predicted"].values[:, 0], measured[:, 0])[0, 1] > 0.8
    (run / "report.html").unlink()
    assert cogmodels("report", str(run)).returncode == 0
    assert (run / "report.html").stat().st_size > 10_000


def test_second_fit_into_the_same_folder_is_refused(own_run: tuple[Path, Path]) -> None:
    data, run = own_run
    done = cogmodels("fit", "--data", str(data), "--backbone", "pixels", "--out", str(run))
    assert done.returncode == 2
    assert "another run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "digits96", "--backbone", "pixels"), "digits69"),
        (("--dataset", "haxby-slice"), "--backbone is missing"),
        (("--backbone", "pixels"), "exactly one of"),
        (("--dataset", "haxby-slice", "--backbone", "pixle"), "pixels"),
        (
            ("--dataset", "haxby-slice", "--backbone", "minilm", "--layers", "encoder.layer.6"),
            "encoder.layer.1",
        ),
        (("--dataset", "haxby-slice", "--backbone", "pixels"), "image"),
        (("--dataset", "haxby-slice", "--backbone", "onehot", "--delays", "-1"), "delays_volumes"),
        (("--dataset", "haxby-slice", "--backbone", "onehot", "--split", "half"), "published"),
        (("--dataset", "haxby-slice", "--backbone", "onehot", "--folds", "13"), "13"),
        (("--dataset", "haxby-slice", "--backbone", "onehot", "--alphas", "lots"), "LOWEST:HIGHEST:NUMBER"),
        (
            (
                "--preset",
                "dem",
            ),
            "demo",
        ),
        (("--data", "nowhere", "--backbone", "pixels"), "--data: nowhere does not exist"),
        (("--data", "digits69", "--backbone", "pixels"), "--data: digits69 does not exist"),
        (("--data", "README.md", "--backbone", "pixels"), "--data: README.md is a file"),
        (("--dataset", "haxby-slice", "--backbone", "onehot", "--alphas", "1:100:x"), "'1:100:x' is neither"),
        (("--dataset", "haxby-slice", "--backbone", "onehot", "--alphas", "0"), "cogmodels: alphas must be"),
        (("--dataset", "haxby-slice", "--backbone", "pixels", "--image-size", "64,64"), "one whole number"),
        (
            ("--dataset", "haxby-slice", "--backbone", "onehot", "--backbone", "onehot"),
            "cogmodels: spaces need",
        ),
        (
            ("--dataset", "haxby-slice", "--backbone", "onehot", "--label", "a", "--label", "b"),
            "--label came 2 times and --backbone 1 time;",
        ),
        (("--dataset", "simulated", "--backbone", "gabor", "--delays", "1,2"), "leave --delays out"),
    ],
)
def test_bad_arguments_end_with_one_clear_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *arguments, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("list", "datasets"), "haxby-slice"),
        (("list", "encoders"), "ridge"),
        (("list", "backbones", "torchvision/resnet1*"), "torchvision/resnet18"),
        (("list", "presets"), "demo"),
        (("list", "datasets", "haxby*"), "haxby-slice"),
        (("list", "presets", "dem?"), "demo"),
        (("list", "encoders", "r*"), "ridge"),
        (("data", "path", "haxby-slice"), "comes with the package"),
        (("--version",), "cogmodels 0."),
        (("fit", "--help"), "--backbone"),
    ],
)
def test_what_there_is_can_be_asked(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    assert expected in capsys.readouterr().out


def test_a_pattern_leaves_out_what_does_not_match(capsys: pytest.CaptureFixture[str]) -> None:
    main_ends_well("list", "datasets", "haxby*")
    assert "digits69" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("backbones", "resnet1*"), "torchvision/resnet*"),
        (("datasets", "hax"), "no dataset matches 'hax'; there are "),
        (("encoders", "lasso"), "no encoder matches 'lasso'; there are "),
        (("presets", "x*"), "demo, digits69"),
    ],
)
def test_names_that_match_nothing_are_an_error(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["list", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_path_of_a_dataset_that_is_not_there_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COGMODELS_DATA", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["data", "path", "kriegeskorte92"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "not here yet: " in said.err
    with pytest.raises(SystemExit) as ended:
        main(["data", "path", "algonauts2023"])
    assert ended.value.code == 1
    assert "all files of algonauts2023" in capsys.readouterr().err
    folder = tmp_path / "user" / dataset_info("algonauts2023").folder
    folder.mkdir(parents=True)
    main_ends_well("data", "path", "algonauts2023")
    assert str(folder) in capsys.readouterr().out


def test_spaces_are_labelled_in_the_order_of_the_backbones(tmp_path: Path) -> None:
    quick = ("--null", "none", "--bootstraps", "5", "--alphas", "1", "--dataset", "haxby-slice")
    spaces = ("--backbone", "onehot", "--label", "who", "--backbone", "onehot", "--label", "again")
    main_ends_well("fit", *quick, *spaces, "--out", str(tmp_path / "run"))
    with xr.open_dataset(tmp_path / "run" / "results.nc", engine="h5netcdf") as results:
        assert results["layer"].values.tolist() == ["who", "again", "selected"]


def test_own_folder_called_like_a_dataset_is_the_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_own_folder(tmp_path / "simulated", n_voxels=3)
    monkeypatch.chdir(tmp_path)
    assert load_dataset(Path("simulated")).n_neuroids == 3
    quick = ("--permutations", "1", "--bootstraps", "5", "--alphas", "1", "--folds", "2")
    main_ends_well("fit", "--data", "simulated", "--backbone", "onehot", *quick, "--out", "run")
    with xr.open_dataset("run/results.nc", engine="h5netcdf") as results:
        assert results.sizes["neuroid"] == 3


def test_predictions_do_not_replace_a_file_of_the_run(
    own_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = own_run
    before = (run / "results.nc").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), "--stimuli", str(data / "stimuli"), "--out", str(run / "results.nc")])
    assert ended.value.code == 2
    assert "file of the run" in capsys.readouterr().err
    assert (run / "results.nc").read_bytes() == before
    main_ends_well("predict", str(run), "--stimuli", str(data / "stimuli"), "--out", str(tmp_path / "new.nc"))
    assert (tmp_path / "new.nc").exists()


def test_stimuli_without_images_or_texts_are_not_called_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(make_own_folder(tmp_path / "data") / "stimuli")
    with pytest.raises(SystemExit):
        main(
            [
                "fit",
                "--data",
                str(tmp_path / "data"),
                "--backbone",
                "pixels",
                "--folds",
                "4",
                "--out",
                str(tmp_path / "run"),
            ]
        )
    assert "are names alone" in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "analyses.cli",
        "fit",
        "--dataset",
        "haxby-slice",
        "--backbone",
        "onehot",
    ]
    command += ["--permutations", "40", "--bootstraps", "20", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run" / "checkpoints").glob("null*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume" in errors
    done = cogmodels(*command[3:], "--resume")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()


def test_penalties_are_read() -> None:
    assert parse_alphas("1,10") == (1.0, 10.0)
    np.testing.assert_allclose(parse_alphas("1:100:3"), (1, 10, 100))
    with pytest.raises(ValueError, match="--alphas"):
        parse_alphas("1:100")
