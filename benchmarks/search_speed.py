"""CPU seconds of eccNET with the shapes of VGG16 at the authors' resolution, by stage, beside whole windows.

Run ``python -m benchmarks.search_speed`` (``--displays 2`` a condition and set size, ``--gaze-step 4`` to take the gaze
in steps of 4 pixels, ``--threads 2``). Weights are random: a pass takes as long as with trained ones, but a search
needs about as many fixations as chance, so the seconds of a display are those of a bad searcher. All but the last
column are CPU seconds over all threads. Prints Markdown and writes ``benchmarks/results/search_speed.json``.

Stages: *plain*, what a window without items gives, once for all displays of one size and background; for each display
the *target*, its features, and the display made ready; for each fixation the *early* layers, which move with it, the
*late* ones, which see the gaze, and the *map* of attention. *Whole* is the network run over the whole window for one
fixation, which the parts equal (tests/cogmodels/test_eccnet_windows.py).
"""

import argparse
import platform
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cogmodels.search.eccnet import EccNet
from stimuli import write_json
from stimuli.search_displays import SearchDisplays, list_paradigms, make_paradigm

RESULTS = Path(__file__).parent / "results" / "search_speed.json"


class Stopwatch:
    """CPU seconds of methods, by stage."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def watch(self, holder: Any, name: str, stage: str) -> None:
        """Let calls of a method count for a stage."""
        method: Callable = getattr(holder, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds[stage] += time.process_time() - start

        setattr(holder, name, timed)


def measure(model: EccNet, displays: SearchDisplays) -> dict[str, float]:
    """Return seconds of each stage for the displays of a paradigm, and how many fixations there were."""
    start = time.process_time()
    network = model._network(displays[0])
    row: dict[str, float] = {"window (px)": network.side, "plain, once": time.process_time() - start}
    watch = Stopwatch()
    for holder, name, stage in (
        (network._early, "maps", "early"),
        (network, "_run_late", "late"),
        (model, "priority", "all of a fixation"),
        (model, "begin", "target"),
    ):
        watch.watch(holder, name, stage)
    begun, started = time.perf_counter(), time.process_time()
    n_fixations = int(model.search(displays).trials.n_fixations.sum())
    clock, total = time.perf_counter() - begun, time.process_time() - started
    for holder in (network._early, network, model):
        for name in ("maps", "_run_late", "priority", "begin"):
            holder.__dict__.pop(name, None)
    watch.seconds["map"] = watch.seconds["all of a fixation"] - watch.seconds["early"] - watch.seconds["late"]
    row["target"] = watch.seconds["target"] / len(displays)
    for stage in ("early", "late", "map"):
        row[stage] = watch.seconds[stage] / n_fixations
    start = time.process_time()
    middle = network.side // 2 - displays[0].width_px // 2
    network.whole(network.window(model._picture(displays[0].read_image()), middle, middle))
    row["whole"] = time.process_time() - start
    row["fixations"] = n_fixations / len(displays)
    row["display"] = total / len(displays)
    row["display, by the clock"] = clock / len(displays)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--displays", type=int, default=2, help="displays a condition and set size")
    parser.add_argument(
        "--gaze-step", type=int, default=1, help="the window follows the gaze in these steps (px)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--paradigms", nargs="*", default=list_paradigms())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = EccNet(weights="random", gaze_step_px=options.gaze_step)
    rows = {}
    for paradigm in options.paradigms:
        rows[paradigm] = measure(model, make_paradigm(paradigm, options.displays))
        print(f"{paradigm}: {rows[paradigm]['display']:.2f} CPU s a display", flush=True)
    columns = list(next(iter(rows.values())))
    print("\n| paradigm | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for paradigm, row in rows.items():
        cells = [f"{value:.0f}" if name.endswith("(px)") else f"{value:.2f}" for name, value in row.items()]
        print(f"| {paradigm} | " + " | ".join(cells) + " |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table = pd.DataFrame(rows).T
    print(
        f"\nMean over paradigms: {table['display'].mean():.2f} CPU s a display; peak memory {peak:.1f} GiB."
    )
    RESULTS.parent.mkdir(exist_ok=True)
    about = {**vars(options), "machine": platform.machine(), "torch": torch.__version__, "peak_gib": peak}
    write_json(RESULTS, {"settings": about, "rows": rows})


if __name__ == "__main__":
    main()
