"""Pad, and the padding of sliding windows (explicit pads, auto_pad)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor

from auditor.loading.onnx_graph.converters.elements import check_elements
from auditor.loading.onnx_graph.converters.registration import StaticArguments, converter, integers, result

_TORCH_MODE = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes, as ONNX describes it."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    auto_pad: str
    ceil: bool

    @classmethod
    def of(cls, node: OnnxNode, kernel: list[int] | None = None) -> Window:
        """Read the window's attributes; ``kernel`` when the node need not give it."""
        given = node.attributes
        kernel = list(given.get("kernel_shape") or kernel or [])
        if len(kernel) not in (1, 2, 3):
            raise NotImplementedError(f"a window over {len(kernel)} axes")
        rank = len(kernel)
        return cls(
            kernel=kernel,
            strides=list(given.get("strides") or [1] * rank),
            dilations=list(given.get("dilations") or [1] * rank),
            pads=list(given.get("pads") or [0] * rank * 2),
            auto_pad=given.get("auto_pad", "NOTSET"),
            ceil=given.get("ceil_mode", 0) == 1,
        )

    @property
    def rank(self) -> int:
        return len(self.kernel)

    def symmetric_padding(self) -> list[int] | None:
        """Padding that torch's own argument can express, or ``None``."""
        if self.auto_pad == "VALID":
            return [0] * self.rank
        begin, end = self.pads[: self.rank], self.pads[self.rank :]
        return begin if self.auto_pad in ("NOTSET", "") and begin == end else None

    def symmetric_pool_padding(self) -> list[int] | None:
        """As ``symmetric_padding``, for pools, which take at most half a window."""
        padding = self.symmetric_padding()
        fits = padding is not None and all(2 * p <= k for p, k in zip(padding, self.kernel, strict=True))
        return padding if fits else None

    def torch_pads(self, x: Tensor) -> list[int]:
        """Pads for ``F.pad``, last axis first; SAME pads depend on the size of ``x``."""
        begin, end = self.pads[: self.rank], self.pads[self.rank :]
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            begin, end = self._same_pads(list(x.shape[2:]))
        return [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]

    def _same_pads(self, sizes: list[int]) -> tuple[list[int], list[int]]:
        small, large = [], []
        for size, kernel, stride, dilation in zip(sizes, self.kernel, self.strides, self.dilations, strict=True):
            steps = -(-size // stride)
            total = max(0, (steps - 1) * stride + (kernel - 1) * dilation + 1 - size)
            small.append(total // 2)
            large.append(total - total // 2)
        return (small, large) if self.auto_pad == "SAME_UPPER" else (large, small)


class Pad(StaticArguments):
    """Pad every axis, or the named ones, at both ends; negative amounts crop."""

    def __init__(self, mode: str, pads: list[int] | None = None, value: float = 0.0) -> None:
        super().__init__()
        self.mode, self.pads, self.value = _TORCH_MODE[mode], pads, value

    def forward(
        self,
        x: Tensor,
        pads: Tensor | list[int] | None = None,
        constant_value: Tensor | float | None = None,
        axes: Tensor | list[int] | None = None,
    ) -> Tensor:
        amounts = integers(pads) if pads is not None else self.pads or []
        named = list(range(len(amounts) // 2)) if axes is None else [a % x.dim() for a in integers(axes)]
        begin, end = [0] * x.dim(), [0] * x.dim()
        for position, axis in enumerate(named):
            begin[axis], end[axis] = amounts[position], amounts[position + len(named)]
        check_elements(size + sum(ends) for size, *ends in zip(x.shape, begin, end, strict=True))
        value = self.value if constant_value is None else float(constant_value)
        flat = [amount for pair in zip(reversed(begin), reversed(end), strict=True) for amount in pair]
        if self.mode == "constant":
            return F.pad(x, flat, value=value)
        while len(flat) > 2 and flat[-2:] == [0, 0] and (len(flat) > 2 * (x.dim() - 2) or len(flat) > 6):
            flat = flat[:-2]  # torch pads at most the trailing axes in these modes
        return F.pad(x, flat, mode=self.mode)


def _mode(node: OnnxNode) -> str:
    mode = node.attributes.get("mode", "constant")
    if mode not in _TORCH_MODE:
        raise NotImplementedError("Pad with an unknown mode")
    return str(mode)


@converter("Pad", 2)
def pad_by_attributes(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Pad(_mode(node), node.attributes["pads"], node.attributes.get("value", 0.0)))


@converter("Pad", 11, 13, 18, 19, 21, 23, 24, 25)
def pad_by_inputs(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Pad(_mode(node)))
