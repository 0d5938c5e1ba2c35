"""Seconds a pair of scanpaths: MultiMatch beside multimatch-gaze, and what the other measures take in batch.

Run ``python -m benchmarks.scanpath_metrics`` (``--pairs 1000`` a batch, ``--peer-pairs 40`` for the peer, ``--rounds
5``). CPU seconds on one thread; the two take turns within each round, on the same random pairs with durations, and the
ratio is that of a round. *Short and long* draws lengths from 3 to 40. Equality is the largest difference from
multimatch-gaze over the peer's pairs. Where the environment variable COGMODELS_DATA names a folder of data, the ceiling
of people searching the Interiors scenes (57 people, 134 scenes) is timed too. Prints Markdown and writes
``benchmarks/results/scanpath_metrics.json``.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stimuli import write_json

RESULTS = Path(__file__).parent / "results" / "scanpath_metrics.json"
SIZE_PX = (1024, 768)
LENGTHS: dict[str, tuple[int, int]] = {
    "6": (6, 6),
    "10": (10, 10),
    "20": (20, 20),
    "40": (40, 40),
    "80": (80, 80),
    "short and long": (3, 40),
}


def simulate(shortest: int, longest: int, n_pairs: int, seed: int) -> tuple[list[np.ndarray], ...]:
    """Return places and durations of both scanpaths of each pair."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, (2, n_pairs))
    places = [[rng.uniform(0, SIZE_PX, (n, 2)) for n in side] for side in lengths]
    durations = [[rng.uniform(50, 500, n) for n in side] for side in lengths]
    return (*places, *durations)


def structured(path: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """Return a scanpath as multimatch-gaze takes it."""
    fields = np.zeros(len(path), dtype=[("start_x", float), ("start_y", float), ("duration", float)])
    fields["start_x"], fields["start_y"] = path.T
    fields["duration"] = durations
    return fields


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call, and what it returned."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def beside_peer(name: str, n_pairs: int, n_peer: int, rounds: int) -> dict[str, float]:
    """Time MultiMatch in batch, one by one, and in multimatch-gaze, in turns."""
    import multimatch_gaze

    from analyses.metrics.scanpath import multimatch

    a, b, s, t = simulate(*LENGTHS[name], n_pairs, seed=0)
    pairs = [(structured(p, u), structured(q, v)) for p, q, u, v in zip(a, b, s, t, strict=True)][:n_peer]
    batch, single, peer = [], [], []
    for _ in range(rounds):
        seconds, values = cpu_seconds(lambda: multimatch(a, b, SIZE_PX, s, t))
        batch.append(seconds / n_pairs)
        seconds, expected = cpu_seconds(
            lambda: [multimatch_gaze.docomparison(one, other, SIZE_PX) for one, other in pairs]
        )
        peer.append(seconds / len(pairs))
        seconds, _ = cpu_seconds(
            lambda: [
                multimatch([p], [q], SIZE_PX, [u], [v])
                for p, q, u, v, _ in zip(a, b, s, t, range(n_peer), strict=False)
            ]
        )
        single.append(seconds / len(pairs))
    ratios = np.array(peer) / np.array(batch)
    return {
        "batch (us)": float(np.median(batch)) * 1e6,
        "one by one (us)": float(np.median(single)) * 1e6,
        "multimatch-gaze (us)": float(np.median(peer)) * 1e6,
        "ratio": float(np.median(ratios)),
        "least ratio": float(ratios.min()),
        "most ratio": float(ratios.max()),
        "largest difference": float(np.nanmax(np.abs(values[: len(pairs)] - np.array(expected)))),
    }


def other_measures(name: str, n_pairs: int, rounds: int) -> dict[str, float]:
    """Return microseconds a pair in batch."""
    from analyses.metrics.scanpath import Grouping, dtw, edit_distance, multimatch, scanmatch, sequence_score

    a, b, s, t = simulate(*LENGTHS[name], n_pairs, seed=1)
    rng = np.random.default_rng(2)
    objects = [[rng.integers(0, 20, len(path)) for path in side] for side in (a, b)]
    calls: dict[str, Callable[[], Any]] = {
        "ScanMatch": lambda: scanmatch(a, b, SIZE_PX),
        "ScanMatch, 50 ms": lambda: scanmatch(a, b, SIZE_PX, s, t, bin_ms=50),
        "DTW": lambda: dtw(a, b),
        "sequence score": lambda: sequence_score(*objects),
        "edit distance": lambda: edit_distance(*objects),
        "MultiMatch, grouped": lambda: multimatch(a, b, SIZE_PX, s, t, grouping=Grouping(45, 150, 300)),
    }
    return {
        label: float(np.median([cpu_seconds(call)[0] for _ in range(rounds)])) / n_pairs * 1e6
        for label, call in calls.items()
    }


def interiors() -> dict[str, float]:
    """Return CPU seconds and pairs of the ceiling of people on the Interiors scenes, 1,000 draws."""
    from analyses.datasets import load_dataset
    from analyses.metrics.scanpath import human_ceiling

    data = load_dataset("interiors")
    display = data.displays[0]
    size = (display.width_px, display.height_px)
    row = {}
    for metric in ("multimatch", "scanmatch", "dtw"):
        settings = {} if metric == "dtw" else {"size_px": size}
        row[metric], ceiling = cpu_seconds(lambda m=metric, k=settings: human_ceiling(data.scanpaths, m, **k))
        row["pairs"] = ceiling.n_pairs
    return row


def print_table(first: str, rows: dict[str, dict[str, float]]) -> None:
    """Print rows as Markdown."""
    columns = list(next(iter(rows.values())))
    print(f"\n| {first} | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[column]:.3g}" for column in columns) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1000, help="pairs in a batch")
    parser.add_argument("--peer-pairs", type=int, default=40, help="pairs for multimatch-gaze")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    beside = {
        name: beside_peer(name, options.pairs, min(options.peer_pairs, options.pairs), options.rounds)
        for name in LENGTHS
    }
    print_table("fixations", beside)
    others = {name: other_measures(name, options.pairs, options.rounds) for name in LENGTHS}
    print_table("fixations (us a pair)", others)
    results: dict[str, Any] = {"multimatch": beside, "others": others}
    if os.environ.get("COGMODELS_DATA"):
        results["interiors"] = interiors()
        print_table("CPU s", {"ceiling of 57 people on 134 scenes": results["interiors"]})
    RESULTS.parent.mkdir(exist_ok=True)
    about = {**vars(options), "machine": platform.machine(), "numpy": np.__version__}
    write_json(RESULTS, {"settings": about, **results})


if __name__ == "__main__":
    main()
