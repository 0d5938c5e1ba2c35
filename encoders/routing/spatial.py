"""Spatial map times feature vector: where a voxel looks is the same for all images, and so is what it looks for."""

import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor, nn

from encoders.routing.chunks import chunk_slices, recompute_in_backward
from encoders.routing.precision import working_dtype
from encoders.routing.readout import Overlap, RoutedReadout, VoxelReadout, row_products

_CHUNK_NUMBERS = 1 << 28
"""Numbers that a batch may keep for the backward pass before voxels are taken in chunks: 1 GiB in float32."""


class SpatialNetwork(nn.Module):
    """pred[v] = w_v . (sum_t map_q(t) x_t) + b_v, with a softmax map over tokens a query.

    The baseline of Adeli, Sun & Kriegeskorte (2025), after the factorised readouts of St-Yves & Naselaris (2018,
    NeuroImage 180) and Klindt et al. (2017, NeurIPS). Where a mask leaves tokens out, the map is scaled to sum to 1
    over the others.

    Parameters
    ----------
    n_tokens, n_channels : int
    masks : array-like of bool (n_queries, n_voxels), or None
        None gives each voxel a map of its own.
    n_voxels : int
    overlap : {"sum", "mean"}
        As in `RoutedReadout`.
    generator : torch.Generator
        Draws the first feature vectors; maps start even.
    map_lr_factor : float
        How many times faster than feature vectors the logits learn.

    Attributes
    ----------
    logits : Parameter (n_queries, n_tokens)
        Softmax over tokens gives the maps.
    lr_factors : dict of str to float
        For the engine.
    """

    def __init__(
        self,
        n_tokens: int,
        n_channels: int,
        masks: ArrayLike | None,
        n_voxels: int,
        overlap: Overlap,
        generator: Generator,
        map_lr_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.lr_factors = {"logits": float(map_lr_factor)}
        n_queries = n_voxels if masks is None else len(masks)  # type: ignore[arg-type]
        self.logits = nn.Parameter(torch.zeros(n_queries, n_tokens))
        self.readout: RoutedReadout | VoxelReadout
        if masks is None:
            self.readout = VoxelReadout(n_voxels, n_channels, generator)
        else:
            self.readout = RoutedReadout(masks, n_channels, overlap, generator)

    def maps(self) -> Tensor:
        """Return the maps (n_queries, n_tokens); each sums to 1."""
        return self.logits.softmax(-1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return predictions (b, n_voxels).

        Parameters
        ----------
        tokens : Tensor (b, n_tokens, n_channels)
            Zero where the mask is False.
        mask : Tensor (b, n_tokens) of bool, optional
            True at tokens.
        """
        if isinstance(self.readout, RoutedReadout):
            return self.readout(pool_tokens(tokens, self.logits, mask))
        return self._read_voxels(self.readout, tokens, mask)

    def _read_voxels(self, readout: VoxelReadout, tokens: Tensor, mask: Tensor | None) -> Tensor:
        # A product over tokens for all images of a batch at once needs tokens in front.
        stacked = tokens.transpose(0, 1).to(working_dtype(tokens)).contiguous()
        most = max(1, _CHUNK_NUMBERS // (2 * len(tokens) * max(tokens.shape[1:])))
        sizes = [piece.stop - piece.start for piece in chunk_slices(len(self.logits), most)]
        arguments = zip(
            self.logits.split(sizes), readout.weight.split(sizes), readout.bias.split(sizes), strict=True
        )

        def answer(logits: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return read_voxels(stacked, logits, weight, bias, mask)

        if len(sizes) > 1 and torch.is_grad_enabled():
            return torch.cat([recompute_in_backward(self, answer, *part) for part in arguments], 1)
        return torch.cat([answer(*part) for part in arguments], 1)


def pool_tokens(tokens: Tensor, logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return tokens (b, n_tokens, n_channels) averaged under the maps of logits (n_queries, n_tokens).

    Returns
    -------
    Tensor (b, n_queries, n_channels)
    """
    if mask is None:
        return logits.softmax(-1) @ tokens
    return logits.expand(len(tokens), -1, -1).masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ tokens


def read_voxels(stacked: Tensor, logits: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Return predictions (b, n) of voxels with a map each.

    map_v X w_v is summed over tokens first or over channels first: both take n T C multiplications an image for the
    product of matrices, and what is left is shorter where the longer of the two is summed first.

    Parameters
    ----------
    stacked : Tensor (n_tokens, b, n_channels)
        Zero where the mask is False.
    logits : Tensor (n, n_tokens)
    weight : Tensor (n, n_channels)
    bias : Tensor (n,)
    mask : Tensor (b, n_tokens) or None
    """
    n_tokens, n, n_channels = stacked.shape
    # Unnormalised maps and their sums over what is no padding: no map of each image and voxel is formed.
    maps = logits.softmax(-1)
    if n_tokens >= n_channels:
        pooled = (maps @ stacked.flatten(1)).unflatten(1, (n, n_channels))
        total = row_products(pooled.transpose(0, 1), weight)
    else:
        of_tokens = (weight @ stacked.flatten(0, 1).T).unflatten(1, (n_tokens, n))
        total = row_products(of_tokens.permute(2, 0, 1), maps)
    if mask is not None:
        with torch.autocast(maps.device.type, enabled=False):
            total = total / (mask.to(maps.dtype) @ maps.T).clamp(min=torch.finfo(maps.dtype).tiny)
    return total + bias
