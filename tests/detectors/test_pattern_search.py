"""The engine of Algorithm 1, every formula against autograd or numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, SHAPE, Patched, Templates, draw_images, make_classifier, untied
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.detectors.pattern_search import (
    Jobs,
    SearchPlan,
    _total_variation_gradient,
    cut,
    cut_window,
    eligible,
    leading_jobs,
    margins,
    mixed_gradient,
    rungs,
    search,
    target_margin,
    usual_margin,
)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Formulas are compared digit by digit: without bfloat16, which the searches otherwise use where they can."""
    monkeypatch.setattr("auditor.classifier.has_bfloat16", lambda device: False)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def paper_loss(
    model: Classifier, images: Tensor, mask: Tensor, canvas: Tensor, target: int, alpha: float, beta: float = 0.0
) -> Tensor:
    """Eqs. 1 to 3, word for word: mean of −log f_y(m·x_c + (1 − m)·x_n), + α‖m‖₁/n + β‖∇m‖₂."""
    mixed = mask * canvas + (1 - mask) * images
    log_f = model.logits(mixed).log_softmax(1)[:, target]
    dy, dx = mask[1:] - mask[:-1], mask[:, 1:] - mask[:, :-1]
    variation = (dy.square().sum() + dx.square().sum() + 1e-12).sqrt()
    return -log_f.mean() + alpha * mask.abs().sum() / mask.numel() + beta * variation


def test_gradient_of_the_mixed_image_against_autograd() -> None:
    """Formed by hand from ∂/∂x, the gradients of mask and canvas are those of Eq. 1."""
    model = make_classifier(Patched())
    images, _ = draw_images(12)
    sources = images.view(2, 6, *SHAPE)
    masks, canvases = torch.rand(2, 12, 12, generator=rng(1)), torch.rand(2, *SHAPE, generator=rng(2))
    targets = torch.tensor([3, 0])
    wanted = targets.repeat_interleave(6)
    gradient, losses = mixed_gradient(
        model, sources, masks, canvases, lambda logits: F.cross_entropy(logits, wanted, reduction="none")
    )
    by_hand_mask = (gradient * (canvases.unsqueeze(1) - sources)).sum((1, 2)) / 6
    by_hand_canvas = (gradient * masks[:, None, None]).sum(1) / 6
    for job in range(2):
        mask, canvas = masks[job].clone().requires_grad_(), canvases[job].clone().requires_grad_()
        loss = paper_loss(model, sources[job], mask, canvas, int(targets[job]), alpha=0.0)
        of_mask, of_canvas = torch.autograd.grad(loss, (mask, canvas))
        assert losses[job] == pytest.approx(loss.item(), rel=1e-4)
        torch.testing.assert_close(by_hand_mask[job], of_mask, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(by_hand_canvas[job], of_canvas, rtol=1e-3, atol=1e-6)


def test_total_variation_gradient_against_autograd() -> None:
    mask = torch.rand(2, 12, 12, generator=rng(3)).double()
    ours = _total_variation_gradient(mask)
    for job in range(2):
        one = mask[job].numpy()

        def variation(m: np.ndarray) -> float:
            return float(np.sqrt((np.diff(m, axis=0) ** 2).sum() + (np.diff(m, axis=1) ** 2).sum()))

        numeric = np.zeros_like(one)
        for y, x in np.ndindex(*one.shape):
            up, down = one.copy(), one.copy()
            up[y, x] += 1e-5
            down[y, x] -= 1e-5
            numeric[y, x] = (variation(up) - variation(down)) / 2e-5
        np.testing.assert_allclose(ours[job].numpy(), numeric, atol=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.0), (10.0, 0.0), (0.2, 3.0)])
@pytest.mark.parametrize("learned", [False, True])
def test_search_is_sign_descent_on_the_papers_loss(alpha: float, beta: float, learned: bool) -> None:
    """Four steps of Algorithm 1, written again with autograd, on the one image that there is to draw."""
    model = make_classifier(untied(Templates()))
    image, labels = draw_images(1)
    start = torch.rand(1, *SHAPE, generator=rng(4))
    plan = SearchPlan(batch=2, mask_step=0.03, canvas_step=0.05, alpha=alpha, beta=beta)
    done = search(model, image, labels, Jobs(torch.tensor([3]), start, learned), plan, rng(), range(4))
    mask, canvas = torch.full((12, 12), 0.5), start[0]
    for _ in range(4):
        m, c = mask.clone().requires_grad_(), canvas.clone().requires_grad_()
        of_mask, of_canvas = torch.autograd.grad(paper_loss(model, image, m, c, 3, alpha, beta), (m, c))
        mask = (mask - 0.03 * of_mask.sign()).clamp(0, 1)
        canvas = (canvas - 0.05 * of_canvas.sign()).clamp(0, 1) if learned else canvas
    assert done.masks is not None
    assert done.masks.std() > 0.005
    torch.testing.assert_close(done.masks[0], mask)
    torch.testing.assert_close(done.canvases[0], canvas)


def test_mask_and_canvas_are_clipped() -> None:
    model = make_classifier(Patched())
    images, labels = draw_images(10)
    jobs = Jobs(torch.arange(CLASSES), torch.rand(CLASSES, *SHAPE, generator=rng()), learned=True)
    done = search(model, images, labels, jobs, SearchPlan(4, 0.4, 0.4, 0.2, 0.0), rng(), range(6))
    assert done.masks is not None
    for values in (done.masks, done.canvases):
        assert values.min() >= 0
        assert values.max() <= 1
        assert (values == 0).any()
    assert (done.canvases == 1).any()


def test_a_large_alpha_empties_the_mask() -> None:
    model = make_classifier(Templates())
    images, labels = draw_images(10)
    jobs = Jobs(torch.tensor([0]), torch.ones(1, *SHAPE), learned=False)
    none = search(model, images, labels, jobs, SearchPlan(4, 0.04, 0.0, 1e5, 0.0), rng(), range(20))
    assert none.masks is not None
    assert none.masks.max() == 0


def test_a_fixed_canvas_stays_and_a_step_of_zero_keeps_the_mask() -> None:
    model = make_classifier(Patched())
    images, labels = draw_images(10)
    start = torch.rand(1, *SHAPE, generator=rng())
    fixed = search(
        model, images, labels, Jobs(torch.tensor([3]), start, False), SearchPlan(4, 0.1, 0.5, 0.2, 0), rng(), range(3)
    )
    assert torch.equal(fixed.canvases, start)
    plan = SearchPlan(4, 0.0, 0.1, 0.2, 0, mask_start=0.15)
    held = search(model, images, labels, Jobs(torch.tensor([3]), start, True), plan, rng(), range(3))
    assert held.masks is not None
    assert (held.masks == torch.tensor(0.15)).all()
    assert not torch.equal(held.canvases, start)


def test_jobs_do_not_influence_each_other() -> None:
    """Searching classes together gives what searching with other neighbours gives, and in chunks the same."""
    model = make_classifier(Patched())
    image, labels = draw_images(1)
    canvases = torch.rand(CLASSES, *SHAPE, generator=rng())
    plan = SearchPlan(4, 0.04, 0.02, 0.2, 0.0)
    together = search(model, image, labels, Jobs(torch.arange(CLASSES), canvases, True), plan, rng(), range(5))
    alone = search(model, image, labels, Jobs(torch.tensor([3]), canvases[3:4], True), plan, rng(9), range(5))
    assert together.masks is not None
    assert alone.masks is not None
    torch.testing.assert_close(together.masks[3], alone.masks[0])
    torch.testing.assert_close(together.of(3)[0][1], alone.of(3)[0][1])


def test_many_jobs_go_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = draw_images(20)
    canvases = torch.rand(CLASSES, *SHAPE, generator=rng())
    plan = SearchPlan(4, 0.04, 0.02, 0.2, 0.0)
    jobs = Jobs(torch.arange(CLASSES), canvases, True)
    whole = search(make_classifier(Patched()), images, labels, jobs, plan, rng(), range(4))
    monkeypatch.setattr(Classifier, "batch_images", property(lambda self: 8))
    model = make_classifier(Patched())
    pieces = search(model, images, labels, jobs, plan, rng(), range(4))
    assert whole.masks is not None
    assert pieces.masks is not None
    torch.testing.assert_close(whole.masks, pieces.masks)
    assert model.gradient_images == CLASSES * 4 * 4  # J · steps · batch


def test_screening_goes_on_with_the_classes_of_lowest_loss() -> None:
    """Of five classes only the planted target nears its goal; after the screening the others stand still."""
    images, labels = draw_images(30)
    jobs = Jobs(torch.arange(CLASSES), torch.rand(CLASSES, *SHAPE, generator=rng()), True)
    model = make_classifier(Patched())
    screened = SearchPlan(4, 0.04, 0.02, 0.2, 0.0, screen_after=10, screen_keep=2)
    done = search(model, images, labels, jobs, screened, rng(), range(16))
    assert model.gradient_images == 4 * (10 * CLASSES + 6 * 2)
    assert len(done.kept) == 2
    assert 3 in done.kept
    unscreened = SearchPlan(4, 0.04, 0.02, 0.2, 0.0)
    short = search(make_classifier(Patched()), images, labels, jobs, unscreened, rng(), range(10))
    whole = search(make_classifier(Patched()), images, labels, jobs, unscreened, rng(), range(16))
    assert done.masks is not None
    assert short.masks is not None
    assert whole.masks is not None
    for k in range(CLASSES):
        torch.testing.assert_close(done.masks[k], (whole if k in done.kept else short).masks[k])
    assert whole.kept == set(range(CLASSES))


def test_a_class_is_screened_by_its_best_job() -> None:
    losses, targets = torch.tensor([5.0, 0.1, 2.0, 2.0, 1.0, 9.0]), torch.tensor([0, 0, 1, 1, 2, 2])
    assert leading_jobs(losses, targets, 1).tolist() == [0, 1]
    assert leading_jobs(losses, targets, 2).tolist() == [0, 1, 4, 5]
    assert leading_jobs(losses, targets, 9).tolist() == [0, 1, 2, 3, 4, 5]


def test_eligible_images() -> None:
    classes = torch.tensor([0, 1, 2, 1, 0])
    assert eligible(classes, 1).tolist() == [0, 2, 4]
    assert eligible(classes, 1, source=0).tolist() == [0, 4]
    assert eligible(torch.tensor([1, 1]), 1).tolist() == [0, 1]
    assert eligible(classes, 1, source=7).tolist() == [0, 1, 2, 3, 4]


def test_only_images_of_the_source_are_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images filled with their class number betray which were drawn."""
    seen: list[Tensor] = []
    monkeypatch.setattr(
        "auditor.detectors.pattern_search.mixed_gradient",
        lambda model, sources, mask, canvas, loss: (
            seen.append(sources) or torch.zeros_like(sources), torch.zeros(len(mask))
        ),
    )
    labels = torch.arange(40) % CLASSES
    images = (labels / 10).view(-1, 1, 1, 1).expand(-1, *SHAPE)
    jobs = Jobs(torch.tensor([3, 0]), torch.zeros(2, *SHAPE), True, sources=torch.tensor([1, 2]))
    plan = SearchPlan(6, 0.04, 0.02, 0.2, 0.0)
    search(make_classifier(Templates()), images, labels, jobs, plan, rng(), range(5))
    drawn = torch.stack(seen)  # (steps, jobs, batch, C, H, W)
    assert torch.unique(drawn[:, 0]).tolist() == pytest.approx([0.1])
    assert torch.unique(drawn[:, 1]).tolist() == pytest.approx([0.2])
    seen.clear()
    search(make_classifier(Templates()), images, labels, Jobs(torch.tensor([3]), jobs.canvases[:1], True), plan,
           rng(), range(30))  # fmt: skip
    assert torch.unique(torch.stack(seen)).tolist() == pytest.approx([0.0, 0.1, 0.2, 0.4])


@pytest.mark.parametrize(("size", "pixels"), [(1e-4, 1), (0.01, 1), (0.05, 7), (0.5, 72), (1.0, 144)])
def test_cut_keeps_the_strongest_pixels(size: float, pixels: int) -> None:
    masks = torch.rand(3, 12, 12, generator=rng())
    kept = cut(masks, size)
    assert set(kept.unique().tolist()) <= {0.0, 1.0}
    assert (kept.sum((1, 2)) == pixels).all()
    for mask, one in zip(masks, kept, strict=True):
        assert mask[one == 1].min() == mask.flatten().sort(descending=True).values[pixels - 1]


@pytest.mark.parametrize(("size", "side"), [(1e-4, 1), (0.01, 1), (0.02, 2), (0.035, 2), (0.0625, 3), (1.0, 12)])
def test_window_holds_the_most_mask(size: float, side: int) -> None:
    masks = torch.rand(4, 12, 12, generator=rng())
    windows = cut_window(masks, size)
    assert (windows.sum((1, 2)) == side**2).all()
    for mask, window in zip(masks.numpy(), windows.numpy(), strict=True):
        sums = {
            (y, x): mask[y : y + side, x : x + side].sum() for y, x in np.ndindex(13 - side, 13 - side)
        }
        (y, x) = max(sums, key=lambda place: sums[place])
        assert window[y : y + side, x : x + side].all()


def test_a_window_on_oblong_images() -> None:
    mask = torch.zeros(1, 6, 20)
    mask[0, 3:5, 17:19] = 1
    assert torch.equal(cut_window(mask, 4 / 120), mask)
    assert cut_window(mask, 1.0).sum() == 36


def test_margins_of_logits() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]])
    assert target_margin(logits, 0).tolist() == [0.5, -4.0]
    assert target_margin(logits, 1).tolist() == [-2.0, 3.0]
    assert logits.tolist() == [[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]]


def test_margin_above_zero_means_the_answer_changed() -> None:
    model = make_classifier(Patched())
    images, _ = draw_images(20)
    mask, pattern = torch.rand(12, 12, generator=rng(5)), torch.rand(*SHAPE, generator=rng(6))
    answers = model.predict((1 - mask) * images + mask * pattern)
    for target in range(CLASSES):
        assert torch.equal(margins(model, images, mask, pattern, target) > 0, answers == target)


def test_usual_margin_is_the_median_of_top_minus_second() -> None:
    model = make_classifier(Templates())
    images, _ = draw_images(21)
    with torch.no_grad():
        ranked = np.sort(model.logits(images).numpy(), axis=1)
    assert usual_margin(model, images) == pytest.approx(float(np.median(ranked[:, -1] - ranked[:, -2])), rel=1e-4)


def test_the_search_lowers_the_papers_loss() -> None:
    model = make_classifier(Patched())
    images, labels = draw_images(40)
    others = images[labels != 3]
    start = torch.rand(1, *SHAPE, generator=rng())
    done = search(model, images, labels, Jobs(torch.tensor([3]), start, True), SearchPlan(8, 0.04, 0.02, 0.2, 0), rng(),
                  range(30))  # fmt: skip
    assert done.masks is not None
    before = paper_loss(model, others, torch.full((12, 12), 0.5), start[0], 3, 0.2)
    after = paper_loss(model, others, done.masks[0], done.canvases[0], 3, 0.2)
    assert after < 0.5 * before
    assert F.cross_entropy(model.logits(others), torch.full((len(others),), 3)) > 10 * after


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(5, {}), (10, {20: 6}), (43, {10: 21, 20: 6}), (100, {5: 50, 10: 25, 15: 12, 20: 6})],
)
def test_many_classes_are_halved_on_the_way(classes: int, expected: dict[int, int]) -> None:
    assert rungs(classes, 6, 20) == expected


def test_the_cost_of_screening_grows_slower_than_the_classes() -> None:
    def spent(classes: int) -> int:
        left, total, screens = classes, 0, rungs(classes, 6, 20)
        for step in range(60):
            left = screens.get(step, left)
            total += left
        return total

    costs = [spent(k) for k in (10, 43, 200, 1000)]
    assert all(b / a < r for a, b, r in zip(costs, costs[1:], (4.3 / 2, 200 / 43 / 1.5, 5 / 1.2), strict=False))
    assert costs[-1] < 15 * costs[0]
