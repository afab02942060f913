"""Algorithms 1 and 2 of "Attack to Explain", line by line, and on a model whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, SHAPE, Templates, draw_images, make_classifier
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.explain.otsu import otsu
from auditor.explain.salient_pattern import (
    LEAST_BATCH,
    LEAST_SAMPLES,
    LEAST_STEPS,
    PATCH_SHARE,
    Penalty,
    SalientPattern,
    _Moments,
    as_picture,
    energy_inside,
    energy_map,
    estimate,
    fuse,
    mean_probability,
    occluded,
    refine,
    region_around,
    salient_pattern,
)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_gradients_are_fused_as_line_7_says() -> None:
    seed, others = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[[1.0, 0.0]]], [[[0.0, 3.0]]]])
    # ξ = 5 / mean(1, 3) = 2.5; mean gradient (0.5, 1.5)
    assert fuse(seed, others).flatten().tolist() == pytest.approx([1.5 + 1.25 * 0.5, 2.0 + 1.25 * 1.5])


def test_first_step_has_corrected_moments_and_the_better_sign() -> None:
    """At t = 1 bias correction makes ρ the sign of the gradient, and p is that, brought back to η."""
    model, (images, _) = make_classifier(Templates()), draw_images(16)
    plan = SalientPattern(eta=2.0)
    moments = _Moments(torch.zeros(SHAPE), torch.zeros(SHAPE))
    p, after = estimate(model, images[0], images[1:9], images, 3, torch.zeros(SHAPE), moments, plan)
    touched = p[p != 0]
    assert float(p.norm()) == pytest.approx(2.0, abs=1e-4)
    assert touched.abs().max() / touched.abs().min() == pytest.approx(1.0, abs=1e-2)
    assert after == pytest.approx(mean_probability(model, torch.cat([images[:1], images[1:9]]) - p, 3))
    assert after > mean_probability(model, torch.cat([images[:1], images[1:9]]) + p, 3)


def test_otsu_is_the_brute_force_optimum() -> None:
    values = torch.cat([torch.randn(300, generator=rng()) * 0.1, 2 + torch.randn(100, generator=rng()) * 0.2])
    cut = otsu(values)
    numbers = values.numpy()

    def spread(threshold: float) -> float:
        low, high = numbers[numbers <= threshold], numbers[numbers > threshold]
        return sum(len(g) * np.var(g) for g in (low, high) if len(g)) / len(numbers)

    best = min(spread(float(t)) for t in np.linspace(numbers.min(), numbers.max(), 400))
    assert spread(cut) <= best * 1.02
    assert 0.5 < cut < 1.5
    assert otsu(torch.ones(9)) == 1.0


class Bright(nn.Module):
    """Its base lights up where the image is bright in the left half."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(SHAPE[0], 2, 3, padding=1)
        nn.init.constant_(self.conv.weight, 1 / 9)
        nn.init.zeros_(self.conv.bias)
        self.fc = nn.Linear(2, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


def test_refinement_keeps_what_excites_the_base() -> None:
    p = torch.zeros(SHAPE)
    p[:, :, : SHAPE[2] // 2] = 0.2
    p[:, :, SHAPE[2] // 2 :] = -0.2
    finer = refine(make_classifier(Bright()), p, SalientPattern(eta=1000.0))
    assert finer is not None
    assert float(finer[:, :, : SHAPE[2] // 2 - 2].mean()) == pytest.approx(1.0, abs=0.05)  # 5 · 0.2, clipped to 1
    assert finer[:, :, SHAPE[2] // 2 + 3 :].abs().max() < 1e-6


def test_without_maps_there_is_no_refinement() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), CLASSES))
    assert refine(make_classifier(flat), torch.rand(SHAPE), SalientPattern()) is None


def test_gamma_is_reached_and_the_norm_kept() -> None:
    model, (images, _) = make_classifier(Templates()), draw_images(40)
    plan = SalientPattern(samples=32, batch=8, steps=60)
    found = salient_pattern(model, images[0], images[1:], 2, plan, rng())
    assert found.probability >= plan.gamma
    assert float(found.perturbation.norm()) <= plan.eta * (1 + 1e-4)
    again = salient_pattern(model, images[0], images[1:], 2, plan, rng())
    assert torch.equal(found.perturbation, again.perturbation)


def test_the_cost_is_what_the_model_counts() -> None:
    plan = SalientPattern(samples=16, batch=9, steps=7, refine_every=2, gamma=0.01)
    # 7 gradients of 9; 7 · (2 · 16 + 9) looks and 3 refinements, after steps 1, 3 and 5, not after the last
    assert plan.refinements == 3
    assert plan.passes == 63 + 145
    model, (images, _) = make_classifier(Bright()), draw_images(20)
    assert salient_pattern(model, images[0], images[1:], 2, plan, rng()).refined
    assert (model.gradient_images, model.forward_images) == (63, plan.forwards)
    assert model.passes == plan.passes


def test_the_norm_goes_with_the_size_of_the_image() -> None:
    assert SalientPattern().at((3, 224, 224)).eta == pytest.approx(10.0)
    assert SalientPattern().at((3, 32, 32)).eta == pytest.approx(10 / 7)
    assert SalientPattern(to_size=False).at((3, 32, 32)).eta == 10.0


@pytest.mark.parametrize("plan", [SalientPattern(), SalientPattern(steps=1000, samples=20, batch=300, refine_every=70)])
def test_an_affordable_plan_fills_its_budget_and_no_more(plan: SalientPattern) -> None:
    for budget in (plan.passes - 1, 20_000, 5_000, 1_000):
        smaller = plan.affordable(budget)
        assert smaller is not None
        assert 0.85 * budget <= smaller.passes <= budget
        assert (smaller.gamma, smaller.eta) == (plan.gamma, plan.eta)
        assert abs(smaller.refinements - plan.refinements) <= plan.refinements / 2
    assert plan.affordable(plan.passes) is plan


def test_there_is_a_least_useful_plan() -> None:
    least = SalientPattern().affordable(564)
    assert least is not None
    assert (least.steps, least.samples, least.batch) == (LEAST_STEPS, LEAST_SAMPLES, LEAST_BATCH)
    assert (least.refine_every, least.refinements) == (3, 7)
    assert least.passes == 20 * (8 + 16 + 4) + 4  # 7 refinements, half a pass each
    assert SalientPattern().affordable(563) is None
    assert SalientPattern(steps=5, samples=4, batch=2).affordable(10) is None  # smaller still is asked for, not made
    model, (images, _) = make_classifier(Bright()), draw_images(20)
    salient_pattern(model, images[0], images[1:], 2, least, rng())
    assert model.passes <= 564


def test_an_occluded_region_has_the_mean_colour_in_all_images() -> None:
    images, region = torch.rand(4, 3, 6, 6, generator=rng()), torch.zeros(6, 6, dtype=torch.bool)
    region[1:3, 2:5] = True
    before = images.clone()
    covered = occluded(images, region)
    for channel in range(3):
        mean = float(images[:, channel].mean())
        assert covered[:, channel, 1:3, 2:5].flatten().tolist() == pytest.approx([mean] * 24)
    assert torch.equal(covered[:, :, ~region], images[:, :, ~region])
    assert torch.equal(images, before)


def test_a_region_is_a_rectangle_of_at_least_its_share() -> None:
    mask = torch.zeros(20, 20)
    mask[4, 5], mask[6, 9], mask[19, 19] = 0.8, 1.0, 0.3  # the last is below half the maximum
    tight = region_around(mask, least=0.0)
    assert tight.nonzero().amin(0).tolist() == [4, 5]
    assert tight.nonzero().amax(0).tolist() == [6, 9]
    assert int(tight.sum()) == 3 * 5
    wider = region_around(mask)
    assert 15 / 400 < PATCH_SHARE < 35 / 400
    assert int(wider.sum()) == 5 * 7  # one place more on each side
    assert bool((wider | ~tight).all())
    corner = torch.zeros(20, 20, dtype=torch.bool)
    corner[0, 19] = True
    assert region_around(corner, least=0.5).nonzero().amin(0).tolist() == [0, 5]  # 15 × 15 in the corner
    assert bool(region_around(corner, least=1.0).all())
    assert bool(region_around(torch.zeros(20, 20)).all())


class Waves(nn.Module):
    """Its gradient has the sign that a pixel's own value gives it, so images that differ in a place cancel there."""

    def forward(self, x: Tensor) -> Tensor:
        base = F.avg_pool2d(torch.sin(2 * torch.pi * x), 3)
        return 10 * base.mean((1, 2, 3))[:, None] * F.one_hot(torch.tensor(0), CLASSES)


def test_covering_a_region_draws_the_pattern_there() -> None:
    """Algorithm 1 alone: where all samples agree, the moments add up; elsewhere they cancel (Section 5.1)."""
    model, images = make_classifier(Waves()), torch.rand(80, *SHAPE, generator=rng())
    plan = SalientPattern(samples=32, batch=8, steps=25, eta=1.0, gamma=1.0)
    plain = salient_pattern(model, images[0], images[1:], 0, plan, rng()).perturbation
    for top, left in ((0, 6), (6, 0)):
        region = torch.zeros(SHAPE[1:], dtype=torch.bool)
        region[top : top + 6, left : left + 6] = True
        both = occluded(images, region)
        there = salient_pattern(model, both[0], both[1:], 0, plan, rng()).perturbation
        assert energy_inside(plain, region) < 0.27  # a quarter of the image
        assert energy_inside(there, region) > energy_inside(plain, region) + 0.03
        assert energy_inside(there, region) > energy_inside(there, region.flip(0, 1)) + 0.03


def test_energy_by_hand() -> None:
    p = torch.zeros(2, 2, 2)
    p[:, 0, 0] = torch.tensor([3.0, 4.0])  # 25
    p[0, 1, 1] = -5 / 2  # 6.25
    mask = torch.tensor([[0.1, 0.0], [1.0, 0.0]])
    assert energy_map(p).flatten().tolist() == pytest.approx([1.0, 0.0, 0.0, 0.25])
    assert energy_inside(p, mask) == pytest.approx(25 / 31.25)
    assert energy_inside(p, mask > 0) == pytest.approx(25 / 31.25)
    assert energy_inside(torch.zeros(2, 2, 2), mask) == 0.0


def test_a_picture_shows_what_is_added_to_images() -> None:
    shown = as_picture(torch.tensor([[[2.0, -1.0], [0.0, 0.5]]]))
    assert shown.flatten().tolist() == pytest.approx([0.0, 0.75, 0.5, 0.375])
    assert as_picture(torch.zeros(1, 2, 2)).unique().tolist() == [0.5]


def test_a_penalty_is_part_of_gradient_and_search() -> None:
    """One that outweighs the class turns the step around, though the probability falls."""
    model, (images, _) = make_classifier(Templates()), draw_images(16)
    start, template = torch.zeros(SHAPE), Templates().templates[3].detach()

    def against(p: Tensor) -> Tensor:
        return -1000 * (p * template).mean()

    def step(penalty: Penalty | None) -> Tensor:
        moments = _Moments(torch.zeros(SHAPE), torch.zeros(SHAPE))
        return estimate(model, images[0], images[1:9], images, 3, start, moments, SalientPattern(), penalty)[0]

    assert float((step(None) * template).sum()) < 0  # subtracted, so it adds the template
    assert float((step(against) * template).sum()) > 0
