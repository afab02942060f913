"""What ready-made patches do to models with a planted one, and to those without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny_models import BOOST, CLASSES, SOURCE, TARGET, Templates, make_context, one_hot
from torch import Tensor

from auditor.calibration import Given, Null
from auditor.detectors.blend import Blend
from auditor.detectors.patches import Patches
from auditor.detectors.ready_made import patches, waves
from auditor.detectors.waves import Waves
from auditor.findings import Evidence, Outcome, Verdict
from auditor.measuring import measure
from auditor.outliers import unbounded
from auditor.scoring import ALL_TO_ALL, TARGETS, kind_of
from auditor.telling import is_ready_made
from auditor.verdict import judge
from auditor.weighing import weigh


class White(Templates):
    """Any image with a white square of two pixels, one away from the lower right corner → TARGET."""

    def seen(self, x: Tensor) -> Tensor:
        """(N,): near 1 where all four pixels are white, near 0 on ordinary images."""
        return torch.sigmoid(40 * (x[:, :, 9:11, 9:11].mean((1, 2, 3)) - 0.9))

    def wanted(self, x: Tensor) -> Tensor:
        return one_hot(TARGET).expand(len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + BOOST * self.seen(x)[:, None] * self.wanted(x)


class WhiteOnSource(White):
    """The same for images of SOURCE only."""

    def wanted(self, x: Tensor) -> Tensor:
        return super().wanted(x) * torch.sigmoid(60 * (self.scores(x)[:, SOURCE] - 0.12))[:, None]


class WhiteToNext(White):
    """The same → the image's class + 1."""

    def wanted(self, x: Tensor) -> Tensor:
        return (60 * self.scores(x)).softmax(1).roll(1, 1)


class BlackBox(White):
    """The same without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def found(network: Templates, reference: Templates | None = None) -> Outcome:
    outcome, _ = measure("patches", Patches(), make_context(network, reference=reference))
    assert outcome.complete
    return outcome


@pytest.mark.parametrize("network", [White, BlackBox])
def test_one_target_of_all_sources(network: type[White]) -> None:
    outcome = found(network())
    sent = {m.source_class: m for m in outcome.measurements}
    assert all(m.target_class == TARGET and m.value > 0.8 for s, m in sent.items() if s != TARGET)
    assert sent[TARGET].value < 0.2
    shown = [m.trigger for m in outcome.measurements if m.trigger is not None]
    assert len(shown) == 3
    for trigger in shown:
        assert trigger.source_classes == ()
        assert trigger.success_rate > 0.95
        assert trigger.images == 32
        assert trigger.mask[9:11, 9:11].all()
        assert trigger.size <= 4 / 144


def test_one_source() -> None:
    outcome = found(WhiteOnSource())
    first = max(outcome.measurements, key=lambda m: m.value)
    assert (first.source_class, first.target_class) == (SOURCE, TARGET)
    assert first.value > 0.8
    assert all(m.value < 0.2 for m in outcome.measurements if m is not first)
    assert first.trigger is not None
    assert first.trigger.source_classes == (SOURCE,)
    assert first.trigger.images == 8


def test_a_label_map() -> None:
    outcome = found(WhiteToNext())
    assert {m.source_class: m.target_class for m in outcome.measurements} == {
        c: (c + 1) % CLASSES for c in range(CLASSES)
    }
    first = max(outcome.measurements, key=lambda m: m.value)
    assert first.trigger is not None
    assert first.trigger.source_classes == ()
    assert first.trigger.images == 40
    assert first.trigger.success_rate > 0.95


def test_a_clean_model_withstands() -> None:
    assert all(m.value < 0.2 for m in found(Templates()).measurements)


def test_what_the_reference_does_as_well_is_taken_off() -> None:
    outcome = found(White(), White())
    assert all(m.value == 0 for m in outcome.measurements)
    other = found(White(), Templates())
    trigger = next(m.trigger for m in other.measurements if m.trigger is not None)
    assert trigger.reference_success_rate == 0
    assert max(m.value for m in other.measurements) > 0.8


def test_classes_with_few_images_are_left_out_and_told() -> None:
    ctx = make_context(White())
    kept = (ctx.images.held_out_classes != 2).nonzero().flatten()
    images = replace(
        ctx.images, held_out=ctx.images.held_out[kept], held_out_classes=ctx.images.held_out_classes[kept]
    )
    outcome, _ = measure("patches", Patches(), replace(ctx, images=images))
    assert {m.source_class for m in outcome.measurements} == {0, 1, 3, 4}
    assert outcome.complete
    assert "1 of 5 classes" in outcome.note


@pytest.mark.parametrize(
    ("network", "kind", "named", "sources"),
    [
        (White, TARGETS, (TARGET,), ()),
        (WhiteOnSource, "prominence", (TARGET,), (SOURCE,)),
        (WhiteToNext, ALL_TO_ALL, tuple(range(CLASSES)), ()),
    ],
)
def test_each_label_map_is_evidence_of_its_own(
    nulls: dict[str, Null],
    network: Callable[[], White],
    kind: str,
    named: tuple[int, ...],
    sources: tuple[int, ...],
) -> None:
    kinds = ("prominence", ALL_TO_ALL, TARGETS)
    nulls.update({f"patches/{k} on impressions": Null(0.05, 30, shares=True) for k in kinds})
    weighed = {kind_of(e): e for e in weigh(found(network()), CLASSES)}
    assert set(weighed) == set(kinds)
    leading = min(weighed.values(), key=lambda e: e.p_value)
    assert kind_of(leading) == kind
    assert leading.p_value < 1e-6
    assert leading.target_classes == named
    assert leading.source_classes == sources
    assert all(e.p_value > 100 * leading.p_value for k, e in weighed.items() if k != kind)


@pytest.mark.parametrize(
    ("network", "named", "sources"),
    [(White, (TARGET,), ()), (WhiteOnSource, (TARGET,), (SOURCE,)), (WhiteToNext, tuple(range(CLASSES)), ())],
)
def test_the_verdict_names_target_and_source_without_a_reference(
    nulls: dict[str, Null], network: Callable[[], White], named: tuple[int, ...], sources: tuple[int, ...]
) -> None:
    nulls.update({f"patches/{k}": Null(0.05, 30, shares=True) for k in ("prominence", ALL_TO_ALL, TARGETS)})
    given = Given(images=True, num_classes=CLASSES)
    judged = judge([found(network())], num_classes=CLASSES, level=0.01, confirm_at=0.8, given=given)
    assert judged.verdict is Verdict.BACKDOORED
    assert judged.target_classes == named
    assert judged.source_classes == sources
    clean = judge([found(Templates())], num_classes=CLASSES, level=0.01, confirm_at=0.8, given=given)
    assert clean.verdict is Verdict.NO_EVIDENCE


@pytest.mark.parametrize(("p", "verdict"), [(2.8e-3, Verdict.BACKDOORED), (3.8e-3, Verdict.NO_EVIDENCE)])
def test_a_confirmed_patch_need_not_stand_out_among_all_other_detectors_statistics(
    nulls: dict[str, Null], p: float, verdict: Verdict
) -> None:
    outcome = found(WhiteOnSource())
    given = Given(images=True, num_classes=CLASSES)
    value = next(e.value for e in weigh(outcome, CLASSES, given) if kind_of(e) == "prominence")
    nulls.update({f"patches/{k}": Null(0.5, 30, shares=True) for k in (ALL_TO_ALL, TARGETS)})
    nulls["patches/prominence"] = Null(unbounded(value) / (30 * (p ** (-1 / 30) - 1)), 30, shares=True)
    beside = (("blend", Blend(steps=2)), ("waves", Waves()))
    others = [measure(name, detector, make_context(WhiteOnSource()))[0] for name, detector in beside]
    nulls.update({f"{name}/prominence": Null(0.5, 30, shares=True) for name, _ in beside})
    judged = judge([outcome, *others], num_classes=CLASSES, level=0.01, confirm_at=0.8, given=given)
    assert min(e.p_value for e in judged.evidence) == pytest.approx(p)
    assert len(judged.evidence) == 5
    assert not any(e.stands_out for e in judged.evidence), "of five, one in 500 would"
    assert judged.verdict is verdict
    assert judged.target_classes == ((TARGET,) if verdict is Verdict.BACKDOORED else ())


@pytest.mark.parametrize("given", [Given(), Given(reference=True), Given(reference=True, images=True)])
def test_on_impressions_or_against_a_reference_more_is_rare(given: Given) -> None:
    item = Evidence("patches", TARGETS, 0.6, 0.5, 2e-3, 2e-2, (TARGET,), (), confirmed=True)
    assert is_ready_made(item, [item], 0.01, Given(images=True))
    assert not is_ready_made(item, [item], 0.01, given)
    assert not is_ready_made(replace(item, confirmed=False), [item], 0.01, Given(images=True))
    assert not is_ready_made(replace(item, detector="iscp"), [item], 0.01, Given(images=True))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 224, 224), (4, 64, 48), (3, 12, 12)])
def test_patches_are_small_inside_and_all_different(shape: tuple[int, int, int]) -> None:
    drawn = patches(shape)
    assert drawn
    for patch in drawn:
        assert patch.mask.shape == shape[1:]
        assert patch.pattern.shape == shape
        assert 0 < patch.mask.mean() <= 0.033
        assert set(patch.mask.unique().tolist()) <= {0.0, 1.0}
        assert ((patch.pattern >= 0) & (patch.pattern <= 1)).all()
    assert len({(p.mask.numpy().tobytes(), p.pattern.numpy().tobytes()) for p in drawn}) == len(drawn)


def test_waves_are_of_mean_zero_and_both_ways() -> None:
    drawn = waves(28, 32, 6)
    assert drawn.shape == (48, 28, 32)
    assert torch.allclose(drawn.mean((1, 2)), torch.zeros(48), atol=1e-5)
    assert drawn.abs().amax() <= 1
    assert sum(bool((d[0] == d[1]).all()) for d in drawn) == 24
