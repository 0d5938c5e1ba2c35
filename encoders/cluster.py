"""Work spread over processes on dask.distributed: on this machine, behind a scheduler's address, or as SLURM jobs.

A piece of work runs under the conditions of the process that asks (threads, versions), so that its bits are those of
a local run on the same kind of processor. A piece whose worker dies runs again elsewhere; one that raises does not.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from encoders.cluster_start import Link, SlurmOptions, TlsFiles, connect, start_local, start_slurm
from encoders.cluster_tasks import Conditions, Failure, Parcel, hold, look_at_folder, perform
from stimuli.files import unknown_name_message

__all__ = ["Cluster", "Shared", "SlurmOptions", "TlsFiles", "open_cluster"]

Progress = Callable[[int, int, str], None]

_POLL_S, _LOOK_S = 0.005, 1.0  # how often to look for results, and for workers that came or went

_PATIENCE_S = 300.0


class Shared:
    """A value that goes to each worker once, however many pieces of work need it; made by `Cluster.share`."""

    def __init__(self, client: Any, value: Any) -> None:
        self._client, self._value, self._future = client, value, None

    def future(self) -> Any:
        """Return the dask future of the value, sent again if it was lost."""
        if self._future is None or self._future.status not in ("pending", "finished"):
            # A task and not scattered data: these would be gone with the last worker that holds them.
            with _quiet():
                self._future = self._client.submit(hold, self._value, key=f"shared-{uuid4().hex}", pure=False)
        return self._future


class Cluster:
    """Workers that take pieces of work; made by `open_cluster`.

    Parameters
    ----------
    link : Link
        Its `client` is a `distributed.Client`.
    kind : str
        "local", "slurm" or the scheduler's address.
    threads : int, optional
        Threads of a piece's linear algebra; None takes the number of the process that asks.
    max_deaths : int
        Workers that a piece of work may lose before it is taken to be what kills them.
    patience_s : float
        Seconds to wait for a worker where none is left.
    """

    def __init__(
        self, link: Link, kind: str, threads: int | None, max_deaths: int, patience_s: float
    ) -> None:
        self.client, self.kind = link.client, kind
        self._replace_lost = link.replace_lost
        self._threads, self._max_deaths, self._patience_s = threads, max_deaths, patience_s
        self._last_seen = time.monotonic()
        self._last_sent: tuple[str, Shared] | None = None

    def __repr__(self) -> str:
        return f"Cluster({self.kind!r}, n_workers={self.n_workers})"

    @property
    def n_workers(self) -> int:
        """Workers that are there now."""
        return len(self.client.nthreads())

    def share(self, value: Any) -> Shared:
        """Return a handle that stands for `value` in `shared` and in items, and is sent once a worker."""
        return Shared(self.client, value)

    def map(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        shared: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        label: str = "pieces",
        threads: int | None = None,
    ) -> list[Any]:
        """Return ``function(item, **shared)`` for each item, in their order.

        Parameters, exceptions
            As `completed`.
        progress : callable, optional
            Called with (pieces done, pieces in all, label).
        """
        results: list[Any] = [None] * len(items)
        pieces = self.completed(function, items, shared, label=label, threads=threads)
        for done, (number, result) in enumerate(pieces, start=1):
            results[number] = result
            if progress is not None:
                progress(done, len(items), label)
        return results

    def completed(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        shared: Mapping[str, Any] | None = None,
        *,
        label: str = "pieces",
        threads: int | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (number of the item, result) as pieces are finished.

        Parameters
        ----------
        function : callable
            Sent once a worker, with all that it holds. It must give the same result when it is called again: a
            piece whose worker died is done anew.
        items : sequence
            First argument of each call. Handles of `share` in tuples, lists and dicts come as their values.
        shared : mapping, optional
            Keyword arguments of every call, values or handles; arrays come read-only.
        label : str
            What a piece is called in messages.
        threads : int, optional
            Threads of torch in a piece, in place of the cluster's.

        Raises
        ------
        Exception
            What the function raised, with its own message; nothing is tried again, and pieces not yet begun are
            dropped.
        RuntimeError
            A piece lost more workers than `max_deaths`, no worker is left, or workers have other versions.
        ConnectionError
            The scheduler was lost.
        """
        from distributed import KilledWorker, as_completed

        parcel = self._sent(Parcel.of(function))
        constants = {
            name: value if isinstance(value, Shared) else self.share(value)
            for name, value in (shared or {}).items()
        }
        conditions = Conditions.here(self._threads, torch_threads=threads)
        batch = f"{label.replace(' ', '-')}-{uuid4().hex}"
        deaths: Counter[int] = Counter()

        waiting = list(range(len(items)))[::-1]
        running: dict[Any, tuple[int, str]] = {}  # number of the piece, and the worker it was given to
        queue = as_completed(loop=self.client.loop)
        self._last_seen = time.monotonic()

        def hand_out(workers: set[str]) -> None:
            # One piece a worker and no more: a death then counts against the piece under way and no other.
            for worker in workers - {worker for _, worker in running.values()}:
                if not waiting or len(running) >= len(workers):
                    return
                number = waiting.pop()
                arguments = (
                    parcel.future(),
                    conditions,
                    _with_futures(items[number]),
                    _with_futures(constants),
                )
                key = batch, number, deaths[number]
                with _quiet():
                    future = self.client.submit(
                        perform, *arguments, key=key, pure=False, workers=[worker], allow_other_workers=True
                    )
                running[future] = number, worker
                queue.add(future)

        try:
            while waiting or running:
                present = self._present_workers()
                hand_out(present)
                future = _next_finished(queue)
                if future is None:
                    continue
                number, _ = running.pop(future)
                if future.status == "error":
                    # Exceptions of the function are results: this is dask's own.
                    error = future.exception()
                    if not isinstance(error, KilledWorker):
                        raise error
                    deaths[number] += error.allowed_failures + 1
                    if deaths[number] > self._max_deaths:
                        raise RuntimeError(
                            f"{label}: piece {number} of {len(items)} lost {deaths[number]} workers, one after the "
                            "other; most likely it needs more memory than a worker has: give workers more, or make "
                            "pieces smaller"
                        ) from None
                    waiting.append(number)
                    continue
                if future.status != "finished":
                    raise ConnectionError(
                        f"{label}: the scheduler of cluster {self.kind!r} was lost; start it again, and the run goes on"
                    )
                hand_out(present)  # before the result is fetched and looked at, which takes its time
                result = future.result()
                del future
                if isinstance(result, Failure):
                    raise result.error
                yield number, result
        finally:
            if running:
                self.client.cancel(list(running))

    def check_folder(self, name: str, folder: str | Path) -> None:
        """Refuse a folder that a worker does not share with this process.

        Raises
        ------
        ValueError
            It names the argument `name`, the worker, and what it cannot do.
        RuntimeError
            There are no workers.
        """
        place = Path(folder).resolve()
        place.mkdir(parents=True, exist_ok=True)
        token = uuid4().hex
        probe = place / f".probe-{token}"
        probe.write_text(token, encoding="ascii")
        try:
            answers = self.client.run(look_at_folder, str(place), token)
        finally:
            probe.unlink()
        if not answers:
            raise RuntimeError(_no_workers(self.kind))
        wrong = {worker: answer for worker, answer in answers.items() if answer}
        if wrong:
            worker, answer = next(iter(wrong.items()))
            raise ValueError(
                f"{name}={str(place)!r}: {len(wrong)} of {len(answers)} workers do not share this folder, worker "
                f"{worker} {answer}; choose a folder on a file system that all machines mount at the same path"
            )

    def _sent(self, parcel: Parcel) -> Shared:
        """Return the handle of a function; the one that was sent last is not sent again."""
        if self._last_sent is None or self._last_sent[0] != parcel.digest:
            self._last_sent = parcel.digest, self.share(parcel)
        return self._last_sent[1]

    def _present_workers(self) -> set[str]:
        """Return the addresses of the workers that are there; raise when there was none for long."""
        self._replace_lost()
        present = set(self.client.nthreads())
        now = time.monotonic()
        if present:
            self._last_seen = now
        elif now - self._last_seen > self._patience_s:
            raise RuntimeError(_no_workers(self.kind))
        return present


def _next_finished(queue: Any) -> Any:
    """Return the next future that is done, or None if none is within a while."""
    end = time.monotonic() + _LOOK_S
    while not queue.has_ready():
        if time.monotonic() > end:
            return None
        time.sleep(_POLL_S)
    return next(queue)


@contextmanager
def open_cluster(
    where: str = "local",
    n_workers: int = 2,
    *,
    threads_per_worker: int | None = None,
    memory_per_worker: str | int | None = None,
    slurm: SlurmOptions | Mapping[str, Any] | None = None,
    tls: TlsFiles | None = None,
    timeout_s: float | None = None,
    max_deaths: int = 10,
) -> Iterator[Cluster]:
    """Start workers, or find those of a running scheduler, and stop at the end what was started.

    Parameters
    ----------
    where : str
        "local": processes on this machine, bound to 127.0.0.1, restarted when they die. "slurm": one job a worker,
        submitted by sbatch from here; needs the extra ``cogmodels[slurm]``. Or the address of a running scheduler,
        ``tcp://HOST:PORT`` or ``tls://HOST:PORT``, whose workers were started by its owner.
    n_workers : int
        Processes or jobs to start; not used for an address.
    threads_per_worker : int, optional
        Threads of a piece's linear algebra. None: as many as this process uses, which gives the bits of a run
        without a cluster, and for "slurm" the cores of a job. A number n gives the bits of a run with
        ``torch.set_num_threads(n)`` and n threads of NumPy's BLAS.
    memory_per_worker : str or int, optional
        Memory at which a local worker is restarted, e.g. ``"8GB"``; None sets no limit.
    slurm : SlurmOptions or mapping, optional
        Queue, account, cores, memory and so on of a job.
    tls : TlsFiles, optional
        Certificates, where others can reach the machine; whoever can talk to a scheduler can run code as its owner.
    timeout_s : float, optional
        Seconds to wait for the scheduler and a first worker; None waits 60 s, and for jobs in a queue without end.
    max_deaths : int
        Workers that one piece of work may lose before it is given up.

    Yields
    ------
    Cluster

    Raises
    ------
    ValueError
        For an unknown `where`, numbers below 1, or options that belong to another kind of cluster.
    ConnectionError
        The address cannot be reached in time.
    RuntimeError
        There are no workers.
    ImportError, FileNotFoundError
        dask-jobqueue, or sbatch, is missing.

    Examples
    --------
    >>> with open_cluster("local", n_workers=2) as cluster:  # doctest: +SKIP
    ...     features = extract_features(backbone, stimuli, store="features", cluster=cluster)
    """
    is_address = isinstance(where, str) and where.startswith(("tcp://", "tls://"))
    if not is_address and where not in ("local", "slurm"):
        raise ValueError(
            unknown_name_message(
                "cluster", str(where), ("local", "slurm"), "a scheduler is named by tcp://HOST:PORT"
            )
        )
    numbers = {"n_workers": n_workers, "threads_per_worker": threads_per_worker, "max_deaths": max_deaths}
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"timeout_s must be positive, got {timeout_s!r}")
    if slurm is not None and where != "slurm":
        raise ValueError(
            f"slurm= holds options of jobs, and the cluster is {where!r}; open 'slurm' or leave it out"
        )
    if memory_per_worker is not None and where != "local":
        raise ValueError(
            f"memory_per_worker is for cluster 'local', not {where!r}; a job's memory is in slurm="
        )
    wait_s = 60.0 if timeout_s is None else timeout_s
    with ExitStack() as stack:
        if where == "local":
            link = stack.enter_context(start_local(n_workers, memory_per_worker, tls, wait_s))
        elif where == "slurm":
            options = slurm if isinstance(slurm, SlurmOptions) else SlurmOptions.of(slurm or {})
            link = stack.enter_context(start_slurm(n_workers, options, tls, timeout_s))
            threads_per_worker = threads_per_worker or options.cores
        else:
            link = stack.enter_context(connect(where, tls, wait_s))
        yield Cluster(link, where, threads_per_worker, max_deaths, _PATIENCE_S)


def _with_futures(value: Any) -> Any:
    if isinstance(value, Shared):
        return value.future()
    if isinstance(value, list | tuple):
        return type(value)(_with_futures(each) for each in value)
    if isinstance(value, Mapping):
        return {key: _with_futures(each) for key, each in value.items()}
    return value


def _quiet() -> Any:
    """Let data be sent without dask's warning: here they are sent on purpose, and once."""
    import dask

    return dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})


def _no_workers(kind: str) -> str:
    return f"cluster {kind!r} has no workers; start some (dask worker ADDRESS --nthreads 1) or look into their logs"
