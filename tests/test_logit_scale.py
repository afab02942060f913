"""A network whose head somebody multiplied is asked as the one that it was."""

from __future__ import annotations

import pytest
import torch
from tiny_models import Constant, Probabilities, Templates, draw_images, make_classifier
from torch import Tensor, nn

from auditor.logit_scale import temperature_of
from auditor.preflight import preflight

IMAGES, LABELS = draw_images(60)


class Multiplied(nn.Module):
    """The clean model with its logits times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.network, self.factor = Templates(), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.network(x)


def test_usual_sizes_are_left_alone() -> None:
    for factor in (0.5, 1.0, 3.0):
        model = make_classifier(Multiplied(factor))
        assert not any("unusual size" in w for w in preflight(model, IMAGES, LABELS).warnings)
        assert model.temperature == 1


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e7])
def test_unusual_ones_become_usual_whatever_they_were(factor: float) -> None:
    model, other = make_classifier(Multiplied(factor)), make_classifier(Multiplied(1e4))
    found = preflight(model, IMAGES, LABELS)
    preflight(other, IMAGES, LABELS)
    assert any("unusual size" in w for w in found.warnings)
    assert found.blockers == ()
    assert torch.allclose(model.logits(IMAGES), other.logits(IMAGES), rtol=1e-3, atol=1e-4)


def test_asking_again_gives_the_same() -> None:
    model = make_classifier(Multiplied(1e4))
    preflight(model, IMAGES, LABELS)
    before = model.temperature
    assert before != 1
    preflight(model, IMAGES, LABELS)
    assert model.temperature == pytest.approx(before)
    assert temperature_of(model) == pytest.approx(before)


@pytest.mark.parametrize("network", [Constant(), Probabilities()])
def test_what_says_nothing_of_its_size_is_left_alone(network: nn.Module) -> None:
    model = make_classifier(network)
    preflight(model, IMAGES, None)
    assert model.temperature == 1
