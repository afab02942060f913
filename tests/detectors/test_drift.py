"""What training on did to the last layer: a pull towards one class, or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import make_context
from torch import Tensor, nn

from auditor.calibration import Given, Null
from auditor.context import Context
from auditor.detectors.drift import Drift
from auditor.findings import Outcome, Verdict
from auditor.measuring import measure
from auditor.outliers import leader_p_value, surprise_among
from auditor.verdict import judge

CLASSES, FEATURES, TARGET = 8, 40, 5


class Headed(nn.Module):
    """Features of an image, and a last layer."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.features = nn.Linear(3 * 12 * 12, FEATURES)
        self.head = nn.Linear(FEATURES, len(weight), bias=False)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.features.weight.copy_(torch.randn(self.features.weight.shape, generator=generator))
            self.head.weight.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.features(x.flatten(1)).relu())
        return answers


def drawn(seed: int, classes: int = CLASSES) -> Tensor:
    return torch.randn(classes, FEATURES, generator=torch.Generator().manual_seed(seed))


BEFORE = drawn(0)
TRAINED_ON = BEFORE + 0.1 * drawn(1)


def pulled(weight: Tensor, by: float = 0.6) -> Tensor:
    """A few features speak for the target now, and against all others."""
    new = weight.clone()
    new[:, :5] -= by / CLASSES
    new[TARGET, :5] += by
    return new


def context(now: Tensor, before: Tensor, kin: bool = True) -> Context:
    return replace(make_context(Headed(now), reference=Headed(before), classes=4), kin=kin)


def found(now: Tensor, before: Tensor = BEFORE, kin: bool = True) -> Outcome:
    return measure("drift", Drift(), context(now, before, kin))[0]


def test_the_class_that_training_on_pulled_at_leads() -> None:
    outcome = found(pulled(TRAINED_ON))
    assert outcome.complete
    assert outcome.passes == 0
    first, second = sorted(outcome.measurements, key=lambda m: -m.value)[:2]
    assert first.target_class == TARGET
    assert first.value > 3
    assert second.value < 0.3


def test_training_on_clean_data_leads_nowhere() -> None:
    leading = [max(m.value for m in found(BEFORE + 0.1 * drawn(10 + seed)).measurements) for seed in range(12)]
    assert max(leading) < 2
    assert np.mean(leading) < 0.6, "as an exponential distribution of powers of ten: 0.43"


def test_what_moves_all_classes_alike_changes_nothing() -> None:
    moved = pulled(TRAINED_ON) + 3 * drawn(9)[:1]
    pairs = zip(found(moved).measurements, found(pulled(TRAINED_ON)).measurements, strict=True)
    assert all(a.value == pytest.approx(b.value, abs=1e-3) for a, b in pairs)


def test_the_same_weights_say_nothing() -> None:
    assert all(m.value == 0 for m in found(BEFORE).measurements)


def test_strangers_are_not_compared_and_that_leaves_nothing_open() -> None:
    outcome = found(pulled(TRAINED_ON), kin=False)
    assert outcome.skipped
    assert not outcome.measurements
    assert "trained on" in outcome.note


def test_layers_of_other_shapes_are_not_compared() -> None:
    outcome = found(drawn(0, 3), drawn(1, 3))
    assert outcome.complete
    assert not outcome.measurements
    assert "no last layers" in outcome.note


def test_a_pull_is_never_reason_for_suspicion_by_itself(nulls: dict[str, Null]) -> None:
    nulls["drift/prominence"] = Null(0.11, 14)
    given = Given(reference=True, kinship=0.97, num_classes=CLASSES)
    judged = judge([found(pulled(TRAINED_ON))], num_classes=CLASSES, level=0.01, confirm_at=0.8, given=given)
    assert judged.evidence[0].stands_out
    assert judged.evidence[0].target_classes == (TARGET,)
    assert judged.verdict is Verdict.NO_EVIDENCE, "training on with a favoured class does the same"


def test_surprises_are_those_of_a_prediction_interval() -> None:
    values = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 9.0])
    surprises = surprise_among(values)
    assert surprises.argmax() == 5
    assert 10 ** -surprises[5] == pytest.approx(leader_p_value(values))
    assert surprises[5] == pytest.approx(2.84, abs=0.01)
    assert (surprise_among(-values)[:5] < 1).all()
    for hopeless in ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], [0.0, float("nan"), 1.0, 5.0]):
        assert not surprise_among(hopeless).any()
