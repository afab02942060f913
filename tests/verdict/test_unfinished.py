"""The judge on audits that did not finish, or could not be measured."""

from __future__ import annotations

from dataclasses import replace

from auditor.findings import Outcome, Verdict
from auditor.weighing import weigh
from tests.verdict.outcomes import CLASS, HIGH, LOW, judged, per_class


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
