"""Salient patterns: perturbations accumulated until they show what a network takes for a class.

"Attack to Explain Deep Representation" (Jalwana, Akhtar, Bennamoun and Mian, CVPR 2020): Algorithm 1 estimates one
perturbation that turns all of a set of images into a class, anchored at a seed image; Algorithm 2 filters it by what
excites the convolutional base. On a clean class it resembles the object, on a backdoored one the trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.explain.feature_maps import convolutional_base
from auditor.settings import Setting

Track = Callable[[Iterable[int], str], Iterable[int]]
"""a loop that reports its progress, as `Context.track`"""


@dataclass(frozen=True, kw_only=True)
class SalientPattern:
    """The constants of both algorithms; defaults are the paper's (Sections 4, 5.1)."""

    samples: Annotated[int, Setting("images the perturbation acts on, |D|", low=2, high=100_000, paper="256")] = 256
    batch: Annotated[int, Setting("images a step, the seed among them, b", low=2, high=4096, paper="32")] = 32
    gamma: Annotated[float, Setting("mean probability of the class to reach, γ", low=0.01, high=1, paper="0.8")] = 0.8
    eta: Annotated[float, Setting("ℓ2 norm of the perturbation, η", low=1e-3, high=1e4, paper="10")] = 10.0
    alpha: Annotated[float, Setting("decay of the first moment, α", low=0, high=0.9999, paper="0.9")] = 0.9
    beta: Annotated[float, Setting("decay of the second moment, β", low=0, high=0.99999, paper="0.999")] = 0.999
    scale: Annotated[float, Setting("gain of the regions that refinement keeps, λ", low=0.1, high=100, paper="5")] = 5.0
    refine_every: Annotated[int, Setting("steps between refinements", low=1, high=10_000, paper="50")] = 50
    steps: Annotated[int, Setting("steps in all", low=1, high=100_000, paper="300")] = 300


@dataclass(frozen=True)
class Salient:
    """What one seed led to."""

    perturbation: Tensor
    """(C, H, W), subtracted from images; ℓ2 norm at most η"""
    probability: float
    """mean probability of the class on the perturbed images, ℘ of line 22"""
    steps: int
    refined: bool
    """False where the network has no maps to refine by"""


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

    ``seed`` (C, H, W) and ``images`` (N, C, H, W) are in [0, 1]. Cost: steps · (batch + |D|) image passes at most; it
    ends early only before the first refinement is due or when γ is not reached within ``steps``.
    """
    pool = images[torch.randperm(len(images), generator=rng)[: plan.samples]].to(model.device)
    seed = seed.to(model.device)
    p = torch.zeros_like(seed)
    moments = _Moments(torch.zeros_like(seed), torch.zeros_like(seed))
    probability, refined, since, step = 0.0, False, 0, 0
    loop = range(plan.steps)
    for step in loop if track is None else track(loop, f"salient pattern of class {target}"):
        drawn = pool[torch.randint(len(pool), (plan.batch - 1,), generator=rng).to(pool.device)]
        p, probability = estimate(model, seed, drawn, pool, target, p, moments, plan)
        since += 1
        due = probability >= plan.gamma if not refined else since >= plan.refine_every
        if due and step + 1 < plan.steps:
            finer = refine(model, p, plan)
            if finer is None:
                if probability >= plan.gamma:
                    break
                continue
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
) -> tuple[Tensor, float]:
    """One turn of Algorithm 1, lines 3 to 22: the next perturbation (C, H, W), and the mean probability ℘ under it."""
    batch = torch.cat([seed.unsqueeze(0), drawn])
    gradient = _loss_gradient(model, (batch - p).clamp(0, 1), target)  # line 4
    moments.step += 1
    fused = fuse(gradient[0], gradient[1:])  # lines 6, 7
    moments.first = plan.alpha * moments.first + (1 - plan.alpha) * fused
    moments.second = plan.beta * moments.second + (1 - plan.beta) * fused * fused
    t = moments.step
    rho = moments.first * (1 - plan.beta**t) ** 0.5 / (moments.second.sqrt() * (1 - plan.alpha**t)).clamp_min(1e-12)
    unit = rho / rho.abs().max().clamp_min(1e-12)
    # lines 11 to 19; the paper does not clip here, but a classifier takes images in [0, 1]
    forth, back = (mean_probability(model, pool - p - sign * unit, target) for sign in (1, -1))
    p = p + rho if forth >= back else p - rho
    p = p * min(1.0, plan.eta / max(float(p.norm()), 1e-12))  # line 20
    return p, mean_probability(model, batch - p, target)


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


def otsu(values: Tensor, bins: int = 64) -> float:
    """Otsu's threshold (1979): the cut of a histogram of ``bins`` that parts it into two groups of least spread.

    The largest value where all are equal, so that none lies above it.
    """
    flat = values.detach().flatten().float().cpu()
    low, high = float(flat.min()), float(flat.max())
    if high <= low:
        return high
    counts = torch.histc(flat, bins, low, high)
    width = (high - low) / bins
    centres = low + width * (torch.arange(bins) + 0.5)
    below = counts.cumsum(0)[:-1]
    above = counts.sum() - below
    sums = (counts * centres).cumsum(0)
    first, second = sums[:-1] / below.clamp_min(1), (sums[-1] - sums[:-1]) / above.clamp_min(1)
    between = below * above * (first - second) ** 2
    best = (between >= between.max() * (1 - 1e-6)).nonzero().flatten()  # a gap of empty bins ties: its middle
    return low + width * float(best.float().mean() + 1)


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
