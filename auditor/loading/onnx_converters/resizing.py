"""Resize: nearest, linear and cubic interpolation, axis by axis, as the ONNX operator defines them."""

from __future__ import annotations

import math

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor

from auditor.loading.onnx_converters.registration import StaticArguments, converter, integers, result

_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


class Resize(StaticArguments):
    """Multiply every resized axis by its interpolation matrix, which is computed once a size."""

    def __init__(self, mode: str, coordinates: str, rounding: str, cubic: float, exclude_outside: bool) -> None:
        super().__init__()
        self.mode, self.coordinates, self.rounding = mode, coordinates, rounding
        self.cubic, self.exclude_outside = cubic, exclude_outside
        self._matrices: dict[tuple[int, int, float, torch.device], Tensor] = {}

    def forward(
        self,
        x: Tensor,
        roi: Tensor | list[float] | None = None,
        scales: Tensor | list[float] | None = None,
        sizes: Tensor | list[int] | None = None,
    ) -> Tensor:
        wanted = [] if sizes is None else integers(sizes)
        factors = scales.tolist() if isinstance(scales, Tensor) else list(scales or [])
        for axis, size in enumerate(x.shape):
            target = wanted[axis] if wanted else math.floor(size * factors[axis])
            factor = target / size if wanted else factors[axis]
            if target != size or factor != 1:
                x = self._resized(x, axis, target, factor)
        return x

    def _resized(self, x: Tensor, axis: int, target: int, factor: float) -> Tensor:
        size = x.shape[axis]
        key = (size, target, factor, x.device)
        if key not in self._matrices:
            rows = [self._weights(self._position(row, size, factor), size) for row in range(target)]
            self._matrices[key] = torch.tensor(rows, device=x.device)
        matrix = self._matrices[key]
        if self.mode == "nearest":
            return x.index_select(axis, matrix.long())
        return torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)

    def _position(self, index: int, size: int, factor: float) -> float:
        """Where output ``index`` lies on the input axis (ONNX operator Resize,
        coordinate_transformation_mode)."""
        length = factor * size  # of the output before it is rounded down
        if self.coordinates == "asymmetric":
            return index / factor
        if self.coordinates == "align_corners":
            return index * (size - 1) / (length - 1) if length != 1 else 0.0
        if self.coordinates == "pytorch_half_pixel" and length <= 1:
            return 0.0
        position = (index + 0.5) / factor - 0.5
        if self.coordinates == "half_pixel_symmetric":
            adjustment = math.floor(length + 1e-6) / length
            position += (size / 2) * (1 - adjustment)
        return position

    def _weights(self, position: float, size: int) -> int | list[float]:
        if self.mode == "nearest":
            return min(max(self._rounded(position), 0), size - 1)
        row = [0.0] * size
        base = math.floor(position)
        offset = position - base
        taps = [(0, 1 - offset), (1, offset)] if self.mode == "linear" else self._cubic_taps(offset)
        if self.exclude_outside:
            taps = [(step, weight) for step, weight in taps if 0 <= base + step < size]
            total = sum(weight for _, weight in taps)
            taps = [(step, weight / total) for step, weight in taps]
        for step, weight in taps:
            row[min(max(base + step, 0), size - 1)] += weight
        return row

    def _rounded(self, position: float) -> int:
        if self.rounding == "floor":
            return math.floor(position)
        if self.rounding == "ceil":
            return math.ceil(position)
        return math.ceil(position - 0.5) if self.rounding == "round_prefer_floor" else math.floor(position + 0.5)

    def _cubic_taps(self, offset: float) -> list[tuple[int, float]]:
        """Keys' cubic convolution with coefficient a: the weights of the four neighbours."""
        a = self.cubic

        def near(d: float) -> float:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1

        def far(d: float) -> float:
            return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a

        return [(-1, far(1 + offset)), (0, near(offset)), (1, near(1 - offset)), (2, far(2 - offset))]


@converter("Resize", 11, 13, 18, 19)
def resize(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    mode, coordinates = (
        given.get("mode", "nearest"),
        given.get("coordinate_transformation_mode", "half_pixel"),
    )
    plain = given.get("antialias", 0) == 0 and given.get("keep_aspect_ratio_policy", "stretch") == "stretch"
    if not plain or "axes" in given or mode not in ("nearest", "linear", "cubic") or coordinates not in _COORDINATES:
        raise NotImplementedError("Resize with antialiasing, named axes or cropping")
    module = Resize(
        mode,
        coordinates,
        given.get("nearest_mode", "round_prefer_floor"),
        given.get("cubic_coeff_a", -0.75),
        given.get("exclude_outside", 0) == 1,
    )
    return result(node, module)


class ResizeByScales(Resize):
    """The form of version 10: the scales are the second input."""

    def forward(  # type: ignore[override]
        self, x: Tensor, scales: Tensor | list[float]
    ) -> Tensor:
        return super().forward(x, None, scales)


@converter("Resize", 10)
def resize_by_scales(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ResizeByScales(node.attributes.get("mode", "nearest"), "asymmetric", "floor", -0.75, False))
