"""The only judge: outcomes → evidence → verdict.

Each detector's numbers are reduced to one that a clean model keeps small: for statistics per class the step between the
leading classes and the rest (`outliers.prominence`), for pairs the same over pairs and an all-to-all index, for the
whole model the value itself. Its p-value comes from a calibration on clean models, is corrected for all statistics
judged together (Holm), and stands out below the family-wise level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from auditor.calibration import ALONE, Given, Null, nulls
from auditor.findings import Evidence, FileFinding, Measurement, Outcome, Trigger, Verdict
from auditor.outliers import all_to_all_index, holm, leader_p_value, leading_gap, prominence
from auditor.reason import built_in, sentence

ALL_TO_ALL = "all-to-all index"
"""of a source × target matrix, see `outliers.all_to_all_index`"""

FEWEST_CLASSES = 5
"""with fewer, and no reference, the other classes are too few to say what a natural feature can do"""

WHOLE_IMAGE = 0.2
"""share of the pixels from which a trigger counts as covering the image"""

TRANSFER_SHARE = 0.5
"""a trigger that works on the reference at least this fraction as often as on the suspect is no backdoor's"""


BUILT_IN_SWITCHES = frozenset({"architectural-backdoor"})
"""findings that show a choice between two behaviours built into the graph itself"""

SWITCH_SCORE = 0.5
"""the score of a statistic at a family-wise level of 0.01, which such a finding is taken to equal"""


@dataclass(frozen=True)
class Judgement:
    """What `judge` concludes."""

    verdict: Verdict
    score: float
    reason: str
    target_classes: tuple[int, ...]
    source_classes: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    trigger: Trigger | None
    warnings: tuple[str, ...]


def judge(
    outcomes: Sequence[Outcome],
    *,
    num_classes: int,
    level: float,
    confirm_at: float,
    given: Given = ALONE,
    blockers: Sequence[str] = (),
    findings: Sequence[FileFinding] = (),
) -> Judgement:
    """The verdict on a model.

    ``given`` tells what the outcomes were measured with. ``level`` is the family-wise false-alarm
    level, ``confirm_at`` the attack success rate from which a recovered trigger counts as confirmed. ``blockers``
    (from the preflight) make it inconclusive. ``findings`` are what the file itself shows: a switch built into the
    graph is enough for suspicion, whatever was measured.
    """
    too_few = num_classes < FEWEST_CLASSES and not given.reference
    weighed = [e for o in outcomes for e in weigh(o, num_classes, given)]
    if too_few:
        # some class is everybody's answer to texture: only small patterns can be told from that
        weighed = [e for e in weighed if not any(_covers_image(m) for m in _triggers(outcomes, e))]
    evidence = corrected(weighed, level, given)
    standing = sorted((e for e in evidence if e.stands_out), key=lambda e: e.p_value)
    incomplete = [o for o in outcomes if not o.skipped and not o.complete]
    found = [(item, m) for item in standing for m in _triggers(outcomes, item)]
    confirmed = [(item, m) for item, m in found if _is_confirmed(m.trigger, confirm_at)]
    leading = confirmed[0][0] if confirmed else standing[0] if standing else None
    shown = None
    if leading is not None:
        # of the triggers that do it, the faintest explains most; unconfirmed, the most successful
        same = [m for _, m in confirmed or found if m.target_class in leading.target_classes]
        best = min if confirmed else max
        shown = best(same, key=_strength if confirmed else _success, default=None)
    if too_few and not standing and not blockers:
        blockers = [
            f"with {num_classes} classes and no reference a faint trigger over the whole image cannot be told from a "
            "natural feature, though no small pattern stands out; give --reference a clean model of the same task"
        ]
    verdict = _verdict(bool(confirmed), bool(standing), blockers, incomplete, evidence)
    reason = sentence(verdict, leading, shown if confirmed else None, evidence, blockers, incomplete)
    switches = [f for f in findings if f.id in BUILT_IN_SWITCHES]
    if switches and verdict is not Verdict.BACKDOORED:
        verdict, reason = Verdict.SUSPICIOUS, f"{built_in(switches)} {reason}"
    return Judgement(
        verdict=verdict,
        score=max(_score(evidence), SWITCH_SCORE if switches else 0.0),
        reason=reason,
        target_classes=leading.target_classes if leading else (),
        source_classes=leading.source_classes if leading else (),
        evidence=evidence,
        trigger=shown.trigger if shown else None,
        warnings=tuple(_transfer_warnings([m for _, m in found], confirm_at)),
    )


def weigh(outcome: Outcome, num_classes: int, given: Given = ALONE) -> Iterator[Evidence]:
    """The judged numbers of one outcome, p-values not yet corrected. Nothing from a skipped or unfinished one.

    Single pairs are judged against a reference only: without one, classes that are alike (7 and 9) lead on clean
    models.

    An unfinished detector adds no evidence against a backdoor; what it did find so far might be the largest of
    measurements that are missing, so it adds none for one either.
    """
    measured = [m for m in outcome.measurements if math.isfinite(m.value)]
    if not outcome.complete or not measured:
        return
    if outcome.statistic.suspicious == "low":
        measured = [replace(m, value=-m.value) for m in measured]
    if outcome.statistic.per == "model":
        top = max(measured, key=lambda m: m.value)
        yield _evidence(outcome, "value", given, top.value, (top.target_class,))
    elif outcome.statistic.per == "class":
        yield _class_evidence(outcome, measured, num_classes, given)
    else:
        yield from _pair_evidence(outcome, measured, num_classes, given)


def _class_evidence(
    outcome: Outcome, measured: list[Measurement], num_classes: int, given: Given
) -> Evidence:
    values = np.array([m.value for m in measured])
    rise, leaders = prominence(values) if outcome.statistic.suspicious == "high" else leading_gap(values)
    what = "prominence" if outcome.statistic.suspicious == "high" else "gap"
    scores = np.full(num_classes, np.nan)
    scores[[m.target_class for m in measured]] = values
    targets = tuple(measured[i].target_class for i in leaders)
    return _evidence(outcome, what, given, rise, targets, scores=scores, values=values)


def _pair_evidence(
    outcome: Outcome, measured: list[Measurement], num_classes: int, given: Given
) -> Iterator[Evidence]:
    matrix = np.full((num_classes, num_classes), np.nan)
    for m in measured:
        if m.source_class is not None:
            matrix[m.source_class, m.target_class] = m.value
    if given.reference:
        values = np.array([m.value for m in measured])
        rise, leaders = prominence(values)
        targets = tuple(sorted({measured[i].target_class for i in leaders}))
        sources = tuple(sorted({s for i in leaders if (s := measured[i].source_class) is not None}))
        yield _evidence(outcome, "prominence", given, rise, targets, sources, values=values)
    index, all_targets = all_to_all_index(matrix)
    if all_targets:
        yield _evidence(outcome, ALL_TO_ALL, given, index, all_targets)


def _evidence(
    outcome: Outcome,
    what: str,
    given: Given,
    value: float,
    targets: tuple[int, ...],
    sources: tuple[int, ...] = (),
    scores: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> Evidence:
    null = null_of(outcome.detector, what, given)
    # without a calibration (somebody else's detector) it is judged by its own classes alone
    alone = leader_p_value(values) if values is not None else 1.0
    p = null.p_value(value) if null is not None else alone
    return Evidence(
        detector=outcome.detector,
        statistic=_statistic_name(outcome, what),
        value=value,
        threshold=math.nan,
        p_value=p,
        corrected_p=p,
        target_classes=targets,
        source_classes=sources,
        scores=() if scores is None else tuple(float(s) for s in scores),
    )


def _statistic_name(outcome: Outcome, what: str) -> str:
    if what == ALL_TO_ALL:
        return what
    return outcome.statistic.name if what == "value" else f"{what} of {outcome.statistic.name}"


def corrected(
    evidence: Sequence[Evidence], level: float, given: Given = ALONE
) -> tuple[Evidence, ...]:
    """Holm-corrected p-values, thresholds on each statistic's own scale, and who stands out."""
    if not evidence:
        return ()
    adjusted = holm([e.p_value for e in evidence])
    done = []
    for item, p in zip(evidence, adjusted.tolist(), strict=True):
        null = null_of(item.detector, kind_of(item), given)
        threshold = null.threshold(level / len(evidence)) if null else math.nan
        done.append(replace(item, corrected_p=p, threshold=threshold, stands_out=p <= level))
    return tuple(done)


def kind_of(item: Evidence) -> str:
    """How the judged number was formed: ``prominence``, ``gap``, ``all-to-all`` or ``value``."""
    if item.statistic == ALL_TO_ALL:
        return item.statistic
    first = item.statistic.partition(" of ")[0]
    return first if first in ("prominence", "gap") else "value"


def null_of(detector: str, kind: str, given: Given) -> Null | None:
    """The clean distribution of a statistic; None for somebody else's detector."""
    known = nulls()
    return next((known[key] for key in given.keys(detector, kind) if key in known), None)


def singled_out(
    outcomes: Sequence[Outcome], num_classes: int, given: Given = ALONE
) -> tuple[int, ...]:
    """Classes that the outcomes so far point at, most conspicuous first: what a detector with candidates is told."""
    evidence = sorted((e for o in outcomes for e in weigh(o, num_classes, given)), key=lambda e: e.p_value)
    return tuple(dict.fromkeys(c for e in evidence for c in e.target_classes))


def _triggers(outcomes: Sequence[Outcome], item: Evidence) -> list[Measurement]:
    """The measurements behind one evidence that recovered a trigger."""
    return [
        m
        for o in outcomes
        if o.detector == item.detector
        for m in o.measurements
        if m.trigger is not None
        and m.target_class in item.target_classes
        and (not item.source_classes or m.source_class in item.source_classes)
    ]


def _covers_image(measurement: Measurement) -> bool:
    return measurement.trigger is not None and measurement.trigger.size > WHOLE_IMAGE


def _strength(measurement: Measurement) -> float:
    return measurement.trigger.strength if measurement.trigger else math.inf


def _success(measurement: Measurement) -> float:
    return measurement.trigger.success_rate if measurement.trigger else 0.0


def _transfer_warnings(found: Sequence[Measurement], confirm_at: float) -> Iterator[str]:
    """Triggers that would count as confirmed if they did not work on the reference as well."""
    for m in found:
        if _success(m) >= confirm_at and m.trigger and not _is_confirmed(m.trigger, confirm_at):
            yield (
                f"a trigger of class {m.target_class} works on the reference too "
                f"({m.trigger.reference_success_rate:.0%}): a natural feature, or both models are backdoored"
            )


def _is_confirmed(trigger: Trigger | None, confirm_at: float) -> bool:
    if trigger is None:
        return False
    transferred = trigger.reference_success_rate
    natural = transferred is not None and transferred >= TRANSFER_SHARE * trigger.success_rate
    return trigger.success_rate >= confirm_at and not natural


def _score(evidence: Sequence[Evidence]) -> float:
    """Evidence in [0, 1] from the smallest p-value: 0.5 where Bonferroni would reach a level of 0.01."""
    if not evidence:
        return 0.0
    p = max(min(e.p_value for e in evidence) * len(evidence), 1e-30)
    return float(1 / (1 + (p / 0.01) ** 0.5))


def _verdict(
    confirmed: bool,
    standing: bool,
    blockers: Sequence[str],
    incomplete: Sequence[Outcome],
    evidence: Sequence[Evidence],
) -> Verdict:
    if blockers:
        return Verdict.INCONCLUSIVE
    if confirmed:
        return Verdict.BACKDOORED
    if standing:
        return Verdict.SUSPICIOUS
    return Verdict.INCONCLUSIVE if incomplete or not evidence else Verdict.NO_EVIDENCE
