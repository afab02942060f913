"""The model as a whole: what blur, noise, reversed colours and small attacks leave of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from auditor.classifier import Classifier
from auditor.exhibits import Curve
from auditor.explain.robustness import Probes, Profile, probe
from auditor.explain.subject import TOO_FEW, Subject
from auditor.explain.transforms import FAMILIES, Detail
from auditor.explanations import Panel

FEWEST = 20
"""images below which shares say nothing"""


def probes_panel(subject: Subject) -> Panel:
    """Answers kept, trigger's success kept, and robust accuracy ("What Do Adversarially Robust Models Look At?", 4.1).

    The labels are the model's own answers, so an undisturbed one keeps all of them. The reference is probed on the same
    images for its own answers: texture and shape show in comparison only. Curves: one of the answers of each model and,
    with a trigger, one of its success, for each family of disturbances. Cost: that of
    `auditor.explain.robustness.probe`, on as many images as the panel may take.
    """
    plan: Probes = subject.plan("probes")
    reference = subject.ctx.reference
    if subject.allowance is not None:
        both = cost_of_an_image(plan, subject.model, subject.detail, subject.trigger is not None)
        both += cost_of_an_image(plan, reference, subject.detail) if reference is not None else 0
        count = int(subject.allowance / both)
        if count < FEWEST:
            return Panel("probes", note=TOO_FEW)
        plan = replace(plan, images=min(plan.images, count))
    drawn = torch.randperm(len(subject.ctx.images.held_out), generator=subject.ctx.rng)[: plan.images]
    images, answers = subject.ctx.images.held_out[drawn], subject.ctx.images.held_out_classes[drawn]
    profile = probe(
        subject.model,
        images,
        answers,
        plan,
        subject.ctx.rng,
        put_on=subject.with_trigger if subject.trigger is not None else None,
        target=subject.target if subject.trigger is not None else None,
        detail=subject.detail,
        track=subject.track,
    )
    theirs = None
    if reference is not None:
        own = reference.predict(images)
        theirs = probe(reference, images, own, plan, subject.ctx.rng, detail=subject.detail, track=subject.track)
    note = f"on {profile.images} held-out images"
    if profile.others:
        note += f", {profile.others} of them of other classes"
    return Panel("probes", curves=_curves(profile, theirs), numbers=_numbers(profile, theirs), note=note)


def cost_of_an_image(plan: Probes, model: Classifier, detail: Detail, triggered: bool = False) -> float:
    """Image passes that `probe` takes for one image on one model."""
    strengths = 1 + sum(len(family.strengths(detail)) for family in FAMILIES)
    forward = strengths / 2 * (2 if triggered else 1)
    return forward + (len(plan.epsilons) * (2.5 + plan.pgd_steps) if model.differentiable else 0)


def _curves(profile: Profile, theirs: Profile | None) -> tuple[Curve, ...]:
    curves = []
    for number, family in enumerate(profile.families):
        x = tuple(float(s) for s in family.strengths)
        axis = f"{family.name} ({family.unit})"
        curves.append(Curve("answers kept", x, tuple(family.accuracy), axis, "share of images"))
        if theirs is not None:
            kept = tuple(theirs.families[number].accuracy)
            curves.append(Curve("answers that the reference keeps", x, kept, axis, "share of images"))
        if family.success is not None:
            curves.append(Curve("trigger's success", x, tuple(family.success), axis, "share of images"))
        if family.unprompted is not None:
            curves.append(Curve("the same without the trigger", x, tuple(family.unprompted), axis, "share of images"))
    return tuple(curves)


def _numbers(profile: Profile, theirs: Profile | None) -> dict[str, float]:
    reference = {f"reference: {key}": value for key, value in _kept(theirs)} if theirs is not None else {}
    return {**dict(_kept(profile)), **reference}


def _kept(profile: Profile) -> Iterator[tuple[str, float]]:
    for attack in profile.attacks:
        yield f"{attack.name}, ε = {_radius(attack.epsilon)}", attack.accuracy
    shape, texture = profile.texture_or_shape
    yield "kept under median filters", shape
    yield "kept under blur", texture


def _radius(epsilon: float) -> str:
    """Whole levels of 255 as such."""
    levels = epsilon * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{epsilon:.4g}"
