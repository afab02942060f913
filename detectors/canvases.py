"""What patterns are cut from: canvases as Section 3 of "What Do Deep Nets Learn?" samples them, and learned ones."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from auditor import Classifier, Context

from .pattern_search import eligible

MOST_VALUES = 2**28
"""pixel values of all canvases together, 1 GiB: beyond, each class gets one start"""

Canvas = Literal["positive", "negative", "random", "white", "black", "learned"]


def canvases_of(ctx: Context, model: Classifier, canvas: Canvas, most: int) -> tuple[Tensor, Tensor]:
    """Target classes (J,) and canvases (J, C, H, W) of one sort, ``most`` a class (Section 3, Canvas Sampling).

    One a class of ``white`` and ``black``, and where all would exceed `MOST_VALUES`.
    """
    k, shape = ctx.num_classes, ctx.model.input_shape
    each = most if k * most * math.prod(shape) <= MOST_VALUES else 1
    targets = torch.arange(k).repeat_interleave(each)
    if canvas in ("white", "black"):
        return torch.arange(k), torch.full((k, *shape), 1.0 if canvas == "white" else 0.0)
    if canvas == "learned":
        return targets, torch.rand(len(targets), *shape, generator=ctx.rng)
    images, classes = ctx.images.search, ctx.images.search_classes
    confidence = model.probabilities(images)
    picked = []
    for target in range(k):
        own = (classes == target).nonzero().flatten() if canvas != "negative" else eligible(classes, target)
        own = own if len(own) else torch.arange(len(images))
        if canvas == "random":
            order = torch.randint(len(own), (each,), generator=ctx.rng)
        else:
            order = confidence[own, target].argsort(descending=True)[:each]
        chosen = own[order]
        picked.append(chosen[torch.arange(each) % len(chosen)])
    return targets, images[torch.cat(picked)]
