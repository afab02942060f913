"""A comparison in words, for the console and the page alike: what changed, statistic by statistic and fact by fact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from auditor.comparing import Change, Comparison, Shift, StatisticPair
from auditor.findings import Audit, Evidence, ImageFacts

from . import wording

CHANGE_WORDS = {
    Change.BETTER: "A milder verdict",
    Change.EQUAL: "The same verdict",
    Change.WORSE: "A graver verdict",
    Change.INCONCLUSIVE: "Cannot be compared",
}
SHIFT_WORDS = {
    Shift.APPEARED: "now stands out",
    Shift.GONE: "no longer stands out",
    Shift.STAYED: "stands out in both",
    Shift.UNPAIRED: "judged in one only",
    Shift.QUIET: "in neither",
}
LIMITS = (
    "Two finished audits were read as they are: no model was opened, and no trigger of one audit was tried on the "
    "other's model."
)


@dataclass(frozen=True)
class Cell:
    """What one audit says of one statistic."""

    value: str
    corrected_p: str
    """or why there is none"""
    classes: str
    """that stand out; empty where none does"""


@dataclass(frozen=True)
class Row:
    """One statistic in both audits."""

    detector: str
    statistic: str
    first: Cell
    second: Cell
    shift: Shift
    stands_out: bool
    words: str
    """what changed"""


@dataclass(frozen=True)
class Fact:
    """One thing that both audits tell of themselves."""

    name: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        """Whether they tell different things."""
        return self.first != self.second


def rows(comparison: Comparison) -> list[Row]:
    """One row a statistic, in the order of `Comparison.statistics`."""
    return [_row(comparison, pair) for pair in comparison.statistics]


def _row(comparison: Comparison, pair: StatisticPair) -> Row:
    first = _cell(comparison.first, pair.first, pair.status[0])
    second = _cell(comparison.second, pair.second, pair.status[1])
    words = SHIFT_WORDS[pair.shift]
    if pair.shift is Shift.UNPAIRED:
        there = "first" if pair.second is None else "second"
        words = f"{'stands out, ' if pair.stands_out else ''}judged in the {there} only"
    classes = second.classes or first.classes
    if pair.first and pair.second and pair.first.target_classes != pair.second.target_classes:
        classes = ", then ".join(filter(None, (first.classes, second.classes)))
    return Row(
        pair.detector,
        pair.statistic,
        first,
        second,
        pair.shift,
        pair.stands_out,
        f"{words}: {classes}" if classes else words,
    )


def _cell(audit: Audit, e: Evidence | None, status: str) -> Cell:
    if e is None:
        return Cell("–", status, "")
    who = ""
    if e.stands_out:
        who = f"class {wording.class_list(audit, e.target_classes, 3)}" if e.target_classes else "the model"
    return Cell(wording.number(e.value), wording.probability(e.corrected_p), who)


def score_difference(comparison: Comparison) -> str:
    """The change of the score with its sign, e.g. ``−0.89``."""
    # of the rounded scores, so that what is shown adds up
    step = round(comparison.second.score, 2) - round(comparison.first.score, 2)
    return "±0.00" if abs(step) < 0.005 else f"{'+' if step > 0 else '−'}{abs(step):.2f}"


def named(audit: Audit) -> str:
    """The target classes of an audit, and their sources where it names some; empty where it names none."""
    text = wording.class_list(audit, audit.target_classes)
    return (
        f"{text}, from {wording.class_list(audit, audit.source_classes, 3)}" if text and audit.source_classes else text
    )


def moves(comparison: Comparison) -> list[tuple[str, str]]:
    """Target classes that only one audit names, with the words for it."""
    gained = wording.class_list(comparison.second, comparison.targets_gained)
    lost = wording.class_list(comparison.first, comparison.targets_lost)
    found = [("named by the second audit only", gained), ("named by the first audit only", lost)]
    return [(words, classes) for words, classes in found if classes]


def facts(comparison: Comparison) -> list[Fact]:
    """Files, inputs and settings of both audits; what neither tells is left out."""
    pairs = zip(_facts(comparison.first), _facts(comparison.second), strict=True)
    found = [Fact(name, first, second) for (name, first), (_, second) in pairs]
    return [fact for fact in found if {fact.first, fact.second} != {"–"}]


def _facts(audit: Audit) -> Iterator[tuple[str, str]]:
    model, reference = audit.model, audit.reference
    yield "model file", model.name
    yield "SHA-256", model.sha256 or "–"
    yield "format", model.format
    yield "architecture", model.architecture or "–"
    yield "classes", str(model.num_classes or "–")
    yield "input", " × ".join(map(str, model.input_shape)) if model.input_shape else "–"
    yield "reference", f"{reference.name} ({reference.sha256[:8]}…)" if reference else "none"
    yield "images", _images(audit.images)
    yield "clean accuracy", wording.percent(audit.images.clean_accuracy)
    yield "family-wise level", wording.number(audit.family_wise_level)
    yield "seed", str(audit.provenance.seed)
    yield "started", audit.provenance.started
    yield "took", f"{wording.duration(audit.seconds)}, {wording.passes(audit.image_passes)} image passes"


def _images(images: ImageFacts) -> str:
    return f"{images.count} of {images.source}" + (f" ({images.sha256[:8]}…)" if images.sha256 else "")


def same_files(comparison: Comparison) -> str:
    """One sentence: what the two model files have in common."""
    files = comparison.files
    if files.same_file:
        return "Both audits are of the same file."
    alike = {
        "architecture": files.same_architecture,
        "number of classes": files.same_classes,
        "input size": files.same_input,
    }
    same = [name for name, is_same in alike.items() if is_same]
    other = [name for name, is_same in alike.items() if is_same is False]
    start = "Two files" if files.same_file is False else "Two files, as far as the audits tell,"
    told = [f"of the same {_and(same)}"] if same else []
    told += [f"of another {_and(other)}"] if other else []
    return f"{start} {', but '.join(told)}." if told else f"{start.rstrip(',')}."


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def finite_p(e: Evidence | None) -> float | None:
    """The corrected p-value, where there is one."""
    return e.corrected_p if e is not None and math.isfinite(e.corrected_p) else None
