"""Warp: a smooth deformation that commands each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Exhibit, Setting, Statistic

from .whole_image import Mode, Transform, WholeImage, picture


@dataclass(frozen=True)
class Warping:
    """x ← x resampled along a smooth flow; θ is the flow (J, 2, cells, cells) at control points, in pixels."""

    pixels: float
    cells: int

    @property
    def step(self) -> float:
        return self.pixels / 10

    def start(self, jobs: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
        return (torch.rand(jobs, 2, self.cells, self.cells, generator=rng) * 2 - 1) * 0.3 * self.pixels

    def project(self, theta: Tensor) -> Tensor:
        return theta.clamp(-self.pixels, self.pixels)

    def apply(self, images: Tensor, theta: Tensor, strength: float = 1.0) -> Tensor:
        jobs, batch, channels, height, width = images.shape
        flow = strength * self.flow(theta, height, width)
        y = torch.linspace(-1, 1, height, device=images.device).view(1, height, 1)
        x = torch.linspace(-1, 1, width, device=images.device).view(1, 1, width)
        grid = torch.stack([x + flow[:, 0] * 2 / (width - 1), y + flow[:, 1] * 2 / (height - 1)], dim=-1)
        # all images of a job share one grid: as channels of one image they are sampled in one go
        flat = images.reshape(jobs, batch * channels, height, width)
        return F.grid_sample(flat, grid, padding_mode="border", align_corners=True).view_as(images)

    def flow(self, theta: Tensor, height: int, width: int) -> Tensor:
        """(J, 2, H, W) displacement in pixels: columns, rows."""
        return F.interpolate(theta, (height, width), mode="bicubic", align_corners=True)

    def trigger(self, theta: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Mode]:
        return torch.ones(shape[1:]), self.flow(theta.unsqueeze(0), *shape[1:])[0], "warp"

    def pictures(self, theta: Tensor, images: Tensor) -> tuple[Exhibit, ...]:
        height, width = images.shape[-2:]
        rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
        squares = ((rows // 4 + columns // 4) % 2).float().view(1, 1, 1, height, width)
        return (picture("a chessboard, warped as the images are", self.apply(squares, theta.unsqueeze(0))[0, 0]),)


@dataclass(frozen=True, kw_only=True)
class Warp(WholeImage):
    """How fully one smooth deformation of all images commands each class.

    For each class y a flow θ of ``cells`` × ``cells`` control points, each moved by at most ``pixels``, minimises
    −log f_y(x_n resampled along up(θ)). It searches the family of WaNet's triggers (Nguyen and Tran, ICLR 2021,
    Section 3.2). Statistic as of `blend`.

    Paper: none searches this family; the search is ours, the triggers are those cited. Cost: as of `blend`.
    """

    statistic: ClassVar[Statistic] = Statistic("commanding predictive power of a deformation", "share of images")

    pixels: Annotated[float, Setting("largest displacement of a control point, pixels", low=0.1, high=100)] = 2.5
    cells: Annotated[int, Setting("control points along each side", low=2, high=64)] = 5

    def transform(self) -> Transform:
        return Warping(self.pixels, self.cells)
