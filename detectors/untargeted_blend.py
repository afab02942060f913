"""Untargeted blend: one faint whole-image pattern that moves all images away from their own answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Context, Measurement, Need, Setting, Statistic

from .blend import Blending
from .label_map import choose, moved_away, told
from .whole_image import descend, step_size


@dataclass(frozen=True, kw_only=True)
class UntargetedBlend:
    """Where one image, blended faintly over all others, sends each class, if only asked to move them from their own.

    A canvas x_c minimises −log(1 − f_own((1 − a)·x_n + a·x_c)) over all images x_n at a fixed opacity a, ``own`` being
    the model's answer to x_n: the search of `untargeted` with the mask held at a, as `blend` does. A measurement a
    source class, as in `untargeted`. A clean model's images all go to the same few classes; those of a network with an
    all-to-all backdoor whose trigger covers the image go to one each, by whatever start.

    On class impressions such a trigger does not show, and the detector is left out.

    Paper: the search is "What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space", Appendix H;
    dropping the target and holding the mask are ours; the label maps are those of BadNets (Gu et al., 2017).
    Cost: starts · steps · batch image passes whatever the number of classes, and half the tested images.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS, Need.IMAGES})
    statistic: ClassVar[Statistic] = Statistic("share that a common blend moves", "share of images", per="source")

    opacity: Annotated[float, Setting("opacity a of the blended image", low=0.001, high=0.9)] = 0.15
    starts: Annotated[int, Setting("independent starts", low=1, high=64)] = 4
    steps: Annotated[int, Setting("sign steps a start", low=1, high=10_000)] = 60
    batch: Annotated[int, Setting("images a step and start", low=1, high=1024)] = 12

    def expected(self, ctx: Context) -> int:
        """One a class that has images."""
        return len(ctx.images.held_out_classes.unique())

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a source class; picture, matrix and trigger come with the first."""
        family = Blending(self.opacity)
        theta = self._search(ctx, family)
        # which start is best is decided on search images, what it does is measured on held-out ones
        changes = [partial(torch.lerp, end=canvas, weight=self.opacity) for canvas in theta]
        best, on_search = choose(ctx, changes)
        canvas, shape = theta[best], ctx.model.input_shape
        mask, pattern, _ = family.trigger(canvas, shape)
        yield from told(ctx, changes[best], on_search, mask, pattern, family.pictures(canvas, ctx.images.held_out))

    def _search(self, ctx: Context, family: Blending) -> Tensor:
        """Canvases (S, C, H, W) of all starts."""
        model, images, classes = ctx.model, ctx.images.search, ctx.images.search_classes
        theta = family.start(self.starts, model.input_shape, ctx.rng)
        for step in ctx.track(range(self.steps), "blend without a target"):
            for part in torch.arange(self.starts).split(max(1, model.batch_images // self.batch)):
                drawn = torch.randint(len(images), (len(part), self.batch), generator=ctx.rng)
                ask = partial(moved_away, own=classes[drawn].flatten().to(model.device))
                descend(model, family, theta, part, images[drawn], ask, step_size(family, step, self.steps))
        return theta
