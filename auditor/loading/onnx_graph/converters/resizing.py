"""Resize and Upsample: nearest, linear and cubic interpolation, axis by axis, as ONNX defines them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor

from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

_COORDINATES = frozenset(
    {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"}
)
_POLICIES = frozenset({"stretch", "not_larger", "not_smaller"})
_MODES = frozenset({"nearest", "linear", "cubic"})


@dataclass(frozen=True)
class Interpolation:
    """The attributes of one Resize node, named as in the standard."""

    mode: str
    coordinate_transformation_mode: str
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    axes: tuple[int, ...] | None = None
    keep_aspect_ratio_policy: str = "stretch"
    extrapolation_value: float = 0.0


@dataclass(frozen=True)
class Axis:
    """How one axis is resized. ``begin`` and ``end`` are the cropped part, from 0 to 1, when cropping."""

    size: int
    target: int
    factor: float
    begin: float
    end: float

    @property
    def length(self) -> float:
        """Of the result, before it is rounded down."""
        return self.factor * self.size


class Resize(StaticArguments):
    """Multiply every resized axis by its interpolation matrix, which is computed once a size."""

    def __init__(self, how: Interpolation) -> None:
        super().__init__()
        self.how = how
        self._matrices: dict[tuple[Axis, torch.device], tuple[Tensor, Tensor]] = {}

    def forward(
        self,
        x: Tensor,
        roi: Tensor | list[float] | None = None,
        scales: Tensor | list[float] | None = None,
        sizes: Tensor | list[int] | None = None,
    ) -> Tensor:
        axes = [axis % x.dim() for axis in self.how.axes] if self.how.axes is not None else list(range(x.dim()))
        targets, factors = self._targets([x.shape[axis] for axis in axes], _floats(scales), sizes)
        crop = _floats(roi) if self.how.coordinate_transformation_mode == "tf_crop_and_resize" else []
        shape = list(x.shape)
        for position, axis in enumerate(axes):
            shape[axis] = targets[position]
            check_elements((64, x.shape[axis], targets[position]))  # the matrix is built in Python numbers
        check_elements(shape)
        for position, axis in enumerate(axes):
            begin, end = (crop[position], crop[position + len(axes)]) if crop else (0.0, 1.0)
            resized = Axis(x.shape[axis], targets[position], factors[position], begin, end)
            if resized.target != resized.size or resized.factor != 1 or (begin, end) != (0.0, 1.0):
                x = self._resized(x, axis, resized)
        return x

    def _targets(
        self, lengths: list[int], scales: list[float], sizes: Tensor | list[int] | None
    ) -> tuple[list[int], list[float]]:
        wanted = [] if sizes is None else integers(sizes)
        if not wanted:
            # in float32, as runtimes do: 5 · 1.4 is 7 there, and less than 7 in float64
            products = np.array(lengths, dtype=np.float32) * np.array(scales, dtype=np.float32)
            return [math.floor(product) for product in products], scales
        factors = [target / length for target, length in zip(wanted, lengths, strict=True)]
        if self.how.keep_aspect_ratio_policy == "stretch":
            return wanted, factors
        one = min(factors) if self.how.keep_aspect_ratio_policy == "not_larger" else max(factors)
        return [math.floor(one * length + 0.5) for length in lengths], [one] * len(lengths)

    def _resized(self, x: Tensor, axis: int, how: Axis) -> Tensor:
        key = (how, x.device)
        if key not in self._matrices:
            positions = [self._position(row, how) for row in range(how.target)]
            rows = [self._weights(position, how) for position in positions]
            outside = [crops_outside(position, how, self.how) for position in positions]
            self._matrices[key] = (torch.tensor(rows, device=x.device), torch.tensor(outside, device=x.device))
        matrix, outside_rows = self._matrices[key]
        if self.how.mode == "nearest":
            x = x.index_select(axis, matrix)
        else:
            x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
        if self.how.coordinate_transformation_mode == "tf_crop_and_resize":
            rows_shape = [-1 if other == axis else 1 for other in range(x.dim())]
            x = torch.where(outside_rows.reshape(rows_shape), self.how.extrapolation_value, x)
        return x

    def _position(self, index: int, how: Axis) -> float:
        """Where output ``index`` lies on the input axis (ONNX operator Resize, coordinate_transformation_mode).

        In float32, as runtimes do: the last bit decides which of two neighbours is the nearest.
        """
        coordinates, last = self.how.coordinate_transformation_mode, how.size - 1
        row, half, factor = np.float32(index), np.float32(0.5), np.float32(how.factor)
        if coordinates == "asymmetric":
            return float(row / factor)
        if coordinates == "align_corners":
            return float(row * np.float32(last) / np.float32(how.length - 1)) if how.length != 1 else 0.0
        if coordinates == "tf_crop_and_resize":
            if how.length <= 1:
                return (how.begin + how.end) / 2 * last
            return how.begin * last + index * (how.end - how.begin) * last / (how.length - 1)
        if coordinates == "pytorch_half_pixel" and how.target <= 1:
            return 0.0
        position = (row + half) / factor - half
        if coordinates == "half_pixel_symmetric":
            position += np.float32(how.size / 2) * (np.float32(1) - np.float32(how.target) / np.float32(how.length))
        return float(position)

    def _weights(self, position: float, how: Axis) -> int | list[float]:
        """The input index of a nearest neighbour, or one weight for each input index."""
        if self.how.mode == "nearest":
            return min(max(self._rounded(position), 0), how.size - 1)
        base = math.floor(position)
        taps = self._taps(position - base, min(how.factor, 1.0) if self.how.antialias else 1.0)
        if self.how.exclude_outside:
            taps = [(step, weight) for step, weight in taps if 0 <= base + step < how.size]
        total = sum(weight for _, weight in taps) or 1.0
        row = [0.0] * how.size
        for step, weight in taps:
            row[min(max(base + step, 0), how.size - 1)] += weight / total
        return row

    def _rounded(self, position: float) -> int:
        if self.how.nearest_mode == "floor":
            return math.floor(position)
        if self.how.nearest_mode == "ceil":
            return math.ceil(position)
        if self.how.nearest_mode == "round_prefer_floor":
            return math.ceil(position - 0.5)
        return math.floor(position + 0.5)

    def _taps(self, offset: float, squeeze: float) -> list[tuple[int, float]]:
        """Neighbours and their weights; antialiasing widens the filter by 1 / ``squeeze``."""
        reach, kernel = (1, _triangle) if self.how.mode == "linear" else (2, self._cubic)
        first = math.floor(-reach / squeeze) + 1
        return [(step, kernel(abs(step - offset) * squeeze)) for step in range(first, 2 - first)]

    def _cubic(self, distance: float) -> float:
        """Keys' cubic convolution with coefficient a (Keys 1981)."""
        a, d = self.how.cubic_coeff_a, distance
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def _triangle(distance: float) -> float:
    return max(0.0, 1 - distance)


def crops_outside(position: float, axis: Axis, how: Interpolation) -> bool:
    """Whether a crop reaches beyond the image there."""
    cropping = how.coordinate_transformation_mode == "tf_crop_and_resize"
    return cropping and not 0 <= position <= axis.size - 1


def _floats(values: Tensor | list[float] | None) -> list[float]:
    return values.tolist() if isinstance(values, Tensor) else list(values or [])


class ResizeByScales(Resize):
    """The form of Resize-10 and Upsample-9: the scales are the second input."""

    def forward(  # type: ignore[override]
        self, x: Tensor, scales: Tensor | list[float]
    ) -> Tensor:
        return super().forward(x, None, scales)


class UpsampleByAttribute(Resize):
    """The form of Upsample-7: the scales are an attribute."""

    def __init__(self, how: Interpolation, scales: list[float]) -> None:
        super().__init__(how)
        self.scales = scales

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, None, self.scales)


@converter("Resize", 11, 13, 18, 19)
def resize(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    how = Interpolation(
        mode=given.get("mode", "nearest"),
        coordinate_transformation_mode=given.get("coordinate_transformation_mode", "half_pixel"),
        nearest_mode=given.get("nearest_mode", "round_prefer_floor"),
        cubic_coeff_a=given.get("cubic_coeff_a", -0.75),
        exclude_outside=given.get("exclude_outside", 0) == 1,
        antialias=given.get("antialias", 0) == 1,
        axes=tuple(given["axes"]) if "axes" in given else None,
        keep_aspect_ratio_policy=given.get("keep_aspect_ratio_policy", "stretch"),
        extrapolation_value=given.get("extrapolation_value", 0.0),
    )
    coordinates = how.coordinate_transformation_mode
    if how.mode not in _MODES or coordinates not in _COORDINATES or how.keep_aspect_ratio_policy not in _POLICIES:
        raise NotImplementedError("Resize with an unknown mode")
    return result(node, Resize(how))


def _old_form(node: OnnxNode) -> Interpolation:
    """Until opset 10 coordinates are asymmetric and the nearest pixel is the one before."""
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise NotImplementedError(f"{node.operation_type} with an unknown mode")
    return Interpolation(mode, "asymmetric", nearest_mode="floor")


@converter("Upsample", 9, 10)
@converter("Resize", 10)
def resize_by_scales(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ResizeByScales(_old_form(node)))


@converter("Upsample", 7)
def upsample_by_attribute(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, UpsampleByAttribute(_old_form(node), list(node.attributes["scales"])))
