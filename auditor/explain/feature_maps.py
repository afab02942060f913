"""The maps inside a network, found while it computes: no module needs to have a name or a kind.

Every tensor function that a forward pass calls is watched (`torch.overrides.TorchFunctionMode`), so converted ONNX
graphs, compiled programs' stand-ins and hand-written modules are alike. The network is left as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from auditor.classifier import Classifier

MOVES = frozenset(
    ("permute", "transpose", "movedim", "reshape", "view", "flatten", "unsqueeze", "squeeze", "expand", "contiguous",
     "to", "float", "clone", "detach", "pad", "cat", "chunk", "split", "__getitem__", "__get__", "dropout")
)  # fmt: skip
"""functions that move values and compute none"""


@dataclass(frozen=True)
class FeatureMap:
    """What one function of the network gave for a batch."""

    function: str
    """e.g. ``conv2d``"""
    values: Tensor
    """(N, C, H, W), differentiable with respect to the images where they asked for it"""


class _Watch(TorchFunctionMode):
    def __init__(self, images: int) -> None:
        super().__init__()
        self.images, self.found = images, []  # type: ignore[var-annotated]

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if isinstance(out, Tensor) and out.is_floating_point() and name not in MOVES:
            grid = as_grid(out, self.images)
            if grid is not None:
                self.found.append(FeatureMap(name, grid))
        return out


def as_grid(out: Tensor, images: int) -> Tensor | None:
    """A result as maps (N, C, H, W) of more than one place; None where it has none.

    Tokens (N, T, D) of a transformer are maps when T, or T less a class token, is a square.
    """
    if out.ndim == 4 and out.shape[0] == images and min(out.shape[2:]) > 1:
        return out
    if out.ndim == 3 and out.shape[0] == images:
        for extra in (0, 1):
            tokens = out.shape[1] - extra
            side = math.isqrt(max(0, tokens))
            if side > 1 and side * side == tokens:
                return out[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    return None


def feature_maps(model: Classifier, images: Tensor) -> list[FeatureMap]:
    """All maps of a forward pass over ``images`` (N, C, H, W) in [0, 1], in the order of computation.

    Empty for networks without any (fully connected ones, black boxes). The network's input is not among them.
    """
    with _Watch(len(images)) as watch:
        model.logits(images.to(model.device))
    same = tuple(images.shape)
    return [m for m in watch.found if tuple(m.values.shape) != same]


def convolutional_base(model: Classifier, images: Tensor) -> Tensor | None:
    """Ω of "Attack to Explain", Algorithm 2: the last maps with spatial size, (N, C, H, W); None without any."""
    found = feature_maps(model, images)
    return found[-1].values if found else None


@torch.no_grad()
def base_size(model: Classifier) -> tuple[int, int, int] | None:
    """(C, H, W) of the convolutional base; None where there is none."""
    base = convolutional_base(model, torch.full((1, *model.input_shape), 0.5))
    return None if base is None else (base.shape[1], base.shape[2], base.shape[3])
