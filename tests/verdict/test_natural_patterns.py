"""The judge on patterns that the network's own idea of a class explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditor.calibration import Given, Null
from auditor.confirming import LARGE_POWER, SUCCESS, confirms, unexplained
from auditor.findings import Evidence, Measurement, Outcome, Verdict
from auditor.scoring import LARGER, PLAIN, kind_of
from auditor.telling import tells
from auditor.verdict import judge
from auditor.weighing import weigh
from tests.verdict.outcomes import HIGH, NULL, judged, per_class, trigger, weighed


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


def test_what_another_trigger_convicts_is_not_called_natural_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed(monkeypatch, search=1.0, other=1.0)
    anywhere = in_another_place(with_success(per_class((0.02, 0.0, 0.45, 0.01, 0.0, 0.02))), 0.95)
    planted = replace(per_class(HIGH, success=0.95), detector="other")
    found = judged(anywhere, planted)
    assert (found.verdict, found.target_classes) == (Verdict.BACKDOORED, (2,))
    assert not [w for w in found.warnings if "weakness of the network" in w]
    elsewhere = replace(per_class((0.95, 0.0, 0.02, 0.0, 0.0, 0.0), success=0.95), detector="other")
    assert [w for w in judged(anywhere, elsewhere).warnings if "weakness of the network" in w]


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
