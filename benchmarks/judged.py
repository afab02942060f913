"""Kept audits and what today's verdict makes of them: verdicts are formed anew from kept measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.archive import from_dict
from auditor.calibrating import given_of
from auditor.findings import Audit, Outcome, Verdict
from auditor.telling import decided_by_compact_triggers
from auditor.verdict import judge

MODES = ("images", "impressions", "reference+images", "reference")
"""what a scan is given besides the suspect"""

DIGITS = 6
"""that count of a number: as many as records keep, so that what is fitted to either is the same"""


@dataclass(frozen=True)
class Kept:
    """One model's card, and its audit of one mode as it was scanned."""

    card: dict[str, Any]
    mode: str
    audit: Audit

    @property
    def images(self) -> bool:
        """Whether real images were given."""
        return self.mode.endswith("images")


@dataclass(frozen=True)
class Judged:
    """One model and the verdict on it."""

    card: dict[str, Any]
    verdict: Verdict
    score: float
    named: tuple[int, ...]
    success: float | None
    """of the trigger that is shown, on held-out images"""
    passes: int
    seconds: float
    reason: str = ""

    @property
    def backdoored(self) -> bool:
        """The truth."""
        return bool(self.card["target_classes"])

    @property
    def flagged(self) -> bool:
        """Whether a gate at ``suspicious`` would stop it."""
        return self.verdict in (Verdict.SUSPICIOUS, Verdict.BACKDOORED)

    @property
    def target_hit(self) -> bool:
        """Flagged, and every class named is a true target."""
        return self.flagged and bool(self.named) and set(self.named) <= set(self.card["target_classes"])


def cards(zoo: Path, split: str, only: str = "", *, planted: bool = True) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Model folders and their cards, by name; with ``planted`` without those whose attack did not take."""
    for path in sorted(zoo.glob("*/card.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if split in ("all", card["split"]) and only in card["name"] and (card.get("planted", True) or not planted):
            yield path.parent, card


def shortened(value: Any) -> Any:
    """A JSON value with `DIGITS` digits of each number."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    return [shortened(item) for item in value] if isinstance(value, list) else value


def read_kept(zoo: Path, results: Path, split: str, mode: str) -> list[Kept]:
    """The audits of one mode that exist, as records of them say them."""
    found = []
    for _, card in cards(zoo, split):
        path = results / mode / f"{card['name']}.json"
        if path.exists():
            found.append(Kept(card, mode, from_dict(shortened(json.loads(path.read_text(encoding="utf-8"))))))
    return found


def judged(kept: Kept, use: Callable[[Outcome], bool] = lambda outcome: True) -> Judged:
    """The verdict on one kept audit, from those of its outcomes that ``use`` wants."""
    audit = kept.audit
    outcomes = [o for o in audit.outcomes if use(o)]
    given = given_of(audit, images=kept.images)
    # what the images lacked is not kept, but that nothing could be concluded is; of few classes the verdict finds out
    lacking = audit.verdict is Verdict.INCONCLUSIVE and not decided_by_compact_triggers(given.num_classes, given)
    found = judge(
        outcomes,
        num_classes=given.num_classes,
        level=audit.family_wise_level,
        confirm_at=audit.provenance.command["scan"]["confirm_at"],
        given=given,
        gaps=(audit.reason,) if lacking else (),
    )
    left_out = [o for o in audit.outcomes if not use(o)]
    return Judged(
        card=kept.card,
        verdict=found.verdict,
        score=found.score,
        named=found.target_classes,
        success=found.trigger.success_rate if found.trigger else None,
        passes=audit.image_passes - sum(o.passes for o in left_out),
        seconds=audit.seconds - sum(o.seconds for o in left_out),
        reason=found.reason,
    )


def in_short(classes: Sequence[int]) -> str:
    """Class numbers for a table; how many, where they are many."""
    return ", ".join(map(str, classes)) if len(classes) <= 4 else f"{len(classes)} classes"


def all_judged(kept: Sequence[Kept], use: Callable[[Outcome], bool] = lambda outcome: True) -> list[Judged]:
    """`judged` of each."""
    return [judged(item, use) for item in kept]
