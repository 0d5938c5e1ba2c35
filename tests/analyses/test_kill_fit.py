"""A fit that is killed, wherever it stands, and resumed ends with the bits of one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

from tests.analyses.test_cli import cogmodels, make_own_folder

N_PERMUTATIONS = 4
AMID_NULL = (
    30  # the file of a whole run that the kill comes before: features and folds are done, permutations begun
)
# Images through a real network, two layers, three folds and a refitted null: extraction and fit are both worth killing.
QUICK = (
    *("--backbone", "efficientnet_lite0", "--layers", "blocks.0,blocks.2", "--reduction", "grid:2"),
    *("--alphas", "1,100", "--folds", "3", "--inner-folds", "2", "--batch-size", "4"),
    *("--permutations", str(N_PERMUTATIONS), "--bootstraps", "10"),
)


class Worker:
    """The process of fit_worker."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.analyses.fit_worker"],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, data: Path, out: Path, kill_at: int = 0) -> int:
        """Begin, or go on with, the fit in `out`; give the process id."""
        assert self.process.stdin is not None
        arguments = ("fit", "--data", str(data), *QUICK, "--out", str(out), "--resume")
        self.process.stdin.write("\t".join((str(kill_at), *arguments)) + "\n")
        self.process.stdin.flush()
        return int(self._answer("started")[0])

    def wait(self) -> tuple[int, int]:
        """Return the exit status (negative: the signal) and the number of files put in place."""
        status, placed = self._answer("ended")
        return int(status), int(placed)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)

    def _answer(self, expected: str) -> list[str]:
        assert self.process.stdout is not None
        word, *values = self.process.stdout.readline().split() or ["nothing"]
        assert word == expected
        return values


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    process = Worker()
    yield process
    process.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_own_folder(tmp_path_factory.mktemp("kill") / "data", n_stimuli=16, n_voxels=6)


@pytest.fixture(scope="module")
def uninterrupted(worker: Worker, data: Path) -> Path:
    finish(worker, data, data.parent / "whole")
    return data.parent / "whole"


def bits(values: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        values = values.astype("U")
    return str(values.dtype), values.shape, np.ascontiguousarray(values).tobytes()


def numbers_of(run: Path) -> dict[str, object]:
    """Every array of a run, to the bit."""
    found: dict[str, object] = {}
    for file in ("results.nc", "predictions.nc"):
        with xr.open_dataset(run / file, engine="h5netcdf") as table:
            found |= {f"{file}: {name}": bits(values.values) for name, values in table.variables.items()}
            found |= {f"{file}: attribute {name}": bits(value) for name, value in table.attrs.items()}
    for path in sorted((run / "encoder").iterdir()):
        is_array = path.suffix == ".safetensors"
        content = {k: bits(v) for k, v in load_file(path).items()} if is_array else path.read_bytes()
        found[f"encoder/{path.name}"] = content
    return found


def assert_same_numbers(run: Path, uninterrupted: Path) -> None:
    expected, found = numbers_of(uninterrupted), numbers_of(run)
    assert [name for name in expected if found.get(name) != expected[name]] == []
    assert set(found) == set(expected)
    assert (run / "report.html").is_file()
    assert not (run / "checkpoints").exists()


def finish(worker: Worker, data: Path, run: Path) -> int:
    worker.start(data, run)
    status, placed = worker.wait()
    assert status == 0
    return placed


def kill_at_random(
    worker: Worker, data: Path, uninterrupted: Path, root: Path, *, kills: int, seed: int, within_s: float
) -> None:
    """Kill a run and its successors within so many seconds of each start, then let it finish."""
    chance = random.Random(seed)
    done = number = 0
    while done < kills:
        run = root / str(number)
        pid = worker.start(data, run)
        time.sleep(chance.uniform(0, within_s))
        with suppress(ProcessLookupError):  # it may have ended
            os.kill(pid, signal.SIGKILL)
        status, _ = worker.wait()
        assert status in (0, -signal.SIGKILL)
        done += status != 0
        if status == 0:  # it was done before the kill: look at it, and begin anew
            assert_same_numbers(run, uninterrupted)
            number += 1
    finish(worker, data, root / str(number))
    assert_same_numbers(root / str(number), uninterrupted)


def test_kills_change_no_bit(worker: Worker, data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "0"
    worker.start(data, run, kill_at=1)
    assert worker.wait() == (-signal.SIGKILL, 0)
    assert len(list(run.iterdir())) == 1  # what config.json would have been; the folder is still free
    worker.start(data, run, kill_at=AMID_NULL)
    assert worker.wait() == (-signal.SIGKILL, 0)
    assert len(list((run / "checkpoints").glob("null*.npz"))) in range(1, N_PERMUTATIONS)
    kill_at_random(worker, data, uninterrupted, tmp_path, kills=1, seed=0, within_s=1)


@pytest.mark.slow
def test_the_command_in_its_own_process_gives_the_same_bits(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    done = cogmodels("fit", "--data", str(data), *QUICK, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert_same_numbers(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_twenty_random_kills_change_no_bit(
    worker: Worker, data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    began = time.perf_counter()
    finish(worker, data, tmp_path / "timed")
    whole_s = time.perf_counter() - began
    assert_same_numbers(tmp_path / "timed", uninterrupted)
    kill_at_random(worker, data, uninterrupted, tmp_path, kills=20, seed=1, within_s=whole_s)


@pytest.mark.slow
def test_kill_at_every_third_file_keeps_what_was_finished(
    worker: Worker, data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    n_files = finish(worker, data, tmp_path / "whole")
    left = []
    for kill_at in [*range(1, n_files, 3), n_files]:
        run = tmp_path / str(kill_at)
        worker.start(data, run, kill_at=kill_at)
        assert worker.wait() == (-signal.SIGKILL, 0)
        left.append(finish(worker, data, run))
        assert_same_numbers(run, uninterrupted)
    assert left[0] == n_files
    assert left[-1] < n_files / 2  # nothing but the end is written twice
