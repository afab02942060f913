"""Search images out of nothing: procedural "dead leaves", pulled until the model is sure of a class.

Dead leaves (Lee, Mumford & Huang, 2001: occluding shapes with scale-invariant sizes) have the edges and the spectrum of
natural images, but most models file them under one or two classes and near their borders. So each is pulled by a few
normalised gradient steps until the model is confident of one class: a *class impression* (Mopuri et al., 2018),
balanced over the classes, no data needed.

Raw gradients make adversarial examples, which answer to a pattern as no photograph does: a trigger that should send
each class to one of its own sends hardly any. So label maps are searched on others, whose steps are *robust*: they
follow what holds for the image moved about and under noise, smoothed (as in Olah et al., "Feature Visualization",
Distill 2017). They reach fewer images, and patterns with one target show no better on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from auditor.classifier import Classifier

MAX_SIDE = 64
"""larger images are generated at this side and enlarged"""

STROKES = 5
"""mean number of shapes in a sparse image"""

SIDE = 32
"""side of the images that steps, shifts and blur are meant for; with others they go"""

SHIFT = 2
"""pixels that an image is moved by at most before the gradient is taken"""

NOISE = 0.1
"""standard deviation of the noise that it is taken under"""

BLUR = 1.0
"""standard deviation of the Gaussian that smooths it, in pixels"""

LOOK_EVERY = 3
"""steps after which it is asked whether an image has arrived"""


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


@dataclass(frozen=True)
class Reach:
    """How far images are moved."""

    steps: int
    step_size: float
    """length of one, in the norm of a whole image of 3×32×32"""
    confidence: float = 0.95
    """with which an image has arrived"""


RAW, ROBUST = Reach(25, 0.25), Reach(24, 0.25)


def class_impressions(
    models: list[Classifier],
    per_class: int,
    rng: torch.Generator,
    *,
    classes: list[int] | None = None,
    robust: bool = False,
    reach: Reach | None = None,
) -> tuple[Tensor, Tensor]:
    """Images that every model in ``models`` files under the wanted class with the confidence of ``reach``.

    For each class the procedural images whose margin is nearest to the wanted one (not the surest: a trigger has to
    overcome the margin) are moved by ℓ2-normalised gradient steps. Costs at most ``per_class · K · steps`` image passes
    a model, a fifth more with ``robust`` steps.

    Returns (N, C, H, W) images and (N,) classes; N is less than ``per_class · K`` where a class could not be reached,
    with robust steps often a third.
    """
    reach = reach or (ROBUST if robust else RAW)
    suspect = models[0]
    wanted = classes if classes is not None else list(range(suspect.num_classes))
    pool = dead_leaves(max(256, min(2000, 2 * per_class * len(wanted))), suspect.input_shape, rng)
    margins = torch.stack([_margins(m.probabilities(pool)) for m in models]).amin(0)
    goal = math.log(reach.confidence / (1 - reach.confidence))
    starts, targets = [], []
    for target in wanted:
        nearest = (margins[:, target] - goal).abs().topk(min(per_class, len(pool)), largest=False).indices
        starts.append(pool[nearest])
        targets.append(torch.full((len(nearest),), target))
    images, labels = torch.cat(starts), torch.cat(targets)
    # small images take shorter steps
    reach = replace(reach, step_size=reach.step_size * (images[0].numel() / (3 * SIDE**2)) ** 0.5)
    size = suspect.batch_images
    done = [
        _pull_robustly(models, part, target, reach, rng) if robust else _pull(models, part, target, reach)
        for part, target in zip(images.split(size), labels.split(size), strict=True)
    ]
    arrived = torch.cat([there for _, there in done])
    return torch.cat([x for x, _ in done])[arrived], labels[arrived]


def _margins(probabilities: Tensor) -> Tensor:
    """log p_k − log of the strongest other class; (N, K) → (N, K)."""
    log_p = probabilities.clamp_min(1e-12).log()
    top = log_p.topk(2, dim=1)
    rival = torch.where(log_p == top.values[:, :1], top.values[:, 1:], top.values[:, :1])
    return log_p - rival


def _pull(models: list[Classifier], images: Tensor, targets: Tensor, reach: Reach) -> tuple[Tensor, Tensor]:
    """Raw gradient steps on one batch; images that are there stop moving. Returns images and a mask of the arrived."""
    device = models[0].device
    x, targets = images.to(device), targets.to(device)
    arrived = torch.zeros(len(x), dtype=torch.bool, device=device)
    for step in range(reach.steps + 1):
        moving = (~arrived).nonzero().flatten()
        if not len(moving):
            break
        gradient, probability = _gradient(models, x[moving], targets[moving])
        sure = probability >= reach.confidence
        arrived[moving[sure]] = True
        if step == reach.steps:
            break
        x[moving[~sure]] = _moved(x[moving[~sure]], gradient[~sure], reach.step_size)
    return x.cpu(), arrived.cpu()


def _pull_robustly(
    models: list[Classifier], images: Tensor, targets: Tensor, reach: Reach, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Likewise by steps along `_robust_gradient`; every third time it is asked, without noise, who has arrived."""
    device = models[0].device
    x, targets = images.to(device), targets.to(device)
    moving = torch.arange(len(x), device=device)
    for step in range(reach.steps + 1):
        if step % LOOK_EVERY == 0 or step == reach.steps:
            sure = torch.stack([_sure_of(m, x[moving], targets[moving]) for m in models]).amin(0)
            moving = moving[sure < reach.confidence]
        if step == reach.steps or not len(moving):
            break
        gradient = _robust_gradient(models, x[moving], targets[moving], rng)
        x[moving] = _moved(x[moving], gradient, reach.step_size)
    arrived = torch.ones(len(x), dtype=torch.bool, device=device)
    arrived[moving] = False
    return x.cpu(), arrived.cpu()


def _moved(images: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return (images + step_size * gradient / norm).clamp(0, 1)


def _sure_of(model: Classifier, images: Tensor, targets: Tensor) -> Tensor:
    """Probability of the wanted class, (N,), without a gradient."""
    with torch.no_grad():
        return model.logits(images).softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)


def _robust_gradient(models: list[Classifier], images: Tensor, targets: Tensor, rng: torch.Generator) -> Tensor:
    """`_gradient` for the images moved about and noisy, smoothed."""
    unit = min(images.shape[2:]) / SIDE
    shift, sigma = round(SHIFT * unit), BLUR * unit
    if not shift:  # icons: nothing to smooth
        return _gradient(models, images, targets)[0]
    by = torch.randint(-shift, shift + 1, (2,), generator=rng).tolist()
    noise = NOISE * torch.randn(images.shape, generator=rng).to(images.device)
    gradient, _ = _gradient(models, torch.roll(images + noise, by, (2, 3)), targets)
    back = torch.roll(gradient, [-pixels for pixels in by], (2, 3))
    return gaussian_blur(back, [2 * math.ceil(2 * sigma) + 1] * 2, [sigma, sigma])


def _gradient(models: list[Classifier], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (N, C, H, W) of the wanted classes' log probability, of all models together; their least probability."""
    images = images.detach().requires_grad_(True)
    losses, least = torch.zeros((), device=images.device), torch.ones(len(images), device=images.device)
    for model in models:
        log_p = model.logits(images).log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)
        losses = losses - log_p.sum()
        least = torch.minimum(least, log_p.detach().exp())
    (gradient,) = torch.autograd.grad(losses, images)
    return -gradient, least
