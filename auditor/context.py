"""What a detector receives: models, images, its own generator, and a way to report progress."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.errors import OutOfBudget
from auditor.findings import ImageFacts
from auditor.progress import PASSES, Progress

T = TypeVar("T")


def _silent(label: str, done: int, total: int) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class SearchImages:
    """Images that the searches run on, and others that their results are tested on."""

    search: Tensor
    """(N, C, H, W) in [0, 1]"""
    search_classes: Tensor
    """(N,) the suspect's own answers"""
    held_out: Tensor
    """(M, C, H, W), never optimised on"""
    held_out_classes: Tensor
    """(M,)"""
    facts: ImageFacts
    made: bool = False
    """whether they were made for the model, for want of real ones"""
    robust: SearchImages | None = None
    """class impressions by robust steps, for label maps; None with real images, or where few were reached"""


@dataclass(frozen=True)
class Context:
    """Everything a detector may use."""

    model: Classifier
    images: SearchImages
    rng: torch.Generator
    """seeded from (root seed, detector name); CPU"""
    reference: Classifier | None = None
    candidates: tuple[int, ...] = ()
    """classes that earlier detectors singled out, most conspicuous first"""
    deadline: float | None = None
    """monotonic seconds"""
    progress: Progress = field(default=_silent)
    title: str = ""
    """whose loops these are, said before each label"""

    @property
    def num_classes(self) -> int:
        """K."""
        return self.model.num_classes

    @property
    def on_robust_images(self) -> Context:
        """The same on robust class impressions, where there are some."""
        return self if self.images.robust is None else replace(self, images=self.images.robust)

    @property
    def differentiable(self) -> bool:
        """Whether every model here gives gradients with respect to its images."""
        return self.model.differentiable and (self.reference is None or self.reference.differentiable)

    @property
    def device(self) -> torch.device:
        """Where the suspect lives."""
        return self.model.device

    @property
    def passes(self) -> int:
        """Image passes so far, of all models here."""
        return self.model.passes + (self.reference.passes if self.reference is not None else 0)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Iterate with progress; raises `OutOfBudget` before an item when the time is up."""
        count = total if total is not None else len(items) if isinstance(items, Sized) else 0
        shown = f"{self.title}: {label}" if self.title else label
        for done, item in enumerate(items):
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise OutOfBudget(label)
            self.progress(shown, done, count)
            self.progress(PASSES, self.passes, 0)
            yield item
        self.progress(PASSES, self.passes, 0)
        self.progress(shown, count, count)
