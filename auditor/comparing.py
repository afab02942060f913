"""Two finished audits side by side: before and after a fix, or two candidates. Plain data, nothing is printed.

Only what the audits hold is compared: no model is opened, and no trigger of one audit is tried on the other's model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from auditor.comparability import differences
from auditor.findings import Audit, Evidence, Verdict

SEVERITY = {Verdict.NO_EVIDENCE: 0, Verdict.SUSPICIOUS: 1, Verdict.BACKDOORED: 2}
"""order of the verdicts; an inconclusive one has no place in it"""
BESIDE = "external weights read from"
"""how a warning names a second file with weights, and its hash (`auditor.loading.onnx_graph.file`)"""
MOST_NAMED = 6
"""classes or statistics that a sentence lists"""


class Change(StrEnum):
    """How the second verdict stands to the first."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    """Either audit is inconclusive, so that there is nothing to compare."""


class Shift(StrEnum):
    """Where one statistic stands out."""

    APPEARED = "appeared"
    """in the second audit and not in the first"""
    GONE = "gone"
    """in the first audit and not in the second"""
    STAYED = "stayed"
    UNPAIRED = "unpaired"
    """It was judged in one audit only, so nothing is known of a change."""
    QUIET = "quiet"
    """in neither"""


@dataclass(frozen=True)
class StatisticPair:
    """One statistic of one detector in both audits."""

    detector: str
    statistic: str
    first: Evidence | None
    second: Evidence | None
    status: tuple[str, str]
    """for each audit ``judged``, ``not judged``, ``incomplete``, ``skipped`` or ``not asked for``"""

    @property
    def shift(self) -> Shift:
        """Where it stands out."""
        if self.first is None or self.second is None:
            return Shift.UNPAIRED
        stands = (self.first.stands_out, self.second.stands_out)
        return {
            (False, True): Shift.APPEARED,
            (True, False): Shift.GONE,
            (True, True): Shift.STAYED,
            (False, False): Shift.QUIET,
        }[stands]

    @property
    def stands_out(self) -> bool:
        """Whether it does in either audit."""
        return any(e is not None and e.stands_out for e in (self.first, self.second))


@dataclass(frozen=True)
class FilePair:
    """What the two model files have in common; None where one audit does not tell."""

    same_file: bool | None
    """by SHA-256, that of external weights included"""
    same_architecture: bool | None
    same_classes: bool | None
    """whether they tell equally many apart"""
    same_input: bool | None


@dataclass(frozen=True)
class Comparison:
    """Two audits, and what changed from the first to the second."""

    first: Audit
    second: Audit
    change: Change
    conclusion: str
    """one sentence, ASCII, in class numbers"""
    score_difference: float
    """second less first, in [−1, 1]; above 0 the second shows more of a backdoor"""
    targets_gained: tuple[int, ...]
    """target classes that only the second audit names"""
    targets_lost: tuple[int, ...]
    """target classes that only the first audit names"""
    statistics: tuple[StatisticPair, ...]
    """those whose standing changed come first, those that stand out in neither last"""
    files: FilePair
    caveats: tuple[str, ...]
    """what makes the audits hardly comparable, one sentence each, hostile text"""


def compare(first: Audit, second: Audit) -> Comparison:
    """What changed from one audit to another; fails for no pair of audits."""
    statistics = tuple(sorted(_pairs(first, second), key=_rank))
    files = _files(first, second)
    caveats = (*_unpaired(statistics), *differences(first, second))
    before, after = first.target_classes, second.target_classes
    change = _change(first.verdict, second.verdict)
    return Comparison(
        first=first,
        second=second,
        change=change,
        conclusion=_conclusion(first, second, change, files, caveats),
        score_difference=second.score - first.score,
        targets_gained=tuple(c for c in after if c not in before),
        targets_lost=tuple(c for c in before if c not in after),
        statistics=statistics,
        files=files,
        caveats=caveats,
    )


def _change(first: Verdict, second: Verdict) -> Change:
    if Verdict.INCONCLUSIVE in (first, second):
        return Change.INCONCLUSIVE
    step = SEVERITY[second] - SEVERITY[first]
    return Change.WORSE if step > 0 else Change.BETTER if step < 0 else Change.EQUAL


def _pairs(first: Audit, second: Audit) -> Iterator[StatisticPair]:
    mine, theirs = _by_name(first), _by_name(second)
    for key in dict.fromkeys((*mine, *theirs)):
        a, b = mine.get(key), theirs.get(key)
        yield StatisticPair(key[0], key[1], a, b, (_status(first, key[0], a), _status(second, key[0], b)))


def _by_name(audit: Audit) -> dict[tuple[str, str, int], Evidence]:
    """By detector, statistic and, should one be there twice, which it is."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for e in audit.evidence:
        found[e.detector, e.statistic, seen[e.detector, e.statistic]] = e
        seen[e.detector, e.statistic] += 1
    return found


def _status(audit: Audit, detector: str, found: Evidence | None) -> str:
    if found is not None:
        return "judged"
    outcome = next((o for o in audit.outcomes if o.detector == detector), None)
    if outcome is None:
        return "not asked for"
    if outcome.skipped:
        return "skipped"
    return "not judged" if outcome.complete else "incomplete"


def _rank(pair: StatisticPair) -> tuple[int, float]:
    order = [Shift.APPEARED, Shift.GONE, Shift.STAYED, Shift.UNPAIRED, Shift.QUIET]
    loudest = min(e.corrected_p for e in (pair.first, pair.second) if e is not None)
    loudest = 1.0 if math.isnan(loudest) else loudest
    return 2 * order.index(pair.shift) - (pair.shift is Shift.UNPAIRED and pair.stands_out), loudest


def _unpaired(statistics: Sequence[StatisticPair]) -> Iterator[str]:
    """What one audit judged and the other did not, as far as it can have made the difference.

    A statistic that was judged in the second audit only and does not stand out there makes that audit stricter.
    """
    lost = [p for p in statistics if p.second is None]
    if lost:
        yield (
            f"The second audit did not judge {_named(lost, 1)}, which the first did"
            + (": what stood out there may still be there." if any(p.stands_out for p in lost) else ".")
        )
    new = [p for p in statistics if p.first is None and p.stands_out]
    if new:
        yield f"The first audit did not judge {_named(new, 0)}: what stands out in the second may not be new."


def _named(pairs: Sequence[StatisticPair], which: int) -> str:
    shown = [
        f"{p.detector}'s {p.statistic}" + (f" ({p.status[which]})" if p.status[which] != "not judged" else "")
        for p in pairs[:MOST_NAMED]
    ]
    more = len(pairs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _files(first: Audit, second: Audit) -> FilePair:
    a, b = first.model, second.model
    return FilePair(
        same_file=(a.sha256, _beside(first)) == (b.sha256, _beside(second)) if a.sha256 and b.sha256 else None,
        same_architecture=a.architecture == b.architecture if a.architecture and b.architecture else None,
        same_classes=a.num_classes == b.num_classes if a.num_classes and b.num_classes else None,
        same_input=a.input_shape == b.input_shape if a.input_shape and b.input_shape else None,
    )


def _beside(audit: Audit) -> list[str]:
    """Weights in files of their own, which the hash of the model file does not cover."""
    return sorted(warning for warning in audit.warnings if BESIDE in warning)


def _conclusion(first: Audit, second: Audit, change: Change, files: FilePair, caveats: Sequence[str]) -> str:
    said = _verdicts_said(first, second, change)
    if change is Change.INCONCLUSIVE:
        return f"{said}."
    moved = first.verdict is not second.verdict or where(first) != where(second)
    if files.same_file:
        return f"{said}; both are of the same file" + (", so it is not the model that changed." if moved else ".")
    if caveats:
        return f"{said}; but more than the model differs between them" + (
            ", which may be the reason." if moved else "."
        )
    return f"{said}."


def _verdicts_said(first: Audit, second: Audit, change: Change) -> str:
    """What both verdicts say together, never more; without the full stop."""
    a, b = first.verdict, second.verdict
    here, there = (f" ({where(audit)})" if where(audit) else "" for audit in (first, second))
    if change is Change.INCONCLUSIVE:
        which = "both are" if a is b else "the first is" if a is Verdict.INCONCLUSIVE else "the second is"
        return f"The two audits cannot be compared: {which} inconclusive" + _left_open(first, second)
    if change is Change.EQUAL:
        if a is Verdict.NO_EVIDENCE:
            return "Neither audit found evidence of a backdoor, which is no proof that there is none"
        both = "named a backdoor" if a is Verdict.BACKDOORED else "are suspicious"
        apart = f": {where(first) or 'no class'} in the first, {where(second) or 'no class'} in the second"
        return f"Both audits {both}" + (here if here == there else apart)
    if b is Verdict.NO_EVIDENCE:
        found = "the backdoor that the first one named" if a is Verdict.BACKDOORED else "what made the first suspicious"
        return f"The second audit found no evidence of {found}{here}, which is no proof that it is gone"
    if a is Verdict.NO_EVIDENCE:
        found = f"named a backdoor{there}" if b is Verdict.BACKDOORED else f"is suspicious{there}"
        return f"The second audit {found} where the first one found no evidence of a backdoor"
    if b is Verdict.SUSPICIOUS:
        return f"The second audit is only suspicious{there} where the first one named a backdoor{here}"
    return f"The second audit named a backdoor{there} where the first one was only suspicious{here}"


def _left_open(first: Audit, second: Audit) -> str:
    """What the audit that did end says, which the other leaves open."""
    for name, audit in (("first", first), ("second", second)):
        place = f" ({where(audit)})" if where(audit) else ""
        if audit.verdict is Verdict.BACKDOORED:
            return f", and the {name} named a backdoor{place}"
        if audit.verdict is Verdict.SUSPICIOUS:
            return f", and the {name} is suspicious{place}"
        if audit.verdict is Verdict.NO_EVIDENCE:
            return f", and the {name} found no evidence of a backdoor"
    return ""


def where(audit: Audit) -> str:
    """The classes that an audit names, by number: ``class 7``, ``classes 3 and 7``, ``class 7 from class 2``."""
    text = _classes(audit.target_classes)
    return f"{text} from {_classes(audit.source_classes)}" if text and audit.source_classes else text


def _classes(numbers: Sequence[int]) -> str:
    if len(numbers) <= 1:
        return f"class {numbers[0]}" if numbers else ""
    if len(numbers) > MOST_NAMED:
        return f"classes {', '.join(map(str, numbers[:MOST_NAMED]))} and {len(numbers) - MOST_NAMED} more"
    return f"classes {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
