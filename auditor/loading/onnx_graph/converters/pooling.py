"""MaxPool, AveragePool, LpPool and their global forms, with every form of padding ONNX knows; MaxUnpool."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.convolution import CONV_FUNCTION
from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.padding import Window
from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result, wants

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
        if any(step != 1 for step in window.dilations):
            total, count = window_sums(x, window, self.count_include_pad)
            return total / count
        padding = window.symmetric_pool_padding()
        if padding is not None:
            return pool(x, window.kernel, window.strides, padding, window.ceil, self.count_include_pad)
        pads = window.torch_pads(x)
        summed = pool(F.pad(x, pads), window.kernel, window.strides, ceil_mode=window.ceil)
        if self.count_include_pad:
            return summed
        inside = F.pad(torch.ones_like(x[:1, :1]), pads)
        return summed / pool(inside, window.kernel, window.strides, ceil_mode=window.ceil)


class MaxPoolWithIndices(nn.Module):
    """Largest values and their places, counted through all images and channels, by rows or by columns."""

    def __init__(self, window: Window, by_columns: bool) -> None:
        super().__init__()
        self.window, self.by_columns = window, by_columns
        padding = window.symmetric_pool_padding()
        if padding is None or window.ceil:
            raise NotImplementedError("MaxPool with an indices output and uneven padding")
        self.padding = padding

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        window = self.window
        pool: Any = _MAX_POOL[window.rank]
        y, inside = pool(x, window.kernel, window.strides, self.padding, window.dilations, return_indices=True)
        spatial = x.shape[2:]
        if self.by_columns:
            places = torch.unravel_index(inside, spatial)
            inside, size = torch.zeros_like(inside), 1
            for place, length in zip(places, spatial, strict=True):
                inside, size = inside + place * size, size * length
        planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], *[1] * window.rank)
        return y, inside + planes * spatial.numel()


class MaxUnpool(StaticArguments):
    """Put values back to the places that MaxPool gave, zeros elsewhere."""

    data_arguments = 2

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor, indices: Tensor, output_shape: Tensor | list[int] | None = None) -> Tensor:
        window = self.window
        sizes = list(x.shape[:2])
        for axis, size in enumerate(x.shape[2:]):
            pads = window.pads[axis] + window.pads[axis + window.rank]
            sizes.append((size - 1) * window.strides[axis] - pads + window.kernel[axis])
        wanted = sizes if output_shape is None else integers(output_shape)
        check_elements(sizes)
        check_elements(wanted)
        flat = x.new_zeros(torch.Size(sizes).numel()).scatter(0, indices.reshape(-1), x.reshape(-1))
        missing = [amount - size for size, amount in zip(reversed(sizes), reversed(wanted), strict=True)]
        return F.pad(flat.reshape(sizes), [pad for amount in missing for pad in (0, amount)])


class LpPool(nn.Module):
    """The p-norm of each window; padding adds nothing."""

    def __init__(self, window: Window, p: float) -> None:
        super().__init__()
        self.window, self.p = window, p

    def forward(self, x: Tensor) -> Tensor:
        total, _ = window_sums(x.abs().pow(self.p), self.window, count_pads=False)
        return total.clamp_min(torch.finfo(x.dtype).tiny).pow(1 / self.p)  # the root has no gradient at 0


def window_sums(x: Tensor, window: Window, count_pads: bool) -> tuple[Tensor, Tensor]:
    """Sum and number of the values in each window, dilated or not; padding is counted only if ``count_pads``,
    and what rounding up adds at the end never is."""
    pads = window.torch_pads(x)
    begin, end = pads[0::2][::-1], pads[1::2][::-1]
    extra, steps = [], []
    for axis, size in enumerate(x.shape[2:]):
        reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1
        room = size + begin[axis] + end[axis] - reach
        count = (-(-room // window.strides[axis]) if window.ceil else room // window.strides[axis]) + 1
        if window.ceil and (count - 1) * window.strides[axis] >= size + begin[axis]:
            count -= 1  # a window that would start in the padding at the end
        steps.append(count)
        extra.append(max(0, (count - 1) * window.strides[axis] - room))
    ones = F.pad(torch.ones_like(x[:1, :1]), pads, value=float(count_pads))
    rest = [pad for amount in reversed(extra) for pad in (0, amount)]
    kernel = x.new_ones(1, 1, *window.kernel)
    sums = []
    for values in (F.pad(F.pad(x, pads), rest), F.pad(ones, rest)):
        planes = values.reshape(-1, 1, *values.shape[2:])
        summed = CONV_FUNCTION[window.rank](planes, kernel, None, window.strides, 0, window.dilations)
        summed = summed[(slice(None), slice(None), *(slice(count) for count in steps))]
        sums.append(summed.reshape(*values.shape[:2], *summed.shape[2:]))
    return sums[0], sums[1]


class GlobalPool(nn.Module):
    """Largest value, mean, or p-norm of each channel, the spatial axes kept with length 1."""

    def __init__(self, kind: str, p: float = 2) -> None:
        super().__init__()
        self.kind, self.p = kind, p

    def forward(self, x: Tensor) -> Tensor:
        axes = list(range(2, x.dim()))
        if self.kind == "GlobalMaxPool":
            return x.amax(dim=axes, keepdim=True)
        if self.kind == "GlobalLpPool":
            return torch.linalg.vector_norm(x, self.p, dim=axes, keepdim=True)
        return x.mean(dim=axes, keepdim=True)


@converter("MaxPool", 8, 10, 11, 12, 22)
def max_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if wants(node, 1):
        return result(node, MaxPoolWithIndices(Window.of(node), node.attributes.get("storage_order", 0) == 1))
    return result(node, MaxPool(Window.of(node)))


@converter("MaxUnpool", 9, 11, 22)
def max_unpool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, MaxUnpool(Window.of(node)))


@converter("AveragePool", 7, 10, 11, 19, 22)
def average_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, AveragePool(Window.of(node), node.attributes.get("count_include_pad", 0) == 1))


@converter("LpPool", 2, 11, 18, 22)
def lp_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, LpPool(Window.of(node), float(node.attributes.get("p", 2))))


@converter("GlobalMaxPool", 1, 22)
@converter("GlobalAveragePool", 1, 22)
@converter("GlobalLpPool", 2, 22)
def global_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, GlobalPool(node.operation_type, float(node.attributes.get("p", 2))))
