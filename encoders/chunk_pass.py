"""Chunks of stimuli through a network: the part of an extraction that one process does by itself."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from encoders.backbones.backbone import Backbone
from encoders.forward_pass import BatchRunner, PassSettings, ReducedOutput, placed_module, prefetch_batches
from encoders.layer_dims import DIMS_OF_RANK
from encoders.stored_layer import StoredOutput
from encoders.taps import tap_layers
from stimuli.stimulus_set import StimulusSet


@dataclass(frozen=True)
class Extraction:
    """Network, stimuli and settings of one call."""

    backbone: Backbone
    stimuli: StimulusSet
    settings: PassSettings
    channels_last: bool
    progress: bool


@dataclass(frozen=True)
class Chunk:
    """Reduced outputs of some stimuli in a row."""

    index: int
    values: dict[str, np.ndarray]
    padded: dict[str, bool]
    layer_of: dict[str, str]
    n_stimuli: int

    def outputs(self, layer: str | None = None) -> list[StoredOutput]:
        """Describe the arrays for all stimuli, of one layer or of all."""
        return [
            StoredOutput(name, DIMS_OF_RANK[v.ndim], (self.n_stimuli, *v.shape[1:]), self.padded[name])
            for name, v in self.values.items()
            if layer is None or self.layer_of[name] == layer
        ]


def n_chunks(stimuli: StimulusSet, chunk_size: int) -> int:
    return -(-len(stimuli) // chunk_size)


def run_chunks(
    extraction: Extraction, layers: list[str], chunk_size: int, batch_size: int, todo: Sequence[int]
) -> Generator[Chunk, None, None]:
    """Pass the stimuli of some chunks through the network and give chunk after chunk."""
    n_stimuli = len(extraction.stimuli)
    batches = [
        (chunk, np.arange(start, min(start + batch_size, (chunk + 1) * chunk_size, n_stimuli)))
        for chunk in todo
        for start in range(chunk * chunk_size, min((chunk + 1) * chunk_size, n_stimuli), batch_size)
    ]
    rows_of_batches = [rows for _, rows in batches]
    backbone, settings = extraction.backbone, extraction.settings
    runner = BatchRunner(settings)
    parts: list[dict[str, ReducedOutput]] = []
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(extraction.progress))
        task = bar.add_task(backbone.name, total=sum(map(len, rows_of_batches)))
        placed = placed_module(backbone.module, settings.device, extraction.channels_last)
        taps = stack.enter_context(tap_layers(stack.enter_context(placed), layers, runner))
        loaded = prefetch_batches(
            backbone.preprocess, extraction.stimuli, rows_of_batches, extraction.channels_last
        )
        stack.enter_context(closing(loaded))
        for position, ((chunk, rows), batch) in enumerate(zip(batches, loaded, strict=True)):
            parts.append(runner.run(taps, batch, rows))
            bar.advance(task, len(rows))
            if position + 1 == len(batches) or batches[position + 1][0] != chunk:
                yield _join(chunk, parts, n_stimuli)
                parts = []


def _join(index: int, parts: list[dict[str, ReducedOutput]], n_stimuli: int) -> Chunk:
    return Chunk(
        index=index,
        values={name: np.concatenate([part[name].values for part in parts]) for name in parts[0]},
        padded={name: output.padded for name, output in parts[0].items()},
        layer_of={name: output.layer for name, output in parts[0].items()},
        n_stimuli=n_stimuli,
    )


def progress_bar(shown: bool) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not shown)
