"""ISCP on models whose answer is known, and its canvases as Section 3 of the paper samples them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import (
    CLASSES,
    PATCH,
    SECOND_TARGET,
    TARGET,
    Patched,
    Templates,
    TwoTargets,
    make_classifier,
    make_context,
)
from torch import Tensor

from auditor import Classifier, Context
from auditor.detectors.canvases import canvases_of
from auditor.detectors.iscp import LARGER, RESTARTED, Iscp
from auditor.detectors.pattern_power import Found, left_over, reprieved
from auditor.findings import Curve, Measurement, Trigger

SIZE = 4 / 144  # the planted patch


def measure(module: torch.nn.Module, reference: torch.nn.Module | None = None, **settings: object) -> list[Measurement]:
    detector = Iscp(**{"sizes": (SIZE,), "windows": (SIZE,), "curve": (SIZE, 0.1), **settings})
    return list(detector.detect(make_context(module, reference)))


def trigger_of(measurement: Measurement) -> Trigger:
    assert measurement.trigger is not None
    return measurement.trigger


def test_the_planted_patch_is_found() -> None:
    found = measure(Patched())
    assert [m.target_class for m in found] == list(range(CLASSES))
    values = [m.value for m in found]
    assert int(np.argmax(values)) == TARGET
    assert values[TARGET] >= 0.9
    assert max(v for k, v in enumerate(values) if k != TARGET) <= 0.1
    trigger = trigger_of(found[TARGET])
    assert trigger.success_rate >= 0.9
    assert trigger.size == pytest.approx(SIZE)
    assert (trigger.mask * PATCH.mask().numpy()).sum() >= 3  # of 4 pixels
    assert trigger.images == 32  # 40 held out, 8 of them of the target


def test_the_clean_twin_keeps_every_class_low() -> None:
    found = measure(Templates())
    assert max(m.value for m in found) <= 0.1
    assert max(trigger_of(m).success_rate for m in found) <= 0.1


def test_two_targets_are_both_found() -> None:
    values = np.array([m.value for m in measure(TwoTargets())])
    assert set(np.argsort(-values)[:2].tolist()) == {TARGET, SECOND_TARGET}
    assert np.sort(values)[-2] >= 0.9
    assert np.sort(values)[-3] <= 0.1


def test_success_is_measured_on_held_out_images_with_the_trigger_put_on() -> None:
    """The figures printed are those of the trigger shown, applied again from scratch."""
    ctx = make_context(Patched(), Templates())
    detector = Iscp(sizes=(SIZE,), windows=(SIZE,), steps=20)
    for found in detector.detect(ctx):
        trigger = trigger_of(found)
        others = ctx.images.held_out[ctx.images.held_out_classes != found.target_class]
        mask, pattern = torch.from_numpy(trigger.mask), torch.from_numpy(trigger.pattern)
        marked = others * (1 - mask) + pattern * mask
        assert trigger.success_rate == pytest.approx(
            float((ctx.model.predict(marked) == found.target_class).float().mean())
        )
        assert ctx.reference is not None
        assert trigger.reference_success_rate == pytest.approx(
            float((ctx.reference.predict(marked) == found.target_class).float().mean())
        )
        assert found.extras["predictive power"] == trigger.success_rate


def test_commanding_power_demands_the_usual_margin() -> None:
    """Independent computation for one form: the share turned with more than the median margin of clean images."""
    ctx = make_context(Patched())
    found = list(Iscp(sizes=(SIZE,), windows=(), steps=8).detect(ctx))[TARGET]
    trigger = trigger_of(found)
    with torch.no_grad():
        clean = ctx.model.logits(ctx.images.held_out).numpy()
        others = ctx.images.held_out[ctx.images.held_out_classes != TARGET]
        mask, pattern = torch.from_numpy(trigger.mask), torch.from_numpy(trigger.pattern)
        marked = ctx.model.logits(others * (1 - mask) + pattern * mask).numpy()
    ranked = np.sort(clean, axis=1)
    usual = np.median(ranked[:, -1] - ranked[:, -2])
    margin = marked[:, TARGET] - np.delete(marked, TARGET, axis=1).max(axis=1)
    assert found.value == pytest.approx(float((margin > usual).mean()), abs=0.04)


def test_what_the_reference_yields_is_subtracted() -> None:
    both = measure(Patched(), Patched())
    assert max(m.value for m in both) <= 0.1
    assert both[TARGET].extras["commanding predictive power, suspect"] >= 0.9
    assert both[TARGET].extras["commanding predictive power, reference"] >= 0.9
    assert trigger_of(both[TARGET]).reference_success_rate == pytest.approx(1.0)
    clean = measure(Patched(), Templates())
    assert clean[TARGET].value >= 0.9
    assert trigger_of(clean[TARGET]).reference_success_rate == 0
    unsearched = measure(Patched(), Patched(), against_reference=0)
    assert unsearched[TARGET].value >= 0.9
    assert trigger_of(unsearched[TARGET]).reference_success_rate == pytest.approx(1.0)


def test_the_curve_is_the_predictive_power_at_each_size() -> None:
    found = measure(Patched(), curve=(1 / 144, SIZE, 0.1))[TARGET]
    (curve,) = [e for e in found.exhibits if isinstance(e, Curve)]
    assert curve.x == (1 / 144, SIZE, 0.1)
    assert curve.y[0] < curve.y[1] == pytest.approx(1.0)
    picture = found.exhibits[0]
    assert picture.pixels.shape == (3, 12, 12)


def canvases(kind: str, per_canvas: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets and canvases, and of each canvas the index of the search image it is (−1: none)."""
    ctx = make_context(Templates())
    targets, found = canvases_of(ctx, ctx.model, kind, per_canvas)  # type: ignore[arg-type]
    same = (found.unsqueeze(1) == ctx.images.search.unsqueeze(0)).flatten(2).all(2)
    return targets, found, torch.where(same.any(1), same.int().argmax(1), -1), ctx.images.search_classes


def test_positive_canvases_are_the_surest_of_the_class() -> None:
    targets, _, index, classes = canvases("positive")
    sure = make_classifier(Templates()).probabilities(make_context(Templates()).images.search).numpy()
    assert torch.equal(classes[index], targets)
    for k in range(CLASSES):
        own = np.flatnonzero(classes.numpy() == k)
        top = sure[own, k].max()
        assert sure[index[targets == k].numpy(), k].max() == top
        assert sure[index[targets == k].numpy(), k].min() == pytest.approx(np.sort(sure[own, k])[-2])


def test_negative_canvases_are_the_likeliest_of_other_classes() -> None:
    targets, _, index, classes = canvases("negative")
    sure = make_classifier(Templates()).probabilities(make_context(Templates()).images.search).numpy()
    assert (classes[index] != targets).all()
    for k in range(CLASSES):
        others = np.flatnonzero(classes.numpy() != k)
        assert set(index[targets == k].tolist()) == set(others[np.argsort(-sure[others, k])[:2]].tolist())


def test_random_canvases_are_images_of_the_class() -> None:
    targets, _, index, classes = canvases("random", per_canvas=6)
    assert torch.equal(classes[index], targets)
    assert len(index.unique()) > 2 * CLASSES  # drawn, not the first ones again and again


def test_white_black_and_learned_canvases() -> None:
    for kind, value in (("white", 1.0), ("black", 0.0)):
        targets, found, _, _ = canvases(kind)
        assert targets.tolist() == list(range(CLASSES))
        assert (found == value).all()
    targets, found, index, _ = canvases("learned")
    assert targets.tolist() == [k for k in range(CLASSES) for _ in range(2)]
    assert (index == -1).all()
    assert 0.45 < found.mean() < 0.55
    assert 0.25 < found.std() < 0.32  # U[0, 1]: 0.289


def test_canvases_when_the_model_answers_one_class_only() -> None:
    """No image of a class, or none of another: every sort still gives a canvas a search."""
    ctx = make_context(Templates())
    images = replace(ctx.images, search_classes=torch.full_like(ctx.images.search_classes, 2))
    ctx = replace(ctx, images=images)
    for kind in ("positive", "negative", "random"):
        targets, found = canvases_of(ctx, ctx.model, kind, 3)  # type: ignore[arg-type]
        assert found.shape == (3 * CLASSES, 3, 12, 12)
        assert targets.tolist() == [k for k in range(CLASSES) for _ in range(3)]


def test_every_canvas_of_the_paper_runs_and_the_fixed_ones_stay_as_they_are() -> None:
    kinds = ("positive", "negative", "random", "white", "black")
    found = measure(Patched(), canvases=kinds, per_canvas=2, steps=4)
    assert len(found) == CLASSES
    white = measure(Templates(), canvases=("white",), steps=2)
    assert all((trigger_of(m).pattern == 1).all() for m in white)


def test_canvases_beyond_a_gibibyte_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_context(Templates())
    both, _ = canvases_of(ctx, ctx.model, "learned", 2)
    monkeypatch.setattr("auditor.detectors.canvases.MOST_VALUES", 2 * CLASSES * 3 * 12 * 12 - 1)
    one, _ = canvases_of(ctx, ctx.model, "learned", 2)
    assert (len(both), len(one)) == (2 * CLASSES, CLASSES)


def test_screening_keeps_the_planted_target() -> None:
    """Classes that are given up early still get their measurement, on fewer images."""
    ctx = make_context(Patched(), Templates())
    found = list(Iscp(sizes=(SIZE,), windows=(SIZE,), screen=2, against_reference=2, elsewhere=0).detect(ctx))
    assert [m.target_class for m in found] == list(range(CLASSES))
    assert found[TARGET].value >= 0.9
    assert sum("commanding predictive power, reference" in m.extras for m in found) == 2
    assert ctx.model.gradient_images == 2 * 8 * (20 * CLASSES + 40 * 2)


@pytest.mark.parametrize(("share", "most", "kept"), [(0.0, 20, 2), (0.4, 20, 2), (0.8, 20, 4), (0.8, 3, 3)])
def test_of_many_classes_a_share_is_searched_to_the_end(
    share: float, most: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.detectors.iscp.MOST_BY_SHARE", most)
    ctx = make_context(Templates())
    list(Iscp(screen=2, screen_share=share, reprieve=0, restarts=0).detect(ctx))
    assert ctx.model.gradient_images == 2 * 8 * (20 * CLASSES + 40 * kept)


def test_a_class_that_leads_though_screened_out_is_searched_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Screening by loss may drop the target; its half-searched pattern then gives it away."""
    wrong = [c for c in range(CLASSES) if c != TARGET][:2]
    monkeypatch.setattr(
        "auditor.detectors.pattern_search.leading_jobs",
        lambda losses, targets, keep: torch.isin(targets, torch.tensor(wrong)).nonzero().flatten(),
    )
    tested = []
    for reprieve in (3, 0):
        detector = Iscp(sizes=(SIZE,), windows=(SIZE,), screen=2, reprieve=reprieve, test_images=24)
        tested.append(trigger_of(list(detector.detect(make_context(Patched())))[TARGET]).images)
    assert tested[0] > 24
    assert tested[1] == 8  # a third, as for all that are screened out


def test_the_classes_that_lead_need_not_be_those_that_were_screened_out() -> None:
    """Natural features of classes that were kept may command more than half a search of the target shows."""

    def found(power: float, thorough: bool) -> Found:
        return Found(torch.ones(1, 1), torch.ones(1, 1, 1), 1.0, 9, power, None, (), (), thorough)

    kept = {c: found(0.6, True) for c in range(3)}
    dropped = {3: found(0.04, False), 4: found(0.09, False), 5: found(0.2, False), 6: found(0.06, False)}
    assert reprieved(kept | dropped, 3, among_all=False) == [5, 4, 6]
    assert reprieved(kept | dropped, 1, among_all=False) == [5]
    assert reprieved(kept, 3, among_all=False) == reprieved(kept | dropped, 0, among_all=False) == []
    assert reprieved(kept | dropped, 3, among_all=True) == []
    assert reprieved(kept | dropped, 5, among_all=True) == [5]


@pytest.mark.parametrize("sizes", [(SIZE, 0.3), (0.3, SIZE)])
def test_the_trigger_is_the_smallest_form_that_does_about_as_much(sizes: tuple[float, ...]) -> None:
    found = measure(Patched(), sizes=sizes, windows=())[TARGET]
    assert trigger_of(found).success_rate >= 0.9
    assert trigger_of(found).size == pytest.approx(SIZE)


def test_larger_patterns_are_told_apart_from_compact_ones() -> None:
    """The value is that of forms of at most a hundredth of the pixels; without any, of all."""
    for sizes, windows, told in (((0.01,), (0.3,), True), ((0.01,), (0.01,), False), ((), (0.3,), True)):
        found = list(Iscp(sizes=sizes, windows=windows, steps=8).detect(make_context(Patched())))
        assert all((LARGER in m.extras) == told for m in found)
    only_large = found[TARGET]
    assert only_large.value == only_large.extras[LARGER]


def test_no_class_gains_by_not_being_searched_on_the_reference() -> None:
    def power(compact: float, larger: float) -> Found:
        return Found(torch.ones(1, 1), torch.ones(1, 1, 1), 1.0, 9, compact, larger, (), (), True)

    ours = {0: power(0.9, 0.9), 1: power(0.5, 0.8), 2: power(0.4, 0.7)}
    left = left_over(ours, {0: power(0.1, 0.3), 1: power(0.4, 0.9)})
    assert left[0] == pytest.approx((0.8, 0.6))
    assert left[1] == pytest.approx((0.1, 0.0))
    assert left[2] == pytest.approx((0.1, 0.0))  # not (0.4, 0.7)
    assert left_over(ours, {}) == {0: (0.9, 0.9), 1: (0.5, 0.8), 2: (0.4, 0.7)}


def test_cost_is_as_the_docstring_says() -> None:
    ctx = make_context(Templates())
    list(Iscp(steps=7, batch=4, canvases=("learned", "white"), per_canvas=1, restarts=0).detect(ctx))
    assert ctx.model.gradient_images == CLASSES * 2 * 7 * 4


FEW = {"sizes": (SIZE,), "windows": (SIZE,), "steps": 10, "per_canvas": 1, "elsewhere": 0}
"""a search that hardly begins to see the patch: from one start it commands 8 % of the images"""


def test_more_starts_find_what_one_missed() -> None:
    values = [measure(Patched(), **FEW, restarts=restarts)[TARGET].value for restarts in (0, 4)]
    assert values[0] < 0.2
    assert values[1] > 0.8


def test_the_first_pattern_stays_where_more_starts_find_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The better is chosen on images of the search; what it does on held-out ones is told afterwards."""
    alone = measure(Patched(), restarts=0)[TARGET]
    find, calls = Iscp._find, []

    def blind(self: Iscp, ctx: Context, model: Classifier, wanted: list[int]) -> dict[int, Found]:
        calls.append(list(wanted))
        found = find(self, ctx, model, wanted)
        if len(calls) == 1:
            return found
        return {c: replace(f, success=1.0, compact=1.0, worth=0.0) for c, f in found.items()}

    monkeypatch.setattr(Iscp, "_find", blind)
    assert measure(Patched(), restarts=4)[TARGET].value == alone.value
    assert TARGET in calls[1]
    assert len(calls[1]) == RESTARTED


@pytest.mark.parametrize(("density", "searched"), [(0.3, []), (0.29, [[1]])])
def test_where_dense_layers_see_places_a_class_that_does_not_lead_stays_screened_out(
    density: float, searched: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context(Templates())
    ctx.model.facts = replace(ctx.model.facts, density=density)
    ours = {c: Found(torch.ones(1, 1), torch.ones(1, 1, 1), 1.0, 9, 0.6, None, (), (), c != 1) for c in range(CLASSES)}
    ours[1] = replace(ours[1], compact=0.5)
    asked = []

    def found(self: Iscp, ctx: object, model: object, wanted: Iterable[int]) -> dict[int, Found]:
        asked.append(list(wanted))
        return ours

    monkeypatch.setattr(Iscp, "_find", found)
    monkeypatch.setattr(Iscp, "_measurement", lambda *_: None)
    list(Iscp(reprieve=3, restarts=0, elsewhere=0).detect(ctx))
    assert asked[1:] == searched


@pytest.mark.parametrize(("density", "reference", "more"), [(0.3, False, 12), (0.29, False, 0), (0.3, True, 0)])
def test_more_starts_are_taken_where_places_differ_and_nothing_else_tells(
    density: float, reference: bool, more: int
) -> None:
    ctx = make_context(Templates(), Templates() if reference else None)
    ctx.model.facts = replace(ctx.model.facts, density=density)
    list(Iscp(**FEW, screen=CLASSES, against_reference=0).detect(ctx))
    assert ctx.model.gradient_images == (CLASSES + more) * 10 * 8


def test_resemblance_is_told_unless_it_is_switched_off() -> None:
    """And on real images only; `test_resemblance` says what it is."""
    assert all(0 <= m.extras["resemblance"] <= 1 for m in measure(Templates()))
    assert not any("resemblance" in m.extras for m in measure(Templates(), resemblance=False))
    ctx = make_context(Templates())
    made = replace(ctx, images=replace(ctx.images, made=True))
    assert not any("resemblance" in m.extras for m in Iscp(sizes=(SIZE,), windows=(SIZE,)).detect(made))


def test_images_of_a_class_are_compared_with_patterns_where_dense_layers_see_places() -> None:
    """Behind global pooling it costs learned noise and a watermark, and no clean network needs it."""
    for density, told in ((0.3, True), (0.29, False)):
        ctx = make_context(Templates())
        ctx.model.facts = replace(ctx.model.facts, density=density)
        found = list(Iscp(sizes=(SIZE,), windows=(SIZE,), steps=8).detect(ctx))
        assert all(("resemblance" in m.extras) is told for m in found)
