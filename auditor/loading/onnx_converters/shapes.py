"""Shape, Size, Reshape, Expand, Squeeze, Unsqueeze, Tile, Identity, Dropout."""

from __future__ import annotations

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_converters.registration import StaticArguments, converter, integers, result

Ints = Tensor | list[int]


class Shape(nn.Module):
    """The shape of a tensor, or dimensions ``start:end`` of it, as an int64 tensor."""

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        super().__init__()
        self.start, self.end = start, end

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(x.shape[self.start : self.end], dtype=torch.int64, device=x.device)


class Size(nn.Module):
    """The number of elements of a tensor, as an int64 scalar."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


class Reshape(StaticArguments):
    """Reshape; a 0 in the target copies the dimension of the input unless ``allowzero``."""

    def __init__(self, allowzero: bool = False) -> None:
        super().__init__()
        self.allowzero = allowzero

    def forward(self, x: Tensor, shape: Ints) -> Tensor:
        target = integers(shape) if isinstance(shape, Tensor) else list(shape)
        if not self.allowzero:
            target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
        return x.reshape(target)


class Expand(StaticArguments):
    """Broadcast to the common shape of the input and the target."""

    def forward(self, x: Tensor, shape: Ints) -> Tensor:
        target = integers(shape) if isinstance(shape, Tensor) else list(shape)
        return x.expand(torch.broadcast_shapes(x.shape, tuple(target)))


class Squeeze(StaticArguments):
    """Drop axes of length 1: those named, or all."""

    def __init__(self, axes: list[int] | None = None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor, axes: Ints | None = None) -> Tensor:
        named = self.axes if axes is None else integers(axes)
        return x.squeeze() if named is None else x.squeeze(tuple(named))


class Unsqueeze(StaticArguments):
    """Insert axes of length 1, at positions of the result."""

    def __init__(self, axes: list[int] | None = None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor, axes: Ints | None = None) -> Tensor:
        named = integers(axes) if axes is not None else self.axes or []
        rank = x.dim() + len(named)
        for axis in sorted(axis % rank for axis in named):
            x = x.unsqueeze(axis)
        return x


class Tile(StaticArguments):
    """Repeat along every axis."""

    def forward(self, x: Tensor, repeats: Ints) -> Tensor:
        return x.repeat(integers(repeats) if isinstance(repeats, Tensor) else list(repeats))


class InferenceDropout(nn.Module):
    """Dropout does nothing outside of training; the optional ratio and mode are ignored."""

    def forward(self, x: Tensor, *ignored: object) -> Tensor:
        return x


@converter("Shape", 1, 13, 15, 19, 21, 23, 24, 25)
def shape(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Shape(node.attributes.get("start", 0), node.attributes.get("end")))


@converter("Size", 1, 13, 19, 21, 23, 24, 25)
def size(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Size())


@converter("Reshape", 5, 13, 14, 19, 21, 23, 24, 25)
def reshape(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Reshape(node.attributes.get("allowzero", 0) == 1))


@converter("Expand", 8, 13)
def expand(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Expand())


@converter("Squeeze", 1, 11, 13, 21, 23, 24, 25)
def squeeze(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Squeeze(node.attributes.get("axes")))


@converter("Unsqueeze", 1, 11, 13, 21, 23, 24, 25)
def unsqueeze(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Unsqueeze(node.attributes.get("axes")))


@converter("Tile", 6, 13)
def tile(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Tile())


@converter("Identity", 1, 13, 14, 16, 19, 21, 23, 24, 25)
def identity(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, nn.Identity())


@converter("Dropout", 7, 10, 12, 13, 22)
def dropout(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if len(node.output_values) > 1:
        raise NotImplementedError("Dropout with a mask output")
    return result(node, InferenceDropout())
