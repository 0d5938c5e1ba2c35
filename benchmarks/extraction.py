"""Features of five ResNet-50 layers: images a CPU second beside the bare network and a peer, and peak memory.

Run ``python -m benchmarks.extraction`` (``--quick`` for a first look, ``--device cuda`` on a GPU, where seconds
are those of the clock). All contestants take turns in one process, on one thread, on the same JPEG files; a
ratio compares medians of the rounds. Prints Markdown and writes ``benchmarks/results/extraction.json``.
"""

import argparse
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from encoders import Backbone, extract_features, load_backbone
from encoders.backbones import ImagePreprocess
from stimuli import StimulusSet, write_json

LAYERS = ["maxpool", "layer1", "layer2", "layer3", "layer4"]
BATCH_SIZE = 32
RESULTS = Path(__file__).parent / "results" / "extraction.json"


def make_pictures(folder: Path, n: int) -> list[Path]:
    """Write JPEG files of smooth noise, 256 x 256 pixels."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        paths.append(folder / f"{index}.jpg")
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def make_stimuli(paths: Sequence[Path], n: int) -> StimulusSet:
    """Return `n` stimuli; more than there are files repeat them (the peer would compute repeated files once)."""
    return StimulusSet([str(i) for i in range(n)], images=[paths[i % len(paths)] for i in range(n)])


def make_backbone(device: str) -> Backbone:
    """Return ResNet-50 with random weights for 224 x 224 pixels."""
    preprocess = ImagePreprocess(resize=(224, 224))
    return load_backbone("torchvision/resnet50", weights="random", preprocess=preprocess, device=device)


def bare_forward(backbone: Backbone, stimuli: StimulusSet, layout: torch.memory_format) -> Callable[[], None]:
    """Return a run of the network alone: batches are ready, nothing is kept."""
    device = next(backbone.module.parameters()).device
    batches = [
        next(iter(backbone.preprocess(stimuli, range(start, start + BATCH_SIZE)).values()))
        for start in range(0, len(stimuli), BATCH_SIZE)
    ]
    batches = [batch.to(device).contiguous(memory_format=layout) for batch in batches]

    def run() -> None:
        backbone.module.to(memory_format=layout)
        with torch.no_grad():
            for batch in batches:
                backbone.module(batch)
        backbone.module.to(memory_format=torch.contiguous_format)

    return run


def extraction(backbone: Backbone, stimuli: StimulusSet, device: str, **options: Any) -> Callable[[], Any]:
    """Return a run of extract_features: decoding, resizing, the network up to layer4, reduction."""
    return functools.partial(
        extract_features,
        backbone,
        stimuli,
        LAYERS,
        device=device,
        batch_size=BATCH_SIZE,
        progress=False,
        **options,
    )


def peer(backbone: Backbone, stimuli: StimulusSet) -> Callable[[], Any]:
    """Return a run of Brain-Score's PytorchWrapper without its cache: decoding, the network, full maps."""
    os.environ["BS_INSTALL_DEPENDENCIES"] = "no"  # it would run pip
    os.environ["RESULTCACHING_DISABLE"] = "1"
    from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper, load_preprocess_images

    preprocessing = functools.partial(load_preprocess_images, image_size=224)
    wrapper = PytorchWrapper(backbone.module, preprocessing, identifier="resnet50", batch_size=BATCH_SIZE)
    paths = [str(path) for path in stimuli.image_paths or []]
    return lambda: wrapper(paths, layers=LAYERS)


def seconds_of(run: Callable[[], Any], device: str) -> float:
    """Return CPU seconds of all threads of this process, or seconds of the clock on a GPU."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def difference_from_peer(backbone: Backbone, stimuli: StimulusSet, device: str) -> float:
    """Return the largest difference of a feature from the peer's, relative to the largest value of its layer."""
    ours = extraction(backbone, stimuli, device)()
    theirs = peer(backbone, stimuli)()
    worst = 0.0
    for layer in LAYERS:
        values = theirs.isel(neuroid=np.flatnonzero(theirs["layer"].values == layer)).values
        worst = max(worst, float(np.abs(ours[layer] - values).max() / np.abs(values).max()))
    return worst


def measure_speed(paths: Sequence[Path], n: int, rounds: int, device: str) -> dict[str, Any]:
    """Let all contestants take turns and return images a second for each round."""
    backbone, stimuli = make_backbone(device), make_stimuli(paths, n)
    contestants: dict[str, Callable[[], Any]] = {
        "bare forward pass": bare_forward(backbone, stimuli, torch.contiguous_format),
        "bare forward pass, channels last": bare_forward(backbone, stimuli, torch.channels_last),
        "extract_features, mean": extraction(backbone, stimuli, device, reduction="mean"),
        "extract_features, projection:1024": extraction(
            backbone, stimuli, device, reduction="projection:1024"
        ),
        "extract_features, projection:1024, channels first": extraction(
            backbone, stimuli, device, reduction="projection:1024", channels_last=False
        ),
        "extract_features, mean, bfloat16": extraction(
            backbone, stimuli, device, reduction="mean", dtype="bfloat16"
        ),
        "Brain-Score PytorchWrapper": peer(backbone, stimuli),
    }
    warm_up = make_stimuli(paths, 2)
    difference = difference_from_peer(backbone, warm_up, device)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for index in range(rounds):
        order = list(contestants) if index % 2 == 0 else list(contestants)[::-1]
        for name in order:
            speeds[name].append(n / seconds_of(contestants[name], device))
    return {"images_per_second": speeds, "largest_relative_difference_from_peer": difference}


def measure_memory(paths: Sequence[Path], n: int, device: str) -> float:
    """Return the peak memory in MiB of a process that extracts `n` images into a store."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "benchmarks.extraction", "--device", device]
        command += ["--memory-of", str(n), "--pictures", str(paths[0].parent), "--store", store]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(run.stdout.splitlines()[-1]))


def report_memory(pictures: Path, n: int, store: str, device: str) -> None:
    """Extract `n` images into a store and print the peak memory of this process in MiB."""
    stimuli = make_stimuli(sorted(pictures.glob("*.jpg")), n)
    extraction(make_backbone(device), stimuli, device, reduction="projection:1024", store=store)()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def table(results: dict[str, Any]) -> str:
    """Write the results as Markdown."""
    medians = {name: statistics.median(values) for name, values in results["images_per_second"].items()}
    bare, wrapper = medians["bare forward pass"], medians["Brain-Score PytorchWrapper"]
    lines = [
        f"| ResNet-50, {len(LAYERS)} layers, 224 px | images a {results['second']} | of bare forward | of peer |",
        "|---|---|---|---|",
    ]
    for name, speed in medians.items():
        lines.append(f"| {name} | {speed:.2f} | {speed / bare:.2f} | {speed / wrapper:.2f} |")
    first = medians["extract_features, projection:1024, channels first"]
    last = medians["extract_features, projection:1024"]
    lines += [
        "",
        f"Against the bare pass in the same layout: {first / bare:.2f} channels first, "
        f"{last / medians['bare forward pass, channels last']:.2f} channels last.",
        f"Largest relative difference of a feature from the peer's: "
        f"{results['largest_relative_difference_from_peer']:.1e}.",
        "",
        "| images into a store, projection:1024 | peak memory (MiB) |",
        "|---|---|",
        *(f"| {n} | {mib:.0f} |" for n, mib in results["peak_mib"].items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pictures", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = arguments.device
    if arguments.memory_of:
        report_memory(arguments.pictures, arguments.memory_of, arguments.store, device)
        return
    n, rounds, sizes = (BATCH_SIZE, 1, (32, 128)) if arguments.quick else (2 * BATCH_SIZE, 3, (100, 1000))
    with tempfile.TemporaryDirectory() as folder:
        paths = make_pictures(Path(folder), n)
        results = measure_speed(paths, n, rounds, device)
        results["peak_mib"] = {str(size): measure_memory(paths, size, device) for size in sizes}
    results |= {
        "second": "second" if device == "cuda" else "CPU second",
        "device": device,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "images_a_round": n,
        "batch_size": BATCH_SIZE,
    }
    write_json(RESULTS, results)
    print(table(results))


if __name__ == "__main__":
    main()
