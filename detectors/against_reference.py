"""What is left of a class once the reference has been searched, or looked at, as well."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from auditor import surprises

FEWEST, FEWEST_TO_COMPARE = 4, 8
"""classes below which none can surprise beside the others, and below which the reference's are too few for a line"""

TOO_FEW = "fewer than four classes"


def net(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    """Shares of images (0 to 1) by class on the suspect, less what the same search reaches on the reference.

    Only the leading classes are searched on the reference; the others reach less on the suspect. What would be left of
    those is not known: no more than the least that is left of a searched one is counted. Kept whole, they would rise
    above the leaders where these are natural features. With none searched, nothing is taken off.
    """
    left = {c: max(0.0, ours[c] - reached) for c, reached in theirs.items()}
    most = min(left.values(), default=1.0)
    return {c: left.get(c, min(most, reached)) for c, reached in ours.items()}


def surprising(ours: Tensor, theirs: Tensor | None) -> list[float]:
    """How unlikely each class's number is by the other classes', in orders of magnitude; (K,) → K values.

    Given the reference's numbers of the same classes, by what these lead to expect: clean networks that were trained on
    the same data have much in common there, whatever their seed and scale, which a line allows for.
    """
    beside = [] if theirs is None or len(ours) < FEWEST_TO_COMPARE else [theirs.double().numpy()]
    return [float(value) for value in surprises(ours.double().numpy(), *beside)]
