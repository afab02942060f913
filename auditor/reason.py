"""The verdict in one plain sentence: class, statistic, value, trigger."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from auditor.findings import Evidence, FileFinding, Measurement, Outcome, Trigger, Verdict
from auditor.scoring import Combined

LEAST_P = 1e-6
"""tails of clean distributions are not known further out: smaller p-values are said to be below"""


def sentence(
    verdict: Verdict,
    leading: Evidence | None,
    confirmed: Measurement | None,
    evidence: Sequence[Evidence],
    blockers: Sequence[str] = (),
    incomplete: Sequence[Outcome] = (),
    together: Combined | None = None,
) -> str:
    """Why the verdict is what it is.

    ``leading`` is the evidence that stands out most, ``confirmed`` the measurement whose trigger was confirmed.
    """
    if blockers:
        return f"Nothing can be concluded: {blockers[0]}."
    if leading is not None and not leading.stands_out and together is not None:
        which = ", ".join(dict.fromkeys(evidence[i].detector for i in together.agreeing[:4]))
        return (
            f"Several statistics point at class {together.target_class} and together reach a score of "
            f"{together.score:.2f} ({which}), though none of them stands out alone"
            + (_of_trigger(confirmed) if confirmed else "")
            + "."
        )
    if leading is not None:
        return _standing_out(leading) + (_of_trigger(confirmed) if confirmed else "") + "."
    if verdict is Verdict.INCONCLUSIVE and incomplete:
        why: dict[str, list[str]] = {}
        for o in incomplete:
            why.setdefault(o.note or "unfinished", []).append(o.detector)
        what = "; ".join(f"{', '.join(names)}: {note}" for note, names in why.items())
        return f"Nothing can be concluded: not everything was measured ({what})."
    if not evidence:
        return "Nothing can be concluded: no detector measured anything that can be judged."
    largest = min(evidence, key=lambda e: e.p_value)
    if largest.stands_out:
        whom = f" for class {largest.target_classes[0]}" if largest.target_classes else ""
        return (
            "One statistic stands out, but no trigger of it was confirmed and too little else agrees: "
            f"{largest.detector} measured {_a(largest.statistic)} of {largest.value:.2f}{whom}."
        )
    whom = f" for class {largest.target_classes[0]}" if largest.target_classes else ""
    limit = "" if math.isnan(largest.threshold) else f", and it would have to exceed {largest.threshold:.2f}"
    return (
        f"No class stands out: the most conspicuous statistic is {largest.detector}'s {largest.statistic} of "
        f"{largest.value:.2f}{whom}{limit}."
    )


def _standing_out(leading: Evidence) -> str:
    one = len(leading.target_classes) == 1
    who, verb = ("Class", "stands") if one else ("Classes", "stand")
    names = ", ".join(map(str, leading.target_classes[:10])) + (", …" if len(leading.target_classes) > 10 else "")
    origin = f" (for images of class {', '.join(map(str, leading.source_classes))})" if leading.source_classes else ""
    limit = "" if math.isnan(leading.threshold) else f", where clean models stay below {leading.threshold:.2f}"
    chance = f"< {LEAST_P:.0e}" if leading.corrected_p < LEAST_P else f"= {leading.corrected_p:.1g}"
    return (
        f"{who} {names}{origin} {verb} out: {leading.detector} measured {_a(leading.statistic)} of "
        f"{leading.value:.2f}{limit} (corrected p {chance})"
    )


def _a(statistic: str) -> str:
    """The name of a statistic with its article."""
    return f"{'an' if statistic[:1] in 'aeio' else 'a'} {statistic}"


def _of_trigger(confirmed: Measurement) -> str:
    trigger = confirmed.trigger
    if trigger is None:
        return ""
    where = f"class {trigger.source_classes[0]}" if len(trigger.source_classes) == 1 else "other classes"
    text = (
        f"; a recovered trigger {describe(trigger)} turns {trigger.success_rate:.0%} of {trigger.images} "
        f"held-out images of {where} into class {confirmed.target_class}"
    )
    if trigger.reference_success_rate is not None:
        text += f", on the reference {trigger.reference_success_rate:.0%}"
    return text


def describe(trigger: Trigger) -> str:
    """How a trigger is put on an image, e.g. ``on 0.9% of the pixels``."""
    if trigger.mode == "tone":
        return "that changes tones and colours"
    if trigger.mode == "warp":
        return f"that shifts pixels by up to {float(abs(trigger.pattern).max()):.1f}"
    if trigger.mode == "add":
        return f"of at most {float(abs(trigger.pattern).max()) * 255:.0f}/255 a pixel"
    opacity = float(trigger.mask.max())
    return f"on {trigger.size:.1%} of the pixels" if opacity > 0.99 else f"blended in at {opacity:.0%}"


def beside(leading: Evidence, named: Sequence[int]) -> Iterator[str]:
    """That classes led together with those that are named, for which more speaks."""
    others = [target for target in leading.target_classes if target not in named]
    if others:
        which = ", ".join(map(str, others))
        yield (
            f"{leading.detector} shows class {which} beside class {', '.join(map(str, named))}, for which more speaks: "
            "a natural feature, or a second target"
        )


def built_in(switches: Sequence[FileFinding], measured: str) -> str:
    """That the file itself shows a choice between two behaviours; ``measured`` is the sentence of the detectors."""
    first = switches[0]
    more = f" (and {len(switches) - 1} more)" if len(switches) > 1 else ""
    return (
        f"The file's own graph can switch its behaviour by the image: {first.message.rstrip('.')}{more}. "
        f"Measured beside that: {measured[:1].lower()}{measured[1:]}"
    )


def only_compact(num_classes: int) -> str:
    """That a model of few classes cannot be judged from its file alone."""
    return (
        f"with {num_classes} classes, no reference and no images only a compact trigger can be told from a natural "
        "feature, and none stands out; give --reference a clean model of the same task, or --images"
    )


def left_open(num_classes: int, item: Evidence, stranger: bool = False) -> str:
    """That a model of few classes shows what can be a trigger or a natural feature, also beside a ``stranger``."""
    lacking, remedy = "no reference", "a clean model of the same task"
    if stranger:
        lacking, remedy = "a reference that is not kin", "the network it was trained on from, or look at the trigger"
    return (
        f"with {num_classes} classes and {lacking}, {_a(item.statistic)} of {item.value:.2f} ({item.detector}, "
        f"class {item.target_classes[0]}), which few clean models reach, can be a trigger's or a natural feature's; "
        f"give --reference {remedy}"
    )
