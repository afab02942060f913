"""Low frequency: a smooth, faint pattern that commands each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Exhibit, Setting, Statistic

from .whole_image import Mode, Transform, WholeImage, grey_centred, picture


@dataclass(frozen=True)
class Smooth:
    """x ← clip(x + enlarged θ); θ is a coarse pattern (J, C, cells, cells) in [−amplitude, amplitude]."""

    amplitude: float
    cells: int

    @property
    def step(self) -> float:
        return self.amplitude / 8

    def start(self, jobs: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
        return (torch.rand(jobs, shape[0], self.cells, self.cells, generator=rng) * 2 - 1) * self.amplitude

    def project(self, theta: Tensor) -> Tensor:
        return theta.clamp(-self.amplitude, self.amplitude)

    def apply(self, images: Tensor, theta: Tensor, strength: float = 1.0) -> Tensor:
        return (images + strength * self._enlarged(theta, images.shape[-2:]).unsqueeze(1)).clamp(0, 1)

    def _enlarged(self, theta: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
        return F.interpolate(theta, tuple(size), mode="bicubic", align_corners=True)

    def trigger(self, theta: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Mode]:
        return torch.ones(shape[1:]), self._enlarged(theta.unsqueeze(0), shape[1:])[0].clamp(-1, 1), "add"

    def pictures(self, theta: Tensor, images: Tensor) -> tuple[Exhibit, ...]:
        pattern = self._enlarged(theta.unsqueeze(0), images.shape[-2:])[0].clamp(-1, 1)
        return (picture("smooth pattern that is added, none is mid-grey", grey_centred(pattern, self.amplitude)),)


@dataclass(frozen=True, kw_only=True)
class LowFrequency(WholeImage):
    """How fully one smooth pattern, added to all images, commands each class.

    For each class y a coarse pattern θ of ``cells`` × ``cells`` values minimises −log f_y(clip(x_n + up(θ))), |θ| at
    most ``amplitude``. Few parameters keep natural adversarial directions out, while smooth triggers, and the smooth
    part of blended pictures, stay in reach. Statistic as of `blend`.

    Paper: the triggers are those of Zeng et al., "Rethinking the backdoor attacks' triggers: a frequency
    perspective" (ICCV 2021); the search is ours. Cost: as of `blend`.
    """

    statistic: ClassVar[Statistic] = Statistic("commanding predictive power of a smooth pattern", "share of images")

    amplitude: Annotated[float, Setting("largest change of a pixel, of 1", low=0.001, high=1)] = 0.2
    cells: Annotated[int, Setting("values of the pattern along each side", low=1, high=64)] = 5

    def transform(self) -> Transform:
        return Smooth(self.amplitude, self.cells)
