"""The judge: outcomes made by hand in, verdicts out."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from auditor.calibration import Given, Null, Weights
from auditor.confirming import LARGE_POWER, SUCCESS, confirms, unexplained
from auditor.findings import Evidence, Measurement, Outcome, Statistic, Trigger, Verdict
from auditor.scoring import ALL_TO_ALL, LARGER, PLAIN, TARGETS, kind_of
from auditor.telling import is_near_for_few, tells
from auditor.verdict import CONFIRMED_SCORE, Judgement, judge
from auditor.weighing import corrected, singled_out, weigh

LOW = (0.02, 0.0, 0.03, 0.01, 0.0, 0.02)
HIGH = (0.02, 0.0, 0.95, 0.01, 0.0, 0.02)
CLASS = Statistic("power", "share")
PAIR = Statistic("pair power", "share", per="pair")
MODEL = Statistic("dominance", "share", per="model")
NULL = Null(mean=0.05, count=20)


@pytest.fixture(autouse=True)
def calibrated(nulls: dict[str, Null]) -> None:
    keys = "search/prominence", "other/prominence", "search/gap", "pairs/prominence", "pairs/all-to-all index"
    for what in (*keys, "whole/value"):
        nulls[what] = NULL


def trigger(success: float, reference: float | None = None, sources: tuple[int, ...] = ()) -> Trigger:
    mask = np.zeros((10, 10), np.float32)
    mask[0, :1] = 1
    ones = np.ones((3, 10, 10), np.float32)
    return Trigger(mask, ones, success, source_classes=sources, reference_success_rate=reference, images=77)


def per_class(
    values: tuple[float, ...], *, success: float | None = None, reference: float | None = None, name: str = "search"
) -> Outcome:
    found = tuple(
        Measurement(v, k, trigger=None if success is None else trigger(success if v > 0.5 else 0.01, reference))
        for k, v in enumerate(values)
    )
    return Outcome(name, CLASS, {}, found, expected=len(values), seconds=1.0, passes=10)


def per_pair(matrix: np.ndarray, **options: float) -> Outcome:
    k = len(matrix)
    found = tuple(
        Measurement(float(matrix[s, t]), t, s, trigger(**options, sources=(s,)) if options else None)
        for s in range(k) for t in range(k) if s != t
    )  # fmt: skip
    return Outcome("pairs", PAIR, {}, found, expected=k * (k - 1), seconds=1.0, passes=10)


def judged(
    *outcomes: Outcome, num_classes: int = 6, level: float = 0.01, confirm_at: float = 0.8, **options: object
) -> Judgement:
    return judge(outcomes, num_classes=num_classes, level=level, confirm_at=confirm_at, **options)  # type: ignore[arg-type]


def test_nothing_stands_out() -> None:
    result = judged(per_class(LOW, success=0.9))
    assert result.verdict is Verdict.NO_EVIDENCE
    assert (result.target_classes, result.trigger, result.warnings) == ((), None, ())
    assert result.score < 0.2


def test_a_plugins_class_that_stands_out_without_a_trigger_is_suspicious() -> None:
    result = judged(per_class(HIGH))
    assert (result.verdict, result.target_classes) == (Verdict.SUSPICIOUS, (2,))


ALARM = 0.7


def weighed(monkeypatch: pytest.MonkeyPatch, **of: float) -> None:
    """Give the statistics of these detectors weights, as the shipped calibration gives ours."""
    known = Weights(-3.0, {f"{name}/prominence": weight for name, weight in of.items()}, cap=3.0, alarm=ALARM)
    monkeypatch.setattr("auditor.verdict.weights", lambda given: known)


def test_no_unconfirmed_statistic_of_ours_alarms_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=5.0, other=5.0)
    for success in (None, 0.3):
        result = judged(per_class(HIGH, success=success), per_class(LOW, name="other"))
        assert result.evidence[0].stands_out
        assert (result.verdict, result.score < 0.5) == (Verdict.NO_EVIDENCE, True)


def test_statistics_that_agree_on_a_class_alarm_together(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=2.0, other=2.0)
    result = judged(per_class(HIGH), per_class(HIGH, name="other"))
    assert (result.verdict, result.target_classes) == (Verdict.SUSPICIOUS, (2,))
    assert result.score > 0.7
    elsewhere = (0.95, 0.0, 0.02, 0.01, 0.0, 0.02)
    apart = judged(per_class(HIGH), per_class(elsewhere, name="other"))
    assert (apart.verdict, apart.score < 0.5) == (Verdict.NO_EVIDENCE, True)


def test_searches_for_much_the_same_count_once(monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]) -> None:
    """A weakly trained clean network that gives way to blends does to smooth patterns too."""
    nulls["blend/prominence"] = nulls["low_frequency/prominence"] = NULL
    weighed(monkeypatch, blend=2.0, low_frequency=2.0, search=2.0)
    blend, smooth = per_class(HIGH, name="blend"), per_class(HIGH, name="low_frequency")
    alike = judged(blend, smooth)
    assert alike.score == judged(blend).score < 0.5
    assert alike.verdict is Verdict.NO_EVIDENCE
    assert judged(blend, smooth, per_class(HIGH)).verdict is Verdict.SUSPICIOUS
    elsewhere = per_class((0.95, 0.0, 0.02, 0.01, 0.0, 0.02), name="low_frequency")
    assert judged(blend, elsewhere, per_class(HIGH)).score == judged(blend, per_class(HIGH)).score


def test_where_statistics_agree_only_their_class_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them may name another class beside it, as clean models do."""
    weighed(monkeypatch, search=2.0, other=2.0)
    two = (0.9, 0.0, 0.95, 0.01, 0.0, 0.02)
    result = judged(per_class(two), per_class(HIGH, name="other"))
    assert [set(e.target_classes) for e in result.evidence] == [{0, 2}, {2}]
    assert (result.verdict, result.target_classes) == (Verdict.SUSPICIOUS, (2,))
    alone = judged(per_class(two, success=0.9), per_class(LOW, name="other"))
    assert set(alone.target_classes) == {0, 2}


def test_a_confirmed_trigger_of_one_statistic_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=1.0, other=1.0)
    result = judged(per_class(HIGH, success=0.9), per_class(LOW, name="other"))
    assert (result.verdict, result.target_classes) == (Verdict.BACKDOORED, (2,))
    assert result.score > judged(per_class(HIGH, success=0.3), per_class(LOW, name="other")).score


def test_a_confirmed_trigger_makes_it_backdoored() -> None:
    result = judged(per_class(HIGH, success=0.9))
    assert result.score >= CONFIRMED_SCORE > judged(per_class(HIGH, success=0.3)).score
    assert (result.verdict, result.target_classes) == (Verdict.BACKDOORED, (2,))
    assert result.trigger is not None
    assert result.trigger.success_rate == 0.9


@pytest.mark.parametrize(("images", "verdict"), [(5, Verdict.SUSPICIOUS), (6, Verdict.BACKDOORED)])
def test_a_success_on_a_handful_of_images_confirms_nothing(images: int, verdict: Verdict) -> None:
    found = per_class(HIGH, success=1.0)
    few = tuple(replace(m, trigger=replace(m.trigger, images=images)) for m in found.measurements if m.trigger)
    assert judged(replace(found, measurements=few)).verdict is verdict


@pytest.mark.parametrize(("success", "verdict"), [(0.79, Verdict.SUSPICIOUS), (0.8, Verdict.BACKDOORED)])
def test_confirmation_starts_at_its_setting(success: float, verdict: Verdict) -> None:
    assert judged(per_class(HIGH, success=success)).verdict is verdict
    assert judged(per_class(HIGH, success=success), confirm_at=0.95).verdict is Verdict.SUSPICIOUS


@pytest.mark.parametrize(
    ("reference", "verdict"),
    [(0.0, Verdict.BACKDOORED), (0.44, Verdict.BACKDOORED), (0.46, Verdict.SUSPICIOUS), (1.0, Verdict.SUSPICIOUS)],
)
def test_a_trigger_that_works_on_the_reference_confirms_nothing(reference: float, verdict: Verdict) -> None:
    result = judged(per_class(HIGH, success=0.9, reference=reference), given=Given(reference=True))
    assert result.verdict is verdict
    said = "works on the reference too" in " ".join(result.warnings)
    assert said == (verdict is Verdict.SUSPICIOUS)


def test_a_trigger_of_a_class_that_does_not_stand_out_confirms_nothing() -> None:
    found = tuple(
        replace(m, trigger=trigger(0.95) if m.target_class == 0 else None) for m in per_class(HIGH).measurements
    )
    assert judged(replace(per_class(HIGH), measurements=found)).verdict is Verdict.SUSPICIOUS


@pytest.mark.parametrize(
    ("images", "verdict"), [(2, Verdict.SUSPICIOUS), (0, Verdict.SUSPICIOUS), (20, Verdict.BACKDOORED)]
)
def test_success_on_a_handful_of_images_confirms_nothing(images: int, verdict: Verdict) -> None:
    found = per_class(HIGH, success=1.0)
    few = tuple(replace(m, trigger=replace(m.trigger, images=images)) for m in found.measurements if m.trigger)
    assert judged(replace(found, measurements=few)).verdict is verdict


def test_two_targets() -> None:
    result = judged(per_class((0.02, 0.9, 0.03, 0.95, 0.0, 0.02), success=0.9))
    assert result.verdict is Verdict.BACKDOORED
    assert set(result.target_classes) == {1, 3}
    assert re.search(r"Classes 3, 1 stand out", result.reason)


def test_unfinished_is_never_no_evidence() -> None:
    whole = per_class(LOW)
    cut = replace(whole, measurements=whole.measurements[:4], note="cut short: its share of the time budget was spent")
    for outcomes in ([cut], [per_class(LOW, name="other"), cut], [replace(whole, expected=7)]):
        result = judged(*outcomes)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "not everything was measured" in result.reason
    assert "cut short" in judged(cut).reason


def test_unfinished_evidence_does_not_count_but_finished_does() -> None:
    whole = per_class(HIGH, success=0.9)
    cut = replace(whole, measurements=whole.measurements[:4])
    assert judged(cut).verdict is Verdict.INCONCLUSIVE
    assert judged(per_class(HIGH, success=0.9, name="other"), cut).verdict is Verdict.BACKDOORED
    assert list(weigh(cut, 6)) == []


def test_blockers_make_it_inconclusive_whatever_was_found() -> None:
    result = judged(per_class(HIGH, success=1.0), blockers=("the model gives NaN or infinity on ordinary images",))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "gives NaN" in result.reason


def test_gaps_make_it_inconclusive_where_nothing_is_found() -> None:
    gap = "the images to search on show 1 of 6 classes"
    nothing = judged(per_class(LOW), gaps=(gap,))
    assert nothing.verdict is Verdict.INCONCLUSIVE
    assert gap in nothing.reason
    assert judged(per_class(LOW)).verdict is Verdict.NO_EVIDENCE
    assert judged(per_class(HIGH, success=1.0), gaps=(gap,)).verdict is Verdict.BACKDOORED


def test_nothing_that_can_be_judged_is_inconclusive() -> None:
    nothing = per_class((float("nan"),) * 6)
    skipped = Outcome("search", CLASS, {}, (), expected=6, seconds=0, passes=0, note="needs a reference", skipped=True)
    for outcomes in ([], [nothing], [skipped]):
        result = judged(*outcomes)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.score == 0
        assert "no detector measured anything" in result.reason


def test_a_skipped_detector_was_not_needed() -> None:
    skipped = Outcome("other", CLASS, {}, (), expected=6, seconds=0, passes=0, note="needs a reference", skipped=True)
    assert judged(per_class(LOW), skipped).verdict is Verdict.NO_EVIDENCE


def test_nan_classes_are_left_out() -> None:
    values = (float("nan"), 0.02, 0.9, 0.0, float("nan"), 0.01)
    result = judged(per_class(values))
    assert result.target_classes == (2,)
    assert np.isnan(result.evidence[0].scores[0])
    assert result.evidence[0].value == pytest.approx((0.88 * 0.9) ** 0.5)


def test_p_value_and_threshold_come_from_the_calibration() -> None:
    outcome = per_class((0.1, 0.5, 0.2, 0.2, 0.2, 0.2))
    (item,) = judged(outcome).evidence
    assert item.value == pytest.approx((0.3 * 0.5) ** 0.5)
    assert item.p_value == pytest.approx((1 + (0.3 * 0.5) ** 0.5 / (20 * 0.05)) ** -20)
    assert NULL.p_value(item.threshold) == pytest.approx(0.01)
    assert item.stands_out == (item.value >= item.threshold)


def test_holm_corrects_for_all_statistics_judged() -> None:
    weak = per_class((0.0, 0.3, 0.0, 0.0, 0.0, 0.0))
    alone = judged(weak, level=0.0062)
    assert alone.verdict is Verdict.SUSPICIOUS
    many = [per_class(LOW, name="other")] * 3
    assert judged(weak, *many, level=0.0062).verdict is Verdict.NO_EVIDENCE
    assert judged(weak, *many).evidence[0].threshold > alone.evidence[0].threshold * 0.9


def test_corrected_p_values_are_monotone_and_never_smaller() -> None:
    outcomes = [per_class((v, *LOW[1:]), name="other") for v in (0.9, 0.5, 0.3, 0.2, 0.1, 0.05)]
    evidence = sorted(judged(*outcomes).evidence, key=lambda e: e.p_value)
    corrected_p = [e.corrected_p for e in evidence]
    assert corrected_p == sorted(corrected_p)
    assert all(e.corrected_p >= e.p_value for e in evidence)
    assert evidence[0].corrected_p == pytest.approx(min(1, evidence[0].p_value * 6))
    assert corrected([], 0.01) == ()


def test_score_orders_models_and_is_the_logistic_of_their_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=1.0)
    scores = [judged(per_class((v, 0, 0, 0, 0, 0))).score for v in (0.0, 0.1, 0.2, 0.3)]
    assert scores == sorted(scores)
    assert len(set(scores)) == 4
    assert all(0 <= s <= 1 for s in scores)
    at_level = NULL.threshold(0.01)  # −log₁₀ of p, less that of the usual p of ½
    expected = 1 / (1 + np.exp(3.0 - (2 - np.log10(2))))
    assert judged(per_class((at_level, 0, 0, 0, 0, 0))).score == pytest.approx(expected, abs=1e-6)


def test_a_model_wide_statistic_is_judged_by_its_value() -> None:
    def whole(value: float) -> Outcome:
        found = (Measurement(value, 4, trigger=trigger(value)),)
        return Outcome("whole", MODEL, {}, found, expected=1, seconds=1, passes=1)

    assert judged(whole(0.05)).verdict is Verdict.NO_EVIDENCE
    result = judged(whole(0.9))
    assert result.verdict is Verdict.BACKDOORED
    assert result.target_classes == (4,)
    assert result.evidence[0].value == 0.9


def test_low_can_be_the_suspicious_side() -> None:
    small = replace(CLASS, suspicious="low")
    outcome = replace(per_class((0.9, 0.88, 0.1, 0.9, 0.91, 0.9)), statistic=small)
    result = judged(outcome)
    assert result.target_classes == (2,)
    assert result.verdict is Verdict.SUSPICIOUS
    assert judged(replace(per_class(HIGH), statistic=small)).target_classes != (2,)


def planted_pair(value: float = 0.95) -> np.ndarray:
    matrix = np.full((6, 6), 0.02)
    matrix[4, 1] = value
    return matrix


def test_a_source_specific_pair_against_a_reference() -> None:
    result = judged(per_pair(planted_pair(), success=0.9, reference=0.0), given=Given(reference=True))
    assert result.verdict is Verdict.BACKDOORED
    assert (result.source_classes, result.target_classes) == ((4,), (1,))
    assert result.trigger is not None
    assert result.trigger.source_classes == (4,)
    assert "for images of class 4" in result.reason


def test_without_a_reference_a_single_pair_is_not_judged() -> None:
    """Classes that are alike lead on clean models too."""
    assert [e.statistic for e in weigh(per_pair(planted_pair()), 6)] == ["all-to-all index"]
    assert judged(per_pair(planted_pair())).verdict is not Verdict.SUSPICIOUS


def test_the_trigger_of_a_pair_is_that_pairs_own() -> None:
    """A stronger pattern from another source class to the same target proves nothing of this one."""
    outcome = per_pair(planted_pair())
    found = tuple(
        replace(m, trigger=trigger({4: 0.5, 0: 0.99}[m.source_class], 0.0, (m.source_class,)))
        if m.target_class == 1 and m.source_class in (0, 4) else m
        for m in outcome.measurements
    )  # fmt: skip
    result = judged(replace(outcome, measurements=found), given=Given(reference=True))
    assert result.verdict is Verdict.SUSPICIOUS
    assert result.trigger is not None
    assert result.trigger.source_classes == (4,)


def label_map(success: float, share: float = 0.7, reference: float | None = None) -> Outcome:
    """Every class sent to the next one, with the shared trigger on the first measurement, as `untargeted` tells it."""
    found = tuple(
        Measurement(share, (k + 1) % 6, k, trigger(success, reference) if k == 0 else None) for k in range(6)
    )
    return Outcome("maps", Statistic("moved", "share", per="source"), {}, found, expected=6, seconds=1.0, passes=10)


def test_a_label_map_that_most_images_follow_is_suspicious_unconfirmed(
    monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]
) -> None:
    """All-to-all attacks succeed no more often than the model is right, so that their triggers are seldom confirmed."""
    nulls["maps/all-to-all index"] = NULL
    known = Weights(-3.0, {"maps/all-to-all index": 1.0}, cap=3.0, alarm=0.7)
    monkeypatch.setattr("auditor.verdict.weights", lambda given: known)
    found = judged(label_map(0.7))
    assert (found.verdict, found.target_classes) == (Verdict.SUSPICIOUS, (0, 1, 2, 3, 4, 5))
    assert found.score == 0.7
    assert "maps measured an all-to-all index of" in found.reason
    assert judged(label_map(0.9)).verdict is Verdict.BACKDOORED
    three = label_map(0.7).measurements[:3]  # of so few sources two answers are much of a map
    two_answers = tuple(replace(m, target_class=m.target_class % 2) for m in three)
    answers = replace(label_map(0.7), measurements=two_answers, expected=3)
    assert judged(answers).evidence[0].stands_out
    for too_little in (label_map(0.4), label_map(0.7, share=0.1), label_map(0.7, reference=0.6), answers):
        result = judged(too_little)
        assert result.verdict is Verdict.NO_EVIDENCE
        assert result.score < 0.7


def test_single_sources_do_not_tell_where_the_change_covers_the_image(nulls: dict[str, Null]) -> None:
    nulls["maps/all-to-all index"] = nulls["maps/prominence"] = NULL
    small, given = label_map(0.9), Given(reference=True, images=True)
    first = small.measurements[0]
    assert first.trigger is not None
    cover = replace(first, trigger=replace(first.trigger, mask=np.full((10, 10), 0.15, np.float32)))
    whole = replace(small, measurements=(cover, *small.measurements[1:]))
    assert {kind_of(e) for e in weigh(small, 6, given)} == {ALL_TO_ALL, "prominence"}
    assert {kind_of(e) for e in weigh(whole, 6, given)} == {ALL_TO_ALL}


def test_all_to_all() -> None:
    matrix = np.full((6, 6), 0.02)
    for source in range(6):
        matrix[source, (source + 1) % 6] = 0.9
    result = judged(per_pair(matrix, success=0.9))
    (item,) = result.evidence
    assert item.statistic == "all-to-all index"
    assert item.value == pytest.approx(0.9)
    assert item.stands_out
    assert result.target_classes == tuple(range(6))


def test_an_unknown_plugin_is_judged_by_its_own_classes() -> None:
    quiet = per_class((0.3, 0.35, 0.4, 0.33, 0.38, 0.36), name="stranger")
    loud = per_class((0.30, 0.31, 0.95, 0.29, 0.32, 0.3), name="stranger")
    assert judged(quiet).verdict is Verdict.NO_EVIDENCE
    result = judged(loud)
    assert result.verdict is Verdict.SUSPICIOUS
    assert result.target_classes == (2,)
    assert np.isnan(result.evidence[0].threshold)
    for text in (judged(quiet).reason, result.reason):
        assert "nan" not in text


def test_an_unknown_plugin_with_one_number_proves_nothing() -> None:
    result = judged(Outcome("stranger", MODEL, {}, (Measurement(0.99, 1),), expected=1, seconds=1, passes=1))
    assert result.verdict is Verdict.NO_EVIDENCE
    assert result.score < 0.2


def test_reasons_are_one_sentence_with_class_statistic_and_value() -> None:
    cut = replace(per_class(LOW), expected=9)
    for result in (judged(per_class(HIGH)), judged(per_class(HIGH, success=0.9)), judged(per_class(LOW)), judged(cut)):
        assert result.reason.endswith(".")
        assert not re.search(r"[.!?] ", result.reason)
        assert "\n" not in result.reason
    confirmed = judged(per_class(HIGH, success=0.9)).reason
    for part in ("Class 2", "search", "prominence of power", "0.94", "90%", "77 held-out images", "1.0% of the pixels"):
        assert part in confirmed
    assert "class 2" in judged(per_class(LOW)).reason
    with_reference = judged(per_class(HIGH, success=0.9, reference=0.1), given=Given(reference=True)).reason
    assert "on the reference 10%" in with_reference


def test_candidates_lead_with_the_most_conspicuous() -> None:
    found = singled_out([per_class(LOW, name="other"), per_class(HIGH)], 6)
    assert found[0] == 2
    assert len(set(found)) == len(found)
    assert singled_out([], 6) == ()


def bare(power: tuple[float, ...], *, size: int = 3, transfer: float | None = None) -> Outcome:
    """Hardly commanding, but successful triggers of ``size`` rows of ten pixels or of three pixels."""
    found = []
    for k, share in enumerate(power):
        mask = np.zeros((10, 10), np.float32)
        mask[: size if size > 3 else 1, : 10 if size > 3 else 3] = 1
        made = replace(trigger(share, transfer), mask=mask)
        extras = {"predictive power": share}
        if transfer is not None:
            extras["predictive power on the reference"] = transfer
        found.append(Measurement(0.0, k, trigger=made, extras=extras))
    return Outcome("search", CLASS, {}, tuple(found), expected=len(power), seconds=1.0, passes=10)


def success_known(nulls: dict[str, Null]) -> None:
    nulls["search/prominence in success"] = Null(mean=0.1, count=20)


def test_a_small_trigger_that_just_about_works_everywhere_is_a_backdoor(nulls: dict[str, Null]) -> None:
    success_known(nulls)
    outcome = bare((0.05, 0.02, 0.9, 0.1, 0.0, 0.03, 0.0, 0.0, 0.02, 0.0))
    result = judged(outcome, num_classes=10, given=Given(images=True))
    assert (result.verdict, result.target_classes) == (Verdict.BACKDOORED, (2,))
    assert result.score >= 0.5
    # on class impressions natural features do as much
    alone = judged(outcome, num_classes=10, given=Given())
    assert alone.verdict is not Verdict.BACKDOORED


@pytest.mark.parametrize(
    "outcome",
    [
        bare((0.05, 0.02, 0.7, 0.1, 0.0, 0.03, *[0.0] * 4)),  # not confirmed
        bare((0.9, 0.85, 0.9, 0.88, 0.8, 0.92, *[0.85] * 4)),  # a weak model: every class is within reach
        bare((0.05, 0.02, 0.9, 0.1, 0.0, 0.03, *[0.0] * 4), size=5),  # half of the image
        bare((0.05, 0.02, 0.9, 0.1, 0.0, 0.03, *[0.0] * 4), transfer=0.8),  # a natural feature
    ],
    ids=["unconfirmed", "weak", "large", "natural"],
)
def test_success_alone_is_no_backdoor(outcome: Outcome, nulls: dict[str, Null]) -> None:
    success_known(nulls)
    result = judged(outcome, num_classes=10, given=Given(images=True))
    assert result.verdict is not Verdict.BACKDOORED


def larger(power: tuple[float, ...], side: int, success: float = 0.95) -> Outcome:
    """Nothing compact, but larger patterns command; triggers of ``side`` pixels on 100 confirm it."""
    found = []
    for k, share in enumerate(power):
        mask = np.zeros((10, 10), np.float32)
        mask[0, :side] = 1
        made = replace(trigger(success), mask=mask)
        found.append(Measurement(0.0, k, trigger=made, extras={LARGE_POWER: share}))
    return Outcome("search", CLASS, {}, tuple(found), expected=len(power), seconds=1.0, passes=10)


def larger_known(monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null], mean: float) -> None:
    known = Weights(-3.0, {"search/prominence": 1.0, "search/prominence of larger patterns": 1.0}, cap=3.0, alarm=0.9)
    monkeypatch.setattr("auditor.verdict.weights", lambda given: known)
    nulls["search/prominence of larger patterns"] = Null(mean, count=1000)


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(
    ("leads_by", "side", "expected"),
    [(0.97, 4, Verdict.BACKDOORED), (0.5, 4, Verdict.NO_EVIDENCE), (0.5, 1, Verdict.BACKDOORED)],
    ids=["far beyond clean ones", "one clean model in 20000 shows as much", "the same, but compact"],
)
def test_a_larger_trigger_has_to_be_far_from_clean_models(
    leads_by: float,
    side: int,
    expected: Verdict,
    images: bool,
    nulls: dict[str, Null],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Natural features work as well; a compact one may be confirmed at the level of a single statistic."""
    larger_known(monkeypatch, nulls, 0.045)
    outcome = larger((0.0, 0.0, leads_by, 0.0, 0.0, 0.0), side)
    assert judged(outcome, given=Given(images=images)).verdict is expected
    against = judged(outcome, given=Given(images=images, reference=True))
    assert against.verdict is Verdict.BACKDOORED


TWINS = [
    (0.29, False, Verdict.BACKDOORED),  # global pooling
    (0.3, True, Verdict.BACKDOORED),  # its parent
    (0.3, False, Verdict.NO_EVIDENCE),
]
"""density, whether suspect and reference are kin, the verdict on a trigger that clean networks come near"""


@pytest.mark.parametrize(("density", "kin", "expected"), TWINS)
@pytest.mark.parametrize("images", [True, False])
def test_a_reference_that_is_no_twin_need_not_share_a_weakness(
    images: bool, density: float, kin: bool, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """p 2e-5 and 5e-9: a clean network of digits came to the first beside a clean one of another architecture."""
    larger_known(monkeypatch, nulls, 0.045)
    given = Given(images=images, reference=True, density=density, kin=kin)
    assert judged(larger((0.0, 0.0, 0.5, 0.0, 0.0, 0.0), 4), given=given).verdict is expected
    assert judged(larger((0.0, 0.0, 0.9, 0.0, 0.0, 0.0), 4), given=given).verdict is Verdict.BACKDOORED


@pytest.mark.parametrize(("accuracy", "expected"), [(0.81, Verdict.BACKDOORED), (0.79, Verdict.NO_EVIDENCE)])
def test_nor_need_one_of_a_weakly_trained_suspect(
    accuracy: float, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean one that is right on 58 % gave way to 3.5 % of the pixels, and its reference did not."""
    larger_known(monkeypatch, nulls, 0.045)
    given = Given(images=True, reference=True, clean_accuracy=accuracy)
    outcome = larger((0.0, 0.0, 0.5, 0.0, 0.0, 0.0), 4)
    assert judged(outcome, given=given).verdict is expected
    assert judged(outcome, given=replace(given, kin=True)).verdict is Verdict.BACKDOORED


@pytest.mark.parametrize(("density", "kin", "expected"), TWINS)
def test_nor_what_commands_a_little(
    density: float, kin: bool, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """p 1e-3, where a clean network for signs came to, and 7e-9."""
    weighed(monkeypatch, search=0.5)
    nulls["search/prominence"] = Null(0.05, count=1000)
    given = Given(reference=True, density=density, kin=kin)
    for value, verdict in ((0.35, expected), (0.95, Verdict.BACKDOORED)):
        found = per_class((0.02, 0.0, value, 0.0, 0.0, 0.0), success=0.9)
        sure = tuple(replace(m, trigger=trigger(0.9 if m.target_class == 2 else 0.0)) for m in found.measurements)
        assert judged(replace(found, measurements=sure), given=given).verdict is verdict


def test_what_only_agrees_with_others_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]
) -> None:
    """A trigger that works, of a statistic that one clean model in twenty shows, makes no suspicion a certainty."""
    known = Weights(-1.0, {"search/prominence": 1.0, "other/prominence": 1.0}, cap=3.0, alarm=0.6)
    monkeypatch.setattr("auditor.verdict.weights", lambda given: known)
    others = per_class((0.0, 0.0, 0.3, 0.0, 0.0, 0.0), name="other")
    works = per_class((0.0, 0.0, 0.6, 0.0, 0.0, 0.0), success=0.95)
    for mean, verdict in ((0.2, Verdict.SUSPICIOUS), (0.05, Verdict.BACKDOORED)):
        nulls["search/prominence"] = Null(mean, count=1000)
        result = judged(others, works)
        assert (result.verdict, result.target_classes) == (verdict, (2,))


def few(compact: float, larger: float = 0.0, side: int = 3) -> Outcome:
    """Two classes; what compact and larger patterns of the second command, its trigger ``side`` pixels of 100."""
    mask = np.zeros((10, 10), np.float32)
    mask[0, :side] = 1
    found = tuple(
        Measurement(
            compact * k, k, trigger=replace(trigger(0.95 if k else 0.1), mask=mask), extras={LARGE_POWER: larger * k}
        )
        for k in range(2)
    )
    return Outcome("search", CLASS, {}, found, expected=2, seconds=1.0, passes=10)


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


def test_what_is_found_inside_the_network_counts_in_the_score_only(
    monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]
) -> None:
    """An adversarially trained clean network came to 2e-5, where it would have counted by itself."""
    weighed(monkeypatch, features=1.0)
    nulls["features/prominence"] = NULL
    inside = per_class(HIGH, name="features")
    for given in (Given(), Given(images=True), Given(reference=True)):
        assert judged(inside, given=given).verdict is Verdict.NO_EVIDENCE
    agreeing = [inside, per_class(HIGH, success=0.5)]
    weighed(monkeypatch, features=2.0, search=2.0)
    result = judge(agreeing, num_classes=6, level=0.01, confirm_at=0.8, given=Given(images=True))
    assert (result.verdict, result.target_classes) == (Verdict.SUSPICIOUS, (2,))


@pytest.mark.parametrize(
    ("given", "mode", "mean", "works", "expected"),
    [
        (Given(images=True), "replace", 0.02, 0.95, Verdict.SUSPICIOUS),
        (Given(images=True), "replace", 0.02, 0.5, Verdict.NO_EVIDENCE),  # an image that does not work is no trigger
        (Given(images=True), "replace", 0.06, 0.95, Verdict.NO_EVIDENCE),  # p 2e-7: a weakly trained clean model's
        (Given(images=True), "warp", 0.06, 0.95, Verdict.SUSPICIOUS),  # but no deformation of a clean one
        (Given(images=True), "warp", 0.06, 0.5, Verdict.NO_EVIDENCE),
        (Given(images=True), "warp", 0.12, 0.95, Verdict.NO_EVIDENCE),  # p 4e-4
        (Given(), "replace", 0.02, 0.95, Verdict.SUSPICIOUS),
        (Given(), "replace", 0.06, 0.95, Verdict.NO_EVIDENCE),  # haze is an 8 to a clean network of digits
        (Given(reference=True), "replace", 0.06, 0.95, Verdict.SUSPICIOUS),
        (Given(reference=True), "warp", 0.06, 0.95, Verdict.SUSPICIOUS),
        (Given(reference=True, images=True), "replace", 0.02, 0.95, Verdict.BACKDOORED),
        (Given(reference=True, images=True), "warp", 0.02, 0.95, Verdict.BACKDOORED),
        # p 4e-4: what is searched on one clean network does often nothing to another
        (Given(reference=True, images=True), "replace", 0.12, 0.95, Verdict.NO_EVIDENCE),
        (Given(reference=True, images=True), "warp", 0.12, 0.95, Verdict.NO_EVIDENCE),
        # p 1e-9: haze is an 8 to a clean network of digits, and not to another one
        (Given(reference=True, images=True, density=0.3), "replace", 0.045, 0.95, Verdict.NO_EVIDENCE),
        (Given(reference=True, images=True, density=0.29), "replace", 0.045, 0.95, Verdict.BACKDOORED),
        (Given(reference=True, density=0.3), "replace", 0.045, 0.95, Verdict.NO_EVIDENCE),
        (Given(reference=True, images=True, density=0.3), "replace", 0.02, 0.95, Verdict.BACKDOORED),
    ],
)
def test_a_change_of_the_whole_image_far_from_all_clean_models_is_suspicious(
    given: Given, mode: Literal["replace", "warp"], mean: float, works: float, expected: Verdict,
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weighed(monkeypatch, search=0.5)
    nulls["search/prominence"] = Null(mean, count=1000)
    faint = per_class((0.02, 0.0, 0.95, 0.0, 0.0, 0.0), success=works)
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.full((10, 10), 0.25, np.float32), mode=mode))
        for m in faint.measurements
    )
    found = judged(replace(faint, measurements=whole), given=given)
    assert found.verdict is expected
    if expected is Verdict.SUSPICIOUS:
        assert (found.target_classes, found.by_score) == ((2,), ("search",))  # so it is looked at again


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
    ("statistic", "sources", "reference", "density", "confirmed"),
    [
        (TARGETS, (3, 5), False, 0.0, False),
        (TARGETS, (), False, 0.0, True),
        (TARGETS, (3, 5), True, 0.29, True),
        (TARGETS, (3, 5), True, 0.3, False),  # of a weakly trained clean network of clothes
        (TARGETS, (), True, 0.3, True),
        ("prominence of share of a source", (3, 5), False, 0.0, True),
        (ALL_TO_ALL, (3, 5), True, 0.0, False),
    ],
)
def test_a_patch_on_some_sources_does_not_confirm_what_is_said_of_most(
    statistic: str, sources: tuple[int, ...], reference: bool, density: float, confirmed: bool
) -> None:
    item = Evidence("patches", statistic, 0.5, np.nan, 1e-5, 1e-4, (2,))
    patch = replace(trigger(0.93, 0.0 if reference else None), source_classes=sources)
    given = Given(images=True, reference=reference, density=density)
    assert confirms(Measurement(0.9, 2, 3, patch), item, given, 0.8) is confirmed


@pytest.mark.parametrize(
    ("detector", "accuracy", "p_value", "confirmed"),
    [
        ("patches", 0.81, 1e-5, True),
        ("patches", 0.79, 1e-11, False),  # weak clean networks of five to eight classes came to 3e-3, 9e-5 and 5e-8
        ("patches", 0.79, 1e-13, True),
        ("iscp", 0.79, 1e-5, True),
    ],
)
def test_on_a_weak_network_a_ready_made_patch_confirms_only_far_from_clean_ones(
    detector: str, accuracy: float, p_value: float, confirmed: bool
) -> None:
    item = Evidence(detector, "prominence of share of a source", 0.8, np.nan, p_value, p_value, (2,), (3,))
    given = Given(images=True, clean_accuracy=accuracy)
    assert confirms(Measurement(0.9, 2, 3, trigger(0.9)), item, given, 0.8) is confirmed


@pytest.mark.parametrize("given", [Given(images=True), Given(reference=True), Given(images=True, reference=True)])
@pytest.mark.parametrize(
    ("mean", "success", "reference", "verdict"),
    [
        (0.015, 0.74, 0.0, Verdict.SUSPICIOUS),  # p 2e-13
        (0.015, 0.45, 0.0, Verdict.NO_EVIDENCE),  # it does not work
        (0.015, 0.74, 0.6, Verdict.NO_EVIDENCE),  # on the reference as well
        (0.025, 0.74, 0.0, Verdict.NO_EVIDENCE),  # p 5e-8
        (0.015, 0.93, 0.0, Verdict.BACKDOORED),  # though it is for some sources, and said of most
    ],
)
def test_a_ready_made_patch_far_from_all_clean_models_counts_by_itself(
    given: Given, mean: float, success: float, reference: float, verdict: Verdict,
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A planted patch was nearly the ready-made one, which turned 74 to 78 % of three sources of five."""
    if not given.reference and reference:
        return
    kinds = ("prominence", ALL_TO_ALL, TARGETS)
    known = Weights(-3.0, {f"patches/{kind}": 0.1 for kind in kinds}, cap=3.0, alarm=ALARM)
    monkeypatch.setattr("auditor.verdict.weights", lambda given: known)
    nulls.update({f"patches/{kind}": Null(1.0, 1000) for kind in kinds})
    nulls[f"patches/{TARGETS}"] = Null(mean, 1000)
    transferred = reference if given.reference else None
    found = [
        Measurement(0.74, 2, s, trigger(success, transferred, sources=(0, 1, 3)))
        if s in (0, 1, 3)
        else Measurement(0.0, 4, s)
        for s in (0, 1, 3, 2, 5)
    ]
    statistic = Statistic("moved", "share of images", per="source")
    outcome = Outcome("patches", statistic, {}, tuple(found), expected=5, seconds=1.0, passes=10)
    result = judged(outcome, given=given)
    assert result.verdict is verdict
    if verdict is Verdict.SUSPICIOUS:
        assert (result.target_classes, result.by_score) == ((2,), ("patches",))


@pytest.mark.parametrize(
    ("detector", "success", "verdict"),
    [
        ("waves", 0.61, Verdict.SUSPICIOUS),
        ("waves", 0.55, Verdict.NO_EVIDENCE),  # its interval reaches below a half
        ("blend", 0.61, Verdict.NO_EVIDENCE),  # what was searched has to work better
    ],
)
def test_a_wave_that_nobody_searched_for_has_to_turn_half(
    detector: str, success: float, verdict: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(monkeypatch, **{detector: 0.1})
    nulls[f"{detector}/prominence"] = Null(0.02, 1000)
    found = per_class((0.02, 0.0, 0.6, 0.0, 0.0, 0.0), success=success, name=detector)
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.full((10, 10), 0.25, np.float32), images=120))
        for m in found.measurements
    )
    assert judged(replace(found, measurements=whole), given=Given(images=True)).verdict is verdict


def resembling(outcome: Outcome, **resemblance: float) -> Outcome:
    """The same, the pattern of one class as near to images of its own as that (``of2=0.9``)."""
    told = {int(name.removeprefix("of")): value for name, value in resemblance.items()}
    extras = [{**m.extras, "resemblance": told.get(m.target_class, 0.5)} for m in outcome.measurements]
    found = (replace(m, extras=e) for m, e in zip(outcome.measurements, extras, strict=True))
    return replace(outcome, measurements=tuple(found))


NATURAL = (0.02, 0.0, 0.31, 0.01, 0.0, 0.02)
"""what a clean network of clothes shows, which takes 98 % of the images for bags with eight pixels of a bag's edge"""


def with_success(outcome: Outcome, number: str = SUCCESS) -> Outcome:
    """The same, each pattern's success as large as its value and told beside it as well."""
    shares = [0.98 if m.value > 0.3 else 0.01 for m in outcome.measurements]
    found = (
        replace(m, trigger=trigger(share), extras={number: m.value})
        for m, share in zip(outcome.measurements, shares, strict=True)
    )
    return replace(outcome, measurements=tuple(found))


def test_a_pattern_that_looks_like_its_class_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=1.0)
    outcome = with_success(per_class(NATURAL))
    assert judged(outcome).verdict is Verdict.BACKDOORED
    assert judged(resembling(outcome, of2=0.69)).verdict is Verdict.BACKDOORED
    natural = judged(resembling(outcome, of2=0.71))
    assert (natural.verdict, natural.target_classes) == (Verdict.NO_EVIDENCE, ())
    assert natural.warnings == (
        "1.0% of the pixels turn 98% of the images into class 2, but it looks like images of that class: a weakness of "
        "the network rather than a backdoor",
    )


@pytest.mark.parametrize(
    "told", [{"resemblance": 0.9}, {SUCCESS: 0.9, "predictive power elsewhere": 0.9}], ids=["alike", "anywhere"]
)
def test_what_its_class_explains_confirms_nothing_of_others(told: dict[str, float]) -> None:
    """Nor what another detector says of that class: its trigger is this pattern, however often it works."""
    item, given = Evidence("margin", PLAIN, 0.5, np.nan, 1e-5, 1e-4, (2,)), Given(images=True)
    found = Measurement(0.31, 2, None, trigger(0.98))
    assert confirms(found, item, given, 0.8)
    assert not confirms(replace(found, extras=told), item, given, 0.8)


def test_one_that_commands_more_than_natural_ones_do_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted square may happen to lie where its target is bright."""
    weighed(monkeypatch, search=1.0)
    strong = with_success(per_class((0.02, 0.0, 0.41, 0.01, 0.0, 0.02)))
    assert judged(resembling(strong, of2=0.9)).verdict is Verdict.BACKDOORED
    for larger, verdict in ((0.69, Verdict.NO_EVIDENCE), (0.71, Verdict.BACKDOORED)):
        outcome = resembling(with_success(per_class(NATURAL)), of2=0.9)
        found = (replace(m, extras={**m.extras, LARGE_POWER: larger * (m.value > 0.3)}) for m in outcome.measurements)
        result = judged(replace(outcome, measurements=tuple(found)), given=Given(images=True))
        assert result.verdict is verdict


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (Given(), Verdict.NO_EVIDENCE),  # a clean network of six kinds of clothes: eight pixels of a bag's edge
        (Given(images=True), Verdict.BACKDOORED),
        (Given(reference=True), Verdict.BACKDOORED),
    ],
)
def test_alone_a_compact_trigger_decides_only_what_stands_out_among_all(
    given: Given, verdict: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(monkeypatch, search=0.5, other=0.5)
    nulls["search/prominence"] = Null(0.061, count=1000)  # p 8e-3: below the level, not below half of it
    outcomes = [with_success(per_class(NATURAL)), per_class((0.0,) * 6, name="other")]
    result = judge(outcomes, num_classes=6, level=0.01, confirm_at=0.8, given=given)
    assert 0.005 < min(e.p_value for e in result.evidence if e.statistic != PLAIN) < 0.01
    assert result.verdict is verdict


def test_a_planted_class_is_named_beside_a_natural_one(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=1.0)
    both = with_success(per_class((0.02, 0.0, 0.39, 0.01, 0.38, 0.02)))
    assert judged(both).target_classes == (2, 4)
    result = judged(resembling(both, of2=0.9))
    assert (result.verdict, result.target_classes) == (Verdict.BACKDOORED, (4,))


@pytest.mark.parametrize(("number", "kind"), [(SUCCESS, PLAIN), (LARGE_POWER, LARGER)])
def test_numbers_beside_the_statistic_count_nothing_of_a_natural_pattern_either(
    number: str, kind: str, nulls: dict[str, Null]
) -> None:
    nulls[f"search/{kind}"] = NULL
    outcome = with_success(per_class(NATURAL), number)
    for share, most in ((0.5, 1.0), (0.9, 0.05)):
        (value,) = (e.value for e in weigh(resembling(outcome, of2=share), 6) if kind_of(e) == kind)
        assert most - 0.8 < value < most


def in_another_place(outcome: Outcome, share: float) -> Outcome:
    """The same, a second pattern of each class as successful as that share of the first."""
    found = (
        replace(m, extras={**m.extras, "predictive power elsewhere": share * m.extras[SUCCESS]})
        for m in outcome.measurements
    )
    return replace(outcome, measurements=tuple(found))


@pytest.mark.parametrize(
    ("value", "share", "verdict"),
    [(0.45, 0.53, "backdoored"), (0.45, 0.57, "no_evidence"), (0.55, 0.95, "backdoored")],
)
def test_a_pattern_that_works_in_any_place_is_no_trigger(
    monkeypatch: pytest.MonkeyPatch, value: float, share: float, verdict: str
) -> None:
    """On class impressions a clean network of clothes took nearly all for bags with 2 % of the pixels, and again."""
    weighed(monkeypatch, search=1.0)
    outcome = with_success(per_class((0.02, 0.0, value, 0.01, 0.0, 0.02)))
    found = judged(in_another_place(outcome, share))
    assert found.verdict == Verdict(verdict)
    assert [w.count("one in another place") for w in found.warnings] == [1] * (verdict == "no_evidence")


@pytest.mark.parametrize(("next_best", "value"), [(0.25, 0.025), (0.45, 0.225)])
def test_beside_one_that_works_in_any_place_others_count_by_what_is_beyond(next_best: float, value: float) -> None:
    """Of a clean network for signs the first class was explained, and the next natural one stood out."""
    outcome = with_success(per_class((0.02, 0.0, 0.45, 0.01, next_best, 0.02)))
    found = in_another_place(outcome, 0.0).measurements
    anywhere = replace(found[2], extras={**found[2].extras, "predictive power elsewhere": 0.45})
    known = replace(outcome, measurements=(*found[:2], anywhere, *found[3:]))
    assert next(e for e in weigh(known, 6)).scores == pytest.approx((0, 0, 0, 0, value, 0))


@pytest.mark.parametrize(
    ("named", "success", "p_value", "detector", "tells_more"),
    [
        (2, 0.98, 1e-4, "blend", False),
        (4, 0.98, 1e-4, "blend", True),
        (2, 0.7, 1e-4, "blend", True),
        (2, 0.98, 1e-7, "blend", False),
        (2, 0.98, 1e-12, "blend", True),
        (2, 0.98, 1e-7, "waves", True),  # clean models come to 2e-4 by waves that nobody searched for
    ],
)
def test_alone_other_disturbances_that_lead_to_what_any_does_tell_nothing(
    named: int, success: float, p_value: float, detector: str, tells_more: bool
) -> None:
    """Ready-made patches and blends led a clean network of clothes to bags as well."""
    found = in_another_place(with_success(per_class((0.02, 0.0, 0.45, 0.01, 0.0, 0.02))), 0.95)
    reached = {SUCCESS: success, "predictive power elsewhere": 0.95 * success}
    measurements = [replace(m, extras=reached) if m.target_class == 2 else m for m in found.measurements]
    item = Evidence(detector, "prominence of power", 0.3, 0.2, p_value, p_value, (named,))
    disturbed = [replace(found, measurements=tuple(measurements))]
    assert tells(item, disturbed, 10, Given()) is tells_more
    assert tells(item, disturbed, 10, Given(images=True))
    assert tells(item, disturbed, 10, Given(reference=True))
    assert tells(replace(item, confirmed=True), [found], 10, Given())
    pictured = resembling(with_success(per_class(NATURAL)), of2=0.9)
    pictured = replace(
        pictured, measurements=tuple(replace(m, extras={**m.extras, SUCCESS: success}) for m in pictured.measurements)
    )
    assert tells(item, [pictured], 10, Given()) is tells_more


def test_nulls_are_made_as_if_nobody_had_asked_what_explains_a_pattern() -> None:
    outcome = in_another_place(resembling(with_success(per_class(NATURAL)), of2=0.9), 0.95)
    assert next(e.value for e in weigh(outcome, 6)) < 0.05
    plain = unexplained(outcome)
    assert next(e.value for e in weigh(plain, 6)) > 0.2
    assert plain.measurements[2].extras == {SUCCESS: 0.31}
    item = next(weigh(plain, 6))
    assert tells(item, [plain], 10, Given())
