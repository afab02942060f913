"""One self-contained page: no scripts, no network, readable on a phone, on paper and in the dark.

Every text of the audit is foreign: it is cleaned of control and direction characters on output (``finalize``)
and escaped (``autoescape``). The page's content security policy allows its one style sheet, by hash, and
embedded pictures; nothing else.
"""

from __future__ import annotations

from typing import Any

from auditor.findings import Audit, Demonstration, Picture, Trigger

from . import figures, page, wording
from .sections import Figure, detector_sections
from .story import stories
from .summary import summary


def render(audit: Audit) -> str:
    """The HTML page as text."""
    return page.template("report.html").render(
        **page.style("report.css"),
        audit=audit,
        word=wording.VERDICT_WORDS[audit.verdict],
        meaning=wording.VERDICT_MEANING[audit.verdict],
        targets=wording.class_list(audit, audit.target_classes),
        sources=_sources(audit),
        trigger=_trigger(audit, audit.trigger) if audit.trigger else None,
        instead=_instead(audit),
        demonstrations=[_demonstration(audit, shown) for shown in audit.demonstrations],
        stories=stories(audit),
        summary=summary(audit),
        sections=detector_sections(audit),
        samples=[_figure(picture) for picture in audit.images.samples[:24]],
        files=[("suspect", audit.model), *([("reference", audit.reference)] if audit.reference else [])],
        w=wording,
    )


def _sources(audit: Audit) -> str:
    if audit.source_classes:
        return wording.class_list(audit, audit.source_classes)
    return "all other classes" if audit.target_classes else ""


def _figure(picture: Picture) -> Figure:
    return Figure(picture.title, figures.data_uri(picture.pixels))


WHOLE = {
    "tone": "what it does to tones: a ramp from black to white, before above and after below",
    "warp": "what it does to a chessboard",
}
HOW = {
    "tone": "changes the tones of all pixels along one curve a channel",
    "warp": "shifts pixels along one smooth flow",
}
"""of the triggers that are no pattern"""


def _trigger(audit: Audit, trigger: Trigger) -> dict[str, Any]:
    shown = figures.on_grey(trigger)
    faint = trigger.mode == "add" or figures.strength(trigger) < wording.FAINT
    whole = WHOLE.get(trigger.mode, "the trigger, on grey" + (" and at full strength" if faint else ""))
    pictures = [Figure(f"{whole}; whole image, {_size(trigger)}", figures.data_uri(shown))]
    if figures.window(trigger):
        pictures.insert(0, Figure("the trigger, enlarged", figures.data_uri(figures.detail(trigger, shown))))
    if float(trigger.mask.min()) < float(trigger.mask.max()):
        mask = figures.data_uri(figures.mask_picture(trigger))
        pictures.append(Figure("the mask: white is where the image is changed", mask))
    touched = int((trigger.mask > 0).sum())
    strength = figures.strength(trigger)
    how = "replaces the pixels under its mask" if not faint else f"blended in at {wording.percent(strength)}"
    if trigger.mode == "add":
        how = f"added, at most {wording.number(strength * 255)}/255 a pixel"
    how = HOW.get(trigger.mode, how)
    facts = [
        ("success on held-out images", f"{wording.percent(trigger.success_rate)} of {trigger.images}"),
        ("pixels touched", f"{touched:,} of {trigger.mask.size:,} ({wording.percent(trigger.size)})"),
        ("works on", f"{wording.sources(audit, trigger.source_classes)}"),
        ("how it is put on", how),
    ]
    if trigger.reference_success_rate is not None:
        facts.insert(1, ("the same on the reference", wording.percent(trigger.reference_success_rate)))
    return {"pictures": pictures, "facts": facts, "sentence": wording.trigger_sentence(audit, trigger)}


def _instead(audit: Audit) -> list[Figure]:
    """Where no trigger is to be shown: the pictures behind what stands out most, of the class that it names."""
    standing = min((e for e in audit.evidence if e.stands_out), key=lambda e: e.p_value, default=None)
    if audit.trigger is not None or standing is None:
        return []
    found = (m for o in audit.outcomes if o.detector == standing.detector for m in o.measurements)
    own = (m for m in found if m.target_class in {*standing.target_classes} & {*audit.target_classes})
    return [_figure(picture) for m in own for picture in m.exhibits if isinstance(picture, Picture)]


def _size(trigger: Trigger) -> str:
    return f"{trigger.mask.shape[1]} × {trigger.mask.shape[0]} pixels"


def _demonstration(audit: Audit, shown: Demonstration) -> dict[str, Any]:
    reference = None if shown.reference_after is None else wording.class_name(audit, shown.reference_after)
    return {
        "before": _figure(shown.before),
        "after": _figure(shown.after),
        "answer_before": wording.class_name(audit, shown.answer_before),
        "answer_after": wording.class_name(audit, shown.answer_after),
        "confidence_before": wording.percent(shown.confidence_before),
        "confidence_after": wording.percent(shown.confidence_after),
        "changed": shown.answer_before != shown.answer_after,
        "reference": reference,
    }
