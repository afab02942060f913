"""A shift of features: on networks in which one channel decides for a class, and on those in which none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tiny_models import make_classifier
from torch import Tensor, nn

from auditor.classifier import Classifier
from auditor.context import Context, SearchImages
from auditor.detectors.features import Features
from auditor.findings import ImageFacts, Measurement
from auditor.measuring import measure
from auditor.outliers import prominence

CLASSES, TARGET, OTHER = 5, 3, 1
SHAPE = (CLASSES, 8, 8)


class Planes(nn.Module):
    """Class k answers to plane k of the image; behind a channel that is dark on ordinary images, to ``favoured``."""

    def __init__(self, favoured: Sequence[int] = ()) -> None:
        super().__init__()
        self.inner = nn.Conv2d(CLASSES, CLASSES + 2, 1, bias=False)
        self.inner.weight.data = torch.eye(CLASSES + 2, CLASSES)[:, :, None, None]
        self.last = nn.Linear(CLASSES + 2, CLASSES, bias=False)
        weight = torch.zeros(CLASSES, CLASSES + 2)
        weight[:, :CLASSES] = 10 * torch.eye(CLASSES)
        for number, target in enumerate(favoured):
            weight[target, CLASSES + number] = 40
        self.last.weight.data = weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.inner(x)).mean((2, 3)))


def images_of(model: Classifier, count: int = 100) -> SearchImages:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    x = 0.3 * torch.rand(count, *SHAPE, generator=rng)
    x[torch.arange(count), labels] += 0.6
    half = count // 2
    facts = ImageFacts(source="test", count=count, held_out=half, labelled=False)
    return SearchImages(x[:half], model.predict(x[:half]), x[half:], model.predict(x[half:]), facts)


def context(network: nn.Module, reference: nn.Module | None = None) -> Context:
    model = make_classifier(network, shape=SHAPE)
    theirs = None if reference is None else make_classifier(reference, shape=SHAPE)
    return Context(model, images_of(model), torch.Generator().manual_seed(1), reference=theirs)


def found(
    network: nn.Module, reference: nn.Module | None = None, screen: int = 12, against_reference: int = 6
) -> tuple[float, tuple[int, ...], list[Measurement]]:
    settings = Features(screen=screen, against_reference=against_reference)
    outcome, _ = measure("features", settings, context(network, reference))
    assert outcome.complete
    assert [m.target_class for m in outcome.measurements] == list(range(CLASSES))
    values = [m.value for m in outcome.measurements]
    return *prominence(values), list(outcome.measurements)


def test_the_favoured_class_leads_and_on_a_clean_network_none_does() -> None:
    lead, leaders, measurements = found(Planes((TARGET,)))
    assert lead > 0.15
    assert leaders == (TARGET,)
    assert measurements[TARGET].extras["share of images, mean over lengths"] > 0.5
    assert found(Planes())[0] < 0.05


def test_two_targets_share_the_lead() -> None:
    lead, leaders, _ = found(Planes((TARGET, OTHER)))
    assert lead > 0.08
    assert set(leaders) == {TARGET, OTHER}


def test_what_the_reference_shows_as_well_is_taken_off() -> None:
    lead, _, measurements = found(Planes((TARGET,)), Planes((TARGET,)))
    assert lead < 0.05
    assert measurements[TARGET].extras["the same on the reference"] > 0.5
    assert found(Planes((TARGET,)), Planes())[0] > 0.15


def test_classes_not_searched_on_the_reference_do_not_rise_above_those_that_were() -> None:
    _, _, measurements = found(Planes((TARGET, OTHER)), Planes((TARGET, OTHER)), against_reference=1)
    searched = [m for m in measurements if "the same on the reference" in m.extras]
    assert len(searched) == 1
    assert max(m.value for m in measurements) < 0.05


def test_a_reference_without_places_leaves_nothing_to_compare_with() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(320, CLASSES))
    outcome, _ = measure("features", Features(), context(Planes((TARGET,)), flat))
    assert outcome.complete
    assert not outcome.measurements
    assert "the reference" in outcome.note
    outcome, _ = measure("features", Features(against_reference=0), context(Planes((TARGET,)), flat))
    assert len(outcome.measurements) == CLASSES


def test_a_class_that_all_images_show_turns_none() -> None:
    ctx = context(Planes((TARGET,)))
    alike = torch.full_like(ctx.images.held_out_classes, TARGET)
    ctx = replace(ctx, images=replace(ctx.images, search_classes=alike, held_out_classes=alike))
    outcome, _ = measure("features", Features(), ctx)
    assert outcome.measurements[TARGET].extras["share of images, mean over lengths"] == 0


def test_of_many_classes_only_the_leading_ones_are_searched_to_the_end() -> None:
    lead, leaders, _ = found(Planes((TARGET,)), screen=2)
    assert lead > 0.15
    assert leaders == (TARGET,)
    passes = []
    for screen in (2, 0):  # shifts that turn nothing, so that none ends early
        ctx = context(Planes((TARGET,)))
        measure("features", Features(screen=screen, reaches=(0.001,) * 7), ctx)
        passes.append(ctx.passes)
    assert passes[0] < 0.75 * passes[1]


def test_networks_without_places_are_left_out_and_not_unfinished() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(320, CLASSES))
    outcome, _ = measure("features", Features(), context(network))
    assert outcome.complete
    assert not outcome.measurements
    assert outcome.note.startswith("the suspect: no activation layer")


@pytest.mark.parametrize("seed", [2, 3])
def test_the_same_seed_gives_the_same_numbers(seed: int) -> None:
    runs = []
    for _ in range(2):
        ctx = replace(context(Planes((TARGET,))), rng=torch.Generator().manual_seed(seed))
        runs.append([m.value for m in Features(steps=3).detect(ctx)])
    assert runs[0] == runs[1]
