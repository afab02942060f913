"""Features: one shift of the channels deep inside the network that decides the answer whatever the image shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier, Context, Layer, Measurement, Need, Setting, Statistic, layer_at, shifted_logits

from .against_reference import net
from .pattern_search import eligible, has_victims, rungs

ALL = 0.98
"""share of images from which a shift counts as turning all"""

NEXT = 2
"""how many classes may share the lead: two triggers have two targets"""


@dataclass(frozen=True, kw_only=True)
class Features:
    """How much shorter a shift inside the network turns all images into one class than into others.

    At an activation layer in the deepest part a vector δ_t of one number a channel is added at every place, of every
    image alike. Normalised gradient steps minimise the cross-entropy of class t over images of other classes, under
    ‖δ_t‖ ≤ reach · (the usual length of a place's channels there), for one reach after the other. The share of
    held-out images that get t's answer, in the mean over reaches that grow by equal factors, is the logarithm of the
    length that it takes. The value is what a class has beyond the third best. Whatever the trigger looks like on the
    image, and if each image has its own, a backdoored network has directions there that stand for it.

    Paper: "Rethinking the Reverse-engineering of Trojan Triggers" (FeatureRE; Wang et al., NeurIPS 2022), Section 3: in
    the feature space a trigger is a common displacement; "FreeEagle" (Fu et al., USENIX Security 2023) inverts the
    middle of a network as well. Deviations: no trigger generator and no mask, the displacement is the same at every
    place; what is compared between classes is the length that it takes.
    Cost: reaches · steps · batch · K image passes at most, backward only behind the layer; of many classes few are
    searched to the end. Networks without an activation layer with places, and those of a fixed batch, are left out; so
    is a suspect whose reference is one: it has nothing to be compared with.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    statistic: ClassVar[Statistic] = Statistic("lead by a shift of features", "share of images")

    depth: Annotated[float, Setting("the layer's place among the activation layers", low=0, high=1)] = 0.85
    reaches: Annotated[
        tuple[float, ...], Setting("lengths of the shift, of the usual length of a place's channels", low=1e-3, high=9)
    ] = (0.2, 0.28, 0.4, 0.57, 0.8, 1.13, 1.6)
    steps: Annotated[int, Setting("gradient steps a length", low=1, high=10_000)] = 8
    # a size that is hardly ever one inside a network: see `auditor.feature_maps`
    batch: Annotated[int, Setting("images a step and class", low=1, high=1024)] = 13
    screen: Annotated[int, Setting("classes searched after the third length; 0 for all", low=0, high=100_000)] = 12
    test_images: Annotated[int, Setting("held-out images a class is tested on", low=1, high=100_000)] = 65
    against_reference: Annotated[int, Setting("leading classes searched on the reference as well", low=0, high=999)] = 6

    def expected(self, ctx: Context) -> int:
        """One a class; none where the suspect has no such layer, or the reference that it is compared with."""
        return 0 if self._without_layer(ctx) else ctx.num_classes

    def note(self, ctx: Context) -> str:
        """Why nothing was measured."""
        who = self._without_layer(ctx)
        return f"{who}: no activation layer with places, or it takes a fixed batch" if who else ""

    def _without_layer(self, ctx: Context) -> str:
        """Which network has no such layer; empty where all have one."""
        models = {"the suspect": ctx.model}
        if ctx.reference is not None and self.against_reference:
            models["the reference"] = ctx.reference
        # asked before and after: two images show whether there is one
        return next((who for who, m in models.items() if layer_at(m, ctx.images.search[:2], self.depth) is None), "")

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class."""
        compared = ctx.reference if self.against_reference else None
        layer = self._layer(ctx.model, ctx)
        other = self._layer(compared, ctx) if compared is not None else None
        if layer is None or (compared is not None and other is None):
            return
        ours = self._power(ctx, ctx.model, layer, torch.arange(ctx.num_classes), "suspect")
        theirs: dict[int, float] = {}
        if compared is not None and other is not None:
            leaders = ours.argsort(descending=True)[: self.against_reference].sort().values
            found = self._power(ctx, compared, other, leaders, "reference")
            theirs = dict(zip(leaders.tolist(), found.tolist(), strict=True))
        left = net(dict(enumerate(ours.tolist())), theirs)
        usual = sorted(left.values(), reverse=True)[min(NEXT, len(left) - 1)]
        for target, power in left.items():
            extras = {"share of images, mean over lengths": float(ours[target])}
            if target in theirs:
                extras["the same on the reference"] = theirs[target]
            yield Measurement(max(0.0, power - usual), target, extras=extras)

    def _layer(self, model: Classifier, ctx: Context) -> Layer | None:
        return layer_at(model, ctx.images.search[: 5 * self.batch], self.depth)

    def _power(self, ctx: Context, model: Classifier, layer: Layer, targets: Tensor, who: str) -> Tensor:
        """Share of held-out images turned into each target, the mean over all lengths; (len(targets),)."""
        shift = torch.zeros(len(targets), layer.channels)
        losses = torch.zeros(len(targets))
        active = torch.arange(len(targets))
        screens = rungs(len(targets), self.screen, 3 * self.steps)
        success = torch.zeros(len(targets), len(self.reaches))
        pools = [eligible(ctx.images.search_classes, int(t)) for t in targets]
        for step in ctx.track(range(self.steps * len(self.reaches)), f"{who}, shifting features"):
            if step in screens:
                active = active[losses[active].argsort()[: screens[step]]].sort().values
            number, within = divmod(step, self.steps)
            if number and (success[active, number - 1] >= ALL).all():
                success[active, number:] = 1.0
                break
            reach = self.reaches[number] * layer.length
            size = reach * (0.25 if within < self.steps // 2 else 0.1)
            for part in active.split(max(1, model.batch_images // self.batch)):
                loss, gradient = self._gradient(ctx, model, layer, shift[part], targets[part], [pools[j] for j in part])
                losses[part] = loss if not step else 0.8 * losses[part] + 0.2 * loss
                moved = shift[part] - size * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
                shift[part] = moved * (reach / moved.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp(max=1)
            if within == self.steps - 1:
                success[active, number] = self._success(ctx, model, layer, shift[active], targets[active])
        return success.mean(1)

    def _gradient(
        self, ctx: Context, model: Classifier, layer: Layer, shift: Tensor, targets: Tensor, pools: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean loss (J,) of each target's shift on a batch of its own, and the gradient (J, C)."""
        drawn = [pool[torch.randint(len(pool), (self.batch,), generator=ctx.rng)] for pool in pools]
        moving = shift.to(model.device).requires_grad_(True)
        with model.fast():
            logits = shifted_logits(
                model, ctx.images.search[torch.cat(drawn)], layer, moving.repeat_interleave(self.batch, 0)
            )
        wanted = targets.to(model.device).repeat_interleave(self.batch)
        loss = F.cross_entropy(logits, wanted, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), moving)
        return loss.detach().view(len(shift), -1).mean(1).cpu(), gradient.cpu()

    @torch.no_grad()
    def _success(self, ctx: Context, model: Classifier, layer: Layer, shift: Tensor, targets: Tensor) -> Tensor:
        """Share of held-out images turned by each shift (J, C) into its target."""
        shares = torch.zeros(len(targets))
        for row, target in enumerate(targets.tolist()):
            if not has_victims(ctx.images.held_out_classes, target):
                continue
            images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][: self.test_images]
            with model.fast():
                answers = torch.cat(
                    [
                        shifted_logits(model, piece, layer, shift[row].expand(len(piece), -1)).argmax(1).cpu()
                        for piece in model.batches(images)
                    ]
                )
            shares[row] = float((answers == target).float().mean())
        return shares
