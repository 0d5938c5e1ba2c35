"""From the answers of queries to voxels: a voxel has one row of weights and reads only its own queries."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor, nn

from encoders.routing.initial import uniform_parameter

Overlap = Literal["sum", "mean"]


class RoutedReadout(nn.Module):
    """Linear readout whose voxels read the queries whose masks hold them.

    pred[v] = sum over queries q with masks[q, v] of (answer_q . w_v + b_v), or the mean over them. Only pairs of
    query and voxel in the masks are touched, so operations, memory and gradients grow with pairs, not with queries
    times voxels.

    Parameters
    ----------
    masks : array-like of bool (n_queries, n_voxels)
        Every voxel is in one.
    d_model : int
        Length of an answer.
    overlap : {"sum", "mean"}
        What a voxel in several masks predicts; "sum" as published (Adeli et al. 2025).
    generator : torch.Generator
        Draws the first weights, evenly within 1 / sqrt(d_model).

    Attributes
    ----------
    weight : Parameter (n_voxels, d_model)
        Rows are ordered by the first query of the voxel, see `voxels`: those of a query lie together.
    bias : Parameter (n_voxels,)
        In the same order.
    voxels : Tensor (n_voxels,) of int
        Number of the voxel that each row belongs to.
    n_pairs : int
        Pairs of query and voxel.
    """

    voxels: Tensor
    rows: Tensor
    share: Tensor | None

    def __init__(self, masks: ArrayLike, d_model: int, overlap: Overlap, generator: Generator) -> None:
        super().__init__()
        held = np.asarray(masks, dtype=bool)
        counts = held.sum(0)
        first = held.argmax(0)
        order = np.argsort(first, kind="stable")
        rows = np.empty_like(order)
        rows[order] = np.arange(len(order))
        self.n_pairs = int(counts.sum())
        edges = np.searchsorted(first[order], np.arange(len(held) + 1))
        self.spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        extra = [np.sort(rows[np.flatnonzero(mask & (first != query))]) for query, mask in enumerate(held)]
        self.register_buffer("voxels", torch.from_numpy(order), persistent=False)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        # Rows of the pairs beyond a voxel's first, one query after another.
        self.register_buffer("extra", torch.from_numpy(np.concatenate(extra)), persistent=False)
        self.extra_counts = [len(part) for part in extra]
        mean = overlap == "mean" and bool((counts > 1).any())
        share = torch.from_numpy(1 / counts).float() if mean else None
        self.register_buffer("share", share, persistent=False)
        bound = d_model**-0.5
        self.weight = uniform_parameter(len(order), d_model, bound=bound, generator=generator)
        self.bias = uniform_parameter(len(order), bound=bound, generator=generator)

    def forward(self, answers: Tensor) -> Tensor:
        """Return predictions (b, n_voxels) of answers (b, n_queries, d_model)."""
        extra = self.get_buffer("extra").split(self.extra_counts)
        # Few rows a product: it takes as long as reading the weights does, which a copy in bfloat16 would only add to.
        with torch.autocast(answers.device.type, enabled=False):
            routed = _Route.apply(answers.to(self.weight.dtype), self.weight, self.bias, self.spans, extra)
        predicted = routed.index_select(1, self.rows)
        return predicted if self.share is None else predicted * self.share


class _Route(torch.autograd.Function):
    """Products of each query's answer with the rows of its voxels.

    Written out because slices of the weights would each get a gradient of the size of all of them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        answers: Tensor,
        weight: Tensor,
        bias: Tensor,
        spans: list[tuple[int, int]],
        extra: tuple[Tensor, ...],
    ) -> Tensor:
        ctx.save_for_backward(answers, weight, *extra)
        ctx.spans = spans
        predicted = answers.new_empty(len(answers), len(weight))
        for query, (first, last) in enumerate(spans):
            if last > first:
                predicted[:, first:last] = torch.addmm(
                    bias[first:last], answers[:, query], weight[first:last].T
                )
        for query, rows in enumerate(extra):
            if len(rows):
                product = torch.addmm(bias[rows], answers[:, query], weight[rows].T)
                predicted.index_add_(1, rows, product)
        return predicted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_predicted = gradients[0]
        answers, weight, *extra = ctx.saved_tensors
        of_answers, of_weight = torch.zeros_like(answers), torch.empty_like(weight)
        of_bias = of_predicted.sum(0)
        for query, (first, last) in enumerate(ctx.spans):
            if last > first:
                part = of_predicted[:, first:last]
                torch.mm(part.T, answers[:, query], out=of_weight[first:last])
                of_answers[:, query] = part @ weight[first:last]
        for query, rows in enumerate(extra):
            if len(rows):
                part = of_predicted[:, rows]
                of_weight.index_add_(0, rows, part.T @ answers[:, query])
                of_answers[:, query] += part @ weight[rows]
                of_bias.index_add_(0, rows, part.sum(0))
        return of_answers, of_weight, of_bias, None, None


class VoxelReadout(nn.Module):
    """Linear readout where each voxel has a query of its own: pred[v] = answer_v . w_v + b_v.

    Parameters
    ----------
    n_voxels, d_model : int
    generator : torch.Generator
        Draws the first weights, evenly within 1 / sqrt(d_model).
    """

    def __init__(self, n_voxels: int, d_model: int, generator: Generator) -> None:
        super().__init__()
        bound = d_model**-0.5
        self.weight = uniform_parameter(n_voxels, d_model, bound=bound, generator=generator)
        self.bias = uniform_parameter(n_voxels, bound=bound, generator=generator)


def row_products(answers: Tensor, weight: Tensor) -> Tensor:
    """Return the inner products (b, n) of answers (b, n, d) with one row of weights each, (n, d)."""
    with torch.autocast(answers.device.type, enabled=False):
        return torch.einsum("bnd,nd->bn", answers.to(weight.dtype), weight)
