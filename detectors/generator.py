"""Generator: a small network that draws each image a faint pattern of its own, and so commands each class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier, Exhibit, Need, Setting, Statistic

from .pattern_search import target_margin
from .whole_image import Mode, Transform, WholeImage, changed_logits, grey_centred, picture

KERNEL, SMALLER = 3, 2
"""side of each convolution, and how many of them halve the size of what they see"""


@dataclass(frozen=True)
class Drawing:
    """x ← x + a·tanh(g_θ(x)); θ (J, P) are the weights of a network g of four convolutions, one network a job.

    Two convolutions of stride 2 look at the image, two more draw at its full size: what is drawn at a place depends on
    some 11 × 11 pixels around it.
    """

    reach: float
    """a, the most that a pixel changes"""
    width: int
    """channels after the first convolution"""
    step: float = 0.005

    def start(self, jobs: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
        """Weights of variance 2 / fan-in (He et al., ICCV 2015), no biases."""
        parts = []
        for inward, outward in self._layers(shape[0]):
            spread = math.sqrt(2 / (inward * KERNEL**2))
            weights = torch.randn(jobs, outward * inward * KERNEL**2, generator=rng) * spread
            parts += [weights, torch.zeros(jobs, outward)]
        return torch.cat(parts, 1)

    def project(self, theta: Tensor) -> Tensor:
        return theta

    def apply(self, images: Tensor, theta: Tensor, strength: float = 1.0) -> Tensor:
        return (images + strength * self.reach * self.drawn(images, theta)).clamp(0, 1)

    def drawn(self, images: Tensor, theta: Tensor) -> Tensor:
        """What each job's network draws for its images (J, B, C, H, W): the same shape, in [-1, 1]."""
        jobs, batch, channels, height, width = images.shape
        # all networks side by side, as groups of channels, so that one convolution serves them all
        maps = (images - 0.5).transpose(0, 1).flatten(1, 2)
        layers, at = self._layers(channels), 0
        for number, (inward, outward) in enumerate(layers, 1):
            size = outward * inward * KERNEL**2
            weight = theta[:, at : at + size].reshape(jobs * outward, inward, KERNEL, KERNEL)
            bias = theta[:, at + size : at + size + outward].flatten()
            at += size + outward
            stride = 2 if number <= SMALLER else 1
            maps = F.conv2d(maps, weight, bias, stride=stride, padding=KERNEL // 2, groups=jobs)
            maps = maps.relu() if number < len(layers) else maps.tanh()
            if number == SMALLER:
                maps = F.interpolate(maps, (height, width), mode="nearest")
        return maps.view(batch, jobs, channels, height, width).transpose(0, 1)

    def trigger(self, theta: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Mode] | None:
        """None: no one pattern stands for those of all images."""
        return None

    def pictures(self, theta: Tensor, images: Tensor) -> tuple[Exhibit, ...]:
        """Images, and what is drawn for each, under them."""
        alone, weights = images.unsqueeze(0), theta.unsqueeze(0)
        rows = (images, grey_centred(self.drawn(alone, weights)[0], 1.0), self.apply(alone, weights)[0])
        title = "images, the pattern drawn for each (none is mid-grey), and both together"
        return (picture(title, torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)),)

    def _layers(self, channels: int) -> tuple[tuple[int, int], ...]:
        """(in, out) channels of each convolution, for images of so many."""
        return tuple(pairwise((channels, self.width, 2 * self.width, self.width, channels)))


class Crossed(Drawing):
    """The same, but each image is given the pattern of another."""

    def drawn(self, images: Tensor, theta: Tensor) -> Tensor:
        """(J, B, C, H, W): of the next image in the batch."""
        return super().drawn(images, theta).roll(1, dims=1)


@dataclass(frozen=True, kw_only=True)
class Generator(WholeImage):
    """How fully patterns that a small network draws for each image command a class, beyond those drawn for others.

    For each class y the weights θ of a small generator g_θ minimise −log f_y(clip(x_n + a·tanh(g_θ(x_n)))), all
    generators in one batch. On held-out images each pattern is then put on the image that it was drawn for, and on
    another. The statistic is the share of images that their own turns into the class, less the share that another's
    does (averaged over ``strengths``, where there are several); for the leading classes less what the reference yields
    to the same search. A backdoor whose trigger depends on the image has that by design. One pattern for all, or haze
    that a clean network takes for a class, works as well when crossed, and is for `blend` and its like to find.

    Paper: "Input-aware dynamic backdoor attack" (Nguyen and Tran, NeurIPS 2020), Section 3: its generator, and its
    cross-trigger test, which the attack is trained to pass; inverting it by a generator is from "Towards reliable and
    efficient backdoor trigger inversion via decoupling benign features" (Xu et al., ICLR 2024). Deviations: no
    decoupled features, no mask, a bound on each pixel. Cost: as of `blend`, and half the test images once more.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS, Need.IMAGES})
    statistic: ClassVar[Statistic] = Statistic("predictive power of patterns drawn for each image", "share of images")
    counted: ClassVar[str] = "own patterns beyond others'"

    reach: Annotated[float, Setting("largest change of a pixel, of 1", low=0.001, high=1)] = 0.16
    width: Annotated[int, Setting("channels of the network that draws", low=1, high=256)] = 8
    steps: Annotated[int, Setting("sign steps per search", low=1, high=100_000)] = 120
    batch: Annotated[int, Setting("images a step and class", low=1, high=1024)] = 16
    # a trigger that depends on the image hardly works when it is fainter: 0.86 ahead of all others became 0.29
    strengths: Annotated[
        tuple[float, ...], Setting("shares of the searched strength at which patterns are tested", low=0.01, high=1)
    ] = (1.0,)

    def transform(self) -> Transform:
        return Drawing(self.reach, self.width)

    def _turned(
        self,
        model: Classifier,
        family: Transform,
        images: Tensor,
        theta: Tensor,
        strength: float,
        target: int,
        usual: float,
    ) -> tuple[float, float]:
        own, crossed = (
            float((target_margin(changed_logits(model, each, images, theta, strength), target) > 0).float().mean())
            for each in (family, Crossed(self.reach, self.width))
        )
        return max(0.0, own - crossed), own
