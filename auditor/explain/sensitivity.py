"""Sensitivity maps: how a class's score answers to each pixel of one image.

"What Do Adversarially Robust Models Look At?", Section 3.4 (Eq. 7 to 9) and Appendix A.1 (Eq. 11 to 17). SmoothGrad is
Smilkov et al. (2017), integrated gradients are Sundararajan et al. (ICML 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.errors import ConfigError, ModelMismatchError
from auditor.explain.guided import GuidedBackpropagation
from auditor.settings import Setting

Method = Literal["vanilla gradient", "loss gradient", "guided backpropagation", "SmoothGrad", "integrated gradients"]

METHODS: tuple[Method, ...] = get_args(Method)

PERCENTILE = 0.99
"""of a map's pixels, shown as white: single pixels would darken all the others (Smilkov et al., Section 3.1)"""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The constants of SmoothGrad and of integrated gradients.

    The path starts from grey, because from black, as in Sundararajan et al., black pixels can have no share.
    """

    samples: Annotated[int, Setting("noisy copies of an image, SmoothGrad", low=1, high=10_000, paper="50")] = 50
    noise: Annotated[
        float,
        Setting(
            "standard deviation of the noise as a share of the image's range of values, SmoothGrad",
            low=0,
            high=1,
            paper="0.1 to 0.2",
        ),
    ] = 0.15
    steps: Annotated[
        int, Setting("points on the path, integrated gradients", low=1, high=10_000, paper="20 to 300")
    ] = 50
    baseline: Annotated[
        float, Setting("grey level that the path starts from, integrated gradients", low=0, high=1, paper="0 (black)")
    ] = 0.5


def sensitivity(
    model: Classifier, images: Tensor, targets: Tensor, method: Method, plan: Sensitivity, rng: torch.Generator
) -> Tensor:
    """Maps (N, C, H, W), signed, of images (N, C, H, W) in [0, 1] for the classes ``targets`` (N,).

    Units are logits per unit of pixel value; nats per unit for the loss gradient; logits for integrated gradients,
    which sum to f(x) − f(baseline). Cost: N image passes, times ``samples`` or ``steps``. Only SmoothGrad draws from
    ``rng``. Raises `ConfigError` for an unknown method, `ModelMismatchError` where the network gives no gradient.
    """
    images = images.detach().cpu()
    if method == "vanilla gradient":
        return _gradients(model, images, targets, _score)  # Eq. 7
    if method == "loss gradient":
        return _gradients(model, images, targets, _loss)  # Eq. 9
    if method == "guided backpropagation":
        with GuidedBackpropagation():
            return _gradients(model, images, targets, _score)
    if method == "SmoothGrad":
        return _smooth(model, images, targets, plan, rng)
    if method == "integrated gradients":
        return _integrated(model, images, targets, plan)
    raise ConfigError(f"expected a kind of sensitivity map, got '{method}'; known kinds: {', '.join(METHODS)}")


def as_picture(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) → (N, 1, H, W) in [0, 1], for showing: 0 where a pixel does not matter.

    The mean absolute value over the channels, divided by its 99th percentile (its maximum where that is 0) and clipped.
    What is not finite counts as 0.
    """
    size = maps.detach().float().nan_to_num(0.0, 0.0, 0.0).abs().mean(1, keepdim=True)
    flat = size.flatten(1)
    # by rank, as torch.quantile refuses more than 2²⁴ values
    white = flat.kthvalue(math.ceil(PERCENTILE * flat.shape[1]), dim=1).values
    white = torch.where(white > 0, white, flat.amax(1))
    return torch.where(size > 0, size / white.view(-1, 1, 1, 1), 0.0).clamp(0, 1)


def _smooth(model: Classifier, images: Tensor, targets: Tensor, plan: Sensitivity, rng: torch.Generator) -> Tensor:
    """Eq. 16. Noisy images are not clipped to [0, 1], as that would bend the noise of bright and dark pixels."""
    sigma = plan.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    total = torch.zeros_like(images)
    for _ in range(plan.samples):
        total += _gradients(model, images + sigma * torch.randn(images.shape, generator=rng), targets, _score)
    return total / plan.samples


def _integrated(model: Classifier, images: Tensor, targets: Tensor, plan: Sensitivity) -> Tensor:
    """Eq. 17 by the midpoint rule, times x − x′.

    The paper leaves that factor out; with it, as in Sundararajan et al., Eq. 1, the map shares out f(x) − f(x′).
    """
    way = images - plan.baseline
    total = torch.zeros_like(images)
    for step in range(plan.steps):
        total += _gradients(model, plan.baseline + (step + 0.5) / plan.steps * way, targets, _score)
    return way * total / plan.steps


def _score(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets.unsqueeze(1)).sum()


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="sum")


def _gradients(
    model: Classifier, images: Tensor, targets: Tensor, scalar: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """∂ scalar(logits, targets) / ∂ images, on the CPU."""
    maps = []
    for piece, classes in zip(images.split(model.batch_images), targets.split(model.batch_images), strict=True):
        moving = piece.to(model.device).requires_grad_(True)
        value = scalar(model.logits(moving), classes.to(model.device))
        gradient = torch.autograd.grad(value, moving, allow_unused=True)[0] if value.requires_grad else None
        if gradient is None:
            raise ModelMismatchError(
                f"expected '{model.facts.name}' to give gradients with respect to its images, got none; sensitivity "
                "maps need a network that torch can differentiate"
            )
        maps.append(gradient.cpu())
    return torch.cat(maps)
