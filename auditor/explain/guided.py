"""Guided backpropagation in any graph: every ReLU that is called gets Springenberg's backward rule.

"Striving for Simplicity: The All Convolutional Net" (Springenberg, Dosovitskiy, Brox and Riedmiller, ICLR workshop
2015), Section 3.4; "What Do Adversarially Robust Models Look At?", Appendix A.1, Eq. 13 to 15. The functions are
caught as they are called (`torch.overrides.TorchFunctionMode`), so that nothing is replaced inside the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from auditor.classifier import Classifier

_PARAMETERS = {
    "relu": ("input", "inplace"),
    "relu6": ("input", "inplace"),
    "hardtanh": ("input", "min_val", "max_val", "inplace"),
    "clamp": ("input", "min", "max"),
    "clip": ("input", "min", "max"),
    "clamp_min": ("input", "min"),
    "threshold": ("input", "threshold", "value", "inplace"),
}
"""functions that are a ReLU, or are one for some arguments, with their parameters in order"""


class GuidedBackpropagation(TorchFunctionMode):
    """Inside, gradients pass a ReLU only where its input and the gradient are positive; answers stay the same.

    Only the forward pass has to run inside. ReLUs are the functions and methods relu, relu6, hardtanh from 0,
    clamp_min(0), clamp(min=0) without a maximum or with that of ReLU6, threshold(0, 0), their in-place kinds and the
    modules and ``aten`` operations that call them. TorchScript programs call nothing that can be caught.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0
        """calls of a ReLU so far; after a pass with 0, the gradient is the vanilla gradient"""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        call = _as_relu(func, args, kwargs or {})
        if call is None:
            return func(*args, **(kwargs or {}))
        self.replaced += 1
        out = _GuidedReLU.apply(call.input, call.ceiling)
        # others may hold the same tensor (a shortcut, say), so its values have to change too
        return call.input.copy_(out) if call.in_place else out


@torch.no_grad()
def relus(model: Classifier) -> int:
    """How many ReLUs one forward pass calls.

    0: none can be given the rule, as the network has none or is a TorchScript program; guided backpropagation then
    equals the vanilla gradient.
    """
    with GuidedBackpropagation() as guided:
        model.logits(torch.full((1, *model.input_shape), 0.5, device=model.device))
    return int(guided.replaced)


class _GuidedReLU(torch.autograd.Function):
    """min(max(x, 0), ceiling), and T of Eq. 15 backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < ceiling))
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (active,) = ctx.saved_tensors
        # no relu or clamp here, which would be caught and counted when the backward pass runs inside, too
        return torch.where(active & (gradient > 0), gradient, 0.0), None


class _Relu(NamedTuple):
    input: Tensor
    ceiling: float
    in_place: bool


def _as_relu(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Relu | None:
    name = getattr(func, "__name__", "").split(".")[0].lstrip("_")  # relu.default of aten, F._threshold
    kind = name.removesuffix("_")
    if kind not in _PARAMETERS or kwargs.get("out") is not None:
        return None
    given = dict(zip(_PARAMETERS[kind], args, strict=False)) | dict(kwargs)
    x = given.get("input", given.get("self"))
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    ceiling = _ceiling(kind, given)
    return None if ceiling is None else _Relu(x, ceiling, name.endswith("_") or bool(given.get("inplace")))


def _ceiling(kind: str, given: Mapping[str, Any]) -> float | None:
    """The largest value that the ReLU lets through; None where the function is no ReLU."""
    if kind == "relu6":
        return 6.0
    if kind == "hardtanh":
        return float(given.get("max_val", 1.0)) if _is(given.get("min_val", -1.0), 0) else None
    if kind == "threshold":
        return math.inf if _is(given.get("threshold"), 0) and _is(given.get("value"), 0) else None
    if kind == "relu":
        return math.inf
    if not _is(given.get("min"), 0):
        return None
    if given.get("max") is None:
        return math.inf
    return 6.0 if _is(given["max"], 6) else None  # any other range may just as well be that of pixels


def _is(value: Any, number: float) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not value.requires_grad and float(value) == number
    return isinstance(value, int | float) and value == number
