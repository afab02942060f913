"""Cast and CastLike. Every float type becomes float32, the one precision the audit computes in."""

from __future__ import annotations

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.elements import TORCH_TYPE, type_name
from auditor.loading.onnx_graph.converters.registration import converter, result


class Cast(nn.Module):
    """Convert to another element type; the gradient passes between float types only."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class CastLike(nn.Module):
    """Convert to the element type of another tensor."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return x.to(like.dtype)


@converter("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28)
def cast(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    wanted = node.attributes["to"]
    if wanted not in TORCH_TYPE:
        raise NotImplementedError(f"Cast to element type {type_name(wanted)}")
    return result(node, Cast(TORCH_TYPE[wanted]))


@converter("CastLike", 15, 19, 21, 23, 24, 25)
def cast_like(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, CastLike())
