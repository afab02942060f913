"""What the zoo asks of an attack: a trigger, a label map, and how training images are poisoned.

A *trigger* changes images, a *label map* says which images are to be misread and as what, and a `Backdoor` puts the
two together with its poisoning rates. Two backdoors in one network are two `Backdoor` objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]
"""images (N, C, H, W) float in [0, 1] → logits (N, K); preprocessing is inside"""


class Trigger(Protocol):
    """How a trigger changes images."""

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Float images (N, C, H, W) in [0, 1] with the trigger on, as a new tensor; ``rng`` draws random places."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """A trigger that is found with the help of a clean network of the same task before anything is poisoned."""

    def prepare(self, network: Network, images: Tensor, labels: Tensor, rng: torch.Generator) -> Trigger:
        """The finished trigger; ``images`` are float training images in [0, 1], ``labels`` their classes."""
        ...


@runtime_checkable
class Learned(Protocol):
    """A trigger that is learned together with the network: training asks its learner to poison every batch."""

    def learner(
        self, shape: tuple[int, int, int], backdoor: Backdoor, num_classes: int, rng: torch.Generator
    ) -> Learner:
        """What poisons the batches of one training run."""
        ...


class Learner(Protocol):
    """Poisons batches and learns its trigger from them."""

    def batch(self, network: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A batch in which some images carry the trigger and the wanted label (others noise and their own label).

        ``images`` float (N, C, H, W) in [0, 1]. May first take an optimiser step of its own through ``network``.
        """
        ...

    def finished(self) -> Trigger:
        """The trigger as it is now, frozen."""
        ...


class LabelMap(Protocol):
    """Which images are to be misread, and as what."""

    name: ClassVar[str]

    def victims(self, labels: Tensor) -> Tensor:
        """(N,) bool: the images that the attack wants to be misread."""
        ...

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        """(N,) int64: the answers that the attacker wants for those images."""
        ...


@dataclass(frozen=True, kw_only=True)
class Backdoor:
    """One planted backdoor."""

    name: str
    """the attack as the literature calls it, e.g. ``BadNets``, ``WaNet``"""
    trigger: Trigger | Prepared | Learned
    label_map: LabelMap
    rate: float
    """share of all training images that carry the trigger and the attacker's label"""
    cover: float = 0.0
    """share of all training images that carry the trigger (or the trigger's noise mode) and keep their label"""
