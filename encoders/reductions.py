"""From the full output of a layer to what is kept of it, inside the hook, so that full maps never pile up."""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import torch
from class_resolver import ClassResolver
from torch import Tensor

from stimuli.files import unknown_name_message

_ROWS_PER_PRODUCT = 16


@dataclass(frozen=True)
class Reduction(ABC):
    """What is kept of a layer's output.

    Outputs are vectors (n, channel), tokens (n, token, channel) or maps (n, channel, row, column); the rank
    tells which. Vectors have neither space nor tokens and pass every reduction but `projection` as they are.
    """

    parameter: ClassVar[str | None] = None  # what "name:NUMBER" sets

    def __call__(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reduce one batch.

        Parameters
        ----------
        values
            Vectors, tokens or maps, floating point.
        mask
            (n, token), nonzero at tokens, zero at padding; None where nothing is padded.

        Returns
        -------
        Tensor
            Vectors, tokens or maps, float32; possibly a view of `values`.

        Raises
        ------
        ValueError
            The reduction has no meaning for this kind of output.
        """
        if values.ndim not in (2, 3, 4):
            raise ValueError(
                f"expected vectors, tokens or maps (2, 3 or 4 axes), got shape {tuple(values.shape)}"
            )
        present = None if mask is None else mask.to(device=values.device, dtype=torch.bool)
        return self._reduce(values.float(), present)

    @abstractmethod
    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor: ...

    def describe(self) -> dict[str, Any]:
        """Return name and settings as JSON values; equal descriptions mean equal features."""
        settings = {setting.name: getattr(self, setting.name) for setting in fields(self) if setting.init}
        return {"name": reduction_resolver.normalize_inst(self), **settings}


class NoneReduction(Reduction):
    """Keep everything as it is."""

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        return values


class FlattenReduction(Reduction):
    """Make one vector of all values; padding counts as zero."""

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        return _without_padding(values, mask).flatten(1)


class MeanReduction(Reduction):
    """Average over rows and columns, or over all tokens (CLS included, padding left out)."""

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        if values.ndim == 4:
            return values.mean(dim=(2, 3))
        if values.ndim == 3:
            count = values.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
            return _without_padding(values, mask).sum(dim=1) / count
        return values


class ClsReduction(Reduction):
    """Keep the first token."""

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        _refuse_maps(self, values)
        if values.ndim == 2 or mask is None:
            return values if values.ndim == 2 else values[:, 0]
        return _token_at(values, mask.int().argmax(dim=1))


class LastReduction(Reduction):
    """Keep the last token that is no padding."""

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        _refuse_maps(self, values)
        if values.ndim == 2 or mask is None:
            return values if values.ndim == 2 else values[:, -1]
        return _token_at(values, mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1))


class TokensReduction(Reduction):
    """Make tokens of maps, row by row; tokens stay, CLS included."""

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        return values.flatten(2).transpose(1, 2) if values.ndim == 4 else values


@dataclass(frozen=True)
class GridReduction(Reduction):
    """Average maps to a coarse grid, then make one vector a stimulus, channel by channel.

    Parameters
    ----------
    size
        Rows and columns of the grid. Each cell is the average of the part of the map that it covers
        (``adaptive_avg_pool2d``); a smaller map is repeated.
    """

    size: int = 4
    parameter: ClassVar[str | None] = "size"

    def __post_init__(self) -> None:
        _check_positive("grid", "size", self.size)

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        if values.ndim == 3:
            raise ValueError(
                "reduction 'grid' needs maps, and this layer gives tokens; use 'mean', 'cls' or 'flatten'"
            )
        if values.ndim == 2:
            return values
        return torch.nn.functional.adaptive_avg_pool2d(values, self.size).flatten(1)


@dataclass(frozen=True)
class ProjectionReduction(Reduction):
    """Flatten, then project to fewer dimensions by a very sparse random matrix, keeping distances on average.

    Entries are 0, or ``+-sqrt(sqrt(d) / n_components)`` with probability ``1 / sqrt(d)``, for `d` features
    (Achlioptas 2003; Li, Hastie and Church 2006). The squared length of a projected vector has the true one
    as its expectation. Layers of at most `n_components` features stay as they are.

    Parameters
    ----------
    n_components
        Dimensions that are kept.
    seed
        Which matrix. Equal seeds give equal matrices in every process, on every device, for every batch size.
    """

    n_components: int = 1024
    seed: int = 0
    parameter: ClassVar[str | None] = "n_components"
    _matrices: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_positive("projection", "n_components", self.n_components)
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed of reduction 'projection' must be in [0, 2**64), got {self.seed}")

    def _reduce(self, values: Tensor, mask: Tensor | None) -> Tensor:
        values = _without_padding(values, mask)
        n_features = math.prod(values.shape[1:])
        if n_features <= self.n_components:
            return values.flatten(1)
        # Maps that lie channels-last in memory are read as they lie: to copy them costs more than the product.
        channels_last = values.ndim == 4 and values.permute(0, 2, 3, 1).is_contiguous()
        matrix = self._matrix(n_features, values.shape[1] if channels_last else n_features, values.device)
        if channels_last:
            values = values.permute(0, 2, 3, 1)
        projected = values.new_empty((values.shape[0], self.n_components))
        for start in range(0, values.shape[0], _ROWS_PER_PRODUCT):
            rows = slice(start, start + _ROWS_PER_PRODUCT)
            projected[rows] = (matrix @ values[rows].flatten(1).T).T
        return projected

    def _matrix(self, n_features: int, n_channels: int, device: torch.device) -> Tensor:
        """Return the matrix for features in the order (position, channel) of memory."""
        key = (n_features, n_channels, str(device))
        if key not in self._matrices:
            indptr, indices, entries = sparse_projection(n_features, self.n_components, self.seed)
            if n_channels < n_features:
                channel, position = np.divmod(indices, n_features // n_channels)
                indices = position * n_channels + channel
                order = np.argsort(
                    np.repeat(np.arange(self.n_components), np.diff(indptr)) * n_features + indices
                )
                indices, entries = indices[order], entries[order]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
                self._matrices[key] = torch.sparse_csr_tensor(
                    torch.from_numpy(indptr),
                    torch.from_numpy(indices),
                    torch.from_numpy(entries),
                    size=(self.n_components, n_features),
                    device=device,
                    check_invariants=True,
                )
        return self._matrices[key]


def sparse_projection(
    n_features: int, n_components: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a very sparse random projection.

    Each entry is nonzero with probability ``1 / sqrt(n_features)``, independently, and then
    ``+-sqrt(sqrt(n_features) / n_components)`` with equal chances (Li, Hastie and Church 2006, KDD, section
    3).

    Parameters
    ----------
    n_features, n_components
        Columns and rows.
    seed
        Key of the Philox generator, whose raw stream is the same in every version of numpy.

    Returns
    -------
    indptr : (n_components + 1,) int64
    indices : (n_nonzero,) int64
    entries : (n_nonzero,) float32
        The matrix in compressed rows.
    """
    density = 1 / math.sqrt(n_features)
    size = n_features * n_components
    generator = np.random.Philox(key=seed)
    # Gaps between the successes of a Bernoulli sequence are geometric: only the nonzero entries are drawn.
    positions, signs, end = [], [], -1
    while end < size:
        raw = generator.random_raw(int(size * density * 1.01) + 100)
        uniform = ((raw >> np.uint64(11)) + 1) * 2.0**-53  # in (0, 1]
        gaps = np.ones(len(raw)) if density == 1 else 1 + np.floor(np.log(uniform) / math.log1p(-density))
        positions.append(end + np.cumsum(gaps.astype(np.int64)))
        signs.append(1 - 2 * (raw & np.uint64(1)).astype(np.int64))
        end = int(positions[-1][-1])
    kept = np.concatenate(positions)
    sign = np.concatenate(signs)[kept < size]
    rows, indices = np.divmod(kept[kept < size], n_features)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_components))])
    return indptr, indices, (sign / math.sqrt(density * n_components)).astype(np.float32)


reduction_resolver: ClassResolver[Reduction] = ClassResolver(
    [
        NoneReduction,
        FlattenReduction,
        MeanReduction,
        ClsReduction,
        LastReduction,
        TokensReduction,
        GridReduction,
        ProjectionReduction,
    ],
    base=Reduction,  # type: ignore[type-abstract]
    default=FlattenReduction,
)


def make_reduction(reduction: str | type[Reduction] | Reduction) -> Reduction:
    """Return the reduction that is meant.

    Parameters
    ----------
    reduction
        A name (``"mean"``), a name and a number (``"grid:4"``, ``"projection:1024"``), a class or an
        instance.

    Raises
    ------
    ValueError
        The name is unknown (near matches are listed), or the number is missing, not allowed or no number.
    """
    if isinstance(reduction, Reduction):
        return reduction
    if not isinstance(reduction, str):
        return reduction_resolver.make(reduction)
    name, colon, number = reduction.partition(":")
    if reduction_resolver.normalize(name) not in reduction_resolver.lookup_dict:
        hint = "write 'grid:4' or 'projection:1024' for one with a number"
        raise ValueError(unknown_name_message("reduction", name, reduction_resolver.options, hint))
    kind = reduction_resolver.lookup(name)
    if not colon:
        return kind()
    if kind.parameter is None:
        raise ValueError(f"reduction {name!r} takes no number, got {reduction!r}; write {name!r}")
    if not number.isdecimal():
        raise ValueError(f"reduction {reduction!r} must end in a whole number, such as {name}:16")
    return kind(**{kind.parameter: int(number)})


def _check_positive(name: str, argument: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument} of reduction {name!r} must be a positive integer, got {value!r}")


def _refuse_maps(reduction: Reduction, values: Tensor) -> None:
    if values.ndim == 4:
        name = reduction_resolver.normalize_inst(reduction)
        raise ValueError(
            f"reduction {name!r} needs tokens, and this layer gives maps; use 'mean', 'grid' or 'flatten'"
        )


def _without_padding(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None or values.ndim != 3 else values.masked_fill(~mask.unsqueeze(-1), 0.0)


def _token_at(values: Tensor, position: Tensor) -> Tensor:
    return values[torch.arange(values.shape[0], device=values.device), position]
