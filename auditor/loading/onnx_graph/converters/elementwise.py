"""Functions of one value, or of values at the same place: what onnx2torch lacks or computes differently."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.registration import converter, result


class Function(nn.Module):
    """A pure function of its inputs as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _mod_by_floor(x: Tensor, y: Tensor) -> Tensor:
    return torch.remainder(x, y)


_UNARY: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "Acosh": (torch.acosh, (9, 22)),
    "Asinh": (torch.asinh, (9, 22)),
    "Atanh": (torch.atanh, (9, 22)),
    "Cosh": (torch.cosh, (9, 22)),
    "IsNaN": (torch.isnan, (9, 13, 20)),
    "Sinh": (torch.sinh, (9, 22)),
}


def _declare(operation: str, function: Callable[[Tensor], Tensor], versions: tuple[int, ...]) -> None:
    @converter(operation, *versions)
    def convert(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
        return result(node, Function(function))


for _operation, (_function, _versions) in _UNARY.items():
    _declare(_operation, _function, _versions)


class IsInf(nn.Module):
    """Whether a value is infinite, counting the signs that are asked for."""

    def __init__(self, negative: bool, positive: bool) -> None:
        super().__init__()
        self.negative, self.positive = negative, positive

    def forward(self, x: Tensor) -> Tensor:
        if self.negative and self.positive:
            return torch.isinf(x)
        if self.negative:
            return torch.isneginf(x)
        return torch.isposinf(x) if self.positive else torch.zeros_like(x, dtype=torch.bool)


class Shrink(nn.Module):
    """Values within ``lambd`` of 0 become 0; the others move towards 0 by ``bias``."""

    def __init__(self, lambd: float, bias: float) -> None:
        super().__init__()
        self.lambd, self.bias = lambd, bias

    def forward(self, x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -self.lambd, x + self.bias, torch.where(x > self.lambd, x - self.bias, zero))


class Selu(nn.Module):
    """gamma · x where x > 0, else gamma · alpha · (exp(x) - 1)."""

    def __init__(self, alpha: float, gamma: float) -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * F.elu(x, self.alpha)


class Hardmax(nn.Module):
    """1 at the first largest value along an axis, 0 elsewhere; before version 13 over all axes from ``axis`` on."""

    def __init__(self, axis: int, flattened: bool) -> None:
        super().__init__()
        self.axis, self.flattened = axis, flattened

    def forward(self, x: Tensor) -> Tensor:
        if self.flattened:
            axis = self.axis % x.dim()
            rows = x.reshape(int(torch.Size(x.shape[:axis]).numel()), -1)
            return self._first_largest(rows, 1).reshape(x.shape)
        return self._first_largest(x, self.axis)

    @staticmethod
    def _first_largest(x: Tensor, axis: int) -> Tensor:
        largest = x == x.amax(axis, keepdim=True)
        return (largest & (largest.cumsum(axis) == 1)).to(x.dtype)


@converter("IsInf", 10, 20)
def is_inf(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    return result(node, IsInf(given.get("detect_negative", 1) == 1, given.get("detect_positive", 1) == 1))


@converter("Shrink", 9)
def shrink(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Shrink(node.attributes.get("lambd", 0.5), node.attributes.get("bias", 0.0)))


@converter("Selu", 6, 22)
def selu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes
    return result(node, Selu(given.get("alpha", 1.6732632423543772), given.get("gamma", 1.0507009873554805)))


@converter("Hardmax", 1, 11)
def hardmax_flattened(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Hardmax(node.attributes.get("axis", 1), flattened=True))


@converter("Hardmax", 13)
def hardmax(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Hardmax(node.attributes.get("axis", -1), flattened=False))


@converter("Mod", 10, 13, 28)
def mod(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Function(torch.fmod if node.attributes.get("fmod", 0) == 1 else _mod_by_floor))
