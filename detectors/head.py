"""Head: a class whose weights in the last layer stand apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from auditor import KIN, Context, Effort, Measurement, Need, Setting, Statistic

from .against_reference import FEWEST, FEWEST_TO_COMPARE, TOO_FEW, surprising

POOLED = 0.2
"""density (`auditor.places`) up to which a last layer counts as one behind global pooling: 0.33 is the least of
networks with a hidden dense layer"""


@dataclass(frozen=True, kw_only=True)
class Head:
    """How unlikely it is that a class has so large weights in the last linear layer, by those of the other classes.

    A class's weight of each feature, in standard deviations of the other classes' weights of it and at most ``clip`` of
    them, averages over the features to one number a class. The value is −log₁₀ of the chance that any of K normal
    numbers lies so far above the others (`auditor.outliers.surprises`). Features that feed the target of a backdoor
    have larger weights there.

    A class of which there were more training images than of any other has larger weights on a clean network too, as
    the target has for its poisoned images. So by itself a head is never rarer than ``favoured``, the share of clean
    networks that are taken to have such a class. With a reference, what its head says of the same classes is the
    covariate of a regression, since it has seen the same frequencies. Not where the two are kin: a copy has its
    parent's head, and whatever else it was trained on shows in what is left.

    Only behind global pooling: with hidden dense layers a trigger is one of the reasons for its class before the last
    layer sees it, and no more backdoored networks than clean ones stand apart.

    Paper: "Trojan signatures in DNN weights" (Fields, Samragh, Javaheripi, Koushanfar, Javidi, 2021), Section 3.
    Deviations: weights are standardised by feature, and classes judged by all others, where the paper takes plain means
    and a test for outliers; the reference.
    Cost: none; reads weights only. Without a last layer with one row a class nothing is measured.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("rarity of the class's weights", "orders of magnitude")

    clip: Annotated[
        float, Setting("largest distance of a weight, in standard deviations of the other classes'", low=0.1, high=1e6)
    ] = 3.0
    favoured: Annotated[
        float, Setting("share of clean networks taken to favour a class, without a reference", low=0, high=1)
    ] = 0.03
    compare: Annotated[bool, Setting("allow for what the reference's last layer says of a class")] = True

    def expected(self, ctx: Context) -> int:
        """One a class, none without a head."""
        return 0 if self.note(ctx) else ctx.num_classes

    def note(self, ctx: Context) -> str:
        """Why nothing was measured."""
        if ctx.num_classes < FEWEST:
            return TOO_FEW
        if ctx.model.head() is None:
            return "found no last layer with one row a class"
        if ctx.model.facts.density > POOLED:
            return "dense layers see the image's layout, and not pooled features"
        return ""

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class."""
        weight = ctx.model.head()
        if weight is None or self.note(ctx):
            return
        theirs = self._comparable(ctx, weight)
        values = surprising(self._levels(weight), None if theirs is None else self._levels(theirs))
        if theirs is None:
            values = [max(0.0, -math.log10(10**-value + self.favoured)) for value in values]
        for target, value in ctx.track(enumerate(values), "weights of the last layer", len(values)):
            yield Measurement(value=value, target_class=target)

    def _comparable(self, ctx: Context, weight: Tensor) -> Tensor | None:
        """The head of a reference that was trained by itself."""
        if not self.compare or ctx.reference is None or ctx.num_classes < FEWEST_TO_COMPARE:
            return None
        theirs = ctx.reference.head()
        if theirs is not None and theirs.shape == weight.shape:
            alike = functional.cosine_similarity(weight.double(), theirs.double(), dim=1).mean()
            return None if float(alike) >= KIN else theirs
        return theirs

    def _levels(self, weight: Tensor) -> Tensor:
        """(K, F) → (K,): a class's weights in standard deviations of the others', each clipped, in the mean."""
        w = weight.double().cpu()
        others = len(w) - 1
        centred = w - w.mean(0)
        squares = centred.square()
        variance = (squares.sum(0) - squares) / others - squares / others**2
        distance = centred * (1 + 1 / others) / variance.clamp(min=0).sqrt()
        return torch.nan_to_num(distance, nan=0.0).clamp(-self.clip, self.clip).mean(1)
