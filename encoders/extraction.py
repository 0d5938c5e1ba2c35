"""Stimuli through a network, named layers out: one pass, reduced in the hook, in memory or into a store."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.backbones.backbone import Backbone
from encoders.chunk_pass import Extraction, n_chunks, run_chunks
from encoders.cluster import Cluster
from encoders.cluster_extraction import extract_on_cluster
from encoders.feature_store import FeatureStore
from encoders.features import Features
from encoders.forward_pass import PassSettings, Precision, count_tokens, is_convolutional
from encoders.layer_dims import LayerDims
from encoders.reductions import Reduction, make_reduction
from encoders.stored_layer import StoredLayer, StoredOutput
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
    cluster: Cluster | None = None,
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
    cluster
        Workers that compute the chunks that are missing, from `open_cluster`; bits are those of a run without. Needs
        a store that the workers see under the same path, and stimuli too where they are files.

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
    if cluster is not None and store is None:
        raise ValueError(
            "cluster needs store=FOLDER, on a file system that the workers share: they write there"
        )
    place = _checked_device(device, here=cluster is None)
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
    extraction = Extraction(backbone, stimuli, settings, channels_last, progress)
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
        _extract_to_store(extraction, kept, stored, chunk_size or batch_size, batch_size, provenance, cluster)
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


def _identity(extraction: Extraction, layer: str) -> dict[str, Any]:
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


def _extract_to_memory(
    extraction: Extraction, layers: list[str], batch_size: int
) -> tuple[list[StoredOutput], dict[str, np.ndarray]]:
    outputs: list[StoredOutput] = []
    arrays: dict[str, np.ndarray] = {}
    todo = range(n_chunks(extraction.stimuli, batch_size))
    with closing(run_chunks(extraction, layers, batch_size, batch_size, todo)) as chunks:
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
    extraction: Extraction,
    store: FeatureStore,
    stored: Mapping[str, StoredLayer],
    chunk_size: int,
    batch_size: int,
    provenance: Mapping[str, Any],
    cluster: Cluster | None,
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
                for index in range(n_chunks(extraction.stimuli, chunk_rows))
                if any(index not in layer.finished for layer in layers.values())
            ]
            if cluster is not None:
                extract_on_cluster(cluster, extraction, layers, chunk_rows, batch_rows, todo, provenance)
                continue
            with closing(run_chunks(extraction, list(layers), chunk_rows, batch_rows, todo)) as chunks:
                for chunk in chunks:
                    for name, layer in layers.items():
                        if not layer.exists:
                            layer.begin(chunk.outputs(name), chunk_rows, batch_rows, provenance)
                        if chunk.index not in layer.finished:
                            layer.write_chunk(chunk.index, chunk.values)


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


def _checked_device(device: str | torch.device, here: bool) -> torch.device:
    try:
        wanted = torch.device(device)
        if here:  # and not on workers, which look for themselves
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
