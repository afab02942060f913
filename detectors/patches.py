"""Patches: what ready-made patches do to the images of each class, without any search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import (
    Classifier,
    Context,
    Effort,
    Measurement,
    Need,
    Picture,
    Setting,
    Statistic,
    Trigger,
    label_map_index,
)

from .label_map import MAPPED, map_trigger
from .pattern_search import eligible, usual_margin
from .ready_made import Patch, patches

FEWEST_IMAGES = 5
"""held-out images of a class below which it is left out"""

MOST_SOURCES = 100
"""classes whose images the patches are chosen on, drawn at random beyond"""

WORKS = 0.5
"""share of a class's images from which a patch works on the class"""


@dataclass(frozen=True)
class Tested:
    """What the N kept patches do to images of S source classes."""

    patches: list[Patch]
    promised: Tensor
    """(N, K) the answer that each gives most often to each class of search images; -1 where there are none"""
    sources: list[int]
    shares: Tensor
    """(N, S, K) share of a source's held-out images that get each answer surely, less the reference's share of it"""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """How far a ready-made patch turns the images of one source class into one other class, for every source class.

    Squares, checkerboards, crosses and frames near the corners are pasted on images of every class. Those that
    promise most, for a class, for a label map or for a single source, are tested on held-out images. The statistic is
    the share of a source's images that get one wrong answer with a part of the usual margin, by the patch and for
    the answer that reach most; with a reference, less what the patch reaches there.

    Paper: the triggers are those of "BadNets" (Gu et al., 2017), Section 4, and "Adversarial examples are useful too!"
    (Borji, 2020), Section 3.2; trying them is ours. Needs no gradients. Cost: half of patches · images + kept ·
    most_tested image passes, for a reference kept · most_tested / 2 more.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic(
        "share of a source that a ready-made patch moves", "share of images", per="source"
    )

    images: Annotated[
        int, Setting("search images that the patches are chosen on, at least one a class", low=8, high=10_000)
    ] = 40
    kept: Annotated[int, Setting("patches tested on held-out images", low=4, high=1000)] = 16
    most_tested: Annotated[int, Setting("held-out images they are tested on", low=8, high=100_000)] = 300
    sure: Annotated[float, Setting("share of the usual margin that an answer must have", low=0, high=1)] = 0.25

    def expected(self, ctx: Context) -> int:
        """One a class with enough images."""
        return len(self._held_out(ctx)[1])

    def note(self, ctx: Context) -> str:
        """What was left out."""
        left = ctx.num_classes - self.expected(ctx)
        return f"{left} of {ctx.num_classes} classes have fewer than {FEWEST_IMAGES} held-out images" if left else ""

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a source class, with its trigger for the leading ones."""
        chosen, sources = self._held_out(ctx)
        drawn = patches(ctx.model.input_shape)
        if not sources or not drawn:
            return
        images, classes = ctx.images.held_out[chosen], ctx.images.held_out_classes[chosen]
        tested = self._test(ctx, *self._choose(ctx, drawn), images, classes, sources)
        best, place = tested.shares.permute(1, 0, 2).flatten(1).max(1)
        leaders = best.argsort(descending=True)[:3].tolist()
        of_map = self._map_trigger(ctx, tested, images, classes)
        for row, source in enumerate(sources):
            number, target = divmod(int(place[row]), ctx.num_classes)
            leading = row in leaders and bool(best[row] > 0)
            trigger = self._trigger(ctx, tested, number, row, target) if leading else None
            yield Measurement(
                value=float(best[row]),
                target_class=target,
                source_class=source,
                trigger=of_map if of_map is not None and row == leaders[0] else trigger,
                exhibits=(_shown(tested.patches[number], source),) if leading else (),
            )

    def _held_out(self, ctx: Context) -> tuple[Tensor, list[int]]:
        """Which held-out images are tested on, as many of each class, and the classes that have enough."""
        classes = ctx.images.held_out_classes
        each = max(2 * FEWEST_IMAGES, self.most_tested // ctx.num_classes)
        places = [(classes == k).nonzero().flatten()[:each] for k in classes.unique().tolist()]
        places = [p for p in places if len(p) >= FEWEST_IMAGES]
        chosen = torch.cat(places) if places else torch.zeros(0, dtype=torch.long)
        return chosen, [int(classes[p[0]]) for p in places]

    def _choose(self, ctx: Context, drawn: Sequence[Patch]) -> tuple[list[Patch], Tensor]:
        """The patches that promise most, for all classes at once, for one answer, or for one class; see `Tested`."""
        classes = ctx.images.search_classes
        present = classes.unique()
        present = present[torch.randperm(len(present), generator=ctx.rng)[:MOST_SOURCES]].sort().values
        each = max(1, self.images // max(1, len(present)))
        places = torch.cat([(classes == k).nonzero().flatten()[:each] for k in present.tolist()])
        images, own = ctx.images.search[places], classes[places]
        by_source = torch.zeros(len(drawn), len(present), ctx.num_classes)
        for number in ctx.track(range(len(drawn)), "trying"):
            with ctx.model.fast():
                sure = ctx.model.probabilities(drawn[number].on(images))
            sure = sure.float().cpu().scatter(1, own.unsqueeze(1), 0.0)
            by_source[number] = torch.stack([sure[own == k].mean(0) for k in present.tolist()])
        of_sources, of_classes = by_source.amax(2), by_source.mean(1)
        few = max(1, self.kept // 8)
        wanted = [of_sources.mean(1).argsort(descending=True)[:few]]
        wanted.append(of_classes.max(0).indices[of_classes.amax(0).argsort(descending=True)][:few])
        wanted.append(of_sources.max(0).indices[of_sources.amax(0).argsort(descending=True)])
        promised = torch.full((len(drawn), ctx.num_classes), -1)
        promised[:, present] = by_source.argmax(2)
        kept = list(dict.fromkeys(torch.cat(wanted).tolist()))[: self.kept]
        return [drawn[i] for i in kept], promised[kept]

    def _test(
        self,
        ctx: Context,
        kept: list[Patch],
        promised: Tensor,
        images: Tensor,
        classes: Tensor,
        sources: list[int],
    ) -> Tested:
        """Shares on held-out images, as if one image more of each source had withstood."""
        least = self.sure * max(0.0, usual_margin(ctx.model, images))
        counts = torch.stack([(classes == s).sum() for s in sources]).view(1, -1, 1)
        shares = torch.stack(
            [
                _answers(ctx.model, patch.on(images), classes, sources, least)
                for patch in ctx.track(kept, "testing")
            ]
        ) / (counts + 1)
        if ctx.reference is not None:
            theirs = [
                _answers(ctx.reference, patch.on(images), classes, sources, 0.0)
                for patch in ctx.track(kept, "testing on the reference")
            ]
            shares = (shares - torch.stack(theirs) / counts).clamp_min(0)
        shares[:, torch.arange(len(sources)), torch.tensor(sources)] = 0
        return Tested(kept, promised, sources, shares)

    def _trigger(self, ctx: Context, tested: Tested, number: int, row: int, target: int) -> Trigger:
        """A patch with the sources it works on; all of them where it does on most."""
        works = [s for i, s in enumerate(tested.sources) if i == row or tested.shares[number, i, target] >= WORKS]
        everywhere = 2 * len(works) > len([s for s in tested.sources if s != target])
        of = eligible(ctx.images.held_out_classes, target)
        if not everywhere:
            of = torch.isin(ctx.images.held_out_classes, torch.tensor(works)).nonzero().flatten()
        patch = tested.patches[number]
        changed = patch.on(ctx.images.held_out[of])
        theirs = float((ctx.reference.predict(changed) == target).float().mean()) if ctx.reference else None
        return Trigger(
            mask=patch.mask.numpy(),
            pattern=patch.pattern.numpy(),
            success_rate=float((ctx.model.predict(changed) == target).float().mean()),
            source_classes=() if everywhere else tuple(works),
            reference_success_rate=theirs,
            images=len(of),
        )

    def _map_trigger(self, ctx: Context, tested: Tested, images: Tensor, classes: Tensor) -> Trigger | None:
        """The patch that sends most classes to an answer of their own, if one does."""
        best, targets = tested.shares.max(2)
        indices = [label_map_index(b.numpy(), t.tolist()) for b, t in zip(best, targets, strict=True)]
        number = max(range(len(indices)), key=lambda i: indices[i])
        if indices[number] < MAPPED:
            return None
        wanted = tested.promised[number][classes]
        patch = tested.patches[number]
        return map_trigger(ctx, patch.on(images[wanted >= 0]), wanted[wanted >= 0], patch.mask, patch.pattern)


@torch.no_grad()
def _answers(model: Classifier, images: Tensor, classes: Tensor, sources: list[int], least: float) -> Tensor:
    """(S, K) how many images of each source get each answer by at least ``least`` more than the next."""
    logits = torch.cat([model.logits(b.to(model.device)).float().cpu() for b in model.batches(images)])
    top = logits.topk(2, dim=1)
    sure = top.values[:, 0] - top.values[:, 1] > least
    table = torch.zeros(model.num_classes, model.num_classes)
    table.index_put_((classes[sure], top.indices[sure, 0]), torch.ones(int(sure.sum())), accumulate=True)
    return table[sources]


def _shown(patch: Patch, source: int) -> Picture:
    return Picture(f"patch on class {source}", torch.where(patch.mask > 0, patch.pattern, 0.5).numpy())
