"""Head: a class whose weights in the last layer stand apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from auditor import Context, Effort, Measurement, Need, Statistic, anomaly_index

OF_FEW = {4: 0.41, 5: 0.37, 6: 0.64, 7: 0.65, 8: 0.84, 9: 0.85}
"""what is left of an index among fewer than ten classes: of so few numbers the median of their distances is often small
by chance. By these, one in a hundred sets of normal numbers has as prominent a leader as of ten"""


@dataclass(frozen=True, kw_only=True)
class Head:
    """How far the mean weight of a class in the last linear layer lies above those of the other classes.

    The mean of each class's row is taken, and its distance from the median in robust standard deviations (less of them
    with fewer than ten classes, see `OF_FEW`). Features that feed the target of a backdoor have larger weights there.

    Paper: "Trojan signatures in DNN weights" (Fields, Samragh, Javaheripi, Koushanfar, Javidi, 2021), Section 3.
    Cost: none; reads weights only. Without a last layer with one row a class nothing is measured.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    effort: ClassVar[Effort] = Effort.QUICK
    statistic: ClassVar[Statistic] = Statistic("excess of the class's mean weight", "robust standard deviations")

    def expected(self, ctx: Context) -> int:
        """One a class, none without a head."""
        return ctx.num_classes if ctx.model.head() is not None and ctx.num_classes >= 4 else 0

    def note(self, ctx: Context) -> str:
        """Why nothing was measured."""
        return "" if self.expected(ctx) else "found no last layer with one row a class, or fewer than four classes"

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """One measurement a class."""
        weight = ctx.model.head()
        if weight is None or ctx.num_classes < 4:
            return
        index = anomaly_index(weight.mean(1).numpy())
        values = (index * OF_FEW.get(ctx.num_classes, 1.0)).tolist()
        for target, value in ctx.track(enumerate(values), "weights of the last layer", len(values)):
            yield Measurement(value=max(0.0, value), target_class=target)
