"""Where one faint pattern over the whole image sends images that it only has to move away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_models import CLASSES, AllToAllBlended, Blended, Templates, make_context

from auditor.detectors.untargeted import Untargeted
from auditor.detectors.untargeted_blend import UntargetedBlend
from auditor.findings import Measurement
from auditor.measuring import measure
from auditor.outliers import label_map_index

QUICK = UntargetedBlend(opacity=0.25, starts=2, steps=40)


def index(found: tuple[Measurement, ...]) -> float:
    return label_map_index([m.value for m in found], [m.target_class for m in found])


def test_an_all_to_all_blend_shows_as_a_label_map() -> None:
    ctx = make_context(AllToAllBlended())
    outcome, _ = measure("untargeted_blend", QUICK, ctx)
    assert outcome.complete
    assert {m.source_class: m.target_class for m in outcome.measurements} == {
        c: (c + 1) % CLASSES for c in range(CLASSES)
    }
    assert index(outcome.measurements) > 0.8
    first = outcome.measurements[0]
    assert first.trigger is not None
    assert first.trigger.size == 1.0
    assert first.trigger.success_rate > 0.8
    assert [e.title for e in first.exhibits][-1] == "where the pattern sends images"
    assert all(m.trigger is None and not m.exhibits for m in outcome.measurements[1:])
    small, _ = measure("untargeted", Untargeted(starts=4, steps=30, sizes=(0.028,), windows=(0.028,)), ctx)
    assert index(small.measurements) < 0.5


@pytest.mark.parametrize("network", [Templates, Blended])
def test_clean_models_and_single_targets_show_none(network: type[Templates]) -> None:
    outcome, _ = measure("untargeted_blend", QUICK, make_context(network()))
    assert outcome.complete
    assert index(outcome.measurements) <= 2 / CLASSES  # all to one class, and that one elsewhere


def test_it_is_left_out_on_class_impressions() -> None:
    ctx = make_context(AllToAllBlended())
    outcome, _ = measure("untargeted_blend", QUICK, replace(ctx, images=replace(ctx.images, made=True)))
    assert outcome.skipped
    assert not outcome.passes
    assert "--images" in outcome.note


def test_what_works_on_the_reference_as_well_is_told() -> None:
    ctx = make_context(AllToAllBlended(), reference=AllToAllBlended())
    outcome, _ = measure("untargeted_blend", QUICK, ctx)
    trigger = outcome.measurements[0].trigger
    assert trigger is not None
    assert trigger.reference_success_rate == pytest.approx(trigger.success_rate)
