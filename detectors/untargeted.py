"""Untargeted: one small pattern that moves all images away from their own answer, and where it sends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Context, Effort, Measurement, Need, Picture, Setting, Statistic

from .label_map import choose, moved_away, told
from .pattern_search import forms, pattern_step


@dataclass(frozen=True, kw_only=True)
class Untargeted:
    """Where one small pattern sends the images of each class, if it is only asked to move them away from their own.

    A mask m and canvas x_c minimise −log(1 − f_own(m·x_c + (1 − m)·x_n)) + α‖m‖₁/n over all images x_n, ``own`` being
    the model's answer to x_n, by steps of the gradient's sign (Algorithm 1 of ISCP with a learned canvas and without a
    target). The pattern is tested as its strongest pixels and as its strongest window. A measurement a source class:
    the wrong answer that most of its images get, and their share; together they are the label map. An all-to-all
    backdoor moves every class to another one; a natural feature, or an all-to-one trigger, moves all to the same.

    Paper: the search is that of "What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space", Algorithm 1
    and Appendix H; dropping the target is ours, the label maps are those of BadNets (Gu et al., 2017).
    Cost: starts · steps · batch image passes whatever the number of classes, and half the tested images. Which start
    finds the trigger is chance, and not to be told early: after a third of the steps its loss is no lower than others'.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS, Need.ROBUST_IMPRESSIONS})
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("share that a common pattern moves", "share of images", per="source")

    starts: Annotated[int, Setting("independent starts: white, black, then noise", low=1, high=64)] = 10
    steps: Annotated[int, Setting("sign steps a start", low=1, high=10_000)] = 80
    batch: Annotated[int, Setting("images a step and start", low=1, high=1024)] = 12
    mask_step: Annotated[float, Setting("step of the mask", low=1e-4, high=1, paper="0.02")] = 0.02
    canvas_step: Annotated[float, Setting("step of the canvas", low=1e-4, high=1)] = 0.04
    alpha: Annotated[float, Setting("weight α of the mask's size", low=0, high=1000, paper="0.2")] = 0.2
    sizes: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, strongest pixels", low=1e-4, high=1)
    ] = (0.01, 0.02)
    windows: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, strongest square window", low=1e-4, high=1)
    ] = (0.02, 0.04)

    def expected(self, ctx: Context) -> int:
        """One a class that has images."""
        return len(ctx.on_robust_images.images.held_out_classes.unique())

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a source class; matrix, pattern and trigger come with the first."""
        ctx = ctx.on_robust_images
        masks, canvases = self._search(ctx)
        candidates = [
            (mask, canvas)
            for soft, canvas in zip(masks, canvases, strict=True)
            for mask in forms(soft, self.sizes, self.windows)
        ]
        # which pattern is best is decided on search images, what it does is measured on held-out ones
        changes = [partial(torch.lerp, end=canvas, weight=mask) for mask, canvas in candidates]
        best, on_search = choose(ctx, changes)
        mask, canvas = candidates[best]
        shown = Picture("pattern that moves images away", torch.where(mask > 0, canvas, 0.5).numpy())
        yield from told(ctx, changes[best], on_search, mask, canvas, (shown,))

    def _search(self, ctx: Context) -> tuple[Tensor, Tensor]:
        """Masks (S, H, W) and canvases (S, C, H, W) of all starts."""
        model, images, classes = ctx.model, ctx.images.search, ctx.images.search_classes
        masks = torch.full((self.starts, *model.input_shape[1:]), 0.5)
        canvases = torch.rand(self.starts, *model.input_shape, generator=ctx.rng)
        canvases[0] = 1.0
        if self.starts > 1:
            canvases[1] = 0.0
        for _ in ctx.track(range(self.steps), "pattern without a target"):
            for part in torch.arange(self.starts).split(max(1, model.batch_images // self.batch)):
                drawn = torch.randint(len(images), (len(part), self.batch), generator=ctx.rng)
                loss = partial(moved_away, own=classes[drawn].flatten().to(model.device))
                plan = (self.mask_step, self.canvas_step, self.alpha)
                masks[part], canvases[part] = pattern_step(
                    model, images[drawn], masks[part], canvases[part], loss, plan
                )
        return masks, canvases
