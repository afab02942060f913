"""The story of one audit, from a model file to a verdict. Read this first.

    file ──examine──▶ findings ──opening──▶ Classifier ──preflight──▶ Context ──detectors──▶ Outcomes ──verdict──▶ Audit
                                                                                     why ◀──explain──┘

``audit scan`` tells it in a confined process of its own (`auditor.worker`); ``run`` tells it in this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from auditor import expected_time, verdict
from auditor.blind_spots import blind_spots
from auditor.calibration import read, using
from auditor.classifier import Classifier
from auditor.context import SearchImages
from auditor.demonstrate import demonstrations
from auditor.errors import NothingToScanError
from auditor.explaining import beside, check_settings, explain, of_audit
from auditor.findings import Audit, ImageFacts, Outcome, Verdict
from auditor.job import Job, share_of_time
from auditor.measuring import choose_detectors, measure, not_needed, skipped
from auditor.models import Opened, of_suspect, open_models
from auditor.preflight import Preflight
from auditor.progress import Progress
from auditor.provenance import provenance, record_of
from auditor.request import ScanRequest
from auditor.search_images import gather
from auditor.second_look import mean_of, other_half
from auditor.weighing import singled_out

Checkpoint = Callable[[Audit, bool], None]
"""told, once the models are open and after each detector, what the audit would say if it ended there, and whether that
is final"""

DECIDED = 1e-6
"""family-wise level at which a confirmed trigger ends the audit: nine of ten planted ones with images reach it, three
of four without. Of seven natural features that were confirmed four do not, and the rest may show what was planted"""

NO_IMAGES = ImageFacts(source="none yet", count=0, held_out=0, labelled=False)


def run(request: ScanRequest, *, progress: Progress | None = None, checkpoint: Checkpoint | None = None) -> Audit:
    """One whole audit. Raises `AuditError` for input that cannot be audited; never for what the model answers."""
    job = Job(request, choose_detectors(request), time.monotonic(), datetime.now(UTC))
    if not job.detectors:
        raise NothingToScanError("expected at least one detector to run, got none; leave out --detector or install one")
    if request.settings.explain != "none":
        check_settings(request.explanation_settings)
    with using(read(request.calibration) if request.calibration else None):
        return _run(job, progress, checkpoint)


def _run(job: Job, progress: Progress | None, checkpoint: Checkpoint | None) -> Audit:
    request = job.request
    models = open_models(request)
    if checkpoint is not None:
        checkpoint(conclude(job, models), False)
    images, checks = gather(
        request,
        models.suspect,
        models.reference,
        progress,
        robust=job.on_robust_impressions,
        deadline=job.deadline,
    )
    measured = _whole_bar(job, models, checks, progress)
    outcomes: tuple[Outcome, ...] = ()
    for done, outcomes in enumerate(measure_all(job, models, images, checks, progress), 1):
        measured(done)
        if checkpoint is not None:
            checkpoint(conclude(job, models, images, checks, outcomes), False)
    audit = conclude(job, models, images, checks, outcomes, shown=True)
    if checkpoint is not None:
        checkpoint(audit, True)
    return audit if checks.blockers else explained(job, models, images, audit, progress)


def _whole_bar(job: Job, models: Opened, checks: Preflight, progress: Progress | None) -> Callable[[int], None]:
    """Show how far the whole audit is and about how long it takes; what to call with the number of detectors done."""
    request, total = job.request, len(job.detectors)
    if progress is None or checks.blockers:
        return lambda done: None
    given = {"reference": request.reference is not None, "images": request.images is not None}
    span = expected_time.expected(models.suspect, effort=request.settings.effort, **given)
    title = ", ".join(filter(None, ("whole audit", span)))
    progress(title, 0, total)
    return lambda done: progress(title, min(done, total), total)


def measure_all(
    job: Job, models: Opened, images: SearchImages, checks: Preflight, progress: Progress | None
) -> Iterator[tuple[Outcome, ...]]:
    """Run each detector on its share of the time, until a confirmed trigger has decided the verdict; then `look_again`.

    Yields, after each, what there is of all of them: those that did not run yet are there as unfinished. Ctrl-C
    stops here: what is finished is kept, the rest stays unfinished.
    """
    queue = job.detectors
    done: list[Outcome] = []
    halt = checks.blockers[0] if checks.blockers else ""
    decided = False
    for position, (name, detector) in enumerate(queue):
        candidates = singled_out(done, models.suspect.num_classes, job.given(models, checks))
        time_left = share_of_time(job.deadline, len(queue) - position)
        ctx = job.context(models, images, name, time_left, progress, candidates)
        if decided:
            done.append(not_needed(name, detector, ctx, "not run: a confirmed trigger had decided the verdict"))
        elif halt:
            done.append(skipped(name, detector, ctx, f"not run: {halt}"))
        else:
            outcome, stopped = measure(name, detector, ctx)
            done.append(outcome)
            halt = "interrupted by the user" if stopped else ""
            decided = job.may_stop and is_decided(job, models, done, checks)
        waiting = [skipped(name, detector, ctx, "not run yet") for name, detector in queue[position + 1 :]]
        yield (*done, *waiting)
    if not halt:
        yield from look_again(job, models, images, checks, tuple(done), progress)


def look_again(
    job: Job,
    models: Opened,
    images: SearchImages,
    checks: Preflight,
    outcomes: tuple[Outcome, ...],
    progress: Progress | None,
) -> Iterator[tuple[Outcome, ...]]:
    """As long as no confirmed trigger is behind suspicion or doubt: it is measured again, and the means are judged."""
    looks = [[outcome] for outcome in outcomes]
    given = job.given(models, checks)
    for number in range(2, job.request.settings.looks + 1):
        agreeing = judged(job, models, outcomes, checks).by_score
        half = other_half(images) if number % 2 == 0 else images
        for (name, detector), seen in zip(job.detectors, looks, strict=True):
            if name not in agreeing:
                continue
            candidates = singled_out(outcomes, models.suspect.num_classes, given)
            time_left = share_of_time(job.deadline, len(agreeing))
            ctx = job.context(models, half, f"{name}, look {number}", time_left, progress, candidates)
            outcome, stopped = measure(name, detector, ctx)
            seen.append(outcome)
            outcomes = tuple(mean_of(each) for each in looks)
            yield outcomes
            if stopped:
                return


def explained(
    job: Job, models: Opened, images: SearchImages, audit: Audit, progress: Progress | None
) -> Audit:
    """The audit with pictures of why; nothing else in it changes, whatever happens here."""
    request, detail = job.request, job.request.settings.explain
    ctx = replace(job.context(models, images, "explanations", job.deadline, progress), title="")
    if detail == "none" or not ctx.differentiable:
        return audit
    bounds = beside(audit, ctx.model) if detail == "standard" else None
    chosen, settings = of_audit(audit, detail), request.explanation_settings
    try:
        shown = explain(ctx, chosen, detail=detail, bounds=bounds, settings=settings)
    except KeyboardInterrupt:  # between two pictures
        return audit
    return replace(audit, explanations=shown)


def conclude(
    job: Job,
    models: Opened,
    images: SearchImages | None = None,
    checks: Preflight | None = None,
    outcomes: Sequence[Outcome] = (),
    *,
    shown: bool = False,
) -> Audit:
    """The audit as it stands after ``outcomes``; with ``shown``, the trigger is put on held-out images too."""
    request, suspect, reference = job.request, models.suspect, models.reference
    settings = request.settings
    verdict_of = judged(job, models, outcomes, checks)
    interrupted = ("interrupted by the user",) if any("interrupted by the user" in o.note for o in outcomes) else ()
    return Audit(
        verdict=verdict_of.verdict,
        score=verdict_of.score,
        reason=verdict_of.reason,
        target_classes=verdict_of.target_classes,
        source_classes=verdict_of.source_classes,
        warnings=(*models.notes, *(checks.warnings if checks else ()), *verdict_of.warnings, *interrupted),
        evidence=verdict_of.evidence,
        outcomes=tuple(outcomes),
        model=suspect.facts,
        reference=reference.facts if reference else None,
        images=images.facts if images is not None else NO_IMAGES,
        provenance=provenance(settings.seed, str(suspect.device), job.started, record_of(request, job.detectors)),
        seconds=time.monotonic() - job.began,
        image_passes=suspect.passes + (reference.passes if reference else 0),
        family_wise_level=settings.level,
        trigger=verdict_of.trigger,
        demonstrations=demonstrations(verdict_of, suspect, reference, images) if shown and images is not None else (),
        labels=suspect.labels,
        blind_spots=blind_spots(
            request,
            outcomes,
            suspect.num_classes,
            preparation_known=_preparation_known(suspect, images),
        ),
        file_findings=models.findings,
        kinship=models.kinship,
    )


def _preparation_known(suspect: Classifier, images: SearchImages | None) -> bool:
    """Whether labels, batch norm or a reference (then images are not given as they are) say how it wants them."""
    labelled = images is not None and images.facts.labelled
    return labelled or suspect.remembers is not None or not suspect.preprocess.is_plain


def is_decided(job: Job, models: Opened, outcomes: Sequence[Outcome], checks: Preflight | None) -> bool:
    """Whether a confirmed trigger stays one, whatever the detectors measure that did not run yet: see `DECIDED`."""
    return judged(job, models, outcomes, checks, DECIDED).verdict is Verdict.BACKDOORED


def judged(
    job: Job, models: Opened, outcomes: Sequence[Outcome], checks: Preflight | None, most: float = 1.0
) -> verdict.Judgement:
    """The verdict on what there is so far, at the family-wise level or ``most``, whichever is less."""
    settings = job.request.settings
    return verdict.judge(
        outcomes,
        num_classes=models.suspect.num_classes,
        level=min(settings.level, most),
        confirm_at=settings.confirm_at,
        given=job.given(models, checks),
        blockers=checks.blockers if checks is not None else (),
        gaps=checks.gaps if checks is not None else (),
        findings=of_suspect(models.findings),
    )
