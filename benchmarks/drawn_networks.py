"""Networks drawn at random: ``grey_17`` is the seventeenth for drawings, ``colour_17`` the same for colour.

As people write their own: convolutions with or without norm, any activation, any way of getting smaller, pooled or
dense at the end. ``--arch benchmarks.drawn_networks:grey_17`` names one on the auditor's command line.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

IMAGES = {"grey": (1, 28), "colour": (3, 32)}
"""channels and side of the images"""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.1), "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "tanh": nn.Tanh,
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What is drawn of a network."""

    widths: tuple[int, ...]
    """channels of each stage"""
    convolutions: int
    """of each stage"""
    kernel: int
    norm: Literal["none", "batch", "group"]
    activation: str
    smaller: Literal["max", "average", "stride"]
    """how each stage halves the sides"""
    skips: bool
    """whether a stage's second convolution adds to what came in"""
    pooled: bool
    """whether the last maps are averaged; else a dense layer sees them whole"""
    hidden: int
    """values of a hidden dense layer; 0 = none"""
    dropout: float


def layout(number: int) -> Layout:
    """The layout of a number, the same ever after."""
    rng = random.Random(f"layout {number}")
    stages = rng.choice((2, 2, 3, 3, 4))
    width = rng.choice((8, 12, 16, 24))
    pooled = rng.random() < 0.5
    return Layout(
        widths=tuple(min(96, width * 2**stage) for stage in range(stages)),
        convolutions=rng.choice((1, 1, 2)),
        kernel=rng.choice((3, 3, 3, 5)),
        # what is pooled learns little without norm in so few epochs
        norm=rng.choice(("batch", "batch", "group") if pooled else ("none", "none", "batch", "group")),  # type: ignore[arg-type]
        activation=rng.choice(("relu", "relu", "relu", *ACTIVATIONS)),
        smaller=rng.choice(("max", "max", "average", "stride")),  # type: ignore[arg-type]
        skips=rng.random() < 0.4,
        pooled=pooled,
        hidden=rng.choice((0, 0, 64) if pooled else (0, 64, 128, 256)),
        dropout=rng.choice((0.0, 0.0, 0.25)),
    )


class Added(nn.Module):
    """A layer whose result is added to its input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)  # type: ignore[no-any-return]


def network(drawn: Layout, num_classes: int, channels: int, side: int) -> nn.Module:
    """The network, with fresh weights, for images of ``channels`` x ``side`` x ``side``."""
    layers: list[nn.Module] = []
    now = channels
    for place, width in enumerate(drawn.widths):
        layers.append(_convolution(drawn, now, width, 2 if drawn.smaller == "stride" and place else 1))
        further = [_convolution(drawn, width, width, 1) for _ in range(drawn.convolutions - 1)]
        layers += [Added(layer) if drawn.skips else layer for layer in further]
        if drawn.smaller != "stride":
            layers.append(nn.MaxPool2d(2) if drawn.smaller == "max" else nn.AvgPool2d(2))
        now = width
    layers += [nn.AdaptiveAvgPool2d(1)] if drawn.pooled else []
    layers += [nn.Flatten(), nn.Dropout(drawn.dropout)]
    with torch.no_grad():
        seen = nn.Sequential(*layers).eval()(torch.zeros(1, channels, side, side)).shape[1]
    if drawn.hidden:
        layers += [nn.Linear(seen, drawn.hidden), ACTIVATIONS[drawn.activation]()]
    return nn.Sequential(*layers, nn.Linear(drawn.hidden or seen, num_classes)).train()


def _convolution(drawn: Layout, channels: int, width: int, stride: int) -> nn.Module:
    norms = {"none": nn.Identity, "batch": nn.BatchNorm2d, "group": lambda width: nn.GroupNorm(4, width)}
    convolution = nn.Conv2d(channels, width, drawn.kernel, stride, drawn.kernel // 2, bias=drawn.norm == "none")
    return nn.Sequential(convolution, norms[drawn.norm](width), ACTIVATIONS[drawn.activation]())


def __getattr__(name: str) -> Callable[..., nn.Module]:
    """``grey_N`` and ``colour_N``: the factory of a number. Raises AttributeError for any other name."""
    images, _, number = name.partition("_")
    if images not in IMAGES or not number.isdecimal():
        raise AttributeError(f"expected grey_NUMBER or colour_NUMBER, got {name}")

    def factory(num_classes: int = 10) -> nn.Module:
        return network(layout(int(number)), num_classes, *IMAGES[images])

    return factory
