"""Search for one faint change of the whole image that commands a class: the engine behind `blend`, `low_frequency`,
`colour`, `warp` and `generator`.

A `Transform` is a family of changes with a few parameters θ. For each class y, θ minimises −log f_y(T_θ(x_n)) over
images of other classes by steps of the gradient's sign, all classes in one batch; the classes that lag behind by a
third of the steps are dropped. What is found is then tried at lower strengths too: a clean model answers to a faint
pattern that was searched for at just that strength, a trained-in trigger works when it is fainter than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier, Context, Curve, Exhibit, Measurement, Need, Picture, Setting, Trigger

from .against_reference import net
from .pattern_search import eligible, has_victims, rungs, target_margin, usual_margin

MOST_TESTED = 3000
"""images that all dropped classes are tested on together"""

SHOWN = 4
"""images that a family may show its change on"""

Mode = Literal["replace", "add", "tone", "warp"]


class Transform(Protocol):
    """A family of changes. Parameters θ are one tensor (J, …), one row a job."""

    @property
    def step(self) -> float:
        """Length of a step of the gradient's sign, in θ's unit."""
        ...

    def start(self, jobs: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
        """Where a search begins, (J, …)."""
        ...

    def project(self, theta: Tensor) -> Tensor:
        """θ inside its bounds."""
        ...

    def apply(self, images: Tensor, theta: Tensor, strength: float = 1.0) -> Tensor:
        """(J, B, C, H, W) in [0, 1] with each job's change at a share of its strength, differentiable in θ."""
        ...

    def trigger(self, theta: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Mode] | None:
        """Mask (H, W), pattern (C, H, W) and mode of one θ as a `Trigger`; None where no pattern can show it."""
        ...

    def pictures(self, theta: Tensor, images: Tensor) -> tuple[Exhibit, ...]:
        """What to show of one θ, if need be on images (N, C, H, W) of other classes."""
        ...


@dataclass(frozen=True)
class Answered:
    """What the changes of one model's search do to held-out images."""

    commanding: Tensor
    """(K,) share of images of other classes that count as turned (`WholeImage.counted`), mean over the strengths"""
    images: Tensor
    """(K,) how many images that rests on"""
    dose: Tensor
    """(K, strengths) share turned at each strength"""

    @property
    def success(self) -> Tensor:
        """(K,) share turned at the first strength, the full one"""
        return self.dose[:, 0]


@dataclass(frozen=True, kw_only=True)
class WholeImage:
    """What the five detectors share: the search, its settings, its test on held-out images, the reference."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    counted: ClassVar[str] = "commanding predictive power"
    """what the statistic counts: images turned with more than the usual margin"""

    steps: Annotated[int, Setting("sign steps per search", low=1, high=100_000)] = 40
    batch: Annotated[int, Setting("images a step and class", low=1, high=1024)] = 8
    screen: Annotated[
        int,
        Setting("classes searched to the end, those of lowest loss after a third of the steps", low=2, high=100_000),
    ] = 4
    strengths: Annotated[
        tuple[float, ...],
        Setting("shares of the searched strength at which a change is tested", low=0.01, high=1),
    ] = (1.0, 0.7, 0.5, 0.35)
    test_images: Annotated[int, Setting("held-out images a class", low=8, high=10_000)] = 120
    against_reference: Annotated[
        int, Setting("leading classes searched on the reference too, and less its yield; 0 = off", low=0, high=100_000)
    ] = 3

    @property
    def doses(self) -> tuple[float, ...]:
        """The strengths in falling order, the full one first: at it the trigger's success is counted."""
        return tuple(sorted({1.0, *self.strengths}, reverse=True))

    def transform(self) -> Transform:
        """The family that is searched."""
        raise NotImplementedError

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class."""
        family = self.transform()
        k = ctx.num_classes
        theta, kept = self._search(ctx, ctx.model, family, torch.arange(k), "suspect")
        ours = self._test(ctx, ctx.model, family, theta, list(range(k)), kept)
        theirs: dict[int, float] = {}
        if ctx.reference is not None and self.against_reference:
            leaders = ours.commanding.argsort(descending=True)[: self.against_reference]
            found, _ = self._search(ctx, ctx.reference, family, leaders, "reference")
            answered = self._test(ctx, ctx.reference, family, found, leaders.tolist(), set(leaders.tolist()))
            theirs = dict(zip(leaders.tolist(), answered.commanding.tolist(), strict=True))
        left = net(dict(enumerate(ours.commanding.tolist())), theirs)
        for target in range(k):
            yield self._measurement(ctx, family, theta, ours, theirs.get(target), left[target], target)

    def _search(
        self, ctx: Context, model: Classifier, family: Transform, targets: Tensor, who: str
    ) -> tuple[Tensor, set[int]]:
        """θ of each target class, (len(targets), …), and the classes searched to the end."""
        images, classes = ctx.images.search, ctx.images.search_classes
        theta = family.start(len(targets), model.input_shape, ctx.rng)
        pools = [eligible(classes, int(t)) for t in targets]
        losses = torch.zeros(len(targets))
        active = torch.arange(len(targets))
        screens = rungs(len(targets), self.screen, max(1, self.steps // 3))
        for step in ctx.track(range(self.steps), f"{who}, searching"):
            if step in screens:
                active = active[losses[active].argsort()[: screens[step]]].sort().values
            size = step_size(family, step, self.steps)
            for part in active.split(max(1, model.batch_images // self.batch)):
                drawn = [
                    pools[j][torch.randint(len(pools[j]), (self.batch,), generator=ctx.rng)] for j in part.tolist()
                ]
                wanted = targets[part].to(model.device).repeat_interleave(self.batch)
                ask = partial(F.cross_entropy, target=wanted, reduction="none")
                loss = descend(model, family, theta, part, images[torch.stack(drawn)], ask, size)
                losses[part] = 0.8 * losses[part] + 0.2 * loss.view(len(part), -1).mean(1).cpu()
        return theta, set(targets[active].tolist())

    def _test(
        self, ctx: Context, model: Classifier, family: Transform, theta: Tensor, targets: list[int], kept: set[int]
    ) -> Answered:
        """Shares on held-out images; classes that were dropped get a quarter of them, or less where they are many."""
        usual = max(0.0, usual_margin(model, ctx.images.held_out))
        few = max(8, min(self.test_images // 4, MOST_TESTED // len(targets)))
        rows = []
        for row, target in enumerate(targets):
            count = self.test_images if target in kept else few
            images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][:count]
            commanding, success = torch.zeros(len(self.doses)), torch.zeros(len(self.doses))
            for column, strength in enumerate(self.doses):
                with model.fast():
                    turned = self._turned(model, family, images, theta[row], strength, target, usual)
                commanding[column], success[column] = turned
                if not commanding[column] and target not in kept:  # nor will it at less
                    break
            if not has_victims(ctx.images.held_out_classes, target):
                commanding, success, images = commanding * 0, success * 0, images[:0]
            rows.append((commanding.mean(), success, len(images)))
        means, doses, counts = zip(*rows, strict=True)
        return Answered(torch.stack(means), torch.tensor(counts), torch.stack(doses))

    def _turned(
        self,
        model: Classifier,
        family: Transform,
        images: Tensor,
        theta: Tensor,
        strength: float,
        target: int,
        usual: float,
    ) -> tuple[float, float]:
        """Share of images that count as turned by one θ, and share that are turned; ``usual``: the usual margin."""
        margin = target_margin(changed_logits(model, family, images, theta, strength), target)
        return float((margin > usual).float().mean()), float((margin > 0).float().mean())

    def _measurement(
        self,
        ctx: Context,
        family: Transform,
        theta: Tensor,
        ours: Answered,
        theirs: float | None,
        left: float,
        target: int,
    ) -> Measurement:
        """``theirs``: what the reference's own search reaches, where it was made; ``left``: the suspect's, less it."""
        shape = ctx.model.input_shape
        commanding = float(ours.commanding[target])
        extras = {
            "predictive power": float(ours.success[target]),
            f"{self.counted}, suspect": commanding,
        }
        if theirs is not None:
            extras[f"{self.counted}, reference"] = theirs
        drawn = family.trigger(theta[target], shape)
        trigger = None
        if drawn is not None and commanding > 0:
            mask, pattern, mode = drawn
            success = float(ours.success[target])
            transferred = None
            images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][: self.test_images]
            if success >= 0.5:  # what may be confirmed is measured again in float32
                margin = target_margin(changed_logits(ctx.model, family, images, theta[target]), target)
                success = float((margin > 0).float().mean())
            if ctx.reference is not None:
                margin = target_margin(changed_logits(ctx.reference, family, images, theta[target]), target)
                transferred = float((margin > 0).float().mean())
                extras["predictive power on the reference"] = transferred
            trigger = Trigger(
                mask=mask.numpy(),
                pattern=pattern.numpy(),
                success_rate=success,
                mode=mode,
                reference_success_rate=transferred,
                images=int(ours.images[target]),
            )
        shown: tuple[Exhibit, ...] = ()
        if commanding > 0:
            others = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][:SHOWN]
            shown = family.pictures(theta[target], others)
        if commanding > 0 and len(self.doses) > 1:
            power = tuple(ours.dose[target].tolist())
            dose = Curve("predictive power", self.doses, power, "share of the full strength", "share of images")
            shown = (*shown, dose)
        return Measurement(value=left, target_class=target, trigger=trigger, extras=extras, exhibits=shown)


def step_size(family: Transform, step: int, steps: int) -> float:
    """Shorter towards the end."""
    return family.step * (1.0 if step < 0.6 * steps else 0.4)


def descend(
    model: Classifier,
    family: Transform,
    theta: Tensor,
    part: Tensor,
    images: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    size: float,
) -> Tensor:
    """One step of the gradient's sign for the jobs ``part`` of θ, in place, on images (P, B, C, H, W) of each.

    ``loss_of`` takes logits (P·B, K) and gives losses (P·B,), which are returned.
    """
    moving = theta[part].to(model.device).requires_grad_(True)
    with model.fast():
        logits = model.logits(family.apply(images.to(model.device), moving).flatten(0, 1))
    loss = loss_of(logits)
    (gradient,) = torch.autograd.grad(loss.sum(), moving)
    theta[part] = family.project(theta[part] - size * gradient.sign().cpu())
    return loss.detach()


@torch.no_grad()
def changed_logits(
    model: Classifier, family: Transform, images: Tensor, theta: Tensor, strength: float = 1.0
) -> Tensor:
    """(N, K) logits of images (N, C, H, W) with one θ's change, on the CPU."""
    theta = theta.to(model.device).unsqueeze(0)
    return torch.cat(
        [
            model.logits(family.apply(b.to(model.device).unsqueeze(0), theta, strength)[0]).cpu()
            for b in model.batches(images)
        ]
    )


def grey_centred(pattern: Tensor, reach: float) -> Tensor:
    """A signed pattern (C, H, W) of at most ``reach`` as a picture: none is mid-grey."""
    return (pattern / (2 * max(reach, 1e-6)) + 0.5).clamp(0, 1)


def picture(title: str, pixels: Tensor) -> Picture:
    """A tensor (C, H, W) in [0, 1] as an exhibit."""
    return Picture(title, pixels.detach().cpu().float().numpy())
