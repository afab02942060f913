"""The model as a whole: what blur, noise, reversed colours and small attacks leave of its answers."""

from __future__ import annotations

from dataclasses import replace

from auditor.exhibits import Curve
from auditor.explain.robustness import Probes, Profile, probe
from auditor.explain.subject import TOO_FEW, Subject
from auditor.explain.transforms import FAMILIES
from auditor.explanations import Panel

FEWEST = 20
"""images below which shares say nothing"""


def probes_panel(subject: Subject) -> Panel:
    """Answers kept, trigger's success kept, and robust accuracy ("What Do Adversarially Robust Models Look At?", 4.1).

    The labels are the suspect's own answers on images it answers rightly, so an undisturbed model keeps all of them.
    Curves: one of the answers and, with a trigger, one of its success, for each family of disturbances. Cost: that of
    `auditor.explain.robustness.probe`, on as many images as the panel may take.
    """
    plan: Probes = subject.plan("probes")
    if subject.allowance is not None:
        count = int(subject.allowance / cost_of_an_image(plan, subject))
        if count < FEWEST:
            return Panel("probes", note=TOO_FEW)
        plan = replace(plan, images=min(plan.images, count))
    profile = probe(
        subject.model,
        subject.ctx.images.held_out,
        subject.ctx.images.held_out_classes,
        plan,
        subject.ctx.rng,
        put_on=subject.with_trigger if subject.trigger is not None else None,
        target=subject.target if subject.trigger is not None else None,
        detail=subject.detail,
        track=subject.track,
    )
    note = f"on {profile.images} held-out images"
    if profile.others:
        note += f", {profile.others} of them of other classes"
    return Panel("probes", curves=_curves(profile), numbers=_numbers(profile), note=note)


def cost_of_an_image(plan: Probes, subject: Subject) -> float:
    """Image passes that `probe` takes for one image."""
    strengths = 1 + sum(len(family.strengths(subject.detail)) for family in FAMILIES)
    forward = strengths / 2 * (2 if subject.trigger is not None else 1)
    return forward + (len(plan.epsilons) * (2.5 + plan.pgd_steps) if subject.model.differentiable else 0)


def _curves(profile: Profile) -> tuple[Curve, ...]:
    curves = []
    for family in profile.families:
        x = tuple(float(s) for s in family.strengths)
        axis = f"{family.name} ({family.unit})"
        curves.append(Curve("answers kept", x, tuple(family.accuracy), axis, "share of images"))
        if family.success is not None:
            curves.append(Curve("trigger's success", x, tuple(family.success), axis, "share of images"))
        if family.unprompted is not None:
            curves.append(Curve("the same without the trigger", x, tuple(family.unprompted), axis, "share of images"))
    return tuple(curves)


def _numbers(profile: Profile) -> dict[str, float]:
    numbers = {f"{a.name}, ε = {_radius(a.epsilon)}": a.accuracy for a in profile.attacks}
    shape, texture = profile.texture_or_shape
    return {**numbers, "kept under median filters": shape, "kept under blur": texture}


def _radius(epsilon: float) -> str:
    """Whole levels of 255 as such."""
    levels = epsilon * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{epsilon:.4g}"
