"""Running one detector so that nothing it finished is lost, and choosing which run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import torch
from tiny_models import CLASSES, Templates, make_context

from auditor.context import Context
from auditor.detector import Need
from auditor.errors import ConfigError, ModelMismatchError, OutOfBudget
from auditor.findings import Measurement, Statistic
from auditor.measuring import choose_detectors, generator, measure, skipped
from auditor.progress import PASSES
from auditor.request import ScanRequest, ScanSettings
from auditor.settings import Setting

CTX = make_context(Templates())


@dataclass(frozen=True, kw_only=True)
class Stumbles:
    """Yields three classes of five, then does ``then``."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    statistic: ClassVar[Statistic] = Statistic("steps", "steps")
    rate: Annotated[float, Setting("rate", low=0, high=1)] = 0.5
    then: BaseException | None = None
    count: int = 3

    def detect(self, ctx: Context) -> Iterator[Measurement]:
        for target in range(self.count):
            yield Measurement(float(ctx.model.predict(ctx.images.held_out[:4])[0]), target)
        if self.then is not None:
            raise self.then


def test_a_finished_run() -> None:
    outcome, stopped = measure("stumbles", Stumbles(count=CLASSES), CTX)
    assert not stopped
    assert outcome.complete
    assert outcome.note == ""
    assert outcome.settings == {"rate": 0.5}
    assert outcome.passes == CLASSES * 4 // 2
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (OutOfBudget("x"), "cut short"),
        (RuntimeError("shapes differ\nsecond line"), "failed: RuntimeError: shapes differ"),
        (ValueError(""), "failed: ValueError"),
        (KeyError("k"), "failed: KeyError"),
        (ZeroDivisionError("by zero"), "failed: ZeroDivisionError"),
        (AssertionError("no"), "failed: AssertionError"),
        (ModelMismatchError("expected a, got b"), "failed: ModelMismatchError: expected a"),
        (AttributeError("no such name"), "failed: AttributeError"),
    ],
)
@pytest.mark.parametrize("count", [0, 3, CLASSES])
def test_what_was_yielded_before_a_failure_is_kept(then: Exception, words: str, count: int) -> None:
    """Even one that fails after its last measurement is not finished: something it meant to do is missing."""
    outcome, stopped = measure("stumbles", Stumbles(then=then, count=count), CTX)
    assert not stopped
    assert len(outcome.measurements) == count
    assert not outcome.complete
    assert not outcome.skipped
    assert words in outcome.note
    assert "\n" not in outcome.note


def test_an_interruption_is_told_apart() -> None:
    outcome, stopped = measure("stumbles", Stumbles(then=KeyboardInterrupt()), CTX)
    assert stopped
    assert len(outcome.measurements) == 3
    assert not outcome.complete
    assert outcome.note == "interrupted by the user"


def test_too_few_measurements_are_incomplete_without_a_failure() -> None:
    outcome, _ = measure("stumbles", Stumbles(count=3), CTX)
    assert not outcome.complete
    assert outcome.expected == CLASSES


def test_an_unmet_need_is_a_skip() -> None:
    class Compares(Stumbles):
        needs = frozenset({Need.REFERENCE})

    outcome, _ = measure("compares", Compares(), CTX)
    assert outcome.skipped
    assert not outcome.complete
    assert "--reference" in outcome.note
    with_one = make_context(Templates(), Templates())
    assert not measure("compares", Compares(), with_one)[0].skipped


def test_one_that_could_not_be_started() -> None:
    outcome = skipped("stumbles", Stumbles(), CTX, "not run: interrupted by the user")
    assert not outcome.skipped  # it was needed
    assert not outcome.complete
    assert outcome.expected >= 1


def test_a_note_of_the_detectors_own() -> None:
    class Notes(Stumbles):
        def note(self, ctx: Context) -> str:
            return f"left out nothing of {ctx.num_classes}"

    outcome, _ = measure("notes", Notes(count=CLASSES), CTX)
    assert outcome.note == "left out nothing of 5"
    assert outcome.complete


def test_generators_depend_on_seed_and_name_alone() -> None:
    def draw(seed: int, name: str) -> list[float]:
        return torch.rand(4, generator=generator(seed, name)).tolist()

    assert draw(3, "iscp") == draw(3, "iscp")
    assert len({tuple(draw(s, n)) for s in (0, 1, 2**63 - 1) for n in ("iscp", "blend")}) == 6


def test_tracking_stops_at_the_deadline_and_reports() -> None:
    heard: list[tuple[str, int, int]] = []
    ctx = make_context(Templates(), progress=lambda *args: heard.append(args))
    assert list(ctx.track("abc", "letters")) == ["a", "b", "c"]
    told = [step for step in heard if step[0] != PASSES]
    assert told == [("letters", 0, 3), ("letters", 1, 3), ("letters", 2, 3), ("letters", 3, 3)]
    late = replace(make_context(Templates()), deadline=time.monotonic() + 0.5)
    items = late.track(range(2), "slow")
    assert next(items) == 0
    time.sleep(0.6)
    with pytest.raises(OutOfBudget):
        next(items)


def request(**options: Any) -> ScanRequest:
    return ScanRequest(model=Path("m.onnx"), **options)


def test_choosing_detectors() -> None:
    def at(effort: str) -> list[str]:
        return [n for n, _ in choose_detectors(request(settings=ScanSettings(effort=effort)))]  # type: ignore[arg-type]

    assert {"iscp", "pairwise", "dominant_pattern"} <= set(at("thorough"))
    assert {"iscp", "patches", "waves"} <= set(at("quick"))
    assert "pairwise" not in at("standard")
    assert set(at("quick")) < set(at("standard")) < set(at("thorough"))
    assert [n for n, _ in choose_detectors(request())] == at("standard")
    assert at("thorough")[: len(at("quick"))] == at("quick"), "the cheap ones come first"
    chosen = choose_detectors(request(detectors=("blend", "iscp", "blend"), detector_settings={"iscp": {"steps": "7"}}))
    assert [name for name, _ in chosen] == ["blend", "iscp"]
    assert chosen[1][1].steps == 7  # type: ignore[attr-defined]
    assert choose_detectors(request(detectors=())) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detectors": ("nonsense",)}, "among .*iscp.*got 'nonsense'"),
        ({"detector_settings": {"nonsense": {"a": 1}}}, "among .*iscp.*got 'nonsense'"),
        ({"detector_settings": {"iscp": {"stepz": 1}}}, "got 'stepz'; known settings: .*steps"),
        ({"detector_settings": {"iscp": {"steps": 0}}}, "iscp.steps in 1"),
    ],
)
def test_unknown_names(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose_detectors(request(**options))
