"""The story of ``audit explain``: one class of one model, without a scan; or an image made from a seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from auditor.audit_file import read_audit
from auditor.context import Context
from auditor.errors import ConfigError, ModelMismatchError
from auditor.exhibits import Picture
from auditor.explain.generation import Generation, generate, read_image, read_mask
from auditor.explain.subject import plan
from auditor.explained import Explained
from auditor.explaining import Bounds, Chosen, ceiling, check_settings, explain, trigger_of
from auditor.explanations import Explanation
from auditor.findings import Trigger
from auditor.measuring import generator
from auditor.models import Opened, open_models
from auditor.progress import Progress
from auditor.provenance import provenance, record_of
from auditor.request import Question, ScanRequest
from auditor.search_images import gather
from auditor.settings import parse_duration


def explain_one(
    request: ScanRequest,
    question: Question,
    *,
    progress: Progress | None = None,
    opened: Callable[[], None] | None = None,
) -> Explained:
    """Explanations of the class asked for, or the image made from the seed. ``opened`` is told when the models are.

    Raises `AuditError` for input that cannot be used: a class that the model does not have, an audit of another
    model, a model without gradients.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    check_settings(request.explanation_settings)
    models = open_models(request)
    if opened is not None:
        opened()
    _check(models, question)
    trigger = _trigger(models, question)
    budget = parse_duration(request.settings.budget)
    deadline = None if budget is None else began + budget
    images, checks = gather(request, models.suspect, models.reference, progress, deadline=deadline)
    ctx = Context(
        model=models.suspect,
        images=images,
        rng=generator(request.settings.seed, "explanations"),
        reference=models.reference,
        deadline=deadline,
    )
    if progress is not None:
        ctx = replace(ctx, progress=progress)
    shown: tuple[Explanation, ...] = ()
    made: Picture | None = None
    if question.seed_image is not None:
        made = _made(request, question, ctx)
    else:
        shown = _explanations(request, question, ctx, trigger)
    suspect, reference = models.suspect, models.reference
    return Explained(
        model=suspect.facts,
        reference=reference.facts if reference else None,
        images=images.facts,
        labels=suspect.labels,
        explanations=shown,
        warnings=(*models.notes, *checks.warnings, *checks.blockers),
        provenance=provenance(request.settings.seed, str(suspect.device), started, record_of(request, ())),
        seconds=time.monotonic() - began,
        image_passes=suspect.passes + (reference.passes if reference else 0),
        generated=made,
    )


def _explanations(
    request: ScanRequest, question: Question, ctx: Context, trigger: Trigger | None
) -> tuple[Explanation, ...]:
    k = ctx.num_classes
    detail = "full" if request.settings.explain == "full" else "standard"
    return explain(
        ctx,
        [Chosen("asked for", question.target, trigger, (question.target + k // 2) % k if k > 2 else None)],
        detail=detail,  # type: ignore[arg-type]
        bounds=Bounds(ceiling(ctx.model)) if detail == "standard" else None,
        settings=request.explanation_settings,
    )


def _made(request: ScanRequest, question: Question, ctx: Context) -> Picture:
    assert question.seed_image is not None
    shape = ctx.model.input_shape
    seed = read_image(question.seed_image, shape)
    corrupt = read_mask(question.mask, shape) if question.mask is not None else None
    settings: Generation = plan("generation", request.explanation_settings)
    own = ctx.images.held_out[ctx.images.held_out_classes == question.target]
    found = generate(
        ctx.model, seed, question.target, settings.at(shape), ctx.rng, corrupt, ctx.track, images=own
    )
    return Picture(f"class {question.target}, probability {found.probability:.2f}", found.image.numpy())


def _check(models: Opened, question: Question) -> None:
    suspect = models.suspect
    if not 0 <= question.target < suspect.num_classes:
        raise ConfigError(
            f"expected --class from 0 to {suspect.num_classes - 1}, the classes of this model, got {question.target}; "
            "audit inspect lists their names where the file holds some"
        )
    if not suspect.differentiable:
        raise ConfigError(
            "expected a model that gives gradients, got a black box; explanations need them: leave out --black-box"
        )


def _trigger(models: Opened, question: Question) -> Trigger | None:
    if question.audit is None:
        return None
    audit = read_audit(question.audit)
    if audit.model.sha256 != models.suspect.facts.sha256:
        raise ModelMismatchError(
            f"expected an audit of this very file in {question.audit.name!a}, got one of {audit.model.name!a} with "
            "another SHA-256; scan this file first, or leave out --audit"
        )
    found = trigger_of(audit, question.target)
    if found is None:
        named = ", ".join(map(str, audit.target_classes)) or "none"
        raise ConfigError(
            f"expected a trigger of class {question.target} in {question.audit.name!a}, got none; it names these "
            f"classes: {named}"
        )
    return found
