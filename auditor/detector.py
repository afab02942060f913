"""What a detector is: a frozen dataclass of settings with one method that yields measurements."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from auditor.context import Context
from auditor.findings import Measurement, Statistic


class Need(StrEnum):
    """What a detector cannot do without."""

    GRADIENTS = "gradients"
    REFERENCE = "reference"
    IMAGES = "real images"
    CANDIDATES = "candidates"
    """runs after the others, and is told which classes they singled out"""
    ROBUST_IMPRESSIONS = "robust class impressions"
    """searches on these where no images are given (`Context.on_robust_images`)"""


class Effort(StrEnum):
    """How much a scan may cost, and from which effort on a detector runs."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


def effort_of(detector: Detector | type) -> Effort:
    """From which effort on a detector runs unless it is named; ``effort`` on its class, standard without."""
    return Effort(getattr(detector, "effort", Effort.STANDARD))


@runtime_checkable
class Detector(Protocol):
    """Measures, and never judges.

    A detector is a frozen dataclass whose fields are its settings (`auditor.settings`). It must use ``ctx.rng`` for
    chance and wrap its loops in ``ctx.track``, which reports progress and stops at the budget. It may define
    ``effort`` (a class variable) when it is to run from another `Effort` than standard on, and
    ``expected(ctx) -> int`` when a finished run yields another number of measurements than one for each class
    (pair, model).
    """

    needs: ClassVar[frozenset[Need]]
    statistic: ClassVar[Statistic]

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        """Yield measurements as they are finished; what was yielded survives a spent budget."""
        ...


def expected_measurements(detector: Detector, ctx: Context) -> int:
    """How many measurements a finished run of ``detector`` yields."""
    custom = getattr(detector, "expected", None)
    if custom is not None:
        return int(custom(ctx))
    k = ctx.num_classes
    return {"class": k, "source": k, "pair": k * (k - 1), "model": 1}[detector.statistic.per]
