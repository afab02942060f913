"""What an audit could not see: as much a part of its result as the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auditor.detection_rates import Measured, measured, mode_of
from auditor.findings import Outcome
from auditor.request import ScanRequest
from auditor.telling import FEWEST_CLASSES

OFTEN_MISSED = 0.8
"""an attack of whose models a smaller share is detected is named"""


def blind_spots(
    request: ScanRequest, outcomes: Sequence[Outcome], num_classes: int, *, preparation_known: bool
) -> tuple[str, ...]:
    """What this audit could not see, one sentence each: measured on models with known backdoors, and from what ran.

    ``preparation_known`` tells whether labelled images, batch norm or a reference tell how the model wants its images.
    """
    spots = [
        *measured_spots(request),
        "A trigger larger than about a twentieth of the image, or one that needs several parts at once, can be missed; "
        "so can one that acts on features rather than pixels.",
    ]
    if request.reference is None:
        spots.append(
            "No reference model was given, so a natural feature can look like a faint trigger, of backdoors of single "
            "source classes only plain patches near a corner are judged, and bias maps could not be compared."
        )
    if request.images is None:
        spots.append(
            "No images were given; the search ran on class impressions of the model itself, which a model could have "
            "been trained to spoil."
        )
    if request.model_options.leave_preparation_open and not preparation_known:
        spots.append(
            "Nothing says how the network was trained to see its images, so it was given pixels from 0 to 1 as they "
            "are; if it expects others, this audit means little. State its preprocessing, or give images with labels."
        )
    if request.images is not None and request.reference is None and num_classes < FEWEST_CLASSES:
        spots.append(
            "With so few classes and no reference, no change of the whole image makes a model suspicious; what few "
            "clean models show leaves the audit inconclusive."
        )
    if request.images is None and request.reference is not None and num_classes < FEWEST_CLASSES:
        spots.append(
            "With so few classes and no images, neither faint patterns over the whole image nor shifts inside the "
            "network are judged."
        )
    named: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.note:
            named.setdefault(outcome.note, []).append(outcome.detector)
    spots += [f"{', '.join(detectors)}: {note}." for note, detectors in named.items()]
    return tuple(spots)


def measured_spots(request: ScanRequest) -> Iterator[str]:
    """The attacks that audits with the same means are measured to miss."""
    mode = mode_of(reference=request.reference is not None, images=request.images is not None)
    effort = request.settings.effort
    known = measured()
    # what was not measured at this effort is better told by a neighbour's rates than not at all
    at = next((e for e in (effort, "standard", "quick") if (mode, e) in known), None)
    if at is None:
        yield "What audits with these means miss has not been measured."
        return
    rates = known[mode, at]
    hits, count = rates.detected
    told = f"{told_of(mode)} at {at} effort"
    of_models = f"Of {count} models with a backdoor that no weight was fitted to"
    yield f"{of_models}, audits {told} missed {count - hits}" + _named(rates)
    if request.detectors is not None:
        yield "Only the detectors that were named ran; the measured rates are those of all detectors."
    elif at != effort:
        yield f"The rates are those of {at} effort; at {effort} effort none were measured."


def _named(rates: Measured) -> str:
    missed = {name: (n - hits, n) for name, (hits, n) in rates.by_attack.items() if n and hits / n < OFTEN_MISSED}
    order = sorted(missed, key=lambda name: (-missed[name][0] / missed[name][1], name))
    return ", above all " * bool(order) + "; ".join(f"{n}: {missed[n][0]} of {missed[n][1]}" for n in order) + "."


def told_of(mode: str) -> str:
    """A mode in words."""
    return {
        "images": "with images and no reference",
        "impressions": "of the model file alone",
        "reference+images": "with a reference and images",
        "reference": "with a reference and no images",
    }[mode]
