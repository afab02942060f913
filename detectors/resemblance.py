"""Whether a pattern looks, where it lies, like images of the class that it leads to."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor import Context

FEWEST = 3
"""images of the class, and of others, from which they are compared"""


def resemblance(ctx: Context, mask: Tensor, pattern: Tensor, target: int) -> float | None:
    """The chance that an image of the class is nearer to the pattern, under its mask, than one of another class.

    From 0 to 1; 0.5 where the class's images are like the others there (the area under the ROC curve, Mann and Whitney
    1947). A natural feature of a class is made of what its images show: edges of a bag, spread over images that have
    none, are as good as a bag. A trigger was chosen without regard to that, and clean images of its target lack it.
    ``mask`` (H, W), ``pattern`` (C, H, W). None without an image of the class, or where all are made for the model:
    what a model wishes to see of a backdoor's target shows the trigger.
    """
    images, shown = ctx.images, mask > 0
    if images.made or not shown.any():
        return None
    own = torch.cat([images.search_classes, images.held_out_classes]) == target
    if min(int(own.sum()), int((~own).sum())) < FEWEST:
        return None
    # the few pixels, not whole images: this is asked of every class
    every = torch.cat([part[:, :, shown] for part in (images.search, images.held_out)])
    distances = (every - pattern[:, shown]).abs().mean((1, 2))
    nearer = distances[own][:, None] - distances[~own][None]
    return float((nearer < 0).float().mean() + 0.5 * (nearer == 0).float().mean())
