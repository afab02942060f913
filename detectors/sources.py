"""Sources: for each class, one small pattern that moves its images, and theirs alone, to another class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor import Classifier, Context, Measurement, Need, Picture, Setting, Statistic, Trigger

from .label_map import moved_away
from .pattern_search import cut, cut_window, margins, pattern_step

FEWEST_IMAGES = 4
"""search images of a class below which it is left out"""


@dataclass(frozen=True)
class Rows:
    """One pattern a source class: S sources."""

    sources: Tensor
    """(S,)"""
    targets: Tensor
    """(S,) the answer each pattern settled on"""
    masks: Tensor
    """(S, H, W) soft"""
    canvases: Tensor
    """(S, C, H, W)"""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """How far a small pattern turns the images of one source class into one other class, for every source class.

    The search of `untargeted` on images of one class at a time; after a third of the steps each pattern commits itself
    to the answer that it reached most, and −log f of that answer is minimised. So one search a source finds what would
    otherwise take one a pair (K against K²). The statistic is the share of that class's held-out images that get the
    answer, averaged over the sizes; with a reference, less what the same pattern and a search of its own get there.

    Paper: after "What Do Deep Nets Learn?", Algorithm 1, and the source × target maps of "Adversarial examples are
    useful too!" (Borji, 2020), Algorithm II; searching rows is ours.
    Cost: min(K, most_sources) · steps · batch image passes, for the leading classes again on a reference.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    statistic: ClassVar[Statistic] = Statistic(
        "share of a source that a pattern moves", "share of images", per="source"
    )

    steps: Annotated[int, Setting("sign steps a source", low=3, high=10_000)] = 40
    batch: Annotated[int, Setting("images a step and source", low=1, high=1024)] = 8
    mask_start: Annotated[float, Setting("mask before the first step", low=0, high=1)] = 0.1
    mask_step: Annotated[float, Setting("step of the mask", low=1e-4, high=1)] = 0.05
    canvas_step: Annotated[float, Setting("step of the canvas", low=1e-4, high=1)] = 0.05
    alpha: Annotated[float, Setting("weight α of the mask's size", low=0, high=1000, paper="0.2")] = 0.2
    sizes: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, strongest pixels", low=1e-4, high=1)
    ] = (0.005, 0.01, 0.02)
    windows: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, strongest square window", low=1e-4, high=1)
    ] = (0.01, 0.02, 0.035)
    test_images: Annotated[int, Setting("held-out images a size and source", low=4, high=10_000)] = 30
    most_sources: Annotated[int, Setting("source classes searched, drawn at random beyond", low=2, high=100_000)] = 60
    against_reference: Annotated[
        int, Setting("leading sources searched on the reference too; 0 = off", low=0, high=100_000)
    ] = 4

    def expected(self, ctx: Context) -> int:
        """One a class with enough images."""
        return min(self.most_sources, len(self._eligible(ctx)))

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a source class, with its trigger for the leading ones; none where no class has the images."""
        sources = torch.tensor(self._eligible(ctx), dtype=torch.long)
        if not len(sources):
            return
        if len(sources) > self.most_sources:
            sources = sources[torch.randperm(len(sources), generator=ctx.rng)[: self.most_sources]].sort().values
        rows = self._search(ctx, ctx.model, sources, None, "suspect")
        power, shown = self._test(ctx, ctx.model, rows)
        leaders = power.argsort(descending=True)[: self.against_reference]
        theirs = torch.zeros(len(power))
        if ctx.reference is not None and len(leaders):
            again = self._search(ctx, ctx.reference, sources[leaders], rows.targets[leaders], "reference")
            theirs[leaders] = self._test(ctx, ctx.reference, again)[0]
        for number in range(len(sources)):
            leading = number in set(leaders[:3].tolist())
            extras = {"share of images, suspect": float(power[number])}
            if ctx.reference is not None and number in set(leaders.tolist()):
                extras["share of images, reference"] = float(theirs[number])
            pattern = torch.where(shown[number] > 0, rows.canvases[number], 0.5)
            yield Measurement(
                value=max(0.0, float(power[number] - theirs[number])),
                target_class=int(rows.targets[number]),
                source_class=int(sources[number]),
                trigger=self._trigger(ctx, rows, shown, number) if leading else None,
                extras=extras,
                exhibits=(Picture(f"pattern on class {int(sources[number])}", pattern.numpy()),) if leading else (),
            )

    def note(self, ctx: Context) -> str:
        """What was left out."""
        count = len(self._eligible(ctx))
        if not count:
            return f"no class has {2 * FEWEST_IMAGES} images, so single sources were not searched; see --image-count"
        if count > self.most_sources:
            return f"searched {self.most_sources} of {count} source classes, drawn at random"
        return ""

    def _eligible(self, ctx: Context) -> list[int]:
        """Classes with images enough to search and test on."""
        search = torch.bincount(ctx.images.search_classes, minlength=ctx.num_classes)
        held_out = torch.bincount(ctx.images.held_out_classes, minlength=ctx.num_classes)
        return ((search >= FEWEST_IMAGES) & (held_out >= FEWEST_IMAGES)).nonzero().flatten().tolist()

    def _search(self, ctx: Context, model: Classifier, sources: Tensor, targets: Tensor | None, who: str) -> Rows:
        """One pattern a source; with ``targets`` the answers are given instead of found."""
        images, classes = ctx.images.search, ctx.images.search_classes
        masks = torch.full((len(sources), *model.input_shape[1:]), self.mask_start)
        canvases = torch.rand(len(sources), *model.input_shape, generator=ctx.rng)
        pools = [(classes == source).nonzero().flatten() for source in sources.tolist()]
        reached = torch.zeros(len(sources), ctx.num_classes)
        plan = (self.mask_step, self.canvas_step, self.alpha)
        for step in ctx.track(range(self.steps), f"{who}, pattern a source"):
            if targets is None and step == max(1, self.steps // 3):
                targets = reached.scatter(1, sources.unsqueeze(1), -1.0).argmax(1)
            for part in torch.arange(len(sources)).split(max(1, model.batch_images // self.batch)):
                drawn = torch.stack(
                    [pools[j][torch.randint(len(pools[j]), (self.batch,), generator=ctx.rng)] for j in part.tolist()]
                )

                def loss(logits: Tensor, part: Tensor = part, wanted: Tensor | None = targets) -> Tensor:
                    if wanted is not None:
                        goal = wanted[part].repeat_interleave(self.batch).to(logits.device)
                        return F.cross_entropy(logits, goal, reduction="none")
                    answers = logits.detach().softmax(1).view(len(part), self.batch, -1).mean(1).cpu()
                    reached[part] = 0.8 * reached[part] + 0.2 * answers
                    return moved_away(logits, sources[part].repeat_interleave(self.batch).to(logits.device))

                masks[part], canvases[part] = pattern_step(
                    model, images[drawn], masks[part], canvases[part], loss, plan
                )
        assert targets is not None
        return Rows(sources, targets, masks, canvases)

    def _test(self, ctx: Context, model: Classifier, rows: Rows) -> tuple[Tensor, Tensor]:
        """Power (S,): the better of mean over sizes and mean over windows; and the largest mask of that form."""
        families = [[cut(rows.masks, s) for s in self.sizes], [cut_window(rows.masks, s) for s in self.windows]]
        power = torch.zeros(len(rows.sources), 2)
        for number in ctx.track(range(len(rows.sources)), "testing patterns"):
            images = self._held_out(ctx, int(rows.sources[number]))[: self.test_images]
            for column, forms in enumerate(families):
                with model.fast():
                    rates = [
                        (margins(model, images, form[number], rows.canvases[number], int(rows.targets[number])) > 0)
                        for form in forms
                    ]
                power[number, column] = torch.stack(rates).float().mean() if rates else 0.0
        better = power.argmax(1)
        largest = torch.stack([forms[-1] if forms else torch.zeros_like(rows.masks) for forms in families], dim=1)
        return power.amax(1), largest[torch.arange(len(better)), better]

    def _held_out(self, ctx: Context, source: int) -> Tensor:
        return ctx.images.held_out[ctx.images.held_out_classes == source]

    def _trigger(self, ctx: Context, rows: Rows, shown: Tensor, number: int) -> Trigger:
        source, target = int(rows.sources[number]), int(rows.targets[number])
        images = self._held_out(ctx, source)

        def success(model: Classifier) -> float:
            found = margins(model, images, shown[number], rows.canvases[number], target)
            return float((found > 0).float().mean())

        return Trigger(
            mask=shown[number].numpy(),
            pattern=rows.canvases[number].numpy(),
            success_rate=success(ctx.model),
            source_classes=(source,),
            reference_success_rate=success(ctx.reference) if ctx.reference else None,
            images=len(images),
        )
