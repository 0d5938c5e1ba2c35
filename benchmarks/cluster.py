"""Extraction and ridge on worker processes of this machine, beside one process; and what killing workers costs.

Run ``python -m benchmarks.cluster`` (``--quick`` for a small problem, ``--rounds``, ``--kills``). One process, one
worker and two workers take turns, each with one thread of linear algebra. Start-up is timed apart. Seconds are the
clock's, and those of the CPU in all processes together (on a busy machine only these tell what work was added).
Efficiency by the clock is time(1 worker) / (2 time(2 workers)); by the CPU it is what two free cores would reach:
time(one process) / (2 of the busier worker and the driver). Every result is compared with that of one process, to the
bit. Then workers are killed at random moments, by SIGKILL, until there were ``--kills`` of them, and compared again.

Extraction is a ResNet-50 without training at 224 px, in chunks of 8 images into a store; ridge has 20 penalties a
voxel, 5 inner and 3 outer folds. Prints Markdown and writes ``benchmarks/results/cluster.json``.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import RidgeEncoder, cross_validate, extract_features, load_backbone, make_folds
from encoders.cluster import Cluster, open_cluster
from stimuli import StimulusSet, write_json

RESULTS = Path(__file__).parent / "results" / "cluster.json"
Result = dict[str, np.ndarray]
Work = Callable[[Cluster | None], Result]


def extraction_work(n_images: int, folder: Path) -> Work:
    """Return a function that shows images to a network, into a new store each time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, 224, 224, 3), dtype=np.uint8)
    stimuli = StimulusSet([f"image {number}" for number in range(n_images)], images=images)
    backbone = load_backbone("torchvision/resnet50", weights="random")
    layers = ["layer2", "layer4"]

    def work(cluster: Cluster | None) -> Result:
        with tempfile.TemporaryDirectory(dir=folder) as store:
            features = extract_features(
                backbone,
                stimuli,
                layers,
                reduction="mean",
                batch_size=8,
                store=store,
                progress=False,
                cluster=cluster,
            )
            return {layer: np.asarray(features[layer]) for layer in layers}

    return work


def ridge_work(n: int, p: int, v: int) -> Work:
    """Return a function that cross-validates ridge."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p), dtype=np.float32)
    Y = X @ rng.standard_normal((p, v), dtype=np.float32) / np.sqrt(p)
    Y += rng.standard_normal(Y.shape, dtype=np.float32)
    encoder = RidgeEncoder(alphas=np.geomspace(1e-3, 1e3, 20) * n, cv=5)
    folds = make_folds(n, 3)

    def work(cluster: Cluster | None) -> Result:
        result = cross_validate(encoder, X, Y, folds, cluster=cluster)
        return {name: getattr(result, name) for name in ("predictions", "alphas", "inner_scores")}

    return work


def same_bits(first: Result, second: Result) -> bool:
    """Tell whether two results are equal to the bit."""
    return all(first[name].tobytes() == second[name].tobytes() for name in first | second)


def cpu_seconds(cluster: Cluster | None) -> list[float]:
    """Return CPU seconds so far of this process and of each worker."""
    workers = {} if cluster is None else cluster.client.run(time.process_time)
    return [time.process_time(), *workers.values()]


def timed(work: Work, cluster: Cluster | None) -> tuple[dict[str, float], Result]:
    """Return seconds by the clock, CPU seconds of all processes and of driver and busiest worker, and the result."""
    before = cpu_seconds(cluster)
    start = time.perf_counter()
    result = work(cluster)
    clock = time.perf_counter() - start
    driver, *workers = (after - b for after, b in zip(cpu_seconds(cluster), before, strict=True))
    return {"clock": clock, "cpu": driver + sum(workers), "path": driver + max(workers, default=0.0)}, result


@contextmanager
def killing(cluster: Cluster, n_kills: int, seed: int, most_s: float) -> Iterator[list[int]]:
    """Kill random workers at random moments, at most `most_s` apart, while the block runs; give those killed."""
    generator, over, killed = random.Random(seed), threading.Event(), list[int]()

    def kill() -> None:
        while len(killed) < n_kills and not over.wait(generator.uniform(0.05, most_s)):
            with suppress(Exception):  # workers come and go while they are asked
                pids = list(cluster.client.run(os.getpid).values())
                if pids and not over.is_set():
                    os.kill(generator.choice(pids), signal.SIGKILL)
                    killed.append(1)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def start_worker(cluster: Cluster) -> None:
    """Let every worker import what pieces need: it is the larger part of a start."""
    cluster.client.run(lambda: __import__("encoders").__name__)


def measure_scaling(
    works: dict[str, Work], clusters: dict[str, Cluster | None], rounds: int
) -> dict[str, Any]:
    """Time every piece of work in one process and on each cluster, in turns."""
    found: dict[str, Any] = {}
    for name, work in works.items():
        runs: dict[str, list[dict[str, float]]] = {label: [] for label in clusters}
        equal = True
        expected: Result = {}
        for number in range(rounds + 1):
            for label, cluster in clusters.items():
                seconds, result = timed(work, cluster)
                expected = expected or result
                equal &= same_bits(result, expected)
                if number:  # the first round warms caches
                    runs[label].append(seconds)
                print(f"  {name}, {label}: {seconds}", file=sys.stderr)
        median = {
            label: {kind: statistics.median(run[kind] for run in values) for kind in values[0]}
            for label, values in runs.items()
        }
        found[name] = {
            "runs": runs,
            "median": median,
            "bits_equal": equal,
            "added_work": median["2 workers"]["cpu"] / median["one process"]["cpu"] - 1,
            "efficiency_by_clock": median["1 worker"]["clock"] / (2 * median["2 workers"]["clock"]),
            "efficiency_by_cpu": median["one process"]["cpu"] / (2 * median["2 workers"]["path"]),
        }
    return found


def measure_kills(work: Work, cluster: Cluster, n_kills: int, most_s: float) -> dict[str, Any]:
    """Kill workers over repeated runs until there were enough; compare every result."""
    expected = work(None)
    killed, equal = 0, True
    runs: list[dict[str, float]] = []
    while killed < n_kills:
        with killing(cluster, n_kills - killed, seed=len(runs), most_s=most_s) as victims:
            start = time.perf_counter()
            result = work(cluster)
            took = time.perf_counter() - start
        killed += len(victims)
        equal &= same_bits(result, expected)
        runs.append({"seconds": took, "kills": len(victims)})
        print(f"  killed {killed} of {n_kills}, {took:.1f} s", file=sys.stderr)
    return {"kills": killed, "runs": runs, "bits_equal": equal}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Extraction and ridge on one process, one worker and two.")
    parser.add_argument("--quick", action="store_true", help="a small problem, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    torch.set_num_threads(1)
    shape = (600, 100, 1000) if options.quick else (5000, 768, 4000)
    n_images = 64 if options.quick else 192
    with tempfile.TemporaryDirectory() as folder:
        works = {
            f"extraction, {n_images} images": extraction_work(n_images, Path(folder)),
            f"ridge, {' x '.join(map(str, shape))}": ridge_work(*shape),
        }
        start = time.perf_counter()
        with open_cluster("local", 1) as one:
            start_worker(one)
            start_one = time.perf_counter() - start
            start = time.perf_counter()
            with open_cluster("local", 2) as two:
                start_worker(two)
                start_two = time.perf_counter() - start
                clusters = {"one process": None, "1 worker": one, "2 workers": two}
                scaling = measure_scaling(works, clusters, rounds)
                kills = {name: measure_kills(work, two, options.kills, 4.0) for name, work in works.items()}
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"Start until workers are ready: {start_one:.1f} s (1 worker), {start_two:.1f} s (2 workers)\n")
    print("| | seconds: one process | 1 worker | 2 workers | added work | efficiency of 2 workers | bits |")
    print("|---|---|---|---|---|---|---|")
    for name, row in scaling.items():
        cells = [
            f"{row['median'][label]['clock']:.1f} (CPU {row['median'][label]['cpu']:.1f})"
            for label in clusters
        ]
        cells += [
            f"{row['added_work']:.0%}",
            f"{row['efficiency_by_clock']:.0%} (CPU {row['efficiency_by_cpu']:.0%})",
            "equal" if row["bits_equal"] else "DIFFER",
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for name, row in kills.items():
        bits = "equal" if row["bits_equal"] else "DIFFER"
        print(f"\n{name}: {row['kills']} kills over {len(row['runs'])} runs, bits {bits}")
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(
        RESULTS, {"start_seconds": {"1": start_one, "2": start_two}, "scaling": scaling, "kills": kills}
    )


if __name__ == "__main__":
    main()
