"""Pruning found patterns to the pixels that count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import CLASSES, SHAPE, make_classifier, make_context
from torch import Tensor, nn

from auditor.detectors.iscp import Iscp
from auditor.detectors.pattern_refinement import START, Refined, Refinement, refine, rungs_of
from auditor.detectors.pattern_search import Jobs

TARGET, ROW, COLUMN = 2, 3, 8
ONE = 1 / (SHAPE[1] * SHAPE[2])


class Pixel(nn.Module):
    """Answers TARGET to one bright pixel, and a little to all others; else class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.worth = nn.Parameter(torch.full(SHAPE, 0.01))
        self.worth.data[:, ROW, COLUMN] = 4.0

    def forward(self, images: Tensor) -> Tensor:
        logits = images.new_zeros(len(images), CLASSES)
        logits[:, 0] = 3.0
        logits[:, TARGET] = (images * self.worth).flatten(1).sum(1)
        return logits


def jobs_of(canvas: float) -> Jobs:
    """A search that found every pixel useful: which one counts cannot be told from the mask."""
    canvases = torch.full((2, *SHAPE), canvas)
    masks = torch.ones(2, *SHAPE[1:])
    return Jobs(torch.tensor([TARGET, 1]), canvases, learned=True, masks=masks)


def refined(canvas: float = 0.7, sizes: tuple[float, ...] = (ONE,), windows: tuple[float, ...] = ()) -> Refined:
    model, images = make_classifier(Pixel()), 0.2 * torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(1))
    rng, pools = torch.Generator().manual_seed(0), [torch.arange(12), torch.arange(6)]
    plan = Refinement(steps=3, batch=4, step=0.08)
    before = model.passes
    jobs = jobs_of(canvas)
    assert jobs.masks is not None
    jobs.masks[:, ROW, COLUMN] += 1e-3  # `cut` to a fifth keeps it
    done = refine(model, images, pools, jobs, sizes, windows, plan, rng, rungs_of(sizes))
    assert model.passes - before == 2 * 3 * 4 * (len(rungs_of(sizes)) + len(windows))
    return done


def test_the_pixel_that_counts_is_kept_to_the_last() -> None:
    found = refined(sizes=(ONE, 0.05))
    assert found.masks.shape == (2, 2, *SHAPE[1:])
    assert found.patterns.shape == (2, 2, *SHAPE)
    assert found.masks[0, 0].nonzero().tolist() == [[ROW, COLUMN]]
    assert found.masks[0, 1, ROW, COLUMN] == 1
    assert found.masks[0, 1].sum() == round(0.05 * 144)


def test_patterns_move_to_where_few_pixels_do_as_much() -> None:
    found = refined(canvas=0.5, windows=(ONE,))
    assert (found.patterns[0, 0, :, ROW, COLUMN] > 0.9).all()
    assert ((found.patterns >= 0) & (found.patterns <= 1)).all()
    assert found.masks[0, 1].nonzero().tolist() == [[ROW, COLUMN]]  # the window with the most mask


def test_pruning_goes_down_step_by_step() -> None:
    assert rungs_of((0.0025, 0.01)) == [0.1, 0.06, 0.035, 0.02, 0.01, 0.0025]
    assert rungs_of((0.05,)) == [0.1, 0.06, 0.05]
    assert rungs_of((0.5,)) == [0.5]
    assert rungs_of((0.01,))[0] < START


@pytest.mark.parametrize(("refine_on", "made", "asked"), [
    ("never", True, False), ("impressions", True, True), ("impressions", False, False), ("always", False, True),
])  # fmt: skip
def test_when_patterns_are_refined(refine_on: str, made: bool, asked: bool) -> None:
    ctx = make_context(Pixel())
    ctx = replace(ctx, images=replace(ctx.images, made=made))
    sizes = {"sizes": (ONE,), "windows": (ONE,), "curve": (ONE,), "steps": 4, "screen": 2, "reprieve": 0}
    plain = list(Iscp(**sizes, refine="never").detect(ctx))  # type: ignore[arg-type]
    spent = ctx.model.passes
    list(Iscp(**sizes, refine=refine_on).detect(replace(ctx, rng=torch.Generator().manual_seed(0))))  # type: ignore[arg-type]
    assert len(plain) == CLASSES
    assert (ctx.model.passes - spent > spent + 3 * 16) == asked
