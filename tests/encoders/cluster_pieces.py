"""Pieces of work that tests send to the workers of a cluster, and what kills these."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from encoders.cluster import Cluster

N_ARRIVALS = 0


class Arriving:
    """Counts, in the process where it is unpickled, how often that was."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        global N_ARRIVALS
        N_ARRIVALS += 1
        self.__dict__.update(state)

    def __getstate__(self) -> dict[str, Any]:
        return {"arrived": True}

    def __call__(self, item: int, table: np.ndarray) -> tuple[int, int, float]:
        return os.getpid(), N_ARRIVALS, item * float(table.sum())


def arrivals() -> int:
    """Return how many functions arrived in this process."""
    return N_ARRIVALS


def slow_square(item: int) -> int:
    """Return the square, after a while."""
    time.sleep(0.1)
    return item**2


def fail_at_three(item: int, folder: str) -> int:
    """Leave a file a call, and raise at 3."""
    (Path(folder) / f"{item}-{time.monotonic_ns()}").touch()
    if item == 3:
        raise ArithmeticError("three is the one that fails")
    return item


class AwkwardError(Exception):
    """Cannot be unpickled: its words are not what it is made of."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(f"{name} number {number} is awkward")


def fail_awkwardly(item: int) -> None:
    """Raise an exception that does not survive pickling."""
    raise AwkwardError(item, "piece")


def kill_at_two(item: int) -> int:
    """End the process at 2."""
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def add_table(item: tuple[int, np.ndarray], offset: float) -> float:
    """Add up an array that came with the item."""
    number, table = item
    return number + float(table.sum()) + offset


def threads_here(item: int) -> tuple[int, set[int]]:
    """Return the threads of torch, and of the BLAS libraries."""
    import torch
    from threadpoolctl import threadpool_info

    return torch.get_num_threads(), {
        each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"
    }


def worker_pids(cluster: Cluster) -> list[int]:
    """Return the process ids of the workers that are there."""
    return list(cluster.client.run(os.getpid).values())


@contextmanager
def killing(
    cluster: Cluster, n_kills: int, seed: int, rest_s: tuple[float, float], ready: Callable[[], bool]
) -> Iterator[Sequence[int]]:
    """Kill workers at random, `n_kills` times with rests between, while the block runs; gives those killed.

    The first waits for `ready`.
    """
    generator, over, killed = random.Random(seed), threading.Event(), list[int]()

    def kill() -> None:
        while not over.is_set() and not ready():
            time.sleep(0.01)
        while len(killed) < n_kills and not over.wait(generator.uniform(*rest_s)):
            with suppress(Exception):  # workers come and go while they are asked
                pids = worker_pids(cluster)
                if pids and not over.is_set():
                    victim = generator.choice(pids)
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether two arrays are equal to the bit, NaN included."""
    return (first.dtype, first.shape, np.ascontiguousarray(first).tobytes()) == (
        second.dtype,
        second.shape,
        np.ascontiguousarray(second).tobytes(),
    )
