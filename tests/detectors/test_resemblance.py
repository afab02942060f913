"""Resemblance of patterns to images whose classes look as they are painted here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import Templates, make_context
from torch import Tensor

from auditor.context import Context, SearchImages
from auditor.detectors.resemblance import resemblance
from auditor.findings import ImageFacts

BAG = 2


@pytest.fixture
def ctx() -> Context:
    """Four classes of grey images 8 × 8, of which the bags alone are lit at the left edge."""
    shown = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.2
    classes = torch.arange(40) % 4
    shown[classes == BAG, :, :, 0] += 0.6
    facts = ImageFacts("by hand", 40, 40, labelled=True)
    images = SearchImages(shown[:20], classes[:20], shown[20:], classes[20:], facts)
    return replace(make_context(Templates()), images=images)


def bar(column: int) -> tuple[Tensor, Tensor]:
    """A white bar of eight pixels: mask and pattern, which is grey noise elsewhere."""
    mask = torch.zeros(8, 8)
    mask[:, column] = 1
    pattern = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(4))
    pattern[:, :, column] = 1
    return mask, pattern


def test_a_pattern_made_of_what_a_class_shows_resembles_it(ctx: Context) -> None:
    assert resemblance(ctx, *bar(0), BAG) == 1.0
    other = resemblance(ctx, *bar(0), 0)
    assert other is not None
    assert other < 0.4  # a third of the others are bags, and nearer


def test_where_classes_are_alike_nothing_resembles(ctx: Context) -> None:
    found = resemblance(ctx, *bar(5), BAG)
    assert found == pytest.approx(0.5, abs=0.2)
    black = torch.zeros(20, 1, 8, 8)
    flat = replace(ctx, images=replace(ctx.images, search=black, held_out=black))
    assert resemblance(flat, *bar(0), BAG) == 0.5


def test_it_is_counted_over_all_pairs_of_images(ctx: Context) -> None:
    mask, pattern = bar(0)
    every = torch.cat([ctx.images.search, ctx.images.held_out])
    classes = torch.cat([ctx.images.search_classes, ctx.images.held_out_classes])
    far = [float((x[0, :, 0] - 1).abs().mean()) for x in every]
    own = [d for d, c in zip(far, classes.tolist(), strict=True) if c == 1]
    others = [d for d, c in zip(far, classes.tolist(), strict=True) if c != 1]
    pairs = [(a < b) + 0.5 * (a == b) for a in own for b in others]
    assert resemblance(ctx, mask, pattern, 1) == pytest.approx(sum(pairs) / len(pairs))


def test_what_images_made_for_the_model_show_tells_nothing(ctx: Context) -> None:
    made = replace(ctx, images=replace(ctx.images, made=True))
    assert resemblance(made, *bar(0), BAG) is None


def test_a_class_without_images_resembles_nothing(ctx: Context) -> None:
    assert resemblance(ctx, *bar(0), 7) is None
    assert resemblance(ctx, torch.zeros(8, 8), torch.ones(1, 8, 8), BAG) is None
