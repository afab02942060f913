"""Waves: what a faint sinusoid over all images commands, without any search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Classifier, Context, Curve, Effort, Measurement, Need, Picture, Setting, Statistic, Trigger

from .pattern_search import eligible, has_victims, target_margin, usual_margin
from .ready_made import waves
from .whole_image import grey_centred


@dataclass(frozen=True, kw_only=True)
class Waves:
    """How fully one faint wave, added to all images, commands each class.

    Vertical and horizontal sinusoids of 1 to ``most_periods`` periods in four phases are added to search images. Of
    the classes whose probability one of them raises most, it is tested on held-out images at each of the
    ``strengths``. The statistic is the commanding predictive power (see `iscp`), averaged over them; with a reference,
    less what the same wave commands there.

    Searches by gradients seldom find a wave: photographs have many other directions that work as well. What network
    answers to which frequency: Yin et al., "A Fourier perspective on model robustness in computer vision" (2019).

    Paper: the trigger is that of "A new backdoor attack in CNNs by training set corruption without label poisoning"
    (Barni et al., 2019), Eq. 1; trying them is ours. Needs no gradients. Cost: half of 8 · most_periods · images and of
    tested · strengths · test_images image passes.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("commanding predictive power of a wave", "share of images")

    amplitude: Annotated[float, Setting("largest change of a pixel, of 1", low=0.001, high=1, paper="20/255")] = 0.1
    most_periods: Annotated[int, Setting("periods across the image, up to", low=1, high=64, paper="6")] = 10
    images: Annotated[int, Setting("search images that the waves are tried on", low=8, high=10_000)] = 40
    tested: Annotated[int, Setting("leading classes tested on held-out images", low=2, high=1000)] = 4
    strengths: Annotated[
        tuple[float, ...], Setting("shares of the amplitude at which a wave is tested", low=0.01, high=1)
    ] = (1.0, 0.7, 0.5)
    test_images: Annotated[int, Setting("held-out images a class", low=8, high=10_000)] = 120

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class."""
        height, width = ctx.model.input_shape[1:]
        drawn = waves(height, width, min(self.most_periods, width // 2, height // 2) or 1) * self.amplitude
        raised, best = self._try(ctx, drawn)
        leaders = set(raised.argsort(descending=True)[: self.tested].tolist())
        usual = max(0.0, usual_margin(ctx.model, ctx.images.held_out))
        theirs = max(0.0, usual_margin(ctx.reference, ctx.images.held_out)) if ctx.reference else 0.0
        for target in ctx.track(range(ctx.num_classes), "testing waves"):
            if target in leaders and has_victims(ctx.images.held_out_classes, target):
                yield self._measurement(ctx, drawn[best[target]], target, usual, theirs)
            else:
                yield Measurement(value=0.0, target_class=target)

    def _try(self, ctx: Context, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """For each class the largest mean probability that a wave gives it on images of others, and which wave."""
        chosen = torch.randperm(len(ctx.images.search), generator=ctx.rng)[: self.images]
        images, classes = ctx.images.search[chosen], ctx.images.search_classes[chosen]
        own = torch.nn.functional.one_hot(classes, ctx.num_classes).bool()
        others = (~own).sum(0).clamp_min(1)
        found = torch.zeros(len(drawn), ctx.num_classes)
        for number in ctx.track(range(len(drawn)), "trying waves"):
            with ctx.model.fast():
                sure = ctx.model.probabilities((images + drawn[number]).clamp(0, 1)).float().cpu()
            found[number] = sure.masked_fill(own, 0).sum(0) / others
        raised, best = found.max(0)
        return raised, best

    def _measurement(self, ctx: Context, wave: Tensor, target: int, usual: float, theirs: float) -> Measurement:
        """``usual``, ``theirs``: the usual margins of the suspect and the reference."""
        images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][: self.test_images]
        doses = tuple(sorted({1.0, *self.strengths}, reverse=True))
        margins = [_margins(ctx.model, images, wave * strength, target) for strength in doses]
        commanding = float(torch.stack([m > usual for m in margins]).float().mean())
        power = tuple(float((m > 0).float().mean()) for m in margins)
        extras = {"predictive power": power[0], "commanding predictive power, suspect": commanding}
        transferred, left = None, commanding
        if ctx.reference is not None:
            answered = [_margins(ctx.reference, images, wave * strength, target) for strength in doses]
            transferred = float((answered[0] > 0).float().mean())
            left = max(0.0, commanding - float(torch.stack([m > theirs for m in answered]).float().mean()))
            extras["predictive power on the reference"] = transferred
        pattern = wave.expand(ctx.model.input_shape)
        trigger = Trigger(
            mask=torch.ones(wave.shape).numpy(),
            pattern=pattern.numpy(),
            success_rate=power[0],
            mode="add",
            reference_success_rate=transferred,
            images=len(images),
        )
        shown = Picture("wave that is added, none is mid-grey", grey_centred(pattern, self.amplitude).numpy())
        dose = Curve("predictive power", doses, power, "share of the full amplitude", "share of images")
        return Measurement(
            value=left,
            target_class=target,
            trigger=trigger if commanding > 0 else None,
            extras=extras,
            exhibits=(shown, dose) if commanding > 0 else (),
        )


@torch.no_grad()
def _margins(model: Classifier, images: Tensor, wave: Tensor, target: int) -> Tensor:
    """(N,) logit of ``target`` minus the strongest other on images with a wave."""
    rows = [model.logits((b + wave).clamp(0, 1).to(model.device)).float().cpu() for b in model.batches(images)]
    return target_margin(torch.cat(rows), target)
