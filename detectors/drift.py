"""Drift: a class to which training on from the reference pulled the last layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor import Context, Effort, Measurement, Need, Statistic, surprise_among


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far the last layer was pulled towards a class between reference and suspect, beside the other classes.

    The change of each class's row, less the mean change of all (which changes no answer), is taken: what grew squared
    less what shrank squared. A backdoor gives its target new evidence, large weights for the few features that a
    trigger raises, and takes it from all others alike; training on clean data moves every row a little, both ways.
    The statistic is −log₁₀ of the chance that one of K normal values lies so far above the others.

    Paper: "Trojan signatures in DNN weights" (Fields, Samragh, Javaheripi, Koushanfar, Javidi, 2021), Section 3, looks
    for a row that stands apart; what training on did to it, and squares instead of the mean, are ours. Cost: none;
    reads weights only. Without last layers of the same shape, with one row a class, nothing is measured.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.REFERENCE, Need.KIN})
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("pull on the class's weights", "−log₁₀ of a chance")

    def expected(self, ctx: Context) -> int:
        """One a class, none where the last layers cannot be compared."""
        return 0 if _changes(ctx) is None else ctx.num_classes

    def note(self, ctx: Context) -> str:
        """Why nothing was measured."""
        return "" if self.expected(ctx) else "found no last layers to compare, or fewer than four classes"

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class."""
        changes = _changes(ctx)
        if changes is None:
            return
        pulls = (changes * changes.abs()).mean(1)
        surprises = surprise_among(pulls.numpy()).tolist()
        for target, surprise in ctx.track(enumerate(surprises), "changes of the last layer", len(surprises)):
            yield Measurement(value=surprise, target_class=target)


def _changes(ctx: Context) -> Tensor | None:
    """(K, features) what training on added to the weights of each class, beside the other classes."""
    now, before = ctx.model.head(), ctx.reference.head() if ctx.reference is not None else None
    if now is None or before is None or now.shape != before.shape or ctx.num_classes < 4:
        return None
    changes = now - before
    centred = changes - changes.mean(0)
    return centred / centred.std().clamp_min(torch.finfo(centred.dtype).tiny)
