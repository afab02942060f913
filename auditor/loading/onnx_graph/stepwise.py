"""Check a quantised network operation by operation.

Rounding to whole steps makes a network chaotic: where a value lies between two steps, the last bit of a float sum
decides, and one step more or less in an early layer moves everything after it. Two exact runtimes then differ by
several steps in the scores although each computes what the file says, onnxruntime with and without its own
optimisations included. So scores alone prove nothing. Here every operation gets the runtime's own inputs, and its
result alone is compared: a wrong converter shows at once, and a tie stays one step at a few places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx

from auditor.loading.onnx_graph.runtime import runtime_outputs

QUANTISED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
"""Operations that make a network quantised, besides onnxruntime's own QLinear ones."""

ROUNDED_SHARE = 1e-3
"""Largest share of the values of one operation that may lie one step off; one value always may."""


@dataclass(frozen=True)
class Step:
    """How one operation compares: ``operation`` for messages, the largest difference (in steps for quantised
    results, else relative), the share of values that differ and how many values there are."""

    operation: str
    quantised: bool
    difference: float
    share: float
    size: int

    @property
    def agrees(self) -> bool:
        """Ties alone: one step at few places, or float rounding."""
        if self.quantised:
            return self.difference <= 1 and self.share <= max(ROUNDED_SHARE, 1 / self.size)
        return self.difference <= 1e-3


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether any operation of the graph rounds to quantised steps."""
    return any(node.op_type in QUANTISED or node.op_type.startswith("QLinear") for node in model.graph.node)


def compared_steps(module: fx.GraphModule, model: onnx.ModelProto, images: Tensor) -> list[Step]:
    """Every operation of ``model``, as ``prepare`` leaves it, against its module in ``module``, freshly converted.

    Raises ModelFileError when the runtime cannot run the model.
    """
    watched, names = _with_every_value(model)
    values = dict(zip(names, runtime_outputs(watched, images, optimised=False), strict=True))
    forced = _Forced(module, model, values)
    with torch.no_grad():
        forced.run(images)
    return forced.steps


def _with_every_value(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return watched, names


class _Forced(fx.Interpreter):
    """Run a converted graph, giving each operation the runtime's own inputs and comparing its results."""

    def __init__(self, module: fx.GraphModule, model: onnx.ModelProto, values: dict[str, np.ndarray]) -> None:
        super().__init__(module)
        self.operations = list(model.graph.node)
        self.values = values
        self.steps: list[Step] = []
        self.position = 0

    def run_node(self, n: fx.Node) -> Any:
        """As fx runs it; a result that the runtime has too is compared with it and replaced by it."""
        result = super().run_node(n)
        if n.op != "call_module":
            return result
        operation = self.operations[self.position]
        self.position += 1
        results = [result] if isinstance(result, Tensor) else list(result)
        theirs = []
        for ours, name in zip(results, operation.output, strict=False):
            theirs.append(self._compared(operation.op_type, ours, self.values[name]) if name else ours)
        return theirs[0] if isinstance(result, Tensor) else tuple(theirs)

    def _compared(self, operation: str, ours: Tensor, value: np.ndarray) -> Tensor:
        theirs = torch.from_numpy(np.array(value, dtype=_carrier(value, ours)))
        if theirs.shape != ours.shape:
            self.steps.append(Step(operation, False, float("inf"), 1.0, 1))
        elif value.dtype.kind in "iu":
            apart = (ours.double() - theirs.double()).abs()
            self.steps.append(Step(operation, True, _largest(apart), _share(apart), apart.numel()))
        elif value.dtype.kind == "f":
            apart = (ours - theirs).abs()
            scale = max(_largest(theirs.abs()), 1e-6)
            self.steps.append(Step(operation, False, _largest(apart) / scale, _share(apart), apart.numel()))
        return theirs.to(ours.dtype)


def _carrier(value: np.ndarray, ours: Tensor) -> Any:
    return np.float32 if value.dtype.kind == "f" or ours.is_floating_point() else value.dtype


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _share(apart: Tensor) -> float:
    return float((apart > 0).float().mean()) if apart.numel() else 0.0
