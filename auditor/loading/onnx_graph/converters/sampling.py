"""GridSample, AffineGrid, DeformConv, Col2Im, CenterCropPad: reading an image at other places."""

from __future__ import annotations

import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

Ints = Tensor | list[int]

_GRID_MODE = {
    "linear": "bilinear",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "cubic": "bicubic",
    "bicubic": "bicubic",
}


class GridSample(nn.Module):
    """The image at the places of a grid, in coordinates from -1 to 1."""

    def __init__(self, mode: str, padding: str, align_corners: bool) -> None:
        super().__init__()
        self.mode, self.padding, self.align_corners = mode, padding, align_corners

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        if x.dim() == 5 and self.mode == "bicubic":
            raise NotImplementedError("GridSample of volumes by cubic interpolation")
        return F.grid_sample(x, grid, self.mode, self.padding, self.align_corners)


class AffineGrid(StaticArguments):
    """The grid that an affine map makes of the corners of an image of the given size."""

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, theta: Tensor, size: Ints) -> Tensor:
        sizes = integers(size)
        check_elements((*sizes[:1], *sizes[2:], len(sizes)))
        return F.affine_grid(theta, sizes, self.align_corners)


class DeformConv(nn.Module):
    """Convolution whose taps are moved by computed offsets (Dai et al. 2017; Zhu et al. 2018 with a mask)."""

    def __init__(self, strides: list[int], pads: list[int], dilations: list[int]) -> None:
        super().__init__()
        self.strides, self.pads, self.dilations = strides, pads, dilations

    def forward(
        self, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        from torchvision.ops import deform_conv2d

        if x.dim() != 4:
            raise NotImplementedError("DeformConv of anything but images")
        top, left, bottom, right = self.pads
        padded: Tensor = deform_conv2d(
            F.pad(x, (left, right, top, bottom)),
            offset,
            weight,
            bias,
            stride=tuple(self.strides),
            dilation=tuple(self.dilations),
            mask=mask,
        )
        return padded


class Col2Im(StaticArguments):
    """Add up blocks where they overlap in an image."""

    def __init__(self, strides: list[int] | None, pads: list[int] | None, dilations: list[int] | None) -> None:
        super().__init__()
        self.strides, self.pads, self.dilations = strides, pads, dilations

    def forward(self, x: Tensor, image_shape: Ints, block_shape: Ints) -> Tensor:
        image, block = integers(image_shape), integers(block_shape)
        if len(image) != 2:
            raise NotImplementedError("Col2Im of anything but images")
        top, left, bottom, right = self.pads or [0, 0, 0, 0]
        whole = (image[0] + top + bottom, image[1] + left + right)
        check_elements((x.shape[0], x.shape[1], *whole))
        folded = F.fold(x, whole, tuple(block), tuple(self.dilations or [1, 1]), 0, tuple(self.strides or [1, 1]))
        return folded[..., top : top + image[0], left : left + image[1]]


class CenterCropPad(StaticArguments):
    """Crop or zero-pad around the centre to the given lengths."""

    def __init__(self, axes: list[int] | None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor, shape: Ints) -> Tensor:
        axes = range(x.dim()) if self.axes is None else [axis % x.dim() for axis in self.axes]
        pads = [(0, 0)] * x.dim()
        for axis, length in zip(axes, integers(shape), strict=True):
            size = x.shape[axis]
            if length < size:
                x = x.narrow(axis, (size - length) // 2, length)
            else:
                pads[axis] = ((length - size) // 2, length - size - (length - size) // 2)
        check_elements(size + sum(pad) for size, pad in zip(x.shape, pads, strict=True))
        return F.pad(x, [amount for pad in reversed(pads) for amount in pad])


@converter("GridSample", 16, 20, 22)
def grid_sample(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    mode, padding = given.get("mode", "linear"), given.get("padding_mode", "zeros")
    if mode not in _GRID_MODE or padding not in ("zeros", "border", "reflection"):
        raise NotImplementedError("GridSample with an unknown mode")
    return result(node, GridSample(_GRID_MODE[mode], padding, given.get("align_corners", 0) == 1))


@converter("AffineGrid", 20)
def affine_grid(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, AffineGrid(node.attributes.get("align_corners", 0) == 1))


@converter("DeformConv", 19, 22)
def deform_conv(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    strides, dilations = (list(given.get(name) or [1, 1]) for name in ("strides", "dilations"))
    return result(node, DeformConv(strides, list(given.get("pads") or [0] * 4), dilations))


@converter("Col2Im", 18)
def col2im(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    return result(node, Col2Im(given.get("strides"), given.get("pads"), given.get("dilations")))


@converter("CenterCropPad", 18)
def center_crop_pad(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, CenterCropPad(node.attributes.get("axes")))
