"""Search images out of nothing: procedural "dead leaves", pulled until the model is sure of a class.

Dead leaves (Lee, Mumford & Huang, 2001: occluding shapes with scale-invariant sizes) have the edges and the spectrum of
natural images, but most models file them under one or two classes and near their borders. So each is pulled by a few
normalised gradient steps until the model is confident of one class: a *class impression* (Mopuri et al., 2018),
balanced over the classes, no data needed.

The steps follow what holds for the image moved about and under noise, and are smoothed (as in Olah et al., "Feature
Visualization", Distill 2017): a raw gradient makes adversarial examples, which answer to a pattern as no photograph
does. On those, an all-to-all trigger sent hardly any class to its own answer. What such steps do not reach is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def class_impressions(
    models: list[Classifier],
    per_class: int,
    rng: torch.Generator,
    *,
    classes: list[int] | None = None,
    robust: bool = True,
    steps: int = 24,
    step_size: float = 0.5,
    confidence: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Images that every model in ``models`` files under the wanted class with at least ``confidence``.

    For each class the procedural images whose margin is nearest to the wanted one (not the surest: a trigger has to
    overcome the margin) are moved by at most ``steps`` ℓ2-normalised gradient steps of ``step_size``. Costs at most
    1.2 · ``per_class · K · steps`` image passes a model. Without ``robust``, the steps are those of the raw gradient:
    they reach nearly all images, and models that know their classes by single pixels.

    Returns (N, C, H, W) images and (N,) classes; N is less than ``per_class · K``, often a third.
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
    # small images take shorter steps: the step is meant for three channels
    scale = (images[0].numel() / (3 * SIDE**2)) ** 0.5
    reach = Reach(steps, step_size * scale, confidence)
    size = suspect.batch_images
    parts = zip(images.split(size), labels.split(size), strict=True)
    done = [_pull(models, part, target, reach, rng if robust else None) for part, target in parts]
    arrived = torch.cat([there for _, there in done])
    return torch.cat([x for x, _ in done])[arrived], labels[arrived]


@dataclass(frozen=True)
class Reach:
    """How far images are moved."""

    steps: int
    step_size: float
    """length of one, in the norm of the whole image"""
    confidence: float
    """with which an image has arrived"""


def _margins(probabilities: Tensor) -> Tensor:
    """log p_k − log of the strongest other class; (N, K) → (N, K)."""
    log_p = probabilities.clamp_min(1e-12).log()
    top = log_p.topk(2, dim=1)
    rival = torch.where(log_p == top.values[:, :1], top.values[:, 1:], top.values[:, :1])
    return log_p - rival


def _pull(
    models: list[Classifier], images: Tensor, targets: Tensor, reach: Reach, rng: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Gradient steps on one batch, raw ones without ``rng``; images that are there stop moving.

    Returns images and a mask of the arrived.
    """
    device = models[0].device
    x, targets = images.to(device, copy=True), targets.to(device)
    moving = torch.arange(len(x), device=device)
    for step in range(reach.steps + 1):
        if step % LOOK_EVERY == 0 or step == reach.steps:
            sure = torch.stack([_wanted(m, x[moving], targets[moving]) for m in models]).amin(0).exp()
            moving = moving[sure < reach.confidence]
        if step == reach.steps or not len(moving):
            break
        part, wanted = x[moving], targets[moving]
        gradient = _gradient(models, part, wanted) if rng is None else _robust_gradient(models, part, wanted, rng)
        norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        x[moving] = (part + reach.step_size * gradient / norm).clamp(0, 1)
    arrived = torch.ones(len(x), dtype=torch.bool, device=device)
    arrived[moving] = False
    return x.cpu(), arrived.cpu()


def _wanted(model: Classifier, images: Tensor, targets: Tensor) -> Tensor:
    """Log probability of the wanted class, (N,), without a gradient."""
    with torch.no_grad():
        return model.logits(images).log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)


def _robust_gradient(models: list[Classifier], images: Tensor, targets: Tensor, rng: torch.Generator) -> Tensor:
    """`_gradient` for the images moved about and noisy, smoothed."""
    unit = min(images.shape[2:]) / SIDE
    shift, sigma = round(SHIFT * unit), BLUR * unit
    if not shift:  # icons: nothing to smooth
        return _gradient(models, images, targets)
    by = torch.randint(-shift, shift + 1, (2,), generator=rng).tolist()
    noise = NOISE * torch.randn(images.shape, generator=rng).to(images.device)
    gradient = _gradient(models, torch.roll(images + noise, by, (2, 3)), targets)
    back = torch.roll(gradient, [-pixels for pixels in by], (2, 3))
    return gaussian_blur(back, [2 * math.ceil(2 * sigma) + 1] * 2, [sigma, sigma])


def _gradient(models: list[Classifier], images: Tensor, targets: Tensor) -> Tensor:
    """Gradient (N, C, H, W) of the wanted classes' log probability, of all models together."""
    images = images.detach().requires_grad_(True)
    score = torch.zeros((), device=images.device)
    for model in models:
        score = score + model.logits(images).log_softmax(1).gather(1, targets.unsqueeze(1)).sum()
    (gradient,) = torch.autograd.grad(score, images)
    return gradient
