"""What is left of a class once the reference has been searched as well."""

from __future__ import annotations

from collections.abc import Mapping


def net(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    """Shares of images (0 to 1) by class on the suspect, less what the same search reaches on the reference.

    Only the leading classes are searched on the reference; the others reach less on the suspect. What would be left of
    those is not known: no more than the least that is left of a searched one is counted. Kept whole, they would rise
    above the leaders where these are natural features. With none searched, nothing is taken off.
    """
    left = {c: max(0.0, ours[c] - reached) for c, reached in theirs.items()}
    most = min(left.values(), default=1.0)
    return {c: left.get(c, min(most, reached)) for c, reached in ours.items()}
