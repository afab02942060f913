"""Where the model looks: attention and sensitivity, without and with the trigger, suspect beside reference."""

from __future__ import annotations

import torch

from auditor.classifier import Classifier
from auditor.explain.attention import grad_cam, share_inside
from auditor.explain.guided import relus
from auditor.explain.sensitivity import METHODS, as_picture, sensitivity
from auditor.explain.subject import EXAMPLES, Subject, lit, picture
from auditor.explanations import Panel, Strip

NO_RELU = "the network has no ReLU that could be replaced, so guided backpropagation is the vanilla gradient"


def attention_panel(subject: Subject) -> Panel:
    """Grad-CAM on images without and with the trigger: the attention shift of the class-wise patterns paper (App. G).

    Numbers: ``<model>, without`` and ``, with``: mean share of the attention inside the trigger's place, of up to
    `Subject.counted` images; only where there is such a place. Cost: 2 gradients an image and model.
    """
    shown, counted = subject.victims(EXAMPLES), subject.victims(subject.counted)
    place = subject.place()
    strips = [Strip("images", tuple(picture(f"image {i + 1}", x) for i, x in enumerate(shown)))]
    numbers: dict[str, float] = {}
    kinds = ("without", "with") if subject.trigger is not None else ("",)
    for name, model in subject.models:
        for kind in kinds:
            images = subject.with_trigger(counted) if kind == "with" else counted
            maps = grad_cam(model, images, model.predict(images))
            if maps is None:
                return Panel("attention", tuple(strips), note=f"the {name} has no feature maps to attend to")
            head = zip(images[: len(shown)], maps, strict=False)
            title = f"{name}, {kind} the trigger" if kind else name
            strips.append(Strip(title, tuple(picture(_answer(model, x), lit(x, a.cpu())) for x, a in head)))
            if place is not None:
                numbers[f"{name}, {kind}"] = float(share_inside(maps.cpu(), place).mean())
    if place is not None:
        numbers["size of the trigger"] = float(place.float().mean())
    return Panel("attention", tuple(strips), numbers=numbers)


def sensitivity_panel(subject: Subject) -> Panel:
    """Which pixels the answer hangs on, for one image without and with the trigger, by five methods.

    One strip a model and image, so that methods stand side by side. Numbers: ``<model>, without`` and ``, with``: the
    share of SmoothGrad's map at the trigger's place, where there is one. Cost: 2 · (3 + SmoothGrad's samples + the
    steps of integrated gradients) gradients a model.
    """
    place, numbers = subject.place(), dict[str, float]()
    plan = subject.plan("sensitivity")
    image = subject.victims(1)
    both = torch.cat([image, subject.with_trigger(image)]) if subject.trigger is not None else image
    strips = []
    for name, model in subject.models:
        answers = model.predict(both)
        maps = {m: as_picture(sensitivity(model, both, answers, m, plan, subject.ctx.rng)) for m in METHODS}
        for i, title in enumerate((f"{name}, without the trigger", f"{name}, with the trigger")[: len(both)]):
            shown = (picture(f"answer: class {int(answers[i])}", both[i]), *(picture(m, maps[m][i]) for m in METHODS))
            strips.append(Strip(title if len(both) > 1 else name, shown))
            if place is not None:
                share = share_inside(maps["SmoothGrad"][i], place)
                numbers[f"{name}, {'with' if i else 'without'}"] = float(share[0])
    return Panel("sensitivity", tuple(strips), numbers=numbers, note="" if relus(subject.model) else NO_RELU)


def _answer(model: Classifier, image: torch.Tensor) -> str:
    return f"answer: class {int(model.predict(image[None])[0])}"
