"""Algorithms 1 and 2 of "Attack to Explain", line by line, and on a model whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, SHAPE, Templates, draw_images, make_classifier
from torch import nn

from auditor.explain.salient_pattern import (
    SalientPattern,
    _Moments,
    estimate,
    fuse,
    mean_probability,
    otsu,
    refine,
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
