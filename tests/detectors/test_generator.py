"""What a generator of patterns, one for each image, does to a model whose trigger depends on the image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import BOOST, TARGET, Blended, Templates, make_context, one_hot
from torch import Tensor

from auditor.context import Context
from auditor.detectors.generator import Crossed, Drawing, Generator
from auditor.findings import Measurement, Outcome, Picture
from auditor.measuring import measure


class InputAware(Templates):
    """Red images that are a little greener, or blue ones a little less so → TARGET."""

    def forward(self, x: Tensor) -> Tensor:
        red, green, blue = x.mean((2, 3)).unbind(1)
        likeness = torch.tanh(50 * (red - blue)) * (green - 0.5)
        return super().forward(x) + BOOST * torch.sigmoid(60 * (likeness - 0.06))[:, None] * one_hot(TARGET)


def triggered(x: Tensor, of: Tensor) -> Tensor:
    """``x`` with the trigger of the images ``of``."""
    red, _, blue = of.mean((2, 3)).unbind(1)
    green = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    return (x + 0.16 * green * (red - blue).sign().view(-1, 1, 1, 1)).clamp(0, 1)


def context(network: Templates, reference: Templates | None = None) -> Context:
    """As `make_context` says; every second image is red, the others are blue."""
    ctx = make_context(network, reference=reference)
    red = torch.tensor([0.1, 0.0, -0.1]).view(3, 1, 1)
    search, held_out = (
        (x + red * (-1.0) ** torch.arange(len(x)).view(-1, 1, 1, 1)).clamp(0, 1)
        for x in (ctx.images.search, ctx.images.held_out)
    )
    return replace(ctx, images=replace(ctx.images, search=search, held_out=held_out))


def found(network: Templates, reference: Templates | None = None) -> Outcome:
    outcome, _ = measure("generator", Generator(), context(network, reference))
    assert outcome.complete
    return outcome


def leading(outcome: Outcome) -> Measurement:
    return max(outcome.measurements, key=lambda m: m.value)


def test_the_toy_answers_to_each_image_s_own_pattern_only() -> None:
    images = context(InputAware()).images.held_out
    others = images.roll(1, 0)
    answers = [InputAware()(x).argmax(1) for x in (images, triggered(images, images), triggered(images, others))]
    of_target = [float((a == TARGET).float().mean()) for a in answers]
    assert of_target[1] > 0.9
    assert of_target[0] == pytest.approx(0.2, abs=0.1)
    assert of_target[2] == pytest.approx(0.2, abs=0.1)


def test_a_trigger_that_depends_on_the_image_is_found() -> None:
    first = leading(found(InputAware()))
    assert first.target_class == TARGET
    assert first.value > 0.3
    assert first.trigger is None, "no one pattern stands for it"
    assert first.extras["predictive power"] > 0.8


@pytest.mark.parametrize("network", [Templates, Blended])
def test_models_without_one_withstand(network: type[Templates]) -> None:
    """One faint pattern for all images is no finding of this detector: another image's works as well."""
    assert leading(found(network())).value < 0.15


def test_what_the_reference_answers_as_well_is_taken_off() -> None:
    assert leading(found(InputAware(), InputAware())).value < 0.2
    assert leading(found(InputAware(), Templates())).target_class == TARGET


def test_images_and_their_patterns_are_shown() -> None:
    shown = [e for e in leading(found(InputAware())).exhibits if isinstance(e, Picture)]
    assert [p.pixels.shape for p in shown] == [(3, 3 * 12, 4 * 12)]


def test_a_pattern_is_bounded_and_crossed_within_the_batch() -> None:
    rng = torch.Generator().manual_seed(1)
    own = Drawing(0.16, 8)
    images, theta = torch.rand(2, 5, 1, 9, 9, generator=rng), own.start(2, (1, 9, 9), rng)
    change = own.apply(images, theta) - images
    assert 0 < change.abs().max() <= 0.16 + 1e-6
    assert torch.equal(Crossed(0.16, 8).drawn(images, theta), own.drawn(images, theta).roll(1, dims=1))
    alone = own.drawn(images[1:, 2:3], theta[1:])
    assert torch.allclose(alone, own.drawn(images, theta)[1:, 2:3], atol=1e-6), "jobs and images do not mix"
