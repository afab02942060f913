"""Conv with constant weights, with every form of padding ONNX knows."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_converters.padding import Window
from auditor.loading.onnx_converters.registration import constant, converter, result

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
_CONV_FUNCTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class PadWindow(nn.Module):
    """Zeros around the image so that a window fits as ONNX asks."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.window.torch_pads(x))


class ComputedConv(nn.Module):
    """A convolution whose weights are computed in the graph."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        strides = list(self.given.get("strides") or [1] * rank)
        dilations = list(self.given.get("dilations") or [1] * rank)
        pads = list(self.given.get("pads") or [0] * rank * 2)
        window = Window(list(weight.shape[2:]), strides, dilations, pads, self.given.get("auto_pad", "NOTSET"), False)
        return _CONV_FUNCTION[rank](
            F.pad(x, window.torch_pads(x)), weight, bias, strides, 0, dilations, self.given.get("group", 1)
        )


@converter("Conv", 1, 11, 22)
def conv(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    names = (*node.input_values, "")[1:3]
    weight, bias = (constant(name, graph) for name in names)
    if weight is None or (names[1] and bias is None):
        return result(node, ComputedConv(dict(node.attributes)))
    window = Window.of(node, list(weight.shape[2:]))
    groups = node.attributes.get("group", 1)
    padding = window.symmetric_padding()
    module = _CONV[window.rank](
        weight.shape[1] * groups,
        weight.shape[0],
        kernel_size=tuple(window.kernel),  # type: ignore[arg-type]
        stride=tuple(window.strides),  # type: ignore[arg-type]
        padding=tuple(padding or [0] * window.rank),  # type: ignore[arg-type]
        dilation=tuple(window.dilations),  # type: ignore[arg-type]
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    module.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        module.bias = nn.Parameter(bias, requires_grad=False)
    whole = module if padding is not None else nn.Sequential(PadWindow(window), module)
    return result(node, whole, inputs=(node.input_values[0],))
