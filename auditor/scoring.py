"""One score from all evidence: the probability of a backdoor, under stated prior odds.

A logistic model of the evidence −log₁₀ p of all statistics that name one class, for the class that is named most
strongly. Statistics that agree on a class add up, but for those that look for much the same (`ALIKE`), of which the
strongest counts; those that name different ones, as on clean models, do not. Each is capped, since the tail of a clean
distribution is not known far out, and weighed as `benchmarks.calibrate` fitted it on develop models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from auditor.calibration import Weights
from auditor.findings import Evidence


@dataclass(frozen=True)
class Combined:
    """What all statistics say together."""

    score: float
    """in [0, 1]"""
    alarm: bool
    """whether that is enough for suspicion, whatever single statistics say"""
    target_class: int | None
    """the class they agree on most"""
    agreeing: tuple[int, ...]
    """positions of the evidence that names it, strongest first"""
    counting: tuple[int, ...] = ()
    """positions of what the score adds up: of those that look for much the same (`ALIKE`), the strongest"""


ALL_TO_ALL = "all-to-all index"
"""of a label map, see `outliers.label_map_index`"""


PLAIN = "prominence in success"
"""of the success of small triggers, see `weighing`"""


LARGER = "prominence of larger patterns"
"""of what patterns beyond the compact ones command, see `weighing`"""


TARGETS = "prominence of targets"
"""of what sources are sent to by patches that were not searched for, see `weighing`"""


ALIKE = frozenset({"blend", "low_frequency", "colour", "warp", "waves"})
"""detectors of faint changes of the whole image: a clean network that gives way to one does to the others too"""


NAMED = (ALL_TO_ALL, PLAIN, LARGER, TARGETS)
"""statistics with names of their own"""


def kind_of(item: Evidence) -> str:
    """How the judged number was formed: ``prominence``, ``gap``, ``value``, or a name of its own."""
    if item.statistic in NAMED:
        return item.statistic
    first = item.statistic.partition(" of ")[0]
    return first if first in ("prominence", "gap") else "value"


def key_of(item: Evidence) -> str:
    """Name of a statistic among the weights: ``detector/kind``."""
    return f"{item.detector}/{kind_of(item)}"


def is_weighed(item: Evidence, model: Weights) -> bool:
    """Whether the calibration knows what a statistic is worth beside others."""
    return key_of(item) in model.of


def surprise(item: Evidence, model: Weights) -> float:
    """−log₁₀ p; 0 for what clean models usually show (p of 0.5 and more).

    At most the model's cap, or the higher one where a trigger was confirmed on held-out images: then the tail of the
    clean distribution is not all that speaks.
    """
    most = model.confirmed_cap if item.confirmed else model.cap
    return min(most, max(0.0, -math.log10(max(item.p_value, 1e-30)) - math.log10(2)))


def _part(item: Evidence, model: Weights) -> float:
    """What one statistic adds to the log odds; unconfirmed, it never reaches even odds by itself."""
    part = model.of.get(key_of(item), 0.0) * surprise(item, model)
    return part if item.confirmed else min(part, max(0.0, -model.intercept - 0.1))


def combine(evidence: Sequence[Evidence], model: Weights) -> Combined:
    """The score of an audit; nothing known (no evidence) scores 0."""
    if not evidence:
        return Combined(0.0, False, None, ())
    parts = [_part(item, model) for item in evidence]
    counting: dict[int, list[int]] = {}
    for i in sorted(range(len(evidence)), key=lambda i: -parts[i]):
        for target in set(evidence[i].target_classes):
            others = counting.setdefault(target, [])
            if not (evidence[i].detector in ALIKE and any(evidence[j].detector in ALIKE for j in others)):
                others.append(i)
    support = {target: sum(parts[i] for i in places) for target, places in counting.items()}
    leading = max(support, key=lambda c: (support[c], -c)) if support else None
    total = model.intercept - model.handicap + (0.0 if leading is None else support[leading])
    score = 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
    naming = [i for i, item in enumerate(evidence) if leading in item.target_classes and parts[i] > 0]
    counted = () if leading is None else tuple(counting[leading])
    return Combined(score, score >= model.alarm, leading, tuple(sorted(naming, key=lambda i: -parts[i])), counted)
