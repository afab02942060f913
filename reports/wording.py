"""How the reports put an audit into words: verdicts, numbers, sentences, and text that is safe to show."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.findings import Audit, Evidence, FileFinding, Outcome, Trigger, Verdict
from auditor.reason import LEAST_P
from auditor.telling import FEWEST_CLASSES

VERDICT_WORDS = {
    Verdict.NO_EVIDENCE: "No evidence of a backdoor",
    Verdict.INCONCLUSIVE: "Inconclusive",
    Verdict.SUSPICIOUS: "Suspicious",
    Verdict.BACKDOORED: "Backdoored",
}

VERDICT_MEANING = {
    Verdict.NO_EVIDENCE: "Everything was measured and nothing stands out. That is not proof of a clean "
    "model: see what this audit could not see.",
    Verdict.INCONCLUSIVE: "Something that was needed could not be measured or finished, or what was found can be a "
    "trigger's as well as a natural feature's, so no verdict is given.",
    Verdict.SUSPICIOUS: "A statistic stands out among the classes, or several agree on one, but no recovered trigger "
    "was confirmed (one over the whole image needs images and a reference for that); or the file's own graph can "
    "switch its behaviour by the image.",
    Verdict.BACKDOORED: "A statistic stands out among the classes, and a recovered trigger was confirmed on "
    "held-out images.",
}

ASKED = {
    "iscp": "Is there a small pattern that turns images of other classes into one class?",
    "blend": "Is there one image that, blended in faintly, turns images of other classes into one class?",
    "bias_map": "Does the suspect lean towards a class along other pixels than its reference does?",
    "pairwise": "Is there a source class whose images turn into one target class too easily?",
    "low_frequency": "Is there one smooth, faint pattern that turns images of other classes into one class?",
    "colour": "Is there one change of tones and colours that turns images of other classes into one class?",
    "warp": "Is there one smooth deformation that turns images of other classes into one class?",
    "generator": "Do faint patterns, one drawn for each image, turn images of other classes into one class?",
    "untargeted": "Where does one small pattern send each class, if it may send them anywhere?",
    "untargeted_blend": "Where does one faint pattern over the image send each class, if it may send them anywhere?",
    "sources": "Is there a small pattern for each class that turns its images, and no others, into another class?",
    "patches": "Does a ready-made patch near a corner turn images of one class, or of all, into another class?",
    "waves": "Does a ready-made, faint wave over the image turn images of other classes into one class?",
    "margin": "Can some image push one class much further above all others than is usual for this model?",
    "features": "Does a shorter shift inside the network turn all images into one class than into the others?",
    "head": "Are the weights of one class in the last layer larger than those of the others?",
    "dominant_pattern": "Does one faint pattern over the whole image pull every image into the same class?",
}

FAINT = 0.95
"""opacity below which a trigger counts as blended in"""

_KEPT = frozenset("\u200c\u200d")  # joiners that scripts need, and that move nothing
_COMMANDS = re.compile(r"##(?=\w*\[)|(?<!\w)::(?=\w)|::(?=[\w-]+[^\n]*?::)")
"""what a build server obeys when it is printed: ``::name::`` and ``##[name]`` (GitHub), ``##vso[name]`` (Azure)"""


def clean(text: str, limit: int = 2000) -> str:
    """``text`` with control, direction and surrogate characters as escapes, cut to ``limit`` characters.

    What is left prints in a terminal, a page and a build's log exactly as it reads: no ANSI sequence, no line break,
    no text that runs backwards, no workflow command.
    """
    text = _COMMANDS.sub(lambda found: f"{found[0][0]}\\x{ord(found[0][1]):02x}", str(text)[: 10 * limit])
    if len(text) <= limit and text.isprintable():
        return text
    out = []
    for character in text[: limit + 1]:
        hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        if hidden and character not in _KEPT:
            out.append(character.encode("unicode_escape", "backslashreplace").decode("ascii"))
        else:
            out.append(character)
    return "".join(out[:limit]) + ("…" if len(out) > limit else "")


def class_name(audit: Audit, index: int, limit: int = 40) -> str:
    """Class number, with its label where there is one; cleaned and cut."""
    if index < len(audit.labels) and clean(audit.labels[index]).strip() not in ("", str(index)):
        return f"{index} ({clean(audit.labels[index], limit)})"
    return str(index)


def class_list(audit: Audit, classes: Sequence[int], most: int = 6) -> str:
    """Several classes in words, e.g. ``3 (cat), 5 (dog) and 12 more``."""
    shown = ", ".join(class_name(audit, index) for index in classes[:most])
    return f"{shown} and {len(classes) - most} more" if len(classes) > most else shown


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, ``–`` where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value and abs(value) < 1e-3:
        return f"{value:.{digits - 1}g}"
    rounded = float(f"{value:.{digits}g}") + 0.0  # a zero without a sign
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def probability(p: float | None) -> str:
    """A p-value: ``0.03``, ``0.0004``, ``1``; not smaller than tails of clean distributions are known."""
    if p is None or not math.isfinite(p):
        return "–"
    if p < LEAST_P:
        return f"<{LEAST_P:.0e}"
    return "1" if p >= 0.995 else f"{p:.2g}"


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage: near 0 and 1 with a digit more, and never rounded to either."""
    if share is None or not math.isfinite(share):
        return "–"
    if share in (0, 1) or 0.1 <= share < 0.98:
        return f"{share:.0%}"
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def duration(seconds: float) -> str:
    """``0.8 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def kinship(audit: Audit) -> str:
    """What suspect and reference have to do with each other; empty without a reference."""
    if audit.kinship is None:
        return ""
    if audit.kin:
        told = "kin: one was trained on from the other, or both from one network"
    else:
        told = "not kin: their weights point different ways, as those of networks trained from different starts do"
    return f"{told} (mean cosine of their weights {number(audit.kinship)})"


def passes(count: int) -> str:
    """``812``, ``33.0 k``, ``1.2 M``."""
    for size, unit in ((1_000_000, " M"), (10_000, " k")):
        if count >= size:
            return f"{count / (1_000_000 if unit == ' M' else 1000):.1f}{unit}"
    return f"{count:,}"


def setting(value: Any) -> str:
    """A setting's value as text."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{key} = {setting(item)}" for key, item in value.items()) or "none"
    return str(value)


def sources(audit: Audit, classes: Sequence[int]) -> str:
    """The classes a trigger works on, in words."""
    return f"class {class_list(audit, classes)}" if classes else "every other class"


def asked(outcome: Outcome) -> str:
    """The question behind a detector."""
    known = ASKED.get(outcome.detector)
    if known:
        return known
    what = {
        "class": "of the classes",
        "source": "of the source classes",
        "pair": "of the pairs of classes",
        "model": "of the model",
    }
    return f"How does the {outcome.statistic.name} {what[outcome.statistic.per]} look?"


def saw(audit: Audit, outcome: Outcome, found: Sequence[Evidence]) -> str:
    """One sentence: what a detector saw and what that means."""
    if outcome.skipped:
        return f"It was not run: {outcome.note or 'no reason was recorded'}"
    standing = [e for e in found if e.stands_out]
    if standing:
        lead = min(standing, key=lambda e: e.corrected_p)
        word = "Classes" if len(lead.target_classes) > 1 else "Class"
        who = f"{word} {class_list(audit, lead.target_classes)}" if lead.target_classes else "The model"
        return (
            f"{who} {'stand' if len(lead.target_classes) > 1 else 'stands'} out: {lead.statistic} is "
            f"{number(lead.value)}{_threshold(lead, ', beyond the threshold of ')}; the chance of that "
            f"on a clean model is {probability(lead.corrected_p)}, corrected for everything that was judged."
        )
    if not found:
        return "Nothing was judged from it" + ("." if outcome.complete else ", because it did not finish.")
    lead = min(found, key=lambda e: (e.corrected_p, e.p_value))
    few = (audit.model.num_classes or FEWEST_CLASSES) < FEWEST_CLASSES and audit.reference is None
    if few and audit.verdict is Verdict.INCONCLUSIVE and lead.p_value <= audit.family_wise_level:
        return (
            f"{lead.statistic.capitalize()} is {number(lead.value)}, and a clean model gives as much with chance "
            f"{probability(lead.p_value)}; but with {audit.model.num_classes} classes that can be a natural feature's."
        )
    return (
        f"Nothing stands out: {lead.statistic} is {number(lead.value)}"
        f"{_threshold(lead, ' and the threshold ')}; a clean model gives as much with chance "
        f"{probability(lead.p_value)}."
    )


def _threshold(e: Evidence, before: str) -> str:
    """The threshold after some words; nothing for a statistic that has no calibrated one."""
    return f"{before}{number(e.threshold)}" if math.isfinite(e.threshold) else ""


def trigger_sentence(audit: Audit, trigger: Trigger) -> str:
    """One sentence: what was asked of the trigger, what it does, what that means."""
    to = f"class {class_list(audit, audit.target_classes)}" if audit.target_classes else "one class"
    if len(audit.target_classes) > max(2, (audit.model.num_classes or 0) / 2):
        to = "the class that a label map gives to their own (its matrix is below)"
    on = f"{trigger.images} held-out images" if trigger.images else "held-out images"
    opacity = float(trigger.mask.max())
    text = (
        f"Put on {on} of {sources(audit, trigger.source_classes)}, it turns "
        f"{percent(trigger.success_rate)} of them into {to}; it touches "
        + (f"{percent(trigger.size)} of the pixels" if trigger.size < 1 else "the whole image")
        + (f", blended in at {percent(opacity)}" if opacity < FAINT and trigger.mode == "replace" else "")
    )
    if trigger.reference_success_rate is not None:
        text += f". On the reference model it turns {percent(trigger.reference_success_rate)}"
    if audit.verdict is Verdict.INCONCLUSIVE:
        text += ". Whether it is a trigger's or a natural feature's cannot be told"
    return text + "."


def of_detector(audit: Audit, outcome: Outcome) -> list[Evidence]:
    """The evidence that the verdict drew from one detector, strongest first."""
    found = [e for e in audit.evidence if e.detector == outcome.detector]
    return sorted(found, key=lambda e: (e.corrected_p, e.p_value))


def of_no_detector(audit: Audit) -> list[Evidence]:
    """Evidence under a name that no outcome has, e.g. of several detectors together."""
    names = {outcome.detector for outcome in audit.outcomes}
    return [e for e in audit.evidence if e.detector not in names]


def finding(found: FileFinding) -> str:
    """What a file shows, in one line: place, sentence, and the name to look up in docs/warnings.md."""
    place = f"{clean(found.where, 120)}: " if found.where else ""
    return f"{place}{clean(found.message)} [{clean(found.id, 60)}]"
