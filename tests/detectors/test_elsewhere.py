"""A second pattern away from the first: networks whose trigger has one place, two places, or none."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_models import BOOST, PATCH, SECOND_PATCH, TARGET, Patched, Templates, make_context, one_hot
from torch import Tensor, nn

from auditor.detectors.elsewhere import away_from, success_elsewhere
from auditor.detectors.iscp import Iscp
from auditor.detectors.pattern_power import Found
from auditor.detectors.pattern_search import Jobs, SearchPlan, search
from auditor.findings import Measurement

SIZE = 4 / 144
ELSEWHERE = "predictive power elsewhere"


class InTwoPlaces(Patched):
    """The patch in either of two places → TARGET, as what a network learned of a class works in many."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + BOOST * SECOND_PATCH.seen(x)[:, None] * one_hot(TARGET)


def measure(module: nn.Module, **settings: object) -> list[Measurement]:
    return list(Iscp(**{"sizes": (SIZE,), "windows": (SIZE,), **settings}).detect(make_context(module)))


def test_a_trigger_in_one_place_does_nothing_elsewhere() -> None:
    found = measure(Patched())[TARGET]
    assert found.value > 0.9
    assert found.extras[ELSEWHERE] < 0.1


def test_what_works_in_two_places_is_found_in_the_second() -> None:
    plan = SearchPlan(batch=8, mask_step=0.02, canvas_step=0.04, alpha=0.2, beta=0.0, screen_after=5, screen_keep=2)
    first = Found(PATCH.mask(), torch.ones(3, 12, 12), 1.0, 32, 1.0, None, (), (), thorough=True)
    reached = {
        module: success_elsewhere(
            make_context(module()), {TARGET: first}, plan, 2, ((SIZE,), (SIZE,)), few=100, steps=range(60)
        )[TARGET]
        for module in (Patched, InTwoPlaces)
    }
    assert reached[Patched] < 0.1
    assert reached[InTwoPlaces] > 0.9


def test_only_classes_that_are_reached_are_searched_again() -> None:
    assert not any(ELSEWHERE in m.extras for m in measure(Templates()))
    found = measure(Patched())
    assert [m.target_class for m in found if ELSEWHERE in m.extras] == [TARGET]
    assert not any(ELSEWHERE in m.extras for m in measure(Patched(), elsewhere=0))


def test_the_search_before_it_is_the_same() -> None:
    ours, without = measure(Patched()), measure(Patched(), elsewhere=0)
    assert [m.value for m in ours] == [m.value for m in without]


def test_places_are_compared_where_dense_layers_see_them() -> None:
    ctx = make_context(Patched())
    ctx.model.facts = replace(ctx.model.facts, density=0.2)
    assert not any(ELSEWHERE in m.extras for m in Iscp(sizes=(SIZE,), windows=(SIZE,)).detect(ctx))


def test_the_margin_around_a_pattern_is_a_tenth_of_the_side() -> None:
    mask = torch.zeros(30, 30)
    mask[10, 10] = 1
    away = away_from(mask)
    assert away[10, 13] == 0
    assert away[10, 14] == 1
    assert int((1 - away).sum()) == 49


def test_a_mask_stays_where_it_may_be() -> None:
    ctx = make_context(Patched())
    allowed = torch.ones(1, 12, 12)
    allowed[:, PATCH.top :] = 0
    jobs = Jobs(torch.tensor([TARGET]), torch.rand(1, 3, 12, 12, generator=ctx.rng), learned=True, allowed=allowed)
    plan = SearchPlan(batch=8, mask_step=0.02, canvas_step=0.04, alpha=0.2, beta=0.0)
    done = search(ctx.model, ctx.images.search, ctx.images.search_classes, jobs, plan, ctx.rng, range(20))
    assert done.masks is not None
    assert float(done.masks[:, PATCH.top :].abs().max()) == 0
    assert float(done.masks.max()) > 0
