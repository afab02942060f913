"""ISCP: the smallest pattern that commands each class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from auditor import Classifier, Context, Curve, Effort, Measurement, Need, Picture, Setting, Statistic, Trigger

from .canvases import Canvas, canvases_of
from .elsewhere import SEEN, success_elsewhere
from .pattern_power import Found, Patterns, chosen, leading, left_over, measured, reprieved
from .pattern_refinement import Refinement, refine, rungs_of
from .pattern_search import Jobs, SearchPlan, eligible, has_victims, margins, search, usual_margin
from .resemblance import resemblance

MOST_TESTED = 2000
"""images that all classes that were screened out are tested on together"""

MOST_BY_SHARE = 20
"""classes that are searched to the end for being a share of very many"""

LARGER = "commanding predictive power of larger patterns"
"""judged beside the statistic, see `auditor.weighing`"""

RESTARTED = 3
"""classes that are searched from more starts: where a network tells places apart, a search that begins to see a trigger
in none of them stays away, and a square that turns 97 % of clothes was missed from two starts and found from six"""

NOTABLE = 0.3
"""success from which a class is searched in another place"""


@dataclass(frozen=True, kw_only=True)
class Iscp:
    """How fully a small pattern commands each class: the share of images of other classes that it turns into the class.

    For each class y and canvas x_c a mask m minimises −log f_y(m·x_c + (1 − m)·x_n) + α‖m‖₁/n over images x_n of
    other classes, by steps of the gradient's sign from m = 0.5, clipped to [0, 1] (Eqs. 1, 2; Algorithm 1); the
    pattern is the canvas under the strongest pixels of the mask. *Predictive power* is the share of held-out images
    it turns into y.

    The statistic is the *commanding* predictive power: those images only count that are turned with a margin of
    logits above the usual one of clean images, averaged over the forms (the strongest pixels, or a square window) of at
    most `COMPACT` of the image. Natural features of a class push an image just over the border; a trained-in trigger
    outweighs the image, and does so at small sizes. What larger forms do is told and judged beside it: there, clean
    networks without batch norm come as far as backdoored ones.

    Paper: "What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space" (ICLR 2021 submission), Section 3,
    Algorithm 1, Appendix H (learned canvas, Eq. 4), Eq. 3 (total variation).
    Cost: canvases · N · steps · batch · (K / 3 + 2 / 3 · S) image passes, S the classes searched to the end, fewer
    beyond some 20 classes (`pattern_search.rungs`), and about as much to test; some 480 more for each pattern that is
    refined, and `RESTARTED` · restarts · steps · batch for more starts. N is 1 for more canvases than
    `canvases.MOST_VALUES` (ImageNet's).

    Deviations, each a setting: a learned canvas is the default, from two starts; fewer steps; minibatches are drawn at
    random; after a third of the steps only the ``screen`` classes of lowest loss are searched on (of many classes
    ``screen_share``), and then those of the others that lead in the test (``reprieve``: a large patch is slow to show;
    where dense layers see places those that lead among all); besides the strongest pixels (``sizes``) the strongest
    square window (``windows``) is tried; on class impressions what was found is pruned to the pixels that count
    (``refine``), and the better of both is taken; where dense layers see places, the classes that lead are searched
    from more starts (``restarts``); with a reference, what the reference yields to the same search is subtracted for
    the leading classes.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("commanding predictive power", "share of images")

    canvases: Annotated[
        tuple[Canvas, ...],
        Setting("canvases that patterns are cut from", paper="positive, negative, random, white; learned in App. H"),
    ] = ("learned",)
    per_canvas: Annotated[int, Setting("canvas images N of each sort and class", low=1, high=100, paper="5")] = 2
    steps: Annotated[int, Setting("sign steps per search", low=1, high=100_000, paper="5 epochs")] = 60
    batch: Annotated[int, Setting("images a step and search", low=1, high=1024, paper="4")] = 8
    mask_step: Annotated[float, Setting("step η of the mask", low=1e-4, high=1, paper="0.02")] = 0.02
    canvas_step: Annotated[float, Setting("step of a learned canvas", low=1e-4, high=1)] = 0.04
    alpha: Annotated[float, Setting("weight α of the mask's size", low=0, high=1000, paper="0.2")] = 0.2
    beta: Annotated[float, Setting("weight β of total variation (Eq. 3)", low=0, high=100, paper="0, 0.2, 1")] = 0.0
    sizes: Annotated[
        tuple[float, ...],
        Setting("pattern sizes, share of pixels, strongest pixels of the mask", low=1e-4, high=1, paper="0.01 to 0.1"),
    ] = (0.0025, 0.005, 0.01)
    windows: Annotated[
        tuple[float, ...], Setting("pattern sizes, share of pixels, strongest square window", low=1e-4, high=1)
    ] = (0.01, 0.02, 0.035)
    curve: Annotated[
        tuple[float, ...],
        Setting("pattern sizes of the predictive-power curve that is shown", low=1e-4, high=1, paper="0.01 to 0.1"),
    ] = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
    test_images: Annotated[int, Setting("held-out images a size and class", low=8, high=10_000)] = 100
    screen: Annotated[
        int,
        Setting("classes searched to the end, those of lowest loss after a third of the steps", low=2, high=100_000),
    ] = 6
    screen_share: Annotated[
        float, Setting(f"the same as a share of the classes, where that is more, up to {MOST_BY_SHARE}", low=0, high=1)
    ] = 0.2
    reprieve: Annotated[
        int, Setting("classes that are searched to the end though screened out, those that lead", low=0, high=100_000)
    ] = 3
    refine: Annotated[
        Literal["never", "impressions", "always"],
        Setting("on which images found patterns are pruned to the pixels that count (pattern_refinement)"),
    ] = "impressions"
    refine_steps: Annotated[int, Setting("steps at each size of a pattern that is pruned", low=1, high=1000)] = 3
    refine_batch: Annotated[int, Setting("images a step of them", low=1, high=1024)] = 16
    refine_step: Annotated[float, Setting("step of its pixels' values", low=1e-4, high=1)] = 0.08
    against_reference: Annotated[
        int,
        Setting("leading classes searched on the reference too, its yield subtracted; 0 = off", low=0, high=100_000),
    ] = 6

    restarts: Annotated[
        int,
        Setting(
            "more starts for leading classes where dense layers see places, without a reference; 0 = off",
            low=0,
            high=100,
        ),
    ] = 4
    elsewhere: Annotated[
        int,
        Setting("leading classes searched once more away from where a pattern was found; 0 = off", low=0, high=100_000),
    ] = 3
    resemblance: Annotated[bool, Setting("tell how far patterns look like real images of their class")] = True

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class, with its trigger."""
        ours = self._find(ctx, ctx.model, range(ctx.num_classes))
        among_all = ctx.model.facts.density >= SEEN
        if late := reprieved(ours, self.reprieve, among_all=among_all):
            ours |= self._find(ctx, ctx.model, late)
        ours |= self._again(ctx, ours)
        theirs: dict[int, Found] = {}
        if ctx.reference is not None and self.against_reference:
            theirs = self._find(ctx, ctx.reference, leading(ours, self.against_reference))
        left = left_over(ours, theirs)
        second = self._elsewhere(ctx, ours)
        for target, found in ours.items():
            yield self._measurement(ctx, target, found, theirs.get(target), left[target], second.get(target))

    def _again(self, ctx: Context, ours: dict[int, Found]) -> dict[int, Found]:
        """What more starts find of the classes that lead, where they find more on images of the search."""
        if ctx.model.facts.density < SEEN or ctx.reference is not None or not self.restarts:
            return {}
        wanted = sorted(ours, key=lambda c: -(ours[c].power + ours[c].success))[:RESTARTED]
        found = replace(self, per_canvas=self.restarts)._find(ctx, ctx.model, wanted)
        return {c: f for c, f in found.items() if f.worth > ours[c].worth}

    def _elsewhere(self, ctx: Context, ours: dict[int, Found]) -> dict[int, float]:
        """What a second pattern of the leading classes does, away from the first."""
        if ctx.model.facts.density < SEEN or not self.elsewhere:
            return {}
        wanted = {c: ours[c] for c in leading(ours, self.elsewhere) if ours[c].success >= NOTABLE}
        steps = ctx.track(range(self.steps), "suspect, another place")
        shares = self.sizes, self.windows
        return success_elsewhere(ctx, wanted, self._plan(ctx), self.per_canvas, shares, self.test_images, steps)

    def _find(self, ctx: Context, model: Classifier, wanted: Iterable[int]) -> dict[int, Found]:
        """Search the wanted classes and all canvases at once, choose patterns on search images, test on held-out."""
        who = "reference" if model is ctx.reference else "suspect"
        images, classes = ctx.images.search, ctx.images.search_classes
        plan = self._plan(ctx)
        keep = torch.tensor(list(wanted))
        done: list[Jobs] = []
        for canvas in self.canvases:
            targets, canvases = canvases_of(ctx, model, canvas, self.per_canvas)
            own = torch.isin(targets, keep)
            if not own.all():  # a thousand classes' canvases are a gigabyte: not copied for nothing
                targets, canvases = targets[own], canvases[own]
            jobs = Jobs(targets, canvases, learned=canvas == "learned")
            steps = ctx.track(range(self.steps), f"{who}, {canvas} canvas")
            done.append(search(model, images, classes, jobs, plan, ctx.rng, steps))
        usual = max(0.0, usual_margin(model, ctx.images.held_out))
        thorough = set().union(*(jobs.kept for jobs in done))
        refined: dict[int, list[tuple[Tensor, Tensor]]] = {}
        if self.refine == "always" or (self.refine == "impressions" and ctx.images.made):
            refined = self._refined(ctx, model, done, thorough, who)
        found = {}
        for target in ctx.track(keep.tolist(), f"{who}, testing patterns"):
            searches = [pair for jobs in done for pair in jobs.of(target)]
            patterns = Patterns(searches, self.sizes, self.windows, refined.get(target, ()))
            found[target] = self._test(ctx, model, patterns, target, usual, target in thorough)
        return found

    def _plan(self, ctx: Context) -> SearchPlan:
        return SearchPlan(
            self.batch,
            self.mask_step,
            self.canvas_step,
            self.alpha,
            self.beta,
            screen_after=max(1, self.steps // 3),
            screen_keep=max(self.screen, min(MOST_BY_SHARE, round(self.screen_share * ctx.num_classes))),
        )

    def _refined(
        self, ctx: Context, model: Classifier, done: list[Jobs], thorough: set[int], who: str
    ) -> dict[int, list[tuple[Tensor, Tensor]]]:
        """Masks (F, H, W) and patterns (F, C, H, W) of every search that went to the end, class by class."""
        images, classes = ctx.images.search, ctx.images.search_classes
        plan = Refinement(self.refine_steps, self.refine_batch, self.refine_step)
        found: dict[int, list[tuple[Tensor, Tensor]]] = {target: [] for target in thorough}
        for jobs in done:
            assert jobs.masks is not None
            own = torch.isin(jobs.targets, torch.tensor(sorted(thorough))).to(jobs.masks.device)
            kept = Jobs(jobs.targets[own.cpu()], jobs.canvases[own], jobs.learned, masks=jobs.masks[own])
            pools = [eligible(classes, target) for target in kept.targets.tolist()]
            rungs = ctx.track(rungs_of(self.sizes), f"{who}, pruning patterns")
            pruned = refine(model, images, pools, kept, self.sizes, self.windows, plan, ctx.rng, rungs)
            for target, masks, values in zip(kept.targets.tolist(), pruned.masks, pruned.patterns, strict=True):
                found[target].append((masks, values))
        return found

    def _test(
        self,
        ctx: Context,
        model: Classifier,
        patterns: Patterns,
        target: int,
        usual: float,
        thorough: bool,
    ) -> Found:
        """Choose on search images, measure on held-out ones; classes that were screened out on fewer."""
        number, form, worth = 0, len(self.sizes) - 1, 0.0
        if thorough:
            images = ctx.images.search[eligible(ctx.images.search_classes, target)][:48]
            number, form, worth = chosen(model, images, patterns, target, usual)
        images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)]
        few = self.test_images
        if not thorough:
            images = images[: max(8, min(few // 3, MOST_TESTED // ctx.num_classes))]
        curve = self.curve if thorough else self.sizes
        found = measured(model, images, patterns, (number, form), target, usual, few, curve, thorough)
        found = replace(found, worth=worth)
        return found if has_victims(ctx.images.held_out_classes, target) else found.of_nobody

    def _measurement(
        self,
        ctx: Context,
        target: int,
        found: Found,
        theirs: Found | None,
        left: tuple[float, float],
        elsewhere: float | None,
    ) -> Measurement:
        """``left``: power of compact and of larger patterns, less the reference's."""
        extras = {"predictive power": found.success, "commanding predictive power, suspect": found.compact}
        transferred = None
        if ctx.reference is not None:
            images = ctx.images.held_out[eligible(ctx.images.held_out_classes, target)][: self.test_images]
            margin = margins(ctx.reference, images, found.mask, found.pattern, target)
            transferred = float((margin > 0).float().mean())
            extras["predictive power on the reference"] = transferred
        if found.larger is not None:
            extras[LARGER] = left[1]
        if self.resemblance and ctx.model.facts.density >= SEEN:
            alike = resemblance(ctx, found.mask, found.pattern, target)
            extras |= {} if alike is None else {"resemblance": alike}
        if elsewhere is not None:
            extras["predictive power elsewhere"] = elsewhere
        if theirs is not None:
            extras["commanding predictive power, reference"] = theirs.compact
        pixels = torch.where(found.mask > 0, found.pattern, torch.full_like(found.pattern, 0.5))
        return Measurement(
            value=left[0],
            target_class=target,
            trigger=Trigger(
                mask=found.mask.numpy(),
                pattern=found.pattern.numpy(),
                success_rate=found.success,
                reference_success_rate=transferred,
                images=found.images,
            ),
            extras=extras,
            exhibits=(
                Picture("pattern", np.asarray(pixels.numpy(), dtype=np.float32)),
                Curve("predictive power", found.curve_sizes, found.curve, "share of pixels", "share of images"),
            ),
        )
