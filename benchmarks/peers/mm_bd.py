"""MM-BD: the class whose largest margin is an outlier.

Wang, Xiang, Miller, Kesidis: "MM-BD: post-training detection of backdoor attacks with arbitrary backdoor pattern types
using a maximum margin statistic" (IEEE S&P 2024), Section 3; settings as in the paper and its published code.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import FitError, gamma
from torch import Tensor

from auditor.classifier import Classifier
from benchmarks.peers.result import PeerResult


@dataclass(frozen=True)
class Settings:
    """The published constants."""

    starts: int = 30
    """noise images a class"""
    steps: int = 300
    lr: float = 1e-2
    """the published code also asks for momentum, but makes its optimiser anew each step, so that none acts"""
    tolerance: float = 1e-5
    """relative change of a class's summed margins below which its search ends"""
    level: float = 0.05


def mm_bd(model: Classifier, generator: torch.Generator, settings: Settings | None = None) -> PeerResult:
    """Largest margins from uniform noise, no data; a model is flagged when the largest is an outlier.

    The score is −log p, which ranks as 1 − p does, and still tells small p apart.
    """
    s = settings or Settings()
    began, passes = time.monotonic(), model.passes
    margins = largest_margins(model, generator, s)
    log_p, leader = log_p_value(margins)
    flagged = log_p <= math.log(s.level)
    return PeerResult(
        method="mm_bd",
        score=max(0.0, -log_p),
        flagged=flagged,
        target_classes=(leader,) if flagged else (),
        passes=model.passes - passes,
        seconds=time.monotonic() - began,
        per_class=tuple(float(v) for v in margins),
    )


def largest_margins(model: Classifier, generator: torch.Generator, s: Settings) -> np.ndarray:
    """(K,) best of the starts for each class: max over images in [0, 1] of z_t − max_{j≠t} z_j, by projected ascent."""
    k = model.num_classes
    x = torch.rand(k, s.starts, *model.input_shape, generator=generator)
    found, previous, active = torch.zeros(k), torch.full((k,), torch.inf), torch.arange(k)
    for _ in range(s.steps):
        going = []
        for part in active.split(max(1, model.batch_images // s.starts)):
            moving = x[part].flatten(0, 1).to(model.device).requires_grad_(True)
            margin = _margins(model.logits(moving), part.repeat_interleave(s.starts).to(model.device))
            (gradient,) = torch.autograd.grad(margin.sum(), moving)
            reached = margin.detach().cpu().view(len(part), s.starts)
            found[part], total = reached.amax(1), reached.sum(1)
            # nothing is near the infinity that stands before the first step
            still = (total - previous[part]).abs() / previous[part].abs() < s.tolerance
            previous[part] = total
            x[part] = (moving.detach() + s.lr * gradient).clamp(0, 1).cpu().view_as(x[part])
            going.append(part[~still])
        active = torch.cat(going)
        if not len(active):
            break
    return found.numpy()


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """(N, K) logits and (N,) classes → (N,) how far each one's class stands above the best other."""
    own = logits.gather(1, targets[:, None]).squeeze(1)
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return own - others.amax(1)


def log_p_value(margins: np.ndarray) -> tuple[float, int]:
    """log of p = 1 − CDF(r_max)^K, the CDF a Gamma distribution's fitted to the other K − 1 margins; class of r_max.

    Fewer than three others, or others without spread, determine no Gamma distribution: p is 1 there. As in the
    published code the distribution has three free parameters: shape, place and scale.
    """
    leader = int(margins.argmax())
    rest = np.delete(np.asarray(margins, dtype=np.float64), leader)
    if len(rest) < 3 or np.ptp(rest) == 0:
        return 0.0, leader
    try:
        fitted = gamma.fit(rest)
    except FitError:  # the likelihood has no maximum for some samples, where moments still determine one
        fitted = gamma.fit(rest, method="MM")
    log_tail = float(gamma.logsf(float(margins[leader]), *fitted))
    if math.isnan(log_tail):
        return 0.0, leader
    if log_tail < -30:  # 1 − (1 − q)^K is K·q here, and below what a float near 1 can tell apart
        return max(-700.0, math.log(len(margins)) + log_tail), leader
    inside = math.log1p(-math.exp(log_tail)) if log_tail < 0 else -math.inf
    return min(0.0, math.log(-math.expm1(len(margins) * inside))), leader
