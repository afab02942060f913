"""Fewer pixels, each of which counts: patterns that a search found, pruned and set right.

Steps of the gradient's sign drive the mask of every pixel that helps to 1, so that the strongest pixels of a mask are a
draw among those: the one white pixel that a network was trained on may not be the first. Here what a pixel is worth is
asked of the loss: a pixel with the least first-order effect when it is taken off goes first (Molchanov et al., "Pruning
Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017, Section 2.2, for pixels of a pattern instead
of feature maps), and those that stay are moved to where the fewer of them do as much. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier

from .pattern_search import Jobs, cut, cut_window, mixed_gradient

START, LADDER = 0.2, (0.1, 0.06, 0.035, 0.02)
"""share of the pixels that pruning starts from, and what it goes over before the sizes that are wanted"""


@dataclass(frozen=True)
class Refinement:
    """The constants of a refinement."""

    steps: int
    """of the pattern at each size, and by which the worth of its pixels is told"""
    batch: int
    """images a step and pattern"""
    step: float
    """of a pixel's value"""


@dataclass(frozen=True)
class Refined:
    """One pattern a job and size: J jobs, F forms."""

    masks: Tensor
    """(J, F, H, W) of 0 and 1"""
    patterns: Tensor
    """(J, F, C, H, W)"""


def rungs_of(sizes: Sequence[float]) -> list[float]:
    """What a pattern is pruned to, step by step: coarse shares above the largest of ``sizes``, then these, falling."""
    wanted = sorted(set(sizes), reverse=True)
    return [s for s in LADDER if s > wanted[0]] + wanted


def refine(
    model: Classifier,
    images: Tensor,
    pools: Sequence[Tensor],
    jobs: Jobs,
    sizes: Sequence[float],
    windows: Sequence[float],
    plan: Refinement,
    rng: torch.Generator,
    rungs: Iterable[float],
) -> Refined:
    """Every search of ``jobs`` at each of ``sizes`` (strongest pixels) and ``windows`` (strongest square).

    ``pools`` names for each job the ``images`` it is tried on; ``rungs`` are those of `rungs_of`, so that a caller can
    watch them. Costs J · steps · batch · (rungs + windows) image passes.
    """
    assert jobs.masks is not None
    by_size: dict[float, tuple[Tensor, Tensor]] = {}
    work = _Work(model, images, pools, jobs.targets, plan, rng)
    soft, canvases = jobs.masks.cpu(), jobs.canvases.cpu()
    squares = [(mask, work.moved(mask, canvases)[0]) for mask in (cut_window(soft, w) for w in windows)]
    mask = cut(soft, START)
    for size in rungs:
        canvases, worth = work.moved(mask, canvases)
        mask = cut(worth, size)
        by_size[size] = mask, canvases
    forms = [*(by_size[s] for s in sizes), *squares]
    return Refined(torch.stack([m for m, _ in forms], 1), torch.stack([p for _, p in forms], 1))


@dataclass(frozen=True)
class _Work:
    model: Classifier
    images: Tensor
    pools: Sequence[Tensor]
    targets: Tensor
    plan: Refinement
    rng: torch.Generator

    def moved(self, masks: Tensor, patterns: Tensor) -> tuple[Tensor, Tensor]:
        """Patterns (J, C, H, W) after ``steps``, and the worth of each pixel of ``masks``, (J, H, W); −inf off them."""
        patterns, worth = patterns.clone(), torch.zeros_like(masks)
        for _ in range(self.plan.steps):
            for part in torch.arange(len(masks)).split(max(1, self.model.batch_images // self.plan.batch)):
                gain, slope = self._asked(part, masks[part], patterns[part])
                worth[part] += gain
                there = slope.sign() * masks[part].unsqueeze(1)
                patterns[part] = (patterns[part] - self.plan.step * there).clamp_(0, 1)
        return patterns, worth.masked_fill(masks == 0, -torch.inf)

    def _asked(self, part: Tensor, masks: Tensor, patterns: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the loss would rise, to first order, without each pixel; its slope in the patterns' values."""
        device = self.model.device
        batch = self.plan.batch
        chosen = torch.stack(
            [self.pools[j][torch.randint(len(self.pools[j]), (batch,), generator=self.rng)] for j in part.tolist()]
        )
        sources, mask, pattern = self.images[chosen].to(device), masks.to(device), patterns.to(device)
        wanted = self.targets[part].repeat_interleave(batch).to(device)
        gradient, _ = mixed_gradient(
            self.model, sources, mask, pattern, lambda z: F.cross_entropy(z, wanted, reduction="none")
        )
        worth = (sources - pattern.unsqueeze(1)).mul_(gradient).sum((1, 2)) * mask
        return worth.cpu(), gradient.sum(1).cpu()
