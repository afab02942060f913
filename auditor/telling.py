"""Which evidence can tell a trigger from a natural feature, and whether a ready-made patch is enough by itself.

With few classes, some class is everybody's answer to texture, and only small patterns tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditor.calibration import AS_TEN, Given
from auditor.confirming import (
    COMPACT,
    FAR_READY_MADE,
    OF_EACH_IMAGE,
    READY_MADE,
    WHOLE_IMAGE,
    answers_to_disturbance,
    faint_from,
    triggers_of,
)
from auditor.findings import Evidence, Outcome
from auditor.scoring import PLAIN, kind_of

INSIDE = frozenset({"features"})
"""detectors that search inside the network, whose finds no trigger on images can confirm"""

FEWEST_CLASSES = 5
"""with fewer, and no reference, the other classes are too few to say what a natural feature can do"""

FEWEST_FOR_SUCCESS = AS_TEN.stop
"""with fewer, and no reference, success tells nothing: of five kinds of clothes a clean network took 89 % for trousers
with a bar on 3 % of the pixels"""


def decided_by_compact_triggers(num_classes: int, given: Given) -> bool:
    """Whether the classes are too few to say what a natural feature can do, and no reference says it.

    Beside images only kin says it: of few classes, two networks that are not kin need not agree. Then only small
    patterns decide (see `tells`), statistics that agree on one of so few classes say nothing, and what is rare on clean
    models may leave the verdict open.
    """
    unsaid = not given.reference or (given.images and not given.kin)
    return num_classes < FEWEST_CLASSES and unsaid


def is_near_for_few(item: Evidence, num_classes: int, given: Given, level: float) -> bool:
    """Whether it is rare, but a ready-made patch that few classes make easy: see `FAR_READY_MADE`."""
    few = decided_by_compact_triggers(num_classes, given)
    return few and item.detector in READY_MADE and FAR_READY_MADE < item.p_value <= level


def is_ready_made(item: Evidence, beside: Sequence[Evidence], level: float, given: Given) -> bool:
    """Whether a trigger that was drawn without looking at the model confirms it, and its value is rare.

    Corrected for the statistics of its own detector: natural pairs of classes are confirmed by patches as well. On
    images and without a reference: of class impressions, and of what two networks do not share, more are rare.
    """
    if item.detector not in READY_MADE or not item.confirmed or given.reference or not given.images:
        return False
    return item.p_value <= level / sum(e.detector == item.detector for e in beside)


def tells(item: Evidence, outcomes: Sequence[Outcome], num_classes: int, given: Given) -> bool:
    """Whether an evidence can tell a trigger from a natural feature, with so many classes to compare.

    With few, some class is everybody's answer to texture, so only small patterns can, by how fully they command a
    class: a clean model of two classes was turned by 1 % of the pixels as often as a backdoored one. On class
    impressions, only compact ones: clean models of two and three classes answer to all else there. Against a
    reference, neither faint patterns over the whole image nor shifts inside the network tell, but on images and against
    kin: with few classes, no two other clean models agree on those.

    Success alone tells nothing without a reference up to `FEWEST_FOR_SUCCESS`. And where a class is the network's own
    answer to a few pixels of its own impressions, other disturbances that lead there tell nothing but that, unless they
    are rarer than any on a clean model (`auditor.confirming.faint_from`).
    """
    speaks_for_itself = item.confirmed or item.p_value <= faint_from(given, item.detector)
    own = given.mode == "impressions" and not speaks_for_itself
    if own and set(item.target_classes) <= answers_to_disturbance(outcomes):
        return False
    if kind_of(item) == PLAIN and num_classes < FEWEST_FOR_SUCCESS and not given.reference:
        return False
    if num_classes >= FEWEST_CLASSES or (given.kin and given.images):
        return True
    found = triggers_of(outcomes, item)
    if item.detector in OF_EACH_IMAGE or any(m.trigger is not None and m.trigger.size > WHOLE_IMAGE for m in found):
        return False
    if given.reference and item.detector in INSIDE:
        return False
    if not decided_by_compact_triggers(num_classes, given):
        return True
    compact = bool(found) and all(m.trigger is not None and m.trigger.size <= COMPACT for m in found)
    return (given.images and kind_of(item) != PLAIN) or (kind_of(item) == "prominence" and compact)
