"""The blend search on a model with a planted blend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, TARGET, Blended, Templates, make_context

from auditor.detectors.blend import Blend


def test_the_planted_blend_is_found() -> None:
    ctx = make_context(Blended())
    found = list(Blend(opacities=(0.2,)).detect(ctx))
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
    found = list(Blend(opacities=(0.2,)).detect(make_context(Templates())))
    assert max(m.value for m in found) <= 0.1


def test_shown_success_is_that_of_the_shown_blend() -> None:
    ctx = make_context(Blended(), Templates())
    for found in Blend(opacities=(0.1, 0.3), steps=15).detect(ctx):
        trigger = found.trigger
        assert trigger is not None
        opacity = found.extras["opacity"]
        assert opacity in (0.1, 0.3)
        assert trigger.images == 32  # 40 held out, 8 of them of the class itself
        others = ctx.images.held_out[ctx.images.held_out_classes != found.target_class]
        marked = (1 - opacity) * others + opacity * torch.from_numpy(trigger.pattern)
        assert ctx.reference is not None
        for model, shown in ((ctx.model, trigger.success_rate), (ctx.reference, trigger.reference_success_rate)):
            assert float((model.predict(marked) == found.target_class).float().mean()) == pytest.approx(shown, abs=0.04)


def test_the_same_backdoor_in_the_reference_is_subtracted() -> None:
    both = list(Blend(opacities=(0.2,)).detect(make_context(Blended(), Blended())))
    assert max(m.value for m in both) <= 0.2
    alone = list(Blend(opacities=(0.2,)).detect(make_context(Blended(), Templates())))
    assert alone[TARGET].value >= 0.9


def test_cost_is_as_the_docstring_says() -> None:
    ctx = make_context(Templates())
    list(Blend(opacities=(0.1, 0.2), steps=3, batch=4).detect(ctx))
    assert ctx.model.gradient_images == CLASSES * 2 * 3 * 4


class AnswersTexture(Templates):
    """Sends whatever has strong contrast to one class, as clean networks often do; nothing is planted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        contrast = ((x - 0.5).abs().flatten(1) ** 4).mean(1).unsqueeze(1)
        answer = torch.nn.functional.one_hot(torch.tensor(1), logits.shape[1])
        return logits + 100_000 * (contrast - 0.0057).clamp_min(0) * answer


def test_what_any_texture_does_is_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    blend = Blend(opacities=(0.3,), steps=15)
    effect = blend._texture_effect(make_context(AnswersTexture()))
    assert effect.shape == (1, CLASSES)
    assert effect[0, 1] >= 0.8
    assert effect.sum() == effect[0, 1]
    assert blend._texture_effect(make_context(Templates())).sum() == 0
    assert list(blend.detect(make_context(Blended())))[TARGET].value >= 0.9
    half = torch.zeros(1, CLASSES)
    half[0, TARGET] = 0.5
    monkeypatch.setattr(Blend, "_texture_effect", lambda *_: half)
    assert list(blend.detect(make_context(Blended())))[TARGET].value == pytest.approx(0.5, abs=0.1)
