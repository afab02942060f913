"""A network whose head somebody multiplied is asked as the one that it was; one that knows nothing is not asked."""

from __future__ import annotations

import pytest
import torch
from tiny_models import Constant, Probabilities, Templates, draw_images, make_classifier
from torch import Tensor, nn

from auditor.first_look import first_look, is_untouched
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
    assert first_look(model).temperature == pytest.approx(before)


@pytest.mark.parametrize("network", [Constant(), Probabilities()])
def test_what_says_nothing_of_its_size_is_left_alone(network: nn.Module) -> None:
    model = make_classifier(network)
    preflight(model, IMAGES, None)
    assert model.temperature == 1


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_network_is_not_judged(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip
    (blocker,) = preflight(make_classifier(network), IMAGES).blockers
    assert "as torch makes it, so it is untrained" in blocker
    with torch.no_grad():
        network[-1].weight[0] *= 2  # another start
    (blocker,) = preflight(make_classifier(network), IMAGES).blockers
    assert "nearly the same scores to every picture" in blocker
    assert preflight(make_classifier(Templates()), IMAGES).blockers == ()


@pytest.mark.parametrize("features", [20, 500])
def test_heads_that_were_trained_are_told_from_untouched_ones(features: int) -> None:
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weight = nn.Linear(features, 10).weight.detach()
    noise = torch.randn(weight.shape, generator=rng) * weight.std()
    assert is_untouched(weight)
    assert is_untouched(nn.init.xavier_uniform_(torch.empty(10, features), generator=rng)) == (features == 500)
    assert not is_untouched(weight + 0.2 * noise)  # hardly trained
    assert not is_untouched(weight * 0.5)
    assert not is_untouched(weight * 0.94)  # evenly spread, though not up to the edge
    assert not is_untouched(noise)
    assert not is_untouched(None)


def test_labelled_images_say_more_of_it() -> None:
    """A network that knows its own images may still be at a loss with procedural pictures."""
    network = nn.Sequential(Templates(), Leaning())
    assert any("same scores" in b for b in preflight(make_classifier(network), IMAGES).blockers)
    assert preflight(make_classifier(network), IMAGES, LABELS).blockers == ()


class Leaning(nn.Module):
    """One class is preferred, though less than what the templates' own images say."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tensor([6.0, 0, 0, 0, 0])
