"""The Reduce family, with axes as an attribute (until 17) or as an input (ReduceSum from 13, the others
from 18)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor

from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(dim=axis, keepdim=keepdims)
    return x


def _extremum(x: Tensor, axes: list[int], keepdims: bool, largest: bool) -> Tensor:
    if all(x.shape[axis] for axis in axes):
        return x.amax(axes, keepdim=keepdims) if largest else x.amin(axes, keepdim=keepdims)
    none = torch.tensor(float("-inf") if largest else float("inf"))  # of no values
    if not x.is_floating_point():
        limits = (0, 1) if x.dtype == torch.bool else (torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max)
        none = torch.tensor(limits[0] if largest else limits[1])
    kept = x.any(axes, keepdim=keepdims) if x.dtype == torch.bool else x.sum(axes, keepdim=keepdims)
    return torch.full_like(kept, none.item(), dtype=x.dtype)


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: _extremum(x, axes, keep, largest=True),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: _extremum(x, axes, keep, largest=False),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


class Reduce(StaticArguments):
    """Reduce the named axes; without axes all of them, or none when ``noop_with_empty_axes``."""

    def __init__(self, operation: str, axes: list[int] | None, keepdims: bool, noop: bool) -> None:
        super().__init__()
        self.reduction = REDUCTIONS[operation]
        self.axes, self.keepdims, self.noop = axes, keepdims, noop

    def forward(self, x: Tensor, axes: Tensor | list[int] | None = None) -> Tensor:
        named = self.axes if axes is None else integers(axes)
        if not named:
            if self.noop:
                # the element-wise part of the reduction is still applied (square, logarithm, absolute value)
                return self.reduction(x.unsqueeze(0), [0], False)
            named = list(range(x.dim()))
        return self.reduction(x, list(named), self.keepdims) if x.dim() else self.reduction(x.reshape(1), [0], False)


def _reduce(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    noop = given.get("noop_with_empty_axes", 0) == 1
    return result(node, Reduce(node.operation_type, given.get("axes"), given.get("keepdims", 1) == 1, noop))


for _operation in REDUCTIONS:
    _versions = {
        "ReduceLogSum": (1, 11, 13, 18, 28),
        "ReduceLogSumExp": (1, 11, 13, 18, 28),
        "ReduceSum": (1, 11, 13),
        "ReduceMax": (1, 11, 12, 13, 18, 20),
        "ReduceMin": (1, 11, 12, 13, 18, 20),
    }
    converter(_operation, *_versions.get(_operation, (1, 11, 13, 18)))(_reduce)
