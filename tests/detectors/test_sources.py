"""Rows of source classes where there is little to search with."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_models import Templates, make_context

from auditor.detectors.sources import Sources
from auditor.measuring import measure


def test_classes_without_images_enough_are_no_failure() -> None:
    """With a hundred classes six images each are usual: nothing is searched, and that is said, not a failed audit."""
    ctx = make_context(Templates())
    keep = torch.arange(3)
    few = replace(
        ctx.images,
        search=ctx.images.search[keep],
        search_classes=ctx.images.search_classes[keep],
        held_out=ctx.images.held_out[keep],
        held_out_classes=ctx.images.held_out_classes[keep],
    )
    outcome, stopped = measure("sources", Sources(steps=3), replace(ctx, images=few))
    assert not stopped
    assert outcome.complete
    assert outcome.measurements == ()
    assert "not searched" in outcome.note


def test_one_measurement_a_source_and_many_are_sampled() -> None:
    ctx = make_context(Templates())
    outcome, _ = measure("sources", Sources(steps=3, most_sources=2), ctx)
    assert outcome.complete
    assert len(outcome.measurements) == 2
    assert "searched 2 of" in outcome.note
