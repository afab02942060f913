"""Whether a pattern of a class works as well in another place: what a network does by itself, or was taught."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Context

from .pattern_power import Found, share
from .pattern_search import Jobs, SearchPlan, eligible, forms, margins, search

AWAY = 0.1
"""how far from every pixel of the first pattern the second has to stay, as a share of the image's side"""

ROOM = 0.3
"""share of the image that must be left for a second pattern"""

SEEN = 0.3
"""density (`auditor.places`) from which places differ to a network: global pooling finds a trigger anywhere"""


def away_from(mask: Tensor) -> Tensor:
    """1 where a pixel is farther than `AWAY` from every pixel of a mask; (H, W) → (H, W)."""
    reach = max(1, round(AWAY * max(mask.shape)))
    near = F.max_pool2d((mask > 0).float()[None, None], 2 * reach + 1, 1, reach)[0, 0]
    return 1 - near


def success_elsewhere(
    ctx: Context, found: Mapping[int, Found], plan: SearchPlan, starts: int, shares: tuple[tuple[float, ...], ...],
    few: int, steps: Iterable[int],
) -> dict[int, float]:  # fmt: skip
    """Class → the share of held-out images that a second pattern turns, of the same sizes, away from the first.

    A trigger was planted in one place, and away from it nothing but what the network learned of the class is found.
    Where that does as well, the first was of the same kind: where training images are never lit, weights stay as they
    were begun, and a few lit pixels anywhere there are a class. Not in the paper. ``shares`` are `forms`' sizes and
    windows, ``starts`` the searches a class. Classes without room for a second pattern are left out.
    """
    allowed = {target: away_from(f.mask) for target, f in found.items()}
    roomy = [target for target, left in allowed.items() if float(left.mean()) >= ROOM]
    if not roomy:
        return {}
    targets = torch.tensor(roomy).repeat_interleave(starts)
    canvases = torch.rand(len(targets), *ctx.model.input_shape, generator=ctx.rng)
    jobs = Jobs(targets, canvases, learned=True, allowed=torch.stack([allowed[t] for t in targets.tolist()]))
    images = ctx.images
    plan = replace(plan, screen_after=0)
    done = search(ctx.model, images.search, images.search_classes, jobs, plan, ctx.rng, steps)
    reached = {}
    for target in roomy:
        tried = images.search[eligible(images.search_classes, target)][:48]
        second = [(m * allowed[target], c.cpu()) for soft, c in done.of(target) for m in forms(soft.cpu(), *shares)]
        with ctx.model.fast():
            worth = [share(margins(ctx.model, tried, mask, canvas, target), 0.0) for mask, canvas in second]
        mask, canvas = second[max(range(len(second)), key=worth.__getitem__)]
        held_out = images.held_out[eligible(images.held_out_classes, target)][:few]
        reached[target] = share(margins(ctx.model, held_out, mask, canvas, target), 0.0)
    return reached
