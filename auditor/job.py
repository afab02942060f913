"""One scan under way: what was asked for, when it began, and how its time is shared."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from auditor.calibration import Given
from auditor.context import Context, SearchImages
from auditor.detector import Detector, Effort, Need
from auditor.findings import KIN
from auditor.measuring import generator
from auditor.models import Opened
from auditor.preflight import Preflight
from auditor.progress import Progress
from auditor.request import ScanRequest
from auditor.settings import parse_duration


@dataclass(frozen=True)
class Job:
    """One scan: what was asked for, when it began, and who measures."""

    request: ScanRequest
    detectors: Sequence[tuple[str, Detector]]
    began: float
    started: datetime

    @property
    def deadline(self) -> float | None:
        """The moment at which the time budget is spent."""
        budget = parse_duration(self.request.settings.budget)
        return None if budget is None else self.began + budget

    @property
    def on_robust_impressions(self) -> bool:
        """Whether a detector searches on these."""
        return any(Need.ROBUST_IMPRESSIONS in detector.needs for _, detector in self.detectors)

    @property
    def may_stop(self) -> bool:
        """Whether the audit ends once its verdict can no longer change."""
        settings = self.request.settings
        return settings.early_stop and settings.effort != Effort.THOROUGH

    def given(self, models: Opened, checks: Preflight | None) -> Given:
        """What the verdict's calibration depends on."""
        suspect = models.suspect
        return Given(
            reference=self.request.reference is not None,
            images=self.request.images is not None,
            num_classes=suspect.num_classes,
            input_values=math.prod(suspect.input_shape),
            clean_accuracy=checks.clean_accuracy if checks is not None else None,
            density=suspect.facts.density,
            kin=models.kinship is not None and models.kinship >= KIN,
            unsure=checks is not None and checks.unsure,
        )

    def context(
        self,
        models: Opened,
        images: SearchImages,
        title: str,
        deadline: float | None,
        progress: Progress | None,
        candidates: tuple[int, ...] = (),
    ) -> Context:
        """What one piece of the work is given, with random numbers of its own: ``title`` and the seed decide them."""
        ctx = Context(
            model=models.suspect,
            images=images,
            rng=generator(self.request.settings.seed, title),
            reference=models.reference,
            candidates=candidates,
            deadline=deadline,
            title=title,
        )
        return ctx if progress is None else replace(ctx, progress=progress)


def share_of_time(deadline: float | None, remaining: int) -> float | None:
    """An equal share of the time that is left, as a moment."""
    if deadline is None:
        return None
    now = time.monotonic()
    return now + max(0.0, deadline - now) / remaining
