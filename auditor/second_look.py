"""What is suspected without a confirmed trigger is measured again, and the mean of all looks counts.

The score is the reason then, or a change of the whole image, and chance in the searches moves both, as it moves what
leaves a model of few classes open. A clean model whose score is at the alarm would be suspicious by one seed and pass
by the next; what a backdoor does is there in every look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from auditor.context import SearchImages
from auditor.findings import Measurement, Outcome


def other_half(images: SearchImages) -> SearchImages:
    """The same images, searched on the half that was held out and the other way round."""
    return replace(
        images,
        search=images.held_out,
        search_classes=images.held_out_classes,
        held_out=images.search,
        held_out_classes=images.search_classes,
        robust=None if images.robust is None else other_half(images.robust),
    )


def mean_of(looks: Sequence[Outcome]) -> Outcome:
    """One outcome of several of the same detector: the first one's classes and triggers, every number the mean.

    What another look does not show again (a source that is sent elsewhere) counts 0 there. Unfinished looks say
    nothing but why they are, and a low number that would be suspicious is left as it is.
    """
    first, others = looks[0], [o for o in looks[1:] if o.complete]
    cut = [f"look {number}: {o.note or 'unfinished'}" for number, o in enumerate(looks[1:], 2) if not o.complete]
    counted = bool(others) and first.statistic.suspicious != "low"
    mean = (f"the mean of {1 + len(others)} looks",) if counted else ()
    first = replace(first, note=". ".join(filter(None, (first.note, *mean, *cut))))
    if not counted:
        return first
    again = [{_whom(m): m for m in o.measurements} for o in others]
    measurements = tuple(_mean(m, [found.get(_whom(m)) for found in again]) for m in first.measurements)
    return replace(
        first,
        measurements=measurements,
        seconds=sum(o.seconds for o in looks),
        passes=sum(o.passes for o in looks),
    )


def _whom(measurement: Measurement) -> tuple[int, int | None]:
    return measurement.target_class, measurement.source_class


def _mean(first: Measurement, again: Sequence[Measurement | None]) -> Measurement:
    seen = [m for m in again if m is not None]
    numbers = {
        name: math.fsum([number, *(m.extras[name] for m in seen)]) / (1 + len(again))
        for name, number in first.extras.items()
        if all(name in m.extras for m in seen)
    }
    value = math.fsum([first.value, *(m.value for m in seen)]) / (1 + len(again))
    return replace(first, value=value, extras={**first.extras, **numbers})
