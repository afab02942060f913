"""Networks and models that are drawn at random: the same ever after, and usable as they are."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from benchmarks import drawn_networks
from benchmarks.catalogue import ENTRIES
from benchmarks.catalogue.drawn import CLASSES, NUMBERS, ORDER, drawn
from benchmarks.drawn_networks import IMAGES, layout, network
from benchmarks.networks import build

DRAWN = [entry for entry in ENTRIES if entry.split == "drawn"]


@pytest.mark.parametrize("number", range(0, 48, 3))
def test_every_layout_answers_images_of_its_kind(number: int) -> None:
    drawn = layout(number)
    for channels, side in IMAGES.values():
        assert network(drawn, 7, channels, side).eval()(torch.zeros(2, channels, side, side)).shape == (2, 7)
    assert drawn == layout(number) != layout(number + 1)


def test_layouts_differ_in_all_that_is_drawn() -> None:
    some = [layout(number) for number in range(60)]
    for field, at_least in (("norm", 3), ("activation", 5), ("smaller", 3), ("hidden", 4), ("kernel", 2), ("skips", 2)):
        assert len({getattr(drawn, field) for drawn in some}) >= at_least, field
    assert 20 <= sum(drawn.pooled for drawn in some) <= 40
    assert all(drawn.norm != "none" for drawn in some if drawn.pooled)


def test_a_factory_is_named_by_images_and_number() -> None:
    grey, colour = (build(f"benchmarks.drawn_networks:{images}_5", 3) for images in IMAGES)
    assert grey.eval()(torch.zeros(1, 1, 28, 28)).shape == colour.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    for name in ("grey_", "grey_x", "blue_3", "__path__"):
        with pytest.raises(AttributeError, match="expected grey_NUMBER"):
            getattr(drawn_networks, name)


def test_each_number_has_a_model_and_a_clean_one_of_the_same_data() -> None:
    by_name = {entry.name: entry for entry in DRAWN}
    assert len(DRAWN) == 2 * len(NUMBERS)
    for number in NUMBERS:
        data = ORDER[number % len(ORDER)]
        first, second = (by_name[f"drawn{number:03}_{data}_{which}"] for which in ("first", "second"))
        assert first.reference == second.name
        assert (second.backdoors, second.kind) == ((), "clean")
        other = by_name[second.reference]
        assert (other.backdoors, other.dataset) == ((), data)
        assert other.architecture != second.architecture
    twins = Counter(by_name[e.reference].architecture == e.architecture for e in DRAWN if e.name.endswith("_first"))
    assert min(twins.values()) >= len(NUMBERS) / 5
    assert set(CLASSES) == set(ORDER)


def test_the_models_are_planted_in_many_ways_and_clean_in_some() -> None:
    firsts = [entry for entry in DRAWN if entry.name.endswith("_first")]
    planted = [entry for entry in firsts if entry.backdoors]
    assert 0.5 <= len(planted) / len(firsts) <= 0.9
    assert len({entry.backdoors[0].name for entry in planted}) >= 6
    assert len({entry.kind for entry in firsts}) >= 3


def test_further_numbers_leave_those_before_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(drawn())
    monkeypatch.setattr("benchmarks.catalogue.drawn.NUMBERS", range(len(NUMBERS) + 30))
    assert list(drawn())[: len(before)] == before
