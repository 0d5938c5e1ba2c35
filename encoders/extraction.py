"""Stimuli through a network, named layers out: one pass, reduced in the hook, in memory or into a store."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from encoders.backbones.backbone import Backbone
from encoders.feature_store import FeatureStore
from encoders.features import Features
from encoders.forward_pass import (
    BatchRunner,
    PassSettings,
    Precision,
    ReducedOutput,
    count_tokens,
    is_convolutional,
    placed_module,
    prefetch_batches,
)
from encoders.layer_dims import DIMS_OF_RANK, LayerDims
from encoders.reductions import Reduction, make_reduction
from encoders.stored_layer import StoredLayer, StoredOutput
from encoders.taps import tap_layers
from stimuli.files import unknown_name_message
from stimuli.stimulus_set import StimulusSet

__all__ = ["Features", "extract_features"]

AnyReduction = str | type[Reduction] | Reduction


def extract_features(
    backbone: Backbone,
    stimuli: StimulusSet,
    layers: Sequence[str] | None = None,
    *,
    reduction: AnyReduction | Mapping[str, AnyReduction] = "flatten",
    device: str | torch.device = "cpu",
    dtype: Precision = "float32",
    batch_size: int = 32,
    channels_last: bool | None = None,
    layer_dims: Mapping[str, str] | None = None,
    store: FeatureStore | str | Path | None = None,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Features:
    """Show stimuli to a network and keep what its layers answer.

    All layers come from one pass, which ends right after the last of them. Each output is reduced inside the
    hook, so memory holds one batch of full maps at most; without `store` also the result, with it one chunk.

    Parameters
    ----------
    backbone
        The network. Its mode, device and memory layout are the same afterwards as before.
    stimuli
        Images or texts, as the network takes them.
    layers
        Dotted names of modules; ``backbone.default_layers`` if None. A module that is called more than once
        gives ``layer#0``, ``layer#1``, ...; an output of several tensors ``layer[0]``, ``layer[1]``, ... or
        ``layer[key]``.
    reduction
        ``"none"``, ``"flatten"``, ``"mean"``, ``"cls"``, ``"last"``, ``"tokens"``, ``"grid:SIZE"``,
        ``"projection:N"``, or a `Reduction`; or a mapping with one for each layer.
    device
        Where the network runs, e.g. ``"cuda"``.
    dtype
        ``"float32"`` (without TF32), or ``"bfloat16"``: the pass under autocast. Reductions are computed and
        features kept in float32 in both cases.
    batch_size
        Stimuli a pass. Features depend on it no more than by float rounding.
    channels_last
        Memory layout of a convolutional network, which changes speed and rounding only. None: on the CPU, for
        networks with at least two ``Conv2d``.
    layer_dims
        Axes of layers for which they cannot be known, e.g. ``{"layers.*": "stimulus row column channel"}``
        for the channels-last maps of a Swin transformer. Without it outputs of rank 2, 3 and 4 are taken to
        be ``stimulus channel``, ``stimulus token channel`` and ``stimulus channel row column``; a square map
        that looks channels-last is refused, one that is not square cannot be told. Axes beside stimulus,
        channel, row and column become tokens. In a text network an axis called ``latent`` instead of
        ``token`` is one that padding does not bear on.
    store
        A `FeatureStore` or its folder: what is there is read, what is missing is computed and kept.
    chunk_size
        Stimuli a chunk of the store, `batch_size` if None; larger chunks make fewer files and lose more in a
        kill. A layer that was begun with other sizes keeps those.
    progress
        Whether a progress bar is shown.

    Returns
    -------
    Features
        float32. Texts have different numbers of tokens: with the reductions ``none`` and ``tokens`` shorter
        ones are padded with NaN to the longest of the set, and `token_masks` says where tokens are;
        ``flatten`` and ``projection`` pad with zeros. ``mean``, ``cls`` and ``last`` leave padding out.

    Raises
    ------
    KeyError
        A layer is unknown; near matches are listed.
    ValueError
        An argument is not one of the above, a layer gives NaN or infinity, outputs that are no vectors,
        tokens or maps, or outputs whose size differs between stimuli.
    CorruptFeaturesError
        The store is damaged; the message names the file.
    """
    wanted = backbone.default_layers if layers is None else layers
    backbone.check_layers(wanted)
    wanted = list(wanted)
    _check_arguments(backbone, stimuli, wanted, dtype, batch_size, chunk_size)
    place = _checked_device(device)
    if channels_last is None:
        channels_last = place.type == "cpu" and is_convolutional(backbone.module)
    settings = PassSettings(
        reductions=_reductions_by_layer(reduction, wanted),
        layer_dims=LayerDims(layer_dims, wanted),
        device=place,
        dtype=dtype,
        stimulus_ids=stimuli.stimulus_ids,
        token_counts=count_tokens(backbone, stimuli, batch_size),
    )
    extraction = _Extraction(backbone, stimuli, settings, channels_last, progress)
    provenance = {
        "backbone": backbone.describe(),
        "media_hash": stimuli.media_hash,
        "reductions": {layer: kind.describe() for layer, kind in settings.reductions.items()},
        "dtype": dtype,
        "device": str(place),
        "batch_size": batch_size,
        "torch": torch.__version__,
    }
    if store is None:
        outputs, arrays = _extract_to_memory(extraction, wanted, batch_size)
    else:
        kept = store if isinstance(store, FeatureStore) else FeatureStore(store)
        stored = {layer: kept.layer(_identity(extraction, layer)) for layer in wanted}
        _extract_to_store(extraction, kept, stored, chunk_size or batch_size, batch_size, provenance)
        outputs = [output for layer in stored.values() for output in layer.outputs]
        arrays = {name: array for layer in stored.values() for name, array in layer.arrays().items()}
    padded = [output.name for output in outputs if output.padded]
    return Features(
        arrays=arrays,
        dims={output.name: output.dims for output in outputs},
        stimulus_ids=stimuli.stimulus_ids,
        token_masks={name: _token_mask(settings.token_counts) for name in padded},
        provenance=provenance,
    )


@dataclass(frozen=True)
class _Extraction:
    """Network, stimuli and settings of one call."""

    backbone: Backbone
    stimuli: StimulusSet
    settings: PassSettings
    channels_last: bool
    progress: bool


def _identity(extraction: _Extraction, layer: str) -> dict[str, Any]:
    """Return what decides the features of a layer, the key of the store."""
    settings = extraction.settings
    return {
        "media_hash": extraction.stimuli.media_hash,
        "fingerprint": extraction.backbone.fingerprint,
        "layer": layer,
        "reduction": settings.reductions[layer].describe(),
        "dtype": settings.dtype,
        "layer_dims": settings.layer_dims.describe(layer),
    }


def _token_mask(token_counts: np.ndarray | None) -> np.ndarray:
    assert token_counts is not None
    return np.arange(token_counts.max()) < token_counts[:, None]


@dataclass(frozen=True)
class _Chunk:
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


def _extract_to_memory(
    extraction: _Extraction, layers: list[str], batch_size: int
) -> tuple[list[StoredOutput], dict[str, np.ndarray]]:
    outputs: list[StoredOutput] = []
    arrays: dict[str, np.ndarray] = {}
    todo = range(_n_chunks(extraction.stimuli, batch_size))
    with closing(_run_chunks(extraction, layers, batch_size, batch_size, todo)) as chunks:
        for chunk in chunks:
            if not outputs:
                outputs = chunk.outputs()
                arrays = {output.name: _allocate(output) for output in outputs}
            for name, values in chunk.values.items():
                arrays[name][chunk.index * batch_size :][: len(values)] = values
    return outputs, arrays


def _allocate(output: StoredOutput) -> np.ndarray:
    try:
        return np.empty(output.shape, np.float32)
    except MemoryError as error:
        raise MemoryError(
            f"features of {output.name!r} {output.shape} do not fit into memory; give store=FOLDER, or a "
            f"reduction "
            "such as 'mean' or 'projection:1024'"
        ) from error


def _extract_to_store(
    extraction: _Extraction,
    store: FeatureStore,
    stored: Mapping[str, StoredLayer],
    chunk_size: int,
    batch_size: int,
    provenance: Mapping[str, Any],
) -> None:
    """Compute the chunks that are missing."""
    if all(layer.complete for layer in stored.values()):
        return
    with store.locked(stored.values()):
        for layer in stored.values():
            layer.reload()  # another process may have worked on it while this one waited
        # Layers begun with different sizes cannot share passes and keep their bits: one round for each pair
        # of sizes.
        groups: dict[tuple[int, int], dict[str, StoredLayer]] = {}
        for name, layer in stored.items():
            if not layer.complete:
                sizes = (layer.chunk_size, layer.batch_size) if layer.exists else (chunk_size, batch_size)
                groups.setdefault(sizes, {})[name] = layer
        for (chunk_rows, batch_rows), layers in groups.items():
            todo = [
                index
                for index in range(_n_chunks(extraction.stimuli, chunk_rows))
                if any(index not in layer.finished for layer in layers.values())
            ]
            with closing(_run_chunks(extraction, list(layers), chunk_rows, batch_rows, todo)) as chunks:
                for chunk in chunks:
                    for name, layer in layers.items():
                        if not layer.exists:
                            layer.begin(chunk.outputs(name), chunk_rows, batch_rows, provenance)
                        if chunk.index not in layer.finished:
                            layer.write_chunk(chunk.index, chunk.values)


def _n_chunks(stimuli: StimulusSet, chunk_size: int) -> int:
    return -(-len(stimuli) // chunk_size)


def _run_chunks(
    extraction: _Extraction, layers: list[str], chunk_size: int, batch_size: int, todo: Sequence[int]
) -> Generator[_Chunk, None, None]:
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
        bar = stack.enter_context(_progress_bar(extraction.progress))
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


def _join(index: int, parts: list[dict[str, ReducedOutput]], n_stimuli: int) -> _Chunk:
    return _Chunk(
        index=index,
        values={name: np.concatenate([part[name].values for part in parts]) for name in parts[0]},
        padded={name: output.padded for name, output in parts[0].items()},
        layer_of={name: output.layer for name, output in parts[0].items()},
        n_stimuli=n_stimuli,
    )


def _progress_bar(shown: bool) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not shown)


def _check_arguments(
    backbone: Backbone,
    stimuli: StimulusSet,
    layers: Sequence[str],
    dtype: str,
    batch_size: int,
    chunk_size: int | None,
) -> None:
    if not layers or len(set(layers)) != len(layers):
        raise ValueError(f"layers must hold at least one name and each only once, got {list(layers)}")
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {dtype!r}")
    for name, value in (("batch_size", batch_size), ("chunk_size", 1 if chunk_size is None else chunk_size)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if not len(stimuli):
        raise ValueError("stimuli is empty; give at least one stimulus")
    if not (stimuli.has_images if backbone.modality == "image" else stimuli.has_texts):
        raise ValueError(f"{backbone.name} takes {backbone.modality}s, and {stimuli!r} has none")


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {str(device)!r} cannot be used here ({error}); device='cpu' always can"
        ) from error
    return wanted


def _reductions_by_layer(
    reduction: AnyReduction | Mapping[str, AnyReduction], layers: Sequence[str]
) -> dict[str, Reduction]:
    if not isinstance(reduction, Mapping):
        return dict.fromkeys(layers, make_reduction(reduction))
    for name in set(reduction).difference(layers):
        raise KeyError(unknown_name_message("layer in reduction", name, layers))
    if missing := [layer for layer in layers if layer not in reduction]:
        raise ValueError(
            f"reduction names no reduction for layers {missing}; add them, e.g. {{{missing[0]!r}: 'mean'}}"
        )
    return {layer: make_reduction(reduction[layer]) for layer in layers}
