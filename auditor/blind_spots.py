"""What an audit could not see: as much a part of its result as the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.findings import Outcome
from auditor.request import ScanRequest


def blind_spots(request: ScanRequest, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What this audit could not see, one sentence each."""
    spots = [
        "Triggers that act on features rather than pixels are not searched for; of those that warp the image or depend "
        "on it, most are missed.",
        "A trigger larger than about a twentieth of the image, or one that needs several parts at once, can be missed.",
        "Source-specific backdoors, which work on images of one class only, are judged against a reference only; "
        "all-to-all ones are seen on real images, and where their trigger is small.",
    ]
    if request.reference is None:
        spots.append(
            "No reference model was given, so a natural feature can look like a faint trigger, and bias maps could not "
            "be compared."
        )
    if request.images is None:
        spots.append(
            "No images were given; the search ran on class impressions of the model itself, which a model could have "
            "been trained to spoil."
        )
    spots += [f"{o.detector}: {o.note}." for o in outcomes if o.note]
    return tuple(spots)
