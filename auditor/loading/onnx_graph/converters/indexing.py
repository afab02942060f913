"""Gather, Slice, Split, Trilu."""

from __future__ import annotations

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

Ints = Tensor | list[int]


class Gather(StaticArguments):
    """Take entries along an axis; the axes of ``indices`` take that axis's place."""

    most_numbers = 1

    def __init__(self, axis: int = 0) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor, indices: Tensor | list[int] | int) -> Tensor:
        axis = self.axis % x.dim()
        if not isinstance(indices, Tensor):
            rank = 0
            while isinstance(indices, (list, tuple)):  # one entry, in as many lists as indices had axes
                indices, rank = indices[0], rank + 1
            x = x.narrow(axis, indices % x.shape[axis], 1)
            return x.reshape(x.shape[:axis] + (1,) * rank + x.shape[axis + 1 :])
        length = x.shape[axis]
        positive = torch.where(indices < 0, indices + length, indices).long()
        taken = x.index_select(axis, positive.reshape(-1))
        return taken.reshape(x.shape[:axis] + positive.shape + x.shape[axis + 1 :])


class Slice(StaticArguments):
    """numpy-like slices along the named axes; negative steps walk backwards."""

    def __init__(self, starts: Ints | None = None, ends: Ints | None = None, axes: Ints | None = None) -> None:
        super().__init__()
        self.attributes = (starts, ends, axes)

    def forward(
        self,
        x: Tensor,
        starts: Ints | None = None,
        ends: Ints | None = None,
        axes: Ints | None = None,
        steps: Ints | None = None,
    ) -> Tensor:
        if starts is None or ends is None:
            starts, ends, axes = self.attributes
        assert starts is not None
        assert ends is not None
        first, last = integers(starts), integers(ends)
        named = list(range(len(first))) if axes is None else integers(axes)
        strides = [1] * len(first) if steps is None else integers(steps)
        for start, end, axis, step in zip(first, last, named, strides, strict=True):
            x = _slice_axis(x, axis % x.dim(), start, end, step)
        return x


def _slice_axis(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """Bounds are clamped as ONNX does, which unlike numpy starts a backward walk at the first entry at least."""
    length = x.shape[axis]
    low, high = (0, length) if step > 0 else (-1, length - 1)
    first = min(max(start + length if start < 0 else start, 0), max(high, 0))
    last = min(max(end + length if end < 0 else end, low), high)
    if step > 0:
        return x[(slice(None),) * axis + (slice(first, max(last, first), step),)]
    wanted = range(first, last, step) if length else range(0)
    return x.index_select(axis, torch.tensor(list(wanted), dtype=torch.int64, device=x.device))


class Split(StaticArguments):
    """Cut along an axis into the given lengths, or into ``parts`` equal ones (the last may be shorter)."""

    def __init__(self, parts: int, axis: int = 0, lengths: list[int] | None = None) -> None:
        super().__init__()
        self.parts, self.axis, self.lengths = parts, axis, lengths

    def forward(self, x: Tensor, split: Ints | None = None) -> tuple[Tensor, ...] | Tensor:
        lengths = self.lengths if split is None else integers(split)
        if lengths is not None:
            pieces = torch.split(x, lengths, dim=self.axis)
        else:
            pieces = torch.split(x, -(-x.shape[self.axis] // self.parts), dim=self.axis)
        return pieces[0] if self.parts == 1 else pieces


class Trilu(StaticArguments):
    """The upper or lower triangle of the last two axes, from diagonal ``k``."""

    def __init__(self, upper: bool) -> None:
        super().__init__()
        self.upper = upper

    def forward(self, x: Tensor, k: Ints | int = 0) -> Tensor:
        diagonal = k if isinstance(k, int) else integers(k)[0]
        return x.triu(diagonal) if self.upper else x.tril(diagonal)


@converter("Gather", 1, 11, 13)
def gather(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Gather(node.attributes.get("axis", 0)))


@converter("Slice", 1)
def slice_by_attributes(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    return result(node, Slice(given["starts"], given["ends"], given.get("axes")))


@converter("Slice", 10, 11, 13)
def slice_by_inputs(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Slice())


@converter("Split", 2, 11, 13, 18)
def split(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    parts = len(node.output_values)
    return result(node, Split(parts, given.get("axis", 0), given.get("split")))


@converter("Trilu", 14)
def trilu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    module: nn.Module = Trilu(node.attributes.get("upper", 1) == 1)
    return result(node, module)
