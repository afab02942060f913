"""What ready-made waves do to a model with a planted one, and to those without."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import BOOST, CLASSES, SHAPE, TARGET, Blended, Templates, make_context, one_hot
from torch import Tensor

from auditor.calibration import Given, Null
from auditor.confirming import DEFORMED, FAINT
from auditor.detectors.waves import Waves
from auditor.findings import Outcome, Verdict
from auditor.measuring import measure
from auditor.verdict import judge

WAVE = torch.sin(2 * math.pi * 3 * torch.arange(SHAPE[2]) / SHAPE[2] + 0.4).expand(SHAPE)


class Waved(Templates):
    """A vertical wave of three periods, in a phase between those that are tried → TARGET."""

    def forward(self, x: Tensor) -> Tensor:
        likeness = (x * WAVE).mean((1, 2, 3))  # an amplitude of a tenth makes a twentieth
        return super().forward(x) + BOOST * torch.sigmoid(300 * (likeness - 0.015))[:, None] * one_hot(TARGET)


def found(network: Templates, reference: Templates | None = None) -> Outcome:
    outcome, _ = measure("waves", Waves(), make_context(network, reference=reference))
    assert outcome.complete
    return outcome


def test_a_planted_wave_commands_its_class() -> None:
    outcome = found(Waved())
    first = max(outcome.measurements, key=lambda m: m.value)
    assert first.target_class == TARGET
    assert first.value > 0.8
    assert all(m.value < 0.1 for m in outcome.measurements if m is not first)
    assert first.trigger is not None
    assert first.trigger.mode == "add"
    assert first.trigger.success_rate > 0.95
    assert (first.trigger.pattern[:, 0] == first.trigger.pattern[:, 5]).all()
    assert abs(first.trigger.pattern).max() <= 0.1


@pytest.mark.parametrize("network", [Templates, Blended])
def test_models_without_one_withstand(network: type[Templates]) -> None:
    assert all(m.value < 0.1 for m in found(network()).measurements)


def test_what_the_reference_answers_as_well_is_taken_off() -> None:
    assert all(m.value < 0.1 for m in found(Waved(), Waved()).measurements)
    other = max(found(Waved(), Templates()).measurements, key=lambda m: m.value)
    assert other.value > 0.8
    assert other.trigger is not None
    assert other.trigger.reference_success_rate == 0


def test_a_planted_wave_is_suspicious_by_itself(nulls: dict[str, Null]) -> None:
    nulls["waves/prominence"] = Null(0.14, 30, shares=True)
    judged = judge(
        [found(Waved())], num_classes=CLASSES, level=0.01, confirm_at=0.8, given=Given(images=True, num_classes=CLASSES)
    )
    assert FAINT["images"] < judged.evidence[0].p_value < DEFORMED, "far from clean waves, not from clean searches"
    assert judged.verdict is Verdict.SUSPICIOUS
    assert judged.target_classes == (TARGET,)
