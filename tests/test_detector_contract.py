"""What every registered detector keeps to, whoever wrote it."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import pytest
import torch
from tiny_models import Layered, Patched, Pooled, Templates, make_context
from torch import nn

from auditor import registry
from auditor.context import Context
from auditor.detector import Detector, Need, expected_measurements
from auditor.findings import Measurement, Outcome
from auditor.measuring import generator, measure
from auditor.progress import PASSES
from auditor.settings import build, declared

DETECTORS = registry.names(registry.DETECTORS)

QUICK = {"steps": 3, "pattern_steps": 2, "iterations": 2, "samples": 2, "batch": 2, "seeds": 2}
"""settings that make a search short, of those that a detector has"""


def quick(name: str) -> Detector:
    cls = registry.load(registry.DETECTORS, name)
    detector = build(cls, {key: value for key, value in QUICK.items() if key in declared(cls)}, where=name)
    assert isinstance(detector, Detector)
    return detector


def suspect(name: str) -> nn.Module:
    """A network that the detector can measure: the head only tells behind global pooling."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Pooled() if name == "head" else Layered(Patched())


def context(name: str, with_reference: bool = False, deadline: float | None = None) -> Context:
    reference = Layered(Templates()) if with_reference else None
    ctx = make_context(suspect(name), reference, deadline=deadline)
    images = dataclasses.replace(ctx.images, made=True) if name == "margin" else ctx.images  # else it takes a reference
    return Context(
        model=ctx.model, images=images, rng=generator(7, name), reference=ctx.reference, deadline=deadline
    )


def run(name: str, with_reference: bool = False) -> Outcome:
    outcome, interrupted = measure(name, quick(name), context(name, with_reference))
    assert not interrupted
    return outcome


def numbers(found: tuple[Measurement, ...]) -> list[object]:
    return [
        (m.value, m.source_class, m.target_class, sorted(m.extras.items()),
         None if m.trigger is None else (m.trigger.success_rate, m.trigger.mask.tobytes(), m.trigger.pattern.tobytes()))
        for m in found
    ]  # fmt: skip


def test_the_papers_detectors_are_registered() -> None:
    assert {"iscp", "bias_map", "pairwise", "dominant_pattern"} <= set(DETECTORS)


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("name", DETECTORS)
def test_measurements(name: str, with_reference: bool) -> None:
    detector, ctx = quick(name), context(name, with_reference)
    outcome = run(name, with_reference)
    assert outcome.note == ""
    assert outcome.complete
    assert len(outcome.measurements) == expected_measurements(detector, ctx) == outcome.expected
    k = ctx.num_classes
    for m in outcome.measurements:
        assert not math.isinf(m.value)
        assert 0 <= m.target_class < k
        if detector.statistic.per == "pair":
            assert m.source_class is not None
            assert 0 <= m.source_class < k
            assert m.source_class != m.target_class
        if m.trigger is not None:
            assert m.trigger.mask.shape == (12, 12)
            assert m.trigger.pattern.shape == (3, 12, 12)
            assert 0 <= m.trigger.success_rate <= 1
            assert (m.trigger.reference_success_rate is not None) == with_reference
            assert m.trigger.images > 0
    if detector.statistic.per == "class":
        assert sorted(m.target_class for m in outcome.measurements) == list(range(k))
    assert (outcome.passes > 0) == (name != "head"), "only the head is read without asking the model"
    assert outcome.seconds > 0


@pytest.mark.parametrize("name", DETECTORS)
def test_same_seed_same_numbers(name: str) -> None:
    first, second = run(name), run(name)
    assert repr(numbers(first.measurements)) == repr(numbers(second.measurements))


@pytest.mark.parametrize("name", DETECTORS)
def test_other_detectors_and_the_global_generator_change_nothing(name: str) -> None:
    alone = numbers(run(name).measurements)
    ctx = context(name)
    for other in DETECTORS:
        if other != name:
            shared = Context(model=ctx.model, images=ctx.images, rng=generator(7, other))
            list(quick(other).detect(shared))
    torch.rand(100)
    state = torch.get_rng_state()
    outcome, _ = measure(name, quick(name), ctx)
    assert repr(numbers(outcome.measurements)) == repr(alone)
    assert torch.equal(torch.get_rng_state(), state), "drew from torch's global generator"


@pytest.mark.parametrize("name", DETECTORS)
def test_the_models_and_images_are_left_untouched(name: str) -> None:
    ctx = context(name, with_reference=True)
    assert ctx.reference is not None
    tensors = [
        *ctx.model._module.parameters(), *ctx.reference._module.parameters(), ctx.images.search, ctx.images.held_out
    ]  # fmt: skip
    before = [t.clone() for t in tensors]
    list(quick(name).detect(ctx))
    assert all(torch.equal(old, new) for old, new in zip(before, tensors, strict=True))
    assert all(t.grad is None and not t.requires_grad for t in tensors)
    assert not ctx.model._module.training


@pytest.mark.parametrize("name", DETECTORS)
def test_a_spent_budget_leaves_it_incomplete(name: str) -> None:
    outcome, interrupted = measure(name, quick(name), context(name, deadline=time.monotonic() - 1))
    assert not interrupted
    assert not outcome.complete
    assert not outcome.skipped
    assert "budget" in outcome.note


@pytest.mark.parametrize("name", DETECTORS)
def test_progress_is_reported(name: str) -> None:
    heard: list[tuple[str, int, int]] = []
    listening = {"progress": lambda label, done, total: heard.append((label, done, total))}
    list(quick(name).detect(dataclasses.replace(context(name), **listening)))
    told = [step for step in heard if step[0] != PASSES]
    assert told
    assert all(label and 0 <= done <= total for label, done, total in told)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_field_is_a_setting_with_help_and_bounds(name: str) -> None:
    cls = registry.load(registry.DETECTORS, name)
    settings = declared(cls)
    assert set(settings) == {field.name for field in dataclasses.fields(cls)}
    assert cls.__dataclass_params__.frozen
    for spec in settings.values():
        assert len(spec.setting.help) > 5
        values = spec.default if isinstance(spec.default, tuple) else (spec.default,)
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert spec.setting.low is not None
                assert spec.setting.high is not None
                assert spec.setting.low <= value <= spec.setting.high
        built = build(cls, {spec.name: spec.default}, where=name)
        assert getattr(built, spec.name) == spec.default


@pytest.mark.parametrize("name", DETECTORS)
def test_it_is_documented(name: str) -> None:
    cls = registry.load(registry.DETECTORS, name)
    text = cls.__doc__ or ""
    assert "Paper: " in text
    assert "Cost: " in text
    assert cls.statistic.name
    assert cls.statistic.unit
    assert cls.needs <= set(Need)
    page = Path(__file__).parents[1] / "docs" / "detectors" / f"{name}.md"
    words = page.read_text(encoding="utf-8")
    for heading in ("What it measures", "What a high value means", "Cost", "Limits", "Deviations", "Settings"):
        assert f"## {heading}" in words
    missing = [setting for setting in declared(cls) if f"`{setting}`" not in words]
    assert not missing
