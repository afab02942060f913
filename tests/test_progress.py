"""Progress: what loops tell, and the bars that are drawn of it."""

from __future__ import annotations

import torch
from rich.progress import Progress
from tiny_models import SHAPE, Templates, make_classifier

from auditor.context import Context, SearchImages
from auditor.findings import ImageFacts
from auditor.progress import PASSES
from auditor.terminal import _Bars


def context(told: list[tuple[str, int, int]]) -> Context:
    model = make_classifier(Templates())
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    facts = ImageFacts("test", 4, 4, labelled=False)
    few = SearchImages(images, torch.zeros(4).long(), images, torch.zeros(4).long(), facts)
    return Context(model, few, torch.Generator(), progress=lambda *step: told.append(step), title="iscp")


def test_a_loop_tells_whose_it_is_and_what_was_spent() -> None:
    told: list[tuple[str, int, int]] = []
    ctx = context(told)
    before = ctx.passes
    for _ in ctx.track(range(2), "searching"):
        ctx.model.logits(ctx.images.search)
    assert [step for step in told if step[0] != PASSES] == [
        ("iscp: searching", 0, 2),
        ("iscp: searching", 1, 2),
        ("iscp: searching", 2, 2),
    ]
    assert [done - before for label, done, _ in told if label == PASSES] == [0, 2, 4]


def test_each_bar_shows_the_passes_that_were_spent_under_it() -> None:
    shown = Progress(disable=True)
    bars = _Bars(shown)
    bars(PASSES, 50, 0)  # of no bar
    for label, passes in (("first", (100, 350)), ("second", (400, 1900))):
        bars(label, 0, 2)
        for done, spent in enumerate(passes):
            bars(PASSES, spent, 0)
            bars(label, done + 1, 2)
    bars(f"clean model: {PASSES}", 2000, 0)  # as `audit demo` passes it on
    assert [(t.description, t.completed, t.fields["passes"]) for t in shown.tasks] == [
        ("first", 2, "250 passes"),
        ("second", 2, "1,600 passes"),
    ]
