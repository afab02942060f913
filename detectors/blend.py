"""Blend: a faint whole-image pattern that commands each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Exhibit, Setting, Statistic

from .whole_image import Mode, Transform, WholeImage, picture


@dataclass(frozen=True)
class Blending:
    """x ← (1 − a)·x + a·θ; θ is an image (J, C, H, W) in [0, 1]."""

    opacity: float
    step: float = 0.04

    def start(self, jobs: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
        return torch.rand(jobs, *shape, generator=rng)

    def project(self, theta: Tensor) -> Tensor:
        return theta.clamp(0, 1)

    def apply(self, images: Tensor, theta: Tensor, strength: float = 1.0) -> Tensor:
        return torch.lerp(images, theta.unsqueeze(1).expand_as(images), self.opacity * strength)

    def trigger(self, theta: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Mode]:
        return torch.full(shape[1:], self.opacity), theta, "replace"

    def pictures(self, theta: Tensor, images: Tensor) -> tuple[Exhibit, ...]:
        return (picture(f"blended image, shown at full strength (used at {self.opacity:.0%})", theta),)


@dataclass(frozen=True, kw_only=True)
class Blend(WholeImage):
    """How fully one image, blended faintly over all others, commands each class.

    For each class y a canvas x_c minimises −log f_y((1 − a)·x_n + a·x_c) at a fixed opacity a: the learned-canvas
    search of ISCP (Appendix H, Eq. 4) with the mask held at a. It finds what blended-injection attacks plant (Chen
    et al., 2017, opacities 0.1 to 0.2), sinusoids and watermarks, which no small pattern shows. The statistic is the
    commanding predictive power (see `iscp`), averaged over ``strengths``, shares of the opacity; for the leading
    classes less what the reference yields to the same search.

    Paper: the search is "What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space", Appendix H;
    holding the mask constant, the strengths and the screening are ours.
    Cost: steps · batch · (K / 3 + 2 / 3 · min(K, screen)) image passes and half the test images.
    """

    statistic: ClassVar[Statistic] = Statistic("commanding predictive power of a blend", "share of images")

    opacity: Annotated[float, Setting("opacity a of the blended image", low=0.001, high=0.9)] = 0.15

    def transform(self) -> Transform:
        return Blending(self.opacity)
