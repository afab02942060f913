"""Layer, group and RMS normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_converters.registration import constant, converter, result


class LayerNorm(nn.Module):
    """Normalise the axes from ``axis`` on, then scale and shift."""

    def __init__(self, axis: int, epsilon: float) -> None:
        super().__init__()
        self.axis, self.epsilon = axis, epsilon

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[self.axis :]
        return F.layer_norm(x, shape, scale.expand(shape), None if bias is None else bias.expand(shape), self.epsilon)


class GroupNorm(nn.Module):
    """Normalise groups of channels; until version 20 scale and bias have one entry a group, then one a
    channel."""

    def __init__(self, groups: int, epsilon: float) -> None:
        super().__init__()
        self.groups, self.epsilon = groups, epsilon

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        repeats = x.shape[1] // scale.shape[0]
        if repeats > 1:
            scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return F.group_norm(x, self.groups, scale, bias, self.epsilon)


class RmsNorm(nn.Module):
    """Divide the axes from ``axis`` on by their root mean square, then scale."""

    def __init__(self, axis: int, epsilon: float) -> None:
        super().__init__()
        self.axis, self.epsilon = axis, epsilon

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        axes = list(range(self.axis % x.dim(), x.dim()))
        return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + self.epsilon) * scale


@converter("LayerNormalization", 17)
def layer_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if len(node.output_values) > 1:
        raise NotImplementedError("LayerNormalization with mean and deviation outputs")
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    names = (*node.input_values, "")[1:3]
    scale, bias = (constant(name, graph) for name in names)
    if scale is None or axis != -1 or scale.dim() != 1 or (names[1] and bias is None):
        return result(node, LayerNorm(axis, epsilon))
    module = nn.LayerNorm(scale.shape[0], eps=epsilon, bias=bias is not None)
    module.weight.data = scale
    if bias is not None:
        module.bias.data = bias
    return result(node, module, inputs=(node.input_values[0],))


@converter("GroupNormalization", 18, 21)
def group_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, GroupNorm(node.attributes["num_groups"], node.attributes.get("epsilon", 1e-5)))


@converter("RMSNormalization", 23)
def rms_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, RmsNorm(node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)))
