"""The blend search, and with it the engine of all whole-image searches, on a model with a planted blend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, TARGET, Blended, Templates, make_context

from auditor import Curve
from auditor.detectors.blend import Blend

FULL = (1.0,)
"""only the strength that was searched for"""


def test_the_statistic_is_the_mean_over_the_strengths() -> None:
    """What works at full strength only counts for less, and the curve of strengths is shown."""
    found = list(Blend(opacity=0.2, strengths=(1.0, 0.5, 0.05)).detect(make_context(Blended())))[TARGET]
    curve = next(e for e in found.exhibits if isinstance(e, Curve))
    assert curve.x == (1.0, 0.5, 0.05)
    assert curve.y[0] >= 0.9 >= curve.y[1] >= curve.y[2]
    assert curve.y[2] <= 0.1
    assert 0.3 <= found.value <= sum(curve.y) / 3 + 1e-6


def test_the_planted_blend_is_found() -> None:
    ctx = make_context(Blended())
    found = list(Blend(opacity=0.2, strengths=FULL).detect(ctx))
    values = [m.value for m in found]
    assert int(np.argmax(values)) == TARGET
    assert values[TARGET] >= 0.9
    assert max(v for k, v in enumerate(values) if k != TARGET) <= 0.1
    trigger = found[TARGET].trigger
    assert trigger is not None
    assert trigger.success_rate >= 0.9
    assert np.unique(trigger.mask) == pytest.approx([0.2])
    likeness = ((trigger.pattern - 0.5) * Blended.PATTERN.numpy()).mean()
    assert likeness > 0.25  # ½ for the planted pattern itself, about 0 for any other image


def test_the_clean_twin_keeps_every_class_low() -> None:
    found = list(Blend(opacity=0.2).detect(make_context(Templates())))
    assert max(m.value for m in found) <= 0.1


def test_shown_success_is_that_of_the_shown_blend() -> None:
    ctx = make_context(Blended(), Templates())
    shown = [m for m in Blend(opacity=0.2, steps=15).detect(ctx) if m.trigger is not None]
    assert any(m.target_class == TARGET for m in shown)
    assert ctx.reference is not None
    for found in shown:
        trigger = found.trigger
        assert trigger is not None
        assert trigger.reference_success_rate is not None
        others = ctx.images.held_out[ctx.images.held_out_classes != found.target_class][: trigger.images]
        marked = 0.8 * others + 0.2 * torch.from_numpy(trigger.pattern)
        for model, rate in ((ctx.model, trigger.success_rate), (ctx.reference, trigger.reference_success_rate)):
            share = float((model.predict(marked) == found.target_class).float().mean())
            assert share == pytest.approx(rate, abs=0.04)


def test_the_same_backdoor_in_the_reference_is_subtracted() -> None:
    both = list(Blend(opacity=0.2, strengths=FULL).detect(make_context(Blended(), Blended())))
    assert max(m.value for m in both) <= 0.2
    alone = list(Blend(opacity=0.2, strengths=FULL).detect(make_context(Blended(), Templates())))
    assert alone[TARGET].value >= 0.9


def test_classes_not_searched_on_the_reference_keep_no_more_than_those_that_were() -> None:
    """An opaque blend of any class works on both models."""
    opaque = Blend(opacity=0.9, strengths=FULL, screen=CLASSES, against_reference=1)
    found = list(opaque.detect(make_context(Templates(), Templates())))
    assert sum(m.extras["commanding predictive power, suspect"] > 0.5 for m in found) >= 3
    assert sum("commanding predictive power, reference" in m.extras for m in found) == 1
    assert max(m.value for m in found) <= 0.1


def test_cost_is_as_the_docstring_says() -> None:
    ctx = make_context(Templates())
    list(Blend(steps=6, batch=4, screen=2).detect(ctx))
    assert ctx.model.gradient_images == 4 * (2 * CLASSES + 4 * 2)
