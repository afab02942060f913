"""How Neural Cleanse weighs the size of a mask against its success, and when it stops, for all classes at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """The constants of Neural Cleanse: paper, Section IV, and the example script of the published code."""

    steps: int = 1000
    batch: int = 32
    batches: int = 1
    """batches a step, over which success is averaged; the published script takes 31, at 31 times the cost"""
    lr: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    first_weight: float = 1e-3
    """λ₀, weight of ‖m‖₁, from the first ``patience`` steps with enough success on; 0 before, as in the code"""
    success: float = 0.99
    """share of images that must go to the target"""
    patience: int = 5
    """steps in a row with enough (or too little) success after which λ is raised (or lowered)"""
    up: float = 2.0
    down: float = 2.0**1.5
    early_stop: int = 25
    """steps in a row without a smaller mask, once λ went both up and down, after which a class is done"""
    threshold: float = 2.0
    """anomaly index above which a class with a small mask is named"""


class Schedule:
    """λ, best mask size and end of K searches; each follows its own success."""

    def __init__(self, classes: int, settings: Settings) -> None:
        self._s = settings
        self.weight = torch.zeros(classes)
        """(K,) λ"""
        self.best = torch.full((classes,), torch.inf)
        """(K,) pixels, the smallest mask with enough success; inf where there was none"""
        self.done = torch.zeros(classes, dtype=torch.bool)
        """(K,)"""
        self._stale, self._first, self._above, self._below = (torch.zeros(classes) for _ in range(4))
        self._raised, self._lowered = (torch.zeros(classes, dtype=torch.bool) for _ in range(2))

    def step(self, success: Tensor, sizes: Tensor) -> None:
        """One step of all searches: success rates in [0, 1] and mask sizes in pixels, both (K,).

        The order is the published code's: best mask, end, first λ, then λ up or down. A search that is done keeps
        what it had.
        """
        running, enough = ~self.done, success >= self._s.success
        smaller = running & enough & (sizes < self.best)
        self.best = torch.where(smaller, sizes, self.best)
        found = running & self.best.isfinite()
        self._stale = torch.where(smaller, 0.0, self._stale + found)
        self.done = self.done | (found & self._raised & self._lowered & (self._stale >= self._s.early_stop))
        self._set_first(enough)
        self._move(enough)

    def _set_first(self, enough: Tensor) -> None:
        self._first = torch.where((self.weight == 0) & enough, self._first + 1, 0.0)
        due = ~self.done & (self._first >= self._s.patience)
        self.weight = torch.where(due, self._s.first_weight, self.weight)
        self._above, self._below = (torch.where(due, 0.0, count) for count in (self._above, self._below))
        # what happened to a λ of 0 does not count towards the end
        self._raised, self._lowered = self._raised & ~due, self._lowered & ~due

    def _move(self, enough: Tensor) -> None:
        self._above = torch.where(enough, self._above + 1, 0.0)
        self._below = torch.where(enough, 0.0, self._below + 1)
        rise = ~self.done & (self._above >= self._s.patience)
        fall = ~self.done & (self._below >= self._s.patience)
        self.weight = torch.where(rise, self.weight * self._s.up, self.weight)
        self.weight = torch.where(fall, self.weight / self._s.down, self.weight)
        self._above, self._below = torch.where(rise, 0.0, self._above), torch.where(fall, 0.0, self._below)
        self._raised, self._lowered = self._raised | rise, self._lowered | fall
