"""What the axes of a layer's output are, and one order for them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from encoders.taps import TapPoint
from stimuli.files import unknown_name_message

# The rank of an output in the one order tells its kind.
DIMS_OF_RANK: dict[int, tuple[str, ...]] = {
    2: ("stimulus", "channel"),
    3: ("stimulus", "token", "channel"),
    4: ("stimulus", "channel", "row", "column"),
}


class LayerDims:
    """What a user said about the axes of layers.

    Parameters
    ----------
    layer_dims
        ``{layer: dims}``: `dims` names each axis, e.g. ``"stimulus row column channel"``. `layer` is a layer,
        one of its outputs (``"lstm[1]"``), or a pattern such as ``"features.*"``.
    layers
        The layers that are wanted.

    Raises
    ------
    KeyError
        An entry fits no wanted layer.
    ValueError
        A text names no stimulus axis or one axis twice.
    """

    def __init__(self, layer_dims: Mapping[str, str] | None, layers: Sequence[str]) -> None:
        self._dims = {name: _parse(name, text) for name, text in (layer_dims or {}).items()}
        for name in self._dims:
            if not any(_fits(name, layer) for layer in layers):
                raise KeyError(unknown_name_message("layer in layer_dims", name, layers))

    def of(self, point: TapPoint) -> tuple[str, ...] | None:
        """Return what was said about this tensor, or None. Exact names go before patterns."""
        for name in point.candidate_names:
            if name in self._dims:
                return self._dims[name]
        for pattern, dims in self._dims.items():
            if fnmatchcase(point.layer, pattern):
                return dims
        return None

    def describe(self, layer: str) -> dict[str, str]:
        """Return all entries that bear on `layer`, for the key of the feature store."""
        return {name: " ".join(dims) for name, dims in sorted(self._dims.items()) if _fits(name, layer)}


def _fits(name: str, layer: str) -> bool:
    output_of_layer = name.startswith(layer) and name[len(layer) : len(layer) + 1] in ("", "#", "[")
    return output_of_layer or fnmatchcase(layer, name)


def _parse(name: str, text: str) -> tuple[str, ...]:
    dims = tuple(text.split()) if isinstance(text, str) else ()
    if dims.count("stimulus") != 1 or len(set(dims)) != len(dims):
        raise ValueError(
            f"layer_dims[{name!r}] must name each axis once and one of them 'stimulus', got {text!r}; "
            "for example 'stimulus row column channel'"
        )
    return dims


def ordered_output(
    tensor: Tensor, dims: tuple[str, ...] | None, n_stimuli: int, name: str
) -> tuple[Tensor, bool]:
    """Bring the output of a layer into one of three forms.

    ``(stimulus, channel)``, ``(stimulus, token, channel)`` or ``(stimulus, channel, row, column)``. Without
    `dims` the axes are taken to be in that order already. With `dims`, row and column make a map; any other
    axes beside stimulus and channel (frame, head, latent, ...) become tokens in the order named; a missing
    channel is added.

    Parameters
    ----------
    tensor
        The output, any rank.
    dims
        The names of its axes, or None.
    n_stimuli
        Length of the batch.
    name
        The layer, for messages.

    Returns
    -------
    tensor
        A view of the output, or a copy.
    has_tokens
        Whether it has a token axis that is that of the network's input: ``dims`` None and rank 3, or an axis
        named token.

    Raises
    ------
    ValueError
        The axes cannot be known (a map that looks channels-last, another rank) or the stimulus axis has
        another length than the batch.
    """
    shape = tuple(tensor.shape)
    if dims is None:
        dims = _default_dims(shape, name)
    elif len(dims) != len(shape):
        raise ValueError(
            f"layer_dims of {name!r} name {len(dims)} axes {dims}, but its output has shape {shape}"
        )
    if shape[dims.index("stimulus")] != n_stimuli:
        raise ValueError(
            f"layer {name!r} gives shape {shape} for {n_stimuli} stimuli; read as {' '.join(dims)} the "
            f"stimulus axis does "
            f"not fit: say which axis it is, e.g. layer_dims={{{name!r}: 'token stimulus channel'}}, or name "
            f"the layer "
            "around it if stimuli are cut into windows"
        )
    others = tuple(dim for dim in dims if dim not in ("stimulus", "channel"))
    if "channel" not in dims:
        tensor, dims = tensor.unsqueeze(-1), (*dims, "channel")
    is_map = set(others) == {"row", "column"}
    order = ("stimulus", "channel", "row", "column") if is_map else ("stimulus", *others, "channel")
    tensor = tensor.permute([dims.index(dim) for dim in order])
    if len(others) > 1 and not is_map:
        tensor = tensor.flatten(1, -2)
    return tensor, others == ("token",)


def _default_dims(shape: tuple[int, ...], name: str) -> tuple[str, ...]:
    if len(shape) == 1:
        return ("stimulus",)
    if len(shape) not in DIMS_OF_RANK:
        raise ValueError(
            f"layer {name!r} gives shape {shape}, neither vectors, tokens nor maps: name the axes, "
            f"e.g. layer_dims={{{name!r}: 'stimulus channel frame row column'}}"
        )
    # Square maps tell where their channels are; a wrong guess would average over channels without a word.
    if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        raise ValueError(
            f"layer {name!r} gives shape {shape}, which looks channels-last: say so by "
            f"layer_dims={{{name!r}: 'stimulus row column channel'}}, or 'stimulus channel row column' if it "
            f"is not "
            "(patterns such as 'layers.*' cover many layers)"
        )
    return DIMS_OF_RANK[len(shape)]


def align_tokens(tokens: Tensor, mask: Tensor, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Put each stimulus's tokens at the front, zeros behind them, `n_tokens` in all.

    So the result does not depend on which stimuli shared a batch, nor on the side that was padded.

    Parameters
    ----------
    tokens
        (n, t, channel).
    mask
        (n, t), nonzero at tokens.
    n_tokens
        Length to pad to.

    Returns
    -------
    tokens
        (n, n_tokens, channel), zero at padding.
    mask
        (n, n_tokens) bool.
    """
    present = mask.to(device=tokens.device, dtype=torch.bool)
    aligned = tokens.new_zeros((tokens.shape[0], n_tokens, tokens.shape[2]))
    aligned_mask = torch.arange(n_tokens, device=tokens.device) < present.sum(dim=1, keepdim=True)
    aligned[aligned_mask] = tokens[present]
    return aligned, aligned_mask
