"""What only the score suspects is measured again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tiny_models import CLASSES, Templates, draw_images, make_classifier, make_context

from auditor import scan
from auditor.calibration import Null, Weights
from auditor.context import Context
from auditor.detector import Need
from auditor.findings import Audit, Measurement, Outcome, Statistic, Verdict
from auditor.job import Job
from auditor.models import Opened
from auditor.preflight import preflight
from auditor.request import ScanRequest, ScanSettings
from auditor.second_look import mean_of, other_half

POWER = Statistic("power", "share")


def outcome(*measurements: Measurement, statistic: Statistic = POWER, expected: int = 2, note: str = "") -> Outcome:
    return Outcome("search", statistic, {}, measurements, expected, 1.0, 10, note)


def test_every_number_is_the_mean_of_its_class() -> None:
    first = outcome(Measurement(0.9, 0, extras={"success": 0.8, "odd": 1.0}), Measurement(0.1, 1))
    second = outcome(Measurement(0.3, 1), Measurement(0.2, 0, extras={"success": 0.2}))
    found = mean_of([first, second])
    assert [m.value for m in found.measurements] == pytest.approx([0.55, 0.2])
    assert found.measurements[0].extras == {"success": pytest.approx(0.5), "odd": 1.0}
    assert (found.passes, found.seconds, found.note) == (20, 2.0, "the mean of 2 looks")


def test_what_is_not_seen_again_counts_nothing_there() -> None:
    per_source = Statistic("moved", "share", per="source")
    first = outcome(Measurement(0.9, 3, source_class=0), Measurement(0.8, 4, source_class=1), statistic=per_source)
    second = outcome(Measurement(0.9, 2, source_class=0), Measurement(0.6, 4, source_class=1), statistic=per_source)
    assert [m.value for m in mean_of([first, second]).measurements] == pytest.approx([0.45, 0.7])


def test_an_unfinished_look_and_a_low_statistic_change_no_number() -> None:
    first = outcome(Measurement(0.9, 0), Measurement(0.1, 1))
    cut = outcome(Measurement(0.0, 0), note="interrupted by the user")
    assert mean_of([first, cut]).measurements == first.measurements
    assert mean_of([first, cut]).note == "look 2: interrupted by the user"
    assert mean_of([first, first, cut]).note == "the mean of 2 looks. look 3: interrupted by the user"
    low = outcome(Measurement(0.1, 0), Measurement(0.9, 1), statistic=Statistic("size", "pixels", suspicious="low"))
    assert mean_of([low, low]) == low


def test_the_halves_change_places() -> None:
    images = make_context(Templates()).images
    other = other_half(images)
    assert torch.equal(other.search, images.held_out)
    assert torch.equal(other.held_out_classes, images.search_classes)
    assert torch.equal(other_half(other).search, images.search)


@dataclass(frozen=True, kw_only=True)
class Says:
    """Of class 2 one value a look, of the others 0."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    statistic: ClassVar[Statistic] = POWER
    values: tuple[float, ...]
    seen: list[torch.Tensor] = field(default_factory=list)

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        value = self.values[min(len(self.seen), len(self.values) - 1)]
        self.seen.append(ctx.images.search)
        for target in range(CLASSES):
            yield Measurement(value if target == 2 else 0.0, target)


def audit(
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch, *detectors: Says, looks: int = 3, known: bool = True
) -> Audit:
    names = ("one", "two", "three")[: len(detectors)]
    nulls.update({f"{name}/prominence": Null(mean=0.05, count=20) for name in names})
    weights = Weights(-3.0, {f"{name}/prominence": 2.0 for name in names if known}, cap=3.0, alarm=0.7)
    monkeypatch.setattr("auditor.case.weights", lambda given: weights)
    request = ScanRequest(model=Path("suspect"), settings=ScanSettings(looks=looks, explain="none"))
    job = Job(request, list(zip(names, detectors, strict=True)), time.monotonic(), datetime.now(UTC))
    suspect = make_classifier(Templates())
    models = Opened(suspect, None, ())
    images, checks = make_context(Templates()).images, preflight(suspect, draw_images(40)[0], None)
    for outcomes in scan.measure_all(job, models, images, checks, None):
        last = outcomes
    return scan.conclude(job, models, images, checks, last)


def test_a_suspicion_that_another_look_does_not_bear_out_is_dropped(
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = Says(values=(0.3,)), Says(values=(0.3,)), Says(values=(0.0,))
    assert audit(nulls, monkeypatch, first, second, third, looks=1).verdict is Verdict.SUSPICIOUS
    first, second, third = Says(values=(0.3, 0.0)), Says(values=(0.3, 0.0)), Says(values=(0.0,))
    found = audit(nulls, monkeypatch, first, second, third)
    assert found.verdict is Verdict.NO_EVIDENCE
    assert len(third.seen) == 1  # it named no class, so it was not asked again
    assert not torch.equal(first.seen[0], first.seen[1])


def test_one_that_every_look_shows_stands(nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Says(values=(0.9, 0.8)), Says(values=(0.9, 0.8))
    found = audit(nulls, monkeypatch, first, second)
    assert (found.verdict, found.target_classes) == (Verdict.SUSPICIOUS, (2,))
    assert (len(first.seen), len(second.seen)) == (3, 3)
    assert found.outcomes[0].note == "the mean of 3 looks"


def test_what_stands_out_by_itself_is_measured_once(nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's detector, of which no weight is known."""
    alone = Says(values=(0.9,))
    found = audit(nulls, monkeypatch, alone, known=False)
    assert (found.verdict, len(alone.seen)) == (Verdict.SUSPICIOUS, 1)
