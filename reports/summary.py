"""The judged statistics as rows of a table, for the console and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.archive import outcome_status
from auditor.findings import Audit, Evidence, Outcome

from . import wording


@dataclass(frozen=True)
class Judged:
    """One piece of evidence, or a detector of which nothing was judged, in words."""

    detector: str
    statistic: str
    stands_out: bool
    who: str
    """the classes that stand out, else ``no``, ``incomplete`` or ``skipped``"""
    value: str
    threshold: str
    p_value: str
    corrected_p: str
    status: str
    passes: str
    seconds: str


def summary(audit: Audit) -> list[Judged]:
    """One row a statistic that was judged, and one for each detector of which nothing was."""
    rows = []
    for outcome in audit.outcomes:
        found: Sequence[Evidence | None] = wording.of_detector(audit, outcome) or [None]
        rows += [_judged(audit, outcome, evidence) for evidence in found]
    return rows + [_judged(audit, None, evidence) for evidence in wording.of_no_detector(audit)]


def _judged(audit: Audit, outcome: Outcome | None, e: Evidence | None) -> Judged:
    status = outcome_status(outcome) if outcome else "complete"
    who: str = "no" if status == "complete" else status
    if e is not None and e.stands_out:
        who = wording.class_list(audit, e.target_classes, 3) if e.target_classes else "the model"
    return Judged(
        outcome.detector if outcome else e.detector if e else "",
        e.statistic if e else outcome.statistic.name if outcome else "",
        bool(e and e.stands_out),
        who,
        wording.number(e.value if e else None),
        wording.number(e.threshold if e else None),
        wording.probability(e.p_value if e else None),
        wording.probability(e.corrected_p if e else None),
        status,
        wording.passes(outcome.passes) if outcome else "–",
        wording.duration(outcome.seconds) if outcome else "–",
    )
