"""Pairwise: which source class is sent to which target class, and how easily."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from auditor import Classifier, Context, Effort, Matrix, Measurement, Need, Picture, Setting, Statistic, Trigger

from .fgsm import ClassMaps, Start, file_images, iterate, map_distance, starts
from .pattern_search import Jobs, SearchPlan, cut, cut_window, margins, search

Pair = tuple[int, int]
MOST_CLASSES = 20
"""with more classes only pairs of the candidates are searched"""


@dataclass(frozen=True)
class PairPatterns:
    """Small patterns of one model for P pairs."""

    power: Tensor
    """(P,) predictive power on the source's held-out images, mean over sizes; NaN without such images"""
    masks: Tensor
    """(P, H, W) the window or cut of the largest size"""
    canvases: Tensor
    """(P, C, H, W)"""


@dataclass(frozen=True, kw_only=True)
class Pairwise:
    """How far a small pattern turns the images of one source class into one target class, for every pair.

    Two searches a pair (s, t). Algorithm II: x ← clip(x − ε·sign(∇ₓ(CE(f(x), t) − CE(f(x), s)))) (Eq. 2) from noise
    and images of s; filed under (s, prediction), the means are the pair's maps, with a success rate and, against a
    reference, a distance each. And, because unbounded steps reach every target: the small-pattern search of `iscp`
    on images of s alone. The statistic is that pattern's predictive power, less the reference's where there is one.

    Paper: "Adversarial examples are useful too!" (Borji, 2020), Algorithm II, Figs. 9–12; the small patterns are
    ours, after "What Do Deep Nets Learn?", Algorithm 1, with a mask that starts low so that the source stays
    visible. Cost: K · (K − 1) · (pattern_steps · batch + 2 · samples · iterations) image passes, twice that with a
    reference; for more than 20 classes only the rows and columns of the ``candidates`` classes that other detectors
    single out.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS, Need.CANDIDATES})
    effort: ClassVar[Effort] = Effort.THOROUGH
    statistic: ClassVar[Statistic] = Statistic(
        "predictive power of a source-specific pattern", "share of images", per="pair"
    )

    epsilon: Annotated[float, Setting("FGSM step ε, of 1", low=0, high=1, paper="0.1, 0.5, 0.9")] = 0.1
    samples: Annotated[int, Setting("start images a pair and start", low=1, high=10_000, paper="1000")] = 2
    iterations: Annotated[int, Setting("FGSM iterations", low=1, high=1000, paper="10")] = 10
    pattern_steps: Annotated[int, Setting("sign steps of the pattern search", low=1, high=10_000)] = 30
    batch: Annotated[int, Setting("images a step and pair", low=1, high=1024)] = 4
    sizes: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, strongest pixels", low=1e-4, high=1)
    ] = (0.005, 0.01)
    windows: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, square window", low=1e-4, high=1)
    ] = (0.02, 0.035)
    candidates: Annotated[int, Setting("candidate classes searched when there are many", low=1, high=100)] = 1

    def expected(self, ctx: Context) -> int:
        """All pairs, or those of the candidates."""
        return len(self._pairs(ctx))

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a pair; the matrices come with the first, the triggers with the three strongest."""
        pairs = self._pairs(ctx)
        ours = self._patterns(ctx, ctx.model, pairs, "suspect")
        power = ours.power
        if ctx.reference is not None:
            power = (power - self._patterns(ctx, ctx.reference, pairs, "reference").power).clamp_min(0)
        success, distance, maps = self._maps(ctx, pairs)
        matrices = [Matrix("small-pattern predictive power", _matrix(ctx, pairs, power), "share of images")]
        matrices.append(Matrix("Algorithm II, success rate", _matrix(ctx, pairs, success), "share of images"))
        if distance is not None:
            title = "Algorithm II, map distance to the reference"
            matrices.append(Matrix(title, _matrix(ctx, pairs, distance), "root mean square a pixel"))
        strongest = set(power.nan_to_num(-1).topk(min(3, len(pairs))).indices.tolist())
        for number, (source, target) in enumerate(pairs):
            trigger = self._trigger(ctx, ours, number, source, target) if number in strongest else None
            map_picture = (Picture(f"map {source} → {target}", maps[number].numpy()),) if number in strongest else ()
            yield Measurement(
                value=float(power[number]),
                target_class=target,
                source_class=source,
                trigger=trigger,
                extras={"Algorithm II success rate": float(success[number])},
                exhibits=(*map_picture, *(matrices if number == 0 else ())),
            )

    def _pairs(self, ctx: Context) -> list[Pair]:
        k = ctx.num_classes
        every = [(s, t) for s in range(k) for t in range(k) if s != t]
        if k <= MOST_CLASSES:
            return every
        chosen = set(ctx.candidates[: self.candidates])
        return [pair for pair in every if chosen.intersection(pair)]

    def note(self, ctx: Context) -> str:
        """What was left out."""
        if ctx.num_classes <= MOST_CLASSES:
            return ""
        chosen = ", ".join(map(str, ctx.candidates[: self.candidates])) or "none"
        return f"searched the rows and columns of classes {chosen} only; all other pairs were left out"

    def _patterns(self, ctx: Context, model: Classifier, pairs: list[Pair], who: str) -> PairPatterns:
        """Small patterns for all pairs in one batch."""
        if not pairs:
            empty = torch.zeros(0, *model.input_shape)
            return PairPatterns(empty[:, 0, 0, 0], empty[:, 0], empty)
        sources, targets = torch.tensor(pairs).unbind(1)
        canvases = torch.rand(len(pairs), *model.input_shape, generator=ctx.rng)
        plan = SearchPlan(self.batch, 0.05, 0.05, 0.2, 0.0, mask_start=0.1)
        steps = ctx.track(range(self.pattern_steps), f"{who}, pair patterns")
        images, classes = ctx.images.search, ctx.images.search_classes
        jobs = search(model, images, classes, Jobs(targets, canvases, True, sources), plan, ctx.rng, steps)
        assert jobs.masks is not None
        masks = jobs.masks.cpu()
        forms = [cut(masks, s) for s in self.sizes], [cut_window(masks, s) for s in self.windows]
        power = torch.full((len(pairs), 2), torch.nan)
        for number in ctx.track(range(len(pairs)), f"{who}, testing pair patterns"):
            held_out = ctx.images.held_out[ctx.images.held_out_classes == sources[number]][:30]
            for family, masks_of in enumerate(forms):
                if len(held_out) >= 5 and masks_of:
                    rates = [
                        (margins(model, held_out, m[number], jobs.canvases[number], int(targets[number])) > 0)
                        for m in masks_of
                    ]
                    power[number, family] = torch.stack(rates).float().mean()
        best = power.nan_to_num(-1).argmax(1)
        largest = [f[-1] for f in forms if f]
        shown = torch.stack([largest[min(int(b), len(largest) - 1)][i] for i, b in enumerate(best)])
        return PairPatterns(power.gather(1, best.unsqueeze(1)).squeeze(1), shown, jobs.canvases.cpu())

    def _maps(self, ctx: Context, pairs: list[Pair]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Algorithm II: success rate (P,), distance to the reference (P,) or None, suspect's maps (P, C, H, W)."""
        if not pairs:
            return torch.zeros(0), None, torch.zeros(0)
        sources, targets = torch.tensor(pairs).repeat_interleave(self.samples, dim=0).unbind(1)
        groups = torch.arange(len(pairs)).repeat_interleave(self.samples)
        ours: list[ClassMaps] = []
        distances, successes = [], []
        kinds: tuple[Start, ...] = ("noise", "data")
        for kind in ctx.track(kinds, "source × target maps"):
            begin = starts(ctx, kind, len(groups), sources)
            maps, success = self._filed(ctx.model, begin, sources, targets, groups, len(pairs))
            ours.append(maps)
            successes.append(success)
            if ctx.reference is not None:
                theirs, _ = self._filed(ctx.reference, begin, sources, targets, groups, len(pairs))
                distances.append(map_distance(maps, theirs)[1])
        distance = torch.stack(distances).nanmean(0) if distances else None
        return torch.stack(successes).mean(0), distance, torch.stack([m.mean for m in ours]).mean(0)

    def _filed(
        self, model: Classifier, begin: Tensor, sources: Tensor, targets: Tensor, groups: Tensor, count: int
    ) -> tuple[ClassMaps, Tensor]:
        moved = iterate(model, begin, targets, self.epsilon, self.iterations, sources)
        hit = model.predict(moved) == targets
        success = torch.zeros(count).index_add_(0, groups, hit.float()) / self.samples
        return file_images(moved[hit], groups[hit], count), success

    def _trigger(self, ctx: Context, ours: PairPatterns, number: int, source: int, target: int) -> Trigger | None:
        images = ctx.images.held_out[ctx.images.held_out_classes == source]
        if not len(images):
            return None
        mask, canvas = ours.masks[number], ours.canvases[number]
        rate = float((margins(ctx.model, images, mask, canvas, target) > 0).float().mean())
        reference_rate = None
        if ctx.reference is not None:
            reference_rate = float((margins(ctx.reference, images, mask, canvas, target) > 0).float().mean())
        return Trigger(
            mask=mask.numpy(),
            pattern=canvas.numpy(),
            success_rate=rate,
            source_classes=(source,),
            reference_success_rate=reference_rate,
            images=len(images),
        )


def _matrix(ctx: Context, pairs: list[Pair], values: Tensor) -> np.ndarray:
    matrix = np.full((ctx.num_classes, ctx.num_classes), np.nan, dtype=np.float32)
    for (source, target), value in zip(pairs, values.tolist(), strict=True):
        matrix[source, target] = value
    return matrix
