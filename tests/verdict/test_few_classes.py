"""The judge on models of two to nine classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditor.calibration import Given, Null
from auditor.findings import Evidence, Measurement, Outcome, Statistic, Verdict
from auditor.scoring import ALL_TO_ALL, TARGETS
from auditor.telling import is_near_for_few, tells
from auditor.verdict import judge
from auditor.weighing import weigh
from tests.verdict.outcomes import HIGH, bare, few, judged, per_class, trigger, weighed


@pytest.mark.parametrize(
    ("outcome", "given", "expected"),
    [
        (few(0.9, side=1), Given(), Verdict.BACKDOORED),
        (few(0.9), Given(), Verdict.INCONCLUSIVE),  # clean models of two classes show that
        (few(0.05), Given(), Verdict.INCONCLUSIVE),
        (few(0.05, side=1), Given(), Verdict.INCONCLUSIVE),  # without images most patches do not show
        (few(0.05, larger=0.9), Given(), Verdict.INCONCLUSIVE),  # and that
        (few(0.05, larger=0.9), Given(images=True), Verdict.BACKDOORED),
        (few(0.05), Given(images=True), Verdict.NO_EVIDENCE),
        (few(0.05), Given(reference=True), Verdict.NO_EVIDENCE),
    ],
)
def test_with_two_classes_only_what_tells_a_trigger_from_a_feature_counts(
    outcome: Outcome, given: Given, expected: Verdict, nulls: dict[str, Null]
) -> None:
    nulls["search/prominence"] = nulls["search/prominence of larger patterns"] = Null(mean=0.05, count=1000)
    assert judge([outcome], num_classes=2, level=0.01, confirm_at=0.8, given=given).verdict is expected


@pytest.mark.parametrize(
    ("classes", "expected"), [(2, Verdict.INCONCLUSIVE), (9, Verdict.NO_EVIDENCE), (10, Verdict.BACKDOORED)]
)
def test_success_alone_tells_nothing_of_fewer_than_ten_classes(
    classes: int, expected: Verdict, nulls: dict[str, Null]
) -> None:
    nulls["search/prominence in success"] = Null(mean=0.05, count=1000)
    power = (0.0, 0.95, *[0.0] * 8)[:classes]
    result = judge(
        [bare(power)], num_classes=classes, level=0.01, confirm_at=0.8, given=Given(images=True, num_classes=classes)
    )
    assert result.verdict is expected
    if classes > 4:
        against = judged(bare(power), num_classes=classes, given=Given(images=True, reference=True))
        assert against.verdict is Verdict.BACKDOORED


@pytest.mark.parametrize(
    ("mean", "given", "expected"),
    [
        (0.02, Given(images=True), Verdict.INCONCLUSIVE),
        (0.5, Given(images=True), Verdict.NO_EVIDENCE),  # many clean models show as much
        (0.19, Given(images=True), Verdict.NO_EVIDENCE),  # p of 0.007, but one of two statistics
        (0.02, Given(images=True, reference=True), Verdict.INCONCLUSIVE),  # a weak clean network gives way to any wave
        (0.5, Given(images=True, reference=True), Verdict.NO_EVIDENCE),
        (0.02, Given(images=True, reference=True, kin=True), Verdict.BACKDOORED),
    ],
)
def test_with_few_classes_what_a_feature_can_do_leaves_it_open(
    mean: float, given: Given, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(monkeypatch, search=0.5)
    nulls["search/prominence"] = Null(mean, count=1000)
    faint = per_class((0.02, 0.0, 0.95), success=0.95)
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.full((10, 10), 0.25, np.float32))) for m in faint.measurements
    )
    outcomes = [replace(faint, measurements=whole, expected=3), per_class((0.0, 0.01, 0.0), name="other")]
    result = judge(outcomes, num_classes=3, level=0.01, confirm_at=0.8, given=replace(given, num_classes=3))
    assert result.verdict is expected
    if expected is Verdict.INCONCLUSIVE:
        lacking = "a reference that is not kin" if given.reference else "no reference"
        assert result.reason.startswith(f"Nothing can be concluded: with 3 classes and {lacking}, a prominence of")
        assert "(search, class 2)" in result.reason
        assert (result.target_classes, result.trigger) == ((), whole[2].trigger)
        assert result.by_score == ("search",)  # measured again
        assert [(e.detector, e.target_classes, e.stands_out) for e in result.evidence] == [
            ("other", (1,), False), ("search", (2,), False),
        ]  # fmt: skip


def test_success_of_a_plugin_is_its_own_affair() -> None:
    assert [e.statistic for e in weigh(replace(bare(HIGH), detector="unknown"), 6)] == ["prominence of power"]


@pytest.mark.parametrize(
    ("power", "given", "verdict"),
    [
        (0.97, Given(images=True), Verdict.BACKDOORED),
        (0.4, Given(images=True), Verdict.INCONCLUSIVE),  # clean networks of few classes show that
        (0.01, Given(images=True), Verdict.NO_EVIDENCE),
        (0.4, Given(images=True, reference=True), Verdict.INCONCLUSIVE),  # the reference need not agree
        (0.4, Given(images=True, reference=True, kin=True), Verdict.BACKDOORED),
    ],
)
def test_with_few_classes_a_ready_made_patch_has_to_be_far_from_clean_models(
    nulls: dict[str, Null], power: float, given: Given, verdict: Verdict
) -> None:
    nulls.update({f"patches/{k}": Null(0.05, 30, shares=True) for k in ("prominence", ALL_TO_ALL, TARGETS)})
    found = (
        Measurement(power, 1, 0, trigger(0.9, 0.0 if given.reference else None)),
        Measurement(0.0, 0, 1),
        Measurement(0.0, 0, 2),
    )
    statistic = Statistic("moved", "share of images", per="source")
    outcome = Outcome("patches", statistic, {}, found, expected=3, seconds=1.0, passes=10)
    result = judge([outcome], num_classes=3, level=0.01, confirm_at=0.8, given=given)
    assert result.verdict is verdict
    assert (result.target_classes == (1,)) == (verdict is Verdict.BACKDOORED)


def test_with_few_classes_and_no_kin_a_shift_inside_the_network_does_not_tell() -> None:
    item = Evidence("features", "prominence of lead", 0.9, np.nan, 1e-9, 1e-8, (0,))
    for given, classes, telling in (
        (Given(reference=True), 3, False),
        (Given(reference=True), 6, True),
        (Given(reference=True, images=True), 3, False),
        (Given(reference=True, images=True, kin=True), 3, True),
        (Given(images=True), 3, True),
    ):
        assert tells(replace(item, p_value=1e-3), [], classes, given) is telling


@pytest.mark.parametrize(
    ("given", "classes", "telling"),
    [
        (Given(images=True), 3, False),
        (Given(images=True), 5, True),
        (Given(reference=True, images=True), 3, False),
        (Given(reference=True, images=True, kin=True), 3, True),
    ],
)
def test_with_few_classes_patterns_drawn_for_each_image_do_not_tell(given: Given, classes: int, telling: bool) -> None:
    """Without a trigger of their own they are changes of the whole image all the same."""
    item = Evidence("generator", "prominence of predictive power", 0.9, np.nan, 1e-9, 1e-8, (0,))
    assert tells(item, [], classes, given) is telling


def test_with_few_classes_a_reference_that_is_no_kin_does_not_make_faint_patterns_telling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighed(monkeypatch, search=2.0, other=2.0)
    values = (0.95, 0.02, 0.0)
    faint = per_class(values, success=0.5)
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.full((10, 10), 0.15, np.float32))) for m in faint.measurements
    )
    outcomes = [replace(faint, measurements=whole), replace(faint, measurements=whole, detector="other")]

    def verdict_of(given: Given, classes: int = 3) -> Verdict:
        return judge(outcomes, num_classes=classes, level=0.01, confirm_at=0.8, given=given).verdict

    assert verdict_of(Given(reference=True)) is Verdict.INCONCLUSIVE
    assert verdict_of(Given(reference=True), classes=6) is Verdict.SUSPICIOUS
    assert verdict_of(Given(reference=True, images=True)) is Verdict.INCONCLUSIVE
    assert verdict_of(Given(reference=True, images=True, kin=True)) is Verdict.SUSPICIOUS


def test_statistics_that_agree_on_one_of_few_classes_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three classes some name the same by chance: a clean network's did, beside a reference that is no kin."""
    weighed(monkeypatch, search=2.0, other=2.0)
    search = per_class((0.95, 0.02, 0.0, 0.01, 0.02), success=0.5)
    outcomes = [search, replace(search, detector="other")]

    def verdict_of(classes: int, **given: bool) -> Verdict:
        kept = [replace(o, measurements=o.measurements[:classes], expected=classes) for o in outcomes]
        found = judge(kept, num_classes=classes, level=0.01, confirm_at=0.8, given=Given(images=True, **given))
        return found.verdict

    assert verdict_of(5) is verdict_of(5, reference=True) is Verdict.SUSPICIOUS
    assert verdict_of(3) is verdict_of(3, reference=True) is Verdict.INCONCLUSIVE
    assert verdict_of(3, reference=True, kin=True) is Verdict.SUSPICIOUS


def test_a_ready_made_patch_of_few_classes_must_be_far_from_clean_models() -> None:
    """8e-9 is what one seed of a clean network of 1 and 7 came to, 4e-16 what the least of planted patches does."""
    patch = Evidence("patches", "prominence of targets", 0.7, np.nan, 1.0, 1.0, (1,))
    for p_value, near in ((8e-9, True), (4e-16, False)):
        assert is_near_for_few(replace(patch, p_value=p_value), 2, Given(images=True), 0.01) is near


@pytest.mark.parametrize(
    ("num_classes", "answers", "named"),
    [
        (3, {1: 0, 2: 0, 0: 2}, (0,)),  # what images of the target are sent to is no second target
        (3, {0: 1, 1: 2, 2: 0}, (0, 1, 2)),
        (5, {0: 1, 1: 2, 2: 3, 3: 4, 4: 0}, (0, 1, 2, 3, 4)),
    ],
)
def test_one_target_of_three_classes_is_no_label_map(
    num_classes: int, answers: dict[int, int], named: tuple[int, ...], nulls: dict[str, Null]
) -> None:
    nulls.update({f"patches/{k}": Null(0.02, 100) for k in ("prominence", ALL_TO_ALL)})
    nulls[f"patches/{TARGETS}"] = Null(0.05, 100)
    found = tuple(
        Measurement(0.95, target, source, trigger(0.95, 0.0, sources=() if target == 0 else (source,)))
        for source, target in answers.items()
    )
    statistic = Statistic("moved", "share of images", per="source")
    outcome = Outcome("patches", statistic, {}, found, expected=len(found), seconds=1.0, passes=10)
    result = judged(outcome, num_classes=num_classes, given=Given(reference=True))
    assert result.target_classes == named
