"""Three ways to workers: processes of this machine, jobs of SLURM, and a scheduler that already runs."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stimuli.files import unknown_name_message

# Dask has workers give back every freed page at once, which makes linear algebra half as slow again. These are the
# thresholds that malloc reaches by itself in a process where nothing is set.
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**26, "MALLOC_MMAP_THRESHOLD_": 2**25}

_SETTINGS: dict[str, Any] = {
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in _MALLOC.items()},
    # A busy machine takes longer than dask's 15 s to restart a worker.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # Every death is told to the driver, which counts them and hands the piece out again.
    "distributed.scheduler.allowed-failures": 0,
    # Nothing is served over HTTP, where anybody could read.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_NO_PAGES = {"dashboard_address": "127.0.0.1:0", "dashboard": False}  # a port of its own, with nothing on it


@dataclass(frozen=True)
class TlsFiles:
    """PEM files with which driver, scheduler and workers know each other.

    Attributes
    ----------
    ca, certificate, key : path
        The authority that signed the certificate, the certificate, and its key; one pair serves all three roles.
        Workers on other machines read them at the same paths.
    """

    ca: str | Path
    certificate: str | Path
    key: str | Path

    def security(self) -> Any:
        """Return the settings as `distributed.Security`.

        Raises
        ------
        FileNotFoundError
            For a file that is not there.
        """
        from distributed import Security

        for field in fields(self):
            path = Path(getattr(self, field.name))
            if not path.is_file():
                raise FileNotFoundError(f"tls: {field.name} {path} is no file; give the path of a PEM file")
        pairs = {
            f"tls_{role}_{part}": str(Path(path).resolve())
            for role in ("client", "scheduler", "worker")
            for part, path in (("cert", self.certificate), ("key", self.key))
        }
        return Security(require_encryption=True, tls_ca_file=str(Path(self.ca).resolve()), **pairs)


@dataclass(frozen=True)
class SlurmOptions:
    """What each job asks of SLURM; a job is one worker with one process.

    Attributes
    ----------
    queue, account : str, optional
        Partition, and whom the time is charged to; None takes what dask's ``jobqueue.slurm`` settings say.
    cores : int
        CPU cores of a job, and threads of its linear algebra.
    memory : str
        Memory of a job, e.g. ``"32GB"``.
    walltime : str
        Longest time of a job, ``HH:MM:SS``. What runs at its end is done again by another worker.
    gpus : int
        GPUs of a job.
    directives : tuple of str
        Further lines for sbatch, e.g. ``"--constraint=a100"``.
    prologue : tuple of str
        Shell lines before the worker starts, e.g. ``"module load cuda"``.
    interface : str, optional
        Network interface that nodes and this machine share, e.g. ``"ib0"``.
    log_folder : str, optional
        Where jobs write their logs.
    """

    queue: str | None = None
    account: str | None = None
    cores: int = 4
    memory: str = "16GB"
    walltime: str = "04:00:00"
    gpus: int = 0
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    interface: str | None = None
    log_folder: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("cores", 1), ("gpus", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"slurm: {name} must be an integer of at least {least}, got {value!r}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "SlurmOptions":
        """Make options of a mapping; numbers may be given as text.

        Raises
        ------
        KeyError
            For an unknown name; near matches are listed.
        ValueError
            For a number that is none.
        """
        known = [field.name for field in fields(cls)]
        values = dict(options)
        for name, value in values.items():
            if name not in known:
                raise KeyError(unknown_name_message("slurm option", name, known))
            if name in ("cores", "gpus") and isinstance(value, str):
                if not value.isdecimal():
                    raise ValueError(f"slurm: {name} must be an integer, got {value!r}")
                values[name] = int(value)
            if name in ("directives", "prologue"):
                values[name] = (value,) if isinstance(value, str) else tuple(value)
        return cls(**values)


@dataclass(frozen=True)
class Link:
    """A client, and what sees to it that lost workers are replaced."""

    client: Any
    replace_lost: Callable[[], None]


@contextmanager
def start_local(
    n_workers: int, memory: str | int | None, tls: TlsFiles | None, timeout_s: float
) -> Iterator[Link]:
    """Start processes bound to 127.0.0.1, without a dashboard, that are restarted when they die."""
    import dask
    from distributed import Client, LocalCluster, Status

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tls://" if tls else "tcp://",
                security=tls.security() if tls else None,
                dashboard_address=_NO_PAGES["dashboard_address"],
                scheduler_kwargs={"dashboard": False},
                memory_limit=memory or 0,
                silence_logs=logging.CRITICAL,  # deaths are dealt with
            )
        )
        client = stack.enter_context(Client(cluster, set_as_default=False, timeout=timeout_s))
        _wait_for_workers(client, "local", timeout_s)

        def replace_lost() -> None:
            # A nanny restarts its worker, but gives up on one that dies while it starts.
            gone = (Status.closed, Status.failed)
            n_gone = sum(nanny.status in gone for nanny in list(cluster.workers.values()))
            if len(cluster.worker_spec) < n_workers + n_gone:
                cluster.scale(n_workers + n_gone)

        yield Link(client, replace_lost)


@contextmanager
def start_slurm(
    n_workers: int, options: SlurmOptions, tls: TlsFiles | None, timeout_s: float | None
) -> Iterator[Link]:
    """Submit one job a worker and wait for the first to begin; at the end jobs are cancelled."""
    if find_spec("dask_jobqueue") is None:
        raise ImportError("cluster 'slurm' needs dask-jobqueue: pip install 'cogmodels[slurm]'")
    if shutil.which("sbatch") is None:
        raise FileNotFoundError(
            "cluster 'slurm' submits jobs by sbatch, which is not on PATH: run this on a login node, or name a running "
            "scheduler by tcp://HOST:PORT"
        )
    import dask
    from dask_jobqueue import SLURMCluster
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        cluster = stack.enter_context(
            SLURMCluster(
                queue=options.queue,
                account=options.account,
                cores=1,  # threads of dask, of which a worker gets one; the job's cores go to linear algebra
                job_cpu=options.cores,
                memory=options.memory,
                walltime=options.walltime,
                processes=1,
                job_extra_directives=[
                    *([f"--gres=gpu:{options.gpus}"] if options.gpus else []),
                    *options.directives,
                ],
                job_script_prologue=[
                    *(f"export {name}={value}" for name, value in _MALLOC.items()),
                    *options.prologue,
                ],
                interface=options.interface,
                log_directory=options.log_folder,
                security=tls.security() if tls else None,
                protocol="tls://" if tls else "tcp://",
                scheduler_options=_NO_PAGES,
                silence_logs=logging.CRITICAL,
            )
        )
        client = stack.enter_context(Client(cluster, set_as_default=False))
        cluster.scale(jobs=n_workers)
        _wait_for_workers(client, "slurm", timeout_s)
        # Lost jobs are not submitted again: one that fails at once would be submitted without end.
        yield Link(client, _leave)


@contextmanager
def connect(address: str, tls: TlsFiles | None, timeout_s: float) -> Iterator[Link]:
    """Connect to a running scheduler."""
    from distributed import Client

    security = tls.security() if tls else None
    try:
        client = Client(address, set_as_default=False, timeout=timeout_s, security=security)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ConnectionError(
            f"no scheduler answers at {address} within {timeout_s:g} s ({error}); start one (dask scheduler) and give "
            "its address, tcp://HOST:PORT, or tls://HOST:PORT with tls="
        ) from error
    with client:
        _wait_for_workers(client, address, timeout_s)
        yield Link(client, _leave)


def _leave() -> None:
    """Replace no worker: that is up to whoever started them."""


def _wait_for_workers(client: Any, kind: str, timeout_s: float | None) -> None:
    from distributed import TimeoutError as DaskTimeoutError

    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except DaskTimeoutError as error:
        raise RuntimeError(
            f"cluster {kind!r} has no workers after {timeout_s:g} s; start some (dask worker ADDRESS --nthreads 1), "
            "look at the queue (squeue), or give a longer timeout_s"
        ) from error
