"""Colour: a change of tone curves that commands each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Curve, Effort, Exhibit, Setting, Statistic

from .whole_image import Mode, Transform, WholeImage


@dataclass(frozen=True)
class Toning:
    """x ← clip(x + curve_θ(x)) in each channel; θ holds the curve's values (J, C, knots) at evenly spaced tones."""

    amplitude: float
    knots: int

    @property
    def step(self) -> float:
        return self.amplitude / 10

    def start(self, jobs: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
        return (torch.rand(jobs, shape[0], self.knots, generator=rng) * 2 - 1) * self.amplitude / 5

    def project(self, theta: Tensor) -> Tensor:
        return theta.clamp(-self.amplitude, self.amplitude)

    def apply(self, images: Tensor, theta: Tensor, strength: float = 1.0) -> Tensor:
        place = images * (self.knots - 1)
        moved = images
        for knot in range(self.knots):
            near = (1 - (place - knot).abs()).clamp_min(0)
            moved = moved + strength * near * theta[:, None, :, knot, None, None]
        return moved.clamp(0, 1)

    def trigger(self, theta: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Mode]:
        return torch.ones(shape[1:]), theta.unsqueeze(-1), "tone"

    def pictures(self, theta: Tensor, images: Tensor) -> tuple[Exhibit, ...]:
        tones = tuple(i / (self.knots - 1) for i in range(self.knots))
        names = ("red", "green", "blue") if len(theta) == 3 else tuple(f"channel {i}" for i in range(len(theta)))
        return tuple(
            Curve(
                f"tone curve, {names[c] if len(theta) > 1 else 'grey'}",
                tones,
                tuple(min(1.0, max(0.0, t + float(v))) for t, v in zip(tones, theta[c], strict=True)),
                "tone before",
                "tone after",
            )
            for c in range(len(theta))
        )


@dataclass(frozen=True, kw_only=True)
class Colour(WholeImage):
    """How fully one change of tone and colour, made to all images, commands each class.

    For each class y a curve θ a channel, piecewise linear between ``knots`` tones and within ``amplitude`` of doing
    nothing, minimises −log f_y(clip(x_n + curve_θ(x_n))). It reaches filters in the manner of Instagram (ABS, Liu et
    al., CCS 2019), posterisation (BppAttack, Wang et al., CVPR 2022), brightening, and, since tones are shared by all
    pixels, hardly anything else. Statistic as of `blend`.

    Paper: none searches this family; the search is ours, the triggers are those cited. Cost: as of `blend`.
    """

    effort: ClassVar[Effort] = Effort.THOROUGH
    statistic: ClassVar[Statistic] = Statistic("commanding predictive power of a tone curve", "share of images")

    amplitude: Annotated[float, Setting("largest change of a tone, of 1", low=0.001, high=1)] = 0.3
    knots: Annotated[int, Setting("tones at which a curve is free", low=2, high=64)] = 6

    def transform(self) -> Transform:
        return Toning(self.amplitude, self.knots)
