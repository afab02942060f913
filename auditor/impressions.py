"""Search images out of nothing: procedural pictures, pulled until the model is sure of a class.

Most procedural pictures (`auditor.procedural`) are filed under one or two classes and near their borders. So for each
class the nearest of thousands are taken, and pulled by a few normalised gradient steps until the model is confident of
the class: a *class impression* (Mopuri et al., 2018), balanced over the classes, no data needed. The fewer steps a
picture needs, the more it answers to a trigger as a photograph does.

Raw gradients make adversarial examples, which answer to a pattern as no photograph does: a trigger that should send
each class to one of its own sends hardly any. So label maps are searched on others, whose steps are *robust*: they
follow what holds for the image moved about and under noise, smoothed (as in Olah et al., "Feature Visualization",
Distill 2017). They reach fewer images, and patterns with one target show no better on them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from auditor.classifier import Classifier
from auditor.procedural import dead_leaves, enlarged, made_at, scenes

POOL, PART, LEAVES = 9000, 500, 6
"""procedural pictures to choose from, how many are made at a time, and every how manieth part is of leaves"""

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
    until: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Images that every model in ``models`` files under the wanted class with the confidence of ``reach``.

    For each class the procedural images whose margin is nearest to the wanted one (not the surest: a trigger has to
    overcome the margin) are moved by ℓ2-normalised gradient steps. Costs at most ``POOL / 2 + per_class · K · steps``
    image passes a model, a fifth more steps with ``robust`` ones.

    Returns (N, C, H, W) images and (N,) classes; N is less than ``per_class · K`` where a class could not be reached,
    with robust steps often a third, or where ``until`` (a moment of ``time.monotonic``) has come.
    """
    reach = reach or (ROBUST if robust else RAW)
    wanted = classes if classes is not None else list(range(models[0].num_classes))
    starts = nearest(models, per_class, wanted, reach, rng, until)
    images, labels = starts.flatten(0, 1), torch.tensor(wanted).repeat_interleave(starts.shape[1])
    # small images take shorter steps
    reach = replace(reach, step_size=reach.step_size * (images[0].numel() / (3 * SIDE**2)) ** 0.5)
    size = models[0].batch_images
    done = [
        _pull_robustly(models, part, target, reach, rng, until) if robust else _pull(models, part, target, reach, until)
        for part, target in zip(images.split(size), labels.split(size), strict=True)
    ]
    arrived = torch.cat([there for _, there in done])
    return torch.cat([x for x, _ in done])[arrived], labels[arrived]


def nearest(
    models: list[Classifier],
    per_class: int,
    wanted: list[int],
    reach: Reach,
    rng: torch.Generator,
    until: float = math.inf,
) -> Tensor:
    """For each wanted class those of `POOL` procedural images of which the models are most nearly as sure as ``reach``.

    Returns (classes, per_class, C, H, W). The images are made, asked about and forgotten part by part, small where the
    model's are large.
    """
    shape = models[0].input_shape
    small = made_at(shape)
    goal = math.log(reach.confidence / (1 - reach.confidence))
    per_class = min(per_class, PART)
    rows = torch.arange(len(wanted)).unsqueeze(1)
    images, distances = torch.zeros(len(wanted), 0, *small), torch.zeros(len(wanted), 0)
    for part in range(POOL // PART):
        pictures = (dead_leaves if part % LEAVES == 0 else scenes)(PART, small, rng)
        asked = enlarged(pictures, shape)
        margins = torch.stack([margins_of(m.probabilities(asked))[:, wanted] for m in models]).amin(0)
        near = (margins.T - goal).abs().topk(per_class, largest=False)
        images, distances = torch.cat([images, pictures[near.indices]], 1), torch.cat([distances, near.values], 1)
        best = distances.topk(per_class, largest=False)
        images, distances = images[rows, best.indices], best.values
        if time.monotonic() > until:
            break
    return enlarged(images.flatten(0, 1), shape).view(len(wanted), per_class, *shape)


def margins_of(probabilities: Tensor) -> Tensor:
    """log p_k − log of the strongest other class; (N, K) → (N, K)."""
    log_p = probabilities.clamp_min(1e-12).log()
    top = log_p.topk(2, dim=1)
    rival = torch.where(log_p == top.values[:, :1], top.values[:, 1:], top.values[:, :1])
    return log_p - rival


def _pull(
    models: list[Classifier], images: Tensor, targets: Tensor, reach: Reach, until: float
) -> tuple[Tensor, Tensor]:
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
        if step == reach.steps or time.monotonic() > until:
            break
        x[moving[~sure]] = _moved(x[moving[~sure]], gradient[~sure], reach.step_size)
    return x.cpu(), arrived.cpu()


def _pull_robustly(
    models: list[Classifier], images: Tensor, targets: Tensor, reach: Reach, rng: torch.Generator, until: float
) -> tuple[Tensor, Tensor]:
    """Likewise by steps along `_robust_gradient`; every third time it is asked, without noise, who has arrived."""
    device = models[0].device
    x, targets = images.to(device), targets.to(device)
    moving = torch.arange(len(x), device=device)
    for step in range(reach.steps + 1):
        late = time.monotonic() > until
        if step % LOOK_EVERY == 0 or step == reach.steps or late:
            sure = torch.stack([_sure_of(m, x[moving], targets[moving]) for m in models]).amin(0)
            moving = moving[sure < reach.confidence]
        if step == reach.steps or late or not len(moving):
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
