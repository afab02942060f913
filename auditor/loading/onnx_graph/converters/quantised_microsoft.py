"""The quantised operations of onnxruntime's own domain that its static quantisation writes for image networks.

The domain is a custom one to ONNX. These few operations are known here, and every other is refused by name. Each is
its float operation between dequantised values and a quantised result (onnxruntime, docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.padding import Window
from auditor.loading.onnx_graph.converters.pooling import AveragePool
from auditor.loading.onnx_graph.converters.quantised import Range, centred, per_channel, quantise, target_range
from auditor.loading.onnx_graph.converters.registration import converter, result

DOMAIN = "com.microsoft"


def _float(x: Tensor, scale: Tensor, point: Tensor | None) -> Tensor:
    return centred(x, point) * scale


class OfOne(nn.Module):
    """A float function of one quantised tensor, quantised again."""

    def __init__(self, function: Callable[[Tensor], Tensor], limits: Range) -> None:
        super().__init__()
        self.function, self.limits = function, limits

    def forward(
        self, x: Tensor, scale: Tensor, point: Tensor | None, y_scale: Tensor, y_point: Tensor | None = None
    ) -> Tensor:
        return quantise(self.function(_float(x, scale, point)) / y_scale, y_point, self.limits)


class OfTwo(nn.Module):
    """A float function of two quantised tensors, quantised again."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], limits: Range) -> None:
        super().__init__()
        self.function, self.limits = function, limits

    def forward(
        self,
        a: Tensor,
        a_scale: Tensor,
        a_point: Tensor | None,
        b: Tensor,
        b_scale: Tensor,
        b_point: Tensor | None,
        y_scale: Tensor,
        y_point: Tensor | None = None,
    ) -> Tensor:
        y = self.function(_float(a, a_scale, a_point), _float(b, b_scale, b_point))
        return quantise(y / y_scale, y_point, self.limits)


class QLinearConcat(nn.Module):
    """Join tensors that each have their own scale, in one scale."""

    def __init__(self, axis: int, limits: Range) -> None:
        super().__init__()
        self.axis, self.limits = axis, limits

    def forward(self, y_scale: Tensor, y_point: Tensor, *parts: Tensor) -> Tensor:
        tensors = [_float(*parts[start : start + 3]) for start in range(0, len(parts), 3)]
        return quantise(torch.cat(tensors, dim=self.axis) / y_scale, y_point, self.limits)


class QGemm(nn.Module):
    """alpha · A B + C with C in units of alpha and both input scales; a float result without an output scale."""

    def __init__(self, alpha: float, transposed: tuple[bool, bool], limits: Range | None) -> None:
        super().__init__()
        self.alpha, self.transposed, self.limits = alpha, transposed, limits

    def forward(
        self,
        a: Tensor,
        a_scale: Tensor,
        a_point: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_point: Tensor,
        bias: Tensor | None = None,
        y_scale: Tensor | None = None,
        y_point: Tensor | None = None,
    ) -> Tensor:
        columns = 0 if self.transposed[1] else 1
        left, right = centred(a, a_point), centred(b, per_channel(b_point, 2, columns))
        left, right = left.T if self.transposed[0] else left, right.T if self.transposed[1] else right
        y = left @ right if bias is None else left @ right + bias.float()
        y = y * (self.alpha * a_scale * b_scale)
        if self.limits is None or y_scale is None:
            return y
        return quantise(y / y_scale, y_point, self.limits)


def _one(node: OnnxNode, graph: OnnxGraph, function: Callable[[Tensor], Tensor]) -> OperationConverterResult:
    return result(node, OfOne(function, _limits(node, graph, 4, 2)))


def _limits(node: OnnxNode, graph: OnnxGraph, position: int, otherwise: int) -> Range:
    """The range of the output's type: that of its zero point, or of the input's when it has none."""
    names = node.input_values
    named = len(names) > position and bool(names[position])
    return target_range(names[position if named else otherwise], graph)


@converter("QLinearAdd", domain=DOMAIN)
@converter("QLinearMul", domain=DOMAIN)
def of_two(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = torch.add if node.operation_type == "QLinearAdd" else torch.mul
    return result(node, OfTwo(function, _limits(node, graph, 7, 2)))


@converter("QLinearSigmoid", domain=DOMAIN)
def sigmoid(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _one(node, graph, torch.sigmoid)


@converter("QLinearLeakyRelu", domain=DOMAIN)
def leaky_relu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _one(node, graph, nn.LeakyReLU(node.attributes.get("alpha", 0.01)))


@converter("QLinearSoftmax", domain=DOMAIN)
def softmax(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("opset", 13) < 13:
        raise NotImplementedError("QLinearSoftmax as before opset 13")
    return _one(node, graph, nn.Softmax(node.attributes.get("axis", -1)))


@converter("QLinearGlobalAveragePool", domain=DOMAIN)
def global_average_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("channels_last", 0):
        raise NotImplementedError("QLinearGlobalAveragePool with channels last")
    return _one(node, graph, lambda x: x.mean(dim=list(range(2, x.dim())), keepdim=True))


@converter("QLinearAveragePool", domain=DOMAIN)
def average_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("channels_last", 0):
        raise NotImplementedError("QLinearAveragePool with channels last")
    return _one(node, graph, AveragePool(Window.of(node), node.attributes.get("count_include_pad", 0) == 1))


@converter("QLinearConcat", domain=DOMAIN)
def concat(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, QLinearConcat(node.attributes["axis"], target_range(node.input_values[1], graph)))


@converter("QGemm", domain=DOMAIN)
def gemm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    quantised = len(node.input_values) > 7 and bool(node.input_values[7])
    limits = _limits(node, graph, 8, 2) if quantised else None
    transposed = (given.get("transA", 0) == 1, given.get("transB", 0) == 1)
    return result(node, QGemm(given.get("alpha", 1.0), transposed, limits))
