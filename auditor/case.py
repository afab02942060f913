"""The case against a model: its outcomes weighed, what of them stands, what is confirmed, and which classes it names.

Judged in `auditor.verdict`, from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from auditor.calibration import Given, weights
from auditor.confirming import (
    COMPACT,
    UNSEARCHED,
    UNSEARCHED_AT,
    confirms,
    far_enough,
    is_confirmed,
    maps_most,
    triggers_of,
    turn_each,
)
from auditor.findings import Evidence, Measurement, Outcome
from auditor.reason import left_open, only_compact
from auditor.scoring import ALL_TO_ALL, PLAIN, Combined, combine, is_weighed, kind_of
from auditor.telling import decided_by_compact_triggers, is_near_for_few, is_ready_made, tells
from auditor.weighing import corrected, weigh

AGREEING = 0.1
"""p-value up to which a statistic counts among those that raise the alarm together"""


@dataclass(frozen=True)
class Case:
    """What was measured, weighed: what stands against the model, and why."""

    outcomes: Sequence[Outcome]
    num_classes: int
    level: float
    confirm_at: float
    given: Given

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """All that can tell a trigger from a natural feature, corrected."""
        telling = [e for e in self._weighed if tells(e, self.outcomes, self.num_classes, self.given)]
        far = [e for e in telling if not is_near_for_few(e, self.num_classes, self.given, self.level)]
        return corrected(far, self.level, self.given)

    @property
    def undecidable(self) -> list[str]:
        """Why a model of few classes cannot be judged though nothing stands against it."""
        if not decided_by_compact_triggers(self.num_classes, self.given):
            return []
        if not self.given.images:
            return [only_compact(self.num_classes)]
        return [left_open(self.num_classes, self.undecided, self.given.reference)] if self.undecided else []

    @cached_property
    def undecided(self) -> Evidence | None:
        """What leaves a model of few classes open most."""
        rarest = min(self.rare, key=lambda e: e.p_value, default=None)
        same = (e for e in self.evidence if rarest and (e.detector, e.value) == (rarest.detector, rarest.value))
        return next(same, rarest)

    @cached_property
    def rare(self) -> list[Evidence]:
        """Of a model of few classes with images: what few clean models show (family-wise), telling or not."""
        if not (decided_by_compact_triggers(self.num_classes, self.given) and self.given.images):
            return []
        limit = self.level / max(1, len(self._weighed))
        return [e for e in self._weighed if e.p_value <= limit]

    @cached_property
    def _weighed(self) -> list[Evidence]:
        return [e for o in self.outcomes for e in weigh(o, self.num_classes, self.given, self.confirm_at)]

    @cached_property
    def together(self) -> Combined:
        """The score."""
        return combine(self.evidence, weights(self.given))

    @cached_property
    def standing(self) -> list[Evidence]:
        """What is reason for suspicion, alone or by agreeing with others; most conspicuous first."""
        return sorted((e for e in self.evidence if self.counts(e) or self.agrees(e)), key=lambda e: e.p_value)

    @cached_property
    def confirmed(self) -> list[tuple[Evidence, Measurement]]:
        """Standing evidence with each trigger that confirms it.

        What only agrees with others may be a natural feature that works as well: similar digits, the inside of a sign.
        """
        return [
            (item, m)
            for item in self.standing
            if self.convinces(item)
            for m in triggers_of(self.outcomes, item)
            if confirms(m, item, self.given, self.confirm_at)
        ]

    @property
    def least_score(self) -> float:
        """What the score must not be below: the alarm, where something is reason for suspicion that no score weighs."""
        sure = any(e.stands_out and (self.maps(e) or self.is_far(e)) for e in self.standing)
        return weights(self.given).alarm if sure else 0.0

    @property
    def leading(self) -> Evidence | None:
        """What the verdict speaks of: evidence with a confirmed trigger before any other, the most conspicuous first.

        But for what `is_far` and rarer, where no confirmed trigger leads: a planted warp's network was turned into bags
        by 1 % of the pixels as well.
        """
        if not self.confirmed:
            return self.standing[0] if self.standing else None
        first = self.confirmed[0][0]
        convicted = {target for item, _ in self.confirmed for target in item.target_classes}
        far = (e for e in self.standing if self.is_far(e) and not convicted & set(e.target_classes))
        return min((first, *far), key=lambda e: e.p_value)

    @property
    def by_score(self) -> tuple[str, ...]:
        """The detectors that are the reason for suspicion by the score alone, or unconfirmed; else none."""
        counting = [e for e in self.standing if self.counts(e)]
        if not self.standing or not all(self.is_far(e) for e in counting):
            return ()
        agreeing = (self.evidence[i] for i in self.together.agreeing)
        return tuple(dict.fromkeys(e.detector for e in (*counting, *agreeing)))

    def counts(self, item: Evidence) -> bool:
        """Whether one evidence is reason for suspicion by itself.

        A statistic of ours never is: it needs a confirmed trigger, or a label map that most images follow. But for what
        `is_far`.
        A compact trigger that was confirmed on held-out images is evidence of its own, so its statistic need not stand
        out among all others as well, and so is one that nobody searched for; a larger one that was may be a natural
        feature (the inside of a sign). Somebody else's detector, of which no weight is known, is believed when it
        stands out.
        """
        if (self.convinces(item) and self._compact(item)) or is_ready_made(item, self.evidence, self.level, self.given):
            return True
        return item.stands_out and (
            item.confirmed or self.maps(item) or self.is_far(item) or not is_weighed(item, weights(self.given))
        )

    def convinces(self, item: Evidence) -> bool:
        """Whether a value is rare enough on clean models for a confirmed trigger to decide the verdict.

        Success alone, however little the patterns command, is nearest on clean ones (trained on attacks, say): it has
        to stand out among all statistics. So has everything on the suspect's own impressions, which give way to what
        noise looks like to it: eight pixels made bags of 84 % of them to a clean network of six kinds of clothes.
        """
        nearest = kind_of(item) == PLAIN or self.given.mode == "impressions"
        return item.stands_out if nearest else item.p_value <= self.level

    def agrees(self, item: Evidence) -> bool:
        """Whether it is one of those that raise the alarm together; of few classes, some agree by chance."""
        if decided_by_compact_triggers(self.num_classes, self.given):
            return False
        together = self.together
        return together.alarm and together.target_class in item.target_classes and item.p_value <= AGREEING

    def maps(self, item: Evidence) -> bool:
        """Whether it is a label map that a trigger follows."""
        return self._is_map(item) and any(maps_most(m) for m in triggers_of(self.outcomes, item))

    def _is_map(self, item: Evidence) -> bool:
        """Whether it names most classes: what sends all to one or two is one target, a natural feature, or no map."""
        return kind_of(item) == ALL_TO_ALL and len(item.target_classes) > max(2, self.num_classes / 2)

    def is_far(self, item: Evidence) -> bool:
        """Whether a ready-made patch or a change of the whole image works, and is rarer than any on a clean model."""
        if turn_each(self.outcomes, item, self.given, self.confirm_at):
            return True
        needed = min(self.confirm_at, UNSEARCHED_AT) if item.detector in UNSEARCHED else self.confirm_at
        found = [m.trigger for m in triggers_of(self.outcomes, item) if m.trigger is not None]
        return any(far_enough(t, item, self.given) and is_confirmed(t, needed) for t in found)

    def named(self, leading: Evidence) -> tuple[int, ...]:
        """The classes to name: its own, or, where no statistic is reason enough alone, the one that they agree on.

        What single ones name beside it is what clean models show as well. A map of most classes is no such accident.
        """
        agreed = self.together.target_class
        if self._is_map(leading):
            return leading.target_classes
        return self._borne_out(leading) if agreed is None or self.counts(leading) else (agreed,)

    def _borne_out(self, item: Evidence) -> tuple[int, ...]:
        """Of several classes that lead together, those that other statistics bear out; all where none tells.

        Beside the target a natural class may lead nearly as clearly: eight scattered pixels turned a network's images
        into shirts, and bags were next.
        """
        others = [e for e in self.evidence if e.p_value <= self.level and {*e.target_classes} < {*item.target_classes}]
        told = {target for e in ([e for e in others if e.confirmed] or others) for target in e.target_classes}
        return tuple(c for c in item.target_classes if c in told) or item.target_classes

    def _compact(self, item: Evidence) -> bool:
        """Whether a compact trigger confirms it."""
        return any(
            m.trigger is not None and m.trigger.size <= COMPACT and confirms(m, item, self.given, self.confirm_at)
            for m in triggers_of(self.outcomes, item)
        )
