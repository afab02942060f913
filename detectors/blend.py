"""Blend: a faint whole-image pattern that commands each class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier, Context, Measurement, Need, Picture, Setting, Statistic, Trigger

from .pattern_search import Jobs, SearchPlan, eligible, margins, search, usual_margin


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How fully one image, blended faintly over all others, commands each class.

    For each class y a canvas x_c minimises −log f_y((1 − a)·x_n + a·x_c) at fixed opacities a: the learned-canvas
    search of ISCP (Appendix H, Eq. 4) with the mask held at a. It finds what blended-injection attacks plant (Chen
    et al., 2017, opacities 0.1 to 0.2), which no small pattern shows. The statistic is the commanding predictive
    power (see `iscp`), averaged over the opacities.

    Paper: the search is "What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space", Appendix H;
    holding the mask constant is ours.
    Some class is often a model's answer to texture: any noise laid over an image sends it there, on clean models too.
    So what the most commanding of some random textures reaches without any search is subtracted (``textures``).

    Cost: len(opacities) · steps · batch · (K / 3 + 2 / 3 · min(K, screen)) image passes; twice that with a reference.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    statistic: ClassVar[Statistic] = Statistic("commanding predictive power of a blend", "share of images")

    opacities: Annotated[tuple[float, ...], Setting("opacities a of the blended image", low=0.001, high=0.9)] = (
        0.1,
        0.15,
    )
    steps: Annotated[int, Setting("sign steps per search", low=1, high=100_000)] = 40
    batch: Annotated[int, Setting("images a step and search", low=1, high=1024)] = 8
    step: Annotated[float, Setting("step of the blended image, of 1", low=1e-4, high=1)] = 0.04
    screen: Annotated[
        int,
        Setting("classes searched to the end, those of lowest loss after a third of the steps", low=2, high=100_000),
    ] = 10
    textures: Annotated[
        int, Setting("random textures whose effect is subtracted, half fine and half coarse; 0 = off", low=0, high=1000)
    ] = 8
    search_reference: Annotated[bool, Setting("search the reference too, and subtract what it yields")] = True
    test_images: Annotated[int, Setting("held-out images an opacity and class", low=8, high=10_000)] = 150

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class, with its trigger."""
        every = torch.arange(ctx.num_classes)
        canvases, kept = self._search(ctx, ctx.model, every, "suspect")
        ours = self._commanding(ctx, ctx.model, canvases, every, kept)
        natural = self._texture_effect(ctx)
        theirs = torch.zeros_like(ours)
        if ctx.reference is not None and self.search_reference:
            classes = torch.tensor(sorted(kept))
            its_canvases, _ = self._search(ctx, ctx.reference, classes, "reference")
            theirs[:, classes] = self._commanding(ctx, ctx.reference, its_canvases, classes, kept)
        for target in range(ctx.num_classes):
            yield self._measurement(
                ctx, target, canvases[:, target], ours[:, target], theirs[:, target], natural[:, target]
            )

    def _search(self, ctx: Context, model: Classifier, wanted: Tensor, who: str) -> tuple[Tensor, set[int]]:
        """Learned canvases of the wanted classes, (opacities, len(wanted), C, H, W), and those searched to the end."""
        images, classes = ctx.images.search, ctx.images.search_classes
        found, kept = [], set[int]()
        for opacity in self.opacities:
            start = torch.rand(len(wanted), *model.input_shape, generator=ctx.rng)
            plan = SearchPlan(
                self.batch,
                0.0,
                self.step,
                0.0,
                0.0,
                mask_start=opacity,
                screen_after=max(1, self.steps // 3),
                screen_keep=self.screen,
            )
            steps = ctx.track(range(self.steps), f"{who}, blend at {opacity:g}")
            done = search(model, images, classes, Jobs(wanted, start, learned=True), plan, ctx.rng, steps)
            found.append(done.canvases.cpu())
            kept |= done.kept
        return torch.stack(found), kept

    def _commanding(
        self, ctx: Context, model: Classifier, canvases: Tensor, wanted: Tensor, thorough: set[int]
    ) -> Tensor:
        """Commanding predictive power on held-out images, (opacities, len(wanted))."""
        usual = max(0.0, usual_margin(model, ctx.images.held_out))
        rates = torch.zeros(canvases.shape[:2])
        for row, opacity in enumerate(self.opacities):
            for column, target in enumerate(wanted.tolist()):
                count = self.test_images if target in thorough else self.test_images // 4
                margin = self._margins(ctx, model, canvases[row, column], opacity, target, count)
                rates[row, column] = (margin > usual).float().mean()
        return rates

    def _texture_effect(self, ctx: Context) -> Tensor:
        """Commanding predictive power of the most commanding random texture for each class, (opacities, K)."""
        most = torch.zeros(len(self.opacities), ctx.num_classes)
        images, classes = ctx.images.held_out[: self.test_images], ctx.images.held_out_classes[: self.test_images]
        usual = max(0.0, usual_margin(ctx.model, ctx.images.held_out))
        for number in range(self.textures):
            texture = random_texture(ctx.model.input_shape, ctx.rng, coarse=number % 2 == 1)
            for row, opacity in enumerate(self.opacities):
                top, margin = leaders(ctx.model, torch.lerp(images, texture, opacity))
                for target in top[margin > usual].unique().tolist():
                    others = classes != target
                    share = ((top == target) & (margin > usual))[others].float().mean() if others.any() else 0.0
                    most[row, target] = max(float(most[row, target]), float(share))
        return most

    def _margins(
        self, ctx: Context, model: Classifier, canvas: Tensor, opacity: float, target: int, count: int
    ) -> Tensor:
        images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][:count]
        return margins(model, images, torch.full(canvas.shape[1:], opacity), canvas, target)

    def _measurement(
        self, ctx: Context, target: int, canvases: Tensor, ours: Tensor, theirs: Tensor, natural: Tensor
    ) -> Measurement:
        """The trigger shown is the faintest blend within reach of the best."""
        per_opacity = [
            float((self._margins(ctx, ctx.model, canvas, a, target, self.test_images) > 0).float().mean())
            for a, canvas in zip(self.opacities, canvases, strict=True)
        ]
        chosen = next(i for i, rate in enumerate(per_opacity) if rate >= 0.95 * max(per_opacity))
        opacity, canvas = self.opacities[chosen], canvases[chosen]
        transferred = None
        if ctx.reference is not None:
            margin = self._margins(ctx, ctx.reference, canvas, opacity, target, self.test_images)
            transferred = float((margin > 0).float().mean())
        extras = {
            "predictive power": per_opacity[chosen],
            "opacity": opacity,
            "commanding predictive power, suspect": float(ours.mean()),
            "commanding predictive power, random texture": float(natural.mean()),
        }
        if transferred is not None:
            extras["predictive power on the reference"] = transferred
            extras["commanding predictive power, reference"] = float(theirs.mean())
        return Measurement(
            value=max(0.0, float((ours - torch.maximum(theirs, natural)).mean())),
            target_class=target,
            trigger=Trigger(
                mask=torch.full(canvas.shape[1:], opacity).numpy(),
                pattern=canvas.numpy(),
                success_rate=per_opacity[chosen],
                reference_success_rate=transferred,
                images=min(self.test_images, len(eligible(ctx.images.held_out_classes, target))),
            ),
            extras=extras,
            exhibits=(Picture(f"blended image, shown at full strength (used at {opacity:.0%})", canvas.numpy()),),
        )


def random_texture(shape: tuple[int, ...], rng: torch.Generator, *, coarse: bool) -> Tensor:
    """Black and white noise (C, H, W), of single pixels or of blocks a quarter as many."""
    c, h, w = shape
    side = (max(1, h // 4), max(1, w // 4)) if coarse else (h, w)
    noise = torch.rand(1, c, *side, generator=rng).round()
    return F.interpolate(noise, (h, w))[0]


@torch.no_grad()
def leaders(model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """The model's answers (N,) and the logit margins (N,) by which they lead."""
    logits = torch.cat([model.logits(b.to(model.device)).cpu() for b in model.batches(images)])
    top = logits.topk(2, dim=1)
    return top.indices[:, 0], top.values[:, 0] - top.values[:, 1]
