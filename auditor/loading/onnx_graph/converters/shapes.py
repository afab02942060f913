"""Shape, Size, Reshape, Expand, Squeeze, Unsqueeze, Tile, Flatten, Identity, Dropout, Einsum,
DepthToSpace, SpaceToDepth."""

from __future__ import annotations

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.registration import (
    StaticArguments,
    constant,
    converter,
    integers,
    result,
    wants,
)

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
        common = torch.broadcast_shapes(x.shape, tuple(target))
        check_elements(common)
        return x.expand(common)


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
        counts = integers(repeats) if isinstance(repeats, Tensor) else list(repeats)
        check_elements(size * count for size, count in zip(x.shape, counts, strict=True))
        return x.repeat(counts)


class DropoutWithMask(nn.Module):
    """The input and a mask that drops nothing, of type bool from version 10 on."""

    def __init__(self, boolean: bool) -> None:
        super().__init__()
        self.boolean = boolean

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.ones_like(x, dtype=torch.bool if self.boolean else x.dtype)


class Flatten(nn.Module):
    """Two axes: everything before ``axis`` and everything from it on."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        axis = self.axis + x.dim() if self.axis < 0 else self.axis
        if axis == 1 and x.dim() > 1:
            return x.flatten(1)
        return x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


class DepthToSpace(nn.Module):
    """Move blocks of channels into space; ``crd`` when the block lies within the channel, as in PixelShuffle."""

    def __init__(self, block: int, crd: bool) -> None:
        super().__init__()
        self.block, self.crd = block, crd

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        b, depth = self.block, c // self.block**2
        if self.crd:
            y = x.reshape(n, depth, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            y = x.reshape(n, b, b, depth, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, depth, h * b, w * b)


class SpaceToDepth(nn.Module):
    """Move blocks of space into channels, the place within the block outermost unless ``crd``."""

    def __init__(self, block: int, crd: bool) -> None:
        super().__init__()
        self.block, self.crd = block, crd

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        b = self.block
        order = (0, 1, 3, 5, 2, 4) if self.crd else (0, 3, 5, 1, 2, 4)
        return x.reshape(n, c, h // b, b, w // b, b).permute(order).reshape(n, c * b * b, h // b, w // b)


class Einsum(nn.Module):
    """Einstein summation."""

    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation = equation

    def forward(self, *operands: Tensor) -> Tensor:
        return torch.einsum(self.equation, *operands)


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


@converter("Dropout", 7)
def dropout_with_float_mask(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, DropoutWithMask(False) if wants(node, 1) else nn.Identity())


@converter("Dropout", 10)
def dropout(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, DropoutWithMask(True) if wants(node, 1) else nn.Identity())


@converter("Dropout", 12, 13, 22)
def dropout_by_inputs(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    ratio, training = (*node.input_values, "", "")[1:3]
    flag, share = constant(training, graph), constant(ratio, graph)
    drops = (flag is None or bool(flag)) if training else False
    if drops and not (share is not None and float(share) == 0):
        raise NotImplementedError("Dropout in training mode; export the network in evaluation mode")
    module = DropoutWithMask(True) if wants(node, 1) else nn.Identity()
    return result(node, module, inputs=node.input_values[:1])


@converter("Flatten", 1, 9, 11, 13, 21, 23, 24, 25)
def flatten(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Flatten(node.attributes.get("axis", 1)))


@converter("DepthToSpace", 1, 11, 13, 28)
def depth_to_space(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    crd = node.attributes.get("mode", "DCR") == "CRD"
    return result(node, DepthToSpace(node.attributes["blocksize"], crd))


@converter("SpaceToDepth", 1, 13, 28)
def space_to_depth(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    crd = node.attributes.get("mode", "DCR") == "CRD"
    return result(node, SpaceToDepth(node.attributes["blocksize"], crd))


@converter("Einsum", 12, 28)
def einsum(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Einsum(node.attributes["equation"]))
