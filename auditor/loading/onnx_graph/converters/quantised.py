"""Quantised operations of ONNX, computed in float32 on the integers' values.

A quantised tensor is carried as float32 that holds whole numbers, because torch passes no gradient through
integers. Rounding is straight-through: its gradient is 1 where the value fits the target type, and 0 where it
was clipped (Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons"). Scales and
zero points that the graph computes from the image (DynamicQuantizeLinear) pass no gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from onnx import TensorProto
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.convolution import ComputedConv
from auditor.loading.onnx_graph.converters.elements import INTEGER_RANGE, type_name
from auditor.loading.onnx_graph.converters.registration import converter, result

Range = tuple[int, int]


class RoundWithin(torch.autograd.Function):
    """clamp(round(x) + zero point), halves to even; the gradient passes where nothing was clamped."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
        return (x.round() + zero_point).clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, zero_point, low, high = inputs
        rounded = x.round() + zero_point
        ctx.save_for_backward((rounded >= low) & (rounded <= high))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


def quantise(x: Tensor, zero_point: Tensor | None, limits: Range) -> Tensor:
    """Whole numbers within ``limits`` for values in units of the scale."""
    point = torch.zeros((), device=x.device) if zero_point is None else zero_point.detach().float()
    rounded: Tensor = RoundWithin.apply(x, point, *limits)
    return rounded


def centred(x: Tensor, zero_point: Tensor | None) -> Tensor:
    """The values less their zero point, as float32."""
    return x.float() if zero_point is None else x.float() - zero_point.float()


def per_channel(values: Tensor, rank: int, axis: int) -> Tensor:
    """One value for everything, or one a channel shaped so that it broadcasts along ``axis``."""
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if position == axis % rank else 1 for position in range(rank)])


class Scaled(nn.Module):
    """What QuantizeLinear and DequantizeLinear share: one scale for all, for each channel, or for each block."""

    def __init__(self, axis: int, block: int) -> None:
        super().__init__()
        self.axis, self.block = axis, block

    def fitting(self, values: Tensor, x: Tensor) -> Tensor:
        """Scales or zero points in a shape that broadcasts to ``x``."""
        if self.block and values.dim() == x.dim():
            repeated = values.repeat_interleave(self.block, dim=self.axis)
            return repeated.narrow(self.axis, 0, x.shape[self.axis])
        return per_channel(values, x.dim(), self.axis) if x.dim() else values.reshape(())


class QuantizeLinear(Scaled):
    """round(x / scale) + zero point, within the target type."""

    def __init__(self, axis: int, block: int, limits: Range) -> None:
        super().__init__(axis, block)
        self.limits = limits

    def forward(self, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        point = None if zero_point is None else self.fitting(zero_point, x)
        return quantise(x.float() / self.fitting(scale, x).detach(), point, self.limits)


class DequantizeLinear(Scaled):
    """(x - zero point) · scale."""

    def forward(self, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        point = None if zero_point is None else self.fitting(zero_point, x)
        return centred(x, point) * self.fitting(scale, x)


class DynamicQuantizeLinear(nn.Module):
    """Quantise to uint8 with the scale that the tensor's own range asks for; gives values, scale, zero point."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
        scale = (high - low) / 255
        scale = torch.where(scale == 0, 1.0, scale)
        point = (-low / scale).clamp(0, 255).round()
        return quantise(x / scale, point, (0, 255)), scale, point


class ConvInteger(nn.Module):
    """A convolution of whole numbers less their zero points; padding is the zero point."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.convolution = ComputedConv(given)

    def forward(
        self, x: Tensor, weight: Tensor, x_point: Tensor | None = None, weight_point: Tensor | None = None
    ) -> Tensor:
        point = None if weight_point is None else per_channel(weight_point, weight.dim(), 0)
        y: Tensor = self.convolution(centred(x, x_point), centred(weight, point))
        return y


class MatMulInteger(nn.Module):
    """A matrix product of whole numbers less their zero points, one for all or one a row (a column)."""

    def forward(self, a: Tensor, b: Tensor, a_point: Tensor | None = None, b_point: Tensor | None = None) -> Tensor:
        return centred(a, None if a_point is None else _per_row(a_point)) @ centred(b, b_point)


def _per_row(values: Tensor) -> Tensor:
    return values.unsqueeze(-1) if values.dim() == 1 and values.numel() > 1 else values


class QLinearConv(nn.Module):
    """A convolution from quantised to quantised; the bias is in units of both input scales."""

    def __init__(self, given: dict[str, Any], limits: Range) -> None:
        super().__init__()
        self.convolution, self.limits = ComputedConv(given), limits

    def forward(
        self,
        x: Tensor,
        x_scale: Tensor,
        x_point: Tensor,
        weight: Tensor,
        weight_scale: Tensor,
        weight_point: Tensor,
        y_scale: Tensor,
        y_point: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        kernel = centred(weight, per_channel(weight_point, weight.dim(), 0))
        y = self.convolution(centred(x, x_point), kernel, None if bias is None else bias.float())
        scale = x_scale * per_channel(weight_scale, y.dim(), 1) / y_scale
        return quantise(y * scale, y_point, self.limits)


class QLinearMatMul(nn.Module):
    """A matrix product from quantised to quantised."""

    def __init__(self, limits: Range) -> None:
        super().__init__()
        self.limits = limits

    def forward(
        self,
        a: Tensor,
        a_scale: Tensor,
        a_point: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_point: Tensor,
        y_scale: Tensor,
        y_point: Tensor,
    ) -> Tensor:
        product = centred(a, _per_row(a_point)) @ centred(b, b_point)
        scale = _per_row(a_scale) * b_scale / _per_row(y_scale)
        return quantise(product * scale, _per_row(y_point), self.limits)


def element_type(name: str, graph: OnnxGraph) -> int:
    """The element type of a zero point. Raises NotImplementedError when the file does not say."""
    if name in graph.initializers:
        return int(graph.initializers[name].proto.data_type)
    if name in graph.value_info and graph.value_info[name].type.tensor_type.elem_type:
        return int(graph.value_info[name].type.tensor_type.elem_type)
    if name in graph._node_output_values:
        node, position = graph.value_as_node_output(name)
        if node.operation_type == "Cast":
            return int(node.attributes["to"])
        if node.operation_type == "DynamicQuantizeLinear" and position != 1:
            return int(TensorProto.UINT8)
    raise NotImplementedError("quantisation to a type that is computed in the graph")


def target_range(name: str, graph: OnnxGraph) -> Range:
    """Smallest and largest value of the type that a zero point names."""
    kind = element_type(name, graph)
    if kind not in INTEGER_RANGE:
        raise NotImplementedError(f"quantisation to element type {type_name(kind)}")
    return INTEGER_RANGE[kind]


@converter("QuantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28)
def quantize_linear(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    if given.get("precision", 0) not in (0, TensorProto.FLOAT, TensorProto.DOUBLE):
        raise NotImplementedError("QuantizeLinear that divides in half precision")
    if len(node.input_values) > 2 and node.input_values[2]:
        limits = target_range(node.input_values[2], graph)
    else:
        kind = given.get("output_dtype", 0) or TensorProto.UINT8
        if kind not in INTEGER_RANGE:
            raise NotImplementedError(f"quantisation to element type {type_name(kind)}")
        limits = INTEGER_RANGE[kind]
    return result(node, QuantizeLinear(given.get("axis", 1), given.get("block_size", 0), limits))


@converter("DequantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28)
def dequantize_linear(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, DequantizeLinear(node.attributes.get("axis", 1), node.attributes.get("block_size", 0)))


@converter("DynamicQuantizeLinear", 11)
def dynamic_quantize_linear(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, DynamicQuantizeLinear())


@converter("ConvInteger", 10)
def conv_integer(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ConvInteger(dict(node.attributes)))


@converter("MatMulInteger", 10)
def mat_mul_integer(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, MatMulInteger())


@converter("QLinearConv", 10)
def qlinear_conv(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, QLinearConv(dict(node.attributes), target_range(node.input_values[7], graph)))


@converter("QLinearMatMul", 10, 21)
def qlinear_mat_mul(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, QLinearMatMul(target_range(node.input_values[7], graph)))
