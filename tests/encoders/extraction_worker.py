"""A process that extracts features on demand, to be killed.

Each line on the standard input, ``FOLDER MILLISECONDS KILL_AT``, forks a child that extracts into FOLDER. The
child rests MILLISECONDS a stimulus and kills itself before it puts the KILL_AT-th file in place, or never at
0. Answers: ``started PID`` and, when the child has ended, ``ended STATUS STIMULI`` with the number of stimuli
that went through the network.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import fsspec  # noqa: F401 - zarr imports it late, which would be in each child
import numpy as np
import torch
from torch import Tensor

from encoders.backbones.backbone import Backbone
from encoders.extraction import extract_features
from stimuli import StimulusSet
from tests.encoders.tapped_networks import BATCH_LENGTHS, InplaceNet, RowsOfTable, seeded, table_backbone

LAYERS = ["norm", "conv2"]
N_STIMULI, BATCH_SIZE, CHUNK_SIZE = 23, 2, 6


class SlowRows(RowsOfTable):
    """A table read with a rest after each stimulus."""

    def __init__(self, table: Tensor, seconds: float) -> None:
        super().__init__(table)
        self.seconds = seconds

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        time.sleep(self.seconds * len(indices))
        return super().__call__(stimuli, indices)


def make_backbone(seconds: float = 0.0) -> tuple[Backbone, StimulusSet]:
    """Return the network and stimuli that every child uses."""
    values = np.random.default_rng(0).standard_normal((N_STIMULI, 3, 9, 9)).astype(np.float32)
    backbone, stimuli = table_backbone(seeded(InplaceNet), torch.from_numpy(values))
    return Backbone(
        "slow", backbone.module, SlowRows(torch.from_numpy(values), seconds), "image", (), ""
    ), stimuli


def count_stimuli() -> list[int]:
    """Return an empty list that grows by the length of each batch that goes through the network."""
    BATCH_LENGTHS.clear()
    return BATCH_LENGTHS


def extract(folder: str, backbone: Backbone, stimuli: StimulusSet) -> dict[str, np.ndarray]:
    """Extract what every child extracts."""
    features = extract_features(
        backbone,
        stimuli,
        LAYERS,
        reduction={"norm": "projection:16", "conv2": "none"},
        batch_size=BATCH_SIZE,
        chunk_size=CHUNK_SIZE,
        store=folder,
        progress=False,
    )
    return {layer: np.asarray(features[layer]) for layer in LAYERS}


def _kill_before(number: int) -> None:
    replace, calls = os.replace, [0]

    def counted(*paths: Any, **options: Any) -> None:
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths, **options)

    os.replace = counted  # type: ignore[assignment]


def _child(folder: str, milliseconds: str, kill_at: str, report: int) -> None:
    _kill_before(int(kill_at))
    backbone, stimuli = make_backbone(float(milliseconds) / 1000)
    counts = count_stimuli()
    extract(folder, backbone, stimuli)
    os.write(report, str(sum(counts)).encode())


def main() -> None:
    """Serve until the standard input ends."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()  # cheaper than a new process a kill: the libraries are loaded once
        if pid == 0:
            try:
                _child(*line.split(), report=writer)
                os._exit(0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
        os.close(writer)
        print("started", pid, flush=True)
        _, status = os.waitpid(pid, 0)
        counted = os.read(reader, 100).decode() or "0"
        os.close(reader)
        print("ended", os.waitstatus_to_exitcode(status), counted, flush=True)


if __name__ == "__main__":
    main()
