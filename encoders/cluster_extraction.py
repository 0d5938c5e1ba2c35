"""Extraction by workers: one piece is one chunk of the store, computed in the batches of a local run.

The process that asks holds the locks of the layers and writes their records; workers write chunks and their marks.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from encoders.backbones.fingerprint import fingerprint_module
from encoders.chunk_pass import Chunk, Extraction, progress_bar, run_chunks
from encoders.cluster import Cluster
from encoders.forward_pass import place_module
from encoders.solvers.checks import check_device
from encoders.stored_layer import StoredLayer


@dataclass(frozen=True)
class ChunkWork:
    """What each worker is sent once: network, stimuli and settings, and where chunks go."""

    extraction: Extraction
    layers: tuple[str, ...]
    chunk_rows: int
    batch_rows: int
    fingerprint: str
    store: Path
    keys: Mapping[str, str]

    def __call__(self, item: tuple[int, Sequence[str] | None]) -> Chunk | dict[str, dict[str, Any]]:
        """Compute a chunk; write it for the layers named and return the mark of each, or return it for None."""
        index, names = item
        self._check_arrival()
        chunks = run_chunks(self.extraction, list(self.layers), self.chunk_rows, self.batch_rows, [index])
        with closing(chunks):
            chunk = next(chunks)
        return chunk if names is None else {name: self._write(name, chunk) for name in names}

    def _write(self, name: str, chunk: Chunk) -> dict[str, Any]:
        layer = StoredLayer(self.store, self.keys[name])
        layer.read_record()
        if chunk.outputs(name) != layer.outputs:
            raise ValueError(
                f"layer {name!r} gives {_shapes(chunk.outputs(name))} for the stimuli from number "
                f"{chunk.index * self.chunk_rows} on and {_shapes(layer.outputs)} for the first ones; give stimuli of "
                "one size, or a reduction whose result has one size, such as 'mean'"
            )
        layer.write_chunk(chunk.index, chunk.values)
        return layer.finished[chunk.index]

    def _check_arrival(self) -> None:
        if self._fingerprint_here != self.fingerprint:
            raise RuntimeError(
                f"the network {self.extraction.backbone.name!r} has fingerprint {self._fingerprint_here[:12]} on the "
                f"worker and {self.fingerprint[:12]} here: it did not survive pickling, or its code is another there; "
                "start the workers from the environment of the driver"
            )

    @cached_property
    def _fingerprint_here(self) -> str:
        """Place the network, which is this process's own, where all chunks need it, and hash it; once a process."""
        backbone, device = self.extraction.backbone, check_device(self.extraction.settings.device)
        # Hashed anew: the backbone brings the driver's hash of its tensors along.
        fingerprint = fingerprint_module(backbone.module, backbone.preprocess.describe())
        place_module(backbone.module, device, self.extraction.channels_last)
        return fingerprint


def extract_on_cluster(
    cluster: Cluster,
    extraction: Extraction,
    layers: Mapping[str, StoredLayer],
    chunk_rows: int,
    batch_rows: int,
    todo: Sequence[int],
    provenance: Mapping[str, Any],
) -> None:
    """Let workers compute the chunks `todo` of layers whose locks the caller holds.

    Raises
    ------
    ValueError
        A worker does not share the folder of the store.
    RuntimeError
        A worker has other versions or another network; see also `Cluster.completed`.
    """
    store = next(iter(layers.values())).store.resolve()
    cluster.check_folder("store", store)
    work = ChunkWork(
        extraction=replace(extraction, progress=False),
        layers=tuple(layers),
        chunk_rows=chunk_rows,
        batch_rows=batch_rows,
        fingerprint=extraction.backbone.fingerprint,
        store=store,
        keys={name: layer.key for name, layer in layers.items()},
    )
    label, n_stimuli = "chunks of stimuli", len(extraction.stimuli)

    def n_rows(index: int) -> int:
        return min((index + 1) * chunk_rows, n_stimuli) - index * chunk_rows

    with progress_bar(extraction.progress) as bar:
        task = bar.add_task(extraction.backbone.name, total=sum(map(n_rows, todo)))
        if not all(layer.exists for layer in layers.values()):
            # Only outputs tell what the record says, so that the first chunk comes here.
            first, *todo = todo
            (chunk,) = cluster.map(work, [(first, None)], label=label)
            for name, layer in layers.items():
                if not layer.exists:
                    layer.begin(chunk.outputs(name), chunk_rows, batch_rows, provenance)
                if first not in layer.finished:
                    layer.write_chunk(first, chunk.values)
            bar.advance(task, n_rows(first))
        items = [
            (index, [name for name, layer in layers.items() if index not in layer.finished]) for index in todo
        ]
        for number, marks in cluster.completed(work, items, label=label):
            for name, files in marks.items():
                layers[name].finished[todo[number]] = files
            bar.advance(task, n_rows(todo[number]))


def _shapes(outputs: Sequence[Any]) -> str:
    return ", ".join(f"{output.name} {output.shape[1:]}" for output in outputs)
