"""Search images out of nothing: procedural "dead leaves", pulled until the model is sure of a class.

Dead leaves (Lee, Mumford & Huang, 2001: occluding shapes with scale-invariant sizes) have the edges and the spectrum of
natural images, but most models file them under one or two classes and near their borders. So each is pulled by a few
normalised gradient steps until the model is confident of one class: a *class impression* (Mopuri et al., 2018),
balanced over the classes, no data needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier

MAX_SIDE = 64
"""larger images are generated at this side and enlarged"""

STROKES = 5
"""mean number of shapes in a sparse image"""


def dead_leaves(count: int, shape: tuple[int, int, int], rng: torch.Generator, leaves: int = 40) -> Tensor:
    """Procedural images, (count, C, H, W) in [0, 1]."""
    c, height, width = shape
    h, w = min(height, MAX_SIDE), min(width, MAX_SIDE)
    ys = torch.linspace(0, 1, h).view(1, h, 1)
    xs = torch.linspace(0, 1, w).view(1, 1, w)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=rng)

    # every other image is a plain ground with a few strokes: drawings and digits are no dead leaves
    sparse = torch.arange(count).view(-1, 1, 1) % 2 == 1
    ground = torch.where(uniform(count, 1, 1, 1) < 0.5, uniform(count, 1, 1, 1).round(), uniform(count, c, 1, 1))
    images = ground.expand(count, c, h, w).clone()
    for _ in range(leaves):
        y0, x0, angle = uniform(3, count, 1, 1)
        angle = angle * torch.pi
        # radius density ~ r^-3 between 1/20 and 1/2 of the side: scale invariance
        radius = (400 - uniform(count, 1, 1) * (400 - 4)).rsqrt()
        radius = torch.where(sparse, 0.1 + 0.35 * uniform(count, 1, 1), radius)
        aspect = torch.where(sparse, 0.1 + 0.4 * uniform(count, 1, 1), 0.4 + 0.6 * uniform(count, 1, 1))
        u = (xs - x0) * angle.cos() + (ys - y0) * angle.sin()
        v = ((ys - y0) * angle.cos() - (xs - x0) * angle.sin()) / aspect
        disc = (u**2 + v**2) < radius**2
        box = torch.maximum(u.abs(), v.abs()) < radius * 0.85
        drawn = ~sparse | (uniform(count, 1, 1) < STROKES / leaves)
        leaf = (torch.where(uniform(count, 1, 1) < 0.5, disc, box) & drawn).unsqueeze(1)
        colour = uniform(count, c, 1, 1)
        shade = (uniform(count, c, 1, 1) - 0.5) * (u / radius).unsqueeze(1) * 0.5
        images = torch.where(leaf, (colour + shade).clamp(0, 1), images)
    if (h, w) != (height, width):
        images = F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
    return images.clamp_(0, 1)


def class_impressions(
    models: list[Classifier],
    per_class: int,
    rng: torch.Generator,
    *,
    classes: list[int] | None = None,
    steps: int = 25,
    step_size: float = 0.25,
    confidence: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Images that every model in ``models`` files under the wanted class with at least ``confidence``.

    For each class the procedural images whose margin is nearest to the wanted one (not the surest: a trigger has to
    overcome the margin) are moved by at most ``steps`` ℓ2-normalised gradient steps
    of ``step_size``. Costs at most ``per_class · K · steps`` image passes a model.

    Returns (N, C, H, W) images and (N,) classes; N is less than ``per_class · K`` where a class could not be reached.
    """
    suspect = models[0]
    wanted = classes if classes is not None else list(range(suspect.num_classes))
    pool = dead_leaves(max(256, min(2000, 2 * per_class * len(wanted))), suspect.input_shape, rng)
    margins = torch.stack([_margins(m.probabilities(pool)) for m in models]).amin(0)
    goal = math.log(confidence / (1 - confidence))
    starts, targets = [], []
    for target in wanted:
        nearest = (margins[:, target] - goal).abs().topk(min(per_class, len(pool)), largest=False).indices
        starts.append(pool[nearest])
        targets.append(torch.full((len(nearest),), target))
    images, labels = torch.cat(starts), torch.cat(targets)
    # small images take shorter steps: the step is meant for 3×32×32
    scale = (images[0].numel() / (3 * 32 * 32)) ** 0.5
    done = []
    for part, target in zip(
        images.split(suspect.batch_images), labels.split(suspect.batch_images), strict=True
    ):
        done.append(_pull(models, part, target, steps, step_size * scale, confidence))
    reached = torch.cat([r for _, r in done])
    return torch.cat([x for x, _ in done])[reached], labels[reached]


def _margins(probabilities: Tensor) -> Tensor:
    """log p_k − log of the strongest other class; (N, K) → (N, K)."""
    log_p = probabilities.clamp_min(1e-12).log()
    top = log_p.topk(2, dim=1)
    rival = torch.where(log_p == top.values[:, :1], top.values[:, 1:], top.values[:, :1])
    return log_p - rival


def _pull(
    models: list[Classifier], images: Tensor, targets: Tensor, steps: int, step_size: float, confidence: float
) -> tuple[Tensor, Tensor]:
    """Gradient steps on one batch; images that are there stop moving. Returns images and a mask of the arrived."""
    device = models[0].device
    x, targets = images.to(device), targets.to(device)
    arrived = torch.zeros(len(x), dtype=torch.bool, device=device)
    for step in range(steps + 1):
        moving = (~arrived).nonzero().flatten()
        if not len(moving):
            break
        part = x[moving].requires_grad_(True)
        losses = torch.zeros((), device=device)
        sure = torch.ones(len(moving), dtype=torch.bool, device=device)
        for model in models:
            log_p = model.logits(part).log_softmax(1).gather(1, targets[moving, None]).squeeze(1)
            losses = losses - log_p.sum()
            sure &= log_p.detach().exp() >= confidence
        arrived[moving[sure]] = True
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(losses, part)
        norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        moved = (part.detach() - step_size * gradient / norm).clamp(0, 1)
        x[moving[~sure]] = moved[~sure]
    return x.cpu(), arrived.cpu()
