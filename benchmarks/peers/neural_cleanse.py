"""Neural Cleanse: the class that the smallest mask can force.

Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao: "Neural Cleanse: identifying and mitigating backdoor attacks in neural
networks" (IEEE S&P 2019), Section IV; settings as in the paper and its published code.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.outliers import anomaly_index
from benchmarks.peers.result import PeerResult


@dataclass(frozen=True)
class Settings:
    """The published constants."""

    steps: int = 1000
    batch: int = 32
    lr: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    first_weight: float = 1e-3
    """λ₀, weight of ‖m‖₁"""
    success: float = 0.99
    patience: int = 5
    """steps of enough (or too little) success before λ is raised (lowered)"""
    up: float = 2.0
    down: float = 2.0**1.5
    early_stop: int = 25
    """steps without a smaller mask, once λ went up and down, after which a class is done"""
    threshold: float = 2.0


@dataclass
class _State:
    """Where the search of each class stands; all (K,)."""

    weight: Tensor
    above: Tensor
    below: Tensor
    raised: Tensor
    lowered: Tensor
    best: Tensor
    stale: Tensor


def neural_cleanse(
    model: Classifier, images: Tensor, generator: torch.Generator, settings: Settings | None = None
) -> PeerResult:
    """Reverse-engineer a trigger for every class on clean ``images`` (N, C, H, W) in [0, 1], and test for an outlier.

    All classes are optimised together, each with its own λ and its own end. Classes whose mask never reached the
    success rate count with the size of their last mask.
    """
    s = settings or Settings()
    began, passes = time.monotonic(), model.passes
    sizes = mask_sizes(model, images, generator, s)
    index = anomaly_index(sizes)
    small = np.where(np.nan_to_num(index) < 0, -np.nan_to_num(index), 0.0)
    flagged = bool(small.max() > s.threshold)
    named = tuple(int(c) for c in np.flatnonzero(small > s.threshold))
    return PeerResult(
        "neural_cleanse", float(small.max()), flagged, named, model.passes - passes, time.monotonic() - began,
        tuple(float(v) for v in sizes),
    )  # fmt: skip


def mask_sizes(model: Classifier, images: Tensor, generator: torch.Generator, s: Settings) -> np.ndarray:
    """(K,) L1 norm of the smallest successful mask of each class."""
    k, (c, h, w) = model.num_classes, model.input_shape
    raw_mask = torch.randn(k, 1, h, w, generator=generator)
    raw_pattern = torch.randn(k, c, h, w, generator=generator)
    parameters = [raw_mask.requires_grad_(True), raw_pattern.requires_grad_(True)]
    optimizer = torch.optim.Adam(parameters, s.lr, s.betas)
    state = _State(*(torch.zeros(k) for _ in range(7)))
    state.weight += s.first_weight
    state.best += torch.inf
    active = torch.arange(k)
    last = torch.zeros(k)
    for _ in range(s.steps):
        batch = images[torch.randint(len(images), (len(active), s.batch), generator=generator)]
        mask, pattern = (raw_mask[active].tanh() + 1) / 2, (raw_pattern[active].tanh() + 1) / 2
        mixed = (1 - mask.unsqueeze(1)) * batch + mask.unsqueeze(1) * pattern.unsqueeze(1)
        hits, entropy = [], []
        for part, target in zip(
            mixed.flatten(0, 1).split(model.batch_images), active.repeat_interleave(s.batch).split(model.batch_images),
            strict=True,
        ):  # fmt: skip
            logits = model.logits(part)
            entropy.append(F.cross_entropy(logits, target, reduction="none"))
            hits.append((logits.argmax(1) == target).float())
        norms = mask.flatten(1).sum(1)
        losses = torch.cat(entropy).view(len(active), -1).mean(1) + state.weight[active] * norms
        gradients = torch.autograd.grad(losses.sum(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        last[active] = norms.detach()
        done = _schedule(state, active, torch.cat(hits).view(len(active), -1).mean(1), norms.detach(), s)
        active = active[~done]
        if not len(active):
            break
    return torch.where(state.best.isinf(), last, state.best).numpy()


def _schedule(state: _State, active: Tensor, success: Tensor, norms: Tensor, s: Settings) -> Tensor:
    """λ of each active class after one step, and which are done."""
    enough = success >= s.success
    smaller = enough & (norms < 0.99 * state.best[active])
    state.stale[active] = torch.where(smaller, torch.zeros_like(norms), state.stale[active] + 1)
    state.best[active] = torch.where(smaller, norms, state.best[active])
    state.above[active] = torch.where(enough, state.above[active] + 1, torch.zeros_like(norms))
    state.below[active] = torch.where(enough, torch.zeros_like(norms), state.below[active] + 1)
    rise, fall = state.above[active] >= s.patience, state.below[active] >= s.patience
    state.weight[active] = torch.where(
        rise, state.weight[active] * s.up, torch.where(fall, state.weight[active] / s.down, state.weight[active])
    )
    state.above[active[rise]] = 0
    state.below[active[fall]] = 0
    state.raised[active[rise]] = 1
    state.lowered[active[fall]] = 1
    both = (state.raised[active] > 0) & (state.lowered[active] > 0)
    return both & (state.stale[active] >= s.early_stop)
