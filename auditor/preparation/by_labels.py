"""How a network wants its images, told by how often it is right: on labelled ones, or as another model has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.classifier import Classifier, Preprocess
from auditor.preparation.ways import Told, usual_ways
from auditor.request import ModelOptions

PROBED, FIRST = 400, 100
"""images that the model's own way and the best of the others are compared on; and those that all ways are tried on"""

TO_MATCH = 5
"""labelled images a class that are needed to see that labels count the classes in another order"""

BETTER, SIGMAS = 0.02, 3.0
"""how much more often a model must be right for another way to be better, and how far that must be from chance"""

WRONG = 0.2
"""how much more often another way makes the model right where its own must be wrong"""


@dataclass(frozen=True)
class Way:
    """One way to prepare images, and how often the model is right with it."""

    name: str
    """as settings call it, e.g. ``range 0..255``"""
    preprocess: Preprocess
    accuracy: float
    before: float
    """how often it is right on the same images as they were prepared so far"""


def as_images_tell(model: Classifier, options: ModelOptions, images: Tensor, labels: Tensor, *, role: str) -> Told:
    """Prepare images for the model in a better way, if there is one and ``options`` leave it open.

    Where they do not, they are obeyed, and the better way is told; a far better one means that they are wrong.
    """
    way = better_way(model, images, labels, usual_ways(model.preprocess, images.shape[1], images[:PROBED]))
    if way is None:
        return Told()
    if not options.leave_preparation_open:
        doubt = (
            f"the {role} is right on {way.before:.0%} of the labelled images as its options prepare them, and would be "
            f"on {way.accuracy:.0%} with {way.name}"
        )
        return Told(blockers=(doubt,)) if way.accuracy - way.before > WRONG else Told((f"{doubt}; check them",))
    model.prepare(way.preprocess)
    note = (
        f"the {role}'s images were prepared with {way.name}: it is right on {way.accuracy:.0%} of the labelled ones "
        f"then, and on {way.before:.0%} as they are; if it was not trained so, state its preprocessing"
    )
    return Told((note,))


def as_other_model_tells(model: Classifier, images: Tensor, answers: Tensor, *, role: str, other: str) -> Told:
    """Prepare real images for the model in the usual way with which it clearly agrees most often with another model.

    ``answers`` are that model's to the first `PROBED` images of (N, C, H, W), prepared as it is known to want them.
    """
    ways = usual_ways(model.preprocess, images.shape[1], images[:PROBED])
    way = better_way(model, images, answers, ways, right=torch.eq)
    if way is None:
        return Told()
    model.prepare(way.preprocess)
    note = (
        f"the {role}'s images were prepared with {way.name}: it agrees with the {other} on {way.accuracy:.0%} of them "
        f"then, and on {way.before:.0%} as they are; if it was not trained so, state its preprocessing"
    )
    return Told((note,))


def like_other_model(
    model: Classifier, pictures: Tensor, answers: Tensor, theirs: Preprocess, *, role: str, other: str
) -> Told:
    """Prepare images for the model as for another one of its task, unless it clearly agrees more often as it is.

    ``pictures`` (N, C, H, W) are made, so agreement says little; and two models of a task are mostly asked alike.
    """
    own = model.preprocess
    model.prepare(theirs)
    if better_way(model, pictures, answers, [("its own", own)], right=torch.eq, probed=len(pictures)) is not None:
        model.prepare(own)
        return Told()
    note = f"how the {role} wants its images is not known; they were prepared as the {other}'s; if wrong, state it"
    return Told((note,))


def better_way(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    ways: Iterable[tuple[str, Preprocess]],
    *,
    right: Callable[[Tensor, Tensor], Tensor] | None = None,
    probed: int = PROBED,
) -> Way | None:
    """The preparation with which the model is clearly more often right than with its own; None where none is.

    ``images`` (N, C, H, W) in [0, 1] with labels (N,); ``probed`` of them are looked at. ``ways`` are the preparations
    to try, with names; ``right`` says which answers and labels (N,) agree, `follows` where it is not given. The model
    stays as it is. Costs forward passes of `FIRST` images for each way, and two of ``probed`` where another is better.
    """
    own, agree = model.preprocess, right or follows

    def answered(way: Preprocess, count: int) -> Tensor:
        model.prepare(way)
        return agree(model.predict(images[:count]), labels[:count])

    try:
        tried = list(ways)
        scores = [int(answered(way, FIRST).sum()) for _, way in tried]
        name, way = tried[max(range(len(tried)), key=scores.__getitem__)]
        if max(scores) <= int(answered(own, FIRST).sum()):
            return None
        before, after = answered(own, probed), answered(way, probed)
        better = _clearly(after, before)
        return Way(name, way, float(after.float().mean()), float(before.float().mean())) if better else None
    finally:
        model.prepare(own)


def _clearly(theirs: Tensor, right: Tensor) -> bool:
    """Whether more images are answered rightly, by more than chance would do (McNemar)."""
    won, lost = int((theirs & ~right).sum()), int((right & ~theirs).sum())
    return won - lost > max(BETTER * len(right), SIGMAS * math.sqrt(won + lost))


def follows(answers: Tensor, labels: Tensor) -> Tensor:
    """(N,) and (N,) → (N,) whether each answer is the label's, in whichever order of the classes fits best."""
    return max(answers == labels, in_another_order(answers, labels), key=lambda right: int(right.sum()))


def in_another_order(answers: Tensor, labels: Tensor) -> Tensor:
    """(N,) whether an image's answer and label choose each other most often, whatever their numbers are.

    Never, with too few images to tell an order from chance.
    """
    if len(labels) < TO_MATCH * len(labels.unique()):
        return torch.zeros(len(labels), dtype=torch.bool)
    size = 1 + int(max(labels.max(), answers.max()))
    counts = torch.bincount(labels * size + answers, minlength=size * size).reshape(size, size)
    answer_of, label_of = counts.argmax(1), counts.argmax(0)
    return (answer_of[labels] == answers) & (label_of[answers] == labels)
