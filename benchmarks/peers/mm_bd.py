"""MM-BD: the class whose largest margin is an outlier.

Wang, Xiang, Miller, Kesidis: "MM-BD: post-training detection of backdoor attacks with arbitrary backdoor pattern types
using a maximum margin statistic" (IEEE S&P 2024), Section 3; settings as published.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import gamma

from auditor.classifier import Classifier
from benchmarks.peers.result import PeerResult


@dataclass(frozen=True)
class Settings:
    """The published constants."""

    starts: int = 30
    steps: int = 300
    lr: float = 1e-2
    momentum: float = 0.2
    tolerance: float = 1e-5
    """relative gain below which a search ends"""
    level: float = 0.05


def mm_bd(model: Classifier, generator: torch.Generator, settings: Settings | None = None) -> PeerResult:
    """Largest margins from uniform noise, no data; p-value of the largest against a Gamma fitted to the others."""
    s = settings or Settings()
    began, passes = time.monotonic(), model.passes
    margins = largest_margins(model, generator, s)
    p, leader = p_value(margins)
    flagged = p <= s.level
    return PeerResult(
        "mm_bd", -float(np.log(max(p, 1e-300))), flagged, (leader,) if flagged else (), model.passes - passes,
        time.monotonic() - began, tuple(float(v) for v in margins),
    )  # fmt: skip


def largest_margins(model: Classifier, generator: torch.Generator, s: Settings) -> np.ndarray:
    """(K,) best of the starts for each class: max over images in [0, 1] of z_t − max_{j≠t} z_j."""
    k = model.num_classes
    found = np.zeros(k)
    for target in range(k):
        x = torch.rand(s.starts, *model.input_shape, generator=generator)
        velocity, previous = torch.zeros_like(x), torch.tensor(-torch.inf)
        for _ in range(s.steps):
            moving = x.requires_grad_(True)
            logits = model.logits(moving)
            others = logits.clone()
            others[:, target] = -torch.inf
            margin = logits[:, target] - others.amax(1)
            (gradient,) = torch.autograd.grad(margin.sum(), moving)
            total = margin.detach().sum()
            if (total - previous).abs() < s.tolerance * total.abs():
                break
            previous = total
            velocity = s.momentum * velocity + s.lr * gradient
            x = (x.detach() + velocity).clamp(0, 1)
        found[target] = float(margin.detach().max())
    return found


def p_value(margins: np.ndarray) -> tuple[float, int]:
    """1 − CDF(r_max)^K of a Gamma distribution fitted to the other K − 1 margins; and the class of r_max."""
    leader = int(margins.argmax())
    rest = np.delete(margins, leader)
    if len(rest) < 2 or np.ptp(rest) == 0:
        return 1.0, leader
    shape, place, scale = gamma.fit(rest)
    return float(1 - gamma.cdf(margins[leader], shape, place, scale) ** len(margins)), leader
