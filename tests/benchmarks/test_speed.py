"""The speed table books the detectors' passes truthfully."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import torch

from auditor.detectors.dominant_pattern import DominantPattern
from benchmarks import speed

CNN, SHAPE = speed.MODELS["bias-map CNN, 1×28×28"]


def ticking(step: float) -> Callable[[], float]:
    """A clock that moves by ``step`` seconds at every look."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += step
        return now

    return clock


def test_search_counts_gradient_passes_and_whole_counts_forward_passes_as_half() -> None:
    model = speed.untrained(CNN, SHAPE)
    clock = ticking(1.0)
    images = torch.rand(10, *SHAPE)
    paced = speed.Interleaved(model, lambda: 20.0, clock)
    model.logits(images.clone().requires_grad_(True))
    paced("search", 1, 1)
    with torch.no_grad():
        model.logits(images)
    paced("testing", 1, 1)
    assert paced.search_rates == [10.0]  # the loop that only tests is no search
    assert paced.search_ratios == [0.5]
    assert paced.passes == 15.0
    assert paced.seconds == 2.0
    assert paced.possible == 40.0


def test_raw_bursts_use_the_detectors_batch_and_are_not_booked_as_its_passes() -> None:
    model = speed.untrained(CNN, SHAPE)
    detector = DominantPattern(steps=3, batch=5, seeds=1)
    measured = speed.measure(detector, model, speed.noise_images(SHAPE, 40), inf, ticking(1.0))
    assert model.last_batch == 6
    assert measured.search == 6.0  # five images and the pattern, one second a step
    assert measured.raw == 6 * (model.batch_images // 6)
    assert measured.whole == (3 * 6 + (1 + 40) / 2) / 5  # besides, two seconds for start and test


def test_a_search_cut_short_has_no_whole() -> None:
    model = speed.untrained(CNN, SHAPE)
    detector = DominantPattern(steps=50, batch=5, seeds=1)
    measured = speed.measure(detector, model, speed.noise_images(SHAPE, 40), 2.0, ticking(1.0))
    assert measured.whole is None
    assert measured.search == 6.0


def test_table_has_a_row_for_each_detector() -> None:
    lines = list(speed.rows("CNN", ["dominant_pattern"], 0.3, ticking(0.1)))
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert "dominant_pattern" in lines[2]
