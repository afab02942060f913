"""Salient patterns: perturbations accumulated until they show what a network takes for a class.

"Attack to Explain Deep Representation" (Jalwana, Akhtar, Bennamoun and Mian, CVPR 2020): Algorithm 1 estimates one
perturbation that turns all of a set of images into a class, anchored at a seed image; Algorithm 2 filters it by what
excites the convolutional base. On a clean class it resembles the object, on a backdoored one the trigger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.explain.otsu import otsu
from auditor.feature_maps import convolutional_base
from auditor.settings import Setting

Track = Callable[[Iterable[int], str], Iterable[int]]
"""a loop that reports its progress, as `Context.track`"""

Penalty = Callable[[Tensor], Tensor]
"""p (C, H, W) → what a loss holds besides the cross-entropy, a scalar; differentiable"""

LEAST_STEPS, LEAST_SAMPLES, LEAST_BATCH = 20, 16, 8  # with fewer, moments and mean probabilities are mostly chance

PATCH_SHARE = (64 / 224) ** 2
"""share of the image that the paper covers: 64×64 (Section 5.1) of VGG-16's 224×224"""


PAPER_VALUES = 3 * 224 * 224
"""values of an image on which the paper's norms were chosen (ImageNet networks)"""


@dataclass(frozen=True, kw_only=True)
class SalientPattern:
    """The constants of both algorithms; defaults are the paper's (Sections 4, 5.1)."""

    samples: Annotated[int, Setting("images the perturbation acts on, |D|", low=2, high=100_000, paper="256")] = 256
    batch: Annotated[int, Setting("images a step, the seed among them, b", low=2, high=4096, paper="32")] = 32
    gamma: Annotated[float, Setting("mean probability of the class to reach, γ", low=0.01, high=1, paper="0.8")] = 0.8
    eta: Annotated[float, Setting("ℓ2 norm of the perturbation, η, at 224×224", low=1e-3, high=1e4, paper="10")] = 10.0
    to_size: Annotated[bool, Setting("whether η goes with the size of the images", paper="not said")] = True
    alpha: Annotated[float, Setting("decay of the first moment, α", low=0, high=0.9999, paper="0.9")] = 0.9
    beta: Annotated[float, Setting("decay of the second moment, β", low=0, high=0.99999, paper="0.999")] = 0.999
    scale: Annotated[float, Setting("gain of the regions that refinement keeps, λ", low=0.1, high=100, paper="5")] = 5.0
    refine_every: Annotated[int, Setting("steps between refinements", low=1, high=10_000, paper="50")] = 50
    steps: Annotated[int, Setting("steps in all", low=1, high=100_000, paper="300")] = 300

    @property
    def refinements(self) -> int:
        """How many there are at most: one once γ is reached, one every ``refine_every`` steps, none after the last."""
        return 0 if self.steps < 2 else 1 + (self.steps - 2) // self.refine_every

    @property
    def forwards(self) -> int:
        """Images that are only looked at, at most: D both ways along ρ, the mini-batch under p_t; one a refinement."""
        return self.steps * (2 * self.samples + self.batch) + self.refinements

    @property
    def passes(self) -> int:
        """Image passes at most: steps · (batch + samples + batch/2), and one half a refinement.

        One image forward and backward is one pass, a forward alone one half, as `Classifier.passes` counts.
        """
        return self.steps * self.batch + math.ceil(self.forwards / 2)

    def at(self, shape: tuple[int, int, int]) -> Self:
        """The same with η for images (C, H, W): the root mean square change that the paper's is at 3×224×224."""
        return replace(self, eta=self.eta * math.sqrt(math.prod(shape) / PAPER_VALUES)) if self.to_size else self

    def affordable(self, passes: int) -> Self | None:
        """The largest plan of these proportions that takes at most ``passes``; None where no useful one does.

        Steps, samples and mini-batch shrink by one factor, each down to its ``LEAST_``, and ``refine_every`` with the
        steps, so that there are about as many refinements.
        """
        if self.passes <= passes:
            return self
        fits, exceeds = 0.0, 1.0
        if self._shrunk(fits).passes > passes:
            return None
        for _ in range(30):
            part = (fits + exceeds) / 2
            fits, exceeds = (part, exceeds) if self._shrunk(part).passes <= passes else (fits, part)
        return self._shrunk(fits)

    def _shrunk(self, part: float) -> Self:
        steps, samples, batch = (
            max(min(own, least), round(own * part))
            for own, least in ((self.steps, LEAST_STEPS), (self.samples, LEAST_SAMPLES), (self.batch, LEAST_BATCH))
        )
        every = max(1, round(self.refine_every * steps / self.steps))
        return replace(self, steps=steps, samples=samples, batch=batch, refine_every=every)


@dataclass(frozen=True)
class Salient:
    """What one seed led to."""

    perturbation: Tensor
    """(C, H, W), subtracted from images; ℓ2 norm at most η"""
    probability: float
    """mean probability of the class on the perturbed images, ℘ of line 22"""
    steps: int
    refined: bool
    """False where γ was not reached, or the network has no maps to refine by"""


@dataclass
class _Moments:
    first: Tensor
    second: Tensor
    step: int = 0


def salient_pattern(
    model: Classifier,
    seed: Tensor,
    images: Tensor,
    target: int,
    plan: SalientPattern,
    rng: torch.Generator,
    track: Track | None = None,
) -> Salient:
    """Algorithm 1 until γ, then Algorithm 2 and again Algorithm 1, refining every ``refine_every`` steps.

    ``seed`` (C, H, W) and ``images`` (N, C, H, W) are in [0, 1]. Cost: ``plan.passes`` at most, less where there are
    fewer than ``plan.samples`` images; it ends early only at γ where the network has no maps to refine by.
    """
    pool = images[torch.randperm(len(images), generator=rng)[: plan.samples]].to(model.device)
    loop: Iterable[int] = range(plan.steps)
    loop = loop if track is None else track(loop, f"salient pattern of class {target}")
    return accumulate(model, seed, pool, target, plan, rng, loop)


def accumulate(
    model: Classifier,
    seed: Tensor,
    pool: Tensor,
    target: int,
    plan: SalientPattern,
    rng: torch.Generator,
    loop: Iterable[int],
    *,
    refining: bool = True,
    penalty: Penalty | None = None,
) -> Salient:
    """What `salient_pattern` does, with all images of ``pool`` (N, C, H, W), on the model's device, as D.

    ``loop`` counts the steps from 0 to ``plan.steps`` − 1. Without ``refining`` it is Algorithm 1 alone, to the last
    step.
    """
    seed = seed.to(model.device)
    p = torch.zeros_like(seed)
    moments = _Moments(torch.zeros_like(seed), torch.zeros_like(seed))
    probability, refined, since, step = 0.0, False, 0, 0
    for step in loop:
        drawn = pool[torch.randint(len(pool), (plan.batch - 1,), generator=rng).to(pool.device)]
        p, probability = estimate(model, seed, drawn, pool, target, p, moments, plan, penalty)
        since += 1
        due = probability >= plan.gamma if not refined else since >= plan.refine_every
        if refining and due and step + 1 < plan.steps:
            finer = refine(model, p, plan)
            if finer is None:
                break
            p, refined, since = finer, True, 0
    return Salient(p.cpu(), probability, step + 1, refined)


def estimate(
    model: Classifier,
    seed: Tensor,
    drawn: Tensor,
    pool: Tensor,
    target: int,
    p: Tensor,
    moments: _Moments,
    plan: SalientPattern,
    penalty: Penalty | None = None,
) -> tuple[Tensor, float]:
    """One turn of Algorithm 1, lines 3 to 22: the next perturbation (C, H, W), and the mean probability ℘ under it.

    With a penalty, the search of lines 11 to 19 compares losses: by the probability it would turn the penalty around.
    """
    batch = torch.cat([seed.unsqueeze(0), drawn])
    gradient = _loss_gradient(model, (batch - p).clamp(0, 1), target)  # line 4
    moments.step += 1
    fused = fuse(gradient[0], gradient[1:])  # lines 6, 7
    if penalty is not None:
        moving = p.detach().requires_grad_(True)
        fused = fused - torch.autograd.grad(penalty(moving), moving)[0]  # p is subtracted: images move the other way
    moments.first = plan.alpha * moments.first + (1 - plan.alpha) * fused
    moments.second = plan.beta * moments.second + (1 - plan.beta) * fused * fused
    t = moments.step
    rho = moments.first * (1 - plan.beta**t) ** 0.5 / (moments.second.sqrt() * (1 - plan.alpha**t)).clamp_min(1e-12)
    unit = rho / rho.abs().max().clamp_min(1e-12)
    # lines 11 to 19; the paper does not clip here, but a classifier takes images in [0, 1]
    forth, back = (_favour(model, pool, p + sign * unit, target, penalty) for sign in (1, -1))
    p = p + rho if forth >= back else p - rho
    p = p * min(1.0, plan.eta / max(float(p.norm()), 1e-12))  # line 20
    return p, mean_probability(model, batch - p, target)


def _favour(model: Classifier, pool: Tensor, p: Tensor, target: int, penalty: Penalty | None) -> float:
    """What line 15 compares: the mean probability; with a penalty, the loss, negative."""
    if penalty is None:
        return mean_probability(model, pool - p, target)
    sure = model.probabilities((pool - p).clamp(0, 1))[:, target]
    return float(sure.clamp_min(1e-30).log().mean()) - float(penalty(p))


def fuse(seed: Tensor, others: Tensor) -> Tensor:
    """g of line 7 from the seed's gradient (C, H, W) and the others' (B, C, H, W): ½∇_d + ξ/2 · E[∇_dᵢ].

    ξ (line 6) is the norm of the seed's gradient over the mean norm of the others'.
    """
    ratio = seed.norm() / others.flatten(1).norm(dim=1).mean().clamp_min(1e-12)
    return seed / 2 + ratio / 2 * others.mean(0)


@torch.no_grad()
def refine(model: Classifier, p: Tensor, plan: SalientPattern) -> Tensor | None:
    """Algorithm 2: p (C, H, W) kept where the base's mean map exceeds its Otsu threshold, times λ; clipped.

    The norm is brought back to at most η, as Algorithm 1 will do. None where the network has no maps.
    """
    base = convolutional_base(model, p.unsqueeze(0))
    if base is None:
        return None
    mean = base[0].float().mean(0)
    chosen = torch.where(mean > otsu(mean), plan.scale, 0.0)
    mask = F.interpolate(chosen[None, None], p.shape[-2:], mode="bicubic", align_corners=False)[0]
    finer = (p * mask).clamp(-1, 1)
    return finer * min(1.0, plan.eta / max(float(finer.norm()), 1e-12))


@torch.no_grad()
def mean_probability(model: Classifier, images: Tensor, target: int) -> float:
    """Mean probability of a class on images (N, C, H, W), clipped to [0, 1] first."""
    return float(model.probabilities(images.clamp(0, 1))[:, target].mean())


def _loss_gradient(model: Classifier, images: Tensor, target: int) -> Tensor:
    moving = images.detach().requires_grad_(True)
    wanted = torch.full((len(moving),), target, device=moving.device)
    loss = F.cross_entropy(model.logits(moving), wanted, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, moving)
    return gradient


def occluded(images: Tensor, region: Tensor) -> Tensor:
    """Images (N, C, H, W) with their mean colour, one for all, where ``region`` (H, W) is True.

    The gradients of all samples then agree there, which draws `salient_pattern` to it (Section 5.1, "Region specific
    semantics", Figure 4). Give it the seed and the images together, so that the patch is the same in both.
    """
    colour = images.mean((0, 2, 3)).view(1, -1, 1, 1)
    return torch.where(region.to(images.device), colour, images)


def region_around(mask: Tensor, least: float = PATCH_SHARE) -> Tensor:
    """The rectangle (H, W) of True around the places where ``mask`` (H, W) exceeds half its maximum.

    It is widened evenly, within the image, until it is at least the share ``least``, in [0, 1], of the image. All of
    the image where the mask is empty.
    """
    places = (mask.float() > mask.float().max() / 2).nonzero().cpu()
    if not len(places):
        return torch.ones(mask.shape, dtype=torch.bool)
    (top, left), (bottom, right) = places.amin(0).tolist(), places.amax(0).tolist()
    box = torch.zeros(mask.shape, dtype=torch.bool)
    for margin in range(max(mask.shape)):
        box[max(0, top - margin) : bottom + 1 + margin, max(0, left - margin) : right + 1 + margin] = True
        if float(box.float().mean()) >= least:
            break
    return box


def energy_map(perturbation: Tensor) -> Tensor:
    """(H, W): squared ℓ2 energy of a perturbation (C, H, W) at each place, over the largest; in [0, 1]."""
    energy = perturbation.float().square().sum(0)
    return energy / energy.max().clamp_min(1e-30)


def energy_inside(perturbation: Tensor, mask: Tensor) -> float:
    """Share, in [0, 1], of the squared ℓ2 energy of a perturbation (C, H, W) that lies where ``mask`` (H, W) > 0."""
    energy = energy_map(perturbation)
    return float(energy[mask.to(energy.device) > 0].sum() / energy.sum().clamp_min(1e-30))


def as_picture(perturbation: Tensor) -> Tensor:
    """(C, H, W) in [0, 1]: what a perturbation (C, H, W) adds to images, −p, on grey, the largest value at an end."""
    return 0.5 - 0.5 * perturbation / perturbation.abs().max().clamp_min(1e-12)
