"""One batch through a network: where the module stands, what its axes are, the reduction inside the hook."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from encoders.backbones.backbone import Backbone, Preprocess
from encoders.layer_dims import LayerDims, align_tokens, ordered_output
from encoders.reductions import Reduction
from encoders.taps import LayerTaps, TapPoint
from stimuli.stimulus_set import StimulusSet

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class PassSettings:
    """What stays the same over all batches.

    `token_counts` is (n_stimuli,), the tokens of each text, or None where nothing is padded.
    """

    reductions: Mapping[str, Reduction]
    layer_dims: LayerDims
    device: torch.device
    dtype: Precision
    stimulus_ids: np.ndarray
    token_counts: np.ndarray | None


@dataclass(frozen=True)
class ReducedOutput:
    """One output of a layer for one batch: (n, ...) float32, NaN at padded tokens if `padded`."""

    layer: str
    values: np.ndarray
    padded: bool


class BatchRunner:
    """Runs batches and reduces each tapped output as soon as it is there.

    Parameters
    ----------
    settings
        What stays the same over all batches.
    """

    def __init__(self, settings: PassSettings) -> None:
        self._settings = settings
        self._rows = np.empty(0, int)
        self._mask: Tensor | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._axis_in_doubt = False

    def run(self, taps: LayerTaps, batch: Mapping[str, Tensor], rows: np.ndarray) -> dict[str, ReducedOutput]:
        """Pass the stimuli `rows` through the network.

        Raises
        ------
        ValueError
            An output is not finite, has axes that do not fit, or another size than in earlier batches.
        """
        first = not self._shapes
        reduced = self._pass(taps, batch, rows)
        for name, output in reduced.items():
            shape = self._shapes.setdefault(name, output.values.shape[1:])
            if output.values.shape[1:] != shape:
                raise ValueError(
                    f"layer {name!r} gives {output.values.shape[1:]} values for the stimuli from "
                    f"{str(self._settings.stimulus_ids[rows[0]])!r} on and {shape} for the first ones; give "
                    f"stimuli of one "
                    "size, or a reduction whose result has one size, such as 'mean'"
                )
        if first and self._axis_in_doubt:
            # Two axes are as long as the batch: a shorter batch tells which of them is the stimulus.
            self._pass(taps, {key: values[:-1] for key, values in batch.items()}, rows[:-1])
        return reduced

    def _pass(
        self, taps: LayerTaps, batch: Mapping[str, Tensor], rows: np.ndarray
    ) -> dict[str, ReducedOutput]:
        device = self._settings.device
        on_device = {key: values.to(device) for key, values in batch.items()}
        self._rows = rows
        self._mask = None if self._settings.token_counts is None else on_device["attention_mask"]
        with _precision(device, self._settings.dtype):
            return taps(**on_device)

    def __call__(self, point: TapPoint, tensor: Tensor) -> ReducedOutput:
        """Reduce one output; called inside the hook."""
        name = point.layer + point.path
        dims = self._settings.layer_dims.of(point)
        n_stimuli = len(self._rows)
        values, has_tokens = ordered_output(tensor.detach(), dims, n_stimuli, name)
        self._axis_in_doubt |= dims is None and n_stimuli > 1 and tuple(tensor.shape[:2]) == (n_stimuli,) * 2
        mask = None
        if self._mask is not None and dims is None and values.ndim == 4:
            raise ValueError(
                f"layer {name!r} gives maps of shape {tuple(tensor.shape)} for texts, where padding cannot "
                f"be left out; "
                "name another layer"
            )
        if self._mask is not None and has_tokens:
            if values.shape[1] != self._mask.shape[1]:
                raise ValueError(
                    f"layer {name!r} gives {values.shape[1]} tokens where the texts have "
                    f"{self._mask.shape[1]}, so padding "
                    f"cannot be left out; if padding does not bear on them: "
                    f"layer_dims={{{name!r}: 'stimulus latent channel'}}"
                )
            assert self._settings.token_counts is not None
            values, mask = align_tokens(values, self._mask, int(self._settings.token_counts.max()))
        try:
            reduced = self._settings.reductions[point.layer](values, mask)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
        self._refuse_not_finite(name, reduced)
        padded = mask is not None and reduced.ndim == 3
        if mask is not None and padded:
            reduced = reduced.masked_fill(~mask.unsqueeze(-1), float("nan"))
        # A copy: later operations may write into the tensor that the layer gave.
        return ReducedOutput(point.layer, np.array(reduced.cpu().numpy(), np.float32, order="C"), padded)

    def _refuse_not_finite(self, name: str, reduced: Tensor) -> None:
        finite = torch.isfinite(reduced).flatten(1).all(dim=1)
        if not finite.all():
            bad = self._settings.stimulus_ids[self._rows[~finite.cpu().numpy()]]
            raise ValueError(
                f"layer {name!r} gives NaN or infinity for {len(bad)} stimuli of this batch, the first "
                f"{str(bad[0])!r}; "
                "check the weights and the image or text, or use dtype='float32'"
            )


@contextmanager
def placed_module(module: nn.Module, device: torch.device, channels_last: bool) -> Iterator[nn.Module]:
    """Move a module to a device and a memory layout, and back afterwards.

    Raises
    ------
    ValueError
        The module lies on several devices.
    """
    tensors = [*module.parameters(), *module.buffers()]
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ValueError(
            f"the network lies on several devices {sorted(map(str, devices))}; move it to one first"
        )
    relaid = channels_last and all(tensor.is_contiguous() for tensor in _tensors_of_maps(module))
    try:
        place_module(module, device, relaid)
        yield module
    finally:
        if relaid:
            _relay(module, torch.contiguous_format)
        for original in devices:
            module.to(original)


def place_module(module: nn.Module, device: torch.device, channels_last: bool) -> None:
    """Move a module to a device for good, and to a memory layout unless it has one of its own."""
    module.to(device)
    if channels_last and all(each.is_contiguous() for each in _tensors_of_maps(module)):
        _relay(module, torch.channels_last)


def _tensors_of_maps(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in [*module.parameters(), *module.buffers()] if tensor.ndim == 4]


def _relay(module: nn.Module, layout: torch.memory_format) -> None:
    # Not Module.to: it would also touch tensors of five axes, which have no such layout.
    for tensor in _tensors_of_maps(module):
        tensor.data = tensor.data.contiguous(memory_format=layout)


def is_convolutional(module: nn.Module) -> bool:
    """Tell a convolutional network from one with at most a convolutional patch embedding."""
    return sum(isinstance(part, nn.Conv2d) for part in module.modules()) >= 2


@contextmanager
def _precision(device: torch.device, dtype: Precision) -> Iterator[None]:
    with ExitStack() as stack:
        if device.type == "cuda" and dtype == "float32":
            # By default convolutions on the GPU round to 10 bits (TF32) and may differ from run to run.
            flags = torch.backends.cudnn.flags(
                enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
            )
            stack.enter_context(flags)
        stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"))
        yield


def prefetch_batches(
    preprocess: Preprocess, stimuli: StimulusSet, batches: Sequence[np.ndarray], channels_last: bool
) -> Generator[dict[str, Tensor], None, None]:
    """Prepare one batch in the background while the network works on the one before."""

    def load(rows: np.ndarray) -> dict[str, Tensor]:
        batch = dict(preprocess(stimuli, rows))
        for key, values in batch.items():
            if channels_last and values.ndim == 4:
                batch[key] = values.contiguous(memory_format=torch.channels_last)
        return batch

    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = pool.submit(load, batches[0])
        for following in batches[1:]:
            batch = pending.result()
            pending = pool.submit(load, following)
            yield batch
        yield pending.result()


def count_tokens(backbone: Backbone, stimuli: StimulusSet, batch_size: int) -> np.ndarray | None:
    """Return the number of tokens of each text, (n_stimuli,); None where batches have no attention mask.

    Raises
    ------
    ValueError
        A text has no token at all.
    """
    if backbone.modality != "text":
        return None
    counts = []
    for start in range(0, len(stimuli), batch_size):
        batch = backbone.preprocess(stimuli, np.arange(start, min(start + batch_size, len(stimuli))))
        if "attention_mask" not in batch:
            return None
        counts.append(batch["attention_mask"].bool().sum(dim=1).cpu().numpy())
    totals = np.concatenate(counts)
    if (totals == 0).any():
        raise ValueError(f"the text of stimulus {str(stimuli.stimulus_ids[totals == 0][0])!r} has no token")
    return totals
