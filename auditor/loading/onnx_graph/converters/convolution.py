"""Conv and ConvTranspose, with every form of padding ONNX knows."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.padding import Window
from auditor.loading.onnx_graph.converters.registration import constant, converter, result

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
CONV_FUNCTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED_FUNCTION = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


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
        return CONV_FUNCTION[rank](
            F.pad(x, window.torch_pads(x)), weight, bias, strides, 0, dilations, self.given.get("group", 1)
        )


class ConvTranspose(nn.Module):
    """A transposed convolution: the whole result, cut or extended to what the padding asks for."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        strides = list(self.given.get("strides") or [1] * rank)
        dilations = list(self.given.get("dilations") or [1] * rank)
        check_elements((x.shape[0], weight.shape[1], *(s * t for s, t in zip(x.shape[2:], strides, strict=True))))
        y = _TRANSPOSED_FUNCTION[rank](x, weight, None, strides, 0, 0, self.given.get("group", 1), dilations)
        begin, end = self._cuts(list(x.shape[2:]), list(y.shape[2:]), strides)
        cuts = [-cut for pair in zip(reversed(begin), reversed(end), strict=True) for cut in pair]
        y = F.pad(y, cuts)
        return y if bias is None else y + bias.reshape(-1, *[1] * rank)

    def _cuts(self, sizes: list[int], whole: list[int], strides: list[int]) -> tuple[list[int], list[int]]:
        """What is cut off each axis at its begin and its end; less than 0 adds to it."""
        rank, auto = len(sizes), self.given.get("auto_pad", "NOTSET")
        more = list(self.given.get("output_padding") or [0] * rank)
        wanted = self.given.get("output_shape")
        if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
        if wanted is None:
            pads = list(self.given.get("pads") or [0] * rank * 2) if auto in ("NOTSET", "") else [0] * rank * 2
            return pads[:rank], [pad - add for pad, add in zip(pads[rank:], more, strict=True)]
        begin, end = [], []
        for axis, size in enumerate(list(wanted)[-rank:]):
            total = whole[axis] + more[axis] - size
            half = max(total, 0) // 2  # what is missing is added at the end
            begin.append(half if auto == "SAME_UPPER" else max(total, 0) - half)
            end.append(total - begin[-1] - more[axis])
        return begin, end


@converter("ConvTranspose", 1, 11, 22)
def conv_transpose(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ConvTranspose(dict(node.attributes)))


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
