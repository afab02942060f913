"""Outcomes → evidence: each detector's numbers reduced to one that a clean model keeps small, with its p-value.

For statistics per class that is the step between the leading classes and the rest (`outliers.prominence`), for pairs
the same over pairs and an all-to-all index, for the whole model the value itself. Its p-value comes from a calibration
on clean models and is corrected for all statistics judged together (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from auditor.calibration import ALONE, Given, Null, nulls
from auditor.confirming import (
    CONFIRM_AT,
    LARGE_POWER,
    ON_REFERENCE,
    READY_MADE,
    SUCCESS,
    WHOLE_IMAGE,
    confirms,
    is_of_its_class,
    triggers_of,
    works_anywhere,
)
from auditor.findings import Evidence, Measurement, Outcome
from auditor.outliers import all_to_all_index, holm, label_map_index, leader_p_value, leading_gap, prominence
from auditor.scoring import ALL_TO_ALL, LARGER, NAMED, PLAIN, TARGETS, kind_of

SHARES = "share of images"
"""unit of statistics that end at 1"""


BESIDE_ANYWHERE = 0.5
"""share of what a pattern commands that works in any place, which those of other classes have to exceed: with the first
class of a clean network for signs explained so, the next natural one was `backdoored`"""

def weigh(
    outcome: Outcome, num_classes: int, given: Given = ALONE, confirm_at: float = CONFIRM_AT
) -> Iterator[Evidence]:
    """The judged numbers of one outcome, and whether their triggers were confirmed."""
    for item in _weigh(outcome, num_classes, given):
        confirmed = any(confirms(m, item, given, confirm_at) for m in triggers_of([outcome], item))
        yield replace(item, confirmed=confirmed)


def _weigh(outcome: Outcome, num_classes: int, given: Given) -> Iterator[Evidence]:
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
        yield from _class_evidence(outcome, measured, num_classes, given)
    elif outcome.statistic.per == "source":
        yield from _source_evidence(outcome, measured, num_classes, given)
    else:
        yield from _pair_evidence(outcome, measured, num_classes, given)


def _source_evidence(
    outcome: Outcome, measured: list[Measurement], num_classes: int, given: Given
) -> Iterator[Evidence]:
    """The label map; against a reference single sources too: else, or by changes of the whole image, some lead.

    Of patches that were not searched for, single sources in any case, and the class that most sources are sent to.
    """
    values = np.array([m.value for m in measured])
    targets = [m.target_class for m in measured]
    yield _evidence(outcome, ALL_TO_ALL, given, label_map_index(values, targets), tuple(sorted(set(targets))))
    covers = any(m.trigger is not None and m.trigger.size > WHOLE_IMAGE for m in measured)
    if (given.reference and not covers) or outcome.detector in READY_MADE:
        rise, leaders = prominence(values)
        named = tuple(sorted({targets[i] for i in leaders}))
        sources = tuple(sorted({s for i in leaders if (s := measured[i].source_class) is not None}))
        yield _evidence(outcome, "prominence", given, rise, named, sources, values=values)
    if outcome.detector in READY_MADE:
        sent = np.bincount(targets, weights=values, minlength=num_classes) / max(1, len(measured) - 1)
        rise, leaders = prominence(sent)
        yield _evidence(outcome, TARGETS, given, rise, leaders, scores=sent, values=sent)


def _class_evidence(
    outcome: Outcome, measured: list[Measurement], num_classes: int, given: Given
) -> Iterator[Evidence]:
    """How far the leading classes rise above the rest, with every class's number in its place."""
    classes = [m.target_class for m in measured]
    for what, values in _rankings(outcome, measured, given):
        rise, leaders = leading_gap(values) if what == "gap" else prominence(values)
        scores = np.full(num_classes, np.nan)
        scores[classes] = values
        targets = tuple(classes[i] for i in leaders)
        yield _evidence(outcome, what, given, rise, targets, scores=scores, values=values)


def _rankings(
    outcome: Outcome, measured: list[Measurement], given: Given
) -> Iterator[tuple[str, np.ndarray]]:
    """Each number by which classes are ranked: its kind, and what it is for the class of each measurement.

    Besides the statistic, where a detector of ours recovered small triggers, success itself, less what works on the
    reference as well: some trained-in triggers turn nearly every image, but just over the border, so that their
    commanding share is small, their success is not, and no other class comes near.

    And what larger patterns command, where a detector tells that beside its statistic. Judged apart, since natural
    features fill as much: a clean network's values are several times those of compact ones.

    What a pattern does that `is_of_its_class` counts nothing in any of them. Where one works in any place, the others
    count by what they command beyond `BESIDE_ANYWHERE` of it: such a network gives way to a few pixels in more classes.
    """
    high = outcome.statistic.suspicious == "high"
    told = np.array([0.0 if high and is_of_its_class(m) else 1.0 for m in measured])
    values = np.array([m.value for m in measured])
    usual = BESIDE_ANYWHERE * max((m.value for m in measured if high and works_anywhere(m)), default=0.0)
    yield ("prominence" if high else "gap"), told * (values - usual).clip(min=0.0) if usual else told * values
    small = all(m.trigger is not None and m.trigger.size <= WHOLE_IMAGE and SUCCESS in m.extras for m in measured)
    if small and null_of(outcome.detector, "prominence", given) is not None:
        reached = np.array([m.extras[SUCCESS] - m.extras.get(ON_REFERENCE, 0.0) for m in measured])
        yield PLAIN, told * reached.clip(min=0.0)
    if all(LARGE_POWER in m.extras for m in measured):
        yield LARGER, told * np.array([m.extras[LARGE_POWER] for m in measured])


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
    p = null.p_value(value) if null else leader_p_value(values) if values is not None else 1.0
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
    if what in NAMED:
        return what
    return outcome.statistic.name if what == "value" else f"{what} of {outcome.statistic.name}"


def corrected(
    evidence: Sequence[Evidence], level: float, given: Given = ALONE
) -> tuple[Evidence, ...]:
    """Holm-corrected p-values, thresholds on each statistic's own scale, and who stands out."""
    adjusted = holm([e.p_value for e in evidence]).tolist() if evidence else []
    done = []
    for item, p in zip(evidence, adjusted, strict=True):
        null = null_of(item.detector, kind_of(item), given)
        threshold = null.threshold(level / len(evidence)) if null else math.nan
        done.append(replace(item, corrected_p=p, threshold=threshold, stands_out=p <= level))
    return tuple(done)


def null_of(detector: str, kind: str, given: Given) -> Null | None:
    """The clean distribution of a statistic; None for somebody else's detector."""
    return given.null(nulls(), detector, kind)


def singled_out(
    outcomes: Sequence[Outcome], num_classes: int, given: Given = ALONE
) -> tuple[int, ...]:
    """Classes that the outcomes so far point at, most conspicuous first: what a detector with candidates is told."""
    evidence = sorted((e for o in outcomes for e in weigh(o, num_classes, given)), key=lambda e: e.p_value)
    return tuple(dict.fromkeys(c for e in evidence for c in e.target_classes))
