"""Neural Cleanse: the class that the smallest mask can force.

Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao: "Neural Cleanse: identifying and mitigating backdoor attacks in neural
networks" (IEEE S&P 2019), Section IV; settings as in the paper and its published code.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.errors import ConfigError
from auditor.outliers import anomaly_index
from benchmarks.peers.result import PeerResult
from benchmarks.peers.schedule import Schedule, Settings


def neural_cleanse(
    model: Classifier, images: Tensor, generator: torch.Generator, settings: Settings | None = None
) -> PeerResult:
    """Reverse-engineer a trigger for every class on clean ``images`` (N, C, H, W) in [0, 1], and test for an outlier.

    The score is the largest anomaly index |L1 − median| / (1.4826·MAD) among masks smaller than the median, 0 where
    there is none or no spread; classes above the threshold are named (Section IV-B).

    Deviation: one batch a step instead of 31 (`Settings.batches`). That makes the success rate coarse (all of 32) and
    ends searches after fewer updates, which can move the index across the threshold: compare with more batches before
    calling a decision the method's. Raises `ConfigError` when there are fewer images than one batch takes.
    """
    s = settings or Settings()
    began, passes = time.monotonic(), model.passes
    sizes = mask_sizes(model, images, generator, s)
    small = np.nan_to_num(np.maximum(0.0, -anomaly_index(sizes)))
    named = tuple(int(c) for c in np.argsort(sizes, kind="stable") if small[c] > s.threshold)
    return PeerResult(
        method="neural_cleanse",
        score=float(small.max()),
        flagged=bool(named),
        target_classes=named,
        passes=model.passes - passes,
        seconds=time.monotonic() - began,
        per_class=tuple(float(v) for v in sizes),
    )


def mask_sizes(model: Classifier, images: Tensor, generator: torch.Generator, s: Settings) -> np.ndarray:
    """(K,) L1 norm, in pixels, of the smallest successful mask of each class; of its last one where none was.

    Minimises CE(x·(1 − m) + m·p → t) + λ·‖m‖₁ with Adam (Eq. 3); mask and pattern are (1 + tanh)/2 of what is
    optimised, and start uniform. All classes see the same batches and advance together, each with its own λ and end.
    """
    if len(images) < s.batch:
        raise ConfigError(f"expected at least {s.batch} clean images (one batch), got {len(images)}; give more images")
    k, (c, h, w) = model.num_classes, model.input_shape
    raw = [_unbounded(torch.rand(k, n, h, w, generator=generator)).to(model.device) for n in (1, c)]
    optimizer = torch.optim.Adam(raw, s.lr, s.betas, eps=1e-7)  # epsilon of the published code's framework
    schedule, batches, last = Schedule(k, s), _endless(images, s.batch, generator), torch.zeros(k)
    for _ in range(s.steps):
        active = (~schedule.done).nonzero().flatten()
        if not len(active):
            break
        success, sizes = torch.zeros(k), torch.zeros(k)
        for _ in range(s.batches):
            hits, norms = _descend(model, next(batches).to(model.device), raw, active, schedule.weight)
            optimizer.step()
            success += hits / s.batches
            sizes += norms / s.batches
        last[active] = sizes[active]
        schedule.step(success, sizes)
    return torch.where(schedule.best.isfinite(), schedule.best, last).numpy()


def _descend(
    model: Classifier, batch: Tensor, raw: list[Tensor], active: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Put the gradients of the active classes on ``raw``; returns success rates and mask sizes, both (K,).

    Classes that are done get gradients of zero: what the optimiser still moves there is read no more.
    """
    success, sizes = torch.zeros(len(weight)), torch.zeros(len(weight))
    for tensor in raw:
        tensor.grad = torch.zeros_like(tensor)
    for part in active.split(max(1, model.batch_images // len(batch))):
        moving = [tensor[part].requires_grad_(True) for tensor in raw]
        mask, pattern = (((m.tanh() + 1) / 2).unsqueeze(1) for m in moving)
        logits = model.logits(((1 - mask) * batch + mask * pattern).flatten(0, 1))
        targets = part.to(model.device).repeat_interleave(len(batch))
        entropy = F.cross_entropy(logits, targets, reduction="none").view(len(part), -1).mean(1)
        norms = mask.flatten(1).sum(1)
        # the classes do not touch each other, so the gradient of the sum holds that of each
        loss = (entropy + weight[part].to(model.device) * norms).sum()
        for tensor, gradient in zip(raw, torch.autograd.grad(loss, moving), strict=True):
            tensor.grad[part] = gradient  # type: ignore[index]
        success[part] = (logits.argmax(1) == targets).float().view(len(part), -1).mean(1).cpu()
        sizes[part] = norms.detach().cpu()
    return success, sizes


def _unbounded(values: Tensor) -> Tensor:
    """What (1 + tanh)/2 turns into ``values`` in [0, 1]; the ends, which nothing reaches, are moved inwards."""
    return torch.atanh((2 * values - 1).clamp(-1 + 1e-6, 1 - 1e-6))


def _endless(images: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Full batches of shuffled images, epoch after epoch."""
    while True:
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: len(order) // size * size].split(size):
            yield images[chosen]
