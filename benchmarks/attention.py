"""The transformer brain encoder at the size of the Natural Scenes Dataset: images a second, share of the machine.

Run ``python -m benchmarks.attention`` (``--quick`` for a first look, ``--device cuda`` on a GPU, where seconds are
those of the clock). The published configuration: 961 tokens x 768 channels, 50 queries with masks that divide 40,000
vertices, 16 heads, feed-forward 1024, batches of 16. Tokens lie in a zarr array in float32, compressed as
`FeatureStore` does it. Each row runs in a process of its own, on one thread. Prints Markdown and writes
``benchmarks/results/attention.json``.

``--stream 10000`` measures in addition whether memory stays bounded over many stored images: 1,000 different ones,
whose files stand ten times in an array of 10,000 (hard links), so that all are read and unpacked, and 3 GB of disk do.

**The floor.** With T tokens, C channels, Q queries, H heads, F feed-forward and V vertices, pooling the tokens takes
the fewer of 4 T C Q H operations (keys folded into queries) and 4 T C C + 4 T C Q (keys and values of all tokens);
what follows takes 2 Q C C twice (values, output), 4 Q C F (feed-forward) and 2 C V (readout, each vertex from its own
query alone). The backward pass takes the same again for each factor that needs a gradient: tokens need none. The share
is the time that the floor would take at the rate of a plain matrix product of like size and type, measured in the same
process, over the time that all took: reading, optimiser and validation included.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numcodecs import Blosc

from benchmarks.ridge import resident_mib
from encoders import AttentionEncoder, Training
from encoders.estimators.attention import PUBLISHED_TRAINING
from encoders.tokens import TokenSource, as_token_source
from encoders.training.loop import train
from stimuli import write_json

RESULTS = Path(__file__).parent / "results" / "attention.json"
GRID, N_CHANNELS, N_QUERIES, N_HEADS, N_HIDDEN, N_VERTICES = (31, 31), 768, 50, 16, 1024, 40_000
CHUNK_ROWS = 32
N_DIFFERENT = 1_000


def write_tokens(path: Path, n_different: int, n_images: int) -> None:
    """Write tokens of images, of which `n_different` differ and the others are links to their files."""
    shape = (n_images, GRID[0] * GRID[1], N_CHANNELS)
    compressor = Blosc("lz4", clevel=1, shuffle=Blosc.SHUFFLE)
    store = zarr.DirectoryStore(str(path))
    array = zarr.create(
        shape, chunks=(CHUNK_ROWS, *shape[1:]), dtype="<f4", compressor=compressor, store=store
    )
    rng = np.random.default_rng(0)
    n_chunks, n_written = -(-n_images // CHUNK_ROWS), max(1, n_different // CHUNK_ROWS)
    for chunk in range(n_chunks):
        if chunk < n_written:
            array[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS] = rng.standard_normal(
                (min(CHUNK_ROWS, n_images - chunk * CHUNK_ROWS), *shape[1:]), dtype=np.float32
            )
        else:
            os.link(path / f"{chunk % n_written}.0.0", path / f"{chunk}.0.0")


def make_masks() -> np.ndarray:
    """Return masks that divide the vertices among the queries evenly."""
    masks = np.zeros((N_QUERIES, N_VERTICES), dtype=bool)
    masks[np.arange(N_VERTICES) * N_QUERIES // N_VERTICES, np.arange(N_VERTICES)] = True
    return masks


def count_operations() -> dict[str, float]:
    """Return the floor an image, in training and in prediction."""
    n_tokens, c = GRID[0] * GRID[1], N_CHANNELS
    folded = 4 * n_tokens * c * N_QUERIES * N_HEADS
    # tokens are fixed in the product that makes keys and values, and nothing is in those of queries with keys
    keys, over_keys = 4 * n_tokens * c * c, 4 * n_tokens * c * N_QUERIES
    rest = 4 * N_QUERIES * c * c + 4 * N_QUERIES * c * N_HIDDEN + 2 * c * N_VERTICES
    return {
        "training": min(2 * folded, 2 * keys + 3 * over_keys) + 3 * rest,
        "prediction": min(folded, keys + over_keys) + rest,
    }


def matmul_rate(device: str, dtype: torch.dtype, clock: Callable[[], float]) -> float:
    """Return operations a second of a plain matrix product of the size of a batch's scores."""
    a = torch.randn(16 * GRID[0] * GRID[1], N_CHANNELS, device=device).to(dtype)
    b = torch.randn(N_CHANNELS, N_QUERIES * N_HEADS, device=device).to(dtype)
    rates = []
    for _ in range(6):
        start = clock()
        a @ b
        rates.append(2 * a.shape[0] * a.shape[1] * b.shape[1] / (clock() - start))
    return max(rates[1:])


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Train and predict in this process."""
    torch.set_num_threads(job["threads"])
    device, cuda = job["device"], job["device"] != "cpu"

    def clock() -> float:
        if cuda:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    dtype = torch.bfloat16 if job["precision"] == "bfloat16" else torch.float32
    rate = matmul_rate(device, dtype, clock)
    stored = zarr.open(str(job["tokens"]), mode="r")
    source = as_token_source(stored, GRID)
    if job["place"] == "memory":
        source = as_token_source(source.read(), GRID)
    Y = np.random.default_rng(1).standard_normal((len(source), N_VERTICES), dtype=np.float32)
    encoder = AttentionEncoder.published(
        make_masks(), n_epochs=1, device=device, precision=job["precision"], batch_size=job["batch_size"]
    )
    n_small = min(40, len(source))
    encoder.fit(source[:n_small], Y[:n_small])  # also warms up
    result: dict[str, Any] = {"rate": rate, "n_images": len(source)}
    tasks: dict[str, tuple[Callable[[], float], int]] = {
        "training": (lambda: time_training(encoder, source, Y, clock), 0),
        "prediction": (lambda: time_prediction(encoder, source, clock), Y.nbytes),  # what is returned
    }
    for name, (task, n_bytes_returned) in tasks.items():
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = resident_mib("VmRSS")
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        total = task()
        result[name] = {
            "images_per_second": len(source) / total,
            "share": count_operations()[name] * len(source) / total / rate,
            "peak_mib": resident_mib("VmHWM") - before - n_bytes_returned / 2**20,
        }
        if cuda:
            result[name]["peak_device_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def time_training(
    encoder: AttentionEncoder, source: TokenSource, Y: np.ndarray, clock: Callable[[], float]
) -> float:
    """Return the seconds of one epoch on all images but four, which choose the epoch."""
    training: Training = encoder.training or PUBLISHED_TRAINING
    module = encoder.modules()[0]
    rows = np.arange(len(source))
    start = clock()
    train(module, source, Y, rows[4:], rows[:4], training)
    return (clock() - start) * len(rows) / (len(rows) - 4)


def time_prediction(encoder: AttentionEncoder, source: TokenSource, clock: Callable[[], float]) -> float:
    """Return the seconds of predicting all images."""
    start = clock()
    encoder.predict(source)
    return clock() - start


def run_child(job: dict[str, Any]) -> dict[str, Any]:
    """Measure in a process of its own."""
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(job["threads"])
    )
    command = [sys.executable, "-m", "benchmarks.attention", "--child", json.dumps(job)]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{job} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="The transformer brain encoder at the size of NSD.")
    parser.add_argument("--quick", action="store_true", help="64 images")
    parser.add_argument("--images", type=int, default=320, help="stored images of the timing")
    parser.add_argument("--stream", type=int, default=0, help="stored images over which memory is watched")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--folder", type=Path, help="where tokens are written; a temporary folder by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    n_images = 64 if options.quick else options.images
    common = {"device": options.device, "threads": options.threads, "batch_size": options.batch_size}
    runs = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        tokens = Path(folder) / "tokens.zarr"
        write_tokens(tokens, n_images, n_images)
        jobs = [
            common | {"tokens": str(tokens), "place": place, "precision": precision}
            for precision in ("float32", "bfloat16")
            for place in ("memory", "disk")
        ]
        if options.stream:
            many = Path(folder) / "many.zarr"
            write_tokens(many, N_DIFFERENT, options.stream)
            jobs.append(common | {"tokens": str(many), "place": "disk", "precision": "bfloat16"})
        unit = "second" if options.device != "cpu" else "CPU second"
        print(
            f"961 tokens x 768, 50 queries x 16 heads, 40,000 vertices, batches of {options.batch_size}, "
            f"{options.threads} thread(s), {platform.processor() or 'CPU'}\n\n"
            f"| precision | tokens | images | trained a {unit} | share | peak MiB | predicted a {unit} | share | "
            "peak MiB | matrix product GFLOP/s |\n|---|---|---|---|---|---|---|---|---|---|"
        )
        for job in jobs:
            result = run_child(job)
            runs.append({**job, **result, "tokens": job["place"]})
            cells = [job["precision"], job["place"], str(result["n_images"])]
            for name in ("training", "prediction"):
                part = result[name]
                peak = part.get("peak_device_mib", part["peak_mib"])
                cells += [f"{part['images_per_second']:.1f}", f"{part['share']:.0%}", f"{peak:.0f}"]
            print("| " + " | ".join([*cells, f"{result['rate'] / 1e9:.0f}"]) + " |", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(RESULTS, {"operations_an_image": count_operations(), "runs": runs})


if __name__ == "__main__":
    main()
