"""Pieces of work on workers: order, conditions, what is sent how often, failures and deaths."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.cluster import Cluster, SlurmOptions, TlsFiles, open_cluster
from encoders.cluster_tasks import Conditions, look_at_folder
from tests.encoders import cluster_pieces
from tests.encoders.cluster_pieces import (
    Arriving,
    add_table,
    arrivals,
    fail_at_three,
    fail_awkwardly,
    kill_at_two,
    killing,
    slow_square,
    threads_here,
    worker_pids,
)


def test_results_come_in_the_order_of_the_items(cluster: Cluster) -> None:
    told: list[tuple[int, int, str]] = []
    assert cluster.map(slow_square, range(7), progress=lambda *now: told.append(now), label="squares") == [
        item**2 for item in range(7)
    ]
    assert told == [(done, 7, "squares") for done in range(1, 8)]
    assert cluster.map(slow_square, []) == []
    assert dict(cluster.completed(slow_square, [5, 6])) == {0: 25, 1: 36}


def test_closures_go_with_what_they_hold(cluster: Cluster) -> None:
    offset = np.arange(3)
    assert [list(each) for each in cluster.map(lambda item: item + offset, [1, 2])] == [[1, 2, 3], [2, 3, 4]]


def test_function_and_shared_arrays_arrive_once_a_worker(cluster: Cluster) -> None:
    before = sum(cluster.client.run(arrivals).values())
    pids, counts, values = zip(*cluster.map(Arriving(), range(12), {"table": np.ones(10)}), strict=True)
    assert values == tuple(10.0 * item for item in range(12))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert sum(cluster.client.run(arrivals).values()) == before + 2
    assert counts[0] >= 1
    assert cluster_pieces.N_ARRIVALS == 0


def test_handles_stand_for_values_in_items(cluster: Cluster) -> None:
    tables = [cluster.share(np.full(4, value)) for value in (1.0, 2.0)]
    items = [(number, tables[number % 2]) for number in range(4)]
    assert cluster.map(add_table, items, {"offset": 0.5}) == [4.5, 9.5, 6.5, 11.5]


def test_pieces_have_the_threads_of_the_process_that_asks(cluster: Cluster) -> None:
    blas = Conditions.here().blas_threads
    torch.set_num_threads(2)
    assert cluster.map(threads_here, [0]) == [(2, {blas})]
    torch.set_num_threads(1)
    assert cluster.map(threads_here, [0]) == [(1, {blas})]
    assert cluster.map(threads_here, [0], threads=3) == [(3, {blas})]


def test_what_a_piece_raises_reaches_the_caller_and_is_not_tried_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(ArithmeticError) as raised:
        cluster.map(fail_at_three, range(40), {"folder": str(tmp_path)})
    assert str(raised.value) == "three is the one that fails"
    assert "raised on" in raised.value.__notes__[0]
    assert "fail_at_three" in raised.value.__notes__[0]
    called = [int(path.name.split("-")[0]) for path in tmp_path.iterdir()]
    assert called.count(3) == 1
    assert len(called) < 40
    with pytest.raises(RuntimeError, match=r"^AwkwardError: piece number 1 is awkward\n"):
        cluster.map(fail_awkwardly, [1])
    assert cluster.map(slow_square, [2]) == [4]


def test_a_dead_worker_costs_its_piece_and_is_replaced(cluster: Cluster) -> None:
    with killing(cluster, n_kills=1, seed=0, rest_s=(0.3, 0.5), ready=lambda: True) as killed:
        assert cluster.map(slow_square, range(40)) == [item**2 for item in range(40)]
        assert len(killed) == 1
    cluster.client.wait_for_workers(2, timeout=120)
    assert not set(killed) & set(worker_pids(cluster))


@pytest.mark.slow
def test_a_piece_that_kills_its_workers_is_given_up(cluster: Cluster) -> None:
    with (
        open_cluster(cluster.client.scheduler.address, max_deaths=2) as strict,
        pytest.raises(RuntimeError, match=r"deadly: piece 2 of 5 lost 3 workers.*more memory"),
    ):
        strict.map(kill_at_two, range(5), label="deadly")
    assert cluster.map(slow_square, [3]) == [9]


def test_a_running_scheduler_is_used_and_left_alone(cluster: Cluster) -> None:
    pids = set(worker_pids(cluster))
    with open_cluster(cluster.client.scheduler.address) as guest:
        assert guest.n_workers == 2
        assert guest.map(slow_square, [4, 5]) == [16, 25]
    assert set(worker_pids(cluster)) == pids


def test_a_local_cluster_is_reached_from_this_machine_alone_and_serves_no_pages(cluster: Cluster) -> None:
    addresses = [cluster.client.scheduler.address, *cluster.client.nthreads()]
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
    routes = cluster.client.run_on_scheduler(
        lambda dask_scheduler: dask_scheduler.http_server.request_callback.applications
    )
    assert routes == []


def test_a_folder_that_workers_do_not_share_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.check_folder("store", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []

    def look_elsewhere() -> None:  # as on a machine that does not mount the folder
        from encoders import cluster_tasks

        cluster_tasks.Path = lambda folder: Path("/nowhere")

    def look_here() -> None:
        from encoders import cluster_tasks

        cluster_tasks.Path = Path

    cluster.client.run(look_elsewhere)
    try:
        with pytest.raises(ValueError, match=r"store=.*2 of 2 workers do not share.*tcp://.*No such file"):
            cluster.check_folder("store", tmp_path)
    finally:
        cluster.client.run(look_here)
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_what_a_worker_finds_in_a_folder_is_said(tmp_path: Path) -> None:
    assert "does not see it" in look_at_folder(str(tmp_path), "token")
    (tmp_path / ".probe-token").write_text("another")
    assert look_at_folder(str(tmp_path), "token") == "sees another file"
    (tmp_path / ".probe-token").write_text("token")
    assert look_at_folder(str(tmp_path), "token") == ""


def test_other_versions_are_refused() -> None:
    here = Conditions.here()
    here.check()
    others = Conditions(1, 1, {**here.versions, "torch": "0.4"})
    with pytest.raises(
        RuntimeError, match=rf"torch {torch.__version__.split('+')[0]}.* where the driver has 0\.4"
    ):
        others.check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "locl"}, "cluster.*'locl'.*local"),
        ({"where": "127.0.0.1:8786"}, "tcp://HOST:PORT"),
        ({"n_workers": 0}, "n_workers must be a positive integer, got 0"),
        ({"n_workers": True}, "n_workers"),
        ({"n_workers": 1.5}, "n_workers"),
        ({"threads_per_worker": 0}, "threads_per_worker"),
        ({"max_deaths": -1}, "max_deaths"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"slurm": SlurmOptions()}, "slurm= .*'local'"),
        ({"where": "slurm", "memory_per_worker": "1GB"}, "memory_per_worker .*'slurm'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message), open_cluster(**options):
        pass


def test_an_address_where_nobody_answers_is_said_in_time() -> None:
    with (
        pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://127.0.0.1:9 within 1 s"),
        open_cluster("tcp://127.0.0.1:9", timeout_s=1),
    ):
        pass


def test_a_scheduler_without_workers_is_said_in_time() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as alone,
        pytest.raises(RuntimeError, match=r"has no workers after 1 s; start some \(dask worker"),
        open_cluster(alone.scheduler_address, timeout_s=1),
    ):
        pass


def test_slurm_options_are_checked() -> None:
    options = SlurmOptions.of({"cores": "8", "gpus": 1, "queue": "gpu", "directives": "--exclusive"})
    assert options == SlurmOptions(cores=8, gpus=1, queue="gpu", directives=("--exclusive",))
    with pytest.raises(KeyError, match="queue"):
        SlurmOptions.of({"queu": "gpu"})
    with pytest.raises(ValueError, match="cores must be an integer, got 'eight'"):
        SlurmOptions.of({"cores": "eight"})
    with pytest.raises(ValueError, match="gpus"):
        SlurmOptions(gpus=-1)


def test_slurm_without_its_parts_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="sbatch, which is not on PATH"), open_cluster("slurm"):
        pass
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ImportError, match=r"pip install 'cogmodels\[slurm\]'"), open_cluster("slurm"):
        pass


SBATCH = """#!/bin/sh
cat "$1" > {folder}/job.sh
sh {folder}/job.sh > {folder}/job.log 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_slurm_jobs_are_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # No SLURM here: sbatch runs the job script in the background, and scancel ends it.
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"sbatch": SBATCH.format(folder=tmp_path), "scancel": "#!/bin/sh\nkill $1\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    options = {
        "queue": "short",
        "account": "lab",
        "cores": 3,
        "memory": "2GB",
        "walltime": "00:10:00",
        "gpus": 1,
        "directives": ("--constraint=a100",),
        "prologue": ("export HELLO=1",),
    }
    with open_cluster("slurm", n_workers=1, slurm=options, timeout_s=120) as cluster:
        assert cluster.map(slow_square, [3, 4]) == [9, 16]
        assert cluster.map(threads_here, [0]) == [(3, {3})]
    script = (tmp_path / "job.sh").read_text()
    for line in (
        "#SBATCH -p short",
        "#SBATCH -A lab",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --mem=2G",
        "#SBATCH -t 00:10:00",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --constraint=a100",
        "export HELLO=1",
    ):
        assert line in script.splitlines()


@pytest.mark.slow
def test_certificates_encrypt_what_workers_are_sent(tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "cert.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(FileNotFoundError, match=r"tls: ca .*cert\.pem is no file"), open_cluster(tls=files):
        pass
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=dask"]
    files_made = ["-keyout", str(files.key), "-out", str(files.certificate)]
    subprocess.run([*command, *files_made], check=True, capture_output=True)
    with open_cluster("local", n_workers=1, tls=files) as cluster:
        assert cluster.client.scheduler.address.startswith("tls://127.0.0.1:")
        assert cluster.map(slow_square, [3]) == [9]
        with (
            pytest.raises(ConnectionError, match="no scheduler answers"),
            open_cluster(cluster.client.scheduler.address.replace("tls", "tcp"), timeout_s=2),
        ):
            pass


@settings(max_examples=30, deadline=None)
@given(threads=st.integers(1, 64))
def test_conditions_take_another_number_of_threads(threads: int) -> None:
    conditions = Conditions.here(threads)
    assert (conditions.torch_threads, conditions.blas_threads) == (threads, threads)
    assert Conditions.here(torch_threads=threads).torch_threads == threads
