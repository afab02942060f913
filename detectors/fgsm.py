"""Iterated FGSM and class maps, shared by `bias_map` and `pairwise`.

"Adversarial examples are useful too!" (Borji, 2020), Eqs. 1 and 2, Algorithms I and II.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier, Context

Start = Literal["blank", "noise", "data"]


def starts(ctx: Context, kind: Start, count: int, classes: Tensor | None = None) -> Tensor:
    """``count`` start images, (count, C, H, W): zeros, U[0, 1] noise, or search images.

    With ``classes`` (count,) each data start is drawn from the images of that class (any image where it has none).
    """
    shape = (count, *ctx.model.input_shape)
    if kind == "blank":
        return torch.zeros(shape)
    if kind == "noise":
        return torch.rand(shape, generator=ctx.rng)
    pool, labels = ctx.images.search, ctx.images.search_classes
    if classes is None:
        return pool[torch.randint(len(pool), (count,), generator=ctx.rng)]
    draws = torch.rand(count, generator=ctx.rng)
    picked = []
    for wanted, draw in zip(classes.tolist(), draws.tolist(), strict=True):
        own = (labels == wanted).nonzero().flatten()
        own = own if len(own) else torch.arange(len(pool))
        picked.append(int(own[int(draw * len(own))]))
    return pool[torch.tensor(picked)]


def iterate(
    model: Classifier,
    images: Tensor,
    targets: Tensor,
    epsilon: float,
    iterations: int,
    sources: Tensor | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """x ← clip(x − ε·sign(∇ₓ J(x, target))), ``iterations`` times; (N, C, H, W) → (N, C, H, W).

    ε is the *step*; there is no ball around the start. With ``sources`` J is CE(target) − CE(source) (Eq. 2).
    Cost: N · iterations image passes. ``on_step(i, logits)`` sees the logits before step i.
    """
    done = []
    for part in torch.arange(len(images)).split(model.batch_images):
        x = images[part].to(model.device)
        target = targets[part].to(model.device)
        source = sources[part].to(model.device) if sources is not None else None
        for _ in range(iterations):
            x = x.detach().requires_grad_(True)
            logits = model.logits(x)
            loss = F.cross_entropy(logits, target, reduction="sum")
            if source is not None:
                loss = loss - F.cross_entropy(logits, source, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
            x = (x.detach() - epsilon * gradient.sign()).clamp_(0, 1)
        done.append(x.detach().cpu())
    return torch.cat(done)


@dataclass(frozen=True)
class ClassMaps:
    """Mean and spread of the images filed under each of G groups."""

    mean: Tensor
    """(G, C, H, W); zero where nothing was filed"""
    variance: Tensor
    """(G, C, H, W) sample variance; zero where fewer than two were filed"""
    count: Tensor
    """(G,)"""


def file_images(images: Tensor, groups: Tensor, num_groups: int) -> ClassMaps:
    """Mean map of the images in each group; (N, C, H, W), (N,) → maps of ``num_groups`` groups."""
    shape = images.shape[1:]
    count = torch.bincount(groups, minlength=num_groups).float()
    total = torch.zeros(num_groups, *shape).index_add_(0, groups, images)
    squares = torch.zeros(num_groups, *shape).index_add_(0, groups, images.square())
    n = count.clamp_min(1).view(-1, 1, 1, 1)
    mean = total / n
    variance = ((squares - n * mean.square()) / (n - 1).clamp_min(1)).clamp_min(0)
    return ClassMaps(mean, variance, count)


def map_distance(a: ClassMaps, b: ClassMaps) -> tuple[Tensor, Tensor]:
    """Raw and corrected distance of two sets of maps, (G,) each; NaN where either filed fewer than two images.

    Raw: ‖ā − b̄‖₂, the paper's. A mean over few images is noisy, so the raw distance is largest for the class with the
    fewest images filed, backdoor or not. Corrected: the expected sampling noise Σ(s²_a/n_a + s²_b/n_b) is taken off the
    squared distance, and the rest is the root mean square difference per pixel, in units of a pixel's range.
    """
    squared = (a.mean - b.mean).square().flatten(1).sum(1)
    noise = torch.zeros_like(squared)
    for maps in (a, b):
        noise += maps.variance.flatten(1).sum(1) / maps.count.clamp_min(1)
    measured = (a.count >= 2) & (b.count >= 2)
    nan = torch.full_like(squared, torch.nan)
    corrected = ((squared - noise).clamp_min(0) / a.mean[0].numel()).sqrt()
    return torch.where(measured, squared.sqrt(), nan), torch.where(measured, corrected, nan)
