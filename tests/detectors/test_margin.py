"""The class that some image can push far above all others, alone and beside a reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import draw_images, make_context
from torch import Tensor, nn

from auditor.context import Context
from auditor.detectors.against_reference import FEWEST, FEWEST_TO_COMPARE, surprising
from auditor.detectors.margin import Margin
from auditor.measuring import measure
from auditor.outliers import surprises

CLASSES = 12


class Spread(nn.Module):
    """A linear network; the pixels push each class as far as ``heights`` say."""

    def __init__(self, seed: int, heights: Tensor) -> None:
        super().__init__()
        pixels = draw_images(1, seed=0)[0][0].numel()
        direction = torch.randn(len(heights), pixels, generator=torch.Generator().manual_seed(seed))
        self.last = nn.Linear(pixels, len(heights), bias=False)
        self.last.weight.data = heights.view(-1, 1) * direction / pixels**0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1) - 0.5)


def context(network: nn.Module, reference: nn.Module | None = None, *, made: bool = True) -> Context:
    given = make_context(network, reference, classes=network.last.out_features)
    return replace(given, images=replace(given.images, made=made))


def values(network: nn.Module, reference: nn.Module | None = None, **settings: int) -> Tensor:
    outcome, _ = measure("margin", Margin(**settings), context(network, reference))
    assert outcome.complete
    return torch.tensor([m.value for m in outcome.measurements])


def heights(extra: dict[int, float]) -> Tensor:
    usual = torch.ones(CLASSES)
    for target, more in extra.items():
        usual[target] += more
    return usual


def test_a_class_that_outweighs_all_others_surprises() -> None:
    found = values(Spread(0, heights({4: 3.0})))
    assert found.argmax() == 4
    assert found[4] > 3
    assert values(Spread(0, heights({}))).max() < 2


def test_what_the_reference_reaches_as_well_does_not() -> None:
    both = Spread(0, heights({4: 3.0, 9: 3.0}))
    beside = values(both, Spread(1, heights({9: 3.0})))
    assert beside.argmax() == 4
    assert beside[4] > 2 > 1 > beside[9]


def test_classes_that_are_dropped_on_the_way_get_nothing() -> None:
    found = values(Spread(0, heights({4: 3.0})), leaders=2, others=4)
    assert int((found == 0).sum()) >= CLASSES - 6
    assert found.argmax() == 4


def test_too_few_classes_are_not_measured() -> None:
    outcome, _ = measure("margin", Margin(), context(Spread(0, torch.ones(FEWEST - 1))))
    assert not outcome.measurements
    assert outcome.note == "fewer than four classes"


def test_with_images_it_takes_a_reference() -> None:
    network = Spread(0, torch.ones(CLASSES))
    alone, _ = measure("margin", Margin(), context(network, made=False))
    beside, _ = measure("margin", Margin(), context(network, Spread(1, torch.ones(CLASSES)), made=False))
    assert (len(alone.measurements), alone.passes) == (0, 0)
    assert "reference" in alone.note
    assert len(beside.measurements) == CLASSES


def test_of_few_classes_the_reference_tells_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    few, many = torch.randn(FEWEST_TO_COMPARE - 1, generator=draw), torch.randn(FEWEST_TO_COMPARE, generator=draw)
    assert surprising(few, few.square()) == surprises(few.double().numpy()).tolist()
    line = surprises(many.double().numpy(), many.square().double().numpy())
    assert surprising(many, many.square()) == pytest.approx(line)
    assert surprising(many, None) != pytest.approx(line)
