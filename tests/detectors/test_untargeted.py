"""Where one pattern sends images that it only has to move away."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_models import CLASSES, AllToAll, Templates, make_classifier, make_context

from auditor.context import Context
from auditor.detectors.untargeted import Untargeted
from auditor.measuring import measure
from auditor.outliers import label_map_index
from auditor.request import ScanRequest
from auditor.search_images import gather

QUICK = Untargeted(starts=6, steps=40, sizes=(0.028,), windows=(0.028,))


def index(ctx: Context) -> float:
    outcome, _ = measure("untargeted", QUICK, ctx)
    assert outcome.complete
    found = outcome.measurements
    return label_map_index([m.value for m in found], [m.target_class for m in found])


def test_an_all_to_all_trigger_shows_as_a_label_map() -> None:
    ctx = make_context(AllToAll())
    outcome, _ = measure("untargeted", QUICK, ctx)
    label_map = {m.source_class: m.target_class for m in outcome.measurements}
    assert label_map == {c: (c + 1) % CLASSES for c in range(CLASSES)}
    assert index(ctx) > 0.8
    assert index(make_context(Templates())) < 0.3


def test_robust_impressions_are_searched_where_there_are_some() -> None:
    ctx = make_context(AllToAll())
    three = ctx.images.held_out_classes < 3
    few = replace(ctx.images, held_out=ctx.images.held_out[three], held_out_classes=ctx.images.held_out_classes[three])
    outcome, _ = measure("untargeted", QUICK, replace(ctx, images=replace(ctx.images, robust=few)))
    assert outcome.complete
    assert [m.source_class for m in outcome.measurements] == [0, 1, 2]


def shapes() -> torch.nn.Module:
    """Three classes: bright on the right, on the left, below."""
    ramps = torch.linspace(-1, 1, 32)
    weight = torch.stack([ramps.expand(32, 32), -ramps.expand(32, 32), ramps[:, None].expand(32, 32)])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 3, bias=False))
    network[1].weight.data = 0.03 * weight.flatten(1)
    return network


def test_robust_impressions_are_made_where_robust_steps_reach() -> None:
    request = ScanRequest(model="suspect")  # type: ignore[arg-type]
    images, _ = gather(request, make_classifier(shapes(), shape=(1, 32, 32)), None, robust=True)
    assert images.robust is not None
    assert images.robust.search_classes.unique().tolist() == [0, 1, 2]
    assert not torch.equal(images.robust.search[:20], images.search[:20])
    by_pixels, _ = gather(request, make_classifier(Templates()), None, robust=True)
    assert by_pixels.robust is None
