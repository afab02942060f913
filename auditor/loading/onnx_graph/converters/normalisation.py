"""Batch, instance, layer, group, RMS, local-response and norm normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.registration import constant, converter, result, wants


class LayerNorm(nn.Module):
    """Normalise the axes from ``axis`` on, then scale and shift."""

    def __init__(self, axis: int, epsilon: float) -> None:
        super().__init__()
        self.axis, self.epsilon = axis, epsilon

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[self.axis :]
        return F.layer_norm(x, shape, scale.expand(shape), None if bias is None else bias.expand(shape), self.epsilon)


class LayerNormWithStatistics(LayerNorm):
    """The same, with the mean and the inverse deviation as further outputs."""

    def forward(  # type: ignore[override]
        self, x: Tensor, scale: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = list(range(self.axis % x.dim(), x.dim()))
        mean = x.mean(axes, keepdim=True)
        inverse = torch.rsqrt((x - mean).square().mean(axes, keepdim=True) + self.epsilon)
        return super().forward(x, scale, bias), mean, inverse


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


class BatchNorm(nn.Module):
    """Normalise channels by stored statistics, whatever the number of axes."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=self.epsilon)


class InstanceNorm(nn.Module):
    """Normalise each channel of each image by itself, then scale and shift."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return F.group_norm(x, x.shape[1], scale, bias, self.epsilon)


class LpNorm(nn.Module):
    """Divide by the p-norm along an axis; what is 0 everywhere stays 0."""

    def __init__(self, axis: int, p: int) -> None:
        super().__init__()
        self.axis, self.p = axis, p

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, self.p, dim=self.axis, keepdim=True)
        return x / norm.clamp_min(torch.finfo(x.dtype).tiny)


class MeanVariance(nn.Module):
    """(x - mean) / (deviation + 1e-9) over the named axes."""

    def __init__(self, axes: list[int]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(self.axes, keepdim=True)
        return centred / (centred.square().mean(self.axes, keepdim=True).sqrt() + 1e-9)


class LocalResponse(nn.Module):
    """x / (bias + alpha / size · the squares of ``size`` neighbouring channels) ^ beta; of an even number of
    neighbours one more lies above."""

    def __init__(self, size: int, alpha: float, beta: float, bias: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def forward(self, x: Tensor) -> Tensor:
        squares = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
        below = (self.size - 1) // 2
        padded = F.pad(squares, (0, 0, below, self.size - 1 - below))
        mean = F.avg_pool2d(padded, (self.size, 1), stride=1).reshape(x.shape)
        return x / (self.bias + self.alpha * mean).pow(self.beta)


_BATCH_NORM: dict[int, type[nn.BatchNorm1d] | type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


@converter("BatchNormalization", 7, 9, 14, 15)
def batch_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("training_mode", 0) or any(wants(node, output) for output in range(1, 5)):
        raise NotImplementedError("BatchNormalization in training mode; export the network in evaluation mode")
    if node.attributes.get("spatial", 1) != 1:
        raise NotImplementedError("BatchNormalization of every pixel by itself")
    epsilon = node.attributes.get("epsilon", 1e-5)
    scale, bias, mean, variance = (constant(name, graph) for name in node.input_values[1:5])
    rank = _axes_after_convolution(node.input_values[0], graph)
    if scale is None or bias is None or mean is None or variance is None or rank not in _BATCH_NORM:
        return result(node, BatchNorm(epsilon))
    module = _BATCH_NORM[rank](scale.shape[0], eps=epsilon)
    module.weight.data, module.bias.data = scale, bias
    module.running_mean, module.running_var = mean, variance
    return result(node, module, inputs=(node.input_values[0],))


def _axes_after_convolution(name: str, graph: OnnxGraph) -> int:
    """The axes of a convolution's result, after which torch can fold the normalisation away; else 0."""
    if name in graph._node_output_values:
        producer, _ = graph.value_as_node_output(name)
        weight = producer.input_values[1] if producer.operation_type == "Conv" else ""
        if weight in graph.initializers:
            return len(graph.initializers[weight].proto.dims)
    return 0


@converter("InstanceNormalization", 6, 22)
def instance_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, InstanceNorm(node.attributes.get("epsilon", 1e-5)))


@converter("LpNormalization", 1, 22)
def lp_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, LpNorm(node.attributes.get("axis", -1), node.attributes.get("p", 2)))


@converter("MeanVarianceNormalization", 9, 13)
def mean_variance(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, MeanVariance(list(node.attributes.get("axes") or [0, 2, 3])))


@converter("LRN", 1, 13)
def local_response(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    alpha, beta, bias = given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)
    return result(node, LocalResponse(given["size"], alpha, beta, bias))


@converter("LayerNormalization", 17)
def layer_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    if len(node.output_values) > 1:
        return result(node, LayerNormWithStatistics(axis, epsilon))
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
