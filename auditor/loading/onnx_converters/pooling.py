"""AveragePool, MaxPool, GlobalMaxPool, with every form of padding ONNX knows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_converters.padding import Window
from auditor.loading.onnx_converters.registration import converter, result

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class MaxPool(nn.Module):
    """Largest value in a window; padding never wins."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        window = self.window
        padding = window.symmetric_pool_padding()
        if padding is None:
            x = F.pad(x, window.torch_pads(x), value=float("-inf"))
            padding = [0] * window.rank
        pool = _MAX_POOL[window.rank]
        return pool(x, window.kernel, window.strides, padding, window.dilations, ceil_mode=window.ceil)


class AveragePool(nn.Module):
    """Mean of a window; padding counts, as zeros, only when ``count_include_pad``."""

    def __init__(self, window: Window, count_include_pad: bool) -> None:
        super().__init__()
        self.window, self.count_include_pad = window, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        window = self.window
        pool = _AVERAGE_POOL[window.rank]
        padding = window.symmetric_pool_padding()
        if padding is not None:
            return pool(x, window.kernel, window.strides, padding, window.ceil, self.count_include_pad)
        pads = window.torch_pads(x)
        summed = pool(F.pad(x, pads), window.kernel, window.strides, ceil_mode=window.ceil)
        if self.count_include_pad:
            return summed
        inside = F.pad(torch.ones_like(x[:1, :1]), pads)
        return summed / pool(inside, window.kernel, window.strides, ceil_mode=window.ceil)


class GlobalMaxPool(nn.Module):
    """Largest value of each channel, the spatial axes kept with length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=list(range(2, x.dim())), keepdim=True)


@converter("MaxPool", 8, 10, 11, 12, 22)
def max_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if len(node.output_values) > 1:
        raise NotImplementedError("MaxPool with an indices output")
    return result(node, MaxPool(Window.of(node)))


@converter("AveragePool", 7, 10, 11, 19, 22)
def average_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    window = Window.of(node)
    if any(step != 1 for step in window.dilations):
        raise NotImplementedError("AveragePool with dilations")
    return result(node, AveragePool(window, node.attributes.get("count_include_pad", 0) == 1))


@converter("GlobalMaxPool", 1, 22)
def global_max_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, GlobalMaxPool())
