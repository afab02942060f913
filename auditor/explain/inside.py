"""Inside the network: how early the trigger takes over, and which filters it excites."""

from __future__ import annotations

from auditor.exhibits import Curve
from auditor.explain.layers import excited_filters, maximise
from auditor.explain.subject import Subject, picture
from auditor.explain.takeover import takeover
from auditor.explanations import Panel, Strip

FILTERS = {"standard": 3, "full": 8}
"""filters shown of each layer"""


def takeover_panel(subject: Subject) -> Panel | None:
    """Layer by layer, what the maps of triggered images resemble: the image, or the trigger (dominant patterns, 4.2).

    None without a trigger. Cost: three forward passes an image and model.
    """
    if subject.trigger is None:
        return None
    images = subject.victims(subject.counted)
    curves = []
    for name, model in subject.models:
        layers = takeover(model, images, subject.with_trigger(images), subject.on_plain())
        if not layers:
            return Panel("takeover", note=f"the {name} has no feature maps")
        x = tuple(float(i + 1) for i in range(len(layers)))
        for what, mean, std in (
            ("the image", [layer.to_image for layer in layers], [layer.to_image_std for layer in layers]),
            ("the trigger alone", [layer.to_trigger for layer in layers], [layer.to_trigger_std for layer in layers]),
        ):
            title = f"{name}: likeness to {what}"
            curves.append(Curve(title, x, tuple(mean), "layer", "structural similarity", tuple(std)))
    last = {curve.title: curve.y[-1] for curve in curves}
    return Panel("takeover", curves=tuple(curves), numbers=last)


def filters_panel(subject: Subject) -> Panel:
    """The images that most excite the filters which the trigger (without one: the class) excites most.

    Cost: the steps of `ActivationMaximisation` for each filter.
    """
    if subject.trigger is not None:
        before = subject.victims(subject.counted)
        after = subject.with_trigger(before)
    else:
        after = subject.victims(subject.counted)
        others = subject.ctx.images.held_out[subject.ctx.images.held_out_classes != subject.target]
        before = others[: subject.counted]
    if len(before) < 2 or not len(after):
        return Panel("filters", note="there were too few images of this class, or of others, to compare")
    found = excited_filters(subject.model, before, after, most=FILTERS[subject.detail])
    if not found:
        return Panel("filters", note="the network has no feature maps")
    plan = subject.plan("filters")
    strips = []
    layers = sorted({f.layer for f in found})
    for number, layer in enumerate(layers):
        mine = [f for f in found if f.layer == layer]
        drawn = maximise(subject.model, layer, [f.filter for f in mine], plan, subject.ctx.rng, subject.track)
        title = "first layer" if number == 0 else "last layer" if number == len(layers) - 1 else f"layer {layer + 1}"
        named = [f"filter {f.filter}: {f.rise:+.1f} deviations" for f in mine]
        strips.append(Strip(title, tuple(picture(n, x) for n, x in zip(named, drawn, strict=True))))
    return Panel("filters", tuple(strips))
