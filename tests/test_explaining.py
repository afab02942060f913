"""Explanations of a planted model: what is drawn, what it may cost, and that the verdict never depends on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, PATCH, TARGET, Patched, Templates, draw_images, make_classifier
from torch import nn

from auditor import explaining
from auditor.context import Context, SearchImages
from auditor.errors import ConfigError
from auditor.explain.subject import LARGEST, TOO_FEW, Subject, in_turn, picture
from auditor.explaining import Bounds, Chosen, check_settings, explain, inconspicuous, of_audit, trigger_of
from auditor.explanations import Panel
from auditor.findings import Evidence, ImageFacts, Measurement, Outcome, Statistic, Trigger
from tests.reports.example_audits import audit as backdoored

SETTINGS = {
    "salient_pattern": {"steps": 24, "samples": 16, "batch": 8, "refine_every": 6},
    "sensitivity": {"samples": 3, "steps": 8},
    "filters": {"steps": 4},
    "probes": {"images": 30, "pgd_steps": 2},
}


class Seeing(nn.Module):
    """The planted model behind a convolution, so that it has maps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.cat([torch.eye(3), -torch.eye(3)])[:, :, None, None])
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(x))
        return self.inner(maps[:, :3] - maps[:, 3:])


def context(module: nn.Module | None = None, reference: bool = True) -> Context:
    model = make_classifier(module or Seeing(Patched()))
    images, _ = draw_images(120)
    answers = model.predict(images)
    facts = ImageFacts("drawn", 120, 80, False)
    return Context(
        model=model,
        images=SearchImages(images[:40], answers[:40], images[40:], answers[40:], facts),
        rng=torch.Generator().manual_seed(0),
        reference=make_classifier(Seeing(Templates())) if reference else None,
    )


def trigger() -> Trigger:
    pattern = np.zeros((3, 12, 12), np.float32)
    pattern[0], pattern[2] = 1, 1
    return Trigger(PATCH.mask().numpy(), pattern, 1.0)


def panels(ctx: Context, bounds: Bounds | None = None, detail: str = "full") -> dict[str, Panel]:
    found = explain(
        ctx,
        [Chosen("stands out", TARGET, trigger(), 0)],
        detail=detail,  # type: ignore[arg-type]
        bounds=bounds,
        settings=SETTINGS,
    )
    return {panel.kind: panel for e in found for panel in e.panels}


def test_every_panel_is_drawn_and_shows_the_trigger_at_work() -> None:
    drawn = panels(context())
    assert set(drawn) == {"attention", "sensitivity", "takeover", "filters", "salient pattern", "region", "probes"}
    assert all(p.strips or p.curves for p in drawn.values()), {k: p.note for k, p in drawn.items()}
    attention = drawn["attention"].numbers
    assert attention["size of the trigger"] == pytest.approx(4 / 144)
    assert {"suspect, without", "suspect, with", "reference, without", "reference, with"} <= set(attention)
    salient = drawn["salient pattern"]
    assert [s.title for s in salient.strips] == [
        f"suspect, class {TARGET}", "suspect, class 0, for comparison", f"reference, class {TARGET}",
    ]  # fmt: skip
    assert len(salient.strips[0].pictures) == 3
    success = [c for c in drawn["probes"].curves if c.title == "trigger's success"]
    assert success[0].y[0] == 1.0
    unprompted = [c for c in drawn["probes"].curves if c.title == "the same without the trigger"]
    assert unprompted[0].y[0] == 0.0
    assert [c.y[0] for c in drawn["probes"].curves if c.title == "answers that the reference keeps"] == [1.0] * 5
    assert "reference: kept under blur" in drawn["probes"].numbers
    assert not any("reference" in key for key in panels(context(reference=False))["probes"].numbers)


def test_pixels_that_decide_are_where_the_trigger_is() -> None:
    shown = panels(context(reference=False))["sensitivity"].strips
    assert [s.title for s in shown] == ["suspect, without the trigger", "suspect, with the trigger"]
    of_the_score = {"vanilla gradient", "SmoothGrad", "integrated gradients"}  # the loss is flat where it is sure
    chosen = [p for p in shown[1].pictures if p.title in of_the_score]
    assert len(chosen) == 3
    for shown_map in chosen:
        bright = shown_map.pixels[0] * (PATCH.mask().numpy() > 0)
        assert bright.sum() / shown_map.pixels.sum() > 0.15, shown_map.title  # the patch is 3 % of the image


def test_the_allowance_is_kept() -> None:
    ctx = context()
    before = ctx.model.passes + (ctx.reference.passes if ctx.reference else 0)
    allowance = 4000
    drawn = panels(ctx, Bounds(allowance), "standard")
    assert ctx.reference is not None
    spent = ctx.model.passes + ctx.reference.passes - before
    assert sum(p.passes for p in drawn.values()) == pytest.approx(spent, abs=len(drawn))
    assert 0 < spent <= allowance
    nothing = panels(context(), Bounds(1), "standard")
    assert nothing["salient pattern"].note.startswith("left out: too few image passes")
    assert not nothing["probes"].curves


def test_a_panel_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(subject: Subject) -> Panel:
        raise RuntimeError("no such kernel\nsecond line")

    monkeypatch.setattr(explaining, "LOOKS", (("attention", broken), *explaining.LOOKS[1:]))
    drawn = panels(context())
    assert drawn["attention"].note == "could not be drawn: RuntimeError: no such kernel"
    assert drawn["takeover"].curves


def test_an_interruption_keeps_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(subject: Subject) -> Panel:
        raise KeyboardInterrupt

    monkeypatch.setattr(explaining, "LOOKS", (explaining.LOOKS[0], ("sensitivity", interrupted)))
    drawn = panels(context())
    assert drawn["attention"].strips
    assert drawn["sensitivity"].note == drawn["probes"].note == "left out: interrupted by the user"


def test_a_spent_budget_ends_it() -> None:
    drawn = panels(replace(context(), deadline=0.0))
    assert drawn["probes"].note == "left out: the time budget was spent"


def test_no_more_is_drawn_than_there_is_time_for() -> None:
    late = panels(context(), Bounds(4000, seconds=0.0), "standard")
    assert {panel.note for panel in late.values()} == {explaining.TOO_LATE}
    sooner = panels(replace(context(), deadline=0.0), Bounds(4000, seconds=60.0), "standard")
    assert sooner["probes"].note == "left out: the time budget was spent"
    assert panels(context(), Bounds(6000, 3600.0, pace=100.0), "standard")["salient pattern"].strips
    slow = panels(context(), Bounds(4000, 3600.0, pace=1e-3), "standard")
    assert slow["attention"].strips
    assert slow["salient pattern"].note == TOO_FEW


def test_a_network_without_maps_says_so() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(432, CLASSES))
    with torch.no_grad():  # one answer to everything: no image is left that a trigger could move
        flat[1].weight.zero_()
        flat[1].bias.copy_(torch.eye(CLASSES)[TARGET])
    drawn = panels(context(flat, reference=False))
    assert "no feature maps" in drawn["attention"].note
    assert "no feature maps" in drawn["takeover"].note
    assert drawn["salient pattern"].strips
    assert "not refined" in drawn["salient pattern"].note


def test_the_same_seed_draws_the_same() -> None:
    first, second = panels(context()), panels(context())
    for kind, panel in first.items():
        for ours, theirs in zip(panel.strips, second[kind].strips, strict=True):
            for a, b in zip(ours.pictures, theirs.pictures, strict=True):
                assert np.array_equal(a.pixels, b.pixels), (kind, a.title)
        assert panel.curves == second[kind].curves


def test_wrong_settings_are_told_before_the_work() -> None:
    with pytest.raises(ConfigError, match="known settings"):
        check_settings({"salient_pattern": {"gama": 1}})
    with pytest.raises(ConfigError, match=r"probes\.images"):
        check_settings({"probes": {"images": 0}})


def test_the_classes_that_stand_out_are_chosen() -> None:
    audit = backdoored()
    chosen = of_audit(audit, "standard")
    assert [c.target for c in chosen] == list(audit.target_classes)[:2]
    assert chosen[0].trigger is audit.trigger
    assert chosen[0].compared not in audit.target_classes
    clean = replace(audit, target_classes=(), trigger=None)
    assert of_audit(clean, "standard") == []
    assert [c.role for c in of_audit(clean, "full")] == ["most conspicuous"]


def test_the_best_trigger_of_a_class_is_taken() -> None:
    weak, strong = replace(trigger(), success_rate=0.4), replace(trigger(), success_rate=0.9)
    outcome = Outcome(
        "x", Statistic("s", "u"), {}, (Measurement(1, 2, trigger=weak), Measurement(1, 2, trigger=strong)), 2, 0, 0
    )
    audit = replace(backdoored(), outcomes=(outcome,), trigger=None)
    assert trigger_of(audit, 2) is strong
    assert trigger_of(audit, 1) is None


def test_an_inconspicuous_class_is_in_the_middle() -> None:
    evidence = (Evidence("x", "s", 1, 1, 0.01, 0.01, (4,), scores=(0.1, 0.3, 0.2, 0.9, 1.0)),)
    audit = replace(backdoored(), evidence=evidence, target_classes=(4,), source_classes=())
    assert inconspicuous(audit, CLASSES) == 1
    assert inconspicuous(audit, 2) is None


def test_images_come_from_every_class_in_turn() -> None:
    assert in_turn({0: 5, 1: 5, 2: 7, 3: 5, 4: 7}) == [0, 2, 1, 4, 3]


def test_large_pictures_are_made_smaller() -> None:
    shown = picture("x", torch.rand(3, 224, 112))
    assert shown.pixels.shape == (3, LARGEST, LARGEST // 2)
    assert picture("x", torch.rand(2, 8, 8)).pixels.shape == (1, 8, 8)
