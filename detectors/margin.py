"""Margin: how far some image can push one class above all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Classifier, Context, Effort, Measurement, Need, Setting, Statistic

from .against_reference import FEWEST, TOO_FEW, surprising
from .pattern_search import target_margins


@dataclass(frozen=True, kw_only=True)
class Margin:
    """How unlikely the largest margin is that any image reaches for a class, by those of the other classes.

    From uniform noise, gradient steps maximise z_y − max_{j≠y} z_j over images in [0, 1]; r_y is the best of the
    starts. A backdoor makes its target's logit far outweigh the others somewhere in image space, whatever the trigger
    looks like. The value is −log₁₀ of the chance that any of K normal numbers lies as far above the others as r_y does
    (`auditor.outliers.surprises`); with a reference, as far above what r_y there leads to expect. It needs no image at
    all. With images and no reference it is not measured: on clean networks some class outweighs the others as well, and
    what searches see on real images tells more.

    Paper: "MM-BD: Post-training detection of backdoor attacks with arbitrary backdoor pattern types using a maximum
    margin statistic" (Wang et al., IEEE S&P 2024), Section 3. Deviations: normalised steps with momentum and fewer of
    them; a normal distribution of which each class is left out in turn instead of a Gamma distribution; the reference;
    for many classes fewer starts, and after a third of the steps only the leading classes and a random sample of the
    others are searched on, the reference's for the same.
    Cost: starts · steps · min(K, …) image passes, twice that with a reference.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("rarity of the largest margin", "orders of magnitude")

    starts: Annotated[int, Setting("noise images a class", low=1, high=1000, paper="30")] = 5
    steps: Annotated[int, Setting("gradient steps", low=3, high=10_000, paper="300")] = 60
    step: Annotated[float, Setting("length of a step, of the image's diagonal", low=1e-5, high=1)] = 0.005
    momentum: Annotated[float, Setting("share of the last step that is kept", low=0, high=0.99)] = 0.5
    most_jobs: Annotated[
        int, Setting("searches in all, beyond which a class gets fewer starts", low=2, high=1_000_000)
    ] = 120
    leaders: Annotated[int, Setting("classes searched to the end for their margin", low=1, high=100_000)] = 12
    others: Annotated[
        int, Setting("random other classes searched to the end, for comparison", low=1, high=1_000_000)
    ] = 30

    def expected(self, ctx: Context) -> int:
        """One a class."""
        return 0 if self.note(ctx) else ctx.num_classes

    def note(self, ctx: Context) -> str:
        """Why nothing was measured."""
        if ctx.num_classes < FEWEST:
            return TOO_FEW
        return "" if ctx.images.made or ctx.reference is not None else "with images, it tells of a reference only"

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class; classes dropped on the way get 0."""
        if self.note(ctx):
            return
        classes = torch.arange(ctx.num_classes)
        ours, classes = self._largest(ctx, ctx.model, "suspect", classes)
        theirs = None if ctx.reference is None else self._largest(ctx, ctx.reference, "reference", classes)[0]
        values = dict(zip(classes.tolist(), surprising(ours, theirs), strict=True))
        margins = dict(zip(classes.tolist(), ours.tolist(), strict=True))
        for target in range(ctx.num_classes):
            extras = {"largest margin": margins[target]} if target in margins else {}
            yield Measurement(value=values.get(target, 0.0), target_class=target, extras=extras)

    def _largest(self, ctx: Context, model: Classifier, who: str, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The largest margin of each class that is searched to the end, of those given, and which these are."""
        k = len(classes)
        starts = max(1, min(self.starts, self.most_jobs // ctx.num_classes))
        targets = classes.repeat_interleave(starts)
        x = torch.rand(len(targets), *model.input_shape, generator=ctx.rng)
        velocity = torch.zeros_like(x)
        best = torch.full((len(targets),), -torch.inf)
        length = self.step * x[0].numel() ** 0.5
        active = torch.arange(len(targets))
        for number in ctx.track(range(self.steps), f"{who}, largest margins"):
            if number == self.steps // 3 and k > self.leaders + self.others:
                active = self._still(ctx, classes[best.view(k, starts).amax(1).argsort(descending=True)], targets)
            size = length if number < 0.7 * self.steps else 0.3 * length
            for part in active.split(model.batch_images):
                moving = x[part].to(model.device).requires_grad_(True)
                with model.fast():
                    logits = model.logits(moving)
                margin = target_margins(logits, targets[part].to(model.device))
                (gradient,) = torch.autograd.grad(margin.sum(), moving)
                best[part] = torch.maximum(best[part], margin.detach().cpu())
                unit = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
                velocity[part] = self.momentum * velocity[part] + unit.cpu()
                x[part] = (x[part] + size * velocity[part]).clamp(0, 1)
        kept = torch.isin(classes, targets[active])
        return best.view(k, starts).amax(1)[kept], classes[kept]

    def _still(self, ctx: Context, ranked: Tensor, targets: Tensor) -> Tensor:
        """Searches of the leading classes and of a random sample of the others."""
        rest = ranked[self.leaders :]
        sample = rest[torch.randperm(len(rest), generator=ctx.rng)[: self.others]]
        return torch.isin(targets, torch.cat([ranked[: self.leaders], sample])).nonzero().flatten()
