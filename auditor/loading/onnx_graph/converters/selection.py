"""GatherElements, GatherND, ScatterElements, OneHot, ArgMax, ArgMin,
NonZero, TopK, CumSum, CumProd."""

from __future__ import annotations

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

Ints = Tensor | list[int]

_REDUCTION = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def _positive(indices: Tensor, length: int) -> Tensor:
    return torch.where(indices < 0, indices + length, indices).long()


class GatherElements(nn.Module):
    """One entry along an axis for every place of ``indices``."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        return x.gather(self.axis, _positive(indices, x.shape[self.axis]))


class GatherND(nn.Module):
    """Slices at the positions that the last axis of ``indices`` gives, after ``batch`` shared axes."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        shared = x.shape[: self.batch]
        rows = int(torch.Size(shared).numel())
        flat, places = x.reshape(rows, *x.shape[self.batch :]), indices.reshape(rows, *indices.shape[self.batch :])
        row = torch.arange(rows, device=x.device).reshape(rows, *[1] * (places.dim() - 2))
        taken = flat[(row, *places.long().unbind(-1))]
        return taken.reshape(*shared, *taken.shape[1:])


class ScatterElements(nn.Module):
    """A copy of the data with entries along an axis replaced by, or combined with, the updates."""

    def __init__(self, axis: int, reduction: str) -> None:
        super().__init__()
        self.axis, self.reduction = axis, reduction

    def forward(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places, updates = _positive(indices, x.shape[self.axis]), updates.to(x.dtype)
        if self.reduction == "none":
            return x.scatter(self.axis, places, updates)
        return x.scatter_reduce(self.axis, places, updates, _REDUCTION[self.reduction])


class ScatterND(nn.Module):
    """A copy of the data with slices replaced, or combined with the updates, at the positions in ``indices``."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        updates = updates.to(x.dtype)
        if self.reduction in ("none", "add"):
            return x.index_put(indices.long().unbind(-1), updates, accumulate=self.reduction == "add")
        depth = indices.shape[-1]
        flat = x.reshape(int(torch.Size(x.shape[:depth]).numel()), -1)
        place = torch.zeros_like(indices[..., 0]).long()
        for axis, index in enumerate(indices.unbind(-1)):
            place = place * x.shape[axis] + _positive(index, x.shape[axis])
        rows = place.reshape(-1, 1).expand(-1, flat.shape[1])
        return flat.scatter_reduce(0, rows, updates.reshape(rows.shape), _REDUCTION[self.reduction]).reshape(x.shape)


class OneHot(StaticArguments):
    """A new axis of length ``depth`` that is on at the index and off elsewhere."""

    most_numbers = 1

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, indices: Tensor, depth: Ints | int, values: Tensor) -> Tensor:
        length = integers(depth)[0]
        rank = indices.dim() + 1
        axis = self.axis % rank
        check_elements((*indices.shape, length))
        places = torch.arange(length, device=indices.device).reshape([-1 if i == axis else 1 for i in range(rank)])
        hot = _positive(indices, length).unsqueeze(axis) == places
        return torch.where(hot, values[1], values[0])


class ArgExtremum(nn.Module):
    """Where the largest, or smallest, value along an axis is; of equals the first or the last."""

    def __init__(self, largest: bool, axis: int, keepdims: bool, last: bool) -> None:
        super().__init__()
        self.largest, self.axis, self.keepdims, self.last = largest, axis, keepdims, last

    def forward(self, x: Tensor) -> Tensor:
        x = x.flip(self.axis) if self.last else x
        find = torch.argmax if self.largest else torch.argmin
        place = find(x, dim=self.axis, keepdim=self.keepdims)
        return x.shape[self.axis] - 1 - place if self.last else place


class NonZero(nn.Module):
    """Positions of what is not zero, one column each."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nonzero(x if x.dim() else x.reshape(1)).transpose(0, 1)


class TopK(StaticArguments):
    """The k largest, or smallest, values along an axis with their positions; of equals the first."""

    def __init__(self, axis: int, largest: bool, k: int | None = None) -> None:
        super().__init__()
        self.axis, self.largest, self.k = axis, largest, k

    def forward(self, x: Tensor, k: Ints | int | None = None) -> tuple[Tensor, Tensor]:
        count = self.k if k is None else integers(k)[0]
        values, positions = torch.sort(x, dim=self.axis, descending=self.largest, stable=True)
        assert count is not None
        return values.narrow(self.axis, 0, count), positions.narrow(self.axis, 0, count)


class Cumulative(StaticArguments):
    """Running sums or products along an axis, from either end, with or without the entry itself."""

    def __init__(self, product: bool, exclusive: bool, reverse: bool) -> None:
        super().__init__()
        self.product, self.exclusive, self.reverse = product, exclusive, reverse

    def forward(self, x: Tensor, axis: Ints | int) -> Tensor:
        along = integers(axis)[0]
        x = x.flip(along) if self.reverse else x
        if self.exclusive:
            first = torch.full_like(x.narrow(along, 0, 1), 1 if self.product else 0)
            x = torch.cat([first, x.narrow(along, 0, x.shape[along] - 1)], dim=along)
        y = x.cumprod(along, dtype=x.dtype) if self.product else x.cumsum(along, dtype=x.dtype)
        return y.flip(along) if self.reverse else y


def _reduction(node: OnnxNode) -> str:
    reduction = str(node.attributes.get("reduction", "none"))
    if reduction != "none" and reduction not in _REDUCTION:
        raise NotImplementedError(f"{node.operation_type} with an unknown reduction")
    return reduction


@converter("GatherElements", 11, 13)
def gather_elements(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, GatherElements(node.attributes.get("axis", 0)))


@converter("GatherND", 11, 12, 13)
def gather_nd(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, GatherND(node.attributes.get("batch_dims", 0)))


@converter("Scatter", 9, 11)
@converter("ScatterElements", 11, 13, 16, 18)
def scatter_elements(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ScatterElements(node.attributes.get("axis", 0), _reduction(node)))


@converter("ScatterND", 11, 13, 16, 18)
def scatter_nd(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ScatterND(_reduction(node)))


@converter("OneHot", 9, 11, 28)
def one_hot(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, OneHot(node.attributes.get("axis", -1)))


@converter("ArgMax", 1, 11, 12, 13)
@converter("ArgMin", 1, 11, 12, 13)
def arg_extremum(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    last, keepdims = given.get("select_last_index", 0) == 1, given.get("keepdims", 1) == 1
    return result(node, ArgExtremum(node.operation_type == "ArgMax", given.get("axis", 0), keepdims, last))


@converter("NonZero", 9, 13)
def non_zero(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, NonZero())


@converter("TopK", 1, 10, 11, 24)
def top_k(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    return result(node, TopK(given.get("axis", -1), given.get("largest", 1) == 1, given.get("k")))


@converter("CumSum", 11, 14)
@converter("CumProd", 26)
def cumulative(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    exclusive, reverse = (node.attributes.get(name, 0) == 1 for name in ("exclusive", "reverse"))
    return result(node, Cumulative(node.operation_type == "CumProd", exclusive, reverse))
