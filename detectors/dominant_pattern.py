"""Dominant pattern: one faint perturbation that decides the answer whatever the image shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Context, Measurement, Need, Picture, Setting, Statistic, Trigger

Loss = Literal["cos", "ed", "kld"]


@dataclass(frozen=True, kw_only=True)
class DominantPattern:
    """How large a share of images one faint pattern δ, |δ| ≤ ξ, sends to a single class.

    Minimises E_x[L(f(δ), f(x + δ))] over ‖δ‖_∞ ≤ ξ with Adam, where f are logits and L is CoSLoss (1 − cosine,
    Eq. 5), EDLoss (Eq. 6) or KLDLoss (Eq. 7). The *dominance ratio* is the share of held-out images x with
    argmax f(x + δ) = argmax f(δ).

    Paper: "Dominant Patterns: Critical Features Hidden in DNNs", Section 3, Algorithm 1; measures of Sections 4.2, 5.
    Cost: seeds · steps · (batch + 1) image passes, whatever the number of classes.

    The statistic is the same share among images that were not of that class anyway, so that it is near 0 without
    dominance whatever the number of classes; the paper's ratio is reported beside it.

    Deviations: x + δ is clipped to [0, 1], since no image file can hold other values (``clip``); a fixed number of
    steps replaces epochs over a data set; seeds after the first start from noise instead of zero.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    statistic: ClassVar[Statistic] = Statistic("dominance over other classes", "share of images", per="model")

    epsilon: Annotated[float, Setting("largest change of a pixel ξ, of 1", low=0, high=1, paper="10/255")] = 10 / 255
    loss: Annotated[Loss, Setting("what makes f(δ) and f(x + δ) alike", paper="cos")] = "cos"
    learning_rate: Annotated[float, Setting("Adam step size, of 1", low=1e-6, high=1, paper="0.01")] = 0.01
    steps: Annotated[int, Setting("Adam steps a seed", low=1, high=100_000, paper="10 epochs")] = 60
    batch: Annotated[int, Setting("images a step", low=1, high=4096, paper="32")] = 32
    seeds: Annotated[int, Setting("independent starts; the most dominant is reported", low=1, high=64)] = 3
    clip: Annotated[bool, Setting("keep x + δ in [0, 1]", paper="false")] = True

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement: the seed with the largest dominance ratio."""
        patterns = self._optimise(ctx)
        best = max((self._measure(ctx, pattern) for pattern in patterns), key=lambda m: m.value)
        yield best

    def _optimise(self, ctx: Context) -> Tensor:
        """Algorithm 1 for all seeds in one batch; (S, C, H, W) in [−ξ, ξ]."""
        model = ctx.model
        images = ctx.images.search
        start = torch.randn(self.seeds, *model.input_shape, generator=ctx.rng) * (self.epsilon / 4)
        start[0] = 0
        delta = start.clamp(-self.epsilon, self.epsilon).to(ctx.device).requires_grad_(True)
        adam = torch.optim.Adam([delta], lr=self.learning_rate)
        for _ in ctx.track(range(self.steps), "dominant pattern"):
            drawn = torch.randint(len(images), (self.batch,), generator=ctx.rng)
            mixed = images[drawn].to(ctx.device).unsqueeze(0) + delta.unsqueeze(1)
            if self.clip:
                mixed = mixed.clamp(0, 1)
            both = model.logits(torch.cat([mixed.flatten(0, 1), delta]))
            of_images = both[: -self.seeds].view(self.seeds, self.batch, -1)
            of_pattern = both[-self.seeds :].unsqueeze(1)
            loss = similarity_loss(of_pattern.expand_as(of_images), of_images, self.loss).mean(1).sum()
            adam.zero_grad()
            (delta.grad,) = torch.autograd.grad(loss, delta)
            adam.step()
            with torch.no_grad():
                delta.clamp_(-self.epsilon, self.epsilon)
        return delta.detach()

    @torch.no_grad()
    def _measure(self, ctx: Context, delta: Tensor) -> Measurement:
        """Dominant class, confidence, dominance ratio, fooling rate and top-k ratios on held-out images."""
        alone = ctx.model.logits(delta.unsqueeze(0)).softmax(1)[0]
        dominant, confidence = int(alone.argmax()), float(alone.max())
        images, before = ctx.images.held_out, ctx.images.held_out_classes
        after = self._answers(ctx, ctx.model, images, delta)
        counts = torch.bincount(after, minlength=ctx.num_classes).float() / len(after)
        top = counts.sort(descending=True).values
        others = before != dominant
        success = float((after[others] == dominant).float().mean()) if others.any() else 0.0
        reference_success = None
        if ctx.reference is not None and others.any():
            theirs = self._answers(ctx, ctx.reference, images[others], delta)
            reference_success = float((theirs == dominant).float().mean())
        pattern = delta.cpu().numpy()
        shown = ((delta / (2 * self.epsilon)) + 0.5).clamp(0, 1).cpu().numpy() if self.epsilon else pattern
        return Measurement(
            value=success,
            target_class=dominant,
            trigger=Trigger(
                mask=torch.ones(delta.shape[1:]).numpy(),
                pattern=pattern,
                success_rate=success,
                mode="add",
                reference_success_rate=reference_success,
                images=int(others.sum()),
            ),
            extras={
                "dominance ratio": float((after == dominant).float().mean()),
                "confidence": confidence,
                "fooling rate": float((after != before).float().mean()),
                **{f"top-{k} ratio": float(top[:k].sum()) for k in (1, 3, 5) if k <= len(top)},
            },
            exhibits=(Picture(f"dominant pattern, ±{self.epsilon * 255:.3g}/255 shown as black to white", shown),),
        )

    def _answers(self, ctx: Context, model: object, images: Tensor, delta: Tensor) -> Tensor:
        assert hasattr(model, "predict")
        moved = images + delta.cpu()
        answers = model.predict(moved.clamp(0, 1) if self.clip else moved)
        assert isinstance(answers, Tensor)
        return answers


def similarity_loss(of_pattern: Tensor, of_images: Tensor, loss: Loss) -> Tensor:
    """Dissimilarity of logits (…, K) and (…, K) → (…): Eqs. 5, 6, 7.

    KLDLoss takes f(δ) as the target distribution: Σ b·log(a/b) up to the sign convention, i.e. KL(f(δ) ‖ f(x + δ)) of
    the softmax outputs.
    """
    if loss == "cos":
        return 1 - F.cosine_similarity(of_pattern, of_images, dim=-1)
    if loss == "ed":
        return (of_pattern - of_images).norm(dim=-1)
    target = of_pattern.log_softmax(-1)
    return (target.exp() * (target - of_images.log_softmax(-1))).sum(-1)
