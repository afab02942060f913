"""The judge on single pairs of classes and on label maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditor.calibration import Given, Null
from auditor.findings import Measurement, Outcome, Statistic, Verdict
from auditor.scoring import ALL_TO_ALL, kind_of
from auditor.weighing import weigh
from tests.verdict.outcomes import NULL, judged, per_pair, trigger, weighed_as


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
    weighed_as(monkeypatch, {"maps/all-to-all index": 1.0})
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
