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

ACTIVATIONS = frozenset(
    ("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
     "hardtanh", "hardswish", "hardsigmoid", "tanh", "sigmoid", "threshold", "softsign", "clamp", "clamp_min", "clip",
     "erf")
)  # fmt: skip
"""the usual non-linearities, and the erf to which exported graphs reduce GELU"""


@dataclass(frozen=True)
class FeatureMap:
    """What one function of the network gave for a batch."""

    function: str
    """e.g. ``conv2d``"""
    values: Tensor
    """(N, C, H, W), differentiable with respect to the images where they asked for it"""


class _Watch(TorchFunctionMode):
    """Tells `on_map` of every result that is a map of the images (N, C, H, W), and is no picture of their size."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images, self.same = len(images), tuple(images.shape)
        self.found: list[FeatureMap] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if isinstance(out, Tensor) and out.is_floating_point() and name not in MOVES:
            grid = as_grid(out, self.images)
            if grid is not None and tuple(grid.shape) != self.same:
                return self.on_map(name, out, grid)
        return out

    def on_map(self, name: str, out: Tensor, grid: Tensor) -> Tensor:
        """What the network goes on with instead of ``out``."""
        self.found.append(FeatureMap(name, grid))
        return out


@dataclass(frozen=True)
class Layer:
    """One activation layer inside a network."""

    position: int
    """among those of `feature_maps`: biases and weights computed on the way pass no activation"""
    channels: int
    lowest: float
    """no activation was below it"""
    length: float
    """of the vector of all channels at one place: root mean square over places, median over images"""


class _Activations(_Watch):
    """Tells `at_layer` of the activation at one position; counts them all."""

    def __init__(self, images: Tensor, position: int | None = None) -> None:
        super().__init__(images)
        self.position, self.seen = position, 0

    def on_map(self, name: str, out: Tensor, grid: Tensor) -> Tensor:
        if base_name(name) not in ACTIVATIONS:
            return out
        self.seen += 1
        if self.seen - 1 != self.position:
            return out
        return self.at_layer(out, out.permute(0, 3, 1, 2) if _channels_last(out) else grid)

    def at_layer(self, out: Tensor, grid: Tensor) -> Tensor:
        """What the network goes on with instead of ``out``."""
        self.found.append(FeatureMap("", grid))
        return out


class _Shift(_Activations):
    def __init__(self, images: Tensor, layer: Layer, shift: Tensor) -> None:
        super().__init__(images, layer.position)
        self.lowest, self.shift = layer.lowest, shift

    def at_layer(self, out: Tensor, grid: Tensor) -> Tensor:
        shift = self.shift.to(out.dtype)
        places = (1,) * (out.ndim - 2)
        # tokens (N, T, D) have their channels last
        last = out.ndim == 3 or _channels_last(out)
        moved = out + shift.reshape(len(shift), *places, -1) if last else out + shift.reshape(len(shift), -1, *places)
        # not clamp: at the bound, where a channel that only a trigger wakes rests, its gradient is 0
        return torch.where(moved >= self.lowest, moved, self.lowest)


@torch.no_grad()
def layer_at(model: Classifier, images: Tensor, depth: float) -> Layer | None:
    """The activation layer at ``depth`` in [0, 1] of all, as it is on ``images`` (N, C, H, W); None without any.

    None as well where the network takes a fixed batch, whose maps are not those of the images that were sent. Keeps the
    maps of this layer only.
    """
    if model.fixed_batch is not None:
        return None
    few = images[:2].to(model.device)
    with _Activations(few) as counting:
        model.logits(few)
    if not counting.seen:
        return None
    position = min(counting.seen - 1, int(depth * counting.seen))
    lengths, lowest, channels = [], math.inf, 0
    for piece in images.split(model.batch_images):
        sent = piece.to(model.device)
        with _Activations(sent, position) as watching:
            model.logits(sent)
        values = watching.found[0].values.float()
        lengths.append(values.square().sum(1).mean((1, 2)).sqrt().cpu())
        lowest, channels = min(lowest, float(values.amin())), values.shape[1]
    return Layer(position, channels, lowest, float(torch.cat(lengths).median()))


def shifted_logits(model: Classifier, images: Tensor, layer: Layer, shift: Tensor) -> Tensor:
    """(N, K) logits where ``shift`` (N, C) is added to the channels of a layer, the same at every place.

    Differentiable with respect to the shift; what is computed before the layer costs no backward pass.
    """
    images = images.to(model.device)
    with _Shift(images, layer, shift.to(model.device)):
        return model.logits(images)


def base_name(function: str) -> str:
    """``relu`` of ``relu_`` (in place) and of ``relu_.default`` (in exported programs)."""
    return function.partition(".")[0].rstrip("_")


def _channels_last(out: Tensor) -> bool:
    """Whether a result is (N, H, W, C), as ConvNeXt and Swin compute: square, and not by its last two sizes."""
    return out.ndim == 4 and out.shape[1] == out.shape[2] != out.shape[3] and out.shape[1] > 1


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
    with _Watch(images) as watch:
        model.logits(images.to(model.device))
    return watch.found


def convolutional_base(model: Classifier, images: Tensor) -> Tensor | None:
    """Ω of "Attack to Explain", Algorithm 2: the last maps with spatial size, (N, C, H, W); None without any."""
    found = feature_maps(model, images)
    return found[-1].values if found else None


@torch.no_grad()
def base_size(model: Classifier) -> tuple[int, int, int] | None:
    """(C, H, W) of the convolutional base; None where there is none."""
    base = convolutional_base(model, torch.full((1, *model.input_shape), 0.5))
    return None if base is None else (base.shape[1], base.shape[2], base.shape[3])
