"""The story of one audit, from a model file to a verdict. Read this first.

    file ──opening──▶ Classifier ──preflight──▶ Context ──detectors──▶ Outcomes ──verdict──▶ Audit
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from auditor import verdict
from auditor.calibration import Given
from auditor.classifier import Classifier
from auditor.context import Context, Progress, SearchImages
from auditor.demonstrate import demonstrations
from auditor.detector import Detector, Need
from auditor.errors import NothingToScanError
from auditor.findings import Audit, Outcome
from auditor.measuring import choose_detectors, generator, measure, skipped
from auditor.opening import choose_device, open_classifier, read_labels
from auditor.preflight import Preflight, check_pair
from auditor.provenance import provenance, record_of
from auditor.request import ScanRequest
from auditor.search_images import gather
from auditor.settings import parse_duration


@dataclass(frozen=True)
class Opened:
    """The models of one scan."""

    suspect: Classifier
    reference: Classifier | None
    notes: tuple[str, ...]


def run(request: ScanRequest, *, progress: Progress | None = None) -> Audit:
    """One whole audit. Raises `AuditError` for input that cannot be audited; never for what the model answers."""
    began, started = time.monotonic(), datetime.now(UTC)
    budget = parse_duration(request.settings.budget)
    detectors = choose_detectors(request)
    if not detectors:
        raise NothingToScanError("expected at least one detector to run, got none; leave out --detector or install one")
    models = open_models(request)
    images, checks = gather(request, models.suspect, models.reference, progress)
    deadline = began + budget if budget is not None else None
    outcomes, interrupted = measure_all(request, models, images, checks, detectors, deadline, progress)
    settings = request.settings
    judged = verdict.judge(
        outcomes,
        num_classes=models.suspect.num_classes,
        level=settings.level,
        confirm_at=settings.confirm_at,
        given=given(request),
        blockers=checks.blockers,
    )
    passes = models.suspect.passes + (models.reference.passes if models.reference else 0)
    return Audit(
        verdict=judged.verdict,
        score=judged.score,
        reason=judged.reason,
        target_classes=judged.target_classes,
        source_classes=judged.source_classes,
        warnings=(*models.notes, *checks.warnings, *judged.warnings, *interrupted),
        evidence=judged.evidence,
        outcomes=tuple(outcomes),
        model=models.suspect.facts,
        reference=models.reference.facts if models.reference else None,
        images=images.facts,
        provenance=provenance(settings.seed, str(models.suspect.device), started, record_of(request, detectors)),
        seconds=time.monotonic() - began,
        image_passes=passes,
        family_wise_level=settings.level,
        trigger=judged.trigger,
        demonstrations=demonstrations(judged, models.suspect, models.reference, images),
        labels=models.suspect.labels,
        blind_spots=blind_spots(request, outcomes),
    )


def open_models(request: ScanRequest) -> Opened:
    """Suspect and reference, each as its own options say."""
    device = choose_device(request.settings.device)
    labels = read_labels(request.classes)
    suspect, network = open_classifier(request.model, request.model_options, device=device, labels=labels)
    notes = list(network.notes)
    if request.reference is None:
        return Opened(suspect, None, tuple(notes))
    options = request.reference_options or replace(request.model_options, arch=None)
    reference, its_network = open_classifier(
        request.reference, options, device=device, template=network, default_shape=suspect.input_shape
    )
    check_pair(suspect, reference)
    notes += [f"reference: {note}" for note in its_network.notes]
    return Opened(suspect, reference, tuple(notes))


def measure_all(
    request: ScanRequest,
    models: Opened,
    images: SearchImages,
    checks: Preflight,
    detectors: Sequence[tuple[str, Detector]],
    deadline: float | None,
    progress: Progress | None,
) -> tuple[list[Outcome], tuple[str, ...]]:
    """Run each detector on its share of the time. Those that want candidates come last.

    Ctrl-C stops here: what is finished is kept, the rest counts as unfinished, and the second value says so.
    """
    outcomes: list[Outcome] = []
    interrupted: tuple[str, ...] = ()
    queue = sorted(detectors, key=lambda pair: Need.CANDIDATES in pair[1].needs)
    for position, (name, detector) in enumerate(queue):
        ctx = Context(
            model=models.suspect,
            images=images,
            rng=generator(request.settings.seed, name),
            reference=models.reference,
            candidates=verdict.singled_out(outcomes, models.suspect.num_classes, given(request)),
            deadline=share_of_time(deadline, len(queue) - position),
        )
        if progress is not None:
            ctx = replace(ctx, progress=progress)
        if checks.blockers or interrupted:
            outcomes.append(skipped(name, detector, ctx, "not run: " + (checks.blockers or interrupted)[0]))
            continue
        outcome, stopped = measure(name, detector, ctx)
        outcomes.append(outcome)
        if stopped:
            interrupted = ("interrupted by the user",)
    return outcomes, interrupted


def given(request: ScanRequest) -> Given:
    """What the verdict's calibration depends on."""
    return Given(reference=request.reference is not None, images=request.images is not None)


def share_of_time(deadline: float | None, remaining: int) -> float | None:
    """An equal share of the time that is left, as a moment."""
    if deadline is None:
        return None
    now = time.monotonic()
    return now + max(0.0, deadline - now) / remaining


def blind_spots(request: ScanRequest, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What this audit could not see, one sentence each."""
    spots = [
        "Triggers that warp or filter the whole image, that depend on the image (input-aware), or that act on features "
        "rather than pixels are not searched for.",
        "A trigger larger than about a twentieth of the image, or one that needs several parts at once, can be missed.",
        "Source-specific backdoors, which work on images of one class only, and all-to-all ones are measured by the "
        "pair matrix, but rarely stand out from natural confusions.",
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
