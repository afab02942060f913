"""Gelu, Mish, Swish, SwiGLU, Celu, Clip, PRelu, ThresholdedRelu."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.registration import StaticArguments, constant, converter, result


class Clip(StaticArguments):
    """Clamp between two bounds, each optional."""

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
        low = self.low if min is None else min
        high = self.high if max is None else max
        return x if low is None and high is None else torch.clamp(x, low, high)  # type: ignore[arg-type]


class Swish(nn.Module):
    """x · sigmoid(alpha · x)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x) if self.alpha == 1 else x * torch.sigmoid(self.alpha * x)


class SwiGlu(Swish):
    """swish(gate) · value."""

    def forward(self, gate: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(gate) * value


class PRelu(nn.Module):
    """x where x ≥ 0, else slope · x; the slope broadcasts to x from the right."""

    def forward(self, x: Tensor, slope: Tensor) -> Tensor:
        return torch.where(x >= 0, x, x * slope)


@converter("Gelu", 20)
def gelu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, nn.GELU(node.attributes.get("approximate", "none")))


@converter("Mish", 18, 22)
def mish(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, nn.Mish())


@converter("Swish", 24)
def swish(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Swish(node.attributes.get("alpha", 1.0)))


@converter("SwiGLU", 28)
def swiglu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, SwiGlu(node.attributes.get("alpha", 1.0)))


@converter("Celu", 12, 28)
def celu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, nn.CELU(node.attributes.get("alpha", 1.0)))


@converter("ThresholdedRelu", 10, 22)
def thresholded_relu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, nn.Threshold(node.attributes.get("alpha", 1.0), 0.0))


@converter("PRelu", 7, 9, 16)
def prelu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, PRelu())


@converter("Clip", 6)
def clip_by_attributes(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, _clip(node.attributes.get("min"), node.attributes.get("max")))


@converter("Clip", 11, 12, 13)
def clip_by_inputs(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    names = (*node.input_values, "", "")[1:3]
    bounds = [constant(name, graph) for name in names]
    if any(name and bound is None for name, bound in zip(names, bounds, strict=True)):
        return result(node, Clip())
    low, high = (None if bound is None else float(bound) for bound in bounds)
    return result(node, _clip(low, high), inputs=(node.input_values[0],))


def _clip(low: float | None, high: float | None) -> nn.Module:
    """ReLU and ReLU6 as their own modules, because torch runs them faster and keeps less for the backward
    pass."""
    if low == 0 and (high is None or high == 6):
        return nn.ReLU() if high is None else nn.ReLU6()
    return Clip(low, high)
