"""A class whose weights in the last layer stand apart, alone and beside a reference's."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import CLASSES, Perceptron, draw_images, make_context
from torch import Tensor, nn

from auditor.detectors.head import FEWEST, Head
from auditor.measuring import measure

WIDE = 12
TRUSTING = Head(favoured=0)


class Wide(nn.Module):
    """Many classes, and features that are all used; ``lifts`` are added to the classes' weights of some of them."""

    def __init__(self, seed: int, lifts: Tensor | float = 0.0, classes: int = WIDE) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(draw_images(1)[0].shape[1], 64, 3)
        self.last = nn.Linear(64, classes)
        weight = torch.randn(classes, 64, generator=generator)
        weight += torch.as_tensor(lifts).view(-1, 1) * torch.rand(1, 64, generator=generator)
        self.last.weight.data = weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)).mean((2, 3)))


class Pixels(nn.Module):
    """No layer at all: each class is one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :CLASSES]


def values(network: nn.Module, reference: nn.Module | None = None, head: Head | None = None) -> Tensor:
    outcome, _ = measure("head", head or Head(), make_context(network, reference, classes=WIDE))
    return torch.tensor([m.value for m in outcome.measurements])


def lift(target: int, height: float) -> Tensor:
    return torch.eye(WIDE)[target] * height


def test_a_class_with_larger_weights_stands_apart() -> None:
    found = values(Wide(0, lift(7, 2.0)), head=TRUSTING)
    assert found.argmax() == 7
    assert found[7] > 3
    assert values(Wide(0)).max() < 1.2


def test_by_itself_no_head_is_rarer_than_a_favoured_class() -> None:
    network, other = Wide(0, lift(7, 2.0)), Wide(1)
    assert values(network)[7] == pytest.approx(-math.log10(0.03), abs=0.02)
    assert values(network, head=Head(favoured=0.5))[7] == pytest.approx(-math.log10(0.5), abs=0.01)
    assert values(network, other)[7] > 2  # where the reference does not favour it


def test_what_the_reference_has_as_well_is_no_surprise() -> None:
    frequency = torch.linspace(0, 2, WIDE) ** 2
    both = frequency + lift(3, 2.0)
    alone, beside = values(Wide(1, both), head=TRUSTING), values(Wide(1, both), Wide(2, frequency))
    assert alone[3] < 0.5
    assert beside.argmax() == 3
    assert beside[3] > 2
    assert values(Wide(1, both), Wide(2, frequency), head=Head(compare=False, favoured=0)) == pytest.approx(alone)


def test_a_copy_is_not_set_beside_its_parent() -> None:
    suspect, parent = Wide(3), Wide(3, lift(5, 0.5))
    assert values(suspect, parent) == pytest.approx(values(suspect))


def test_one_weight_beyond_all_others_counts_as_far_as_the_clip() -> None:
    network = Wide(4)
    network.last.weight.data[2, 9] = 1e6
    assert values(network, head=TRUSTING)[2] < 1.5
    assert values(network, head=Head(clip=1e6, favoured=0))[2] > 10


def test_a_weight_is_so_many_standard_deviations_of_the_other_classes() -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(2)).double()
    expected = []
    for target in range(6):
        others = torch.cat([weight[:target], weight[target + 1 :]])
        distance = (weight[target] - others.mean(0)) / others.std(0, correction=0)
        expected.append(float(distance.clamp(-3, 3).mean()))
    assert Head()._levels(weight) == pytest.approx(expected)


def test_weights_are_set_beside_those_of_the_same_feature() -> None:
    network, scaled = Wide(6, lift(1, 1.0)), Wide(6, lift(1, 1.0))
    scaled.last.weight.data *= torch.linspace(0.01, 100, 64)
    scaled.last.weight.data += torch.linspace(-50, 50, 64)
    assert values(scaled) == pytest.approx(values(network), rel=1e-3, abs=1e-3)


def test_an_unused_feature_counts_nothing() -> None:
    network = Wide(8, lift(1, 1.0))
    network.last.weight.data[:, 5] = 0.3
    assert torch.isfinite(values(network)).all()


@pytest.mark.parametrize(
    ("network", "classes", "why"),
    [
        (Wide(0, classes=FEWEST - 1), FEWEST - 1, "fewer than four classes"),
        (Perceptron(), CLASSES, "dense layers see the image's layout, and not pooled features"),
        (Pixels(), CLASSES, "found no last layer with one row a class"),
    ],
)
def test_it_says_why_it_measures_nothing(network: nn.Module, classes: int, why: str) -> None:
    outcome, _ = measure("head", Head(), make_context(network, classes=classes))
    assert not outcome.measurements
    assert outcome.note == why


def test_a_handful_of_classes_is_measured() -> None:
    outcome, _ = measure("head", Head(), make_context(Wide(0, classes=FEWEST), classes=FEWEST))
    assert len(outcome.measurements) == FEWEST
