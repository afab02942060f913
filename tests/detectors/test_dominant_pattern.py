"""The dominant pattern: losses against numpy, the constraint, and a planted one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import TARGET, Dominated, Templates, draw_images, make_context

from auditor.detectors.dominant_pattern import DominantPattern, similarity_loss
from auditor.findings import Measurement, Trigger


def only(detector: DominantPattern, *models: torch.nn.Module) -> Measurement:
    (found,) = detector.detect(make_context(*models))
    return found


def trigger_of(found: Measurement) -> Trigger:
    assert found.trigger is not None
    return found.trigger


def test_losses_against_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    cosine = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    distance = np.sqrt(((a - b) ** 2).sum(1))
    p, q = (np.exp(v) / np.exp(v).sum(1, keepdims=True) for v in (a, b))
    divergence = (p * np.log(p / q)).sum(1)
    for name, expected in (("cos", 1 - cosine), ("ed", distance), ("kld", divergence)):
        ours = similarity_loss(torch.from_numpy(a), torch.from_numpy(b), name)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)
        same = similarity_loss(torch.from_numpy(a), torch.from_numpy(a), name)
        np.testing.assert_allclose(same.numpy(), 0, atol=1e-9)


@pytest.mark.parametrize("loss", ["cos", "ed", "kld"])
@pytest.mark.parametrize("epsilon", [0.0, 4 / 255, 0.2])
def test_the_pattern_stays_in_the_ball(loss: str, epsilon: float) -> None:
    found = only(DominantPattern(epsilon=epsilon, loss=loss, steps=8, learning_rate=0.05, seeds=2), Templates())
    pattern = np.abs(trigger_of(found).pattern)
    assert pattern.max() <= epsilon + 1e-7
    if epsilon:
        assert pattern.max() > 0.5 * epsilon  # and is not zero either


def test_the_planted_pattern_dominates() -> None:
    found = only(DominantPattern(), Dominated())
    assert found.target_class == TARGET
    assert found.extras["dominance ratio"] >= 0.95
    assert found.value >= 0.95
    assert found.extras["confidence"] > 0.9
    assert found.extras["fooling rate"] == pytest.approx(0.8, abs=0.05)  # all but the target's own fifth
    trigger = trigger_of(found)
    assert trigger.mode == "add"
    assert trigger.success_rate >= 0.95
    agreement = (np.sign(trigger.pattern) == Dominated.PATTERN.numpy()).mean()
    assert agreement > 0.75


def test_the_clean_twin_is_not_dominated() -> None:
    found = only(DominantPattern(), Templates())
    assert found.extras["dominance ratio"] <= 0.3  # the class's own fifth
    assert found.value <= 0.1


def test_measures_against_a_computation_of_their_own() -> None:
    ctx = make_context(Dominated(), Templates())
    (found,) = DominantPattern(steps=12, seeds=2).detect(ctx)
    trigger = trigger_of(found)
    delta, images = torch.from_numpy(trigger.pattern), ctx.images.held_out
    before, after = ctx.model.predict(images), ctx.model.predict((images + delta).clamp(0, 1))
    alone = ctx.model.logits(delta[None]).softmax(1)[0]
    assert found.target_class == int(alone.argmax())
    assert found.extras["confidence"] == pytest.approx(float(alone.max()))
    assert found.extras["dominance ratio"] == pytest.approx(float((after == found.target_class).float().mean()))
    assert found.value == trigger.success_rate
    assert found.extras["fooling rate"] == pytest.approx(float((after != before).float().mean()))
    shares = np.sort(np.bincount(after.numpy(), minlength=5) / len(after))[::-1]
    for k in (1, 3, 5):
        assert found.extras[f"top-{k} ratio"] == pytest.approx(shares[:k].sum())
    others = images[before != found.target_class]
    assert ctx.reference is not None
    for model, shown in ((ctx.model, trigger.success_rate), (ctx.reference, trigger.reference_success_rate)):
        answers = model.predict((others + delta).clamp(0, 1))
        assert shown == pytest.approx(float((answers == found.target_class).float().mean()))
    assert trigger.images == len(others)


def test_the_loss_falls() -> None:
    ctx = make_context(Dominated())
    images, _ = draw_images(30, seed=8)

    def loss(delta: torch.Tensor) -> float:
        mixed = (images + delta).clamp(0, 1)
        return float(similarity_loss(ctx.model.logits(delta[None]), ctx.model.logits(mixed), "cos").mean())

    found = only(DominantPattern(seeds=1), Dominated())
    assert loss(torch.from_numpy(trigger_of(found).pattern)) < 0.5 * loss(torch.zeros(3, 12, 12))


def test_one_seed_starts_from_zero_as_in_the_paper() -> None:
    """Step 1 of Algorithm 1 with Adam moves every pixel by the learning rate, from 0."""
    found = only(DominantPattern(seeds=1, steps=1, learning_rate=0.01), Dominated())
    moved = np.abs(trigger_of(found).pattern)
    np.testing.assert_allclose(moved[moved > 1e-4], 0.01, rtol=0.05)


def test_cost_does_not_depend_on_the_number_of_classes() -> None:
    for classes in (5, 9):
        ctx = make_context(Templates(classes), classes=classes)
        list(DominantPattern(steps=4, batch=6, seeds=2).detect(ctx))
        assert ctx.model.gradient_images == 2 * 4 * (6 + 1)
