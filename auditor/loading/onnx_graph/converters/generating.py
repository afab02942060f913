"""Tensors that the graph makes out of numbers: Range, ConstantOfShape, EyeLike."""

from __future__ import annotations

import math

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.elements import TORCH_TYPE, check_elements, to_torch, type_name
from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

Number = Tensor | float | int


class Range(StaticArguments):
    """start, start + delta, … before the limit."""

    data_arguments = 0
    most_numbers = 1

    def forward(self, start: Number, limit: Number, delta: Number) -> Tensor:
        like = start if isinstance(start, Tensor) else torch.tensor(start)
        first, last, step = (_number(value) for value in (start, limit, delta))
        count = max(math.ceil((last - first) / step), 0)
        check_elements((count,))
        return (first + torch.arange(count, device=like.device) * step).to(like.dtype)


def _number(value: Number) -> float | int:
    while isinstance(value, (list, tuple)):
        value = value[0]
    return value.item() if isinstance(value, Tensor) else value


class ConstantOfShape(StaticArguments):
    """A tensor of the given shape with one value everywhere."""

    data_arguments = 0

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, shape: Tensor | list[int]) -> Tensor:
        sizes = integers(shape)
        check_elements(sizes)
        value: Tensor = self.value  # type: ignore[assignment]
        return value.expand(sizes).contiguous()


class EyeLike(nn.Module):
    """Ones on a diagonal of a matrix as large as the input."""

    def __init__(self, k: int, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.k, self.dtype = k, dtype

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape)
        return (columns - rows.unsqueeze(1) == self.k).to(self.dtype or x.dtype)


@converter("Range", 11, 27)
def range_(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Range())


@converter("ConstantOfShape", 9, 20, 21, 23, 24, 25)
def constant_of_shape(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    given = node.attributes.get("value")
    value = torch.zeros(1) if given is None else to_torch(given.proto)
    return result(node, ConstantOfShape(value.reshape(())))


@converter("EyeLike", 9, 22)
def eye_like(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    wanted = node.attributes.get("dtype")
    if wanted is not None and wanted not in TORCH_TYPE:
        raise NotImplementedError(f"EyeLike of element type {type_name(wanted)}")
    return result(node, EyeLike(node.attributes.get("k", 0), None if wanted is None else TORCH_TYPE[wanted]))
