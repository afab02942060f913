"""How much of an image's layout the dense layers of a network see.

After global pooling a last layer sees that a feature is there, not where. A hidden layer that sees whole maps knows
every place of theirs, as a multilayer perceptron knows every pixel: the more places, the more a few pixels can do on a
clean network. What is rare for a residual network is usual for LeNet, and more so for the two convolutions with one
pool that tutorials begin with.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_MAKING = ("convolution", "cat", "max_pool", "avg_pool", "adaptive", "mean", "native_batch_norm")
"""beginnings of operations that make maps with the channels on axis 1; attention and layers for channels last do not"""


def density(network: nn.Module, sample: Tensor) -> float:
    """How many places of the image the dense layers tell apart, as a logarithm, from 0 to 1.

    0 for one place, as after global pooling; 1 for all, as without convolution; LeNet with its 4 × 4 places of 28 × 28
    has 0.42. ``sample`` is a batch (N, ...) that the network takes; 0 where it cannot be looked at.
    """
    seen = _Maps(len(sample), _pixels(sample))
    try:
        with torch.no_grad(), seen:
            network(sample.clone())
    except Exception:  # whether it can be asked at all comes up elsewhere
        return 0.0
    return min(1.0, math.log(max(1.0, seen.places)) / math.log(max(2, seen.pixels)))


def _pixels(sample: Tensor) -> int:
    """H · W, whichever axis the channels are on."""
    sides = sorted(sample.shape[1:])
    return math.prod(sides[-2:])


class _Maps(TorchDispatchMode):
    """Watches which maps lie before a dense layer, one that has a row an image."""

    def __init__(self, batch: int, pixels: int) -> None:
        super().__init__()
        self.batch, self.pixels = batch, pixels
        self.places = 1.0
        self._channels: int | None = None
        """of the latest maps; None from a dense layer to the next maps"""
        self._convolved = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        name = function.name().removeprefix("aten::")
        if name.startswith(("addmm", "mm")):
            self._dense(args[1] if name.startswith("addmm") else args[0])
        elif isinstance(made, Tensor) and made.ndim == 4 and name.startswith(_MAKING):
            self._convolved |= name.startswith("convolution")
            self._channels = made.shape[1]
        return made

    def _dense(self, rows: Tensor) -> None:
        if rows.ndim != 2 or rows.shape[0] != self.batch:
            return
        if not self._convolved:
            self.places = float(self.pixels)
        elif self._channels is not None:
            self.places = max(self.places, rows.shape[1] / self._channels)
        self._channels = None
