"""The judge: outcomes made by hand in, verdicts out."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from auditor.calibration import Given, Null
from auditor.findings import Measurement, Outcome, Verdict
from auditor.verdict import CONFIRMED_SCORE
from auditor.weighing import corrected, singled_out
from tests.verdict.outcomes import CLASS, HIGH, LOW, MODEL, NULL, judged, per_class, trigger, weighed


def test_nothing_stands_out() -> None:
    result = judged(per_class(LOW, success=0.9))
    assert result.verdict is Verdict.NO_EVIDENCE
    assert (result.target_classes, result.trigger, result.warnings) == ((), None, ())
    assert result.score < 0.2


def test_a_plugins_class_that_stands_out_without_a_trigger_is_suspicious() -> None:
    result = judged(per_class(HIGH))
    assert (result.verdict, result.target_classes) == (Verdict.SUSPICIOUS, (2,))


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


@pytest.mark.parametrize(
    ("images", "verdict"), [(0, Verdict.SUSPICIOUS), (5, Verdict.SUSPICIOUS), (6, Verdict.BACKDOORED)]
)
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


def test_two_targets() -> None:
    result = judged(per_class((0.02, 0.9, 0.03, 0.95, 0.0, 0.02), success=0.9))
    assert result.verdict is Verdict.BACKDOORED
    assert set(result.target_classes) == {1, 3}
    assert re.search(r"Classes 3, 1 stand out", result.reason)


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


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ((0.0, 0.6, 0.0, 0.0, 0.0, 0.0), (1,)),  # another statistic bears one of the two out
        ((0.0, 0.1, 0.0, 0.0, 0.0, 0.0), (1, 3)),  # not rare enough to tell
        ((0.0, 0.0, 0.0, 0.0, 0.6, 0.0), (1, 3)),  # another class
        ((0.0, 0.6, 0.0, 0.6, 0.0, 0.0), (1, 3)),
    ],
)
def test_of_classes_that_lead_together_those_are_named_that_others_bear_out(
    second: tuple[float, ...], named: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight scattered pixels were planted for shirts, and bags led with them."""
    weighed(monkeypatch, search=1.0, other=1.0)
    result = judged(
        per_class((0.02, 0.9, 0.03, 0.85, 0.0, 0.02), success=0.9), per_class(second, success=0.6, name="other")
    )
    assert (result.verdict, result.target_classes) == (Verdict.BACKDOORED, named)
    assert result.reason.startswith("Class 1 stands out" if named == (1,) else "Classes 1, 3 stand out")
    assert [w for w in result.warnings if "beside class" in w] == [
        "search shows class 3 beside class 1, for which more speaks: a natural feature, or a second target"
    ] * (named == (1,))


@pytest.mark.parametrize(("success", "named"), [(0.9, (1,)), (0.6, (1, 3))])
def test_what_is_confirmed_bears_out_more_than_what_is_not(
    success: float, named: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]
) -> None:
    weighed(monkeypatch, search=1.0, other=1.0, third=1.0)
    nulls["third/prominence"] = NULL
    other = per_class((0.0, 0.52, 0.0, 0.0, 0.0, 0.0), success=success, name="other")
    third = per_class((0.0, 0.0, 0.0, 0.52, 0.0, 0.0), success=0.6, name="third")
    both = per_class((0.02, 0.97, 0.03, 0.95, 0.0, 0.02), success=0.9)
    assert judged(both, other, third).target_classes == named
