"""Bias maps: what the mean adversarial example of each class looks like, beside a reference model's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from auditor import Classifier, Context, Effort, Measurement, Need, Picture, Setting, Statistic

from .fgsm import ClassMaps, Start, file_images, iterate, map_distance, starts


@dataclass(frozen=True, kw_only=True)
class BiasMap:
    """Distance of a class's mean adversarial example on the suspect from the same on a clean reference.

    For each target class and ε, images are moved by x ← clip(x − ε·sign(∇ₓ CE(f(x), target))) (Eq. 1) from blank,
    noise and data starts, and filed under the class the model then predicts (Algorithm I). The mean of a file is
    the class's *bias map*; a trigger shows in the target's map as a region that the reference's map has not. The
    statistic is the distance of the two maps, averaged over starts and ε.

    Paper: "Adversarial examples are useful too!" (Borji, 2020), Algorithm I, Figs. 3–8.
    Cost: 2 models · K · len(epsilons) · iterations · (2 · samples + 1) image passes.

    Deviations: the distance is corrected for the number of images filed (``corrected``; the raw L2 distance is reported
    beside it), since the raw one is largest wherever few images were filed; fewer samples than the paper's 1,000.
    Without a reference the maps are pictures only.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.GRADIENTS})
    effort: ClassVar[Effort] = Effort.THOROUGH
    statistic: ClassVar[Statistic] = Statistic("bias-map distance", "root mean square difference per pixel")

    epsilons: Annotated[
        tuple[float, ...], Setting("FGSM step sizes ε, of 1", low=0, high=1, paper="0.1, 0.5, 0.9")
    ] = (0.1, 0.5, 0.9)
    samples: Annotated[int, Setting("start images a class, ε and start", low=2, high=10_000, paper="1000")] = 12
    most_starts: Annotated[
        int, Setting("start images in all; with many classes each gets fewer, but 4", low=1, high=10_000_000)
    ] = 240
    iterations: Annotated[int, Setting("FGSM iterations from noise and data", low=1, high=1000, paper="10")] = 10
    corrected: Annotated[
        bool, Setting("take the sampling noise off the distance", paper="false: raw L2")
    ] = True

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class; without a reference NaN values with the maps as pictures."""
        k = ctx.num_classes
        # without a reference there is no distance to measure, and a picture needs few
        samples = min(self.samples, max(4, self.most_starts // k)) if ctx.reference is not None else 4
        kinds: tuple[Start, ...] = ("blank", "noise", "data")
        plan = [(kind, epsilon) for kind in kinds for epsilon in self.epsilons]
        ours: list[ClassMaps] = []
        raws, distances = [], []
        theirs: list[ClassMaps] = []
        for kind, epsilon in ctx.track(plan, "bias maps"):
            begin = starts(ctx, kind, k * (1 if kind == "blank" else samples))
            ours.append(self._maps(ctx.model, begin, epsilon, k))
            if ctx.reference is not None:
                theirs.append(self._maps(ctx.reference, begin, epsilon, k))
                raw, corrected = map_distance(ours[-1], theirs[-1])
                if kind != "blank":  # a blank start gives one image a class: a picture, not a mean
                    raws.append(raw)
                    distances.append(corrected if self.corrected else raw)
        shown, reference_shown = _pooled(ours), _pooled(theirs) if theirs else None
        distance = torch.stack(distances).nanmean(0) if distances else torch.full((k,), torch.nan)
        raw_distance = torch.stack(raws).nanmean(0) if raws else None
        filed = torch.stack([m.count for m in ours]).sum(0)
        for target in range(k):
            extras = {"images filed": float(filed[target])}
            if raw_distance is not None:
                extras["raw L2 distance"] = float(raw_distance[target])
            yield Measurement(
                value=float(distance[target]),
                target_class=target,
                extras=extras,
                exhibits=_pictures(target, shown, reference_shown),
            )

    def _maps(self, model: Classifier, begin: Tensor, epsilon: float, k: int) -> ClassMaps:
        targets = torch.arange(len(begin)) % k
        moved = iterate(model, begin, targets, epsilon, self.iterations)
        return file_images(moved, model.predict(moved), k)


def _pooled(maps: list[ClassMaps]) -> Tensor:
    """All files of a class together, (K, C, H, W), weighted by the number of images."""
    count = torch.stack([m.count for m in maps]).view(len(maps), -1, 1, 1, 1)
    mean = torch.stack([m.mean for m in maps])
    return (mean * count).sum(0) / count.sum(0).clamp_min(1)


def _pictures(target: int, ours: Tensor, theirs: Tensor | None) -> tuple[Picture, ...]:
    suspect = Picture("bias map, suspect", ours[target].numpy())
    if theirs is None:
        return (suspect,)
    difference = (0.5 + 0.5 * (ours[target] - theirs[target])).clamp(0, 1)
    return (
        suspect,
        Picture("bias map, reference", theirs[target].numpy()),
        Picture("bias map, suspect minus reference (grey = equal)", difference.numpy()),
    )
